//! The catalog's log of a lone broker: one write at a time, on a disk thread.

use pondage_model::{Position, RawEntry};
use pondage_node::{
    catalog::Consensus,
    disk::{Disk, LogWriter},
};

use super::{AdminMessage, CoordinatorTask};
use crate::shard_task::append;

/// The writer of shard 0's log and what waits for it.
#[derive(Debug)]
pub(crate) struct CatalogLog<D: Disk> {
    /// On its thread while it is not here.
    writer: Option<Box<LogWriter<D>>>,
    to_write: Vec<RawEntry>,
    to_drop: Option<Position>,
}

impl<D: Disk> CatalogLog<D> {
    pub(crate) fn new(writer: LogWriter<D>) -> Self {
        Self { writer: Some(Box::new(writer)), to_write: Vec::new(), to_drop: None }
    }

    /// Whether nothing is being written.
    pub(super) const fn is_idle(&self) -> bool {
        self.writer.is_some()
    }
}

impl<D: Disk, C: Consensus> CoordinatorTask<D, C> {
    pub(super) fn write_catalog(&mut self, entries: Vec<RawEntry>) {
        self.log().to_write = entries;
        self.work();
    }

    pub(super) fn drop_catalog_segments(&mut self, below: Position) {
        self.log().to_drop = Some(below);
        self.work();
    }

    pub(super) fn came_back(&mut self, writer: Box<LogWriter<D>>) {
        self.log().writer = Some(writer);
        self.work();
    }

    fn log(&mut self) -> &mut CatalogLog<D> {
        self.log.as_mut().expect("only the consensus of a lone broker writes through its coordinator")
    }

    fn work(&mut self) {
        let (disk, events) = (self.around.disk.clone(), self.around.coordinator.clone());
        let log = self.log();
        if log.to_write.is_empty() && log.to_drop.is_none() {
            return;
        }
        let Some(mut writer) = log.writer.take() else { return };
        let (entries, below) = (std::mem::take(&mut log.to_write), log.to_drop.take());
        disk.run(move || {
            let result = append(&mut writer, &[], &entries, below);
            drop(events.send(AdminMessage::Written(writer, result)));
        });
    }
}
