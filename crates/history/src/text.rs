//! Histories as text: one event a line, made to be read, cut down by hand and replayed.
//!
//! ```text
//! # a comment; empty lines count for nothing
//! AT cCLIENT WORD [#OP] [name=value ...]
//!
//! 0   c0 log stream=7
//! 0   c0 queue stream=8 dead=9 attempts=5 again=1000000
//! 10  c1 publish #1 stream=8 message=a1 session=3.0.17 key=5 delay=2000000 expires=1
//! 900 c1 stored #1 offset=0
//! ```
//!
//! `AT` is in microseconds. Numbers are decimal, only `message` and `key` are hexadecimal. What may be left out stands
//! in brackets; `lease` is epoch.attempt, `session` is producer.epoch.sequence, `source` is stream.offset. Order of the
//! fields does not matter; a field that is unknown, missing or doubled is an error, and so is a line of more than
//! [`LINE_BYTES_MAX`] bytes.
//!
//! | requests | |
//! |---|---|
//! | `publish #` | `stream message [key] [session] [delay] [expires=1]` |
//! | `settle #` | `stream offset lease verdict` = accept, reject, return, release (with `[delay]`), renew (with `lasts`) |
//! | `leave #`, `purge #`, `delete #` | `stream` |
//! | `claim #`, `fetch #` | `stream group` |
//! | `seek #` | `stream group offset` |
//! | `commit #` | `stream group epoch offset` |
//!
//! | answers | |
//! |---|---|
//! | `stored #` | `offset` |
//! | `settled #` | `[already=1] [until]` |
//! | `cursor #` | `epoch offset` |
//! | `done #`, `refused #`, `lease-lost #`, `unknown #` | |
//!
//! | observations | |
//! |---|---|
//! | `log` | `stream` |
//! | `queue` | `stream [dead attempts] [again] [expires=1]` |
//! | `from`, `trimmed` | `stream offset` |
//! | `read` | `stream offset message` |
//! | `end`, `drained`, `leader-lost` | `stream` |
//! | `grant` | `stream offset message lease [decided deadline] [lasts]` |
//! | `dead-letter` | `stream offset message source failures` |
//! | `idle` | `stream since` |
//! | `leap` | |

mod read;
mod write;

pub use read::{Malformed, parse};

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 1_024;
