//! What the tests of record batches share.

mod foreign;
mod golden;
mod header;
mod hostile;
mod limits;
mod properties;

use bytes::Bytes;

use super::{
    BATCH_HEADER_BYTES, Batch, BatchBuilder, Compression, Record, RecordDraft,
    batch::{LENGTH_COUNTS_FROM, at},
    inflate, varint,
};
use crate::Refusal;

/// Makes length and checksum right again after a test changed the bytes.
fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let length = (bytes.len() - LENGTH_COUNTS_FROM) as i32;
    bytes[at::LENGTH..at::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
    bytes[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// A batch around records that are already compressed, or claim to be.
fn around_coded(codec: Compression, count: u32, coded: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordDraft::default()).expect("an empty message fits");
    let mut bytes = builder.build().expect("one message").to_vec();
    bytes.truncate(BATCH_HEADER_BYTES);
    bytes[at::ATTRIBUTES + 1] = codec.id();
    bytes[at::LAST_OFFSET_DELTA..at::LAST_OFFSET_DELTA + 4]
        .copy_from_slice(&count.wrapping_sub(1).to_be_bytes());
    bytes[at::COUNT..at::COUNT + 4].copy_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(coded);
    sealed(bytes)
}

/// A batch around records that a test wrote by hand.
fn around(codec: Compression, count: u32, records: &[u8]) -> Bytes {
    let mut coded = Vec::new();
    inflate::deflate(codec, records, &mut coded);
    around_coded(codec, count, &coded)
}

/// A record with nothing but a value.
fn raw_record(index: u32, value: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0];
    varint::put(&mut body, i64::from(index));
    varint::put(&mut body, -1);
    varint::put(&mut body, value.len() as i64);
    body.extend_from_slice(value);
    varint::put(&mut body, 0);
    let mut record = Vec::new();
    varint::put(&mut record, body.len() as i64);
    record.extend_from_slice(&body);
    record
}

/// A message that owns its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp_millis: i64,
}

impl Message {
    fn of(record: &Record) -> Self {
        Self {
            key: record.key.as_deref().map(<[u8]>::to_vec),
            value: record.value.as_deref().map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| {
                    let key = String::from_utf8(key.to_vec()).expect("header keys are UTF-8");
                    (key, value.as_deref().map(<[u8]>::to_vec))
                })
                .collect(),
            timestamp_millis: record.timestamp_millis,
        }
    }

    fn push_to(&self, builder: &mut BatchBuilder) -> Result<(), Refusal> {
        let headers: Vec<_> =
            self.headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect();
        builder.push(&RecordDraft {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
            timestamp_millis: self.timestamp_millis,
        })
    }
}

fn built(mut builder: BatchBuilder, messages: &[Message]) -> Bytes {
    for message in messages {
        message.push_to(&mut builder).expect("the message fits");
    }
    builder.build().expect("the batch fits")
}

fn read(bytes: Bytes) -> Vec<Message> {
    let batch = Batch::parse(bytes).expect("a whole batch");
    batch.records().expect("whole records").map(|record| Message::of(&record)).collect()
}

/// Messages of every shape: none, empty, small, larger than every codec's block, with headers.
fn samples() -> Vec<Message> {
    let large: Vec<u8> = (0..200_000u32).map(|index| (index / 7 % 251) as u8).collect();
    let noise: Vec<u8> =
        (0..70_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    vec![
        Message { timestamp_millis: 1_700_000_000_000, ..Message::default() },
        Message {
            key: Some(Vec::new()),
            value: Some(Vec::new()),
            timestamp_millis: 1_700_000_000_000,
            ..Message::default()
        },
        Message {
            key: Some(b"key".to_vec()),
            value: Some(b"value".to_vec()),
            headers: vec![
                header("trace", Some(b"\x00\xff")),
                header("gr\u{fc}n", None),
                header("", Some(b"")),
            ],
            timestamp_millis: 1_700_000_000_001,
        },
        Message { value: Some(large), timestamp_millis: 1_700_000_086_400, ..Message::default() },
        Message {
            key: Some(noise),
            headers: (0..200).map(|index| header(&format!("h{index}"), Some(&[index as u8]))).collect(),
            timestamp_millis: 1_700_000_086_401,
            ..Message::default()
        },
    ]
}
