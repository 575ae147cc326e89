//! Those that read: by position for replay and catch-up, by stream and offset for consumers.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use pondage_model::{Epoch, LogTime, Offset, Position, RawEntry, StreamId};

use super::{
    ATTEMPTS, Corruption, ReadError,
    frame::{FrameHeader, HEADER_BYTES, NotAFrame, read_entry},
    index::{Located, newest_checkpoint},
    view::{Segment, View},
};
use crate::disk::{Disk, DiskFile, read_full};

/// Two entries of a stream are fetched by one read if no more than this lies between them.
const READ_OVER_BYTES_MAX: u64 = 16 << 10;

/// Bytes of one read that fetches several entries.
const RUN_BYTES_MAX: u64 = 1 << 20;

/// Reads a log up to its last sync. Cloning is cheap; all clones see the same log.
pub struct LogReader<D: Disk> {
    view: Arc<View<D::File>>,
}

/// What a log tells of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its first position.
    pub first: Position,
    /// The position after its last entry.
    pub end: Position,
    /// Bytes of its file that hold something.
    pub bytes: u64,
    /// The log time of its last entry.
    pub last_log_time: LogTime,
    /// Whether it takes no more entries.
    pub sealed: bool,
    /// The offset after the last message of each stream that has messages here.
    pub stream_ends: Vec<(StreamId, Offset)>,
}

/// A stretch of one file to read, and the entries wanted from it.
struct Run<F> {
    file: Arc<F>,
    name: Arc<str>,
    salt: u32,
    range: Range<u64>,
    located: Vec<Located>,
}

/// The base offset of the stream's first publish entry whose log time is `time` or later.
fn at_time<F>(segments: &[Segment<F>], stream: StreamId, time: LogTime) -> Option<Offset> {
    let from = segments.partition_point(|segment| segment.last_log_time < time);
    segments[from..].iter().find_map(|segment| {
        let list = segment.index.stream(stream);
        list.get(list.partition_point(|located| located.log_time < time)).map(|found| found.base_offset)
    })
}

impl<D: Disk> LogReader<D> {
    pub(super) const fn new(view: Arc<View<D::File>>) -> Self {
        Self { view }
    }

    /// The entries from `position` on, ascending, of all streams: as many as take up to `max_bytes` on the disk,
    /// but at least one if there is one. Reclaimed positions are left out: below the log's start this gives what is
    /// there from the start on. A read that meets a truncation gives what is there after it.
    ///
    /// # Errors
    /// [`ReadError`]: nothing is given if the first entry is damaged, else what lies before the damaged one.
    pub fn read_from(&self, position: Position, max_bytes: usize) -> Result<Vec<RawEntry>, ReadError> {
        self.outside_truncations(|| self.read_positions(position, max_bytes))
    }

