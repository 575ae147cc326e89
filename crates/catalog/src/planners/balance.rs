//! Leaders spread evenly, and each shard led by its preferred replica, the first one, where that is as even.
//!
//! Measure: the sum of the squares of the brokers' leader counts falls, or stays while more shards are led by their
//! preferred replica.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{BrokerId, limits};

use super::{LeaderMove, assigned, living_leader, successors};
use crate::{rows::Broker, state::Catalog};

/// The hand-overs of one round.
#[must_use]
pub fn plan(catalog: &Catalog, live: &BTreeSet<BrokerId>) -> Vec<LeaderMove> {
    let mut led: BTreeMap<BrokerId, usize> = live.iter().map(|&broker| (broker, 0)).collect();
    for leader in assigned(catalog).filter_map(|shard| shard.leader) {
        *led.entry(leader).or_default() += 1;
    }
    let mut moves = Vec::new();
    for shard in assigned(catalog) {
        if moves.len() >= limits::LEADER_MOVES_PER_ROUND_MAX {
            break;
        }
        let Some(from) = living_leader(catalog, live, shard) else { continue };
        let count = |broker| led.get(&broker).copied().unwrap_or(0);
        let preferred = shard.staying().next();
        // One that leads as many as the leader will after the move is good enough if it is preferred.
        let improves = |to: BrokerId| count(to) + usize::from(preferred != Some(to)) < count(from);
        let takes = |to| catalog.broker(to).is_some_and(Broker::takes_leadership);
        let better = successors(catalog, live, shard).filter(|&to| takes(to) && improves(to));
        let best = better.min_by_key(|&to| (count(to), preferred != Some(to), to));
        if let Some(to) = best {
            *led.entry(from).or_default() -= 1;
            *led.entry(to).or_default() += 1;
            moves.push(LeaderMove { shard: shard.id, from, to });
        }
    }
    moves
}
