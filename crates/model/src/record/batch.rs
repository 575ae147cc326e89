//! The checked view of one batch.

use bytes::Bytes;

use super::{
    BATCH_HEADER_BYTES, Compression, Records,
    check::{self, ReservedHeaders, Rules},
    inflate,
};
use crate::{Offset, ProducerId, Refusal, entry::ProducerStamp, limits};

/// Where the fields of a batch's header begin; all are big-endian.
pub(super) mod at {
    pub(in super::super) const BASE_OFFSET: usize = 0;
    pub(in super::super) const LENGTH: usize = 8;
    pub(in super::super) const LEADER_EPOCH: usize = 12;
    pub(in super::super) const MAGIC: usize = 16;
    pub(in super::super) const CRC: usize = 17;
    pub(in super::super) const ATTRIBUTES: usize = 21;
    pub(in super::super) const LAST_OFFSET_DELTA: usize = 23;
    pub(in super::super) const BASE_TIMESTAMP: usize = 27;
    pub(in super::super) const MAX_TIMESTAMP: usize = 35;
    pub(in super::super) const PRODUCER_ID: usize = 43;
    pub(in super::super) const PRODUCER_EPOCH: usize = 51;
    pub(in super::super) const BASE_SEQUENCE: usize = 53;
    pub(in super::super) const COUNT: usize = 57;
}

/// The only version of the layout that is served.
pub(super) const MAGIC: u8 = 2;

/// The length field counts the bytes behind itself.
pub(super) const LENGTH_COUNTS_FROM: usize = at::LEADER_EPOCH;

const CODEC_BITS: u16 = 0b111;
const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;
const DELETE_HORIZON: u16 = 1 << 6;
const UNKNOWN_BITS: u16 = !0b111_1111;

/// The fixed-size field that begins at `start`. The bytes have been found long enough.
fn field<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[start + index])
}

fn i32_at(bytes: &[u8], start: usize) -> i32 {
    i32::from_be_bytes(field(bytes, start))
}

fn i64_at(bytes: &[u8], start: usize) -> i64 {
    i64::from_be_bytes(field(bytes, start))
}

const fn corrupt(what: &'static str) -> Refusal {
    Refusal::CorruptBatch { what }
}

/// One batch whose header and checksum are right. Its records are unseen until [`Batch::check_records`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    base_offset: Offset,
    count: u32,
    compression: Compression,
    producer: Option<ProducerStamp>,
}

/// What walking the records of a batch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsSummary {
    /// Bytes of the records without compression; the batch's header is not among them.
    pub bytes_inflated: u64,
}

impl Batch {
    /// Checks that `bytes` is exactly one batch. Reads the header and the checksum, decompresses and copies
    /// nothing.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::TooMany`] beyond [`limits::BATCH_BYTES_MAX`] and
    /// [`limits::BATCH_MESSAGES_MAX`]; [`Refusal::Unsupported`] for another version of the layout or an unknown
    /// codec; [`Refusal::NotServed`] for transactional and control batches and for timestamps that a producer
    /// claims are the log's; [`Refusal::CorruptBatch`] for anything else that does not fit together.
    pub fn parse(bytes: Bytes) -> Result<Self, Refusal> {
        if bytes.len() > limits::BATCH_BYTES_MAX {
            return Err(Refusal::TooLarge {
                what: "the batch",
                bytes: bytes.len() as u64,
                limit: limits::BATCH_BYTES_MAX as u64,
            });
        }
        check_envelope(&bytes)?;
        let compression = check_attributes(u16::from_be_bytes(field(&bytes, at::ATTRIBUTES)))?;
        let count = check_count(&bytes)?;
        let base_offset = check_base_offset(&bytes, count)?;
        let producer = check_producer(&bytes)?;
        Ok(Self { bytes, base_offset, count, compression, producer })
    }

