//! The checks that many requests share. A refusal names the field and what it may hold.

use std::{fmt::Display, ops::RangeInclusive};

use pondage_model::{Refusal, Uuid, limits};

/// The field can't hold that.
pub(crate) fn invalid(what: impl Into<String>) -> Refusal {
    Refusal::InvalidArgument { what: what.into() }
}

/// The value, if it is in the range.
pub(crate) fn within<T>(field: &'static str, value: T, range: RangeInclusive<T>) -> Result<T, Refusal>
where
    T: PartialOrd + Display,
{
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(invalid(format!("{field}: {value} is outside {} to {}", range.start(), range.end())))
    }
}

/// The part of a message that must be there.
pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| invalid(format!("{field}: required, and left out or unknown to this version")))
}

/// A list that is not too long.
pub(crate) fn at_most<T>(field: &'static str, items: Vec<T>, most: usize) -> Result<Vec<T>, Refusal> {
    if items.len() <= most {
        Ok(items)
    } else {
        Err(invalid(format!("{field}: {} items, at most {most} are allowed", items.len())))
    }
}

/// A duration that a request asks for, clamped to what is ever useful.
pub(crate) fn clamp_duration(millis: u64) -> u64 {
    millis.min(limits::DURATION_MILLIS_MAX)
}

/// The domain's word for a number of an enumeration.
///
/// `unset` is what the number 0 means; `None` refuses it.
pub(crate) fn choose<W, D>(
    field: &'static str,
    number: i32,
    options: &[(W, D)],
    word: fn(&W) -> &'static str,
    unset: Option<D>,
) -> Result<D, Refusal>
where
    W: Copy + Into<i32>,
    D: Copy,
{
    let found = options.iter().find(|(wire, _)| (*wire).into() == number).map(|(_, domain)| *domain);
    if let Some(domain) = found.or(unset.filter(|_| number == 0)) {
        return Ok(domain);
    }
    let allowed: Vec<&str> = options.iter().map(|(wire, _)| word(wire)).collect();
    Err(invalid(format!("{field}: {number} is unknown; allowed: {}", allowed.join(", "))))
}

/// The number of a domain's word: the way back of [`choose`].
pub(crate) fn number_of<W, D>(domain: D, options: &[(W, D)]) -> i32
where
    W: Copy + Into<i32>,
    D: Copy + PartialEq,
{
    options.iter().find(|(_, option)| *option == domain).map_or(0, |(wire, _)| (*wire).into())
}

/// Reads a UUID as [`Uuid`] prints it.
pub(crate) fn uuid(field: &'static str, text: &str) -> Result<Uuid, Refusal> {
    text.parse().map_err(|_| invalid(format!("{field}: not a UUID")))
}
