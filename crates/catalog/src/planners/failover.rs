//! Who leads after a broker is gone or started again: an election per shard, decided on what its replicas answered.
//!
//! The in-sync replicas hold every committed entry, unless a restart cost one of them what its disk only pretended to
//! have. One that goes on in the start in which the leader confirmed it (*proven*) lost nothing, and nothing is
//! committed without it, even while its answer travels. So if any of them answered, the greatest (epoch, end) among
//! them leads, whatever the others say.
//!
//! One that started again since (*unproven*) is different: a leader that nobody hears from may still count on what it
//! confirmed before, and commit with the help of others whose answers are on their way. So such a one is elected only
//! from answers that cannot be overtaken, in two steps:
//!
//! ```text
//!   1. end the epoch:  epoch + 1, no leader           no wish of an old leader is granted any more
//!   2. elect:          among those who promised it    none of them confirms anything to an old leader any more
//! ```
//!
//! Of these, as many as a write needs must answer; the one with the greatest (epoch, end) holds what any of them holds
//! of the last leader's log. The first step is left out where the epoch is over anyway: every in-sync replica started
//! again, its leader too, and all of them answer. A lone one has nobody else to promise anything to.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{
    BrokerId, Epoch, Incarnation, Member, Position, ShardId,
    planted::{self, Fault},
};

use crate::{
    rows::{Shard, ShardKind},
    shard_changes::Election,
    state::Catalog,
};

/// What a replica says of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The start that answers.
    pub incarnation: Incarnation,
    /// The newest epoch that it promised, durably: it confirms nothing to a leader of an older one any more.
    pub epoch: Epoch,
    /// The epoch of its last entry.
    pub last_epoch: Epoch,
    /// The position behind its last durable entry.
    pub end: Position,
    /// The position below which it knows everything to be committed.
    pub high_watermark: Position,
}

/// What is to be done about shards without a living leader.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// To be proposed, as one command.
    pub elect: Vec<Election>,
    /// Shards that have to wait.
    pub wait: Vec<(ShardId, Why)>,
    /// What somebody should look at.
    pub report: Vec<Behind>,
}

/// Why a shard has to wait for its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No broker is left that holds every committed entry: an administrator has to choose.
    DataLost,
    /// Too few in-sync replicas answered.
    Answers {
        /// How many did.
        have: usize,
        /// How many are needed, as none of them goes on in the start in which it was confirmed.
        needed: usize,
    },
    /// None that goes on in the start in which it was confirmed answered, and too few of the others have promised the
    /// row's epoch, so an older leader may still commit something with their help. They are about to.
    Promises {
        /// How many have.
        have: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Those who answered lack entries that are known to be committed; another in-sync replica may have them.
    Behind {
        /// Everything below is committed.
        high_watermark: Position,
    },
}

/// An in-sync replica that lacks committed entries: its disk lost what it had reported as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The shard.
    pub shard: ShardId,
    /// The replica.
    pub member: Member,
    /// Where its log ends.
    pub end: Position,
    /// Everything below is committed, as a replica knows.
    pub high_watermark: Position,
}

/// What the replicas answered, by shard and broker.
pub type Answers = BTreeMap<(ShardId, BrokerId), Answer>;

/// The shards without a living leader, each with the in-sync replicas that are to be asked for their positions; the
/// other replicas' answers are welcome for the high watermarks that they know.
#[must_use]
pub fn to_ask(catalog: &Catalog, live: &BTreeSet<BrokerId>) -> Vec<(ShardId, Vec<BrokerId>)> {
    let asked = |shard: &Shard| {
        let there = shard.isr.iter().map(|member| member.broker).filter(|broker| live.contains(broker));
        (shard.id, there.collect())
    };
    leaderless(catalog, live).map(asked).collect()
}

/// Plans the elections of every shard without a living leader: one whose leader's lease ended, that has none, or whose
/// leader started again since it was elected.
#[must_use]
pub fn plan(catalog: &Catalog, live: &BTreeSet<BrokerId>, answers: &Answers) -> Plan {
    let mut plan = Plan::default();
    for shard in leaderless(catalog, live) {
        match elect(catalog, live, answers, shard, &mut plan.report) {
            Ok(election) => plan.elect.push(election),
            Err(why) => plan.wait.push((shard.id, why)),
        }
    }
    plan
}

fn leaderless<'a>(catalog: &'a Catalog, live: &'a BTreeSet<BrokerId>) -> impl Iterator<Item = &'a Shard> {
    let leads = |shard: &Shard| {
        let leading = shard.leading();
        leading.is_some_and(|leading| live.contains(&leading.broker) && catalog.is_current(leading))
    };
    catalog.shards().filter(move |shard| shard.kind != ShardKind::Catalog && !leads(shard))
}

/// An in-sync replica that answered.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    member: Member,
    is_proven: bool,
    /// See [`Answer::epoch`].
    promised: Epoch,
    last_epoch: Epoch,
    end: Position,
}

impl Candidate {
    const fn place(&self) -> (Epoch, Position) {
        (self.last_epoch, self.end)
    }
}

