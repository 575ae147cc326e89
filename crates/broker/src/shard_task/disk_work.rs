//! What a shard does on its disk, one thing at a time on a disk thread.

use pondage_model::{Epoch, Position, RawEntry};
use pondage_node::{
    disk::{Disk, Fault, LogWriter, Synced, Truncated},
    shard::replication::Batch,
};

use super::{Message, ShardTask};

/// What waits for the writer.
#[derive(Debug)]
pub(super) enum ToDo {
    /// Write and sync.
    Write(Batch),
    /// Cut the log so that this is its end, and sync.
    Truncate(Position),
}

/// What was done, with the proof of it.
#[derive(Debug)]
pub(crate) enum Done {
    /// A batch is durable.
    Synced(Synced),
    /// The log was cut.
    Truncated(Truncated),
    /// Nothing that somebody waits for.
    Nothing,
}

impl<D: Disk> ShardTask<D> {
    /// Hands the writer to a disk thread with what there is to do. It comes back with the proof.
    pub(super) fn work(&mut self) {
        if self.to_do.is_none() && self.to_drop.is_none() {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        let (to_do, below, events) = (self.to_do.take(), self.to_drop.take(), self.events.clone());
        self.around.disk.run(move || {
            let result = perform(&mut writer, to_do, below);
            drop(events.send(Message::Done(writer, result)));
        });
    }
}

fn perform<D: Disk>(
    writer: &mut LogWriter<D>,
    to_do: Option<ToDo>,
    drop_below: Option<Position>,
) -> Result<Done, Fault> {
    match to_do {
        Some(ToDo::Write(Batch { entries, epochs })) => append(writer, &epochs, &entries, drop_below),
        Some(ToDo::Truncate(end)) => writer.truncate(end).map(Done::Truncated),
        None => append(writer, &[], &[], drop_below),
    }
}

/// Drops whole segments below a position, then writes and syncs, each if there is anything to do.
///
/// # Errors
/// The writer's; it is fenced.
pub(crate) fn append<D: Disk>(
    writer: &mut LogWriter<D>,
    epochs: &[(Epoch, Position)],
    entries: &[RawEntry],
    drop_below: Option<Position>,
) -> Result<Done, Fault> {
    if let Some(position) = drop_below {
        writer.drop_segments_below(position)?;
    }
    if entries.is_empty() {
        return Ok(Done::Nothing);
    }
    writer.append(epochs, entries).map(Done::Synced)
}
