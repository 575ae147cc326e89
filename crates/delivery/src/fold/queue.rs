//! The fold of a queue: which messages are there and in what state.
//!
//! A message that nobody touched yet is a number in a run (`fresh`, or `scheduled` until it is due); only one
//! that was granted has a record of its own. A message in none of the three is settled, so what is settled takes
//! no memory at all and a backlog of ten million untouched messages is a pair of numbers.

use std::{collections::BTreeMap, ops::Range};

use pondage_model::{
    Lease, LogTime, MoveSeq, Offset,
    entry::{
        Discard, DiscardCause, Granted, LeaseRange, Move, MoveCause, ReleaseCause, Released, Restart, Timing,
    },
    planted::{self, Fault},
};

use super::{
    counters::Counters,
    ended::{Ended, EndedLeases},
    message::{HELD, Message, Place, State},
};
use crate::{ranges::RangeSet, timeline::Timeline};

/// The offsets of `count` messages from `first` on; they lie below an end that was checked, or saturate.
pub(crate) fn offsets(first: Offset, count: u64) -> Range<u64> {
    first.0..first.0.saturating_add(count)
}

/// Disjoint runs in order, neighbours joined.
fn joined(mut runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
    runs.sort_unstable_by_key(|run| run.start);
    runs.dedup_by(|next, run| {
        let touch = run.end == next.start;
        if touch {
            run.end = next.end;
        }
        touch
    });
    runs
}

/// The messages of a queue that are not settled, and what is remembered of those that are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    pub(super) fresh: RangeSet,
    pub(super) scheduled: Timeline,
    pub(super) touched: BTreeMap<u64, Message>,
    /// `touched` by `ready_at`.
    pub(super) waiting: Timeline,
    /// `touched` by deadline.
    pub(super) leased: Timeline,
    /// When unsettled messages expire that have a time to live and are not moving.
    pub(super) expiry: Timeline,
    pub(super) moves: BTreeMap<MoveSeq, Move>,
    pub(super) last_move: MoveSeq,
    pub(super) ended: EndedLeases,
    /// Of a shared group: no lease up to this one is any more, because the group began to read (again) after it.
    pub(super) base: Lease,
}

impl Queue {
    /// The last lease before a shared group began to read, or began again; the default before it ever did.
    pub(crate) fn base(&self) -> Lease {
        self.base
    }

    pub(crate) fn fresh(&self) -> &RangeSet {
        &self.fresh
    }

    pub(crate) fn scheduled(&self) -> &Timeline {
        &self.scheduled
    }

    pub(crate) fn waiting(&self) -> &Timeline {
        &self.waiting
    }

    /// Whether a consumer rejected the message and it is still here.
    pub(crate) fn is_rejected(&self, offset: u64) -> bool {
        self.touched.get(&offset).is_some_and(|message| message.rejected)
    }

