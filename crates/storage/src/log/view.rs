//! What readers see of a log: its segments up to the last sync.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pondage_model::{Epoch, LogTime, Position};

use super::index::Index;

/// One segment with at least one synced frame.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) file: Arc<F>,
    /// With the disk's root, for errors.
    pub(super) name: Arc<str>,
    /// On the disk.
    pub(super) path: String,
    pub(super) salt: u32,
    pub(super) first: Position,
    /// Bytes for header and frames.
    pub(super) capacity_bytes: u64,
    pub(super) end: Position,
    pub(super) last_log_time: LogTime,
    /// The byte after the last synced frame.
    pub(super) frames_end: u64,
    /// Bytes of the file that hold something.
    pub(super) bytes: u64,
    pub(super) sealed: bool,
    pub(super) index: Index,
}

/// A log up to its last sync.
#[derive(Debug)]
pub(super) struct Shown<F> {
    /// Oldest first.
    pub(super) segments: Vec<Segment<F>>,
    /// Every epoch with its first position, ascending.
    pub(super) epochs: Vec<(Epoch, Position)>,
    /// How often the end was cut: a read during which this changed may have met bytes of either side of the cut.
    pub(super) truncations: u64,
}

/// What readers and the writer share. The writer changes it, readers look places up and read outside the lock.
#[derive(Debug)]
pub(super) struct View<F> {
    shown: RwLock<Shown<F>>,
}

impl<F> View<F> {
    pub(super) const fn new(segments: Vec<Segment<F>>, epochs: Vec<(Epoch, Position)>) -> Self {
        Self { shown: RwLock::new(Shown { segments, epochs, truncations: 0 }) }
    }

    // Changes below are single steps that can't panic half-way, so a poisoned lock still guards whole data.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Shown<F>> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Shown<F>> {
        self.shown.write().unwrap_or_else(PoisonError::into_inner)
    }
}
