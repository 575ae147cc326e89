//! What may be asked of the catalog, and what comes of it.

use pondage_model::{
    BrokerId, Epoch, Incarnation, Name, ProducerId, ShardId, StreamId, Uuid,
    settings::{DeletionPolicy, GroupSettings, QueueSettings, TopicSettings},
    wire_enum,
};

use crate::{
    rows::{Change, Drain, FeatureLevels},
    shard_changes::{Election, IsrChange, ReplicaChange, ReplicaDrop, ShardResult},
};

/// A request to the catalog, as shard 0's log keeps it. A variant whose fields or settings change gets a new tag,
/// and the old one stays readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives the cluster its identity, once. Repeating it with the same identity succeeds.
    Initialise {
        /// The cluster.
        cluster: Uuid,
        /// A random value of the start that asks.
        nonce: Uuid,
    },
    /// A start of a broker's volume. Both `incarnation` and `nonce` must be durable on the volume beforehand.
    RegisterBroker {
        /// The volume.
        volume: Uuid,
        /// One more than the last registered one of this volume, 1 for a new volume.
        incarnation: Incarnation,
        /// Random, drawn together with the incarnation.
        nonce: Uuid,
        /// Where other brokers reach it.
        address: String,
        /// Its failure domain.
        rack: Option<String>,
        /// What this start can work at.
        feature_levels: FeatureLevels,
        /// The broker whose place this volume takes, because that one's volume is gone for good: as
        /// [`Command::LoseBroker`] of it.
        replaces: Option<BrokerId>,
    },
    /// A started broker takes up what it alone is in sync with: a new epoch for each of these shards.
    LeadAll {
        /// The broker.
        broker: BrokerId,
        /// Its current incarnation; an older start is refused.
        incarnation: Incarnation,
    },
    /// Creates a topic or sets its settings.
    ApplyTopic {
        /// Which.
        name: Name,
        /// How it shall be.
        settings: TopicSettings,
    },
    /// Creates a queue or sets its settings.
    ApplyQueue {
        /// Which.
        name: Name,
        /// How it shall be.
        settings: QueueSettings,
    },
    /// Creates a consumer group or sets its settings.
    ApplyGroup {
        /// Which.
        name: Name,
        /// How it shall be.
        settings: GroupSettings,
    },
    /// Deletes a topic with its messages, unless the policy is `DeleteIfEmpty` and it holds any.
    DeleteTopic {
        /// Which.
        name: Name,
        /// Counts instead of the topic's own policy.
        policy_override: Option<DeletionPolicy>,
        /// Messages that it holds, as the caller counted them after it had stopped publishes.
        messages: u64,
        /// Refused if the topic is another one by now.
        if_uid: Option<Uuid>,
    },
    /// Deletes a queue with its messages; as [`Command::DeleteTopic`].
    DeleteQueue {
        /// Which.
        name: Name,
        /// Counts instead of the queue's own policy.
        policy_override: Option<DeletionPolicy>,
        /// Messages that it holds, as the caller counted them after it had stopped publishes.
        messages: u64,
        /// Refused if the queue is another one by now.
        if_uid: Option<Uuid>,
    },
    /// Deletes a consumer group; its cursors go with it.
    DeleteGroup {
        /// Which.
        name: Name,
        /// Refused if the group is another one by now.
        if_uid: Option<Uuid>,
    },
    /// Hands a block of producer ids to a broker.
    AllocateProducers {
        /// The broker.
        broker: BrokerId,
    },
    /// The broker's volume is lost for good. It leaves every ISR, below minInSyncReplicas too; what it led has no
    /// leader until the next election.
    LoseBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// A leader's wishes for other in-sync replicas. Answered by [`Outcome::Shards`].
    AlterIsr {
        /// Who asks.
        broker: BrokerId,
        /// By shard.
        changes: Vec<IsrChange>,
    },
    /// New leaders among the in-sync replicas. Answered by [`Outcome::Shards`].
    ElectLeaders {
        /// By shard.
        elections: Vec<Election>,
    },
    /// An administrator's order by name: this replica leads, in sync or not, and what it lacks is lost.
    UncleanElect {
        /// The shard.
        shard: ShardId,
        /// The version of the row that the administrator saw.
        version: u64,
        /// A replica that is not lost.
        leader: BrokerId,
        /// Why; kept in the row.
        reason: String,
    },
    /// Other replicas. Answered by [`Outcome::Shards`].
    ChangeReplicas {
        /// By shard.
        changes: Vec<ReplicaChange>,
    },
    /// Leaving replicas go. Answered by [`Outcome::Shards`].
    DropReplicas {
        /// By shard.
        drops: Vec<ReplicaDrop>,
    },
    /// Raises what entries and commands may be written.
    SetFeatureLevel {
        /// Supported by every broker that is not lost.
        level: u32,
    },
    /// Sets what a broker shall give away; the planners carry it out.
    Drain {
        /// The broker.
        broker: BrokerId,
        /// From now on.
        drain: Drain,
    },
    /// Forgets a broker that holds no replica.
    RemoveBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// Records who votes on the catalog, as the consensus has it: the replicas of shard 0.
    SetVoters {
        /// The voters.
        voters: Vec<BrokerId>,
    },
}
wire_enum!(Command {
    1 => Initialise { cluster, nonce },
    2 => RegisterBroker { volume, incarnation, nonce, address, rack, feature_levels, replaces },
    3 => LeadAll { broker, incarnation },
    4 => ApplyTopic { name, settings },
    5 => ApplyQueue { name, settings },
    7 => DeleteTopic { name, policy_override, messages, if_uid },
    8 => DeleteQueue { name, policy_override, messages, if_uid },
    9 => DeleteGroup { name, if_uid },
    10 => AllocateProducers { broker },
    11 => LoseBroker { broker },
    12 => AlterIsr { broker, changes },
    13 => ElectLeaders { elections },
    14 => UncleanElect { shard, version, leader, reason },
    15 => ChangeReplicas { changes },
    16 => DropReplicas { drops },
    17 => SetFeatureLevel { level },
    18 => Drain { broker, drain },
    19 => RemoveBroker { broker },
    20 => SetVoters { voters },
    // 6 was the same, before groups had a home.
    21 => ApplyGroup { name, settings },
});

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster has its identity.
    Initialised,
    /// The broker is registered under this start.
    Registered {
        /// Its number.
        broker: BrokerId,
        /// Shards that came into being with it, with their first epochs.
        shards: Vec<(ShardId, Epoch)>,
    },
    /// What came of each change of a batch, in its order. The rows that changed are those of
    /// [`Catalog::shards_changed_since`](crate::Catalog::shards_changed_since) the revision before.
    Shards(Vec<ShardResult>),
    /// The cluster, its brokers or their shards are as asked.
    Done,
    /// The broker leads these shards under these epochs. Shard 0 is not among them: the consensus leads it.
    Led {
        /// By shard.
        shards: Vec<(ShardId, Epoch)>,
    },
    /// The resource is new.
    Created(Applied),
    /// The resource's settings changed.
    Updated(Applied),
    /// Everything was so already.
    Unchanged,
    /// The resource is gone.
    Deleted(Deleted),
    /// The broker owns these producer ids.
    Producers {
        /// The first of them.
        first: ProducerId,
        /// How many.
        count: u64,
    },
}

/// What applying a resource did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// For those who watch.
    pub change: Change,
    /// The resource's identity.
    pub uid: Uuid,
    /// How often its settings were set.
    pub generation: u64,
    /// Its new streams, by partition: to be opened in their shards' logs.
    pub streams: Vec<Opened>,
    /// Its new dedicated shards with their first epochs; led by their first replica.
    pub shards: Vec<(ShardId, Epoch)>,
}

/// A new stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its id, never used before.
    pub stream: StreamId,
    /// Where it lives.
    pub shard: ShardId,
    /// Its number in its topic, 0 for a queue.
    pub partition: u32,
}

/// What deleting a resource did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// For those who watch.
    pub change: Change,
    /// Its streams: to be closed in the logs of the shards that stay.
    pub streams: Vec<(StreamId, ShardId)>,
    /// Its dedicated shards and who led them: gone, with their folders to be removed.
    pub shards: Vec<(ShardId, Option<BrokerId>)>,
}
