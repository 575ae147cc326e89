//! Verdicts and the tokens they are given with.

use pondage_model::{
    Attempt, Epoch, Lease, LogTime, Offset, Refusal, ShardId, StreamId, Token, entry::LeaseRange, limits,
};

use crate::{
    check::{clamp_duration, invalid, required, within},
    failure::Failure,
    v1,
};

/// What a consumer says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Accept,
    /// The attempt failed.
    Release {
        /// Milliseconds to hold it back, at most [`limits::DURATION_MILLIS_MAX`]; `None` takes the queue's backoff.
        delay_millis: Option<u64>,
    },
    /// Not processed; no failed attempt.
    Return,
    /// Can't be processed.
    Reject,
    /// Extend the lease.
    Renew {
        /// Milliseconds from now, [`limits::LEASE_MILLIS_MIN`] to [`limits::DURATION_MILLIS_MAX`]; `None` takes the
        /// queue's time.
        lease_millis: Option<u64>,
    },
}

/// The tokens of consecutive messages: at least one, at most [`limits::CREDIT_MAX`], and no offset overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The shard that granted them.
    pub shard: ShardId,
    /// The queue's stream.
    pub stream: StreamId,
    /// The messages and the lease.
    pub leases: LeaseRange,
}

/// One verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleItem {
    /// On what.
    pub tokens: Tokens,
    /// Which.
    pub verdict: Verdict,
}

/// A verdict that holds, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// It held before: an earlier try got through.
    pub already: bool,
    /// Renew: when the lease ends now, by log time.
    pub deadline: Option<LogTime>,
}

/// How an item, or a run of its messages, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleResult<E = Failure> {
    /// The item's index in the request.
    pub item: u32,
    /// The first message.
    pub first: Offset,
    /// Messages; 0 if the item as a whole was refused.
    pub count: u32,
    /// How.
    pub result: Result<Settled, E>,
}

impl From<Token> for Tokens {
    fn from(token: Token) -> Self {
        Self {
            shard: token.shard,
            stream: token.stream,
            leases: LeaseRange { first: token.offset, count: 1, lease: token.lease },
        }
    }
}

/// Checks the items of a request, each by itself: a bad one is refused alone.
///
/// # Errors
/// [`Refusal::InvalidArgument`] if there are more than [`limits::REQUEST_ITEMS_MAX`].
pub fn settle_items(items: Vec<v1::SettleItem>) -> Result<Vec<Result<SettleItem, Refusal>>, Refusal> {
    let items = crate::check::at_most("items", items, limits::REQUEST_ITEMS_MAX)?;
    Ok(items.into_iter().map(SettleItem::try_from).collect())
}

impl TryFrom<v1::SettleItem> for SettleItem {
    type Error = Refusal;

    fn try_from(item: v1::SettleItem) -> Result<Self, Refusal> {
        let tokens = match required("items.by", item.by)? {
            v1::settle_item::By::Token(bytes) => {
                Token::decode(&bytes).map(Tokens::from).ok_or(Refusal::ForeignToken)?
            }
            v1::settle_item::By::Range(range) => range.try_into()?,
        };
        if tokens.leases.first.0.checked_add(u64::from(tokens.leases.count)).is_none() {
            return Err(Refusal::ForeignToken);
        }
        Ok(Self { tokens, verdict: required("items.verdict", item.verdict)?.try_into()? })
    }
}

impl From<SettleItem> for v1::SettleItem {
    fn from(item: SettleItem) -> Self {
        let Tokens { shard, stream, leases } = item.tokens;
        let by = v1::settle_item::By::Range(v1::TokenRange {
            shard: shard.0,
            stream: stream.0,
            first_offset: leases.first.0,
            count: leases.count,
            epoch: leases.lease.epoch.0,
            attempt: leases.lease.attempt.0,
        });
        Self { by: Some(by), verdict: Some(item.verdict.into()) }
    }
}

impl TryFrom<v1::TokenRange> for Tokens {
    type Error = Refusal;

    fn try_from(range: v1::TokenRange) -> Result<Self, Refusal> {
        let count = within("items.range.count", range.count, 1..=limits::CREDIT_MAX)?;
        Ok(Self {
            shard: ShardId(range.shard),
            stream: StreamId(range.stream),
            leases: LeaseRange {
                first: Offset(range.first_offset),
                count,
                lease: Lease { epoch: Epoch(range.epoch), attempt: Attempt(range.attempt) },
            },
        })
    }
}

/// Milliseconds of a lease that someone asks for, clamped as documented.
#[must_use]
pub fn clamp_lease_millis(millis: u64) -> u64 {
    millis.clamp(limits::LEASE_MILLIS_MIN, limits::DURATION_MILLIS_MAX)
}

impl TryFrom<v1::Verdict> for Verdict {
    type Error = Refusal;

    fn try_from(verdict: v1::Verdict) -> Result<Self, Refusal> {
        use v1::verdict::Verdict as Wire;
        let verdict = verdict
            .verdict
            .ok_or_else(|| invalid("items.verdict: allowed: accept, release, return, reject, renew"))?;
        Ok(match verdict {
            Wire::Accept(_) => Self::Accept,
            Wire::Release(release) => {
                Self::Release { delay_millis: release.delay_millis.map(clamp_duration) }
            }
            Wire::Return(_) => Self::Return,
            Wire::Reject(_) => Self::Reject,
            Wire::Renew(renew) => Self::Renew { lease_millis: renew.lease_millis.map(clamp_lease_millis) },
        })
    }
}

