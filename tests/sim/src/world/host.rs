//! One host: a disk, a clock, and the broker that runs on it now and then.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use pondage_catalog::Catalog;
use pondage_model::{BrokerId, Epoch, Member, MoveSeq, Name, Position, ShardId, StreamId};
use pondage_node::{
    Now,
    coordinator::{Coordinator, CoordinatorEffect, CoordinatorEvent},
    shard::{RequestId, Shard, ShardEffect},
};
use pondage_storage::{HostileDisk, LogReader, LogWriter, Volume, Written, promises::Promises};

use super::{
    consensus_log::ModelVoter,
    due::{HostDue, Waiter},
    reach::Ticket,
};
use crate::{chance::Chance, clients::ClientId, invariants};

/// A host's place in the list.
pub(crate) type HostId = usize;

/// Wall time at the start of a world: 2026-01-01.
const WALL_START_MILLIS: i64 = 1_767_225_600_000;

/// A host's clocks: the monotonic one runs fast or slow, the wall clock stands apart and may jump.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// Parts per million that it runs fast.
    pub(super) drift: i64,
    /// What the monotonic clock showed when the world began.
    pub(super) booted_millis: u64,
    pub(super) wall_offset_millis: i64,
}

impl Clock {
    /// A clock that is right within 100 ms and 200 parts per million, as synchronised ones are.
    pub(super) fn drawn(chance: &mut Chance) -> Self {
        Self {
            drift: chance.below(401) as i64 - 200,
            booted_millis: chance.below(1 << 40),
            wall_offset_millis: chance.below(201) as i64 - 100,
        }
    }

    fn elapsed_millis(self, micros: u64) -> u64 {
        let fast = micros as i64 / 1_000 * self.drift / 1_000_000;
        (micros / 1_000).saturating_add_signed(fast)
    }

    pub(super) fn read(self, micros: u64) -> Now {
        let elapsed = self.elapsed_millis(micros);
        Now {
            monotonic_millis: self.booted_millis + elapsed,
            wall_millis: WALL_START_MILLIS + elapsed as i64 + self.wall_offset_millis,
        }
    }

    /// The first simulated moment at which the monotonic clock shows `millis`.
    pub(super) fn when(self, millis: u64) -> u64 {
        let elapsed = millis.saturating_sub(self.booted_millis);
        let mut micros = elapsed.saturating_add_signed(-(elapsed as i64 * self.drift / 1_000_000)) * 1_000;
        while self.elapsed_millis(micros) < elapsed {
            micros += 1_000;
        }
        micros
    }
}

/// A log and the batch that waits for its sync.
pub(super) struct Side {
    pub(super) writer: LogWriter<HostileDisk>,
    pub(super) reader: LogReader<HostileDisk>,
    pub(super) written: Option<Written>,
    /// Segments below may go once nothing is being written.
    pub(super) to_drop: Option<Position>,
    /// The number of the latest wake.
    pub(super) wake: u64,
    /// The epoch in which the shard serves here, once it does.
    pub(super) serves: Option<Epoch>,
}

impl Side {
    pub(super) fn new(writer: LogWriter<HostileDisk>, reader: LogReader<HostileDisk>) -> Self {
        Self { writer, reader, written: None, to_drop: None, wake: 0, serves: None }
    }
}

/// What a machine decided and nobody has done yet.
#[derive(Debug)]
pub(super) enum Decided {
    Shard(ShardId, ShardEffect),
    Coordinator(CoordinatorEffect),
}

/// The coordinator of a lone broker, or of a cluster's member.
pub(super) enum Brain {
    Lone {
        coordinator: Box<Coordinator>,
        /// The catalog's own log.
        log: Box<Side>,
    },
    Member(Box<Coordinator<ModelVoter>>),
}

impl Brain {
    pub(super) fn step(&mut self, now: Now, event: CoordinatorEvent, effects: &mut Vec<CoordinatorEffect>) {
        match self {
            Self::Lone { coordinator, .. } => coordinator.step(now, event, effects),
            Self::Member(coordinator) => coordinator.step(now, event, effects),
        }
    }

    pub(super) const fn catalog(&self) -> &Catalog {
        match self {
            Self::Lone { coordinator, .. } => coordinator.catalog(),
            Self::Member(coordinator) => coordinator.catalog(),
        }
    }

