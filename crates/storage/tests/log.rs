//! The log as its users see it, on the real disk and on the hostile one without faults.

mod common;

use bytes::Bytes;
use common::{FOLDER, Maker, append, check_reads, open, read_all, tiny};
use pondage_model::{EntryKind, Epoch, LogTime, Position, RawEntry, ShardId, StreamId};
use pondage_storage::{
    Disk, DiskFile, Faults, FileDisk, HostileDisk, LogOptions, OpenError, Opened,
    log::{self, Operation},
};

fn hostile() -> HostileDisk {
    HostileDisk::new(1, Faults::default())
}

fn page(position: u64, index: u64, total: u32) -> RawEntry {
    RawEntry {
        position: Position(position),
        kind: EntryKind::CheckpointPage,
        base_offset: pondage_model::Offset(index),
        count: total,
        ..control(position)
    }
}

fn control(position: u64) -> RawEntry {
    RawEntry {
        position: Position(position),
        epoch: Epoch(1),
        stream: StreamId(1),
        log_time: LogTime(5),
        kind: EntryKind::Accept,
        base_offset: pondage_model::Offset(0),
        count: 0,
        attributes: Bytes::new(),
        body: Bytes::from_static(&[9; 300]),
    }
}

fn a_log_keeps_what_was_synced<D: Disk>(disk: &D) {
    let mut maker = Maker::new(3);
    let mut expected = Vec::new();
    let mut opened = open(disk);
    assert_eq!((opened.end, opened.replay_from, opened.last_epoch), Default::default());
    check_reads(&opened, &[]);
    for round in 0..60 {
        let batch = maker.batch(8);
        let written = opened.writer.write(&batch).expect("writes");
        assert_eq!(opened.reader.end().0, expected.len() as u64, "readers see only what is synced");
        let synced = opened.writer.sync(written).expect("syncs");
        expected.extend(batch);
        assert_eq!(synced.end(), opened.reader.end());
        if round % 20 == 7 {
            check_reads(&opened, &expected);
            opened = open(disk);
            assert_eq!(opened.end.0, expected.len() as u64);
            check_reads(&opened, &expected);
        }
    }
    check_reads(&opened, &expected);
    let segments = opened.reader.segments();
    assert!(segments.len() > 5, "{} segments", segments.len());
    for two in segments.windows(2) {
        assert!(two[0].sealed && two[0].end == two[1].first && two[0].last_log_time <= two[1].last_log_time);
    }
    let counters = opened.writer.counters();
    assert_eq!(counters.fsyncs, counters.batches + 2 * counters.segments_created);
}

#[test]
fn a_log_keeps_what_was_synced_on_either_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    a_log_keeps_what_was_synced(&FileDisk::new(folder.path()));
    a_log_keeps_what_was_synced(&hostile());
}

#[test]
fn entries_larger_than_a_segment_get_one_and_sizes_double() {
    let disk = hostile();
    let mut opened = open(&disk);
    let mut expected = Vec::new();
    for position in 0..40 {
        let mut entry = control(position);
        if position % 10 == 3 {
            entry.body = vec![position as u8; 50_000].into();
        }
        append(&mut opened, std::slice::from_ref(&entry));
        expected.push(entry);
    }
    assert!(read_all(&opened) == expected);
    assert!(read_all(&open(&disk)) == expected);
}

#[test]
fn replay_begins_at_the_newest_complete_checkpoint_across_segments() {
    let disk = hostile();
    let mut opened = open(&disk);
    let mut position = 0;
    let mut complete = Position::ZERO;
    for round in 0..10 {
        for _ in 0..5 {
            append(&mut opened, &[control(position)]);
            position += 1;
        }
        // Every third checkpoint is broken off.
        let pages = if round % 3 == 2 { 6 } else { 8 };
        if pages == 8 {
            complete = Position(position);
        }
        for index in 0..pages {
            append(&mut opened, &[page(position, index, 8)]);
            position += 1;
        }
        opened = open(&disk);
        assert_eq!(opened.replay_from, complete);
    }
}

#[test]
fn dropping_takes_whole_sealed_segments_and_keeps_the_epochs() {
    let disk = hostile();
    let mut opened = open(&disk);
    let mut maker = Maker::new(9);
    let mut expected = Vec::new();
    for _ in 0..60 {
        let batch = maker.batch(5);
        append(&mut opened, &batch);
        expected.extend(batch);
    }
    let epochs = open(&disk).epochs;
    assert!(epochs.len() > 2);
    let segments = opened.reader.segments();
    let cut = Position(segments[3].end.0 + 1);
    let bytes: u64 = segments[..4].iter().map(|segment| segment.bytes).sum();
    let clone = opened.reader.clone();
    assert_eq!(opened.writer.drop_segments_below(cut).expect("drops"), bytes);
    assert_eq!(opened.writer.drop_segments_below(cut).expect("drops nothing more"), 0);
    assert_eq!(clone.start(), segments[4].first);
    expected.retain(|entry| entry.position >= segments[4].first);
    check_reads(&opened, &expected);
    assert_eq!(opened.reader.read_from(Position::ZERO, 1).expect("reads")[0], expected[0]);
    disk.crash();
    let mut opened = open(&disk);
    check_reads(&opened, &expected);
    assert_eq!((&opened.epochs, opened.replay_from), (&epochs, segments[4].first));

    opened.writer.drop_segments_below(Position(u64::MAX)).expect("drops");
    assert_eq!(opened.reader.segments().len(), 1, "the newest stays");
    let end = opened.end;
    let opened = open(&disk);
    assert_eq!((opened.end, opened.epochs), (end, epochs));
}

