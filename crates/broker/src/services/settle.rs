//! Verdicts: grouped by stream, submitted in order, answered item by item.

use std::collections::HashMap;

use pondage_model::{
    Lease, Offset, Refusal, ShardId, StreamId,
    entry::{Granted, LeaseRange},
    limits,
};
use pondage_node::{
    delivery::{Reply, Request, Settled as Ended, Verdict as Told},
    disk::Disk,
};
use pondage_protocol::{
    settle::{SettleItem, SettleResult, Settled, Tokens, Verdict, settle_items},
    v1,
};

use super::{Place, Services};
use crate::handle::Answer;

/// How a run of messages of one item ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// For the client.
    pub(super) result: SettleResult<Refusal>,
    /// What it was about; `None` for an item that said nothing sensible.
    pub(super) item: Option<SettleItem>,
}

/// Verdicts that were submitted.
pub(super) struct Begun {
    parts: Vec<Part>,
    refused: Vec<(u32, Refusal)>,
    stopping: bool,
}

/// Verdicts of one kind on one stream, in the order of the request.
struct Part {
    items: Vec<(u32, SettleItem)>,
    /// The catalog knows the stream: whoever leads it may have granted these.
    known: bool,
    answer: Result<Answer, Refusal>,
}

/// A part before it is submitted.
struct Group {
    shard: ShardId,
    stream: StreamId,
    verdict: Verdict,
    items: Vec<(u32, SettleItem)>,
}

impl<D: Disk> Services<D> {
    /// Settles, durably.
    pub(super) async fn settle_all(&self, request: v1::SettleRequest) -> Result<v1::SettleResponse, Refusal> {
        let begun = self.begin_settle(settle_items(request.items)?).await?;
        let results = begun.end().await.into_iter().map(|outcome| {
            if let Err(refusal) = &outcome.result.result {
                self.metrics().refused(refusal.code());
            }
            outcome.result.into()
        });
        Ok(v1::SettleResponse { results: results.collect() })
    }

    /// Submits verdicts. Those on one stream are decided in the order of the items.
    ///
    /// # Errors
    /// [`Refusal::TooMany`] for more messages than one request may settle; nothing was submitted.
    pub(super) async fn begin_settle(
        &self,
        items: Vec<Result<SettleItem, Refusal>>,
    ) -> Result<Begun, Refusal> {
        let limit = limits::REQUEST_ITEMS_MAX as u64;
        let messages: u64 = items.iter().flatten().map(|item| u64::from(item.tokens.leases.count)).sum();
        if messages > limit {
            return Err(Refusal::TooMany { what: "messages in one settle request", count: messages, limit });
        }
        let (groups, refused) = group(items);
        let mut parts = Vec::with_capacity(groups.len());
        for Group { shard, stream, verdict, items } in groups {
            let verdict = self.told(stream, verdict);
            let known = self.handle().lender(stream).is_some_and(|(lives_in, _)| lives_in == shard);
            let messages = items.iter().flat_map(|(_, item)| messages_of(&item.tokens.leases)).collect();
            let answer =
                self.handle().submit(shard, Request::Settle { stream, items: messages, verdict }).await;
            parts.push(Part { items, known, answer });
        }
        Ok(Begun { parts, refused, stopping: self.0.stopping.is_cancelled() })
    }

    fn told(&self, stream: StreamId, verdict: Verdict) -> Told {
        match verdict {
            Verdict::Accept => Told::Accept,
            Verdict::Release { delay_millis } => Told::Release { delay_millis },
            Verdict::Return => Told::Return,
            Verdict::Reject => Told::Reject,
            Verdict::Renew { lease_millis } => {
                // A stream that gives no leases refuses it whatever the time.
                let lender = || self.handle().lender(stream);
                let own = || lender().map_or(limits::LEASE_MILLIS_MIN, |(_, millis)| millis);
                Told::Renew { millis: lease_millis.unwrap_or_else(own) }
            }
        }
    }

