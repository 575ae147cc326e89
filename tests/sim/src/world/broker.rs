//! The broker of a world: performs the node's effects on the hostile disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pondage_model::{
    Body, Epoch, Name, RawEntry, Refusal, ShardId, StreamId,
    entry::{Move, MovedFrom},
};
use pondage_node::{
    boot::{Booted, Fresh, OpenedShard, boot, open_shard, remove_shard_folder},
    coordinator::{Coordinator, CoordinatorEffect, CoordinatorEvent},
    dead_letter::dead_letter,
    delivery,
    shard::{RequestId, Shard, ShardEffect, ShardEvent, ShardReply, ShardRequest},
};
use pondage_storage::{HostileDisk, LogOptions, LogReader, LogWriter, Volume, Written};

use super::{Due, Waiter, World, covers, end_of};
use crate::clients::{ClientId, Clients};

/// A log and the batch that waits for its sync.
pub(super) struct Side {
    writer: LogWriter<HostileDisk>,
    pub(super) reader: LogReader<HostileDisk>,
    pub(super) written: Option<Written>,
    /// Segments below may go once nothing is being written.
    to_drop: Option<pondage_model::Position>,
    /// The number of the latest wake.
    wake: u64,
}

impl Side {
    fn new(writer: LogWriter<HostileDisk>, reader: LogReader<HostileDisk>) -> Self {
        Self { writer, reader, written: None, to_drop: None, wake: 0 }
    }
}

/// A broker that is up.
pub(super) struct Running {
    _volume: Volume<HostileDisk>,
    coordinator: Coordinator,
    catalog: Side,
    pub(super) shards: BTreeMap<ShardId, (Shard, Side)>,
    pub(super) routes: BTreeMap<String, Vec<(StreamId, ShardId)>>,
    pub(super) groups: BTreeSet<Name>,
    waiters: BTreeMap<(ShardId, RequestId), Waiter>,
    admin_waiters: HashMap<RequestId, ClientId>,
    pub(super) ready: bool,
    /// Its coordinator has ended, its shards are about to.
    pub(super) stopping: bool,
}

impl World {
    pub(super) fn happen(&mut self, due: Due, clients: &mut Clients) {
        match due {
            Due::Crash if !self.is_healing() => self.crash(clients),
            Due::Crash => {}
            Due::Stop => self.stop(clients),
            Due::Restart => self.restart(clients),
            Due::Client(client) => clients.act(self, client),
            Due::Wake { start, shard, number } if start == self.start => {
                let latest = self.side(shard).is_some_and(|side| side.wake == number);
                if latest {
                    self.shard(shard, ShardEvent::Wake, clients);
                }
            }
            Due::Segments { start, shard } if start == self.start => {
                if let Some(segments) = self.side(shard).map(|side| side.reader.segments()) {
                    self.shard(shard, ShardEvent::Segments(segments), clients);
                    let pause = self.chance.between(500_000, 4_000_000);
                    self.plan(pause, Due::Segments { start, shard });
                }
            }
            Due::ShardSync { start, shard } if start == self.start => self.synced(shard, clients),
            Due::CatalogSync { start } if start == self.start => {
                let Some(up) = self.running.as_mut() else { return };
                let Some(written) = up.catalog.written.take() else { return };
                match up.catalog.writer.sync(written) {
                    Ok(synced) => self.coordinator(CoordinatorEvent::Synced(synced), clients),
                    Err(fault) => self.fence(&fault.to_string(), None, clients),
                }
            }
            Due::Replay { start, shard, from } if start == self.start => {
                let bytes = self.chance.between(1, 64 << 10) as usize;
                let Some(side) = self.side(shard) else { return };
                match side.reader.read_from(from, bytes) {
                    Ok(entries) => self.shard(shard, ShardEvent::Replayed(entries), clients),
                    Err(error) => self.fatal = Some(format!("replay of {shard:?} from {from}: {error}")),
                }
            }
            Due::Forward { start, shard, source, moving } if start == self.start => {
                self.forward(shard, source, &moving);
            }
            Due::Ask { start, shard, request, waiter } if start == self.start => {
                self.arrive(shard, request, waiter, clients);
            }
            Due::AskCatalog { start, request, client } if start == self.start => {
                let id = RequestId(self.next_request);
                self.next_request += 1;
                if let Some(up) = self.running.as_mut() {
                    up.admin_waiters.insert(id, client);
                    self.coordinator(CoordinatorEvent::Request { id, request }, clients);
                }
            }
            Due::RemoveFolder { start, shard } if start == self.start => {
                if let Err(error) = remove_shard_folder(&self.disk, shard) {
                    self.fence(&error.to_string(), None, clients);
                }
            }
            Due::Flush { start } if start == self.start => self.flush(),
            Due::EndShard { start, shard } if start == self.start => self.end_shard(shard, clients),
            Due::Wake { .. }
            | Due::Segments { .. }
            | Due::ShardSync { .. }
            | Due::CatalogSync { .. }
            | Due::Replay { .. }
            | Due::Forward { .. }
            | Due::Ask { .. }
            | Due::AskCatalog { .. }
            | Due::RemoveFolder { .. }
            | Due::Flush { .. }
            | Due::EndShard { .. } => {}
        }
    }