    fn read_positions(&self, position: Position, max_bytes: usize) -> Result<Vec<RawEntry>, ReadError> {
        let mut entries = Vec::new();
        let mut taken_bytes = 0;
        let mut from = position;
        while taken_bytes < max_bytes || entries.is_empty() {
            let Some((run, end)) = self.segment_run(from) else { break };
            let result = read_frames(&run, from, max_bytes, &mut taken_bytes, &mut entries);
            match result {
                Ok(true) => from = end,
                Ok(false) => break,
                Err(error) if entries.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(entries)
    }

    /// The publish entries of `stream` that hold offsets at or above `from`, ascending: as many as take up to
    /// `max_bytes` on the disk, but at least one if there is one. A read that meets a truncation gives what is there
    /// after it.
    ///
    /// # Errors
    /// [`ReadError`]: nothing is given if the first entry is damaged, else what lies before the damaged one.
    pub fn read_stream(
        &self,
        stream: StreamId,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<RawEntry>, ReadError> {
        self.outside_truncations(|| self.read_offsets(stream, from, max_bytes))
    }

    fn read_offsets(
        &self,
        stream: StreamId,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<RawEntry>, ReadError> {
        let mut entries = Vec::new();
        for run in self.stream_runs(stream, from, max_bytes) {
            match read_run(&run, &mut entries) {
                Ok(()) => {}
                Err(error) if entries.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(entries)
    }

    /// The base offset of the stream's first publish entry whose log time is `time` or later; `None` if there is
    /// none yet.
    #[must_use]
    pub fn offset_at_time(&self, stream: StreamId, time: LogTime) -> Option<Offset> {
        at_time(&self.view.read().segments, stream, time)
    }

    /// As [`Self::offset_at_time`]; where there is no such message yet, the end of what the log has of the stream, as of
    /// the same look. `None` if it has nothing.
    #[must_use]
    pub fn first_since(&self, stream: StreamId, time: LogTime) -> Option<Offset> {
        let segments = &self.view.read().segments;
        at_time(segments, stream, time).or_else(|| {
            segments.iter().rev().find_map(|segment| {
                let ends = segment.index.stream_ends();
                ends.into_iter().find_map(|(found, end)| (found == stream).then_some(end))
            })
        })
    }

    /// Every segment, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let info = |segment: &Segment<D::File>| SegmentInfo {
            first: segment.first,
            end: segment.end,
            bytes: segment.bytes,
            last_log_time: segment.last_log_time,
            sealed: segment.sealed,
            stream_ends: segment.index.stream_ends(),
        };
        self.view.read().segments.iter().map(info).collect()
    }

    /// Bytes of all segments' files that hold something.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.view.read().segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The first position that is still there; [`Self::end`] of an empty log.
    #[must_use]
    pub fn start(&self) -> Position {
        self.view.read().segments.first().map_or(Position::ZERO, |segment| segment.first)
    }

    /// The position after the last synced entry.
    #[must_use]
    pub fn end(&self) -> Position {
        self.view.read().segments.last().map_or(Position::ZERO, |segment| segment.end)
    }

    /// Every epoch that ever wrote here with its first position, ascending. Reclaiming entries keeps it, truncation
    /// cuts it.
    #[must_use]
    pub fn epochs(&self) -> Vec<(Epoch, Position)> {
        self.view.read().epochs.clone()
    }

    /// The epoch of the last entry below `position`, be it still there or reclaimed; [`Epoch::ZERO`] if there never
    /// was one.
    #[must_use]
    pub fn epoch_at(&self, position: Position) -> Epoch {
        let epochs = &self.view.read().epochs;
        let after = epochs.partition_point(|(_, first)| *first < position);
        after.checked_sub(1).map_or(Epoch::ZERO, |at| epochs[at].0)
    }

    /// Where a replay of the entries below `end` begins: the first page of the newest checkpoint that is complete below
    /// `end`, else the log's start. So a replica whose newest checkpoint may still be truncated begins before it.
    #[must_use]
    pub fn replay_from(&self, end: Position) -> Position {
        let segments = &self.view.read().segments;
        let pages = segments.iter().flat_map(|segment| segment.index.pages().iter().copied());
        let below = pages.take_while(|page| page.position < end);
        let start = segments.first().map_or(Position::ZERO, |segment| segment.first);
        newest_checkpoint(below).unwrap_or(start)
    }

    /// Reads again if a truncation came in between, since the places that were looked up may hold other bytes now.
    /// That repeats only as often as the log is truncated, which takes syncs.
    fn outside_truncations<T>(&self, read: impl Fn() -> T) -> T {
        loop {
            let before = self.view.read().truncations;
            let result = read();
            if self.view.read().truncations == before {
                return result;
            }
        }
    }

    /// The frames of the segment that holds `position` or, if none does, the next one, from a place at or before it;
    /// and that segment's end.
    fn segment_run(&self, position: Position) -> Option<(Run<D::File>, Position)> {
        let segments = &self.view.read().segments;
        let segment = segments.get(segments.partition_point(|segment| segment.end <= position))?;
        let place = segment.index.place_before(position)?;
        Some((segment.run(place..segment.frames_end), segment.end))
    }

    /// Where the entries that [`Self::read_stream`] gives lie, neighbours together.
    fn stream_runs(&self, stream: StreamId, from: Offset, max_bytes: usize) -> Vec<Run<D::File>> {
        let segments = &self.view.read().segments;
        // Most reads are near the end: walk back to the newest segment that begins at or before `from`.
        let mut start = segments.len();
        for (at, segment) in segments.iter().enumerate().rev() {
            if let Some(first) = segment.index.stream(stream).first() {
                start = at;
                if first.base_offset <= from {
                    break;
                }
            }
        }
        let mut runs: Vec<Run<D::File>> = Vec::new();
        let mut taken_bytes = 0;
        for segment in &segments[start..] {
            let list = segment.index.stream(stream);
            let mut fresh = true;
            for located in &list[list.partition_point(|located| located.end() <= from)..] {
                if taken_bytes > 0 && taken_bytes + located.bytes as usize > max_bytes {
                    return runs;
                }
                taken_bytes += located.bytes as usize;
                match runs.last_mut() {
                    Some(run) if !fresh && run.reaches(located) => run.range.end = located.place_end(),
                    _ => runs.push(segment.run(located.place..located.place_end())),
                }
                fresh = false;
                runs.last_mut().expect("a run was just taken").located.push(*located);
            }
        }
        runs
    }
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        Self { view: self.view.clone() }
    }
}

impl<D: Disk> fmt::Debug for LogReader<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start(), self.end());
        f.debug_struct("LogReader").field("start", &start).field("end", &end).finish_non_exhaustive()
    }
}

impl<F> Segment<F> {
    fn run(&self, range: Range<u64>) -> Run<F> {
        Run { file: self.file.clone(), name: self.name.clone(), salt: self.salt, range, located: Vec::new() }
    }
}

