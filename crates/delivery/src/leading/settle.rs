//! Ending and extending leases.

use std::collections::BTreeMap;

use pondage_model::{
    Lease, LogTime, Offset, Refusal, StreamId,
    entry::ReleaseCause,
    limits,
    planted::{self, Fault},
};

use super::{
    Decision, Leading, Reply, Settled, Verdict,
    outcomes::{Outcomes, after},
    work::Work,
};
use crate::fold::{Ended, Queue};

impl Leading {
    pub(super) fn settle(
        &mut self,
        id: StreamId,
        now: LogTime,
        committed_end: Offset,
        items: &[(Offset, Lease)],
        verdict: Verdict,
    ) -> Decision {
        if items.len() > limits::REQUEST_ITEMS_MAX {
            let (bytes, limit) = (items.len() as u64, limits::REQUEST_ITEMS_MAX as u64);
            let what = format!("{bytes} items in one request; the limit is {limit}");
            return Refusal::InvalidArgument { what }.into();
        }
        if let Verdict::Renew { millis } = verdict {
            return self.renew(id, now, committed_end, items, millis);
        }
        let Some((queue, policy)) = self.queue(id) else {
            // Nobody ever got a lease of a topic's message: the tokens are forged.
            let lost = |(offset, _): &(Offset, Lease)| Err(Refusal::LeaseLost { offset: *offset });
            return Decision::reply(Reply::Settled(items.iter().map(lost).collect()));
        };
        let judge = Judge { queue, epoch: self.epoch, committed_end, now };
        let mut outcomes = Outcomes::new(queue, policy, now);
        let mut ended_here = BTreeMap::new();
        let results = items
            .iter()
            .map(|&(offset, lease)| {
                let any = planted::is(Fault::AcceptOvertakenToken);
                let lease = if any { queue.place(offset.0).last_lease() } else { lease };
                if let Some(earlier) = ended_here.get(&offset) {
                    return if *earlier == lease { Ok(Settled::AlreadySettled) } else { lost(offset) };
                }
                if !judge.holds(offset, lease) {
                    return if judge.repeats(offset, lease, verdict) {
                        Ok(Settled::AlreadySettled)
                    } else {
                        lost(offset)
                    };
                }
                ended_here.insert(offset, lease);
                match verdict {
                    Verdict::Accept => outcomes.accept(offset.0, lease),
                    Verdict::Release { delay_millis } => {
                        outcomes.fail(offset.0, lease, ReleaseCause::Released, delay_millis);
                    }
                    Verdict::Return => outcomes.give_back(offset.0, lease),
                    Verdict::Reject => outcomes.reject(offset.0, lease),
                    Verdict::Renew { .. } => {}
                }
                Ok(Settled::Done)
            })
            .collect();
        Decision { drafts: outcomes.into_drafts(id), reply: Reply::Settled(results) }
    }

    /// Extends leases at once; the log learns of it lazily, as of grants.
    fn renew(
        &mut self,
        id: StreamId,
        now: LogTime,
        committed_end: Offset,
        items: &[(Offset, Lease)],
        millis: u64,
    ) -> Decision {
        let deadline = after(now, millis.max(limits::LEASE_MILLIS_MIN));
        let epoch = self.epoch;
        let mut renewed = Vec::new();
        let mut results = Vec::with_capacity(items.len());
        let queue = self.state.stream_mut(id).and_then(|stream| stream.queue_mut());
        let Some((queue, counters)) = queue else {
            results.extend(items.iter().map(|&(offset, _)| lost(offset)));
            return Decision::reply(Reply::Settled(results));
        };
        for &(offset, lease) in items {
            let judge = Judge { queue, epoch, committed_end, now };
            results.push(
                if judge.holds(offset, lease) && queue.lease(offset.0, lease, deadline, counters).is_ok() {
                    renewed.push(offset.0);
                    Ok(Settled::Done)
                } else {
                    lost(offset)
                },
            );
        }
        if let Some(stream) = self.state.stream(id)
            && !renewed.is_empty()
        {
            let work = self.work.entry(id).or_insert_with(|| Work::new(stream));
            for offset in renewed {
                if !work.unlogged_grants.contains(offset) {
                    work.unlogged_renewals.insert(offset..offset + 1);
                }
            }
            // An earlier leader's lease may not have been known.
            self.changes.note(id);
            self.refresh(id);
        }
        Decision::reply(Reply::Settled(results))
    }
}

fn lost(offset: Offset) -> Result<Settled, Refusal> {
    Err(Refusal::LeaseLost { offset })
}

/// Judges tokens.
struct Judge<'a> {
    queue: &'a Queue,
    epoch: pondage_model::Epoch,
    committed_end: Offset,
    now: LogTime,
}

impl Judge<'_> {
    /// Whether the message is under this lease, or nobody else's since an earlier leader gave it without logging
    /// it.
    fn holds(&self, offset: Offset, lease: Lease) -> bool {
        if offset >= self.committed_end {
            return false;
        }
        let place = self.queue.place(offset.0);
        place.is_leased_under(lease)
            || (lease.epoch < self.epoch
                && place.may_have_been_granted(lease)
                && place.ready_at().is_some_and(|ready_at| ready_at <= self.now))
    }

    /// Whether the same verdict under the same lease took effect lately.
    fn repeats(&self, offset: Offset, lease: Lease, verdict: Verdict) -> bool {
        let ended = match verdict {
            Verdict::Accept => Ended::Accepted,
            Verdict::Release { .. } => Ended::Released,
            Verdict::Return => Ended::Returned,
            Verdict::Reject => Ended::Rejected,
            Verdict::Renew { .. } => return false,
        };
        self.queue.ended().contains(ended, lease, offset.0, self.now)
    }
}
