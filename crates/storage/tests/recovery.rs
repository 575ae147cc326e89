//! Recovery: cuts at every byte, flips, crashes at random moments, against a vector as the model.

mod common;

use std::io::IoSlice;

use common::{FOLDER, Maker, append, check_reads, open, read_all, tiny};
use pondage_model::{Position, RawEntry};
use pondage_storage::{
    Disk, DiskFile, Faults, HostileDisk, OpenError, ReadError,
    disk::hostile::SplitMix,
    log::{self, frame_bytes},
};

/// A log of at least 1,000 entries, and where everything in it lies.
struct Recorded {
    disk: HostileDisk,
    entries: Vec<RawEntry>,
    /// Of each entry: its file, the byte where its frame begins, the byte after it, the number of its batch.
    frames: Vec<(String, u64, u64, usize)>,
}

fn record() -> Recorded {
    let disk = HostileDisk::new(11, Faults::default());
    let mut opened = open(&disk);
    let mut maker = Maker::new(11);
    let mut entries: Vec<RawEntry> = Vec::new();
    let mut frames: Vec<(String, u64, u64, usize)> = Vec::new();
    let mut batch_number = 0;
    let mut place = 0;
    while entries.len() < 1_000 {
        let batch = maker.batch(7);
        append(&mut opened, &batch);
        let newest = opened.reader.segments().pop().expect("a segment");
        for entry in &batch {
            if entry.position == newest.first {
                // The header; all the epochs of this log need more than one sector only late in it.
                place = newest.bytes - batch.iter().map(|entry| frame_bytes(entry) as u64).sum::<u64>();
            }
            let end = place + frame_bytes(entry) as u64;
            frames.push((path(newest.first), place, end, batch_number));
            place = end;
        }
        entries.extend(batch);
        batch_number += 1;
    }
    assert!(opened.reader.segments().len() > 20);
    Recorded { disk, entries, frames }
}

fn path(first: Position) -> String {
    format!("{FOLDER}/{:016x}.log", first.0)
}

impl Recorded {
    /// How many entries lie before the batch that this entry is in: what was synced before it was written.
    fn acknowledged_before(&self, index: usize) -> usize {
        let batch = self.frames[index].3;
        self.frames.iter().position(|(_, _, _, other)| *other == batch).expect("there")
    }

    /// A copy of the disk without the segments behind the one of this entry, as if they never were; the segment
    /// itself has no index.
    fn up_to_segment_of(&self, index: usize) -> HostileDisk {
        let copy = self.disk.clone_image();
        let newest = &self.frames[index].0;
        for name in copy.list(FOLDER).expect("lists") {
            let path = format!("{FOLDER}/{name}");
            if path > *newest {
                copy.remove(&path).expect("removes");
            }
        }
        let end = self.frames.iter().filter(|(file, ..)| file == newest).map(|(_, _, end, _)| *end).max();
        let file = copy.open(newest).expect("opens");
        file.set_len(end.expect("frames")).expect("cuts the index off");
        copy
    }

