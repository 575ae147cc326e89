//! Offsets that wait for a time, as maximal runs of neighbours with the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use bytes::Bytes;
use pondage_model::{
    LogTime,
    wire::{Malformed, Wire},
};

/// A map from offsets to times, found by either. Messages that were published, granted or released together
/// share one run.
///
/// Runs are maximal, so equal maps are equal values whatever their history. How many offsets are past their
/// time is counted as the clock advances, so it is known without a walk over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// First offset of a run to the offset behind its last, and the time.
    runs: BTreeMap<u64, (u64, LogTime)>,
    by_time: BTreeSet<(LogTime, u64)>,
    len: u64,
    clock: LogTime,
    /// Offsets whose time is not after `clock`.
    passed: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { runs: BTreeMap::new(), by_time: BTreeSet::new(), len: 0, clock: LogTime(i64::MIN), passed: 0 }
    }
}

impl Timeline {
    /// Offsets in the map.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, offset: u64) -> Option<LogTime> {
        let (_, &(end, time)) = self.runs.range(..=offset).next_back()?;
        (offset < end).then_some(time)
    }

    /// The earliest time.
    pub(crate) fn first_time(&self) -> Option<LogTime> {
        self.by_time.first().map(|&(time, _)| time)
    }

    /// The earliest time after `time`.
    pub(crate) fn first_time_after(&self, time: LogTime) -> Option<LogTime> {
        self.by_time.range((time, u64::MAX)..).next().map(|&(time, _)| time)
    }

    /// Whether any offset has exactly this time.
    pub(crate) fn has_time(&self, time: LogTime) -> bool {
        self.by_time.range((time, 0)..=(time, u64::MAX)).next().is_some()
    }

    /// Runs with exactly this time.
    pub(crate) fn at_time(&self, time: LogTime) -> impl Iterator<Item = Range<u64>> + '_ {
        self.by_time.range((time, 0)..=(time, u64::MAX)).map(|&(_, first)| first..self.runs[&first].0)
    }

    /// The smallest offset.
    pub(crate) fn first_offset(&self) -> Option<u64> {
        self.runs.keys().next().copied()
    }

    /// The offset behind the greatest.
    pub(crate) fn end(&self) -> Option<u64> {
        self.runs.values().next_back().map(|&(end, _)| end)
    }

    /// Runs whose time is not after `now`, by time, then offset.
    pub(crate) fn until(&self, now: LogTime) -> impl Iterator<Item = Range<u64>> + '_ {
        self.by_time.range(..=(now, u64::MAX)).map(|&(_, first)| first..self.runs[&first].0)
    }

    /// The first run at or behind `cursor` in the order (time, offset), clipped to it, with its time.
    pub(crate) fn at_or_after(&self, cursor: (LogTime, u64)) -> Option<(Range<u64>, LogTime)> {
        let (time, offset) = cursor;
        if let Some((_, &(end, at))) = self.runs.range(..offset).next_back()
            && end > offset
            && at == time
        {
            return Some((offset..end, time));
        }
        self.by_time.range(cursor..).next().map(|&(time, first)| (first..self.runs[&first].0, time))
    }

    /// Runs in the order of offsets, clipped to `within`.
    pub(crate) fn iter_within(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let before = self.runs.range(..within.start).next_back();
        let inside = self.runs.range(within.start..within.end.max(within.start));
        before
            .into_iter()
            .chain(inside)
            .map(move |(&first, &(end, _))| first.max(within.start)..end.min(within.end))
            .filter(|run| !run.is_empty())
    }

    /// How many offsets have a time that is not after `now`. Cheap for a `now` at or little after the clock.
    pub(crate) fn count_until(&self, now: LogTime) -> u64 {
        let count = |range: &mut dyn Iterator<Item = &(LogTime, u64)>| {
            range.map(|(_, first)| self.runs[first].0 - first).sum()
        };
        if now < self.clock {
            return count(&mut self.by_time.range(..=(now, u64::MAX)));
        }
        let newly: u64 = count(&mut self.by_time.range((self.clock, u64::MAX)..=(now, u64::MAX)));
        self.passed + newly
    }

    /// Moves the clock on; it never goes back.
    pub(crate) fn advance(&mut self, now: LogTime) {
        if now > self.clock {
            self.passed = self.count_until(now);
            self.clock = now;
        }
    }

    /// Adds `range` with one time. The offsets must not be there.
    pub(crate) fn insert(&mut self, range: Range<u64>, time: LogTime) {
        debug_assert!(self.iter_within(range.clone()).next().is_none(), "an offset waits for one time");
        if range.is_empty() {
            return;
        }
        let (mut first, mut end) = (range.start, range.end);
        if let Some((&before, &(before_end, before_time))) = self.runs.range(..first).next_back()
            && before_end == first
            && before_time == time
        {
            self.unlink(before);
            first = before;
        }
        if let Some(&(next_end, next_time)) = self.runs.get(&end)
            && next_time == time
        {
            self.unlink(end);
            end = next_end;
        }
        self.link(first, end, time);
    }

    /// Takes every offset of `range` out, whether it was there or not.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some((&first, &(end, _))) = self.runs.range(..range.start).next_back()
            && end > range.start
        {
            self.cut(first, &range);
        }
        while let Some((&first, _)) = self.runs.range(range.clone()).next() {
            self.cut(first, &range);
        }
    }

    fn cut(&mut self, first: u64, range: &Range<u64>) {
        let (end, time) = self.unlink(first);
        if first < range.start {
            self.link(first, range.start, time);
        }
        if end > range.end {
            self.link(range.end, end, time);
        }
    }

    fn link(&mut self, first: u64, end: u64, time: LogTime) {
        self.runs.insert(first, (end, time));
        self.by_time.insert((time, first));
        self.len += end - first;
        if time <= self.clock {
            self.passed += end - first;
        }
    }

    fn unlink(&mut self, first: u64) -> (u64, LogTime) {
        let (end, time) = self.runs.remove(&first).expect("only runs that were just found are unlinked");
        self.by_time.remove(&(time, first));
        self.len -= end - first;
        if time <= self.clock {
            self.passed -= end - first;
        }
        (end, time)
    }
}

