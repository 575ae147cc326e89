use std::collections::BTreeSet;

use pondage_catalog::Catalog;
use pondage_model::{BrokerId, Epoch, Incarnation, Member, ShardId, Uuid};
use pondage_storage::{Disk as _, Faults, HostileDisk, promises, volume::shard_folder};

use super::{
    super::{CoordinatorEffect, CoordinatorEvent, PeerMessage, Rack},
    cluster::{Cluster, Disk},
    ordered_log::Weather,
};
use crate::boot::{Fresh, Place, boot_member, reformat};

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Registered(u64),
    Reformats,
    Fails,
    Waits,
}

fn became(cluster: &Cluster, host: usize) -> Became {
    let process = cluster.processes[host].as_ref().expect("it runs");
    if cluster.has_said(host, |effect| matches!(effect, CoordinatorEffect::Reformat)) {
        return Became::Reformats;
    }
    if cluster.has_said(host, |effect| matches!(effect, CoordinatorEffect::Fatal(_))) {
        return Became::Fails;
    }
    process.coordinator.registered().map_or(Became::Waits, |member| Became::Registered(member.incarnation.0))
}

#[test]
fn what_the_catalog_saw_of_a_volume_decides_what_its_start_becomes() {
    let disk = |incarnation, nonce| Disk {
        volume: Uuid([102; 16]),
        incarnation: Incarnation(incarnation),
        nonce: Uuid([nonce; 16]),
    };
    // Starts of the volume that were registered before, what is on the volume, and what that start becomes.
    let cases = [
        (0, disk(1, 50), Became::Registered(1), "a new volume"),
        (0, disk(3, 50), Became::Fails, "another cluster's"),
        (2, disk(2, 202), Became::Registered(3), "the usual restart"),
        (2, disk(3, 50), Became::Registered(3), "the last start died before it was registered"),
        (2, disk(2, 50), Became::Reformats, "a copy that another one overtook at the same number"),
        (3, disk(2, 202), Became::Reformats, "restored from a backup"),
        (2, disk(5, 50), Became::Fails, "the catalog lost its past"),
    ];
    for (starts, on_volume, expected, why) in cases {
        let mut cluster = Cluster::empty(3);
        cluster.start(0);
        cluster.log.borrow_mut().leader = Some(BrokerId(1));
        cluster.disks[2] = disk(1, 202);
        for start in 0..starts {
            cluster.start(2);
            cluster.settle();
            assert_eq!(became(&cluster, 2), Became::Registered(start + 1));
            cluster.kill(2);
        }
        if starts > 0 && on_volume.nonce == Uuid([202; 16]) && on_volume.incarnation.0 == starts {
            // The very volume, with the nonce that its last start drew.
            assert_eq!(cluster.disks[2].incarnation, on_volume.incarnation);
        } else {
            cluster.disks[2] = on_volume;
        }
        cluster.start(2);
        cluster.pass(500);
        assert_eq!(became(&cluster, 2), expected, "{why}");
        if expected == Became::Registered(starts + 1) {
            assert_eq!(cluster.disks[2].incarnation.0, starts + 1, "{why}: the number is durable");
        }
    }
}

#[test]
fn a_registration_whose_outcome_is_unknown_is_repeated_and_counts_once() {
    for weather in [Weather::Loses, Weather::Hides] {
        let mut cluster = Cluster::empty(1);
        cluster.log.borrow_mut().leader = Some(BrokerId(1));
        cluster.weather(weather);
        cluster.start(0);
        cluster.pass(500);
        if weather == Weather::Loses {
            assert_eq!(became(&cluster, 0), Became::Waits);
        }
        cluster.weather(Weather::Fair);
        cluster.pass(500);
        assert_eq!(became(&cluster, 0), Became::Registered(1), "{weather:?}");
        cluster.check_agreement();
        assert!(cluster.has_said(0, |effect| matches!(effect, CoordinatorEffect::Ready)));
    }
}

#[test]
fn a_start_that_says_nothing_of_its_rack_keeps_the_known_one() {
    let mut cluster = Cluster::new(1);
    let named = |name: &str| Rack::Named(name.to_owned());
    for (said, expected) in [
        (Rack::Unsaid, None),
        (named("east"), Some("east")),
        (Rack::Unsaid, Some("east")),
        (named("west"), Some("west")),
        (Rack::Nowhere, None),
        (Rack::Unsaid, None),
    ] {
        cluster.kill(0);
        cluster.rack = said.clone();
        cluster.start(0);
        cluster.pass(500);
        let started = cluster.disks[0].incarnation;
        let catalog = cluster.at(0).coordinator.catalog();
        let row = catalog.broker(BrokerId(1)).expect("registered");
        assert_eq!(row.incarnation, started, "this start is registered");
        assert_eq!(row.rack.as_deref(), expected, "{said:?}");
    }
}

#[test]
fn a_start_that_a_copy_overtook_ends() {
    let mut cluster = Cluster::new(3);
    let copied = cluster.disks[1];
    let copy = cluster.process(copied, BTreeSet::new());
    cluster.disks.push(copied);
    cluster.processes.push(Some(copy));
    cluster.step(3, CoordinatorEvent::Start);
    cluster.pass(500);
    assert_eq!(became(&cluster, 3), Became::Registered(copied.incarnation.0 + 1));
    assert_eq!(became(&cluster, 1), Became::Fails, "two processes never are one broker");
    cluster.kill(1);
    cluster.start(1);
    cluster.pass(500);
    assert_eq!(became(&cluster, 1), Became::Reformats);
}

