//! Cutting the log's end: what a leader never committed gives way to what its successor has.

use std::{io, sync::Arc};

use pondage_model::{Epoch, LogTime, Position};

use super::{
    super::{
        Fault, Operation,
        active::{Active, cut_file},
        error::{Failed, step},
        frame::FrameHeader,
        header::Joint,
        index::Ending,
        scan::{Damage, last_frame_below},
        view::Segment,
    },
    LogWriter,
};
use crate::disk::{Disk, DiskFile};

/// Proof that nothing at or above a position is in the log, and that no crash brings it back. Only
/// [`LogWriter::truncate`] makes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "replies wait for this"]
pub struct Truncated {
    end: Position,
}

impl Truncated {
    /// The position after the last entry that is left: at most the position that was asked for, less where the log
    /// has a gap below it; [`Position::ZERO`] of a log with no entry left.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.end
    }
}

/// The last frame that stays.
struct Kept {
    frame: FrameHeader,
    /// The byte after it in its segment.
    place_end: u64,
    /// Segments up to and with its own.
    segments: usize,
}

/// What is still to be done on the disk.
struct Work<F> {
    /// The files that go, oldest first.
    removed_paths: Vec<String>,
    cut: Option<Cut<F>>,
}

/// A file that becomes shorter.
struct Cut<F> {
    file: Arc<F>,
    path: String,
    len_bytes: u64,
    capacity_bytes: u64,
}

impl<D: Disk> LogWriter<D> {
    /// Removes every entry at or above `to`, durably when it returns; nothing happens if there is none. Readers see
    /// the shorter log from the beginning on. At or below the log's start everything goes, the table of epochs too:
    /// the log is as a new one.
    ///
    /// # Errors
    /// [`Fault`], and from then on always that, also if the frames next to the cut are damaged (then with
    /// [`Operation::Read`] and nothing changed on the disk). After a restart the log ends at `to`, at the old end, or
    /// with a segment between the two.
    ///
    /// # Panics
    /// If a batch was written and not synced: a mistake of ours.
    pub fn truncate(&mut self, to: Position) -> Result<Truncated, Fault> {
        self.check_fence()?;
        assert!(self.pending.is_none(), "the end is cut only after the sync of the last batch");
        if to >= self.end {
            return Ok(Truncated { end: self.end });
        }
        let kept = match self.last_kept(to) {
            Ok(kept) => kept,
            Err(failed) => return Err(self.fence(failed)),
        };
        let work = match kept {
            Some(kept) => self.hide_above(to, &kept),
            None => self.hide_all(),
        };
        if let Err(failed) = self.perform(work) {
            return Err(self.fence(failed));
        }
        self.counters.truncations += 1;
        Ok(Truncated { end: self.end })
    }

    /// Finds the last entry below `to`; `None` if there is none.
    fn last_kept(&self, to: Position) -> Result<Option<Kept>, Failed> {
        let shown = self.view.read();
        let segments = shown.segments.partition_point(|segment| segment.first < to);
        let Some(at) = segments.checked_sub(1) else { return Ok(None) };
        let segment = &shown.segments[at];
        let before = Position(to.0 - 1);
        let place = segment.index.place_before(before).expect("a segment that readers see has a frame");
        let found = last_frame_below(&*segment.file, segment.salt, place..segment.frames_end, to);
        match step(Operation::Read, &segment.path, place, found)? {
            Ok((frame, place_end)) => Ok(Some(Kept { frame, place_end, segments })),
            Err(Damage { place, what }) => {
                let damaged = io::Error::new(io::ErrorKind::InvalidData, what);
                step(Operation::Read, &segment.path, place, Err(damaged))
            }
        }
    }

    /// Makes the writer, and what readers see, end behind the kept frame.
    fn hide_above(&mut self, to: Position, kept: &Kept) -> Work<D::File> {
        let frame = &kept.frame;
        self.end = frame.position.next();
        self.last_log_time = frame.log_time;
        // Every epoch began at or before the last entry, which is of the last epoch.
        self.epochs.retain(|(epoch, _)| *epoch <= frame.epoch);
        // `last_batch` stays: a number is used once while the writer lives, and the frames that go are gone for good
        // before a later writer could repeat theirs.

        let mut shown = self.view.write();
        shown.truncations += 1;
        shown.epochs.clone_from(&self.epochs);
        let removed = shown.segments.split_off(kept.segments);
        let removed_paths = removed.into_iter().map(|segment| segment.path).collect();
        let newest = shown.segments.last_mut().expect("the kept frame's segment is kept");
        let mut cut = None;
        if kept.place_end < newest.frames_end {
            newest.index.cut(to);
            newest.end = self.end;
            newest.last_log_time = frame.log_time;
            newest.frames_end = kept.place_end;
            newest.bytes = kept.place_end;
            newest.sealed = false;
            cut = Some(Cut {
                file: newest.file.clone(),
                path: newest.path.clone(),
                len_bytes: kept.place_end,
                capacity_bytes: newest.capacity_bytes,
            });
            self.active = Some(reopen(newest, frame, &self.epochs));
        } else {
            let joint =
                Joint { first: newest.first, end: self.end, last_crc: frame.crc, last_batch: frame.batch };
            self.active = None;
            self.sealed = Some((joint, newest.capacity_bytes));
        }
        Work { removed_paths, cut }
    }

    /// Makes the writer, and what readers see, an empty log.
    fn hide_all(&mut self) -> Work<D::File> {
        self.end = Position::ZERO;
        self.last_log_time = LogTime(i64::MIN);
        self.epochs.clear();
        self.active = None;
        self.sealed = None;
        let mut shown = self.view.write();
        shown.truncations += 1;
        shown.epochs.clear();
        let removed = std::mem::take(&mut shown.segments);
        Work { removed_paths: removed.into_iter().map(|segment| segment.path).collect(), cut: None }
    }

    /// Does to the files what was done to the view.
    fn perform(&mut self, work: Work<D::File>) -> Result<(), Failed> {
        for path in work.removed_paths.iter().rev() {
            step(Operation::Remove, path, 0, self.disk.remove(path))?;
            // After each one: what is left after a crash never has a hole.
            step(Operation::SyncFolder, &self.folder, 0, self.disk.sync_dir(&self.folder))?;
            self.counters.folder_syncs += 1;
        }
        if let Some(Cut { file, path, len_bytes, capacity_bytes }) = work.cut {
            // The length changes in one step, so no crash leaves a hole before frames of the old end; and what is
            // behind it reads as zeros when the file grows again.
            cut_file(&*file, &path, len_bytes, capacity_bytes)?;
            step(Operation::Sync, &path, len_bytes, file.sync_data())?;
            self.counters.fsyncs += 1;
        }
        Ok(())
    }
}

/// The segment, cut behind `last`, as one that takes entries again.
fn reopen<F>(segment: &Segment<F>, last: &FrameHeader, epochs: &[(Epoch, Position)]) -> Active<F> {
    // Those that began in it: the ones that its header says began before its first entry.
    let own = epochs.partition_point(|(_, start)| *start < segment.first);
    Active {
        file: segment.file.clone(),
        path: segment.path.clone(),
        salt: segment.salt,
        first: segment.first,
        capacity_bytes: segment.capacity_bytes,
        len_bytes: segment.frames_end,
        ending: Ending {
            end: segment.end,
            last_crc: last.crc,
            last_batch: last.batch,
            last_log_time: last.log_time,
            place: segment.frames_end,
            epochs: epochs[own..].to_vec(),
        },
        shown: true,
    }
}
