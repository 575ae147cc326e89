//! How a stream stands: what a scaler, a dashboard and a person ask.

use std::collections::BTreeMap;

use pondage_model::{AssignmentEpoch, GroupEpoch, LogTime, Name, Offset};

use super::{
    home::{Home, HomeCounters},
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
    /// Messages that left a queue, ever: accepted, discarded or taken over by a dead-letter queue.
    pub settled: u64,
    /// About how long the oldest message waits that is not settled and not delayed, in milliseconds.
    pub oldest_age_millis: Option<u64>,
    /// The first message that may still be read.
    pub start: Offset,
    /// The next message's offset.
    pub end: Offset,
    /// The cursors of a topic's partition.
    pub groups: Vec<GroupStats>,
    /// The members of a consumer group, of its home.
    pub membership: Option<Box<MembershipStats>>,
}

impl StreamStats {
    /// Messages of a queue that are not settled.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.ready + self.unacked + self.scheduled + self.moving + self.held
    }
}

/// Who reads for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipStats {
    /// The version of the assignment.
    pub epoch: AssignmentEpoch,
    /// How many members there are.
    pub members: u64,
    /// Partitions that a member owns.
    pub owned: u64,
    /// Of those, partitions whose owner is to let go of them.
    pub passing_on: u64,
    /// How many partitions each member owns, by what people know it by; members of one name are taken together.
    pub shares: BTreeMap<String, u64>,
    /// What happened so far.
    pub counters: HomeCounters,
}

impl From<&Home> for MembershipStats {
    fn from(home: &Home) -> Self {
        let mut stats = Self { epoch: home.epoch(), counters: *home.counters(), ..Self::default() };
        let mut names = BTreeMap::new();
        for (member, instance) in home.members() {
            stats.members += 1;
            stats.shares.entry(instance.to_owned()).or_default();
            names.insert(member, instance);
        }
        for (_, ownership) in home.partitions() {
            let Some(name) = ownership.owner.and_then(|owner| names.get(&owner.member)) else { continue };
            stats.owned += 1;
            stats.passing_on += u64::from(ownership.is_to_pass_on());
            if let Some(share) = stats.shares.get_mut(*name) {
                *share += 1;
            }
        }
        stats
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
    /// Messages that its owners committed, ever; moving the cursor by hand does not count.
    pub committed: u64,
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
        stats.settled = self.counters.settled_in_all();
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
                            committed: group.committed,
                            lag: self.end.0.saturating_sub(first.0),
                            oldest_age_millis: self.age(first, now),
                        }
                    })
                    .collect();
            }
            Kind::Home(home) => stats.membership = Some(Box::new(home.into())),
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
