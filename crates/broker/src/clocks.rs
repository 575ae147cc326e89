//! The clocks of this process.

use std::time::{Duration, Instant};

use pondage_node::Now;

/// Clocks of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    origin: Instant,
}

impl Clocks {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Now {
            monotonic_millis: u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX),
            wall_millis: match wall {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => {
                    i64::try_from(before.duration().as_millis()).map_or(i64::MIN, i64::wrapping_neg)
                }
            },
        }
    }

    pub(crate) fn instant(self, monotonic_millis: u64) -> Instant {
        self.origin + Duration::from_millis(monotonic_millis)
    }
}
