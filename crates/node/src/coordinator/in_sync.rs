//! What the shards that are led here want of the catalog: other in-sync replicas, or another leader.
//!
//! One command of each kind is under way at a time and carries all that gathered meanwhile. A wish ends with the
//! row that it changed, or with the same row again: then the shard wishes anew, if it still does.

use std::collections::BTreeMap;

use pondage_catalog::{Command, Consensus, Election, IsrChange, ShardVersion};
use pondage_model::{BrokerId, ShardId};

use super::{Coordinator, CoordinatorEffect, assigning::leads, machine::Purpose};

/// Wishes in one command: far below the bytes that a command may have, with as many replicas as a shard may have.
const WISHES_MAX: usize = 1_024;

/// Wishes that were not proposed yet: one of each kind per shard, the latest.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    isr: BTreeMap<ShardId, IsrChange>,
    leaders: BTreeMap<ShardId, (ShardVersion, BrokerId)>,
}

impl Wishes {
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.isr.remove(&shard);
        self.leaders.remove(&shard);
    }
}

impl<C: Consensus> Coordinator<C> {
    pub(super) fn isr_wanted(&mut self, change: IsrChange, effects: &mut Vec<CoordinatorEffect>) {
        let wished_upon = ShardVersion { epoch: change.epoch, version: change.version };
        if self.is_newest(change.shard, wished_upon) {
            self.wishes.isr.insert(change.shard, change);
        } else {
            self.assign(change.shard, true, effects);
        }
    }

    pub(super) fn handed_over(
        &mut self,
        shard: ShardId,
        wished_upon: ShardVersion,
        to: BrokerId,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if self.is_newest(shard, wished_upon) {
            self.wishes.leaders.insert(shard, (wished_upon, to));
        } else {
            self.keep_leading(&[shard], effects);
        }
    }

    /// Lets shards go on that were to be handed over and are still led here, whatever the catalog said. A hand-over
    /// whose outcome is not known may come yet: then the new epoch says so.
    pub(super) fn keep_leading(&mut self, shards: &[ShardId], effects: &mut Vec<CoordinatorEffect>) {
        for shard in shards.iter().filter(|shard| self.shards.is_led(**shard)) {
            effects.push(CoordinatorEffect::KeepLeading(*shard));
        }
    }

    /// Whether a wish was made upon the row as it is, by its leader.
    fn is_newest(&self, shard: ShardId, wished_upon: ShardVersion) -> bool {
        let Some(own) = self.registered() else { return false };
        self.catalog.shard(shard).is_some_and(|row| {
            leads(row, own) && (row.epoch, row.version) == (wished_upon.epoch, wished_upon.version)
        })
    }

    /// Proposes the wishes that gathered, unless earlier ones of their kind are about to have their outcome. Each names
    /// the version of its row, so only the first of two takes effect.
    pub(super) fn propose_wishes(&mut self, broker: BrokerId) {
        if !self.wishes.isr.is_empty() && !self.is_awaited(|purpose| matches!(purpose, Purpose::AlterIsr(_)))
        {
            let changes: Vec<IsrChange> = take_some(&mut self.wishes.isr).map(|(_, change)| change).collect();
            let shards = changes.iter().map(|change| change.shard).collect();
            self.propose(Purpose::AlterIsr(shards), &Command::AlterIsr { broker, changes });
        }
        if !self.wishes.leaders.is_empty()
            && !self.is_awaited(|purpose| matches!(purpose, Purpose::HandOver(_)))
        {
            let wishes: Vec<_> = take_some(&mut self.wishes.leaders).collect();
            let shards = wishes.iter().map(|(shard, _)| *shard).collect();
            let election = |(shard, (upon, to)): (ShardId, (ShardVersion, BrokerId))| {
                let election = self.catalog.election_of(shard, to)?;
                Some(Election { version: upon.version, ..election })
            };
            let elections = wishes.into_iter().filter_map(election).collect();
            self.propose(Purpose::HandOver(shards), &Command::ElectLeaders { elections });
        }
    }
}

/// Takes the first ones, as many as one command carries.
fn take_some<T>(wishes: &mut BTreeMap<ShardId, T>) -> impl Iterator<Item = (ShardId, T)> {
    let rest = wishes.keys().nth(WISHES_MAX).copied().map(|first| wishes.split_off(&first));
    std::mem::replace(wishes, rest.unwrap_or_default()).into_iter()
}
