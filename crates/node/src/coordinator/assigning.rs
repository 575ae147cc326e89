//! The shards of this broker: what the shell is told of their rows, and where their logs end.

use std::collections::BTreeSet;

use pondage_catalog::{Catalog, Consensus, Shard, ShardKind, ShardVersion};
use pondage_model::{BrokerId, Epoch, Member, Refusal, Revision, ShardId};

use super::{
    Assignment, Coordinator, CoordinatorEffect, PeerMessage, Round, ShardPosition, resources::route,
};

/// Positions that the leader of the consensus waits for.
#[derive(Debug)]
pub(super) struct Asked {
    by: BrokerId,
    round: Round,
    waiting: BTreeSet<ShardId>,
    /// Not told yet.
    known: Vec<ShardPosition>,
}

/// The start under which a broker is in sync.
fn in_sync(row: &Shard, broker: BrokerId) -> Option<Member> {
    row.isr.iter().copied().find(|member| member.broker == broker)
}

/// A shard's row as this start of this broker should see it.
fn assignment(row: &Shard, own: Member) -> Assignment {
    // An election names the leader's start among the in-sync replicas: an earlier start's leadership is not ours.
    let is_stale = row.leader == Some(own.broker) && !leads(row, own);
    Assignment {
        epoch: row.epoch,
        version: row.version,
        leader: if is_stale { None } else { row.leader },
        replicas: row.replicas.clone(),
        // In the order of the replicas, as their leader compares it with what it wants.
        isr: row.replicas.iter().filter_map(|broker| in_sync(row, *broker)).collect(),
        min_in_sync_replicas: row.min_in_sync_replicas,
    }
}

/// Whether this start of this broker leads the shard.
pub(super) fn leads(row: &Shard, own: Member) -> bool {
    row.leading() == Some(own)
}

impl<C: Consensus> Coordinator<C> {
    /// The catalog knows this start: everything that was waited for begins.
    pub(super) fn registered_as(&mut self, own: Member, effects: &mut Vec<CoordinatorEffect>) {
        effects.push(CoordinatorEffect::Registered(own));
        for resource in self.catalog.resources() {
            route(&self.catalog, resource.kind(), resource.name(), effects);
        }
        let held = std::mem::take(&mut self.held);
        if let Some(lost) = held.iter().find(|shard| **shard >= self.catalog.next_shard()) {
            let what = format!(
                "the volume holds a log of {lost:?}, which the catalog never made: it belongs to another cluster, \
                 or the catalog lost its past"
            );
            return self.end(Refusal::Conflict { what }, effects);
        }
        for shard in held {
            if shard != ShardId::CATALOG && !holds(&self.catalog, shard, own.broker) {
                effects.push(CoordinatorEffect::RemoveShard(shard));
            }
        }
        self.follow(Revision::ZERO, effects);
    }

    /// Tells the shell of the rows that changed after this revision.
    pub(super) fn follow(&mut self, since: Revision, effects: &mut Vec<CoordinatorEffect>) {
        if self.broker().is_none() {
            // An older row would be told of as if it were the newest.
            return;
        }
        let changed: Vec<ShardId> = self.catalog.shards_changed_since(since).map(|row| row.id).collect();
        for shard in changed {
            self.assign(shard, false, effects);
        }
    }

    /// Tells the shell again of rows that stayed as they were, so that the shards know that their wishes came to
    /// nothing. Rows that changed were told of already.
    pub(super) fn repeat_assignments(&mut self, shards: &[ShardId], effects: &mut Vec<CoordinatorEffect>) {
        for shard in shards {
            self.assign(*shard, true, effects);
        }
    }

