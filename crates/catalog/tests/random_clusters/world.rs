//! A cluster as its catalog and its planners see it; every command is checked.

use std::collections::{BTreeMap, BTreeSet};

use pondage_catalog::{
    Catalog, Command, Election, FeatureLevels, IsrChange, Outcome, ReplicaChange, ReplicaDrop, Shard,
    ShardKind, invariants,
    planners::{
        self,
        drain::{self, Remaining},
        failover::{self, Answer},
        feature_level, replication_factor, voters,
    },
};
use pondage_model::{
    BrokerId, Incarnation, Member, Name, Position, Refusal, ShardId, Uuid,
    settings::{Placement, QueueSettings, TopicSettings},
    wire::Wire,
};

use crate::Event;

pub(crate) struct World {
    catalog: Catalog,
    live: BTreeSet<BrokerId>,
    volumes: u8,
    nonces: u8,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self { catalog: Catalog::new(), live: BTreeSet::new(), volumes: 0, nonces: 0 };
        let first = Command::Initialise { cluster: Uuid([7; 16]), nonce: Uuid([7; 16]) };
        world.apply(&first, false).expect("first");
        world.happen(&Event::Join { rack: None, highest: 3, replaces: None });
        world
    }

    /// Applies a command and checks what it did.
    fn apply(&mut self, command: &Command, by_order: bool) -> Result<Outcome, Refusal> {
        let before = self.catalog.clone();
        assert_eq!(Command::from_bytes(command.to_bytes()).as_ref(), Ok(command));
        let result = self.catalog.apply(before.revision().next(), command);
        invariants::check(&self.catalog).unwrap_or_else(|broken| panic!("{broken}: after {command:?}"));
        invariants::check_step(&before, &self.catalog, by_order)
            .unwrap_or_else(|broken| panic!("{broken}: by {command:?}"));
        let changed: BTreeSet<ShardId> =
            self.catalog.shards_changed_since(before.revision()).map(|shard| shard.id).collect();
        for shard in self.catalog.shards() {
            let is_changed = before.shard(shard.id) != Some(shard);
            assert_eq!(changed.contains(&shard.id), is_changed, "{:?} by {command:?}", shard.id);
        }
        assert_eq!(Catalog::decode(self.catalog.encode()).as_ref(), Ok(&self.catalog));
        result
    }

    /// Applies what a planner planned: the catalog takes all of it.
    fn carry_out(&mut self, command: &Command) {
        match self.apply(command, false) {
            Ok(Outcome::Shards(results)) => {
                assert!(results.iter().all(|it| it.result.is_ok()), "{command:?}: {results:?}");
            }
            Ok(_) => {}
            Err(refusal) => panic!("{command:?}: {refusal}"),
        }
    }

    fn broker(&self, number: u32) -> BrokerId {
        let brokers: Vec<BrokerId> = self.catalog.brokers().map(|broker| broker.id).collect();
        brokers[number as usize % brokers.len()]
    }

    fn shard(&self, number: u32) -> &Shard {
        let count = self.catalog.shards().len();
        self.catalog.shards().nth(number as usize % count).expect("the catalog's at least")
    }

    fn member(&self, (number, older): (u32, u64)) -> Member {
        let member = self.catalog.broker(self.broker(number)).expect("there").member();
        Member { incarnation: Incarnation(member.incarnation.0.saturating_sub(older)), ..member }
    }

    fn register(
        &mut self,
        volume: Uuid,
        incarnation: Incarnation,
        like: (Option<u8>, u32),
        gone: Option<BrokerId>,
    ) {
        self.nonces = self.nonces.wrapping_add(1);
        let (rack, highest) = like;
        let command = Command::RegisterBroker {
            volume,
            incarnation,
            nonce: Uuid([self.nonces; 16]),
            address: "a:1".to_owned(),
            rack: rack.map(|rack| format!("r{rack}")),
            feature_levels: FeatureLevels { lowest: 1, highest },
            replaces: gone,
        };
        if let Ok(Outcome::Registered { broker, shards }) = self.apply(&command, gone.is_some()) {
            self.live.insert(broker);
            self.live.retain(|live| Some(*live) != gone);
            // New shards stand in as many racks as there are, and nobody that is lost takes part.
            for (shard, _) in shards {
                let row = self.catalog.shard(shard).expect("just created");
                let rack_of = |broker: &BrokerId| self.catalog.broker(*broker).expect("there").rack.clone();
                let stands: BTreeSet<_> = row.replicas.iter().map(rack_of).collect();
                let takers = self.catalog.brokers().filter(|broker| broker.takes_replicas());
                let racks: BTreeSet<_> = takers.map(|broker| broker.rack.clone()).collect();
                assert_eq!(stands.len(), racks.len().min(row.replicas.len()), "{row:?}");
            }
        }
    }

    pub(crate) fn happen(&mut self, event: &Event) {
        match event {
            Event::Join { rack, highest, replaces } => {
                if self.catalog.brokers().len() >= 8 {
                    return;
                }
                self.volumes += 1;
                let gone = replaces.filter(|_| self.volumes > 1).map(|number| self.broker(number));
                self.register(Uuid([self.volumes; 16]), Incarnation(1), (*rack, *highest), gone);
            }
            Event::Start(number) => {
                let row = self.catalog.broker(self.broker(*number)).expect("there").clone();
                let rack = row.rack.as_ref().and_then(|rack| rack[1..].parse().ok());
                self.register(row.volume, row.incarnation.next(), (rack, row.feature_levels.highest), None);
            }
            Event::Stop(number) => {
                let broker = self.broker(*number);
                self.live.remove(&broker);
            }
            Event::Lose(number) => {
                let broker = self.broker(*number);
                self.live.remove(&broker);
                let _ = self.apply(&Command::LoseBroker { broker }, true);
            }
            Event::Drain(number, drain) => {
                let command = Command::Drain { broker: self.broker(*number), drain: *drain };
                let _ = self.apply(&command, false);
            }
            Event::Remove(number) => {
                let broker = self.broker(*number);
                if self.apply(&Command::RemoveBroker { broker }, false).is_ok() {
                    self.live.remove(&broker);
                }
            }
            Event::Raise(level) => {
                if let Some(level) = feature_level::plan(&self.catalog) {
                    self.carry_out(&Command::SetFeatureLevel { level });
                }
                let _ = self.apply(&Command::SetFeatureLevel { level: *level }, false);
            }
            Event::Topic { name, partitions, replicas, minimum, placement } => {
                self.apply_resource(*name, *partitions, *replicas, *minimum, *placement);
            }
            Event::Delete(name) => {
                let (name, policy_override, messages, if_uid) = (resource(*name), None, 0, None);
                let _ = self.apply(&Command::DeleteTopic { name, policy_override, messages, if_uid }, false);
            }
            Event::Failover => self.fail_over(),
            Event::CatchUp => self.catch_up(),
            Event::Plan => {
                self.plan();
            }
            _ => self.meddle(event),
        }
    }

    /// Requests of anybody, in time or not, right or wrong.
    fn meddle(&mut self, event: &Event) {
        let members = |list: &[(u32, u64)]| list.iter().map(|&it| self.member(it)).collect();
        let (command, by_order) = match event {
            Event::Alter { sender, shard, age, isr } => {
                let row = self.shard(*shard);
                let change = IsrChange {
                    shard: row.id,
                    epoch: row.epoch,
                    version: row.version.saturating_sub(*age),
                    isr: members(isr),
                };
                let broker = row.leader.filter(|_| *sender > 0).unwrap_or(self.broker(*sender));
                (Command::AlterIsr { broker, changes: vec![change] }, false)
            }
            Event::Elect { leader, shard, age, isr } => {
                let row = self.shard(*shard);
                let election = Election {
                    shard: row.id,
                    version: row.version.saturating_sub(*age),
                    leader: Some(self.member(*leader)),
                    isr: members(isr),
                };
                (Command::ElectLeaders { elections: vec![election] }, false)
            }
            Event::Unclean { leader, shard } => {
                let Shard { id, version, .. } = *self.shard(*shard);
                let (leader, reason) = (self.broker(*leader), "a test".to_owned());
                (Command::UncleanElect { shard: id, version, leader, reason }, true)
            }
            Event::Change { shard, age, replicas, minimum } => {
                let row = self.shard(*shard);
                let change = ReplicaChange {
                    shard: row.id,
                    version: row.version.saturating_sub(*age),
                    replicas: replicas.iter().map(|&number| self.broker(number)).collect(),
                    min_in_sync_replicas: *minimum,
                };
                (Command::ChangeReplicas { changes: vec![change] }, false)
            }
            Event::DropLeaving { shard, age } => {
                let Shard { id, version, .. } = *self.shard(*shard);
                let drop = ReplicaDrop { shard: id, version: version.saturating_sub(*age) };
                (Command::DropReplicas { drops: vec![drop] }, false)
            }
            _ => return,
        };
        let _ = self.apply(&command, by_order);
    }

    fn apply_resource(
        &mut self,
        name: u8,
        partitions: u32,
        replicas: Option<u32>,
        min_in_sync_replicas: Option<u32>,
        placement: Placement,
    ) {
        let name = resource(name);
        let command = if self.catalog.queue(&name).is_some() {
            let defaults = QueueSettings::default();
            let settings = QueueSettings { replicas, min_in_sync_replicas, placement, ..defaults };
            Command::ApplyQueue { name, settings }
        } else {
            let have = self.catalog.topic(&name).map_or(0, |topic| topic.settings.partitions);
            let placement = self.catalog.topic(&name).map_or(placement, |topic| topic.settings.placement);
            let (partitions, defaults) = (partitions.max(have), TopicSettings::default());
            let settings =
                TopicSettings { partitions, replicas, min_in_sync_replicas, placement, ..defaults };
            Command::ApplyTopic { name, settings }
        };
        let _ = self.apply(&command, false);
    }

    /// Everybody answers for the shards without a leader, all with the same log.
    fn fail_over(&mut self) {
        let mut answers = BTreeMap::new();
        for (shard, _) in failover::to_ask(&self.catalog, &self.live) {
            let row = self.catalog.shard(shard).expect("there");
            for member in row.replicas.iter().filter_map(|&replica| self.catalog.member(replica)) {
                let answer = Answer {
                    incarnation: member.incarnation,
                    epoch: row.epoch,
                    last_epoch: row.epoch,
                    end: Position(9),
                    high_watermark: Position(9),
                };
                answers.insert((shard, member.broker), answer);
            }
        }
        let plan = failover::plan(&self.catalog, &self.live, &answers);
        if !plan.elect.is_empty() {
            self.carry_out(&Command::ElectLeaders { elections: plan.elect });
        }
        assert_eq!(plan.report, []);
    }

    /// Every leader takes in the replicas that are there, and drops the others as far as it may.
    fn catch_up(&mut self) {
        let mut by_leader: BTreeMap<BrokerId, Vec<IsrChange>> = BTreeMap::new();
        for shard in self.catalog.shards() {
            let Some(leader) = shard.leading().filter(|&it| self.catalog.is_current(it)) else { continue };
            let members = shard.replicas.iter().filter_map(|&replica| self.catalog.member(replica));
            let (there, down): (Vec<Member>, Vec<Member>) =
                members.partition(|member| self.live.contains(&member.broker));
            let down = down.into_iter().filter(|&member| shard.isr.contains(&member));
            let missing = shard.in_sync_floor().saturating_sub(there.len());
            let mut isr: Vec<Member> = there.into_iter().chain(down.take(missing)).collect();
            isr.sort_unstable();
            if self.live.contains(&leader.broker) && isr != shard.isr && isr.len() >= shard.in_sync_floor() {
                let change = IsrChange { shard: shard.id, epoch: shard.epoch, version: shard.version, isr };
                by_leader.entry(leader.broker).or_default().push(change);
            }
        }
        for (broker, changes) in by_leader {
            self.carry_out(&Command::AlterIsr { broker, changes });
        }
    }

    /// One round of the planners; whether there was anything to do.
    fn plan(&mut self) -> bool {
        if let Some(voters) = voters::plan(&self.catalog) {
            self.carry_out(&Command::SetVoters { voters });
            assert_eq!(voters::plan(&self.catalog), None);
        }
        let round = planners::round(&self.catalog, &self.live);
        assert_eq!(round, planners::round(&self.catalog.clone(), &self.live), "equal catalogs, equal plans");
        for command in &round.commands {
            self.carry_out(command);
        }
        for hand_over in &round.hand_overs {
            let election = self.catalog.election_of(hand_over.shard, hand_over.to);
            // The replica may have been dropped by what was carried out before.
            if let Some(election) = election {
                self.carry_out(&Command::ElectLeaders { elections: vec![election] });
            }
        }
        !round.is_empty()
    }

    /// How many brokers there are.
    pub(crate) fn brokers(&self) -> usize {
        self.catalog.brokers().len()
    }

    /// Copies and minimum of the shards, each pair once.
    pub(crate) fn copies(&self) -> BTreeSet<(usize, u32)> {
        let assigned = self.catalog.shards().filter(|shard| shard.kind != ShardKind::Catalog);
        assigned.map(|shard| (shard.replicas.len(), shard.min_in_sync_replicas)).collect()
    }

    /// How many shards each leader leads.
    pub(crate) fn led(&self) -> Vec<usize> {
        let mut led: BTreeMap<BrokerId, usize> = BTreeMap::new();
        for leader in self.catalog.shards().filter_map(|shard| shard.leader) {
            *led.entry(leader).or_default() += 1;
        }
        led.into_values().collect()
    }

    pub(crate) fn remaining(&self, number: u32) -> Remaining {
        drain::remaining(&self.catalog, self.broker(number))
    }

    /// Everybody that is not lost starts, and the planners run until they have nothing to do. How many rounds it took.
    pub(crate) fn heal(&mut self) -> usize {
        let there: Vec<BrokerId> =
            self.catalog.brokers().filter(|broker| !broker.lost).map(|broker| broker.id).collect();
        self.live.extend(there);
        for round in 0..40 {
            self.fail_over();
            self.catch_up();
            if !self.plan() {
                return round;
            }
        }
        panic!("no end: {:?}", planners::round(&self.catalog, &self.live));
    }

    /// What the cluster is like once nothing is left to do.
    pub(crate) fn check_healed(&self) {
        let takers: BTreeSet<BrokerId> =
            self.catalog.brokers().filter(|broker| broker.takes_replicas()).map(|broker| broker.id).collect();
        let is_healthy = |shard: &&Shard| shard.kind != ShardKind::Catalog && !shard.is_data_lost();
        let healthy: Vec<&Shard> = self.catalog.shards().filter(is_healthy).collect();
        for shard in &healthy {
            let leader = shard.leader.expect("elected");
            let wanted = replication_factor::wanted(&self.catalog, shard);
            let in_sync: BTreeSet<BrokerId> = shard.isr.iter().map(|member| member.broker).collect();
            let there = |broker: &BrokerId| self.catalog.member(*broker).is_some();
            let expected: BTreeSet<BrokerId> = shard.replicas.iter().copied().filter(there).collect();
            assert_eq!(in_sync, expected, "{shard:?}");
            // As many copies as wanted, or everybody that takes one.
            if wanted.replicas <= takers.len() {
                assert_eq!(shard.leaving, [], "{shard:?}");
                assert_eq!(shard.replicas.len(), wanted.replicas, "{shard:?}");
                assert!(shard.replicas.iter().all(|replica| takers.contains(replica)), "{shard:?}");
                assert_eq!(shard.min_in_sync_replicas, wanted.min_in_sync_replicas, "{shard:?}");
            } else {
                assert!(takers.iter().all(|taker| shard.replicas.contains(taker)), "{shard:?}");
            }
            // Nobody leads who gives leadership away while another one could.
            let takes =
                |broker: &BrokerId| self.catalog.broker(*broker).is_some_and(|row| row.takes_leadership());
            assert!(takes(&leader) || !in_sync.iter().any(takes), "{shard:?}");
        }
        if healthy.len() + 1 == self.catalog.shards().len() {
            invariants::check_racks(&self.catalog).expect("spread");
        }
    }
}

fn resource(number: u8) -> Name {
    Name::new(&format!("n{number}")).expect("valid")
}
