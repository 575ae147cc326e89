//! Resources that came, changed and went: what the shards that are led here have to do, and who waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pondage_catalog::{
    Action, Applied as CatalogApplied, Catalog, Change, Consensus, Deleted, Kind, StreamPlace,
};
use pondage_model::{Epoch, Name, Refusal, ShardId, StreamId, refusal::Outcome, settings::GroupSource};

use super::{
    AdminReply, Applied, Coordinator, CoordinatorEffect,
    resources::{ensure, route},
    shards::{Answer, AnswerId},
};
use crate::shard::{Ensure, RequestId};

impl<C: Consensus> Coordinator<C> {
    pub(super) fn applied(
        &mut self,
        admin: Option<RequestId>,
        how: Applied,
        applied: &CatalogApplied,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Change { revision, kind, ref name, .. } = applied.change;
        effects.push(CoordinatorEffect::Changed(applied.change.clone()));
        let places = self.places_of(kind, name);
        // Who reads it has to hear of new partitions, and gets its streams beside them. Nobody waits for that.
        let is_read = kind != Kind::Group;
        let readers = self.catalog.groups_of(name).filter(|_| is_read);
        let read_by: Vec<StreamPlace> =
            readers.flat_map(|group| group.shares_of(name).iter().copied().chain([group.home])).collect();
        for place in places.iter().chain(&read_by) {
            self.shards.want(place.shard, place.stream, None);
        }
        let affected: BTreeSet<ShardId> = places.iter().map(|place| place.shard).collect();
        let reply = |id| {
            let result = Ok(AdminReply::Applied { applied: how, revision });
            CoordinatorEffect::Reply { id, result }
        };
        // Nobody is sent to a stream that its shard does not have yet.
        let said = Answer::saying(admin.map(reply));
        let answer = self.shards.answer(said.routing(kind, name.clone(), revision));
        affected.iter().for_each(|shard| self.shards.wait(*shard, answer));
        self.wait_for_others(answer, &affected, &[], revision, effects);
        if kind == Kind::Group {
            // One of the same name was deleted a moment ago: its cursors are not this one's.
            self.shards.wait_until_forgotten(name, answer);
        }
        self.settle(answer, effects);
        let told = affected.into_iter().chain(read_by.into_iter().map(|place| place.shard));
        told.collect::<BTreeSet<_>>().into_iter().for_each(|shard| self.ask_shard(shard, effects));
    }

    pub(super) fn deleted(
        &mut self,
        admin: Option<RequestId>,
        deleted: &Deleted,
        read_streams: &[StreamId],
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Change { revision, kind, ref name, action } = deleted.change;
        debug_assert_eq!(action, Action::Deleted);
        route(&self.catalog, kind, name, effects);
        effects.push(CoordinatorEffect::Changed(deleted.change.clone()));
        for (shard, _) in &deleted.shards {
            self.assign(*shard, false, effects);
        }
        let mut affected = BTreeSet::new();
        for (stream, shard) in &deleted.streams {
            self.shards.want(*shard, *stream, None);
            affected.insert(*shard);
        }
        // The cursors of a group that is gone.
        for stream in read_streams {
            if let Some(found) = self.catalog.stream(*stream) {
                self.shards.want(found.shard, *stream, Some(name));
                affected.insert(found.shard);
            }
        }
        let reply = |id| CoordinatorEffect::Reply { id, result: Ok(AdminReply::Deleted { revision }) };
        let answer = self.shards.answer(Answer::saying(admin.map(reply)));
        affected.iter().for_each(|shard| self.shards.wait(*shard, answer));
        // A dedicated shard has no row any more; its leader gave leases and may not have heard of its end.
        self.wait_for_others(answer, &affected, &deleted.shards, revision, effects);
        self.settle(answer, effects);
        affected.into_iter().for_each(|shard| self.ask_shard(shard, effects));
    }

    /// Where the streams of a resource are.
    pub(super) fn places_of(&self, kind: Kind, name: &Name) -> Vec<StreamPlace> {
        match kind {
            Kind::Topic => self.catalog.topic(name).map(|topic| topic.partitions.clone()),
            Kind::Queue => self.catalog.queue(name).map(|queue| vec![queue.place]),
            Kind::Group => self.catalog.group(name).map(|group| {
                let shares = group.shares.iter().flatten().copied();
                shares.chain([group.home]).collect()
            }),
        }
        .unwrap_or_default()
    }

