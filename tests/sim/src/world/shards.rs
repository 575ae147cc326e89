//! The shards of a host's broker: their machines step, and what they decide is done to disk, network and clients.

use pondage_model::{
    Body, Entry, Epoch, Name, Offset, Refusal, ShardId, StreamId,
    entry::{EntryKind, Move, MovedFrom, Publish},
};
use pondage_node::{
    coordinator::CoordinatorEvent,
    dead_letter::dead_letter,
    delivery::{self, Dispatch},
    shard::{RequestId, ShardEffect, ShardEvent, ShardReply, ShardRequest},
};
use pondage_replication::Batch;

use super::{
    World,
    due::{Due, HostDue, Told, Waiter},
    host::{Decided, HostId},
    network::End,
};
use crate::clients::{Clients, grants};

/// How long the answer to a dead letter may take.
const FORWARD_MICROS_MAX: u64 = 2_000_000;
/// No timer is finer.
const TIMER_MICROS_MIN: u64 = 100;

impl World {
    pub(super) fn synced(&mut self, host: HostId, shard: ShardId, clients: &mut Clients) {
        let Some(side) = self.hosts[host].side(shard) else { return };
        let Some(written) = side.written.take() else { return };
        match side.writer.sync(written) {
            Ok(synced) => {
                self.invariants.synced(self.hosts[host].volume(host), shard, synced.end());
                self.shard(host, shard, ShardEvent::Synced(synced), clients);
            }
            Err(fault) => return self.fence(host, &fault.to_string(), Some(shard), clients),
        }
        self.drop_segments(host, shard, clients);
    }

    pub(super) fn shard(&mut self, host: HostId, shard: ShardId, event: ShardEvent, clients: &mut Clients) {
        let now = self.hosts[host].clock.read(self.micros);
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        let Some((machine, _)) = up.shards.get_mut(&shard) else { return };
        let mut effects = Vec::new();
        let stepped = machine.step(now, event, &mut effects);
        pondage_replication::invariants::check(machine.replica());
        if let Err(broken) = stepped {
            self.fatal = Some(format!("host {host} {shard:?}: {broken}"));
            return;
        }
        self.observe(host, shard);
        for effect in &effects {
            // What it says now was said, whether or not it gets to say it.
            if let ShardEffect::Deliver { epoch, dispatch } = effect {
                self.judge_grants(host, shard, *epoch, dispatch);
            }
        }
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        up.decided.extend(effects.into_iter().map(|effect| Decided::Shard(shard, effect)));
        self.carry_out(host, clients);
    }

    fn judge_grants(&mut self, host: HostId, shard: ShardId, epoch: Epoch, dispatch: &Dispatch) {
        // A shared group is given the messages of its partition.
        let machine = self.hosts[host].running.as_ref().and_then(|up| up.shards.get(&shard));
        let stream = machine.and_then(|(machine, _)| machine.committed()?.stream(dispatch.stream));
        let stored_under = stream.and_then(|stream| stream.reads()).unwrap_or(dispatch.stream);
        for granted in &dispatch.grants {
            let end = granted.first.plus(granted.count.into());
            let mut entries = Vec::new();
            let mut next = granted.first;
            while next < end {
                let more = self.read(host, shard, stored_under, next);
                let Some(reached) = more.iter().filter_map(end_of).max().filter(|end| *end > next) else {
                    break;
                };
                next = reached;
                entries.extend(more);
            }
            grants::judge(self, (shard, epoch), dispatch, granted, &entries);
        }
    }

