//! The header of a segment. `docs/formats/segment.md` draws it.

use std::io;

use pondage_model::{Epoch, Position, ShardId};

use super::{
    ATTEMPTS,
    little_endian::{put, u32_at, u64_at},
};
use crate::disk::{DiskFile, read_full};

const MAGIC: &[u8; 8] = b"PONDSEGM";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 88;
const EPOCH_BYTES: usize = 16;
const SECTOR_BYTES: usize = 512;
const NO_PREVIOUS: u64 = u64::MAX;

/// What a segment's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) shard: ShardId,
    pub(super) salt: u64,
    pub(super) first: Position,
    pub(super) first_batch: u64,
    /// Bytes for header and frames.
    pub(super) capacity_bytes: u64,
    pub(super) previous: Option<Joint>,
    /// Every epoch before this segment.
    pub(super) epochs: Vec<(Epoch, Position)>,
}

/// How the segment before ended: what its index, or a scan of it, must say too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joint {
    pub(super) first: Position,
    pub(super) end: Position,
    pub(super) last_crc: u32,
    pub(super) last_batch: u64,
}

/// What reading a header found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderFound {
    /// The header, its size and its CRC.
    Good(SegmentHeader, usize, u32),
    Newer(u32),
    Bad(&'static str),
}

impl SegmentHeader {
    /// The header's bytes and their CRC, the salt of the segment's frames.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let size = (FIXED_BYTES + self.epochs.len() * EPOCH_BYTES).next_multiple_of(SECTOR_BYTES);
        let mut bytes = vec![0; size];
        let half = |number: usize| u32::try_from(number).expect("epochs are far fewer than 2^28");
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 12, &half(size).to_le_bytes());
        put(&mut bytes, 20, &self.shard.0.to_le_bytes());
        put(&mut bytes, 24, &self.salt.to_le_bytes());
        put(&mut bytes, 32, &self.first.0.to_le_bytes());
        put(&mut bytes, 40, &self.first_batch.to_le_bytes());
        put(&mut bytes, 48, &self.capacity_bytes.to_le_bytes());
        put(&mut bytes, 56, &NO_PREVIOUS.to_le_bytes());
        if let Some(previous) = self.previous {
            put(&mut bytes, 56, &previous.first.0.to_le_bytes());
            put(&mut bytes, 64, &previous.end.0.to_le_bytes());
            put(&mut bytes, 72, &previous.last_crc.to_le_bytes());
            put(&mut bytes, 80, &previous.last_batch.to_le_bytes());
        }
        put(&mut bytes, 76, &half(self.epochs.len()).to_le_bytes());
        for (index, (epoch, position)) in self.epochs.iter().enumerate() {
            put(&mut bytes, FIXED_BYTES + index * EPOCH_BYTES, &epoch.0.to_le_bytes());
            put(&mut bytes, FIXED_BYTES + index * EPOCH_BYTES + 8, &position.0.to_le_bytes());
        }
        let crc = header_crc(&bytes);
        put(&mut bytes, 16, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a file's header, anew if it does not check out, since a read may fail where the disk did not.
    pub(super) fn read<F: DiskFile>(file: &F) -> io::Result<HeaderFound> {
        let mut found = Self::read_once(file)?;
        for _ in 1..ATTEMPTS {
            if matches!(found, HeaderFound::Good(..)) {
                break;
            }
            found = Self::read_once(file)?;
        }
        Ok(found)
    }

    fn read_once<F: DiskFile>(file: &F) -> io::Result<HeaderFound> {
        let mut fixed = [0; FIXED_BYTES];
        if read_full(file, 0, &mut fixed)? < FIXED_BYTES {
            return Ok(HeaderFound::Bad("the file ends inside its header"));
        }
        if &fixed[..8] != MAGIC {
            return Ok(HeaderFound::Bad("this is not a segment"));
        }
        if u32_at(&fixed, 8) > VERSION {
            return Ok(HeaderFound::Newer(u32_at(&fixed, 8)));
        }
        let size = u32_at(&fixed, 12) as usize;
        if size < SECTOR_BYTES || !size.is_multiple_of(SECTOR_BYTES) || size as u64 > file.len()? {
            return Ok(HeaderFound::Bad("the size of the segment's header makes no sense"));
        }
        let mut bytes = vec![0; size];
        if read_full(file, 0, &mut bytes)? < size {
            return Ok(HeaderFound::Bad("the file ends inside its header"));
        }
        Ok(Self::decode(&bytes))
    }

    fn decode(bytes: &[u8]) -> HeaderFound {
        let crc = u32_at(bytes, 16);
        if crc != header_crc(bytes) || u32_at(bytes, 8) != VERSION {
            return HeaderFound::Bad("the checksum of the segment's header does not fit");
        }
        let epochs = u32_at(bytes, 76) as usize;
        if epochs > (bytes.len() - FIXED_BYTES) / EPOCH_BYTES {
            return HeaderFound::Bad("the segment's header has more epochs than bytes");
        }
        let pair = |index: usize| {
            let at = FIXED_BYTES + index * EPOCH_BYTES;
            (Epoch(u64_at(bytes, at)), Position(u64_at(bytes, at + 8)))
        };
        let previous = (u64_at(bytes, 56) != NO_PREVIOUS).then(|| Joint {
            first: Position(u64_at(bytes, 56)),
            end: Position(u64_at(bytes, 64)),
            last_crc: u32_at(bytes, 72),
            last_batch: u64_at(bytes, 80),
        });
        let header = Self {
            shard: ShardId(u32_at(bytes, 20)),
            salt: u64_at(bytes, 24),
            first: Position(u64_at(bytes, 32)),
            first_batch: u64_at(bytes, 40),
            capacity_bytes: u64_at(bytes, 48),
            previous,
            epochs: (0..epochs).map(pair).collect(),
        };
        HeaderFound::Good(header, bytes.len(), crc)
    }
}

