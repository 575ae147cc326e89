//! Agreement on the catalog among several brokers: the openraft library behind the port
//! [`Consensus`](pondage_node::catalog::Consensus). `docs/decisions/0008-catalog-consensus.md` says why it is built so.
//!
//! ```text
//!   coordinator ── propose, read ──► RaftVoter ── here or by Transport ──► whoever leads
//!        ▲                                                                    │ library
//!        └── Committed, Restored ◄── queue ◄── state machine ◄── committed ◄──┤
//!                                                                             ▼
//!                                      log thread: shard 0's log, record;  snapshot files
//! ```
//!
//! A voter is named by its volume. Its log is shard 0's log: an entry's position is its index and its epoch the term.
//! The library decides; what it says is durable only when the files say so, and what it reads is checked on both
//! sides of the wire.

mod asking;
mod driving;
mod files;
mod log_thread;
mod machine;
mod messages;
mod network;
mod node;
mod ports;
mod record;
mod shared;
mod snapshots;
mod start;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod voter;
mod voters;

pub use node::{ConsensusNode, InitialiseError, Status};
pub use ports::{Brokers, CallError, Ended, KnownBroker, Notice, Start, Transport};
pub use start::{Setup, StartError, Started, start};
pub use voter::RaftVoter;
