//! What goes into a replica and what comes out of it.

use pondage_model::{BrokerId, Epoch, LogTime, Member, Position, RawEntry};

use crate::{Assignment, EpochTable, IsrRequest, Message};

/// The clocks of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes backwards. Decides when something is sent again and who is slow,
    /// never what is committed or who leads.
    pub monotonic_millis: u64,
    /// What entries appended now are stamped with.
    pub log_time: LogTime,
}

/// How patient a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// An in-sync follower that owes something for longer is dropped while the set is above its minimum.
    pub lag_millis_max: u64,
    /// An in-sync follower whose broker's connection is down for longer is dropped in the same way: its answers could
    /// not come, and whoever starts or stops in good order is soon back.
    pub down_millis_max: u64,
    /// What was not answered for as long is said again.
    pub resend_millis: u64,
    /// The set waited for one follower alone for as long: that counts against it.
    pub slow_wait_millis: u64,
    /// Three such waits within this time make it slow; for half of it, it may not come back.
    pub slow_window_millis: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lag_millis_max: 1_000,
            down_millis_max: 1_000,
            resend_millis: 250,
            slow_wait_millis: 100,
            slow_window_millis: 60_000,
        }
    }
}

/// What a log was recovered with; all of it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecoveredLog {
    /// The position after the last entry.
    pub end: Position,
    /// Every epoch that ever wrote there.
    pub epochs: EpochTable,
    /// The newest epoch that this volume promised to answer in.
    pub promised: Epoch,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The catalog's row of this shard. One that is not newer than the last changes nothing.
    Assigned(Assignment),
    /// The batch of the last [`Effect::Write`] is durable: everything below the position.
    Durable(Position),
    /// [`Effect::Truncate`] is done, durably.
    Truncated(Position),
    /// [`Effect::Persist`] is done.
    Persisted(Epoch),
    /// Another replica said something.
    Message {
        /// Which start of which broker.
        from: Member,
        /// What.
        message: Message,
    },
    /// The answer to [`Effect::Read`]: the surviving entries from the position on, ascending.
    Read {
        /// For whom.
        to: BrokerId,
        /// From where.
        from: Position,
        /// What is there; none if nothing is.
        entries: Vec<RawEntry>,
    },
    /// The connection to a broker went up or down. A hint: nothing depends on it but patience.
    Link {
        /// Which broker.
        broker: BrokerId,
        /// Whether it is up.
        up: bool,
    },
    /// Time passed; wanted when [`Replica::next_tick`] says.
    Tick,
    /// Stop appending and say when this follower has everything, to lead after this replica. Ignored unless it is in
    /// sync; after a second without a new leader, or once it is out of sync, this replica goes on by itself.
    HandOver(BrokerId),
    /// Go on leading after all.
    KeepLeading,
    /// The broker stops in good order: leaders are told not to wait for this replica, as far as they can do without.
    Leave,
    /// The disk failed: nothing that is not yet known to be durable may be answered as if it were.
    Fault,
}

/// What the shell or the node has to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Write these entries as one batch, sync, then say [`Input::Durable`]. At most one write or truncation is under
    /// way.
    Write(Batch),
    /// Cut the log so that this is its end, sync, then say [`Input::Truncated`].
    Truncate(Position),
    /// Entries from here on are not the shard's: whoever keeps them in memory forgets them. The disk follows.
    Cut(Position),
    /// Make it durable that this replica answers in no older epoch, then say [`Input::Persisted`].
    Persist(Epoch),
    /// Say this to the replica on another broker; it may get lost.
    Send {
        /// The broker.
        to: BrokerId,
        /// What.
        message: Message,
    },
    /// Read synced entries from this log for a follower that is behind, then say [`Input::Read`].
    Read {
        /// For whom.
        to: BrokerId,
        /// From where: entries that were reclaimed are skipped.
        from: Position,
        /// Bytes beyond the first entry.
        bytes_max: usize,
    },
    /// Ask the catalog for another in-sync set; the answer is an [`Input::Assigned`] with a greater version, or none.
    RequestIsr(IsrRequest),
    /// The follower has everything: ask the catalog to make it the leader.
    HandOver {
        /// In which epoch this replica leads.
        epoch: Epoch,
        /// The row's version that it goes by.
        version: u64,
        /// Who shall lead.
        to: BrokerId,
    },
    /// Everything below is committed.
    Committed(Position),
    /// An entry of this epoch is committed: the leader may serve.
    Serving(Epoch),
    /// It does not lead any more, or follows in a newer epoch: what is not committed may never be.
    Following(Epoch),
    /// Something an administrator has to know.
    Report(Finding),
}

/// Entries to be written together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Ascending; positions may be missing, they were reclaimed at the leader.
    pub entries: Vec<RawEntry>,
    /// Epochs that began in a place whose entry is missing: they belong into the log's epoch table.
    pub epochs: Vec<(Epoch, Position)>,
}

/// Something that should not be and that the protocol survives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// An in-sync replica came back without committed entries: its volume is an older copy, or lost writes.
    MemberBehind {
        /// Which.
        member: Member,
        /// What it has.
        durable: Position,
        /// What is committed.
        high_watermark: Position,
    },
    /// This replica was made the leader and lacks what is known to be committed: it does not lead.
    LeaderBehind {
        /// What it has.
        end: Position,
        /// What is committed.
        high_watermark: Position,
    },
    /// A push did not fit this log; the replicas align anew.
    Mismatch {
        /// Who pushed.
        from: Member,
        /// Where.
        at: Position,
        /// What did not fit.
        what: &'static str,
    },
}

/// A round in which every in-sync replica confirmed the leader's epoch. Rounds are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Round(pub(crate) u64);

impl Round {
    /// Confirmed from the start: for what needs no round.
    pub const NONE: Self = Self(0);
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FollowerStatus {
    /// Its broker.
    pub broker: BrokerId,
    /// Everything below is on its disk and equal to the leader's log; none before it has told this leader.
    pub durable: Option<Position>,
    /// Bytes of pushes that it has not answered.
    pub under_way_bytes: usize,
    /// Whether the catalog has it among the in-sync replicas.
    pub in_sync: bool,
}

/// What a replica answers who asks for its place, such as the planner of failovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// The newest epoch that it promised, durably: also after a restart it answers in no older one.
    pub epoch: Epoch,
    /// The epoch of its last durable entry.
    pub last_epoch: Epoch,
    /// Everything below is on its disk.
    pub durable: Position,
    /// Everything below is known to be committed, whether or not it is here.
    pub high_watermark: Position,
    /// Whether it leads, and whether it serves.
    pub leading: Option<bool>,
}