    /// Gives messages back that nobody saw: at once deliverable again, and no failed attempt.
    pub(super) async fn give_back(&self, place: Place, epoch: pondage_model::Epoch, runs: &[Granted]) {
        for run in runs {
            let lease = Lease { epoch, attempt: run.attempt };
            let items = messages_of(&LeaseRange { first: run.first, count: run.count, lease }).collect();
            let request = Request::Settle { stream: place.stream, items, verdict: Told::Return };
            if let Err(refusal) = self.handle().deliver(place.shard, request).await {
                // They come back by their deadline.
                tracing::debug!(stream = place.stream.get(), %refusal, "returning unseen messages");
            }
        }
    }
}

fn messages_of(leases: &LeaseRange) -> impl Iterator<Item = (Offset, Lease)> + use<> {
    let LeaseRange { first, count, lease } = *leases;
    (0..u64::from(count)).map(move |index| (first.plus(index), lease))
}

/// Puts verdicts of one kind on one stream together, as long as no other kind of that stream comes between.
fn group(items: Vec<Result<SettleItem, Refusal>>) -> (Vec<Group>, Vec<(u32, Refusal)>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut refused = Vec::new();
    let mut last: HashMap<(ShardId, StreamId), usize> = HashMap::new();
    for (index, item) in (0..).zip(items) {
        let item = match item {
            Ok(item) => item,
            Err(refusal) => {
                refused.push((index, refusal));
                continue;
            }
        };
        let Tokens { shard, stream, .. } = item.tokens;
        let known = last.get(&(shard, stream)).and_then(|at| groups.get_mut(*at));
        match known.filter(|group| group.verdict == item.verdict) {
            Some(group) => group.items.push((index, item)),
            None => {
                last.insert((shard, stream), groups.len());
                groups.push(Group { shard, stream, verdict: item.verdict, items: vec![(index, item)] });
            }
        }
    }
    (groups, refused)
}

impl Begun {
    /// Waits for the outcomes: ascending by item, then by offset.
    pub(super) async fn end(self) -> Vec<Outcome> {
        let whole =
            |item: u32, refusal| SettleResult { item, first: Offset::ZERO, count: 0, result: Err(refusal) };
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (item, refusal) in self.refused {
            outcomes.push(Outcome { result: whole(item, refusal), item: None });
        }
        for Part { items, known, answer } in self.parts {
            let answer = match answer {
                Ok(answer) => answer.get().await,
                Err(refusal) => Err(refusal),
            };
            match answer {
                Ok(Reply::Settled(results)) => {
                    let mut results = results.into_iter();
                    for (index, item) in items {
                        let count = item.tokens.leases.count as usize;
                        let runs = merge(index, item.tokens.leases.first, results.by_ref().take(count));
                        outcomes.extend(runs.map(|result| Outcome { result, item: Some(item) }));
                    }
                }
                answer => {
                    let refusal = foreign(answer.err().unwrap_or(Refusal::Interrupted), known, self.stopping);
                    let refuse =
                        |(index, item)| Outcome { result: whole(index, refusal.clone()), item: Some(item) };
                    outcomes.extend(items.into_iter().map(refuse));
                }
            }
        }
        outcomes.sort_by_key(|outcome| outcome.result.item);
        outcomes
    }
}

/// A stream that the cluster doesn't have never granted anything. One that is led elsewhere may have.
fn foreign(refusal: Refusal, known: bool, stopping: bool) -> Refusal {
    match refusal {
        Refusal::NotLeader { .. } if stopping => Refusal::ShuttingDown,
        Refusal::NotLeader { .. } | Refusal::LedElsewhere { .. } if known => refusal,
        Refusal::NotLeader { .. }
        | Refusal::LedElsewhere { .. }
        | Refusal::NotFound { .. }
        | Refusal::InvalidArgument { .. } => Refusal::ForeignToken,
        other => other,
    }
}

