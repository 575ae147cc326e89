//! The checker of client histories: what clients asked, were answered and saw, held against the delivery contract.
//!
//! A history is a sequence of [`Event`]s in the order in which one recorder saw them. Outcomes have three values: done,
//! refused for good, unknown. The [`Checker`] takes one event after the other, keeps what the contract needs to be
//! judged, and ends in a [`Report`]: the first violation of each rule and how many there were. The same history gives
//! the same report.
//!
//! ```text
//!  simulator ─┐                      ┌─ rules::durability    D1
//!  processes ─┼─ Event ─► Checker ───┼─ rules::sameness      L1      one file for each promise,
//!  saved text ┘             │        ├─ ...                          over the books they share
//!                           ▼        └─ rules::due           Q7
//!                        Report
//! ```
//!
//! A history can be written down and read again ([`text`]), so that a bad one can be kept, cut down by hand and made a
//! test. [`Checker::check`] judges such a text.
//!
//! # What holds
//!
//! * **No false alarm.** A rule speaks only if no choice for the unknown outcomes, and no moment of effect between each
//!   request and its answer, explains the history. What only the recorder can know (retention, a lost leader, a leap
//!   of time) it writes down before what follows from it.
//! * **Linear time.** Each event costs O(log n), besides what it ends (a client's leases, a purge, the audit of a
//!   stream, each unsettled message once). Memory is a compact record for each message and what is open.
//! * **Nothing passes in silence.** A history that contradicts itself breaks the rule
//!   [`Recording`](Rule::Recording); a stream that was not audited is named in the report.
//!
//! # Deliberately absent
//!
//! Recorders, files and clocks: they belong to whoever runs clients. Promises about compaction (L4), message ids (P3),
//! transactions (P4), FIFO groups (Q6), limits (Q8) and credit (Q9), which need other observations.

mod books;
mod checker;
mod event;
mod report;
mod rules;
pub mod text;

pub use checker::{Checker, NoHistory};
pub use event::{
    Answer, Client, DeadLetters, Event, Grant, GroupId, KeyId, MessageId, Observation, Op, Publish, Queue,
    Request, Stamp, Term, Verdict, What,
};
pub use report::{Broken, Report, Rule, Totals, Violation};