    pub(super) fn perform_shard(
        &mut self,
        host: HostId,
        shard: ShardId,
        effect: ShardEffect,
        clients: &mut Clients,
    ) {
        match effect {
            ShardEffect::Write(batch) => self.write(host, shard, &batch, clients),
            ShardEffect::Truncate(to) => {
                self.trace.say(self.micros, format_args!("host {host} {shard:?} is cut at {to:?}"));
                let (volume, row) = (self.hosts[host].volume(host), self.row(shard));
                self.invariants.truncates(volume, shard, to, row.as_ref());
                let pause = self.sync_micros();
                self.plan_host(pause, host, HostDue::Truncate { shard, to });
            }
            ShardEffect::Persist(epoch) => {
                let pause = self.sync_micros();
                self.plan_host(pause, host, HostDue::Persist { shard, epoch });
            }
            ShardEffect::Send { to, message } => self.send_to_replica(host, shard, to, &message),
            ShardEffect::Read { to, from, bytes_max } => {
                let pause = self.chance.between(10, 2_000);
                self.plan_host(pause, host, HostDue::ReadFor { shard, to, from, bytes_max });
            }
            ShardEffect::RequestIsr(request) => self.request_isr(host, shard, request, clients),
            ShardEffect::HandOver { epoch, version, to } => {
                let event = CoordinatorEvent::HandedOver { shard, epoch, version, to };
                self.coordinator(host, event, clients);
            }
            ShardEffect::Following(_) => self.follows(host, shard),
            ShardEffect::Report(finding) => self.replica_reports(host, shard, &finding),
            ShardEffect::FindCheckpoint { below } => {
                let pause = self.chance.between(10, 2_000);
                self.plan_host(pause, host, HostDue::Checkpoint { shard, below });
            }
            ShardEffect::Replay { from } => {
                let pause = self.chance.between(10, 2_000);
                self.plan_host(pause, host, HostDue::Replay { shard, from });
            }
            ShardEffect::Serving(epoch) => {
                if let Some(side) = self.hosts[host].side(shard) {
                    side.serves = Some(epoch);
                }
                self.shard_serves(host, shard, epoch, clients);
            }
            ShardEffect::Reply { id, reply } => self.reply(host, shard, id, reply, clients),
            ShardEffect::Deliver { epoch, dispatch } => {
                let told = Told::Granted {
                    host,
                    shard,
                    stream: dispatch.stream,
                    consumer: dispatch.consumer,
                    messages: grants::messages(epoch, &dispatch),
                    done: dispatch.done,
                };
                self.tell_clients(host, told);
            }
            ShardEffect::Progress { reader, start, end, .. } => {
                self.tell_clients(host, Told::Progress { reader, start, end });
            }
            // No client of the simulator is a member of a group.
            ShardEffect::Notify(_) => {}
            ShardEffect::Forward { source, stored, moving, .. } => {
                let pause = self.chance.between(10, 5_000);
                self.plan_host(pause, host, HostDue::Forward { shard, source, stored, moving });
            }
            ShardEffect::DropSegments(position) => {
                if let Some(side) = self.hosts[host].side(shard) {
                    side.to_drop = Some(position);
                }
                self.drop_segments(host, shard, clients);
            }
            ShardEffect::WakeAt(at_millis) => {
                let at = self.hosts[host].clock.when(at_millis);
                self.order += 1;
                let number = self.order;
                if let Some(side) = self.hosts[host].side(shard) {
                    side.wake = number;
                }
                let pause = at.saturating_sub(self.micros).max(TIMER_MICROS_MIN);
                self.plan_host(pause, host, HostDue::Wake { shard, number });
            }
        }
    }

    fn write(&mut self, host: HostId, shard: ShardId, batch: &Batch, clients: &mut Clients) {
        let Some(side) = self.hosts[host].side(shard) else { return };
        assert!(side.written.is_none(), "two batches at once");
        match side.writer.write_with_epochs(&batch.epochs, &batch.entries) {
            Ok(written) => {
                side.written = Some(written);
                self.invariants.wrote(self.hosts[host].volume(host), shard, &batch.entries);
                for entry in batch.entries.iter().filter(|entry| entry.kind == EntryKind::Move) {
                    if let Ok(Entry { stream, log_time, body: Body::Move(moved), .. }) =
                        entry.clone().decode()
                    {
                        self.oracle.moves((stream, moved.offset), log_time);
                    }
                }
                let pause = self.sync_micros();
                self.plan_host(pause, host, HostDue::ShardSync(shard));
            }
            Err(fault) => self.fence(host, &fault.to_string(), Some(shard), clients),
        }
    }

    fn drop_segments(&mut self, host: HostId, shard: ShardId, clients: &mut Clients) {
        let volume = self.hosts[host].volume(host);
        let Some(side) = self.hosts[host].side(shard).filter(|side| side.written.is_none()) else { return };
        let Some(position) = side.to_drop.take() else { return };
        self.invariants.may_drop(volume, shard, position);
        if let Err(fault) = side.writer.drop_segments_below(position) {
            self.fence(host, &fault.to_string(), Some(shard), clients);
        }
    }

    /// A request has arrived.
    pub(super) fn arrive(
        &mut self,
        host: HostId,
        shard: ShardId,
        request: ShardRequest,
        waiter: Waiter,
        clients: &mut Clients,
    ) {
        let id = self.new_request();
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        up.waiters.insert((shard, id), waiter);
        if up.shards.contains_key(&shard) {
            self.shard(host, shard, ShardEvent::Request { id, request }, clients);
        } else {
            let refusal = Refusal::NotLeader { epoch: Epoch::ZERO };
            self.reply(host, shard, id, ShardReply::Refused(refusal), clients);
        }
    }

