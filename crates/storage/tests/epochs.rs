//! Epochs whose entries are gone, logs that begin in the middle, and where a replay begins.

mod common;

use std::panic::catch_unwind;

use common::{
    Maker,
    model::{Epochs, Model, Source, recorded},
    open, read_all,
};
use pondage_model::{EntryKind, Epoch, Offset, Position, RawEntry};
use pondage_storage::{Faults, HostileDisk, Opened};

#[test]
fn epochs_between_entries_divide_a_batch_and_those_behind_it_wait() {
    let disk = HostileDisk::new(1, Faults::default());
    let mut opened = open(&disk);
    let mut maker = Maker::new(1);
    let mut entry = |position, epoch| {
        maker.next = Position(position);
        RawEntry { epoch: Epoch(epoch), ..maker.entry() }
    };
    let entries = [entry(10, 3), entry(11, 3), entry(20, 5), entry(21, 6), entry(30, 6), entry(40, 9)];
    let learnt: Epochs = [(2, 0), (3, 4), (5, 15), (6, 21), (7, 31), (9, 40), (10, 50)]
        .map(|(epoch, start)| (Epoch(epoch), Position(start)))
        .to_vec();
    let synced = opened.writer.append(&learnt, &entries).expect("appends");
    assert_eq!(synced.end(), Position(41));
    assert_eq!(opened.writer.counters().batches, 3);
    for opened in [opened, open(&disk)] {
        assert_eq!(opened.reader.epochs(), learnt[..6]);
        assert_eq!(read_all(&opened), entries);
    }
}

#[test]
fn a_replay_begins_at_the_newest_checkpoint_that_is_complete_below_its_end() {
    let mut opened = open(&HostileDisk::new(1, Faults::default()));
    let mut maker = Maker::new(1);
    let mut entries: Vec<RawEntry> = (0..30).map(|_| maker.entry()).collect();
    for (first, pages) in [(4, 1), (10, 3), (20, 3)] {
        for index in 0..pages {
            let page = &mut entries[first + index];
            (page.kind, page.count) = (EntryKind::CheckpointPage, pages as u32);
            page.base_offset = Offset(index as u64);
            page.epoch = Epoch(1);
        }
    }
    for entry in &mut entries {
        entry.epoch = Epoch(1);
    }
    let _synced = opened.writer.append(&[], &entries).expect("appends");
    let from = |opened: &Opened<HostileDisk>, ends: &[u64]| -> Vec<u64> {
        ends.iter().map(|end| opened.reader.replay_from(Position(*end)).0).collect()
    };
    let ends = [0, 4, 5, 12, 13, 22, 23, 99];
    assert_eq!(from(&opened, &ends), [0, 0, 4, 4, 10, 10, 20, 20]);
    let _truncated = opened.writer.truncate(Position(22)).expect("truncates");
    assert_eq!(from(&opened, &ends), [0, 0, 4, 4, 10, 10, 10, 10]);
    let _truncated = opened.writer.truncate(Position(11)).expect("truncates");
    assert_eq!(from(&opened, &ends), [0, 0, 4, 4, 4, 4, 4, 4]);
}

/// Epochs that may not be learnt before an entry of epoch 5 at 200, in a log that ends at 100 in epoch 3.
#[test]
fn epochs_that_do_not_lie_between_the_end_and_the_first_entry_are_our_mistake() {
    let cases: [(&[(u64, u64)], bool); 8] = [
        (&[(4, 100)], true),
        (&[(4, 120), (5, 199)], true),
        (&[(2, 50), (3, 60), (5, 200)], true),
        (&[(4, 99)], false),
        (&[(4, 200)], false),
        (&[(6, 150)], false),
        (&[(5, 150), (4, 160)], false),
        (&[(4, 150), (5, 150)], false),
    ];
    for (epochs, allowed) in cases {
        let result = catch_unwind(|| {
            let mut opened = open(&HostileDisk::new(1, Faults::default()));
            let mut maker = Maker::new(1);
            for (position, epoch) in [(99, 3), (200, 5)] {
                maker.next = Position(position);
                let entry = RawEntry { epoch: Epoch(epoch), ..maker.entry() };
                let epochs: Epochs = if epoch == 3 {
                    Vec::new()
                } else {
                    epochs.iter().map(|(epoch, start)| (Epoch(*epoch), Position(*start))).collect()
                };
                let written = opened.writer.write_with_epochs(&epochs, &[entry]).expect("writes");
                let _synced = opened.writer.sync(written).expect("syncs");
            }
        });
        assert_eq!(result.is_ok(), allowed, "{epochs:?}");
    }
}

#[test]
fn a_log_cut_to_nothing_is_as_new_and_may_begin_anywhere() {
    let (disk, _) = recorded(5, false, 30);
    let mut opened = open(&disk);
    assert_eq!(opened.writer.truncate(Position::ZERO).expect("truncates").end(), Position::ZERO);
    Model::default().check(&opened, "emptied");
    let mut source = Source::new(6, true);
    source.maker.next = Position(5_000);
    source.maker.epoch = Epoch(9);
    let mut model = Model::default();
    let learnt = vec![(Epoch(1), Position(0)), (Epoch(4), Position(100)), (Epoch(9), Position(4_000))];
    let entries = source.maker.batch(3);
    let written = opened.writer.write_with_epochs(&learnt, &entries).expect("writes");
    let _synced = opened.writer.sync(written).expect("syncs");
    model.append(&learnt, &entries);
    assert_eq!(opened.reader.start(), Position(5_000));
    assert_eq!(opened.reader.read_from(Position(17), 1).expect("reads"), entries[..1]);
    assert_eq!(opened.reader.epoch_at(Position(4_000)), Epoch(4));
    assert_eq!(opened.reader.epoch_at(Position(4_001)), Epoch(9));
    disk.crash();
    let mut opened = open(&disk);
    model.check_opened(&opened, "begun in the middle");
    // What the log knows, and what the first entry says itself, needs no new segment.
    let segments = opened.reader.segments().len();
    let mut next = source.maker.entry();
    next.epoch = Epoch(10);
    let known = [learnt[2], (Epoch(10), next.position)];
    let written = opened.writer.write_with_epochs(&known, std::slice::from_ref(&next)).expect("writes");
    let _synced = opened.writer.sync(written).expect("syncs");
    model.append(&[], &[next]);
    model.check(&opened, "with nothing learnt");
    assert_eq!(opened.reader.segments().len(), segments);
}
