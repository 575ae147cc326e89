//! Rows of the catalog as the shell and administrators see them.

use pondage_catalog::{self as catalog, Catalog, Kind, StreamOwner, StreamPlace};
use pondage_model::{Name, StreamId, entry::Open};

use super::{CoordinatorEffect, GroupRoute, Resource, ResourceSettings, Route};
use crate::shard::Ensure;

/// How a stream should be, by the catalog.
pub(super) fn ensure(catalog: &Catalog, stream: StreamId) -> Ensure {
    let open = catalog.stream(stream).zip(catalog.stream_settings(stream)).map(|(found, settings)| {
        let (name, partition) = match &found.owner {
            StreamOwner::Partition { topic, partition } => (topic.clone(), *partition),
            StreamOwner::Queue(name) | StreamOwner::Home(name) => (name.clone(), 0),
            StreamOwner::Share { topic, partition, .. } => (topic.clone(), *partition),
        };
        Open { name, partition, settings }
    });
    let dead_letter = open.as_ref().and_then(|open| {
        let target = catalog.queue(open.settings.queue()?.dead_letter.as_ref()?)?;
        Some((target.place.shard, target.place.stream))
    });
    Ensure { stream, open, begin: None, dead_letter, dropped_groups: Vec::new() }
}

pub(super) fn resource(found: catalog::Resource<'_>) -> Resource {
    let meta = found.meta();
    let (settings, partitions) = match found {
        catalog::Resource::Topic(topic) => {
            (ResourceSettings::Topic(topic.settings.clone()), topic.partitions.clone())
        }
        catalog::Resource::Queue(queue) => {
            (ResourceSettings::Queue(queue.settings.clone()), vec![queue.place])
        }
        catalog::Resource::Group(group) => {
            (ResourceSettings::Group(group.settings.clone()), vec![group.home])
        }
    };
    Resource {
        name: found.name().clone(),
        uid: meta.uid,
        revision: meta.changed,
        settings,
        partitions: partitions.into_iter().map(|place| (place.stream, place.shard)).collect(),
    }
}

/// Tells the shell where the messages of a name are now.
pub(super) fn route(catalog: &Catalog, kind: Kind, name: &Name, effects: &mut Vec<CoordinatorEffect>) {
    let found = catalog.resource(kind, name);
    effects.push(match (kind, found) {
        (Kind::Group, Some(catalog::Resource::Group(group))) => {
            let place = |place: &StreamPlace| (place.stream, place.shard);
            let route = GroupRoute {
                settings: group.settings.clone(),
                home: place(&group.home),
                shares: group.shares.iter().map(|shares| shares.iter().map(place).collect()).collect(),
            };
            CoordinatorEffect::Group(name.clone(), Some(route))
        }
        (Kind::Group, _) => CoordinatorEffect::Group(name.clone(), None),
        (_, found) => CoordinatorEffect::Route(
            name.clone(),
            found.map(resource).map(|Resource { name, settings, partitions, .. }| Route {
                name,
                settings,
                partitions,
            }),
        ),
    });
}
