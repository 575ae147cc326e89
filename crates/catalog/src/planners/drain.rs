//! Leadership off the brokers that give it away, and off replicas that leave: before a broker stops, each of its shards
//! has another leader.
//!
//! Measure: the reluctance of the shards' leaders, summed, falls.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{BrokerId, limits};

use super::{LeaderMove, assigned, living_leader, successors};
use crate::{
    rows::{Drain, Shard},
    state::Catalog,
};

/// What a broker still has to give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Remaining {
    /// Shards that it leads.
    pub led: usize,
    /// Shards that it holds a copy of, the catalog's included.
    pub held: usize,
    /// Shards that it holds a copy of and that would have fewer in-sync replicas than the minimum without it.
    pub needed: usize,
}

/// What the broker still has to give away: it may be stopped for a while once it leads nothing and nothing needs it,
/// and for good once it holds nothing.
#[must_use]
pub fn remaining(catalog: &Catalog, broker: BrokerId) -> Remaining {
    let mut remaining = Remaining::default();
    for shard in catalog.shards().filter(|shard| shard.replicas.contains(&broker)) {
        remaining.held += 1;
        remaining.led += usize::from(shard.leader == Some(broker));
        let others = shard.isr.iter().filter(|member| member.broker != broker).count();
        let is_needed = shard.in_sync(broker).is_some() && others < shard.min_in_sync_replicas as usize;
        remaining.needed += usize::from(is_needed);
    }
    remaining
}

/// The hand-overs of one round, each to the successor that leads the fewest shards.
#[must_use]
pub fn plan(catalog: &Catalog, live: &BTreeSet<BrokerId>) -> Vec<LeaderMove> {
    let mut led: BTreeMap<BrokerId, usize> = BTreeMap::new();
    for leader in assigned(catalog).filter_map(|shard| shard.leader) {
        *led.entry(leader).or_default() += 1;
    }
    let mut moves = Vec::new();
    for shard in assigned(catalog) {
        if moves.len() >= limits::LEADER_MOVES_PER_ROUND_MAX {
            break;
        }
        let Some(from) = living_leader(catalog, live, shard) else { continue };
        let most = reluctance(catalog, shard, from);
        let reluctance = |to| reluctance(catalog, shard, to);
        let count = |broker| led.get(&broker).copied().unwrap_or(0);
        let better = successors(catalog, live, shard).filter(|&to| reluctance(to) < most);
        if let Some(to) = better.min_by_key(|&to| (reluctance(to), count(to), to)) {
            *led.entry(from).or_default() -= 1;
            *led.entry(to).or_default() += 1;
            moves.push(LeaderMove { shard: shard.id, from, to });
        }
    }
    moves
}

/// How much a replica would rather not lead: one that keeps its copy takes over from one that gives everything away,
/// if nobody better is there.
fn reluctance(catalog: &Catalog, shard: &Shard, replica: BrokerId) -> u8 {
    match catalog.broker(replica).map(|broker| broker.drain) {
        _ if shard.leaving.contains(&replica) => 3,
        Some(Drain::Nothing) => 0,
        Some(Drain::Leadership) => 1,
        Some(Drain::Everything) | None => 2,
    }
}
