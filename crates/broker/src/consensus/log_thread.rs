//! The thread that writes the voter's log and record: one change after the other, each answered when it is durable.

use std::{fmt, sync::mpsc, thread};

use openraft::storage::LogFlushed;
use pondage_model::{Epoch, LogTime, Position, RawEntry};
use pondage_node::disk::{Disk, LogReader, LogWriter};
use tokio::sync::oneshot;

use super::{
    record::Record,
    types::{LogId, Types, Vote},
};

/// What became of a change; the text says what failed, for people.
pub(crate) type Done = Result<(), String>;

/// A change, and who waits for it.
pub(crate) enum Change {
    Append(Vec<RawEntry>, LogFlushed<Types>),
    /// The entries from here on go.
    Truncate(Position, oneshot::Sender<Done>),
    Purge(LogId, oneshot::Sender<Done>),
    SaveVote(Vote, oneshot::Sender<Done>),
    /// Everything asked for before is done.
    Close(oneshot::Sender<Done>),
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append(..) => "Append",
            Self::Truncate(..) => "Truncate",
            Self::Purge(..) => "Purge",
            Self::SaveVote(..) => "SaveVote",
            Self::Close(_) => "Close",
        })
    }
}

/// The one that writes.
pub(crate) struct LogThread<D: Disk> {
    disk: D,
    folder: String,
    writer: LogWriter<D>,
    reader: LogReader<D>,
    record: Record,
    newest_log_time: LogTime,
    /// The first failure: nothing is written after it, and it is everybody's answer.
    fault: Option<String>,
    /// Told of the first failure.
    failed: Box<dyn Fn(&str) + Send>,
}

impl<D: Disk> LogThread<D> {
    pub(crate) fn new(
        disk: D,
        folder: String,
        (writer, reader): (LogWriter<D>, LogReader<D>),
        newest_log_time: LogTime,
        record: Record,
        failed: Box<dyn Fn(&str) + Send>,
    ) -> Self {
        Self { disk, folder, writer, reader, record, newest_log_time, fault: None, failed }
    }

    /// Starts the thread. It ends when everybody who could ask is gone, or with [`Change::Close`].
    pub(crate) fn spawn(mut self) -> std::io::Result<mpsc::Sender<Change>> {
        let (changes, asked) = mpsc::channel();
        thread::Builder::new().name("consensus-log".to_owned()).spawn(move || {
            while let Ok(change) = asked.recv() {
                if let Change::Close(closed) = change {
                    drop(self);
                    let _nobody_waits = closed.send(Ok(()));
                    return;
                }
                self.change(change);
            }
        })?;
        Ok(changes)
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Append(entries, flushed) => {
                let done = self.guarded(|thread| thread.append(entries));
                flushed.log_io_completed(done.map_err(std::io::Error::other));
            }
            Change::Truncate(to, done) => {
                let result = self.guarded(|thread| {
                    thread.writer.truncate(to).map(drop).map_err(|fault| fault.to_string())
                });
                let _nobody_waits = done.send(result);
            }
            Change::Purge(upto, done) => {
                let _nobody_waits = done.send(self.guarded(|thread| thread.purge(upto)));
            }
            Change::SaveVote(vote, done) => {
                let result = self.guarded(|thread| {
                    thread.write_record(Record { vote: Some(vote), ..thread.record.clone() })
                });
                let _nobody_waits = done.send(result);
            }
            Change::Close(_) => {}
        }
    }

    /// After the first failure nothing on the disk is trusted.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Done) -> Done {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let done = work(self);
        if let Err(fault) = &done {
            self.fault = Some(fault.clone());
            (self.failed)(fault);
        }
        done
    }

    fn append(&mut self, mut entries: Vec<RawEntry>) -> Done {
        for entry in &mut entries {
            self.newest_log_time = self.newest_log_time.max(entry.log_time);
            entry.log_time = self.newest_log_time;
        }
        // What would leave a hole, or go back, is a mistake that must not reach the disk.
        let next = self.next();
        if let Some(first) = entries.first()
            && (first.position != next || first.epoch < self.last_epoch())
        {
            return Err(format!("entry {:?} of {:?} does not follow {next:?}", first.position, first.epoch));
        }
        let follow =
            |two: &[RawEntry]| two[1].position == two[0].position.next() && two[0].epoch <= two[1].epoch;
        if !entries.windows(2).all(follow) {
            return Err("entries that do not follow each other".to_owned());
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.writer.append(&[], &entries).map(drop).map_err(|fault| fault.to_string())
    }

    /// Where the next entry goes.
    fn next(&self) -> Position {
        let purged = self.record.purged.map_or(Position::ZERO, |id| Position(id.index).next());
        purged.max(self.reader.end())
    }

    fn last_epoch(&self) -> Epoch {
        let purged = self.record.purged.map_or(Epoch::ZERO, |id| Epoch(id.leader_id.term));
        purged.max(self.reader.epoch_at(self.reader.end()))
    }

    /// Gives up the log up to here, which a durable snapshot replaces. The record says so before anything goes.
    fn purge(&mut self, upto: LogId) -> Done {
        if self.record.purged.is_some_and(|purged| purged >= upto) {
            return Ok(());
        }
        self.write_record(Record { purged: Some(upto), ..self.record.clone() })?;
        make_room(&mut self.writer, &self.reader, upto)
    }

    fn write_record(&mut self, record: Record) -> Done {
        if record != self.record {
            record
                .write(&self.disk, &self.folder)
                .map_err(|error| format!("cannot write the voter's record in {}: {error}", self.folder))?;
            self.record = record;
        }
        Ok(())
    }
}

/// Drops what lies at or below the purged entry. A log that does not hold that entry itself goes whole: what is left
/// of it was never committed, and may be of a later term than what follows the snapshot.
pub(crate) fn make_room<D: Disk>(writer: &mut LogWriter<D>, reader: &LogReader<D>, purged: LogId) -> Done {
    let behind = Position(purged.index).next();
    if holds(reader, purged) {
        return writer.drop_segments_below(behind).map(drop).map_err(|fault| fault.to_string());
    }
    if reader.end() > behind {
        return Err(format!("the log goes on behind {purged}, which it does not hold"));
    }
    writer.truncate(Position::ZERO).map(drop).map_err(|fault| fault.to_string())
}

/// Whether the log has this entry, had it before its segment was dropped, or begins right behind it.
pub(crate) fn holds<D: Disk>(reader: &LogReader<D>, id: LogId) -> bool {
    let behind = Position(id.index).next();
    let (start, end) = (reader.start(), reader.end());
    // A log that began anew behind a snapshot knows no term before its own.
    start <= behind
        && behind <= end
        && (start == behind || reader.epoch_at(behind) == Epoch(id.leader_id.term))
}
