//! Consumer groups.

use pondage_model::{
    Name, Refusal, limits,
    settings::{GroupSettings, GroupSource},
};

use super::validate;
use crate::{
    command::{Opened, Outcome},
    index::{dead_letter, sources},
    placement::{Loads, Wish, default_replicas},
    rows::{Group, Kind, StreamPlace},
    state::Catalog,
};

impl Catalog {
    pub(super) fn apply_group(&mut self, name: &Name, settings: &GroupSettings) -> Result<Outcome, Refusal> {
        let existing = self.groups.get(name);
        if existing.is_some_and(|group| group.settings == *settings) {
            return Ok(Outcome::Unchanged);
        }
        validate::group(settings)?;
        if existing.is_some_and(|group| group.settings.source != settings.source) {
            return Err(Refusal::InvalidArgument {
                what: "topics, queue: what a group reads can't change; create another group".to_owned(),
            });
        }
        if existing.is_some_and(|group| group.settings.sharing.is_some() != settings.sharing.is_some()) {
            return Err(Refusal::InvalidArgument {
                what: "mode: a group is shared for life or not at all; create another group".to_owned(),
            });
        }
        self.check_sources(&settings.source)?;
        self.check_dead_letter(dead_letter(settings))?;
        if existing.is_none() && self.groups.len() >= limits::GROUPS_MAX {
            return Err(Refusal::Conflict {
                what: format!("the cluster has {} consumer groups, the most it takes", limits::GROUPS_MAX),
            });
        }

        if let Some(group) = self.groups.get_mut(name) {
            self.index.forget_group(group);
            group.settings = settings.clone();
            group.meta.generation += 1;
            group.meta.changed = self.revision;
            self.index.refer_group(group);
            let meta = group.meta;
            return Ok(self.applied(Kind::Group, name, meta, Vec::new(), Vec::new()));
        }
        let (mut streams, mut shards) = (Vec::new(), Vec::new());
        let wish = Wish::home(self.brokers.len(), default_replicas(self))?;
        let decision = Loads::of(self).place(&wish)?;
        self.check_sharing(settings)?;
        let home = self.take_place(decision, &wish.replication, &mut shards);
        streams.push(Opened { stream: home.stream, shard: home.shard, partition: 0 });
        let shares = self.take_shares(settings, &mut streams);
        let meta = self.new_meta();
        let group = Group { name: name.clone(), meta, settings: settings.clone(), home, shares };
        let fresh_id = self.index.open_group(&group);
        assert!(fresh_id, "the stream id of group {name} was taken");
        self.groups.insert(name.clone(), group);
        Ok(self.applied(Kind::Group, name, meta, streams, shards))
    }

    /// Whether there is room for a new shared group.
    fn check_sharing(&self, settings: &GroupSettings) -> Result<(), Refusal> {
        if settings.sharing.is_none() {
            return Ok(());
        }
        let mut streams = 0;
        for topic in sources(&settings.source) {
            let most = limits::SHARED_GROUPS_PER_TOPIC_MAX;
            if self.shared_readers(topic).count() >= most {
                let what = format!("topic {topic} has {most} shared groups, the most that one topic takes");
                return Err(Refusal::Conflict { what });
            }
            streams += self.topics.get(topic).map_or(0, |topic| topic.partitions.len());
        }
        self.check_room(streams)
    }

    /// A stream for a new shared group beside each partition that it reads.
    fn take_shares(&mut self, settings: &GroupSettings, opened: &mut Vec<Opened>) -> Vec<Vec<StreamPlace>> {
        if settings.sharing.is_none() {
            return Vec::new();
        }
        let mut shares = Vec::new();
        for topic in sources(&settings.source) {
            let partitions = self.partitions_of(topic);
            let places = (0..).zip(partitions).map(|(partition, at)| self.take_share(partition, at, opened));
            shares.push(places.collect());
        }
        shares
    }

    fn partitions_of(&self, topic: &Name) -> Vec<StreamPlace> {
        self.topics.get(topic).map_or_else(Vec::new, |topic| topic.partitions.clone())
    }

    fn take_share(&mut self, partition: u32, at: StreamPlace, opened: &mut Vec<Opened>) -> StreamPlace {
        let share = StreamPlace { stream: self.next_stream, shard: at.shard };
        self.next_stream = share.stream.next();
        opened.push(Opened { stream: share.stream, shard: share.shard, partition });
        share
    }

    /// Gives the shared groups that read a topic their streams beside its new partitions, from number `from` on.
    pub(super) fn extend_shares(&mut self, topic: &Name, from: usize, opened: &mut Vec<Opened>) {
        let readers: Vec<Name> = self.shared_readers(topic).map(|group| group.name.clone()).collect();
        let partitions = self.partitions_of(topic);
        for name in readers {
            for (partition, at) in (0..).zip(&partitions).skip(from) {
                let share = self.take_share(partition, *at, opened);
                let Some(group) = self.groups.get_mut(&name) else { continue };
                let index = sources(&group.settings.source).iter().position(|source| source == topic);
                let shares = index.and_then(|index| group.shares.get_mut(index));
                shares.expect("a shared group has a list for each topic that it reads").push(share);
                let fresh = self.index.open_share(group, topic, partition, share);
                assert!(fresh, "the stream id of group {name} was taken");
            }
        }
    }

    pub(super) fn shared_readers<'a>(&'a self, topic: &'a Name) -> impl Iterator<Item = &'a Group> + 'a {
        self.groups_of(topic).filter(|group| group.settings.sharing.is_some())
    }

    fn check_sources(&self, source: &GroupSource) -> Result<(), Refusal> {
        let (kind, missing) = match source {
            GroupSource::Topics(_) => {
                ("topic", sources(source).iter().find(|name| !self.topics.contains_key(*name)))
            }
            GroupSource::Queue(queue) => {
                ("queue", Some(queue).filter(|name| !self.queues.contains_key(*name)))
            }
        };
        missing.map_or(Ok(()), |name| Err(Refusal::NotFound { kind, name: name.to_string() }))
    }
}
