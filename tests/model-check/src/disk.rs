//! A replica's disk: what is on it for good, and what a crash may leave of the rest.

use pondage_model::{Body, Entry, Epoch, LogTime, Position, RawEntry, StreamId};
use pondage_replication::{EpochTable, RecoveredLog};

/// An entry as the checker sees it: its place, the epoch that wrote it, and what it says. Appends are told apart by
/// their stream, which replication does not look at.
pub type Stored = (Position, Epoch, StreamId);

/// An operation that has not returned yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// These entries are being written.
    Write(Vec<Stored>),
    /// The log is being cut here.
    Truncate(Position),
}

/// What a crash makes of what was under way. A log is recovered up to its first hole, so whatever subset of a batch
/// reached the disk, a beginning of it survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wreck {
    /// Entries of the batch that survive; for a truncation, 1 if it was done.
    pub kept: usize,
    /// Whether the promise survives.
    pub promised: bool,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Disk {
    /// What is durable.
    pub log: Vec<Stored>,
    /// The newest epoch that is durably promised.
    pub promised: Epoch,
    /// The write or truncation under way.
    pub operation: Option<Operation>,
    /// The promise under way.
    pub persisting: Option<Epoch>,
}

impl Disk {
    /// A write begins. A shell that said "durable" too early may have one under way already.
    ///
    /// # Panics
    /// On a hole: nothing is reclaimed here.
    pub fn write(&mut self, entries: &[RawEntry]) {
        let stored = entries.iter().map(|entry| (entry.position, entry.epoch, entry.stream));
        match &mut self.operation {
            Some(Operation::Write(batch)) => batch.extend(stored),
            Some(Operation::Truncate(_)) => panic!("a write beside a truncation"),
            None => self.operation = Some(Operation::Write(stored.collect())),
        }
    }

    /// The operation under way returns.
    pub fn complete(&mut self) -> Option<Operation> {
        let operation = self.operation.take()?;
        match &operation {
            Operation::Write(batch) => self.append(batch),
            Operation::Truncate(to) => self.log.truncate(to.0 as usize),
        }
        Some(operation)
    }

    fn append(&mut self, batch: &[Stored]) {
        for entry in batch {
            assert!(entry.0.0 as usize == self.log.len(), "{entry:?} behind {:?}", self.log);
            self.log.push(*entry);
        }
    }

    /// Every way in which a crash may end what is under way.
    pub fn wrecks(&self) -> impl Iterator<Item = Wreck> + use<> {
        let ways = match &self.operation {
            Some(Operation::Write(batch)) => batch.len(),
            Some(Operation::Truncate(_)) => 1,
            None => 0,
        };
        let promises = if self.persisting.is_some() { [true, false].as_slice() } else { &[false] };
        (0..=ways).flat_map(|kept| promises.iter().map(move |&promised| Wreck { kept, promised }))
    }

    /// A crash.
    pub fn crash(&mut self, wreck: Wreck) {
        match self.operation.take() {
            Some(Operation::Write(batch)) => self.append(&batch[..wreck.kept]),
            Some(Operation::Truncate(to)) if wreck.kept > 0 => self.log.truncate(to.0 as usize),
            _ => {}
        }
        if let Some(epoch) = self.persisting.take().filter(|_| wreck.promised) {
            self.promised = self.promised.max(epoch);
        }
    }

    /// What a start finds.
    pub fn recover(&self) -> RecoveredLog {
        let mut starts: Vec<(Epoch, Position)> = Vec::new();
        for &(position, epoch, _) in &self.log {
            if starts.last().is_none_or(|(last, _)| *last < epoch) {
                starts.push((epoch, position));
            }
        }
        let end = Position(self.log.len() as u64);
        RecoveredLog { end, epochs: EpochTable::new(starts), promised: self.promised }
    }

    /// What is durable from a position on.
    pub fn read(&self, from: Position) -> Vec<RawEntry> {
        let entries = self.log.iter().skip(from.0 as usize);
        let encode = |&(position, epoch, stream): &Stored| {
            Entry { position, epoch, stream, log_time: LogTime(0), body: Body::EpochStart }.encode()
        };
        entries.map(encode).collect()
    }
}
