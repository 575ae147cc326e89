//! What every disk promises, checked on the real one and on the hostile one without faults.

use std::io::{ErrorKind, IoSlice};

use pondage_storage::{Disk, DiskFile, Faults, FileDisk, HostileDisk, SlowDisk};

fn content<F: DiskFile>(file: &F) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("length") as usize + 10];
    let mut filled = 0;
    loop {
        match file.read_at(filled as u64, &mut bytes[filled..]).expect("reads") {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    bytes
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn files_keep_bytes<D: Disk>(disk: &D) {
    let file = disk.create("file").expect("creates");
    assert_eq!(kind(disk.create("file")), Some(ErrorKind::AlreadyExists));
    assert_eq!(file.len().expect("length"), 0);
    let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
    file.write_at(3, &slices).expect("writes");
    assert_eq!(content(&file), b"\0\0\0abcde");
    file.allocate(4_096).expect("reserves");
    assert_eq!(file.len().expect("length"), 8, "reserving does not lengthen");
    file.write_at(10, &[IoSlice::new(b"x")]).expect("writes");
    assert_eq!(content(&file), b"\0\0\0abcde\0\0x", "a gap is zeros");
    file.set_len(5).expect("cuts");
    file.set_len(7).expect("lengthens");
    assert_eq!(content(&file), b"\0\0\0ab\0\0");
    file.sync_data().expect("syncs");
    assert_eq!(content(&disk.open("file").expect("opens")), content(&file));
    assert_eq!(file.read_at(100, &mut [0; 4]).expect("reads"), 0);
    let many: Vec<IoSlice<'_>> = (0..3_000).map(|_| IoSlice::new(b"0123456789")).collect();
    file.write_at(0, &many).expect("writes more slices than one call takes");
    assert_eq!(content(&file), b"0123456789".repeat(3_000));
    disk.remove("file").expect("removes");
    assert_eq!(content(&file).len(), 30_000, "an open file outlives its name");
}

fn names_change<D: Disk>(disk: &D) {
    assert_eq!(kind(disk.create("a/b/file")), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.open("nothing")), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.remove("nothing")), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.rename("nothing", "something")), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.list("nothing")), Some(ErrorKind::NotFound));
    disk.create_dir_all("a/b").expect("makes");
    disk.create_dir_all("a/b").expect("makes again");
    for name in ["a/b/two", "a/b/one"] {
        let file = disk.create(name).expect("creates");
        file.write_at(0, &[IoSlice::new(name.as_bytes())]).expect("writes");
    }
    assert_eq!(disk.list("a/b").expect("lists"), ["one", "two"]);
    assert_eq!(disk.list("a").expect("lists"), ["b"]);
    disk.rename("a/b/one", "a/b/two").expect("renames over");
    assert_eq!(disk.list("a/b").expect("lists"), ["two"]);
    assert_eq!(content(&disk.open("a/b/two").expect("opens")), b"a/b/one");
    for folder in ["", "a", "a/b"] {
        disk.sync_dir(folder).expect("syncs");
    }
    assert!(disk.exists("a/b/two").expect("looks"));
    assert!(disk.exists("a").expect("looks"));
    assert!(!disk.exists("a/b/one").expect("looks"));
}

fn locks_exclude<D: Disk>(disk: &D) {
    let lock = disk.lock_exclusive("lock").expect("locks");
    assert_eq!(kind(disk.lock_exclusive("lock")), Some(ErrorKind::WouldBlock));
    drop(lock);
    drop(disk.lock_exclusive("lock").expect("locks again"));
    let space = disk.space().expect("asks");
    assert!(space.free_bytes > 0 && space.free_bytes <= space.size_bytes, "{space:?}");
}

fn contract<D: Disk>(disk: impl Fn() -> D) {
    files_keep_bytes(&disk());
    names_change(&disk());
    locks_exclude(&disk());
}

#[test]
fn the_real_disk_keeps_the_contract() {
    let folders = tempfile::tempdir().expect("a folder");
    let count = std::cell::Cell::new(0);
    contract(|| {
        count.set(count.get() + 1);
        let disk = FileDisk::new(folders.path().join(count.get().to_string()));
        disk.create_dir_all("").expect("makes the root");
        disk
    });
}

#[test]
fn the_hostile_disk_keeps_the_contract() {
    contract(|| HostileDisk::new(1, Faults::default()));
}

