//! Leadership off the brokers that give it away, and off replicas that leave: before a broker stops, each of its shards
//! has another leader.
//!
//! Measure: the reluctance of the shards' leaders, summed, falls.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{BrokerId, ShardId, limits};

use super::{LeaderMove, assigned, living_leader, replication_factor, successors};
use crate::{
    rows::{Broker, Drain, Shard},
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

/// Why a drain would not come to its end as things stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// There is no other broker, or the others give everything away too.
    #[error("no other broker takes over what broker {broker} gives away: add one first")]
    NobodyElse {
        /// The broker that was to be drained.
        broker: BrokerId,
    },
    /// It leads shards that nobody else is in sync with.
    #[error(
        "broker {broker} is the only in-sync replica of {count} shards that it leads, shard {first} among them: wait \
         until another one has caught up"
    )]
    OnlyInSync {
        /// The broker that was to be drained.
        broker: BrokerId,
        /// The first of the shards.
        first: ShardId,
        /// How many.
        count: usize,
    },
    /// A topic or queue asks for more copies than there would be brokers.
    #[error(
        "shard {shard} is to have {replicas} copies and {left} brokers would be left for them: add a broker, or let \
         its topic or queue ask for fewer replicas"
    )]
    TooFewBrokers {
        /// The shard.
        shard: ShardId,
        /// Copies that its resource asks for.
        replicas: usize,
        /// Brokers that would take copies.
        left: usize,
    },
}

/// Whether the broker could give this away now. It may be ordered all the same: what is in the way may pass.
#[must_use]
pub fn obstacle(catalog: &Catalog, broker: BrokerId, drain: Drain) -> Option<Obstacle> {
    let takes: fn(&Broker) -> bool = match drain {
        Drain::Nothing => return None,
        Drain::Leadership => Broker::takes_leadership,
        Drain::Everything => Broker::takes_replicas,
    };
    let left = catalog.brokers().filter(|row| row.id != broker && takes(row)).count();
    if left == 0 {
        return Some(Obstacle::NobodyElse { broker });
    }
    if drain == Drain::Everything {
        // What the shards want follows from who takes copies: asked of the cluster as it would be.
        let mut drained = catalog.clone();
        drained.brokers.get_mut(&broker)?.drain = drain;
        let lacking = assigned(catalog).find_map(|shard| {
            let replicas = replication_factor::wanted(&drained, shard).replicas;
            let is_held = shard.replicas.contains(&broker);
            (is_held && replicas > left).then_some(Obstacle::TooFewBrokers {
                shard: shard.id,
                replicas,
                left,
            })
        });
        return lacking;
    }
    let others = |shard: &&Shard| shard.isr.iter().all(|member| member.broker == broker);
    let alone = |shard: &&Shard| shard.leader == Some(broker) && others(shard);
    let mut alone = assigned(catalog).filter(alone);
    let first = alone.next()?.id;
    Some(Obstacle::OnlyInSync { broker, first, count: 1 + alone.count() })
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