    /// Gives the answer if nobody has to do anything for it.
    pub(super) fn settle(&mut self, answer: AnswerId, effects: &mut Vec<CoordinatorEffect>) {
        let mut given = Vec::new();
        self.shards.settle(answer, &mut given);
        self.give(given, effects);
    }

    pub(super) fn give(&self, given: Vec<Answer>, effects: &mut Vec<CoordinatorEffect>) {
        for answer in given {
            if let Some((kind, name, revision)) = answer.route
                && self.catalog.resource(kind, &name).is_some_and(|found| found.meta().changed == revision)
            {
                route(&self.catalog, kind, &name, effects);
                if kind == Kind::Topic {
                    // Shared groups have streams beside the partitions that are new.
                    // One that was changed since is told of when its own streams are there.
                    let readers = self.catalog.groups_of(&name);
                    let readers =
                        readers.filter(|group| !group.shares.is_empty() && group.meta.changed < revision);
                    readers.for_each(|group| route(&self.catalog, Kind::Group, &group.name, effects));
                }
            }
            effects.extend(answer.effect);
        }
    }

    pub(super) fn serving(&mut self, shard: ShardId, epoch: Epoch, effects: &mut Vec<CoordinatorEffect>) {
        if self.shards.serving(shard, epoch) {
            self.ask_shard(shard, effects);
        }
    }

    /// Asks every shard that has something left to do.
    pub(super) fn ask_all_shards(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        let led: Vec<ShardId> = self.shards.led().collect();
        led.into_iter().for_each(|shard| self.ask_shard(shard, effects));
    }

    /// Asks the shard for what it has to do, if it is not asked something already.
    fn ask_shard(&mut self, shard: ShardId, effects: &mut Vec<CoordinatorEffect>) {
        let id = RequestId(self.new_id());
        let Some(wanted) = self.shards.ask(shard, id) else { return };
        let ensure = |(stream, dropped): (StreamId, Vec<Name>)| Ensure {
            dropped_groups: dropped,
            ..ensure(&self.catalog, stream)
        };
        let mut streams: BTreeMap<StreamId, Vec<Name>> = BTreeMap::new();
        if wanted.all {
            streams.extend(self.catalog.streams_of(shard).map(|stream| (stream, Vec::new())));
        }
        for (stream, dropped) in &wanted.streams {
            streams.insert(*stream, dropped.iter().cloned().collect());
        }
        let groups = || Arc::new(self.catalog.groups().map(|group| group.name.clone()).collect());
        let complete = wanted.all.then(groups);
        let streams = streams.into_iter().map(ensure).collect();
        effects.push(CoordinatorEffect::Ensure { id, shard, streams, complete });
    }

    pub(super) fn ensured(
        &mut self,
        id: RequestId,
        result: Result<(), Refusal>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        match result {
            Ok(()) => {
                let mut given = Vec::new();
                let shard = self.shards.did(id, &mut given);
                self.give(given, effects);
                if let Some(shard) = shard {
                    self.ask_shard(shard, effects);
                }
            }
            // It does not lead any more, or not yet, or had no answer in time: the next tick asks again.
            Err(refusal) if refusal.retriable() || refusal.outcome() == Outcome::Unknown => {
                self.shards.did_not(id);
            }
            Err(refusal) => {
                if self.shards.is_asked(id) {
                    // The catalog and a shard that serves disagree about what may be: nothing the sender can mend.
                    self.end(refusal, effects);
                }
            }
        }
    }
}

/// The partitions that a group has cursors in.
pub(super) fn streams_read_by(catalog: &Catalog, group: &Name) -> Vec<StreamId> {
    let Some(group) = catalog.group(group).filter(|group| group.settings.sharing.is_none()) else {
        return Vec::new();
    };
    let GroupSource::Topics(topics) = &group.settings.source else { return Vec::new() };
    let partitions = topics.iter().filter_map(|name| catalog.topic(name)).flat_map(|topic| &topic.partitions);
    partitions.map(|place| place.stream).collect()
}
