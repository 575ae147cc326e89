//! The shell: performs what the node says, with tokio, files and sockets.
//!
//! ```text
//!   gRPC services ─► Handle ─► task of a shard ── steps ──► node::Shard
//!                                   │  ▲                        │ effects
//!                                   │  └── Synced ◄── disk thread: write, fdatasync
//!                                   └─► replies, grants, progress to who waits
//! ```
//!
//! A task owns each machine and is the only one that steps it; everybody else holds a [`Handle`]. Writes and syncs
//! run on dedicated threads, body reads on the blocking pool: a task never blocks.

mod clocks;
pub mod consensus;
mod coordinator_task;
mod cursors;
mod directory;
mod disk_threads;
mod handle;
mod http;
mod leaders;
mod member;
mod metrics;
pub mod peers;
mod promise_book;
mod remote;
mod run;
mod services;
mod shard_task;
mod stopping;
mod surroundings;
pub mod tls;

pub use handle::{Answer, Grants, Handle, Progress};
pub use leaders::Leader;
pub use member::{MemberOptions, RackSource};
pub use pondage_node::coordinator::Rack;
pub use remote::{Figures, Reason, Remote, RemoteAnswer, RemoteRequest};
pub use run::{Broker, Options, StartError, Stopped};
pub use tls::TlsFiles;
