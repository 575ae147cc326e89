//! When messages were published, known roughly for a few numbers of memory.

use std::collections::VecDeque;

use pondage_model::{LogTime, Offset, wire::Malformed};

/// Samples kept per stream.
const SAMPLES_MAX: usize = 512;

/// Samples left after thinning, so that thinning is rare.
const SAMPLES_AFTER_THINNING: usize = 448;

/// Samples nearer than this to the one before are not taken, in milliseconds.
const SPACING_MILLIS_MIN: u64 = 1_000;

/// Sparse (offset, log time) samples of publishes: the time of any kept message is known to about a second, or
/// to a small share of its age once the backlog spans more than that (2 % over hours, 5 % over years).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ages {
    samples: VecDeque<(Offset, LogTime)>,
}

impl Ages {
    /// Remembers that the message at `offset` came at `time`.
    pub(crate) fn record(&mut self, offset: Offset, time: LogTime) {
        if let Some(&(_, last)) = self.samples.back()
            && time.millis_since(last) < SPACING_MILLIS_MIN
        {
            return;
        }
        self.samples.push_back((offset, time));
        let mut percent = 1;
        while self.samples.len() > SAMPLES_MAX || (percent > 1 && self.samples.len() > SAMPLES_AFTER_THINNING)
        {
            self.thin(time, percent);
            percent = percent.saturating_add(1);
        }
    }

    /// Drops samples whose neighbours are no farther apart than `percent` of their age.
    fn thin(&mut self, now: LogTime, percent: u64) {
        let mut kept: VecDeque<(Offset, LogTime)> = VecDeque::with_capacity(self.samples.len());
        for (index, &sample) in self.samples.iter().enumerate() {
            let droppable = match (kept.back(), self.samples.get(index + 1)) {
                (Some(&(_, before)), Some(&(_, after))) => {
                    let gap = after.millis_since(before).max(1);
                    gap <= now.millis_since(after).saturating_mul(percent) / 100
                }
                _ => false,
            };
            if !droppable {
                kept.push_back(sample);
            }
        }
        self.samples = kept;
    }

    /// Drops what only messages below `offset` need.
    pub(crate) fn forget_below(&mut self, offset: Offset) {
        while self.samples.get(1).is_some_and(|&(next, _)| next <= offset) {
            self.samples.pop_front();
        }
    }

    /// About when the message at `offset` came; never later than it did, unless its samples are gone.
    pub(crate) fn of(&self, offset: Offset) -> Option<LogTime> {
        let behind = self.samples.partition_point(|&(at, _)| at <= offset);
        self.samples.get(behind.saturating_sub(1)).map(|&(_, time)| time)
    }

    pub(crate) fn samples(&self) -> &VecDeque<(Offset, LogTime)> {
        &self.samples
    }

    pub(crate) fn from_samples(samples: VecDeque<(Offset, LogTime)>) -> Result<Self, Malformed> {
        let ascending = samples.iter().zip(samples.iter().skip(1)).all(|(left, right)| left.0 < right.0);
        if ascending && samples.len() <= SAMPLES_MAX {
            Ok(Self { samples })
        } else {
            Err(Malformed("samples"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_known_to_a_second_or_a_small_share_with_bounded_memory() {
        // (milliseconds between messages, messages, share of the age that may be wrong)
        for (step, count, percent) in
            [(10, 10_000, 1), (1_000, 8_000, 2), (60_000, 50_000, 4), (3_600_000, 20_000, 5)]
        {
            let mut ages = Ages::default();
            let time = |offset: u64| LogTime((offset * step) as i64);
            for offset in 0..count {
                ages.record(Offset(offset), time(offset));
                assert!(ages.samples.len() <= SAMPLES_MAX);
            }
            let now = time(count);
            for offset in (0..count).step_by(37) {
                let told = ages.of(Offset(offset)).expect("sampled");
                let (told, real) = (now.millis_since(told), now.millis_since(time(offset)));
                assert!(told >= real, "never younger than it is");
                let wrong = told - real;
                assert!(
                    wrong <= SPACING_MILLIS_MIN.max(step) || wrong * 100 <= real * percent,
                    "step {step}: age {real} told as {told}"
                );
            }
            ages.forget_below(Offset(count - 1));
            assert!(ages.samples.len() <= 2);
        }
    }
}
