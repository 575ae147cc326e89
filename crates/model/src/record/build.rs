//! Encoding batches.

use bytes::Bytes;

use super::{
    BATCH_HEADER_BYTES, Compression,
    batch::{LENGTH_COUNTS_FROM, MAGIC, at},
    inflate, varint,
};
use crate::{ProducerId, Refusal, entry::ProducerStamp, limits};

/// One message to encode, borrowed from wherever it lies.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordDraft<'a> {
    /// What it is about.
    pub key: Option<&'a [u8]>,
    /// What it says.
    pub value: Option<&'a [u8]>,
    /// Keys (UTF-8) and values, in order. A key may occur more than once.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// Milliseconds since the Unix epoch, by the producer's clock.
    pub timestamp_millis: i64,
}

/// Builds one batch. Messages are encoded as they are pushed; an uncompressed batch is never copied again.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    producer: Option<ProducerStamp>,
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    /// Room for the header, then the records; empty before the first.
    out: Vec<u8>,
}

impl BatchBuilder {
    /// A batch without messages. Allocates nothing.
    #[must_use]
    pub const fn new(compression: Compression) -> Self {
        Self { compression, producer: None, count: 0, base_timestamp: 0, max_timestamp: 0, out: Vec::new() }
    }

    /// Makes it a batch of an idempotent session: `first_sequence` is that of its first message.
    #[must_use]
    pub const fn producer(mut self, id: ProducerId, epoch: u32, first_sequence: u32) -> Self {
        self.producer = Some(ProducerStamp { producer: id, epoch, first_sequence });
        self
    }

    /// Messages so far.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is no message yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, before compression: exact for [`Compression::None`].
    #[must_use]
    pub const fn bytes_estimate(&self) -> usize {
        if self.out.is_empty() { BATCH_HEADER_BYTES } else { self.out.len() }
    }

    /// Appends a message. After a refusal the batch is as before and can be built: what does not fit belongs
    /// into the next one.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::TooMany`] if the message, one of its parts or the batch with it
    /// would go over a limit; [`Refusal::InvalidArgument`] for a header key that is not UTF-8, and for a
    /// timestamp that is more than 64 bits away from the first one.
    pub fn push(&mut self, draft: &RecordDraft<'_>) -> Result<(), Refusal> {
        check_draft(draft)?;
        if self.count == limits::BATCH_MESSAGES_MAX {
            return Err(too_many("messages in a batch", self.count as usize + 1, self.count as usize));
        }
        let base = if self.count == 0 { draft.timestamp_millis } else { self.base_timestamp };
        let Some(timestamp_delta) = draft.timestamp_millis.checked_sub(base) else {
            return Err(Refusal::InvalidArgument { what: "a timestamp is out of range".to_owned() });
        };
        let index = i64::from(self.count);
        let body = body_bytes(draft, timestamp_delta, index);
        let record = varint::len(body as i64) + body;
        let bytes = self.bytes_estimate() + record;
        let limit = match self.compression {
            Compression::None => limits::BATCH_BYTES_MAX,
            _ => BATCH_HEADER_BYTES + limits::BATCH_INFLATED_BYTES_MAX,
        };
        if bytes > limit {
            return Err(too_large("the batch", bytes, limit));
        }

        if self.out.is_empty() {
            self.out.reserve_exact(BATCH_HEADER_BYTES + record);
            self.out.resize(BATCH_HEADER_BYTES, 0);
            self.base_timestamp = draft.timestamp_millis;
            self.max_timestamp = draft.timestamp_millis;
        } else {
            self.out.reserve(record);
        }
        self.max_timestamp = self.max_timestamp.max(draft.timestamp_millis);
        self.count += 1;
        varint::put(&mut self.out, body as i64);
        put_body(&mut self.out, draft, timestamp_delta, index);
        debug_assert_eq!(self.out.len(), bytes, "a record is as long as was reckoned");
        Ok(())
    }

