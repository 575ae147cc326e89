//! One world: virtual time, one hostile disk, one broker that dies and comes back.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    fmt,
};

use pondage_model::{
    Body, Entry, Name, Offset, RawEntry, Refusal, ShardId, StreamId,
    entry::{Move, MovedFrom, Publish},
};
use pondage_node::{
    Now,
    boot::{Booted, Fresh, OpenedShard, boot, open_shard},
    coordinator::{AdminRequest, Coordinator, CoordinatorEffect, CoordinatorEvent, Route},
    dead_letter::dead_letter,
    delivery,
    shard::{RequestId, Shard, ShardEffect, ShardEvent, ShardReply, ShardRequest},
};
use pondage_storage::{Faults, HostileDisk, LogOptions, LogReader, LogWriter, Volume, Written};

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
    pub(crate) accepted: u64,
    pub(crate) crashes: u64,
    pub(crate) fenced: u64,
    pub(crate) violation: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} acknowledged, {} accepted, {} crashes, {} fenced, {} events, trace {:016x}: {}",
            self.seed,
            self.acknowledged,
            self.accepted,
            self.crashes,
            self.fenced,
            self.events,
            self.hash,
            self.violation.as_deref().unwrap_or("no violation")
        )
    }
}

/// What is due at a moment. `start` tells the broker's start it belongs to: what a dead one was to do is not done.
#[derive(Debug)]
enum Due {
    ShardSync {
        start: u64,
        shard: ShardId,
    },
    CatalogSync {
        start: u64,
    },
    Wake {
        start: u64,
        shard: ShardId,
    },
    Segments {
        start: u64,
        shard: ShardId,
    },
    Replay {
        start: u64,
        shard: ShardId,
        from: pondage_model::Position,
    },
    Forward {
        start: u64,
        shard: ShardId,
        source: StreamId,
        moving: Move,
    },
    /// A request arrives at a shard.
    Ask {
        start: u64,
        shard: ShardId,
        request: ShardRequest,
        waiter: Waiter,
    },
    /// A request arrives at the catalog.
    AskCatalog {
        start: u64,
        request: AdminRequest,
        client: ClientId,
    },
    Client(ClientId),
    Crash,
    Restart,
}

