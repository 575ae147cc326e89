//! The outcomes of one decision about messages, and the few entries that say them.

use std::ops::Range;

use pondage_model::{
    Body, Lease, LogTime, Offset, ShardId, StreamId,
    entry::{Discard, DiscardCause, Discarded, LeaseRange, Move, MoveCause, ReleaseCause, Released},
    limits,
    settings::QueueSettings,
};

use super::request::Draft;
use crate::fold::{Queue, message::HELD};

/// Runs that one entry holds, so that no entry comes near the limit of a frame.
const RUNS_PER_ENTRY: usize = 65_536;

/// The time `millis` after `now`, for delays, leases and times to live: too long ones are shortened, and none is
/// mistaken for "held".
pub(super) fn after(now: LogTime, millis: u64) -> LogTime {
    now.plus_millis(millis.min(limits::DURATION_MILLIS_MAX)).min(LogTime(HELD.0 - 1))
}

/// How a queue treats messages that are not accepted: its settings and where its dead letters go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    pub(super) settings: &'a QueueSettings,
    /// The dead-letter queue, once the catalog knows where it is.
    pub(super) target: Option<(ShardId, StreamId)>,
}

/// What becomes of messages of one queue.
#[derive(Debug)]
pub(super) struct Outcomes<'a> {
    queue: &'a Queue,
    policy: Policy<'a>,
    now: LogTime,
    accepted: Vec<(u64, Lease)>,
    released: Vec<(u64, Lease, LogTime, ReleaseCause)>,
    rejected: Vec<(u64, Lease)>,
    discarded: Vec<Range<u64>>,
    dropped: Vec<Range<u64>>,
    moved: Vec<Move>,
}

