//! One broker as a deterministic machine: replication, storage, delivery and catalog, composed.
//!
//! A node is a set of independent [`shard::Shard`]s and one small [`coordinator::Coordinator`]. Each takes an event
//! and says effects; time, randomness, disk and network are arguments. The shell (crate `broker`) steps different
//! shards on different threads; the simulator steps them all on one, and drives exactly this.
//!
//! ```text
//!            requests                    commands
//!   shell ───────────► Shard × n   shell ────────► Coordinator ── consensus (one voter) ── shard 0
//!         ◄───────────                   ◄────────      │
//!          replies, grants,               routes, shards to start, streams to ensure
//!          batches to write
//! ```
//!
//! What this crate does not know: threads, files, sockets, the clock of the machine, the bodies of messages.

pub mod boot;
pub mod clock;
pub mod coordinator;
pub mod dead_letter;
mod outbox;
pub mod shard;

pub use clock::{LogClock, Now};

/// The disk port and its implementations, for the shell that performs what the node says.
pub mod disk {
    pub use pondage_storage::{
        Disk, DiskFile, FileDisk, SlowDisk, Space,
        log::{
            self, Counters, Fault, LogOptions, LogReader, LogWriter, OpenError, ReadError, SegmentInfo,
            Synced, Truncated, Written,
        },
        promises::{Promises, open as open_promises},
        volume::{Identity as VolumeIdentity, Volume, shard_folder},
    };
}

/// The delivery engine's requests and answers.
pub use pondage_delivery as delivery;

/// What the replicas of a shard say to each other.
pub use pondage_replication as replication;

/// The catalog's state and changes.
pub use pondage_catalog as catalog;
