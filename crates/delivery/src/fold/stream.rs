//! One stream of a shard: a queue, a partition of a topic, or what stands beside one: a shared group, a group's home.

use std::collections::BTreeMap;

use pondage_model::{
    Body, Entry, Lease, LogTime, MoveSeq, Offset, StreamId,
    entry::{Open, Publish},
    settings::StreamSettings,
};

use super::{
    ages::Ages,
    counters::Counters,
    home::Home,
    producers::Producers,
    queue::{Queue, offsets},
    topic::Topic,
};

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Competing consumers with leases: of a queue, or of a shared group in one partition.
    Queue(Box<Queue>),
    /// A log with cursors.
    Topic(Topic),
    /// The membership of a consumer group.
    Home(Home),
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

impl Stream {
    pub(super) fn new(open: Open, opened_at: LogTime) -> Self {
        let kind = match open.settings {
            StreamSettings::Queue(_) | StreamSettings::Share(_) => {
                let mut queue = Box::<Queue>::default();
                queue.advance(opened_at);
                Kind::Queue(queue)
            }
            StreamSettings::Topic(_) => Kind::Topic(Topic::default()),
            StreamSettings::Home(_) => Kind::Home(Home::default()),
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
            Kind::Home(_) => self.end,
        }
    }

    /// The offset below which no message is read any more: storage may drop what lies below.
    #[must_use]
    pub fn needed_from(&self) -> Offset {
        self.start()
    }

    /// Queue (a shared group's messages too), topic or home.
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

    /// The messages under leases, if it is a queue or a shared group.
    #[must_use]
    pub fn queue(&self) -> Option<&Queue> {
        if let Kind::Queue(queue) = &self.kind { Some(queue) } else { None }
    }

    /// The partition whose messages these are, if it is a shared group.
    #[must_use]
    pub fn reads(&self) -> Option<StreamId> {
        self.open.settings.reads()
    }

    /// Whether it is a shared group that has not begun to read: nothing is delivered before.
    #[must_use]
    pub fn is_to_begin(&self) -> bool {
        self.reads().is_some() && self.queue().is_some_and(|queue| queue.base() == Lease::default())
    }

    /// The cursors, if it is a topic's partition.
    #[must_use]
    pub fn topic(&self) -> Option<&Topic> {
        if let Kind::Topic(topic) = &self.kind { Some(topic) } else { None }
    }

    /// The membership, if it is a consumer group's home.
    #[must_use]
    pub fn home(&self) -> Option<&Home> {
        if let Kind::Home(home) = &self.kind { Some(home) } else { None }
    }

    /// Messages that nobody is done with: a queue's unsettled ones, all that a topic keeps.
    #[must_use]
    pub fn messages(&self) -> u64 {
        match &self.kind {
            Kind::Queue(queue) => queue.len(),
            Kind::Topic(topic) => self.end.0 - topic.start().0,
            Kind::Home(_) => 0,
        }
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
                Kind::Queue(queue) => match body {
                    Body::Restart(restart) if self.open.settings.reads().is_some() => {
                        queue.restart(restart, self.end.0)?;
                        queue.advance(self.clock);
                    }
                    body => apply_to_queue(queue, entry, body, &mut self.counters)?,
                },
                Kind::Topic(topic) => apply_to_topic(topic, body, self.end)?,
                Kind::Home(home) => match body {
                    Body::Membership(membership) => {
                        let StreamSettings::Home(settings) = &self.open.settings else {
                            return Err("a group with other settings than a group's");
                        };
                        home.apply(membership, time, settings.session_timeout_millis)?;
                    }
                    _ => return Err("an entry that groups do not have"),
                },
            },
        }
        self.ages.forget_below(self.start());
        Ok(())
    }

    fn change(&mut self, settings: &StreamSettings) -> Result<(), &'static str> {
        if std::mem::discriminant(settings) != std::mem::discriminant(&self.open.settings) {
            return Err("settings of another kind than the stream's");
        }
        if settings.reads() != self.open.settings.reads() {
            return Err("a shared group reads the same partition for life");
        }
        self.open.settings = settings.clone();
        Ok(())
    }

    fn publish(&mut self, publish: &Publish, time: LogTime) -> Result<(), &'static str> {
        if publish.base_offset != self.end || publish.count == 0 {
            return Err("a publish continues its stream and has messages");
        }
        if matches!(self.kind, Kind::Home(_)) || self.reads().is_some() {
            return Err("messages for a group");
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

    /// A shared group is opened in `partition`, or begins to read there: what is known of its messages is known here.
    pub(super) fn attend(&mut self, partition: &Self) {
        self.end = partition.end;
        self.ages = partition.ages.clone();
        self.ages.forget_below(self.start());
    }

    /// Messages were appended to the partition that a shared group reads.
    pub(super) fn came(&mut self, count: u32, time: LogTime) {
        self.clock = self.clock.max(time);
        if let Kind::Queue(queue) = &mut self.kind {
            queue.advance(self.clock);
            // One that has not begun yet will take what it is to read from its begin on.
            if queue.base() != Lease::default() {
                queue.fresh.insert(offsets(self.end, count.into()));
            }
        }
        self.ages.record(self.end, time);
        self.end = self.end.plus(count.into());
        self.counters.published += u64::from(count);
        self.ages.forget_below(self.start());
    }

    /// Retention took the messages below `start` from the partition that a shared group reads.
    pub(super) fn went(&mut self, start: Offset, time: LogTime) {
        self.clock = self.clock.max(time);
        if let Kind::Queue(queue) = &mut self.kind {
            queue.advance(self.clock);
            queue.trim(start.0, &mut self.counters);
        }
        self.ages.forget_below(self.start());
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
