//! One world: virtual time, hosts with hostile disks whose brokers die or stop and come back, a network, clients.

mod broker;
mod consensus;
mod consensus_log;
mod due;
mod faults;
mod host;
mod life;
mod load;
mod loss;
mod network;
mod reach;
mod replicas;
mod shards;

use std::{collections::BinaryHeap, fmt};

use pondage_model::Uuid;
use pondage_node::shard::RequestId;
use pondage_storage::HostileDisk;

pub(crate) use self::host::HostId;
use self::{
    consensus_log::ConsensusLog,
    due::{Due, HostDue, Scheduled},
    faults::Plan,
    host::{Clock, Host},
    load::Load,
    network::Network,
    reach::Contact,
};
use crate::{chance::Chance, clients::Clients, invariants::Invariants, oracle::Oracle, trace::Trace};

/// Simulated seconds in which everything must come to rest once faults have ended.
const HEALING_SECONDS: u64 = 120;
/// Simulated microseconds after the end of faults within which writes to every stream must succeed again.
const WRITABLE_MICROS: u64 = 10_000_000;

/// How a seed went.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) hosts: usize,
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) steps: u64,
    pub(crate) acknowledged: u64,
    pub(crate) settled: u64,
    pub(crate) crashes: u64,
    pub(crate) fenced: u64,
    pub(crate) stops: u64,
    pub(crate) kept: u64,
    pub(crate) losses: u64,
    pub(crate) violation: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} hosts, {} acknowledged, {} settled, {} crashes, {} fenced, {} orderly stops, {} leases kept, \
             {} disks lost, {} steps, {} events, trace {:016x}: {}",
            self.seed,
            self.hosts,
            self.acknowledged,
            self.settled,
            self.crashes,
            self.fenced,
            self.stops,
            self.kept,
            self.losses,
            self.steps,
            self.events,
            self.hash,
            self.violation.as_deref().unwrap_or("no violation")
        )
    }
}

/// One world.
pub(crate) struct World {
    pub(crate) micros: u64,
    pub(crate) chance: Chance,
    pub(crate) trace: Trace,
    pub(crate) oracle: Oracle,
    invariants: Invariants,
    heap: BinaryHeap<Scheduled>,
    order: u64,
    steps: u64,
    hosts: Vec<Host>,
    network: Network,
    faults: Plan,
    consensus: ConsensusLog,
    load: Load,
    contacts: Vec<Contact>,
    cluster: Uuid,
    next_request: u64,
    faults_until: u64,
    crashes: u64,
    fenced: u64,
    stops: u64,
    kept: u64,
    losses: u64,
    segment_bytes: u64,
    fatal: Option<String>,
    /// How often a wall clock jumped.
    pub(crate) clock_jumps: u64,
}

impl World {
    /// Simulates a seed under faults for so many seconds and through healing: a third of the seeds with one host, the
    /// others with 3 to 5.
    #[cfg(feature = "planted")]
    pub(crate) fn run(seed: u64, seconds: u64, print: bool) -> Report {
        Self::run_on(seed, seconds, None, print)
    }

