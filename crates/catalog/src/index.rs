//! What follows from the rows, kept so that no question needs a walk over all of them.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{
    Name, Revision, ShardId, StreamId,
    settings::{GroupSettings, GroupSource},
};

use crate::rows::{Group, Kind, Queue, Stream, StreamOwner, StreamPlace, Topic};

/// Streams by id and by shard, shards by their latest change, and who refers to a topic or queue. Never encoded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Index {
    streams: BTreeMap<StreamId, Stream>,
    by_shard: BTreeMap<ShardId, BTreeSet<StreamId>>,
    by_change: BTreeSet<(Revision, ShardId)>,
    referrers: BTreeMap<Name, BTreeSet<(Kind, Name)>>,
}

impl Index {
    /// The shards that changed after `revision`, the earliest change first.
    pub(crate) fn changed_since(&self, revision: Revision) -> impl Iterator<Item = ShardId> + '_ {
        self.by_change.range((revision.next(), ShardId::ZERO)..).map(|&(_, shard)| shard)
    }

    /// The shard's latest change is no longer that of `before` but that of `now`; none before it exists, and after.
    pub(crate) fn shard_changed(&mut self, shard: ShardId, before: Option<Revision>, now: Option<Revision>) {
        if let Some(before) = before {
            self.by_change.remove(&(before, shard));
        }
        if let Some(now) = now {
            self.by_change.insert((now, shard));
        }
    }

    pub(crate) fn stream(&self, stream: StreamId) -> Option<&Stream> {
        self.streams.get(&stream)
    }

    pub(crate) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn streams_of(&self, shard: ShardId) -> impl Iterator<Item = StreamId> + '_ {
        self.by_shard.get(&shard).into_iter().flatten().copied()
    }

    pub(crate) fn stream_count_of(&self, shard: ShardId) -> usize {
        self.by_shard.get(&shard).map_or(0, BTreeSet::len)
    }

    /// The queues and groups that dead-letter to `name`, and the groups that read it.
    pub(crate) fn referrers(&self, name: &Name) -> impl ExactSizeIterator<Item = &(Kind, Name)> {
        static NONE: BTreeSet<(Kind, Name)> = BTreeSet::new();
        self.referrers.get(name).unwrap_or(&NONE).iter()
    }

    /// Adds a stream; false if its id is taken.
    pub(crate) fn open(&mut self, place: StreamPlace, owner: StreamOwner) -> bool {
        self.by_shard.entry(place.shard).or_default().insert(place.stream);
        self.streams.insert(place.stream, Stream { shard: place.shard, owner }).is_none()
    }

    pub(crate) fn close(&mut self, place: StreamPlace) {
        self.streams.remove(&place.stream);
        if let Some(streams) = self.by_shard.get_mut(&place.shard) {
            streams.remove(&place.stream);
            if streams.is_empty() {
                self.by_shard.remove(&place.shard);
            }
        }
    }

    /// Adds a topic's partitions from number `from` on; false if an id is taken.
    pub(crate) fn open_topic(&mut self, topic: &Topic, from: usize) -> bool {
        let mut fresh = true;
        for (partition, &place) in (0u32..).zip(&topic.partitions).skip(from) {
            fresh &= self.open(place, StreamOwner::Partition { topic: topic.name.clone(), partition });
        }
        fresh
    }

    /// Adds a queue's stream and its reference to its dead-letter queue; false if the id is taken.
    pub(crate) fn open_queue(&mut self, queue: &Queue) -> bool {
        self.refer_queue(queue);
        self.open(queue.place, StreamOwner::Queue(queue.name.clone()))
    }

    pub(crate) fn refer_queue(&mut self, queue: &Queue) {
        if let Some(target) = &queue.settings.dead_letter {
            self.refer(target, Kind::Queue, &queue.name);
        }
    }

    pub(crate) fn forget_queue(&mut self, queue: &Queue) {
        if let Some(target) = &queue.settings.dead_letter {
            self.forget(target, Kind::Queue, &queue.name);
        }
    }

    /// Adds a group's home and its references to what it reads; false if the id is taken.
    pub(crate) fn open_group(&mut self, group: &Group) -> bool {
        self.refer_group(group);
        let mut fresh = self.open(group.home, StreamOwner::Home(group.name.clone()));
        for (topic, shares) in sources(&group.settings.source).iter().zip(&group.shares) {
            for (partition, &place) in (0u32..).zip(shares) {
                fresh &= self.open_share(group, topic, partition, place);
            }
        }
        fresh
    }

    /// Adds a shared group's stream beside a partition; false if the id is taken.
    pub(crate) fn open_share(
        &mut self,
        group: &Group,
        topic: &Name,
        partition: u32,
        place: StreamPlace,
    ) -> bool {
        let (group, topic) = (group.name.clone(), topic.clone());
        self.open(place, StreamOwner::Share { group, topic, partition })
    }

    pub(crate) fn refer_group(&mut self, group: &Group) {
        for target in targets(group) {
            self.refer(target, Kind::Group, &group.name);
        }
    }

    pub(crate) fn forget_group(&mut self, group: &Group) {
        for target in targets(group) {
            self.forget(target, Kind::Group, &group.name);
        }
    }

    fn refer(&mut self, target: &Name, kind: Kind, by: &Name) {
        self.referrers.entry(target.clone()).or_default().insert((kind, by.clone()));
    }

    fn forget(&mut self, target: &Name, kind: Kind, by: &Name) {
        if let Some(referrers) = self.referrers.get_mut(target) {
            referrers.remove(&(kind, by.clone()));
            if referrers.is_empty() {
                self.referrers.remove(target);
            }
        }
    }
}

/// What a group refers to: what it reads, and where its dead letters go.
fn targets(group: &Group) -> impl Iterator<Item = &Name> {
    sources(&group.settings.source).iter().chain(dead_letter(&group.settings))
}

/// Where the dead letters of a shared group go.
pub(crate) fn dead_letter(settings: &GroupSettings) -> Option<&Name> {
    settings.sharing.as_ref()?.dead_letter.as_ref()
}

/// The topics or the queue that a group reads.
pub(crate) fn sources(source: &GroupSource) -> &[Name] {
    match source {
        GroupSource::Topics(topics) => topics,
        GroupSource::Queue(queue) => std::slice::from_ref(queue),
    }
}
