//! What time does: leases and times to live end, idle producers are forgotten, held messages leave.

use std::ops::Range;

use pondage_model::{
    Body, LogTime, StreamId,
    entry::{MoveCause, ReleaseCause},
    limits,
};

use super::{Draft, Leading, outcomes::Outcomes, work::Work};
use crate::fold::{
    Queue, ShardState,
    message::{HELD, Place},
};

/// Messages that one call deals with, at most about.
const ITEMS_PER_CALL_MAX: u64 = 10_000;

impl Leading {
    /// The entries that are due by `now`: ends of leases, expiries, departures of held messages, forgotten
    /// producers. Deals with some 10,000 messages; after they are appended, [`Leading::next_wake`] is not after
    /// `now` if there is more.
    pub fn on_time(&mut self, _committed: &ShardState, now: LogTime) -> Vec<Draft> {
        let woken: Vec<_> =
            self.wakes.iter().take_while(|(wake, _)| *wake <= now).map(|&(_, id)| id).collect();
        let mut drafts = Vec::new();
        let mut budget = ITEMS_PER_CALL_MAX;
        for id in woken {
            if budget == 0 {
                break;
            }
            drafts.extend(self.forget_idle_producers(id, now, &mut budget));
            drafts.extend(self.end_queue_times(id, now, &mut budget));
            drafts.extend(self.rebalance(id, now));
            self.refresh(id);
        }
        drafts
    }

    fn forget_idle_producers(&self, id: StreamId, now: LogTime, budget: &mut u64) -> Option<Draft> {
        let since = LogTime(now.0.saturating_sub_unsigned(limits::PRODUCER_IDLE_MILLIS_MAX));
        let idle = self.state.stream(id)?.producers().idle_since(since);
        let idle: Vec<_> = idle.take(*budget as usize).collect();
        *budget -= idle.len() as u64;
        (!idle.is_empty()).then(|| Draft { stream: id, body: Body::ForgetProducers(idle) })
    }

    fn end_queue_times(&mut self, id: StreamId, now: LogTime, budget: &mut u64) -> Vec<Draft> {
        let Some(mut work) = self.work.remove(&id) else { return Vec::new() };
        let drafts = match self.queue_with(id, &work) {
            Some((queue, policy)) => {
                let mut outcomes = Outcomes::new(queue, policy, now);
                end_leases(&mut outcomes, queue, now, budget);
                let dead_letter = policy.settings.dead_letter.is_some();
                if work.may_leave(queue, policy) {
                    release_held(&mut outcomes, queue, dead_letter, budget);
                    release_parked(&mut outcomes, queue, dead_letter, &mut work, budget);
                }
                expire(&mut outcomes, queue, dead_letter, &mut work, now, budget);
                outcomes.into_drafts(id)
            }
            None => Vec::new(),
        };
        self.work.insert(id, work);
        drafts
    }
}

fn end_leases(outcomes: &mut Outcomes<'_>, queue: &Queue, now: LogTime, budget: &mut u64) {
    for offset in queue.leased().until(now).flatten().take(*budget as usize) {
        if let Place::Touched(message) = queue.place(offset) {
            outcomes.fail(offset, message.lease, ReleaseCause::Expired, None);
            *budget -= 1;
        }
    }
}

/// Sends off what waited for the dead-letter queue, which is there now.
fn release_held(outcomes: &mut Outcomes<'_>, queue: &Queue, dead_letter: bool, budget: &mut u64) {
    if !dead_letter {
        return;
    }
    for offset in queue.waiting().at_time(HELD).flatten().take(*budget as usize) {
        if let Place::Touched(message) = queue.place(offset) {
            let cause = if message.rejected { MoveCause::Rejected } else { MoveCause::MaxDeliveries };
            outcomes.dead_letter(offset, None, cause, message.failures);
            *budget -= 1;
        }
    }
}

/// Sends off or drops what outlived its time while there was to be a dead-letter queue and none was known.
fn release_parked(
    outcomes: &mut Outcomes<'_>,
    queue: &Queue,
    dead_letter: bool,
    work: &mut Work,
    budget: &mut u64,
) {
    let parked: Vec<u64> = work.parked.iter().flatten().take(*budget as usize).collect();
    *budget -= parked.len() as u64;
    for offset in parked {
        work.parked.remove(offset..offset + 1);
        match queue.place(offset).ready_at() {
            Some(HELD) if !dead_letter && queue.is_rejected(offset) => outcomes.drop_rejected(offset),
            // Held ones leave with the others that are held; the rest is settled or leased meanwhile.
            Some(HELD) | None => {}
            Some(_) => {
                outcomes.expire(offset..offset + 1);
            }
        }
    }
}

/// Ends messages whose time to live passed, in the order of time, then offset.
fn expire(
    outcomes: &mut Outcomes<'_>,
    queue: &Queue,
    dead_letter: bool,
    work: &mut Work,
    now: LogTime,
    budget: &mut u64,
) {
    while *budget > 0 {
        let Some(&(expires, offset)) = work.expiry_rechecks.first() else { break };
        if expires > now {
            break;
        }
        work.expiry_rechecks.pop_first();
        *budget -= 1;
        let waits = match queue.place(offset).ready_at() {
            Some(HELD) => dead_letter || queue.is_rejected(offset),
            Some(_) => work.parked.contains(offset),
            None => true,
        };
        if !waits && !outcomes.expire(offset..offset + 1) {
            work.parked.insert(offset..offset + 1);
        }
    }
    while *budget > 0 {
        let Some((run, expires)) = queue.expiry().at_or_after(work.expired_until) else { break };
        if expires > now {
            break;
        }
        let window = run.start..run.end.min(run.start + *budget);
        work.expired_until = (expires, window.end);
        *budget -= 1;
        expire_window(outcomes, queue, work, window, budget);
    }
}

fn expire_window(
    outcomes: &mut Outcomes<'_>,
    queue: &Queue,
    work: &mut Work,
    window: Range<u64>,
    budget: &mut u64,
) {
    for idle in queue.idle_within(window) {
        let before = outcomes.len();
        for part in work.parked.gaps_within(idle).collect::<Vec<_>>() {
            if !outcomes.expire(part.clone()) {
                work.parked.insert(part);
            }
        }
        *budget = budget.saturating_sub((outcomes.len() - before) as u64);
    }
}

impl Leading {
    /// As [`Leading::queue`], while the stream's work is taken out.
    fn queue_with(&self, id: StreamId, work: &Work) -> Option<(&Queue, super::Policy<'_>)> {
        let (queue, policy) = self.queue(id)?;
        Some((queue, super::Policy { target: work.target, ..policy }))
    }
}
