//! What happened in a stream, counted.

use bytes::Bytes;
use pondage_model::{
    entry::{DiscardCause, MoveCause, ReleaseCause},
    wire::{Malformed, Wire},
};

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
    discarded: [u64; 4],
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

    /// Messages that a dead-letter queue took over.
    pub(super) fn dead_lettered_in_all(&self) -> u64 {
        self.dead_lettered.iter().sum()
    }

    /// Messages that are done, one way or another.
    pub(super) fn settled_in_all(&self) -> u64 {
        self.accepted + self.discarded.iter().sum::<u64>() + self.dead_lettered_in_all()
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut u64> {
        [&mut self.published, &mut self.granted, &mut self.accepted]
            .into_iter()
            .chain(&mut self.dead_lettered)
            .chain(&mut self.discarded)
            .chain(&mut self.released)
    }
}

impl Wire for Counters {
    fn put(&self, out: &mut Vec<u8>) {
        let mut counters = *self;
        counters.numbers().for_each(|number| number.put(out));
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let mut counters = Self::default();
        for number in counters.numbers() {
            *number = Wire::take(input)?;
        }
        Ok(counters)
    }
}
