//! What people and programs see of a cluster.

use pondage_client::{LeaderMove, UncleanElection};
use pondage_model::{Epoch, Incarnation, Revision, ShardId, Uuid};

use super::*;

/// Three brokers of which one is away and one drains; a catalog and two shards.
fn three() -> ClusterStatus {
    let ids = |ids: &[u32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let broker = |id: u32, is_alive, drain| BrokerStatus {
        id: BrokerId(id),
        address: format!("b{id}:7420"),
        rack: (id == 1).then(|| "east".to_owned()),
        volume: Uuid([id as u8; 16]),
        incarnation: Incarnation(u64::from(id)),
        version: (id == 1).then(|| "0.1.0".to_owned()),
        feature_levels: (1, 1),
        is_alive,
        drain,
        led: 1,
        held: 3,
        in_sync: 2,
        ..BrokerStatus::default()
    };
    let shard = |id, kind, leader: Option<u32>, in_sync: &[u32]| ShardStatus {
        id: ShardId(id),
        kind,
        epoch: Epoch(4),
        leader: leader.map(BrokerId),
        replicas: ids(&[1, 2, 3]),
        leaving: Vec::new(),
        in_sync: ids(in_sync),
        min_in_sync_replicas: 2,
        replicas_wanted: 3,
        streams: 2 * id,
        ..ShardStatus::default()
    };
    ClusterStatus {
        uuid: Some(Uuid([0xab; 16])),
        broker: BrokerId(1),
        version: "0.1.0".to_owned(),
        is_stale: false,
        revision: Revision(42),
        feature_level: 1,
        feature_level_possible: Some(2),
        catalog_leader: Some(BrokerId(1)),
        catalog_epoch: Epoch(7),
        voters: ids(&[1, 2, 3]),
        brokers: vec![
            broker(1, Some(true), Drain::Nothing),
            broker(2, Some(false), Drain::Leadership),
            broker(3, None, Drain::Nothing),
        ],
        shards: vec![
            shard(0, ShardKind::Catalog, Some(1), &[1, 2, 3]),
            shard(1, ShardKind::Pooled, Some(3), &[1, 3]),
            ShardStatus {
                leaving: ids(&[2]),
                replicas_wanted: 2,
                ..shard(2, ShardKind::Dedicated, Some(1), &[1, 3])
            },
        ],
    }
}

#[test]
fn the_table_says_who_leads_and_what_is_wrong() {
    let expected = "\
Cluster abababab-abab-abab-abab-abababababab: 3 brokers, 3 shards, 6 streams, revision 42, feature level 1
Catalog: led by broker 1 (term 7), voters 1, 2, 3
Every broker supports feature level 2: pondage cluster raise-feature-level

BROKER  ADDRESS  STATE    DRAIN       LEADS  COPIES  IN-SYNC  STARTS
     1  b1:7420  up       -               1       3        2       1
     2  b2:7420  away     leadership      1       3        2       2
     3  b3:7420  unknown  -               1       3        2       3

warning: broker 2 does not answer
warning: shard 1 has too few in-sync copies
";
    assert_eq!(status(&three(), false), expected);
}

#[test]
fn the_wide_table_shows_every_shard() {
    let text = status(&three(), true);
    let expected = "\
SHARD  KIND       LEADER  EPOCH  REPLICAS  IN-SYNC  MIN  STREAMS  STATE
    0  catalog         1      4  1,2,3     -          2        0  well
    1  pooled          3      4  1,2,3     1,3        2        2  under-replicated
    2  dedicated       1      4  1,2-,3    1,3        2        4  moving
";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("RACK") && text.contains("01010101-0101"), "{text}");
}

#[test]
fn what_needs_attention_stands_out() {
    let mut cluster = three();
    cluster.is_stale = true;
    cluster.feature_level_possible = None;
    cluster.shards[1].in_sync.clear();
    cluster.shards[2].unclean = Some(UncleanElection {
        revision: Revision(9),
        epoch: Epoch(3),
        leader: BrokerId(1),
        reason: "two disks\u{1b}[31m burned".to_owned(),
    });
    let text = status(&cluster, false);
    for part in [
        "this is what broker 1 knew last.\n",
        "error: shard 1 has no replica left that holds every acknowledged message\n",
        "error: the catalog has no leader that answers\n",
        "note: broker 1 was made the leader of shard 2 by order in epoch 3: two disks\\u{1b}[31m burned\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json = status_json(&cluster);
    assert_eq!((&json["healthy"], &json["stale"]), (&json!(false), &json!(true)));
    assert_eq!(json["shards"][1]["state"], "data-lost");
    assert_eq!(json["brokers"][1]["shards"]["led"], 1);
    let young = ClusterStatus { uuid: None, brokers: Vec::new(), shards: Vec::new(), ..three() };
    assert!(status(&young, false).starts_with("No cluster yet"));
    let well = ClusterStatus { brokers: Vec::new(), shards: Vec::new(), ..three() };
    assert!(status(&well, false).ends_with("All is well.\n"));
}

#[test]
fn moves_are_told_one_by_one() {
    let found = MovePlan {
        leader_moves: vec![LeaderMove { shard: ShardId(4), from: BrokerId(1), to: BrokerId(2) }],
        replica_moves: vec![(ShardId(5), vec![BrokerId(2), BrokerId(3)])],
        dropped_shards: vec![ShardId(6)],
        forgotten_brokers: vec![BrokerId(9)],
        voters: vec![BrokerId(1)],
    };
    let expected = [
        "shard/4  leader 1 -> 2",
        "shard/5  copies on 2, 3",
        "shard/6  leaving copies go",
        "broker/9  is forgotten",
        "catalog  voters 1",
    ];
    assert_eq!(plan(&found), expected);
    assert_eq!(plan_json(&found)["replicaMoves"][0]["replicas"], json!([2, 3]));
    assert!(plan(&MovePlan::default()).is_empty());
}
