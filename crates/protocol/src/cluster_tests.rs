//! What those who run a cluster ask, over the wire and back.

use pondage_model::Code;

use super::*;

fn status() -> ClusterStatus {
    ClusterStatus {
        uuid: Some(Uuid([7; 16])),
        broker: BrokerId(2),
        version: "0.1.0".to_owned(),
        is_stale: true,
        revision: Revision(40),
        feature_level: 1,
        feature_level_possible: Some(2),
        catalog_leader: Some(BrokerId(3)),
        catalog_epoch: Epoch(5),
        voters: vec![BrokerId(1), BrokerId(3)],
        brokers: vec![BrokerStatus {
            id: BrokerId(3),
            address: "b3:7420".to_owned(),
            rack: Some("east".to_owned()),
            volume: Uuid([9; 16]),
            incarnation: Incarnation(4),
            version: None,
            feature_levels: (1, 2),
            is_alive: Some(false),
            drain: Drain::Everything,
            is_lost: true,
            led: 1,
            held: 2,
            in_sync: 3,
            needed: 4,
        }],
        shards: vec![ShardStatus {
            id: ShardId(6),
            kind: ShardKind::Dedicated,
            epoch: Epoch(8),
            leader: None,
            replicas: vec![BrokerId(1), BrokerId(3)],
            leaving: vec![BrokerId(3)],
            in_sync: vec![BrokerId(1)],
            unconfirmed: vec![BrokerId(1)],
            min_in_sync_replicas: 2,
            replicas_wanted: 3,
            streams: 11,
            version: 12,
            unclean: Some(UncleanElection {
                revision: Revision(13),
                epoch: Epoch(7),
                leader: BrokerId(1),
                reason: "the others burned".to_owned(),
            }),
        }],
    }
}

#[test]
fn a_status_survives_the_wire() {
    let young = ClusterStatus { uuid: None, catalog_leader: None, shards: Vec::new(), ..status() };
    for status in [status(), young] {
        let there = v1::ClusterStatusResponse::from(status.clone());
        assert_eq!(ClusterStatus::try_from(there), Ok(status));
    }
    let mut wrong = v1::ClusterStatusResponse::from(status());
    wrong.brokers[0].drain = 9;
    assert!(ClusterStatus::try_from(wrong).is_err());
}

#[test]
fn a_plan_survives_the_wire() {
    let plan = MovePlan {
        leader_moves: vec![LeaderMove { shard: ShardId(1), from: BrokerId(2), to: BrokerId(3) }],
        replica_moves: vec![(ShardId(4), vec![BrokerId(5), BrokerId(6)])],
        dropped_shards: vec![ShardId(7)],
        forgotten_brokers: vec![BrokerId(8)],
        voters: vec![BrokerId(9)],
    };
    assert_eq!(MovePlan::from(v1::PlanResponse::from(plan.clone())), plan);
    assert!(!plan.is_empty() && MovePlan::from(v1::PlanResponse::default()).is_empty());
}

#[test]
fn orders_are_checked_at_the_edge() {
    let drain = |mode| v1::DrainRequest { broker: 1, mode, force: false };
    for (mode, expected) in [
        (0, None),
        (1, Some(Drain::Nothing)),
        (2, Some(Drain::Leadership)),
        (3, Some(Drain::Everything)),
        (4, None),
    ] {
        let order = Order::try_from(drain(mode)).ok();
        let expected = expected.map(|drain| Order::Drain { broker: BrokerId(1), drain, force: false });
        assert_eq!(order, expected, "{mode}");
    }
    for (replicas, is_fine) in
        [(vec![1, 2], true), (vec![], false), (vec![1, 2, 1], false), ((1..=10).collect(), false)]
    {
        let asked = v1::ReassignRequest { shard: 1, replicas: replicas.clone() };
        let order = Order::try_from(asked);
        assert_eq!(order.is_ok(), is_fine, "{replicas:?}");
        assert!(order.is_ok() || order.is_err_and(|refusal| refusal.code() == Code::InvalidArgument));
    }
    for (uuid, is_fine) in [("01234567-89ab-cdef-0123-456789abcdef", true), ("", false), ("x", false)] {
        let asked = v1::InitialiseRequest { cluster_uuid: uuid.to_owned() };
        assert_eq!(Initialise::try_from(asked).is_ok(), is_fine, "{uuid}");
    }
}
