//! What records may hold, on both sides.

use super::*;
use crate::{Code, ProducerId, limits};

fn with_headers(headers: Vec<(String, Option<Vec<u8>>)>) -> Message {
    Message { headers, ..Message::default() }
}

fn checked(bytes: &Bytes, message_bytes_max: u32) -> Option<Code> {
    let batch = Batch::parse(bytes.clone()).expect("a whole batch");
    batch.check_records(message_bytes_max).err().map(|refusal| refusal.code())
}

#[test]
fn a_message_is_measured_by_key_value_and_headers() {
    let message = Message {
        key: Some(vec![1; 10]),
        value: Some(vec![2; 20]),
        headers: vec![("abc".to_owned(), Some(vec![3; 4])), ("d".to_owned(), None)],
        timestamp_millis: 0,
    };
    for codec in Compression::ALL {
        let small = Message { value: Some(vec![0; 38]), ..Message::default() };
        let bytes = built(BatchBuilder::new(codec), &[small, message.clone()]);
        assert_eq!(checked(&bytes, 38), None, "{codec}");
        assert_eq!(checked(&bytes, 37), Some(Code::TooLarge), "{codec}");
        let large = built(BatchBuilder::new(codec), std::slice::from_ref(&message));
        assert_eq!(checked(&large, 37), Some(Code::TooLarge), "{codec}");
    }
}

#[test]
fn reserved_header_keys_are_for_brokers() {
    for codec in Compression::ALL {
        for (key, expected) in [
            ("pondage-reason", Some(Code::InvalidArgument)),
            ("pondage-", Some(Code::InvalidArgument)),
            ("pondage", None),
            ("Pondage-reason", None),
            ("x-pondage-reason", None),
        ] {
            let bytes = built(BatchBuilder::new(codec), &[with_headers(vec![(key.to_owned(), None)])]);
            assert_eq!(checked(&bytes, 100), expected, "{key}");
            let batch = Batch::parse(bytes).expect("a whole batch");
            assert!(batch.check_dead_letters(100).is_ok(), "{key}");
            assert!(batch.records().is_ok(), "{key}");
        }
    }
}

/// Two more headers than allowed, and keys one byte too long: neither built nor taken from others.
#[test]
fn headers_have_limits_on_both_sides() {
    let most: Vec<_> = (0..limits::HEADERS_MAX).map(|_| ("k".to_owned(), None)).collect();
    let longest = "k".repeat(limits::HEADER_KEY_BYTES_MAX);
    let mut builder = BatchBuilder::new(Compression::None);
    with_headers(most.clone()).push_to(&mut builder).expect("as many as allowed");
    with_headers(vec![(longest.clone(), None)]).push_to(&mut builder).expect("as long as allowed");
    for headers in [[most, vec![("k".to_owned(), None)]].concat(), vec![(longest.clone() + "k", None)]] {
        let refused = with_headers(headers).push_to(&mut builder).expect_err("over the limit");
        assert_eq!(refused.code(), Code::TooLarge);
    }
    let bytes = builder.build().expect("two messages");
    assert_eq!(checked(&bytes, 1 << 20), None);

    let header = |key: &[u8]| {
        let mut out = Vec::new();
        varint::put(&mut out, key.len() as i64);
        out.extend_from_slice(key);
        out.push(1);
        out
    };
    let many = header(b"k").repeat(limits::HEADERS_MAX + 1);
    for (count, headers, expected) in [
        (limits::HEADERS_MAX + 1, many, Code::TooLarge),
        (1, header((longest + "k").as_bytes()), Code::TooLarge),
        (1, header(b"\xff\xfe"), Code::CorruptBatch),
    ] {
        let mut body = vec![0, 0, 0, 1, 1];
        varint::put(&mut body, count as i64);
        body.extend_from_slice(&headers);
        let mut records = Vec::new();
        varint::put(&mut records, body.len() as i64);
        records.extend_from_slice(&body);
        for codec in Compression::ALL {
            assert_eq!(checked(&around(codec, 1, &records), 1 << 20), Some(expected), "{codec}");
        }
    }
}

