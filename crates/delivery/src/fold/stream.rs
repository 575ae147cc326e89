//! One stream of a shard: a queue or a partition of a topic.

use std::collections::BTreeMap;

use bytes::Bytes;
use pondage_model::{
    Body, Entry, GroupEpoch, LogTime, MoveSeq, Name, Offset, StreamId,
    entry::{DiscardCause, MoveCause, Open, Publish, ReleaseCause},
    settings::StreamSettings,
    wire::{Malformed, Wire},
};

use super::{
    ages::Ages,
    producers::Producers,
    queue::{HELD, Queue},
    topic::Topic,
};

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Competing consumers with leases.
    Queue(Box<Queue>),
    /// A log with cursors.
    Topic(Topic),
}

/// What happened in a stream since it was opened; every replica counts the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages stored.
    pub published: u64,
    /// Leases given.
    pub granted: u64,
    /// Messages accepted.
    pub accepted: u64,
    dead_lettered: [u64; 3],
    discarded: [u64; 3],
    released: [u64; 5],
}

impl Counters {
    /// Messages that a dead-letter queue took over, by reason.
    #[must_use]
    pub fn dead_lettered(&self, cause: MoveCause) -> u64 {
        self.dead_lettered[cause as usize]
    }

    /// Messages settled without being consumed, by reason.
    #[must_use]
    pub fn discarded(&self, cause: DiscardCause) -> u64 {
        self.discarded[cause as usize]
    }

    /// Leases that ended with the message going back, by reason: all but `Returned` are failed attempts. A
    /// failed attempt that sent its message to the dead-letter queue is counted there.
    #[must_use]
    pub fn released(&self, cause: ReleaseCause) -> u64 {
        self.released[cause as usize]
    }

    pub(super) fn count_dead_letter(&mut self, cause: MoveCause) {
        self.dead_lettered[cause as usize] += 1;
    }

    pub(super) fn count_discard(&mut self, cause: DiscardCause, messages: u64) {
        self.discarded[cause as usize] += messages;
    }

