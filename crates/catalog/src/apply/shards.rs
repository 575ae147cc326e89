//! Commands about leaders and in-sync replicas.

use std::collections::BTreeSet;

use pondage_model::{
    BrokerId, Epoch, Incarnation, Member, Refusal, ShardId, limits,
    planted::{self, Fault},
};

use crate::{
    command::Outcome,
    invariants,
    rows::{Shard, ShardKind, UncleanElection},
    shard_changes::{Election, IsrChange, ShardRefusal, ShardResult, ShardVersion},
    state::Catalog,
};

/// Why a row changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The protocol: never fewer in-sync replicas than the minimum.
    Protocol,
    /// A lost volume, or an administrator's order by name.
    Order,
}

impl Catalog {
    /// Changes one row: its version rises, and those who look for changes find it.
    ///
    /// # Panics
    /// If the change breaks a rule of rows: a mistake of ours that would lose messages.
    pub(super) fn change_shard(
        &mut self,
        shard: ShardId,
        cause: Cause,
        change: impl FnOnce(&mut Shard),
    ) -> ShardVersion {
        let row = self.shards.get_mut(&shard).expect("looked up by the caller");
        let before = row.clone();
        change(row);
        row.version = before.version + 1;
        row.changed = self.revision;
        row.isr.sort_unstable();
        if let Err(broken) = invariants::check_row_step(&before, row, cause == Cause::Order) {
            panic!("{broken}: {before:?} became {row:?}");
        }
        let version = ShardVersion { epoch: row.epoch, version: row.version };
        self.index.shard_changed(shard, Some(before.changed), Some(self.revision));
        version
    }

    /// Adds a row.
    pub(super) fn insert_shard(&mut self, row: Shard) {
        self.index.shard_changed(row.id, None, Some(row.changed));
        let previous = self.shards.insert(row.id, row);
        assert!(previous.is_none(), "a shard's id was taken: {previous:?}");
    }

    /// Removes a row.
    pub(super) fn remove_shard(&mut self, shard: ShardId) {
        if let Some(row) = self.shards.remove(&shard) {
            self.index.shard_changed(shard, Some(row.changed), None);
        }
    }

    /// The row, if it is the catalog's to change and still the one that the sender saw.
    pub(super) fn shard_at(&self, shard: ShardId, version: u64) -> Result<&Shard, ShardRefusal> {
        let row = self.shards.get(&shard).ok_or(ShardRefusal::NoShard)?;
        if row.kind == ShardKind::Catalog {
            return Err(ShardRefusal::OwnedByConsensus);
        }
        if row.version != version {
            let current = ShardVersion { epoch: row.epoch, version: row.version };
            return Err(ShardRefusal::Stale { current });
        }
        Ok(row)
    }

    /// The election that hands a shard to this broker with all in-sync replicas as they are. None if the broker is not
    /// in sync, or gone, or started again since a leader confirmed it: what the leader saw on it, it saw on the start
    /// before.
    #[must_use]
    pub fn election_of(&self, shard: ShardId, to: BrokerId) -> Option<Election> {
        let row = self.shard(shard)?;
        let leader = self.member(to).filter(|current| row.in_sync(to) == Some(*current))?;
        Some(Election { shard, version: row.version, leader: Some(leader), isr: row.isr.clone() })
    }

    pub(super) fn alter_isr(&mut self, broker: BrokerId, changes: &[IsrChange]) -> Result<Outcome, Refusal> {
        self.registered(broker)?;
        Ok(batch(changes, |change| {
            let result = self.check_isr_change(broker, change);
            (change.shard, result.map(|()| self.set_isr(change.shard, &change.isr)))
        }))
    }

    fn check_isr_change(&self, broker: BrokerId, change: &IsrChange) -> Result<(), ShardRefusal> {
        let any = self.shard(change.shard).filter(|_| planted::is(Fault::AlterIsrWithoutVersion));
        let row = self.shard_at(change.shard, any.map_or(change.version, |row| row.version))?;
        if row.epoch != change.epoch {
            let current = ShardVersion { epoch: row.epoch, version: row.version };
            return Err(ShardRefusal::Stale { current });
        }
        let leading = row.leading().filter(|leading| leading.broker == broker);
        let leading = leading.ok_or(ShardRefusal::NotLeader)?;
        check_distinct(change.isr.iter().map(|member| member.broker))?;
        for &member in &change.isr {
            if !row.replicas.contains(&member.broker) {
                return Err(ShardRefusal::NotReplica { broker: member.broker });
            }
            if !self.is_current(member) && !planted::is(Fault::AlterIsrOfRestartedMember) {
                return Err(ShardRefusal::NotCurrent { member });
            }
        }
        // A leader that started again lists itself under its new start; it may not go on in its old epoch.
        if !change.isr.contains(&leading) {
            return Err(ShardRefusal::LeaderMissing);
        }
        check_floor(row, change.isr.len())
    }

    fn set_isr(&mut self, shard: ShardId, isr: &[Member]) -> ShardVersion {
        self.change_shard(shard, Cause::Protocol, |row| row.isr = isr.to_vec())
    }

    pub(super) fn elect_leaders(&mut self, elections: &[Election]) -> Outcome {
        batch(elections, |election| {
            let result = self.check_election(election);
            (election.shard, result.map(|()| self.elect(election)))
        })
    }

