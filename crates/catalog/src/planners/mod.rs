//! Pure planners: what the catalog's leader proposes so that the cluster becomes as it should be.
//!
//! Equal catalogs give equal answers. Each looks at where things stand, not at what it planned before: a lost
//! proposal, a change of the catalog's leader or a broker that comes and goes needs no memory. A planner proposes
//! nothing once the cluster is as it wants it, and each step brings it nearer (each file says by which measure), so
//! that the rounds end.
//!
//! [`failover`] is apart: it needs the replicas' answers. [`round`] is one round of all others but
//! [`feature_level`], which waits for an administrator: once it rose, nobody goes back to the version before.

pub mod balance;
pub mod brokers;
pub mod drain;
pub mod failover;
pub mod feature_level;
pub mod leaving;
pub mod replication_factor;
pub mod voters;

use std::collections::BTreeSet;

use pondage_model::{BrokerId, ShardId, limits};

use crate::{
    command::Command,
    rows::{Shard, ShardKind},
    state::Catalog,
};

/// A shard's leadership, to be handed over while both brokers live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaderMove {
    /// The shard.
    pub shard: ShardId,
    /// Its leader.
    pub from: BrokerId,
    /// An in-sync replica.
    pub to: BrokerId,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Round {
    /// Leaders to ask for a hand-over; each ends in an election once everything is on its successor.
    pub hand_overs: Vec<LeaderMove>,
    /// To be proposed. None of them takes a shard below its minInSyncReplicas.
    pub commands: Vec<Command>,
}

impl Round {
    /// Whether everything is as it should be, or has to wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hand_overs.is_empty() && self.commands.is_empty()
    }
}

/// One round of planning; `live` are the brokers that hold a lease.
#[must_use]
pub fn round(catalog: &Catalog, live: &BTreeSet<BrokerId>) -> Round {
    let mut commands = Vec::new();
    let drops = leaving::plan(catalog);
    let mut changes = replication_factor::plan(catalog, live);
    if changes.is_empty() {
        changes = brokers::spread(catalog, live);
    }
    // One change of a row at a time: the second one would come too late.
    changes.retain(|change| drops.iter().all(|drop| drop.shard != change.shard));
    if !drops.is_empty() {
        commands.push(Command::DropReplicas { drops });
    }
    if !changes.is_empty() {
        commands.push(Command::ChangeReplicas { changes });
    }
    commands.extend(brokers::forgotten(catalog).into_iter().map(|broker| Command::RemoveBroker { broker }));

    let mut hand_overs = drain::plan(catalog, live);
    if hand_overs.is_empty() {
        hand_overs = balance::plan(catalog, live);
    }
    Round { hand_overs, commands }
}

/// Every shard that the catalog assigns.
fn assigned(catalog: &Catalog) -> impl Iterator<Item = &Shard> + Clone {
    catalog.shards.values().filter(|shard| shard.kind != ShardKind::Catalog)
}

/// How many more shards may begin to copy to new replicas: copies cost the disks and the network that clients use.
fn moves_left(catalog: &Catalog, live: &BTreeSet<BrokerId>) -> usize {
    let busy = assigned(catalog).filter(|shard| is_copying(catalog, live, shard)).count();
    limits::REPLICA_MOVES_MAX.saturating_sub(busy)
}

/// Whether a replica catches up. One that is down does not, nor does one without a leader: a shard that nobody can
/// help must not hold up the others.
fn is_copying(catalog: &Catalog, live: &BTreeSet<BrokerId>, shard: &Shard) -> bool {
    let catches_up = |broker: BrokerId| live.contains(&broker) && shard.in_sync(broker).is_none();
    living_leader(catalog, live, shard).is_some() && shard.staying().any(catches_up)
}

/// The shard's leader, if it is there and in the start that it was elected in: others are for [`failover`].
fn living_leader(catalog: &Catalog, live: &BTreeSet<BrokerId>, shard: &Shard) -> Option<BrokerId> {
    let leading = shard.leading()?;
    (live.contains(&leading.broker) && catalog.is_current(leading)).then_some(leading.broker)
}

/// The replicas that may be handed the leadership now, the preferred one first.
fn successors<'a>(
    catalog: &'a Catalog,
    live: &'a BTreeSet<BrokerId>,
    shard: &'a Shard,
) -> impl Iterator<Item = BrokerId> + 'a {
    shard.staying().filter(move |&broker| {
        let is_confirmed = shard.in_sync(broker).is_some_and(|member| catalog.is_current(member));
        is_confirmed && live.contains(&broker) && shard.leader != Some(broker)
    })
}

#[cfg(test)]
mod tests;
