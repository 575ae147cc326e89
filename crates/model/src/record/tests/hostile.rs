//! Bombs, lies about lengths, and the corners of the codecs.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::*;
use crate::{
    Code, limits,
    record::{inflate::NextBlock, lz4, snappy},
};

fn checked(bytes: &Bytes) -> Option<Code> {
    let batch = Batch::parse(bytes.clone()).expect("the header is right");
    batch.check_records(limits::MESSAGE_BYTES_MAX).err().map(|refusal| refusal.code())
}

fn decoded(bytes: &Bytes) -> Option<Code> {
    let batch = Batch::parse(bytes.clone()).expect("the header is right");
    batch.records().err().map(|refusal| refusal.code())
}

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

#[test]
fn bombs_are_too_large() {
    let too_large = Some(Code::TooLarge);
    let over = limits::BATCH_INFLATED_BYTES_MAX + 1;
    // One record over the cap; one below it and over the limit of a message; many that pass one by one.
    let one = raw_record(0, &vec![0; over]);
    let message = raw_record(0, &vec![0; limits::MESSAGE_BYTES_MAX as usize + 1]);
    let many: Vec<u8> = (0..11).flat_map(|index| raw_record(index, &vec![0; 6 << 20])).collect();
    assert!(many.len() > limits::BATCH_INFLATED_BYTES_MAX);
    for codec in CODECS {
        let one = around(codec, 1, &one);
        assert_eq!((checked(&one), decoded(&one)), (too_large, too_large), "{codec}");
        let message = around(codec, 1, &message);
        assert_eq!((checked(&message), decoded(&message)), (too_large, None), "{codec}");
        let many = around(codec, 11, &many);
        assert_eq!((checked(&many), decoded(&many)), (too_large, too_large), "{codec}");
    }
}

#[test]
fn a_bomb_behind_the_records_is_not_set_off() {
    let bomb = [raw_record(0, b"harmless"), vec![0; limits::BATCH_INFLATED_BYTES_MAX]].concat();
    for codec in CODECS {
        let bytes = around(codec, 1, &bomb);
        assert_eq!(checked(&bytes), Some(Code::CorruptBatch), "{codec}");
        assert_eq!(decoded(&bytes), Some(Code::TooLarge), "{codec}");
    }
}

/// A record in which one number is a lie. The field is the number's place, its length coming last.
fn lying_record(field: usize, lie: i64) -> Vec<u8> {
    let mut fields = [0, 0, 1, 1, 1, 1, 1];
    if let Some(field) = fields.get_mut(field) {
        *field = lie;
    }
    let [timestamp, offset, key, value, headers, header_key, header_value] = fields;
    let mut body = vec![0];
    varint::put(&mut body, timestamp);
    varint::put(&mut body, offset);
    for (length, content) in [(key, b"k"), (value, b"v")] {
        varint::put(&mut body, length);
        body.extend_from_slice(content);
    }
    varint::put(&mut body, headers);
    for (length, content) in [(header_key, b"h"), (header_value, b"w")] {
        varint::put(&mut body, length);
        body.extend_from_slice(content);
    }
    let mut record = Vec::new();
    varint::put(&mut record, if field == fields.len() { lie } else { body.len() as i64 });
    record.extend_from_slice(&body);
    record
}

#[test]
fn lies_about_lengths_are_refused() {
    const TIMESTAMP: usize = 0;
    const HEADER_COUNT: usize = 4;
    const RECORD_LENGTH: usize = 7;
    let lies = [
        0,
        2,
        -2,
        i64::from(i32::MAX) - 1,
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        i64::from(i32::MAX) + 1,
        i64::from(u32::MAX),
        i64::MAX,
        i64::MIN,
    ];
    let large = i64::from(i32::MAX) - 1..=i64::from(i32::MAX);
    for codec in Compression::ALL {
        assert_eq!(checked(&around(codec, 1, &lying_record(TIMESTAMP, -5))), None, "{codec}");
        for field in TIMESTAMP + 1..=RECORD_LENGTH {
            // An offset of 0 is the truth.
            for lie in lies.into_iter().filter(|&lie| field != 1 || lie != 0) {
                let bytes = around(codec, 1, &lying_record(field, lie));
                let corrupt = Some(Code::CorruptBatch);
                let too_large = Some(Code::TooLarge);
                let expected = match field {
                    // Whether they are there or not, they are too many.
                    HEADER_COUNT if large.contains(&lie) => (too_large, too_large),
                    // Where a stream ends is not known before, so what it claims is measured first.
                    RECORD_LENGTH if large.contains(&lie) && codec != Compression::None => {
                        (too_large, corrupt)
                    }
                    _ => (corrupt, corrupt),
                };
                let got = (checked(&bytes), decoded(&bytes));
                assert_eq!(got, expected, "{codec}: field {field} is {lie}");
            }
        }
    }
}

#[test]
fn a_timestamp_out_of_range_is_refused() {
    let mut bytes = around(Compression::None, 1, &lying_record(0, 1)).to_vec();
    bytes[at::BASE_TIMESTAMP..at::BASE_TIMESTAMP + 8].copy_from_slice(&i64::MAX.to_be_bytes());
    assert_eq!(checked(&sealed(bytes)), Some(Code::CorruptBatch));
}