    fn check_election(&self, election: &Election) -> Result<(), ShardRefusal> {
        let any = self.shard(election.shard).filter(|_| planted::is(Fault::ElectWithoutVersion));
        let row = self.shard_at(election.shard, any.map_or(election.version, |row| row.version))?;
        let Election { leader, ref isr, .. } = *election;
        let Some(leader) = leader else {
            let what = "the end of an epoch changes no in-sync replicas";
            return if *isr == row.isr { Ok(()) } else { Err(ShardRefusal::Invalid { what }) };
        };
        let anybody = planted::is(Fault::ElectOutsideIsr);
        row.in_sync(leader.broker)
            .or(anybody.then_some(leader))
            .ok_or(ShardRefusal::NotInSync { broker: leader.broker })?;
        if !self.is_current(leader) {
            return Err(ShardRefusal::NotCurrent { member: leader });
        }
        check_distinct(isr.iter().map(|member| member.broker))?;
        for &member in isr {
            let recorded = row.in_sync(member.broker).or(anybody.then_some(member));
            if recorded.is_none() {
                return Err(ShardRefusal::NotInSync { broker: member.broker });
            }
            // Nobody has confirmed the others since: they stay as they are.
            if member != leader && recorded != Some(member) {
                return Err(ShardRefusal::NotCurrent { member });
            }
        }
        if !isr.contains(&leader) {
            return Err(ShardRefusal::LeaderMissing);
        }
        check_floor(row, isr.len())
    }

    fn elect(&mut self, election: &Election) -> ShardVersion {
        self.change_shard(election.shard, Cause::Protocol, |row| {
            row.leader = election.leader.map(|leader| leader.broker);
            row.epoch = row.epoch.next();
            row.isr.clone_from(&election.isr);
        })
    }

    pub(super) fn unclean_elect(
        &mut self,
        shard: ShardId,
        version: u64,
        leader: BrokerId,
        reason: &str,
    ) -> Result<Outcome, Refusal> {
        let what = format!("reason: 1 to {} bytes without control characters", limits::REASON_BYTES_MAX);
        if reason.is_empty()
            || reason.len() > limits::REASON_BYTES_MAX
            || reason.chars().any(char::is_control)
        {
            return Err(Refusal::InvalidArgument { what });
        }
        let conflict = |why: ShardRefusal| Refusal::Conflict { what: format!("shard {shard}: {why}") };
        let row = self.shard_at(shard, version).map_err(conflict)?;
        let member = self.member(leader).filter(|_| row.replicas.contains(&leader));
        let member = member.ok_or_else(|| conflict(ShardRefusal::NotReplica { broker: leader }))?;
        let revision = self.revision;
        self.change_shard(shard, Cause::Order, |row| {
            row.epoch = row.epoch.next();
            row.leader = Some(leader);
            row.isr = vec![member];
            let (epoch, reason) = (row.epoch, reason.to_owned());
            row.unclean = Some(UncleanElection { revision, epoch, leader, reason });
        });
        Ok(Outcome::Done)
    }

    /// A new epoch for each shard that only this broker is in sync with: it needs nobody's word for what it holds.
    pub(super) fn lead_all(
        &mut self,
        broker: BrokerId,
        incarnation: Incarnation,
    ) -> Result<Outcome, Refusal> {
        let row = self.registered(broker)?;
        let member = Member { broker, incarnation };
        if row.lost || row.incarnation != incarnation {
            return Err(Refusal::Conflict {
                what: format!(
                    "start {incarnation} of broker {broker} is not its current one, which is {}",
                    row.incarnation
                ),
            });
        }
        let is_alone = |shard: &&Shard| {
            shard.kind != ShardKind::Catalog
                && matches!(shard.isr.as_slice(), [only] if only.broker == broker)
        };
        let alone: Vec<ShardId> = self.shards.values().filter(is_alone).map(|shard| shard.id).collect();
        let shards: Vec<(ShardId, Epoch)> = alone
            .into_iter()
            .map(|shard| {
                let version = self.change_shard(shard, Cause::Protocol, |row| {
                    row.leader = Some(broker);
                    row.epoch = row.epoch.next();
                    row.isr = vec![member];
                });
                (shard, version.epoch)
            })
            .collect();
        Ok(Outcome::Led { shards })
    }
}

/// Carries out one change after the other; a later one sees what an earlier one did.
pub(super) fn batch<T>(
    changes: &[T],
    mut each: impl FnMut(&T) -> (ShardId, Result<ShardVersion, ShardRefusal>),
) -> Outcome {
    let results = changes.iter().map(|change| {
        let (shard, result) = each(change);
        ShardResult { shard, result }
    });
    Outcome::Shards(results.collect())
}

pub(super) fn check_distinct(brokers: impl Iterator<Item = BrokerId>) -> Result<(), ShardRefusal> {
    let mut seen = BTreeSet::new();
    for broker in brokers {
        if !seen.insert(broker) {
            return Err(ShardRefusal::Twice { broker });
        }
    }
    Ok(())
}

/// The in-sync replicas never shrink below the minimum, or below what there is if that is less.
pub(super) fn check_floor(row: &Shard, have: usize) -> Result<(), ShardRefusal> {
    let needed = row.in_sync_floor();
    if have >= needed || planted::is(Fault::ShrinkIsrBelowMinimum) {
        return Ok(());
    }
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Err(ShardRefusal::TooFewInSync { have: count(have), needed: count(needed) })
}