    /// The offset of the first message. What a producer sends here means nothing until it is stamped.
    #[must_use]
    pub const fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The offset of the last message.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.count as u64 - 1)
    }

    /// Messages in the batch, at least 1.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How its records are compressed.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// The idempotent session that it belongs to, if any.
    #[must_use]
    pub const fn producer(&self) -> Option<ProducerStamp> {
        self.producer
    }

    /// The timestamp that those of the messages count from, in milliseconds since the Unix epoch by the
    /// producer's clock.
    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        i64_at(&self.bytes, at::BASE_TIMESTAMP)
    }

    /// The greatest timestamp of a message, in milliseconds, as the producer states it: nothing compares it
    /// with the messages.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        i64_at(&self.bytes, at::MAX_TIMESTAMP)
    }

    /// The whole batch, as it came.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch, as it came; without a second handle on it, so that [`super::stamp_base_offset`] can
    /// write in place.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Walks all records as a client's: they must be exactly as many as the header says, consecutive, each
    /// within the limits, with no byte left over. Inflates as it goes and keeps only a window.
    ///
    /// `message_bytes_max` bounds the key, value and headers of each message.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::TooMany`] for what goes over a limit, [`limits::BATCH_INFLATED_BYTES_MAX`]
    /// among them; [`Refusal::InvalidArgument`] for a header key that begins with
    /// [`super::RESERVED_HEADER_PREFIX`]; [`Refusal::CorruptBatch`] for the rest.
    pub fn check_records(&self, message_bytes_max: u32) -> Result<RecordsSummary, Refusal> {
        self.check(&Rules { message_bytes_max, reserved_headers: ReservedHeaders::Refused })
    }

    /// As [`Batch::check_records`] for what a broker wrote: dead letters carry reserved header keys.
    ///
    /// # Errors
    /// As there, without the one for reserved header keys.
    pub fn check_dead_letters(&self, message_bytes_max: u32) -> Result<RecordsSummary, Refusal> {
        self.check(&Rules { message_bytes_max, reserved_headers: ReservedHeaders::Allowed })
    }

    /// The messages as slices of one inflated buffer, or of the batch itself if it is not compressed. Walks the
    /// records first, so the iterator has nothing left to refuse. Whoever keeps one slice keeps the buffer.
    ///
    /// # Errors
    /// As [`Batch::check_dead_letters`] without a limit on the single message: what is stored was checked when
    /// it came, and the limit may have been lowered since.
    pub fn records(&self) -> Result<Records, Refusal> {
        let coded = self.bytes.slice(BATCH_HEADER_BYTES..);
        let inflated = match self.compression {
            Compression::None => coded,
            codec => inflate::inflate(codec, &coded)?,
        };
        let rules = Rules { message_bytes_max: u32::MAX, reserved_headers: ReservedHeaders::Allowed };
        check::walk_slice(&inflated, self.expected(), &rules)?;
        Ok(Records::new(inflated, self.base_offset, self.count, self.base_timestamp()))
    }

    fn check(&self, rules: &Rules) -> Result<RecordsSummary, Refusal> {
        let coded = &self.bytes[BATCH_HEADER_BYTES..];
        let bytes_inflated = match self.compression {
            Compression::None => check::walk_slice(coded, self.expected(), rules)?,
            codec => check::walk_stream(inflate::open(codec, coded)?, self.expected(), rules)?,
        };
        Ok(RecordsSummary { bytes_inflated })
    }

    fn expected(&self) -> check::Expected {
        check::Expected { count: self.count, base_timestamp: self.base_timestamp() }
    }
}

/// The parts that every version of the layout has, the version, and the checksum.
fn check_envelope(bytes: &[u8]) -> Result<(), Refusal> {
    let Some(&magic) = bytes.get(at::MAGIC) else {
        return Err(corrupt("it is shorter than its header"));
    };
    if magic < MAGIC {
        return Err(Refusal::Unsupported {
            what: format!("version {magic} of the message layout"),
            supported: "record batches, version 2",
        });
    }
    if magic > MAGIC {
        return Err(corrupt("its version is unknown"));
    }
    if bytes.len() < BATCH_HEADER_BYTES {
        return Err(corrupt("it is shorter than its header"));
    }
    let length = i64::from(i32_at(bytes, at::LENGTH));
    if length != (bytes.len() - LENGTH_COUNTS_FROM) as i64 {
        return Err(corrupt("its length field differs from its length"));
    }
    if u32::from_be_bytes(field(bytes, at::CRC)) != crc32c::crc32c(&bytes[at::ATTRIBUTES..]) {
        return Err(corrupt("its checksum is wrong"));
    }
    Ok(())
}

fn check_attributes(attributes: u16) -> Result<Compression, Refusal> {
    for (bits, what) in [
        (TRANSACTIONAL, "a transactional batch"),
        (CONTROL, "a control batch from a client"),
        (LOG_APPEND_TIME, "a producer's batch with log append time"),
        (DELETE_HORIZON, "a batch with a delete horizon"),
    ] {
        if attributes & bits != 0 {
            return Err(Refusal::NotServed { what });
        }
    }
    if attributes & UNKNOWN_BITS != 0 {
        return Err(corrupt("its attributes are unknown"));
    }
    Compression::from_id((attributes & CODEC_BITS) as u8)
}

fn check_count(bytes: &[u8]) -> Result<u32, Refusal> {
    let count = i32_at(bytes, at::COUNT);
    let last_offset_delta = i32_at(bytes, at::LAST_OFFSET_DELTA);
    let count = u32::try_from(count).map_err(|_| corrupt("its record count is negative"))?;
    if count == 0 {
        return Err(corrupt("it holds no record"));
    }
    if i64::from(last_offset_delta) != i64::from(count) - 1 {
        return Err(corrupt("its last offset differs from its record count"));
    }
    if count > limits::BATCH_MESSAGES_MAX {
        return Err(Refusal::TooMany {
            what: "messages in a batch",
            count: u64::from(count),
            limit: u64::from(limits::BATCH_MESSAGES_MAX),
        });
    }
    Ok(count)
}

/// The base offset lies outside the checksum: whatever it holds, no later sum may overflow.
fn check_base_offset(bytes: &[u8], count: u32) -> Result<Offset, Refusal> {
    let base = i64_at(bytes, at::BASE_OFFSET);
    match u64::try_from(base) {
        Ok(base_offset) if base.checked_add(i64::from(count)).is_some() => Ok(Offset(base_offset)),
        _ => Err(corrupt("its base offset is out of range")),
    }
}

fn check_producer(bytes: &[u8]) -> Result<Option<ProducerStamp>, Refusal> {
    let id = i64_at(bytes, at::PRODUCER_ID);
    if id == -1 {
        return Ok(None);
    }
    let epoch = i16::from_be_bytes(field(bytes, at::PRODUCER_EPOCH));
    match (u64::try_from(id), u32::try_from(epoch), u32::try_from(i32_at(bytes, at::BASE_SEQUENCE))) {
        (Ok(id), Ok(epoch), Ok(first_sequence)) => {
            Ok(Some(ProducerStamp { producer: ProducerId(id), epoch, first_sequence }))
        }
        _ => Err(corrupt("its producer id, epoch or sequence is negative")),
    }
}
