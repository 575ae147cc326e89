//! What can go wrong with a log, each as the caller's next step needs it.

use std::{fmt, io, sync::Arc};

use pondage_model::ShardId;

use super::full_path;
use crate::Disk;

/// Bytes on the disk that nothing of ours wrote there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is corrupt at byte {offset}: {what}")]
pub struct Corruption {
    /// The file, with the disk's root.
    pub file: Arc<str>,
    /// The byte where the bad frame or block begins.
    pub offset: u64,
    /// What does not check out.
    pub what: &'static str,
}

/// Why a log, or the journal of promises, did not open. Nothing acknowledged was changed; opening again is allowed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Acknowledged bytes are damaged or missing.
    #[error("{0}; repair this replica from a peer, or restore the volume if it is the only one")]
    Corrupt(Corruption),
    /// A newer version of the program wrote it.
    #[error("{file} has format version {version}, newer than this program's: start the newer program again")]
    Newer {
        /// The file, with the disk's root.
        file: Arc<str>,
        /// Its version.
        version: u32,
    },
    /// The file belongs to another shard.
    #[error(
        "{file} belongs to {found:?}, not to {expected:?}: files were moved between folders; put them back"
    )]
    WrongShard {
        /// The file, with the disk's root.
        file: Arc<str>,
        /// The shard that the file names.
        found: ShardId,
        /// The shard that was asked for.
        expected: ShardId,
    },
    /// The device failed.
    #[error("cannot {operation} {file}: {source}; check the device, then start again")]
    Io {
        /// What was tried.
        operation: Operation,
        /// The file, with the disk's root.
        file: Arc<str>,
        /// The device's answer.
        source: Arc<io::Error>,
    },
}

/// Why a read gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// An entry's bytes are damaged, and were so on a second read.
    #[error("{0}; repair this replica from a peer, or restore the volume if it is the only one")]
    Corrupt(Corruption),
    /// The device failed.
    #[error("cannot read {file} at byte {offset}: {source}; check the device")]
    Io {
        /// The file, with the disk's root.
        file: Arc<str>,
        /// Where the read began.
        offset: u64,
        /// The device's answer.
        source: Arc<io::Error>,
    },
}

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making a file.
    Create,
    /// Opening a file.
    Open,
    /// Reading a file or listing a folder.
    Read,
    /// Reserving space.
    Reserve,
    /// Writing.
    Write,
    /// Making bytes durable.
    Sync,
    /// Making a folder's names durable.
    SyncFolder,
    /// Cutting a file.
    Cut,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Reserve => "reserve space for",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::SyncFolder => "sync folder",
            Self::Cut => "cut",
            Self::Rename => "rename",
            Self::Remove => "remove",
        })
    }
}

/// The first failure of a log's writer or of the journal of promises. From then on it is fenced and answers everything
/// with this; the outcome of what it had in hand is unknown until it is opened again.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "cannot {operation} {file} at byte {offset}: {source}; this volume is fenced: check the device, then restart the broker"
)]
pub struct Fault {
    /// What failed.
    pub operation: Operation,
    /// On which file or folder, with the disk's root.
    pub file: Arc<str>,
    /// Where in it; 0 where that means nothing.
    pub offset: u64,
    /// The device's answer.
    pub source: Arc<io::Error>,
}

impl Fault {
    /// Whether the disk was full: the volume itself is sound.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// A step of several that failed: the parts of a [`Fault`] or an [`OpenError`].
pub(crate) struct Failed {
    operation: Operation,
    path: String,
    offset: u64,
    source: io::Error,
}

impl Failed {
    pub(crate) fn into_fault<D: Disk>(self, disk: &D) -> Fault {
        Fault {
            operation: self.operation,
            file: full_path(disk, &self.path),
            offset: self.offset,
            source: Arc::new(self.source),
        }
    }

    pub(crate) fn into_open_error<D: Disk>(self, disk: &D) -> OpenError {
        OpenError::Io {
            operation: self.operation,
            file: full_path(disk, &self.path),
            source: Arc::new(self.source),
        }
    }
}

/// Names the step whose result it is given.
pub(crate) fn step<T>(
    operation: Operation,
    path: &str,
    offset: u64,
    result: io::Result<T>,
) -> Result<T, Failed> {
    result.map_err(|source| Failed { operation, path: path.to_owned(), offset, source })
}