    /// The batch, with base offset 0.
    ///
    /// # Errors
    /// [`Refusal::InvalidArgument`] without a message, and for a producer id, epoch or sequence that the layout
    /// can't hold (beyond `i64`, `i16`, `i32`); [`Refusal::TooLarge`] if it is larger than
    /// [`limits::BATCH_BYTES_MAX`] after compression.
    pub fn build(self) -> Result<Bytes, Refusal> {
        if self.is_empty() {
            return Err(Refusal::InvalidArgument { what: "a batch needs a message".to_owned() });
        }
        let (id, epoch, sequence) = producer_fields(self.producer)?;
        let mut out = match self.compression {
            Compression::None => self.out,
            codec => {
                let mut out = Vec::with_capacity(BATCH_HEADER_BYTES + self.out.len() / 2);
                out.resize(BATCH_HEADER_BYTES, 0);
                inflate::deflate(codec, &self.out[BATCH_HEADER_BYTES..], &mut out);
                // The codecs asked for room for the worst case; the batch may live for long.
                out.shrink_to_fit();
                out
            }
        };
        if out.len() > limits::BATCH_BYTES_MAX {
            return Err(too_large("the batch", out.len(), limits::BATCH_BYTES_MAX));
        }

        let length = i32::try_from(out.len() - LENGTH_COUNTS_FROM).expect("a batch has 8 MiB at most");
        let count = i32::try_from(self.count).expect("a batch has 65,536 messages at most");
        put_at(&mut out, at::BASE_OFFSET, 0i64.to_be_bytes());
        put_at(&mut out, at::LENGTH, length.to_be_bytes());
        put_at(&mut out, at::LEADER_EPOCH, (-1i32).to_be_bytes());
        put_at(&mut out, at::MAGIC, [MAGIC]);
        put_at(&mut out, at::ATTRIBUTES, i16::from(self.compression.id()).to_be_bytes());
        put_at(&mut out, at::LAST_OFFSET_DELTA, (count - 1).to_be_bytes());
        put_at(&mut out, at::BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put_at(&mut out, at::MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put_at(&mut out, at::PRODUCER_ID, id.to_be_bytes());
        put_at(&mut out, at::PRODUCER_EPOCH, epoch.to_be_bytes());
        put_at(&mut out, at::BASE_SEQUENCE, sequence.to_be_bytes());
        put_at(&mut out, at::COUNT, count.to_be_bytes());
        let crc = crc32c::crc32c(&out[at::ATTRIBUTES..]);
        put_at(&mut out, at::CRC, crc.to_be_bytes());
        Ok(out.into())
    }
}

fn put_at<const N: usize>(out: &mut [u8], start: usize, field: [u8; N]) {
    out[start..start + N].copy_from_slice(&field);
}

fn producer_fields(producer: Option<ProducerStamp>) -> Result<(i64, i16, i32), Refusal> {
    let Some(stamp) = producer else { return Ok((-1, -1, -1)) };
    match (
        i64::try_from(stamp.producer.get()),
        i16::try_from(stamp.epoch),
        i32::try_from(stamp.first_sequence),
    ) {
        (Ok(id), Ok(epoch), Ok(sequence)) => Ok((id, epoch, sequence)),
        _ => Err(Refusal::InvalidArgument {
            what: format!("a record batch can't hold {stamp:?}: open a session with a new producer id"),
        }),
    }
}

fn check_draft(draft: &RecordDraft<'_>) -> Result<(), Refusal> {
    if draft.headers.len() > limits::HEADERS_MAX {
        return Err(too_many("headers of one message", draft.headers.len(), limits::HEADERS_MAX));
    }
    let mut message = bytes_of(draft.key) + bytes_of(draft.value);
    for &(key, value) in draft.headers {
        if key.len() > limits::HEADER_KEY_BYTES_MAX {
            return Err(too_large("a header's key", key.len(), limits::HEADER_KEY_BYTES_MAX));
        }
        if std::str::from_utf8(key).is_err() {
            return Err(Refusal::InvalidArgument { what: "a header's key is not UTF-8".to_owned() });
        }
        message += key.len() + bytes_of(value);
    }
    if message > limits::MESSAGE_BYTES_MAX as usize {
        return Err(too_large("a message", message, limits::MESSAGE_BYTES_MAX as usize));
    }
    Ok(())
}

const fn too_large(what: &'static str, bytes: usize, limit: usize) -> Refusal {
    Refusal::TooLarge { what, bytes: bytes as u64, limit: limit as u64 }
}

const fn too_many(what: &'static str, count: usize, limit: usize) -> Refusal {
    Refusal::TooMany { what, count: count as u64, limit: limit as u64 }
}

fn bytes_of(part: Option<&[u8]>) -> usize {
    part.map_or(0, <[u8]>::len)
}

/// Bytes of a key or value with its length before it.
fn nullable_bytes(part: Option<&[u8]>) -> usize {
    part.map_or(1, |part| varint::len(part.len() as i64) + part.len())
}

/// Bytes of a record behind its length. [`put_body`] writes just as many.
fn body_bytes(draft: &RecordDraft<'_>, timestamp_delta: i64, index: i64) -> usize {
    let headers: usize =
        draft.headers.iter().map(|&(key, value)| nullable_bytes(Some(key)) + nullable_bytes(value)).sum();
    1 + varint::len(timestamp_delta)
        + varint::len(index)
        + nullable_bytes(draft.key)
        + nullable_bytes(draft.value)
        + varint::len(draft.headers.len() as i64)
        + headers
}

fn put_body(out: &mut Vec<u8>, draft: &RecordDraft<'_>, timestamp_delta: i64, index: i64) {
    out.push(0); // the record's attributes: none are defined
    varint::put(out, timestamp_delta);
    varint::put(out, index);
    put_nullable(out, draft.key);
    put_nullable(out, draft.value);
    varint::put(out, draft.headers.len() as i64);
    for &(key, value) in draft.headers {
        put_nullable(out, Some(key));
        put_nullable(out, value);
    }
}

fn put_nullable(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        None => varint::put(out, -1),
        Some(part) => {
            varint::put(out, part.len() as i64);
            out.extend_from_slice(part);
        }
    }
}
