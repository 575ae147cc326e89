//! A leader's newest entries in memory: what followers that keep up are sent without a read.

use std::collections::VecDeque;

use pondage_model::{Position, RawEntry};

/// Bytes of durable entries that are kept for followers that are a little behind.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The log's end, contiguous from `start` to the leader's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tail {
    start: Position,
    bytes: usize,
    entries: VecDeque<RawEntry>,
}

impl Tail {
    pub(crate) const fn new(start: Position) -> Self {
        Self { start, bytes: 0, entries: VecDeque::new() }
    }

    /// The first position that it can give.
    pub(crate) const fn start(&self) -> Position {
        self.start
    }

    pub(crate) fn push(&mut self, entry: RawEntry) {
        self.bytes += entry.weight_bytes();
        self.entries.push_back(entry);
    }

    /// Drops the oldest durable entries while there are more bytes than are kept.
    pub(crate) fn trim(&mut self, durable: Position) {
        while self.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = self.entries.pop_front_if(|entry| entry.position < durable)
        {
            self.bytes -= oldest.weight_bytes();
            self.start = oldest.position.next();
        }
    }

    /// Entries from a position on, up to `bytes_max` beyond the first.
    pub(crate) fn from(&self, position: Position, bytes_max: usize) -> Vec<RawEntry> {
        debug_assert!(position >= self.start, "asked for {position:?} before {:?}", self.start);
        let first = (position.0 - self.start.0) as usize;
        let mut bytes = 0;
        let fits = |entry: &&RawEntry| {
            let is_first = bytes == 0;
            bytes += entry.weight_bytes();
            is_first || bytes <= bytes_max
        };
        self.entries.iter().skip(first).take_while(fits).cloned().collect()
    }
}
