//! What readers see of a log: its segments up to the last sync.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pondage_model::{LogTime, Position};

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
    pub(super) end: Position,
    pub(super) last_log_time: LogTime,
    /// The byte after the last synced frame.
    pub(super) frames_end: u64,
    /// Bytes of the file that hold something.
    pub(super) bytes: u64,
    pub(super) sealed: bool,
    pub(super) index: Index,
}

/// The segments, oldest first. The writer changes them, readers look places up and read outside the lock.
#[derive(Debug)]
pub(super) struct View<F> {
    segments: RwLock<Vec<Segment<F>>>,
}

impl<F> View<F> {
    pub(super) const fn new(segments: Vec<Segment<F>>) -> Self {
        Self { segments: RwLock::new(segments) }
    }

    // Changes below are single steps that can't panic half-way, so a poisoned lock still guards whole data.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Vec<Segment<F>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Vec<Segment<F>>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }
}
