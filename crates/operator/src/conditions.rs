//! Conditions: what is said of a resource, one aspect each.

use jiff::Timestamp as Now;
use pondage_resources::{Condition, Timestamp, Truth};

/// One aspect, as it is found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: &'static str,
    pub(crate) status: Truth,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(
        kind: &'static str,
        status: Truth,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    pub(crate) fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(kind, Truth::True, reason, message)
    }

    pub(crate) fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(kind, Truth::False, reason, message)
    }

    pub(crate) fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(kind, Truth::Unknown, reason, message)
    }
}

/// The greatest number of characters of a message.
const MESSAGE_MAX: usize = 2_048;

/// The conditions that say `findings`. Those that said the same before keep the time since when.
pub(crate) fn conditions(
    before: &[Condition],
    findings: &[Finding],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |finding: &Finding| {
        let old = before.iter().find(|condition| condition.kind == finding.kind);
        let since = old.filter(|old| old.status == finding.status).map(|old| old.last_transition_time);
        Condition {
            kind: finding.kind.to_owned(),
            status: finding.status,
            observed_generation: Some(generation),
            last_transition_time: since.unwrap_or(now),
            reason: finding.reason.to_owned(),
            message: finding.message.chars().take(MESSAGE_MAX).collect(),
        }
    };
    findings.iter().map(condition).collect()
}

/// The time as resources write it, in whole seconds: a condition's time tells no more.
pub(crate) fn timestamp(now: Now) -> Timestamp {
    Timestamp::from_unix_millis(now.as_second().saturating_mul(1_000))
}

/// The summary: whether everything that matters is as it should be, else the first that is not.
pub(crate) fn summary(findings: &[Finding], well: &str) -> Finding {
    let bad = findings.iter().find(|finding| finding.status == Truth::False);
    let bad = bad.or_else(|| findings.iter().find(|finding| finding.status == Truth::Unknown));
    match bad {
        Some(bad) => Finding::new("Ready", bad.status, bad.reason, bad.message.clone()),
        None => Finding::yes("Ready", "Ready", well),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        timestamp(Now::from_second(seconds).expect("a time"))
    }

    #[test]
    fn a_condition_that_says_the_same_keeps_its_time() {
        let first = conditions(&[], &[Finding::no("Ready", "Pending", "waits")], 1, at(10));
        assert_eq!((first[0].last_transition_time, first[0].observed_generation), (at(10), Some(1)));
        // Another reason is no transition, another status is.
        let second = conditions(&first, &[Finding::no("Ready", "Refused", "no")], 2, at(20));
        assert_eq!((second[0].last_transition_time, second[0].reason.as_str()), (at(10), "Refused"));
        let third = conditions(&second, &[Finding::yes("Ready", "Ready", "")], 2, at(30));
        assert_eq!((third[0].last_transition_time, third[0].status), (at(30), Truth::True));
    }

    #[test]
    fn the_summary_is_the_first_that_is_wrong_and_wrong_is_worse_than_unknown() {
        let fine = Finding::yes("Accepted", "Accepted", "");
        let vague = Finding::unknown("Programmed", "NoAnswer", "who knows");
        let wrong = Finding::no("ResolvedRefs", "NotFound", "gone");
        let said = |findings: &[Finding]| {
            let Finding { status, reason, .. } = summary(findings, "well");
            (status, reason)
        };
        assert_eq!(said(std::slice::from_ref(&fine)), (Truth::True, "Ready"));
        assert_eq!(said(&[fine.clone(), vague.clone()]), (Truth::Unknown, "NoAnswer"));
        assert_eq!(said(&[vague, wrong, fine]), (Truth::False, "NotFound"));
    }

    #[test]
    fn a_message_is_bounded() {
        let long = Finding::no("Ready", "Refused", "ä".repeat(10_000));
        assert_eq!(conditions(&[], &[long], 1, at(0))[0].message.chars().count(), MESSAGE_MAX);
    }
}
