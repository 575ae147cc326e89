//! A publisher: one batch at a time, sent again until its outcome is known.

use bytes::Bytes;
use pondage_model::{
    Offset, ProducerId, Refusal,
    entry::ProducerStamp,
    record::{Batch, BatchBuilder, Compression, RecordDraft, sequence_after},
    refusal::Code,
};
use pondage_node::{
    coordinator::{AdminReply, AdminRequest},
    delivery,
    shard::{ShardReply, ShardRequest},
};

use super::{ClientId, LATER, TOPIC, place};
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
    session: Option<ProducerId>,
    sequence: u32,
    number: u64,
    batch: Option<Pending>,
    waiting: bool,
}

#[derive(Clone, Debug)]
struct Pending {
    ids: Vec<MessageId>,
    bytes: Bytes,
    stamp: Option<ProducerStamp>,
    delay_millis: Option<u64>,
    ttl_millis: Option<u64>,
}

impl Publisher {
    pub(super) fn new(index: usize, target: &'static str, partition: usize, chance: &mut Chance) -> Self {
        Self {
            index,
            target,
            partition,
            idempotent: !chance.once_in(4),
            session: None,
            sequence: 0,
            number: 0,
            batch: None,
            waiting: false,
        }
    }

    pub(super) fn act(&mut self, world: &mut World, id: ClientId, healing: bool) {
        if self.waiting || (healing && self.batch.is_none()) {
            return;
        }
        let Some((stream, shard)) = place(world, self.target, self.partition).filter(|_| world.is_up())
        else {
            return world.plan_client(20_000, id);
        };
        if self.idempotent && self.session.is_none() {
            self.waiting = world.admin(id, AdminRequest::AllocateProducers);
            return;
        }
        if self.batch.is_none() {
            self.batch = Some(self.build(world));
        }
        let Some(pending) = self.batch.clone() else { return };
        for id in &pending.ids {
            if let Some(message) = world.oracle.messages.get_mut(id) {
                message.sends += 1;
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
        let count = world.chance.between(1, 5) as u32;
        let is_log = self.target == TOPIC;
        let delay_millis =
            (self.target == LATER && !world.chance.once_in(3)).then(|| world.chance.between(0, 5_000));
        let ttl_millis = (!is_log && world.chance.once_in(10)).then(|| world.chance.between(1, 3_000));
        // Mostly plain: the codecs have tests of their own, and dear contexts.
        let codec = Compression::ALL[(world.chance.below(40) as usize).saturating_sub(35)];
        let mut builder = BatchBuilder::new(codec);
        let stamp =
            self.session.map(|producer| ProducerStamp { producer, epoch: 0, first_sequence: self.sequence });
        if let Some(ProducerStamp { producer, epoch, first_sequence }) = stamp {
            builder = builder.producer(producer, epoch, first_sequence);
        }
        let mut ids = Vec::new();
        // The log clock may run a tenth fast while it follows a wall clock that jumped.
        let not_before_micros =
            world.micros + delay_millis.unwrap_or(0).saturating_mul(900).saturating_sub(20_000);
        for _ in 0..count {
            let id: MessageId = ((self.index as u64) << 40) | self.number;
            builder
                .push(&RecordDraft { value: Some(&id.to_be_bytes()), ..RecordDraft::default() })
                .expect("a small message");
            let message = Message {
                publisher: self.index,
                number: self.number,
                idempotent: self.idempotent,
                may_expire: ttl_millis.is_some(),
                not_before_micros: if delay_millis.is_some() { not_before_micros } else { 0 },
                ..Message::default()
            };
            world.oracle.messages.insert(id, message);
            self.number += 1;
            ids.push(id);
        }
        let bytes = builder.build().expect("a small batch");
        debug_assert!(Batch::parse(bytes.clone()).is_ok());
        Pending { ids, bytes, stamp, delay_millis, ttl_millis }
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, reply: &ShardReply) {
        self.waiting = false;
        let refusal = match reply {
            ShardReply::Delivery(delivery::Reply::Published { base_offset, .. }) => {
                self.acknowledged(world, *base_offset);
                None
            }
            ShardReply::Delivery(delivery::Reply::Refused(refusal)) | ShardReply::Refused(refusal) => {
                Some(refusal)
            }
            other => {
                world.violate(format!("a publish was answered with {other:?}"));
                None
            }
        };
        if let Some(refusal) = refusal {
            self.refused(world, refusal);
        }
        let pause = world.chance.between(100, 40_000);
        world.plan_client(pause, id);
    }

    fn acknowledged(&mut self, world: &mut World, base: Offset) {
        let Some(pending) = self.batch.take() else { return };
        let Some((stream, _)) = place(world, self.target, self.partition) else { return };
        self.sequence = sequence_after(self.sequence, pending.ids.len() as u32);
        for (index, id) in (0..).zip(&pending.ids) {
            world.oracle.acknowledge(*id, stream, base.plus(index));
        }
        world.trace.say(
            world.micros,
            format_args!("publisher {} acknowledged {:?} at {stream:?} {base:?}", self.index, pending.ids),
        );
    }

    /// A session that is known and never skips is refused for nothing but what passes.
    fn refused(&mut self, world: &mut World, refusal: &Refusal) {
        world.trace.say(world.micros, format_args!("publisher {} refused: {refusal}", self.index));
        if refusal.code() == Code::UnknownProducer && world.clock_jumped {
            // Its session grew old. What it sends again in a new one may be stored twice, and it knows.
            for id in self.batch.take().map(|pending| pending.ids).unwrap_or_default() {
                if let Some(message) = world.oracle.messages.get_mut(&id) {
                    message.idempotent = false;
                }
            }
            (self.session, self.sequence) = (None, 0);
            return;
        }
        if !refusal.retriable() && refusal.code() != Code::NotFound {
            world.violate(format!("publisher {} was refused: {refusal}", self.index));
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
            self.session = Some(ProducerId(*first));
        }
        world.plan_client(1_000, id);
    }

    pub(super) fn broker_lost(&mut self) {
        self.waiting = false;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.batch.is_none()
    }
}
