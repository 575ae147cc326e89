//! What may be asked of the catalog, and what comes of it.

use pondage_model::{
    BrokerId, Epoch, Incarnation, Name, ProducerId, ShardId, StreamId, Uuid,
    settings::{DeletionPolicy, GroupSettings, QueueSettings, TopicSettings},
    wire_enum,
};

use crate::rows::Change;

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
    },
    /// A started broker takes up what it leads: a new epoch for each of these shards.
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
}
wire_enum!(Command {
    1 => Initialise { cluster, nonce },
    2 => RegisterBroker { volume, incarnation, nonce, address, rack },
    3 => LeadAll { broker, incarnation },
    4 => ApplyTopic { name, settings },
    5 => ApplyQueue { name, settings },
    6 => ApplyGroup { name, settings },
    7 => DeleteTopic { name, policy_override, messages, if_uid },
    8 => DeleteQueue { name, policy_override, messages, if_uid },
    9 => DeleteGroup { name, if_uid },
    10 => AllocateProducers { broker },
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
    /// Its dedicated shards: gone, with their folders to be removed.
    pub shards: Vec<ShardId>,
}
