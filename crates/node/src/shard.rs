//! One shard's machine: replication, delivery and the log clock, composed.
//!
//! ```text
//! request ─► decide on the leading state ─► append (position) ─► fold into the leading state
//!                    │                            │ batch closes when the last sync returned
//!                    ▼                            ▼
//!               outbox (held)  ◄── committed ◄── Write ─► disk ─► Synced
//! ```
//!
//! The machine owns no file: it says [`ShardEffect::Write`] and hears [`ShardEvent::Synced`], whose proof of
//! durability only storage can make. It never touches a message's body either: grants and progress name offsets,
//! and whoever speaks to the consumer reads the bodies from the log.

mod forwarding;
mod machine;
mod maintenance;
mod recovery;
mod request;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use pondage_delivery as delivery;
use pondage_model::{
    BrokerId, Epoch, LogTime, Member, MoveSeq, Name, Offset, Position, RawEntry, Refusal, ShardId, StreamId,
    entry::{Move, Open},
};
use pondage_replication::{Assignment, Batch, Finding, IsrRequest, Message};
use pondage_storage::log::{SegmentInfo, Synced, Truncated};

pub use machine::{Broken, Shard, ShardLog};
pub use pondage_replication as replication;

/// Names a request until it is answered. Chosen by the shell, unique while unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names one reader that follows a stream's committed end. Chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u64);

/// What happened to a shard.
#[derive(Debug)]
pub enum ShardEvent {
    /// The catalog's row of the shard, whenever it changed: who leads in which epoch, who is in sync.
    Assigned(Assignment),
    /// Another broker's replica said something.
    Peer {
        /// Which start of which broker.
        from: Member,
        /// What.
        message: Message,
    },
    /// The connection to a broker went up or down.
    Link {
        /// Which.
        broker: BrokerId,
        /// Whether it is up.
        up: bool,
    },
    /// Somebody asks.
    Request {
        /// Comes back in [`ShardEffect::Reply`].
        id: RequestId,
        /// What.
        request: ShardRequest,
    },
    /// The batch of the last [`ShardEffect::Write`] is durable.
    Synced(Synced),
    /// The log was cut as [`ShardEffect::Truncate`] said.
    Truncated(Truncated),
    /// The promise of [`ShardEffect::Persist`] is durable.
    Persisted(Epoch),
    /// The answer to [`ShardEffect::Read`]: none if nothing is there.
    Read {
        /// For whom.
        to: BrokerId,
        /// From where.
        from: Position,
        /// What is there.
        entries: Vec<RawEntry>,
    },
    /// Log every lease, append nothing more, and say [`ShardEffect::HandOver`] when this follower has everything.
    HandOver(BrokerId),
    /// Go on leading after all.
    KeepLeading,
    /// The broker stops: its leaders are not to wait for it.
    Leave,
    /// Its write or sync failed: the volume is fenced.
    WriteFailed,
    /// The answer to [`ShardEffect::FindCheckpoint`].
    Checkpoint {
        /// Where it was looked for.
        below: Position,
        /// Where it begins, else where the log does.
        first: Position,
    },
    /// The answer to [`ShardEffect::Replay`]: the next entries, at least one.
    Replayed(Vec<RawEntry>),
    /// The shard's segments, told every few seconds: retention and checkpoints are decided on them.
    Segments(Vec<SegmentInfo>),
    /// Forwarding a dead letter was refused; it is tried again after a pause.
    ForwardRefused {
        /// The stream it is to leave.
        source: StreamId,
        /// Which move it was.
        seq: MoveSeq,
        /// Whether the queue that it was to go to is deleted, definitely.
        gone: bool,
    },
    /// The time of the last [`ShardEffect::WakeAt`] came. Early and superfluous ones are harmless.
    Wake,
}

/// What can be asked of a shard's leader.
#[derive(Debug)]
pub enum ShardRequest {
    /// A publish, a settle, a claim, …
    Delivery(delivery::Request),
    /// Make the streams as the catalog says. Answered when that is committed.
    Ensure {
        /// The streams it speaks of.
        streams: Vec<Ensure>,
        /// These are all: others are closed, and the cursors of other groups than these are forgotten.
        complete: Option<Arc<BTreeSet<Name>>>,
    },
    /// Figures of these streams, of all if `None`.
    Stats(Option<Vec<StreamId>>),
    /// Figures of the streams that may have other ones than at this mark, of all without one.
    StatsSince(Option<delivery::Mark>),
    /// What state the messages of a queue are in, from an offset on.
    Survey {
        /// The queue.
        stream: StreamId,
        /// The first message to look at.
        from: Offset,
        /// How many offsets to look at.
        count: u32,
    },
    /// Who the members of a group are and what they own.
    Membership(StreamId),
    /// Tell the reader the stream's committed start and end now and whenever they move.
    Follow {
        /// The stream.
        stream: StreamId,
        /// Whom to tell.
        reader: ReaderId,
    },
    /// Log every lease now and give no more of them. Answered when that is committed: a broker that stops asks for
    /// it, so that its leases are known to whoever leads next.
    Flush,
    /// Stop telling the reader.
    Unfollow {
        /// The stream.
        stream: StreamId,
        /// Whom.
        reader: ReaderId,
    },
}

