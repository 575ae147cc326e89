//! The state and its readers.

use std::collections::{BTreeMap, VecDeque};

use pondage_model::{
    BrokerId, Member, Name, ProducerId, Revision, ShardId, StreamId, Uuid, limits,
    membership::StreamRun,
    settings::{GroupSource, HomeSettings, ShareSettings, StartPosition, StreamSettings},
};

use crate::{
    index::Index,
    rows::{
        Action, Broker, Change, ClusterInfo, Group, Kind, Meta, Queue, Shard, Stream, StreamOwner, Topic,
    },
};

/// What the cluster knows besides messages: the fold over the committed commands of shard 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    pub(crate) revision: Revision,
    pub(crate) cluster: Option<ClusterInfo>,
    pub(crate) brokers: BTreeMap<BrokerId, Broker>,
    pub(crate) shards: BTreeMap<ShardId, Shard>,
    pub(crate) topics: BTreeMap<Name, Topic>,
    pub(crate) queues: BTreeMap<Name, Queue>,
    pub(crate) groups: BTreeMap<Name, Group>,
    pub(crate) next_broker: BrokerId,
    pub(crate) next_shard: ShardId,
    pub(crate) next_stream: StreamId,
    pub(crate) next_producer: ProducerId,
    /// The latest changes, ascending, at most [`limits::CATALOG_CHANGES_MAX`].
    pub(crate) changes: VecDeque<Change>,
    /// The revision of the latest change that was dropped from `changes`.
    pub(crate) changes_dropped: Revision,
    pub(crate) index: Index,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            revision: Revision::ZERO,
            cluster: None,
            brokers: BTreeMap::new(),
            shards: BTreeMap::new(),
            topics: BTreeMap::new(),
            queues: BTreeMap::new(),
            groups: BTreeMap::new(),
            // Numbers start at 1: shard 0 is the catalog, stream 0 means a whole shard, and an id that was never
            // set should not look like anybody's.
            next_broker: BrokerId(1),
            next_shard: ShardId(1),
            next_stream: StreamId(1),
            next_producer: ProducerId(1),
            changes: VecDeque::new(),
            changes_dropped: Revision::ZERO,
            index: Index::default(),
        }
    }
}

/// A resource of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is explained at its row")]
pub enum Resource<'a> {
    Topic(&'a Topic),
    Queue(&'a Queue),
    Group(&'a Group),
}

impl<'a> Resource<'a> {
    /// Its kind.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Topic(_) => Kind::Topic,
            Self::Queue(_) => Kind::Queue,
            Self::Group(_) => Kind::Group,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'a Name {
        match self {
            Self::Topic(topic) => &topic.name,
            Self::Queue(queue) => &queue.name,
            Self::Group(group) => &group.name,
        }
    }

    /// Its identity and versions.
    #[must_use]
    pub const fn meta(self) -> &'a Meta {
        match self {
            Self::Topic(topic) => &topic.meta,
            Self::Queue(queue) => &queue.meta,
            Self::Group(group) => &group.meta,
        }
    }
}

impl Catalog {
    /// A catalog before its first command.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The revision of the last applied command, refused ones included; zero before the first.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The cluster, once it is initialised.
    #[must_use]
    pub const fn cluster(&self) -> Option<&ClusterInfo> {
        self.cluster.as_ref()
    }

    /// Every broker, by id.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// The broker with this id.
    #[must_use]
    pub fn broker(&self, broker: BrokerId) -> Option<&Broker> {
        self.brokers.get(&broker)
    }

    /// The broker that is this volume.
    #[must_use]
    pub fn broker_of(&self, volume: Uuid) -> Option<&Broker> {
        self.brokers.values().find(|broker| broker.volume == volume)
    }

    /// The id that the next new volume will get: what a lone voter calls itself before it is registered.
    #[must_use]
    pub const fn next_broker(&self) -> BrokerId {
        self.next_broker
    }

    /// The id that the next new shard will get; ids are never used again.
    #[must_use]
    pub const fn next_shard(&self) -> ShardId {
        self.next_shard
    }

