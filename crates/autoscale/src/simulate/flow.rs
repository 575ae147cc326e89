//! One partition as a flow: a curve of what came, a curve of what was done, first in, first out.

/// What came and what was done, in messages since the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    arrived: f64,
    settled: f64,
    /// The second in which the oldest message that waits came, and what had come before that second.
    oldest_second: usize,
    before_oldest: f64,
}

/// Less than this many messages is nothing: what is left of sums of fractions.
const NOTHING: f64 = 1e-6;

impl Flow {
    /// `messages` more come.
    pub(super) fn arrive(&mut self, messages: f64) {
        self.arrived += messages;
    }

    /// `messages` more are done, or all there are. Says how many.
    pub(super) fn settle(&mut self, messages: f64) -> f64 {
        let done = messages.clamp(0.0, self.backlog());
        self.settled += done;
        done
    }

    /// Messages that wait.
    pub(super) fn backlog(&self) -> f64 {
        (self.arrived - self.settled).max(0.0)
    }

    /// Messages that ever came, whole ones.
    pub(super) fn appended_count(&self) -> u64 {
        (self.arrived + NOTHING) as u64
    }

    /// Messages that were ever done, whole ones, and never more than came.
    pub(super) fn settled_count(&self) -> u64 {
        ((self.settled + NOTHING) as u64).min(self.appended_count())
    }

    /// How long ago the oldest message that waits came, in milliseconds at `now_millis`; `arrivals` tells what came in
    /// each second so far.
    pub(super) fn oldest_age_millis(&mut self, now_millis: u64, arrivals: impl Fn(usize) -> f64) -> u64 {
        if self.backlog() <= NOTHING {
            return 0;
        }
        let end = (now_millis / 1_000) as usize;
        while self.oldest_second < end {
            let here = arrivals(self.oldest_second);
            if self.before_oldest + here > self.settled + NOTHING {
                break;
            }
            self.before_oldest += here;
            self.oldest_second += 1;
        }
        if self.oldest_second >= end {
            return 0;
        }
        let here = arrivals(self.oldest_second);
        let within =
            if here > 0.0 { ((self.settled - self.before_oldest) / here).clamp(0.0, 1.0) } else { 0.0 };
        let came_millis = ((self.oldest_second as f64 + within) * 1_000.0) as u64;
        now_millis.saturating_sub(came_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_found_on_the_curve() {
        let came = [10.0, 0.0, 20.0, 0.0];
        let arrivals = |second: usize| came[second];
        let mut flow = Flow::default();
        assert_eq!(flow.oldest_age_millis(0, arrivals), 0);
        flow.arrive(10.0);
        assert_eq!(flow.oldest_age_millis(1_000, arrivals), 1_000);
        assert_eq!(flow.settle(5.0), 5.0);
        assert_eq!(flow.oldest_age_millis(2_000, arrivals), 1_500);
        flow.arrive(20.0);
        assert_eq!(flow.settle(10.0), 10.0);
        assert_eq!(flow.oldest_age_millis(3_000, arrivals), 750);
        assert_eq!(flow.settle(99.0), 15.0);
        assert_eq!((flow.oldest_age_millis(4_000, arrivals), flow.backlog()), (0, 0.0));
    }
}