fn elect(
    catalog: &Catalog,
    live: &BTreeSet<BrokerId>,
    answers: &Answers,
    shard: &Shard,
    report: &mut Vec<Behind>,
) -> Result<Election, Why> {
    if shard.is_data_lost() {
        return Err(Why::DataLost);
    }
    let of_shard = answers.range((shard.id, BrokerId(0))..=(shard.id, BrokerId(u32::MAX)));
    // What was committed once is committed for ever, whoever says so and whenever it learnt it.
    let high_watermark = of_shard.map(|(_, answer)| answer.high_watermark).max().unwrap_or_default();
    let any = shard.replicas.iter().filter(|_| planted::is(Fault::ElectOutsideIsr));
    let asked = shard.isr.iter().copied().chain(any.filter_map(|&broker| catalog.member(broker)));
    let candidates: Vec<Candidate> =
        asked.filter_map(|member| candidate(catalog, live, answers, shard.id, member)).collect();
    let (behind, able): (Vec<Candidate>, Vec<Candidate>) = candidates.iter().partition(|candidate| {
        // A proven one holds all of it by now: answers are of different moments, and its own came first.
        let lacks = !candidate.is_proven && candidate.end < high_watermark;
        lacks && !planted::is(Fault::IgnoreKnownHighWatermark)
    });
    report.extend(behind.iter().map(|candidate| Behind {
        shard: shard.id,
        member: candidate.member,
        end: candidate.end,
        high_watermark,
    }));

    let (id, version) = (shard.id, shard.version);
    let lead = |winner: Member| Election {
        shard: id,
        version,
        leader: Some(winner),
        isr: stay(shard, winner, behind),
    };
    if let Some(winner) = greatest(catalog, shard, able.iter().filter(|candidate| candidate.is_proven)) {
        return Ok(lead(winner));
    }
    let needed = if planted::is(Fault::ElectOnOneAnswer) { 1 } else { shard.in_sync_floor() };
    if candidates.len() < needed {
        return Err(Why::Answers { have: candidates.len(), needed });
    }
    if able.is_empty() {
        return Err(Why::Behind { high_watermark });
    }
    if !is_epoch_over(shard, &candidates) {
        return Ok(Election { shard: id, version, leader: None, isr: shard.isr.clone() });
    }
    // Whatever a lone one confirms, to whomever, it holds itself.
    let is_settled = |candidate: &&Candidate| candidate.promised >= shard.epoch || shard.isr.len() == 1;
    let have = candidates.iter().filter(is_settled).count();
    if have < needed {
        return Err(Why::Promises { have, needed });
    }
    let winner = greatest(catalog, shard, able.iter().filter(is_settled));
    winner.map(lead).ok_or(Why::Behind { high_watermark })
}

/// Whether nobody leads the row's epoch any more: it was ended, or its leader and all others started again.
fn is_epoch_over(shard: &Shard, candidates: &[Candidate]) -> bool {
    let started_again = |recorded: &Member| {
        let mut of = candidates.iter().filter(|candidate| candidate.member.broker == recorded.broker);
        of.any(|candidate| !candidate.is_proven)
    };
    shard.leader.is_none() || shard.isr.iter().all(started_again)
}

/// The one with the greatest log; among equals rather one that stays and does not give leadership away, then the
/// preferred one.
fn greatest<'a>(
    catalog: &Catalog,
    shard: &Shard,
    among: impl Iterator<Item = &'a Candidate> + Clone,
) -> Option<Member> {
    let preference = |candidate: &&Candidate| {
        let broker = candidate.member.broker;
        let shuns = catalog.broker(broker).is_none_or(|row| !row.takes_leadership());
        let order = shard.replicas.iter().position(|replica| *replica == broker);
        (shard.leaving.contains(&broker) || shuns, order)
    };
    let best = among.clone().map(Candidate::place).max()?;
    among
        .filter(|candidate| candidate.place() == best || planted::is(Fault::ElectShorterLog))
        .min_by_key(preference)
        .map(|candidate| candidate.member)
}

fn candidate(
    catalog: &Catalog,
    live: &BTreeSet<BrokerId>,
    answers: &Answers,
    shard: ShardId,
    recorded: Member,
) -> Option<Candidate> {
    let current = catalog.member(recorded.broker)?;
    let answer = answers.get(&(shard, recorded.broker))?;
    // An answer of an earlier start says nothing about what the disk holds now.
    let counts = answer.incarnation == current.incarnation && live.contains(&current.broker);
    counts.then_some(Candidate {
        member: current,
        is_proven: current == recorded,
        promised: answer.epoch,
        last_epoch: answer.last_epoch,
        end: answer.end,
    })
}

/// The in-sync replicas after the election: those that are behind go, the furthest behind first, as far as the minimum
/// allows; the others stay as they are recorded until the new leader confirms them.
fn stay(shard: &Shard, winner: Member, mut behind: Vec<Candidate>) -> Vec<Member> {
    behind.sort_by_key(|candidate| (candidate.place(), candidate.member));
    let dropped = shard.isr.len() - shard.in_sync_floor();
    let dropped: BTreeSet<BrokerId> =
        behind.iter().take(dropped).map(|candidate| candidate.member.broker).collect();
    let stays = shard.isr.iter().filter(|member| !dropped.contains(&member.broker));
    let isr = stays.map(|&member| if member.broker == winner.broker { winner } else { member });
    let is_outside = shard.in_sync(winner.broker).is_none() && planted::is(Fault::ElectOutsideIsr);
    isr.chain(is_outside.then_some(winner)).collect()
}

#[cfg(test)]
#[path = "failover_tests.rs"]
mod tests;
