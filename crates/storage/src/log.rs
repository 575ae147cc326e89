//! The log of one shard: one writer, any number of readers, segments behind both.
//!
//! [`open`] recovers the log. [`LogWriter::write`] appends one batch, [`LogWriter::sync`] makes it durable and alone
//! makes [`Synced`]; readers see what was synced and nothing else. [`LogWriter::truncate`] cuts the end, durably.

use std::sync::Arc;

use pondage_model::{Epoch, LogTime, Position, ShardId, limits};

use crate::Disk;

mod active;
mod decision;
mod error;
mod frame;
mod header;
mod index;
mod little_endian;
mod reader;
mod recovery;
mod scan;
mod view;
mod writer;

pub use error::{Corruption, Fault, OpenError, Operation, ReadError};
pub use frame::frame_bytes;
pub use reader::{LogReader, SegmentInfo};
pub use recovery::open;
pub use writer::{Counters, LogWriter, Synced, Truncated, Written};

/// How a log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The shard whose log it is; the files say so, and opening another shard's is refused.
    pub shard: ShardId,
    /// Bytes reserved for the first segment.
    pub segment_bytes_min: u64,
    /// Bytes reserved for a segment at most, unless one batch needs more. Each is twice the one before up to here.
    pub segment_bytes_max: u64,
    /// Zeros that a small batch brings along when it lengthens a file, so that the batches after it overwrite; 0
    /// for none. Costs at most this many bytes per as many written.
    pub zero_ahead_bytes: u64,
    /// A number that clients can't know, drawn by the shell: it keeps a message from passing for a frame. Only
    /// segments made from now on carry it, so it may differ from opening to opening.
    pub salt: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            shard: ShardId::CATALOG,
            segment_bytes_min: limits::SEGMENT_BYTES_MIN,
            segment_bytes_max: limits::SEGMENT_BYTES_MAX,
            zero_ahead_bytes: 256 << 10,
            salt: 0,
        }
    }
}

/// A log that was recovered; everything in it is durable.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// Appends. There is one.
    pub writer: LogWriter<D>,
    /// Reads. Cloning is cheap.
    pub reader: LogReader<D>,
    /// Where replay begins: the first page of the newest complete checkpoint, else the log's start.
    pub replay_from: Position,
    /// The position after the last entry.
    pub end: Position,
    /// The epoch of the last entry; [`Epoch::ZERO`] in a log that never had one.
    pub last_epoch: Epoch,
    /// The log time of the last entry, below which no entry may be written; the smallest in an empty log.
    pub last_log_time: LogTime,
    /// Every epoch that ever wrote here, with its first position, ascending.
    pub epochs: Vec<(Epoch, Position)>,
}

/// How often bytes that do not check out are read before they count as bad: a read may fail where the disk did not,
/// and a cut can't be undone.
const ATTEMPTS: usize = 4;

/// A file's name for people: the disk's root and the path in it.
fn full_path<D: Disk>(disk: &D, path: &str) -> Arc<str> {
    format!("{}/{path}", disk.name()).into()
}
