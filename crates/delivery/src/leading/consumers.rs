//! The consumers of one queue: who wants messages, who holds which.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use pondage_model::{
    limits,
    planted::{self, Fault},
};

use super::request::ConsumerId;
use crate::ranges::RangeSet;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Consumer {
    /// Messages it takes until it asks for more.
    credit: u32,
    /// What it asked for; `None` takes the queue's default.
    pub(super) lease_millis: Option<u64>,
    /// A long poll.
    once: bool,
    /// Takes no more, whatever its credit.
    is_stopped: bool,
    /// Messages it holds under a lease.
    held: RangeSet,
    /// When it was served last, in turns; among equals the longest unserved comes first.
    turn: u64,
}

/// A hungry consumer's place in the order of service: who holds least comes first.
type Place = (u64, u64, ConsumerId);

/// The consumers of one queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Consumers {
    all: BTreeMap<ConsumerId, Consumer>,
    hungry: BTreeSet<Place>,
    /// Messages that the hungry ones would take.
    demand: u64,
    owners: BTreeMap<u64, ConsumerId>,
    turns: u64,
    /// Messages that one consumer may hold.
    held_max: u64,
}

impl Consumers {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains(&self, id: ConsumerId) -> bool {
        self.all.contains_key(&id)
    }

    /// Whether the consumer is a long poll.
    pub(super) fn is_once(&self, id: ConsumerId) -> bool {
        self.all.get(&id).is_some_and(|consumer| consumer.once)
    }

    /// Messages that consumers would take now.
    pub(super) fn demand(&self) -> u64 {
        self.demand
    }

    /// Sets how many messages one consumer may hold.
    pub(super) fn set_held_max(&mut self, held_max: u32) {
        let held_max = u64::from(held_max.min(limits::CREDIT_MAX));
        if self.held_max != held_max {
            self.held_max = held_max;
            self.hungry.clear();
            self.demand = 0;
            let ids: Vec<_> = self.all.keys().copied().collect();
            ids.into_iter().for_each(|id| self.seat(id));
        }
    }

    pub(super) fn attach(&mut self, id: ConsumerId, credit: u32, lease_millis: Option<u64>, once: bool) {
        let credit = credit.min(limits::CREDIT_MAX);
        self.turns += 1;
        let (held, turn) = (RangeSet::default(), self.turns);
        let consumer = Consumer { credit, lease_millis, once, is_stopped: false, held, turn };
        self.all.insert(id, consumer);
        self.seat(id);
    }

    pub(super) fn add_credit(&mut self, id: ConsumerId, add: u32) {
        self.change(id, |consumer| {
            consumer.credit = consumer.credit.saturating_add(add).min(limits::CREDIT_MAX);
        });
    }

    /// Gives the consumer nothing more.
    pub(super) fn stop(&mut self, id: ConsumerId) {
        self.change(id, |consumer| consumer.is_stopped = true);
    }

    /// Takes the consumer out and returns what it holds.
    pub(super) fn detach(&mut self, id: ConsumerId) -> Option<RangeSet> {
        self.unseat(id);
        self.all.remove(&id).map(|consumer| consumer.held)
    }