#[test]
fn positions_may_leave_gaps_and_a_sealed_end_goes_on() {
    let disk = hostile();
    let mut opened = open(&disk);
    let mut expected = Vec::new();
    for position in [5, 6, 100, 1_000, 1_001, 5_000, 5_001, 9_000] {
        append(&mut opened, &[control(position)]);
        expected.push(control(position));
        opened = open(&disk);
        assert!(read_all(&opened) == expected);
    }
    let some = opened.reader.read_from(Position(101), 10_000).expect("reads");
    assert_eq!(
        some.iter().map(|entry| entry.position.0).collect::<Vec<_>>(),
        [1_000, 1_001, 5_000, 5_001, 9_000]
    );
}

#[test]
fn a_failure_fences_the_writer_for_good_and_readers_go_on() {
    for (faults, operation) in [
        (Faults { write_errors_per_million: 1_000_000, ..Faults::default() }, Operation::Write),
        (Faults { sync_errors_per_million: 1_000_000, ..Faults::default() }, Operation::Sync),
    ] {
        let disk = hostile();
        let mut opened = open(&disk);
        append(&mut opened, &[control(0)]);
        disk.set_faults(faults);
        let written = opened.writer.write(&[control(1)]);
        let fault = match written.and_then(|written| opened.writer.sync(written)) {
            Ok(_) => panic!("{operation} must fail"),
            Err(fault) => fault,
        };
        assert_eq!(fault.operation, operation);
        let text = fault.to_string();
        assert!(text.contains("0000000000000000.log at byte ") && text.contains("restart"), "{text}");
        disk.set_faults(Faults::default());
        let again = opened.writer.write(&[control(1)]).expect_err("fenced");
        assert_eq!(again.to_string(), text);
        assert_eq!(opened.writer.drop_segments_below(Position(9)).expect_err("fenced").to_string(), text);
        assert_eq!(read_all(&opened), [control(0)]);
    }
}

#[test]
fn a_full_disk_is_told_apart() {
    let disk = HostileDisk::new(1, Faults { capacity_bytes: Some(1_000), ..Faults::default() });
    let fault = open(&disk).writer.write(&[control(0)]).expect_err("full");
    assert!(fault.is_full() && fault.operation == Operation::Reserve, "{fault}");
}

#[test]
#[should_panic(expected = "only after the sync of the one before")]
fn a_batch_before_the_sync_of_the_last_is_our_mistake() {
    let mut opened = open(&hostile());
    let _first = opened.writer.write(&[control(0)]).expect("writes");
    let _second = opened.writer.write(&[control(1)]);
}

#[test]
fn another_shards_files_and_newer_files_are_refused() {
    let disk = hostile();
    let mut opened = open(&disk);
    append(&mut opened, &[control(0)]);
    drop(opened);
    let other = LogOptions { shard: ShardId(7), ..tiny() };
    let error = log::open(disk.clone(), FOLDER, other).expect_err("refused");
    assert!(matches!(error, OpenError::WrongShard { found: ShardId(0), expected: ShardId(7), .. }));
    let file = disk.open(&format!("{FOLDER}/0000000000000000.log")).expect("opens");
    file.write_at(8, &[std::io::IoSlice::new(&[2])]).expect("writes");
    let error = log::open(disk, FOLDER, tiny()).expect_err("refused");
    assert!(matches!(error, OpenError::Newer { version: 2, .. }), "{error}");
}

#[test]
fn one_write_and_one_sync_per_batch() {
    let disk = hostile();
    let mut opened: Opened<HostileDisk> =
        log::open(disk.clone(), FOLDER, LogOptions::default()).expect("opens");
    append(&mut opened, &[control(0)]);
    let before = disk.counters();
    let batch: Vec<RawEntry> = (1..1_000)
        .map(|position| RawEntry {
            body: vec![1; (position as usize % 7) * 1_000].into(),
            ..control(position)
        })
        .collect();
    let small = &batch[..50];
    append(&mut opened, small);
    let after = disk.counters();
    assert_eq!((after.writes - before.writes, after.fsyncs - before.fsyncs), (1, 1));
}
