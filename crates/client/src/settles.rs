//! Verdicts on their way: gathered into ranges, remembered until they are answered, and sent again on a new stream
//! when one is lost, for repeating the winning verdict is fine.

use std::collections::BTreeMap;

use pondage_model::{Offset, Outcome, Refusal, Token, limits};
use pondage_protocol::{
    settle::{SettleItem, SettleResult, Settled, Tokens, Verdict},
    v1,
};

use crate::ClientError;

/// Verdicts, with those who wait for them.
pub(crate) struct Settles<W> {
    waiting: Vec<Group<W>>,
    in_flight: BTreeMap<u64, Vec<Group<W>>>,
    next_request: u64,
}

/// Who waited for a verdict, and how it ended.
pub(crate) type Ended<W> = (W, Result<Settled, ClientError>);

/// The same verdict on consecutive messages; the waiters are in their order.
struct Group<W> {
    item: SettleItem,
    waiters: Vec<Option<W>>,
}

/// Whether the broker, or another one, may take the verdict a little later: it was not done, and nobody took the lease.
fn is_for_now(error: &ClientError) -> bool {
    error.is_of_broker() || error.retriable() && error.outcome() == Outcome::Definite
}

impl<W> Settles<W> {
    pub(crate) const fn new() -> Self {
        Self { waiting: Vec::new(), in_flight: BTreeMap::new(), next_request: 0 }
    }

    /// Takes a verdict.
    pub(crate) fn push(&mut self, token: Token, verdict: Verdict, waiter: W) {
        if let Some(last) = self.waiting.last_mut() {
            let Tokens { shard, stream, leases } = &mut last.item.tokens;
            let follows = leases.first.0.checked_add(u64::from(leases.count)) == Some(token.offset.0);
            let same = (*shard, *stream, leases.lease, last.item.verdict)
                == (token.shard, token.stream, token.lease, verdict);
            if follows && same && leases.count < limits::CREDIT_MAX {
                leases.count += 1;
                last.waiters.push(Some(waiter));
                return;
            }
        }
        let item = SettleItem { tokens: token.into(), verdict };
        self.waiting.push(Group { item, waiters: vec![Some(waiter)] });
    }

    /// Whether there is something to send.
    pub(crate) const fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether every verdict has been answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Everything that waits, as one request.
    pub(crate) fn next_request(&mut self) -> Option<v1::ConsumeSettle> {
        let rest = self.waiting.split_off(self.waiting.len().min(limits::REQUEST_ITEMS_MAX));
        let groups = std::mem::replace(&mut self.waiting, rest);
        if groups.is_empty() {
            return None;
        }
        let request_id = self.next_request;
        self.next_request += 1;
        let items = groups.iter().map(|group| group.item.into()).collect();
        self.in_flight.insert(request_id, groups);
        Some(v1::ConsumeSettle { request_id, items })
    }

    /// The answer to a request: who waited, and how it ended. What was refused for the broker's sake waits again; then
    /// the refusal comes, too, since another stream is needed for it.
    pub(crate) fn answered(&mut self, settled: v1::ConsumeSettled) -> (Vec<Ended<W>>, Option<ClientError>) {
        let mut ended = Vec::new();
        let (mut elsewhere, mut again) = (None, Vec::new());
        let mut groups = self.in_flight.remove(&settled.request_id).unwrap_or_default();
        for result in settled.results {
            let Ok(SettleResult { item, first, count, result }) = SettleResult::try_from(result) else {
                continue;
            };
            let Some(group) = groups.get_mut(item as usize) else { continue };
            let result = result.map_err(ClientError::from);
            if let Some(error) = result.as_ref().err().filter(|error| count == 0 && is_for_now(error)) {
                elsewhere = Some(error.clone());
                again.push(Group { item: group.item, waiters: std::mem::take(&mut group.waiters) });
                continue;
            }
            let end = if count == 0 { None } else { Some(first.0.saturating_add(u64::from(count))) };
            let base = group.item.tokens.leases.first;
            for (index, waiter) in group.waiters.iter_mut().enumerate() {
                let offset = Offset(base.0.saturating_add(index as u64));
                if end.is_none_or(|end| offset >= first && offset.0 < end)
                    && let Some(waiter) = waiter.take()
                {
                    ended.push((waiter, result.clone()));
                }
            }
        }
        // An answer that leaves someone out says nothing about them.
        let left_out = ClientError::from(Refusal::Malformed { what: "a verdict without an answer" });
        let left_out = left_out.with_outcome(Outcome::Unknown);
        let rest = groups.into_iter().flat_map(|group| group.waiters).flatten();
        ended.extend(rest.map(|waiter| (waiter, Err(left_out.clone()))));
        again.append(&mut self.waiting);
        self.waiting = again;
        (ended, elsewhere)
    }

