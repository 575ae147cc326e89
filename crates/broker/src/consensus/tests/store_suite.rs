//! The library's own suite for stores, on ours.

use std::sync::Arc;

use openraft::testing::{StoreBuilder, Suite};
use pondage_model::{ShardId, Uuid};
use pondage_node::{
    catalog::{Catalog, ConsensusOutput, checkpoint_pages},
    disk::{LogOptions, shard_folder},
};
use pondage_storage::{Faults, HostileDisk};
use tokio::sync::watch;

use super::super::{
    machine::{Machine, Newest},
    shared::Shared,
    snapshots::SnapshotFiles,
    store::{self, LogStore},
    types::{StorageError, Types, VolumeId},
};

impl From<u64> for VolumeId {
    fn from(number: u64) -> Self {
        Self(Uuid(u128::from(number).to_be_bytes()))
    }
}

/// An empty disk, and the owner of an empty catalog.
fn owned() -> (HostileDisk, Arc<Shared>) {
    let disk = HostileDisk::new(1, Faults::default());
    let shared = Arc::new_cyclic(|shared: &std::sync::Weak<Shared>| {
        let owner = shared.clone();
        let look = move |_| {
            let Some(shared) = owner.upgrade() else { return };
            while let Some(output) = shared.poll() {
                if output == ConsensusOutput::TakeCheckpoint {
                    shared.checkpoint_taken(checkpoint_pages(&Catalog::new()));
                }
            }
        };
        Shared::new(Uuid([1; 16]), Arc::new(look))
    });
    (disk, shared)
}

/// A store on an empty disk, whose newest durable snapshot has this index.
pub(super) fn opened(covered: Option<u64>) -> (watch::Sender<Option<u64>>, LogStore<HostileDisk>) {
    let (disk, shared) = owned();
    let (covered, snapshot) = watch::channel(covered);
    let opened = store::open(&disk, &LogOptions::default(), &shared, None, snapshot).expect("an empty disk");
    (covered, opened.store)
}

struct Stores;

impl StoreBuilder<Types, LogStore<HostileDisk>, Machine<HostileDisk>, watch::Sender<Option<u64>>> for Stores {
    async fn build(
        &self,
    ) -> Result<(watch::Sender<Option<u64>>, LogStore<HostileDisk>, Machine<HostileDisk>), StorageError> {
        let (disk, shared) = owned();
        // The suite gives up logs without a snapshot.
        let (covered, snapshot) = watch::channel(Some(u64::MAX));
        let opened =
            store::open(&disk, &LogOptions::default(), &shared, None, snapshot).expect("an empty disk");
        let files = SnapshotFiles::new(disk, shard_folder(ShardId::CATALOG));
        let machine = Machine::new(shared, files, Arc::new(Newest::new(None)));
        Ok((covered, opened.store, machine))
    }
}

macro_rules! expected {
    ($($name:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $name() {
            let (_covered, store, machine) = Stores.build().await.expect("an empty disk");
            type Expected = Suite<Types, LogStore<HostileDisk>, Machine<HostileDisk>, Stores, watch::Sender<Option<u64>>>;
            Expected::$name(store, machine).await.expect("no faults");
        }
    )* };
}

// Left out is what begins a log behind its beginning: our store refuses that as a hole.
expected!(
    last_membership_in_log_initial,
    get_membership_initial,
    get_membership_from_empty_log_and_sm,
    get_initial_state_without_init,
    get_initial_state_with_state,
    get_initial_state_last_log_gt_sm,
    get_initial_state_log_ids,
    save_vote,
    get_log_entries,
    limited_get_log_entries,
    try_get_log_entry,
    initial_logs,
    get_log_state,
    get_log_id,
    last_id_in_log,
    last_applied_state,
    purge_logs_upto_0,
    purge_logs_upto_5,
    purge_logs_upto_20,
    delete_logs_since_11,
    delete_logs_since_0,
    append_to_log,
    snapshot_meta,
    apply_single,
    apply_multiple,
);

#[tokio::test]
async fn transfer_snapshot() {
    type Expected =
        Suite<Types, LogStore<HostileDisk>, Machine<HostileDisk>, Stores, watch::Sender<Option<u64>>>;
    Expected::transfer_snapshot(&Stores).await.expect("no faults");
}
