//! Elections, restarts and power cuts.

use std::time::Duration;

use pondage_model::{Refusal, Revision};

use super::cluster::{Cluster, volume, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_voter_commits_and_goes_on_after_a_restart() {
    let mut cluster = Cluster::new(1).await;
    let first = cluster.commit(0).await;
    cluster.kill(0).await;
    cluster.start(0).await.unwrap();
    cluster.leader().await;
    let second = cluster.commit(0).await;
    assert!(second > first);
    let revisions: Vec<Revision> =
        cluster.at(0).heard(|heard| heard.commands.iter().map(|(r, _)| *r).collect());
    assert_eq!(revisions, [first, second]);
    assert!(cluster.at(0).node.initialise().await.is_err(), "it began before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_may_be_killed_and_comes_back() {
    let mut cluster = Cluster::new(3).await;
    for host in [0, 1, 2, 0] {
        cluster.commit(host).await;
        let leader = cluster.leader().await;
        let term = cluster.at(leader).node.status().term;
        cluster.kill(host).await;
        let other = (host + 1) % 3;
        cluster.at(other).node.leader_gone(volume(host));
        cluster.at((host + 2) % 3).node.leader_gone(volume(host));
        cluster.commit(other).await;
        if leader != host {
            assert_eq!(cluster.at(other).node.status().term, term, "its leader is still there");
        }
        cluster.start(host).await.unwrap();
        cluster.commit(host).await;
        cluster.converge().await;
    }
}

/// Nobody's election timer runs here, so that who is elected stood because it was told, however slow the machine is.
/// A vote may be split, which only a timer ends: that is not to happen every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_process_is_gone_is_replaced_without_waiting_for_a_timer() {
    let mut cluster = Cluster::new(3).await;
    cluster.commit(0).await;
    let mut without_timers = 0;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        let others = (0..3).filter(|host| *host != leader);
        for host in others.clone() {
            cluster.at(host).node.run_election_timer(false);
        }
        cluster.kill(leader).await;
        for host in others.clone() {
            cluster.at(host).node.leader_gone(volume(leader));
        }
        if tokio::time::timeout(Duration::from_secs(5), cluster.leader()).await.is_ok() {
            without_timers += 1;
        }
        for host in others {
            cluster.at(host).node.run_election_timer(true);
        }
        cluster.start(leader).await.unwrap();
        cluster.commit(leader).await;
    }
    assert!(without_timers > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_of_all_loses_nothing_that_was_answered() {
    let mut cluster = Cluster::new(3).await;
    let mut answered: Vec<Revision> = Vec::new();
    for round in 0..6_u64 {
        for disk in &cluster.disks {
            disk.reseed(round);
        }
        let mut asked = Vec::new();
        for host in 0..3 {
            for _ in 0..8 {
                let command = cluster.command();
                asked.push((host, cluster.at(host).propose(&command)));
            }
        }
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        for (host, id) in &asked {
            let outcome = cluster.at(*host).heard(|heard| heard.proposals.get(id).cloned());
            answered.extend(outcome.and_then(Result::ok));
        }
        cluster.power_cut().await;
        for host in 0..3 {
            cluster.start(host).await.unwrap();
        }
        cluster.leader().await;
        cluster.commit(u8::try_from(round % 3).unwrap()).await;
        cluster.converge().await;
        let there: Vec<Revision> =
            cluster.at(0).heard(|heard| heard.commands.iter().map(|(r, _)| *r).collect());
        for revision in &answered {
            assert!(there.contains(revision), "{revision:?} was answered and is lost");
        }
    }
    assert!(!answered.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_sees_everything_that_was_answered_before_it_was_asked() {
    let mut cluster = Cluster::new(3).await;
    for host in [0, 1, 2, 1, 0] {
        let written = cluster.commit((host + 1) % 3).await;
        let read = cluster.at(host).read();
        assert!(cluster.at(host).answer(read).await.unwrap() >= written);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_cut_off_answers_no_read_until_it_knows_what_happened_meanwhile() {
    let mut cluster = Cluster::new(3).await;
    cluster.commit(0).await;
    let old = cluster.leader().await;
    cluster.wires.isolate(old, 3);
    let read = cluster.at(old).read();
    let others = [(old + 1) % 3, (old + 2) % 3];
    let new = wait("another leader", || {
        others.into_iter().find(|host| {
            let membership = cluster.brokers[usize::from(*host)].as_ref().unwrap().membership();
            membership.leader.is_some_and(|leader| leader.0 == u32::from(*host) + 1)
        })
    })
    .await;
    let written = cluster.commit(new).await;
    let early = cluster.at(old).heard(|heard| heard.reads.get(&read).cloned());
    assert!(!matches!(early, Some(Ok(_))), "{early:?}");
    wait("its giving up: nobody answers it", || {
        let membership = cluster.brokers[usize::from(old)].as_ref().unwrap().membership();
        membership.leader.is_none().then_some(())
    })
    .await;
    cluster.wires.heal();
    let answer = cluster.at(old).answer(read).await;
    assert!(matches!(answer, Err(Refusal::NotLeader { .. })) || answer.is_ok_and(|seen| seen >= written));
    let read = cluster.at(old).read();
    assert!(cluster.at(old).answer(read).await.unwrap() >= written);
    cluster.converge().await;
}

/// A leader that starts again goes on in its term, and the library then reads at the first entry of that term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_starts_again_reads_all_that_was_answered() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let mut answered = cluster.commit(leader).await;
    for _ in 0..200 {
        answered = cluster.commit(leader).await;
    }
    for host in 0..3 {
        cluster.kill(host).await;
    }
    // The others first, so that there is a majority when the leader is back and before anybody is elected.
    for host in (0..3).filter(|host| *host != leader).chain([leader]) {
        cluster.start(host).await.unwrap();
    }
    let broker = cluster.at(leader);
    let read = broker.read();
    let seen = broker.answer(read).await;
    assert!(seen.clone().is_ok_and(|seen| seen >= answered), "{seen:?} after {answered}");
}
