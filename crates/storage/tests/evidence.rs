//! What passes for evidence that a bad frame is corruption and not a torn tail, and what does not.

mod common;

use std::io::IoSlice;

use common::{FOLDER, Maker, append, check_reads, open, tiny};
use pondage_model::{Position, RawEntry};
use pondage_storage::{
    Disk, DiskFile, Faults, HostileDisk,
    log::{self, frame_bytes},
};

fn path(first: Position) -> String {
    format!("{FOLDER}/{:016x}.log", first.0)
}

/// Tears a frame whose body holds a whole frame of a log with this salt, and says whether the log still opens.
fn opens_with_a_frame_inside_a_torn_one(salt: u64) -> bool {
    let mut maker = Maker::new(1);
    let first = RawEntry { attributes: bytes::Bytes::new(), body: bytes::Bytes::new(), ..maker.entry() };
    let entry = RawEntry { attributes: bytes::Bytes::new(), ..maker.entry() };
    let other = HostileDisk::new(1, Faults::default());
    let options = log::LogOptions { salt, ..tiny() };
    let mut opened = log::open(other.clone(), FOLDER, options).expect("opens");
    // The frame that is planted stands behind one without a body, as it will behind the header of its carrier.
    append(&mut opened, std::slice::from_ref(&first));
    append(&mut opened, std::slice::from_ref(&entry));
    let mut frame = vec![0; frame_bytes(&entry)];
    let file = other.open(&path(Position::ZERO)).expect("opens");
    let place = 512 + frame_bytes(&first) as u64;
    assert_eq!(file.read_at(place, &mut frame).expect("reads"), frame.len());

    let disk = HostileDisk::new(1, Faults::default());
    append(&mut open(&disk), &[RawEntry { body: frame.into(), ..first }]);
    let file = disk.open(&path(Position::ZERO)).expect("opens");
    file.write_at(520, &[IoSlice::new(&[0xff; 8])]).expect("writes");
    log::open(disk, FOLDER, tiny()).is_ok()
}

#[test]
fn a_message_that_holds_a_frame_is_no_evidence_unless_it_knows_the_salt() {
    assert!(opens_with_a_frame_inside_a_torn_one(tiny().salt + 1));
    assert!(!opens_with_a_frame_inside_a_torn_one(tiny().salt), "the planted frame would be found");
}

#[test]
fn a_frame_in_another_place_is_no_evidence_of_a_later_batch() {
    let disk = HostileDisk::new(1, Faults::default());
    let mut maker = Maker::new(2);
    maker.body_bytes_max = 100;
    let entries: Vec<RawEntry> = (0..3).map(|_| maker.entry()).collect();
    let mut opened = open(&disk);
    for entry in &entries {
        append(&mut opened, std::slice::from_ref(entry));
    }
    let file = disk.open(&path(Position::ZERO)).expect("opens");
    let mut frame = vec![0; frame_bytes(&entries[0])];
    assert_eq!(file.read_at(512, &mut frame).expect("reads"), frame.len());
    let last = 512 + (frame_bytes(&entries[0]) + frame_bytes(&entries[1])) as u64;
    file.write_at(last, &[IoSlice::new(&[0xff; 8])]).expect("writes");
    file.write_at(last + frame_bytes(&entries[2]) as u64, &[IoSlice::new(&frame)]).expect("writes");
    check_reads(&open(&disk), &entries[..2]);
}
