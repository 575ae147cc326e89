//! The walk over the records of a batch as they inflate. It keeps a header's key at most; keys and values are
//! counted and skipped.

use std::io::BufRead;

use super::{RESERVED_HEADER_PREFIX, inflate, varint};
use crate::{Refusal, limits};

/// What the header of the batch says about its records.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) count: u32,
    pub(super) base_timestamp: i64,
}

/// What the records may hold.
pub(super) struct Rules {
    /// Bytes of the key, value and headers of one message.
    pub(super) message_bytes_max: u32,
    pub(super) reserved_headers: ReservedHeaders,
}

/// Whether header keys of our own may occur.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReservedHeaders {
    Allowed,
    Refused,
}

/// Walks records that lie in memory, and gives their bytes.
pub(super) fn walk_slice(records: &[u8], expected: Expected, rules: &Rules) -> Result<u64, Refusal> {
    walk(records, records.len() as u64, expected, rules)
}

/// Walks records as they come from a decompressor, and gives their bytes.
pub(super) fn walk_stream(records: impl BufRead, expected: Expected, rules: &Rules) -> Result<u64, Refusal> {
    walk(records, u64::MAX, expected, rules)
}

fn walk(input: impl BufRead, bytes_total: u64, expected: Expected, rules: &Rules) -> Result<u64, Refusal> {
    let mut walk = Walk { input, walked: 0, end: bytes_total, header_key: Vec::new() };
    for index in 0..expected.count {
        walk.record(index, expected.base_timestamp, rules)?;
        walk.end = bytes_total;
    }
    if !walk.chunk()?.is_empty() {
        return Err(corrupt("bytes are left over behind its records"));
    }
    Ok(walk.walked)
}

const fn corrupt(what: &'static str) -> Refusal {
    Refusal::CorruptBatch { what }
}

struct Walk<R> {
    input: R,
    /// Bytes behind us.
    walked: u64,
    /// Where the current record ends; between records, where they all end as far as that is known.
    end: u64,
    /// The key of the current header; kept to use its memory again.
    header_key: Vec<u8>,
}

impl<R: BufRead> Walk<R> {
    fn record(&mut self, index: u32, base_timestamp: i64, rules: &Rules) -> Result<(), Refusal> {
        let length = self.length("a record's length is negative")?;
        self.enter(length)?;
        self.skip(1)?; // the record's attributes: none are defined
        let timestamp_delta = self.number(varint::BYTES_MAX_64)?;
        if base_timestamp.checked_add(timestamp_delta).is_none() {
            return Err(corrupt("a record's timestamp is out of range"));
        }
        if self.number(varint::BYTES_MAX_32)? != i64::from(index) {
            return Err(corrupt("its offsets are not consecutive"));
        }
        let mut message = Message { bytes: 0, bytes_max: rules.message_bytes_max };
        self.nullable(&mut message)?;
        self.nullable(&mut message)?;
        self.headers(&mut message, rules.reserved_headers)?;
        if self.walked != self.end {
            return Err(corrupt("a record's length differs from its fields"));
        }
        Ok(())
    }

    /// Begins a record of `length` bytes: from here to its end no field may reach beyond.
    fn enter(&mut self, length: u64) -> Result<(), Refusal> {
        let end = self.walked + length;
        if end > self.end {
            return Err(corrupt("a record reaches beyond its end"));
        }
        if end > limits::BATCH_INFLATED_BYTES_MAX as u64 {
            return Err(inflate::too_large(end));
        }
        self.end = end;
        Ok(())
    }

    /// Skips a key or value.
    fn nullable(&mut self, message: &mut Message) -> Result<(), Refusal> {
        match self.number_32()? {
            -1 => Ok(()),
            length => {
                let length = u64::try_from(length).map_err(|_| corrupt("a length is negative"))?;
                self.within_record(length)?;
                message.add(length)?;
                self.skip(length)
            }
        }
    }

