//! A volume's identity through crashes and damage.

use std::io::IoSlice;

use pondage_model::{Incarnation, ShardId, Uuid};
use pondage_storage::{
    Disk, DiskFile, Faults, FileDisk, HostileDisk, Identity, Volume, VolumeError, log, volume::shard_folder,
};

fn identity(incarnation: u64) -> Identity {
    Identity {
        cluster: Uuid([1; 16]),
        volume: Uuid([2; 16]),
        incarnation: Incarnation(incarnation),
        nonce: Uuid([incarnation as u8; 16]),
    }
}

fn lives<D: Disk>(disk: &D) {
    let mut volume = Volume::open(disk.clone()).expect("opens");
    assert_eq!(volume.identity(), None);
    let error = Volume::open(disk.clone()).expect_err("in use");
    assert!(matches!(&error, VolumeError::InUse { folder } if *folder == disk.name()), "{error}");
    for incarnation in 1..4 {
        volume.write_identity(identity(incarnation)).expect("writes");
        drop(volume);
        volume = Volume::open(disk.clone()).expect("opens again");
        assert_eq!(volume.identity(), Some(&identity(incarnation)));
    }
    assert_eq!(volume.shards().expect("lists"), []);
    for shard in [7, 0] {
        log::open(disk.clone(), &shard_folder(ShardId(shard)), log::LogOptions::default()).expect("opens");
    }
    assert_eq!(volume.shards().expect("lists"), [ShardId(0), ShardId(7)]);
}

#[test]
fn a_volume_keeps_its_identity_on_either_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    lives(&FileDisk::new(folder.path().join("made")));
    lives(&HostileDisk::new(1, Faults::default()));
}

#[test]
fn a_fresh_file_system_is_an_empty_volume() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    // What ext4 puts there, which only root may look into.
    let found = folder.path().join("lost+found");
    FileDisk::new(folder.path()).create_dir_all("lost+found").expect("made");
    std::fs::set_permissions(&found, std::fs::Permissions::from_mode(0o000)).expect("set");
    lives(&FileDisk::new(folder.path()));
    assert!(found.is_dir());
}

#[test]
fn a_crash_leaves_the_old_or_the_new_identity() {
    let (mut olds, mut news) = (0, 0);
    for seed in 0..300 {
        let disk = HostileDisk::new(seed, Faults::default());
        let mut volume = Volume::open(disk.clone()).expect("opens");
        volume.write_identity(identity(1)).expect("writes");
        disk.set_faults(Faults {
            write_errors_per_million: 300_000,
            sync_errors_per_million: 300_000,
            ..Faults::default()
        });
        let result = volume.write_identity(identity(2));
        disk.set_faults(Faults::default());
        disk.crash();
        let mut volume = Volume::open(disk).expect("opens");
        match volume.identity().map(|identity| identity.incarnation.0) {
            Some(1) => olds += 1,
            Some(2) => news += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
        assert!(result.is_err() || volume.identity() == Some(&identity(2)), "seed {seed}");
        volume.write_identity(identity(3)).expect("an unfinished file is no obstacle");
    }
    assert!(olds > 0 && news > 0);
}

#[test]
fn damage_is_an_error_and_never_a_fresh_start() {
    let disk = HostileDisk::new(1, Faults::default());
    Volume::open(disk.clone()).expect("opens").write_identity(identity(1)).expect("writes");
    let length = disk.open("identity").expect("opens").len().expect("length");
    assert_eq!(length, 72);
    for at in 0..length {
        let copy = disk.clone_image();
        let file = copy.open("identity").expect("opens");
        let mut byte = [0];
        file.read_at(at, &mut byte).expect("reads");
        file.write_at(at, &[IoSlice::new(&[byte[0] ^ 4])]).expect("writes");
        let error = Volume::open(copy).expect_err("damaged");
        let expected = if (8..12).contains(&at) {
            matches!(error, VolumeError::Newer { .. })
        } else {
            matches!(error, VolumeError::Corrupt { .. })
        };
        assert!(expected, "byte {at}: {error}");
    }
    for cut in 0..length {
        let copy = disk.clone_image();
        copy.open("identity").expect("opens").set_len(cut).expect("cuts");
        assert!(matches!(Volume::open(copy), Err(VolumeError::Corrupt { .. })), "cut at {cut}");
    }
    let copy = disk.clone_image();
    log::open(copy.clone(), &shard_folder(ShardId(0)), log::LogOptions::default()).expect("opens");
    copy.remove("identity").expect("removes");
    assert!(matches!(Volume::open(copy), Err(VolumeError::IdentityLost { .. })));
}