impl Wire for Timeline {
    fn put(&self, out: &mut Vec<u8>) {
        (self.runs.len() as u64).put(out);
        let mut at = 0;
        for (&first, &(end, time)) in &self.runs {
            (first - at).put(out);
            (end - first).put(out);
            time.put(out);
            at = end;
        }
    }

    /// The clock is not part of the encoding: the owner advances it.
    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let mut timeline = Self::default();
        let mut at = 0u64;
        for (gap, (length, time)) in Vec::<(u64, (u64, LogTime))>::take(input)? {
            let first = at.checked_add(gap).ok_or(Malformed("run out of range"))?;
            let end = first.checked_add(length).ok_or(Malformed("run out of range"))?;
            if length == 0 {
                return Err(Malformed("empty run"));
            }
            timeline.insert(first..end, time);
            at = end;
        }
        Ok(timeline)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64, u64, i64),
        Remove(u64, u64),
        Advance(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u64..50, 0u64..9, 0i64..6).prop_map(|(first, count, time)| Step::Set(first, count, time)),
            (0u64..50, 0u64..9).prop_map(|(first, count)| Step::Remove(first, count)),
            (0i64..7).prop_map(Step::Advance),
            Just(Step::Advance(2)),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn a_timeline_is_a_map_found_by_either_side(steps in steps()) {
            let mut timeline = Timeline::default();
            let mut naive = BTreeMap::new();
            let mut clock = LogTime(i64::MIN);
            for step in steps {
                match step {
                    Step::Set(first, count, time) => {
                        timeline.remove(first..first + count);
                        timeline.insert(first..first + count, LogTime(time));
                        naive.extend((first..first + count).map(|offset| (offset, LogTime(time))));
                    }
                    Step::Remove(first, count) => {
                        timeline.remove(first..first + count);
                        naive.retain(|offset, _| !(first..first + count).contains(offset));
                    }
                    Step::Advance(to) => {
                        timeline.advance(LogTime(to));
                        clock = clock.max(LogTime(to));
                    }
                }
                assert!((0..70).all(|offset| timeline.get(offset) == naive.get(&offset).copied()));
                assert_eq!(timeline.len(), naive.len() as u64);
                assert_eq!(timeline.first_time(), naive.values().min().copied());
                assert_eq!(timeline.first_offset(), naive.keys().next().copied());
                for now in -1..8 {
                    let count = naive.values().filter(|time| **time <= LogTime(now)).count() as u64;
                    assert_eq!(timeline.count_until(LogTime(now)), count);
                    let mut until: Vec<u64> = timeline.until(LogTime(now)).flatten().collect();
                    until.sort_unstable();
                    let expected: Vec<u64> = naive.iter().filter(|(_, time)| **time <= LogTime(now)).map(|(offset, _)| *offset).collect();
                    assert_eq!(until, expected);
                    let next = timeline.at_or_after((LogTime(now), 25)).map(|(run, time)| (time, run.start));
                    let expected = naive.iter().map(|(offset, time)| (*time, *offset)).filter(|key| *key >= (LogTime(now), 25)).min();
                    assert_eq!(next, expected);
                }
                // The same map built afresh is the same value.
                let mut fresh = Timeline::default();
                fresh.advance(clock);
                for (offset, time) in &naive {
                    fresh.insert(*offset..*offset + 1, *time);
                }
                assert_eq!(fresh, timeline);
            }
            let mut restored = Timeline::from_bytes(timeline.to_bytes()).expect("encoded here");
            restored.advance(clock);
            assert_eq!(restored, timeline);
        }
    }
}