    /// Recovers a damaged disk and checks that it gives a prefix of at least `least` entries and goes on.
    fn recovers(&self, disk: &HostileDisk, least: usize, what: &str) -> usize {
        let opened =
            log::open(disk.clone(), FOLDER, tiny()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = read_all(&opened);
        assert!(found.len() >= least, "{what}: {} of {least} acknowledged entries", found.len());
        assert!(found == self.entries[..found.len()], "{what}: wrong bytes");
        found.len()
    }

    fn goes_on(&self, disk: &HostileDisk, count: usize) {
        let mut opened = open(disk);
        let mut expected = self.entries[..count].to_vec();
        let mut maker = Maker::new(5);
        maker.epoch = opened.last_epoch;
        maker.log_time = opened.last_log_time.max(maker.log_time);
        maker.rewind_to(&expected);
        for _ in 0..3 {
            let batch = maker.batch(6);
            append(&mut opened, &batch);
            expected.extend(batch);
        }
        disk.crash();
        let opened = open(disk);
        check_reads(&opened, &expected);
    }
}

fn zero_from(disk: &HostileDisk, path: &str, from: u64) {
    let file = disk.open(path).expect("opens");
    let len = file.len().expect("length");
    file.write_at(from, &[IoSlice::new(&vec![0; (len - from) as usize])]).expect("writes");
}

#[test]
fn a_cut_anywhere_in_the_last_frames_leaves_every_acknowledged_entry() {
    let recorded = record();
    let last = recorded.entries.len() - 1;
    let file = recorded.frames[last].0.clone();
    assert_eq!(recorded.frames[last - 1].0, file, "the seed puts the last two frames into one segment");
    for index in [last - 1, last] {
        let (_, start, end, _) = recorded.frames[index];
        for cut in start..=end {
            let least = if cut == end { index + 1 } else { index };
            for truncate in [true, false] {
                let disk = recorded.disk.clone_image();
                if truncate {
                    disk.open(&file).expect("opens").set_len(cut).expect("cuts");
                } else {
                    zero_from(&disk, &file, cut);
                }
                let what = format!("cut at {cut} of frame {index}, truncate {truncate}");
                let count = recorded.recovers(&disk, recorded.acknowledged_before(index), &what);
                // Zeros may be what the frame ended with.
                assert!(count == least || (!truncate && count == index + 1), "{what}: {count}");
                if cut % 16 == 0 {
                    recorded.goes_on(&disk, count);
                }
            }
        }
    }
}

#[test]
fn a_cut_at_any_frame_leaves_exactly_what_is_before_it() {
    let recorded = record();
    for index in 0..recorded.entries.len() {
        let (file, start, ..) = &recorded.frames[index];
        let header_cut = start + 9;
        for cut in [*start, header_cut] {
            for truncate in [true, false] {
                let disk = recorded.up_to_segment_of(index);
                if truncate {
                    disk.open(file).expect("opens").set_len(cut).expect("cuts");
                } else {
                    zero_from(&disk, file, cut);
                }
                let what = format!("cut at {cut} of {file}, truncate {truncate}");
                let count = recorded.recovers(&disk, recorded.acknowledged_before(index), &what);
                assert_eq!(count, index, "{what}");
                if index % 25 == 0 {
                    recorded.goes_on(&disk, count);
                }
            }
        }
    }
}

#[test]
fn a_torn_batch_with_later_frames_of_its_own_is_cut() {
    let recorded = record();
    let mut tried = 0;
    for index in 0..recorded.entries.len() - 1 {
        let (file, start, end, batch) = &recorded.frames[index];
        // Only where the batch goes on behind the frame, and with it the log ends.
        if recorded.frames[index + 1].3 != *batch {
            continue;
        }
        tried += 1;
        let disk = recorded.up_to_segment_of(index);
        let batch_end = recorded.frames.iter().filter(|(_, _, _, other)| other == batch).map(|f| f.2).max();
        let opened_file = disk.open(file).expect("opens");
        opened_file.set_len(batch_end.expect("frames")).expect("cuts");
        opened_file.write_at(*start, &[IoSlice::new(&vec![0; (end - start) as usize])]).expect("writes");
        let count = recorded.recovers(&disk, recorded.acknowledged_before(index), &format!("frame {index}"));
        assert_eq!(count, index);
        // A file that lost all its frames is removed.
        if let Ok(file) = disk.open(file) {
            let mut behind = vec![1; (file.len().expect("length") - start) as usize];
            assert_eq!(file.read_at(*start, &mut behind).expect("reads"), behind.len());
            assert!(behind.iter().all(|byte| *byte == 0), "frame {index}: what was cut is still there");
        }
        if tried % 20 == 0 {
            recorded.goes_on(&disk, count);
        }
    }
    assert!(tried > 100);
}

#[test]
fn a_flip_before_the_last_batch_is_reported_with_file_and_place_and_cuts_nothing() {
    let recorded = record();
    let last_batch = recorded.frames.last().expect("frames").3;
    let newest = &recorded.frames.last().expect("frames").0;
    let mut chance = SplitMix::new(3);
    for (index, (file, start, end, batch)) in recorded.frames.iter().enumerate() {
        if *batch == last_batch {
            continue;
        }
        for sealed in [true, false] {
            // Sealed segments are trusted by their index when they open and found out when they are read; without
            // one they are scanned.
            if sealed == (file == newest) {
                continue;
            }
            let disk = recorded.disk.clone_image();
            let flipped = disk.open(file).expect("opens");
            let at = start + chance.below(end - start);
            let mut byte = [0];
            flipped.read_at(at, &mut byte).expect("reads");
            flipped.write_at(at, &[IoSlice::new(&[byte[0] ^ (1 << chance.below(8))])]).expect("writes");
            let before = disk.list(FOLDER).expect("lists");
            if !sealed && file != newest {
                let len = flipped.len().expect("length");
                flipped.write_at(len - 1, &[IoSlice::new(&[0xff])]).expect("writes");
            }
            let name = format!("hostile-disk/{file}");
            match log::open(disk.clone(), FOLDER, tiny()) {
                Err(OpenError::Corrupt(corruption)) => {
                    assert!(!sealed, "frame {index}: a sealed segment opens");
                    assert_eq!((&*corruption.file, corruption.offset), (&*name, *start), "frame {index}");
                }
                Err(error) => panic!("frame {index}: {error}"),
                Ok(opened) => {
                    assert!(sealed, "frame {index}: the flip at {at} of {file} is not seen");
                    let position = recorded.entries[index].position;
                    match opened.reader.read_from(position, 1) {
                        Err(ReadError::Corrupt(corruption)) => {
                            assert_eq!((&*corruption.file, corruption.offset), (&*name, *start));
                        }
                        other => panic!("frame {index}: {other:?}"),
                    }
                    assert_eq!(opened.end.0, recorded.entries.len() as u64);
                    let before = opened.reader.read_from(Position::ZERO, usize::MAX);
                    assert_eq!(before.map_or(0, |entries| entries.len()), index, "what lies before is given");
                }
            }
            assert_eq!(disk.list(FOLDER).expect("lists"), before);
        }
    }
}

#[test]
fn a_missing_or_damaged_index_is_rebuilt_and_a_missing_segment_is_reported() {
    let recorded = record();
    let names = recorded.disk.list(FOLDER).expect("lists");
    for (at, name) in names.iter().enumerate() {
        let path = format!("{FOLDER}/{name}");
        let newest = at + 1 == names.len();
        let frames_end = recorded.frames.iter().filter(|f| f.0 == path).map(|f| f.2).max().expect("frames");
        for damage in 0..3 {
            let disk = recorded.disk.clone_image();
            let file = disk.open(&path).expect("opens");
            let len = file.len().expect("length");
            match damage {
                _ if newest => {}
                0 => file.set_len(frames_end).expect("cuts"),
                1 => file.write_at(frames_end + 70, &[IoSlice::new(&[0xff; 3])]).expect("writes"),
                _ => file.write_at(len - 1, &[IoSlice::new(&[0xff; 2])]).expect("writes"),
            }
            check_reads(&open(&disk), &recorded.entries);
            disk.crash();
            check_reads(&open(&disk), &recorded.entries);
            assert_eq!(disk.open(&path).expect("opens").len().expect("length"), len, "written as it was");
        }
        let disk = recorded.disk.clone_image();
        disk.remove(&path).expect("removes");
        match log::open(disk, FOLDER, tiny()) {
            // Nothing tells a lost oldest segment from a dropped one, nor a lost newest from one never made.
            Ok(opened) => assert!(at == 0 || newest, "{name}: {:?}", opened.end),
            Err(OpenError::Corrupt(corruption)) => {
                assert!(corruption.file.ends_with(&names[at - 1]), "{corruption}");
            }
            Err(error) => panic!("{name}: {error}"),
        }
        let disk = recorded.disk.clone_image();
        let file = disk.open(&path).expect("opens");
        file.write_at(30, &[IoSlice::new(&[0xff])]).expect("writes");
        match log::open(disk, FOLDER, tiny()) {
            Err(OpenError::Corrupt(corruption)) => {
                assert_eq!((&*corruption.file, corruption.offset), (&*format!("hostile-disk/{path}"), 0));
            }
            other => panic!("a damaged header: {other:?}"),
        }
    }
}

/// One life of a log on a hostile disk: random operations, faults, crashes. The model is what was acknowledged and
/// what may have been written besides.
fn live(seed: u64) -> (u64, u64) {
    let mut chance = SplitMix::new(seed ^ 0xabcd);
    let disk = HostileDisk::new(seed, Faults::default());
    let mut maker = Maker::new(seed);
    maker.body_bytes_max = [40, 600, 3_000][chance.below(3) as usize];
    let faulty = Faults {
        write_errors_per_million: chance.below(30_000) as u32,
        sync_errors_per_million: chance.below(30_000) as u32,
        short_reads_per_million: chance.below(300_000) as u32,
        flipped_reads_per_million: chance.below(2) as u32 * 5_000,
        misdirected_reads_per_million: chance.below(2) as u32 * 5_000,
        capacity_bytes: None,
    };
    let mut acknowledged: Vec<RawEntry> = Vec::new();
    let mut dropped_below = Position::ZERO;
    let mut crashes = 0;
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
        let kept: Vec<RawEntry> =
            acknowledged.iter().filter(|entry| entry.position >= opened.reader.start()).cloned().collect();
        assert!(opened.reader.start() <= dropped_below, "seed {seed}: dropped too much");
        check_reads(&opened, &kept);
        assert_eq!(opened.last_epoch, kept.last().map_or(opened.last_epoch, |entry| entry.epoch));
        maker.rewind_to(&acknowledged);
        let mut unknown: Vec<RawEntry> = Vec::new();
        disk.set_faults(faulty);
        for _ in 0..chance.below(25) {
            if chance.below(12) == 0 {
                let below = Position(chance.below(maker.next.0 + 2));
                dropped_below = dropped_below.max(below);
                if opened.writer.drop_segments_below(below).is_err() {
                    break;
                }
                continue;
            }
            let batch = maker.batch(6);
            let Ok(written) = opened.writer.write(&batch) else {
                unknown = batch;
                break;
            };
            if chance.below(30) == 0 {
                unknown = batch;
                break;
            }
            match opened.writer.sync(written) {
                Ok(synced) => {
                    assert_eq!(synced.end(), maker.next);
                    acknowledged.extend(batch);
                }
                Err(_) => {
                    unknown = batch;
                    break;
                }
            }
        }
        disk.set_faults(Faults::default());
        drop(opened);
        if chance.below(4) == 0 {
            disk.kill();
        } else {
            disk.crash();
        }
        crashes += 1;
        if chance.below(3) == 0 {
            // A crash in the middle of recovery.
            disk.set_faults(Faults {
                write_errors_per_million: 200_000,
                sync_errors_per_million: 200_000,
                ..faulty
            });
            match log::open(disk.clone(), FOLDER, tiny()) {
                Ok(_) | Err(OpenError::Io { .. }) => disk.crash(),
                Err(error) => panic!("seed {seed}: {error}"),
            }
            disk.set_faults(Faults::default());
        }
        // What is unknown is decided by the next opening: any prefix of it, and then for good.
        let opened = log::open(disk.clone(), FOLDER, tiny());
        let opened = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = read_all(&opened);
        let least = acknowledged.last().map_or(Position::ZERO, |entry| entry.position.next());
        assert!(opened.end >= least, "seed {seed}: {:?} of {least:?} acknowledged", opened.end);
        for entry in found.into_iter().filter(|entry| entry.position >= least) {
            assert!(unknown.contains(&entry), "seed {seed}: {:?} was never written", entry.position);
            acknowledged.push(entry);
        }
        drop(opened);
        disk.crash();
    }
    (acknowledged.len() as u64, crashes)
}

#[test]
fn a_log_is_a_vector_through_random_operations_faults_and_crashes() {
    let (mut entries, mut crashes) = (0, 0);
    for seed in 0..400 {
        let (more, also) = live(seed);
        entries += more;
        crashes += also;
    }
    assert!(entries > 50_000 && crashes > 4_000, "{entries} entries, {crashes} crashes");
}
