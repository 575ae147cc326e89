//! Consumer groups.

use pondage_model::{
    Name, Refusal, limits,
    settings::{GroupSettings, GroupSource},
};

use super::validate;
use crate::{
    command::{Opened, Outcome},
    index::sources,
    placement::{Loads, Wish, default_replicas},
    rows::{Group, Kind},
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
        self.check_sources(&settings.source)?;
        if existing.is_none() && self.groups.len() >= limits::GROUPS_MAX {
            return Err(Refusal::Conflict {
                what: format!("the cluster has {} consumer groups, the most it takes", limits::GROUPS_MAX),
            });
        }

        if let Some(group) = self.groups.get_mut(name) {
            group.settings = settings.clone();
            group.meta.generation += 1;
            group.meta.changed = self.revision;
            let meta = group.meta;
            return Ok(self.applied(Kind::Group, name, meta, Vec::new(), Vec::new()));
        }
        let (mut streams, mut shards) = (Vec::new(), Vec::new());
        let wish = Wish::home(self.brokers.len(), default_replicas(self))?;
        let decision = Loads::of(self).place(&wish)?;
        let home = self.take_place(decision, &wish.replication, &mut shards);
        streams.push(Opened { stream: home.stream, shard: home.shard, partition: 0 });
        let meta = self.new_meta();
        let group = Group { name: name.clone(), meta, settings: settings.clone(), home };
        let fresh_id = self.index.open_group(&group);
        assert!(fresh_id, "the stream id of group {name} was taken");
        self.groups.insert(name.clone(), group);
        Ok(self.applied(Kind::Group, name, meta, streams, shards))
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
