//! Leases that a consumer ended lately, so that repeating the winning settle is recognised (guarantee Q2).

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use pondage_model::{
    Lease, LogTime, limits,
    wire::{Malformed, Wire},
    wire_enum,
};

use crate::ranges::RangeSet;

/// Milliseconds of log time that share a bucket.
const BUCKET_MILLIS: i64 = 60_000;

/// The verdict with which a consumer ended a lease. Only the same verdict repeated is a repeat: an accept after
/// a release is a lost lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    Accepted,
    Rejected,
    Released,
    Returned,
}
wire_enum!(Ended { 0 => Accepted, 1 => Rejected, 2 => Released, 3 => Returned });

/// Ended leases by minute of log time. Neighbours with the same lease and verdict share a run, so settling a
/// queue in order costs one run a minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndedLeases {
    buckets: BTreeMap<i64, BTreeMap<(Ended, Lease), RangeSet>>,
}

impl EndedLeases {
    /// Remembers that the leases of `offsets` ended at `time`.
    pub(crate) fn record(&mut self, ended: Ended, lease: Lease, offsets: Range<u64>, time: LogTime) {
        let bucket = self.buckets.entry(time.0.div_euclid(BUCKET_MILLIS)).or_default();
        bucket.entry((ended, lease)).or_default().insert(offsets);
    }

    /// Forgets the minutes that are outside of the window at `now`.
    pub(crate) fn forget(&mut self, now: LogTime) {
        while let Some(oldest) = self.buckets.first_entry() {
            if in_window(*oldest.key(), now) {
                return;
            }
            oldest.remove();
        }
    }

    /// Whether this lease of `offset` ended so within the window before `now` (to the minute, never less).
    pub(crate) fn contains(&self, ended: Ended, lease: Lease, offset: u64, now: LogTime) -> bool {
        self.buckets
            .iter()
            .rev()
            .take_while(|(minute, _)| in_window(**minute, now))
            .any(|(_, bucket)| bucket.get(&(ended, lease)).is_some_and(|offsets| offsets.contains(offset)))
    }
}

fn in_window(minute: i64, now: LogTime) -> bool {
    let end = LogTime(minute.saturating_add(1).saturating_mul(BUCKET_MILLIS));
    now.millis_since(end) < limits::SETTLE_REPEAT_MILLIS
}

impl Wire for EndedLeases {
    fn put(&self, out: &mut Vec<u8>) {
        (self.buckets.len() as u64).put(out);
        for (minute, bucket) in &self.buckets {
            minute.put(out);
            (bucket.len() as u64).put(out);
            for ((ended, lease), offsets) in bucket {
                ended.put(out);
                lease.put(out);
                offsets.put(out);
            }
        }
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let buckets = Vec::<(i64, Vec<((Ended, Lease), RangeSet)>)>::take(input)?;
        let buckets =
            buckets.into_iter().map(|(minute, bucket)| (minute, bucket.into_iter().collect())).collect();
        Ok(Self { buckets })
    }
}

#[cfg(test)]
mod tests {
    use pondage_model::{Attempt, Epoch};

    use super::*;

    #[test]
    fn the_same_verdict_of_the_same_lease_is_known_for_five_minutes() {
        let lease = Lease { epoch: Epoch(2), attempt: Attempt(1) };
        let other = Lease { epoch: Epoch(2), attempt: Attempt(2) };
        let mut ended = EndedLeases::default();
        let at = LogTime(59_999);
        ended.record(Ended::Accepted, lease, 5..8, at);
        ended.record(Ended::Accepted, lease, 8..9, at);
        for (verdict, lease, offset, after, known) in [
            (Ended::Accepted, lease, 5, 0, true),
            (Ended::Accepted, lease, 8, limits::SETTLE_REPEAT_MILLIS, true),
            (Ended::Accepted, lease, 5, limits::SETTLE_REPEAT_MILLIS + 60_000, false),
            (Ended::Accepted, lease, 9, 0, false),
            (Ended::Accepted, other, 5, 0, false),
            (Ended::Rejected, lease, 5, 0, false),
        ] {
            assert_eq!(
                ended.contains(verdict, lease, offset, at.plus_millis(after)),
                known,
                "{offset} {after}"
            );
        }
        assert_eq!(EndedLeases::from_bytes(ended.to_bytes()), Ok(ended.clone()));
        ended.forget(at.plus_millis(limits::SETTLE_REPEAT_MILLIS));
        assert!(!ended.buckets.is_empty());
        ended.forget(at.plus_millis(limits::SETTLE_REPEAT_MILLIS + 60_000));
        assert_eq!(ended, EndedLeases::default());
    }
}