#[test]
fn a_builder_refuses_what_no_reader_takes() {
    let empty = BatchBuilder::new(Compression::Zstd);
    assert!(empty.is_empty());
    assert_eq!(empty.bytes_estimate(), BATCH_HEADER_BYTES);
    assert_eq!(empty.build().map_err(|refusal| refusal.code()), Err(Code::InvalidArgument));

    let mut builder = BatchBuilder::new(Compression::Lz4);
    let too_large = vec![0; limits::MESSAGE_BYTES_MAX as usize + 1];
    for (draft, expected) in [
        (RecordDraft { value: Some(&too_large), ..RecordDraft::default() }, Code::TooLarge),
        (RecordDraft { headers: &[(b"\xff", None)], ..RecordDraft::default() }, Code::InvalidArgument),
    ] {
        assert_eq!(builder.push(&draft).map_err(|refusal| refusal.code()), Err(expected));
    }
    let at = |timestamp_millis| RecordDraft { timestamp_millis, ..RecordDraft::default() };
    builder.push(&at(i64::MIN)).expect("any time");
    assert_eq!(builder.push(&at(0)).map_err(|refusal| refusal.code()), Err(Code::InvalidArgument));
    builder.push(&at(-1)).expect("64 bits apart");
    for _ in builder.len()..limits::BATCH_MESSAGES_MAX {
        builder.push(&at(-1)).expect("as many as allowed");
    }
    assert_eq!(builder.push(&at(-1)).map_err(|refusal| refusal.code()), Err(Code::TooLarge));
    let batch = Batch::parse(builder.build().expect("it fits")).expect("a whole batch");
    assert_eq!(batch.count(), limits::BATCH_MESSAGES_MAX);
    batch.check_records(0).expect("empty messages");
}

#[test]
fn a_compressed_batch_stays_below_both_limits() {
    // What compresses well ends at the inflated limit ...
    let part = vec![0; limits::MESSAGE_BYTES_MAX as usize];
    let mut builder = BatchBuilder::new(Compression::Zstd);
    let draft = RecordDraft { value: Some(&part), ..RecordDraft::default() };
    for _ in 0..limits::BATCH_INFLATED_BYTES_MAX / part.len() {
        builder.push(&draft).expect("it fits");
    }
    assert_eq!(builder.push(&draft).map_err(|refusal| refusal.code()), Err(Code::TooLarge));
    let batch = Batch::parse(builder.build().expect("it fits")).expect("a whole batch");
    batch.check_records(limits::MESSAGE_BYTES_MAX).expect("whole records");
    assert_eq!(batch.records().map(|records| records.len()), Ok(batch.count() as usize));

    // ... and what does not, at the limit of the batch.
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(5 << 20)
    .collect();
    let mut builder = BatchBuilder::new(Compression::Gzip);
    for value in [&noise[..], &noise[..]] {
        builder.push(&RecordDraft { value: Some(value), ..RecordDraft::default() }).expect("it fits");
    }
    assert_eq!(builder.build().map_err(|refusal| refusal.code()), Err(Code::TooLarge));
}

#[test]
fn a_session_must_fit_the_layout() {
    for (id, epoch, sequence, fits) in [
        (i64::MAX as u64, i16::MAX as u32, i32::MAX as u32, true),
        (i64::MAX as u64 + 1, 0, 0, false),
        (0, i16::MAX as u32 + 1, 0, false),
        (0, 0, i32::MAX as u32 + 1, false),
    ] {
        let mut builder = BatchBuilder::new(Compression::None).producer(ProducerId(id), epoch, sequence);
        builder.push(&RecordDraft::default()).expect("it fits");
        assert_eq!(builder.build().is_ok(), fits, "{id} {epoch} {sequence}");
    }
}
