//! What was stored, handled and committed, partition by partition.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What the handlers saw.
pub(super) struct Ledger(Vec<Mutex<Partition>>);

#[derive(Default)]
struct Partition {
    /// Offsets that were acknowledged to the publisher: all below, and some.
    stored: u64,
    /// Handled at least once: all below, and these.
    handled_below: u64,
    handled: BTreeSet<u64>,
    /// Everything below is committed, as far as a member was told.
    committed: u64,
    /// Who handled last, and when.
    last: Option<(usize, Instant)>,
    /// When somebody else than before handled first.
    passed_on: Option<Instant>,
    /// The longest time without a message since the watch began.
    gap: Duration,
    watched: Option<Instant>,
    again: u64,
    reordered: u64,
    below_commit: u64,
}

/// How it went.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) stored: u64,
    pub(super) lost: u64,
    pub(super) again: u64,
    pub(super) reordered: u64,
    pub(super) below_commit: u64,
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        self.lost == 0 && self.reordered == 0 && self.below_commit == 0
    }
}

impl Ledger {
    pub(super) fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|_| Mutex::default()).collect())
    }

    pub(super) fn stored(&self, partition: u32, offset: u64) {
        let mut partition = self.at(partition);
        partition.stored = partition.stored.max(offset + 1);
    }

    /// A member was given a message.
    pub(super) fn handled(&self, member: usize, number: u32, offset: u64) {
        let now = Instant::now();
        let mut guard = self.at(number);
        let partition = &mut *guard;
        if offset < partition.committed {
            partition.below_commit += 1;
        }
        // Whoever reads it, nothing may be left out before it.
        if offset > partition.handled_below {
            partition.reordered += 1;
        }
        if let Some((before, at)) = partition.last {
            let since = partition.watched.map_or(at, |watched| watched.max(at));
            partition.gap = partition.gap.max(now.saturating_duration_since(since));
            if before != member {
                partition.passed_on = Some(now);
            }
        }
        if offset < partition.handled_below || !partition.handled.insert(offset) {
            partition.again += 1;
        }
        while partition.handled.remove(&partition.handled_below) {
            partition.handled_below += 1;
        }
        partition.last = Some((member, now));
    }

    pub(super) fn committed(&self, partition: u32, offset: u64) {
        let mut partition = self.at(partition);
        partition.committed = partition.committed.max(offset);
    }

    /// Gaps are measured from now on.
    pub(super) fn watch(&self) {
        let now = Instant::now();
        for partition in &self.0 {
            let mut partition = lock(partition);
            (partition.gap, partition.watched) = (Duration::ZERO, Some(now));
        }
    }

    /// The longest time without a message since the watch began, of some partitions.
    pub(super) fn gaps(&self, of: impl Fn(u32) -> bool) -> Duration {
        let now = Instant::now();
        let watched = (0..).zip(&self.0).filter(|(number, _)| of(*number));
        let gap = |partition: &Mutex<Partition>| {
            let partition = lock(partition);
            let since = partition.last.map(|(_, at)| at).max(partition.watched);
            partition.gap.max(since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)))
        };
        watched.map(|(_, partition)| gap(partition)).max().unwrap_or_default()
    }

    /// How long after `begun` the last of these partitions had a message, once all had one.
    pub(super) fn handled_by_others_since(
        &self,
        begun: Instant,
        partitions: &BTreeSet<u32>,
    ) -> Option<Duration> {
        let mut latest = Duration::ZERO;
        for number in partitions {
            let passed_on = self.at(*number).passed_on.filter(|at| *at > begun)?;
            latest = latest.max(passed_on - begun);
        }
        Some(latest)
    }

    /// Messages that were stored and not handled.
    pub(super) fn missing(&self) -> u64 {
        self.0.iter().map(|partition| lock(partition).missing()).sum()
    }

    pub(super) fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for partition in &self.0 {
            let partition = lock(partition);
            verdict.stored += partition.stored;
            verdict.lost += partition.missing();
            verdict.again += partition.again;
            verdict.reordered += partition.reordered;
            verdict.below_commit += partition.below_commit;
        }
        verdict
    }

    fn at(&self, number: u32) -> MutexGuard<'_, Partition> {
        lock(&self.0[number as usize])
    }
}

impl Partition {
    fn missing(&self) -> u64 {
        let handled = self.handled.range(..self.stored).count() as u64;
        self.stored.saturating_sub(self.handled_below + handled)
    }
}

// A panic while it is held ends the benchmark anyway.
fn lock(partition: &Mutex<Partition>) -> MutexGuard<'_, Partition> {
    partition.lock().unwrap_or_else(PoisonError::into_inner)
}
