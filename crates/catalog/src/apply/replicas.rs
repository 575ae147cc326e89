//! Commands about which brokers hold a shard: new replicas join first, leaving ones go when the others hold enough.

use pondage_model::{
    BrokerId, Refusal, ShardId, limits,
    planted::{self, Fault},
};

use super::shards::{Cause, batch, check_distinct};
use crate::{
    command::Outcome,
    placement::majority,
    rows::Shard,
    shard_changes::{ReplicaChange, ReplicaDrop, ShardRefusal},
    state::Catalog,
};

impl Catalog {
    pub(super) fn change_replicas(&mut self, changes: &[ReplicaChange]) -> Outcome {
        batch(changes, |change| {
            let result = self.check_replica_change(change).map(|()| {
                self.change_shard(change.shard, Cause::Protocol, |row| {
                    let goes = |replica: &&BrokerId| !change.replicas.contains(*replica);
                    row.leaving = row.replicas.iter().filter(goes).copied().collect();
                    row.replicas = change.replicas.iter().chain(&row.leaving).copied().collect();
                    row.min_in_sync_replicas = change.min_in_sync_replicas;
                })
            });
            (change.shard, result)
        })
    }

    fn check_replica_change(&self, change: &ReplicaChange) -> Result<(), ShardRefusal> {
        let row = self.shard_at(change.shard, change.version)?;
        let (replicas, minimum) = (&change.replicas, change.min_in_sync_replicas as usize);
        if !(1..=limits::REPLICAS_MAX as usize).contains(&replicas.len()) {
            return Err(ShardRefusal::Invalid { what: "too many replicas, or none" });
        }
        if !(1..=replicas.len()).contains(&minimum) {
            return Err(ShardRefusal::Invalid { what: "minInSyncReplicas beyond the replicas" });
        }
        check_distinct(replicas.iter().copied())?;
        // Replicas that come and go again before they are dropped pile up no further than this.
        let more = replicas.iter().filter(|broker| !row.replicas.contains(broker));
        if row.replicas.len() + more.clone().count() > 2 * limits::REPLICAS_MAX as usize {
            return Err(ShardRefusal::Invalid { what: "too many replicas are still leaving" });
        }
        for &broker in more {
            if self.member(broker).is_none() || self.held_by(broker) >= limits::SHARDS_PER_BROKER_MAX {
                return Err(ShardRefusal::NoRoom { broker });
            }
        }
        // A minimum that the in-sync replicas don't reach would stop the shard's writes at once.
        let in_sync = replicas.iter().filter(|&&broker| row.in_sync(broker).is_some()).count();
        if minimum > row.min_in_sync_replicas as usize && minimum > in_sync {
            let have = u32::try_from(in_sync).unwrap_or(u32::MAX);
            return Err(ShardRefusal::TooFewInSync { have, needed: change.min_in_sync_replicas });
        }
        Ok(())
    }

    pub(super) fn drop_replicas(&mut self, drops: &[ReplicaDrop]) -> Outcome {
        batch(drops, |drop| {
            let result = self.check_replica_drop(drop).map(|()| {
                self.change_shard(drop.shard, Cause::Protocol, |row| {
                    let leaving = std::mem::take(&mut row.leaving);
                    row.replicas.retain(|replica| !leaving.contains(replica));
                    row.isr.retain(|member| !leaving.contains(&member.broker));
                })
            });
            (drop.shard, result)
        })
    }

    fn check_replica_drop(&self, drop: &ReplicaDrop) -> Result<(), ShardRefusal> {
        let row = self.shard_at(drop.shard, drop.version)?;
        if row.leaving.is_empty() {
            return Err(ShardRefusal::NothingLeaves);
        }
        if row.leader.is_some_and(|leader| row.leaving.contains(&leader)) {
            return Err(ShardRefusal::LeaderLeaves);
        }
        let have = row.staying().filter(|&broker| row.in_sync(broker).is_some()).count();
        // With nobody in sync, a leaving replica may hold what an unclean election is to bring back.
        let needed = row.in_sync_floor().max(1);
        if have < needed && !planted::is(Fault::RemoveReplicaBeforeCatchUp) {
            let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            return Err(ShardRefusal::TooFewInSync { have: count(have), needed: count(needed) });
        }
        Ok(())
    }

    /// How many shards the broker holds a copy of.
    fn held_by(&self, broker: BrokerId) -> usize {
        self.shards.values().filter(|shard| shard.replicas.contains(&broker)).count()
    }

    pub(super) fn set_voters(&mut self, voters: &[BrokerId]) -> Result<Outcome, Refusal> {
        let invalid = |what: String| Err(Refusal::InvalidArgument { what });
        if voters.is_empty() || voters.len() > limits::REPLICAS_MAX as usize {
            return invalid(format!("voters: 1 to {}, not {}", limits::REPLICAS_MAX, voters.len()));
        }
        if let Err(twice) = check_distinct(voters.iter().copied()) {
            return invalid(format!("voters: {twice}"));
        }
        let mut members = Vec::new();
        for &voter in voters {
            members.push(self.registered(voter)?.member());
        }
        let Some(row) = self.shards.get(&ShardId::CATALOG) else {
            return Err(Refusal::ProtocolState { what: "no broker is registered yet" });
        };
        if row.replicas == voters {
            return Ok(Outcome::Unchanged);
        }
        // Who of them holds what is the consensus's own; so is what it takes to shrink them.
        self.change_shard(ShardId::CATALOG, Cause::Order, |row: &mut Shard| {
            row.replicas = voters.to_vec();
            row.isr = members;
            row.min_in_sync_replicas = majority(voters.len());
        });
        Ok(Outcome::Done)
    }
}
