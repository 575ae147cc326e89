use pondage_model::{Epoch, ShardId, Uuid};
use pondage_replication::Timing;
use pondage_storage::{Disk, Faults, HostileDisk, LogOptions, volume::shard_folder};

use super::{
    super::{Assignment, ResourceKind},
    Rig, delete, topic,
};
use crate::{
    Now,
    boot::{BootError, Fresh, boot, open_shard},
    shard::{ShardEffect, ShardEvent},
};

/// A broker with a topic of one partition, whose shard has a log.
fn with_topic(disk: &HostileDisk) -> (Rig, ShardId) {
    let mut rig = Rig::start(disk);
    rig.serve();
    rig.ask(1, topic(1));
    let shard = rig.started()[0];
    let me = rig.coordinator.registered().expect("it is");
    let opened =
        open_shard(disk, &LogOptions::default(), shard, me, Epoch::ZERO, Timing::default(), Now::default())
            .expect("no faults");
    let mut written = Vec::new();
    let mut machine = opened.shard;
    machine
        .step(Now::default(), ShardEvent::Assigned(Assignment::alone(me, Epoch(1))), &mut written)
        .expect("a new log");
    let mut writer = opened.writer;
    for effect in written {
        if let ShardEffect::Write(batch) = effect {
            let batch = writer.write(&batch.entries).expect("no faults");
            drop(writer.sync(batch).expect("no faults"));
        }
    }
    (rig, shard)
}

#[test]
fn what_is_left_of_a_deleted_shard_goes_with_the_next_start() {
    let disk = HostileDisk::new(1, Faults::default());
    let (mut rig, shard) = with_topic(&disk);
    let folder = shard_folder(shard);
    rig.ask(2, delete(ResourceKind::Topic, "log"));
    drop(rig);
    assert!(!disk.list(&folder).expect("no faults").is_empty(), "the broker died before it was removed");
    disk.kill();
    let _ = Rig::start(&disk);
    assert_eq!(disk.list(&folder).expect("no faults"), [""; 0]);
}

#[test]
fn a_catalog_that_is_older_than_its_shards_is_not_started() {
    let disk = HostileDisk::new(1, Faults::default());
    let (rig, shard) = with_topic(&disk);
    drop(rig);
    disk.kill();
    let catalog = shard_folder(ShardId::CATALOG);
    for name in disk.list(&catalog).expect("no faults") {
        disk.remove(&format!("{catalog}/{name}")).expect("no faults");
    }
    let fresh = Fresh { cluster: Uuid([1; 16]), volume: Uuid([2; 16]), nonce: Uuid([3; 16]) };
    let booted = boot(&disk, &LogOptions::default(), fresh, "here:1".to_owned());
    assert!(matches!(booted, Err(BootError::CatalogLost { shard: lost }) if lost == shard));
    assert!(!disk.list(&shard_folder(shard)).expect("no faults").is_empty(), "and nothing is removed");
}
