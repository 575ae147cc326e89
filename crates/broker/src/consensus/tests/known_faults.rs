//! Faults that implementations of this protocol had, on our store and behind our adapter.

use std::time::Duration;

use openraft::{
    EntryPayload, RaftLogReader,
    raft::AppendEntriesRequest,
    storage::{RaftLogStorage, RaftLogStorageExt},
};
use pondage_model::Uuid;

use super::{
    super::{
        messages::follows,
        types::{Entry, Types, VolumeId, Vote, log_id},
    },
    store_suite::opened,
};

fn entry(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

fn append(term: u64, before: Option<(u64, u64)>, entries: &[(u64, u64)]) -> AppendEntriesRequest<Types> {
    AppendEntriesRequest {
        vote: Vote::new_committed(term, VolumeId(Uuid([1; 16]))),
        prev_log_id: before.map(|(term, index)| log_id(term, index)),
        entries: entries.iter().map(|(term, index)| entry(*term, *index)).collect(),
        leader_commit: None,
    }
}

/// databendlabs/openraft#1795: after a leader's failed read, entries went out as if they began the log.
#[test]
fn entries_that_do_not_follow_are_never_sent_nor_taken() {
    assert!(follows(&append(3, None, &[(0, 0), (1, 1), (3, 2)])));
    assert!(follows(&append(3, Some((1, 4)), &[(1, 5), (3, 6)])) && follows(&append(3, Some((1, 4)), &[])));
    assert!(!follows(&append(3, None, &[(1, 7), (1, 8)])), "they begin in the middle");
    assert!(!follows(&append(3, Some((1, 4)), &[(1, 5), (1, 7)])), "one is missing");
    assert!(!follows(&append(3, Some((2, 4)), &[(1, 5)])), "terms go back");
    assert!(!follows(&append(3, Some((1, 4)), &[(4, 5)])), "another leader wrote it since: a stale reader");
}

/// The log thread is the last to look: a hole never reaches the disk.
#[tokio::test]
async fn a_hole_never_reaches_the_disk() {
    let (_covered, mut store) = opened(None);
    store.blocking_append([entry(0, 0), entry(0, 1)]).await.expect("they follow");
    assert!(store.blocking_append([entry(0, 3)]).await.is_err());
    assert!(store.blocking_append([entry(0, 2)]).await.is_err(), "after a failure nothing is written");
}

/// The library gives the log up as soon as it begins to install a snapshot. A crash in between would leave neither.
#[tokio::test]
async fn the_log_is_not_given_up_before_its_snapshot_is_durable() {
    let (covered, mut store) = opened(None);
    store.blocking_append([entry(0, 0), entry(1, 1), entry(1, 2)]).await.expect("they follow");
    let mut giving_up = store.clone();
    let purge = tokio::spawn(async move { giving_up.purge(log_id(1, 9)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!purge.is_finished());
    assert_eq!(store.try_get_log_entries(..).await.expect("no faults").len(), 3);
    covered.send_replace(Some(9));
    purge.await.expect("no panic").expect("no faults");
    assert_eq!(store.try_get_log_entries(..).await.expect("no faults").len(), 0);
    store.blocking_append([entry(1, 10)]).await.expect("the log goes on behind the snapshot");
}

/// What lagged behind an installed snapshot may be of a later term than what follows it.
#[tokio::test]
async fn a_stale_log_of_a_later_term_does_not_outlive_a_snapshot() {
    let (_covered, mut store) = opened(Some(u64::MAX));
    store.blocking_append([entry(0, 0), entry(7, 1)]).await.expect("they follow");
    store.purge(log_id(5, 9)).await.expect("no faults");
    store.blocking_append([entry(5, 10), entry(8, 11)]).await.expect("terms ascend from the snapshot's");
    let state = store.get_log_state().await.expect("no faults");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(5, 9)), Some(log_id(8, 11))));
}
