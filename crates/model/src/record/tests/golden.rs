//! Bytes that may never change, and the parts that are not the records.

use super::*;
use crate::{
    Offset, ProducerId,
    entry::ProducerStamp,
    record::{sequence_after, stamp_base_offset},
};

/// `key=k`, `value=v`, header `h=x` at 1,000 ms, then a message without anything at 998 ms, of producer 5,
/// epoch 2, from sequence 7.
const GOLDEN: &str = concat!(
    "0000000000000000", // base offset
    "00000045",         // length
    "ffffffff",         // leader epoch
    "02",               // version
    "0a255e08",         // checksum
    "0000",             // attributes
    "00000001",         // last offset delta
    "00000000000003e8", // base timestamp
    "00000000000003e8", // max timestamp
    "0000000000000005", // producer id
    "0002",             // producer epoch
    "00000007",         // base sequence
    "00000002",         // count
    // length, attributes, timestamp delta, offset delta, key, value, 1 header: key, value
    "18",
    "00",
    "00",
    "00",
    "026b",
    "0276",
    "02",
    "0268",
    "0278",
    // the same without anything, two milliseconds earlier
    "0c",
    "00",
    "03",
    "02",
    "01",
    "01",
    "00",
);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn golden_messages() -> [Message; 2] {
    [
        Message {
            key: Some(b"k".to_vec()),
            value: Some(b"v".to_vec()),
            headers: vec![("h".to_owned(), Some(b"x".to_vec()))],
            timestamp_millis: 1_000,
        },
        Message { timestamp_millis: 998, ..Message::default() },
    ]
}

fn golden() -> Bytes {
    let builder = BatchBuilder::new(Compression::None).producer(ProducerId(5), 2, 7);
    built(builder, &golden_messages())
}

#[test]
fn a_batch_has_the_public_bytes() {
    assert_eq!(hex(&golden()), GOLDEN);
}

#[test]
fn the_view_tells_what_was_built() {
    let batch = Batch::parse(stamp_base_offset(golden(), Offset(300))).expect("a whole batch");
    assert_eq!((batch.base_offset(), batch.last_offset()), (Offset(300), Offset(301)));
    assert_eq!((batch.count(), batch.compression()), (2, Compression::None));
    assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (1_000, 1_000));
    let stamp = ProducerStamp { producer: ProducerId(5), epoch: 2, first_sequence: 7 };
    assert_eq!(batch.producer(), Some(stamp));
    let summary = batch.check_records(3 + 1).expect("messages of 4 bytes");
    assert_eq!(summary.bytes_inflated, (batch.bytes().len() - BATCH_HEADER_BYTES) as u64);
    let records = batch.records().expect("whole records");
    assert_eq!(records.len(), 2);
    let offsets: Vec<_> = records.map(|record| record.offset).collect();
    assert_eq!(offsets, [Offset(300), Offset(301)]);
    assert_eq!(read(batch.into_bytes()), golden_messages());
}

#[test]
fn uncompressed_records_are_slices_of_the_batch() {
    let batch = Batch::parse(golden()).expect("a whole batch");
    let record = batch.records().expect("whole records").next().expect("two records");
    let value = record.value.expect("a value");
    assert!(batch.bytes().as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn headers_with_one_key_stay_apart_and_in_order() {
    for codec in Compression::ALL {
        let twice = Message {
            headers: [("a", Some("1")), ("b", None), ("a", Some("2")), ("a", Some("1"))]
                .map(|(key, value)| (key.to_owned(), value.map(|value| value.as_bytes().to_vec())))
                .to_vec(),
            ..Message::default()
        };
        assert_eq!(read(built(BatchBuilder::new(codec), std::slice::from_ref(&twice))), [twice]);
    }
}

#[test]
fn stamping_writes_in_place_if_it_may_and_never_into_what_others_hold() {
    let alone = golden();
    let place = alone.as_ptr();
    let stamped = stamp_base_offset(alone, Offset(9));
    assert_eq!(stamped.as_ptr(), place);

    let shared = stamped.clone();
    let other = stamp_base_offset(stamped, Offset(i64::MAX as u64 - 2));
    assert_ne!(other.as_ptr(), shared.as_ptr());
    assert_eq!(Batch::parse(shared).map(|batch| batch.base_offset()), Ok(Offset(9)));
    assert_eq!(Batch::parse(other).map(|batch| batch.base_offset()), Ok(Offset(i64::MAX as u64 - 2)));
}

#[test]
fn a_batch_that_came_through_the_view_is_still_stamped_in_place() {
    let bytes = golden();
    let place = bytes.as_ptr();
    let batch = Batch::parse(bytes).expect("a whole batch");
    assert_eq!(stamp_base_offset(batch.into_bytes(), Offset(1)).as_ptr(), place);
}

#[test]
fn sequences_wrap_to_zero() {
    const MAX: u32 = i32::MAX as u32;
    for (first, count, after) in [
        (0, 0, 0),
        (0, 5, 5),
        (MAX, 0, MAX),
        (MAX, 1, 0),
        (MAX - 1, 1, MAX),
        (MAX - 1, 4, 2),
        (MAX, 65_536, 65_535),
        (MAX, MAX, MAX - 1),
    ] {
        assert_eq!(sequence_after(first, count), after, "{first} + {count}");
    }
}

#[test]
fn codecs_have_words() {
    for codec in Compression::ALL {
        assert_eq!(codec.to_string().parse(), Ok(codec));
    }
    assert!("GZIP".parse::<Compression>().is_err());
    assert_eq!(Compression::ALL.map(|codec| codec.id()), [0, 1, 2, 3, 4]);
}
