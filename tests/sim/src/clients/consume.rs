//! A consumer of a queue: attaches, takes what it is granted, and ends each lease in one way or another.

use std::collections::BTreeMap;

use pondage_model::{Attempt, Epoch, Lease, Offset, ShardId, StreamId, entry::Granted};
use pondage_node::{
    delivery::{self, ConsumerId, Verdict},
    shard::{ShardReply, ShardRequest},
};

use super::{ClientId, DEAD, place};
use crate::{chance::Chance, oracle::MessageId, world::World};

#[derive(Debug)]
pub(super) struct Consumer {
    index: u64,
    target: &'static str,
    credit: u32,
    /// Grows with each attach: another consumer to the broker.
    life: u64,
    attached: bool,
    held: BTreeMap<(StreamId, Offset), Held>,
    settling: Option<Settling>,
    attaching: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    shard: ShardId,
    lease: Lease,
}

#[derive(Clone, Debug)]
struct Settling {
    stream: StreamId,
    offset: Offset,
    lease: Lease,
    ends: bool,
}

impl Consumer {
    pub(super) fn new(index: usize, target: &'static str, chance: &mut Chance) -> Self {
        Self {
            index: index as u64,
            target,
            credit: chance.between(1, 8) as u32,
            life: 0,
            attached: false,
            held: BTreeMap::new(),
            settling: None,
            attaching: false,
        }
    }

    fn id(&self) -> ConsumerId {
        ConsumerId((self.life << 8) | self.index)
    }

    pub(super) fn is(&self, consumer: ConsumerId) -> bool {
        self.attached && self.id() == consumer
    }

    pub(super) fn act(&mut self, world: &mut World, id: ClientId, healing: bool) {
        if self.settling.is_some() || self.attaching {
            return;
        }
        let Some((stream, shard)) = place(world, self.target, 0).filter(|_| world.is_up()) else {
            return world.plan_client(20_000, id);
        };
        if !self.attached {
            self.life += 1;
            self.attached = true;
            let request = delivery::Request::Attach {
                stream,
                consumer: self.id(),
                credit: self.credit,
                lease_millis: world.chance.once_in(2).then_some(1_500),
                once: false,
            };
            self.attaching = world.request(id, shard, ShardRequest::Delivery(request));
            return;
        }
        if !healing && world.chance.once_in(60) {
            return self.leave(world, id, stream, shard);
        }
        let Some((&(stream, offset), &held)) = self.held.iter().next() else {
            return world.plan_client(50_000, id);
        };
        self.held.remove(&(stream, offset));
        let verdict = self.verdict(world, healing);
        let Some(verdict) = verdict else {
            // Forgotten: its lease will end by itself. The consumer asks for another one instead.
            self.give_credit_back(world, held.shard, stream);
            return world.plan_client(1_000, id);
        };
        let ends = matches!(verdict, Verdict::Accept | Verdict::Reject);
        if ends {
            world.oracle.settle_asked(stream, offset);
        }
        self.settling = Some(Settling { stream, offset, lease: held.lease, ends });
        let items = vec![(offset, held.lease)];
        let request = delivery::Request::Settle { stream, items, verdict };
        if !world.request(id, held.shard, ShardRequest::Delivery(request)) {
            self.settling = None;
        }
    }

    fn verdict(&self, world: &mut World, healing: bool) -> Option<Verdict> {
        if healing || self.target == DEAD {
            return Some(Verdict::Accept);
        }
        match world.chance.below(20) {
            0 => None,
            1 => Some(Verdict::Return),
            2 | 3 => Some(Verdict::Release { delay_millis: None }),
            4 => Some(Verdict::Release { delay_millis: Some(world.chance.between(0, 2_000)) }),
            5 => Some(Verdict::Reject),
            6 => Some(Verdict::Renew { millis: 3_000 }),
            _ => Some(Verdict::Accept),
        }
    }

    fn leave(&mut self, world: &mut World, id: ClientId, stream: StreamId, shard: ShardId) {
        let lost = world.chance.once_in(2);
        let request = delivery::Request::Detach { stream, consumer: self.id(), lost };
        world.tell(shard, ShardRequest::Delivery(request));
        self.attached = false;
        self.held.clear();
        world.plan_client(5_000, id);
    }

    pub(super) fn granted(
        &mut self,
        world: &mut World,
        id: ClientId,
        (shard, stream, offset): (ShardId, StreamId, Offset),
        epoch: Epoch,
        granted: &Granted,
        message: MessageId,
    ) {
        let lease = Lease { epoch, attempt: granted.attempt };
        assert!(granted.attempt > Attempt::ZERO, "attempts count from 1");
        world.trace.say(
            world.micros,
            format_args!("consumer {} granted {stream:?} {offset:?} {lease:?} = {message}", self.index),
        );
        let micros = world.micros;
        world.oracle.granted(message, stream, offset, lease, micros);
        self.held.insert((stream, offset), Held { shard, lease });
        let pause = world.chance.between(100, 30_000);
        world.plan_client(pause, id);
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, reply: &ShardReply) {
        if self.attaching {
            self.attaching = false;
            if let ShardReply::Refused(_) | ShardReply::Delivery(delivery::Reply::Refused(_)) = reply {
                self.attached = false;
            }
        } else if let Some(settling) = self.settling.take() {
            let Settling { stream, offset, lease, ends } = settling;
            let done = matches!(&reply, ShardReply::Delivery(delivery::Reply::Settled(results))
                if results.first().is_some_and(Result::is_ok));
            world.trace.say(
                world.micros,
                format_args!(
                    "consumer {} settled {stream:?} {offset:?} {lease:?} {ends}: {done}",
                    self.index
                ),
            );
            if done && ends {
                world.oracle.settled(stream, offset, lease);
            }
            if let Some(shard) = place(world, self.target, 0).map(|(_, shard)| shard)
                && !matches!(&reply, ShardReply::Refused(_))
            {
                self.give_credit_back(world, shard, stream);
            }
        }
        let pause = world.chance.between(100, 20_000);
        world.plan_client(pause, id);
    }

    /// What a settled message held of the credit, as the service gives it back for a client.
    fn give_credit_back(&self, world: &mut World, shard: ShardId, stream: StreamId) {
        let request = delivery::Request::Credit { stream, consumer: self.id(), add: 1 };
        world.tell(shard, ShardRequest::Delivery(request));
    }

    pub(super) fn broker_lost(&mut self) {
        self.attached = false;
        self.attaching = false;
        self.settling = None;
        self.held.clear();
    }
}
