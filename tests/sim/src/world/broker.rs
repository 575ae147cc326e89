//! The broker of a host: what is due on it, and what its coordinator decides.

use pondage_model::{BrokerId, Epoch, RawEntry, Refusal, ShardId};
use pondage_node::{
    boot::{OpenedShard, open_shard, remove_shard_folder},
    coordinator::{CoordinatorEffect, CoordinatorEvent},
    shard::{RequestId, ShardEvent, ShardReply, ShardRequest},
};
use pondage_replication::Timing;
use pondage_storage::{HostileDisk, LogOptions, LogReader, log::ReadError};

use super::{
    World,
    due::{HostDue, Told, Waiter},
    host::{Decided, HostId, Side},
};
use crate::clients::Clients;

impl World {
    /// Something is due on a host that runs.
    pub(super) fn on_host(&mut self, host: HostId, due: HostDue, clients: &mut Clients) {
        match due {
            HostDue::Wake { shard, number } => {
                let latest = self.hosts[host].side(shard).is_some_and(|side| side.wake == number);
                if latest {
                    self.shard(host, shard, ShardEvent::Wake, clients);
                }
            }
            HostDue::Segments(shard) => {
                if let Some(segments) = self.hosts[host].side(shard).map(|side| side.reader.segments()) {
                    self.shard(host, shard, ShardEvent::Segments(segments), clients);
                    let pause = self.chance.between(500_000, 4_000_000);
                    self.plan_host(pause, host, HostDue::Segments(shard));
                }
            }
            HostDue::ShardSync(shard) => self.synced(host, shard, clients),
            HostDue::CatalogSync => {
                let Some(up) = self.hosts[host].running.as_mut() else { return };
                let Some(log) = up.brain.log() else { return };
                let Some(written) = log.written.take() else { return };
                match log.writer.sync(written) {
                    Ok(synced) => self.coordinator(host, CoordinatorEvent::Synced(synced), clients),
                    Err(fault) => self.fence(host, &fault.to_string(), None, clients),
                }
            }
            HostDue::Checkpoint { shard, below } => {
                let Some(side) = self.hosts[host].side(shard) else { return };
                let first = side.reader.replay_from(below);
                self.shard(host, shard, ShardEvent::Checkpoint { below, first }, clients);
            }
            HostDue::Replay { shard, from } => {
                let bytes = self.chance.between(1, 64 << 10) as usize;
                let Some(side) = self.hosts[host].side(shard) else { return };
                match side.reader.read_from(from, bytes) {
                    Ok(entries) => self.shard(host, shard, ShardEvent::Replayed(entries), clients),
                    Err(error) => {
                        self.fatal = Some(format!("host {host}: replay of {shard:?} from {from}: {error}"));
                    }
                }
            }
            HostDue::Forward { shard, source, stored, moving } => {
                self.forward(host, (shard, source), stored, &moving, clients);
            }
            HostDue::Forwarded { shard, source, moving, published } => {
                self.forwarded(host, (shard, source), &moving, published, clients);
            }
            HostDue::Ask { shard, request, waiter } => self.arrive(host, shard, request, waiter, clients),
            HostDue::AskCatalog { request, client, ticket } => {
                let id = self.new_request();
                if let Some(up) = self.hosts[host].running.as_mut() {
                    up.admin_waiters.insert(id, (client, ticket));
                    self.coordinator(host, CoordinatorEvent::Request { id, request }, clients);
                }
            }
            HostDue::RemoveFolder(shard) => self.remove_folder(host, shard, clients),
            HostDue::Tick => self.tick(host, clients),
            HostDue::CoordinatorPeer { from, message } => {
                self.coordinator(host, CoordinatorEvent::Peer { from, message }, clients);
            }
            HostDue::ReplicaPeer { shard, from, message } => {
                self.shard(host, shard, ShardEvent::Peer { from, message }, clients);
            }
            HostDue::Truncate { shard, to } => self.truncate(host, shard, to, clients),
            HostDue::Persist { shard, epoch } => self.persist(host, shard, epoch, clients),
            HostDue::ReadFor { shard, to, from, bytes_max } => {
                self.read_for(host, shard, (to, from, bytes_max), clients);
            }
            HostDue::PeerThere(broker) => self.link(host, broker, true, clients),
            HostDue::PeerGone(member) => self.peer_gone(host, member, clients),
            HostDue::LastSessions => self.last_sessions(host, clients),
            HostDue::Flush => self.flush(host),
            HostDue::EndShard(shard) => self.end_shard(host, shard, clients),
        }
    }