    /// Every returned message that is not under a lease, by when it is ready.
    pub(crate) fn waiting_messages(&self) -> impl Iterator<Item = (LogTime, u64)> + '_ {
        self.touched.iter().filter_map(|(&offset, message)| match message.state {
            State::Waiting(ready_at) => Some((ready_at, offset)),
            State::Leased(_) | State::Moving(_) => None,
        })
    }

    pub(crate) fn leased(&self) -> &Timeline {
        &self.leased
    }

    pub(crate) fn expiry(&self) -> &Timeline {
        &self.expiry
    }

    pub(crate) fn moves(&self) -> &BTreeMap<MoveSeq, Move> {
        &self.moves
    }

    pub(crate) fn last_move(&self) -> MoveSeq {
        self.last_move
    }

    pub(crate) fn ended(&self) -> &EndedLeases {
        &self.ended
    }

    /// Messages not settled.
    pub(crate) fn len(&self) -> u64 {
        self.fresh.len() + self.scheduled.len() + self.touched.len() as u64
    }

    /// The first message that is not settled.
    pub(crate) fn first_unsettled(&self) -> Option<u64> {
        let touched = self.touched.keys().next().copied();
        [self.fresh.first(), self.scheduled.first_offset(), touched].into_iter().flatten().min()
    }

    pub(crate) fn place(&self, offset: u64) -> Place {
        if let Some(message) = self.touched.get(&offset) {
            Place::Touched(*message)
        } else if self.fresh.contains(offset) {
            Place::Fresh(self.base)
        } else if let Some(due) = self.scheduled.get(offset) {
            Place::Scheduled(due)
        } else {
            Place::Settled
        }
    }

    /// The messages of `within` that are neither settled, leased, moving nor held, as runs in order.
    pub(crate) fn idle_within(&self, within: Range<u64>) -> Vec<Range<u64>> {
        let mut idle: Vec<_> = self.fresh.iter_within(within.clone()).collect();
        idle.extend(self.scheduled.iter_within(within.clone()));
        let waiting =
            |message: &Message| matches!(message.state, State::Waiting(ready_at) if ready_at != HELD);
        let touched = self.touched.range(within).filter(|(_, message)| waiting(message));
        idle.extend(touched.map(|(&offset, _)| offset..offset + 1));
        joined(idle)
    }

    /// Every message that is neither leased nor moving, as runs in order.
    pub(crate) fn unclaimed(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<_> = self.fresh.iter().collect();
        runs.extend(self.scheduled.iter_within(0..u64::MAX));
        runs.extend(self.waiting.iter_within(0..u64::MAX));
        joined(runs)
    }

    /// Moves the clock by which waiting messages are counted as ready.
    pub(super) fn advance(&mut self, now: LogTime) {
        self.scheduled.advance(now);
        self.waiting.advance(now);
        self.ended.forget(now);
    }

    pub(super) fn publish(&mut self, base: u64, count: u32, timing: &[Timing]) -> Result<(), &'static str> {
        let mut at = 0;
        for run in timing {
            let end = run.first.checked_add(run.count).filter(|end| run.first >= at && *end <= count);
            let end = end.ok_or("timing outside of its batch")?;
            self.fresh.insert(base + u64::from(at)..base + u64::from(run.first));
            let range = base + u64::from(run.first)..base + u64::from(end);
            match run.due {
                Some(due) => self.scheduled.insert(range.clone(), due),
                None => self.fresh.insert(range.clone()),
            }
            if let Some(expires) = run.expires {
                self.expiry.insert(range, expires);
            }
            at = end;
        }
        self.fresh.insert(base + u64::from(at)..base + u64::from(count));
        Ok(())
    }

    /// Puts a message under a lease, or moves the lease's deadline if it is under this very one.
    pub(crate) fn lease(
        &mut self,
        offset: u64,
        lease: Lease,
        deadline: LogTime,
        counters: &mut Counters,
    ) -> Result<(), &'static str> {
        let place = self.place(offset);
        if !place.is_leased_under(lease) {
            if !place.may_have_been_granted(lease) {
                return Err("a grant of a message that is not there to be granted");
            }
            counters.granted += 1;
        }
        let message = self.lift(offset);
        self.put(offset, Message { lease, rejected: false, state: State::Leased(deadline), ..message });
        Ok(())
    }

    pub(super) fn grant(
        &mut self,
        granted: &Granted,
        epoch: pondage_model::Epoch,
        counters: &mut Counters,
    ) -> Result<(), &'static str> {
        let lease = Lease { epoch, attempt: granted.attempt };
        offsets(granted.first, granted.count.into())
            .try_for_each(|offset| self.lease(offset, lease, granted.deadline, counters))
    }

    pub(super) fn renew(
        &mut self,
        leases: &LeaseRange,
        deadline: LogTime,
        counters: &mut Counters,
    ) -> Result<(), &'static str> {
        offsets(leases.first, leases.count.into())
            .try_for_each(|offset| self.lease(offset, leases.lease, deadline, counters))
    }

    pub(super) fn accept(
        &mut self,
        accepted: &LeaseRange,
        time: LogTime,
        counters: &mut Counters,
    ) -> Result<(), &'static str> {
        let range = offsets(accepted.first, accepted.count.into());
        for offset in range.clone() {
            self.end_lease(offset, accepted.lease, counters)?;
            self.expiry.remove(offset..offset + 1);
            counters.accepted += 1;
        }
        self.ended.record(Ended::Accepted, accepted.lease, range, time);
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        released: &Released,
        time: LogTime,
        counters: &mut Counters,
    ) -> Result<(), &'static str> {
        let LeaseRange { first, count, lease } = released.leases;
        let range = offsets(first, count.into());
        for offset in range.clone() {
            let message = self.end_lease(offset, lease, counters)?;
            let failures = message.failures.saturating_add(u32::from(released.cause.is_failure()));
            let rejected = released.cause == ReleaseCause::Rejected;
            let state = State::Waiting(released.ready_at);
            self.put(offset, Message { lease, failures, rejected, state, ..message });
            counters.count_release(released.cause);
        }
        let ended = match released.cause {
            ReleaseCause::Released => Ended::Released,
            ReleaseCause::Returned => Ended::Returned,
            ReleaseCause::Rejected => Ended::Rejected,
            ReleaseCause::Expired | ReleaseCause::ConsumerLost => return Ok(()),
        };
        self.ended.record(ended, lease, range, time);
        Ok(())
    }

    pub(super) fn discard(
        &mut self,
        discard: &Discard,
        time: LogTime,
        counters: &mut Counters,
    ) -> Result<(), &'static str> {
        for run in &discard.runs {
            let range = offsets(run.first, run.count);
            if let Some(lease) = run.lease {
                for offset in range.clone() {
                    self.end_lease(offset, lease, counters)?;
                }
                if discard.cause == DiscardCause::Rejected {
                    self.ended.record(Ended::Rejected, lease, range.clone(), time);
                }
            } else {
                self.drop_idle(range.clone())?;
            }
            self.expiry.remove(range);
            counters.count_discard(discard.cause, run.count);
        }
        Ok(())
    }

    /// Begins (again) at `restart.start`: everything up to `end` is as if it had just come, and nobody holds anything.
    /// What is on its way to the dead letters goes on: it may be there already.
    pub(super) fn restart(&mut self, restart: &Restart, end: u64) -> Result<(), &'static str> {
        let Restart { start, last } = *restart;
        if start.0 > end || last <= self.base {
            return Err("a group begins inside its partition and behind every lease that it gave");
        }
        let Self { touched, moves, last_move, .. } = std::mem::take(self);
        (self.moves, self.last_move, self.base) = (moves, last_move, last);
        self.fresh.insert(start.0..end);
        for (offset, message) in touched {
            if let State::Moving(_) = message.state {
                self.fresh.remove(offset..offset + 1);
                self.put(offset, message);
            }
        }
        Ok(())
    }

    /// Settles everything below `start`, whatever its state: it is not there any more.
    pub(super) fn trim(&mut self, start: u64, counters: &mut Counters) {
        let touched: Vec<u64> = self.touched.range(..start).map(|(&offset, _)| offset).collect();
        let untouched: u64 = self.fresh.iter_within(0..start).map(|run| run.end - run.start).sum();
        counters.count_discard(DiscardCause::Trimmed, untouched + touched.len() as u64);
        self.fresh.remove(0..start);
        for offset in touched {
            if let State::Moving(seq) = self.lift(offset).state {
                self.moves.remove(&seq);
            }
        }
    }

    /// Settles a run of messages that are neither settled, leased nor moving, in steps of runs.
    fn drop_idle(&mut self, range: Range<u64>) -> Result<(), &'static str> {
        let fresh: u64 = self.fresh.iter_within(range.clone()).map(|run| run.end - run.start).sum();
        let scheduled: u64 = self.scheduled.iter_within(range.clone()).map(|run| run.end - run.start).sum();
        let mut touched = Vec::new();
        for (&offset, message) in self.touched.range(range.clone()) {
            if !matches!(message.state, State::Waiting(_)) {
                return Err("a discard of a message that is leased or moving");
            }
            touched.push(offset);
        }
        if fresh + scheduled + touched.len() as u64 != range.end - range.start {
            return Err("a discard of a message that is settled");
        }
        for offset in touched {
            self.lift(offset);
        }
        self.fresh.remove(range.clone());
        self.scheduled.remove(range);
        Ok(())
    }

    pub(super) fn begin_move(
        &mut self,
        moved: &Move,
        time: LogTime,
        counters: &mut Counters,
    ) -> Result<(), &'static str> {
        let offset = moved.offset.0;
        if moved.seq <= self.last_move {
            return Err("the sequence of moves grows");
        }
        let place = self.place(offset);
        let message = match moved.lease {
            Some(lease) => Message { lease, ..self.end_lease(offset, lease, counters)? },
            None if place.ready_at().is_some() => self.lift(offset),
            None => return Err("a move of a message that is settled, leased or moving"),
        };
        let state = State::Moving(moved.seq);
        self.put(offset, Message { failures: moved.failures, rejected: false, state, ..message });
        self.expiry.remove(offset..offset + 1);
        self.moves.insert(moved.seq, *moved);
        self.last_move = moved.seq;
        let ended = match moved.cause {
            MoveCause::Rejected => Ended::Rejected,
            MoveCause::MaxDeliveries => Ended::Released,
            MoveCause::Expired => return Ok(()),
        };
        if let Some(lease) = moved.lease {
            self.ended.record(ended, lease, offset..offset + 1, time);
        }
        Ok(())
    }

    pub(super) fn end_move(&mut self, seq: MoveSeq, counters: &mut Counters) -> Result<(), &'static str> {
        let moved = self.moves.remove(&seq).ok_or("the end of a move that never began")?;
        let message = self.lift(moved.offset.0);
        if planted::is(Fault::KeepMovedMessage) {
            self.put(moved.offset.0, Message { state: State::Waiting(LogTime::default()), ..message });
        }
        counters.count_dead_letter(moved.cause);
        Ok(())
    }

    /// Takes a message from under `lease`; a grant that this fold had not seen is implied.
    fn end_lease(
        &mut self,
        offset: u64,
        lease: Lease,
        counters: &mut Counters,
    ) -> Result<Message, &'static str> {
        let place = self.place(offset);
        if !place.is_leased_under(lease) {
            if !place.may_have_been_granted(lease) {
                return Err("the end of a lease that the message can not have");
            }
            counters.granted += 1;
        }
        Ok(self.lift(offset))
    }

    /// Takes a message out of its place; what is known of it comes back.
    fn lift(&mut self, offset: u64) -> Message {
        let one = offset..offset + 1;
        if let Some(message) = self.touched.remove(&offset) {
            match message.state {
                State::Waiting(_) => self.waiting.remove(one),
                State::Leased(_) => self.leased.remove(one),
                State::Moving(_) => {}
            }
            return message;
        }
        let due = self.scheduled.get(offset);
        self.fresh.remove(one.clone());
        self.scheduled.remove(one);
        let state = State::Waiting(LogTime::default());
        Message { lease: self.base, failures: 0, rejected: false, due, state }
    }

    pub(super) fn put(&mut self, offset: u64, message: Message) {
        let one = offset..offset + 1;
        match message.state {
            State::Waiting(ready_at) => self.waiting.insert(one, ready_at),
            State::Leased(deadline) => self.leased.insert(one, deadline),
            State::Moving(_) => {}
        }
        self.touched.insert(offset, message);
    }
}
