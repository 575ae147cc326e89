//! Commands about the cluster and its brokers.

use pondage_model::{BrokerId, Incarnation, ProducerId, Revision, ShardId, Uuid, limits};

use super::{CLUSTER, check, cluster, delete_group, lead, queue, register, topic, uuid};
use crate::{Catalog, Command, Drain, FEATURE_LEVELS, FeatureLevels, ShardKind};

#[test]
fn a_cluster_is_initialised_once() {
    let initialise = |cluster, nonce| Command::Initialise { cluster, nonce };
    let mut catalog = Catalog::new();
    check(
        &mut catalog,
        vec![
            (register(1, 1, 1), "PROTOCOL_STATE: the cluster is not initialised yet"),
            (queue("orders", |_| {}), "PROTOCOL_STATE: the cluster is not initialised yet"),
            (initialise(CLUSTER, uuid(1)), "initialised"),
            (initialise(CLUSTER, uuid(1)), "unchanged"),
            (initialise(CLUSTER, uuid(2)), "unchanged"),
            (initialise(uuid(8), uuid(1)), "CONFLICT: the cluster was initialised as 07070707-…"),
            (queue("orders", |_| {}), "PROTOCOL_STATE: no broker is registered yet"),
        ],
    );
    let info = catalog.cluster().expect("initialised");
    assert_eq!((info.uuid, info.nonce, info.created), (CLUSTER, uuid(1), Revision(3)));
}

#[test]
fn a_start_is_registered_by_compare_and_set() {
    let mut catalog = cluster(0);
    check(
        &mut catalog,
        vec![
            (register(1, 0, 1), "CONFLICT: volume 01010101-…"),
            (register(1, 2, 1), "CONFLICT: volume 01010101-0101-0101-0101-010101010101 counts 2 starts…"),
            (register(1, 1, 1), "broker 1 +4"),
            // The same start again: it crashed before it learnt that it is registered. Nothing is wiped.
            (register(1, 1, 1), "broker 1 +0"),
            // The same number from another nonce: the disk exists twice.
            (register(1, 1, 2), "CONFLICT: volume 01010101-0101-0101-0101-010101010101 is registered…"),
            (register(1, 2, 3), "broker 1 +0"),
            (register(1, 2, 3), "broker 1 +0"),
            // The first disk's backup, started again.
            (register(1, 1, 1), "CONFLICT: …"),
            (register(1, 2, 1), "CONFLICT: …"),
            (register(1, 4, 4), "CONFLICT: …"),
            (register(1, u64::MAX, 4), "CONFLICT: …"),
            (register(2, 1, 9), "broker 2 +4"),
        ],
    );
    let broker = catalog.broker_of(uuid(1)).expect("registered");
    assert_eq!((broker.id, broker.incarnation, broker.nonce), (BrokerId(1), Incarnation(2), uuid(3)));
    assert_eq!(catalog.next_broker(), BrokerId(3));
}

#[test]
fn a_repeated_start_may_come_from_another_address() {
    let mut catalog = cluster(1);
    let moved = |address: &str, rack: Option<&str>| Command::RegisterBroker {
        volume: uuid(1),
        incarnation: Incarnation(1),
        nonce: uuid(1),
        address: address.to_owned(),
        rack: rack.map(ToOwned::to_owned),
        feature_levels: FEATURE_LEVELS,
        replaces: None,
    };
    let long = "a".repeat(limits::ADDRESS_BYTES_MAX + 1);
    check(
        &mut catalog,
        vec![
            (moved("10.0.0.9:7000", Some("b")), "broker 1 +0"),
            (moved("", None), "INVALID_ARGUMENT: address: …"),
            (moved(&long, None), "INVALID_ARGUMENT: address: …"),
            (moved("a\nb", None), "INVALID_ARGUMENT: address: …"),
            (moved("a", Some("")), "INVALID_ARGUMENT: rack: …"),
        ],
    );
    let broker = catalog.broker(BrokerId(1)).expect("registered");
    assert_eq!((broker.address.as_str(), broker.rack.as_deref()), ("10.0.0.9:7000", Some("b")));
}

#[test]
fn the_first_broker_brings_the_shards() {
    let catalog = cluster(1);
    let rows: Vec<_> = catalog
        .shards()
        .map(|shard| (shard.id.0, shard.kind, shard.leader, shard.epoch.0, shard.isr.len()))
        .collect();
    let one = Some(BrokerId(1));
    assert_eq!(
        rows,
        [
            (0, ShardKind::Catalog, None, 0, 1),
            (1, ShardKind::Pooled, one, 1, 1),
            (2, ShardKind::Pooled, one, 1, 1),
            (3, ShardKind::Pooled, one, 1, 1),
            (4, ShardKind::Pooled, one, 1, 1),
        ]
    );
    let three = cluster(3);
    assert_eq!(three.shards().filter(|shard| shard.kind == ShardKind::Pooled).count(), 12);
}

#[test]
fn every_start_of_a_leader_is_a_new_epoch() {
    let mut catalog = cluster(1);
    check(
        &mut catalog,
        vec![
            (lead(1, 1), "led 1:2 2:2 3:2 4:2"),
            (lead(1, 1), "led 1:3 2:3 3:3 4:3"),
            (lead(1, 2), "CONFLICT: start 2 of broker 1 is not its current one, which is 1"),
            (lead(9, 1), "NOT_FOUND: no broker \"9\""),
            (register(1, 2, 2), "broker 1 +0"),
            (lead(1, 1), "CONFLICT: …"),
            (topic("t", |_| {}), "created g1 [1@5] +1"),
            (lead(1, 2), "led 1:4 2:4 3:4 4:4 5:2"),
        ],
    );
    assert_eq!(catalog.shard(ShardId(5)).map(|shard| shard.version), Some(2));
}

