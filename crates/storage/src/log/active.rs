//! The segment being appended to: what its file holds, and how a batch becomes bytes in it.

use std::{
    io::{ErrorKind, IoSlice},
    ops::Range,
    sync::Arc,
};

use pondage_model::{Epoch, Position, RawEntry};

use super::{
    Operation,
    error::{Failed, step},
    frame::{FrameHeader, HEADER_BYTES, Link},
    full_path,
    header::Joint,
    index::{Ending, Index},
    view::{Segment, View},
};
use crate::disk::{Disk, DiskFile};

/// Bodies up to this size are copied next to their headers; larger ones are written from where they are.
const COPIED_BYTES_MAX: usize = 4 << 10;

/// Zeros to write.
pub(super) static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A segment being appended to.
pub(super) struct Active<F> {
    pub(super) file: Arc<F>,
    pub(super) path: String,
    pub(super) salt: u32,
    pub(super) first: Position,
    pub(super) capacity_bytes: u64,
    /// Bytes of the file that were written: frames, and zeros ahead of them.
    pub(super) len_bytes: u64,
    /// How it ends, the pending batch included.
    pub(super) ending: Ending,
    /// Whether readers see it.
    pub(super) shown: bool,
}

impl<F: DiskFile> Active<F> {
    pub(super) fn joint(&self) -> Joint {
        Joint {
            first: self.first,
            end: self.ending.end,
            last_crc: self.ending.last_crc,
            last_batch: self.ending.last_batch,
        }
    }

    /// Zeros to write behind a batch that ends at `end`.
    ///
    /// Reserved blocks are marked unwritten by the file system: the first write to one changes metadata, and the sync
    /// after it commits the file system's journal, which costs several times a plain data sync. Overwriting blocks
    /// that were written avoids that. So a small batch that reaches new blocks brings zeros for the batches after
    /// it, and only every so often a sync pays for metadata. A large batch pays once anyway, and zeros would double
    /// what it writes, so it brings none.
    pub(super) fn zeros_behind(&self, end: u64, batch_bytes: u64, zero_ahead_bytes: u64) -> u64 {
        if end <= self.len_bytes || batch_bytes > zero_ahead_bytes / 4 {
            return 0;
        }
        (end + zero_ahead_bytes).min(self.capacity_bytes) - end
    }

    /// Shows the frames of a synced batch, and the whole table of epochs up to it, to readers.
    pub(super) fn show<D: Disk<File = F>>(
        &mut self,
        view: &View<F>,
        disk: &D,
        frames: &[(FrameHeader, u64)],
        epochs: &[(Epoch, Position)],
    ) {
        let mut shown = view.write();
        // Between truncations the table only grows.
        let known = shown.epochs.len();
        shown.epochs.extend_from_slice(&epochs[known..]);
        let segments = &mut shown.segments;
        if !self.shown {
            self.shown = true;
            segments.push(Segment {
                file: self.file.clone(),
                name: full_path(disk, &self.path),
                path: self.path.clone(),
                salt: self.salt,
                first: self.first,
                capacity_bytes: self.capacity_bytes,
                end: self.first,
                last_log_time: self.ending.last_log_time,
                frames_end: 0,
                bytes: 0,
                sealed: false,
                index: Index::default(),
            });
        }
        let newest = segments.last_mut().expect("the active segment is there");
        for (frame, place) in frames {
            newest.index.add(frame, *place);
        }
        newest.end = self.ending.end;
        newest.last_log_time = self.ending.last_log_time;
        newest.frames_end = self.ending.place;
        newest.bytes = self.ending.place;
    }
}

/// A part of a batch's bytes.
pub(super) enum Piece {
    /// Headers, padding, and small attributes and bodies.
    Scratch(Range<usize>),
    /// The attributes of the entry with this index.
    Attributes(usize),
    /// The body of the entry with this index.
    Body(usize),
}

/// Makes the frames of a batch: their headers with their places, and the pieces of their bytes in order.
pub(super) fn encode<F>(
    entries: &[RawEntry],
    active: &Active<F>,
    batch: u64,
    scratch: &mut Vec<u8>,
) -> (Vec<(FrameHeader, u64)>, Vec<Piece>) {
    let start = active.ending.place;
    let mut place = start;
    let mut previous = active.ending.last_crc;
    let mut frames = Vec::with_capacity(entries.len());
    let mut pieces = Vec::new();
    let mut run = 0;
    for (index, entry) in entries.iter().enumerate() {
        let batch_gap = u32::try_from(place - start).expect("a batch is smaller than 4 GiB");
        let header = FrameHeader::put(entry, Link { salt: active.salt, previous, batch, batch_gap }, scratch);
        for (bytes, apart) in
            [(&entry.attributes, Piece::Attributes(index)), (&entry.body, Piece::Body(index))]
        {
            if bytes.len() <= COPIED_BYTES_MAX {
                scratch.extend_from_slice(bytes);
            } else {
                pieces.push(Piece::Scratch(run..scratch.len()));
                pieces.push(apart);
                run = scratch.len();
            }
        }
        let unpadded = HEADER_BYTES + entry.attributes.len() + entry.body.len();
        scratch.resize(scratch.len() + header.frame_bytes() - unpadded, 0);
        frames.push((header, place));
        previous = header.crc;
        place += header.frame_bytes() as u64;
    }
    if run < scratch.len() {
        pieces.push(Piece::Scratch(run..scratch.len()));
    }
    (frames, pieces)
}

/// Appends slices of `count` zeros.
pub(super) fn push_zeros(slices: &mut Vec<IoSlice<'_>>, mut count: u64) {
    while count > 0 {
        let part = count.min(ZEROS.len() as u64);
        slices.push(IoSlice::new(&ZEROS[..part as usize]));
        count -= part;
    }
}

/// Cuts a file that takes entries to `len` bytes, and reserves its space again, which the cut gave back. Not synced.
pub(super) fn cut_file<F: DiskFile>(file: &F, path: &str, len: u64, capacity: u64) -> Result<(), Failed> {
    step(Operation::Cut, path, len, file.set_len(len))?;
    match file.allocate(capacity) {
        // A log must open and get shorter on a full disk too. The batches to come then take their space when they
        // are written.
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(()),
        result => step(Operation::Reserve, path, len, result),
    }
}

/// Writes index block and footer behind the frames, cuts the file there and syncs it. Gives their bytes.
pub(super) fn seal_file<F: DiskFile>(
    file: &F,
    path: &str,
    index: &Index,
    ending: &Ending,
    salt: u32,
) -> Result<u64, Failed> {
    let bytes = index.encode(ending, salt);
    let end = ending.place + bytes.len() as u64;
    step(Operation::Write, path, ending.place, file.write_at(ending.place, &[IoSlice::new(&bytes)]))?;
    step(Operation::Cut, path, end, file.set_len(end))?;
    step(Operation::Sync, path, ending.place, file.sync_data())?;
    Ok(bytes.len() as u64)
}