#[test]
fn the_header_and_the_records_must_agree() {
    let records = |indices: &[u32]| -> Vec<u8> {
        indices.iter().flat_map(|&index| raw_record(index, b"value")).collect()
    };
    let left_over = [records(&[0]), vec![0]].concat();
    for codec in Compression::ALL {
        for (count, records, expected) in [
            (2, records(&[0, 1]), None),
            (1, records(&[0, 1]), Some(Code::CorruptBatch)),
            (3, records(&[0, 1]), Some(Code::CorruptBatch)),
            (65_536, records(&[0, 1]), Some(Code::CorruptBatch)),
            (2, records(&[0, 2]), Some(Code::CorruptBatch)),
            (2, records(&[1, 2]), Some(Code::CorruptBatch)),
            (2, records(&[0, 0]), Some(Code::CorruptBatch)),
            (1, left_over.clone(), Some(Code::CorruptBatch)),
            (1, Vec::new(), Some(Code::CorruptBatch)),
        ] {
            let bytes = around(codec, count, &records);
            assert_eq!((checked(&bytes), decoded(&bytes)), (expected, expected), "{codec} {count}");
        }
        assert_eq!(checked(&around_coded(codec, 1, &[])), Some(Code::CorruptBatch), "{codec}");
        let behind = [&around(codec, 1, &records(&[0]))[BATCH_HEADER_BYTES..], b"more"].concat();
        assert_eq!(checked(&around_coded(codec, 1, &behind)), Some(Code::CorruptBatch), "{codec}");
    }
}

#[test]
fn every_cut_of_the_compressed_records_is_refused() {
    let records: Vec<u8> = (0..3).flat_map(|index| raw_record(index, &[b'x'; 40_000])).collect();
    for codec in Compression::ALL {
        let mut coded = Vec::new();
        inflate::deflate(codec, &records, &mut coded);
        let step = coded.len().div_ceil(700);
        for length in (0..coded.len()).step_by(step).chain(coded.len().saturating_sub(30)..coded.len()) {
            let bytes = around_coded(codec, 3, &coded[..length]);
            assert_eq!(checked(&bytes), Some(Code::CorruptBatch), "{codec} cut to {length}");
        }
        assert_eq!(checked(&around_coded(codec, 3, &coded)), None, "{codec}");
    }
}

#[test]
fn several_members_and_frames_are_one_stream() {
    let record = raw_record(0, &[7; 3_000]);
    let halves = record.split_at(1_000);
    for (codec, expected) in
        [(Compression::Gzip, None), (Compression::Zstd, None), (Compression::Lz4, Some(Code::CorruptBatch))]
    {
        let mut coded = Vec::new();
        inflate::deflate(codec, halves.0, &mut coded);
        inflate::deflate(codec, halves.1, &mut coded);
        let bytes = around_coded(codec, 1, &coded);
        assert_eq!((checked(&bytes), decoded(&bytes)), (expected, expected), "{codec}");
    }
}

#[test]
fn framed_snappy_is_read_whatever_its_versions_and_block_sizes_are() {
    let record = raw_record(0, &[7; 3_000]);
    let mut coded = b"\x82SNAPPY\0\x01\0\0\0\0\0\0\x09".to_vec();
    for block in record.chunks(1_100) {
        let block = snap::raw::Encoder::new().compress_vec(block).expect("it compresses");
        coded.extend_from_slice(&(block.len() as u32).to_be_bytes());
        coded.extend_from_slice(&block);
    }
    let bytes = around_coded(Compression::Snappy, 1, &coded);
    assert_eq!((checked(&bytes), decoded(&bytes)), (None, None));
    for length in [0, u32::MAX, i32::MAX as u32] {
        coded[16..20].copy_from_slice(&length.to_be_bytes());
        let bytes = around_coded(Compression::Snappy, 1, &coded);
        assert_eq!(checked(&bytes), Some(Code::CorruptBatch), "a block of {length} bytes");
    }
}

#[test]
fn bare_snappy_is_read() {
    let records = raw_record(0, &[7; 100_000]);
    let coded = snap::raw::Encoder::new().compress_vec(&records).expect("it compresses");
    let bytes = around_coded(Compression::Snappy, 1, &coded);
    assert_eq!((checked(&bytes), decoded(&bytes)), (None, None));
}

