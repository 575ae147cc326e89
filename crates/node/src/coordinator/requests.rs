//! What administrators ask, and what they are told.

use std::collections::BTreeSet;

use pondage_catalog::{
    Change, ClusterInfo, Command, Drain, Membership, ShardResult,
    planners::{Round, drain::Obstacle},
};
use pondage_model::{
    BrokerId, Name, Revision, ShardId, StreamId, Uuid,
    settings::{GroupSettings, QueueSettings, TopicSettings},
};

/// What an administrator can ask.
#[derive(Clone, Debug)]
pub enum AdminRequest {
    /// Create or update a topic.
    ApplyTopic(Name, TopicSettings),
    /// Create or update a queue.
    ApplyQueue(Name, QueueSettings),
    /// Create or update a consumer group.
    ApplyGroup(Name, GroupSettings),
    /// Delete. The caller counted the messages that are left, for `DeleteIfEmpty`.
    Delete {
        /// What kind of thing.
        kind: ResourceKind,
        /// Which.
        name: Name,
        /// Messages that it still holds.
        messages: u64,
    },
    /// One resource.
    Get(ResourceKind, Name),
    /// All of a kind, of every kind if `None`, by name.
    List(Option<ResourceKind>),
    /// Whether a stream that was made once is still there.
    HasStream(StreamId),
    /// Whether there is a topic or queue of this name.
    HasTarget(Name),
    /// Whether there is a consumer group of this name.
    HasGroup(Name),
    /// Changes after a revision, for a watch that begins or goes on.
    Changes(Revision),
    /// The cluster as a whole.
    Describe,
    /// What applying this would do, without doing it.
    Preview(Box<AdminRequest>),
    /// The cluster with every broker and shard. `is_local`: as this broker knows it, whether or not the catalog can be
    /// read now.
    View {
        /// Without a word from the others.
        is_local: bool,
    },
    /// What the planners would do next.
    Plan {
        /// The brokers that are there, as far as the sender knows; the leader of the consensus knows better.
        live: BTreeSet<BrokerId>,
    },
    /// Whether the broker could give that away now.
    DrainObstacle(BrokerId, Drain),
    /// A block of producer ids.
    AllocateProducers,
    /// A command about brokers and their shards: drain, lose, remove, elect by name, raise the feature level.
    Order(Box<Command>),
}

pub use pondage_catalog::Kind as ResourceKind;

/// The answer.
#[derive(Clone, Debug)]
pub enum AdminReply {
    /// It is so.
    Applied {
        /// Whether anything was made or changed.
        applied: Applied,
        /// The catalog's revision.
        revision: Revision,
    },
    /// It is gone.
    Deleted {
        /// The catalog's revision.
        revision: Revision,
    },
    /// Whether it is there.
    Found(bool),
    /// The resource.
    Resource(Box<Resource>),
    /// The resources and the catalog's revision at which they are as given.
    Resources(Vec<Resource>, Revision),
    /// The changes; `None` if the revision is too old to tell: list again.
    Changes(Option<Vec<Change>>, Revision),
    /// The cluster.
    Described(Box<Description>),
    /// The cluster with its brokers and shards.
    View(Box<ClusterView>),
    /// What the planners would do next, and the voters that they would change to.
    Planned(Box<Round>, Option<Vec<BrokerId>>),
    /// What is in the way of a drain, if anything.
    Obstacle(Option<Obstacle>),
    /// An order was carried out: what came of each shard that it named.
    Ordered {
        /// In the command's order.
        shards: Vec<ShardResult>,
        /// The catalog's revision.
        revision: Revision,
    },
    /// Producer ids from `first` on.
    Producers {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
}

/// The cluster as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its identity.
    pub cluster: Uuid,
    /// The broker that answers.
    pub broker: BrokerId,
    /// Every broker, by id.
    pub brokers: Vec<pondage_catalog::Broker>,
    /// Shards, the catalog's own included.
    pub shards: usize,
    /// Streams.
    pub streams: usize,
    /// The catalog's revision.
    pub revision: Revision,
}

/// The cluster with every broker and shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// None before it was initialised, or before this broker heard of it.
    pub cluster: Option<ClusterInfo>,
    /// The broker that answers; zero before it is registered.
    pub broker: BrokerId,
    /// Every broker, by id.
    pub brokers: Vec<pondage_catalog::Broker>,
    /// Those that hold a lease. Only the leader of the consensus knows.
    pub live: Option<BTreeSet<BrokerId>>,
    /// Every shard, by id. The leader and epoch of the catalog's own are the consensus's.
    pub shards: Vec<ShardView>,
    /// Who votes on the catalog, and who leads it.
    pub membership: Membership,
    /// The level that every broker supports, if it is above the cluster's.
    pub feature_level_possible: Option<u32>,
    /// The catalog's revision.
    pub revision: Revision,
}

/// A shard of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardView {
    /// Its row.
    pub row: pondage_catalog::Shard,
    /// Copies that it should have.
    pub replicas_wanted: usize,
    /// Streams that it holds.
    pub streams: usize,
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was not there before.
    Created,
    /// Its settings changed.
    Updated,
    /// It was just so already.
    Unchanged,
}

/// A topic, queue or group as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: Name,
    /// Never the same for two resources, also of one name.
    pub uid: Uuid,
    /// The revision of its last change.
    pub revision: Revision,
    /// Its settings, by kind.
    pub settings: ResourceSettings,
    /// Its streams by partition; empty for groups.
    pub partitions: Vec<(StreamId, ShardId)>,
}

/// Settings by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kinds")]
pub enum ResourceSettings {
    Topic(TopicSettings),
    Queue(QueueSettings),
    Group(GroupSettings),
}

/// A consumer group and where its members are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRoute {
    /// Its settings.
    pub settings: GroupSettings,
    /// Its home.
    pub home: (StreamId, ShardId),
    /// Of a shared group: its streams beside the partitions, by topic as its settings name them, then partition.
    pub shares: Vec<Vec<(StreamId, ShardId)>>,
}

/// Where the messages of a name are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The topic's or queue's name.
    pub name: Name,
    /// Its settings, by kind.
    pub settings: ResourceSettings,
    /// Its streams by partition.
    pub partitions: Vec<(StreamId, ShardId)>,
}
