//! Reads a segment's frames one after the other and says how they end.

use std::{io, ops::Range};

use pondage_model::{Epoch, LogTime, Position};

use super::{
    ATTEMPTS,
    frame::{ALIGNMENT_BYTES, FrameHeader, HEADER_BYTES, NotAFrame},
    header::SegmentHeader,
    index::{Ending, Index},
};
use crate::disk::{DiskFile, read_full};

/// Bytes of one read of a scan, at least.
const WINDOW_BYTES: usize = 1 << 20;

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) index: Index,
    pub(super) ending: Ending,
    /// Where the last batch begins.
    pub(super) last_batch_place: u64,
    pub(super) frames: u64,
    pub(super) stop: Stop,
}

/// Why a scan stopped where it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing but zeros follows.
    Clean,
    /// A bad frame, and no frame of a later batch behind it.
    Torn(&'static str),
    /// A bad frame before a later batch.
    BeforeLaterBatch(&'static str),
    /// A frame of a newer version.
    Newer(u8),
}

/// A frame that is not what was written.
#[derive(Debug)]
pub(super) struct Damage {
    /// Where it begins.
    pub(super) place: u64,
    /// What does not check out.
    pub(super) what: &'static str,
}

/// Scans the frames of a segment whose header was read.
pub(super) fn scan<F: DiskFile>(
    file: &F,
    header: &SegmentHeader,
    header_bytes: usize,
    salt: u32,
) -> io::Result<Scanned> {
    let mut scanned = Scanned {
        index: Index::default(),
        ending: Ending {
            end: header.first,
            last_crc: salt,
            last_batch: 0,
            last_log_time: LogTime(i64::MIN),
            place: header_bytes as u64,
            epochs: Vec::new(),
        },
        last_batch_place: header_bytes as u64,
        frames: 0,
        stop: Stop::Clean,
    };
    let mut epoch = header.epochs.last().map_or(Epoch::ZERO, |(epoch, _)| *epoch);
    let mut had_epoch = !header.epochs.is_empty();
    let mut window = Window::new(file);
    loop {
        let place = scanned.ending.place;
        let mut found = Err(NotAFrame::Bad("not read"));
        for _ in 0..ATTEMPTS {
            found = window.frame(place, salt)?.and_then(|frame| {
                scanned.follows(&frame, header, epoch).map(|()| frame).map_err(NotAFrame::Bad)
            });
            if found.is_ok() {
                break;
            }
            window.forget();
        }
        match found {
            Ok(frame) => {
                if frame.epoch > epoch || !had_epoch {
                    (epoch, had_epoch) = (frame.epoch, true);
                    scanned.ending.epochs.push((epoch, frame.position));
                }
                scanned.take(&frame);
            }
            Err(NotAFrame::Newer(version)) => {
                scanned.stop = Stop::Newer(version);
                return Ok(scanned);
            }
            Err(NotAFrame::Bad(what)) => {
                scanned.stop = judge(&mut window, place, salt, what)?;
                return Ok(scanned);
            }
        }
    }
}

impl Scanned {
    /// Whether `frame`, which checks out by itself, may stand behind the frames so far.
    fn follows(&self, frame: &FrameHeader, header: &SegmentHeader, epoch: Epoch) -> Result<(), &'static str> {
        let ending = &self.ending;
        let first = self.frames == 0;
        let gap = ending.place - self.last_batch_place;
        if frame.previous != ending.last_crc {
            Err("a frame does not continue the one before")
        } else if frame.position < ending.end || (first && frame.position != header.first) {
            Err("a frame's position does not follow the one before")
        } else if frame.epoch < epoch {
            Err("a frame's epoch is older than the one before")
        } else if frame.batch < header.first_batch || (!first && frame.batch < ending.last_batch) {
            Err("a frame's sync batch is older than the one before")
        } else if u64::from(frame.batch_gap)
            != if !first && frame.batch == ending.last_batch { gap } else { 0 }
        {
            Err("a frame does not stand where its sync batch has it")
        } else {
            Ok(())
        }
    }

    fn take(&mut self, frame: &FrameHeader) {
        let place = self.ending.place;
        self.index.add(frame, place);
        if frame.batch_gap == 0 {
            self.last_batch_place = place;
        }
        self.frames += 1;
        self.ending.place += frame.frame_bytes() as u64;
        self.ending.end = Position(frame.position.0.saturating_add(1));
        self.ending.last_crc = frame.crc;
        self.ending.last_batch = frame.batch;
        self.ending.last_log_time = frame.log_time;
    }
}

