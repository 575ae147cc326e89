//! A shard's log on a disk: frames, segments, index, recovery, retention, over a [`Disk`] port.
//!
//! `docs/formats/{frame,segment,volume,promises}.md` draw every byte and list the crash cases of every operation.
//! Everything here blocks and is synchronous: the shell calls it from dedicated threads, the simulator directly.
//! Deliberately absent: clocks, randomness, threads, retries of failed syncs, and any look into an entry's body.

pub mod disk;
pub mod log;
pub mod promises;
pub mod volume;

#[cfg(any(test, feature = "hostile"))]
pub use disk::hostile::{Faults, HostileDisk};
pub use disk::{Disk, DiskFile, Space, file::FileDisk, slow::SlowDisk};
pub use log::{
    Fault, LogOptions, LogReader, LogWriter, OpenError, Opened, ReadError, Synced, Truncated, Written,
};
pub use promises::{Promised, Promises};
pub use volume::{Identity, Volume, VolumeError};
