//! The bytes of the journal, and how they are judged.

use std::{collections::BTreeMap, io};

use pondage_model::{Epoch, ShardId};

use crate::{
    disk::{DiskFile, read_full},
    log::{
        ATTEMPTS,
        little_endian::{put, u32_at, u64_at},
    },
};

const MAGIC: &[u8; 8] = b"PONDPROM";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
pub(super) const RECORD_BYTES: usize = 32;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) generation: u64,
    /// Written with the file.
    pub(super) records: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) previous: u32,
    pub(super) shard: ShardId,
    pub(super) index: u32,
    pub(super) epoch: Epoch,
    pub(super) batch: u64,
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The promises, without a torn tail.
    Good(Header, BTreeMap<ShardId, Epoch>),
    Newer(u32),
    /// At this byte, this does not check out.
    Bad(u64, &'static str),
}

/// Where the record with this number begins.
pub(super) const fn place(number: u64) -> u64 {
    HEADER_BYTES as u64 + number * RECORD_BYTES as u64
}

impl Header {
    /// The header's bytes and their CRC, the salt of the records.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; HEADER_BYTES];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.generation.to_le_bytes());
        put(&mut bytes, 24, &self.records.to_le_bytes());
        let crc = header_crc(&bytes);
        put(&mut bytes, 12, &crc.to_le_bytes());
        (bytes, crc)
    }
}

impl Record {
    /// Writes the record with this number to the end of `out` and gives its CRC.
    pub(super) fn put(&self, salt: u32, number: u64, out: &mut Vec<u8>) -> u32 {
        let mut bytes = [0; RECORD_BYTES];
        put(&mut bytes, 4, &self.previous.to_le_bytes());
        put(&mut bytes, 8, &self.shard.0.to_le_bytes());
        put(&mut bytes, 12, &self.index.to_le_bytes());
        put(&mut bytes, 16, &self.epoch.0.to_le_bytes());
        put(&mut bytes, 24, &self.batch.to_le_bytes());
        let crc = record_crc(&bytes, salt, number);
        put(&mut bytes, 0, &crc.to_le_bytes());
        out.extend_from_slice(&bytes);
        crc
    }

    /// The record and its CRC, if it checks out as the one with this number.
    fn read(bytes: &[u8], salt: u32, number: u64) -> Option<(Self, u32)> {
        if bytes.len() != RECORD_BYTES || u32_at(bytes, 0) != record_crc(bytes, salt, number) {
            return None;
        }
        let record = Self {
            previous: u32_at(bytes, 4),
            shard: ShardId(u32_at(bytes, 8)),
            index: u32_at(bytes, 12),
            epoch: Epoch(u64_at(bytes, 16)),
            batch: u64_at(bytes, 24),
        };
        Some((record, u32_at(bytes, 0)))
    }
}

/// Reads a journal from its first byte to its last.
pub(super) fn read<F: DiskFile>(file: &F) -> io::Result<Found> {
    let (mut found, mut salt) = (Err(Found::Bad(0, "the header does not check out")), 0);
    for _ in 0..ATTEMPTS {
        let mut bytes = [0; HEADER_BYTES];
        let filled = read_full(file, 0, &mut bytes)?;
        found = decode_header(&bytes[..filled]);
        if found.is_ok() {
            salt = u32_at(&bytes, 12);
            break;
        }
    }
    match found {
        Ok(header) => read_records(&mut Records { file, salt, start: 0, held: Vec::new() }, header),
        Err(found) => Ok(found),
    }
}

fn decode_header(bytes: &[u8]) -> Result<Header, Found> {
    if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC {
        return Err(Found::Bad(0, "it does not begin as a journal of promises does"));
    }
    if u32_at(bytes, 8) > VERSION {
        return Err(Found::Newer(u32_at(bytes, 8)));
    }
    if u32_at(bytes, 8) != VERSION || u32_at(bytes, 12) != header_crc(bytes) {
        return Err(Found::Bad(0, "the checksum of the header does not fit"));
    }
    Ok(Header { generation: u64_at(bytes, 16), records: u32_at(bytes, 24) })
}

