//! The epochs that this volume's replicas promised, shared by its shards: promises that wait together cost one sync.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pondage_model::{Epoch, ShardId};
use pondage_node::disk::{Disk, Fault, Promises};

use crate::disk_threads::DiskThreads;

/// Who hears that a promise is durable, or that it may not be.
type Told = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// A cheap handle on the volume's journal of promises.
#[derive(Debug)]
pub(crate) struct PromiseBook<D: Disk>(Arc<Shared<D>>);

impl<D: Disk> Clone for PromiseBook<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<D: Disk> {
    journal: Mutex<Promises<D>>,
    /// At most one of each shard.
    waiting: Mutex<Vec<(ShardId, Epoch, Told)>>,
    disk: DiskThreads,
}

impl<D: Disk> std::fmt::Debug for Shared<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromiseBook").finish_non_exhaustive()
    }
}

impl<D: Disk> PromiseBook<D> {
    /// Keeps the journal; its syncs run on these threads.
    pub(crate) fn new(journal: Promises<D>, disk: DiskThreads) -> Self {
        Self(Arc::new(Shared { journal: Mutex::new(journal), waiting: Mutex::default(), disk }))
    }

    /// The greatest epoch that the shard's replica promised. Waits for a sync that is under way: call it where
    /// blocking is allowed.
    pub(crate) fn get(&self, shard: ShardId) -> Epoch {
        lock(&self.0.journal).get(shard)
    }

    /// Makes the promise durable, then tells.
    pub(crate) fn promise(
        &self,
        shard: ShardId,
        epoch: Epoch,
        told: impl FnOnce(Result<(), Fault>) + Send + 'static,
    ) {
        lock(&self.0.waiting).push((shard, epoch, Box::new(told)));
        let shared = Arc::clone(&self.0);
        self.0.disk.run(move || shared.write_waiting());
    }
}

impl<D: Disk> Shared<D> {
    /// Writes all that wait by now. Whoever comes to an empty list was served by the one before.
    fn write_waiting(&self) {
        let mut journal = lock(&self.journal);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        if waiting.is_empty() {
            return;
        }
        let promises: Vec<_> = waiting.iter().map(|(shard, epoch, _)| (*shard, *epoch)).collect();
        let result = journal.promise(&promises).map(drop);
        drop(journal);
        for (_, _, told) in waiting {
            told(result.clone());
        }
    }
}

// A panic while one of these locks is held is a failed assertion about promises: nothing may be promised after it, and
// the journal's own state is whole.
fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use pondage_node::disk::{FileDisk, open_promises};

    use super::*;

    #[test]
    fn promises_of_many_shards_are_kept_and_told() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let open = || open_promises(FileDisk::new(folder.path())).expect("a journal");
        let book = PromiseBook::new(open(), DiskThreads::start(2).expect("threads"));
        let (told, hears) = std::sync::mpsc::channel();
        for shard in 1..=100 {
            let told = told.clone();
            book.promise(ShardId(shard), Epoch(7), move |result| {
                told.send((shard, result.is_ok())).expect("somebody listens");
            });
        }
        drop(told);
        let mut heard: Vec<_> = hears.iter().collect();
        heard.sort_unstable();
        assert_eq!(heard, (1..=100).map(|shard| (shard, true)).collect::<Vec<_>>());
        assert_eq!(book.get(ShardId(100)), Epoch(7));
        drop(book);
        assert_eq!(open().get(ShardId(42)), Epoch(7), "also after a restart");
    }
}