    /// Every consumer.
    pub(super) fn ids(&self) -> impl Iterator<Item = ConsumerId> + '_ {
        self.all.keys().copied()
    }

    /// Who is served next if `available` messages are there, and how many it may be given so that nobody gets
    /// more than its share: as many as bring it level with the next one, or an equal part.
    pub(super) fn next(&self, available: u64) -> Option<(ConsumerId, &Consumer, u64)> {
        let mut places = self.hungry.iter();
        let &(held, _, id) = places.next()?;
        let equal_part = available.div_ceil(self.hungry.len() as u64);
        let level = places.next().map_or(available, |&(next, ..)| next - held);
        let consumer = self.all.get(&id)?;
        let share = equal_part.max(level).min(self.appetite(consumer)).min(available);
        Some((id, consumer, share))
    }

    /// Notes that the consumer holds `offsets` now, and for a long poll that it is done.
    pub(super) fn give(&mut self, id: ConsumerId, offsets: Range<u64>) {
        if !self.is_once(id) {
            self.owners.extend(offsets.clone().map(|offset| (offset, id)));
        }
        self.turns += 1;
        let turn = self.turns;
        self.change(id, |consumer| {
            let count = u32::try_from(offsets.end - offsets.start).unwrap_or(u32::MAX);
            if !planted::is(Fault::IgnorePrefetch) {
                consumer.credit = consumer.credit.saturating_sub(count);
            }
            consumer.turn = turn;
            consumer.held.insert(offsets);
        });
    }

    /// Notes that the leases of `offsets` ended.
    pub(super) fn lease_ended(&mut self, offsets: Range<u64>) {
        while let Some((&offset, &id)) = self.owners.range(offsets.clone()).next() {
            self.owners.remove(&offset);
            self.change(id, |consumer| consumer.held.remove(offset..offset + 1));
        }
    }

    fn change(&mut self, id: ConsumerId, change: impl FnOnce(&mut Consumer)) {
        self.unseat(id);
        if let Some(consumer) = self.all.get_mut(&id) {
            change(consumer);
        }
        self.seat(id);
    }

    fn appetite(&self, consumer: &Consumer) -> u64 {
        if consumer.is_stopped {
            return 0;
        }
        u64::from(consumer.credit).min(self.held_max.saturating_sub(consumer.held.len()))
    }

    fn seat(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.all.get(&id) {
            let appetite = self.appetite(consumer);
            if appetite > 0 {
                self.hungry.insert((consumer.held.len(), consumer.turn, id));
                self.demand += appetite;
            }
        }
    }

    fn unseat(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.all.get(&id)
            && self.hungry.remove(&(consumer.held.len(), consumer.turn, id))
        {
            self.demand -= self.appetite(consumer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out `available` messages among consumers that hold `held` and have credit for `credit` more.
    fn share_out(consumers: &[(u64, u32)], mut available: u64) -> Vec<u64> {
        let mut all = Consumers::default();
        all.set_held_max(1_000);
        let mut offset = 0;
        for (index, &(held, credit)) in consumers.iter().enumerate() {
            let id = ConsumerId(index as u64);
            all.attach(id, credit + held as u32, None, false);
            all.give(id, offset..offset + held);
            offset += held;
        }
        while available > 0 {
            let Some((id, _, share)) = all.next(available) else { break };
            assert!(share > 0);
            all.give(id, offset..offset + share);
            offset += share;
            available -= share;
        }
        all.all.values().map(|consumer| consumer.held.len()).collect()
    }

    #[test]
    fn whoever_holds_least_is_served_first_and_nobody_beyond_its_credit() {
        for (consumers, available, expected) in [
            (&[(0, 10), (0, 10)][..], 10, &[5, 5][..]),
            (&[(0, 10), (0, 10), (100, 10)], 10, &[5, 5, 100]),
            (&[(0, 500), (100, 500)], 10, &[10, 100]),
            (&[(0, 3), (0, 100)], 50, &[3, 47]),
            (&[(0, 3), (0, 4)], 50, &[3, 4]),
            (&[(990, 100)], 50, &[1_000]),
            (&[(4, 0), (9, 1)], 5, &[4, 10]),
        ] {
            assert_eq!(share_out(consumers, available), expected, "{consumers:?} {available}");
        }
    }

    #[test]
    fn ended_leases_make_room() {
        let mut all = Consumers::default();
        all.set_held_max(4);
        let id = ConsumerId(1);
        all.attach(id, 100, None, false);
        assert_eq!(all.demand(), 4);
        all.give(id, 0..4);
        assert_eq!((all.demand(), all.next(9).is_none()), (0, true));
        all.lease_ended(1..3);
        assert_eq!(all.demand(), 2);
        all.set_held_max(10);
        assert_eq!(all.demand(), 8);
        all.stop(id);
        all.add_credit(id, 5);
        assert_eq!(
            (all.demand(), all.next(9).is_none()),
            (0, true),
            "it takes no more, and holds what it has"
        );
        assert_eq!(all.detach(id).map(|held| held.iter().collect::<Vec<_>>()), Some(vec![0..1, 3..4]));
        all.lease_ended(0..4);
        assert_eq!((all.demand(), all.len()), (0, 0));
    }
}
