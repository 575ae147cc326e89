//! The catalog's row of the shard, with the rules by which it changes.
//!
//! The product's catalog knows a hundred other things, so this is its row alone; `tests/catalog.rs` drives both through
//! the same commands and compares what becomes of them.

use std::collections::BTreeMap;

use pondage_model::{BrokerId, Epoch, Incarnation, Member, Position};
use pondage_replication::{Assignment, IsrRequest, Status};

use crate::{
    configuration::Planted,
    history::Rule,
    shared::{Bag, Shared},
};

/// What a leader asked for, and has no answer to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// Another in-sync set.
    InSync {
        /// Who asks.
        broker: BrokerId,
        /// For what.
        request: IsrRequest,
    },
    /// Another leader.
    HandOver {
        /// The version of the row that it goes by.
        version: u64,
        /// Who has everything.
        to: BrokerId,
    },
}

impl Wish {
    const fn version(&self) -> u64 {
        match self {
            Self::InSync { request, .. } => request.version,
            Self::HandOver { version, .. } => *version,
        }
    }
}

/// A new leader for the next epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    /// Under its current start; none to end the epoch before somebody is chosen.
    pub leader: Option<Member>,
    /// Those who stay in sync.
    pub isr: Vec<Member>,
}

/// What a replica said when the planner of failovers asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// Which start spoke.
    pub member: Member,
    /// Its place.
    pub status: Status,
}

/// Brokers and the row.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Catalog {
    /// The row now, and before it those that some replica may still have to learn.
    rows: Vec<Shared<Assignment>>,
    /// The current start of each broker whose volume is not lost.
    starts: BTreeMap<BrokerId, Incarnation>,
    /// Requests on their way. They may arrive late, or never.
    pub wishes: Bag<Wish>,
}

impl Catalog {
    /// Brokers in their first start, the first ones in sync, the very first leading in epoch 1.
    pub fn new(brokers: u32, in_sync: u32, min_in_sync_replicas: u32) -> Self {
        let start = |broker| Member { broker: BrokerId(broker), incarnation: Incarnation(1) };
        Self::at(Assignment {
            epoch: Epoch(1),
            version: 1,
            leader: Some(BrokerId(0)),
            replicas: (0..brokers).map(BrokerId).collect(),
            isr: (0..in_sync).map(start).collect(),
            min_in_sync_replicas,
        })
    }

    /// A row whose replicas are in their first start, or in the one that is in sync.
    pub fn at(row: Assignment) -> Self {
        let start = |broker: &BrokerId| {
            let incarnation = row.in_sync(*broker).map_or(Incarnation(1), |member| member.incarnation);
            (*broker, incarnation)
        };
        let starts = row.replicas.iter().map(start).collect();
        Self { rows: vec![Shared::new(row)], starts, wishes: Bag::default() }
    }

    /// The row as it is.
    pub fn row(&self) -> &Assignment {
        self.rows.last().expect("there is always a row")
    }

    /// The versions after `known` that a replica may learn next: the one that follows, and the last.
    pub fn news(&self, known: u64) -> impl Iterator<Item = &Shared<Assignment>> {
        let next = self.rows.iter().position(|row| row.version > known);
        let last = next.map(|_| self.rows.len() - 1).filter(|last| next != Some(*last));
        next.into_iter().chain(last).map(|index| &self.rows[index])
    }

    /// Nobody will learn rows up to this version any more.
    pub fn forget_rows(&mut self, known_by_all: u64) {
        let last = self.row().version;
        self.rows.retain(|row| row.version > known_by_all || row.version == last);
    }

    fn is_current(&self, member: Member) -> bool {
        self.starts.get(&member.broker) == Some(&member.incarnation)
    }

    /// A broker's current start.
    pub fn current(&self, broker: BrokerId) -> Option<Member> {
        self.starts.get(&broker).map(|&incarnation| Member { broker, incarnation })
    }

    /// A broker starts again.
    pub fn register(&mut self, broker: BrokerId) -> Member {
        let incarnation = self.starts.get_mut(&broker).expect("a known broker");
        *incarnation = incarnation.next();
        Member { broker, incarnation: *incarnation }
    }

    /// A broker's volume is lost for good; another one takes its place, out of sync.
    pub fn replace(&mut self, lost: BrokerId) -> Member {
        let broker = self.starts.last_key_value().map_or(BrokerId(0), |(last, _)| last.next());
        self.starts.remove(&lost);
        self.starts.insert(broker, Incarnation(1));
        self.change(|row| {
            row.isr.retain(|member| member.broker != lost);
            row.leader = row.leader.filter(|leader| *leader != lost);
            for replica in row.replicas.iter_mut().filter(|replica| **replica == lost) {
                *replica = broker;
            }
        });
        Member { broker, incarnation: Incarnation(1) }
    }

    fn change(&mut self, change: impl FnOnce(&mut Assignment)) {
        let mut row = self.row().clone();
        row.version += 1;
        change(&mut row);
        self.rows.push(Shared::new(row));
    }

    /// What was asked for at another version is refused whenever it arrives.
    pub fn drop_late_wishes(&mut self) {
        let version = self.row().version;
        self.wishes.retain(|wish| wish.version() == version);
    }