    pub(super) fn coordinator(&mut self, host: HostId, event: CoordinatorEvent, clients: &mut Clients) {
        let now = self.hosts[host].clock.read(self.micros);
        let Some(up) = self.hosts[host].running.as_mut().filter(|up| !up.stopping) else { return };
        let mut effects = Vec::new();
        up.brain.step(now, event, &mut effects);
        up.decided.extend(effects.into_iter().map(Decided::Coordinator));
        self.consensus_asked(host);
        self.carry_out(host, clients);
    }

    fn tick(&mut self, host: HostId, clients: &mut Clients) {
        let pause = self.chance.between(50_000, 100_000);
        self.plan_host(pause, host, HostDue::Tick);
        self.coordinator(host, CoordinatorEvent::Tick, clients);
    }

    /// Does what the machines of a host decided, in order, unless the process dies or pauses in between.
    pub(super) fn carry_out(&mut self, host: HostId, clients: &mut Clients) {
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        if std::mem::replace(&mut up.doing, true) {
            return;
        }
        let start = self.hosts[host].start;
        loop {
            if self.hosts[host].start != start {
                return;
            }
            if self.hosts[host].paused {
                break;
            }
            let decided = self.hosts[host].running.as_mut().and_then(|up| up.decided.pop_front());
            let Some(decided) = decided else { break };
            if !self.is_healing() {
                let strike = self.chance.below(1_000_000);
                if strike < self.faults.dies_per_million {
                    return self.crash(host, clients);
                }
                if strike >= 1_000_000 - self.faults.pauses_per_million {
                    self.pause(host);
                }
            }
            match decided {
                Decided::Shard(shard, effect) => self.perform_shard(host, shard, effect, clients),
                Decided::Coordinator(effect) => self.perform_coordinator(host, effect, clients),
            }
        }
        if let Some(up) = self.hosts[host].running.as_mut() {
            up.doing = false;
        }
    }

