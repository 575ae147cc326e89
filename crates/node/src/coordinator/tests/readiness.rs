//! When a broker has what it is to have.

use pondage_catalog::{Shard, ShardKind};
use pondage_model::{BrokerId, Epoch, Incarnation, Member, Revision, ShardId};

use super::{
    super::{Readiness, readiness::CatchingUp},
    cluster::Cluster,
    ordered_log::Weather,
};

fn readiness(cluster: &mut Cluster, host: usize) -> Readiness {
    cluster.at(host).coordinator.readiness()
}

/// No leader takes others into the in-sync replicas any more, or all of them do again.
fn keep_in_sync(cluster: &mut Cluster, keeps: bool) {
    cluster.processes.iter_mut().flatten().for_each(|process| process.keeps_in_sync = keeps);
}

#[test]
fn the_first_one_is_ready_once_it_is_registered() {
    let mut cluster = Cluster::empty(1);
    cluster.weather(Weather::Loses);
    cluster.start(0);
    cluster.pass(500);
    assert_eq!(readiness(&mut cluster, 0), Readiness::Unregistered, "nothing is committed");
    cluster.weather(Weather::Fair);
    cluster.log.borrow_mut().leader = Some(BrokerId(1));
    cluster.pass(500);
    assert_eq!(readiness(&mut cluster, 0), Readiness::Ready, "the first one is in sync with itself");
}

#[test]
fn one_that_starts_again_is_ready_when_every_replica_of_it_was_confirmed() {
    let mut cluster = Cluster::new(3);
    keep_in_sync(&mut cluster, false);
    cluster.kill(1);
    cluster.pass(1_500);
    cluster.start(1);
    cluster.at(1).keeps_in_sync = false;
    cluster.pass(500);
    let held = cluster.rows().len();
    assert_eq!(readiness(&mut cluster, 1), Readiness::CatchingUp { behind: held, held });
    // One leader confirms it, which is not enough.
    let led = cluster.led_by(1).len();
    assert!(led > 0 && led < held, "{led} of {held}");
    cluster.at(0).keeps_in_sync = true;
    cluster.pass(500);
    assert_eq!(readiness(&mut cluster, 1), Readiness::CatchingUp { behind: held - led, held });
    cluster.at(2).keeps_in_sync = true;
    cluster.pass(500);
    assert_eq!(readiness(&mut cluster, 1), Readiness::Ready);
}

#[test]
fn one_that_was_ready_stays_so_without_the_others() {
    let mut cluster = Cluster::new(3);
    cluster.kill(0);
    cluster.kill(2);
    cluster.log.borrow_mut().leader = None;
    cluster.pass(5_000);
    assert_eq!(readiness(&mut cluster, 1), Readiness::Ready);
}

#[test]
fn all_that_start_again_at_once_get_ready() {
    let mut cluster = Cluster::new(3);
    for host in 0..3 {
        cluster.kill(host);
    }
    cluster.log.borrow_mut().leader = None;
    cluster.weather(Weather::Swallows);
    for host in 0..3 {
        cluster.start(host);
    }
    cluster.pass(1_000);
    for host in 0..3 {
        assert_eq!(readiness(&mut cluster, host), Readiness::Unregistered, "nothing is committed");
    }
    for host in 0..3 {
        cluster.kill(host);
    }
    cluster.weather(Weather::Fair);
    for host in 0..3 {
        cluster.start(host);
    }
    cluster.pass(1_000);
    let held = cluster.rows().len();
    for host in 0..3 {
        let expected = Readiness::CatchingUp { behind: held, held };
        assert_eq!(readiness(&mut cluster, host), expected, "nobody elects leaders");
    }
    cluster.log.borrow_mut().leader = Some(BrokerId(2));
    cluster.pass(5_000);
    for host in 0..3 {
        assert_eq!(readiness(&mut cluster, host), Readiness::Ready);
    }
}

#[test]
fn a_row_says_whether_the_replica_has_something_to_wait_for() {
    let own = Member { broker: BrokerId(2), incarnation: Incarnation(5) };
    let earlier = Member { incarnation: Incarnation(4), ..own };
    let other = Member { broker: BrokerId(1), incarnation: Incarnation(1) };
    let cases = [
        (vec![other, own], false, false, "confirmed"),
        (vec![other], false, true, "not in sync"),
        (vec![other, earlier], false, true, "in sync before this start only"),
        (vec![], false, false, "nobody is there to catch up with"),
        (vec![other], true, false, "the copy goes"),
    ];
    for (isr, leaves, is_behind, why) in cases {
        let row = Shard {
            id: ShardId(3),
            kind: ShardKind::Pooled,
            replicas: vec![BrokerId(1), BrokerId(2)],
            leaving: if leaves { vec![BrokerId(2)] } else { Vec::new() },
            leader: Some(BrokerId(1)),
            epoch: Epoch(1),
            isr,
            min_in_sync_replicas: 1,
            version: 1,
            changed: Revision(1),
            unclean: None,
        };
        let mut catching_up = CatchingUp::default();
        catching_up.saw(&row, own, true);
        assert_eq!(catching_up.is_behind(row.id), is_behind, "{why}");
        // What comes to a broker that had nothing to wait for does not make it wait.
        let mut catching_up = CatchingUp::default();
        catching_up.look();
        catching_up.saw(&row, own, true);
        assert!(!catching_up.is_behind(row.id), "{why}");
    }
}

#[test]
fn what_is_missing_is_said_in_words() {
    let catching_up = |behind, held| Readiness::CatchingUp { behind, held };
    for (readiness, expected) in [
        (Readiness::Unregistered, "not registered yet"),
        (catching_up(3, 17), "3 of 17 replicas have not caught up"),
        (catching_up(1, 17), "1 of 17 replicas has not caught up"),
        (catching_up(1, 1), "1 of 1 replica has not caught up"),
    ] {
        assert_eq!(readiness.to_string(), expected);
        assert!(!readiness.is_ready());
    }
}
