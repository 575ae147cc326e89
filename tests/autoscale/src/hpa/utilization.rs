//! The HorizontalPodAutoscaler in the simulator, on how busy members are: what most people start with.

use std::collections::BTreeMap;

use pondage_autoscale::Observation;
use pondage_autoscale::simulate::Scaler;

use super::{HorizontalPodAutoscaler, SYNC_PERIOD_MILLIS, Settings, usage_ratio};

/// An autoscaler with a `Resource` metric and a `Utilization` target. Being busy stands for the processor.
///
/// Members that were there for the whole last period report; the others count as the page says ("Algorithm details"):
/// as idle when there is much to do, as being on target when there is little.
#[derive(Clone, Debug)]
pub struct UtilizationScaler {
    autoscaler: HorizontalPodAutoscaler,
    /// The target, as a share of 1.
    target: f64,
    /// What members had been busy ever, in milliseconds, at the last look, by name.
    busy: BTreeMap<String, u64>,
    looked: u64,
}

impl UtilizationScaler {
    /// Between the settings' bounds, aiming at `target` (0 to 1).
    pub fn new(settings: Settings, target: f64) -> Self {
        Self { autoscaler: HorizontalPodAutoscaler::new(settings), target, busy: BTreeMap::new(), looked: 0 }
    }

    /// The replicas that the metric proposes; `None` if no member reports.
    fn proposal(&self, observation: &Observation) -> Option<u32> {
        let period = observation.now_millis.saturating_sub(self.looked);
        let shares: Vec<f64> = observation
            .members
            .iter()
            .filter_map(|member| {
                let before = self.busy.get(&member.name)?;
                Some(member.busy_millis.saturating_sub(*before) as f64 / period.max(1) as f64)
            })
            .collect();
        if shares.is_empty() {
            return None;
        }
        let reporting = shares.len() as u32;
        let usage: f64 = shares.iter().sum();
        let pods = observation.pods.iter().filter(|pod| !pod.terminating).count() as u32;
        let missing = f64::from(pods.saturating_sub(reporting));
        let ratio = usage / f64::from(reporting) / self.target;
        if missing == 0.0 {
            return Some(usage_ratio(observation.replicas, reporting, ratio, 1.0));
        }
        let counted = if ratio > 1.0 { usage } else { usage + missing * self.target };
        let again = counted / (f64::from(reporting) + missing) / self.target;
        if (ratio > 1.0) != (again > 1.0) {
            return Some(observation.replicas);
        }
        Some(usage_ratio(observation.replicas, reporting + missing as u32, again, 1.0))
    }
}

impl Scaler for UtilizationScaler {
    fn period_millis(&self) -> u64 {
        SYNC_PERIOD_MILLIS
    }

    fn tick(&mut self, observation: &Observation) -> Option<u32> {
        let proposal = self.proposal(observation);
        self.busy =
            observation.members.iter().map(|member| (member.name.clone(), member.busy_millis)).collect();
        self.looked = observation.now_millis;
        let replicas = self.autoscaler.sync(observation.now_millis, observation.replicas, &[proposal]);
        (replicas != observation.replicas).then_some(replicas)
    }
}
