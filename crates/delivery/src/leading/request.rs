//! What clients ask of a leader, and what it answers.

use bytes::Bytes;
use pondage_model::{
    AssignmentEpoch, Body, GroupEpoch, Lease, MemberId, MoveSeq, Name, Offset, Refusal, StreamId,
    entry::{Granted, MovedFrom, Open, ProducerStamp},
    membership::{GroupMember, MemberProgress},
    settings::StreamSettings,
};

/// A consumer attached to a queue, as the node numbers it; unique among the consumers of one leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// A request about one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Store a batch. Answered with [`Reply::Published`].
    Publish {
        /// The queue or partition.
        stream: StreamId,
        /// Messages in the batch, checked against it by the caller.
        count: u32,
        /// The batch; its base offset is set when the draft is appended.
        batch: Bytes,
        /// The idempotent session and the batch's place in it.
        producer: Option<ProducerStamp>,
        /// Hold it back for so many milliseconds; `None` takes the queue's default, 0 is none.
        delay_millis: Option<u64>,
        /// Drop or move it after so many milliseconds unless it is settled; the queue's own limit applies too.
        ttl_millis: Option<u64>,
        /// Set by the forwarder of dead letters: which move this is.
        moved: Option<MovedFrom>,
    },
    /// End or extend leases. Answered with [`Reply::Settled`], item by item.
    Settle {
        /// The queue.
        stream: StreamId,
        /// Messages and the leases they are held under.
        items: Vec<(Offset, Lease)>,
        /// The consumer's verdict on all of them.
        verdict: Verdict,
    },
    /// Begin to consume: grants arrive from [`super::Leading::dispatch`].
    Attach {
        /// The queue.
        stream: StreamId,
        /// Who.
        consumer: ConsumerId,
        /// Messages it takes until it asks for more.
        credit: u32,
        /// How long its leases last; `None` takes the queue's default.
        lease_millis: Option<u64>,
        /// A long poll: it is detached by its first dispatch, and its leases stay until their deadline.
        once: bool,
    },
    /// Take more messages.
    Credit {
        /// The queue.
        stream: StreamId,
        /// Who.
        consumer: ConsumerId,
        /// Messages more.
        add: u32,
    },
    /// Take no more messages; what it holds it may settle.
    Stop {
        /// The queue.
        stream: StreamId,
        /// Who; unknown ones are gone already.
        consumer: ConsumerId,
    },
    /// Speak for a member of a group: what it owns arrives from [`super::Leading::notices`]. Who is no member yet
    /// becomes one; of two connections that speak for one member the later is listened to.
    Join {
        /// The group's home.
        stream: StreamId,
        /// The connection.
        consumer: ConsumerId,
        /// The member.
        member: GroupMember,
    },
    /// A member is done with partitions that it was to let go of.
    Release {
        /// The group's home.
        stream: StreamId,
        /// The member's connection.
        consumer: ConsumerId,
        /// The partitions, with the assignments by which they were given.
        partitions: Vec<(StreamId, AssignmentEpoch)>,
    },
    /// A member tells what it has done.
    Progress {
        /// The group's home.
        stream: StreamId,
        /// The member's connection; unknown ones are gone already.
        consumer: ConsumerId,
        /// What.
        progress: MemberProgress,
    },
    /// Members get nothing more to do and give up what they own; all others do not, or no longer. It holds for
    /// [`pondage_model::limits::DRAIN_MILLIS`] unless it is repeated, and no longer than this leader leads.
    Drain {
        /// The group's home.
        stream: StreamId,
        /// Who; unknown ones are gone already.
        members: Vec<MemberId>,
    },
    /// Stop speaking for a member.
    Leave {
        /// The group's home.
        stream: StreamId,
        /// The connection; unknown ones are gone already.
        consumer: ConsumerId,
        /// Whether it was lost: the member has the group's session timeout to come back. Else it leaves the group.
        lost: bool,
    },
    /// Stop consuming: the consumer's leases end.
    Detach {
        /// The queue.
        stream: StreamId,
        /// Who; unknown ones are gone already.
        consumer: ConsumerId,
        /// Whether it was lost (a failed attempt for what it held) rather than left in good order.
        lost: bool,
    },
    /// Settle every message that is neither leased nor moving. Answered with [`Reply::Purged`].
    Purge {
        /// The queue.
        stream: StreamId,
    },
    /// Take a group's ownership of a partition. Answered with [`Reply::Claimed`].
    Claim {
        /// The partition.
        stream: StreamId,
        /// The group.
        group: Name,
        /// Where a group starts that was never here.
        start: Offset,
        /// The assignment by which a member of the group was given the partition; none of somebody who takes it
        /// without being a member.
        owner: Option<AssignmentEpoch>,
    },
    /// Move a group's cursor forward.
    Commit {
        /// The partition.
        stream: StreamId,
        /// The group.
        group: Name,
        /// The ownership, from the claim.
        epoch: GroupEpoch,
        /// The next message to read.
        offset: Offset,
    },
    /// Set a group's cursor by hand; its owner is fenced. Answered with [`Reply::Claimed`].
    Seek {
        /// The partition.
        stream: StreamId,
        /// The group.
        group: Name,
        /// The next message to read.
        offset: Offset,
    },
    /// Read a partition for a shared group from an offset on, whatever was settled behind it: leases end, and what lies
    /// before it is settled.
    Restart {
        /// The shared group's stream.
        stream: StreamId,
        /// The first message to deliver.
        start: Offset,
    },
    /// Forget a group; an unknown one is forgotten already.
    DropGroup {
        /// The partition.
        stream: StreamId,
        /// The group.
        group: Name,
    },
    /// Begin a stream; repeating it is fine.
    Open {
        /// The new stream.
        stream: StreamId,
        /// Its name and settings.
        open: Open,
    },
    /// Change a stream's settings.
    Settings {
        /// The stream.
        stream: StreamId,
        /// The new ones.
        settings: StreamSettings,
    },
    /// End a stream with everything in it. Its consumers are told by a last dispatch.
    Close {
        /// The stream.
        stream: StreamId,
    },
    /// Forget a topic's messages below an offset.
    Trim {
        /// The partition.
        stream: StreamId,
        /// The first message to keep.
        start: Offset,
    },
    /// The dead-letter queue holds a moved message durably; repeating it is fine.
    Moved {
        /// The source.
        stream: StreamId,
        /// Which move.
        seq: MoveSeq,
    },
}

