//! What is checked before any record is looked at.

use super::*;
use crate::{Code, Offset, limits, record::stamp_base_offset};

fn whole(codec: Compression) -> Bytes {
    built(BatchBuilder::new(codec), &samples()[..3])
}

fn code_of(bytes: Bytes) -> Option<Code> {
    Batch::parse(bytes).err().map(|refusal| refusal.code())
}

/// Overwrites one field of a whole batch, makes length and checksum right again, and parses it.
fn check(start: usize, field: &[u8], expected: Option<Code>) {
    let mut bytes = whole(Compression::None).to_vec();
    bytes[start..start + field.len()].copy_from_slice(field);
    assert_eq!(code_of(sealed(bytes)), expected, "{field:?} at {start}");
}

#[test]
fn every_field_is_checked() {
    let corrupt = Some(Code::CorruptBatch);
    let not_served = Some(Code::NotServed);
    let unsupported = Some(Code::Unsupported);
    let too_large = Some(Code::TooLarge);
    check(at::MAGIC, &[2], None);
    for (magic, expected) in [(0, unsupported), (1, unsupported), (3, corrupt), (0xff, corrupt)] {
        check(at::MAGIC, &[magic], expected);
    }
    for codec in 0..5 {
        check(at::ATTRIBUTES, &[0, codec], None);
    }
    for (attributes, expected) in [
        ([0, 5], unsupported),
        ([0, 6], unsupported),
        ([0, 7], unsupported),
        ([0, 1 << 3], not_served),
        ([0, 1 << 4], not_served),
        ([0, 1 << 5], not_served),
        ([0, 3 << 4], not_served),
        ([0, 1 << 6], not_served),
        ([0, 1 << 7], corrupt),
        ([1, 0], corrupt),
        ([0x80, 0], corrupt),
    ] {
        check(at::ATTRIBUTES, &attributes, expected);
    }
    for delta in [0, 1, 3, -1, i32::MAX, i32::MIN] {
        check(at::LAST_OFFSET_DELTA, &delta.to_be_bytes(), corrupt);
    }
    for count in [0, 1, 2, 4, -1, i32::MAX, i32::MIN] {
        check(at::COUNT, &count.to_be_bytes(), corrupt);
    }
    for base in [-1, i64::MIN, i64::MAX, i64::MAX - 2] {
        check(at::BASE_OFFSET, &base.to_be_bytes(), corrupt);
    }
    check(at::BASE_OFFSET, &(i64::MAX - 3).to_be_bytes(), None);
    check(at::LEADER_EPOCH, &i32::MIN.to_be_bytes(), None);
    for (id, epoch, sequence, expected) in [
        (-1i64, -1i16, -1i32, None),
        (-1, 7, 7, None),
        (0, 0, 0, None),
        (i64::MAX, i16::MAX, i32::MAX, None),
        (-2, 0, 0, corrupt),
        (i64::MIN, 0, 0, corrupt),
        (1, -1, 0, corrupt),
        (1, 0, -1, corrupt),
    ] {
        let mut field = id.to_be_bytes().to_vec();
        field.extend_from_slice(&epoch.to_be_bytes());
        field.extend_from_slice(&sequence.to_be_bytes());
        check(at::PRODUCER_ID, &field, expected);
    }
    for (count, expected) in [(65_536, None), (65_537, too_large), (i32::MAX as u32, too_large)] {
        assert_eq!(code_of(around_coded(Compression::None, count, &[])), expected, "{count} messages");
    }
}

#[test]
fn the_length_field_is_the_length() {
    let bytes = whole(Compression::None);
    let right = (bytes.len() - LENGTH_COUNTS_FROM) as i32;
    for length in [0, -1, 1, right - 1, right + 1, i32::MAX, i32::MIN] {
        let mut lie = bytes.to_vec();
        lie[at::LENGTH..at::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(code_of(lie.into()), Some(Code::CorruptBatch), "{length}");
    }
}

#[test]
fn every_cut_and_every_extension_is_refused() {
    for codec in Compression::ALL {
        let bytes = whole(codec);
        for length in 0..bytes.len() {
            assert_eq!(code_of(bytes.slice(..length)), Some(Code::CorruptBatch), "{codec} cut to {length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(code_of(longer.into()), Some(Code::CorruptBatch), "{codec}");
        let twice = [&bytes[..], &bytes[..]].concat();
        assert_eq!(code_of(twice.into()), Some(Code::CorruptBatch), "{codec}");
    }
}

#[test]
fn every_flipped_bit_under_the_checksum_is_caught() {
    for codec in Compression::ALL {
        let bytes = whole(codec);
        let checked = (at::LENGTH..at::LEADER_EPOCH).chain(at::MAGIC..bytes.len());
        for (place, bit) in checked.flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            let mut flipped = bytes.to_vec();
            flipped[place] ^= 1 << bit;
            assert!(Batch::parse(flipped.into()).is_err(), "{codec}: bit {bit} of byte {place}");
        }
    }
}

#[test]
fn a_batch_over_the_limit_is_refused_before_it_is_read() {
    let parse = |length: usize| Batch::parse(vec![0xff; length].into()).map_err(|refusal| refusal.code());
    assert_eq!(parse(limits::BATCH_BYTES_MAX).err(), Some(Code::CorruptBatch));
    assert_eq!(parse(limits::BATCH_BYTES_MAX + 1).err(), Some(Code::TooLarge));
}

#[test]
fn the_largest_batch_survives() {
    let fits = |builder: &BatchBuilder, value: usize| {
        builder.bytes_estimate() + raw_record(builder.len(), &vec![0; value]).len() <= limits::BATCH_BYTES_MAX
    };
    let mut builder = BatchBuilder::new(Compression::None);
    let part = vec![7; 4 << 20];
    builder.push(&RecordDraft { value: Some(&part), ..RecordDraft::default() }).expect("it fits");
    let length = (1..=4 << 20).rev().find(|&length| fits(&builder, length)).expect("some length fits");
    assert!(
        builder
            .push(&RecordDraft { value: Some(&part[..length + 1]), ..RecordDraft::default() })
            .is_err_and(|refusal| refusal.code() == Code::TooLarge)
    );
    assert_eq!(builder.len(), 1, "a refused message leaves the batch as it was");
    builder.push(&RecordDraft { value: Some(&part[..length]), ..RecordDraft::default() }).expect("it fits");
    assert_eq!(builder.bytes_estimate(), limits::BATCH_BYTES_MAX);
    let bytes = builder.build().expect("it fits");
    assert_eq!(bytes.len(), limits::BATCH_BYTES_MAX);
    let batch = Batch::parse(stamp_base_offset(bytes, Offset(4))).expect("a whole batch");
    batch.check_records(limits::MESSAGE_BYTES_MAX).expect("whole records");
}
