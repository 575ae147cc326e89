//! Coordinators on one ordered log. Their shards are played: a leader serves at once, does what it is asked, takes
//! every replica that runs into the in-sync replicas, and hands over when it is told to.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use pondage_catalog::{Catalog, Command, IsrChange, Shard, ShardKind};
use pondage_model::{BrokerId, Epoch, Incarnation, Member, Position, ShardId, Uuid};

use super::{
    super::{
        Assignment, Coordinator, CoordinatorEffect, CoordinatorEvent, Identity, PeerMessage, Rack,
        ShardPosition,
    },
    ordered_log::{OrderedLog, Voter, Weather},
};
use crate::Now;

/// What is durable on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) volume: Uuid,
    pub(super) incarnation: Incarnation,
    pub(super) nonce: Uuid,
}

/// One process.
pub(super) struct Process {
    pub(super) coordinator: Coordinator<Voter>,
    pub(super) shards: BTreeMap<ShardId, Assignment>,
    /// The first row of each that it was told of.
    pub(super) told_first: BTreeMap<ShardId, Assignment>,
    served: BTreeMap<ShardId, Epoch>,
    /// Shards that were handed over and are to go on.
    pub(super) kept: BTreeSet<ShardId>,
    /// Whether leaders of this broker take others into the in-sync replicas.
    pub(super) keeps_in_sync: bool,
    /// What was not played.
    pub(super) said: Vec<CoordinatorEffect>,
    /// Not told to the coordinator yet.
    pending: VecDeque<CoordinatorEvent>,
}

pub(super) struct Cluster {
    pub(super) log: Rc<RefCell<OrderedLog>>,
    pub(super) disks: Vec<Disk>,
    pub(super) processes: Vec<Option<Process>>,
    /// Messages between these two are lost.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Where logs end that don't end at 10.
    pub(super) ends: BTreeMap<(BrokerId, ShardId), ShardPosition>,
    /// What processes that are started say of their failure domain.
    pub(super) rack: Rack,
    mail: VecDeque<(usize, usize, Member, PeerMessage)>,
    pub(super) now_millis: u64,
    nonces: u8,
}

pub(super) const CLUSTER: Uuid = Uuid([1; 16]);

impl Cluster {
    /// Brokers 1 to `count`, registered, with every shard on as many of them as it wants; broker 1 leads the
    /// consensus.
    pub(super) fn new(count: usize) -> Self {
        let mut cluster = Self::empty(count);
        for host in 0..count {
            cluster.start(host);
            cluster.log.borrow_mut().leader = Some(BrokerId(1));
            cluster.settle();
        }
        cluster.pass(12_000);
        for row in cluster.rows() {
            assert_eq!(row.isr.len(), count.min(3), "{row:?}");
        }
        cluster
    }

    pub(super) fn empty(count: usize) -> Self {
        let disk = |host: u8| Disk {
            volume: Uuid([100 + host; 16]),
            incarnation: Incarnation(1),
            nonce: Uuid([200 + host; 16]),
        };
        Self {
            log: OrderedLog::new(),
            disks: (0..).map(disk).take(count).collect(),
            processes: (0..count).map(|_| None).collect(),
            cut: BTreeSet::new(),
            ends: BTreeMap::new(),
            rack: Rack::Unsaid,
            mail: VecDeque::new(),
            now_millis: 1_000,
            nonces: 0,
        }
    }

    /// Starts the process of a host.
    pub(super) fn start(&mut self, host: usize) {
        let process = self.process(self.disks[host], BTreeSet::new());
        self.processes[host] = Some(process);
        self.step(host, CoordinatorEvent::Start);
    }

    pub(super) fn process(&mut self, disk: Disk, held: BTreeSet<ShardId>) -> Process {
        self.nonces += 1;
        let Disk { volume, incarnation, nonce } = disk;
        let address = format!("host:{}", volume.0[0]);
        let rack = self.rack.clone();
        let identity =
            Identity { cluster: CLUSTER, volume, incarnation, nonce, address, rack, replaces: None };
        let next_nonce = Uuid([self.nonces; 16]);
        let coordinator =
            Coordinator::member(identity, next_nonce, Voter::new(&self.log), Catalog::new(), held);
        Process {
            coordinator,
            shards: BTreeMap::new(),
            told_first: BTreeMap::new(),
            served: BTreeMap::new(),
            kept: BTreeSet::new(),
            keeps_in_sync: true,
            said: Vec::new(),
            pending: VecDeque::new(),
        }
    }

