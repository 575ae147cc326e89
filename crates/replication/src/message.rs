//! What replicas of a shard say to each other. Every message may be lost, repeated, delayed or overtaken.

use pondage_model::{Epoch, Position, RawEntry};

/// A message between two replicas of one shard. The sender's [`Member`](pondage_model::Member) travels beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Leader: I lead in this epoch; where does your log end? Answered by [`Self::Where`] once the epoch is durable.
    Hello {
        /// The leader's epoch.
        epoch: Epoch,
        /// Grows with every hello to this replica in this epoch, also if it left the shard in between; tells answers
        /// to this one from older ones.
        attempt: u64,
    },
    /// Follower: my log goes up to there. Also said when a push comes to a follower that is not aligned.
    Where {
        /// The epoch it is said in.
        epoch: Epoch,
        /// Of the hello; 0 if nobody asked.
        attempt: u64,
        /// The newest epoch in the follower's log that the leader has not ruled out.
        last: Epoch,
        /// Everything below is on its disk, whoever wrote it.
        durable: Position,
    },
    /// Leader: my newest epoch that is not above your `last` is `of`, and ends there in my log.
    Align {
        /// The leader's epoch.
        epoch: Epoch,
        /// Of the hello.
        attempt: u64,
        /// What the follower asked about. An answer to an older question may come late, even to a later start.
        last: Epoch,
        /// An epoch of the leader's log, zero for none.
        of: Epoch,
        /// The position behind its last entry.
        end: Position,
    },
    /// Leader: the entries of my log in a range of positions.
    Push(Push),
    /// Follower: I have that much, in this epoch.
    Ack {
        /// The epoch it is said in.
        epoch: Epoch,
        /// Of the hello after which the logs were aligned: tells it from what a log said that was removed since.
        attempt: u64,
        /// Everything below is on the follower's disk and equal to the leader's log.
        durable: Position,
        /// Everything below is there, but not all of it synced.
        end: Position,
        /// The newest round that was asked for in this epoch.
        round: u64,
        /// A push began behind `end`: those before it are missing.
        missing: bool,
    },
    /// Receiver: I am in a newer epoch than you, and did nothing.
    Stale {
        /// The receiver's.
        epoch: Epoch,
    },
    /// Follower: I know that more is committed than you hold: you must not lead.
    Behind {
        /// The epoch it is said in.
        epoch: Epoch,
        /// Everything below is committed.
        high_watermark: Position,
    },
}

impl Message {
    /// The epoch that the sender was in.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        match self {
            Self::Hello { epoch, .. }
            | Self::Where { epoch, .. }
            | Self::Align { epoch, .. }
            | Self::Ack { epoch, .. }
            | Self::Stale { epoch }
            | Self::Behind { epoch, .. } => *epoch,
            Self::Push(push) => push.epoch,
        }
    }
}

/// The entries of a leader's log in `from..to`, ascending. Positions without an entry were reclaimed: they lie
/// below the high watermark and are never sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Push {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The first position that it speaks of.
    pub from: Position,
    /// The position behind the last one.
    pub to: Position,
    /// The epoch of what lies below `from` in the leader's log.
    pub before: Epoch,
    /// The entries that are left.
    pub entries: Vec<RawEntry>,
    /// The epochs that began in the range, if entries are missing: their start entries may be gone.
    pub epochs: Vec<(Epoch, Position)>,
    /// Everything below is committed.
    pub high_watermark: Position,
    /// The newest round that the leader has begun; to be answered at once if the follower has not answered it.
    pub round: u64,
}