    fn perform_coordinator(&mut self, host: HostId, effect: CoordinatorEffect, clients: &mut Clients) {
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        match effect {
            CoordinatorEffect::Write(entries) => self.write_catalog(host, &entries, clients),
            CoordinatorEffect::WriteIdentity { incarnation, nonce } => {
                let identity = up.volume.identity().copied();
                let written = identity.map(|known| {
                    up.volume.write_identity(pondage_storage::volume::Identity {
                        incarnation,
                        nonce,
                        ..known
                    })
                });
                match written {
                    Some(Ok(())) => self.coordinator(host, CoordinatorEvent::IdentityWritten, clients),
                    Some(Err(error)) => self.fence(host, &error.to_string(), None, clients),
                    None => self.fatal = Some(format!("host {host} runs on a volume without identity")),
                }
            }
            CoordinatorEffect::Registered(member) => {
                up.member = Some(member);
                self.hosts[host].broker = Some(member.broker);
                self.hosts[host].replaces = None;
                self.consensus.is_broker(host, member.broker);
                self.tell_links(host, member.broker);
            }
            CoordinatorEffect::Reformat => self.reformat(host, clients),
            CoordinatorEffect::Assign(shard, assignment) => self.assign(host, shard, assignment, clients),
            CoordinatorEffect::AskPosition(shard) => self.tell_position(host, shard, clients),
            CoordinatorEffect::HandOver { shard, epoch, to } => {
                self.hand_over(host, shard, epoch, to, clients);
            }
            CoordinatorEffect::KeepLeading(shard) => {
                self.shard(host, shard, ShardEvent::KeepLeading, clients);
            }
            CoordinatorEffect::Leave => {
                let shards: Vec<ShardId> = up.shards.keys().copied().collect();
                for shard in shards {
                    self.shard(host, shard, ShardEvent::Leave, clients);
                }
            }
            CoordinatorEffect::Send { to, message } => {
                let Some(from) = up.member else { return };
                let Some(target) = self.host_of(to) else { return };
                for delay in self.network.arrivals(host, target, &mut self.chance).into_iter().flatten() {
                    let message = message.clone();
                    self.plan_host(delay, target, HostDue::CoordinatorPeer { from, message });
                }
            }
            CoordinatorEffect::Report(behind) => {
                if self.losses == 0 {
                    self.fatal = Some(format!("an in-sync replica lacks what is committed: {behind:?}"));
                }
            }
            CoordinatorEffect::Stopped => self.stopped(host),
            CoordinatorEffect::RemoveShard(shard) => self.remove_shard(host, shard, clients),
            CoordinatorEffect::Ensure { id, shard, streams, complete } => {
                self.ask(host, shard, ShardRequest::Ensure { streams, complete }, Waiter::Ensure(id));
            }
            CoordinatorEffect::Route(name, Some(route)) => {
                up.routes.insert(name.to_string(), route.partitions);
            }
            CoordinatorEffect::Route(name, None) => drop(up.routes.remove(name.as_str())),
            CoordinatorEffect::Reply { id, result } => {
                if let Some((client, ticket)) = up.admin_waiters.remove(&id) {
                    self.tell_clients(host, Told::Admin { client, ticket, result });
                }
            }
            CoordinatorEffect::Ready => {
                up.ready = true;
                self.trace.say(self.micros, format_args!("host {host} ready"));
            }
            CoordinatorEffect::Fatal(refusal) => match refusal {
                Refusal::VolumeFenced { .. } => {}
                other => self.fatal = Some(format!("the coordinator of host {host} gave up: {other}")),
            },
            CoordinatorEffect::DropSegments(position) => {
                if let Some(log) = up.brain.log().filter(|log| log.written.is_none())
                    && let Err(fault) = log.writer.drop_segments_below(position)
                {
                    self.fence(host, &fault.to_string(), None, clients);
                }
            }
            CoordinatorEffect::Group(name, Some(route)) => {
                if !route.shares.is_empty() {
                    up.routes.insert(name.to_string(), route.shares.concat());
                }
                up.groups.insert(name);
            }
            // No group of this world is deleted.
            CoordinatorEffect::Group(name, None) => drop(up.groups.remove(&name)),
            CoordinatorEffect::Changed(_) => {}
        }
    }

    fn write_catalog(&mut self, host: HostId, entries: &[RawEntry], clients: &mut Clients) {
        let Some(log) = self.hosts[host].running.as_mut().and_then(|up| up.brain.log()) else { return };
        match log.writer.write(entries) {
            Ok(written) => {
                log.written = Some(written);
                let pause = self.sync_micros();
                self.plan_host(pause, host, HostDue::CatalogSync);
            }
            Err(fault) => self.fence(host, &fault.to_string(), None, clients),
        }
    }

