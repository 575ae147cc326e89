//! The voter's log: shard 0's log on the volume, as the library wants to see it.
//!
//! An entry's index is its position and its term its epoch. What lies in the log at or below the purged entry is not
//! there for readers, whether its segment was dropped yet or not.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, mpsc},
};

use openraft::{
    ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader,
    storage::{LogFlushed, RaftLogStorage},
};
use pondage_model::{Epoch, Position, ShardId, limits};
use pondage_node::disk::{Disk, LogOptions, LogReader, log, shard_folder};
use tokio::sync::{oneshot, watch};

use super::{
    log_thread::{Change, Done, LogThread, holds, make_room},
    record::Record,
    shared::Shared,
    start::StartError,
    types::{Entry, LogId, StorageError, Types, Vote, from_raw, log_id, to_raw, weight_bytes},
};

/// The log and the record of a voter, opened.
pub(crate) struct OpenedStore<D: Disk> {
    pub(crate) store: LogStore<D>,
    /// What closes it.
    pub(crate) changes: mpsc::Sender<Change>,
    /// The last entry, if there is one.
    pub(crate) last: Option<LogId>,
}

/// Opens shard 0's log and the record beside it. The newest durable snapshot is of `covered`, and `snapshot` follows
/// its index from now on.
pub(crate) fn open<D: Disk>(
    disk: &D,
    options: &LogOptions,
    shared: &Arc<Shared>,
    covered: Option<LogId>,
    snapshot: watch::Receiver<Option<u64>>,
) -> Result<OpenedStore<D>, StartError> {
    let folder = shard_folder(ShardId::CATALOG);
    let mut opened = log::open(disk.clone(), &folder, LogOptions { shard: ShardId::CATALOG, ..*options })?;
    let record = Record::read(disk, &folder).map_err(StartError::Record)?;
    let reader = opened.reader.clone();
    agree(&reader, record.as_ref())?;
    let mut record = record.unwrap_or_default();
    if record.purged.is_some_and(|purged| covered.is_none_or(|covered| covered.index < purged.index)) {
        return Err(StartError::SnapshotLost);
    }
    if let Some(covered) =
        covered.filter(|covered| record.purged < Some(*covered) && !holds(&reader, *covered))
    {
        // It was installed, and the log not yet given up for it: what is left lags behind, and may even be of a
        // later term that never came to anything.
        record.purged = Some(covered);
        record.write(disk, &folder).map_err(StartError::Record)?;
    }
    if let Some(purged) = record.purged {
        make_room(&mut opened.writer, &reader, purged).map_err(StartError::Disagree)?;
    }
    let end = reader.end();
    let last = (end > reader.start()).then(|| log_id(reader.epoch_at(end).0, end.0 - 1));
    let failed = Arc::clone(shared);
    let thread = LogThread::new(
        disk.clone(),
        folder,
        (opened.writer, reader.clone()),
        opened.last_log_time,
        record.clone(),
        Box::new(move |what| failed.volume_failed(what)),
    );
    let changes = thread.spawn().map_err(StartError::Thread)?;
    let store = LogStore {
        shared: Arc::clone(shared),
        changes: changes.clone(),
        reader,
        record: Arc::new(watch::Sender::new(record)),
        snapshot,
    };
    Ok(OpenedStore { store, changes, last })
}

/// Whether the log can be the one that the record was written beside.
fn agree<D: Disk>(reader: &LogReader<D>, record: Option<&Record>) -> Result<(), StartError> {
    let disagree = |what: String| Err(StartError::Disagree(what));
    let (start, end) = (reader.start(), reader.end());
    let term = record.and_then(|record| record.vote).map_or(0, |vote| vote.leader_id.term);
    let last = reader.epoch_at(end);
    if last > Epoch(term) {
        return disagree(format!(
            "the log has entries of term {} and the latest vote is of term {term}",
            last.0
        ));
    }
    match record.and_then(|record| record.purged) {
        None if start > Position::ZERO => {
            disagree(format!("the log begins at {start} and nothing says that it was cut there"))
        }
        Some(purged) if end > Position(purged.index).next() && !holds(reader, purged) => {
            disagree(format!("the log goes from {start} to {end}, and was given up to {purged}"))
        }
        _ => Ok(()),
    }
}

/// The log. Clones see the same one.
pub(crate) struct LogStore<D: Disk> {
    shared: Arc<Shared>,
    changes: mpsc::Sender<Change>,
    reader: LogReader<D>,
    /// As it is on the disk.
    record: Arc<watch::Sender<Record>>,
    /// The index of the newest durable snapshot.
    snapshot: watch::Receiver<Option<u64>>,
}

impl<D: Disk> Clone for LogStore<D> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            changes: self.changes.clone(),
            reader: self.reader.clone(),
            record: Arc::clone(&self.record),
            snapshot: self.snapshot.clone(),
        }
    }
}

