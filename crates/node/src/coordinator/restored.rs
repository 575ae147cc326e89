//! The whole catalog at once, where commands were left out: this broker lagged too far behind.
//!
//! What the left out commands would have said one by one is found by comparing the two catalogs. Who watches is told
//! of at least as much as changed.

use std::collections::BTreeSet;

use bytes::Bytes;
use pondage_catalog::{Action, Catalog, Change, Consensus, Kind, restore};
use pondage_model::{Name, Refusal, Revision, ShardId};

use super::{Coordinator, CoordinatorEffect, shards::Answer};

/// A resource of the catalog before.
struct Before {
    kind: Kind,
    name: Name,
    created: Revision,
}

impl<C: Consensus> Coordinator<C> {
    /// Takes the catalog of these pages in place of its own.
    pub(super) fn restored(&mut self, pages: &[Bytes], effects: &mut Vec<CoordinatorEffect>) {
        let catalog = match restore(pages) {
            Ok(catalog) => catalog,
            Err(malformed) => return self.end(Refusal::Malformed { what: malformed.0 }, effects),
        };
        if catalog.revision() <= self.catalog.revision() {
            return;
        }
        let before = std::mem::replace(&mut self.catalog, catalog);
        // Whoever leads the consensus applied every command. Whoever leads it next looks at everything anew.
        self.leading = None;
        if self.broker().is_none() {
            // Nobody was told of anything yet.
            return;
        }
        let gone = self.gone_since(&before);
        for old in &gone {
            let name = old.name.clone();
            // A new one of the same name is told of below.
            if self.catalog.resource(old.kind, &name).is_none() {
                super::resources::route(&self.catalog, old.kind, &name, effects);
                let revision = self.catalog.revision();
                let change = Change { revision, kind: old.kind, name, action: Action::Deleted };
                effects.push(CoordinatorEffect::Changed(change));
            }
        }
        let shards: BTreeSet<ShardId> =
            self.assigned.keys().copied().chain(self.catalog.shards().map(|row| row.id)).collect();
        for shard in shards {
            self.assign(shard, false, effects);
        }
        self.forget_cursors(&before, &gone);
        // Streams came and went in shards that are led here as before.
        let led: Vec<ShardId> = self.shards.led().collect();
        led.iter().for_each(|shard| self.shards.want_all(*shard));
        self.route_changed(before.revision(), effects);
        self.ask_all_shards(effects);
    }

    /// Resources that are no more, whether or not there is another of the same name.
    fn gone_since(&self, before: &Catalog) -> Vec<Before> {
        let old = before.resources().map(|old| Before {
            kind: old.kind(),
            name: old.name().clone(),
            created: old.meta().created,
        });
        let is_gone = |old: &Before| {
            let found = self.catalog.resource(old.kind, &old.name);
            found.is_none_or(|found| found.meta().created != old.created)
        };
        old.filter(is_gone).collect()
    }

    /// A group's cursors go with it, also where another group has its name by now.
    fn forget_cursors(&mut self, before: &Catalog, gone: &[Before]) {
        for group in gone.iter().filter(|old| old.kind == Kind::Group) {
            for stream in super::ensuring::streams_read_by(before, &group.name) {
                if let Some(shard) = self.catalog.stream(stream).map(|found| found.shard) {
                    self.shards.want(shard, stream, Some(&group.name));
                }
            }
        }
    }

    /// Tells of what is new or changed, where it is led here once its shards have it.
    fn route_changed(&mut self, since: Revision, effects: &mut Vec<CoordinatorEffect>) {
        let changed: Vec<(Change, BTreeSet<ShardId>)> = self
            .catalog
            .resources()
            .filter(|resource| resource.meta().changed > since)
            .map(|resource| {
                let meta = resource.meta();
                let action = Action::Applied;
                let (kind, name) = (resource.kind(), resource.name().clone());
                let shards: BTreeSet<ShardId> =
                    self.places_of(kind, &name).into_iter().map(|place| place.shard).collect();
                (Change { revision: meta.changed, kind, name, action }, shards)
            })
            .collect();
        for (change, shards) in changed {
            let said = Answer::saying(None).routing(change.kind, change.name.clone(), change.revision);
            let answer = self.shards.answer(said);
            shards.iter().for_each(|shard| self.shards.wait(*shard, answer));
            if change.kind == Kind::Group {
                self.shards.wait_until_forgotten(&change.name, answer);
            }
            effects.push(CoordinatorEffect::Changed(change));
            self.settle(answer, effects);
        }
    }
}
