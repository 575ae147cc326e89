//! Frames: one entry as bytes on the disk. `docs/formats/frame.md` draws them.

use bytes::Bytes;
use pondage_model::{
    EntryKind, Epoch, LogTime, Offset, Position, RawEntry, StreamId, limits,
    planted::{self, Fault},
};

use super::little_endian::{i64_at, put, u16_at, u32_at, u64_at};

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = 80;

/// Frames begin and end at multiples of this.
pub(super) const ALIGNMENT_BYTES: usize = 8;

const MAGIC: u16 = u16::from_le_bytes(*b"Pf");
const VERSION: u8 = 1;

/// Bytes that the entry takes in its segment.
///
/// # Panics
/// If the sizes overflow: no entry in memory is that large.
#[must_use]
pub fn frame_bytes(entry: &RawEntry) -> usize {
    padded(HEADER_BYTES + entry.attributes.len() + entry.body.len())
}

const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT_BYTES)
}

/// What ties a frame to its segment, its batch and the frame before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The CRC of the segment's header.
    pub(super) salt: u32,
    /// The header CRC of the frame before; the salt in the first frame.
    pub(super) previous: u32,
    /// The number of the batch.
    pub(super) batch: u64,
    /// Bytes from the batch's first frame.
    pub(super) batch_gap: u32,
}

/// A frame's header that checked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: EntryKind,
    pub(super) crc: u32,
    body_crc: u32,
    pub(super) previous: u32,
    attributes_bytes: u32,
    body_bytes: u32,
    pub(super) position: Position,
    pub(super) epoch: Epoch,
    pub(super) stream: StreamId,
    pub(super) log_time: LogTime,
    pub(super) base_offset: Offset,
    pub(super) count: u32,
    pub(super) batch_gap: u32,
    pub(super) batch: u64,
}

/// Why bytes are not a frame that this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAFrame {
    /// They are damaged or were never a frame.
    Bad(&'static str),
    /// A newer program wrote them.
    Newer(u8),
}

impl FrameHeader {
    /// Bytes of the frame with its padding.
    pub(super) const fn frame_bytes(&self) -> usize {
        padded(HEADER_BYTES + self.attributes_bytes as usize + self.body_bytes as usize)
    }

    /// Writes the header of `entry`'s frame to the end of `out`.
    pub(super) fn put(entry: &RawEntry, link: Link, out: &mut Vec<u8>) -> Self {
        let size = |bytes: &Bytes| u32::try_from(bytes.len()).expect("an entry is smaller than 9 MiB");
        let padding = [0; ALIGNMENT_BYTES];
        let unpadded = HEADER_BYTES + entry.attributes.len() + entry.body.len();
        let body_crc = crc32c::crc32c(&entry.attributes);
        let body_crc = crc32c::crc32c_append(body_crc, &entry.body);
        let body_crc = crc32c::crc32c_append(body_crc, &padding[..padded(unpadded) - unpadded]);
        let mut header = Self {
            kind: entry.kind,
            crc: 0,
            body_crc,
            previous: link.previous,
            attributes_bytes: size(&entry.attributes),
            body_bytes: size(&entry.body),
            position: entry.position,
            epoch: entry.epoch,
            stream: entry.stream,
            log_time: entry.log_time,
            base_offset: entry.base_offset,
            count: entry.count,
            batch_gap: link.batch_gap,
            batch: link.batch,
        };
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, &MAGIC.to_le_bytes());
        bytes[2] = VERSION;
        bytes[3] = header.kind as u8;
        put(&mut bytes, 8, &header.body_crc.to_le_bytes());
        put(&mut bytes, 12, &header.previous.to_le_bytes());
        put(&mut bytes, 16, &header.attributes_bytes.to_le_bytes());
        put(&mut bytes, 20, &header.body_bytes.to_le_bytes());
        put(&mut bytes, 24, &header.position.0.to_le_bytes());
        put(&mut bytes, 32, &header.epoch.0.to_le_bytes());
        put(&mut bytes, 40, &header.stream.0.to_le_bytes());
        put(&mut bytes, 48, &header.log_time.0.to_le_bytes());
        put(&mut bytes, 56, &header.base_offset.0.to_le_bytes());
        put(&mut bytes, 64, &header.count.to_le_bytes());
        put(&mut bytes, 68, &header.batch_gap.to_le_bytes());
        put(&mut bytes, 72, &header.batch.to_le_bytes());
        header.crc = header_crc(&bytes, link.salt);
        put(&mut bytes, 4, &header.crc.to_le_bytes());
        out.extend_from_slice(&bytes);
        header
    }

    /// Reads the header at the front of `bytes`. Its sizes are within bounds when this succeeds.
    pub(super) fn read(bytes: &[u8], salt: u32) -> Result<Self, NotAFrame> {
        let Some(bytes) = bytes.get(..HEADER_BYTES) else {
            return Err(NotAFrame::Bad("the file ends inside a frame's header"));
        };
        if u16_at(bytes, 0) != MAGIC {
            return Err(NotAFrame::Bad("no frame begins here"));
        }
        if u32_at(bytes, 4) != header_crc(bytes, salt) {
            return Err(NotAFrame::Bad("the checksum of a frame's header does not fit"));
        }
        if bytes[2] != VERSION {
            return Err(NotAFrame::Newer(bytes[2]));
        }
        let Some(kind) = EntryKind::from_number(bytes[3]) else {
            return Err(NotAFrame::Newer(bytes[2]));
        };
        let header = Self {
            kind,
            crc: u32_at(bytes, 4),
            body_crc: u32_at(bytes, 8),
            previous: u32_at(bytes, 12),
            attributes_bytes: u32_at(bytes, 16),
            body_bytes: u32_at(bytes, 20),
            position: Position(u64_at(bytes, 24)),
            epoch: Epoch(u64_at(bytes, 32)),
            stream: StreamId(u64_at(bytes, 40)),
            log_time: LogTime(i64_at(bytes, 48)),
            base_offset: Offset(u64_at(bytes, 56)),
            count: u32_at(bytes, 64),
            batch_gap: u32_at(bytes, 68),
            batch: u64_at(bytes, 72),
        };
        let size = u64::from(header.attributes_bytes) + u64::from(header.body_bytes);
        if size > limits::ENTRY_BYTES_MAX as u64 {
            return Err(NotAFrame::Bad("a frame is larger than any entry"));
        }
        Ok(header)
    }

    /// Whether `frame`, this header's frame from its first byte to its last, has the body that was written.
    pub(super) fn fits_body(&self, frame: &[u8]) -> bool {
        frame.len() == self.frame_bytes()
            && (planted::is(Fault::SkipBodyChecksum)
                || crc32c::crc32c(&frame[HEADER_BYTES..]) == self.body_crc)
    }
}