/// The outcomes of an item's messages as runs that ended alike.
fn merge(
    item: u32,
    first: Offset,
    results: impl Iterator<Item = Result<Ended, Refusal>>,
) -> impl Iterator<Item = SettleResult<Refusal>> {
    let mut runs: Vec<SettleResult<Refusal>> = Vec::new();
    for (index, result) in (0..).zip(results) {
        let result = result.map(|ended| Settled { already: ended == Ended::AlreadySettled, deadline: None });
        match runs.last_mut() {
            Some(run) if alike(&run.result, &result) => run.count += 1,
            _ => runs.push(SettleResult { item, first: first.plus(index), count: 1, result }),
        }
    }
    runs.into_iter()
}

fn alike(left: &Result<Settled, Refusal>, right: &Result<Settled, Refusal>) -> bool {
    match (left, right) {
        (Ok(left), Ok(right)) => left == right,
        (Err(left), Err(right)) => left.code() == right.code(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{Attempt, Epoch};

    fn item(stream: u64, first: u64, verdict: Verdict) -> Result<SettleItem, Refusal> {
        let lease = Lease { epoch: Epoch(1), attempt: Attempt(1) };
        let leases = LeaseRange { first: Offset(first), count: 1, lease };
        Ok(SettleItem { tokens: Tokens { shard: ShardId(1), stream: StreamId(stream), leases }, verdict })
    }

    #[test]
    fn groups_keep_the_order_of_each_stream() {
        let (accept, reject) = (Verdict::Accept, Verdict::Reject);
        let items = vec![
            item(1, 10, accept),
            item(2, 20, accept),
            item(1, 11, accept),
            Err(Refusal::ForeignToken),
            item(1, 12, reject),
            item(1, 13, accept),
            item(2, 21, accept),
        ];
        let (groups, refused) = group(items);
        let got: Vec<_> = groups
            .iter()
            .map(|group| {
                let items: Vec<u32> = group.items.iter().map(|(index, _)| *index).collect();
                (group.stream.get(), group.verdict, items)
            })
            .collect();
        let expected = vec![
            (1, accept, vec![0, 2]),
            (2, accept, vec![1, 6]),
            (1, reject, vec![4]),
            (1, accept, vec![5]),
        ];
        assert_eq!(got, expected);
        assert_eq!(refused, [(3, Refusal::ForeignToken)]);
    }

    #[test]
    fn equal_outcomes_become_one_result() {
        let lost = |offset| Err(Refusal::LeaseLost { offset: Offset(offset) });
        let results = vec![Ok(Ended::Done), Ok(Ended::Done), lost(12), lost(13), Ok(Ended::AlreadySettled)];
        let got: Vec<_> = merge(3, Offset(10), results.into_iter())
            .map(|run| (run.item, run.first.0, run.count, run.result.map(|settled| settled.already)))
            .collect();
        let expected = vec![
            (3, 10, 2, Ok(false)),
            (3, 12, 2, Err(Refusal::LeaseLost { offset: Offset(12) })),
            (3, 14, 1, Ok(true)),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn what_is_not_here_never_granted() {
        let not_leader = Refusal::NotLeader { epoch: Epoch(0) };
        let elsewhere = Refusal::LedElsewhere { epoch: Epoch(2), address: "b:1".to_owned() };
        for (refusal, known, stopping, expected) in [
            (not_leader.clone(), false, false, Refusal::ForeignToken),
            (not_leader.clone(), true, false, not_leader.clone()),
            (elsewhere.clone(), true, false, elsewhere.clone()),
            (elsewhere, false, false, Refusal::ForeignToken),
            (not_leader, true, true, Refusal::ShuttingDown),
            (Refusal::NotFound { kind: "stream", name: String::new() }, true, false, Refusal::ForeignToken),
            (Refusal::StorageFull, true, false, Refusal::StorageFull),
        ] {
            assert_eq!(foreign(refusal, known, stopping), expected);
        }
    }
}
