//! Properties over generated messages and generated damage.

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{Offset, ProducerId, record::stamp_base_offset};

fn any_codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(Compression::ALL.to_vec())
}

fn any_part() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(prop_oneof![
        vec(any::<u8>(), 0..200),
        (any::<u8>(), 0..40_000usize).prop_map(|(byte, length)| vec![byte; length]),
    ])
}

fn any_message() -> impl Strategy<Value = Message> {
    let headers = vec(("[a-c\u{e4}]{0,3}", option::of(vec(any::<u8>(), 0..20))), 0..5);
    (any_part(), any_part(), headers, -(1i64 << 45)..(1 << 45))
        .prop_map(|(key, value, headers, timestamp_millis)| Message { key, value, headers, timestamp_millis })
}

/// Whatever the bytes are: nothing panics, and all ways to look at them agree.
fn look_at(bytes: Bytes) {
    let Ok(batch) = Batch::parse(bytes) else { return };
    let checked = batch.check_dead_letters(u32::MAX);
    let records = batch.records();
    assert_eq!(checked.is_ok(), records.is_ok(), "{checked:?} {records:?}");
    let _ = batch.check_records(1_000);
    if let Ok(records) = records {
        assert_eq!(records.count(), batch.count() as usize);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_come_back_as_they_went(
        codec in any_codec(),
        messages in vec(any_message(), 1..12),
        session in option::of((0..=i64::MAX as u64, 0..=i16::MAX as u32, 0..=i32::MAX as u32)),
        base in 0..1u64 << 60,
    ) {
        let mut builder = BatchBuilder::new(codec);
        if let Some((id, epoch, sequence)) = session {
            builder = builder.producer(ProducerId(id), epoch, sequence);
        }
        for message in &messages {
            message.push_to(&mut builder).expect("the message fits");
        }
        let estimate = builder.bytes_estimate();
        let bytes = builder.build().expect("the batch fits");
        if codec == Compression::None {
            prop_assert_eq!(bytes.len(), estimate);
        }
        let batch = Batch::parse(stamp_base_offset(bytes, Offset(base))).expect("a whole batch");
        let summary = batch.check_records(1 << 20).expect("whole records");
        prop_assert_eq!(summary.bytes_inflated as usize, estimate - BATCH_HEADER_BYTES);
        let timestamps = || messages.iter().map(|message| message.timestamp_millis);
        prop_assert_eq!(Some(batch.max_timestamp()), timestamps().max());
        prop_assert_eq!(Some(batch.base_timestamp()), timestamps().next());
        let stamp = batch.producer().map(|stamp| (stamp.producer.get(), stamp.epoch, stamp.first_sequence));
        prop_assert_eq!(stamp, session);
        for (index, record) in batch.records().expect("whole records").enumerate() {
            prop_assert_eq!(record.offset, Offset(base + index as u64));
            prop_assert_eq!(&Message::of(&record), &messages[index]);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read(bytes in vec(any::<u8>(), 0..300)) {
        look_at(bytes.into());
    }

    #[test]
    fn arbitrary_records_are_refused_or_read(
        codec in any_codec(),
        count in 1..4u32,
        records in vec(prop_oneof![3 => 0..16u8, 1 => any::<u8>()], 0..60),
    ) {
        look_at(around(codec, count, &records));
        look_at(around_coded(codec, count, &records));
    }

    #[test]
    fn damage_behind_a_right_checksum_is_refused_or_read(
        codec in any_codec(),
        messages in vec(any_message(), 1..4),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = built(BatchBuilder::new(codec), &messages).to_vec();
        for (place, byte) in damage {
            let place = BATCH_HEADER_BYTES + place.index(bytes.len() - BATCH_HEADER_BYTES);
            bytes[place] = byte;
        }
        look_at(sealed(bytes));
    }

    #[test]
    fn cut_records_are_refused_behind_a_right_checksum(
        codec in any_codec(),
        messages in vec(any_message(), 1..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = built(BatchBuilder::new(codec), &messages).to_vec();
        bytes.truncate(BATCH_HEADER_BYTES + cut.index(bytes.len() - BATCH_HEADER_BYTES));
        let batch = Batch::parse(sealed(bytes)).expect("the header is right");
        prop_assert!(batch.check_records(1 << 20).is_err());
        prop_assert!(batch.records().is_err());
    }
}
