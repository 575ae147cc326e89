//! Where a segment's entries are: kept in memory, and written behind the frames when the segment is sealed.

use std::{collections::BTreeMap, io};

use pondage_model::{EntryKind, Epoch, LogTime, Offset, Position, StreamId};

use super::{
    frame::FrameHeader,
    little_endian::{i64_at, u32_at, u64_at},
};
use crate::disk::{DiskFile, read_full};

const MAGIC: &[u8; 4] = b"PSIX";
const FOOTER_MAGIC: &[u8; 4] = b"PSFT";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 64;
const PUBLISH_BYTES: usize = 48;
const PAGE_BYTES: usize = 24;
const PAIR_BYTES: usize = 16;
const FOOTER_BYTES: usize = 32;

/// Bytes between two marks: what a read from a position reads in vain at most, beyond one entry.
const MARK_BYTES: u64 = 64 << 10;

/// Where one publish entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) base_offset: Offset,
    pub(super) count: u32,
    pub(super) position: Position,
    pub(super) log_time: LogTime,
    pub(super) place: u64,
    pub(super) bytes: u32,
}

impl Located {
    /// The offset after its last message.
    pub(super) const fn end(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(self.count as u64))
    }

    /// The byte after it.
    pub(super) const fn place_end(&self) -> u64 {
        self.place.saturating_add(self.bytes as u64)
    }
}

/// A page of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) position: Position,
    pub(super) epoch: Epoch,
    pub(super) index: u32,
    pub(super) total: u32,
}

/// Where the entries of one segment are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    streams: BTreeMap<StreamId, Vec<Located>>,
    pages: Vec<Page>,
    marks: Vec<(Position, u64)>,
}

/// How a segment's frames end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) end: Position,
    pub(super) last_crc: u32,
    pub(super) last_batch: u64,
    pub(super) last_log_time: LogTime,
    /// The byte after the last frame.
    pub(super) place: u64,
    /// Epochs that began in the segment.
    pub(super) epochs: Vec<(Epoch, Position)>,
}

impl Index {
    /// Takes note of the frame at `place`. Frames come in the order of their positions.
    pub(super) fn add(&mut self, header: &FrameHeader, place: u64) {
        if self.marks.last().is_none_or(|(_, mark)| place - mark >= MARK_BYTES) {
            self.marks.push((header.position, place));
        }
        match header.kind {
            EntryKind::Publish => self.add_publish(
                header.stream,
                Located {
                    base_offset: header.base_offset,
                    count: header.count,
                    position: header.position,
                    log_time: header.log_time,
                    place,
                    bytes: header.frame_bytes() as u32,
                },
            ),
            EntryKind::CheckpointPage => self.pages.push(Page {
                position: header.position,
                epoch: header.epoch,
                index: u32::try_from(header.base_offset.0).unwrap_or(u32::MAX),
                total: header.count,
            }),
            _ => {}
        }
    }

    fn add_publish(&mut self, stream: StreamId, located: Located) {
        let list = self.streams.entry(stream).or_default();
        let at = list.partition_point(|other| other.base_offset <= located.base_offset);
        list.insert(at, located);
    }

    /// Forgets the frames at and above `to`.
    pub(super) fn cut(&mut self, to: Position) {
        self.streams.retain(|_, list| {
            list.retain(|located| located.position < to);
            !list.is_empty()
        });
        self.pages.retain(|page| page.position < to);
        self.marks.retain(|(position, _)| *position < to);
    }

    /// The publishes of a stream by offset; empty if there is none.
    pub(super) fn stream(&self, stream: StreamId) -> &[Located] {
        self.streams.get(&stream).map_or(&[], Vec::as_slice)
    }

    /// The offset after the last message of each stream here.
    pub(super) fn stream_ends(&self) -> Vec<(StreamId, Offset)> {
        let last = |list: &Vec<Located>| list.last().map(Located::end);
        self.streams.iter().filter_map(|(stream, list)| Some((*stream, last(list)?))).collect()
    }

    pub(super) fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// A place at or before the frame of `position`; `None` in an empty index.
    pub(super) fn place_before(&self, position: Position) -> Option<u64> {
        let at = self.marks.partition_point(|(mark, _)| *mark <= position);
        self.marks.get(at.saturating_sub(1)).map(|(_, place)| *place)
    }

