//! On the leader of the consensus: who is alive, and a leader for every shard that lacks one.
//!
//! A shard lacks a leader when nobody leads it, when its leader's lease is over, or when its leader started again:
//! every start of a leader is a new epoch. All such shards are dealt with in one round: their live replicas are asked
//! where their logs end, and once the in-sync ones answered, or after [`ANSWER_MILLIS_MAX`], one command elects, or
//! ends the epochs of those that may only be elected from answers of a later one. What could not be elected is tried
//! in later rounds for as long as it lacks a leader.

use std::collections::{BTreeMap, BTreeSet};

use pondage_catalog::{
    Catalog, Command, Consensus, Election, Leases, Renewal,
    planners::failover::{self, Answers, Plan, Why},
};
use pondage_model::{BrokerId, Incarnation, Member, ShardId, limits};

use super::{
    Coordinator, CoordinatorEffect, PeerMessage, Round, ShardPosition, machine::Purpose, moving::Moves,
};

/// How long a round waits for answers, in milliseconds.
const ANSWER_MILLIS_MAX: u64 = 300;
/// The least time between the end of a round and the next one, in milliseconds.
const ROUND_PAUSE_MILLIS: u64 = 50;
/// The same after a round that changed nothing and will be followed by more of the same, unless a broker came or went.
const VAIN_ROUND_PAUSE_MILLIS: u64 = 500;
/// Elections in one command: far below the bytes that a command may have.
const ELECTIONS_MAX: usize = 4_096;
/// The leader of the consensus itself did nothing for so long: it may have missed what others said.
const PAUSE_MILLIS_MAX: u64 = limits::BROKER_LEASE_MILLIS / 2;

/// What only the leader of the consensus knows. Dies with its leadership.
#[derive(Debug)]
pub(super) struct Leading {
    leases: Leases,
    /// Starts that want to lead nothing any more.
    leaving: BTreeSet<Member>,
    question: Option<Question>,
    /// Rows or leases changed since the shards were last looked at.
    is_dirty: bool,
    next_round_at_millis: u64,
    stepped_at_millis: u64,
    pub(super) moves: Moves,
}

/// A round under way.
#[derive(Debug)]
struct Question {
    round: Round,
    until_millis: u64,
    /// In-sync replicas that have not answered.
    waits_for: BTreeSet<(BrokerId, ShardId)>,
    answers: Answers,
}

impl Leading {
    /// A term begins: who was seen to be gone has no lease, everybody else a full one.
    fn new(catalog: &Catalog, gone: &BTreeSet<Member>, now_millis: u64) -> Self {
        Self {
            leases: new_leases(catalog, gone, now_millis),
            leaving: BTreeSet::new(),
            question: None,
            is_dirty: true,
            next_round_at_millis: now_millis,
            stepped_at_millis: now_millis,
            moves: Moves::new(now_millis),
        }
    }

    /// Time passed, which ends leases.
    pub(super) const fn tick(&mut self) {
        self.is_dirty = true;
    }

    /// What a committed command means for who is alive and who leads.
    pub(super) fn catalog_changed(&mut self, command: &Command, catalog: &Catalog, now_millis: u64) {
        self.is_dirty = true;
        match command {
            Command::RegisterBroker { volume, .. } => {
                // It lives, and what its earlier start led has to be elected at once.
                if let Some(row) = catalog.broker_of(*volume).filter(|row| !row.lost) {
                    self.leases.renewed(row.member(), now_millis);
                    self.next_round_at_millis = now_millis;
                }
            }
            Command::LoseBroker { broker } | Command::RemoveBroker { broker }
                if catalog.member(*broker).is_none() =>
            {
                self.leases.forget(*broker);
                self.next_round_at_millis = now_millis;
            }
            _ => {}
        }
        self.leaving.retain(|member| catalog.is_current(*member));
    }

