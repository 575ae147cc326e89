//! Copies for brokers that came, and an end for those that are gone.
//!
//! Measure of [`spread`]: the racks that the shards' copies stand in, summed, rise; or they stay and the sum of the
//! squares of the brokers' copies falls. Shards count as they will be once what is under way is done.

use std::collections::BTreeSet;

use pondage_model::{BrokerId, limits};

use super::{assigned, is_copying, living_leader, moves_left};
use crate::{
    placement::{BrokerLoad, Loads},
    rows::Shard,
    shard_changes::ReplicaChange,
    state::Catalog,
};

/// Moves copies into racks that a shard has none in, and from the brokers with the most copies to those with the
/// fewest.
#[must_use]
pub fn spread(catalog: &Catalog, live: &BTreeSet<BrokerId>) -> Vec<ReplicaChange> {
    let mut loads = Loads::of(catalog);
    let mut left = moves_left(catalog, live);
    let mut changes = Vec::new();
    for shard in assigned(catalog) {
        if left == 0 {
            break;
        }
        let replicas: Vec<BrokerId> = shard.staying().collect();
        let is_settled = shard.leaving.is_empty()
            && !is_copying(catalog, live, shard)
            && replicas.iter().all(|broker| loads.brokers.contains_key(broker));
        if !is_settled || living_leader(catalog, live, shard).is_none() {
            continue;
        }
        let Some((from, to)) = best_move(&loads, live, shard, &replicas) else { continue };
        // The newcomer takes the old one's place in the order, and with it the preference to lead.
        let replicas: Vec<BrokerId> =
            replicas.into_iter().map(|broker| if broker == from { to } else { broker }).collect();
        loads.replace(shard, &replicas);
        left -= 1;
        let (version, min_in_sync_replicas) = (shard.version, shard.min_in_sync_replicas);
        changes.push(ReplicaChange { shard: shard.id, version, replicas, min_in_sync_replicas });
    }
    changes
}

fn best_move(
    loads: &Loads,
    live: &BTreeSet<BrokerId>,
    shard: &Shard,
    replicas: &[BrokerId],
) -> Option<(BrokerId, BrokerId)> {
    // The copy that goes: one in a crowded rack before the others, then on the fullest broker; rather a follower's.
    let mut goers: Vec<BrokerId> = replicas.to_vec();
    goers.sort_by_key(|&broker| {
        let load = loads.brokers[&broker];
        let is_alone = loads.in_rack_of(broker, replicas) <= 1;
        (is_alone, usize::MAX - load.held, shard.leader == Some(broker), broker)
    });
    goers.into_iter().find_map(|from| {
        let others: Vec<BrokerId> = replicas.iter().copied().filter(|&broker| broker != from).collect();
        let room = |(broker, load): (BrokerId, &BrokerLoad)| {
            broker != from && live.contains(&broker) && load.held < limits::SHARDS_PER_BROKER_MAX
        };
        let to = loads.next_broker(&others, room, |_, load: &BrokerLoad| (load.held, load.led))?;
        let racks_before = loads.racks_of(replicas);
        let racks_after = loads.racks_of(&[others.as_slice(), &[to]].concat());
        let is_more_even = loads.brokers[&to].held + 2 <= loads.brokers[&from].held;
        let improves = racks_after > racks_before || (racks_after == racks_before && is_more_even);
        improves.then_some((from, to))
    })
}

/// The lost brokers that hold no copy any more: nothing will ever be heard of them.
#[must_use]
pub fn forgotten(catalog: &Catalog) -> Vec<BrokerId> {
    let held: BTreeSet<BrokerId> =
        catalog.shards().flat_map(|shard| shard.replicas.iter().copied()).collect();
    let is_over = |broker: &&crate::Broker| broker.lost && !held.contains(&broker.id);
    catalog.brokers().filter(is_over).map(|broker| broker.id).collect()
}
