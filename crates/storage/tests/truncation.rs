//! Cutting the log's end, with gaps between positions and epochs without entries: against a vector as the model, with
//! a crash at every step.

mod common;

use std::{
    io::IoSlice,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use common::{
    FOLDER, Maker,
    model::{Epochs, Model, Source, append, recorded},
    open, read_all, tiny,
};
use pondage_model::{Position, RawEntry};
use pondage_storage::{
    Disk, DiskFile, Faults, FileDisk, HostileDisk, LogOptions, OpenError,
    disk::hostile::SplitMix,
    log::{self, Operation},
};

/// Writes on behind a recovered log, loses the last batch half-way in a crash, and checks what is left.
fn goes_on(disk: &HostileDisk, mut model: Model, seed: u64, what: &str) {
    let mut opened = open(disk);
    model.check_opened(&opened, what);
    let mut source = Source::new(seed, false);
    model.continue_with(&mut source, opened.reader.start());
    append(&mut opened, &mut model, &mut source, 3);
    let (_, torn) = source.batch(5);
    let _written = opened.writer.write(&torn).expect("writes");
    disk.crash();
    let opened = log::open(disk.clone(), FOLDER, tiny()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let least = model.entries.len();
    model.append(&[], &torn);
    let count = model.below(opened.end);
    assert!(count >= least, "{what}: {count} of {least}");
    model.keep(count);
    model.check_opened(&opened, what);
}

#[test]
fn a_crash_at_any_step_of_a_truncation_leaves_a_whole_log_between_the_cut_and_the_old_end() {
    let (mut steps, mut inside) = (0, 0);
    for (seed, gaps) in [(1, false), (2, true), (3, true)] {
        let (disk, model) = recorded(seed, gaps, 70);
        let mut cuts: Vec<u64> = model.entries.iter().map(|entry| entry.position.0).step_by(3).collect();
        cuts.extend([1, 2, model.end().0 - 1, model.end().0, model.end().0 + 7]);
        for to in cuts.into_iter().map(Position) {
            for stop in 0.. {
                let copy = disk.clone_image();
                copy.reseed(to.0 << 8 | stop);
                let what = format!("seed {seed}, to {to:?}, stopped after {stop}");
                let mut opened = open(&copy);
                copy.stop_after(stop);
                let result = opened.writer.truncate(to);
                let done = result.is_ok();
                let mut model = model.clone();
                let kept = model.below(to);
                if let Ok(truncated) = result {
                    model.keep(kept);
                    assert_eq!(truncated.end(), model.end(), "{what}");
                    model.check(&opened, &what);
                }
                if stop % 3 == 0 {
                    copy.kill();
                } else {
                    copy.crash();
                }
                let opened = log::open(copy.clone(), FOLDER, tiny());
                let opened = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
                let found = read_all(&opened).len();
                assert!(found >= kept, "{what}: {found} of {kept} entries below the cut");
                assert!(!done || found == kept, "{what}: {found} entries after a truncation to {kept}");
                inside += u64::from(found > kept && found < model.entries.len());
                steps += 1;
                model.keep(found);
                drop(opened);
                goes_on(&copy, model, stop, &what);
                if done {
                    break;
                }
            }
        }
    }
    assert!(steps > 500 && inside > 100, "{steps} steps, {inside} with some segments gone");
}

#[test]
fn a_real_disk_is_cut_as_the_hostile_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = FileDisk::new(folder.path());
    let mut opened = open(&disk);
    let (mut model, mut source) = (Model::default(), Source::new(9, true));
    for round in 0..60 {
        for _ in 0..5 {
            append(&mut opened, &mut model, &mut source, 6);
        }
        let back = source.maker.chance.below([3, 60][round % 2]);
        let to = Position(model.end().0 - back.min(model.end().0 - 1));
        model.keep(model.below(to));
        assert_eq!(opened.writer.truncate(to).expect("truncates").end(), model.end());
        model.continue_with(&mut source, Position::ZERO);
        if round % 3 == 0 {
            opened = open(&disk);
            model.check_opened(&opened, "opened again");
        }
        model.check(&opened, "cut");
    }
}

#[test]
fn a_truncation_costs_a_sync_of_the_file_and_one_of_the_folder_per_removed_segment() {
    let (disk, model) = recorded(4, false, 70);
    let segments = open(&disk).reader.segments();
    let third = &segments[segments.len() - 3];
    for (to, removed, cut) in [
        (model.end(), 0, 0),
        (Position(model.end().0 - 1), 0, 1),
        (Position(third.end.0 - 1), 2, 1),
        (third.end, 2, 0),
        (Position::ZERO, segments.len() as u64, 0),
    ] {
        let copy = disk.clone_image();
        let mut opened = open(&copy);
        let before = copy.counters();
        let _truncated = opened.writer.truncate(to).expect("truncates");
        let after = copy.counters();
        assert_eq!(
            (after.folder_syncs - before.folder_syncs, after.fsyncs - before.fsyncs),
            (removed, cut),
            "{to:?}"
        );
    }
}

#[test]
fn damage_at_the_cut_is_a_fault_that_changes_nothing_and_damage_behind_it_is_cut_off() {
    let (disk, model) = recorded(7, false, 60);
    let mut opened = open(&disk);
    let newest = opened.reader.segments().pop().expect("a segment");
    let entries = model.from(newest.first);
    let bytes: Vec<u64> = entries.iter().map(|entry| log::frame_bytes(entry) as u64).collect();
    assert!(entries.len() > 3, "the seed puts some entries into the newest segment");
    let first = newest.bytes - bytes.iter().sum::<u64>();
    let file = disk.open(&format!("{FOLDER}/{:016x}.log", newest.first.0)).expect("opens");
    let damage = |place: u64| file.write_at(place + 40, &[IoSlice::new(&[0xff; 8])]).expect("writes");

    damage(first + bytes[0] + bytes[1]);
    let to = entries[2].position;
    assert_eq!(opened.writer.truncate(to).expect("truncates").end(), to);
    damage(first);
    let length = file.len().expect("length");
    let fault = opened.writer.truncate(entries[1].position).expect_err("the frame that stays is damaged");
    assert_eq!((fault.operation, fault.offset), (Operation::Read, first));
    assert!(opened.writer.truncate(Position::ZERO).is_err(), "fenced");
    assert_eq!((opened.reader.end(), file.len().expect("length")), (to, length));
}

#[test]
#[should_panic(expected = "only after the sync of the last batch")]
fn a_truncation_before_the_sync_of_the_last_batch_is_our_mistake() {
    let mut opened = open(&HostileDisk::new(1, Faults::default()));
    let _written = opened.writer.write(&Maker::new(1).batch(3)).expect("writes");
    let _truncated = opened.writer.truncate(Position::ZERO);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the thread stands for one of the shell's")]
fn readers_beside_truncations_see_the_log_before_or_after_and_nothing_else() {
    let disk = HostileDisk::new(8, Faults::default());
    let mut opened =
        log::open(disk, FOLDER, LogOptions { segment_bytes_max: 64 << 10, ..tiny() }).expect("opens");
    let (mut model, mut source) = (Model::default(), Source::new(8, false));
    while model.entries.len() < 30 {
        append(&mut opened, &mut model, &mut source, 6);
    }
    // Everything below here stays; behind it each version of the log has its own epoch.
    let kept = model.entries.len();
    let done = AtomicBool::new(false);
    let (reader, stable) = (opened.reader.clone(), model.entries.clone());
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut reads = 0u64;
            while !done.load(Ordering::Relaxed) {
                let entries = reader.read_from(stable[20].position, 40_000).expect("no read fails");
                assert!(entries[..kept - 20] == stable[20..], "what stays is there");
                let mut tail = entries[kept - 20..].iter();
                let epoch = tail.next().map(|entry| entry.epoch);
                assert!(tail.all(|entry| Some(entry.epoch) == epoch), "entries of two versions");
                reads += 1;
            }
            reads
        });
        for _ in 0..3_000 {
            source.maker.epoch = source.maker.epoch.next();
            let epoch = source.maker.epoch;
            let mut batch = source.maker.batch(12);
            for entry in &mut batch {
                entry.epoch = epoch;
            }
            let written = opened.writer.write(&batch).expect("writes");
            let _synced = opened.writer.sync(written).expect("syncs");
            let _truncated = opened.writer.truncate(model.end()).expect("truncates");
            source.maker.rewind_to(&model.entries);
            source.maker.epoch = epoch;
        }
        done.store(true, Ordering::Relaxed);
        assert!(reading.join().expect("the reader lives") > 100);
    });
    model.check(&opened, "after all");
}

