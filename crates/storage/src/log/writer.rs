//! The one that appends: batches, segments, fences.

use std::{fmt, io::IoSlice, sync::Arc};

use pondage_model::{Epoch, LogTime, Position, RawEntry, limits};

use super::{
    Fault, LogOptions, Operation,
    active::{Active, Piece, encode, push_zeros, seal_file},
    error::{Failed, step},
    frame::{FrameHeader, frame_bytes},
    full_path,
    header::{Joint, SegmentHeader},
    index::Ending,
    recovery::segment_path,
    view::View,
};
use crate::disk::{Disk, DiskFile};

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
    /// Segments dropped.
    pub segments_dropped: u64,
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
        self.check_fence()?;
        assert!(self.pending.is_none(), "a batch is written only after the sync of the one before");
        self.check_entries(entries);
        match self.write_batch(entries) {
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
        active.show(&self.view, &self.disk, &frames);
        Ok(Synced { end: written.end })
    }

    /// Removes the sealed segments whose every entry lies below `position`, oldest first; the newest segment stays.
    /// Gives the bytes that this freed. When it returns, the removal is durable.
    ///
    /// # Errors
    /// [`Fault`], and from then on always that; segments above `position` are untouched.
    pub fn drop_segments_below(&mut self, position: Position) -> Result<u64, Fault> {
        self.check_fence()?;
        let mut freed_bytes = 0;
        loop {
            let oldest = {
                let segments = self.view.read();
                match segments.first() {
                    Some(oldest) if segments.len() > 1 && oldest.sealed && oldest.end <= position => {
                        (oldest.path.clone(), oldest.bytes)
                    }
                    _ => return Ok(freed_bytes),
                }
            };
            let (path, bytes) = oldest;
            // The folder is synced after each one: what is left after a crash never has a hole.
            let removed = step(Operation::Remove, &path, 0, self.disk.remove(&path)).and_then(|()| {
                step(Operation::SyncFolder, &self.folder, 0, self.disk.sync_dir(&self.folder))
            });
            if let Err(failed) = removed {
                return Err(self.fence(failed));
            }
            self.view.write().remove(0);
            self.counters.folder_syncs += 1;
            self.counters.segments_dropped += 1;
            freed_bytes += bytes;
        }
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

    fn write_batch(&mut self, entries: &[RawEntry]) -> Result<Written, Failed> {
        let bytes: u64 = entries.iter().map(|entry| frame_bytes(entry) as u64).sum();
        let fits = |active: &Active<D::File>| active.ending.place + bytes <= active.capacity_bytes;
        if !self.active.as_ref().is_some_and(fits) {
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

    /// Seals the active segment, if there is one, and makes the next, which begins at `first` and has room for a
    /// batch of `bytes`. All batches so far are synced.
    fn roll(&mut self, first: Position, bytes: u64) -> Result<(), Failed> {
        if let Some(active) = self.active.take() {
            self.seal(&active)?;
            self.sealed = Some((active.joint(), active.capacity_bytes));
        }
        let wanted = self.sealed.as_ref().map_or(self.options.segment_bytes_min, |(_, capacity)| {
            capacity.saturating_mul(2).min(self.options.segment_bytes_max)
        });
        let mut header = SegmentHeader {
            shard: self.options.shard,
            salt: self.options.salt,
            first,
            first_batch: self.last_batch + 1,
            capacity_bytes: wanted,
            previous: self.sealed.as_ref().map(|(joint, _)| *joint),
            epochs: self.epochs.clone(),
        };
        let (encoded, _) = header.encode();
        header.capacity_bytes = wanted.max(encoded.len() as u64 + bytes);
        self.active = Some(self.create(&header)?);
        Ok(())
    }

    /// Makes a segment's file, whole and durable under its name before a frame is written to it.
    fn create(&mut self, header: &SegmentHeader) -> Result<Active<D::File>, Failed> {
        let path = segment_path(&self.folder, header.first);
        let unfinished = format!("{path}.new");
        let (bytes, salt) = header.encode();
        let file = step(Operation::Create, &unfinished, 0, self.disk.create(&unfinished))?;
        step(Operation::Reserve, &unfinished, 0, file.allocate(header.capacity_bytes))?;
        step(Operation::Write, &unfinished, 0, file.write_at(0, &[IoSlice::new(&bytes)]))?;
        step(Operation::Sync, &unfinished, 0, file.sync_data())?;
        step(Operation::Rename, &unfinished, 0, self.disk.rename(&unfinished, &path))?;
        step(Operation::SyncFolder, &self.folder, 0, self.disk.sync_dir(&self.folder))?;
        self.counters.fsyncs += 1;
        self.counters.folder_syncs += 1;
        self.counters.segments_created += 1;
        self.counters.bytes_written += bytes.len() as u64;
        Ok(Active {
            file: Arc::new(file),
            path,
            salt,
            first: header.first,
            capacity_bytes: header.capacity_bytes,
            len_bytes: bytes.len() as u64,
            ending: Ending {
                end: header.first,
                last_crc: salt,
                last_batch: self.last_batch,
                last_log_time: self.last_log_time,
                place: bytes.len() as u64,
                epochs: Vec::new(),
            },
            shown: false,
        })
    }

    fn seal(&mut self, active: &Active<D::File>) -> Result<(), Failed> {
        let view = self.view.clone();
        let bytes = {
            let segments = view.read();
            let newest = segments.last().expect("a segment that is sealed has a synced batch");
            seal_file(&*active.file, &active.path, &newest.index, &active.ending, active.salt)?
        };
        let mut segments = view.write();
        let newest = segments.last_mut().expect("only the writer removes segments");
        newest.sealed = true;
        newest.bytes = active.ending.place + bytes;
        self.counters.fsyncs += 1;
        self.counters.bytes_written += bytes;
        Ok(())
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