impl Request {
    /// The stream it is about.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        match self {
            Self::Publish { stream, .. }
            | Self::Settle { stream, .. }
            | Self::Attach { stream, .. }
            | Self::Credit { stream, .. }
            | Self::Stop { stream, .. }
            | Self::Detach { stream, .. }
            | Self::Join { stream, .. }
            | Self::Release { stream, .. }
            | Self::Progress { stream, .. }
            | Self::Drain { stream, .. }
            | Self::Leave { stream, .. }
            | Self::Purge { stream }
            | Self::Claim { stream, .. }
            | Self::Commit { stream, .. }
            | Self::Seek { stream, .. }
            | Self::Restart { stream, .. }
            | Self::DropGroup { stream, .. }
            | Self::Open { stream, .. }
            | Self::Settings { stream, .. }
            | Self::Close { stream }
            | Self::Trim { stream, .. }
            | Self::Moved { stream, .. } => *stream,
        }
    }
}

/// A consumer's verdict on messages it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done with.
    Accept,
    /// A failed attempt; again after the delay, or after the queue's backoff.
    Release {
        /// Milliseconds; longer ones than 10 years are shortened.
        delay_millis: Option<u64>,
    },
    /// Not processed, no failed attempt; again at once.
    Return,
    /// Not to be tried again: to the dead-letter queue, or discarded where there is none.
    Reject,
    /// Hold on for so long from now.
    Renew {
        /// Milliseconds, clamped to the limits of leases.
        millis: u64,
    },
}

/// How settling one message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The verdict took effect.
    Done,
    /// The same verdict under the same lease took effect before.
    AlreadySettled,
}

/// A leader's answer. It may be sent once everything that was appended up to the decision is committed, since
/// refusals reveal state too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The batch is stored.
    Published {
        /// The offset of its first message.
        base_offset: Offset,
        /// It had been stored by an earlier request.
        repeat: bool,
    },
    /// One outcome per item, in their order.
    Settled(Vec<Result<Settled, Refusal>>),
    /// The queue was purged.
    Purged {
        /// Messages settled.
        messages: u64,
    },
    /// The group's ownership passed on.
    Claimed {
        /// The new epoch.
        epoch: GroupEpoch,
        /// The next message to read.
        offset: Offset,
    },
    /// It took effect, or had before.
    Done,
    /// It did not take effect.
    Refused(Refusal),
}

/// An entry without its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The stream it is about.
    pub stream: StreamId,
    /// What happened.
    pub body: Body,
}

/// What to append, and what to answer once that is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Entries to append, in order.
    pub drafts: Vec<Draft>,
    /// The answer.
    pub reply: Reply,
}

impl Decision {
    /// Answers without an entry.
    pub(crate) fn reply(reply: Reply) -> Self {
        Self { drafts: Vec::new(), reply }
    }

    /// Appends one entry and answers.
    pub(crate) fn append(stream: StreamId, body: Body, reply: Reply) -> Self {
        Self { drafts: vec![Draft { stream, body }], reply }
    }
}

impl From<Refusal> for Decision {
    fn from(refusal: Refusal) -> Self {
        Self::reply(Reply::Refused(refusal))
    }
}

/// Leases given to one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Who.
    pub consumer: ConsumerId,
    /// The queue.
    pub stream: StreamId,
    /// The leases, of the leader's epoch, in the order in which the messages should be processed.
    pub grants: Vec<Granted>,
    /// Nothing follows: a long poll is over, or the queue was deleted.
    pub done: bool,
}