    /// As [`Self::run`], with this many hosts if it is said.
    pub(crate) fn run_on(seed: u64, seconds: u64, hosts: Option<usize>, print: bool) -> Report {
        let mut chance = Chance::new(seed);
        let drawn = if chance.once_in(3) { 1 } else { 3 + chance.below(3) as usize };
        let hosts = hosts.unwrap_or(drawn);
        let faults = Plan::drawn(hosts, &mut chance);
        let segment_bytes = [4 << 10, 16 << 10, 64 << 10, 1 << 20][chance.below(4) as usize];
        let host = |number: usize, chance: &mut Chance| {
            let disk = HostileDisk::new(seed ^ 0xd15c ^ ((number as u64) << 48), faults.disk);
            Host::new(disk, Clock::drawn(chance))
        };
        let mut world = Self {
            micros: 0,
            trace: Trace::new(print),
            oracle: Oracle::default(),
            invariants: Invariants::default(),
            heap: BinaryHeap::new(),
            order: 0,
            steps: 0,
            hosts: (0..hosts).map(|number| host(number, &mut chance)).collect(),
            network: Network::new(faults.weather),
            faults,
            consensus: ConsensusLog::new(hosts),
            load: Load::new(),
            contacts: Vec::new(),
            cluster: chance.uuid(),
            next_request: 0,
            faults_until: seconds * 1_000_000,
            crashes: 0,
            fenced: 0,
            stops: 0,
            kept: 0,
            losses: 0,
            segment_bytes,
            fatal: None,
            clock_jumps: 0,
            chance,
        };
        let mut clients = Clients::new(&mut world.chance);
        world.contacts.resize_with(clients.ids().len(), Contact::default);
        for host in 0..hosts {
            world.plan(0, Due::Restart(host));
        }
        for client in clients.ids() {
            world.plan_client(0, client);
        }
        if hosts > 1 {
            world.begin_consensus();
        }
        world.plan_fault();
        world.simulate(&mut clients);
        let violation = world.violation().cloned();
        Report {
            seed,
            hosts,
            hash: world.trace.hash,
            events: world.trace.events,
            steps: world.steps,
            acknowledged: world.oracle.acknowledged(),
            settled: world.oracle.settled_count(),
            crashes: world.crashes,
            fenced: world.fenced,
            stops: world.stops,
            kept: world.kept,
            losses: world.losses,
            violation,
        }
    }

    fn simulate(&mut self, clients: &mut Clients) {
        let end = self.faults_until + HEALING_SECONDS * 1_000_000;
        while let Some(Scheduled { at, due, .. }) = self.heap.pop() {
            self.micros = self.micros.max(at);
            self.steps += 1;
            if self.is_healing() && !clients.healing {
                self.heal(clients);
            }
            self.happen(*due, clients);
            if self.violation().is_some() {
                return;
            }
            if clients.healing && clients.finished(&mut self.oracle) {
                self.trace.say(self.micros, format_args!("all is settled"));
                return;
            }
            if self.micros > self.faults_until + WRITABLE_MICROS
                && let Some(unwritten) = clients.unwritten()
            {
                self.fatal =
                    Some(format!("{} s after the last fault nothing new was written by {unwritten}", 10));
                return;
            }
            if self.micros > end {
                self.fatal = Some(format!(
                    "nothing may stay stuck: {} simulated seconds after the last fault {}",
                    HEALING_SECONDS,
                    clients.stuck()
                ));
                return;
            }
        }
        self.fatal = Some("the world ran out of events".to_owned());
    }

    fn happen(&mut self, due: Due, clients: &mut Clients) {
        match due {
            Due::Host { host, start, due } => {
                let found = &mut self.hosts[host];
                if found.start != start {
                    return;
                }
                if found.paused {
                    found.stalled.push_back(due);
                } else {
                    self.on_host(host, due, clients);
                }
            }
            Due::Restart(host) => self.restart(host, clients),
            Due::Resume(host) => self.resume(host, clients),
            Due::Client(client) => {
                if self.takes_turn(client) {
                    clients.act(self, client);
                }
            }
            Due::Told(told) => self.told(told, clients),
            Due::HostLost(host) => self.host_lost(host, clients),
            Due::GiveUp(client, ticket) => self.give_up(client, ticket, clients),
            Due::Fault => self.strike(clients),
            Due::Mend(cut) => self.network.mend(cut),
            Due::Consensus(due) => self.consensus_happens(due, clients),
        }
    }

    fn violation(&self) -> Option<&String> {
        self.fatal.as_ref().or(self.invariants.violation.as_ref()).or(self.oracle.violation.as_ref())
    }

    pub(crate) const fn is_healing(&self) -> bool {
        self.micros >= self.faults_until
    }

    fn plan(&mut self, in_micros: u64, due: Due) {
        self.order += 1;
        self.heap.push(Scheduled { at: self.micros + in_micros, order: self.order, due: Box::new(due) });
    }

    /// Something becomes due in the host's present life.
    fn plan_host(&mut self, in_micros: u64, host: HostId, due: HostDue) {
        let start = self.hosts[host].start;
        self.plan(in_micros, Due::Host { host, start, due });
    }

    const fn new_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.oracle.violation.get_or_insert(what);
    }
}
