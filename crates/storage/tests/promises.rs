//! The journal of promises: against a map as the model, with a crash at every step, and with damage to every byte.

use std::{collections::BTreeMap, io::IoSlice};

use pondage_model::{Epoch, ShardId};
use pondage_storage::{
    Disk, DiskFile, Faults, FileDisk, HostileDisk, OpenError, Promises, disk::hostile::SplitMix,
    log::Operation, promises,
};

type Model = BTreeMap<ShardId, Epoch>;

const JOURNAL: &str = "promises";
const RECORD_BYTES: u64 = 32;

fn open<D: Disk>(disk: &D) -> Promises<D> {
    promises::open(disk.clone()).expect("the journal opens")
}

fn pairs(of: &[(u32, u64)]) -> Vec<(ShardId, Epoch)> {
    of.iter().map(|(shard, epoch)| (ShardId(*shard), Epoch(*epoch))).collect()
}

fn promise<D: Disk>(journal: &mut Promises<D>, of: &[(u32, u64)]) {
    let promised = journal.promise(&pairs(of)).expect("promises");
    assert_eq!(promised.promises(), pairs(of));
}

fn check<D: Disk>(journal: &Promises<D>, model: &Model, what: &str) {
    assert_eq!(journal.iter().collect::<Model>(), *model, "{what}");
    for shard in (0..12).map(ShardId) {
        assert_eq!(journal.get(shard), model.get(&shard).copied().unwrap_or(Epoch::ZERO), "{what}");
    }
}

fn lives<D: Disk>(disk: &D) {
    let mut journal = open(disk);
    check(&journal, &Model::new(), "new");
    promise(&mut journal, &[(3, 1), (0, 2)]);
    promise(&mut journal, &[(3, 4), (3, 4), (3, 9)]);
    promise(&mut journal, &[]);
    let model = Model::from([(ShardId(0), Epoch(2)), (ShardId(3), Epoch(9))]);
    check(&journal, &model, "promised");
    for _ in 0..3 {
        journal = open(disk);
        check(&journal, &model, "opened again");
    }
    promise(&mut journal, &[(0, u64::MAX), (u32::MAX, 1)]);
    let journal = open(disk);
    assert_eq!((journal.get(ShardId(0)), journal.get(ShardId(u32::MAX))), (Epoch(u64::MAX), Epoch(1)));
}

#[test]
fn a_journal_keeps_its_promises_on_either_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    lives(&FileDisk::new(folder.path()));
    lives(&HostileDisk::new(1, Faults::default()));
}

#[test]
fn a_batch_costs_one_write_and_one_sync_and_a_repeated_one_nothing() {
    let disk = HostileDisk::new(1, Faults::default());
    let mut journal = open(&disk);
    let before = disk.counters();
    let many: Vec<(u32, u64)> = (0..1_000).map(|shard| (shard, 7)).collect();
    promise(&mut journal, &many);
    let after = disk.counters();
    assert_eq!((after.writes - before.writes, after.fsyncs - before.fsyncs), (1, 1));
    promise(&mut journal, &many[..500]);
    assert_eq!(disk.counters(), after);
}

#[test]
#[should_panic(expected = "may not go back to")]
fn an_epoch_that_goes_back_is_our_mistake() {
    let disk = HostileDisk::new(1, Faults::default());
    promise(&mut open(&disk), &[(1, 5)]);
    promise(&mut open(&disk), &[(2, 1), (1, 4)]);
}

#[test]
fn the_file_stays_small_however_many_promises_are_made() {
    let disk = HostileDisk::new(1, Faults::default());
    let mut journal = open(&disk);
    let mut longest = 0;
    for epoch in 1..=100 {
        let batch: Vec<(u32, u64)> = (0..2_048).map(|shard| (shard, epoch)).collect();
        promise(&mut journal, &batch);
        longest = longest.max(disk.open(JOURNAL).expect("opens").len().expect("length"));
    }
    assert!((1 << 20..=(65_536 + 1) * RECORD_BYTES).contains(&longest), "{longest} bytes");
    disk.crash();
    let model: Model = (0..2_048).map(|shard| (ShardId(shard), Epoch(100))).collect();
    check(&open(&disk), &model, "after replacements");
    assert_eq!(disk.open(JOURNAL).expect("opens").len().expect("length"), (2_048 + 1) * RECORD_BYTES);
}

