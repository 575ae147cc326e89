//! The leader and follower protocol of one shard, as a deterministic state machine.
//!
//! ```text
//!                 catalog: leader, epoch, in-sync replicas (compare-and-set on the row's version)
//!                    │ Assigned ▲ RequestIsr, HandOver
//!                    ▼          │
//!   append ──► ┌──────────────────────┐  Hello ──────────►  ┌──────────────────────┐
//!              │ leader                │  ◄────────── Where  │ follower             │
//!   confirm ─► │  end                  │  Align ──────────►  │  Persist(epoch)      │
//!              │  durable  ◄─ Durable  │  Push ───────────►  │  Cut, Truncate       │
//!              │  high watermark       │  ◄──────────── Ack  │  durable ◄─ Durable  │
//!              └──────────────────────┘                     └──────────────────────┘
//!                 │ Write       │ Committed, Serving            │ Write     │ Committed
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | end | the next position of this log |
//! | durable | everything below is on this replica's disk |
//! | high watermark | everything below is durable on every replica of the union, and will never be undone |
//! | in sync (ISR) | holds every committed entry durably, as the catalog has it |
//! | union | the in-sync replicas, and those that the leader asked to be: what a commit and a round need |
//! | aligned | the follower's log is a beginning of the leader's, in this epoch |
//! | round | a question to the union whether this replica still leads; begun later than what it confirms |
//!
//! What holds (each is checked by [`invariants`], the simulator or the model checker):
//! * The catalog alone makes leaders, epochs and in-sync sets. One *start* of a broker leads in an epoch, once.
//! * A message of an older epoch has no effect on its receiver but the answer that it is old. A newer epoch is durable
//!   before anything is answered in it.
//! * An entry is committed when it is durable on every replica of the union and as many are in sync as the minimum
//!   says. A leader commits nothing before the first entry of its own epoch, and serves from then on.
//! * Logs are cut by (epoch → end), never by the high watermark, and never below what a replica knows is committed.
//! * A replica joins the in-sync set when it has reached the high watermark *and* an entry of the leader's epoch.
//! * The set does not shrink below the minimum. A member that lost what it had leaves it, or stays until it has
//!   everything again, and is reported.
//! * What reveals state is spoken after a confirmed round that began later than the decision ([`Replica::confirm`]).
//! * At most one batch is being written; the next one closes when its sync returns (group commit). Pushes do not wait for the leader's own sync.
//! * No rule of safety reads a clock: time decides when something is said again and who is slow.
//! * After a fault of the disk nothing is appended or committed any more.
//!
//! The protocol is that of ISR-style primary and backups: PacificA (Lin et al., 2008) for the configuration manager
//! outside of the log, Kafka's replication with KIP-101 and KIP-279 (truncation by epoch), KIP-497 and KIP-966 (in-sync changes
//! as compare-and-set, fenced by the follower's start), and the leader's confirming round instead of a lease.

mod assignment;
mod disk;
mod epochs;
mod follower;
mod in_sync;
mod interface;
pub mod invariants;
mod leader;
mod message;
mod peer;
mod pushing;
mod replica;
mod tail;

pub use assignment::{Assignment, IsrRequest};
pub use epochs::EpochTable;
pub use interface::{
    Batch, Effect, Finding, FollowerStatus, Input, Now, RecoveredLog, Round, Status, Timing,
};
pub use message::{Message, Push};
pub use replica::Replica;