    pub(super) fn reply(
        &mut self,
        host: HostId,
        shard: ShardId,
        id: RequestId,
        reply: ShardReply,
        clients: &mut Clients,
    ) {
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        match up.waiters.remove(&(shard, id)) {
            Some(Waiter::Client(client, ticket)) => {
                let serves = up.shards.get(&shard).and_then(|(_, side)| side.serves);
                let epoch = serves.unwrap_or(Epoch::ZERO);
                if let ShardReply::Refused(refusal)
                | ShardReply::Delivery(delivery::Reply::Refused(refusal)) = &reply
                {
                    let to =
                        format_args!("host {host} {shard:?} in {epoch} refuses client {client}: {refusal}");
                    self.trace.say(self.micros, to);
                }
                self.tell_clients(host, Told::Answer { client, ticket, reply, epoch });
            }
            Some(Waiter::Ensure(id)) => self.ensured(host, id, reply, clients),
            Some(Waiter::Forwarded { host: from, start, shard, source, moving }) => {
                let published = matches!(reply, ShardReply::Delivery(delivery::Reply::Published { .. }));
                if from == host || self.network.passes(End::Host(host), End::Host(from)) {
                    let delay = self.network.delay(&mut self.chance);
                    let due = HostDue::Forwarded { shard, source, moving, published };
                    self.plan(delay, Due::Host { host: from, start, due });
                }
            }
            Some(Waiter::Moved { shard, source, seq }) => {
                if !matches!(reply, ShardReply::Delivery(delivery::Reply::Done)) {
                    self.shard(host, shard, ShardEvent::ForwardRefused { source, seq, gone: false }, clients);
                }
            }
            Some(Waiter::Flushed) => self.flushed(host, shard, &reply, clients),
            Some(Waiter::Nobody) | None => {}
        }
    }

    /// Publishes a dead letter where its queue is led.
    fn publish_dead_letter(
        &mut self,
        host: HostId,
        (shard, source): (ShardId, StreamId),
        moving: &Move,
        request: delivery::Request,
    ) {
        let start = self.hosts[host].start;
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        up.forwards.insert((shard, source), moving.seq);
        let row = up.brain.catalog().shard(moving.target_shard);
        let target = row.and_then(|row| row.leader).and_then(|leader| self.host_of(leader));
        let unanswered = HostDue::Forwarded { shard, source, moving: *moving, published: false };
        self.plan_host(FORWARD_MICROS_MAX, host, unanswered);
        let Some(target) = target else { return };
        if target == host || self.network.passes(End::Host(host), End::Host(target)) {
            let waiter = Waiter::Forwarded { host, start, shard, source, moving: *moving };
            self.ask(target, moving.target_shard, ShardRequest::Delivery(request), waiter);
        }
    }

    /// A dead letter is at its target and is settled at its source, or it is tried again.
    pub(super) fn forwarded(
        &mut self,
        host: HostId,
        (shard, source): (ShardId, StreamId),
        moving: &Move,
        published: bool,
        clients: &mut Clients,
    ) {
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        if up.forwards.get(&(shard, source)) != Some(&moving.seq) {
            return;
        }
        up.forwards.remove(&(shard, source));
        if published {
            let request = delivery::Request::Moved { stream: source, seq: moving.seq };
            self.ask(
                host,
                shard,
                ShardRequest::Delivery(request),
                Waiter::Moved { shard, source, seq: moving.seq },
            );
        } else {
            let gone = !self.is_routed(host, moving.target);
            self.shard(host, shard, ShardEvent::ForwardRefused { source, seq: moving.seq, gone }, clients);
        }
    }

    fn is_routed(&self, host: HostId, stream: StreamId) -> bool {
        let routes = self.hosts[host].running.iter().flat_map(|up| up.routes.values());
        routes.flatten().any(|(routed, _)| *routed == stream)
    }

    /// Asks a shard of the same broker.
    pub(super) fn ask(&mut self, host: HostId, shard: ShardId, request: ShardRequest, waiter: Waiter) {
        let pause = self.chance.between(5, 300);
        self.plan_host(pause, host, HostDue::Ask { shard, request, waiter });
    }

    pub(super) fn forward(
        &mut self,
        host: HostId,
        (shard, source): (ShardId, StreamId),
        stored_under: StreamId,
        moving: &Move,
        clients: &mut Clients,
    ) {
        let gone = self.hosts[host].side(shard).is_none();
        let entries = self.read(host, shard, stored_under, moving.offset);
        let stored = entries.iter().find_map(|entry| match &entry.body {
            Body::Publish(publish) if covers(publish, moving.offset) => Some(publish),
            _ => None,
        });
        let Some(stored) = stored else {
            // Nobody needs the messages of a queue that was deleted meanwhile, nor what retention took of a topic.
            let taken = self.start_of(host, shard, stored_under).is_some_and(|start| start > moving.offset);
            if stored_under != source && taken {
                let refused = ShardEvent::ForwardRefused { source, seq: moving.seq, gone: false };
                return self.shard(host, shard, refused, clients);
            }
            if !gone && self.start_of(host, shard, source).is_some() {
                self.fatal =
                    Some(format!("{shard:?} {source:?}: moving message {} is not in the log", moving.offset));
            }
            return;
        };
        let name = Name::new("source").expect("valid");
        match dead_letter(&name, None, stored, moving) {
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
                self.publish_dead_letter(host, (shard, source), moving, request);
            }
            Err(refusal) => self.fatal = Some(format!("a dead letter can't be built: {refusal}")),
        }
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