/// Stops `act` after each number of operations until it ends by itself, crashes, and checks that all promises of
/// `least` and none beyond `most` are there.
fn crash_everywhere(
    disk: &HostileDisk,
    least: &Model,
    most: &Model,
    act: impl Fn(&HostileDisk) -> bool,
) -> u64 {
    for stop in 0.. {
        let mut done = false;
        for seed in 0..20 {
            let copy = disk.clone_image();
            copy.reseed(stop << 8 | seed);
            copy.stop_after(stop);
            done = act(&copy);
            if seed % 5 == 0 {
                copy.kill();
            } else {
                copy.crash();
            }
            let what = format!("stopped after {stop}, seed {seed}");
            let mut journal = promises::open(copy.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
            for (shard, epoch) in most {
                let found = journal.get(*shard);
                let old = least.get(shard).copied().unwrap_or(Epoch::ZERO);
                assert!(found == *epoch || (found == old && !done), "{what}: {shard:?} promised {found:?}");
            }
            assert!(journal.iter().all(|(shard, _)| most.contains_key(&shard)), "{what}");
            // It goes on, and what was left of the batch is decided for good.
            let mut model: Model = journal.iter().collect();
            promise(&mut journal, &[(99, 1)]);
            model.insert(ShardId(99), Epoch(1));
            copy.crash();
            check(&open(&copy), &model, &what);
        }
        if done {
            return stop;
        }
    }
    0
}

#[test]
fn a_crash_at_any_step_keeps_what_was_promised_and_invents_nothing() {
    let disk = HostileDisk::new(1, Faults::default());
    let mut journal = open(&disk);
    promise(&mut journal, &[(1, 1), (2, 3)]);
    promise(&mut journal, &[(1, 2)]);
    let least = Model::from([(ShardId(1), Epoch(2)), (ShardId(2), Epoch(3))]);
    let opening = crash_everywhere(&disk, &least, &least, |disk| promises::open(disk.clone()).is_ok());
    assert!(opening >= 5, "{opening}");

    let batch: Vec<(u32, u64)> = (1..60).map(|shard| (shard, 10)).collect();
    let mut most = least.clone();
    most.extend(pairs(&batch));
    let promising = crash_everywhere(&disk, &least, &most, |disk| {
        promises::open(disk.clone()).is_ok_and(|mut journal| journal.promise(&pairs(&batch)).is_ok())
    });
    assert_eq!(promising, opening + 2, "one write and one sync more");
}

#[test]
fn a_crash_at_any_step_of_a_replacement_keeps_the_old_file_or_the_new_one() {
    let disk = HostileDisk::new(1, Faults::default());
    let mut journal = open(&disk);
    let wide: Vec<(u32, u64)> = (0..40_000).map(|shard| (shard, 1)).collect();
    promise(&mut journal, &wide);
    let wider: Vec<(u32, u64)> = (0..30_000).map(|shard| (shard, 2)).collect();
    let before = disk.counters().operations;
    promise(&mut journal, &wider);
    let operations = disk.counters().operations - before;
    assert!(operations >= 5, "a replacement");
    for stop in 0..operations {
        let disk = HostileDisk::new(stop, Faults::default());
        let mut journal = open(&disk);
        promise(&mut journal, &wide);
        disk.stop_after(stop);
        let fault = journal.promise(&pairs(&wider)).expect_err("stopped");
        assert_eq!(journal.promise(&pairs(&[(1, 9)])).expect_err("fenced").to_string(), fault.to_string());
        assert_eq!(journal.get(ShardId(1)), Epoch(1), "what is not durable was not promised");
        disk.crash();
        let journal = open(&disk);
        let new = journal.get(ShardId(0));
        for shard in 0..40_000 {
            let expected = if shard < 30_000 { new } else { Epoch(1) };
            assert_eq!(journal.get(ShardId(shard)), expected, "stopped after {stop}: all or nothing");
        }
    }
}

fn life(seed: u64) -> (u64, u64) {
    let mut chance = SplitMix::new(seed ^ 0x9_0e5);
    let disk = HostileDisk::new(seed, Faults::default());
    let faulty = Faults {
        write_errors_per_million: chance.below(100_000) as u32,
        sync_errors_per_million: chance.below(100_000) as u32,
        short_reads_per_million: chance.below(300_000) as u32,
        flipped_reads_per_million: chance.below(2) as u32 * 5_000,
        misdirected_reads_per_million: chance.below(2) as u32 * 5_000,
        capacity_bytes: None,
    };
    let mut model = Model::new();
    let (mut promised, mut faults) = (0, 0);
    for _ in 0..15 {
        disk.set_faults(if chance.below(2) == 0 { faulty } else { Faults::default() });
        let opened = promises::open(disk.clone());
        disk.set_faults(faulty);
        let mut unknown = Model::new();
        match opened {
            Ok(mut journal) => {
                check(&journal, &model, &format!("seed {seed}"));
                for _ in 0..chance.below(20) {
                    let mut batch: BTreeMap<u32, u64> = BTreeMap::new();
                    for _ in 0..chance.below(30) {
                        let shard = chance.below(12) as u32;
                        let epoch = journal.get(ShardId(shard)).0 + chance.below(2);
                        if epoch > 0 {
                            batch.insert(shard, epoch);
                        }
                    }
                    let batch: Vec<(u32, u64)> = batch.into_iter().collect();
                    if let Err(fault) = journal.promise(&pairs(&batch)) {
                        assert!(matches!(fault.operation, Operation::Write | Operation::Sync), "{fault}");
                        unknown.extend(pairs(&batch));
                        faults += 1;
                        break;
                    }
                    model.extend(pairs(&batch));
                    promised += batch.len() as u64;
                }
            }
            Err(OpenError::Io { .. }) => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
        disk.set_faults(Faults::default());
        if chance.below(3) == 0 {
            disk.kill();
        } else {
            disk.crash();
        }
        let journal = promises::open(disk.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for (shard, epoch) in unknown {
            if journal.get(shard) == epoch {
                model.insert(shard, epoch);
            }
        }
        check(&journal, &model, &format!("seed {seed}"));
    }
    (promised, faults)
}

#[test]
fn a_journal_is_a_map_through_random_promises_faults_and_crashes() {
    let (mut promised, mut faults) = (0, 0);
    for seed in 0..500 {
        let (more, also) = life(seed);
        promised += more;
        faults += also;
    }
    assert!(promised > 50_000 && faults > 500, "{promised} promises, {faults} faults");
}

/// A journal with three records written with the file, and batches of one, three and two.
fn of_batches() -> HostileDisk {
    let disk = HostileDisk::new(1, Faults::default());
    promise(&mut open(&disk), &[(0, 1), (1, 1), (2, 1)]);
    let mut journal = open(&disk);
    promise(&mut journal, &[(0, 2)]);
    promise(&mut journal, &[(3, 1), (4, 1), (5, 1)]);
    promise(&mut journal, &[(1, 2), (2, 2)]);
    disk
}

/// What is left if only the first records count.
fn prefix(records: u64) -> Model {
    let all = [(0, 1), (1, 1), (2, 1), (0, 2), (3, 1), (4, 1), (5, 1), (1, 2), (2, 2)];
    pairs(&all[..records as usize]).into_iter().collect()
}

#[test]
fn damage_before_the_last_batch_is_an_error_and_damage_in_it_a_torn_tail() {
    let disk = of_batches();
    let length = disk.open(JOURNAL).expect("opens").len().expect("length");
    assert_eq!(length, 10 * RECORD_BYTES);
    for at in 0..length {
        let copy = disk.clone_image();
        let file = copy.open(JOURNAL).expect("opens");
        let mut byte = [0];
        file.read_at(at, &mut byte).expect("reads");
        file.write_at(at, &[IoSlice::new(&[byte[0] ^ 4])]).expect("writes");
        let record = (at / RECORD_BYTES).checked_sub(1);
        match (record, promises::open(copy)) {
            (None, Err(OpenError::Newer { .. })) if (8..12).contains(&at) => {}
            (None, Err(OpenError::Corrupt(corruption))) if !(8..12).contains(&at) => {
                assert_eq!((&*corruption.file, corruption.offset), ("hostile-disk/promises", 0));
            }
            (Some(record), Err(OpenError::Corrupt(corruption))) if record < 7 => {
                assert_eq!(corruption.offset, (record + 1) * RECORD_BYTES);
            }
            (Some(record), Ok(journal)) if record >= 7 => {
                check(&journal, &prefix(record), &format!("byte {at}"));
            }
            (_, other) => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn a_cut_leaves_the_whole_records_before_it_unless_those_written_with_the_file_are_hit() {
    let disk = of_batches();
    let length = disk.open(JOURNAL).expect("opens").len().expect("length");
    for cut in 0..=length {
        for zeros in [false, true] {
            let copy = disk.clone_image();
            let file = copy.open(JOURNAL).expect("opens");
            file.set_len(cut).expect("cuts");
            if zeros {
                file.set_len(length).expect("lengthens");
            }
            let whole = (cut / RECORD_BYTES).checked_sub(1);
            match (whole, promises::open(copy.clone())) {
                (Some(3..), Ok(journal)) => {
                    // Zeros may be what a record ended with.
                    let found: Model = journal.iter().collect();
                    let whole = whole.expect("matched");
                    assert!(
                        found == prefix(whole) || (zeros && found == prefix((whole + 1).min(9))),
                        "cut at {cut}"
                    );
                    copy.crash();
                    check(&open(&copy), &found, "opened again");
                }
                (None | Some(0..3), Err(OpenError::Corrupt(_))) => {}
                // Here too: the last bytes of a record may be zeros.
                (Some(2), Ok(_)) if zeros => {}
                (_, other) => panic!("cut at {cut}, zeros {zeros}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_record_in_another_place_is_no_evidence_of_a_later_batch() {
    let disk = of_batches();
    let file = disk.open(JOURNAL).expect("opens");
    let mut record = vec![0; RECORD_BYTES as usize];
    // The only record of its batch, where one of the last batch belongs, behind a damaged one.
    file.read_at(4 * RECORD_BYTES, &mut record).expect("reads");
    file.write_at(8 * RECORD_BYTES, &[IoSlice::new(&[0xff])]).expect("writes");
    file.write_at(9 * RECORD_BYTES, &[IoSlice::new(&record)]).expect("writes");
    check(&open(&disk), &prefix(7), "the torn tail is left out");
}
