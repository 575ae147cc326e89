//! The one that appends: batches, segments, fences.

use std::{fmt, io::IoSlice, sync::Arc};

use pondage_model::{Epoch, LogTime, Position, RawEntry, limits};

use super::{
    Fault, LogOptions, Operation,
    active::{Active, Piece, encode, push_zeros},
    error::{Failed, step},
    frame::{FrameHeader, frame_bytes},
    full_path,
    header::Joint,
    view::View,
};
use crate::disk::{Disk, DiskFile};

mod segments;
mod truncation;

pub use truncation::Truncated;

/// The most that one batch may hold: places inside it are 32-bit.
const BATCH_FRAME_BYTES_MAX: u64 = 1 << 30;

/// Appends to a log. There is one per log.
pub struct LogWriter<D: Disk> {
    disk: D,
    folder: String,
    options: LogOptions,
    view: Arc<View<D::File>>,
    /// The segment that takes the next batch, if it fits.
    active: Option<Active<D::File>>,
    /// How the newest sealed segment ended, and its capacity.
    sealed: Option<(Joint, u64)>,
    end: Position,
    last_log_time: LogTime,
    last_batch: u64,
    epochs: Vec<(Epoch, Position)>,
    /// The frames of the batch that was written and not yet synced.
    pending: Option<Vec<(FrameHeader, u64)>>,
    scratch: Vec<u8>,
    fault: Option<Fault>,
    counters: Counters,
}

/// A batch that was written and is not durable yet.
#[derive(Debug)]
#[must_use = "the batch is not durable until it is synced"]
pub struct Written {
    batch: u64,
    end: Position,
}

impl Written {
    /// The position after the batch's last entry.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.end
    }
}

/// Proof that every entry below a position is durable. Only [`LogWriter::sync`] makes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "replies wait for this"]
pub struct Synced {
    end: Position,
}

impl Synced {
    /// The position below which everything is durable.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.end
    }
}

/// What a writer has done since its log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches written.
    pub batches: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes given to the disk: frames, zeros ahead, headers and indexes of segments.
    pub bytes_written: u64,
    /// Syncs of files.
    pub fsyncs: u64,
    /// Syncs of the folder.
    pub folder_syncs: u64,
    /// Segments made.
    pub segments_created: u64,
    /// Segments dropped from the front.
    pub segments_dropped: u64,
    /// Times that the end was cut.
    pub truncations: u64,
}

impl<D: Disk> LogWriter<D> {
    pub(super) fn new(
        disk: D,
        folder: String,
        options: LogOptions,
        view: Arc<View<D::File>>,
        newest: Option<Active<D::File>>,
        sealed: bool,
        epochs: Vec<(Epoch, Position)>,
    ) -> Self {
        let mut writer = Self {
            disk,
            folder,
            options,
            view,
            active: None,
            sealed: None,
            end: Position::ZERO,
            last_log_time: LogTime(i64::MIN),
            last_batch: 0,
            epochs,
            pending: None,
            scratch: Vec::new(),
            fault: None,
            counters: Counters::default(),
        };
        if let Some(newest) = newest {
            writer.end = newest.ending.end;
            writer.last_log_time = newest.ending.last_log_time;
            writer.last_batch = newest.ending.last_batch;
            if sealed {
                writer.sealed = Some((newest.joint(), newest.capacity_bytes));
            } else {
                writer.active = Some(newest);
            }
        }
        writer
    }

    /// Appends one batch: one write, not durable and not seen by readers until [`Self::sync`]. Positions may leave
    /// gaps.
    ///
    /// # Errors
    /// [`Fault`], and from then on always that; whether the batch will be there after a restart is unknown.
    ///
    /// # Panics
    /// On our own mistakes: no entries, the batch before was not synced, positions that do not ascend, an epoch or a
    /// log time that goes back, an entry beyond [`limits::ENTRY_BYTES_MAX`], a batch beyond 1 GiB.
    pub fn write(&mut self, entries: &[RawEntry]) -> Result<Written, Fault> {
        self.write_with_epochs(&[], entries)
    }

    /// As [`Self::write`], and takes `epochs`, each with its first position, into the table before the entries: those
    /// that wrote to the shard once and whose own entries were reclaimed before this log got them. They become
    /// durable with the batch or before it. Those that the log knows already, and the first entry's own, cost
    /// nothing; others begin a new segment, whose header says them.
    ///
    /// # Errors
    /// As [`Self::write`].
    ///
    /// # Panics
    /// As [`Self::write`], and if the epochs that are new here do not ascend together with their positions, begin
    /// below the log's end, or reach beyond the first entry.
    pub fn write_with_epochs(
        &mut self,
        epochs: &[(Epoch, Position)],
        entries: &[RawEntry],
    ) -> Result<Written, Fault> {
        self.check_fence()?;
        assert!(self.pending.is_none(), "a batch is written only after the sync of the one before");
        self.check_entries(entries);
        let learnt = self.unknown_epochs(epochs, &entries[0]);
        match self.write_batch(&learnt, entries) {
            Ok(written) => Ok(written),
            Err(failed) => Err(self.fence(failed)),
        }
    }

