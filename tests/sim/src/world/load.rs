//! When clients press: bursts of load with quiet stretches between, and around most faults.

use crate::chance::Chance;

/// The current burst, or the next one.
#[derive(Debug)]
pub(super) struct Load {
    from: u64,
    until: u64,
}

const BURST_MICROS: (u64, u64) = (50_000, 500_000);
const QUIET_MICROS: (u64, u64) = (500_000, 9_000_000);

impl Load {
    /// A world begins under load.
    pub(super) const fn new() -> Self {
        Self { from: 0, until: 1_500_000 }
    }

    /// How long to wait for `pause` under load, from now.
    pub(super) fn wait(&mut self, now: u64, pause: u64, chance: &mut Chance) -> u64 {
        while self.until <= now {
            self.from = self.until + chance.between(QUIET_MICROS.0, QUIET_MICROS.1);
            self.until = self.from + chance.between(BURST_MICROS.0, BURST_MICROS.1);
        }
        if now + pause < self.from { self.from - now + pause % 100_000 } else { pause }
    }

    /// Something happens at this moment: mostly under load.
    pub(super) fn surround(&mut self, now: u64, at: u64, chance: &mut Chance) {
        if self.from > now && !chance.once_in(4) {
            self.from = at.saturating_sub(chance.between(10_000, 200_000)).max(now);
            self.until = at + chance.between(20_000, 400_000);
        }
    }
}
