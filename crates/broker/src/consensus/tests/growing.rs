//! Members join, become voters, lag behind, and are let go.

use std::time::Duration;

use pondage_model::{BrokerId, Incarnation, Refusal, Uuid};
use pondage_node::catalog::{Consensus, ConsensusInput};
use pondage_storage::HostileDisk;

use super::{
    super::{Ended, Notice, Start},
    cluster::{Cluster, volume, wait},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_voter_becomes_three_and_the_first_may_leave() {
    let mut cluster = Cluster::empty(4);
    for host in 0..3 {
        cluster.start(host).await.unwrap();
    }
    cluster.at(0).node.initialise().await.unwrap();
    cluster.commit(2).await;
    assert_eq!(cluster.at(0).node.status().voters, [volume(0)], "the others only listen");
    cluster.make_voters(&[0, 1, 2]).await;
    cluster.commit(1).await;
    cluster.start(3).await.unwrap();
    cluster.commit(3).await;
    cluster.make_voters(&[1, 2, 3]).await;
    cluster.commit(0).await;
    cluster.converge().await;
    let leads = |host: u8| {
        let membership = cluster.brokers[usize::from(host)].as_ref().unwrap().membership();
        membership.leader == Some(BrokerId(u32::from(host) + 1))
    };
    let leader = wait("another leader", || (1..4).find(|host| leads(*host))).await;
    wait("its place among the listeners", || {
        let status = cluster.brokers[usize::from(leader)].as_ref().unwrap().node.status();
        (status.learners == [volume(0)]).then_some(())
    })
    .await;
    // Its volume is lost: it leaves the membership.
    cluster.kill(0).await;
    cluster.wires.row(0, |row| row.lost = true);
    wait("its leaving", || {
        let status = cluster.brokers[usize::from(leader)].as_ref().unwrap().node.status();
        status.learners.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_that_can_not_be_are_refused_and_repeating_is_free() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let broker = cluster.at(leader);
    let change = |voters: &[BrokerId]| broker.voter.lock().unwrap().change_voters(voters);
    for wrong in [&[][..], &[BrokerId(1), BrokerId(1)], &[BrokerId(9)]] {
        assert!(matches!(change(wrong), Err(Refusal::InvalidArgument { .. })));
    }
    let before = broker.node.status().last;
    for _ in 0..5 {
        change(&[BrokerId(1), BrokerId(2), BrokerId(3)]).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(broker.node.status().last, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lagged_gets_the_catalog_whole_and_goes_on() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let late = (leader + 1) % 3;
    cluster.commit(late).await;
    cluster.kill(late).await;
    // More than the log keeps behind a snapshot.
    for _ in 0..60 {
        let mut asked = Vec::new();
        for _ in 0..6 {
            let command = cluster.command();
            asked.push(cluster.at(leader).propose(&command));
        }
        for id in asked {
            cluster.at(leader).outcome(id).await.unwrap();
        }
    }
    cluster.at(leader).voter.lock().unwrap().handle(ConsensusInput::CheckpointWanted);
    wait("a snapshot", || {
        cluster.brokers[usize::from(leader)].as_ref().unwrap().node.status().snapshot.map(drop)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.start(late).await.unwrap();
    cluster.converge().await;
    assert_eq!(cluster.at(late).heard(|heard| heard.restored), 1);
    cluster.commit(late).await;
    // Both the one that made it and the one that got it start from it.
    for host in [late, leader] {
        cluster.kill(host).await;
        cluster.start(host).await.unwrap();
        assert!(cluster.at(host).heard(|heard| heard.catalog.revision().0) > 300);
        cluster.commit(host).await;
    }
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_restored_is_found_out_and_votes_no_more() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let host = (leader + 1) % 3;
    cluster.kill(host).await;
    // A later start of the volume is registered.
    let newer = Start { volume: volume(host), incarnation: Incarnation(2), nonce: Uuid([8; 16]) };
    cluster.wires.row(host, |row| row.start = newer);
    let older = Start { incarnation: Incarnation(1), nonce: Uuid([9; 16]), ..newer };
    cluster.start_as(host, older).await.unwrap();
    wait("the end of the old start", || {
        let heard = cluster.brokers[usize::from(host)].as_ref().unwrap();
        heard.heard(|heard| heard.ended.contains(&Notice::Ended(Ended::Superseded)).then_some(()))
    })
    .await;
    cluster.commit(leader).await;
    // Its own start is welcome.
    cluster.kill(host).await;
    cluster.start_as(host, newer).await.unwrap();
    cluster.commit(host).await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_before_a_start_had_its_number_does_not_end_it() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let host = (leader + 1) % 3;
    let command = cluster.command();
    cluster.wires.hold(host);
    let id = cluster.at(host).propose(&command);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Its number is durable, then the catalog has it, and only then the question arrives.
    let own = Start { volume: volume(host), incarnation: Incarnation(2), nonce: Uuid([8; 16]) };
    cluster.at(host).node.numbered(own);
    cluster.wires.row(host, |row| row.start = own);
    cluster.wires.heal();
    // Committed or not: the answer was about a start that is over.
    let _either = cluster.at(host).outcome(id).await;
    cluster.commit(host).await;
    cluster.converge().await;
    assert_eq!(cluster.at(host).heard(|heard| heard.ended.clone()), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_fails_ends_its_voter_and_the_others_go_on() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let failing: HostileDisk = cluster.disks[usize::from(leader)].clone();
    failing.set_faults(pondage_storage::Faults { sync_errors_per_million: 1_000_000, ..Default::default() });
    let command = cluster.command();
    cluster.at(leader).propose(&command);
    wait("its end", || {
        let broker = cluster.brokers[usize::from(leader)].as_ref().unwrap();
        broker.heard(|heard| matches!(heard.ended[..], [Notice::Ended(Ended::VolumeFailed(_))]).then_some(()))
    })
    .await;
    cluster.commit((leader + 1) % 3).await;
    cluster.commit((leader + 2) % 3).await;
    cluster.check_order();
}
