//! Nothing is committed by too few, whoever votes meanwhile: openraft's reports of commits that were counted from stale or
//! disjoint quorums, and every mixture of cuts, kills, losses of power and changes of voters.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use pondage_model::{BrokerId, Outcome, Refusal, Revision, wire::Wire};
use pondage_node::catalog::Consensus;
use pondage_storage::disk::hostile::SplitMix;

use super::cluster::{Cluster, wait};

const HOSTS: u8 = 5;

/// Five brokers of which the first three vote.
async fn three_of_five() -> Cluster {
    let mut cluster = Cluster::empty(HOSTS);
    for host in 0..HOSTS {
        cluster.start(host).await.unwrap();
    }
    cluster.at(0).node.initialise().await.unwrap();
    cluster.leader().await;
    cluster.make_voters(&[0, 1, 2]).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_voters_alone_commit_nothing_while_the_old_ones_elect_another_leader() {
    let mut cluster = three_of_five().await;
    let leader = cluster.leader().await;
    let old: Vec<u8> = (0..3).filter(|host| *host != leader).collect();
    for host in &old {
        for (one, other) in [(leader, *host), (*host, leader), (3, *host), (*host, 3), (4, *host), (*host, 4)]
        {
            cluster.wires.cut(one, other);
        }
    }
    // The leader and the two that are to vote are a majority of the new voters, and none of the old ones.
    let wanted: Vec<BrokerId> = [leader, 3, 4].map(|host| BrokerId(u32::from(host) + 1)).into();
    drop(cluster.at(leader).voter.lock().unwrap().change_voters(&wanted));
    let command = cluster.command();
    let id = cluster.at(leader).propose(&command);
    let refusal = cluster.at(leader).outcome(id).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Timeout | Refusal::NotLeader { .. }), "{refusal}");
    cluster.commit(old[0]).await;
    cluster.commit(old[1]).await;
    for host in [leader, 3, 4] {
        let own = cluster
            .at(host)
            .heard(|heard| heard.commands.iter().any(|(_, said)| *said == command.to_bytes()));
        assert!(!own, "host {host} heard of a command that no majority has");
    }
    cluster.wires.heal();
    cluster.commit(leader).await;
    cluster.converge().await;
}

/// Lost and assumed completions (databendlabs/openraft#1960, #2118): an entry counts on a disk once its sync has ended
/// there, the leader's own included, and not when the sync was begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_never_ends_counts_for_nobody() {
    let mut cluster = Cluster::new(3).await;
    for leader_hangs in [true, false] {
        let leader = cluster.leader().await;
        let others: Vec<u8> = (0..3).filter(|host| *host != leader).collect();
        cluster.commit(leader).await;
        let hangs = if leader_hangs { leader } else { others[0] };
        cluster.wires.isolate(others[1], 3);
        cluster.disks[usize::from(hangs)].hang_syncs();
        let command = cluster.command();
        let id = cluster.at(leader).propose(&command);
        let refusal = cluster.at(leader).outcome(id).await.unwrap_err();
        assert_eq!(refusal.outcome(), Outcome::Unknown, "{refusal}");
        for host in 0..3 {
            let is_said = |(_, said): &(_, Bytes)| *said == command.to_bytes();
            let heard = cluster.at(host).heard(|heard| heard.commands.iter().any(is_said));
            assert!(!heard, "host {host} heard of a command that is on one disk");
        }
        // What hangs is lost with the power; nobody had counted on it.
        cluster.disks[usize::from(hangs)].crash();
        cluster.kill(hangs).await;
        cluster.wires.heal();
        cluster.start(hangs).await.unwrap();
        cluster.commit(hangs).await;
        cluster.converge().await;
    }
}

/// Any host.
fn any_host(chance: &mut SplitMix) -> u8 {
    chance.below(u64::from(HOSTS)) as u8
}

/// What clients and brokers were told over all lives.
#[derive(Default)]
struct Told {
    /// Proposals that have no outcome yet: where, under which number, and what.
    open: Vec<(u8, u64, Bytes)>,
    answered: usize,
    /// The one command of each revision.
    order: BTreeMap<Revision, Bytes>,
}

impl Told {
    fn note(&mut self, revision: Revision, command: &Bytes) {
        let first = self.order.entry(revision).or_insert_with(|| command.clone());
        assert_eq!(first, command, "two commands at {revision:?}");
    }

    /// Takes what was answered, and what was heard.
    fn collect(&mut self, cluster: &mut Cluster) {
        for (host, id, command) in std::mem::take(&mut self.open) {
            match cluster.at(host).heard(|heard| heard.proposals.get(&id).cloned()) {
                None => self.open.push((host, id, command)),
                Some(Ok(revision)) => {
                    self.answered += 1;
                    self.note(revision, &command);
                }
                Some(Err(_)) => {}
            }
        }
        for host in 0..HOSTS {
            let heard = cluster.at(host).heard(|heard| heard.commands.clone());
            heard.iter().for_each(|(revision, command)| self.note(*revision, command));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_every_mixture_of_faults() {
    let seed = std::env::var("PONDAGE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
    println!("PONDAGE_SEED={seed}");
    let mut chance = SplitMix::new(seed);
    let mut cluster = three_of_five().await;
    let mut told = Told::default();
    for _ in 0..60 {
        told.collect(&mut cluster);
        match chance.below(8) {
            0 => cluster.wires.isolate(any_host(&mut chance), HOSTS),
            1 => cluster.wires.cut(any_host(&mut chance), any_host(&mut chance)),
            2 => cluster.wires.mute(any_host(&mut chance), any_host(&mut chance)),
            3 => {
                let host = any_host(&mut chance);
                told.open.retain(|(at, ..)| *at != host);
                cluster.kill(host).await;
                cluster.start(host).await.unwrap();
            }
            4 => {
                told.open.clear();
                cluster.power_cut().await;
                for host in 0..HOSTS {
                    cluster.start(host).await.unwrap();
                }
            }
            5 => {
                let first = any_host(&mut chance);
                let voters = [first, (first + 1) % HOSTS, (first + 2) % HOSTS];
                let wanted = voters.map(|host| BrokerId(u32::from(host) + 1));
                // Whoever does not lead, or changes them already, refuses.
                let at = any_host(&mut chance);
                drop(cluster.at(at).voter.lock().unwrap().change_voters(&wanted));
            }
            _ => cluster.wires.heal(),
        }
        for _ in 0..4 {
            let (host, command) = (any_host(&mut chance), cluster.command());
            let id = cluster.at(host).propose(&command);
            told.open.push((host, id, command.to_bytes()));
        }
        tokio::time::sleep(Duration::from_millis(chance.below(150))).await;
    }
    cluster.wires.heal();
    let last = cluster.commit(any_host(&mut chance)).await;
    cluster.converge().await;
    wait("every outcome", || {
        told.collect(&mut cluster);
        told.open.is_empty().then_some(())
    })
    .await;
    assert!(told.answered > 20, "only {} were answered: this proves little", told.answered);
    for host in 0..HOSTS {
        assert!(cluster.at(host).heard(|heard| heard.catalog.revision()) >= last);
    }
}