    fn headers(&mut self, message: &mut Message, reserved: ReservedHeaders) -> Result<(), Refusal> {
        let count = self.length("a header count is negative")?;
        if count > limits::HEADERS_MAX as u64 {
            return Err(Refusal::TooMany {
                what: "headers of one message",
                count,
                limit: limits::HEADERS_MAX as u64,
            });
        }
        for _ in 0..count {
            self.header_key(message, reserved)?;
            self.nullable(message)?;
        }
        Ok(())
    }

    fn header_key(&mut self, message: &mut Message, reserved: ReservedHeaders) -> Result<(), Refusal> {
        let length = self.length("a header's key has no length")?;
        self.within_record(length)?;
        if length > limits::HEADER_KEY_BYTES_MAX as u64 {
            return Err(Refusal::TooLarge {
                what: "a header's key",
                bytes: length,
                limit: limits::HEADER_KEY_BYTES_MAX as u64,
            });
        }
        message.add(length)?;
        self.take_header_key(length as usize)?;
        let Ok(key) = std::str::from_utf8(&self.header_key) else {
            return Err(corrupt("a header's key is not UTF-8"));
        };
        if reserved == ReservedHeaders::Refused && key.starts_with(RESERVED_HEADER_PREFIX) {
            return Err(Refusal::InvalidArgument {
                what: format!("header keys that begin with {RESERVED_HEADER_PREFIX:?} are reserved"),
            });
        }
        Ok(())
    }

    fn take_header_key(&mut self, length: usize) -> Result<(), Refusal> {
        self.header_key.clear();
        while self.header_key.len() < length {
            let missing = length - self.header_key.len();
            let chunk = fill(&mut self.input)?;
            if chunk.is_empty() {
                return Err(corrupt("its records end early"));
            }
            let take = missing.min(chunk.len());
            self.header_key.extend_from_slice(&chunk[..take]);
            self.input.consume(take);
        }
        self.walked += length as u64;
        Ok(())
    }

    fn skip(&mut self, length: u64) -> Result<(), Refusal> {
        let mut rest = length;
        while rest > 0 {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Err(corrupt("its records end early"));
            }
            let take = chunk.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            self.input.consume(take);
            rest -= take as u64;
        }
        self.walked += length;
        Ok(())
    }

    fn length(&mut self, negative: &'static str) -> Result<u64, Refusal> {
        u64::try_from(self.number_32()?).map_err(|_| corrupt(negative))
    }

    fn number_32(&mut self) -> Result<i32, Refusal> {
        i32::try_from(self.number(varint::BYTES_MAX_32)?).map_err(|_| corrupt("a number is out of range"))
    }

    fn number(&mut self, bytes_max: usize) -> Result<i64, Refusal> {
        let mut reader = varint::Reader::default();
        loop {
            let byte = *self.chunk()?.first().ok_or(corrupt("its records end early"))?;
            self.input.consume(1);
            self.walked += 1;
            match reader.step(byte, bytes_max) {
                varint::Step::More => {}
                varint::Step::Done(value) => return Ok(value),
                varint::Step::TooLong => return Err(corrupt("a number is too long")),
            }
        }
    }

    /// Whether the next `length` bytes are still the record's: a lie is told apart from a large message.
    fn within_record(&self, length: u64) -> Result<(), Refusal> {
        if self.walked + length > self.end {
            return Err(corrupt("a field reaches beyond its record"));
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<&[u8], Refusal> {
        fill(&mut self.input)
    }
}

fn fill(input: &mut impl BufRead) -> Result<&[u8], Refusal> {
    input.fill_buf().map_err(|error| inflate::refusal(&error))
}

/// The bytes of the current message so far.
struct Message {
    bytes: u64,
    bytes_max: u32,
}

impl Message {
    fn add(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.bytes += bytes;
        let limit = u64::from(self.bytes_max);
        if self.bytes > limit {
            return Err(Refusal::TooLarge { what: "a message", bytes: self.bytes, limit });
        }
        Ok(())
    }
}
