//! A consumer of a queue: attaches for long or for one answer, takes what it is granted, and ends each lease in one
//! way or another. It repeats settles whose answer it did not hear, and some that it did.

use std::collections::BTreeMap;

use pondage_model::{Epoch, Lease, LogTime, Offset, ShardId, StreamId};
use pondage_node::{
    delivery::{self, ConsumerId, Reply, Settled, Verdict},
    shard::{ShardReply, ShardRequest},
};

use super::{ClientId, DEAD, SHARED, TOPIC, place};
use crate::{
    chance::Chance,
    world::{HostId, World},
};

/// The lease that every queue of the world gives unless a consumer asks for another.
pub(super) const LEASE_MILLIS: u64 = 2_000;
const SHORT_LEASE_MILLIS: u64 = 1_500;
const RENEWED_MILLIS: u64 = 3_000;
/// Messages settled in one request.
const ITEMS_MAX: u64 = 4;

/// How long the leases of this consumer last.
pub(super) const fn lease_millis(consumer: ConsumerId) -> u64 {
    if is_short(consumer) { SHORT_LEASE_MILLIS } else { LEASE_MILLIS }
}

const fn is_short(consumer: ConsumerId) -> bool {
    (consumer.0 >> 8).is_multiple_of(2)
}

#[derive(Debug)]
pub(super) struct Consumer {
    index: u64,
    target: &'static str,
    /// Of the topic, for the shared group.
    partition: usize,
    credit: u32,
    /// Grows with each attach: another consumer to the broker.
    life: u64,
    attached: Option<Attached>,
    attaching: bool,
    held: BTreeMap<(StreamId, Offset), Held>,
    settling: Option<Settling>,
    /// A settle that the broker's end left without an answer.
    unsure: Option<Settling>,
}

#[derive(Clone, Copy, Debug)]
struct Attached {
    host: HostId,
    shard: ShardId,
    stream: StreamId,
    once: bool,
    /// Messages that it may still be given.
    credit: i64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    shard: ShardId,
    lease: Lease,
}

#[derive(Clone, Debug)]
struct Settling {
    shard: ShardId,
    stream: StreamId,
    items: Vec<(Offset, Lease)>,
    verdict: Verdict,
    expected: Expected,
    /// The newest log time known when it was asked, and the epoch whose leader showed it.
    shown: Option<(Epoch, LogTime)>,
}

impl Settling {
    const fn ends(&self) -> bool {
        matches!(self.verdict, Verdict::Accept | Verdict::Reject)
    }
}

/// What the answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Anything,
    /// The same was done before.
    Repeat,
    /// Something else was done before.
    Lost,
}

impl Consumer {
    pub(super) fn new(index: usize, target: &'static str, partition: usize, chance: &mut Chance) -> Self {
        Self {
            index: index as u64,
            target,
            partition,
            credit: chance.between(1, 8) as u32,
            life: 0,
            attached: None,
            attaching: false,
            held: BTreeMap::new(),
            settling: None,
            unsure: None,
        }
    }

    fn id(&self) -> ConsumerId {
        ConsumerId((self.life << 8) | self.index)
    }

    /// Whether grants for this consumer reach it.
    pub(super) fn takes(&self, consumer: ConsumerId, stream: StreamId) -> bool {
        self.id() == consumer && self.attached.is_some_and(|attached| attached.stream == stream)
    }

    pub(super) fn act(&mut self, world: &mut World, id: ClientId, healing: bool) {
        if self.settling.is_some() || self.attaching {
            return;
        }
        let Some((stream, shard)) = place(world, self.target, self.partition).filter(|_| world.is_up())
        else {
            return world.plan_client(20_000, id);
        };
        if let Some(unsure) = self.unsure.take()
            && unsure.stream == stream
        {
            return self.settle(world, id, unsure);
        }
        if let Some(attached) = self.attached
            && attached.stream == stream
            && world.session(id, shard).is_none()
        {
            // The shard is led elsewhere by now.
            self.lost(world);
        }
        if self.held.is_empty() && self.attached.is_none() {
            return self.attach(world, id, stream, shard);
        }
        if let Some(attached) = self.attached
            && (attached.stream != stream || (!healing && world.chance.once_in(60)))
        {
            let lost = !attached.once && world.chance.once_in(2);
            self.leave(world, id, lost);
            return world.plan_client(5_000, id);
        }
        self.settle_some(world, id, healing);
    }

