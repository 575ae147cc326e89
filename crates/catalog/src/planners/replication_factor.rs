//! As many copies as asked, on brokers that take them: shards of a cluster that grew get more, shards whose resource
//! changed get what it asks, copies on lost and leaving brokers get a substitute.
//!
//! Measure: the number of shards whose replicas are not as wanted falls; what one shard wants depends on the brokers
//! and the settings alone, and which brokers it gets does not change once it has them.

use std::collections::BTreeSet;

use pondage_model::{BrokerId, limits, settings::StreamSettings};

use super::{assigned, is_copying, moves_left};
use crate::{
    placement::{BrokerLoad, Loads, default_replicas, majority},
    rows::{Shard, ShardKind},
    shard_changes::ReplicaChange,
    state::Catalog,
};

/// How many copies a shard shall have, and how many of them in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Copies.
    pub replicas: usize,
    /// Copies that must be durable before an acknowledgement.
    pub min_in_sync_replicas: u32,
}

/// What the shard's resource asks for, or the cluster's default: three copies or as many as there are brokers, lost ones
/// counted (they are to be replaced) and those that give everything away not. A pooled shard has the default.
#[must_use]
pub fn wanted(catalog: &Catalog, shard: &Shard) -> Wanted {
    let settings = match shard.kind {
        ShardKind::Dedicated => {
            catalog.streams_of(shard.id).next().and_then(|stream| catalog.stream_settings(stream))
        }
        _ => None,
    };
    let (replicas, minimum) = match settings {
        Some(StreamSettings::Topic(topic)) => (topic.replicas, topic.min_in_sync_replicas),
        Some(StreamSettings::Queue(queue)) => (queue.replicas, queue.min_in_sync_replicas),
        Some(StreamSettings::Home(_) | StreamSettings::Share(_)) | None => (None, None),
    };
    let replicas = replicas.map_or_else(|| default_replicas(catalog), |asked| asked as usize);
    let replicas = replicas.max(minimum.unwrap_or(1) as usize).min(limits::REPLICAS_MAX as usize);
    Wanted { replicas, min_in_sync_replicas: minimum.unwrap_or_else(|| majority(replicas)) }
}

/// The changes of one round.
#[must_use]
pub fn plan(catalog: &Catalog, live: &BTreeSet<BrokerId>) -> Vec<ReplicaChange> {
    let mut loads = Loads::of(catalog);
    let mut left = moves_left(catalog, live);
    let mut changes = Vec::new();
    for shard in assigned(catalog) {
        let staying: Vec<BrokerId> = shard.staying().collect();
        let wanted = wanted(catalog, shard);
        let replicas = replicas_of(catalog, live, &loads, shard, wanted.replicas);
        let min_in_sync_replicas = minimum_of(shard, &replicas, wanted.min_in_sync_replicas);
        let copies = replicas.iter().any(|broker| !shard.replicas.contains(broker));
        if (replicas == staying && min_in_sync_replicas == shard.min_in_sync_replicas)
            || (copies && left == 0)
        {
            continue;
        }
        left -= usize::from(copies && !is_copying(catalog, live, shard));
        loads.replace(shard, &replicas);
        changes.push(ReplicaChange {
            shard: shard.id,
            version: shard.version,
            replicas,
            min_in_sync_replicas,
        });
    }
    changes
}

/// The shard's replicas: those that can stay, and as many more as are wanted and there.
fn replicas_of(
    catalog: &Catalog,
    live: &BTreeSet<BrokerId>,
    loads: &Loads,
    shard: &Shard,
    wanted: usize,
) -> Vec<BrokerId> {
    let (mut replicas, unable): (Vec<BrokerId>, Vec<BrokerId>) =
        shard.staying().partition(|broker| loads.brokers.contains_key(broker));
    while replicas.len() < wanted {
        // One that holds a copy already, on its way out, is as good as new.
        let holds = |broker: BrokerId| shard.replicas.contains(&broker);
        let has_room = |broker: BrokerId, load: &BrokerLoad| {
            holds(broker) || (live.contains(&broker) && load.held < limits::SHARDS_PER_BROKER_MAX)
        };
        let room = |(broker, load): (BrokerId, &BrokerLoad)| has_room(broker, load);
        let cost = |broker, load: &BrokerLoad| (!holds(broker), load.held, load.led);
        match loads.next_broker(&replicas, room, cost) {
            Some(broker) => replicas.push(broker),
            None => break,
        }
    }
    // A copy that should go stays while there is nothing in its place: better one on a leaving broker than none.
    let mut unable = unable;
    unable.sort_by_key(|&broker| (catalog.member(broker).is_none(), shard.in_sync(broker).is_none()));
    let missing = wanted.saturating_sub(replicas.len());
    replicas.extend(unable.into_iter().take(missing));
    while replicas.len() > wanted.max(1) {
        let worst = worst(loads, shard, &replicas);
        replicas.retain(|&broker| broker != worst);
    }
    replicas
}

/// The copy that is needed least: never the leader's, first one in a rack with others, out of sync, on a full broker.
fn worst(loads: &Loads, shard: &Shard, replicas: &[BrokerId]) -> BrokerId {
    let rank = |&broker: &BrokerId| {
        let load = loads.brokers.get(&broker);
        let is_alone = loads.in_rack_of(broker, replicas) <= 1;
        let is_leader = shard.leader == Some(broker);
        (
            !is_leader,
            !is_alone,
            shard.in_sync(broker).is_none(),
            load.map_or(usize::MAX, |load| load.held),
            broker,
        )
    };
    *replicas.iter().max_by_key(|broker| rank(broker)).expect("more than are wanted")
}

/// The minimum falls when that is asked, and rises once the in-sync replicas reach it: before, it would stop the
/// shard's writes.
fn minimum_of(shard: &Shard, replicas: &[BrokerId], wanted: u32) -> u32 {
    let in_sync = replicas.iter().filter(|&&broker| shard.in_sync(broker).is_some()).count();
    let reaches = wanted as usize <= in_sync;
    if wanted < shard.min_in_sync_replicas || reaches { wanted } else { shard.min_in_sync_replicas }
}
