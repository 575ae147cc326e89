//! Opening a log: gathers the facts of every segment, decides by the table, writes the tail again.

use std::{io::IoSlice, sync::Arc};

use pondage_model::{Epoch, LogTime, Position};

use super::{
    ATTEMPTS, Corruption, LogOptions, LogReader, LogWriter, OpenError, Opened, Operation,
    active::{Active, ZEROS, cut_file, seal_file},
    decision::{Decision, Facts, ScanFact, decide},
    error::{Failed, step},
    frame::FrameHeader,
    full_path,
    header::{HeaderFound, Joint, SegmentHeader, file_name, first_of_name},
    index::{Ending, Index, newest_checkpoint},
    scan::{Scanned, Stop, scan},
    view::{Segment, View},
};
use crate::disk::{Disk, DiskFile, join, make_folder, read_full};

/// Opens the log in a folder of the disk, making the folder if there is none.
///
/// When this returns, everything that the reader shows is durable: the tail was written again and synced. A tail
/// that was never acknowledged may be kept or cut.
///
/// # Errors
/// [`OpenError::Corrupt`] if acknowledged bytes are damaged or missing, [`OpenError::Newer`] for a newer program's
/// files, [`OpenError::WrongShard`], [`OpenError::Io`].
pub fn open<D: Disk>(disk: D, folder: &str, options: LogOptions) -> Result<Opened<D>, OpenError> {
    Recovery { disk, folder, options }.open()
}

struct Recovery<'f, D> {
    disk: D,
    folder: &'f str,
    options: LogOptions,
}

/// A segment's file with its header.
struct File<F> {
    path: String,
    file: Arc<F>,
    header: SegmentHeader,
    header_bytes: usize,
    salt: u32,
}

/// What a segment's frames are, once decided.
struct Judged {
    index: Index,
    ending: Ending,
    /// Whether it takes no more entries.
    sealed: bool,
    /// Where the last batch of a segment that is not sealed begins.
    last_batch_place: u64,
}

