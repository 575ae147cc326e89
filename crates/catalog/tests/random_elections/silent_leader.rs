//! Elections while a leader that nobody hears from goes on: the next one has whatever it may still commit, because all
//! of its in-sync replicas confirmed it at some time, even one that lost it since.

use std::collections::{BTreeMap, BTreeSet};

use pondage_catalog::{
    Catalog, Command,
    planners::failover::{self, Answer, Answers},
};
use pondage_model::{BrokerId, Epoch, Incarnation, Member, Position};
use proptest::prelude::*;

use super::{apply, cluster_of, register, shard};

/// What the silent leader has appended. All of it in the first epoch.
const WRITTEN: u64 = 20;

#[derive(Clone, Debug)]
enum Event {
    /// The silent leader's entries reach a replica, which confirms them if it is still in the leader's epoch.
    Push { to: u32, entries: u64 },
    /// A broker starts again; its disk may be an image of before.
    Restart { broker: u32, loses: Option<u64> },
    /// The silent leader starts again, if it still is one.
    EndSilence,
    /// A replica learns the row and promises its epoch, or begins to lead it.
    Learn { broker: u32 },
    /// These answer where their logs end.
    Ask { brokers: Vec<bool> },
    /// The planner decides on the last answers, and so it is done.
    Decide,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let broker = 1..61u32;
    let event = prop_oneof![
        16 => (broker.clone(), prop_oneof![Just(WRITTEN), 1..WRITTEN]).prop_map(|(to, entries)| Event::Push { to, entries }),
        16 => (broker.clone(), prop::option::of(prop_oneof![Just(WRITTEN), 1..WRITTEN]))
            .prop_map(|(broker, loses)| Event::Restart { broker, loses }),
        4 => broker.prop_map(|broker| Event::Learn { broker }),
        16 => prop::collection::vec(prop::bool::weighted(0.6), 5).prop_map(|brokers| Event::Ask { brokers }),
        16 => Just(Event::Decide),
        1 => Just(Event::EndSilence),
    ];
    prop::collection::vec(event, 0..16)
}

/// One replica.
#[derive(Clone, Copy, Debug)]
struct Replica {
    start: u64,
    end: u64,
    /// What the silent leader once heard that it has.
    confirmed: u64,
    /// It confirms nothing in an older epoch.
    epoch: Epoch,
    /// The same, and durably.
    promised: Epoch,
    lost_something: bool,
}

struct World {
    catalog: Catalog,
    /// The leader of the first epoch, until it starts again.
    silent: Option<BrokerId>,
    replicas: BTreeMap<BrokerId, Replica>,
    committed: u64,
    /// Disks that may still lose what they had synced.
    losses: usize,
    live: BTreeSet<BrokerId>,
    answers: Answers,
    /// Who began to lead a later epoch, and with what.
    led_from: Option<u64>,
}

impl World {
    fn new(replicas: u32, minimum: u32) -> Self {
        let catalog = cluster_of(replicas, minimum);
        let row = shard(&catalog).clone();
        let replica = Replica {
            start: 1,
            end: 0,
            confirmed: 0,
            epoch: row.epoch,
            promised: row.epoch,
            lost_something: false,
        };
        let silent = row.leader.expect("new");
        let mut replicas: BTreeMap<_, _> = (1..=replicas).map(|broker| (BrokerId(broker), replica)).collect();
        replicas.insert(silent, Replica { end: WRITTEN, confirmed: WRITTEN, ..replica });
        Self {
            catalog,
            silent: Some(silent),
            replicas,
            committed: 0,
            losses: row.in_sync_floor() - 1,
            live: BTreeSet::new(),
            answers: Answers::new(),
            led_from: None,
        }
    }

    /// The silent leader commits what all confirmed, and all were in sync in its epoch.
    fn commit(&mut self) {
        if self.silent.is_some() {
            let confirmed = self.replicas.values().map(|replica| replica.confirmed).min().unwrap_or(0);
            self.committed = self.committed.max(confirmed);
        }
    }

    fn push(&mut self, to: BrokerId, entries: u64) {
        let Some(replica) = self.replicas.get_mut(&to) else { return };
        if self.silent.is_some_and(|silent| silent != to) && replica.epoch == Epoch(1) {
            replica.end = (replica.end + entries).min(WRITTEN);
            replica.confirmed = replica.confirmed.max(replica.end);
            self.commit();
        }
    }