/// How one stream should be.
#[derive(Clone, Debug)]
pub struct Ensure {
    /// The stream.
    pub stream: StreamId,
    /// Open with this name and these settings, or closed.
    pub open: Option<Open>,
    /// Of a shared group whose start is a time: the first message of that time or later, as the shell found it in the
    /// log. Looked at only while the group has not begun.
    pub begin: Option<Offset>,
    /// Where its dead letters go.
    pub dead_letter: Option<(ShardId, StreamId)>,
    /// Groups whose cursors are to be forgotten.
    pub dropped_groups: Vec<Name>,
}

/// The answer to a [`ShardRequest`].
#[derive(Debug)]
pub enum ShardReply {
    /// The delivery engine's answer.
    Delivery(delivery::Reply),
    /// The streams are as they should be.
    Ensured,
    /// The figures asked for, of the streams that there are.
    Stats(Vec<StreamReport>),
    /// The figures that may be others.
    StatsSince(StatsSince),
    /// Runs of messages in the same state, ascending, from the first offset that is still there.
    Survey(Vec<delivery::SurveyRun>),
    /// The members of the group.
    Membership(delivery::MembershipReport),
    /// The reader is told from now on.
    Following {
        /// The oldest message that is there.
        start: Offset,
        /// The next message's offset.
        end: Offset,
    },
    /// Nothing more to say.
    Done,
    /// It was not done.
    Refused(Refusal),
}

/// What changed in the figures of a shard's streams.
#[derive(Clone, Debug)]
pub struct StatsSince {
    /// What to ask with next.
    pub mark: delivery::Mark,
    /// When it was, by the log's clock: the time that the ages are of.
    pub at: LogTime,
    /// Streams that are gone, unless they are among the reports; none if the reports are all that there are.
    pub closed: Option<Vec<StreamId>>,
    /// Streams whose figures may be others. Of the rest, the ages alone have grown.
    pub reports: Vec<StreamReport>,
}

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// A queue.
    Queue,
    /// A topic's partition.
    Partition,
    /// The home of a consumer group, which has its name.
    Home,
    /// A shared group beside a partition of a topic, which gives it its name.
    Share {
        /// The group.
        group: Name,
    },
}

/// The figures of one stream.
#[derive(Clone, Debug)]
pub struct StreamReport {
    /// The stream.
    pub stream: StreamId,
    /// What it is called.
    pub name: Name,
    /// Its partition.
    pub partition: u32,
    /// What it is.
    pub kind: StreamKind,
    /// Its figures.
    pub stats: delivery::StreamStats,
    /// What happened in it so far.
    pub counters: delivery::Counters,
}

/// What the shell has to do for a shard.
#[derive(Debug)]
pub enum ShardEffect {
    /// Write these entries as one batch and sync, then say [`ShardEvent::Synced`]. One write or truncation at a time.
    Write(Batch),
    /// Cut the log so that this is its end, and sync, then say [`ShardEvent::Truncated`].
    Truncate(Position),
    /// Make it durable that this replica answers in no older epoch, then say [`ShardEvent::Persisted`].
    Persist(Epoch),
    /// Say this to the replica on another broker; it may get lost.
    Send {
        /// The broker.
        to: BrokerId,
        /// What.
        message: Message,
    },
    /// Read synced entries for a follower that is behind, then say [`ShardEvent::Read`].
    Read {
        /// For whom.
        to: BrokerId,
        /// From where.
        from: Position,
        /// Bytes beyond the first entry.
        bytes_max: usize,
    },
    /// Ask the catalog for another in-sync set.
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
    /// It follows in this epoch. Whatever it was asked as a leader is answered; its consumers and readers are gone.
    Following(Epoch),
    /// Something an administrator has to know.
    Report(Finding),
    /// Find the newest checkpoint that is complete below this position and say [`ShardEvent::Checkpoint`].
    FindCheckpoint {
        /// The log's end: what lies behind was cut.
        below: Position,
    },
    /// Read entries from this position on and say [`ShardEvent::Replayed`].
    Replay {
        /// Where to start.
        from: Position,
    },
    /// The leader serves in this epoch.
    Serving(Epoch),
    /// Answer a request.
    Reply {
        /// Which.
        id: RequestId,
        /// With what.
        reply: ShardReply,
    },
    /// Leases were given: read the bodies and send them.
    Deliver {
        /// The leases' epoch.
        epoch: Epoch,
        /// To whom, which.
        dispatch: delivery::Dispatch,
    },
    /// A member of a group owns something else than it was told last.
    Notify(delivery::Notice),
    /// A followed stream moved.
    Progress {
        /// Whom to tell.
        reader: ReaderId,
        /// The stream.
        stream: StreamId,
        /// The oldest message that is there.
        start: Offset,
        /// The next message's offset: everything below is committed.
        end: Offset,
    },
    /// Take a dead letter to its queue: read it, publish it there with its `moved` attribute, and when that is
    /// acknowledged, ask this shard for `Moved`. See [`crate::dead_letter`].
    Forward {
        /// The stream it leaves.
        source: StreamId,
        /// The stream under which the log has the message: the partition, if a shared group gives it up.
        stored: StreamId,
        /// The shared group that gives it up, and the partition.
        group: Option<(Name, u32)>,
        /// Which message, where to.
        moving: Move,
    },
    /// Whole segments below this position may go.
    DropSegments(Position),
    /// Say [`ShardEvent::Wake`] when the monotonic clock shows this. Replaces the earlier one.
    WakeAt(u64),
}
