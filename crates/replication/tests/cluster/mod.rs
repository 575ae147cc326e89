//! What the tests of whole shards are made of: volumes in memory, brokers that can crash, and a catalog.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod catalog;

use std::collections::VecDeque;

use pondage_model::{
    Body, BrokerId, Epoch, Incarnation, LogTime, Member, Position, RawEntry, Refusal, ShardId, StreamId,
};
use pondage_replication::{Batch, Effect, EpochTable, Input, Now, RecoveredLog, Replica, Timing};

/// What survives a crash.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Volume {
    pub(crate) log: Vec<RawEntry>,
    pub(crate) end: Position,
    pub(crate) epochs: Vec<(Epoch, Position)>,
    pub(crate) promised: Epoch,
}

impl Volume {
    pub(crate) fn write(&mut self, batch: &Batch) {
        let mut starts = batch.epochs.iter().copied().peekable();
        for entry in &batch.entries {
            while let Some((epoch, start)) = starts.next_if(|(_, start)| *start < entry.position) {
                self.note(epoch, start);
            }
            assert!(entry.position >= self.end, "{entry:?} written before the end {:?}", self.end);
            self.note(entry.epoch, entry.position);
            self.end = entry.position.next();
            self.log.push(entry.clone());
        }
        assert!(starts.next().is_none(), "an epoch behind the batch: {batch:?}");
    }

    fn note(&mut self, epoch: Epoch, start: Position) {
        let last = self.epochs.last().copied();
        if last.is_none_or(|(known, _)| epoch > known) {
            assert!(last.is_none_or(|(_, known)| start > known), "{epoch} at {start:?} after {last:?}");
            self.epochs.push((epoch, start));
        }
    }

    pub(crate) fn truncate(&mut self, to: Position) {
        assert!(to < self.end, "a cut at {to:?} in a log that ends at {:?}", self.end);
        self.log.retain(|entry| entry.position < to);
        self.epochs.retain(|(_, start)| *start < to);
        self.end = to;
    }

    /// Surviving entries from a position on.
    pub(crate) fn read(&self, from: Position, bytes_max: usize) -> Vec<RawEntry> {
        let mut bytes = 0;
        let behind = self.log.iter().filter(|entry| entry.position >= from);
        behind
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += entry.weight_bytes();
                is_first || bytes <= bytes_max
            })
            .cloned()
            .collect()
    }

    pub(crate) fn at(&self, position: Position) -> Option<&RawEntry> {
        let index = self.log.binary_search_by_key(&position, |entry| entry.position).ok()?;
        self.log.get(index)
    }

    fn recovered(&self) -> RecoveredLog {
        RecoveredLog { end: self.end, epochs: EpochTable::new(self.epochs.clone()), promised: self.promised }
    }
}

/// What is on its way to a volume.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Write(Batch),
    Truncate(Position),
}

/// How much of what was on its way to the volume a crash leaves there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    /// Of a write, the first entries; of a truncation, all of it if not 0.
    pub(crate) entries: usize,
    pub(crate) promise: bool,
}

/// A broker with one volume and one replica.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) broker: BrokerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) volume: Volume,
    pub(crate) replica: Option<Replica>,
    pub(crate) operation: Option<Operation>,
    pub(crate) promise: Option<Epoch>,
    pub(crate) reads: VecDeque<(BrokerId, Position, usize)>,
}

impl Host {
    pub(crate) fn new(broker: BrokerId) -> Self {
        Self {
            broker,
            incarnation: Incarnation(0),
            volume: Volume::default(),
            replica: None,
            operation: None,
            promise: None,
            reads: VecDeque::new(),
        }
    }

    pub(crate) fn member(&self) -> Member {
        Member { broker: self.broker, incarnation: self.incarnation }
    }

    pub(crate) fn start(&mut self, timing: Timing) {
        assert!(self.replica.is_none(), "{:?} runs", self.broker);
        self.incarnation = self.incarnation.next();
        self.replica = Some(Replica::recovered(ShardId(1), self.member(), timing, self.volume.recovered()));
    }

    pub(crate) fn crash(&mut self, torn: Torn) {
        self.replica = None;
        self.reads.clear();
        match self.operation.take() {
            Some(Operation::Write(mut batch)) => {
                batch.entries.truncate(torn.entries);
                let end = batch.entries.last().map_or(Position::ZERO, |last| last.position.next());
                batch.epochs.retain(|(_, start)| *start < end);
                self.volume.write(&batch);
            }
            Some(Operation::Truncate(to)) if torn.entries > 0 => self.volume.truncate(to),
            Some(Operation::Truncate(_)) | None => {}
        }
        if let Some(epoch) = self.promise.take()
            && torn.promise
        {
            self.volume.promised = self.volume.promised.max(epoch);
        }
    }

    /// One input and everything that follows from it; what concerns the own volume is kept here.
    pub(crate) fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let Some(replica) = &mut self.replica else { return Vec::new() };
        let mut effects = Vec::new();
        replica.step(now, input, &mut effects);
        replica.flush(now, &mut effects);
        self.keep(&effects);
        effects
    }

    /// Appends at a leader, as one batch.
    ///
    /// # Errors
    /// What [`Replica::check_leader`] says.
    pub(crate) fn append(&mut self, now: Now, payloads: &[String]) -> Result<Vec<Effect>, Refusal> {
        let Some(replica) = &mut self.replica else { return Ok(Vec::new()) };
        replica.check_leader()?;
        for payload in payloads {
            replica.append(now.log_time, StreamId(1), Body::Command(payload.clone().into()));
        }
        let mut effects = Vec::new();
        replica.flush(now, &mut effects);
        self.keep(&effects);
        Ok(effects)
    }

    pub(crate) fn flush(&mut self, now: Now) -> Vec<Effect> {
        let Some(replica) = &mut self.replica else { return Vec::new() };
        let mut effects = Vec::new();
        replica.flush(now, &mut effects);
        self.keep(&effects);
        effects
    }

    fn keep(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Write(batch) => {
                    assert!(self.operation.is_none(), "two operations under way");
                    self.operation = Some(Operation::Write(batch.clone()));
                }
                Effect::Truncate(to) => {
                    assert!(self.operation.is_none(), "two operations under way");
                    self.operation = Some(Operation::Truncate(*to));
                }
                Effect::Persist(epoch) => {
                    assert!(self.promise.replace(*epoch).is_none(), "two promises under way");
                }
                Effect::Read { to, from, bytes_max } => self.reads.push_back((*to, *from, *bytes_max)),
                _ => {}
            }
        }
    }

    /// The operation under way is done.
    pub(crate) fn operated(&mut self) -> Option<Input> {
        Some(match self.operation.take()? {
            Operation::Write(batch) => {
                self.volume.write(&batch);
                Input::Durable(self.volume.end)
            }
            Operation::Truncate(to) => {
                self.volume.truncate(to);
                Input::Truncated(to)
            }
        })
    }

    /// The promise under way is durable.
    pub(crate) fn promised(&mut self) -> Option<Input> {
        let epoch = self.promise.take()?;
        self.volume.promised = self.volume.promised.max(epoch);
        Some(Input::Persisted(epoch))
    }

    /// The oldest read is done.
    pub(crate) fn read(&mut self) -> Option<Input> {
        let (to, from, bytes_max) = self.reads.pop_front()?;
        Some(Input::Read { to, from, entries: self.volume.read(from, bytes_max) })
    }
}

pub(crate) fn now(millis: u64) -> Now {
    Now { monotonic_millis: millis, log_time: LogTime(millis as i64) }
}
