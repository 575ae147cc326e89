//! One broker's part of the shard: the real replica, its disk, and what it decided.

use pondage_model::{Epoch, LogTime, Member, Position, ShardId};
use pondage_replication::{Now, Replica, Round, Timing};

use crate::{catalog::Answer, disk::Disk};

/// How much time has passed when a leader finds that time has passed: more than every patience of [`TIMING`].
const TICK_MILLIS: u64 = 10_000;

/// Patience that one tick outlasts; nobody is slow, only late.
const TIMING: Timing = Timing {
    lag_millis_max: 100,
    down_millis_max: 100,
    resend_millis: 1,
    slow_wait_millis: u64::MAX,
    slow_window_millis: 0,
};

/// Something that reveals state and waits for a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// The epoch that it was made in.
    pub epoch: Epoch,
    /// The round to wait for.
    pub round: Round,
    /// A leader of a newer epoch had committed something before.
    pub overtaken: bool,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Node {
    /// The real one.
    pub replica: Replica,
    /// Its disk.
    pub disk: Disk,
    /// The newest version of the row that it learned.
    pub known: u64,
    /// How often time passed.
    pub ticks: u8,
    /// What waits for a round.
    pub decision: Option<Decision>,
    /// The newest epoch that it answered in.
    pub answered: Epoch,
    /// Its disk lost what was durable, and no leader has confirmed it since.
    pub damaged: bool,
    /// Its disk failed.
    pub fenced: bool,
    /// It was told to hand over.
    pub handing: bool,
}

impl Node {
    /// A start on a disk.
    pub fn start(member: Member, disk: Disk) -> Self {
        let replica = Replica::recovered(ShardId(1), member, TIMING, disk.recover());
        Self {
            replica,
            disk,
            known: 0,
            ticks: 0,
            decision: None,
            answered: Epoch::ZERO,
            damaged: false,
            fenced: false,
            handing: false,
        }
    }

    /// Its clocks.
    pub fn now(&self) -> Now {
        Now { monotonic_millis: u64::from(self.ticks) * TICK_MILLIS, log_time: LogTime(0) }
    }

    /// Time passes.
    pub fn tick(&mut self) {
        self.ticks += 1;
    }

    /// Everything below is on its disk and will stay there.
    pub fn durable(&self) -> Position {
        self.replica.durable().min(Position(self.disk.log.len() as u64))
    }

    /// What it tells the planner of failovers.
    pub fn answer(&self) -> Answer {
        Answer { member: self.replica.member(), status: self.replica.status() }
    }

    /// The epoch that it leads in.
    pub fn leads(&self) -> Option<Epoch> {
        (self.replica.is_leader() && !self.fenced).then(|| self.replica.epoch())
    }
}
