//! What a leader holds about one stream beside the fold.

use std::collections::{BTreeSet, VecDeque};

use pondage_model::{Attempt, LogTime, ShardId, StreamId, limits};

use super::{consumers::Consumers, home::Attendance, outcomes::Policy};
use crate::{
    fold::{Queue, Stream, message::HELD},
    ranges::RangeSet,
};

/// A leader's own knowledge of one stream; rebuilt from the fold by the next leader.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work {
    /// Where dead letters go, once the catalog knows.
    pub(super) target: Option<(ShardId, StreamId)>,
    pub(super) consumers: Consumers,
    /// Of a group's home: who is connected.
    pub(super) attendance: Attendance,
    /// Messages whose current lease the log does not know.
    pub(super) unlogged_grants: RangeSet,
    /// Messages whose current lease the log knows with an older deadline.
    pub(super) unlogged_renewals: RangeSet,
    /// Returned messages by when they are ready. May name messages that are so no more; they are checked when
    /// their turn comes.
    pub(super) returned: BTreeSet<(LogTime, u64)>,
    /// Returned messages whose release was not committed when it was looked at, about in the order of the log.
    pub(super) uncommitted: VecDeque<u64>,
    /// Up to which (time, offset) times to live were looked at.
    pub(super) expired_until: (LogTime, u64),
    /// Messages that came back after their time to live had been looked at.
    pub(super) expiry_rechecks: BTreeSet<(LogTime, u64)>,
    /// Messages that outlived their time, or were rejected, and wait for a dead-letter queue: not granted
    /// meanwhile. May name messages that are settled.
    pub(super) parked: RangeSet,
    /// The greatest attempt that was given in this term.
    pub(super) highest: Attempt,
    /// The wake that is noted for this stream.
    pub(super) wake: Option<LogTime>,
}

impl Work {
    pub(super) fn new(stream: &Stream) -> Self {
        let mut work = Self {
            target: None,
            consumers: Consumers::default(),
            attendance: Attendance::default(),
            unlogged_grants: RangeSet::default(),
            unlogged_renewals: RangeSet::default(),
            returned: BTreeSet::new(),
            uncommitted: VecDeque::new(),
            expired_until: (LogTime(i64::MIN), 0),
            expiry_rechecks: BTreeSet::new(),
            parked: RangeSet::default(),
            highest: Attempt::default(),
            wake: None,
        };
        work.take_settings(stream);
        work
    }

    /// Takes over what settings decide. Costs a walk over the messages that were returned.
    pub(super) fn take_settings(&mut self, stream: &Stream) {
        let (Some(settings), Some(queue)) = (stream.open.settings.queue(), stream.queue()) else { return };
        self.consumers.set_held_max(settings.in_flight_per_consumer_max);
        self.uncommitted.clear();
        self.returned.clear();
        for (ready_at, offset) in queue.waiting_messages() {
            if ready_at != HELD {
                self.returned.insert((ready_at, offset));
            } else if settings.dead_letter.is_none() {
                // There is no dead-letter queue to wait for any more: what failed is tried again, what was
                // rejected is dropped.
                if queue.is_rejected(offset) {
                    self.parked.insert(offset..offset + 1);
                } else {
                    self.returned.insert((LogTime(i64::MIN), offset));
                    let recheck = queue.expiry().get(offset).map(|expires| (expires, offset));
                    self.expiry_rechecks.extend(recheck);
                }
            }
        }
    }

    /// A shared group begins to read, or again: nothing that was listed is as it was.
    pub(super) fn restart(&mut self) {
        self.returned.clear();
        self.uncommitted.clear();
        self.expired_until = (LogTime(i64::MIN), 0);
        self.expiry_rechecks.clear();
        self.parked = RangeSet::default();
    }

    /// Whether messages wait for a dead-letter queue that could go now, or need not wait any more.
    pub(super) fn may_leave(&self, queue: &Queue, policy: Policy<'_>) -> bool {
        let (wanted, known) = (policy.settings.dead_letter.is_some(), policy.target.is_some());
        (wanted && known && queue.waiting().has_time(HELD)) || (!self.parked.is_empty() && (known || !wanted))
    }

    /// Whether a consumer wants messages and some may be there for it, now or once they are committed.
    pub(super) fn may_dispatch(&self, stream: &Stream, now: LogTime) -> bool {
        let Some(queue) = stream.queue() else { return false };
        self.consumers.demand() > 0
            && (!queue.fresh().is_empty()
                || !self.uncommitted.is_empty()
                || queue.scheduled().first_time().is_some_and(|due| due <= now)
                || self.returned.first().is_some_and(|&(ready_at, _)| ready_at <= now))
    }

    /// Whether messages outlived their time by `now` that [`super::Leading::on_time`] has not looked at.
    pub(super) fn expiry_due(&self, queue: &Queue, now: LogTime) -> bool {
        self.next_expiry(queue).is_some_and(|time| time <= now)
    }

    fn next_expiry(&self, queue: &Queue) -> Option<LogTime> {
        let run = queue.expiry().at_or_after(self.expired_until).map(|(_, time)| time);
        let recheck = self.expiry_rechecks.first().map(|&(time, _)| time);
        [run, recheck].into_iter().flatten().min()
    }

    /// When this stream needs [`super::Leading::on_time`] or [`super::Leading::dispatch`] next. `looked` is when
    /// the leader dispatched last.
    pub(super) fn next_wake(&self, stream: &Stream, looked: LogTime) -> Option<LogTime> {
        let idle =
            stream.producers().idlest().map(|(used, _)| used.plus_millis(limits::PRODUCER_IDLE_MILLIS_MAX));
        let Some(queue) = stream.queue() else {
            return [idle, self.attendance.next_wake()].into_iter().flatten().min();
        };
        let mut wakes = [idle, queue.leased().first_time(), self.next_expiry(queue), None, None, None];
        if self.consumers.demand() > 0 {
            wakes[3] = self.returned.first().map(|&(ready_at, _)| ready_at);
            wakes[4] = queue.scheduled().first_time_after(looked);
        }
        if let Some(settings) = stream.open.settings.queue()
            && self.may_leave(queue, Policy { settings, target: self.target })
        {
            wakes[5] = Some(looked);
        }
        wakes.into_iter().flatten().min()
    }
}
