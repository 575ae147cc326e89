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

struct Stores;

impl StoreBuilder<Types, LogStore<HostileDisk>, Machine<HostileDisk>, watch::Sender<Option<u64>>> for Stores {
    async fn build(
        &self,
    ) -> Result<(watch::Sender<Option<u64>>, LogStore<HostileDisk>, Machine<HostileDisk>), StorageError> {
        let disk = HostileDisk::new(1, Faults::default());
        let shared = Arc::new_cyclic(|shared: &std::sync::Weak<Shared>| {
            let owner = shared.clone();
            // The owner of an empty catalog.
            Shared::new(
                Uuid([1; 16]),
                Arc::new(move |_| {
                    let Some(shared) = owner.upgrade() else { return };
                    while let Some(output) = shared.poll() {
                        if output == ConsensusOutput::TakeCheckpoint {
                            shared.checkpoint_taken(checkpoint_pages(&Catalog::new()));
                        }
                    }
                }),
            )
        });
        // The suite gives up logs without a snapshot.
        let (covered, snapshot) = watch::channel(Some(u64::MAX));
        let opened = store::open(&disk, &LogOptions::default(), &shared, None, snapshot).expect("an empty disk");
        let files = SnapshotFiles::new(disk, shard_folder(ShardId::CATALOG));
        let machine = Machine::new(shared, files, Arc::new(Newest::new(None)));
        Ok((covered, opened.store, machine))
    }
}

#[test]
fn our_store_is_what_the_library_expects() {
    Suite::test_all(Stores).expect("no faults");
}