    fn attach(&mut self, world: &mut World, id: ClientId, stream: StreamId, shard: ShardId) {
        if self.target == SHARED
            && let Some((partition, _)) = place(world, TOPIC, self.partition)
        {
            world.oracle.shares.insert(partition, stream);
        }
        self.life += 1;
        let once = world.chance.once_in(3);
        let request = delivery::Request::Attach {
            stream,
            consumer: self.id(),
            credit: self.credit,
            lease_millis: is_short(self.id()).then_some(SHORT_LEASE_MILLIS),
            once,
        };
        self.attaching = world.open_session(id, shard, ShardRequest::Delivery(request));
        let host = world.session(id, shard).filter(|_| self.attaching);
        self.attached = host.map(|host| Attached { host, shard, stream, once, credit: self.credit.into() });
    }

    /// Whether its session is on this host.
    pub(super) fn is_at(&self, host: HostId) -> bool {
        self.attached.is_some_and(|attached| attached.host == host)
    }

    /// Ends a few leases with one verdict.
    fn settle_some(&mut self, world: &mut World, id: ClientId, healing: bool) {
        let Some((&(stream, _), &Held { shard, .. })) = self.held.iter().next() else {
            let pause = world.chance.between(200_000, 2_000_000);
            return world.plan_client(pause, id);
        };
        let most = world.chance.between(1, ITEMS_MAX) as usize;
        let items: Vec<(Offset, Lease)> = self
            .held
            .range((stream, Offset::ZERO)..=(stream, Offset(u64::MAX)))
            .take(most)
            .map(|((_, offset), held)| (*offset, held.lease))
            .collect();
        for (offset, _) in &items {
            self.held.remove(&(stream, *offset));
        }
        let Some(verdict) = self.verdict(world, healing) else {
            // Forgotten: their leases will end by themselves. The consumer asks for others instead.
            self.give_credit_back(world, stream, items.len());
            return world.plan_client(1_000, id);
        };
        let shown = world.oracle.shown(stream);
        let mut settling = Settling { shard, stream, items, verdict, expected: Expected::Anything, shown };
        for (offset, _) in &settling.items {
            if settling.ends() {
                world.oracle.settle_asked(stream, *offset);
            }
            if !matches!(verdict, Verdict::Renew { .. }) {
                world.oracle.end_lease(stream, *offset);
            }
        }
        if world.chance.once_in(20) {
            settling.items.extend_from_within(..1);
        }
        self.settle(world, id, settling);
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
            6 => Some(Verdict::Renew { millis: RENEWED_MILLIS }),
            _ => Some(Verdict::Accept),
        }
    }

    fn settle(&mut self, world: &mut World, id: ClientId, settling: Settling) {
        let Settling { shard, stream, ref items, verdict, .. } = settling;
        let request = delivery::Request::Settle { stream, items: items.clone(), verdict };
        if world.request(id, shard, ShardRequest::Delivery(request)) {
            self.settling = Some(settling);
        } else {
            self.unsure = Some(settling);
        }
    }

    /// Leaves in order, or is lost. Whatever it holds may go to others.
    pub(super) fn leave(&mut self, world: &mut World, id: ClientId, lost: bool) {
        let Some(attached) = self.attached.take() else { return };
        world.close_session(id);
        if !attached.once {
            self.held.clear();
        }
        world.oracle.end_leases_of(self.id());
        let request = delivery::Request::Detach { stream: attached.stream, consumer: self.id(), lost };
        world.tell(attached.host, attached.shard, ShardRequest::Delivery(request));
        self.attaching = false;
        world.plan_client(5_000, id);
    }

    pub(super) fn granted(
        &mut self,
        world: &mut World,
        id: ClientId,
        shard: ShardId,
        stream: StreamId,
        offset: Offset,
        lease: Lease,
    ) {
        if let Some(attached) = &mut self.attached {
            attached.credit -= 1;
            if attached.credit < 0 {
                world.violate(format!("Q9: consumer {} got more than its credit", self.index));
            }
        }
        self.held.insert((stream, offset), Held { shard, lease });
        let pause = world.chance.between(100, 30_000);
        world.plan_client(pause, id);
    }

    /// Nothing follows: its one answer is there, or its queue is gone.
    pub(super) fn served(&mut self, world: &mut World, id: ClientId, consumer: ConsumerId) {
        if self.id() == consumer {
            self.attached = None;
            world.close_session(id);
        }
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, reply: &ShardReply, epoch: Epoch) {
        let pause = world.chance.between(100, 20_000);
        world.plan_client(pause, id);
        if self.attaching {
            self.attaching = false;
            if let ShardReply::Refused(_) | ShardReply::Delivery(Reply::Refused(_)) = reply {
                self.attached = None;
                world.close_session(id);
            }
            return;
        }
        let Some(settling) = self.settling.take() else { return };
        let ShardReply::Delivery(Reply::Settled(results)) = reply else {
            if let ShardReply::Refused(_) = reply {
                // Nobody decided it, or nobody knows: it asks again, and has its credit back only then.
                self.unsure = Some(Settling { expected: Expected::Anything, shown: None, ..settling });
            }
            return;
        };
        let Settling { stream, verdict, expected, shown, .. } = settling;
        world.trace.say(
            world.micros,
            format_args!(
                "consumer {} settled {stream:?} {:?} {verdict:?}: {results:?}",
                self.index, settling.items
            ),
        );
        for ((offset, lease), result) in settling.items.iter().zip(results) {
            let as_expected = match expected {
                Expected::Anything => true,
                // A leap of log time ends the five minutes for which the winner is remembered.
                Expected::Repeat if world.clocks_disagree() && result.is_err() => true,
                Expected::Repeat => matches!(result, Ok(Settled::AlreadySettled)),
                Expected::Lost => result.is_err(),
            };
            if !as_expected {
                world.violate(format!(
                    "Q2: {stream:?} {offset:?}: {verdict:?} under {lease:?}, expected {expected:?}, got {result:?}"
                ));
            }
            match (result, verdict, shown) {
                (Ok(_), Verdict::Accept | Verdict::Reject, _) => {
                    world.oracle.settled(stream, *offset, *lease);
                }
                (Ok(Settled::Done), Verdict::Renew { millis }, Some((shown_in, shown)))
                    if shown_in == epoch =>
                {
                    world.oracle.renewed(stream, *offset, epoch, shown.plus_millis(millis));
                }
                _ => {}
            }
        }
        if expected == Expected::Anything {
            self.give_credit_back(world, stream, settling.items.len());
        }
        self.try_again(world, id, settling, results.iter().all(Result::is_ok));
    }

    /// A client that was answered may send the same again, or another verdict under the same token.
    fn try_again(&mut self, world: &mut World, id: ClientId, done: Settling, all_done: bool) {
        let renewal = matches!(done.verdict, Verdict::Renew { .. });
        if !all_done || renewal || done.expected != Expected::Anything || !world.chance.once_in(10) {
            return;
        }
        let again = if world.chance.once_in(2) {
            Settling { expected: Expected::Repeat, ..done }
        } else {
            let other =
                if matches!(done.verdict, Verdict::Accept) { Verdict::Return } else { Verdict::Accept };
            Settling { expected: Expected::Lost, verdict: other, ..done }
        };
        if place(world, self.target, self.partition).is_some_and(|(stream, _)| stream == again.stream) {
            self.settle(world, id, again);
        }
    }

    /// What settled messages held of the credit, as the service gives it back for a client.
    fn give_credit_back(&mut self, world: &mut World, stream: StreamId, count: usize) {
        let consumer = self.id();
        if let Some(attached) =
            self.attached.as_mut().filter(|attached| attached.stream == stream && !attached.once)
        {
            attached.credit += count as i64;
            let request = delivery::Request::Credit { stream, consumer, add: count as u32 };
            world.tell(attached.host, attached.shard, ShardRequest::Delivery(request));
        }
    }

    /// Its connections are gone; a broker that still runs will notice.
    pub(super) fn lost(&mut self, world: &mut World) {
        if let Some(attached) = self.attached.take() {
            world.oracle.end_leases_of(self.id());
            let request =
                delivery::Request::Detach { stream: attached.stream, consumer: self.id(), lost: true };
            world.session_lost(attached.host, attached.shard, ShardRequest::Delivery(request));
        }
        self.attaching = false;
        if let Some(settling) = self.settling.take() {
            // What was expected of a repeat holds no longer: its first answer was the broker's, which is gone.
            self.unsure = Some(Settling { expected: Expected::Anything, shown: None, ..settling });
        }
        // Some go on with what they hold: an older leader's token settles until the message is given to another.
        if world.chance.once_in(2) {
            self.held.clear();
        }
    }
}