    /// The brokers that hold a lease.
    pub(super) fn live(&self, now_millis: u64) -> BTreeSet<BrokerId> {
        self.leases.live(now_millis)
    }

    /// The brokers that are alive and want to stay: those that may be given something to do.
    pub(super) fn staying(&self, live: &BTreeSet<BrokerId>) -> BTreeSet<BrokerId> {
        let leaving: BTreeSet<BrokerId> = self.leaving.iter().map(|member| member.broker).collect();
        live.difference(&leaving).copied().collect()
    }

    /// Whether no shard is known to lack its leader.
    pub(super) const fn is_quiet(&self) -> bool {
        self.question.is_none()
    }
}

fn new_leases(catalog: &Catalog, gone: &BTreeSet<Member>, now_millis: u64) -> Leases {
    let members = catalog.brokers().filter(|row| !row.lost).map(pondage_catalog::Broker::member);
    let gone =
        gone.iter().filter(|member| catalog.is_current(**member)).map(|member| member.broker).collect();
    Leases::new(members, &gone, now_millis)
}

impl Question {
    fn is_over(&self, live: &BTreeSet<BrokerId>, now_millis: u64) -> bool {
        now_millis >= self.until_millis || !self.waits_for.iter().any(|(broker, _)| live.contains(broker))
    }
}

/// How long the next round has to wait after this one.
fn pause_after(plan: &Plan) -> u64 {
    // Promises are on their way to the disks.
    let is_near = |(_, why): &(ShardId, Why)| matches!(why, Why::Promises { .. });
    let goes_on = !plan.elect.is_empty() || plan.wait.iter().any(is_near);
    if goes_on { ROUND_PAUSE_MILLIS } else { VAIN_ROUND_PAUSE_MILLIS }
}

impl<C: Consensus> Coordinator<C> {
    /// Tells the leader of the consensus that this broker is alive.
    pub(super) fn beat(&mut self, own: BrokerId, effects: &mut Vec<CoordinatorEffect>) {
        if self.now_millis < self.heartbeat_at_millis {
            return;
        }
        self.heartbeat_at_millis = self.now_millis.saturating_add(limits::BROKER_LEASE_RENEWAL_MILLIS);
        if let Some(leader) = self.consensus.membership().leader {
            let leaving = self.is_leaving();
            if leader != own {
                self.send(leader, PeerMessage::Heartbeat { leaving }, effects);
            } else if let Some(member) = self.registered() {
                self.heard(member, leaving);
            }
        }
    }

    /// A broker is alive. An earlier start of it says nothing about this one.
    pub(super) fn heard(&mut self, from: Member, leaving: bool) {
        let Some(leading) = self.leading.as_mut().filter(|_| self.catalog.is_current(from)) else { return };
        if leading.leases.renewed(from, self.now_millis) == Renewal::Returned {
            // Shards may have waited for just this one.
            leading.is_dirty = true;
            leading.next_round_at_millis = self.now_millis;
        }
        if leaving {
            leading.leaving.insert(from);
        }
    }

    /// A broker's process is gone: its lease is over at once, also if this broker leads the consensus only later.
    pub(super) fn gone(&mut self, member: Member) {
        if !self.catalog.is_current(member) {
            return;
        }
        self.gone_members.retain(|known| self.catalog.is_current(*known));
        self.gone_members.insert(member);
        if let Some(leading) = &mut self.leading {
            leading.leases.gone(member, self.now_millis);
            leading.is_dirty = true;
            leading.next_round_at_millis = self.now_millis;
        }
    }