/// Reads the frame that fills the front of `bytes`; the entry shares their memory.
pub(super) fn read_entry(bytes: &Bytes, salt: u32) -> Result<(FrameHeader, RawEntry), NotAFrame> {
    let header = FrameHeader::read(bytes, salt)?;
    let frame = bytes.get(..header.frame_bytes()).ok_or(NotAFrame::Bad("the file ends inside a frame"))?;
    if !header.fits_body(frame) {
        return Err(NotAFrame::Bad("the checksum of a frame's body does not fit"));
    }
    let attributes_end = HEADER_BYTES + header.attributes_bytes as usize;
    let entry = RawEntry {
        position: header.position,
        epoch: header.epoch,
        stream: header.stream,
        log_time: header.log_time,
        kind: header.kind,
        base_offset: header.base_offset,
        count: header.count,
        attributes: bytes.slice(HEADER_BYTES..attributes_end),
        body: bytes.slice(attributes_end..attributes_end + header.body_bytes as usize),
    };
    Ok((header, entry))
}

fn header_crc(bytes: &[u8], salt: u32) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &bytes[..4]);
    crc32c::crc32c_append(crc, &bytes[8..HEADER_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> RawEntry {
        RawEntry {
            position: Position(7),
            epoch: Epoch(2),
            stream: StreamId(3),
            log_time: LogTime(-4),
            kind: EntryKind::Publish,
            base_offset: Offset(11),
            count: 5,
            attributes: Bytes::from_static(b"att"),
            body: Bytes::from_static(b"the body"),
        }
    }

    fn frame(entry: &RawEntry) -> (FrameHeader, Vec<u8>) {
        let mut bytes = Vec::new();
        let link = Link { salt: 9, previous: 8, batch: 6, batch_gap: 16 };
        let header = FrameHeader::put(entry, link, &mut bytes);
        bytes.extend_from_slice(&entry.attributes);
        bytes.extend_from_slice(&entry.body);
        bytes.resize(frame_bytes(entry), 0);
        (header, bytes)
    }

    #[test]
    fn a_frame_survives_and_every_flipped_bit_and_every_cut_of_it_is_seen() {
        let (header, bytes) = frame(&entry());
        assert_eq!(bytes.len(), header.frame_bytes());
        assert_eq!(read_entry(&Bytes::from(bytes.clone()), 9), Ok((header, entry())));
        assert!(read_entry(&Bytes::from(bytes.clone()), 10).is_err(), "another segment's salt");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read_entry(&flipped.into(), 9), Err(NotAFrame::Bad(_))), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            let shorter = Bytes::copy_from_slice(&bytes[..cut]);
            assert!(matches!(read_entry(&shorter, 9), Err(NotAFrame::Bad(_))), "cut at {cut}");
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let (header, bytes) = frame(&entry());
        let mut expected = Vec::new();
        expected.extend_from_slice(b"Pf\x01\x05");
        expected.extend_from_slice(&header.crc.to_le_bytes());
        expected.extend_from_slice(&crc32c::crc32c(b"attthe body\0\0\0\0\0").to_le_bytes());
        for half in [8u32, 3, 8] {
            expected.extend_from_slice(&half.to_le_bytes());
        }
        for word in [7u64, 2, 3, 4u64.wrapping_neg(), 11] {
            expected.extend_from_slice(&word.to_le_bytes());
        }
        for half in [5u32, 16] {
            expected.extend_from_slice(&half.to_le_bytes());
        }
        expected.extend_from_slice(&6u64.to_le_bytes());
        expected.extend_from_slice(b"attthe body\0\0\0\0\0");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_unknown_kind_or_version_under_a_valid_checksum_is_newer_not_bad() {
        for at in [2, 3] {
            let (_, mut bytes) = frame(&entry());
            bytes[at] = 200;
            let crc = header_crc(&bytes, 9);
            put(&mut bytes, 4, &crc.to_le_bytes());
            assert!(matches!(read_entry(&bytes.into(), 9), Err(NotAFrame::Newer(_))));
        }
    }
}