#[test]
fn the_hostile_disk_keeps_the_contract_when_reads_are_short() {
    contract(|| HostileDisk::new(1, Faults { short_reads_per_million: 500_000, ..Faults::default() }));
}

#[test]
fn the_slow_disk_keeps_the_contract_and_calls_before_each_sync() {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    contract(|| {
        let counted = counted.clone();
        let before = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        SlowDisk::new(HostileDisk::new(1, Faults::default()), before)
    });
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn what_was_synced_survives_every_crash_and_names_need_their_own_sync() {
    let mut lost_bytes = false;
    let mut lost_name = false;
    let mut torn = false;
    for seed in 0..200 {
        let disk = HostileDisk::new(seed, Faults::default());
        let file = disk.create("kept").expect("creates");
        file.write_at(0, &[IoSlice::new(&[1; 2_000])]).expect("writes");
        file.sync_data().expect("syncs");
        disk.sync_dir("").expect("syncs");
        file.write_at(2_000, &[IoSlice::new(&[2; 2_000])]).expect("writes");
        let other = disk.create("unsynced").expect("creates");
        other.sync_data().expect("syncs");
        let lock = disk.lock_exclusive("lock").expect("locks");
        disk.crash();
        assert!(file.read_at(0, &mut [0]).is_err(), "handles die");
        drop(disk.lock_exclusive("lock").expect("locks die"));
        drop(lock);
        let bytes = content(&disk.open("kept").expect("the name was synced"));
        assert_eq!(bytes[..2_000], [1; 2_000]);
        assert!(bytes[2_000..].iter().all(|byte| [0, 2].contains(byte)));
        let survived = bytes[2_000..].iter().filter(|byte| **byte == 2).count();
        lost_bytes |= survived < 2_000;
        // 2,000 and 4,000 are the write's ends; all else that is not a sector's end is a torn sector.
        torn |= bytes[2_000..]
            .windows(2)
            .enumerate()
            .any(|(at, two)| two[0] != two[1] && (at + 2_001) % 512 != 0);
        lost_name |= !disk.exists("unsynced").expect("looks");
    }
    assert!(lost_bytes && lost_name && torn);
}

#[test]
fn the_same_seed_gives_the_same_disk_and_a_copy_lives_on_its_own() {
    let run = |seed| {
        let faults = Faults {
            write_errors_per_million: 100_000,
            sync_errors_per_million: 100_000,
            flipped_reads_per_million: 100_000,
            ..Faults::default()
        };
        let disk = HostileDisk::new(seed, faults);
        let file = disk.create("file").expect("creates");
        let mut outcomes = Vec::new();
        for at in 0..100 {
            outcomes.push(file.write_at(at * 100, &[IoSlice::new(&[at as u8; 150])]).is_ok());
            outcomes.push(file.sync_data().is_ok());
        }
        outcomes.push(disk.sync_dir("").is_ok());
        disk.crash();
        let bytes = disk.open("file").ok().map(|file| content(&file));
        (outcomes, bytes, disk.counters())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));

    let disk = HostileDisk::new(1, Faults::default());
    let file = disk.create("file").expect("creates");
    let copy = disk.clone_image();
    file.write_at(0, &[IoSlice::new(b"later")]).expect("writes");
    assert_eq!(content(&copy.open("file").expect("opens")), b"");
    copy.remove("file").expect("removes");
    assert!(disk.exists("file").expect("looks"));
}

#[test]
fn a_disk_is_put_back_to_an_image_or_wiped_and_handles_die() {
    let disk = HostileDisk::new(1, Faults::default());
    let file = disk.create("file").expect("creates");
    file.write_at(0, &[IoSlice::new(b"old")]).expect("writes");
    file.sync_data().expect("syncs");
    disk.sync_dir("").expect("syncs");
    let image = disk.clone_image();
    file.write_at(0, &[IoSlice::new(b"new")]).expect("writes");
    disk.create("later").expect("creates");
    let _lock = disk.lock_exclusive("lock").expect("locks");
    for _ in 0..2 {
        let counters = disk.counters();
        disk.restore(&image);
        assert!(file.read_at(0, &mut [0]).is_err(), "handles die");
        drop(disk.lock_exclusive("lock").expect("locks die"));
        assert_eq!(disk.list("").expect("lists"), ["file"]);
        assert_eq!(content(&disk.open("file").expect("opens")), b"old");
        assert_eq!(disk.counters(), counters, "the disk goes on");
        disk.crash();
        assert_eq!(content(&disk.open("file").expect("opens")), b"old");
        disk.open("file").expect("opens").write_at(0, &[IoSlice::new(b"new")]).expect("writes");
    }
    disk.wipe();
    assert_eq!(disk.list("").expect("lists"), [""; 0]);
    disk.crash();
    assert_eq!(disk.list("").expect("lists"), [""; 0]);
    assert_eq!(content(&image.open("file").expect("opens")), b"old", "the image stays");
}