    pub(super) fn assign(&mut self, shard: ShardId, repeats: bool, effects: &mut Vec<CoordinatorEffect>) {
        let Some(own) = self.registered() else { return };
        let known = self.assigned.get(&shard).copied();
        let row = self.catalog.shard(shard).filter(|_| holds(&self.catalog, shard, own.broker));
        let Some(row) = row else {
            if self.assigned.remove(&shard).is_some() {
                self.catching_up.forget(shard);
                self.leads_no_more(shard, effects);
                self.shards.end(shard);
                effects.push(CoordinatorEffect::RemoveShard(shard));
            }
            return;
        };
        let now = ShardVersion { epoch: row.epoch, version: row.version };
        let is_told = known == Some(now);
        if is_told != repeats {
            return;
        }
        let told = assignment(row, own);
        let leads = leads(row, own);
        self.catching_up.saw(row, own, known.is_none());
        self.assigned.insert(shard, now);
        if !leads {
            self.leads_no_more(shard, effects);
        } else if !self.shards.leads_in(shard, now.epoch) {
            self.leads_no_more(shard, effects);
            self.shards.start(shard, now.epoch);
        }
        effects.push(CoordinatorEffect::Assign(shard, told));
    }

    /// What a shard that was here had decided, it will not say any more.
    pub(super) fn removed(&mut self, shard: ShardId, effects: &mut Vec<CoordinatorEffect>) {
        let mut given = Vec::new();
        self.shards.ended(shard, &mut given);
        self.give(given, effects);
    }

    fn leads_no_more(&mut self, shard: ShardId, effects: &mut Vec<CoordinatorEffect>) {
        let mut given = Vec::new();
        self.shards.remove(shard, &mut given);
        self.give(given, effects);
        self.wishes.forget(shard);
    }

    /// Whether every shard of this broker that can be led from here alone is led, with its streams as they should be.
    pub(super) fn serves_all_it_leads(&self, broker: BrokerId) -> bool {
        let Some(own) = self.registered() else { return false };
        self.assigned.keys().filter_map(|shard| self.catalog.shard(*shard)).all(|row| {
            if leads(row, own) {
                return self.shards.is_settled(row.id);
            }
            // Somebody else leads it or can.
            row.leader.is_some_and(|leader| leader != broker)
                || row.isr.iter().any(|member| member.broker != broker)
        })
    }

    /// Somebody asks where logs end. Of two questions the later one counts.
    pub(super) fn positions_wanted(
        &mut self,
        from: Member,
        round: Round,
        shards: Vec<ShardId>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if self.incarnation_of(from.broker).is_some_and(|current| from.incarnation < current) {
            return;
        }
        let waiting: BTreeSet<ShardId> =
            shards.into_iter().filter(|shard| self.assigned.contains_key(shard)).collect();
        effects.extend(waiting.iter().map(|shard| CoordinatorEffect::AskPosition(*shard)));
        self.asked = Some(Asked { by: from.broker, round, waiting, known: Vec::new() });
    }

    pub(super) fn position(&mut self, position: ShardPosition, effects: &mut Vec<CoordinatorEffect>) {
        let Some(asked) = &mut self.asked else { return };
        if asked.waiting.remove(&position.shard) {
            asked.known.push(position);
            if asked.waiting.is_empty() {
                self.tell_positions(effects);
            }
        }
    }

    /// Tells what is known so far; the rest follows.
    pub(super) fn tell_positions(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        let Some(asked) = &mut self.asked else { return };
        let (to, round, positions) = (asked.by, asked.round, std::mem::take(&mut asked.known));
        if asked.waiting.is_empty() {
            self.asked = None;
        }
        if !positions.is_empty() {
            self.send(to, PeerMessage::Positions { round, positions }, effects);
        }
    }

    /// The leader of the consensus wants another leader for a shard.
    pub(super) fn hand_over(
        &mut self,
        shard: ShardId,
        epoch: Epoch,
        to: BrokerId,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Some(own) = self.registered() else { return };
        let is_meant = self.catalog.shard(shard).is_some_and(|row| leads(row, own) && row.epoch == epoch);
        if is_meant && to != own.broker {
            effects.push(CoordinatorEffect::HandOver { shard, epoch, to });
        }
    }
}

fn holds(catalog: &Catalog, shard: ShardId, broker: BrokerId) -> bool {
    let row = catalog.shard(shard);
    row.is_some_and(|row| row.kind != ShardKind::Catalog && row.replicas.contains(&broker))
}