impl<'a> Outcomes<'a> {
    pub(super) fn new(queue: &'a Queue, policy: Policy<'a>, now: LogTime) -> Self {
        Self {
            queue,
            policy,
            now,
            accepted: Vec::new(),
            released: Vec::new(),
            rejected: Vec::new(),
            discarded: Vec::new(),
            dropped: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Outcomes so far that take an entry's room each.
    pub(super) fn len(&self) -> usize {
        self.accepted.len()
            + self.released.len()
            + self.rejected.len()
            + self.discarded.len()
            + self.dropped.len()
            + self.moved.len()
    }

    pub(super) fn accept(&mut self, offset: u64, lease: Lease) {
        self.accepted.push((offset, lease));
    }

    /// The lease ended without a failed attempt.
    pub(super) fn give_back(&mut self, offset: u64, lease: Lease) {
        self.released.push((offset, lease, self.now, ReleaseCause::Returned));
    }

    /// The attempt failed: again later, or to the dead-letter queue after the last one.
    pub(super) fn fail(&mut self, offset: u64, lease: Lease, cause: ReleaseCause, delay_millis: Option<u64>) {
        let settings = self.policy.settings;
        let failures = self.queue.place(offset).failures().saturating_add(1);
        let last = settings.max_deliveries > 0 && failures >= settings.max_deliveries;
        if last && settings.dead_letter.is_some() {
            if self.policy.target.is_some() {
                self.dead_letter(offset, Some(lease), MoveCause::MaxDeliveries, failures);
            } else {
                self.released.push((offset, lease, HELD, cause));
            }
            return;
        }
        let wait = delay_millis.unwrap_or_else(|| settings.backoff.after_failures(failures));
        self.released.push((offset, lease, after(self.now, wait), cause));
    }

    /// The consumer wants the message never again.
    pub(super) fn reject(&mut self, offset: u64, lease: Lease) {
        if self.policy.settings.dead_letter.is_none() {
            self.rejected.push((offset, lease));
        } else if self.policy.target.is_some() {
            let failures = self.queue.place(offset).failures().saturating_add(1);
            self.dead_letter(offset, Some(lease), MoveCause::Rejected, failures);
        } else {
            self.released.push((offset, lease, HELD, ReleaseCause::Rejected));
        }
    }

    /// The time to live of idle messages passed. False if they must wait for a dead-letter queue.
    pub(super) fn expire(&mut self, offsets: Range<u64>) -> bool {
        if self.policy.settings.dead_letter.is_none() {
            self.discarded.push(offsets);
        } else if self.policy.target.is_some() {
            for offset in offsets {
                self.dead_letter(offset, None, MoveCause::Expired, self.queue.place(offset).failures());
            }
        } else {
            return false;
        }
        true
    }

    /// A message that was rejected while there was to be a dead-letter queue, and there is none now.
    pub(super) fn drop_rejected(&mut self, offset: u64) {
        self.dropped.push(offset..offset + 1);
    }

    /// Sends a message on its way; the target must be known.
    pub(super) fn dead_letter(&mut self, offset: u64, lease: Option<Lease>, cause: MoveCause, failures: u32) {
        let (target_shard, target) =
            self.policy.target.expect("a message moves only once its dead-letter queue is known");
        let seq = self.moved.last().map_or(self.queue.last_move(), |last: &Move| last.seq).next();
        let offset = Offset(offset);
        self.moved.push(Move { seq, offset, lease, cause, failures, target_shard, target });
    }

    /// The entries that say all this.
    pub(super) fn into_drafts(mut self, stream: StreamId) -> Vec<Draft> {
        let mut bodies = Vec::new();
        self.accepted.sort_unstable();
        bodies.extend(chunks(lease_ranges(&self.accepted), Body::Accept));
        bodies.extend(chunks(released_ranges(self.released), Body::Release));
        self.rejected.sort_unstable();
        let rejected = lease_ranges(&self.rejected)
            .into_iter()
            .map(|run| Discarded { first: run.first, count: run.count.into(), lease: Some(run.lease) })
            .collect();
        bodies
            .extend(chunks(rejected, |runs| Body::Discard(Discard { runs, cause: DiscardCause::Rejected })));
        bodies.extend(discards(self.dropped, DiscardCause::Rejected));
        bodies.extend(discards(self.discarded, DiscardCause::Expired));
        bodies.extend(self.moved.into_iter().map(Body::Move));
        bodies.into_iter().map(|body| Draft { stream, body }).collect()
    }
}

/// The entries that settle runs of messages that nobody holds.
pub(super) fn discards(runs: Vec<Range<u64>>, cause: DiscardCause) -> Vec<Body> {
    let runs = runs
        .into_iter()
        .map(|run| Discarded { first: Offset(run.start), count: run.end - run.start, lease: None })
        .collect();
    chunks(runs, |runs| Body::Discard(Discard { runs, cause }))
}

/// Sorted messages as runs with the same lease.
fn lease_ranges(items: &[(u64, Lease)]) -> Vec<LeaseRange> {
    let mut runs: Vec<LeaseRange> = Vec::new();
    for &(offset, lease) in items {
        match runs.last_mut() {
            Some(run) if run.lease == lease && run.first.0 + u64::from(run.count) == offset => run.count += 1,
            _ => runs.push(LeaseRange { first: Offset(offset), count: 1, lease }),
        }
    }
    runs
}

fn released_ranges(mut items: Vec<(u64, Lease, LogTime, ReleaseCause)>) -> Vec<Released> {
    items.sort_unstable_by_key(|item| item.0);
    let mut runs: Vec<Released> = Vec::new();
    for (offset, lease, ready_at, cause) in items {
        match runs.last_mut() {
            Some(run)
                if (run.leases.lease, run.ready_at, run.cause) == (lease, ready_at, cause)
                    && run.leases.first.0 + u64::from(run.leases.count) == offset =>
            {
                run.leases.count += 1;
            }
            _ => {
                let leases = LeaseRange { first: Offset(offset), count: 1, lease };
                runs.push(Released { leases, ready_at, cause });
            }
        }
    }
    runs
}

/// As many entries as the runs need.
pub(super) fn chunks<T: Clone>(runs: Vec<T>, body: impl Fn(Vec<T>) -> Body) -> Vec<Body> {
    if runs.is_empty() {
        Vec::new()
    } else if runs.len() <= RUNS_PER_ENTRY {
        vec![body(runs)]
    } else {
        runs.chunks(RUNS_PER_ENTRY).map(|chunk| body(chunk.to_vec())).collect()
    }
}