    /// The index block and the footer as they stand behind the frames.
    pub(super) fn encode(&self, ending: &Ending, salt: u32) -> Vec<u8> {
        let publishes: usize = self.streams.values().map(Vec::len).sum();
        let counts = [publishes, self.pages.len(), self.marks.len(), ending.epochs.len()];
        let mut out =
            Vec::with_capacity(block_bytes(counts.map(|count| count as u64)) as usize + FOOTER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&salt.to_le_bytes());
        out.extend_from_slice(&ending.last_crc.to_le_bytes());
        out.extend_from_slice(&ending.end.0.to_le_bytes());
        out.extend_from_slice(&ending.last_batch.to_le_bytes());
        out.extend_from_slice(&ending.last_log_time.0.to_le_bytes());
        out.extend_from_slice(&ending.place.to_le_bytes());
        for count in counts {
            let count = u32::try_from(count).expect("a segment has fewer than 2^32 frames");
            out.extend_from_slice(&count.to_le_bytes());
        }
        for (stream, list) in &self.streams {
            for located in list {
                out.extend_from_slice(&stream.0.to_le_bytes());
                out.extend_from_slice(&located.base_offset.0.to_le_bytes());
                out.extend_from_slice(&located.position.0.to_le_bytes());
                out.extend_from_slice(&located.log_time.0.to_le_bytes());
                out.extend_from_slice(&located.place.to_le_bytes());
                out.extend_from_slice(&located.bytes.to_le_bytes());
                out.extend_from_slice(&located.count.to_le_bytes());
            }
        }
        for page in &self.pages {
            out.extend_from_slice(&page.position.0.to_le_bytes());
            out.extend_from_slice(&page.epoch.0.to_le_bytes());
            out.extend_from_slice(&page.index.to_le_bytes());
            out.extend_from_slice(&page.total.to_le_bytes());
        }
        for (position, place) in &self.marks {
            out.extend_from_slice(&position.0.to_le_bytes());
            out.extend_from_slice(&place.to_le_bytes());
        }
        for (epoch, position) in &ending.epochs {
            out.extend_from_slice(&epoch.0.to_le_bytes());
            out.extend_from_slice(&position.0.to_le_bytes());
        }
        let block = (out.len() as u64, crc32c::crc32c(&out));
        let footer_start = out.len();
        out.extend_from_slice(&ending.place.to_le_bytes());
        out.extend_from_slice(&block.0.to_le_bytes());
        out.extend_from_slice(&block.1.to_le_bytes());
        out.extend_from_slice(&salt.to_le_bytes());
        out.extend_from_slice(FOOTER_MAGIC);
        let footer_crc = crc32c::crc32c(&out[footer_start..]);
        out.extend_from_slice(&footer_crc.to_le_bytes());
        out
    }

    /// Reads the index of a sealed segment; `None` if the file does not end in a good one.
    pub(super) fn read<F: DiskFile>(file: &F, salt: u32) -> io::Result<Option<(Self, Ending)>> {
        let len = file.len()?;
        let Some(footer_place) = len.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
        let mut footer = [0; FOOTER_BYTES];
        if read_full(file, footer_place, &mut footer)? < FOOTER_BYTES
            || &footer[24..28] != FOOTER_MAGIC
            || u32_at(&footer, 28) != crc32c::crc32c(&footer[..28])
            || u32_at(&footer, 20) != salt
        {
            return Ok(None);
        }
        let (place, size) = (u64_at(&footer, 0), u64_at(&footer, 8));
        if place.checked_add(size) != Some(footer_place) {
            return Ok(None);
        }
        // The footer checked out and the file has these bytes, so the size is one that we wrote.
        let mut block = vec![0; size as usize];
        if read_full(file, place, &mut block)? < block.len() || crc32c::crc32c(&block) != u32_at(&footer, 16)
        {
            return Ok(None);
        }
        Ok(Self::decode(&block, place, salt))
    }

    fn decode(block: &[u8], place: u64, salt: u32) -> Option<(Self, Ending)> {
        if block.len() < FIXED_BYTES
            || &block[..4] != MAGIC
            || u32_at(block, 4) != VERSION
            || u32_at(block, 8) != salt
            || u64_at(block, 40) != place
        {
            return None;
        }
        let counts: [u64; 4] = std::array::from_fn(|index| u64::from(u32_at(block, 48 + 4 * index)));
        if block_bytes(counts) != block.len() as u64 {
            return None;
        }
        let [publishes, pages, marks, epochs] = counts.map(|count| count as usize);
        let mut index = Self::default();
        let mut rest = &block[FIXED_BYTES..];
        for record in take(&mut rest, publishes, PUBLISH_BYTES) {
            let located = Located {
                base_offset: Offset(u64_at(record, 8)),
                position: Position(u64_at(record, 16)),
                log_time: LogTime(i64_at(record, 24)),
                place: u64_at(record, 32),
                bytes: u32_at(record, 40),
                count: u32_at(record, 44),
            };
            if located.place_end() > place {
                return None;
            }
            index.add_publish(StreamId(u64_at(record, 0)), located);
        }
        for record in take(&mut rest, pages, PAGE_BYTES) {
            index.pages.push(Page {
                position: Position(u64_at(record, 0)),
                epoch: Epoch(u64_at(record, 8)),
                index: u32_at(record, 16),
                total: u32_at(record, 20),
            });
        }
        for record in take(&mut rest, marks, PAIR_BYTES) {
            index.marks.push((Position(u64_at(record, 0)), u64_at(record, 8)));
        }
        let ending = Ending {
            end: Position(u64_at(block, 16)),
            last_crc: u32_at(block, 12),
            last_batch: u64_at(block, 24),
            last_log_time: LogTime(i64_at(block, 32)),
            place,
            epochs: take(&mut rest, epochs, PAIR_BYTES)
                .map(|record| (Epoch(u64_at(record, 0)), Position(u64_at(record, 8))))
                .collect(),
        };
        Some((index, ending))
    }
}

