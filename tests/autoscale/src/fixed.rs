//! A fixed number of replicas: the floor of violations when it is large, and what everything else must beat.

use pondage_autoscale::Observation;
use pondage_autoscale::simulate::Scaler;

/// Always the same number of replicas.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    /// The number.
    pub replicas: u32,
}

impl Scaler for Fixed {
    fn period_millis(&self) -> u64 {
        60_000
    }

    fn tick(&mut self, observation: &Observation) -> Option<u32> {
        (observation.replicas != self.replicas).then_some(self.replicas)
    }
}
