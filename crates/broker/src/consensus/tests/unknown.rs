//! Outcomes that nobody knows, and those that are certain.

use pondage_model::{Refusal, refusal::Outcome};
use pondage_node::catalog::{Consensus, ConsensusInput};

use super::cluster::{Cluster, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_a_proposal_definitely_fails() {
    let mut cluster = Cluster::empty(2);
    cluster.start(0).await.unwrap();
    let command = cluster.command();
    let id = cluster.at(0).propose(&command);
    let read = cluster.at(0).read();
    let refusal = cluster.at(0).outcome(id).await.unwrap_err();
    assert_eq!(refusal.outcome(), Outcome::Definite);
    assert!(cluster.at(0).answer(read).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_may_have_taken_is_waited_for_and_never_given_twice() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let asking = (leader + 1) % 3;
    // The leader hears it, and its answer is lost: what is committed is known from the log all the same.
    cluster.wires.mute(leader, asking);
    let command = cluster.command();
    let id = cluster.at(asking).propose(&command);
    let revision = cluster.at(asking).outcome(id).await.unwrap();
    cluster.wires.heal();
    cluster.commit(leader).await;
    cluster.converge().await;
    let times = cluster.at(leader).heard(|heard| {
        let first = heard.commands.iter().find(|(at, _)| *at == revision).unwrap().1.clone();
        heard.commands.iter().filter(|(_, command)| *command == first).count()
    });
    assert_eq!(times, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_majority_leaves_the_outcome_open() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.wires.isolate(leader, 3);
    let command = cluster.command();
    let id = cluster.at(leader).propose(&command);
    let refusal = cluster.at(leader).outcome(id).await.unwrap_err();
    assert_eq!(refusal, Refusal::Timeout);
    cluster.wires.heal();
    cluster.commit(leader).await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_ends_all_that_waits_and_all_that_comes() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.wires.isolate(leader, 3);
    let command = cluster.command();
    let (waits, read) = (cluster.at(leader).propose(&command), cluster.at(leader).read());
    cluster.at(leader).voter.lock().unwrap().handle(ConsensusInput::Fault { refusal: Refusal::Interrupted });
    let comes = cluster.at(leader).propose(&command);
    cluster.at(leader).heard(|_| ());
    wait("the outcomes", || {
        // Nobody tells the owner: it made the fault itself and looks.
        let broker = cluster.brokers[usize::from(leader)].as_ref().unwrap();
        broker.poke();
        broker.heard(|heard| {
            let all = heard.proposals.contains_key(&waits)
                && heard.proposals.contains_key(&comes)
                && heard.reads.contains_key(&read);
            all.then_some(())
        })
    })
    .await;
    assert_eq!(cluster.at(leader).outcome(waits).await, Err(Refusal::Interrupted));
    assert_eq!(cluster.at(leader).outcome(comes).await, Err(Refusal::Interrupted));
}
