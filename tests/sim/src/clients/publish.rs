//! A publisher: one batch at a time, sent again until its outcome is known. Now and then its session goes on in a new
//! epoch, and what was left of the old one is sent too late.

use bytes::Bytes;
use pondage_model::{
    Offset, ProducerId, Refusal, StreamId,
    entry::ProducerStamp,
    record::{BatchBuilder, Compression, RecordDraft, sequence_after},
    refusal::Code,
};
use pondage_node::{
    coordinator::{AdminReply, AdminRequest},
    delivery,
    shard::{ShardReply, ShardRequest},
};

use super::{ClientId, LATER, SCRATCH, TOPIC, place, value};
use crate::{
    chance::Chance,
    oracle::{Message, MessageId},
    world::World,
};

#[derive(Debug)]
pub(super) struct Publisher {
    index: usize,
    target: &'static str,
    partition: usize,
    idempotent: bool,
    session: Option<Session>,
    number: u64,
    batch: Option<Pending>,
    /// Where the batch was sent last.
    stream: Option<StreamId>,
    waiting: bool,
    /// It was told that something is stored which it built after faults had ended.
    fresh: bool,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    producer: ProducerId,
    epoch: u32,
    sequence: u32,
    /// Where the epoch before ended, until something was sent under it.
    before: Option<ProducerStamp>,
}

#[derive(Clone, Debug)]
struct Pending {
    ids: Vec<MessageId>,
    bytes: Bytes,
    stamp: Option<ProducerStamp>,
    delay_millis: Option<u64>,
    ttl_millis: Option<u64>,
    /// It is of a session that was fenced.
    late: bool,
    /// How often the clock had jumped when it was built.
    clock_jumps: u64,
    /// It was built after faults had ended.
    fresh: bool,
}

impl Publisher {
    pub(super) fn new(index: usize, target: &'static str, partition: usize, chance: &mut Chance) -> Self {
        Self {
            index,
            target,
            partition,
            idempotent: !chance.once_in(4),
            session: None,
            number: 0,
            batch: None,
            stream: None,
            waiting: false,
            fresh: false,
        }
    }

    pub(super) fn act(&mut self, world: &mut World, id: ClientId, healing: bool) {
        if self.waiting || (healing && self.batch.is_none() && self.fresh) {
            return;
        }
        let Some((stream, shard)) = place(world, self.target, self.partition).filter(|_| world.is_up())
        else {
            return world.plan_client(20_000, id);
        };
        if self.stream.is_some_and(|before| before != stream) {
            // The queue was made anew: what was on its way to the old one is gone with it, and it knows no session.
            (self.session, self.batch) = (None, None);
        }
        self.stream = Some(stream);
        if self.idempotent && self.session.is_none() {
            self.waiting = world.admin(id, AdminRequest::AllocateProducers);
            return;
        }
        if self.batch.is_none() {
            self.batch = Some(self.build(world));
        }
        let Some(pending) = self.batch.clone() else { return };
        // The first batch of a session that is forgotten meanwhile begins it anew.
        let anew = (pending.clock_jumps != world.clock_jumps || world.clocks_disagree())
            && pending.stamp.is_some_and(|stamp| stamp.first_sequence == 0);
        for id in &pending.ids {
            if let Some(message) = world.oracle.messages.get_mut(id) {
                message.sends += 1;
                message.idempotent &= !anew;
            }
        }
        let request = delivery::Request::Publish {
            stream,
            count: pending.ids.len() as u32,
            batch: pending.bytes,
            producer: pending.stamp,
            delay_millis: pending.delay_millis,
            ttl_millis: pending.ttl_millis,
            moved: None,
        };
        self.waiting = world.request(id, shard, ShardRequest::Delivery(request));
    }

    fn build(&mut self, world: &mut World) -> Pending {
        let late = self.session.as_mut().and_then(|session| session.before.take());
        if let Some(session) = self.session.as_mut().filter(|_| late.is_none() && world.chance.once_in(50)) {
            let before = ProducerStamp {
                producer: session.producer,
                epoch: session.epoch,
                first_sequence: session.sequence,
            };
            (session.epoch, session.sequence, session.before) = (session.epoch + 1, 0, Some(before));
        }
        let current = self.session.map(|Session { producer, epoch, sequence, .. }| ProducerStamp {
            producer,
            epoch,
            first_sequence: sequence,
        });
        // The first batch of a new epoch fences; only behind it the old one is late.
        let late = late.filter(|_| current.is_some_and(|current| current.first_sequence > 0));
        self.fill(world, late.or(current), late.is_some())
    }

