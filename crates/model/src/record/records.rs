//! The messages of a batch, as slices.

use bytes::{Buf, Bytes};

use super::varint;
use crate::Offset;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the stream, once the batch has been stamped.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, by the producer's clock.
    pub timestamp_millis: i64,
    /// What it is about; none is not the same as empty.
    pub key: Option<Bytes>,
    /// What it says; none means in a compacted topic that the key is deleted.
    pub value: Option<Bytes>,
    /// Keys (UTF-8) and values, in order. A key may occur more than once.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The messages of one batch in order: made by [`super::Batch::records`], which has checked every byte.
#[derive(Clone, Debug)]
pub struct Records {
    /// The records that are still to come.
    rest: Bytes,
    next_offset: Offset,
    left: u32,
    base_timestamp: i64,
}

impl Records {
    pub(super) const fn new(rest: Bytes, base_offset: Offset, count: u32, base_timestamp: i64) -> Self {
        Self { rest, next_offset: base_offset, left: count, base_timestamp }
    }

    fn take_record(&mut self) -> Option<Record> {
        self.number()?; // the record's length: the fields say it again
        let _attributes = self.bytes(1)?; // none are defined
        let timestamp_delta = self.number()?;
        self.number()?; // the offset delta: records are consecutive
        let key = self.nullable()?;
        let value = self.nullable()?;
        let header_count = usize::try_from(self.number()?).ok()?;
        let mut headers = Vec::with_capacity(header_count);
        for _ in 0..header_count {
            headers.push((self.nullable()??, self.nullable()?));
        }
        let timestamp_millis = self.base_timestamp.checked_add(timestamp_delta)?;
        Some(Record { offset: self.next_offset, timestamp_millis, key, value, headers })
    }

    fn nullable(&mut self) -> Option<Option<Bytes>> {
        match self.number()? {
            -1 => Some(None),
            length => self.bytes(usize::try_from(length).ok()?).map(Some),
        }
    }

    fn number(&mut self) -> Option<i64> {
        let mut input = &self.rest[..];
        let value = varint::take(&mut input)?;
        let taken = self.rest.len() - input.len();
        self.rest.advance(taken);
        Some(value)
    }

    fn bytes(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.rest.len()).then(|| self.rest.split_to(length))
    }
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.left == 0 {
            return None;
        }
        let record = self.take_record().expect("Batch::records walked every record");
        self.left -= 1;
        self.next_offset = self.next_offset.next();
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Records {}
