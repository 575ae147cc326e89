use pondage_model::{Body, Entry, Epoch, LogTime, Position, RawEntry, StreamId, limits};

use super::Disk;
use crate::Effect;

fn entry(position: u64, bytes: usize) -> RawEntry {
    let body = Body::Command(vec![0; bytes].into());
    Entry { position: Position(position), epoch: Epoch(1), stream: StreamId(1), log_time: LogTime(0), body }
        .encode()
}

/// What is done to a disk, and what comes of it.
enum Step {
    Append(u64),
    NoteEpoch(u64),
    Truncate(u64),
    /// The disk gives out this.
    Writes(&'static [u64]),
    WritesWithEpoch(&'static [u64], u64),
    Cuts(u64),
    Nothing,
    Synced(u64),
    Truncated(u64),
    /// What is durable, and the end.
    Holds(u64, u64),
}
use Step::{Append, Cuts, Holds, NoteEpoch, Nothing, Synced, Truncate, Truncated, Writes, WritesWithEpoch};

fn check(name: &str, steps: &[Step]) {
    let mut disk = Disk::recovered(Position(10));
    for (index, step) in steps.iter().enumerate() {
        let at = format!("{name}, step {index}");
        let mut gives_out = |epochs: Option<u64>, expected: Option<Effect>| {
            let mut effects = Vec::new();
            disk.flush(&mut effects);
            match (effects.as_slice(), expected) {
                ([], None) => {}
                ([Effect::Write(batch)], Some(Effect::Write(expected))) => {
                    let places: Vec<_> = batch.entries.iter().map(|entry| entry.position).collect();
                    let expected: Vec<_> = expected.entries.iter().map(|entry| entry.position).collect();
                    assert_eq!(places, expected, "{at}");
                    let starts: Vec<_> = epochs.iter().map(|start| (Epoch(1), Position(*start))).collect();
                    assert_eq!(batch.epochs, starts, "{at}");
                }
                ([effect], Some(expected)) => assert_eq!(*effect, expected, "{at}"),
                (effects, expected) => panic!("{at}: {effects:?}, not {expected:?}"),
            }
        };
        let batch = |places: &[u64]| {
            let entries = places.iter().map(|position| entry(*position, 1)).collect();
            Some(Effect::Write(crate::Batch { entries, epochs: Vec::new() }))
        };
        match step {
            Append(position) => disk.append(entry(*position, 1)),
            NoteEpoch(start) => disk.note_epoch(Epoch(1), Position(*start)),
            Truncate(to) => disk.truncate(Position(*to)),
            Writes(places) => gives_out(None, batch(places)),
            WritesWithEpoch(places, start) => gives_out(Some(*start), batch(places)),
            Cuts(to) => gives_out(None, Some(Effect::Truncate(Position(*to)))),
            Nothing => gives_out(None, None),
            Synced(position) => disk.synced(Position(*position)),
            Truncated(position) => disk.truncated(Position(*position)),
            Holds(durable, end) => {
                assert_eq!((disk.durable, disk.end), (Position(*durable), Position(*end)), "{at}");
            }
        }
        disk.check();
    }
}

#[test]
fn one_operation_is_under_way_and_none_is_lost() {
    let rows: &[(&str, &[Step])] = &[
        ("idle", &[Nothing, Holds(10, 10)]),
        (
            "what comes during a sync is the next batch",
            &[
                Append(10),
                Writes(&[10]),
                Append(11),
                Append(12),
                Nothing,
                Synced(11),
                Holds(11, 13),
                Writes(&[11, 12]),
            ],
        ),
        ("a hole", &[Append(15), Writes(&[15]), Synced(16), Holds(16, 16)]),
        (
            "a cut forgets the epoch of a hole behind it",
            &[Append(10), NoteEpoch(12), Append(14), Truncate(11), Writes(&[10]), Synced(11), Nothing],
        ),
        (
            "an epoch travels once",
            &[NoteEpoch(12), Append(14), WritesWithEpoch(&[14], 12), Append(15), Synced(15), Writes(&[15])],
        ),
        (
            "a cut of what was never written",
            &[Append(10), Append(11), Truncate(11), Writes(&[10]), Holds(10, 11)],
        ),
        (
            "a cut of what is on the disk",
            &[
                Truncate(7),
                Holds(7, 7),
                Cuts(7),
                Append(7),
                Nothing,
                Truncated(7),
                Writes(&[7]),
                Synced(8),
                Holds(8, 8),
            ],
        ),
        (
            "a cut of what is being written",
            &[
                Append(10),
                Append(11),
                Writes(&[10, 11]),
                Truncate(11),
                Append(11),
                Nothing,
                Synced(12),
                Holds(11, 12),
                Cuts(11),
                Truncated(11),
                Writes(&[11]),
            ],
        ),
        (
            "the deeper of two cuts",
            &[Append(10), Writes(&[10]), Truncate(8), Truncate(5), Synced(11), Holds(5, 5), Cuts(5)],
        ),
        (
            "a cut behind a cut is none",
            &[Truncate(5), Append(5), Append(6), Truncate(6), Cuts(5), Truncated(5), Writes(&[5])],
        ),
        (
            "a deeper cut while one is under way",
            &[Truncate(7), Cuts(7), Truncate(4), Truncated(7), Holds(4, 4), Cuts(4), Truncated(4), Nothing],
        ),
    ];
    for (name, steps) in rows {
        check(name, steps);
    }
}

#[test]
fn a_batch_is_bounded_and_takes_at_least_one_entry() {
    let mut disk = Disk::recovered(Position(0));
    for (position, bytes) in
        [(0, limits::SYNC_BATCH_BYTES_MAX + 1), (1, 10), (2, limits::SYNC_BATCH_BYTES_MAX)]
    {
        disk.append(entry(position, bytes));
    }
    for (batch, left) in [(vec![0], true), (vec![1], true), (vec![2], false)] {
        let mut effects = Vec::new();
        disk.flush(&mut effects);
        let [Effect::Write(written)] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!(written.entries.iter().map(|entry| entry.position.0).collect::<Vec<_>>(), batch);
        assert_eq!(disk.has_open(), left);
        disk.synced(disk_end(&batch));
    }
    assert_eq!(disk.open_bytes, 0);
}

fn disk_end(batch: &[u64]) -> Position {
    Position(batch[batch.len() - 1] + 1)
}

#[test]
fn what_was_cut_is_not_counted_as_open() {
    let mut disk = Disk::recovered(Position(0));
    let weight = entry(0, 100).weight_bytes();
    for position in 0..4 {
        disk.append(entry(position, 100));
    }
    disk.truncate(Position(3));
    assert_eq!(disk.open_bytes, 3 * weight);
    disk.flush(&mut Vec::new());
    assert_eq!(disk.open_bytes, 0);
    disk.append(entry(3, 100));
    disk.fence();
    assert_eq!((disk.open_bytes, disk.has_open()), (0, false));
}
