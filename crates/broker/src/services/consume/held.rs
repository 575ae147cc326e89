//! What a consumer holds, so that the credit of every message comes back exactly once.

use std::{collections::BTreeMap, time::Instant};

use pondage_model::{
    Lease, Offset,
    entry::{Granted, LeaseRange},
};

/// Messages that were granted to one consumer and whose credit is not back yet, as disjoint runs by first offset.
#[derive(Debug, Default)]
pub(super) struct Held {
    runs: BTreeMap<u64, Run>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    end: u64,
    lease: Lease,
    /// When its leases are over unless somebody settled or renewed them.
    until: Instant,
}

impl Held {
    /// Notes a grant. Returns the credit of earlier leases of the same messages, which are over by that.
    pub(super) fn granted(&mut self, run: &Granted, lease: Lease, until: Instant) -> u32 {
        let (first, end) = (run.first.0, run.first.0 + u64::from(run.count));
        let freed = self.take(first, end, |_| true);
        self.runs.insert(first, Run { end, lease, until });
        freed
    }

    /// Notes that leases ended. Returns their credit: what is not held under this lease has none.
    pub(super) fn ended(&mut self, first: Offset, count: u32, lease: Lease) -> u32 {
        self.take(first.0, first.0.saturating_add(u64::from(count)), |run| run.lease == lease)
    }

    /// Notes that leases last until then.
    pub(super) fn renewed(&mut self, leases: &LeaseRange, until: Instant) {
        let (first, end) = (leases.first.0, leases.first.0.saturating_add(u64::from(leases.count)));
        self.cut(first);
        self.cut(end);
        for (_, run) in self.runs.range_mut(first..end) {
            if run.lease == leases.lease {
                run.until = until;
            }
        }
    }

    /// Drops what is over by `now`. Returns its credit.
    pub(super) fn overdue(&mut self, now: Instant) -> u32 {
        let mut freed = 0;
        self.runs.retain(|first, run| {
            let over = run.until <= now;
            if over {
                freed += run.end - first;
            }
            !over
        });
        credit(freed)
    }

    fn take(&mut self, first: u64, end: u64, which: impl Fn(&Run) -> bool) -> u32 {
        self.cut(first);
        self.cut(end);
        let firsts: Vec<u64> =
            self.runs.range(first..end).filter(|(_, run)| which(run)).map(|(first, _)| *first).collect();
        let mut freed = 0;
        for first in firsts {
            if let Some(run) = self.runs.remove(&first) {
                freed += run.end - first;
            }
        }
        credit(freed)
    }

    /// Makes `at` a border between runs.
    fn cut(&mut self, at: u64) {
        if let Some((_, run)) = self.runs.range_mut(..at).next_back()
            && run.end > at
        {
            let rest = *run;
            run.end = at;
            self.runs.insert(at, rest);
        }
    }
}

/// What one consumer holds fits 17 bits: its credit is bounded.
fn credit(messages: u64) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use pondage_model::{Attempt, Epoch, LogTime};

    fn lease(attempt: u32) -> Lease {
        Lease { epoch: Epoch(1), attempt: Attempt(attempt) }
    }

    fn granted(first: u64, count: u32) -> Granted {
        Granted { first: Offset(first), count, attempt: Attempt(1), deadline: LogTime(0) }
    }

    #[test]
    fn every_credit_comes_back_once() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut held = Held::default();
        assert_eq!(held.granted(&granted(10, 10), lease(1), after(5)), 0);
        assert_eq!(held.ended(Offset(12), 3, lease(1)), 3);
        assert_eq!(held.ended(Offset(10), 6, lease(1)), 3, "10, 11 and 15 are left of these");
        assert_eq!(held.ended(Offset(10), 6, lease(1)), 0, "and none of them twice");
        assert_eq!(held.ended(Offset(16), 4, lease(2)), 0, "another lease is not this consumer's");
        assert_eq!(held.granted(&granted(18, 4), lease(2), after(9)), 2, "18 and 19 were held before");
        held.renewed(&LeaseRange { first: Offset(16), count: 1, lease: lease(1) }, after(20));
        assert_eq!(held.overdue(after(4)), 0);
        assert_eq!(held.overdue(after(6)), 1, "17; 16 was renewed, 18 to 21 are newer");
        assert_eq!(held.overdue(after(9)), 4);
        assert_eq!(held.ended(Offset(u64::MAX - 1), 3, lease(1)), 0);
        assert_eq!(held.overdue(after(30)), 1);
        assert!(held.runs.is_empty());
    }
}