    /// Does what only the leader of the consensus does.
    pub(super) fn lead_consensus(&mut self, own: BrokerId, effects: &mut Vec<CoordinatorEffect>) {
        if self.consensus.membership().leader != Some(own) {
            self.leading = None;
            return;
        }
        let now = self.now_millis;
        let mut leading = self
            .leading
            .take()
            .unwrap_or_else(|| Box::new(Leading::new(&self.catalog, &self.gone_members, now)));
        if now.saturating_sub(leading.stepped_at_millis) > PAUSE_MILLIS_MAX {
            // It was this broker that was away: whoever seems silent was only not heard.
            leading.leases = new_leases(&self.catalog, &self.gone_members, now);
        }
        leading.stepped_at_millis = now;
        if let Some(member) = self.registered() {
            leading.leases.renewed(member, now);
        }
        if !leading.leases.expired(now).is_empty() {
            leading.is_dirty = true;
            leading.next_round_at_millis = now;
        }
        let live = leading.leases.live(now);
        self.fail_over(&mut leading, &live, effects);
        self.move_shards(&mut leading, &live, effects);
        self.leading = Some(leading);
    }

    fn fail_over(
        &mut self,
        leading: &mut Leading,
        live: &BTreeSet<BrokerId>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if self.is_proposed(|purpose| *purpose == Purpose::Elect) {
            return;
        }
        match leading.question.take() {
            Some(question) if question.is_over(live, self.now_millis) => {
                let plan = failover::plan(&self.catalog, live, &question.answers);
                leading.next_round_at_millis = self.now_millis.saturating_add(pause_after(&plan));
                effects.extend(plan.report.into_iter().map(CoordinatorEffect::Report));
                self.elect(&plan.elect);
            }
            Some(question) => leading.question = Some(question),
            None if leading.is_dirty && self.now_millis >= leading.next_round_at_millis => {
                leading.is_dirty = false;
                leading.question = self.ask(live, effects);
            }
            None => {}
        }
    }

    /// Asks the live replicas of every shard without a leader where their logs end.
    fn ask(&mut self, live: &BTreeSet<BrokerId>, effects: &mut Vec<CoordinatorEffect>) -> Option<Question> {
        let mut by_broker: BTreeMap<BrokerId, Vec<ShardId>> = BTreeMap::new();
        let mut waits_for = BTreeSet::new();
        for (shard, in_sync) in failover::to_ask(&self.catalog, live) {
            waits_for.extend(in_sync.iter().map(|broker| (*broker, shard)));
            let Some(row) = self.catalog.shard(shard).filter(|_| !in_sync.is_empty()) else { continue };
            // Those out of sync may know of committed entries that an in-sync one lost; nobody waits for them.
            for replica in row.replicas.iter().filter(|replica| live.contains(replica)) {
                by_broker.entry(*replica).or_default().push(shard);
            }
        }
        if waits_for.is_empty() {
            return None;
        }
        let round = Round { asker: self.identity.incarnation, number: self.new_id() };
        for (broker, shards) in by_broker {
            self.send(broker, PeerMessage::PositionsWanted { round, shards }, effects);
        }
        let until_millis = self.now_millis.saturating_add(ANSWER_MILLIS_MAX);
        Some(Question { round, until_millis, waits_for, answers: Answers::new() })
    }

    /// Another coordinator, or this one, says where logs end.
    pub(super) fn positions_told(&mut self, from: Member, round: Round, positions: &[ShardPosition]) {
        let Some(leading) = self.leading.as_mut().filter(|_| self.catalog.is_current(from)) else { return };
        let Some(question) = leading.question.as_mut().filter(|question| question.round == round) else {
            return;
        };
        for position in positions {
            let Member { broker, incarnation } = from;
            question.answers.insert((position.shard, broker), position.answer(incarnation));
            question.waits_for.remove(&(broker, position.shard));
        }
    }

    fn elect(&mut self, elections: &[Election]) {
        for some in elections.chunks(ELECTIONS_MAX) {
            self.propose(Purpose::Elect, &Command::ElectLeaders { elections: some.to_vec() });
        }
    }

    pub(super) fn incarnation_of(&self, broker: BrokerId) -> Option<Incarnation> {
        self.catalog.broker(broker).map(|row| row.incarnation)
    }
}
