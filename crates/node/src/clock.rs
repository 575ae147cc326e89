//! Log time: what a shard's entries are stamped with.

use pondage_model::LogTime;

/// The machine's two clocks at one moment, read by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes backwards; its zero means nothing.
    pub monotonic_millis: u64,
    /// Milliseconds since the Unix epoch; may jump.
    pub wall_millis: i64,
}

/// A leader's log clock: runs with the monotonic clock, slewed towards the wall clock, never backwards.
///
/// No safety rule reads it. A wall clock that jumps by years moves log time by at most a tenth of the time that
/// really passed.
#[derive(Debug)]
pub struct LogClock {
    last: LogTime,
    monotonic_millis: u64,
}

/// The greatest slew: one part in ten.
const SLEW_DIVISOR: u64 = 10;

impl LogClock {
    /// Starts at the wall clock, but not before the newest time in the log.
    #[must_use]
    pub fn start(now: Now, newest_in_log: LogTime) -> Self {
        Self { last: newest_in_log.max(LogTime(now.wall_millis)), monotonic_millis: now.monotonic_millis }
    }

    /// Nothing is stamped with an earlier time from now on: another leader has been there.
    pub fn not_before(&mut self, newest_in_log: LogTime) {
        self.last = self.last.max(newest_in_log);
    }

    /// The log time now; never less than any it returned before.
    pub fn read(&mut self, now: Now) -> LogTime {
        let elapsed = now.monotonic_millis.saturating_sub(self.monotonic_millis);
        if elapsed < SLEW_DIVISOR {
            return self.last.plus_millis(elapsed);
        }
        let straight = self.last.plus_millis(elapsed);
        let slew = elapsed / SLEW_DIVISOR;
        let fastest = straight.plus_millis(slew);
        let slowest = LogTime(straight.0.saturating_sub_unsigned(slew));
        self.last = LogTime(now.wall_millis).clamp(slowest, fastest);
        self.monotonic_millis = now.monotonic_millis;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_millis: u64, wall_millis: i64) -> Now {
        Now { monotonic_millis, wall_millis }
    }

    #[test]
    fn it_follows_the_wall_clock_when_that_is_sane() {
        let mut clock = LogClock::start(at(0, 1_000), LogTime(0));
        assert_eq!(clock.read(at(500, 1_500)), LogTime(1_500));
        assert_eq!(clock.read(at(1_500, 2_510)), LogTime(2_510));
    }

    #[test]
    fn a_jump_of_ten_years_moves_it_by_a_tenth_of_the_time_that_passed() {
        const TEN_YEARS: i64 = 10 * 365 * 24 * 3_600_000;
        for jump in [TEN_YEARS, -TEN_YEARS] {
            let mut clock = LogClock::start(at(0, 1_000), LogTime(0));
            let read = clock.read(at(1_000, 1_000 + jump));
            assert!((LogTime(1_900)..=LogTime(2_100)).contains(&read), "{read:?}");
        }
    }

    #[test]
    fn it_never_goes_back_even_within_a_few_milliseconds_or_after_a_restart() {
        let mut clock = LogClock::start(at(0, 0), LogTime(50));
        let mut last = LogTime(0);
        for step in 0..2_000 {
            let read = clock.read(at(step, 0));
            assert!(read >= last && read >= LogTime(50), "{read:?} after {last:?}");
            last = read;
        }
    }
}