    fn fill(&mut self, world: &mut World, stamp: Option<ProducerStamp>, late: bool) -> Pending {
        let count = world.chance.between(1, 5) as u32;
        let is_log = self.target == TOPIC;
        let delay_millis =
            (self.target == LATER && !world.chance.once_in(3)).then(|| world.chance.between(0, 5_000));
        let ttl_millis = (!is_log && world.chance.once_in(10)).then(|| world.chance.between(1, 3_000));
        // Mostly plain: the codecs have tests of their own, and dear contexts.
        let codec = Compression::ALL[(world.chance.below(40) as usize).saturating_sub(35)];
        let mut builder = BatchBuilder::new(codec);
        if let Some(ProducerStamp { producer, epoch, first_sequence }) = stamp {
            builder = builder.producer(producer, epoch, first_sequence);
        }
        let mut ids = Vec::new();
        // The log clock may run a tenth fast while it follows a wall clock that jumped.
        let not_before_micros = (world.micros + delay_millis.unwrap_or(0) * 900)
            .saturating_sub(20_000 + world.clock_spread_micros());
        let timed = delay_millis.is_some() && !world.clocks_disagree();
        for _ in 0..count {
            let id: MessageId = ((self.index as u64) << 40) | self.number;
            builder
                .push(&RecordDraft { value: Some(&value::of(id)), ..RecordDraft::default() })
                .expect("a small message");
            let message = Message {
                publisher: self.index,
                number: self.number,
                target: self.target,
                idempotent: self.idempotent,
                fenced: late && !world.clocks_disagree(),
                may_end: ttl_millis.is_some() || world.oracle.is_doomed(self.target),
                not_before_micros: if timed { not_before_micros } else { 0 },
                ..Message::default()
            };
            world.oracle.messages.insert(id, message);
            self.number += 1;
            ids.push(id);
        }
        let bytes = builder.build().expect("a small batch");
        Pending {
            ids,
            bytes,
            stamp,
            delay_millis,
            ttl_millis,
            late,
            clock_jumps: world.clock_jumps,
            fresh: world.is_healing(),
        }
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, reply: ShardReply) {
        self.waiting = false;
        self.heard(world, reply);
        let pause = world.chance.between(100, 40_000);
        if world.is_healing() || self.batch.is_some() {
            world.plan_client(pause, id);
        } else {
            world.plan_client_under_load(pause, id);
        }
    }

    fn heard(&mut self, world: &mut World, reply: ShardReply) {
        let refusal = match reply {
            ShardReply::Delivery(delivery::Reply::Published { base_offset, .. }) => {
                return self.acknowledged(world, base_offset);
            }
            ShardReply::Delivery(delivery::Reply::Refused(refusal)) | ShardReply::Refused(refusal) => refusal,
            other => return world.violate(format!("a publish was answered with {other:?}")),
        };
        self.refused(world, &refusal);
    }

    fn acknowledged(&mut self, world: &mut World, base: Offset) {
        let Some(pending) = self.batch.take() else { return };
        let Some(stream) = self.stream else { return };
        self.fresh |= pending.fresh;
        if let Some(session) = self.session.as_mut().filter(|_| !pending.late) {
            session.sequence = sequence_after(session.sequence, pending.ids.len() as u32);
        }
        if pending.late && world.clock_jumps > 0 {
            // Time leapt, both epochs were forgotten, and the older one began anew: this session is over.
            self.session = None;
        }
        for (index, id) in (0..).zip(&pending.ids) {
            world.oracle.acknowledge(*id, stream, base.plus(index));
        }
        world.trace.say(
            world.micros,
            format_args!(
                "publisher {} acknowledged {:?} at {stream:?} {base:?} as {:?}",
                self.index, pending.ids, pending.stamp
            ),
        );
    }

    /// A session that is known and never skips is refused for nothing but what passes.
    fn refused(&mut self, world: &mut World, refusal: &Refusal) {
        let stamp = self.batch.as_ref().and_then(|pending| pending.stamp);
        world
            .trace
            .say(world.micros, format_args!("publisher {} refused as {stamp:?}: {refusal}", self.index));
        let late = self.batch.as_ref().is_some_and(|pending| pending.late);
        match refusal.code() {
            Code::Fenced if late => self.batch = None,
            Code::UnknownProducer if world.clock_jumps > 0 => {
                // Its session grew old. What it sends again in a new one may be stored twice, and it knows.
                for id in self.batch.take().map(|pending| pending.ids).unwrap_or_default() {
                    if let Some(message) = world.oracle.messages.get_mut(&id) {
                        message.idempotent = false;
                    }
                }
                self.session = None;
            }
            // It may be made anew; the session begins anew there.
            Code::NotFound if self.target == SCRATCH || world.is_cluster() => {}
            _ if refusal.retriable() || *refusal == Refusal::Interrupted => {}
            _ => world.violate(format!("publisher {} was refused: {refusal}", self.index)),
        }
    }

    pub(super) fn producer_answer(
        &mut self,
        world: &mut World,
        id: ClientId,
        result: &Result<AdminReply, Refusal>,
    ) {
        self.waiting = false;
        if let Ok(AdminReply::Producers { first, .. }) = result {
            let producer = ProducerId(*first);
            self.session = Some(Session { producer, epoch: 0, sequence: 0, before: None });
        }
        world.plan_client(1_000, id);
    }

    pub(super) fn lost(&mut self) {
        self.waiting = false;
    }

    /// Whether it wrote something new since faults ended, if there is anything that it could write to.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh || (self.stream.is_none() && self.partition > 1)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.batch.is_none()
    }
}
