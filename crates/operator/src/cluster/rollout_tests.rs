//! Restarts, step by step and as a whole, against a cluster that does what it is told.

use pondage_client::ShardStatus;
use pondage_model::{Epoch, Revision, ShardId, Uuid};

use super::*;

fn pod(ordinal: u32, is_current: bool) -> PodSeen {
    PodSeen {
        name: format!("main-{ordinal}"),
        uid: format!("u{ordinal}"),
        is_current,
        is_ready: true,
        is_going: false,
        address: format!("main-{ordinal}:7420"),
    }
}

fn pods(current: [bool; 3]) -> Vec<PodSeen> {
    (0..).zip(current).map(|(ordinal, is_current)| pod(ordinal, is_current)).collect()
}

/// Brokers 1 to 3 in pods 0 to 2; everybody has everything, and 1 leads the catalog.
fn three() -> ClusterStatus {
    let ids: Vec<BrokerId> = (1..=3).map(BrokerId).collect();
    let broker = |id: u32| BrokerStatus {
        id: BrokerId(id),
        address: format!("main-{}:7420", id - 1),
        is_alive: Some(true),
        incarnation: Incarnation(1),
        ..BrokerStatus::default()
    };
    let shard = |id: u32| ShardStatus {
        id: ShardId(id),
        leader: Some(BrokerId(id)),
        replicas: ids.clone(),
        in_sync: ids.clone(),
        min_in_sync_replicas: 2,
        replicas_wanted: 3,
        ..ShardStatus::default()
    };
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
        voters: ids.clone(),
        brokers: (1..=3).map(broker).collect(),
        shards: (1..=3).map(shard).collect(),
    }
}

fn begun(id: u32) -> Begun {
    Begun {
        broker: BrokerId(id),
        pod: format!("main-{}", id - 1),
        pod_uid: format!("u{}", id - 1),
        incarnation: Incarnation(1),
    }
}

#[test]
fn a_change_restarts_every_broker_once_and_the_catalogs_leader_last() {
    let (mut pods, mut status, mut record) = (pods([false; 3]), three(), None);
    let mut done = Vec::new();
    for _ in 0..100 {
        // Never is more than one broker away or drained.
        assert!(status.brokers.iter().filter(|broker| broker.drain != Drain::Nothing).count() <= 1);
        match next_step(&pods, Some(&status), record.as_ref()) {
            Step::Nothing => break,
            Step::Begin(begun) => record = Some(begun),
            Step::Finish => record = None,
            Step::Drain(id) => status.brokers[id.0 as usize - 1].drain = Drain::Leadership,
            Step::Undrain(id) => status.brokers[id.0 as usize - 1].drain = Drain::Nothing,
            Step::Delete { pod, uid } => {
                let at = pods.iter().position(|seen| seen.name == pod).expect("there");
                assert_eq!(pods[at].uid, uid);
                let id = status.brokers[at].id;
                assert!(status.shards.iter().all(|shard| shard.leader != Some(id)), "it leads nothing");
                done.push(id);
                pods[at] = PodSeen {
                    uid: format!("new{at}"),
                    is_current: true,
                    is_ready: false,
                    ..pods[at].clone()
                };
                for shard in &mut status.shards {
                    shard.in_sync.retain(|member| *member != id);
                }
            }
            Step::Wait(_) => {
                // One thing at a time.
                if let Some(at) = pods.iter().position(|pod| !pod.is_ready) {
                    (pods[at].is_ready, status.brokers[at].incarnation) = (true, Incarnation(2));
                } else if let Some(drained) = status
                    .brokers
                    .iter()
                    .find(|broker| broker.drain != Drain::Nothing)
                    .map(|broker| broker.id)
                {
                    for shard in &mut status.shards {
                        if shard.leader == Some(drained) {
                            shard.leader = shard.in_sync.iter().copied().find(|id| *id != drained);
                        } else if !shard.in_sync.contains(&drained) {
                            shard.in_sync.push(drained);
                        }
                    }
                }
            }
        }
    }
    assert_eq!(done, [2, 3, 1].map(BrokerId));
    assert_eq!((record, next_step(&pods, Some(&status), None)), (None, Step::Nothing));
}

#[test]
fn nothing_begins_while_something_is_wrong() {
    let waits = |pods: &[PodSeen], status: Option<&ClusterStatus>| {
        matches!(next_step(pods, status, None), Step::Wait(_))
    };
    let outdated = pods([false, true, true]);
    assert!(matches!(next_step(&outdated, Some(&three()), None), Step::Begin(_)));
    assert!(waits(&outdated, None), "nobody answers");
    let mut status = three();
    status.brokers[2].is_alive = Some(false);
    assert!(waits(&outdated, Some(&status)), "another broker is away");
    let mut status = three();
    status.shards[0].in_sync.pop();
    assert!(waits(&outdated, Some(&status)), "a shard lacks a copy");
    let mut others = outdated.clone();
    others[1].is_ready = false;
    assert!(waits(&others, Some(&three())), "another pod is not ready");
    let mut others = outdated;
    others[1].is_going = true;
    assert!(waits(&others, Some(&three())), "another pod ends");
}