#[test]
fn producer_ids_come_in_blocks_that_never_overlap() {
    let mut catalog = cluster(1);
    let allocate = |broker| Command::AllocateProducers { broker: BrokerId(broker) };
    check(
        &mut catalog,
        vec![
            (allocate(1), "producers 1+1000"),
            (allocate(1), "producers 1001+1000"),
            (allocate(2), "NOT_FOUND: no broker \"2\""),
        ],
    );
    assert_eq!(catalog.next_producer, ProducerId(2001));
}

#[test]
fn brokers_are_drained_and_removed() {
    let mut catalog = cluster(3);
    let drain = |broker, drain| Command::Drain { broker: BrokerId(broker), drain };
    let remove = |broker| Command::RemoveBroker { broker: BrokerId(broker) };
    let voters = |ids: &[u32]| Command::SetVoters { voters: ids.iter().copied().map(BrokerId).collect() };
    check(
        &mut catalog,
        vec![
            (drain(9, Drain::Leadership), "NOT_FOUND: no broker \"9\""),
            (drain(2, Drain::Leadership), "done"),
            (drain(2, Drain::Leadership), "unchanged"),
            // A start does not end it.
            (register(2, 2, 9), "broker 2 +0"),
            (drain(2, Drain::Leadership), "unchanged"),
            (drain(2, Drain::Nothing), "done"),
            (remove(9), "NOT_FOUND: no broker \"9\""),
            (remove(2), "CONFLICT: broker 2 holds replicas of 8 shards, shard 5 among them: drain it first"),
            (remove(1), "CONFLICT: broker 1 holds replicas of 13 shards, shard 0 among them: drain it first"),
            (voters(&[]), "INVALID_ARGUMENT: voters: 1 to 9, not 0"),
            (voters(&[1, 1]), "INVALID_ARGUMENT: voters: broker 1 is named twice"),
            (voters(&[1, 9]), "NOT_FOUND: no broker \"9\""),
            (voters(&[1]), "unchanged"),
            (voters(&[3, 1, 2]), "done"),
        ],
    );
    let row = catalog.shard(ShardId::CATALOG).expect("with the first broker");
    assert_eq!((row.replicas.len(), row.isr.len(), row.min_in_sync_replicas, row.version), (3, 3, 2, 2));
    // What gives everything away takes nothing new, and brings no shards; what is removed may not come back.
    check(
        &mut catalog,
        vec![
            (drain(3, Drain::Everything), "done"),
            (register(4, 1, 4), "broker 4 +0"),
            (drain(4, Drain::Everything), "done"),
            (topic("t", |_| {}), "created g1 [1@13] +1"),
            (remove(4), "done"),
            (register(4, 2, 5), "CONFLICT: volume 04040404-0404-0404-0404-040404040404 counts 2 starts…"),
        ],
    );
    let shard = catalog.shard(ShardId(13)).expect("dedicated");
    assert_eq!(shard.replicas, [BrokerId(1), BrokerId(2)]);
    assert_eq!(catalog.next_broker(), BrokerId(5), "no number comes back");
}

#[test]
fn a_broker_must_work_at_the_cluster_s_feature_level() {
    let mut catalog = cluster(1);
    let at = |volume, lowest, highest| Command::RegisterBroker {
        volume: uuid(volume),
        incarnation: Incarnation(1),
        nonce: uuid(volume),
        address: "a:1".to_owned(),
        rack: None,
        feature_levels: FeatureLevels { lowest, highest },
        replaces: None,
    };
    let raise = |level| Command::SetFeatureLevel { level };
    check(
        &mut catalog,
        vec![
            (
                at(2, 2, 3),
                "CONFLICT: the cluster is at feature level 1, which never falls; this version works…",
            ),
            (at(2, 0, 0), "CONFLICT: the cluster is at feature level 1…"),
            (at(2, 1, 2), "broker 2 +4"),
            (raise(1), "unchanged"),
            (raise(0), "CONFLICT: the cluster is at feature level 1, which never falls to 0"),
            (raise(2), "CONFLICT: broker 1 works at feature levels 1 to 1, not 2"),
            (Command::LoseBroker { broker: BrokerId(1) }, "done"),
            (raise(3), "CONFLICT: broker 2 works at feature levels 1 to 2, not 3"),
            (raise(2), "done"),
            (at(3, 1, 1), "CONFLICT: the cluster is at feature level 2…"),
        ],
    );
}

#[test]
#[should_panic(expected = "applied after")]
fn a_command_is_never_applied_twice() {
    let mut catalog = cluster(1);
    let _ = catalog.apply(catalog.revision(), &delete_group("g"));
}

#[test]
fn the_cluster_takes_so_many_brokers_and_no_more() {
    let mut catalog = cluster(0);
    for index in 0..=limits::BROKERS_MAX {
        let mut volume = [0; 16];
        volume[..8].copy_from_slice(&(index as u64).to_be_bytes());
        let command = Command::RegisterBroker {
            volume: Uuid(volume),
            incarnation: Incarnation(1),
            nonce: uuid(1),
            address: "a:1".to_owned(),
            rack: None,
            feature_levels: FEATURE_LEVELS,
            replaces: None,
        };
        let revision = catalog.revision().next();
        let is_ok = catalog.apply(revision, &command).is_ok();
        assert_eq!(is_ok, index < limits::BROKERS_MAX, "broker {index}");
    }
}
