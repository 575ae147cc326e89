//! Queues, leases, groups, delays and deduplication as deterministic folds over a shard's log, and the leader that
//! decides what is appended to it. No I/O, no clock, no randomness: `now` is an argument everywhere.
//!
//! # Two halves
//!
//! * [`ShardState`] is **the fold**: what the committed entries amount to. Every replica has it, and it is the same
//!   value on all of them, because an entry is an outcome and the fold reads no settings, limits or clock.
//!   [`ShardState::checkpoint`] writes it into the log, so that what lies before can go.
//! * [`Leading`] is **the leader's side**: a second fold over everything appended, committed or not, with what no log
//!   needs to know: consumers and their credit, leases that are not logged yet, timers. It answers a [`Request`]
//!   with a [`Decision`] (entries to append, and a reply that waits until they are committed), gives messages to
//!   consumers ([`Leading::dispatch`]), and says what time does ([`Leading::on_time`]). It dies with the leadership;
//!   the next leader builds its own from the fold.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | fresh | never granted, and free to be |
//! | scheduled | published with a delay: not granted before it is due |
//! | leased | given to a consumer until a deadline, under a lease: (leader's epoch, attempt), which only grows |
//! | waiting | came back from a lease; granted again once it is ready |
//! | held | must go to the dead-letter queue and nobody knows where that is: granted to nobody meanwhile |
//! | parked | outlived its time to live and waits for a dead-letter queue in the same way |
//! | moving | on its way to the dead-letter queue: it counts here, is granted nowhere |
//! | settled | done with: accepted, discarded or moved. It takes no memory |
//! | unlogged | a lease that consumers know and the log does not yet |
//!
//! # The life of a message
//!
//! ```text
//!  publish ──► fresh ─────┐                         ┌─ accept ──► settled
//!     └─ delay ► scheduled┴─ grant ──► leased ──────┼─ reject ──► moving, or discarded ► settled
//!                              ▲                    ├─ release, expiry, lost consumer: failures + 1
//!                              │                    │     ├─ the last attempt, with a dead-letter queue ► moving
//!                              └──── waiting ◄──────┴─────┴─ else, after the backoff; or returned, at once
//!  moving ── the dead-letter queue has it ──► settled        time to live ► moving, or discarded
//! ```
//!
//! # What holds
//!
//! * A message is granted only if it is ready in the committed state **and** in the leader's. So the entry that ended
//!   its last lease is committed, at most one grant of it is unlogged, and after an accept is committed there is no
//!   new grant (guarantees Q1, Q2).
//! * A token settles if its lease is the current one, or if it can only be the one unlogged grant of an earlier leader
//!   and nobody was granted the message since. The winning verdict may be repeated for five minutes of log time; any
//!   other verdict on an ended lease is `LEASE_LOST`.
//! * A new leader keeps logged leases until their deadline; what was unlogged is free at once (Q3).
//! * Dispatch serves whoever holds least first, and never more than its credit and the queue's cap (Q9).
//! * Memory grows with what is in flight, scheduled or came back, and with the holes between: an untouched backlog is
//!   one run of numbers. A time to live costs one run per batch of the backlog besides, because expiry times differ.
//! * Every step costs a logarithm of those sizes, never a walk over the backlog. Exceptions, all rare: a change of a
//!   queue's settings and the start of a leadership walk over the messages that came back; a detach over what the
//!   consumer held; a purge over the runs it ends.
//!
//! # Deliberately absent
//!
//! The bytes of messages (the node reads them from storage), names of brokers, where a dead-letter queue lives (the
//! node asks the catalog), and anything that waits.

mod fold;
mod leading;
mod ranges;
mod timeline;

pub use fold::{
    Counters, Group, GroupStats, Home, HomeCounters, Inconsistent, Kind, MembershipStats, MessageState,
    Owner, Ownership, Queue, ShardState, Stream, StreamStats, SurveyRun, Topic,
};
pub use leading::{
    Changed, ConsumerId, Decision, Dispatch, Draft, Held, Leading, Mark, MemberReport, MembershipReport,
    Notice, Reply, Request, Settled, Verdict,
};
