//! Entries and logs for the tests.
#![allow(dead_code, reason = "each test binary uses its part")]

use bytes::Bytes;
use pondage_model::{EntryKind, Epoch, LogTime, Offset, Position, RawEntry, StreamId};
use pondage_storage::{Disk, LogOptions, Opened, disk::hostile::SplitMix, log};

pub(crate) mod model;

pub(crate) const FOLDER: &str = "shards/00000000";

/// Segments so small that every test rolls.
pub(crate) fn tiny() -> LogOptions {
    LogOptions {
        segment_bytes_min: 2 << 10,
        segment_bytes_max: 8 << 10,
        zero_ahead_bytes: 1 << 10,
        salt: 0x5eed,
        ..LogOptions::default()
    }
}

pub(crate) fn open<D: Disk>(disk: &D) -> Opened<D> {
    log::open(disk.clone(), FOLDER, tiny()).expect("the log opens")
}

/// A publish or a control entry of random size, as the next of `made`.
pub(crate) struct Maker {
    pub(crate) chance: SplitMix,
    pub(crate) next: Position,
    pub(crate) epoch: Epoch,
    pub(crate) log_time: LogTime,
    pub(crate) offsets: [u64; 3],
    pub(crate) body_bytes_max: u64,
}

impl Maker {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: SplitMix::new(seed),
            next: Position::ZERO,
            epoch: Epoch(1),
            log_time: LogTime(1_000),
            offsets: [0; 3],
            body_bytes_max: 600,
        }
    }

    pub(crate) fn entry(&mut self) -> RawEntry {
        let position = self.next;
        self.next = position.next();
        self.log_time = self.log_time.plus_millis(self.chance.below(3));
        if self.chance.below(40) == 0 {
            self.epoch = self.epoch.next();
        }
        let which = self.chance.below(3) as usize;
        let size = self.chance.below(self.body_bytes_max) as usize;
        let body: Vec<u8> = (0..size).map(|_| self.chance.any() as u8).collect();
        let publish = self.chance.below(3) > 0;
        let mut entry = RawEntry {
            position,
            epoch: self.epoch,
            stream: StreamId(which as u64 + 1),
            log_time: self.log_time,
            kind: if publish { EntryKind::Publish } else { EntryKind::Accept },
            base_offset: Offset::ZERO,
            count: 0,
            attributes: Bytes::new(),
            body: body.into(),
        };
        if publish {
            let count = 1 + self.chance.below(5);
            entry.base_offset = Offset(self.offsets[which]);
            entry.count = count as u32;
            entry.attributes = Bytes::from(vec![7; self.chance.below(20) as usize]);
            // Sometimes a gap, as after a refused batch.
            self.offsets[which] += count + self.chance.below(2);
        }
        entry
    }

    pub(crate) fn batch(&mut self, entries_max: u64) -> Vec<RawEntry> {
        let count = 1 + self.chance.below(entries_max);
        (0..count).map(|_| self.entry()).collect()
    }

    /// Goes on behind these entries, as a leader does after recovery: what else was made never happened.
    pub(crate) fn rewind_to(&mut self, entries: &[RawEntry]) {
        self.next = entries.last().map_or(Position::ZERO, |entry| entry.position.next());
        self.epoch = self.epoch.next();
        self.offsets = [0; 3];
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Publish) {
            self.offsets[entry.stream.0 as usize - 1] = entry.base_offset.0 + u64::from(entry.count);
        }
    }
}

/// Writes and syncs one batch.
pub(crate) fn append<D: Disk>(opened: &mut Opened<D>, entries: &[RawEntry]) {
    let written = opened.writer.write(entries).expect("the write succeeds");
    let synced = opened.writer.sync(written).expect("the sync succeeds");
    assert_eq!(synced.end(), entries[entries.len() - 1].position.next());
}

/// Everything in the log, read in small pieces.
pub(crate) fn read_all<D: Disk>(opened: &Opened<D>) -> Vec<RawEntry> {
    let mut entries = Vec::new();
    let mut from = opened.reader.start();
    loop {
        let more = opened.reader.read_from(from, 3_000).expect("the log reads");
        let Some(last) = more.last() else { return entries };
        from = last.position.next();
        entries.extend(more);
    }
}

/// Checks every way of reading, and the epochs, against the entries that must be there.
pub(crate) fn check_reads<D: Disk>(opened: &Opened<D>, expected: &[RawEntry]) {
    check_entries(opened, expected);
    let mut epochs: Vec<(Epoch, Position)> = Vec::new();
    for entry in expected {
        if epochs.last().is_none_or(|(epoch, _)| *epoch < entry.epoch) {
            epochs.push((entry.epoch, entry.position));
        }
    }
    if opened.reader.start() == Position::ZERO {
        assert_eq!(opened.reader.epochs(), epochs);
        if opened.end == opened.reader.end() {
            assert_eq!(opened.epochs, epochs);
        }
    }
}

/// Checks every way of reading against the entries that must be there.
pub(crate) fn check_entries<D: Disk>(opened: &Opened<D>, expected: &[RawEntry]) {
    assert!(read_all(opened) == expected, "read_from gives other entries");
    let reader = &opened.reader;
    assert_eq!(reader.end(), expected.last().map_or(Position::ZERO, |entry| entry.position.next()));
    for stream in (1..=3).map(StreamId) {
        let published: Vec<&RawEntry> = expected
            .iter()
            .filter(|entry| entry.kind == EntryKind::Publish && entry.stream == stream)
            .collect();
        let end = published.last().map_or(0, |entry| entry.base_offset.0 + u64::from(entry.count));
        let step = (end / 7).max(1) as usize;
        for from in (0..=end).step_by(step) {
            let wanted = published.iter().filter(|e| e.base_offset.0 + u64::from(e.count) > from);
            let all = reader.read_stream(stream, Offset(from), usize::MAX).expect("the stream reads");
            assert!(all.iter().eq(wanted.clone().copied()), "{stream:?} from {from}");
            let one = reader.read_stream(stream, Offset(from), 1).expect("the stream reads");
            assert!(one.iter().eq(wanted.copied().take(1)), "one of {stream:?} from {from}");
        }
        for entry in published.iter().step_by(5) {
            for time in [entry.log_time, entry.log_time.plus_millis(1)] {
                let first = published.iter().find(|other| other.log_time >= time);
                let first = first.map(|other| other.base_offset);
                assert_eq!(reader.offset_at_time(stream, time), first);
            }
        }
    }
}
