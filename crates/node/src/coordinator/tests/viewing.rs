//! What those who run a cluster are told.

use std::collections::BTreeSet;

use pondage_catalog::Drain;
use pondage_model::{BrokerId, ShardId};

use super::{
    super::{AdminReply, AdminRequest, ClusterView, CoordinatorEffect, CoordinatorEvent},
    cluster::Cluster,
};
use crate::shard::RequestId;

/// Asks a host and takes its answer, if it gave one.
fn ask(cluster: &mut Cluster, host: usize, request: AdminRequest) -> Option<AdminReply> {
    cluster.at(host).said.clear();
    cluster.step(host, CoordinatorEvent::Request { id: RequestId(7), request });
    cluster.settle();
    cluster.at(host).said.iter().find_map(|effect| match effect {
        CoordinatorEffect::Reply { id: RequestId(7), result: Ok(reply) } => Some(reply.clone()),
        _ => None,
    })
}

fn view(cluster: &mut Cluster, host: usize, is_local: bool) -> ClusterView {
    match ask(cluster, host, AdminRequest::View { is_local }) {
        Some(AdminReply::View(view)) => *view,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_broker_tells_the_same_cluster_and_its_catalogs_leader_who_is_there() {
    let mut cluster = Cluster::new(3);
    let views: Vec<ClusterView> = (0..3).map(|host| view(&mut cluster, host, false)).collect();
    let leader = views[0].membership.leader.expect("there is one");
    let all: BTreeSet<BrokerId> = (1..=3).map(BrokerId).collect();
    for (host, found) in views.iter().enumerate() {
        assert_eq!(found.broker, BrokerId(host as u32 + 1));
        assert_eq!(found.brokers.len(), 3);
        assert_eq!(found.live, (found.broker == leader).then(|| all.clone()));
        let catalog = found.shards.iter().find(|shard| shard.row.id == ShardId::CATALOG).expect("there");
        assert_eq!((catalog.row.leader, catalog.row.epoch), (Some(leader), found.membership.epoch));
        let others = found.shards.iter().filter(|shard| shard.row.id != ShardId::CATALOG);
        assert!(others.clone().count() > 0);
        for shard in others {
            assert_eq!((shard.replicas_wanted, shard.row.replicas.len()), (3, 3));
            assert!(shard.row.leader.is_some());
        }
    }
}

#[test]
fn a_broker_that_nobody_hears_tells_what_it_knows() {
    let mut cluster = Cluster::new(3);
    let leader = view(&mut cluster, 0, true).membership.leader.expect("there is one").0 as usize - 1;
    cluster.kill(leader);
    let other = (leader + 1) % 3;
    let found = view(&mut cluster, other, true);
    assert_eq!((found.brokers.len(), found.broker), (3, BrokerId(other as u32 + 1)));
}

#[test]
fn what_comes_next_and_what_is_in_the_way_are_told() {
    let mut cluster = Cluster::new(3);
    cluster.pass(5_000);
    let live = (1..=3).map(BrokerId).collect();
    match ask(&mut cluster, 1, AdminRequest::Plan { live }) {
        // Nobody plays the replicas here: copies that were asked for stay asked for.
        Some(AdminReply::Planned(round, _)) => assert!(round.hand_overs.is_empty(), "{round:?}"),
        other => panic!("{other:?}"),
    }
    let drain = AdminRequest::DrainObstacle(BrokerId(2), Drain::Leadership);
    assert!(matches!(ask(&mut cluster, 0, drain), Some(AdminReply::Obstacle(None))));
    let mut lone = Cluster::new(1);
    let drain = AdminRequest::DrainObstacle(BrokerId(1), Drain::Leadership);
    assert!(matches!(ask(&mut lone, 0, drain), Some(AdminReply::Obstacle(Some(_)))));
}
