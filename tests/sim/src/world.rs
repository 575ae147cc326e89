//! One world: virtual time, one hostile disk, one broker that dies or stops and comes back.

mod broker;
mod due;
mod ending;

use std::{collections::BinaryHeap, fmt};

use pondage_model::{Body, Entry, Name, Offset, ShardId, StreamId, entry::Publish};
use pondage_node::{Now, coordinator::AdminRequest, shard::ShardRequest};
use pondage_storage::{Faults, HostileDisk};

use self::{
    broker::Running,
    due::{Due, Scheduled, Waiter},
};
use crate::{
    chance::Chance,
    clients::{ClientId, Clients},
    oracle::Oracle,
    trace::Trace,
};

/// Simulated seconds in which everything must come to rest once faults have ended.
const HEALING_SECONDS: u64 = 120;
/// Wall time at the start of a world: 2026-01-01.
const WALL_START_MILLIS: i64 = 1_767_225_600_000;

/// How a seed went.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) acknowledged: u64,
    pub(crate) settled: u64,
    pub(crate) crashes: u64,
    pub(crate) fenced: u64,
    pub(crate) stops: u64,
    pub(crate) kept: u64,
    pub(crate) violation: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} acknowledged, {} settled, {} crashes, {} fenced, {} orderly stops that kept {} leases, \
             {} events, trace {:016x}: {}",
            self.seed,
            self.acknowledged,
            self.settled,
            self.crashes,
            self.fenced,
            self.stops,
            self.kept,
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
    heap: BinaryHeap<Scheduled>,
    order: u64,
    disk: HostileDisk,
    wall_offset_millis: i64,
    start: u64,
    running: Option<Running>,
    next_request: u64,
    faults_until: u64,
    slow_disk: bool,
    crashes: u64,
    fenced: u64,
    stops: u64,
    kept: u64,
    segment_bytes: u64,
    fatal: Option<String>,
    /// How often the wall clock jumped.
    pub(crate) clock_jumps: u64,
}

impl World {
    pub(crate) fn run(seed: u64, seconds: u64, print: bool) -> Report {
        let mut chance = Chance::new(seed);
        let faults = Faults {
            write_errors_per_million: if chance.once_in(4) { 300 } else { 0 },
            sync_errors_per_million: if chance.once_in(4) { 300 } else { 0 },
            short_reads_per_million: if chance.once_in(2) { 20_000 } else { 0 },
            ..Faults::default()
        };
        let segment_bytes = [4 << 10, 16 << 10, 64 << 10, 1 << 20][chance.below(4) as usize];
        let mut world = Self {
            micros: 0,
            trace: Trace::new(print),
            oracle: Oracle::default(),
            heap: BinaryHeap::new(),
            order: 0,
            disk: HostileDisk::new(seed ^ 0xd15c, faults),
            wall_offset_millis: 0,
            start: 0,
            running: None,
            next_request: 0,
            faults_until: seconds * 1_000_000,
            slow_disk: chance.once_in(3),
            crashes: 0,
            fenced: 0,
            stops: 0,
            kept: 0,
            segment_bytes,
            fatal: None,
            clock_jumps: 0,
            chance,
        };
        let mut clients = Clients::new(&mut world.chance);
        world.plan(0, Due::Restart);
        for client in clients.ids() {
            world.plan_client(0, client);
        }
        world.plan_end();
        world.simulate(&mut clients);
        let violation = world.fatal.clone().or_else(|| world.oracle.violation.clone());
        Report {
            seed,
            hash: world.trace.hash,
            events: world.trace.events,
            acknowledged: world.oracle.acknowledged(),
            settled: world.oracle.settled_count(),
            crashes: world.crashes,
            fenced: world.fenced,
            stops: world.stops,
            kept: world.kept,
            violation,
        }
    }