    /// The catalog's own log, if it lies here.
    pub(super) const fn log(&mut self) -> Option<&mut Side> {
        match self {
            Self::Lone { log, .. } => Some(&mut **log),
            Self::Member(_) => None,
        }
    }
}

/// A broker that is up.
pub(super) struct Running {
    pub(super) volume: Volume<HostileDisk>,
    pub(super) brain: Brain,
    pub(super) promises: Promises<HostileDisk>,
    /// As the catalog knows this start, once it does.
    pub(super) member: Option<Member>,
    pub(super) shards: BTreeMap<ShardId, (Shard, Side)>,
    /// Shards that are gone and whose folders are not.
    pub(super) removing: BTreeSet<ShardId>,
    pub(super) routes: BTreeMap<String, Vec<(StreamId, ShardId)>>,
    pub(super) groups: BTreeSet<Name>,
    pub(super) waiters: BTreeMap<(ShardId, RequestId), Waiter>,
    pub(super) admin_waiters: HashMap<RequestId, (ClientId, Ticket)>,
    /// Dead letters on their way to other queues, by source.
    pub(super) forwards: BTreeMap<(ShardId, StreamId), MoveSeq>,
    pub(super) ready: bool,
    /// It was asked to stop.
    pub(super) asked_to_stop: bool,
    /// Its coordinator has ended, its shards are about to.
    pub(super) stopping: bool,
    /// Decided in this order and to be done in this order.
    pub(super) decided: VecDeque<Decided>,
    /// Whether what was decided is being done already.
    pub(super) doing: bool,
}

/// One host.
pub(super) struct Host {
    pub(super) disk: HostileDisk,
    pub(super) clock: Clock,
    /// Grows with every start and every end of its broker.
    pub(super) start: u64,
    /// Grows when the disk is emptied or goes back to an old image.
    pub(super) generation: u64,
    /// The broker that its disk is, as far as it registered.
    pub(super) broker: Option<BrokerId>,
    /// The broker that its disk was before it was emptied or went back.
    pub(super) replaces: Option<BrokerId>,
    /// The disk went back to how it was: what it is now, it has to find out.
    pub(super) went_back: bool,
    /// The newest start that was registered when the disk was lost last: what it and those before had is gone.
    pub(super) lost: Option<Member>,
    /// The disk as it once was.
    pub(super) image: Option<HostileDisk>,
    pub(super) running: Option<Running>,
    /// Nothing moves on it, until it resumes.
    pub(super) paused: bool,
    /// What became due meanwhile.
    pub(super) stalled: VecDeque<HostDue>,
    /// When what it tells clients reaches them: one connection keeps its order.
    pub(super) told_until: u64,
    /// Its clients' connections are about to be found broken.
    pub(super) connections_break: bool,
}

impl Host {
    pub(super) const fn new(disk: HostileDisk, clock: Clock) -> Self {
        Self {
            disk,
            clock,
            start: 0,
            generation: 0,
            broker: None,
            replaces: None,
            went_back: false,
            lost: None,
            image: None,
            running: None,
            paused: false,
            stalled: VecDeque::new(),
            told_until: 0,
            connections_break: false,
        }
    }

    /// What its disk holds now, as the invariants call it.
    pub(super) const fn volume(&self, host: HostId) -> invariants::Volume {
        invariants::Volume { host, generation: self.generation }
    }

    /// Whether clients can work with its broker.
    pub(super) fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|up| up.ready)
    }

    pub(super) fn side(&mut self, shard: ShardId) -> Option<&mut Side> {
        self.running.as_mut()?.shards.get_mut(&shard).map(|(_, side)| side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_tells_when_it_will_show_a_time() {
        for drift in [-200, -1, 0, 1, 200] {
            let clock = Clock { drift, booted_millis: 77, wall_offset_millis: 5 };
            for millis in [77, 78, 1_000, 59_999, 1_000_000] {
                let when = clock.when(millis);
                assert!(clock.read(when).monotonic_millis >= millis, "{drift} {millis}");
                assert!(
                    when < 1_000 || clock.read(when - 1_000).monotonic_millis <= millis,
                    "{drift} {millis}"
                );
            }
        }
    }
}