#[test]
fn every_kind_of_lz4_frame_is_read_and_its_checksums_count() {
    let value: Vec<u8> = (0..300_000u32).map(|index| (index / 3 % 253) as u8).collect();
    let records = raw_record(0, &value);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            let frame = FrameInfo::new()
                .block_mode(mode)
                .block_size(size)
                .block_checksums(true)
                .content_checksum(true)
                .content_size(Some(records.len() as u64));
            let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
            encoder.write_all(&records).expect("memory takes it");
            let coded = encoder.finish().expect("memory takes it");
            let bytes = around_coded(Compression::Lz4, 1, &coded);
            assert_eq!((checked(&bytes), decoded(&bytes)), (None, None));
            assert_eq!(read(bytes)[0].value.as_deref(), Some(&value[..]));
            // The frame's header, its first block with its checksum, the content's checksum.
            let places = (0..40).chain(coded.len() - 12..coded.len());
            for place in places {
                let mut wrong = coded.clone();
                wrong[place] ^= 0x40;
                let bytes = around_coded(Compression::Lz4, 1, &wrong);
                assert_eq!(checked(&bytes), Some(Code::CorruptBatch), "byte {place} of {mode:?} {size:?}");
            }
        }
    }
}

/// A frame by hand: its flags, its content's length if the flags promise one, its blocks.
fn lz4_frame(flags: u8, content_bytes: &[u8], blocks: &[u8]) -> Vec<u8> {
    let descriptor = [&[flags, 0x40], content_bytes].concat();
    let check = (twox_hash::XxHash32::oneshot(0, &descriptor) >> 8) as u8;
    [&[0x04, 0x22, 0x4d, 0x18], &descriptor[..], &[check], blocks].concat()
}

#[test]
fn lz4_frames_keep_to_what_they_state() {
    const INDEPENDENT: u8 = 0x60;
    let frame = |flags: u8, content_bytes: Option<u64>, value_bytes: usize| {
        let record = raw_record(0, &vec![7; value_bytes]);
        let stored = (record.len() as u32 | 1 << 31).to_le_bytes();
        let content_bytes = content_bytes.map_or(Vec::new(), |bytes| bytes.to_le_bytes().to_vec());
        let blocks = [&stored[..], &record, &[0; 4]].concat();
        around_coded(Compression::Lz4, 1, &lz4_frame(flags, &content_bytes, &blocks))
    };
    let right = raw_record(0, &[7; 100]).len() as u64;
    let corrupt = Some(Code::CorruptBatch);
    for (flags, content_bytes, value_bytes, expected) in [
        (INDEPENDENT, None, 100, None),
        (INDEPENDENT, None, 65_000, None),
        (INDEPENDENT, None, 65_536, corrupt), // a block above the frame's 64 KiB
        (INDEPENDENT | 8, Some(right), 100, None),
        (INDEPENDENT | 8, Some(right + 1), 100, corrupt),
        (INDEPENDENT | 8, Some(u64::MAX), 100, corrupt),
        (INDEPENDENT | 2, None, 100, corrupt), // a reserved flag
        (INDEPENDENT | 1, None, 100, corrupt), // a dictionary
        (0xa0, None, 100, corrupt),            // another version
    ] {
        let bytes = frame(flags, content_bytes, value_bytes);
        assert_eq!(checked(&bytes), expected, "{flags:x} {content_bytes:?} {value_bytes}");
    }
}

#[test]
fn memory_follows_the_bytes_at_hand_not_their_claims() {
    // A frame that claims blocks of 4 MiB and holds one small one.
    let mut frame = FrameEncoder::with_frame_info(FrameInfo::new().block_size(BlockSize::Max4MB), Vec::new());
    frame.write_all(&[0; 7_000]).expect("memory takes it");
    let frame = frame.finish().expect("memory takes it");
    let mut out = Vec::new();
    let mut reader = lz4::BlockReader::new(&frame).expect("a frame");
    while reader.next_block(&mut out).expect("whole blocks").is_some() {
        assert!(out.capacity() <= 256 * frame.len(), "{} of {}", out.capacity(), frame.len());
    }

    // Bare snappy that claims 2^32 - 1 bytes, and one that claims a little more than its bytes can hold.
    for claim in [&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0][..], &[0xe8, 0x07, 0, 0]] {
        let mut out = Vec::new();
        assert!(snappy::BlockReader::new(claim).next_block(&mut out).is_err());
        assert_eq!(out.capacity(), 0);
    }

    // Bare snappy that would hold more than any batch may.
    let bomb = vec![0; limits::BATCH_INFLATED_BYTES_MAX + 1];
    let bomb = snap::raw::Encoder::new().compress_vec(&bomb).expect("it compresses");
    let mut out = Vec::new();
    assert!(snappy::BlockReader::new(&bomb).next_block(&mut out).is_err());
    assert_eq!(out.capacity(), 0);
    let bytes = around_coded(Compression::Snappy, 1, &bomb);
    assert_eq!((checked(&bytes), decoded(&bytes)), (Some(Code::TooLarge), Some(Code::TooLarge)));

    // Zstandard frames that hold one stored block and ask for windows of 2^27 and 2^28 bytes.
    let record = raw_record(0, b"value");
    for (exponent, expected) in [(17, None), (18, Some(Code::CorruptBatch))] {
        let last_and_stored = (record.len() as u8) << 3 | 1;
        let header = [0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3, last_and_stored, 0, 0];
        let frame = [&header[..], &record].concat();
        assert_eq!(checked(&around_coded(Compression::Zstd, 1, &frame)), expected, "2^{}", 10 + exponent);
    }
}