    /// The process dies without a word.
    pub(super) fn kill(&mut self, host: usize) {
        self.processes[host] = None;
    }

    pub(super) fn at(&mut self, host: usize) -> &mut Process {
        self.processes[host].as_mut().expect("it runs")
    }

    pub(super) fn step(&mut self, host: usize, event: CoordinatorEvent) {
        let now = Now { monotonic_millis: self.now_millis, wall_millis: 0 };
        let Some(process) = &mut self.processes[host] else { return };
        process.pending.push_back(event);
        while let Some(process) = &mut self.processes[host]
            && let Some(event) = process.pending.pop_front()
        {
            let mut effects = Vec::new();
            process.coordinator.step(now, event, &mut effects);
            for effect in effects {
                self.play(host, effect);
            }
        }
    }

    fn play(&mut self, host: usize, effect: CoordinatorEffect) {
        let Some(process) = &mut self.processes[host] else { return };
        let own = process.coordinator.registered();
        match effect {
            CoordinatorEffect::WriteIdentity { incarnation, nonce } => {
                (self.disks[host].incarnation, self.disks[host].nonce) = (incarnation, nonce);
                process.pending.push_back(CoordinatorEvent::IdentityWritten);
            }
            CoordinatorEffect::Assign(shard, assignment) => {
                let epoch = assignment.epoch;
                let known = process.shards.get(&shard);
                assert!(known.is_none_or(|known| known.version <= assignment.version), "an older row");
                let leads = assignment.leader == own.map(|member| member.broker);
                process.told_first.entry(shard).or_insert_with(|| assignment.clone());
                process.shards.insert(shard, assignment);
                if leads && process.served.insert(shard, epoch) != Some(epoch) {
                    process.pending.push_back(CoordinatorEvent::Serving(shard, epoch));
                }
            }
            CoordinatorEffect::RemoveShard(shard) => {
                process.shards.remove(&shard);
                process.pending.push_back(CoordinatorEvent::Removed(shard));
            }
            CoordinatorEffect::AskPosition(shard) => {
                let broker = own.expect("only a registered one is asked").broker;
                let usual = ShardPosition {
                    shard,
                    epoch: Epoch::ZERO,
                    last_epoch: Epoch(1),
                    end: Position(10),
                    high_watermark: Position(5),
                };
                // What it was told of it promised before the next question came.
                let epoch = process.shards[&shard].epoch;
                let found = self.ends.get(&(broker, shard)).copied().unwrap_or(usual);
                let position = ShardPosition { epoch, ..found };
                process.pending.push_back(CoordinatorEvent::Position(position));
            }
            CoordinatorEffect::HandOver { shard, epoch, to } => {
                let version = process.shards[&shard].version;
                process.pending.push_back(CoordinatorEvent::HandedOver { shard, epoch, version, to });
            }
            CoordinatorEffect::KeepLeading(shard) => drop(process.kept.insert(shard)),
            CoordinatorEffect::Ensure { id, .. } => {
                process.pending.push_back(CoordinatorEvent::Ensured { id, result: Ok(()) });
            }
            CoordinatorEffect::Send { to, message } => {
                if let Some((receiver, from)) = self.host_of(to).zip(own) {
                    self.mail.push_back((host, receiver, from, message));
                }
            }
            other => process.said.push(other),
        }
    }

    /// The host of a broker, running or not.
    fn host_of(&self, broker: BrokerId) -> Option<usize> {
        let volume = self.catalog()?.broker(broker)?.volume;
        self.disks.iter().position(|disk| disk.volume == volume)
    }

    /// The newest catalog of a running process.
    fn catalog(&self) -> Option<&Catalog> {
        let catalogs = self.processes.iter().flatten().map(|process| process.coordinator.catalog());
        catalogs.max_by_key(|catalog| catalog.revision())
    }