impl<F: DiskFile> Run<F> {
    /// Whether the entry is near enough behind to be fetched along.
    fn reaches(&self, located: &Located) -> bool {
        located.place >= self.range.end
            && located.place - self.range.end <= READ_OVER_BYTES_MAX
            && located.place_end() - self.range.start <= RUN_BYTES_MAX
    }

    /// The bytes of a part of the file, fewer if it ends before.
    fn read(&self, place: u64, count: usize) -> Result<Bytes, ReadError> {
        let mut buffer = vec![0; count];
        let filled = read_full(&*self.file, place, &mut buffer).map_err(|source| ReadError::Io {
            file: self.name.clone(),
            offset: place,
            source: Arc::new(source),
        })?;
        buffer.truncate(filled);
        Ok(buffer.into())
    }

    fn corrupt(&self, offset: u64, not: NotAFrame) -> ReadError {
        let what = match not {
            NotAFrame::Bad(what) => what,
            NotAFrame::Newer(_) => "a frame of a newer version appeared while this version runs",
        };
        ReadError::Corrupt(Corruption { file: self.name.clone(), offset, what })
    }

    /// The frame at `place`, with `left_bytes` up to the end of the frames, read anew until it checks out.
    fn read_again(&self, place: u64, left_bytes: usize) -> Result<(FrameHeader, RawEntry), ReadError> {
        let mut not = NotAFrame::Bad("not read");
        for _ in 1..ATTEMPTS {
            let bytes = self.read(place, HEADER_BYTES.min(left_bytes))?;
            let found = FrameHeader::read(&bytes, self.salt, place)
                .map(|header| header.frame_bytes().min(left_bytes));
            let found = match found {
                Ok(bytes) => read_entry(&self.read(place, bytes)?, self.salt, place),
                Err(not) => Err(not),
            };
            match found {
                Ok(found) => return Ok(found),
                Err(error) => not = error,
            }
        }
        Err(self.corrupt(place, not))
    }
}

/// Reads the located entries of a run and appends them.
fn read_run<F: DiskFile>(run: &Run<F>, entries: &mut Vec<RawEntry>) -> Result<(), ReadError> {
    let bytes = run.read(run.range.start, (run.range.end - run.range.start) as usize)?;
    for located in &run.located {
        let at = ((located.place - run.range.start) as usize).min(bytes.len());
        let (header, entry) = match read_entry(&bytes.slice(at..), run.salt, located.place) {
            Ok(found) => found,
            Err(_) => run.read_again(located.place, located.bytes as usize)?,
        };
        if (header.position, header.base_offset) != (located.position, located.base_offset) {
            return Err(
                run.corrupt(located.place, NotAFrame::Bad("another entry is where the index has this one"))
            );
        }
        entries.push(entry);
    }
    Ok(())
}

/// Reads the frames of a run one after the other, from `from` on. Whether the run was read to its end.
fn read_frames<F: DiskFile>(
    run: &Run<F>,
    from: Position,
    max_bytes: usize,
    taken_bytes: &mut usize,
    entries: &mut Vec<RawEntry>,
) -> Result<bool, ReadError> {
    let mut place = run.range.start;
    let mut held = Bytes::new();
    while place < run.range.end {
        let left_bytes = usize::try_from(run.range.end - place).unwrap_or(usize::MAX);
        let size =
            FrameHeader::read(&held, run.salt, place).map_or(HEADER_BYTES, |header| header.frame_bytes());
        if size > held.len() || held.len() < HEADER_BYTES {
            // Not whole in memory: fetch it, with what will be wanted next.
            let ahead = max_bytes.saturating_sub(*taken_bytes).clamp(64 << 10, RUN_BYTES_MAX as usize);
            held = run.read(place, size.max(ahead).min(left_bytes))?;
        }
        let (header, entry) = match read_entry(&held, run.salt, place) {
            Ok(found) => found,
            // Larger than what was fetched, or a bad read.
            Err(_) => run.read_again(place, left_bytes)?,
        };
        let size = header.frame_bytes();
        if !take(size, entry, from, max_bytes, taken_bytes, entries) {
            return Ok(false);
        }
        held = if held.len() >= size { held.slice(size..) } else { Bytes::new() };
        place += size as u64;
    }
    Ok(true)
}

/// Appends the entry if it is wanted and fits; whether it did or was not wanted.
fn take(
    bytes: usize,
    entry: RawEntry,
    from: Position,
    max_bytes: usize,
    taken_bytes: &mut usize,
    entries: &mut Vec<RawEntry>,
) -> bool {
    if entry.position < from {
        return true;
    }
    if !entries.is_empty() && *taken_bytes + bytes > max_bytes {
        return false;
    }
    *taken_bytes += bytes;
    entries.push(entry);
    true
}
