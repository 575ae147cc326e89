//! The cluster's administration, on a lone broker: a cluster of one.

use pondage_model::Code;
use pondage_protocol::{
    cluster::{ClusterStatus, Drain, ShardKind},
    v1,
};

use crate::harness::{Cluster, unwrap};

async fn status(cluster: &mut Cluster) -> ClusterStatus {
    let answered = unwrap(cluster.cluster.status(v1::ClusterStatusRequest {}).await).expect("answered");
    answered.try_into().expect("in the words of the wire")
}

fn drain(broker: u32, mode: v1::DrainMode, force: bool) -> v1::DrainRequest {
    v1::DrainRequest { broker, mode: mode.into(), force }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_counts_what_the_broker_leads_and_holds() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let found = status(&mut cluster).await;
    assert!(found.uuid.is_some() && !found.is_stale);
    let [broker] = found.brokers.as_slice() else { panic!("{found:?}") };
    assert_eq!((found.catalog_leader, found.voters.as_slice()), (Some(broker.id), &[broker.id][..]));
    assert_eq!((broker.is_alive, broker.drain, broker.is_lost), (Some(true), Drain::Nothing, false));
    assert_eq!(broker.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    let shards = found.shards.len() as u32;
    assert_eq!((broker.led, broker.held, broker.in_sync), (shards, shards, shards));
    assert_eq!(found.shards[0].kind, ShardKind::Catalog);
    assert_eq!(found.shards.iter().map(|shard| shard.streams).sum::<u32>(), 1);
    assert!(found.shards.iter().all(|shard| shard.unconfirmed.is_empty() && shard.leader == Some(broker.id)));
    let plan = unwrap(cluster.cluster.plan(v1::PlanRequest {}).await).expect("answered");
    assert_eq!(plan, v1::PlanResponse::default(), "a lone broker has nowhere to move anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_begun_once_and_under_one_name() {
    let mut cluster = Cluster::start().await;
    let uuid = status(&mut cluster).await.uuid.expect("it has one").to_string();
    for (cluster_uuid, refused) in [
        (uuid, None),
        ("01234567-89ab-cdef-0123-456789abcdef".to_owned(), Some(Code::Conflict)),
        ("x".to_owned(), Some(Code::InvalidArgument)),
    ] {
        let answer = unwrap(cluster.cluster.initialise(v1::InitialiseRequest { cluster_uuid }).await);
        match refused {
            None => drop(answer.expect("it is so already")),
            Some(code) => assert!(answer.expect_err("refused").is(code)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_make_no_sense_are_refused_and_others_are_kept() {
    let mut cluster = Cluster::start().await;
    let service = &mut cluster.cluster;
    let leadership = v1::DrainMode::Leadership;
    let refused = unwrap(service.drain(drain(1, leadership, false)).await).expect_err("nobody takes over");
    assert!(refused.is(Code::Conflict) && refused.message.contains("no other broker"), "{refused:?}");
    let unknown = unwrap(service.drain(drain(9, leadership, true)).await).expect_err("unknown");
    assert!(unknown.is(Code::NotFound));
    let held = unwrap(service.remove(v1::RemoveRequest { broker: 1 }).await).expect_err("it holds all");
    assert!(held.is(Code::Conflict) && held.message.contains("drain it first"), "{held:?}");
    for (shard, replicas, code) in [
        (1, vec![1, 2], Code::InvalidArgument),
        (1, vec![2], Code::Conflict),
        (99, vec![1], Code::NotFound),
        (0, vec![1], Code::Conflict),
    ] {
        let asked = v1::ReassignRequest { shard, replicas: replicas.clone() };
        let refused = unwrap(service.reassign(asked).await).expect_err("refused");
        assert!(refused.is(code), "{shard} {replicas:?}: {refused:?}");
    }
    let elect =
        |replica, reason: &str| v1::ElectUncleanRequest { shard: 1, replica, reason: reason.to_owned() };
    let refused = unwrap(service.elect_unclean(elect(2, "why")).await).expect_err("no replica");
    assert!(refused.is(Code::Conflict));
    assert!(
        unwrap(service.elect_unclean(elect(1, "")).await).expect_err("no reason").is(Code::InvalidArgument)
    );
    let level = unwrap(service.set_feature_level(v1::SetFeatureLevelRequest { level: 99 }).await);
    assert!(level.expect_err("nobody works at it").is(Code::Conflict));

    unwrap(service.drain(drain(1, leadership, true)).await).expect("by force");
    assert_eq!(status(&mut cluster).await.brokers[0].drain, Drain::Leadership);
    let mut cluster = cluster.restart().await;
    assert_eq!(status(&mut cluster).await.brokers[0].drain, Drain::Leadership, "over restarts too");
    let undo = drain(1, v1::DrainMode::Nothing, false);
    unwrap(cluster.cluster.drain(undo).await).expect("undone");
    assert_eq!(status(&mut cluster).await.brokers[0].drain, Drain::Nothing);
}