    /// Lets everything happen that needs no time.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some((from, to, member, message)) = self.mail.pop_front() {
                if !self.cut.contains(&(from, to)) && !self.cut.contains(&(to, from)) {
                    self.step(to, CoordinatorEvent::Peer { from: member, message });
                }
            }
            let before = self.log.borrow().len();
            for host in 0..self.processes.len() {
                self.step(host, CoordinatorEvent::Consensus);
            }
            if self.mail.is_empty() && self.log.borrow().len() == before {
                return;
            }
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, millis: u64) {
        let until = self.now_millis + millis;
        while self.now_millis < until {
            self.now_millis += 50;
            for host in 0..self.processes.len() {
                self.keep_in_sync(host);
                self.step(host, CoordinatorEvent::Tick);
            }
            self.settle();
        }
    }

    /// The leaders on a host want every replica that runs and does not stop to be in sync, and no other.
    fn keep_in_sync(&mut self, host: usize) {
        let Some(process) = self.processes[host].as_ref().filter(|process| process.keeps_in_sync) else {
            return;
        };
        let Some(own) = process.coordinator.registered() else { return };
        let catalog = process.coordinator.catalog();
        let stays = |process: &&Process| {
            !process.said.iter().any(|effect| matches!(effect, CoordinatorEffect::Leave))
        };
        let staying = self.processes.iter().flatten().filter(stays);
        let running: BTreeSet<Member> =
            staying.filter_map(|process| process.coordinator.registered()).collect();
        let mut wishes = Vec::new();
        for (shard, row) in process.shards.iter().filter(|(_, row)| row.leader == Some(own.broker)) {
            let current = row.replicas.iter().filter_map(|replica| catalog.member(*replica));
            let mut isr: Vec<Member> = current.filter(|member| running.contains(member)).collect();
            isr.sort_unstable();
            if isr != row.isr && isr.len() >= (row.min_in_sync_replicas as usize).min(row.isr.len()) {
                let (shard, epoch, version) = (*shard, row.epoch, row.version);
                wishes.push(CoordinatorEvent::IsrWanted(IsrChange { shard, epoch, version, isr }));
            }
        }
        for wish in wishes {
            self.step(host, wish);
        }
    }

    /// Every shard's row, as the newest catalog has it.
    pub(super) fn rows(&self) -> Vec<Shard> {
        let catalog = self.catalog().expect("somebody runs");
        catalog.shards().filter(|row| row.kind != ShardKind::Catalog).cloned().collect()
    }

    pub(super) fn row(&self, shard: ShardId) -> Shard {
        self.rows().into_iter().find(|row| row.id == shard).expect("it exists")
    }

    /// The shards that a broker leads.
    pub(super) fn led_by(&self, broker: u32) -> Vec<ShardId> {
        let rows = self.rows().into_iter();
        rows.filter(|row| row.leader == Some(BrokerId(broker))).map(|row| row.id).collect()
    }

    /// The elections that were ordered from this command on, by command.
    pub(super) fn elections_from(&self, from: usize) -> Vec<usize> {
        let commands = self.log.borrow().commands_from(from).into_iter();
        let count = |command| match command {
            Command::ElectLeaders { elections } => Some(elections.len()),
            _ => None,
        };
        commands.filter_map(count).collect()
    }

    pub(super) fn weather(&self, weather: Weather) {
        self.log.borrow_mut().weather = weather;
    }

    pub(super) fn length(&self) -> usize {
        self.log.borrow().len()
    }

    /// Whether one of the effects that a process was left with is such.
    pub(super) fn has_said(&self, host: usize, what: impl Fn(&CoordinatorEffect) -> bool) -> bool {
        self.processes[host].as_ref().is_some_and(|process| process.said.iter().any(what))
    }

    /// Every broker's shards know the newest rows, and each is led by somebody who knows it.
    pub(super) fn check_agreement(&self) {
        for row in self.rows() {
            for process in self.processes.iter().flatten() {
                let own = process.coordinator.registered().expect("it had time");
                let told = process.shards.get(&row.id);
                assert_eq!(told.is_some(), row.replicas.contains(&own.broker), "{own:?} and {row:?}");
                let Some(told) = told else { continue };
                assert_eq!((told.epoch, told.version), (row.epoch, row.version), "{own:?}");
                assert_eq!(told.leader == Some(own.broker), row.leading() == Some(own), "{own:?}: {row:?}");
            }
        }
    }
}