    /// Makes the batch durable and shows it to readers.
    ///
    /// # Errors
    /// [`Fault`], and from then on always that. A failed sync is never tried again: whether the batch will be there
    /// after a restart is unknown.
    ///
    /// # Panics
    /// If `written` is not the batch that [`Self::write`] gave last: a mistake of ours.
    #[expect(clippy::needless_pass_by_value, reason = "a batch is synced once")]
    pub fn sync(&mut self, written: Written) -> Result<Synced, Fault> {
        self.check_fence()?;
        assert_eq!(written.batch, self.last_batch, "batches are synced in the order of their writing");
        let frames = self.pending.take().expect("a written batch is pending until it is synced");
        let active = self.active.as_mut().expect("a pending batch is in the active segment");
        let place = active.ending.place;
        if let Err(failed) = step(Operation::Sync, &active.path, place, active.file.sync_data()) {
            return Err(self.fence(failed));
        }
        self.counters.fsyncs += 1;
        active.show(&self.view, &self.disk, &frames, &self.epochs);
        Ok(Synced { end: written.end })
    }

    /// What was done since the log was opened.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The position of the next entry at the earliest, a batch in hand included.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.end
    }

    /// The fault that fenced this writer, if one did.
    #[must_use]
    pub const fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn check_fence(&self) -> Result<(), Fault> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    fn fence(&mut self, failed: Failed) -> Fault {
        let fault = Fault {
            operation: failed.operation,
            file: full_path(&self.disk, &failed.path),
            offset: failed.offset,
            source: Arc::new(failed.source),
        };
        self.fault = Some(fault.clone());
        fault
    }

    fn check_entries(&self, entries: &[RawEntry]) {
        assert!(!entries.is_empty(), "a batch has an entry");
        let mut end = self.end;
        let mut epoch = self.epochs.last().map_or(Epoch::ZERO, |(epoch, _)| *epoch);
        let mut log_time = self.last_log_time;
        let mut bytes = 0;
        for entry in entries {
            assert!(entry.position >= end, "{:?} is written behind {end:?}", entry.position);
            assert!(entry.epoch >= epoch, "{:?} is written behind {epoch:?}", entry.epoch);
            assert!(entry.log_time >= log_time, "{:?} is written behind {log_time:?}", entry.log_time);
            assert!(frame_bytes(entry) <= limits::ENTRY_BYTES_MAX, "{:?} is too large", entry.position);
            (end, epoch, log_time) = (entry.position.next(), entry.epoch, entry.log_time);
            bytes += frame_bytes(entry) as u64;
        }
        assert!(bytes <= BATCH_FRAME_BYTES_MAX, "a batch of {bytes} bytes is too large");
    }

    /// The epochs before `first` that the table lacks.
    fn unknown_epochs(&self, epochs: &[(Epoch, Position)], first: &RawEntry) -> Vec<(Epoch, Position)> {
        let known = self.epochs.last().map(|(epoch, _)| *epoch);
        let unknown: Vec<(Epoch, Position)> = epochs
            .iter()
            .copied()
            .filter(|(epoch, start)| {
                known.is_none_or(|known| *epoch > known) && (*epoch, *start) != (first.epoch, first.position)
            })
            .collect();
        let ascend = unknown.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1);
        assert!(ascend, "epochs and their first positions ascend together: {unknown:?}");
        for (epoch, start) in &unknown {
            let inside = *epoch <= first.epoch && *start < first.position && *start >= self.end;
            assert!(inside, "{epoch:?} from {start:?} is not between {:?} and the first entry", self.end);
        }
        unknown
    }

    fn write_batch(&mut self, learnt: &[(Epoch, Position)], entries: &[RawEntry]) -> Result<Written, Failed> {
        let bytes: u64 = entries.iter().map(|entry| frame_bytes(entry) as u64).sum();
        let fits = |active: &Active<D::File>| active.ending.place + bytes <= active.capacity_bytes;
        if !learnt.is_empty() || !self.active.as_ref().is_some_and(fits) {
            self.epochs.extend_from_slice(learnt);
            self.roll(entries[0].position, bytes)?;
        }
        let batch = self.last_batch + 1;
        let active = self.active.as_mut().expect("rolling made a segment");
        let mut scratch = std::mem::take(&mut self.scratch);
        let (frames, pieces) = encode(entries, active, batch, &mut scratch);
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(pieces.len() + 4);
        for piece in &pieces {
            slices.push(IoSlice::new(match piece {
                Piece::Scratch(range) => &scratch[range.clone()],
                Piece::Attributes(index) => &entries[*index].attributes,
                Piece::Body(index) => &entries[*index].body,
            }));
        }
        let start = active.ending.place;
        let zeros = active.zeros_behind(start + bytes, bytes, self.options.zero_ahead_bytes);
        push_zeros(&mut slices, zeros);
        step(Operation::Write, &active.path, start, active.file.write_at(start, &slices))?;
        drop(slices);
        scratch.clear();
        // A burst of many small entries must not keep its memory.
        scratch.shrink_to(1 << 20);
        self.scratch = scratch;

        active.len_bytes = active.len_bytes.max(start + bytes + zeros);
        active.ending.place = start + bytes;
        active.ending.last_batch = batch;
        for (frame, _) in &frames {
            if self.epochs.last().is_none_or(|(epoch, _)| *epoch < frame.epoch) {
                self.epochs.push((frame.epoch, frame.position));
                active.ending.epochs.push((frame.epoch, frame.position));
            }
            active.ending.end = frame.position.next();
            active.ending.last_crc = frame.crc;
            active.ending.last_log_time = frame.log_time;
        }
        self.end = active.ending.end;
        self.last_log_time = active.ending.last_log_time;
        self.last_batch = batch;
        self.pending = Some(frames);
        self.counters.batches += 1;
        self.counters.entries += entries.len() as u64;
        self.counters.bytes_written += bytes + zeros;
        Ok(Written { batch, end: self.end })
    }
}

impl<D: Disk> fmt::Debug for LogWriter<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter")
            .field("folder", &self.folder)
            .field("end", &self.end)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
