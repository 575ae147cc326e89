//! How a stream stands: what a scaler, a dashboard and a person ask.

use pondage_model::{GroupEpoch, LogTime, Name, Offset};

use super::{
    message::HELD,
    queue::Queue,
    stream::{Kind, Stream},
};

/// How a stream stands at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Messages of a queue that a consumer could get now.
    pub ready: u64,
    /// Messages under a lease.
    pub unacked: u64,
    /// Messages that wait for their time: published with a delay, or between two attempts.
    pub scheduled: u64,
    /// Messages on their way to the dead-letter queue.
    pub moving: u64,
    /// Messages that must go to a dead-letter queue that is not there.
    pub held: u64,
    /// Messages that a dead-letter queue took over, ever.
    pub dead_lettered: u64,
    /// About how long the oldest message waits that is not settled and not delayed, in milliseconds.
    pub oldest_age_millis: Option<u64>,
    /// The first message that may still be read.
    pub start: Offset,
    /// The next message's offset.
    pub end: Offset,
    /// The cursors of a topic's partition.
    pub groups: Vec<GroupStats>,
}

impl StreamStats {
    /// Messages of a queue that are not settled.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.ready + self.unacked + self.scheduled + self.moving + self.held
    }
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStats {
    /// The group.
    pub group: Name,
    /// Its owner's epoch.
    pub epoch: GroupEpoch,
    /// The next message to read.
    pub offset: Offset,
    /// Messages not yet committed.
    pub lag: u64,
    /// About how long the first of them waits, in milliseconds.
    pub oldest_age_millis: Option<u64>,
}

/// Touched messages that the age of a queue is taken over.
const AGED_MESSAGES_MAX: usize = 128;

impl Stream {
    /// How it stands at `now`.
    #[must_use]
    pub fn stats(&self, now: LogTime) -> StreamStats {
        let mut stats = StreamStats { start: self.start(), end: self.end, ..StreamStats::default() };
        stats.dead_lettered = self.counters.dead_lettered_in_all();
        match &self.kind {
            Kind::Queue(queue) => self.count_queue(queue, now, &mut stats),
            Kind::Topic(topic) => {
                stats.oldest_age_millis = self.age(topic.start(), now);
                stats.groups = topic
                    .groups()
                    .map(|(name, group)| {
                        let first = group.offset.max(topic.start());
                        GroupStats {
                            group: name.clone(),
                            epoch: group.epoch,
                            offset: group.offset,
                            lag: self.end.0.saturating_sub(first.0),
                            oldest_age_millis: self.age(first, now),
                        }
                    })
                    .collect();
            }
            Kind::Home(_) => {}
        }
        stats
    }

    fn count_queue(&self, queue: &Queue, now: LogTime, stats: &mut StreamStats) {
        let just_before_held = LogTime(HELD.0 - 1);
        let now = now.min(just_before_held);
        let delayed = queue.scheduled.count_until(now);
        let returned = queue.waiting.count_until(now);
        stats.held = queue.waiting.len() - queue.waiting.count_until(just_before_held);
        stats.ready = queue.fresh.len() + delayed + returned;
        stats.scheduled = queue.scheduled.len() - delayed + queue.waiting.len() - returned - stats.held;
        stats.unacked = queue.leased.len();
        stats.moving = queue.moves.len() as u64;
        let fresh = queue.fresh.first().and_then(|first| self.age(Offset(first), now));
        let due = queue.scheduled.first_time().filter(|due| *due <= now).map(|due| now.millis_since(due));
        let touched = queue.touched.iter().take(AGED_MESSAGES_MAX).filter_map(|(&offset, message)| {
            message.due.map_or_else(|| self.age(Offset(offset), now), |due| Some(now.millis_since(due)))
        });
        stats.oldest_age_millis = [fresh, due].into_iter().flatten().chain(touched).max();
    }

    fn age(&self, offset: Offset, now: LogTime) -> Option<u64> {
        (offset < self.end).then(|| self.ages.of(offset)).flatten().map(|time| now.millis_since(time))
    }
}
