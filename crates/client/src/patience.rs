//! How long a message may wait here for someone who takes it, while its lease runs.

use std::time::Duration;

use tokio::time::Instant;

/// The part of a lease that may pass before anyone works on the message.
const PART_OF_LEASE: u32 = 4;

/// A time to wait, at most a part of the lease. Each time that it was not enough it doubles, so that messages which are
/// given back and come again at once cost little.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    first: Duration,
    now: Duration,
    /// None where the broker did not say how long its leases are.
    most: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self::starting(Duration::MAX)
    }
}

impl Patience {
    /// As long as the lease allows, or `first` if that is shorter.
    pub(crate) const fn starting(first: Duration) -> Self {
        Self { first, now: first, most: None }
    }

    /// Takes the time of the leases from now on; zero is unknown.
    pub(crate) fn of_lease(&mut self, lease: Duration) {
        self.most = Some(lease / PART_OF_LEASE).filter(|most| !most.is_zero());
    }

    /// Until when what waits since then may wait.
    pub(crate) fn end(&self, since: Instant) -> Option<Instant> {
        since.checked_add(self.now.min(self.most?))
    }

    /// What waited was given back.
    pub(crate) fn grow(&mut self) {
        self.now = self.now.saturating_mul(2);
    }

    /// Messages are taken again.
    pub(crate) const fn renew(&mut self) {
        self.now = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(patience: &Patience) -> Option<Duration> {
        let since = Instant::now();
        patience.end(since).map(|end| end - since)
    }

    #[test]
    fn it_is_a_quarter_of_the_lease_at_most() {
        let mut patience = Patience::default();
        assert_eq!(waits(&patience), None, "nobody said how long a lease is");
        patience.of_lease(Duration::from_secs(30));
        assert_eq!(waits(&patience), Some(Duration::from_millis(7_500)));
        patience.grow();
        assert_eq!(waits(&patience), Some(Duration::from_millis(7_500)));
        patience.of_lease(Duration::ZERO);
        assert_eq!(waits(&patience), None);
    }

    #[test]
    fn it_grows_while_nothing_is_taken() {
        let mut patience = Patience::starting(Duration::from_secs(1));
        patience.of_lease(Duration::from_secs(30));
        let seen = [(); 5].map(|()| {
            let wait = waits(&patience).expect("known").as_millis();
            patience.grow();
            wait
        });
        assert_eq!(seen, [1_000, 2_000, 4_000, 7_500, 7_500]);
        patience.renew();
        assert_eq!(waits(&patience), Some(Duration::from_secs(1)));
    }
}