struct Scheduled {
    at: u64,
    order: u64,
    due: Due,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    /// The earliest first: the heap gives the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A log and the batch that waits for its sync.
struct Side {
    writer: LogWriter<HostileDisk>,
    reader: LogReader<HostileDisk>,
    written: Option<Written>,
}

/// Who waits for an answer of a shard.
#[derive(Debug)]
enum Waiter {
    Client(ClientId),
    Ensure(RequestId),
    /// A dead letter's publish at its target: then it is settled at its source.
    Forwarded {
        shard: ShardId,
        source: StreamId,
        moving: Move,
    },
    Nobody,
}

/// A broker that is up.
struct Running {
    _volume: Volume<HostileDisk>,
    coordinator: Coordinator,
    catalog: Side,
    shards: BTreeMap<ShardId, (Shard, Side)>,
    routes: BTreeMap<Name, Route>,
    groups: BTreeSet<Name>,
    waiters: HashMap<(ShardId, RequestId), Waiter>,
    admin_waiters: HashMap<RequestId, ClientId>,
    ready: bool,
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
    segment_bytes: u64,
    fatal: Option<String>,
    pub(crate) clock_jumped: bool,
}

/// What a client can do in the world.
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
            segment_bytes,
            fatal: None,
            clock_jumped: false,
            chance,
        };
        let mut clients = Clients::new(&mut world.chance);
        world.plan(0, Due::Restart);
        for client in clients.ids() {
            world.plan_client(0, client);
        }
        world.plan_crash();
        world.simulate(&mut clients);
        let violation = world.fatal.clone().or_else(|| world.oracle.violation.clone());
        Report {
            seed,
            hash: world.trace.hash,
            events: world.trace.events,
            acknowledged: world.oracle.acknowledged(),
            accepted: world.oracle.accepted(),
            crashes: world.crashes,
            fenced: world.fenced,
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
            self.happen(due, clients);
            if self.oracle.violation.is_some() || self.fatal.is_some() {
                return;
            }
            if clients.finished(&mut self.oracle) {
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

    fn happen(&mut self, due: Due, clients: &mut Clients) {
        match due {
            Due::Crash => {
                if !self.is_healing() {
                    self.crash(clients);
                }
            }
            Due::Restart => self.restart(clients),
            Due::Client(client) => clients.act(self, client),
            Due::Wake { start, shard } if start == self.start => self.shard(shard, ShardEvent::Wake, clients),
            Due::Segments { start, shard } if start == self.start => {
                if let Some(segments) = self
                    .running
                    .as_ref()
                    .and_then(|up| up.shards.get(&shard))
                    .map(|(_, side)| side.reader.segments())
                {
                    self.shard(shard, ShardEvent::Segments(segments), clients);
                    let pause = self.chance.between(500_000, 4_000_000);
                    self.plan(pause, Due::Segments { start, shard });
                }
            }
            Due::ShardSync { start, shard } if start == self.start => {
                let Some((_, side)) = self.running.as_mut().and_then(|up| up.shards.get_mut(&shard)) else {
                    return;
                };
                let Some(written) = side.written.take() else { return };
                match side.writer.sync(written) {
                    Ok(synced) => self.shard(shard, ShardEvent::Synced(synced), clients),
                    Err(fault) => self.fence(&fault.to_string(), Some(shard), clients),
                }
            }
            Due::CatalogSync { start } if start == self.start => {
                let Some(up) = self.running.as_mut() else { return };
                let Some(written) = up.catalog.written.take() else { return };
                match up.catalog.writer.sync(written) {
                    Ok(synced) => self.coordinator(CoordinatorEvent::Synced(synced), clients),
                    Err(fault) => self.fence(&fault.to_string(), None, clients),
                }
            }
            Due::Replay { start, shard, from } if start == self.start => {
                let Some((_, side)) = self.running.as_ref().and_then(|up| up.shards.get(&shard)) else {
                    return;
                };
                let bytes = self.chance.between(1, 64 << 10) as usize;
                match side.reader.read_from(from, bytes) {
                    Ok(entries) => self.shard(shard, ShardEvent::Replayed(entries), clients),
                    Err(error) => self.fatal = Some(format!("replay of {shard:?} from {from}: {error}")),
                }
            }
            Due::Forward { start, shard, source, moving } if start == self.start => {
                self.forward(shard, source, &moving);
            }
            Due::Ask { start, shard, request, waiter } if start == self.start => {
                let id = RequestId(self.next_request);
                self.next_request += 1;
                if let Some(up) = self.running.as_mut() {
                    up.waiters.insert((shard, id), waiter);
                    self.shard(shard, ShardEvent::Request { id, request }, clients);
                }
            }
            Due::AskCatalog { start, request, client } if start == self.start => {
                let id = RequestId(self.next_request);
                self.next_request += 1;
                if let Some(up) = self.running.as_mut() {
                    up.admin_waiters.insert(id, client);
                    self.coordinator(CoordinatorEvent::Request { id, request }, clients);
                }
            }
            Due::Wake { .. }
            | Due::Segments { .. }
            | Due::ShardSync { .. }
            | Due::CatalogSync { .. }
            | Due::Replay { .. }
            | Due::Forward { .. }
            | Due::Ask { .. }
            | Due::AskCatalog { .. } => {}
        }
    }

    fn plan(&mut self, in_micros: u64, due: Due) {
        self.order += 1;
        self.heap.push(Scheduled { at: self.micros + in_micros, order: self.order, due });
    }

    pub(crate) fn plan_client(&mut self, in_micros: u64, client: ClientId) {
        self.plan(in_micros, Due::Client(client));
    }

    fn plan_crash(&mut self) {
        let pause = self.chance.between(50_000, 4_000_000);
        self.plan(pause, Due::Crash);
    }

    fn now(&self) -> Now {
        let millis = self.micros / 1_000;
        Now {
            monotonic_millis: millis,
            wall_millis: WALL_START_MILLIS + millis as i64 + self.wall_offset_millis,
        }
    }

    /// Power goes, or only the process dies.
    fn crash(&mut self, clients: &mut Clients) {
        self.crashes += 1;
        let power = self.chance.once_in(2);
        self.trace.say(self.micros, format_args!("{}", if power { "power cut" } else { "kill" }));
        self.running = None;
        if power {
            self.disk.crash();
        } else {
            self.disk.kill();
        }
        self.start += 1;
        clients.broker_lost(self);
        let pause = self.chance.between(1_000, 500_000);
        self.plan(pause, Due::Restart);
        if !self.is_healing() {
            self.plan_crash();
        }
    }

    /// A write or sync failed: the broker says so and exits; the disk may have forgotten what it held.
    fn fence(&mut self, reason: &str, shard: Option<ShardId>, clients: &mut Clients) {
        self.fenced += 1;
        self.trace.say(self.micros, format_args!("fenced: {reason}"));
        if let Some(shard) = shard {
            self.shard(shard, ShardEvent::WriteFailed, clients);
        } else {
            self.coordinator(CoordinatorEvent::WriteFailed, clients);
        }
        self.crash(clients);
    }

    fn restart(&mut self, clients: &mut Clients) {
        if self.running.is_some() {
            return;
        }
        self.start += 1;
        if self.chance.once_in(10) && !self.is_healing() {
            // The wall clock jumps by up to ten years either way.
            // A lone broker can't tell a jump ahead from a long time off: then log time leaps with it, sessions
            // grow old and delays end.
            self.wall_offset_millis = self.chance.below(631_152_000_000) as i64 - 315_576_000_000;
            self.clock_jumped = true;
            self.oracle.forget_times();
        }
        let fresh =
            Fresh { cluster: self.chance.uuid(), volume: self.chance.uuid(), nonce: self.chance.uuid() };
        let options = self.log_options();
        match boot(&self.disk, &options, fresh, "sim:0".to_owned()) {
            Ok(Booted { volume, coordinator, catalog_writer, catalog_reader, .. }) => {
                self.trace.say(self.micros, format_args!("start {}", self.start));
                self.running = Some(Running {
                    _volume: volume,
                    coordinator,
                    catalog: Side { writer: catalog_writer, reader: catalog_reader, written: None },
                    shards: BTreeMap::new(),
                    routes: BTreeMap::new(),
                    groups: BTreeSet::new(),
                    waiters: HashMap::new(),
                    admin_waiters: HashMap::new(),
                    ready: false,
                });
                self.coordinator(CoordinatorEvent::Start, clients);
            }
            Err(error) => self.start_failed(&error.to_string(), clients),
        }
    }

    /// A disk that shows errors may fail a start; it must never make one fail for good.
    fn start_failed(&mut self, error: &str, clients: &mut Clients) {
        if self.disk.counters().faults == 0 || (self.is_healing() && self.disk_was_quiet()) {
            self.fatal = Some(format!("the broker does not start: {error}"));
            return;
        }
        self.fenced += 1;
        self.trace.say(self.micros, format_args!("start failed: {error}"));
        self.crash(clients);
    }

    /// Whether a start under no faults has failed before: one crash after the faults' end clears what they left.
    fn disk_was_quiet(&mut self) -> bool {
        self.micros > self.faults_until + 20_000_000
    }

    fn log_options(&self) -> LogOptions {
        LogOptions {
            segment_bytes_min: self.segment_bytes,
            segment_bytes_max: self.segment_bytes * 8,
            salt: 0x5a17,
            ..LogOptions::default()
        }
    }

    fn sync_micros(&mut self) -> u64 {
        match (self.slow_disk, self.chance.below(100)) {
            (true, 0) => 300_000,
            (true, _) => self.chance.between(500, 5_000),
            (false, _) => self.chance.between(50, 500),
        }
    }

    pub(crate) fn coordinator(&mut self, event: CoordinatorEvent, clients: &mut Clients) {
        let now = self.now();
        let Some(up) = self.running.as_mut() else { return };
        let mut effects = Vec::new();
        up.coordinator.step(now, event, &mut effects);
        for effect in effects {
            if self.running.is_none() {
                return;
            }
            self.perform_coordinator(effect, clients);
        }
    }

    fn perform_coordinator(&mut self, effect: CoordinatorEffect, clients: &mut Clients) {
        let start = self.start;
        match effect {
            CoordinatorEffect::Write(entries) => {
                let Some(up) = self.running.as_mut() else { return };
                match up.catalog.writer.write(&entries) {
                    Ok(written) => {
                        up.catalog.written = Some(written);
                        let pause = self.sync_micros();
                        self.plan(pause, Due::CatalogSync { start });
                    }
                    Err(fault) => self.fence(&fault.to_string(), None, clients),
                }
            }
            CoordinatorEffect::StartShard(shard, epoch) => {
                let (options, now) = (self.log_options(), self.now());
                if self.running.as_ref().is_some_and(|up| !up.shards.contains_key(&shard)) {
                    match open_shard(&self.disk, &options, shard, now) {
                        Ok(OpenedShard { shard: machine, writer, reader }) => {
                            let side = Side { writer, reader, written: None };
                            if let Some(up) = self.running.as_mut() {
                                up.shards.insert(shard, (machine, side));
                            }
                        }
                        Err(error) => return self.start_failed(&error.to_string(), clients),
                    }
                }
                self.trace.say(self.micros, format_args!("{shard:?} led in {epoch:?}"));
                let pause = self.chance.between(500_000, 4_000_000);
                self.plan(pause, Due::Segments { start, shard });
                self.shard(shard, ShardEvent::Lead(epoch), clients);
            }
            CoordinatorEffect::RemoveShard(shard) => {
                if let Some(up) = self.running.as_mut() {
                    up.shards.remove(&shard);
                }
            }
            CoordinatorEffect::Ensure { id, shard, streams, complete } => {
                self.ask(shard, ShardRequest::Ensure { streams, complete }, Waiter::Ensure(id));
            }
            CoordinatorEffect::Route(name, route) => {
                if let Some(up) = self.running.as_mut() {
                    match route {
                        Some(route) => drop(up.routes.insert(name, route)),
                        None => drop(up.routes.remove(&name)),
                    }
                }
            }
            CoordinatorEffect::Reply { id, result } => {
                let waiter = self.running.as_mut().and_then(|up| up.admin_waiters.remove(&id));
                if let Some(client) = waiter {
                    clients.admin_answer(self, client, &result);
                }
            }
            CoordinatorEffect::Ready => {
                self.trace.say(self.micros, format_args!("ready"));
                if let Some(up) = self.running.as_mut() {
                    up.ready = true;
                }
            }
            CoordinatorEffect::Fatal(refusal) => match refusal {
                Refusal::VolumeFenced { .. } | Refusal::Interrupted => {}
                other => self.fatal = Some(format!("the coordinator gave up: {other}")),
            },
            CoordinatorEffect::DropSegments(position) => {
                let Some(up) = self.running.as_mut() else { return };
                if up.catalog.written.is_none()
                    && let Err(fault) = up.catalog.writer.drop_segments_below(position)
                {
                    self.fence(&fault.to_string(), None, clients);
                }
            }
            CoordinatorEffect::Group(name, settings) => {
                if let Some(up) = self.running.as_mut() {
                    match settings {
                        Some(_) => up.groups.insert(name),
                        None => up.groups.remove(&name),
                    };
                }
            }
            CoordinatorEffect::Changed(_) => {}
        }
    }

    pub(crate) fn shard(&mut self, shard: ShardId, event: ShardEvent, clients: &mut Clients) {
        let now = self.now();
        let Some((machine, _)) = self.running.as_mut().and_then(|up| up.shards.get_mut(&shard)) else {
            return;
        };
        let mut effects = Vec::new();
        if let Err(broken) = machine.step(now, event, &mut effects) {
            self.fatal = Some(format!("{shard:?}: {broken}"));
            return;
        }
        let start = self.start;
        for effect in effects {
            if self.start != start {
                return;
            }
            // A process can die between any two effects.
            if !self.is_healing() && self.chance.once_in(5_000) {
                self.crash(clients);
                return;
            }
            self.perform_shard(shard, effect, clients);
        }
    }

    fn perform_shard(&mut self, shard: ShardId, effect: ShardEffect, clients: &mut Clients) {
        let start = self.start;
        match effect {
            ShardEffect::Write(entries) => self.write(shard, &entries, clients),
            ShardEffect::Replay { from } => {
                let pause = self.chance.between(10, 2_000);
                self.plan(pause, Due::Replay { start, shard, from });
            }
            ShardEffect::Serving(_) => self.coordinator(CoordinatorEvent::Serving(shard), clients),
            ShardEffect::Reply { id, reply } => self.reply(shard, id, reply, clients),
            ShardEffect::Deliver { epoch, dispatch } => {
                for granted in &dispatch.grants {
                    let end = granted.first.plus(granted.count.into());
                    let mut entries = Vec::new();
                    let mut next = granted.first;
                    while next < end {
                        let more = self.read(shard, dispatch.stream, next);
                        let Some(reached) = more.iter().filter_map(end_of).max().filter(|end| *end > next)
                        else {
                            break;
                        };
                        next = reached;
                        entries.extend(more);
                    }
                    clients.granted(self, shard, epoch, &dispatch, granted, &entries);
                }
            }
            ShardEffect::Progress { reader, end, .. } => clients.progress(self, shard, reader, end),
            ShardEffect::Forward { source, moving } => {
                let pause = self.chance.between(10, 5_000);
                self.plan(pause, Due::Forward { start, shard, source, moving });
            }
            ShardEffect::DropSegments(position) => {
                let Some((_, side)) = self.running.as_mut().and_then(|up| up.shards.get_mut(&shard)) else {
                    return;
                };
                if side.written.is_none()
                    && let Err(fault) = side.writer.drop_segments_below(position)
                {
                    self.fence(&fault.to_string(), Some(shard), clients);
                }
            }
            ShardEffect::WakeAt(at_millis) => {
                let pause = (at_millis * 1_000).saturating_sub(self.micros);
                self.plan(pause, Due::Wake { start, shard });
            }
        }
    }

    fn write(&mut self, shard: ShardId, entries: &[RawEntry], clients: &mut Clients) {
        let start = self.start;
        let Some((_, side)) = self.running.as_mut().and_then(|up| up.shards.get_mut(&shard)) else { return };
        assert!(side.written.is_none(), "two batches at once");
        match side.writer.write(entries) {
            Ok(written) => {
                side.written = Some(written);
                let pause = self.sync_micros();
                self.plan(pause, Due::ShardSync { start, shard });
            }
            Err(fault) => self.fence(&fault.to_string(), Some(shard), clients),
        }
    }

    fn reply(&mut self, shard: ShardId, id: RequestId, reply: ShardReply, clients: &mut Clients) {
        let waiter = self.running.as_mut().and_then(|up| up.waiters.remove(&(shard, id)));
        match waiter {
            Some(Waiter::Client(client)) => clients.answer(self, client, &reply),
            Some(Waiter::Ensure(id)) => {
                let result = if let ShardReply::Refused(refusal) = reply { Err(refusal) } else { Ok(()) };
                self.coordinator(CoordinatorEvent::Ensured { id, result }, clients);
            }
            Some(Waiter::Forwarded { shard, source, moving }) => match reply {
                ShardReply::Delivery(delivery::Reply::Published { .. }) => {
                    let request = delivery::Request::Moved { stream: source, seq: moving.seq };
                    self.ask(shard, ShardRequest::Delivery(request), Waiter::Nobody);
                }
                _ => self.shard(shard, ShardEvent::ForwardRefused { source, gone: false }, clients),
            },
            Some(Waiter::Nobody) | None => {}
        }
    }

    fn forward(&mut self, shard: ShardId, source: StreamId, moving: &Move) {
        let entries = self.read(shard, source, moving.offset);
        let stored = entries.iter().find_map(|entry| match &entry.body {
            Body::Publish(publish) if covers(publish, moving.offset) => Some(publish),
            _ => None,
        });
        let Some(stored) = stored else {
            self.fatal =
                Some(format!("{shard:?} {source:?}: moving message {} is not in the log", moving.offset));
            return;
        };
        let name = Name::new("source").expect("valid");
        match dead_letter(&name, stored, moving) {
            Ok(batch) => {
                let request = delivery::Request::Publish {
                    stream: moving.target,
                    count: 1,
                    batch,
                    producer: None,
                    delay_millis: None,
                    ttl_millis: None,
                    moved: Some(MovedFrom { source, seq: moving.seq }),
                };
                let waiter = Waiter::Forwarded { shard, source, moving: *moving };
                self.ask(moving.target_shard, ShardRequest::Delivery(request), waiter);
            }
            Err(refusal) => self.fatal = Some(format!("a dead letter can't be built: {refusal}")),
        }
    }

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

    pub(crate) fn route(&self, name: &Name) -> Option<Route> {
        self.running.as_ref()?.routes.get(name).cloned()
    }

    pub(crate) fn knows_group(&self, name: &Name) -> bool {
        self.running.as_ref().is_some_and(|up| up.groups.contains(name))
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

    pub(crate) fn violate(&mut self, what: String) {
        self.oracle.violation.get_or_insert(what);
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
pub(crate) fn covers(publish: &Publish, offset: Offset) -> bool {
    publish.base_offset <= offset && offset < publish.base_offset.plus(u64::from(publish.count))
}