/// Finds the newest complete checkpoint among pages in the order of their positions, and gives its first position.
pub(super) fn newest_checkpoint(pages: impl Iterator<Item = Page>) -> Option<Position> {
    let mut newest = None;
    let mut run: Option<(Position, Page)> = None;
    for page in pages {
        let first = match run {
            _ if page.index == 0 => Some(page.position),
            Some((first, last))
                if page.index == last.index + 1
                    && page.position == last.position.next()
                    && (page.total, page.epoch) == (last.total, last.epoch) =>
            {
                Some(first)
            }
            _ => None,
        };
        if page.index.checked_add(1) == Some(page.total) {
            newest = first.or(newest);
            run = None;
        } else {
            run = first.map(|first| (first, page));
        }
    }
    newest
}

fn block_bytes(counts: [u64; 4]) -> u64 {
    let sizes = [PUBLISH_BYTES, PAGE_BYTES, PAIR_BYTES, PAIR_BYTES];
    FIXED_BYTES as u64 + counts.iter().zip(sizes).map(|(count, size)| count * size as u64).sum::<u64>()
}

/// Takes `count` records from the front of `rest`, whose length was checked.
fn take<'a>(rest: &mut &'a [u8], count: usize, size: usize) -> std::slice::ChunksExact<'a, u8> {
    let (records, behind) = rest.split_at(count * size);
    *rest = behind;
    records.chunks_exact(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(position: u64, index: u32, total: u32) -> Page {
        Page { position: Position(position), epoch: Epoch(1), index, total }
    }

    #[test]
    fn the_newest_checkpoint_is_the_last_whose_pages_are_all_there() {
        for (pages, expected) in [
            (vec![], None),
            (vec![page(5, 0, 1)], Some(5)),
            (vec![page(5, 0, 2)], None),
            (vec![page(5, 0, 2), page(6, 1, 2)], Some(5)),
            (vec![page(5, 0, 2), page(7, 1, 2)], None),
            (vec![page(5, 0, 2), page(6, 1, 3)], None),
            (vec![page(6, 1, 2)], None),
            (vec![page(5, 0, 1), page(8, 0, 2)], Some(5)),
            (vec![page(5, 0, 1), page(8, 0, 2), page(9, 1, 2)], Some(8)),
            (vec![page(5, 0, 2), page(8, 0, 2), page(9, 1, 2)], Some(8)),
            (vec![page(5, 0, 0)], None),
            (vec![page(5, 0, 2), Page { epoch: Epoch(2), ..page(6, 1, 2) }], None),
            (vec![page(5, u32::MAX, 2)], None),
        ] {
            let found = newest_checkpoint(pages.iter().copied());
            assert_eq!(found, expected.map(Position), "{pages:?}");
        }
    }

    #[test]
    fn an_index_block_survives_and_no_other_bytes_decode() {
        let mut index = Index::default();
        for (stream, offset) in [(1, 0), (2, 5), (1, 3)] {
            index.add_publish(
                StreamId(stream),
                Located {
                    base_offset: Offset(offset),
                    count: 3,
                    position: Position(offset),
                    log_time: LogTime(-5),
                    place: 512 + offset * 100,
                    bytes: 96,
                },
            );
        }
        index.pages.push(page(4, 0, 1));
        index.marks.push((Position(0), 512));
        let ending = Ending {
            end: Position(9),
            last_crc: 77,
            last_batch: 3,
            last_log_time: LogTime(-5),
            place: 4_096,
            epochs: vec![(Epoch(1), Position(0))],
        };
        let bytes = index.encode(&ending, 42);
        let block = &bytes[..bytes.len() - FOOTER_BYTES];
        assert_eq!(Index::decode(block, 4_096, 42), Some((index, ending)));
        assert_eq!(Index::decode(block, 4_096, 43), None);
        assert_eq!(Index::decode(block, 4_104, 42), None);
        for cut in 0..block.len() {
            assert_eq!(Index::decode(&block[..cut], 4_096, 42), None);
        }
    }
}
