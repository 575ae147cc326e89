//! A set of numbers as maximal runs: ten million neighbours cost as much as one.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use pondage_model::wire::{Malformed, Wire};

/// A set of `u64` kept as disjoint runs that never touch, so equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// First number of a run to the number behind its last.
    runs: BTreeMap<u64, u64>,
    len: u64,
}

impl RangeSet {
    /// Numbers in the set.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The smallest number.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.keys().next().copied()
    }

    /// The number behind the greatest.
    pub(crate) fn end(&self) -> Option<u64> {
        self.runs.values().next_back().copied()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.runs.range(..=number).next_back().is_some_and(|(_, &end)| number < end)
    }

    /// The runs in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs.iter().map(|(&first, &end)| first..end)
    }

    /// The runs inside `within`, clipped to it, in order.
    pub(crate) fn iter_within(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let before = self.runs.range(..within.start).next_back();
        let inside = self.runs.range(within.start..within.end.max(within.start));
        before
            .into_iter()
            .chain(inside)
            .map(move |(&first, &end)| first.max(within.start)..end.min(within.end))
            .filter(|run| !run.is_empty())
    }

    /// The runs inside `within` that are not in the set, in order.
    pub(crate) fn gaps_within(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = within.start;
        self.iter_within(within.clone()).chain(std::iter::once(within.end..within.end)).filter_map(
            move |run| {
                let gap = at..run.start;
                at = run.end;
                (!gap.is_empty()).then_some(gap)
            },
        )
    }

    /// Adds every number of `range`, whether it was there or not.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut first, mut end) = (range.start, range.end);
        if let Some((&before, &before_end)) = self.runs.range(..=first).next_back()
            && before_end >= first
        {
            first = before;
        }
        while let Some((&next, &next_end)) = self.runs.range(first..=end).next() {
            self.runs.remove(&next);
            self.len -= next_end - next;
            end = end.max(next_end);
        }
        self.runs.insert(first, end);
        self.len += end - first;
    }

    /// Takes every number of `range` out, whether it was there or not.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some((&first, &end)) = self.runs.range(..range.start).next_back()
            && end > range.start
        {
            self.runs.insert(first, range.start);
            self.len -= end.min(range.end) - range.start;
            if end > range.end {
                self.runs.insert(range.end, end);
                return;
            }
        }
        while let Some((&first, &end)) = self.runs.range(range.clone()).next() {
            self.runs.remove(&first);
            self.len -= end.min(range.end) - first;
            if end > range.end {
                self.runs.insert(range.end, end);
            }
        }
    }
}

impl Wire for RangeSet {
    fn put(&self, out: &mut Vec<u8>) {
        (self.runs.len() as u64).put(out);
        let mut at = 0;
        for run in self.iter() {
            (run.start - at).put(out);
            (run.end - run.start).put(out);
            at = run.end;
        }
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let mut set = Self::default();
        let mut at = 0u64;
        for (gap, length) in Vec::<(u64, u64)>::take(input)? {
            let first = at.checked_add(gap).ok_or(Malformed("run out of range"))?;
            let end = first.checked_add(length).ok_or(Malformed("run out of range"))?;
            if length == 0 {
                return Err(Malformed("empty run"));
            }
            set.insert(first..end);
            at = end;
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_range_set_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..12), 0..60)) {
            let mut set = RangeSet::default();
            let mut naive = BTreeSet::new();
            for (add, first, count) in steps {
                let range = first..first + count;
                if add {
                    set.insert(range.clone());
                    naive.extend(range);
                } else {
                    set.remove(range.clone());
                    naive.retain(|number| !range.contains(number));
                }
                let flat: Vec<u64> = set.iter().flatten().collect();
                assert_eq!(flat, naive.iter().copied().collect::<Vec<_>>());
                assert_eq!(set.len(), naive.len() as u64);
                assert_eq!(set.first(), naive.first().copied());
                assert_eq!(set.end(), naive.last().map(|last| last + 1));
                let runs: Vec<_> = set.iter().collect();
                assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "runs touch: {runs:?}");
                let inside: Vec<u64> = set.iter_within(10..30).flatten().collect();
                assert_eq!(inside, naive.range(10..30).copied().collect::<Vec<_>>());
                let outside: Vec<u64> = set.gaps_within(10..30).flatten().collect();
                assert_eq!(outside, (10..30).filter(|number| !naive.contains(number)).collect::<Vec<_>>());
                assert!((0..72).all(|number| set.contains(number) == naive.contains(&number)));
            }
            assert_eq!(RangeSet::from_bytes(set.to_bytes()), Ok(set));
        }
    }
}