#[test]
fn a_misdirected_read_shows_another_sector_and_the_disk_stays_as_it_is() {
    let disk = HostileDisk::new(1, Faults::default());
    let file = disk.create("file").expect("creates");
    let whole: Vec<u8> = (0..2_000u32).map(|at| (at / 512) as u8 + 1).collect();
    file.write_at(0, &[IoSlice::new(&whole)]).expect("writes");
    disk.set_faults(Faults { misdirected_reads_per_million: 1_000_000, ..Faults::default() });
    let mut misdirected = 0;
    for _ in 0..100 {
        let mut bytes = vec![0; 1_500];
        assert_eq!(file.read_at(300, &mut bytes).expect("reads"), 1_500);
        let wrong: Vec<usize> = (0..1_500).filter(|at| bytes[*at] != whole[300 + at]).collect();
        assert!(wrong.iter().all(|at| (300 + at) / 512 == (300 + wrong[0]) / 512), "one sector");
        misdirected += u32::from(!wrong.is_empty());
    }
    assert!(misdirected > 50, "{misdirected}");
    disk.set_faults(Faults::default());
    assert_eq!(content(&file), whole);
}

#[test]
fn a_stopped_disk_refuses_every_change_until_the_crash() {
    let act = |disk: &HostileDisk| -> std::io::Result<()> {
        disk.create_dir_all("folder")?;
        let file = disk.create("folder/file")?;
        file.allocate(100)?;
        file.write_at(0, &[IoSlice::new(b"bytes")])?;
        file.set_len(3)?;
        file.sync_data()?;
        disk.rename("folder/file", "folder/other")?;
        disk.sync_dir("folder")?;
        disk.remove("folder/other")
    };
    for stop in 0..=9 {
        let disk = HostileDisk::new(1, Faults::default());
        disk.stop_after(stop);
        assert_eq!(act(&disk).is_ok(), stop == 9, "stopped after {stop}");
        assert!(disk.create("more").is_err());
        assert!(!disk.exists("more").expect("looks"));
        disk.crash();
        disk.create("more").expect("creates again");
    }
}

#[test]
fn a_full_disk_says_so() {
    let disk = HostileDisk::new(1, Faults { capacity_bytes: Some(1_000), ..Faults::default() });
    let file = disk.create("file").expect("creates");
    assert_eq!(kind(file.allocate(1_001)), Some(ErrorKind::StorageFull));
    file.allocate(600).expect("reserves");
    assert_eq!(disk.space().expect("asks").free_bytes, 400);
    file.write_at(0, &[IoSlice::new(&[1; 600])]).expect("writes what was reserved");
    let other = disk.create("other").expect("creates");
    assert_eq!(kind(other.write_at(0, &[IoSlice::new(&[1; 401])])), Some(ErrorKind::StorageFull));
    disk.remove("file").expect("removes");
    other.write_at(0, &[IoSlice::new(&[1; 401])]).expect("writes again");
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let lost = (0..50).any(|seed| {
        let disk = HostileDisk::new(seed, Faults::default());
        let file = disk.create("file").expect("creates");
        disk.sync_dir("").expect("syncs");
        file.write_at(0, &[IoSlice::new(b"bytes")]).expect("writes");
        disk.set_faults(Faults { sync_errors_per_million: 1_000_000, ..Faults::default() });
        assert!(file.sync_data().is_err());
        disk.set_faults(Faults::default());
        let shown = content(&file) == b"bytes";
        file.sync_data().expect("the second sync says it is fine");
        disk.crash();
        shown && content(&disk.open("file").expect("opens")) != b"bytes"
    });
    assert!(lost, "some page is shown, synced again and gone");
}