#[test]
fn a_broken_pod_of_an_old_template_goes_first() {
    let mut pods = pods([false, false, true]);
    let mut status = three();
    (pods[1].is_ready, status.brokers[1].is_alive) = (false, Some(false));
    let expected = Step::Delete { pod: "main-1".to_owned(), uid: "u1".to_owned() };
    assert_eq!(next_step(&pods, Some(&status), None), expected);
    // Also when another restart is under way, and when nobody answers.
    assert_eq!(next_step(&pods, Some(&status), Some(&begun(1))), expected);
    assert_eq!(next_step(&pods, None, None), expected);
    // One that does not get ready and still is a member that answers is left to the rule for the others.
    status.brokers[1].is_alive = Some(true);
    assert!(matches!(next_step(&pods, Some(&status), None), Step::Wait(_)));
    // A new template that is broken stops the rest.
    pods[1].is_current = true;
    status.brokers[1].is_alive = Some(false);
    assert!(matches!(next_step(&pods, Some(&status), None), Step::Wait(_)));
}

#[test]
fn a_restart_goes_on_where_it_was_left() {
    let mut pods = pods([false, true, true]);
    let mut status = three();
    let next = |pods: &[PodSeen], status: &ClusterStatus| next_step(pods, Some(status), Some(&begun(1)));
    assert_eq!(next(&pods, &status), Step::Drain(BrokerId(1)));
    status.brokers[0].drain = Drain::Leadership;
    assert!(matches!(next(&pods, &status), Step::Wait(_)), "it leads");
    status.shards[0].leader = Some(BrokerId(2));
    assert_eq!(next(&pods, &status), Step::Delete { pod: "main-0".to_owned(), uid: "u0".to_owned() });
    pods[0].is_going = true;
    assert!(matches!(next(&pods, &status), Step::Wait(_)), "it ends");
    pods[0] = PodSeen {
        uid: "new".to_owned(),
        is_ready: false,
        is_going: false,
        is_current: true,
        ..pods[0].clone()
    };
    assert!(matches!(next(&pods, &status), Step::Wait(_)), "the new one is not ready");
    pods[0].is_ready = true;
    assert!(matches!(next(&pods, &status), Step::Wait(_)), "its start is not registered");
    status.brokers[0].incarnation = Incarnation(2);
    assert_eq!(next(&pods, &status), Step::Undrain(BrokerId(1)));
    status.brokers[0].drain = Drain::Nothing;
    assert_eq!(next(&pods, &status), Step::Finish);
}

#[test]
fn what_is_wanted_may_change_back() {
    let mut status = three();
    status.brokers[0].drain = Drain::Leadership;
    let pods = pods([true; 3]);
    assert_eq!(next_step(&pods, Some(&status), Some(&begun(1))), Step::Undrain(BrokerId(1)));
    status.brokers[0].drain = Drain::Nothing;
    assert_eq!(next_step(&pods, Some(&status), Some(&begun(1))), Step::Finish);
}

#[test]
fn a_shard_without_a_spare_copy_by_choice_does_not_hold_a_restart_up() {
    let mut status = three();
    status.brokers[0].drain = Drain::Leadership;
    for shard in &mut status.shards {
        shard.leader = Some(BrokerId(2));
    }
    // Two copies, and both of them needed: no restart would ever be allowed.
    let lone = &mut status.shards[0];
    (lone.replicas, lone.in_sync) = (vec![BrokerId(1), BrokerId(2)], vec![BrokerId(1), BrokerId(2)]);
    lone.replicas_wanted = 2;
    assert_eq!(can_restart(BrokerId(1), &status), Ok(()));
    // One copy, which nobody else can lead.
    let lone = &mut status.shards[0];
    (lone.replicas, lone.in_sync, lone.leader) = (vec![BrokerId(1)], vec![BrokerId(1)], Some(BrokerId(1)));
    (lone.replicas_wanted, lone.min_in_sync_replicas) = (1, 1);
    assert_eq!(can_restart(BrokerId(1), &status), Ok(()));
    // A shard that has a spare copy as a rule, and lacks it now, does.
    status.shards[1].in_sync.pop();
    assert!(can_restart(BrokerId(1), &status).is_err());
}
