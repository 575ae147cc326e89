//! The state machine as the library sees it: hands committed entries to the owner's queue, and keeps snapshots.

use std::{io::Cursor, sync::Arc};

use bytes::Bytes;
use openraft::{
    EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, storage::RaftStateMachine,
};
use pondage_model::wire::Wire;
use pondage_node::{catalog::restore, disk::Disk};
use tokio::sync::{oneshot, watch};

use super::{
    shared::Shared,
    snapshots::{Snapshot, SnapshotFiles, pages},
    store::failure,
    types::{Entry, LogId, SnapshotMeta, StorageError, StoredMembership, Types},
};

/// What is applied, and the newest snapshot.
pub(crate) struct Machine<D: Disk> {
    shared: Arc<Shared>,
    files: SnapshotFiles<D>,
    applied: Option<LogId>,
    membership: StoredMembership,
    newest: Arc<Newest>,
}

/// The newest durable snapshot.
#[derive(Debug)]
pub(crate) struct Newest {
    snapshot: watch::Sender<Option<Snapshot>>,
    /// Its index, for who waits for it to be durable.
    index: watch::Sender<Option<u64>>,
}

impl Newest {
    pub(crate) fn new(snapshot: Option<Snapshot>) -> Self {
        let index = watch::Sender::new(snapshot.as_ref().and_then(index));
        Self { snapshot: watch::Sender::new(snapshot), index }
    }

    pub(crate) fn index(&self) -> watch::Receiver<Option<u64>> {
        self.index.subscribe()
    }

    fn replace(&self, snapshot: Snapshot) {
        let known = self.snapshot.borrow().as_ref().and_then(index);
        let new = index(&snapshot);
        if new >= known {
            self.snapshot.send_replace(Some(snapshot));
            self.index.send_replace(new);
        }
    }
}

fn index(snapshot: &Snapshot) -> Option<u64> {
    snapshot.meta.last_log_id.map(|id| id.index)
}

impl<D: Disk> Machine<D> {
    /// Begins with the newest snapshot.
    pub(crate) fn new(shared: Arc<Shared>, files: SnapshotFiles<D>, newest: Arc<Newest>) -> Self {
        let (applied, membership) = newest
            .snapshot
            .borrow()
            .as_ref()
            .map(|snapshot| (snapshot.meta.last_log_id, snapshot.meta.last_membership.clone()))
            .unwrap_or_default();
        Self { shared, files, applied, membership, newest }
    }
}

/// Makes a snapshot durable, off the tasks.
async fn write<D: Disk>(
    shared: &Arc<Shared>,
    files: &SnapshotFiles<D>,
    newest: &Newest,
    snapshot: Snapshot,
) -> Result<(), StorageError> {
    let (files, written) = (files.clone(), snapshot.clone());
    let result = match tokio::task::spawn_blocking(move || files.write(&written)).await {
        Ok(result) => result.map_err(|error| format!("cannot write a snapshot of the catalog: {error}")),
        Err(error) => Err(error.to_string()),
    };
    if let Err(what) = result {
        shared.volume_failed(&what);
        return Err(failure(ErrorSubject::Snapshot(None), ErrorVerb::Write, what));
    }
    newest.replace(snapshot);
    Ok(())
}

/// Writes the snapshot that was asked for.
pub(crate) struct Builder<D: Disk> {
    shared: Arc<Shared>,
    files: SnapshotFiles<D>,
    newest: Arc<Newest>,
    applied: Option<LogId>,
    membership: StoredMembership,
    pages: Option<oneshot::Receiver<Vec<Bytes>>>,
}

impl<D: Disk> RaftSnapshotBuilder<Types> for Builder<D> {
    async fn build_snapshot(&mut self) -> Result<openraft::Snapshot<Types>, StorageError> {
        let gone = || {
            let what = "the catalog's owner is gone".to_owned();
            failure(ErrorSubject::Snapshot(None), ErrorVerb::Write, what)
        };
        let pages = match self.pages.take() {
            Some(pages) => pages.await.map_err(|_| gone())?,
            None => return Err(gone()),
        };
        let (term, index) = self.applied.map_or((0, 0), |id| (id.leader_id.term, id.index));
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: format!("{term}-{index}"),
        };
        let snapshot = Snapshot { meta, state: pages.to_bytes() };
        write(&self.shared, &self.files, &self.newest, snapshot.clone()).await?;
        Ok(to_library(snapshot))
    }
}

fn to_library(snapshot: Snapshot) -> openraft::Snapshot<Types> {
    openraft::Snapshot { meta: snapshot.meta, snapshot: Box::new(Cursor::new(snapshot.state.into())) }
}

impl<D: Disk> RaftStateMachine<Types> for Machine<D> {
    type SnapshotBuilder = Builder<D>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut replies = Vec::new();
        for entry in entries {
            self.shared.room().await;
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
            self.applied = Some(entry.log_id);
            self.shared.hand_out(entry);
            replies.push(());
        }
        self.shared.changed();
        Ok(replies)
    }

    /// The owner is asked here, while nothing else is applied: its answer is the state of exactly this entry.
    async fn get_snapshot_builder(&mut self) -> Builder<D> {
        Builder {
            shared: Arc::clone(&self.shared),
            files: self.files.clone(),
            newest: Arc::clone(&self.newest),
            applied: self.applied,
            membership: self.membership.clone(),
            pages: Some(self.shared.ask_checkpoint()),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let state = Bytes::from(snapshot.into_inner());
        let damaged = |what: &str| {
            let what = format!("a snapshot of the catalog that the leader sent is damaged: {what}");
            self.shared.end(super::ports::Ended::Stopped(what.clone()));
            failure(ErrorSubject::Snapshot(Some(meta.signature())), ErrorVerb::Read, what)
        };
        let pages = pages(state.clone()).map_err(|error| damaged(error.0))?;
        restore(&pages).map_err(|error| damaged(error.0))?;
        let Some(last) = meta.last_log_id else { return Err(damaged("it is of nothing")) };
        write(&self.shared, &self.files, &self.newest, Snapshot { meta: meta.clone(), state }).await?;
        // What is applied never goes back.
        if self.applied.is_none_or(|applied| applied < last) {
            self.applied = Some(last);
            self.membership = meta.last_membership.clone();
            self.shared.hand_out_snapshot(last, pages);
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<openraft::Snapshot<Types>>, StorageError> {
        Ok(self.newest.snapshot.borrow().clone().map(to_library))
    }
}
