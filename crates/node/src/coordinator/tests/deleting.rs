//! Who was told that a queue is deleted sees no lease of it any more, whoever led it.

use pondage_model::settings::{Placement, QueueSettings};

use super::{
    super::{AdminReply, AdminRequest, CoordinatorEffect, CoordinatorEvent, ResourceKind},
    Rig,
    cluster::Cluster,
    delete, name,
};
use crate::shard::RequestId;

fn is_deleted(cluster: &mut Cluster, host: usize) -> bool {
    cluster.at(host).said.iter().any(|effect| {
        matches!(effect, CoordinatorEffect::Reply { result: Ok(AdminReply::Deleted { .. }), .. })
    })
}

/// A queue with a shard of its own.
fn queue() -> AdminRequest {
    let settings = QueueSettings { placement: Placement::Dedicated, ..QueueSettings::default() };
    AdminRequest::ApplyQueue(name("work"), settings)
}

/// The host that leads the queue's shard.
fn with_dedicated_shard(cluster: &mut Cluster) -> usize {
    cluster.step(0, CoordinatorEvent::Request { id: RequestId(1), request: queue() });
    cluster.settle();
    let catalog = cluster.at(0).coordinator.catalog();
    let shard = catalog.queue(&name("work")).expect("applied").place.shard;
    let leader = catalog.shard(shard).and_then(|row| row.leader);
    (0..3).find(|host| cluster.at(*host).coordinator.registered().map(|it| it.broker) == leader).expect("led")
}

#[test]
fn an_answer_waits_for_the_leader_of_a_shard_that_goes_with_its_queue() {
    let mut cluster = Cluster::new(3);
    let leader = with_dedicated_shard(&mut cluster);
    let asked = (leader + 1) % 3;
    cluster.at(leader).coordinator.consensus().is_deaf = true;
    let request = delete(ResourceKind::Queue, "work");
    cluster.step(asked, CoordinatorEvent::Request { id: RequestId(2), request });
    cluster.settle();
    assert!(cluster.at(asked).coordinator.catalog().queue(&name("work")).is_none(), "it is committed");
    cluster.pass(1_000);
    assert!(!is_deleted(&mut cluster, asked), "its leader still gives leases");
    cluster.at(leader).coordinator.consensus().is_deaf = false;
    cluster.settle();
    assert!(is_deleted(&mut cluster, asked));
}

#[test]
fn an_answer_waits_only_so_long_for_a_leader_that_hears_nothing() {
    let mut cluster = Cluster::new(3);
    let leader = with_dedicated_shard(&mut cluster);
    let asked = (leader + 1) % 3;
    cluster.kill(leader);
    let request = delete(ResourceKind::Queue, "work");
    cluster.step(asked, CoordinatorEvent::Request { id: RequestId(2), request });
    cluster.pass(6_000);
    assert!(is_deleted(&mut cluster, asked));
}

#[test]
fn an_answer_waits_for_the_last_word_of_a_shard_that_was_here() {
    let mut rig = Rig::new();
    rig.ask(1, queue());
    rig.serve();
    rig.ask(2, delete(ResourceKind::Queue, "work"));
    assert!(!rig.is_answered(2), "what it had decided is not said yet");
    rig.removed();
    assert!(rig.is_answered(2));
}
