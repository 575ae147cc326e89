//! Giving leases to consumers that want messages.

use std::ops::Range;

use pondage_model::{
    Attempt, Epoch, Lease, LogTime, Offset, StreamId,
    entry::Granted,
    limits,
    planted::{self, Fault},
};

use super::{ConsumerId, Dispatch, Leading, outcomes::after, push_granted, work::Work};
use crate::fold::{
    Queue, ShardState, Stream,
    message::{HELD, Place, next_attempt},
};

/// Messages granted by one call, at most about.
const GRANTS_PER_CALL_MAX: u64 = 65_536;

/// Messages to grant, all with the same attempt.
type Candidates = (Range<u64>, Attempt);

impl Leading {
    /// Gives messages to consumers that have credit: returned ones that are ready, then delayed ones that are
    /// due, then untouched ones by offset. Only messages are granted that are ready in the committed state too,
    /// so that a lease never rests on an entry that may yet vanish. Consumers that hold least are served first.
    ///
    /// The leases hold at once and are logged by [`Leading::lazy`]. Call [`Leading::on_time`] with the same time
    /// before: a queue with messages that outlived their time grants nothing until they are dealt with. One call
    /// grants some 65,000 messages; if there is more to give, [`Leading::next_wake`] is not after `now`.
    pub fn dispatch(&mut self, committed: &ShardState, now: LogTime) -> Vec<Dispatch> {
        self.looked = self.looked.max(now);
        let orphans = std::mem::take(&mut self.orphans);
        let mut dispatches: Vec<_> = orphans
            .into_iter()
            .map(|(stream, consumer)| Dispatch { consumer, stream, grants: Vec::new(), done: true })
            .collect();
        let woken = self.wakes.iter().take_while(|(wake, _)| *wake <= now).map(|&(_, id)| id);
        let mut streams = self.active.clone();
        streams.extend(woken);
        // Where the budget does not reach every queue, the next call goes on behind the last one served.
        let first = self.resume.take().unwrap_or(StreamId::ZERO);
        let in_turn = streams.range(first..).chain(streams.range(..first));
        let mut budget = GRANTS_PER_CALL_MAX;
        for &id in in_turn {
            if budget == 0 {
                self.resume = Some(id);
                break;
            }
            let given = self.dispatch_stream(id, committed, now, &mut budget);
            dispatches.extend(given);
            self.refresh(id);
        }
        if budget == 0 && self.resume.is_none() {
            self.resume = self.active.first().copied();
        }
        dispatches
    }

    fn dispatch_stream(
        &mut self,
        id: StreamId,
        committed: &ShardState,
        now: LogTime,
        budget: &mut u64,
    ) -> Vec<Dispatch> {
        let epoch = self.epoch;
        self.active.remove(&id);
        let (Some(stream), Some(work)) = (self.state.stream_mut(id), self.work.get_mut(&id)) else {
            return Vec::new();
        };
        let Some(committed) = committed.stream(id) else { return Vec::new() };
        let Some(settings) = stream.open.settings.queue() else { return Vec::new() };
        let lease_millis = settings.ack_timeout_millis;
        let Some(queue) = stream.queue() else { return Vec::new() };
        if work.expiry_due(queue, now) {
            return Vec::new();
        }
        let wanted = work.consumers.demand().min(*budget);
        let candidates = collect(work, stream, committed, now, wanted);
        *budget -= candidates.iter().map(|(run, _)| run.end - run.start).sum::<u64>();
        if !candidates.is_empty() {
            self.changes.note(id);
        }
        let dispatches = hand_out(work, stream, candidates, Terms { id, epoch, now, lease_millis });
        work.unlogged_grants.iter().next().map(|_| self.unlogged.insert(id));
        dispatches
    }
}

/// Up to `wanted` messages that may be granted, in the order in which they should be.
fn collect(
    work: &mut Work,
    stream: &Stream,
    committed: &Stream,
    now: LogTime,
    wanted: u64,
) -> Vec<Candidates> {
    let mut candidates = Vec::new();
    let (Some(queue), Some(committed_queue)) = (stream.queue(), committed.queue()) else { return candidates };
    if queue.base() != committed_queue.base() {
        // A shared group begins again, and that may yet vanish with all that it made ready.
        return candidates;
    }
    let first_attempt = next_attempt(queue.base());
    let mut left = wanted;
    admit_committed(work, queue, committed_queue);
    while left > 0 {
        let Some(&(ready_at, offset)) = work.returned.first() else { break };
        if ready_at > now {
            break;
        }
        work.returned.pop_first();
        let place = queue.place(offset);
        let Place::Touched(message) = place else { continue };
        if !is_ready(work, stream, &place, (ready_at, offset), now) {
            continue;
        }
        if !is_committed(committed_queue, offset, &place) {
            work.uncommitted.push_back(offset);
            continue;
        }
        candidates.push((offset..offset + 1, next_attempt(message.lease)));
        left -= 1;
    }
    let end = if planted::is(Fault::GrantUncommittedMessage) { stream.end().0 } else { committed.end().0 };
    let now = if planted::is(Fault::GrantDelayedEarly) { after(now, 1_000) } else { now };
    let due = queue.scheduled().until(now).map(|run| run.start..run.end.min(end));
    let fresh = queue.fresh().iter_within(0..end);
    for run in due.chain(fresh) {
        if left == 0 {
            break;
        }
        for part in work.parked.gaps_within(run) {
            let part = part.start..part.end.min(part.start.saturating_add(left));
            left -= part.end - part.start;
            candidates.push((part, first_attempt));
            if left == 0 {
                break;
            }
        }
    }
    candidates
}