/// Finds the last frame below `to` among the frames at `places`, of which the first is below it: its header, and the
/// byte after it.
pub(super) fn last_frame_below<F: DiskFile>(
    file: &F,
    salt: u32,
    places: Range<u64>,
    to: Position,
) -> io::Result<Result<(FrameHeader, u64), Damage>> {
    let mut window = Window::new(file);
    let mut place = places.start;
    let mut last: Option<FrameHeader> = None;
    // Where positions are dense, no frame at or above `to` is looked at: it may be damaged.
    while place < places.end && last.is_none_or(|last| last.position.next() < to) {
        let mut found = Err(NotAFrame::Bad("not read"));
        for _ in 0..ATTEMPTS {
            found = window.frame(place, salt)?;
            if found.is_ok() {
                break;
            }
            window.forget();
        }
        match found {
            Ok(frame) if frame.position >= to => break,
            Ok(frame) if last.is_some_and(|last| last.crc != frame.previous) => {
                return Ok(Err(Damage { place, what: "a frame does not continue the one before" }));
            }
            Ok(frame) => {
                place += frame.frame_bytes() as u64;
                last = Some(frame);
            }
            Err(NotAFrame::Bad(what)) => return Ok(Err(Damage { place, what })),
            Err(NotAFrame::Newer(_)) => {
                let what = "a frame of a newer version appeared while this version runs";
                return Ok(Err(Damage { place, what }));
            }
        }
    }
    Ok(last.map(|last| (last, place)).ok_or(Damage { place, what: "the index has no frame here" }))
}

/// Tells a torn tail from corruption: looks behind the bad frame at `bad` for a valid frame whose batch began later.
fn judge<F: DiskFile>(
    window: &mut Window<'_, F>,
    bad: u64,
    salt: u32,
    what: &'static str,
) -> io::Result<Stop> {
    let mut place = bad;
    let mut zeros = true;
    loop {
        let bytes = window.get(place, HEADER_BYTES)?;
        if bytes.is_empty() {
            return Ok(if zeros { Stop::Clean } else { Stop::Torn(what) });
        }
        let aligned = bytes.len().min(ALIGNMENT_BYTES);
        let zero = bytes[..aligned].iter().all(|byte| *byte == 0);
        zeros &= zero;
        if !zero
            && place > bad
            && let Ok(frame) = FrameHeader::read(bytes, salt)
            && place.checked_sub(u64::from(frame.batch_gap)).is_some_and(|batch| batch > bad)
        {
            return Ok(Stop::BeforeLaterBatch(what));
        }
        place += aligned as u64;
    }
}

/// A part of a file in memory.
struct Window<'f, F> {
    file: &'f F,
    start: u64,
    buffer: Vec<u8>,
    /// Whether the buffer reaches the file's end.
    to_end: bool,
}

impl<'f, F: DiskFile> Window<'f, F> {
    const fn new(file: &'f F) -> Self {
        Self { file, start: 0, buffer: Vec::new(), to_end: false }
    }

    /// Reads anew next time.
    fn forget(&mut self) {
        self.buffer.clear();
        self.to_end = false;
    }

    /// The bytes from `place`, `count` of them unless the file ends before.
    fn get(&mut self, place: u64, count: usize) -> io::Result<&[u8]> {
        let held = self.buffer.len() as u64;
        let inside = place >= self.start
            && place <= self.start + held
            && (self.to_end || place + count as u64 <= self.start + held);
        if !inside {
            let size = count.max(WINDOW_BYTES);
            // Frames are checked before their size is used, so `count` is at most one entry.
            self.buffer.resize(size, 0);
            let filled = read_full(self.file, place, &mut self.buffer)?;
            self.buffer.truncate(filled);
            self.start = place;
            self.to_end = filled < size;
        }
        let at = usize::try_from(place - self.start).unwrap_or(usize::MAX).min(self.buffer.len());
        Ok(&self.buffer[at..self.buffer.len().min(at + count)])
    }

    /// The frame at `place`, if a whole good one is there.
    fn frame(&mut self, place: u64, salt: u32) -> io::Result<Result<FrameHeader, NotAFrame>> {
        let header = match FrameHeader::read(self.get(place, HEADER_BYTES)?, salt) {
            Ok(header) => header,
            Err(not) => return Ok(Err(not)),
        };
        let frame = self.get(place, header.frame_bytes())?;
        Ok(if header.fits_body(frame) {
            Ok(header)
        } else {
            Err(NotAFrame::Bad("the checksum of a frame's body does not fit"))
        })
    }
}
