//! The writer's segments: made, sealed, dropped.

use std::{io::IoSlice, sync::Arc};

use pondage_model::Position;

use super::{
    super::{
        Fault, Operation,
        active::{Active, seal_file},
        error::{Failed, step},
        header::SegmentHeader,
        index::Ending,
        recovery::segment_path,
    },
    LogWriter,
};
use crate::disk::{Disk, DiskFile};

impl<D: Disk> LogWriter<D> {
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
                let segments = &self.view.read().segments;
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
            self.view.write().segments.remove(0);
            self.counters.folder_syncs += 1;
            self.counters.segments_dropped += 1;
            freed_bytes += bytes;
        }
    }

    /// Seals the active segment, if there is one, and makes the next, which begins at `first` and has room for a
    /// batch of `bytes`. All batches so far are synced.
    pub(super) fn roll(&mut self, first: Position, bytes: u64) -> Result<(), Failed> {
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
            let segments = &view.read().segments;
            let newest = segments.last().expect("a segment that is sealed has a synced batch");
            seal_file(&*active.file, &active.path, &newest.index, &active.ending, active.salt)?
        };
        let mut shown = view.write();
        let newest = shown.segments.last_mut().expect("only the writer removes segments");
        newest.sealed = true;
        newest.bytes = active.ending.place + bytes;
        self.counters.fsyncs += 1;
        self.counters.bytes_written += bytes;
        Ok(())
    }
}