/// Lines up returned messages whose release is committed by now.
fn admit_committed(work: &mut Work, queue: &Queue, committed: &Queue) {
    while let Some(&offset) = work.uncommitted.front() {
        let place = queue.place(offset);
        if let Some(ready_at) = place.ready_at() {
            if !is_committed(committed, offset, &place) {
                return;
            }
            let ready_at = if ready_at == HELD { LogTime(i64::MIN) } else { ready_at };
            work.returned.insert((ready_at, offset));
        }
        work.uncommitted.pop_front();
    }
}

/// Whether the returned message is still to be granted, now.
fn is_ready(work: &Work, stream: &Stream, place: &Place, listed: (LogTime, u64), now: LogTime) -> bool {
    let Some(settings) = stream.open.settings.queue() else { return false };
    let ready_at = match place.ready_at() {
        Some(HELD) if settings.dead_letter.is_none() => LogTime(i64::MIN),
        Some(ready_at) => ready_at,
        None => return false,
    };
    // One that was listed at another time has been granted since, and is listed anew.
    ready_at == listed.0 && ready_at <= now && !work.parked.contains(listed.1)
}

/// Whether what made the message as it is here is committed.
fn is_committed(committed: &Queue, offset: u64, place: &Place) -> bool {
    let there = committed.place(offset);
    planted::is(Fault::GrantBeforeReleaseCommits)
        || (there.ready_at().is_some() && there.last_lease() == place.last_lease())
}

/// What the leases of one stream have in common.
#[derive(Clone, Copy)]
struct Terms {
    id: StreamId,
    epoch: Epoch,
    now: LogTime,
    lease_millis: u64,
}

/// Gives the candidates to the consumers.
fn hand_out(
    work: &mut Work,
    stream: &mut Stream,
    candidates: Vec<Candidates>,
    terms: Terms,
) -> Vec<Dispatch> {
    let mut dispatches: Vec<Dispatch> = Vec::new();
    let mut available: u64 = candidates.iter().map(|(run, _)| run.end - run.start).sum();
    let mut share: Option<(ConsumerId, LogTime, u64)> = None;
    let Some((queue, counters)) = stream.queue_mut() else { return dispatches };
    for (mut run, attempt) in candidates {
        while !run.is_empty() {
            let (id, deadline, left) = match share {
                Some(share) if share.2 > 0 => share,
                _ => {
                    let Some((id, consumer, share)) = work.consumers.next(available) else { break };
                    let millis = consumer.lease_millis.unwrap_or(terms.lease_millis);
                    (id, after(terms.now, millis.max(limits::LEASE_MILLIS_MIN)), share)
                }
            };
            let end = run.end.min(run.start + left);
            let count = end - run.start;
            let lease = Lease { epoch: terms.epoch, attempt };
            for offset in run.start..end {
                let granted = queue.lease(offset, lease, deadline, counters);
                granted.expect("candidates are ready to be granted");
            }
            work.unlogged_grants.insert(run.start..end);
            work.highest = work.highest.max(attempt);
            work.consumers.give(id, run.start..end);
            let granted = Granted { first: Offset(run.start), count: count as u32, attempt, deadline };
            push_grant(&mut dispatches, terms.id, id, granted);
            available -= count;
            share = Some((id, deadline, left - count));
            run.start = end;
        }
    }
    for dispatch in &mut dispatches {
        if work.consumers.is_once(dispatch.consumer) {
            work.consumers.detach(dispatch.consumer);
            dispatch.done = true;
        }
    }
    dispatches
}

fn push_grant(dispatches: &mut Vec<Dispatch>, stream: StreamId, consumer: ConsumerId, granted: Granted) {
    let index = dispatches.iter().rposition(|dispatch| dispatch.consumer == consumer);
    let index = index.unwrap_or_else(|| {
        dispatches.push(Dispatch { consumer, stream, grants: Vec::new(), done: false });
        dispatches.len() - 1
    });
    push_granted(&mut dispatches[index].grants, granted);
}