    fn restart(&mut self, broker: BrokerId, loses: Option<u64>) {
        let Some(replica) = self.replicas.get_mut(&broker) else { return };
        replica.start += 1;
        if let Some(lost) = loses.filter(|_| self.losses > 0 || replica.lost_something) {
            if !replica.lost_something {
                (self.losses, replica.lost_something) = (self.losses - 1, true);
            }
            replica.end = replica.end.saturating_sub(lost);
            // An older image knows of no later promise.
            replica.promised = Epoch(1);
        }
        apply(&mut self.catalog, &register(broker.0, replica.start));
        // It hears of nobody before it knows the row.
        replica.epoch = shard(&self.catalog).epoch.max(replica.promised);
        if self.silent == Some(broker) {
            self.silent = None;
        }
    }

    fn learn(&mut self, broker: BrokerId) {
        let Some(replica) = self.replicas.get_mut(&broker) else { return };
        let row = shard(&self.catalog);
        let member = Member { broker, incarnation: Incarnation(replica.start) };
        if row.epoch > Epoch(1) && row.leading() == Some(member) {
            self.led_from = Some(replica.end);
        }
        // The silent leader leads on until it is told; that it is told only ends what it may do.
        if self.silent != Some(broker) {
            replica.epoch = replica.epoch.max(row.epoch);
            replica.promised = replica.epoch;
        }
    }

    fn ask(&mut self, brokers: impl Iterator<Item = BrokerId>) {
        let shard = shard(&self.catalog).id;
        self.live = brokers.filter(|broker| self.replicas.contains_key(broker)).collect();
        let answer = |broker: &BrokerId| {
            let replica = self.replicas[broker];
            let answer = Answer {
                incarnation: Incarnation(replica.start),
                epoch: replica.promised,
                last_epoch: Epoch(1),
                end: Position(replica.end),
                high_watermark: Position(self.committed.min(replica.end)),
            };
            ((shard, *broker), answer)
        };
        self.answers = self.live.iter().map(answer).collect();
    }

    fn decide(&mut self) {
        let shard = shard(&self.catalog).id;
        let mut elect = failover::plan(&self.catalog, &self.live, &self.answers).elect;
        elect.retain(|election| election.shard == shard);
        if !elect.is_empty() {
            apply(&mut self.catalog, &Command::ElectLeaders { elections: elect });
        }
    }

    fn step(&mut self, event: &Event) {
        // Small clusters use the numbers of the brokers that they lack for those that they have.
        let count = u32::try_from(self.replicas.len()).expect("few");
        let broker = |number: u32| BrokerId((number - 1) % count + 1);
        match event {
            Event::Push { to, entries } => self.push(broker(*to), *entries),
            Event::Restart { broker: number, loses } => {
                // That would end most histories early.
                if self.silent != Some(broker(*number)) {
                    self.restart(broker(*number), *loses);
                }
            }
            Event::EndSilence => {
                if let Some(silent) = self.silent {
                    self.restart(silent, None);
                }
            }
            Event::Learn { broker: number } => self.learn(broker(*number)),
            Event::Ask { brokers } => {
                self.ask((1..).zip(brokers).filter(|(_, asked)| **asked).map(|(broker, _)| BrokerId(broker)));
            }
            Event::Decide => self.decide(),
        }
    }

    /// Nothing fails any more, but the silent leader is still not heard.
    fn heal(&mut self) {
        for _ in 0..4 {
            if self.led_from.is_some() {
                return;
            }
            let brokers: Vec<BrokerId> =
                self.replicas.keys().copied().filter(|broker| Some(*broker) != self.silent).collect();
            brokers.iter().for_each(|broker| self.learn(*broker));
            self.ask(brokers.into_iter());
            self.decide();
        }
    }

    /// Whether those that can be heard are enough for an election.
    fn can_elect(&self) -> bool {
        let row = shard(&self.catalog);
        let heard: Vec<&Member> =
            row.isr.iter().filter(|member| Some(member.broker) != self.silent).collect();
        heard.len() >= row.in_sync_floor() || heard.iter().any(|member| self.catalog.is_current(**member))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30_000))]
    #[test]
    fn who_is_elected_has_what_a_silent_leader_may_still_commit(
        replicas in prop_oneof![1..6u32, Just(3)],
        minimum in prop_oneof![1..4u32, Just(2)],
        events in events(),
    ) {
        let mut world = World::new(replicas, minimum.min(replicas));
        for event in &events {
            world.step(event);
            if world.led_from.is_some() {
                break;
            }
        }
        world.heal();
        // All that never learnt of a later epoch confirm what is left.
        for broker in 1..=replicas {
            world.push(BrokerId(broker), WRITTEN);
        }
        match world.led_from {
            Some(end) => prop_assert!(end >= world.committed, "{end} of {}", world.committed),
            None => prop_assert!(!world.can_elect(), "nobody leads: {:?}", shard(&world.catalog)),
        }
    }
}
