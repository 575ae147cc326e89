//! What a volume holds of a shard, as the world saw it being written.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
};

use pondage_model::{Position, RawEntry};

/// A shard's log on one volume, by a digest of each entry.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    pub(super) entries: BTreeMap<Position, u64>,
    /// Everything below was synced.
    pub(super) durable: Position,
    /// Entries below may have been dropped.
    pub(super) kept_from: Position,
}

impl Shadow {
    pub(super) fn wrote(&mut self, entries: &[RawEntry]) {
        self.entries.extend(entries.iter().map(|entry| (entry.position, digest(entry))));
    }

    /// The log ends here from now on.
    pub(super) fn cut(&mut self, to: Position) {
        self.entries.split_off(&to);
        self.durable = self.durable.min(to);
    }

    /// The log was found to be this.
    pub(super) fn found(&mut self, entries: &[RawEntry], end: Position) {
        self.entries.clear();
        self.wrote(entries);
        self.durable = end;
    }
}

/// What tells an entry from every other one.
pub(super) fn digest(entry: &RawEntry) -> u64 {
    let mut hasher = DefaultHasher::new();
    for number in [
        entry.position.get(),
        entry.epoch.get(),
        entry.stream.get(),
        entry.log_time.0.cast_unsigned(),
        entry.kind as u64,
        entry.base_offset.get(),
        entry.count.into(),
    ] {
        hasher.write_u64(number);
    }
    hasher.write(&entry.attributes);
    hasher.write_u8(0xff);
    hasher.write(&entry.body);
    hasher.finish()
}
