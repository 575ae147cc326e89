//! The rows of the catalog, as its readers see them.

use pondage_model::{
    BrokerId, Epoch, Incarnation, Name, Revision, ShardId, StreamId, Uuid,
    settings::{GroupSettings, QueueSettings, TopicSettings},
    wire_enum, wire_struct,
};

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Its identity for life.
    pub uuid: Uuid,
    /// The random value of the start that initialised it.
    pub nonce: Uuid,
    /// The entries and commands that every broker understands; it only rises.
    pub feature_level: u32,
    /// When it was initialised.
    pub created: Revision,
}
wire_struct!(ClusterInfo { uuid, nonce, feature_level, created });

/// A broker, which is a volume: a pod's name and address may change, the volume is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its number, never given to another volume.
    pub id: BrokerId,
    /// Its volume.
    pub volume: Uuid,
    /// How often the volume has been started.
    pub incarnation: Incarnation,
    /// The random value of the current start: tells it from a copy of the disk.
    pub nonce: Uuid,
    /// Where other brokers reach it.
    pub address: String,
    /// The failure domain that it stands in.
    pub rack: Option<String>,
    /// When it first registered.
    pub created: Revision,
}
wire_struct!(Broker { id, volume, incarnation, nonce, address, rack, created });

/// What a shard is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShardKind {
    /// The catalog's own log: shard 0.
    Catalog,
    /// Shared by many small streams.
    Pooled,
    /// Of one stream.
    Dedicated,
}
wire_enum!(ShardKind { 0 => Catalog, 1 => Pooled, 2 => Dedicated });

/// A replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, never reused.
    pub id: ShardId,
    /// What it is for.
    pub kind: ShardKind,
    /// The brokers that hold a copy.
    pub replicas: Vec<BrokerId>,
    /// The broker that leads it. None for shard 0, whose leader and epoch are the consensus's own.
    pub leader: Option<BrokerId>,
    /// The leader's term; every start of a leader is a new one.
    pub epoch: Epoch,
    /// The replicas that hold every committed entry durably.
    pub isr: Vec<BrokerId>,
    /// Copies that must be durable before an acknowledgement.
    pub min_in_sync_replicas: u32,
    /// Grows with every change of this row; what a compare-and-set compares.
    pub version: u64,
}
wire_struct!(Shard { id, kind, replicas, leader, epoch, isr, min_in_sync_replicas, version });

/// What every resource carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Tells a resource from a later one of the same name. Made of the cluster's identity and `created`.
    pub uid: Uuid,
    /// How often its settings were set, from 1.
    pub generation: u64,
    /// When it was created.
    pub created: Revision,
    /// When its settings were last set.
    pub changed: Revision,
}
wire_struct!(Meta { uid, generation, created, changed });

/// Where a stream lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPlace {
    /// The stream.
    pub stream: StreamId,
    /// Its shard.
    pub shard: ShardId,
}
wire_struct!(StreamPlace { stream, shard });

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name, shared by no other topic or queue.
    pub name: Name,
    /// Identity and versions.
    pub meta: Meta,
    /// As they were applied.
    pub settings: TopicSettings,
    /// Its partitions by number; as many as `settings.partitions`.
    pub partitions: Vec<StreamPlace>,
}
wire_struct!(Topic { name, meta, settings, partitions });

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name, shared by no other topic or queue.
    pub name: Name,
    /// Identity and versions.
    pub meta: Meta,
    /// As they were applied.
    pub settings: QueueSettings,
    /// Its stream.
    pub place: StreamPlace,
}
wire_struct!(Queue { name, meta, settings, place });

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, shared by no other group.
    pub name: Name,
    /// Identity and versions.
    pub meta: Meta,
    /// As they were applied.
    pub settings: GroupSettings,
}
wire_struct!(Group { name, meta, settings });

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamOwner {
    /// A partition of a topic.
    Partition {
        /// The topic.
        topic: Name,
        /// From 0.
        partition: u32,
    },
    /// A queue.
    Queue(Name),
}

/// A stream and where it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its shard.
    pub shard: ShardId,
    /// What it is.
    pub owner: StreamOwner,
}

/// The kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is explained at its row")]
pub enum Kind {
    Topic,
    Queue,
    Group,
}
wire_enum!(Kind { 0 => Topic, 1 => Queue, 2 => Group });

impl Kind {
    /// The word for people, such as `queue`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Queue => "queue",
            Self::Group => "group",
        }
    }
}

/// What happened to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It was created or its settings changed.
    Applied,
    /// It is gone.
    Deleted,
}
wire_enum!(Action { 0 => Applied, 1 => Deleted });

/// One change of one resource, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When; no two changes share one.
    pub revision: Revision,
    /// Of what.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// What happened.
    pub action: Action,
}
wire_struct!(Change { revision, kind, name, action });
