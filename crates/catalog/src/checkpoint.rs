//! The state in shard 0's log: cut into pages, and rebuilt from the log at a start.

use bytes::Bytes;
use pondage_model::{
    Body, Entry, Epoch, LogTime, Position, Revision,
    entry::CheckpointPage,
    limits,
    wire::{Malformed, Wire},
};

use crate::{command::Command, consensus::revision_at, state::Catalog};

/// The state as the payloads of a run of checkpoint pages, each of at most [`limits::CHECKPOINT_PAGE_BYTES_MAX`]
/// bytes; at least one.
#[must_use]
pub fn checkpoint_pages(catalog: &Catalog) -> Vec<Bytes> {
    let mut rest = catalog.encode();
    let mut pages = Vec::with_capacity(rest.len().div_ceil(limits::CHECKPOINT_PAGE_BYTES_MAX));
    while !rest.is_empty() {
        pages.push(rest.split_to(rest.len().min(limits::CHECKPOINT_PAGE_BYTES_MAX)));
    }
    pages
}

/// The state that the pages of a whole checkpoint hold.
///
/// # Errors
/// [`Malformed`] if they are not what [`checkpoint_pages`] made.
pub fn restore(pages: &[Bytes]) -> Result<Catalog, Malformed> {
    Catalog::decode(pages.concat().into())
}

/// Where a recovered log ends. The default is an empty log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogEnd {
    /// The position of the next entry.
    pub next: Position,
    /// The greatest epoch.
    pub epoch: Epoch,
    /// The latest log time.
    pub log_time: LogTime,
    /// Bytes of the commands after the last whole checkpoint.
    pub bytes_since_checkpoint: u64,
    /// Bytes of the last whole checkpoint.
    pub checkpoint_bytes: u64,
}

/// Shard 0's log can't be what a broker wrote: the catalog is lost here and nothing may be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the catalog's log is damaged at position {position}: {what}")]
pub struct ReplayError {
    /// Where it was noticed.
    pub position: Position,
    /// What is wrong.
    pub what: &'static str,
}

/// Rebuilds the catalog from the surviving entries of shard 0, given in order.
///
/// Entries below a whole checkpoint may be missing. A checkpoint that was not finished counts as not there: the
/// entries that it would have replaced still are.
#[derive(Clone, Debug)]
pub struct Replay {
    /// `None` behind a gap, until a whole checkpoint gives firm ground again.
    catalog: Option<Catalog>,
    end: LogEnd,
    run: Option<Run>,
}

/// The pages of a checkpoint as far as they were seen.
#[derive(Clone, Debug)]
struct Run {
    first: Position,
    total: u32,
    pages: Vec<Bytes>,
}

impl Default for Replay {
    fn default() -> Self {
        Self { catalog: Some(Catalog::new()), end: LogEnd::default(), run: None }
    }
}

impl Replay {
    /// A replay of a log from its oldest surviving entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// [`ReplayError`] for an entry that no broker writes here. The replay is then of no further use.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        let position = entry.position;
        let damaged = |what| ReplayError { position, what };
        if position < self.end.next {
            return Err(damaged("positions go back"));
        }
        if entry.epoch < self.end.epoch {
            return Err(damaged("epochs go back"));
        }
        if position > self.end.next {
            self.catalog = None;
            self.run = None;
        }
        self.end.next = position.0.checked_add(1).map(Position).ok_or(damaged("position out of range"))?;
        self.end.epoch = entry.epoch;
        self.end.log_time = self.end.log_time.max(entry.log_time);
        match &entry.body {
            Body::CheckpointPage(page) => return self.page(position, page),
            Body::EpochStart => {}
            Body::Command(bytes) => {
                self.end.bytes_since_checkpoint += bytes.len() as u64;
                if let Some(catalog) = &mut self.catalog {
                    let command =
                        Command::from_bytes(bytes.clone()).map_err(|Malformed(what)| damaged(what))?;
                    // A refusal was the command's outcome then, and its sender was told.
                    let _ = catalog.apply(revision_at(position), &command);
                }
            }
            _ => return Err(damaged("an entry that is none of the catalog's")),
        }
        self.run = None;
        Ok(())
    }

    fn page(&mut self, position: Position, page: &CheckpointPage) -> Result<(), ReplayError> {
        let damaged = |what| ReplayError { position, what };
        if page.index >= page.total {
            return Err(damaged("a page beyond its checkpoint"));
        }
        if page.index == 0 {
            self.run = Some(Run { first: position, total: page.total, pages: Vec::new() });
        }
        let Some(run) = &mut self.run else {
            // The rest of a checkpoint whose first pages are dropped already, if something is missing below it.
            return if self.catalog.is_none() { Ok(()) } else { Err(damaged("a page out of order")) };
        };
        if run.total != page.total || run.pages.len() != page.index as usize {
            return Err(damaged("a page out of order"));
        }
        run.pages.push(page.bytes.clone());
        if page.index + 1 < page.total {
            return Ok(());
        }

        let catalog = restore(&run.pages).map_err(|Malformed(what)| damaged(what))?;
        if catalog.revision() > Revision(run.first.0) {
            return Err(damaged("a checkpoint of later commands"));
        }
        // The checkpoint counts even where the commands below it survive: it is what their senders were told.
        self.end.checkpoint_bytes = run.pages.iter().map(|page| page.len() as u64).sum();
        self.end.bytes_since_checkpoint = 0;
        self.catalog = Some(catalog);
        self.run = None;
        Ok(())
    }

    /// The catalog after the last entry, and where the log ends.
    ///
    /// # Errors
    /// [`ReplayError`] if entries are missing that no checkpoint holds.
    pub fn finish(self) -> Result<(Catalog, LogEnd), ReplayError> {
        let what = "entries are missing below it that no checkpoint holds";
        self.catalog.map(|catalog| (catalog, self.end)).ok_or(ReplayError { position: self.end.next, what })
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