    /// Every shard, by id, the catalog's own included.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Shard> {
        self.shards.values()
    }

    /// The shard with this id.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(&shard)
    }

    /// The shards whose rows changed after `revision`, the earliest change first. Deleted ones are not among them.
    pub fn shards_changed_since(&self, revision: Revision) -> impl Iterator<Item = &Shard> {
        self.index.changed_since(revision).filter_map(|shard| self.shards.get(&shard))
    }

    /// The broker's current start; none for one that is unknown or whose volume is lost.
    #[must_use]
    pub fn member(&self, broker: BrokerId) -> Option<Member> {
        self.broker(broker).filter(|row| !row.lost).map(Broker::member)
    }

    /// Whether this is a current start of a broker.
    #[must_use]
    pub fn is_current(&self, member: Member) -> bool {
        self.member(member.broker) == Some(member)
    }

    /// The streams of a shard, ascending.
    pub fn streams_of(&self, shard: ShardId) -> impl Iterator<Item = StreamId> + '_ {
        self.index.streams_of(shard)
    }

    /// How many streams a shard has.
    #[must_use]
    pub fn stream_count_of(&self, shard: ShardId) -> usize {
        self.index.stream_count_of(shard)
    }

    /// How many streams the cluster has.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.index.stream_count()
    }

    /// What a stream is and where it lives.
    #[must_use]
    pub fn stream(&self, stream: StreamId) -> Option<&Stream> {
        self.index.stream(stream)
    }

    /// The settings that a stream's owner has now.
    #[must_use]
    pub fn stream_settings(&self, stream: StreamId) -> Option<StreamSettings> {
        Some(match &self.stream(stream)?.owner {
            StreamOwner::Partition { topic, .. } => {
                StreamSettings::Topic(self.topic(topic)?.settings.clone())
            }
            StreamOwner::Queue(queue) => StreamSettings::Queue(self.queue(queue)?.settings.clone()),
            StreamOwner::Home(group) => StreamSettings::Home(self.home_settings(self.group(group)?)),
            StreamOwner::Share { group, topic, partition } => {
                let partition = self.topic(topic)?.partitions.get(*partition as usize)?.stream;
                let group = self.group(group)?;
                let mut share = ShareSettings::of(&group.name, &group.settings, partition)?;
                if partition > group.home.stream && share.start_position == StartPosition::Latest {
                    // The partition came after the group, which has to read all of it.
                    share.start_position = StartPosition::Earliest;
                }
                StreamSettings::Share(Box::new(share))
            }
        })
    }

    /// What a group's home has to know: the partitions as they are now.
    fn home_settings(&self, group: &Group) -> HomeSettings {
        let topics = match &group.settings.source {
            GroupSource::Topics(topics) if group.settings.sharing.is_none() => topics.as_slice(),
            GroupSource::Topics(_) | GroupSource::Queue(_) => &[],
        };
        let runs_of = |topic: &Topic| StreamRun::of(topic.partitions.iter().map(|place| place.stream));
        HomeSettings {
            topics: topics.iter().filter_map(|name| self.topic(name)).map(runs_of).collect(),
            session_timeout_millis: group.settings.session_timeout_millis,
        }
    }

    /// The groups that read a topic or queue, or dead-letter to it.
    pub fn groups_of<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a Group> + 'a {
        let groups = self.referrers(name).filter(|(kind, _)| *kind == Kind::Group);
        groups.filter_map(|(_, group)| self.group(group))
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &Name) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// The queue of this name.
    #[must_use]
    pub fn queue(&self, name: &Name) -> Option<&Queue> {
        self.queues.get(name)
    }

    /// The consumer group of this name.
    #[must_use]
    pub fn group(&self, name: &Name) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Topic> {
        self.topics.values()
    }

    /// Every queue, by name.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = &Queue> {
        self.queues.values()
    }

    /// Every consumer group, by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> {
        self.groups.values()
    }

    /// The resource of this kind and name.
    #[must_use]
    pub fn resource(&self, kind: Kind, name: &Name) -> Option<Resource<'_>> {
        match kind {
            Kind::Topic => self.topic(name).map(Resource::Topic),
            Kind::Queue => self.queue(name).map(Resource::Queue),
            Kind::Group => self.group(name).map(Resource::Group),
        }
    }

    /// Every resource: topics, then queues, then groups, each by name. Applied in this order to an empty cluster,
    /// groups find what they read.
    pub fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        let topics = self.topics().map(Resource::Topic);
        topics.chain(self.queues().map(Resource::Queue)).chain(self.groups().map(Resource::Group))
    }

    /// The queues and groups that dead-letter to the topic or queue `name`, and the groups that read it.
    pub fn referrers(&self, name: &Name) -> impl ExactSizeIterator<Item = &(Kind, Name)> {
        self.index.referrers(name)
    }

    /// The changes after `revision`, ascending; `None` if the catalog does not remember them all (or never had
    /// that revision), so that the watcher must list again.
    #[must_use]
    pub fn changes_since(&self, revision: Revision) -> Option<impl Iterator<Item = &Change>> {
        let known = self.changes_dropped <= revision && revision <= self.revision;
        let first = self.changes.partition_point(|change| change.revision <= revision);
        known.then(|| self.changes.range(first..))
    }

    /// Remembers that a resource changed at the current revision.
    pub(crate) fn record(&mut self, kind: Kind, name: &Name, action: Action) -> Change {
        if self.changes.len() >= limits::CATALOG_CHANGES_MAX
            && let Some(dropped) = self.changes.pop_front()
        {
            self.changes_dropped = dropped.revision;
        }
        let change = Change { revision: self.revision, kind, name: name.clone(), action };
        self.changes.push_back(change.clone());
        change
    }

    /// The identity of a resource created at the current revision: the cluster's first half, then the revision,
    /// which no other resource of the cluster shares.
    pub(crate) fn new_meta(&self) -> Meta {
        let cluster = self.cluster.as_ref().map_or(Uuid::default(), |cluster| cluster.uuid);
        let mut uid = cluster.0;
        uid[8..].copy_from_slice(&self.revision.0.to_be_bytes());
        Meta { uid: Uuid(uid), generation: 1, created: self.revision, changed: self.revision }
    }
}