    /// A wish arrives. False if it is refused.
    pub fn grant(&mut self, wish: &Wish, planted: Option<Planted>) -> Result<bool, Rule> {
        match wish {
            Wish::InSync { broker, request } => {
                if !self.may_alter(*broker, request, planted) {
                    return Ok(false);
                }
                let (before, isr) = (self.row().isr.len(), request.isr.clone());
                self.change(|row| row.isr = isr);
                let row = self.row();
                let floor = before.min(row.min_in_sync_replicas as usize);
                if row.isr.len() < floor { Err(Rule::MinimumInSync) } else { Ok(true) }
            }
            Wish::HandOver { version, to } => {
                let Some(leader) = self.current(*to).filter(|_| *version == self.row().version) else {
                    return Ok(false);
                };
                // Only the start that the leader saw has what the leader said it has.
                if self.row().in_sync(*to) != Some(leader) {
                    return Ok(false);
                }
                let isr = self.row().isr.clone();
                self.elect(&Election { leader: Some(leader), isr });
                Ok(true)
            }
        }
    }

    /// Compare-and-set, by the leader, with starts that are still the current ones.
    fn may_alter(&self, broker: BrokerId, request: &IsrRequest, planted: Option<Planted>) -> bool {
        let row = self.row();
        let floor = row.isr.len().min(row.min_in_sync_replicas as usize);
        let leading = row.leader.and_then(|leader| row.in_sync(leader));
        (request.version == row.version || planted == Some(Planted::CatalogForgetsVersions))
            && request.epoch == row.epoch
            && leading.is_some_and(|member| member.broker == broker && request.isr.contains(&member))
            && request
                .isr
                .iter()
                .all(|member| row.replicas.contains(&member.broker) && self.is_current(*member))
            && request.isr.len() >= floor
    }

    /// The failover that these answers allow, if they allow one.
    ///
    /// A member of the in-sync set is proven if its broker has not started again since a leader confirmed it: nothing
    /// is committed without it, even while the answers travel. An unproven one may have lost what it had, and a leader
    /// that nobody hears from may count on that. So it is elected only if no proven one answers, and then from answers
    /// that can't be overtaken: the shard has no leader, and who answers is in the epoch in which it has none.
    pub fn plan(&self, answers: &[Answer], planted: Option<Planted>) -> Option<Election> {
        let row = self.row();
        let answers: Vec<&Answer> = answers.iter().filter(|answer| self.is_current(answer.member)).collect();
        let known = answers.iter().map(|answer| answer.status.high_watermark).max()?;
        let in_sync = |answer: &&&Answer| {
            row.in_sync(answer.member.broker).is_some() || planted == Some(Planted::AnybodyIsElected)
        };
        let candidates: Vec<&Answer> = answers.iter().filter(in_sync).copied().collect();
        let whole = candidates.iter().filter(|answer| answer.status.durable >= known);
        let trusts_all = matches!(planted, Some(Planted::AnybodyIsElected | Planted::TheUnprovenAreElected));
        let proven = whole.clone().filter(|answer| trusts_all || row.isr.contains(&answer.member));
        let place = |broker: BrokerId| row.replicas.iter().position(|replica| *replica == broker);
        let rank = |answer: &&&Answer| {
            let place = std::cmp::Reverse(place(answer.member.broker));
            (answer.status.last_epoch, answer.status.durable, place)
        };
        let floor = self.floor();
        if let Some(leader) = proven.max_by_key(rank) {
            let leader = Some(leader.member);
            return Some(Election { leader, isr: self.isr_of(leader, &candidates, known) });
        }
        if candidates.len() < floor {
            return None;
        }
        if row.leader.is_some() {
            return Some(Election { leader: None, isr: row.isr.clone() });
        }
        let settled = |answer: &&&Answer| answer.status.epoch >= row.epoch;
        if candidates.iter().filter(settled).count() < floor {
            return None;
        }
        let leader = Some(whole.filter(settled).max_by_key(rank)?.member);
        Some(Election { leader, isr: self.isr_of(leader, &candidates, known) })
    }

    /// The fewest that may be in sync.
    fn floor(&self) -> usize {
        self.row().isr.len().min(self.row().min_in_sync_replicas as usize)
    }

    /// Who stays in sync under a new leader: everybody but those that lack what is known to be committed, as far as
    /// the minimum allows.
    fn isr_of(&self, leader: Option<Member>, candidates: &[&Answer], known: Position) -> Vec<Member> {
        let row = self.row();
        let mut isr: Vec<Member> = row.isr.clone();
        for answer in candidates.iter().filter(|answer| answer.status.durable < known) {
            if isr.len() > self.floor() {
                isr.retain(|member| member.broker != answer.member.broker);
            }
        }
        if let Some(leader) = leader {
            isr.retain(|member| member.broker != leader.broker);
            isr.push(leader);
        }
        let place = |member: &Member| row.replicas.iter().position(|replica| *replica == member.broker);
        isr.sort_by_key(place);
        isr
    }

    /// An election is carried out.
    pub fn elect(&mut self, election: &Election) {
        self.change(|row| {
            row.epoch = row.epoch.next();
            row.leader = election.leader.map(|leader| leader.broker);
            row.isr.clone_from(&election.isr);
        });
    }
}