    /// Opens a shard's log if it is not open, once nothing is left of one that was to go.
    pub(super) fn open(&mut self, host: HostId, shard: ShardId, clients: &mut Clients) {
        self.remove_folder(host, shard, clients);
        let now = self.hosts[host].clock.read(self.micros);
        let options = self.log_options();
        let disk = self.hosts[host].disk.clone();
        let Some(up) = self.hosts[host].running.as_mut().filter(|up| !up.shards.contains_key(&shard)) else {
            return;
        };
        let Some(me) = up.member else {
            self.fatal = Some(format!("host {host} opens {shard:?} before it is registered"));
            return;
        };
        match open_shard(&disk, &options, shard, me, up.promises.get(shard), Timing::default(), now) {
            Ok(OpenedShard { shard: machine, writer, reader }) => {
                let found = log_of(&reader);
                let end = reader.end();
                up.shards.insert(shard, (machine, Side::new(writer, reader)));
                self.trace.say(self.micros, format_args!("host {host} {shard:?} opens and ends at {end:?}"));
                match found {
                    Ok(entries) => {
                        self.invariants.found(self.hosts[host].volume(host), shard, &entries, end);
                    }
                    Err(error) => self.fatal = Some(format!("host {host} {shard:?}: {error}")),
                }
                let pause = self.chance.between(500_000, 4_000_000);
                self.plan_host(pause, host, HostDue::Segments(shard));
            }
            Err(error) => self.start_failed(host, &error.to_string(), clients),
        }
    }

    fn remove_shard(&mut self, host: HostId, shard: ShardId, clients: &mut Clients) {
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        up.shards.remove(&shard);
        up.removing.insert(shard);
        self.invariants.removed(self.hosts[host].volume(host), shard);
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        let waiting: Vec<_> = up.waiters.keys().filter(|(at, _)| *at == shard).copied().collect();
        for (_, id) in waiting {
            self.reply(host, shard, id, ShardReply::Refused(Refusal::Interrupted), clients);
        }
        let pause = self.chance.between(1, 40_000);
        self.plan_host(pause, host, HostDue::RemoveFolder(shard));
        self.coordinator(host, CoordinatorEvent::Removed(shard), clients);
    }

    /// Removes what is left of a shard that was to go, unless that is done.
    fn remove_folder(&mut self, host: HostId, shard: ShardId, clients: &mut Clients) {
        let running = self.hosts[host].running.as_mut();
        if !running.is_some_and(|up| up.removing.remove(&shard)) {
            return;
        }
        if let Err(error) = remove_shard_folder(&self.hosts[host].disk, shard) {
            self.fence(host, &error.to_string(), None, clients);
        }
    }

    pub(super) fn shard_serves(&mut self, host: HostId, shard: ShardId, epoch: Epoch, clients: &mut Clients) {
        self.coordinator(host, CoordinatorEvent::Serving(shard, epoch), clients);
    }

    pub(super) fn ensured(&mut self, host: HostId, id: RequestId, reply: ShardReply, clients: &mut Clients) {
        let result = if let ShardReply::Refused(refusal) = reply { Err(refusal) } else { Ok(()) };
        self.coordinator(host, CoordinatorEvent::Ensured { id, result }, clients);
    }

    /// The host whose disk is this broker.
    pub(super) fn host_of(&self, broker: BrokerId) -> Option<HostId> {
        self.hosts.iter().position(|host| host.broker == Some(broker))
    }

    pub(super) fn log_options(&self) -> LogOptions {
        LogOptions {
            segment_bytes_min: self.segment_bytes,
            segment_bytes_max: self.segment_bytes * 8,
            salt: 0x5a17,
            ..LogOptions::default()
        }
    }

    pub(super) fn sync_micros(&mut self) -> u64 {
        match (self.faults.slow_disk, self.chance.below(400)) {
            // Longer than a lease may stay unlogged, and than some leases last.
            (true, 0) => self.chance.between(1_000_000, 2_500_000),
            (true, 1..=3) => 300_000,
            (true, _) => self.chance.between(500, 5_000),
            (false, _) => self.chance.between(50, 500),
        }
    }
}

/// Everything that a log holds.
fn log_of(reader: &LogReader<HostileDisk>) -> Result<Vec<RawEntry>, ReadError> {
    let (mut entries, mut next) = (Vec::new(), reader.start());
    while next < reader.end() {
        let more = reader.read_from(next, 1 << 20)?;
        let Some(last) = more.last() else { break };
        next = last.position.next();
        entries.extend(more);
    }
    Ok(entries)
}
