//! Against another implementation of the layout, in both directions. It keeps only one of two headers with the
//! same key, so here every key of a message is its own.

use bytes::BytesMut;
use kafka_protocol::{
    indexmap::IndexMap,
    protocol::StrBytes,
    records::{
        Compression as ForeignCompression, Record as ForeignRecord, RecordBatchDecoder, RecordBatchEncoder,
        RecordEncodeOptions, TimestampType,
    },
};

use super::*;
use crate::{ProducerId, entry::ProducerStamp};

const SESSION: ProducerStamp = ProducerStamp { producer: ProducerId(77), epoch: 3, first_sequence: 40 };

fn foreign_codec(codec: Compression) -> ForeignCompression {
    match codec {
        Compression::None => ForeignCompression::None,
        Compression::Gzip => ForeignCompression::Gzip,
        Compression::Snappy => ForeignCompression::Snappy,
        Compression::Lz4 => ForeignCompression::Lz4,
        Compression::Zstd => ForeignCompression::Zstd,
    }
}

fn to_foreign(index: usize, message: &Message, session: Option<ProducerStamp>) -> ForeignRecord {
    let headers: IndexMap<_, _> = message
        .headers
        .iter()
        .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)))
        .collect();
    assert_eq!(headers.len(), message.headers.len(), "every key is its own");
    ForeignRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: session.map_or(-1, |stamp| stamp.producer.get() as i64),
        producer_epoch: session.map_or(-1, |stamp| stamp.epoch as i16),
        timestamp_type: TimestampType::Creation,
        offset: index as i64,
        sequence: session.map_or(-1, |stamp| stamp.first_sequence as i32) + index as i32,
        timestamp: message.timestamp_millis,
        key: message.key.clone().map(Bytes::from),
        value: message.value.clone().map(Bytes::from),
        headers,
    }
}

fn from_foreign(record: &ForeignRecord) -> Message {
    Message {
        key: record.key.as_deref().map(<[u8]>::to_vec),
        value: record.value.as_deref().map(<[u8]>::to_vec),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| (key.to_string(), value.as_deref().map(<[u8]>::to_vec)))
            .collect(),
        timestamp_millis: record.timestamp,
    }
}

fn encoded_by_them(codec: Compression, messages: &[Message], session: Option<ProducerStamp>) -> Bytes {
    let records: Vec<_> =
        messages.iter().enumerate().map(|(index, message)| to_foreign(index, message, session)).collect();
    let options = RecordEncodeOptions { version: 2, compression: foreign_codec(codec) };
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(&mut out, &records, &options).expect("they encode it");
    out.freeze()
}

fn encoded_by_us(codec: Compression, messages: &[Message], session: Option<ProducerStamp>) -> Bytes {
    let builder = BatchBuilder::new(codec);
    let builder = match session {
        Some(stamp) => builder.producer(stamp.producer, stamp.epoch, stamp.first_sequence),
        None => builder,
    };
    built(builder, messages)
}

#[test]
fn they_read_what_we_write() {
    for codec in Compression::ALL {
        for session in [None, Some(SESSION)] {
            let mut bytes = encoded_by_us(codec, &samples(), session);
            let set = RecordBatchDecoder::decode(&mut bytes).expect("they decode it");
            assert_eq!(set.compression, foreign_codec(codec));
            let messages: Vec<_> = set.records.iter().map(from_foreign).collect();
            assert!(messages == samples(), "{codec}");
            for (index, record) in set.records.iter().enumerate() {
                assert_eq!(record.offset, index as i64);
                assert_eq!(record.producer_id, session.map_or(-1, |stamp| stamp.producer.get() as i64));
                assert_eq!(record.producer_epoch, session.map_or(-1, |stamp| stamp.epoch as i16));
            }
        }
    }
}

#[test]
fn we_read_what_they_write() {
    for codec in Compression::ALL {
        for session in [None, Some(SESSION)] {
            let bytes = encoded_by_them(codec, &samples(), session);
            let batch = Batch::parse(bytes.clone()).expect("a whole batch");
            assert_eq!((batch.compression(), batch.producer()), (codec, session));
            batch.check_records(1 << 20).expect("whole records");
            assert!(read(bytes) == samples(), "{codec}");
        }
    }
}

#[test]
fn uncompressed_batches_are_the_same_byte_for_byte() {
    for session in [None, Some(SESSION)] {
        let ours = encoded_by_us(Compression::None, &samples(), session);
        let theirs = encoded_by_them(Compression::None, &samples(), session);
        assert!(ours == theirs);
    }
}