    fn side(&mut self, shard: ShardId) -> Option<&mut Side> {
        self.running.as_mut()?.shards.get_mut(&shard).map(|(_, side)| side)
    }

    fn synced(&mut self, shard: ShardId, clients: &mut Clients) {
        let Some(side) = self.side(shard) else { return };
        let Some(written) = side.written.take() else { return };
        match side.writer.sync(written) {
            Ok(synced) => self.shard(shard, ShardEvent::Synced(synced), clients),
            Err(fault) => return self.fence(&fault.to_string(), Some(shard), clients),
        }
        self.drop_segments(shard, clients);
    }

    pub(super) fn restart(&mut self, clients: &mut Clients) {
        if self.running.is_some() {
            return;
        }
        self.start += 1;
        if self.chance.once_in(10) && !self.is_healing() {
            // The wall clock jumps by up to ten years either way.
            // A lone broker can't tell a jump ahead from a long time off: then log time leaps with it, sessions
            // grow old and delays end.
            self.wall_offset_millis = self.chance.below(631_152_000_000) as i64 - 315_576_000_000;
            self.clock_jumps += 1;
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
                    catalog: Side::new(catalog_writer, catalog_reader),
                    shards: BTreeMap::new(),
                    routes: BTreeMap::new(),
                    groups: BTreeSet::new(),
                    waiters: BTreeMap::new(),
                    admin_waiters: HashMap::new(),
                    ready: false,
                    stopping: false,
                });
                self.coordinator(CoordinatorEvent::Start, clients);
            }
            Err(error) => self.start_failed(&error.to_string(), clients),
        }
    }

    /// A disk that shows errors may fail a start; it must never make one fail for good.
    fn start_failed(&mut self, error: &str, clients: &mut Clients) {
        // One crash after the faults' end clears what they left.
        let quiet = self.is_healing() && self.micros > self.faults_until + 20_000_000;
        if self.disk.counters().faults == 0 || quiet {
            self.fatal = Some(format!("the broker does not start: {error}"));
            return;
        }
        self.fenced += 1;
        self.trace.say(self.micros, format_args!("start failed: {error}"));
        self.crash(clients);
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
        match (self.slow_disk, self.chance.below(400)) {
            // Longer than a lease may stay unlogged, and than some leases last.
            (true, 0) => self.chance.between(1_000_000, 2_500_000),
            (true, 1..=3) => 300_000,
            (true, _) => self.chance.between(500, 5_000),
            (false, _) => self.chance.between(50, 500),
        }
    }

    pub(super) fn coordinator(&mut self, event: CoordinatorEvent, clients: &mut Clients) {
        let now = self.now();
        let Some(up) = self.running.as_mut().filter(|up| !up.stopping) else { return };
        let mut effects = Vec::new();
        up.coordinator.step(now, event, &mut effects);
        let start = self.start;
        for effect in effects {
            if self.start != start {
                return;
            }
            self.perform_coordinator(effect, clients);
        }
    }

    fn perform_coordinator(&mut self, effect: CoordinatorEffect, clients: &mut Clients) {
        let start = self.start;
        let pause = self.chance.between(100, 4_000_000);
        let Some(up) = self.running.as_mut() else { return };
        match effect {
            CoordinatorEffect::Write(entries) => match up.catalog.writer.write(&entries) {
                Ok(written) => {
                    up.catalog.written = Some(written);
                    let pause = self.sync_micros();
                    self.plan(pause, Due::CatalogSync { start });
                }
                Err(fault) => self.fence(&fault.to_string(), None, clients),
            },
            CoordinatorEffect::StartShard(shard, epoch) => self.start_shard(shard, epoch, clients),
            CoordinatorEffect::RemoveShard(shard) => {
                up.shards.remove(&shard);
                let waiting: Vec<_> = up.waiters.keys().filter(|(at, _)| *at == shard).copied().collect();
                for (_, id) in waiting {
                    self.reply(shard, id, ShardReply::Refused(Refusal::Interrupted), clients);
                }
                self.plan(pause / 100, Due::RemoveFolder { start, shard });
            }
            CoordinatorEffect::Ensure { id, shard, streams, complete } => {
                self.ask(shard, ShardRequest::Ensure { streams, complete }, Waiter::Ensure(id));
            }
            CoordinatorEffect::Route(name, Some(route)) => {
                up.routes.insert(name.to_string(), route.partitions);
            }
            CoordinatorEffect::Route(name, None) => drop(up.routes.remove(name.as_str())),
            CoordinatorEffect::Reply { id, result } => {
                if let Some(client) = up.admin_waiters.remove(&id) {
                    clients.admin_answer(self, client, &result);
                }
            }
            CoordinatorEffect::Ready => {
                up.ready = true;
                self.trace.say(self.micros, format_args!("ready"));
            }
            CoordinatorEffect::Fatal(refusal) => match refusal {
                Refusal::VolumeFenced { .. } => {}
                other => self.fatal = Some(format!("the coordinator gave up: {other}")),
            },
            CoordinatorEffect::DropSegments(position) => {
                if up.catalog.written.is_none()
                    && let Err(fault) = up.catalog.writer.drop_segments_below(position)
                {
                    self.fence(&fault.to_string(), None, clients);
                }
            }
            CoordinatorEffect::Group(name, Some(_)) => drop(up.groups.insert(name)),
            CoordinatorEffect::Group(name, None) => drop(up.groups.remove(&name)),
            CoordinatorEffect::Changed(_) => {}
        }
    }

    fn start_shard(&mut self, shard: ShardId, epoch: Epoch, clients: &mut Clients) {
        let (options, now) = (self.log_options(), self.now());
        match open_shard(&self.disk, &options, shard, now) {
            Ok(OpenedShard { shard: machine, writer, reader }) => {
                if let Some(up) = self.running.as_mut() {
                    let before = up.shards.insert(shard, (machine, Side::new(writer, reader)));
                    assert!(before.is_none(), "{shard:?} was started twice");
                }
            }
            Err(error) => return self.start_failed(&error.to_string(), clients),
        }
        self.trace.say(self.micros, format_args!("{shard:?} led in {epoch:?}"));
        let (pause, start) = (self.chance.between(500_000, 4_000_000), self.start);
        self.plan(pause, Due::Segments { start, shard });
        self.shard(shard, ShardEvent::Lead(epoch), clients);
    }

    pub(super) fn shard(&mut self, shard: ShardId, event: ShardEvent, clients: &mut Clients) {
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
                if dispatch.done {
                    clients.served(dispatch.consumer);
                }
            }
            ShardEffect::Progress { reader, start, end, .. } => clients.progress(self, reader, start, end),
            ShardEffect::Forward { source, moving } => {
                let pause = self.chance.between(10, 5_000);
                self.plan(pause, Due::Forward { start, shard, source, moving });
            }
            ShardEffect::DropSegments(position) => {
                if let Some(side) = self.side(shard) {
                    side.to_drop = Some(position);
                }
                self.drop_segments(shard, clients);
            }
            ShardEffect::WakeAt(at_millis) => {
                let pause = (at_millis * 1_000).saturating_sub(self.micros);
                self.order += 1;
                let number = self.order;
                if let Some(side) = self.side(shard) {
                    side.wake = number;
                }
                self.plan(pause, Due::Wake { start, shard, number });
            }
        }
    }

    fn write(&mut self, shard: ShardId, entries: &[RawEntry], clients: &mut Clients) {
        let start = self.start;
        let Some(side) = self.side(shard) else { return };
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

    fn drop_segments(&mut self, shard: ShardId, clients: &mut Clients) {
        let Some(side) = self.side(shard).filter(|side| side.written.is_none()) else { return };
        if let Some(position) = side.to_drop.take()
            && let Err(fault) = side.writer.drop_segments_below(position)
        {
            self.fence(&fault.to_string(), Some(shard), clients);
        }
    }

    /// A request has arrived.
    fn arrive(&mut self, shard: ShardId, request: ShardRequest, waiter: Waiter, clients: &mut Clients) {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let Some(up) = self.running.as_mut() else { return };
        up.waiters.insert((shard, id), waiter);
        if up.shards.contains_key(&shard) {
            self.shard(shard, ShardEvent::Request { id, request }, clients);
        } else {
            let refusal = Refusal::NotLeader { epoch: Epoch::ZERO };
            self.reply(shard, id, ShardReply::Refused(refusal), clients);
        }
    }

    fn reply(&mut self, shard: ShardId, id: RequestId, reply: ShardReply, clients: &mut Clients) {
        let waiter = self.running.as_mut().and_then(|up| up.waiters.remove(&(shard, id)));
        match waiter {
            Some(Waiter::Client(client)) => clients.answer(self, client, reply),
            Some(Waiter::Ensure(id)) => {
                let result = if let ShardReply::Refused(refusal) = reply { Err(refusal) } else { Ok(()) };
                self.coordinator(CoordinatorEvent::Ensured { id, result }, clients);
            }
            Some(Waiter::Forwarded { shard, source, moving }) => match reply {
                ShardReply::Delivery(delivery::Reply::Published { .. }) => {
                    let request = delivery::Request::Moved { stream: source, seq: moving.seq };
                    self.ask(shard, ShardRequest::Delivery(request), Waiter::Moved { shard, source });
                }
                _ => {
                    let gone = !self.is_routed(moving.target);
                    self.shard(shard, ShardEvent::ForwardRefused { source, gone }, clients);
                }
            },
            Some(Waiter::Moved { shard, source }) => {
                if !matches!(reply, ShardReply::Delivery(delivery::Reply::Done)) {
                    self.shard(shard, ShardEvent::ForwardRefused { source, gone: false }, clients);
                }
            }
            Some(Waiter::Flushed) => self.flushed(shard, &reply, clients),
            Some(Waiter::Nobody) | None => {}
        }
    }

    fn is_routed(&self, stream: StreamId) -> bool {
        let routes = self.running.iter().flat_map(|up| up.routes.values());
        routes.flatten().any(|(routed, _)| *routed == stream)
    }

    fn forward(&mut self, shard: ShardId, source: StreamId, moving: &Move) {
        let gone = self.running.as_ref().is_none_or(|up| !up.shards.contains_key(&shard));
        let entries = self.read(shard, source, moving.offset);
        let stored = entries.iter().find_map(|entry| match &entry.body {
            Body::Publish(publish) if covers(publish, moving.offset) => Some(publish),
            _ => None,
        });
        let Some(stored) = stored else {
            // Nobody needs the messages of a queue that was deleted meanwhile.
            if !gone && self.start_of(shard, source).is_some() {
                self.fatal =
                    Some(format!("{shard:?} {source:?}: moving message {} is not in the log", moving.offset));
            }
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
}