fn read_records<F: DiskFile>(records: &mut Records<'_, F>, header: Header) -> io::Result<Found> {
    let mut epochs = BTreeMap::new();
    let written = u64::from(header.records);
    let mut number = 0;
    let mut last: Option<Record> = None;
    let mut last_crc = records.salt;
    loop {
        let slot = records.slot(number)?;
        let follows = |(record, crc): (Record, u32)| {
            let in_order = if number < written {
                record.batch == 0 && u64::from(record.index) == number
            } else {
                let (batch, index) = last
                    .filter(|last| last.batch > 0)
                    .map_or((0, 0), |last| (last.batch, last.index.wrapping_add(1)));
                (record.batch == batch && batch > 0 && record.index == index)
                    || (record.batch == batch + 1 && record.index == 0)
            };
            let rises = epochs.get(&record.shard).is_none_or(|epoch| *epoch < record.epoch);
            (record.previous == last_crc && in_order && rises).then_some((record, crc))
        };
        match slot {
            Slot::End if number < written => {
                return Ok(Found::Bad(place(number), "records are missing"));
            }
            Slot::End => return Ok(Found::Good(header, epochs)),
            Slot::Good(record, crc) => {
                if let Some((record, crc)) = follows((record, crc)) {
                    epochs.insert(record.shard, record.epoch);
                    (last, last_crc) = (Some(record), crc);
                    number += 1;
                    continue;
                }
            }
            Slot::Bad => {}
        }
        return Ok(if number < written || records.later_batch_behind(number)? {
            Found::Bad(place(number), "a record is damaged")
        } else {
            Found::Good(header, epochs)
        });
    }
}

/// What stands where a record may.
enum Slot {
    Good(Record, u32),
    /// Or a part of one, at the file's end.
    Bad,
    End,
}

/// The records of a file, by number.
struct Records<'f, F> {
    file: &'f F,
    salt: u32,
    /// The part of the file in memory: its place and its bytes.
    start: u64,
    held: Vec<u8>,
}

impl<F: DiskFile> Records<'_, F> {
    fn slot(&mut self, number: u64) -> io::Result<Slot> {
        let place = place(number);
        let inside = place.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let at = match inside.filter(|at| at + RECORD_BYTES <= self.held.len()) {
            Some(at) => at,
            None => {
                self.held.resize(READ_BYTES, 0);
                let filled = read_full(self.file, place, &mut self.held)?;
                self.held.truncate(filled);
                self.start = place;
                0
            }
        };
        let bytes = &mut self.held[at..];
        let count = bytes.len().min(RECORD_BYTES);
        let bytes = &mut bytes[..count];
        if bytes.is_empty() {
            return Ok(Slot::End);
        }
        for _ in 1..ATTEMPTS {
            if let Some((record, crc)) = Record::read(bytes, self.salt, number) {
                return Ok(Slot::Good(record, crc));
            }
            // A read may fail where the disk did not.
            read_full(self.file, place, bytes)?;
        }
        Ok(Record::read(bytes, self.salt, number).map_or(Slot::Bad, |(record, crc)| Slot::Good(record, crc)))
    }

    /// Whether a record behind `bad` belongs to a batch that began behind it.
    fn later_batch_behind(&mut self, bad: u64) -> io::Result<bool> {
        for number in bad + 1.. {
            match self.slot(number)? {
                Slot::Good(record, _)
                    if number.checked_sub(u64::from(record.index)).is_some_and(|first| first > bad) =>
                {
                    return Ok(true);
                }
                Slot::Good(..) | Slot::Bad => {}
                Slot::End => break,
            }
        }
        Ok(false)
    }
}

fn header_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..HEADER_BYTES])
}

fn record_crc(bytes: &[u8], salt: u32, number: u64) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &number.to_le_bytes());
    crc32c::crc32c_append(crc, &bytes[4..])
}