#[test]
fn what_an_earlier_start_says_renews_no_lease() {
    let mut cluster = Cluster::new(3);
    cluster.kill(1);
    cluster.start(1);
    cluster.pass(500);
    let member = cluster.at(1).coordinator.registered().expect("it is");
    let earlier = Member { incarnation: Incarnation(member.incarnation.0 - 1), ..member };
    cluster.kill(1);
    for _ in 0..40 {
        let message = PeerMessage::Heartbeat { leaving: false };
        cluster.step(0, CoordinatorEvent::Peer { from: earlier, message });
        cluster.pass(50);
    }
    assert_eq!(cluster.led_by(2), []);
}

#[test]
fn rows_of_before_this_start_lead_nobody() {
    let mut cluster = Cluster::new(3);
    let led = cluster.led_by(2);
    cluster.kill(1);
    // Nobody elects meanwhile.
    cluster.log.borrow_mut().leader = None;
    cluster.start(1);
    cluster.settle();
    assert_eq!(cluster.led_by(2), led, "the rows still say so");
    for shard in led {
        assert_eq!(cluster.at(1).shards[&shard].leader, None);
    }
}

#[test]
fn a_start_is_told_no_row_older_than_its_own_registration() {
    let mut cluster = Cluster::new(3);
    cluster.kill(1);
    // Whatever it led goes on in later epochs.
    cluster.pass(1_500);
    cluster.start(1);
    cluster.pass(500);
    // The rows as of the registration, from the commands up to it.
    let mut catalog = Catalog::new();
    let disk = cluster.disks[1];
    for command in cluster.log.borrow().commands_from(0) {
        let revision = catalog.revision().next();
        let _ = catalog.apply(revision, &command);
        if catalog.broker_of(disk.volume).is_some_and(|row| row.incarnation == disk.incarnation) {
            break;
        }
    }
    let mut shards = 0;
    for (shard, told) in &cluster.at(1).told_first {
        let row = catalog.shard(*shard).expect("known by then");
        assert!((told.epoch, told.version) >= (row.epoch, row.version), "{told:?} before {row:?}");
        shards += usize::from(row.epoch > Epoch(1));
    }
    assert!(shards > 0, "nothing would have been out of date");
}

#[test]
fn logs_that_the_catalog_gave_to_others_are_removed_and_unknown_ones_are_not() {
    let mut cluster = Cluster::new(3);
    cluster.kill(1);
    let known = cluster.rows()[0].id;
    for (held, expected) in [(vec![known, ShardId(900)], Became::Fails), (vec![known], Became::Registered(2))]
    {
        let process = cluster.process(cluster.disks[1], held.into_iter().collect());
        cluster.processes[1] = Some(process);
        cluster.step(1, CoordinatorEvent::Start);
        cluster.settle();
        let is_removal = |effect: &CoordinatorEffect| matches!(effect, CoordinatorEffect::RemoveShard(_));
        assert!(!cluster.has_said(1, is_removal));
        if expected == Became::Fails {
            assert_eq!(became(&cluster, 1), expected);
        } else {
            assert!(cluster.at(1).shards.contains_key(&known));
        }
    }
}

#[test]
fn an_emptied_volume_is_a_new_one_wherever_emptying_was_interrupted() {
    let fresh =
        |byte: u8| Fresh { cluster: Uuid([9; 16]), volume: Uuid([byte; 16]), nonce: Uuid([byte + 1; 16]) };
    let shard = ShardId(3);
    // A crash after each operation of the emptying in turn, until it gets through.
    for crash_after in 0.. {
        let disk = HostileDisk::new(7, Faults::default());
        let mut booted = boot_member(&disk, fresh(10), Place::default()).expect("no faults");
        let folder = shard_folder(shard);
        disk.create_dir_all(&folder).expect("no faults");
        ["", "shards"].iter().for_each(|folder| disk.sync_dir(folder).expect("no faults"));
        for name in ["a", "b"] {
            let file = disk.create(&format!("{folder}/{name}")).expect("no faults");
            pondage_storage::DiskFile::sync_data(&file).expect("no faults");
        }
        disk.sync_dir(&folder).expect("no faults");
        let mut promised = promises::open(disk.clone()).expect("no faults");
        drop(promised.promise(&[(shard, Epoch(4))]).expect("no faults"));
        drop(promised);
        disk.stop_after(crash_after);
        let done = reformat(&disk, &mut booted.volume, fresh(20)).is_ok();
        drop(booted);
        disk.crash();
        let again = boot_member(&disk, fresh(30), Place::default()).expect("no faults");
        let is_old = again.identity.volume == Uuid([10; 16]);
        assert_eq!(again.held.contains(&shard), is_old, "never the old logs under a new name: {crash_after}");
        let promised = promises::open(disk.clone()).expect("no faults").get(shard);
        assert_eq!(promised, Epoch(if is_old { 4 } else { 0 }));
        assert_eq!((again.identity.cluster, again.identity.incarnation), (Uuid([9; 16]), Incarnation(1)));
        if done {
            assert_eq!(again.identity.volume, Uuid([20; 16]));
            return;
        }
    }
}

#[test]
fn the_first_leaders_need_no_election() {
    let cluster = Cluster::new(1);
    assert!(cluster.rows().iter().all(|row| row.epoch == Epoch(1)));
    assert_eq!(cluster.elections_from(0), [0; 0]);
}