impl<D: Disk> Recovery<'_, D> {
    fn open(self) -> Result<Opened<D>, OpenError> {
        let files = self.files()?;
        let mut kept: Vec<(File<D::File>, Judged)> = Vec::with_capacity(files.len());
        let headers: Vec<SegmentHeader> = files.iter().map(|file| file.header.clone()).collect();
        for (at, file) in files.into_iter().enumerate() {
            let next = headers.get(at + 1).map(|header| header.previous);
            if let Some(judged) = self.judge(&file, next, kept.is_empty())? {
                kept.push((file, judged));
            } else {
                self.remove(&file.path)?;
                self.sync_folder()?;
            }
        }
        if let Some((file, judged)) = kept.last() {
            self.write_tail_again(file, judged)?;
        }
        Ok(self.assemble(kept))
    }

    /// Opens the segments' files and reads their headers, oldest first; removes files that were never finished.
    fn files(&self) -> Result<Vec<File<D::File>>, OpenError> {
        let made = make_folder(&self.disk, self.folder);
        self.step(Operation::SyncFolder, self.folder, made)?;
        let names = self.step(Operation::Read, self.folder, self.disk.list(self.folder))?;
        let mut files = Vec::new();
        for name in names {
            let path = join(self.folder, &name);
            if let Some(first) = first_of_name(&name) {
                files.push(self.file(path, first)?);
            } else if name.ends_with(".new") {
                self.remove(&path)?;
            }
        }
        Ok(files)
    }

    fn file(&self, path: String, first: Position) -> Result<File<D::File>, OpenError> {
        let file = self.step(Operation::Open, &path, self.disk.open(&path))?;
        let found = self.step(Operation::Read, &path, SegmentHeader::read(&file))?;
        let name = full_path(&self.disk, &path);
        match found {
            HeaderFound::Newer(version) => Err(OpenError::Newer { file: name, version }),
            HeaderFound::Bad(what) => Err(corrupt(name, 0, what)),
            HeaderFound::Good(header, _, _) if header.shard != self.options.shard => {
                Err(OpenError::WrongShard { file: name, found: header.shard, expected: self.options.shard })
            }
            HeaderFound::Good(header, _, _) if header.first != first => {
                Err(corrupt(name, 0, "the file's name is not its first position"))
            }
            HeaderFound::Good(header, header_bytes, salt) => {
                Ok(File { path, file: Arc::new(file), header, header_bytes, salt })
            }
        }
    }

    /// Decides about one segment; `None` if it must go. `next` is what the following segment's header says about
    /// the segment before it.
    fn judge(
        &self,
        file: &File<D::File>,
        next: Option<Option<Joint>>,
        oldest: bool,
    ) -> Result<Option<Judged>, OpenError> {
        let mut read = None;
        for _ in 0..ATTEMPTS {
            read = self.step(Operation::Read, &file.path, Index::read(&*file.file, file.salt))?;
            // The newest segment has an index only if it was sealed last: don't insist.
            if read.is_some() || next.is_none() {
                break;
            }
        }
        let (mut scanned, index) = match read {
            Some(index) => (None, Some(index)),
            None => {
                let result = scan(&*file.file, &file.header, file.header_bytes, file.salt);
                (Some(self.step(Operation::Read, &file.path, result)?), None)
            }
        };
        let stop = scanned.as_ref().map_or(Stop::Clean, |scanned| scanned.stop);
        let ending = index.as_ref().map(|(_, ending)| ending).or(scanned.as_ref().map(|s| &s.ending));
        let joint = ending.map(|ending| joint(&file.header, ending));
        let facts = Facts {
            newest: next.is_none(),
            index_good: index.is_some(),
            joins: next.is_some_and(|previous| previous == joint),
            scan: match stop {
                Stop::Clean => ScanFact::Clean,
                Stop::Torn(_) => ScanFact::Torn,
                Stop::BeforeLaterBatch(_) => ScanFact::BeforeLaterBatch,
                Stop::Newer(_) => ScanFact::Newer,
            },
            frames: scanned.as_ref().is_none_or(|scanned| scanned.frames > 0),
            previous_dropped: oldest && file.header.previous.is_some(),
        };
        let name = full_path(&self.disk, &file.path);
        let place = ending.map_or(0, |ending| ending.place);
        match decide(facts) {
            Decision::UseIndex => Ok(index.map(|(index, ending)| Judged::sealed(index, ending))),
            Decision::RebuildIndex => {
                let Some(Scanned { index, ending, .. }) = scanned.take() else { return Ok(None) };
                seal_file(&*file.file, &file.path, &index, &ending, file.salt)
                    .map_err(|failed| self.error(failed))?;
                Ok(Some(Judged::sealed(index, ending)))
            }
            Decision::ServeTail | Decision::CutTail => Ok(scanned.take().map(|scanned| Judged {
                index: scanned.index,
                ending: scanned.ending,
                sealed: false,
                last_batch_place: scanned.last_batch_place,
            })),
            Decision::RemoveFile => Ok(None),
            Decision::Newer => {
                let version = if let Stop::Newer(version) = stop { u32::from(version) } else { 0 };
                Err(OpenError::Newer { file: name, version })
            }
            Decision::CorruptFrame => {
                let (Stop::Torn(what) | Stop::BeforeLaterBatch(what)) = stop else {
                    return Err(corrupt(name, place, "a frame is damaged"));
                };
                Err(corrupt(name, place, what))
            }
            Decision::Disjoint => Err(corrupt(
                name,
                place,
                "the next segment does not continue here: a file is missing or foreign",
            )),
            Decision::Emptied => Err(corrupt(name, place, "acknowledged frames are gone")),
        }
    }

    /// Writes the newest segment's tail again and syncs it: the page cache may show what the disk does not have.
    fn write_tail_again(&self, file: &File<D::File>, judged: &Judged) -> Result<(), OpenError> {
        let (header, _) = file.header.encode();
        let path = &file.path;
        let written = file.file.write_at(0, &[IoSlice::new(&header)]);
        self.step(Operation::Write, path, written)?;
        if judged.sealed {
            return seal_file(&*file.file, path, &judged.index, &judged.ending, file.salt)
                .map(|_| ())
                .map_err(|failed| self.error(failed));
        }
        let batch = self.last_batch(file, judged)?;
        let mut place = judged.ending.place;
        let written = file.file.write_at(judged.last_batch_place, &[IoSlice::new(&batch)]);
        self.step(Operation::Write, path, written)?;
        let len = self.step(Operation::Read, path, file.file.len())?;
        while place < len {
            let count = (len - place).min(ZEROS.len() as u64);
            let written = file.file.write_at(place, &[IoSlice::new(&ZEROS[..count as usize])]);
            self.step(Operation::Write, path, written)?;
            place += count;
        }
        // The length too: a cut whose sync failed may show a length that the disk does not have, and behind it are
        // frames that were truncated.
        cut_file(&*file.file, path, len, file.header.capacity_bytes).map_err(|failed| self.error(failed))?;
        self.step(Operation::Sync, path, file.file.sync_data())
    }

    /// The bytes of the last batch, checked again: what is written back must not be a bad read.
    fn last_batch(&self, file: &File<D::File>, judged: &Judged) -> Result<Vec<u8>, OpenError> {
        let (start, end) = (judged.last_batch_place, judged.ending.place);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        for _ in 0..ATTEMPTS {
            let filled = read_full(&*file.file, start, &mut bytes);
            let filled = self.step(Operation::Read, &file.path, filled)?;
            if filled == bytes.len() && checks_out(&bytes, file.salt) {
                return Ok(bytes);
            }
        }
        let name = full_path(&self.disk, &file.path);
        Err(corrupt(name, start, "the last sync batch reads differently each time"))
    }

    fn assemble(self, kept: Vec<(File<D::File>, Judged)>) -> Opened<D> {
        let mut epochs: Vec<(Epoch, Position)> = Vec::new();
        if let Some((file, judged)) = kept.last() {
            epochs.clone_from(&file.header.epochs);
            epochs.extend_from_slice(&judged.ending.epochs);
        }
        let start = kept.first().map_or(Position::ZERO, |(file, _)| file.header.first);
        let end = kept.last().map_or(Position::ZERO, |(_, judged)| judged.ending.end);
        let pages = kept.iter().flat_map(|(_, judged)| judged.index.pages().iter().copied());
        let replay_from = newest_checkpoint(pages).unwrap_or(start);
        let last_log_time = kept.last().map_or(LogTime(i64::MIN), |(_, judged)| judged.ending.last_log_time);
        let newest = kept.last().map(|(file, judged)| Active {
            file: file.file.clone(),
            path: file.path.clone(),
            salt: file.salt,
            first: file.header.first,
            capacity_bytes: file.header.capacity_bytes,
            len_bytes: file.file.len().unwrap_or(judged.ending.place),
            ending: judged.ending.clone(),
            shown: true,
        });
        let sealed = kept.last().is_some_and(|(_, judged)| judged.sealed);
        let segments = kept
            .into_iter()
            .map(|(file, judged)| Segment {
                name: full_path(&self.disk, &file.path),
                path: file.path,
                salt: file.salt,
                first: file.header.first,
                capacity_bytes: file.header.capacity_bytes,
                end: judged.ending.end,
                last_log_time: judged.ending.last_log_time,
                frames_end: judged.ending.place,
                bytes: file.file.len().unwrap_or(judged.ending.place),
                sealed: judged.sealed,
                index: judged.index,
                file: file.file,
            })
            .collect();
        let view = Arc::new(View::new(segments, epochs.clone()));
        let last_epoch = epochs.last().map_or(Epoch::ZERO, |(epoch, _)| *epoch);
        let reader = LogReader::new(view.clone());
        let writer = LogWriter::new(
            self.disk,
            self.folder.to_owned(),
            self.options,
            view,
            newest,
            sealed,
            epochs.clone(),
        );
        Opened { writer, reader, replay_from, end, last_epoch, last_log_time, epochs }
    }

    fn remove(&self, path: &str) -> Result<(), OpenError> {
        self.step(Operation::Remove, path, self.disk.remove(path))
    }

    fn sync_folder(&self) -> Result<(), OpenError> {
        self.step(Operation::SyncFolder, self.folder, self.disk.sync_dir(self.folder))
    }

    fn step<T>(&self, operation: Operation, path: &str, result: std::io::Result<T>) -> Result<T, OpenError> {
        step(operation, path, 0, result).map_err(|failed| self.error(failed))
    }

    fn error(&self, failed: Failed) -> OpenError {
        OpenError::Io {
            operation: failed.operation,
            file: full_path(&self.disk, &failed.path),
            source: Arc::new(failed.source),
        }
    }
}

impl Judged {
    const fn sealed(index: Index, ending: Ending) -> Self {
        let last_batch_place = ending.place;
        Self { index, ending, sealed: true, last_batch_place }
    }
}

/// What the next segment's header says of a segment that ends so.
pub(super) fn joint(header: &SegmentHeader, ending: &Ending) -> Joint {
    Joint { first: header.first, end: ending.end, last_crc: ending.last_crc, last_batch: ending.last_batch }
}

/// Whether the bytes are good frames from the first to the last.
fn checks_out(mut bytes: &[u8], salt: u32) -> bool {
    while !bytes.is_empty() {
        let Ok(header) = FrameHeader::read(bytes, salt) else { return false };
        let Some((frame, rest)) = bytes.split_at_checked(header.frame_bytes()) else { return false };
        if !header.fits_body(frame) {
            return false;
        }
        bytes = rest;
    }
    true
}

fn corrupt(file: Arc<str>, offset: u64, what: &'static str) -> OpenError {
    OpenError::Corrupt(Corruption { file, offset, what })
}

/// Where the segment that begins at `first` lies.
pub(super) fn segment_path(folder: &str, first: Position) -> String {
    join(folder, &file_name(first))
}