    pub(super) fn count_release(&mut self, cause: ReleaseCause) {
        self.released[cause as usize] += 1;
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut u64> {
        [&mut self.published, &mut self.granted, &mut self.accepted]
            .into_iter()
            .chain(&mut self.dead_lettered)
            .chain(&mut self.discarded)
            .chain(&mut self.released)
    }
}

/// A stream as of some entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Name, partition and current settings.
    pub open: Open,
    pub(super) opened_at: LogTime,
    /// The greatest log time of its entries.
    pub(super) clock: LogTime,
    pub(super) end: Offset,
    pub(super) producers: Producers,
    /// The last move that arrived here from each stream, with the offset that it got.
    pub(super) moved_in: BTreeMap<StreamId, (MoveSeq, Offset)>,
    pub(super) counters: Counters,
    pub(super) ages: Ages,
    pub(super) kind: Kind,
}

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
    pub(super) fn new(open: Open, opened_at: LogTime) -> Self {
        let kind = match open.settings {
            StreamSettings::Queue(_) => {
                let mut queue = Box::<Queue>::default();
                queue.advance(opened_at);
                Kind::Queue(queue)
            }
            StreamSettings::Topic(_) => Kind::Topic(Topic::default()),
        };
        Self {
            open,
            opened_at,
            clock: opened_at,
            end: Offset::ZERO,
            producers: Producers::default(),
            moved_in: BTreeMap::new(),
            counters: Counters::default(),
            ages: Ages::default(),
            kind,
        }
    }

    /// When it was opened.
    #[must_use]
    pub fn opened_at(&self) -> LogTime {
        self.opened_at
    }

    /// The next message's offset.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The first message that may still be read: a topic's trim, a queue's first unsettled message.
    #[must_use]
    pub fn start(&self) -> Offset {
        match &self.kind {
            Kind::Queue(queue) => queue.first_unsettled().map_or(self.end, Offset),
            Kind::Topic(topic) => topic.start(),
        }
    }

    /// The offset below which no message is read any more: storage may drop what lies below.
    #[must_use]
    pub fn needed_from(&self) -> Offset {
        self.start()
    }

    /// Queue or topic.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Idempotent producer sessions that are remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.producers.len()
    }

    /// The last dead-letter move that arrived from `source`.
    #[must_use]
    pub fn moved_from(&self, source: StreamId) -> Option<MoveSeq> {
        self.moved_in.get(&source).map(|&(seq, _)| seq)
    }

    /// The messages, if it is a queue.
    #[must_use]
    pub fn queue(&self) -> Option<&Queue> {
        if let Kind::Queue(queue) = &self.kind { Some(queue) } else { None }
    }

    /// The cursors, if it is a topic's partition.
    #[must_use]
    pub fn topic(&self) -> Option<&Topic> {
        if let Kind::Topic(topic) = &self.kind { Some(topic) } else { None }
    }

    /// Messages that nobody is done with: a queue's unsettled ones, all that a topic keeps.
    #[must_use]
    pub fn messages(&self) -> u64 {
        match &self.kind {
            Kind::Queue(queue) => queue.len(),
            Kind::Topic(topic) => self.end.0 - topic.start().0,
        }
    }

    /// How it stands at `now`.
    #[must_use]
    pub fn stats(&self, now: LogTime) -> StreamStats {
        let mut stats = StreamStats { start: self.start(), end: self.end, ..StreamStats::default() };
        stats.dead_lettered = self.counters.dead_lettered.iter().sum();
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

    /// Folds an entry of this stream other than its open and close.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let time = entry.log_time;
        self.clock = self.clock.max(time);
        if let Kind::Queue(queue) = &mut self.kind {
            queue.advance(self.clock);
        }
        match &entry.body {
            Body::Settings(settings) => self.change(settings)?,
            Body::Publish(publish) => self.publish(publish, time)?,
            Body::ForgetProducers(ids) => ids.iter().for_each(|producer| self.producers.forget(*producer)),
            body => match &mut self.kind {
                Kind::Queue(queue) => apply_to_queue(queue, entry, body, &mut self.counters)?,
                Kind::Topic(topic) => apply_to_topic(topic, body, self.end)?,
            },
        }
        self.ages.forget_below(self.start());
        Ok(())
    }

    fn change(&mut self, settings: &StreamSettings) -> Result<(), &'static str> {
        if std::mem::discriminant(settings) != std::mem::discriminant(&self.open.settings) {
            return Err("settings of another kind than the stream's");
        }
        self.open.settings = settings.clone();
        Ok(())
    }

    fn publish(&mut self, publish: &Publish, time: LogTime) -> Result<(), &'static str> {
        if publish.base_offset != self.end || publish.count == 0 {
            return Err("a publish continues its stream and has messages");
        }
        if let Kind::Queue(queue) = &mut self.kind {
            queue.publish(self.end.0, publish.count, &publish.attributes.timing)?;
        }
        if let Some(stamp) = publish.attributes.producer {
            self.producers.record(stamp, publish.count, self.end, time);
        }
        if let Some(moved) = publish.attributes.moved {
            self.moved_in.insert(moved.source, (moved.seq, self.end));
        }
        self.ages.record(self.end, time);
        self.end = self.end.plus(publish.count.into());
        self.counters.published += u64::from(publish.count);
        Ok(())
    }

    pub(crate) fn producers(&self) -> &Producers {
        &self.producers
    }

    pub(crate) fn moved_in(&self, source: StreamId) -> Option<(MoveSeq, Offset)> {
        self.moved_in.get(&source).copied()
    }

    /// The queue to grant from, with its counters.
    pub(crate) fn queue_mut(&mut self) -> Option<(&mut Queue, &mut Counters)> {
        if let Kind::Queue(queue) = &mut self.kind { Some((queue, &mut self.counters)) } else { None }
    }

    pub(super) fn put_into(&self, out: &mut Vec<u8>) {
        self.open.put(out);
        self.opened_at.put(out);
        self.clock.put(out);
        self.end.put(out);
        self.producers.put(out);
        self.moved_in.put(out);
        let mut counters = self.counters;
        counters.numbers().for_each(|number| number.put(out));
        self.ages.samples().put(out);
        match &self.kind {
            Kind::Queue(queue) => queue.put_into(out),
            Kind::Topic(topic) => topic.put(out),
        }
    }

    pub(super) fn restore(input: &mut Bytes) -> Result<Self, Malformed> {
        let mut stream = Self::new(Wire::take(input)?, Wire::take(input)?);
        stream.clock = Wire::take(input)?;
        stream.end = Wire::take(input)?;
        stream.producers = Wire::take(input)?;
        stream.moved_in = Wire::take(input)?;
        for number in stream.counters.numbers() {
            *number = Wire::take(input)?;
        }
        stream.ages = Ages::from_samples(Wire::take(input)?)?;
        stream.kind = match &stream.kind {
            Kind::Queue(_) => Kind::Queue(Box::new(Queue::restore(input, stream.end.0, stream.clock)?)),
            Kind::Topic(_) => Kind::Topic(Wire::take(input)?),
        };
        if stream.start() > stream.end {
            return Err(Malformed("a stream that starts behind its end"));
        }
        Ok(stream)
    }
}

fn apply_to_queue(
    queue: &mut Queue,
    entry: &Entry,
    body: &Body,
    counters: &mut Counters,
) -> Result<(), &'static str> {
    let time = entry.log_time;
    match body {
        Body::Grant(runs) => runs.iter().try_for_each(|run| queue.grant(run, entry.epoch, counters)),
        Body::Renew(runs) => runs.iter().try_for_each(|run| queue.renew(&run.leases, run.deadline, counters)),
        Body::Accept(runs) => runs.iter().try_for_each(|run| queue.accept(run, time, counters)),
        Body::Release(runs) => runs.iter().try_for_each(|run| queue.release(run, time, counters)),
        Body::Discard(discard) => queue.discard(discard, time, counters),
        Body::Move(moved) => queue.begin_move(moved, time, counters),
        Body::Moved(seq) => queue.end_move(*seq, counters),
        _ => Err("an entry that queues do not have"),
    }
}

fn apply_to_topic(topic: &mut Topic, body: &Body, end: Offset) -> Result<(), &'static str> {
    match body {
        Body::Trim(start) => topic.trim(*start, end),
        Body::Claim(cursor) => topic.claim(cursor, end),
        Body::Commit(cursor) => topic.commit(cursor, end),
        Body::DropGroup(name) => {
            topic.drop_group(name);
            Ok(())
        }
        _ => Err("an entry that topics do not have"),
    }
}
