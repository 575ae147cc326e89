//! Restarts one by one, against a cluster that does what it is told.

use pondage_model::ShardId;

use super::*;
use crate::health::tests::cluster;

/// Three brokers; every shard has a copy on each of them.
fn three() -> ClusterStatus {
    let all: &[u32] = &[1, 2, 3];
    let shard = |leader| (Some(leader), all, &[][..], all, 2, 3);
    cluster(&[(1, true), (2, true), (3, true)], &[shard(1), shard(2), shard(3), shard(1)])
}

fn broker(status: &mut ClusterStatus, id: BrokerId) -> &mut BrokerStatus {
    status.brokers.iter_mut().find(|broker| broker.id == id).expect("there")
}

/// Lets the cluster do what follows from an action, in `steps` that a look at it may see.
fn follow(status: &mut ClusterStatus, action: &RollingAction) {
    match *action {
        RollingAction::Drain(id) => broker(status, id).drain = Drain::Leadership,
        RollingAction::Undrain(id) => broker(status, id).drain = Drain::Nothing,
        RollingAction::Restart(id) => {
            let broker = broker(status, id);
            broker.incarnation = broker.incarnation.next();
            for shard in &mut status.shards {
                assert_ne!(shard.leader, Some(id), "nothing is led where the process ends");
                shard.unconfirmed.push(id);
            }
        }
        RollingAction::Wait(_) => {
            // One thing at a time: a hand-over, or a replica that is confirmed.
            let drained: Vec<BrokerId> = status
                .brokers
                .iter()
                .filter(|broker| broker.drain != Drain::Nothing)
                .map(|broker| broker.id)
                .collect();
            for shard in &mut status.shards {
                if shard.leader.is_some_and(|leader| drained.contains(&leader)) {
                    shard.leader = shard.replicas.iter().copied().find(|id| !drained.contains(id));
                    return;
                }
                if shard.unconfirmed.pop().is_some() {
                    return;
                }
            }
        }
        RollingAction::Done => {}
    }
}

#[test]
fn brokers_go_one_after_the_other_and_the_catalogs_leader_last() {
    let mut status = three();
    let mut plan = Rolling::new(&status, &[], false).expect("all are there");
    let mut done = Vec::new();
    for _ in 0..100 {
        let action = plan.next(&status);
        follow(&mut status, &action);
        match action {
            RollingAction::Wait(_) => {}
            RollingAction::Done => break,
            other => done.push(other),
        }
    }
    let expected: Vec<RollingAction> = [2, 3, 1]
        .into_iter()
        .map(BrokerId)
        .flat_map(|id| [RollingAction::Drain(id), RollingAction::Restart(id), RollingAction::Undrain(id)])
        .collect();
    assert_eq!(done, expected);
    assert_eq!((plan.left(), plan.next(&status)), (0, RollingAction::Done));
    assert!(status.brokers.iter().all(|broker| broker.incarnation == Incarnation(1)));
}

#[test]
fn each_step_waits_for_what_it_needs() {
    let one = |plan: &mut Rolling, status: &ClusterStatus| match plan.next(status) {
        RollingAction::Wait(wait) => wait.to_string(),
        action => format!("{action:?}"),
    };
    let mut status = three();
    let mut plan = Rolling::new(&status, &[BrokerId(2)], false).expect("it is there");
    status.shards[0].in_sync.pop();
    assert_eq!(one(&mut plan, &status), "shard 1 has too few in-sync copies");
    status.is_stale = true;
    assert_eq!(one(&mut plan, &status), "the catalog has no leader that answers (and 1 more troubles)");
    status = three();
    assert_eq!(one(&mut plan, &status), "Drain(broker-2)");
    assert_eq!(plan.drained(), Some(BrokerId(2)));
    assert_eq!(one(&mut plan, &status), "broker 2 still leads 1 shards");
    status.shards[1].leader = Some(BrokerId(1));
    // Something breaks before the process was ended: it stays.
    broker(&mut status, BrokerId(3)).is_alive = Some(false);
    assert!(one(&mut plan, &status).starts_with("shard 3 has no leader"));
    broker(&mut status, BrokerId(3)).is_alive = Some(true);
    assert_eq!(one(&mut plan, &status), "Restart(broker-2)");
    assert_eq!(one(&mut plan, &status), "broker 2 is not back yet");
    broker(&mut status, BrokerId(2)).incarnation = Incarnation(1);
    status.shards[2].unconfirmed.push(BrokerId(2));
    status.shards[3].in_sync.retain(|id| *id != BrokerId(2));
    assert_eq!(one(&mut plan, &status), "broker 2 is not in sync with 2 shards yet");
    status.shards[2].unconfirmed.clear();
    status.shards[3].in_sync.push(BrokerId(2));
    assert_eq!(one(&mut plan, &status), "Undrain(broker-2)");
    assert_eq!(one(&mut plan, &status), "Done");
}

#[test]
fn a_broker_that_is_away_comes_first_and_one_that_was_drained_stays_so() {
    let mut status = three();
    broker(&mut status, BrokerId(3)).is_alive = Some(false);
    let mut plan = Rolling::new(&status, &[], false).expect("all are there");
    assert_eq!(plan.next(&status), RollingAction::Restart(BrokerId(3)));
    assert_eq!(plan.drained(), None);
    assert_eq!(plan.next(&status), RollingAction::Wait(RollingWait::Return(BrokerId(3))));

    let mut status = three();
    broker(&mut status, BrokerId(2)).drain = Drain::Leadership;
    status.shards[1].leader = Some(BrokerId(1));
    let mut plan = Rolling::new(&status, &[BrokerId(2)], false).expect("it is there");
    assert_eq!(plan.next(&status), RollingAction::Restart(BrokerId(2)));
    broker(&mut status, BrokerId(2)).incarnation = Incarnation(1);
    assert_eq!(plan.next(&status), RollingAction::Done);
}

#[test]
fn shards_that_cannot_do_without_a_broker_hold_it_unless_told_otherwise() {
    let both: &[u32] = &[1, 2];
    let status = cluster(&[(1, true), (2, true)], &[(Some(1), both, &[], both, 2, 2)]);
    for (despite_minimum, expected) in [
        (false, RollingAction::Wait(RollingWait::Needed { broker: BrokerId(2), shards: 1 })),
        (true, RollingAction::Restart(BrokerId(2))),
    ] {
        let mut plan = Rolling::new(&status, &[BrokerId(2)], despite_minimum).expect("it is there");
        assert_eq!(plan.next(&status), RollingAction::Drain(BrokerId(2)));
        assert_eq!(plan.next(&status), expected);
    }
    // Alone, it leads what nobody else can.
    let alone = cluster(&[(1, true)], &[(Some(1), &[1], &[], &[1], 1, 1)]);
    let mut plan = Rolling::new(&alone, &[], true).expect("it is there");
    assert_eq!(plan.next(&alone), RollingAction::Drain(BrokerId(1)));
    assert_eq!(plan.next(&alone), RollingAction::Restart(BrokerId(1)));
}

#[test]
fn unknown_and_lost_brokers_are_refused() {
    let mut status = three();
    broker(&mut status, BrokerId(3)).is_lost = true;
    for (brokers, refused) in
        [(vec![BrokerId(3)], Some(BrokerId(3))), (vec![BrokerId(9)], Some(BrokerId(9))), (vec![], None)]
    {
        assert_eq!(Rolling::new(&status, &brokers, false).err(), refused);
    }
    assert_eq!(Rolling::new(&status, &[], false).map(|plan| plan.left()), Ok(2));
    assert_eq!(status.shards[0].id, ShardId(1));
}
