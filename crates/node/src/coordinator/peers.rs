//! What the coordinators of a cluster tell each other. All of it is idempotent: the network may lose, repeat,
//! reorder and delay it, and whoever misses an answer asks again.

use pondage_catalog::planners::failover::Answer;
use pondage_model::{BrokerId, Epoch, Incarnation, Position, Revision, ShardId, wire_enum, wire_struct};

/// One message between two coordinators. The transport says which start of which broker it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// To the leader of the consensus, every [`BROKER_LEASE_RENEWAL_MILLIS`](pondage_model::limits::BROKER_LEASE_RENEWAL_MILLIS): I am alive.
    Heartbeat {
        /// The sender is about to stop and wants to lead nothing.
        leaving: bool,
    },
    /// From the leader of the consensus: where do these shards' logs end?
    PositionsWanted {
        /// Comes back.
        round: Round,
        /// Which.
        shards: Vec<ShardId>,
    },
    /// The answer, in one or more messages.
    Positions {
        /// Of the question.
        round: Round,
        /// By shard; those whose logs are not open yet are missing.
        positions: Vec<ShardPosition>,
    },
    /// From the leader of the consensus to a shard's leader: hand the shard over.
    HandOver {
        /// The shard.
        shard: ShardId,
        /// The epoch that the receiver leads it in; in another one the message means nothing.
        epoch: Epoch,
        /// An in-sync replica.
        to: BrokerId,
    },
    /// Tell me when the catalog is applied up to this revision and your shards did what follows from it.
    MadeWanted {
        /// Comes back.
        number: u64,
        /// The catalog's.
        revision: Revision,
        /// The shards that it is about.
        shards: Vec<ShardId>,
    },
    /// It is so, or somebody else leads these shards by now.
    Made {
        /// Of the question.
        number: u64,
    },
}
wire_enum!(PeerMessage {
    1 => Heartbeat { leaving },
    2 => PositionsWanted { round, shards },
    3 => Positions { round, positions },
    4 => HandOver { shard, epoch, to },
    5 => MadeWanted { number, revision, shards },
    6 => Made { number },
});

/// Names one question after positions: unique for the asking start of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round {
    /// The start that asks.
    pub asker: Incarnation,
    /// From 1.
    pub number: u64,
}
wire_struct!(Round { asker, number });

/// Where a shard's log ends on one broker, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPosition {
    /// The shard.
    pub shard: ShardId,
    /// The newest epoch that the replica promised, durably: it answers in no older one any more.
    pub epoch: Epoch,
    /// The epoch of its last entry.
    pub last_epoch: Epoch,
    /// The position after its last entry.
    pub end: Position,
    /// The greatest high watermark that the replica heard of.
    pub high_watermark: Position,
}
wire_struct!(ShardPosition { shard, epoch, last_epoch, end, high_watermark });

impl ShardPosition {
    /// As the planner of failovers takes it.
    pub(super) const fn answer(self, incarnation: Incarnation) -> Answer {
        let Self { epoch, last_epoch, end, high_watermark, .. } = self;
        Answer { incarnation, epoch, last_epoch, end, high_watermark }
    }
}
