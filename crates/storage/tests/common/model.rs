//! A log as it must be, and what a leader sends to it.

use pondage_model::{Epoch, LogTime, Position, RawEntry};
use pondage_storage::{Disk, Faults, HostileDisk, Opened};

use super::{Maker, check_entries, open};

pub(crate) type Epochs = Vec<(Epoch, Position)>;

/// What a leader sends: the epochs whose entries are gone, and entries with gaps.
pub(crate) struct Source {
    pub(crate) maker: Maker,
    pub(crate) gaps: bool,
}

impl Source {
    pub(crate) fn new(seed: u64, gaps: bool) -> Self {
        Self { maker: Maker::new(seed), gaps }
    }

    pub(crate) fn batch(&mut self, entries_max: u64) -> (Epochs, Vec<RawEntry>) {
        let maker = &mut self.maker;
        let mut learnt = Vec::new();
        let count = 1 + maker.chance.below(entries_max);
        let entries = (0..count)
            .map(|_| {
                if self.gaps && maker.chance.below(20) == 0 {
                    for _ in 0..=maker.chance.below(3) {
                        maker.epoch = maker.epoch.next();
                        learnt.push((maker.epoch, maker.next));
                        maker.next = Position(maker.next.0 + 1 + maker.chance.below(5));
                    }
                }
                if self.gaps && maker.chance.below(4) == 0 {
                    maker.next = Position(maker.next.0 + maker.chance.below(20));
                }
                maker.entry()
            })
            .collect();
        (learnt, entries)
    }
}

/// The log as it must be.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) entries: Vec<RawEntry>,
    pub(crate) epochs: Epochs,
}

impl Model {
    pub(crate) fn append(&mut self, learnt: &[(Epoch, Position)], entries: &[RawEntry]) {
        let mut learnt = learnt.iter().copied().peekable();
        for entry in entries {
            while let Some(epoch) = learnt.next_if(|(_, start)| *start < entry.position) {
                self.epochs.push(epoch);
            }
            if self.epochs.last().is_none_or(|(epoch, _)| *epoch < entry.epoch) {
                self.epochs.push((entry.epoch, entry.position));
            }
        }
        self.entries.extend_from_slice(entries);
    }

    pub(crate) fn keep(&mut self, count: usize) {
        self.entries.truncate(count);
        let last = self.entries.last().map(|entry| entry.epoch);
        self.epochs.retain(|(epoch, _)| last.is_some_and(|last| *epoch <= last));
    }

    pub(crate) fn below(&self, position: Position) -> usize {
        self.entries.partition_point(|entry| entry.position < position)
    }

    pub(crate) fn end(&self) -> Position {
        self.entries.last().map_or(Position::ZERO, |entry| entry.position.next())
    }

    /// The entries that are there from `start` on.
    pub(crate) fn from(&self, start: Position) -> &[RawEntry] {
        &self.entries[self.below(start)..]
    }

    pub(crate) fn check<D: Disk>(&self, opened: &Opened<D>, what: &str) {
        let reader = &opened.reader;
        check_entries(opened, self.from(reader.start()));
        assert_eq!(reader.epochs(), self.epochs, "{what}");
        assert_eq!((reader.end(), opened.writer.end()), (self.end(), self.end()), "{what}");
        for step in 0..=20 {
            let position = Position((self.end().0 + 3) * step / 20);
            let last = self.epochs.iter().rev().find(|(_, start)| *start < position);
            assert_eq!(reader.epoch_at(position), last.map_or(Epoch::ZERO, |(epoch, _)| *epoch), "{what}");
        }
    }

    pub(crate) fn check_opened<D: Disk>(&self, opened: &Opened<D>, what: &str) {
        self.check(opened, what);
        assert_eq!(opened.epochs, self.epochs, "{what}");
        assert_eq!(opened.end, self.end(), "{what}");
        let last = self.entries.last();
        assert_eq!(opened.last_epoch, last.map_or(Epoch::ZERO, |entry| entry.epoch), "{what}");
        assert_eq!(opened.last_log_time, last.map_or(LogTime(i64::MIN), |entry| entry.log_time), "{what}");
    }

    /// Makes the source go on behind the log, as the next leader does; its log time may lie before what was cut.
    pub(crate) fn continue_with(&self, source: &mut Source, start: Position) {
        let last_epoch = self.entries.last().map_or(Epoch::ZERO, |entry| entry.epoch);
        source.maker.epoch = source.maker.epoch.max(last_epoch);
        source.maker.rewind_to(self.from(start));
        source.maker.next = self.end();
        if let Some(last) = self.entries.last() {
            source.maker.log_time = last.log_time;
        }
    }
}

/// Appends a batch of up to `entries_max` entries to the log and to its model.
pub(crate) fn append<D: Disk>(
    opened: &mut Opened<D>,
    model: &mut Model,
    source: &mut Source,
    entries_max: u64,
) {
    let (learnt, entries) = source.batch(entries_max);
    let synced = opened.writer.append(&learnt, &entries).expect("appends");
    model.append(&learnt, &entries);
    assert_eq!(synced.end(), model.end());
}

/// A disk with a log of at least so many entries.
pub(crate) fn recorded(seed: u64, gaps: bool, entries: usize) -> (HostileDisk, Model) {
    let disk = HostileDisk::new(seed, Faults::default());
    let mut opened = open(&disk);
    let (mut model, mut source) = (Model::default(), Source::new(seed, gaps));
    while model.entries.len() < entries {
        append(&mut opened, &mut model, &mut source, 6);
    }
    model.check(&opened, "as written");
    (disk, model)
}
