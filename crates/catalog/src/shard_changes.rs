//! Changes of single shards, as the batched commands carry them, and what came of each.
//!
//! Each names the version of the row that it was decided upon: a compare-and-set. One that comes too late is refused
//! by itself; the others of its batch go on.

use pondage_model::{BrokerId, Epoch, Member, ShardId, wire_struct};

/// A leader's wish for other in-sync replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChange {
    /// The shard.
    pub shard: ShardId,
    /// The epoch that the sender leads it in.
    pub epoch: Epoch,
    /// The version of the row that the wish was made upon.
    pub version: u64,
    /// The in-sync replicas from now on, each under the start in which the leader knows it to hold everything.
    pub isr: Vec<Member>,
}
wire_struct!(IsrChange { shard, epoch, version, isr });

/// A new leader for a shard: after a failure, at a hand-over, or for the same broker after its restart. Or none: the
/// epoch ends, so that who promises the next one can't help its leader any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// The shard.
    pub shard: ShardId,
    /// The version of the row that the election was decided upon.
    pub version: u64,
    /// The leader of the next epoch, under its current start.
    pub leader: Option<Member>,
    /// Those who stay in sync: the leader under its current start, the others as the row has them; all of them if
    /// nobody is to lead.
    pub isr: Vec<Member>,
}
wire_struct!(Election { shard, version, leader, isr });

/// Other replicas for a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaChange {
    /// The shard.
    pub shard: ShardId,
    /// The version of the row that the change was decided upon.
    pub version: u64,
    /// Who shall hold a copy in the end; the first one leads by preference. New ones join at once and out of sync,
    /// old ones stay, marked as leaving, until [`Command::DropReplicas`](crate::Command::DropReplicas).
    pub replicas: Vec<BrokerId>,
    /// Copies that must be durable before an acknowledgement, from now on.
    pub min_in_sync_replicas: u32,
}
wire_struct!(ReplicaChange { shard, version, replicas, min_in_sync_replicas });

/// The leaving replicas of a shard may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaDrop {
    /// The shard.
    pub shard: ShardId,
    /// The version of the row that this was decided upon.
    pub version: u64,
}
wire_struct!(ReplicaDrop { shard, version });

/// What came of one change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardResult {
    /// The shard.
    pub shard: ShardId,
    /// Its row's version afterwards, or why it stayed as it was.
    pub result: Result<ShardVersion, ShardRefusal>,
}

/// Where a shard's row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardVersion {
    /// The leader's term.
    pub epoch: Epoch,
    /// The row's version.
    pub version: u64,
}

/// Why a shard's row stayed as it was. Definite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are the facts of the message above them")]
pub enum ShardRefusal {
    #[error("there is no such shard")]
    NoShard,
    #[error("the consensus owns the catalog's shard")]
    OwnedByConsensus,
    #[error("the shard is in epoch {} at version {} by now", current.epoch, current.version)]
    Stale { current: ShardVersion },
    #[error("the sender does not lead the shard")]
    NotLeader,
    #[error("the in-sync replicas don't name the leader in the start that it was elected in")]
    LeaderMissing,
    #[error("broker {broker} is named twice")]
    Twice { broker: BrokerId },
    #[error("broker {broker} is no replica")]
    NotReplica { broker: BrokerId },
    #[error("broker {broker} is not in sync")]
    NotInSync { broker: BrokerId },
    #[error("start {} of broker {} is not its current one", member.incarnation, member.broker)]
    NotCurrent { member: Member },
    #[error("{have} in-sync replicas would be left and {needed} are needed")]
    TooFewInSync { have: u32, needed: u32 },
    #[error("the leader is leaving: another one must lead first")]
    LeaderLeaves,
    #[error("no replica is leaving")]
    NothingLeaves,
    #[error("broker {broker} is unknown, lost, or full")]
    NoRoom { broker: BrokerId },
    #[error("{what}")]
    Invalid { what: &'static str },
}