    fn simulate(&mut self, clients: &mut Clients) {
        let end = self.faults_until + HEALING_SECONDS * 1_000_000;
        while let Some(Scheduled { at, due, .. }) = self.heap.pop() {
            self.micros = self.micros.max(at);
            if self.is_healing() && !clients.healing {
                self.heal(clients);
            }
            self.happen(*due, clients);
            if self.oracle.violation.is_some() || self.fatal.is_some() {
                return;
            }
            if clients.healing && clients.finished(&mut self.oracle) {
                self.trace.say(self.micros, format_args!("all is settled"));
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

    pub(crate) const fn is_healing(&self) -> bool {
        self.micros >= self.faults_until
    }

    fn heal(&mut self, clients: &mut Clients) {
        clients.healing = true;
        self.disk.set_faults(Faults::default());
        self.slow_disk = false;
        self.trace.say(self.micros, format_args!("faults end"));
    }

    fn plan(&mut self, in_micros: u64, due: Due) {
        self.order += 1;
        self.heap.push(Scheduled { at: self.micros + in_micros, order: self.order, due: Box::new(due) });
    }

    pub(crate) fn plan_client(&mut self, in_micros: u64, client: ClientId) {
        self.plan(in_micros, Due::Client(client));
    }

    fn now(&self) -> Now {
        let millis = self.micros / 1_000;
        Now {
            monotonic_millis: millis,
            wall_millis: WALL_START_MILLIS + millis as i64 + self.wall_offset_millis,
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.oracle.violation.get_or_insert(what);
    }
}

/// What a client can do in the world.
impl World {
    /// A request goes on its way: it arrives a little later, or never if the broker dies before.
    fn ask(&mut self, shard: ShardId, request: ShardRequest, waiter: Waiter) {
        let (pause, start) = (self.chance.between(5, 300), self.start);
        self.plan(pause, Due::Ask { start, shard, request, waiter });
    }

    /// Asks a shard for a client. False if the broker is not there to be asked.
    pub(crate) fn request(&mut self, client: ClientId, shard: ShardId, request: ShardRequest) -> bool {
        let up = self.is_up();
        if up {
            self.ask(shard, request, Waiter::Client(client));
        }
        up
    }

    /// Asks a shard and does not wait for the answer.
    pub(crate) fn tell(&mut self, shard: ShardId, request: ShardRequest) {
        self.ask(shard, request, Waiter::Nobody);
    }

    /// Asks the catalog for a client. False if the broker is not there to be asked.
    pub(crate) fn admin(&mut self, client: ClientId, request: AdminRequest) -> bool {
        let up = self.is_up();
        if up {
            let (pause, start) = (self.chance.between(5, 300), self.start);
            self.plan(pause, Due::AskCatalog { start, request, client });
        }
        up
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.as_ref().is_some_and(|up| up.ready)
    }

    /// Where the messages of a name are, if the broker knows the name by now.
    pub(crate) fn places(&self, name: &str) -> &[(StreamId, ShardId)] {
        self.running.as_ref().and_then(|up| up.routes.get(name)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn knows_group(&self, name: &Name) -> bool {
        self.running.as_ref().is_some_and(|up| up.groups.contains(name))
    }

    /// The oldest offset that a stream keeps.
    pub(crate) fn start_of(&self, shard: ShardId, stream: StreamId) -> Option<Offset> {
        let (machine, _) = self.running.as_ref()?.shards.get(&shard)?;
        Some(machine.committed()?.stream(stream)?.start())
    }

    /// Published entries of a stream that reach to or behind an offset.
    pub(crate) fn read(&mut self, shard: ShardId, stream: StreamId, from: Offset) -> Vec<Entry> {
        let Some((_, side)) = self.running.as_ref().and_then(|up| up.shards.get(&shard)) else {
            return Vec::new();
        };
        let raw = match side.reader.read_stream(stream, from, 1) {
            Ok(raw) => raw,
            Err(error) => {
                self.fatal = Some(format!("{shard:?} {stream:?} at {from}: {error}"));
                return Vec::new();
            }
        };
        raw.into_iter().filter_map(|entry| entry.decode().ok()).collect()
    }
}

/// The offset behind a published entry's last message.
fn end_of(entry: &Entry) -> Option<Offset> {
    match &entry.body {
        Body::Publish(publish) => Some(publish.base_offset.plus(publish.count.into())),
        _ => None,
    }
}

/// Whether a published batch holds the message.
fn covers(publish: &Publish, offset: Offset) -> bool {
    publish.base_offset <= offset && offset < publish.base_offset.plus(u64::from(publish.count))
}