    /// The stream is lost: what was not answered goes first on the next one.
    pub(crate) fn lost(&mut self) {
        let mut again: Vec<Group<W>> = std::mem::take(&mut self.in_flight).into_values().flatten().collect();
        again.append(&mut self.waiting);
        self.waiting = again;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{Attempt, Code, Epoch, Lease, ShardId, StreamId};
    use pondage_protocol::Failure;

    fn token(offset: u64, attempt: u32) -> Token {
        Token {
            shard: ShardId(1),
            stream: StreamId(2),
            offset: Offset(offset),
            lease: Lease { epoch: Epoch(3), attempt: Attempt(attempt) },
        }
    }

    fn counts(request: &v1::ConsumeSettle) -> Vec<u32> {
        let count = |item: &v1::SettleItem| match &item.by {
            Some(v1::settle_item::By::Range(range)) => range.count,
            other => panic!("a range was expected, not {other:?}"),
        };
        request.items.iter().map(count).collect()
    }

    #[test]
    fn neighbours_with_the_same_lease_and_verdict_travel_together() {
        let mut settles = Settles::new();
        let release = Verdict::Release { delay_millis: None };
        for (index, (offset, attempt, verdict)) in [
            (5, 1, Verdict::Accept),
            (6, 1, Verdict::Accept),
            (7, 2, Verdict::Accept),
            (8, 2, release),
            (9, 2, release),
            (11, 2, release),
            (10, 2, release),
        ]
        .into_iter()
        .enumerate()
        {
            settles.push(token(offset, attempt), verdict, index);
        }
        let request = settles.next_request().expect("verdicts wait");
        assert_eq!(counts(&request), [2, 1, 2, 1, 1]);
        assert!(settles.next_request().is_none());
        assert!(!settles.is_idle());
    }

    #[test]
    fn everyone_gets_an_answer_and_their_own() {
        let mut settles = Settles::new();
        for offset in 5..9 {
            settles.push(token(offset, 1), Verdict::Accept, offset);
        }
        settles.push(token(20, 1), Verdict::Reject, 20);
        settles.push(token(30, 1), Verdict::Accept, 30);
        let request_id = settles.next_request().expect("verdicts wait").request_id;
        let settled = Ok(Settled { already: false, deadline: None });
        let lost: Result<Settled, Failure> = Err(Refusal::LeaseLost { offset: Offset(7) }.into());
        let result = |item, first, count, result: &Result<Settled, Failure>| {
            v1::SettleResult::from(SettleResult { item, first: Offset(first), count, result: result.clone() })
        };
        let results = vec![
            result(0, 5, 2, &settled),
            result(0, 7, 1, &lost),
            result(0, 8, 1, &settled),
            result(1, 0, 0, &lost),
            result(9, 5, 1, &settled),
        ];
        let mut ended: Vec<(u64, Option<String>)> = settles
            .answered(v1::ConsumeSettled { request_id, results })
            .0
            .into_iter()
            .map(|(waiter, result)| (waiter, result.err().map(|error| error.code().to_owned())))
            .collect();
        ended.sort();
        let lost = || Some(Code::LeaseLost.as_str().to_owned());
        let left_out = Some(Code::Malformed.as_str().to_owned());
        let expected = [(5, None), (6, None), (7, lost()), (8, None), (20, lost()), (30, left_out)];
        assert_eq!(ended, expected);
        assert!(settles.is_idle());
    }

    #[test]
    fn what_is_refused_for_now_waits_again() {
        for refusal in [Refusal::NotEnoughReplicas { needed: 2, have: 1 }, Refusal::StorageFull] {
            let mut settles = Settles::new();
            settles.push(token(5, 1), Verdict::Accept, ());
            let request_id = settles.next_request().expect("one waits").request_id;
            let result: Result<Settled, Failure> = Err(refusal.into());
            let results = vec![SettleResult { item: 0, first: Offset(0), count: 0, result }.into()];
            let (ended, elsewhere) = settles.answered(v1::ConsumeSettled { request_id, results });
            assert!(ended.is_empty() && elsewhere.is_some_and(|error| error.retriable()));
            assert_eq!(settles.next_request().map(|again| again.items.len()), Some(1), "it is sent again");
        }
    }

    #[test]
    fn a_lost_stream_repeats_what_was_not_answered_and_first() {
        let mut settles = Settles::new();
        settles.push(token(5, 1), Verdict::Accept, ());
        let first = settles.next_request().expect("one waits");
        settles.push(token(9, 1), Verdict::Reject, ());
        settles.lost();
        let again = settles.next_request().expect("both wait");
        assert_ne!(again.request_id, first.request_id);
        assert_eq!(again.items[..1], first.items[..]);
        assert_eq!(again.items.len(), 2);
        // The old stream's answer comes too late to be anyone's.
        let late = v1::ConsumeSettled { request_id: first.request_id, results: Vec::new() };
        assert!(settles.answered(late).0.is_empty());
    }

    #[test]
    fn a_verdict_that_another_broker_must_take_waits_for_it() {
        let mut settles = Settles::new();
        settles.push(token(5, 1), Verdict::Accept, 5);
        settles.push(token(9, 1), Verdict::Accept, 9);
        let first = settles.next_request().expect("both wait");
        settles.push(token(20, 1), Verdict::Accept, 20);
        let refused: Result<Settled, Failure> = Err(Refusal::NotLeader { epoch: Epoch(3) }.into());
        let lost: Result<Settled, Failure> = Err(Refusal::LeaseLost { offset: Offset(9) }.into());
        let result = |item, first, count, result| {
            v1::SettleResult::from(SettleResult { item, first: Offset(first), count, result })
        };
        let results = vec![result(0, 0, 0, refused), result(1, 9, 1, lost)];
        let (ended, elsewhere) =
            settles.answered(v1::ConsumeSettled { request_id: first.request_id, results });
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].0, 9);
        assert!(elsewhere.is_some_and(|error| error.is(Code::NotLeader)));
        settles.lost();
        let again = settles.next_request().expect("two wait");
        assert_eq!(again.items.len(), 2);
        assert_eq!(again.items[..1], first.items[..1]);
    }
}
