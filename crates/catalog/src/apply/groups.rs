//! Consumer groups.

use pondage_model::{
    Name, Refusal, limits,
    settings::{GroupSettings, GroupSource},
};

use super::validate;
use crate::{
    command::Outcome,
    index::sources,
    rows::{Group, Kind, Meta},
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

        let fresh = self.new_meta();
        let group = self.groups.entry(name.clone()).or_insert_with(|| Group {
            name: name.clone(),
            meta: Meta { generation: 0, ..fresh },
            settings: settings.clone(),
        });
        group.settings = settings.clone();
        group.meta.generation += 1;
        group.meta.changed = self.revision;
        self.index.refer_group(group);
        let meta = group.meta;
        Ok(self.applied(Kind::Group, name, meta, Vec::new(), Vec::new()))
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
