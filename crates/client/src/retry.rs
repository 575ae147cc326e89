//! How long to wait before the next try.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use crate::Options;

/// Waits that grow from try to try, with jitter, until something succeeds.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Waits {
    pub(crate) const fn new(options: &Options) -> Self {
        Self { first: options.retry_wait, longest: options.retry_wait_max, failures: 0 }
    }

    /// The wait after one more failure: half to all of one that grows by a half. A shard that is handed over has its next
    /// leader after a tenth of a second: doubled waits would miss that moment by as much again.
    pub(crate) fn next(&mut self) -> Duration {
        let grown = self.first.mul_f64(1.5_f64.powi(self.failures.min(24).cast_signed())).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        grown.mul_f64(0.5 + 0.5 * random_fraction())
    }

    /// Something succeeded.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number from 0 to 1, random enough to keep clients from knocking in step: the keys of the standard library's
/// hash maps are drawn anew for each.
fn random_fraction() -> f64 {
    f64::from((RandomState::new().build_hasher().finish() >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let options = Options {
            retry_wait: Duration::from_millis(10),
            retry_wait_max: Duration::from_millis(50),
            ..Options::default()
        };
        let mut waits = Waits::new(&options);
        for full in [10, 15, 22, 33, 50, 50] {
            let (wait, full) = (waits.next(), Duration::from_millis(full));
            assert!(wait >= full / 2 && wait <= full + Duration::from_millis(1), "{wait:?} of {full:?}");
        }
        waits.reset();
        assert!(waits.next() <= Duration::from_millis(10));
    }
}