/// What a life had in hand when it ended.
enum InHand {
    Nothing,
    Append(Epochs, Vec<RawEntry>),
    Truncation(Position),
}

/// One life of a log on a hostile disk: appends with gaps, truncations, drops, faults and crashes. Gives how many
/// entries were written and how many truncations succeeded and failed.
fn live(seed: u64) -> [u64; 3] {
    let mut chance = SplitMix::new(seed ^ 0x7c4);
    let disk = HostileDisk::new(seed, Faults::default());
    let mut source = Source::new(seed, chance.below(3) > 0);
    source.maker.body_bytes_max = [40, 600, 3_000][chance.below(3) as usize];
    let mut faulty = Faults {
        write_errors_per_million: chance.below(30_000) as u32,
        sync_errors_per_million: chance.below(60_000) as u32,
        short_reads_per_million: chance.below(300_000) as u32,
        flipped_reads_per_million: chance.below(2) as u32 * 5_000,
        misdirected_reads_per_million: chance.below(2) as u32 * 5_000,
        capacity_bytes: None,
    };
    let mut model = Model::default();
    let mut tally = [0; 3];
    for _ in 0..12 {
        let mut opened = loop {
            disk.set_faults(if chance.below(3) == 0 { faulty } else { Faults::default() });
            match log::open(disk.clone(), FOLDER, tiny()) {
                Ok(opened) => break opened,
                Err(OpenError::Io { .. }) => disk.crash(),
                Err(error) => panic!("seed {seed}: {error}"),
            }
        };
        disk.set_faults(Faults::default());
        model.check_opened(&opened, &format!("seed {seed}"));
        let mut start = opened.reader.start();
        model.continue_with(&mut source, start);
        // Flipped reads of a cut's surroundings must not fence every life.
        faulty.flipped_reads_per_million = faulty.flipped_reads_per_million.min(5_000);
        disk.set_faults(faulty);
        let mut in_hand = InHand::Nothing;
        for _ in 0..chance.below(25) {
            start = opened.reader.start();
            match chance.below(14) {
                0 => {
                    let below = Position(chance.below(model.end().0 + 2));
                    if opened.writer.drop_segments_below(below).is_err() {
                        break;
                    }
                }
                1 | 2 => {
                    let back = [5, 40, model.end().0][chance.below(3) as usize];
                    let to = Position((model.end().0 + 2).saturating_sub(chance.below(back + 3)));
                    match opened.writer.truncate(to) {
                        Ok(truncated) => {
                            let kept = if to <= start { 0 } else { model.below(to) };
                            model.keep(kept);
                            assert_eq!(truncated.end(), model.end(), "seed {seed}");
                            model.continue_with(&mut source, start);
                            tally[1] += 1;
                        }
                        Err(_) => {
                            in_hand = InHand::Truncation(to);
                            tally[2] += 1;
                            break;
                        }
                    }
                }
                _ => {
                    let (learnt, entries) = source.batch(6);
                    if opened.writer.append(&learnt, &entries).is_err() {
                        in_hand = InHand::Append(learnt, entries);
                        break;
                    }
                    tally[0] += entries.len() as u64;
                    model.append(&learnt, &entries);
                }
            }
        }
        disk.set_faults(Faults::default());
        if matches!(in_hand, InHand::Nothing) {
            model.check(&opened, &format!("seed {seed}"));
        }
        drop(opened);
        if chance.below(3) == 0 {
            disk.kill();
        } else {
            disk.crash();
        }
        // What is unknown is decided by the next opening, and then for good.
        let opened = log::open(disk.clone(), FOLDER, tiny());
        let opened = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let least = match in_hand {
            InHand::Nothing => model.entries.len(),
            InHand::Append(learnt, entries) => {
                let least = model.entries.len();
                model.append(&learnt, &entries);
                least
            }
            InHand::Truncation(to) if to <= start => 0,
            InHand::Truncation(to) => model.below(to),
        };
        let count = model.below(opened.end);
        assert!(count >= least, "seed {seed}: {count} of {least}");
        model.keep(count);
        model.check_opened(&opened, &format!("seed {seed}"));
        drop(opened);
        disk.crash();
    }
    tally
}

#[test]
fn a_log_that_is_cut_is_a_vector_through_random_operations_faults_and_crashes() {
    let mut tally = [0; 3];
    for seed in 0..500 {
        for (sum, more) in tally.iter_mut().zip(live(seed)) {
            *sum += more;
        }
    }
    assert!(tally[0] > 30_000 && tally[1] > 3_000 && tally[2] > 200, "{tally:?}");
}