impl From<Verdict> for v1::Verdict {
    fn from(verdict: Verdict) -> Self {
        use v1::verdict::Verdict as Wire;
        let verdict = match verdict {
            Verdict::Accept => Wire::Accept(v1::Accept {}),
            Verdict::Release { delay_millis } => Wire::Release(v1::Release { delay_millis }),
            Verdict::Return => Wire::Return(v1::Return {}),
            Verdict::Reject => Wire::Reject(v1::Reject {}),
            Verdict::Renew { lease_millis } => Wire::Renew(v1::Renew { lease_millis }),
        };
        Self { verdict: Some(verdict) }
    }
}

impl<E: Into<v1::Error>> From<SettleResult<E>> for v1::SettleResult {
    fn from(result: SettleResult<E>) -> Self {
        use v1::settle_result::Result as Wire;
        let wire = match result.result {
            Ok(settled) => {
                let state =
                    if settled.already { v1::SettledState::AlreadySettled } else { v1::SettledState::Ok };
                Wire::Settled(v1::Settled {
                    state: state.into(),
                    deadline_unix_millis: settled.deadline.map(|deadline| deadline.0),
                })
            }
            Err(error) => Wire::Error(error.into()),
        };
        Self { item: result.item, first_offset: result.first.0, count: result.count, result: Some(wire) }
    }
}

impl TryFrom<v1::SettleResult> for SettleResult {
    type Error = Refusal;

    fn try_from(result: v1::SettleResult) -> Result<Self, Refusal> {
        use v1::settle_result::Result as Wire;
        let outcome = match result.result.ok_or(Refusal::Malformed { what: "a settle result without one" })? {
            Wire::Settled(settled) => Ok(Settled {
                already: settled.state == i32::from(v1::SettledState::AlreadySettled),
                deadline: settled.deadline_unix_millis.map(LogTime),
            }),
            Wire::Error(error) => Err(error.into()),
        };
        Ok(Self {
            item: result.item,
            first: Offset(result.first_offset),
            count: result.count,
            result: outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pondage_model::Code;

    fn token() -> Token {
        Token {
            shard: ShardId(3),
            stream: StreamId(9),
            offset: Offset(41),
            lease: Lease { epoch: Epoch(7), attempt: Attempt(2) },
        }
    }

    fn by_token(bytes: &'static [u8]) -> Option<v1::settle_item::By> {
        Some(v1::settle_item::By::Token(Bytes::from_static(bytes)))
    }

    fn by_range(first_offset: u64, count: u32) -> Option<v1::settle_item::By> {
        let range = v1::TokenRange { shard: 3, stream: 9, first_offset, count, epoch: 7, attempt: 2 };
        Some(v1::settle_item::By::Range(range))
    }

    #[test]
    fn a_bad_item_says_why() {
        let accept = || Some(Verdict::Accept.into());
        for (by, verdict, code) in [
            (None, accept(), Code::InvalidArgument),
            (by_range(1, 1), None, Code::InvalidArgument),
            (by_range(1, 1), Some(v1::Verdict { verdict: None }), Code::InvalidArgument),
            (by_range(1, 0), accept(), Code::InvalidArgument),
            (by_range(1, limits::CREDIT_MAX + 1), accept(), Code::InvalidArgument),
            (by_range(u64::MAX, 1), accept(), Code::LeaseLost),
            (by_token(b""), accept(), Code::LeaseLost),
            (by_token(&[1; 32]), accept(), Code::LeaseLost),
            (by_token(&[9; 33]), accept(), Code::LeaseLost),
        ] {
            let item = v1::SettleItem { by, verdict };
            let refusal = SettleItem::try_from(item.clone()).expect_err("refused");
            assert_eq!(refusal.code(), code, "{item:?}");
        }
    }

    #[test]
    fn items_survive_the_wire_and_times_are_clamped() {
        let most = limits::DURATION_MILLIS_MAX;
        for (asked, got) in [
            (Verdict::Accept, Verdict::Accept),
            (Verdict::Return, Verdict::Return),
            (Verdict::Reject, Verdict::Reject),
            (Verdict::Release { delay_millis: None }, Verdict::Release { delay_millis: None }),
            (
                Verdict::Release { delay_millis: Some(u64::MAX) },
                Verdict::Release { delay_millis: Some(most) },
            ),
            (
                Verdict::Renew { lease_millis: Some(0) },
                Verdict::Renew { lease_millis: Some(limits::LEASE_MILLIS_MIN) },
            ),
            (Verdict::Renew { lease_millis: Some(u64::MAX) }, Verdict::Renew { lease_millis: Some(most) }),
        ] {
            let item = SettleItem { tokens: token().into(), verdict: asked };
            let back = SettleItem::try_from(v1::SettleItem::from(item)).expect("valid");
            assert_eq!(back, SettleItem { verdict: got, ..item });
        }
        let item = v1::SettleItem {
            by: Some(v1::settle_item::By::Token(Bytes::copy_from_slice(&token().encode()))),
            verdict: Some(Verdict::Accept.into()),
        };
        assert_eq!(SettleItem::try_from(item).expect("valid").tokens, token().into());
    }

    #[test]
    fn results_survive_the_wire() {
        for result in [
            Ok(Settled { already: false, deadline: Some(LogTime(-5)) }),
            Ok(Settled { already: true, deadline: None }),
            Err(Failure::from(Refusal::LeaseLost { offset: Offset(4) })),
        ] {
            let result = SettleResult { item: 3, first: Offset(4), count: 1, result };
            let back = SettleResult::try_from(v1::SettleResult::from(result.clone()));
            assert_eq!(back, Ok(result));
        }
    }
}
