//! The real controller as a scaler of the simulator: the same [`decide`] that runs in clusters.

use super::Scaler;
use crate::decide::{Decision, TICK_MILLIS, decide};
use crate::observation::Observation;
use crate::spec::Settings;
use crate::state::{Learned, State};

/// The drain-time controller.
#[derive(Clone, Debug)]
pub struct Controlled {
    settings: Settings,
    state: State,
    last: Option<Decision>,
}

impl Controlled {
    /// A controller that starts with what an earlier one had learned.
    pub fn new(settings: Settings, learned: Learned) -> Self {
        Self { settings, state: State::resume(learned), last: None }
    }

    /// The last decision.
    pub fn last(&self) -> Option<&Decision> {
        self.last.as_ref()
    }

    /// Forgets everything but what survives a restart.
    pub fn restart(&mut self) {
        self.state = State::resume(self.state.learned());
        self.last = None;
    }
}

impl Scaler for Controlled {
    fn period_millis(&self) -> u64 {
        self.last.as_ref().map_or(TICK_MILLIS, |decision| decision.again_millis)
    }

    fn tick(&mut self, observation: &Observation) -> Option<u32> {
        let (decision, state) = decide(&self.settings, std::mem::take(&mut self.state), observation);
        self.state = state;
        let wanted = (decision.replicas != observation.replicas).then_some(decision.replicas);
        self.last = Some(decision);
        wanted
    }

    fn draining(&self) -> Vec<String> {
        self.last.as_ref().map(|decision| decision.draining.clone()).unwrap_or_default()
    }

    fn wakes(&self) -> bool {
        true
    }
}