impl<D: Disk> LogStore<D> {
    async fn change(
        &self,
        verb: ErrorVerb,
        change: impl FnOnce(oneshot::Sender<Done>) -> Change,
    ) -> Result<(), StorageError> {
        let (done, result) = oneshot::channel();
        let sent = self.changes.send(change(done));
        let result = match sent {
            Ok(()) => result.await.unwrap_or_else(|_| Err("the log is closed".to_owned())),
            Err(_) => Err("the log is closed".to_owned()),
        };
        result.map_err(|what| failure(ErrorSubject::Logs, verb, what))
    }

    /// The first entry that may be read.
    fn start(&self) -> u64 {
        self.record.borrow().purged.map_or(0, |id| id.index + 1)
    }

    /// Entries from `start` to below `end`, as many as take up to `bytes_max` but at least one if there is one.
    /// They follow each other from `start` on without a gap.
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let (reader, record) = (self.reader.clone(), Arc::clone(&self.record));
        let shared = Arc::clone(&self.shared);
        let read = move || match read(&reader, start, end, bytes_max) {
            // It was given up meanwhile: not there, as far as anybody may know.
            Err(_) if record.borrow().purged.is_some_and(|purged| purged.index >= start) => Ok(Vec::new()),
            result => result.inspect_err(|what| shared.volume_failed(what)),
        };
        let entries = match tokio::task::spawn_blocking(read).await {
            Ok(entries) => entries,
            Err(error) => Err(error.to_string()),
        };
        entries.map_err(|what| failure(ErrorSubject::Logs, ErrorVerb::Read, what))
    }
}

fn read<D: Disk>(
    reader: &LogReader<D>,
    start: u64,
    end: u64,
    bytes_max: usize,
) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let (mut next, mut bytes) = (start, 0);
    while next < end && (bytes < bytes_max || entries.is_empty()) {
        let chunk = reader
            .read_from(Position(next), (bytes_max - bytes.min(bytes_max)).clamp(1, limits::PUSH_BYTES_MAX))
            .map_err(|error| error.to_string())?;
        if chunk.is_empty() {
            break;
        }
        for raw in chunk {
            if raw.position.0 >= end {
                return Ok(entries);
            }
            let position = raw.position;
            let entry = from_raw(raw).map_err(|error| format!("shard 0 at position {position}: {error}"))?;
            // Never hand out an entry in another's place: a follower would keep it there.
            if entry.log_id.index != next {
                return Err(format!("shard 0 has position {position} where {next} should be"));
            }
            let weight = weight_bytes(&entry);
            if !entries.is_empty() && bytes + weight > bytes_max {
                return Ok(entries);
            }
            bytes += weight;
            next += 1;
            entries.push(entry);
        }
    }
    Ok(entries)
}

pub(crate) fn failure(
    subject: ErrorSubject<super::types::VolumeId>,
    verb: ErrorVerb,
    what: String,
) -> StorageError {
    StorageError::from_io_error(subject, verb, io::Error::other(what))
}

impl<D: Disk> RaftLogReader<Types> for LogStore<D> {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start.max(self.start()), end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        if start < self.start() {
            // A snapshot has them now; who asks finds out.
            return Ok(Vec::new());
        }
        self.read(start, end, limits::PUSH_BYTES_MAX).await
    }
}

impl<D: Disk> RaftLogStorage<Types> for LogStore<D> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let purged = self.record.borrow().purged;
        let end = self.reader.end();
        let last = end
            .0
            .checked_sub(1)
            .filter(|last| purged.is_none_or(|purged| *last > purged.index))
            .map(|last| log_id(self.reader.epoch_at(end).0, last));
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.change(ErrorVerb::Write, |done| Change::SaveVote(*vote, done)).await?;
        self.record.send_modify(|record| record.vote = Some(*vote));
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.record.borrow().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let now = self.shared.log_time();
        let raw = entries
            .into_iter()
            .map(|entry| {
                self.shared.appended(&entry);
                to_raw(&entry, now)
            })
            .collect();
        // Readers see what is durable. The library waits for the callback before it does anything else.
        if let Err(mpsc::SendError(Change::Append(_, callback))) =
            self.changes.send(Change::Append(raw, callback))
        {
            callback.log_io_completed(Err(io::Error::other("the log is closed")));
        }
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.change(ErrorVerb::Delete, |done| Change::Truncate(Position(from.index), done)).await
    }

    /// The library asks for this as soon as a snapshot begins to be installed. Until the snapshot is durable, the log
    /// is all that there is: wait for it.
    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let covered = |newest: &Option<u64>| newest.is_some_and(|newest| newest >= upto.index);
        let is_covered = tokio::select! {
            waited = self.snapshot.wait_for(covered) => waited.is_ok(),
            () = self.shared.ending() => false,
        };
        if !is_covered {
            let what = "the voter ended before the snapshot was durable".to_owned();
            return Err(failure(ErrorSubject::Logs, ErrorVerb::Delete, what));
        }
        // Readers first: none is to look for what is about to go.
        self.record.send_modify(|record| record.purged = record.purged.max(Some(upto)));
        self.change(ErrorVerb::Delete, |done| Change::Purge(upto, done)).await
    }
}
