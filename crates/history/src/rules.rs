//! The rules, one file each. Every one is a part of the books: what it adds to them, and when it speaks.

mod copies;
mod cursors;
mod dead_letters;
mod due;
mod durability;
mod leases;
mod order;
mod redelivery;
mod sameness;
mod settles;

pub(crate) use cursors::CursorKnown;
pub(crate) use leases::Settle;

/// How much of a span of log time has passed for certain on the recorder's clock, and how much at most: log time is
/// slewed by a tenth at most, and counts in milliseconds.
pub(crate) const SLACK_MICROS: u64 = 20_000;

/// The least that a span of log time lasts.
pub(crate) const fn at_least(log_micros: u64) -> u64 {
    (log_micros - log_micros / 10).saturating_sub(SLACK_MICROS)
}

/// The most that a span of log time lasts.
pub(crate) const fn at_most(log_micros: u64) -> u64 {
    log_micros.saturating_add(log_micros / 10).saturating_add(SLACK_MICROS)
}
