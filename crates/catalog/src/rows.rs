//! The rows of the catalog, as its readers see them.

use pondage_model::{
    BrokerId, Epoch, Incarnation, Member, Name, Revision, ShardId, StreamId, Uuid,
    settings::{GroupSettings, GroupSource, QueueSettings, TopicSettings},
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

/// The feature levels that a broker can work at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureLevels {
    /// The lowest.
    pub lowest: u32,
    /// The highest.
    pub highest: u32,
}
wire_struct!(FeatureLevels { lowest, highest });

impl FeatureLevels {
    /// Whether a broker can work at this level.
    #[must_use]
    pub const fn contains(self, level: u32) -> bool {
        self.lowest <= level && level <= self.highest
    }
}

/// What a broker shall give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Drain {
    /// Nothing.
    #[default]
    Nothing,
    /// What it leads, because it stops for a while: it keeps its copies.
    Leadership,
    /// What it leads and its copies, because it goes for good.
    Everything,
}
wire_enum!(Drain { 0 => Nothing, 1 => Leadership, 2 => Everything });

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
    /// What its current start can work at.
    pub feature_levels: FeatureLevels,
    /// What it shall give away.
    pub drain: Drain,
    /// Its volume is lost for good: it is in sync with nothing and never comes back.
    pub lost: bool,
    /// When it first registered.
    pub created: Revision,
}
wire_struct!(Broker { id, volume, incarnation, nonce, address, rack, feature_levels, drain, lost, created });

impl Broker {
    /// Its current start.
    #[must_use]
    pub const fn member(&self) -> Member {
        Member { broker: self.id, incarnation: self.incarnation }
    }

    /// Whether new copies may be placed on it.
    #[must_use]
    pub fn takes_replicas(&self) -> bool {
        !self.lost && self.drain < Drain::Everything
    }

    /// Whether it should be made a leader while others can be.
    #[must_use]
    pub fn takes_leadership(&self) -> bool {
        !self.lost && self.drain == Drain::Nothing
    }
}

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
    /// The brokers that hold a copy. The first one leads by preference.
    pub replicas: Vec<BrokerId>,
    /// Those of them that go once the others hold enough.
    pub leaving: Vec<BrokerId>,
    /// The broker that leads it. None for shard 0, whose leader and epoch are the consensus's own, and while nobody
    /// is elected after the leader's volume was lost or its epoch was ended; no leader ever was in that epoch.
    pub leader: Option<BrokerId>,
    /// The leader's term; every start of a leader is a new one.
    pub epoch: Epoch,
    /// The replicas that hold every committed entry durably, each under the start in which a leader last confirmed
    /// it, ascending. Empty once the last of them was lost.
    pub isr: Vec<Member>,
    /// Copies that must be durable before an acknowledgement.
    pub min_in_sync_replicas: u32,
    /// Grows with every change of this row; what a compare-and-set compares.
    pub version: u64,
    /// When this row last changed.
    pub changed: Revision,
    /// The latest election that an administrator ordered among replicas that were not in sync.
    pub unclean: Option<UncleanElection>,
}
wire_struct!(Shard {
    id,
    kind,
    replicas,
    leaving,
    leader,
    epoch,
    isr,
    min_in_sync_replicas,
    version,
    changed,
    unclean
});

impl Shard {
    /// The replicas that stay: all but the leaving ones, the preferred leader first.
    pub fn staying(&self) -> impl Iterator<Item = BrokerId> + Clone + '_ {
        self.replicas.iter().copied().filter(|replica| !self.leaving.contains(replica))
    }

    /// The broker's place among the in-sync replicas.
    #[must_use]
    pub fn in_sync(&self, broker: BrokerId) -> Option<Member> {
        self.isr.iter().copied().find(|member| member.broker == broker)
    }

    /// The leader, in the start that it was elected in.
    #[must_use]
    pub fn leading(&self) -> Option<Member> {
        self.leader.and_then(|leader| self.in_sync(leader))
    }

    /// Whether no broker is left that is known to hold every committed entry: the condition `DataLost`. Only an
    /// administrator's order by name makes it go on.
    #[must_use]
    pub const fn is_data_lost(&self) -> bool {
        self.isr.is_empty()
    }

    /// The fewest in-sync replicas that may be left when the leader drops some.
    #[must_use]
    pub fn in_sync_floor(&self) -> usize {
        self.isr.len().min(self.min_in_sync_replicas as usize)
    }
}

/// An election by order of an administrator: committed entries may have been lost by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncleanElection {
    /// When.
    pub revision: Revision,
    /// The epoch that began with it.
    pub epoch: Epoch,
    /// Who was made the leader.
    pub leader: BrokerId,
    /// Why, in the administrator's words.
    pub reason: String,
}
wire_struct!(UncleanElection { revision, epoch, leader, reason });

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
    /// The stream that holds its membership: its home.
    pub home: StreamPlace,
    /// Of a shared group: its stream beside each partition, by topic as its settings name them, then partition.
    pub shares: Vec<Vec<StreamPlace>>,
}
wire_struct!(Group { name, meta, settings, home, shares });

impl Group {
    /// Its streams beside the partitions of a topic; none unless it is shared and reads it.
    #[must_use]
    pub fn shares_of(&self, topic: &Name) -> &[StreamPlace] {
        let GroupSource::Topics(topics) = &self.settings.source else { return &[] };
        let index = topics.iter().position(|name| name == topic);
        index.and_then(|index| self.shares.get(index)).map_or(&[], Vec::as_slice)
    }
}

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
    /// The home of a consumer group.
    Home(Name),
    /// A shared group beside a partition.
    Share {
        /// The group.
        group: Name,
        /// The topic.
        topic: Name,
        /// From 0.
        partition: u32,
    },
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