fn header_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..])
}

/// The name of the segment that begins at `first`.
pub(super) fn file_name(first: Position) -> String {
    format!("{:016x}.log", first.0)
}

/// The first position of the segment with this name; `None` for names that are not a segment's.
pub(super) fn first_of_name(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    let first = Position(u64::from_str_radix(digits, 16).ok()?);
    (file_name(first) == name).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_whatever_the_number_of_epochs_and_every_flipped_bit_is_seen() {
        for epochs in [0u64, 1, 26, 27, 100] {
            let header = SegmentHeader {
                shard: ShardId(4),
                salt: 5,
                first: Position(6),
                first_batch: 7,
                capacity_bytes: 8,
                previous: (epochs > 0).then_some(Joint {
                    first: Position(1),
                    end: Position(2),
                    last_crc: 3,
                    last_batch: 4,
                }),
                epochs: (0..epochs).map(|epoch| (Epoch(epoch), Position(epoch * 2))).collect(),
            };
            let (bytes, crc) = header.encode();
            assert_eq!(bytes.len() % SECTOR_BYTES, 0);
            assert_eq!(SegmentHeader::decode(&bytes), HeaderFound::Good(header, bytes.len(), crc));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                // The magic and the size are checked where the file is at hand.
                assert!(matches!(SegmentHeader::decode(&flipped), HeaderFound::Bad(_)), "bit {bit}");
            }
        }
    }

    #[test]
    fn names_are_first_positions() {
        for (name, first) in [
            ("0000000000000000.log", Some(0)),
            ("00000000000004d2.log", Some(1234)),
            ("00000000000004D2.log", None),
            ("4d2.log", None),
            ("00000000000004d2.new", None),
            ("+0000000000004d2.log", None),
        ] {
            assert_eq!(first_of_name(name), first.map(Position), "{name}");
        }
    }
}
