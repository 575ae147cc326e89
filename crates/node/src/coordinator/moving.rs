//! On the leader of the consensus: what should lie elsewhere, a bounded step at a time.
//!
//! A shard is handed over by its own leader, which stops appending, waits until the next one has everything and then
//! asks for the election: nothing is lost, and the shard is without a leader only for the way of one command. Here it
//! is only decided who should lead; whoever is asked and does not do it in time is asked again. Copies move by
//! commands, which the catalog refuses when they come too late. Nothing moves while a shard lacks its leader.

use std::collections::{BTreeMap, BTreeSet};

use pondage_catalog::{
    Catalog, Command, Consensus, Shard, ShardKind,
    planners::{self, LeaderMove},
};
use pondage_model::{BrokerId, Epoch, ShardId};

use super::{
    Coordinator, CoordinatorEffect, PeerMessage, assigning::leads, failing_over::Leading, machine::Purpose,
};

/// Hand-overs that are under way at once.
pub const HAND_OVERS_MAX: usize = 64;
/// How long a hand-over may take before it is asked for anew, in milliseconds.
const HAND_OVER_MILLIS_MAX: u64 = 1_000;
/// The least time between two looks for leaders that stop, in milliseconds.
const LOOK_MILLIS: u64 = 50;
/// The least time between two rounds of planning, in milliseconds.
const PLAN_MILLIS: u64 = 500;

/// Hand-overs that were asked for, and when to look for more.
#[derive(Debug)]
pub(super) struct Moves {
    under_way: BTreeMap<ShardId, Asked>,
    next_look_at_millis: u64,
    next_plan_at_millis: u64,
}

#[derive(Debug)]
struct Asked {
    /// Done or overtaken once the shard is in another one.
    epoch: Epoch,
    until_millis: u64,
}

impl Moves {
    pub(super) const fn new(now_millis: u64) -> Self {
        let next_plan_at_millis = now_millis.saturating_add(PLAN_MILLIS);
        Self { under_way: BTreeMap::new(), next_look_at_millis: now_millis, next_plan_at_millis }
    }
}

/// How many shards each broker leads.
fn led_counts(catalog: &Catalog) -> BTreeMap<BrokerId, usize> {
    let mut counts = BTreeMap::new();
    for leader in catalog.shards().filter_map(|row| row.leader) {
        *counts.entry(leader).or_default() += 1;
    }
    counts
}

impl<C: Consensus> Coordinator<C> {
    /// Takes leaderships from brokers that stop at once, and lets the planners do the rest now and then.
    pub(super) fn move_shards(
        &mut self,
        leading: &mut Leading,
        live: &BTreeSet<BrokerId>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let now = self.now_millis;
        if now < leading.moves.next_look_at_millis || !leading.is_quiet() {
            return;
        }
        leading.moves.next_look_at_millis = now.saturating_add(LOOK_MILLIS);
        let staying = leading.staying(live);
        if staying.len() < live.len() {
            let moves = self.moves_off_leaving(&staying, live);
            self.ask_to_hand_over(leading, moves, effects);
        }
        if now < leading.moves.next_plan_at_millis || self.is_proposed(|purpose| *purpose == Purpose::Move) {
            return;
        }
        leading.moves.next_plan_at_millis = now.saturating_add(PLAN_MILLIS);
        let round = planners::round(&self.catalog, &staying);
        self.ask_to_hand_over(leading, round.hand_overs, effects);
        for command in round.commands {
            self.propose(Purpose::Move, &command);
        }
        self.keep_voters();
    }

    /// Hand-overs of what is led by brokers that live and don't stay, to the in-sync replicas that lead the fewest.
    fn moves_off_leaving(&self, staying: &BTreeSet<BrokerId>, live: &BTreeSet<BrokerId>) -> Vec<LeaderMove> {
        let mut counts = led_counts(&self.catalog);
        let mut moves = Vec::new();
        for row in self.catalog.shards() {
            let leaving = |from: &BrokerId| live.contains(from) && !staying.contains(from);
            let Some(from) = row.leading().map(|member| member.broker).filter(leaving) else { continue };
            let fits = |broker: &BrokerId| {
                staying.contains(broker)
                    && row.in_sync(*broker).is_some_and(|member| self.catalog.is_current(member))
                    && self.catalog.broker(*broker).is_some_and(pondage_catalog::Broker::takes_leadership)
            };
            let count = |broker: &BrokerId| counts.get(broker).copied().unwrap_or_default();
            if let Some(to) = row.staying().filter(fits).min_by_key(count) {
                *counts.entry(to).or_default() += 1;
                moves.push(LeaderMove { shard: row.id, from, to });
            }
        }
        moves
    }

    /// Asks leaders to hand over, as far as not too much of that is under way.
    fn ask_to_hand_over(
        &mut self,
        leading: &mut Leading,
        moves: Vec<LeaderMove>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let now = self.now_millis;
        let under_way = &mut leading.moves.under_way;
        under_way.retain(|shard, asked| {
            now < asked.until_millis && self.catalog.shard(*shard).is_some_and(|row| row.epoch == asked.epoch)
        });
        for LeaderMove { shard, from, to } in moves {
            let Some(epoch) = self.catalog.shard(shard).map(|row| row.epoch) else { continue };
            if under_way.len() >= HAND_OVERS_MAX || under_way.contains_key(&shard) {
                continue;
            }
            let until_millis = now.saturating_add(HAND_OVER_MILLIS_MAX);
            under_way.insert(shard, Asked { epoch, until_millis });
            self.send(from, PeerMessage::HandOver { shard, epoch, to }, effects);
        }
    }

    /// Brings the consensus the voters that the cluster should have, one change at a time, and records who votes.
    fn keep_voters(&mut self) {
        let Some(row) = self.catalog.shard(ShardId::CATALOG) else { return };
        let voters = self.consensus.membership().voters;
        let are_known = voters.iter().all(|voter| self.catalog.member(*voter).is_some());
        let recorded: BTreeSet<BrokerId> = row.replicas.iter().copied().collect();
        if recorded != voters.iter().copied().collect() {
            if are_known {
                self.propose(Purpose::Move, &Command::SetVoters { voters });
            }
        } else if let Some(wanted) = planners::voters::plan(&self.catalog)
            && let Err(_refused) = self.consensus.change_voters(&wanted)
        {
            // A change is under way, or this consensus has no other voters: the next round looks again.
        }
    }

    /// Whether a leader elsewhere would wait for a copy here, and could do without.
    pub(super) fn is_missed(&self, broker: BrokerId) -> bool {
        let could_do_without = |row: &Shard| row.isr.len() > row.min_in_sync_replicas as usize;
        let is_led = |row: &Shard| {
            row.leading().is_some_and(|leader| leader.broker != broker && self.catalog.is_current(leader))
        };
        self.catalog.shards().any(|row| {
            row.kind != ShardKind::Catalog
                && row.in_sync(broker).is_some()
                && is_led(row)
                && could_do_without(row)
        })
    }

    /// Whether this broker leads a shard that another one could lead.
    pub(super) fn has_to_hand_over(&self, broker: BrokerId) -> bool {
        let Some(own) = self.registered() else { return false };
        let could = |row: &Shard| {
            row.isr.iter().any(|member| member.broker != broker && self.catalog.is_current(*member))
        };
        self.catalog.shards().any(|row| row.kind != ShardKind::Catalog && leads(row, own) && could(row))
    }
}
