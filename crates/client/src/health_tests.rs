//! What is wrong with clusters.

use pondage_model::{Epoch, Revision, Uuid};
use pondage_protocol::cluster::BrokerStatus;

use super::*;

/// Leader, replicas, leaving, in sync, minimum, wanted.
pub(crate) type Row<'a> = (Option<u32>, &'a [u32], &'a [u32], &'a [u32], u32, u32);

/// A cluster of `alive` and these shards.
pub(crate) fn cluster(alive: &[(u32, bool)], shards: &[Row<'_>]) -> ClusterStatus {
    let ids = |ids: &[u32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let brokers = alive.iter().map(|&(id, is_alive)| BrokerStatus {
        id: BrokerId(id),
        is_alive: Some(is_alive),
        ..BrokerStatus::default()
    });
    let shards =
        (1..).zip(shards).map(|(id, &(leader, replicas, leaving, in_sync, minimum, wanted))| ShardStatus {
            id: ShardId(id),
            leader: leader.map(BrokerId),
            replicas: ids(replicas),
            leaving: ids(leaving),
            in_sync: ids(in_sync),
            min_in_sync_replicas: minimum,
            replicas_wanted: wanted,
            ..ShardStatus::default()
        });
    ClusterStatus {
        uuid: Some(Uuid([1; 16])),
        broker: BrokerId(1),
        version: "0.1.0".to_owned(),
        is_stale: false,
        revision: Revision(1),
        feature_level: 1,
        feature_level_possible: None,
        catalog_leader: Some(BrokerId(1)),
        catalog_epoch: Epoch(1),
        voters: ids(&[1]),
        brokers: brokers.collect(),
        shards: shards.collect(),
    }
}

#[test]
fn each_shard_is_told_with_the_worst_of_it() {
    let alive = [(1, true), (2, true), (3, false)];
    let away = Trouble::Away(BrokerId(3));
    let shard = ShardId(1);
    for (row, expected) in [
        ((Some(1), &[1, 2][..], &[][..], &[1, 2][..], 2, 2), vec![away]),
        ((Some(1), &[1, 2, 3], &[], &[1, 2], 2, 3), vec![away, Trouble::UnderReplicated(shard)]),
        // More copies are wanted than are assigned.
        ((Some(1), &[1, 2], &[], &[1, 2], 2, 3), vec![away, Trouble::UnderReplicated(shard)]),
        // One that leaves is no copy that counts, and is not missed.
        ((Some(1), &[1, 2, 3], &[3], &[1, 3], 1, 2), vec![away, Trouble::UnderReplicated(shard)]),
        ((Some(1), &[1, 2, 3], &[3], &[1, 2], 2, 2), vec![away]),
        ((Some(1), &[1, 2, 3], &[], &[1], 2, 3), vec![Trouble::BelowMinimum(shard), away]),
        ((Some(3), &[1, 2, 3], &[], &[1, 2, 3], 2, 3), vec![Trouble::Offline(shard), away]),
        ((None, &[1, 2], &[], &[1, 2], 2, 2), vec![Trouble::Offline(shard), away]),
        ((None, &[1, 2], &[], &[], 2, 2), vec![Trouble::DataLost(shard), away]),
    ] {
        assert_eq!(troubles(&cluster(&alive, &[row])), expected, "{row:?}");
    }
}

#[test]
fn a_catalog_that_cannot_be_read_and_lost_brokers_are_told() {
    let well = cluster(&[(1, true)], &[(Some(1), &[1], &[], &[1], 1, 1)]);
    assert_eq!(troubles(&well), []);
    let stale = ClusterStatus { is_stale: true, ..well.clone() };
    assert_eq!(troubles(&stale), [Trouble::NoCatalog]);
    let headless = ClusterStatus { catalog_leader: None, ..well.clone() };
    assert!(troubles(&headless)[0].is_grave());
    let mut poorer = well;
    poorer.brokers[0].is_lost = true;
    poorer.brokers[0].is_alive = Some(false);
    assert_eq!(troubles(&poorer), [Trouble::Lost(BrokerId(1))]);
}
