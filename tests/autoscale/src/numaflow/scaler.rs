//! Numaflow in the simulator: a source vertex that reads the group's partitions.

use std::collections::VecDeque;

use pondage_autoscale::Observation;
use pondage_autoscale::simulate::Scaler;

use super::{ScaleSettings, VertexPartition, desired};

/// How often the vertex is looked at, in milliseconds. Far below the cooldowns, so it hardly counts.
const PERIOD_MILLIS: u64 = 5_000;

/// One look at the counters.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: u64,
    settled: u64,
    pending: u64,
}

/// A source vertex and what its autoscaler remembers.
#[derive(Clone, Debug)]
pub struct Numaflow {
    settings: ScaleSettings,
    looks: VecDeque<Look>,
    last_scaled: Option<u64>,
}

impl Numaflow {
    /// A vertex that was never scaled.
    pub fn new(settings: ScaleSettings) -> Self {
        Self { settings, looks: VecDeque::new(), last_scaled: None }
    }

    /// Rate and pending messages, averaged over the lookback. A source has one partition: everything it reads.
    fn averages(&mut self, observation: &Observation) -> VertexPartition {
        let now = observation.now_millis;
        let settled = observation.partitions.iter().map(|partition| partition.settled).sum();
        self.looks.push_back(Look { at: now, settled, pending: observation.backlog() });
        let lookback = self.settings.lookback_seconds * 1_000;
        while self.looks.front().is_some_and(|look| now - look.at > lookback) {
            self.looks.pop_front();
        }
        let first = self.looks[0];
        let seconds = (now - first.at) as f64 / 1_000.0;
        let moved = settled.saturating_sub(first.settled) as f64;
        let pending: u64 = self.looks.iter().map(|look| look.pending).sum();
        VertexPartition {
            rate: if seconds > 0.0 { moved / seconds } else { 0.0 },
            pending: pending / self.looks.len() as u64,
        }
    }

    fn wanted(&self, observation: &Observation, seen: VertexPartition, since_scale: u64) -> Option<u32> {
        let ScaleSettings { min, max, .. } = self.settings;
        let current = observation.replicas;
        let ready = ready(observation);
        if current == 0 {
            // A source can't know what waits for it: it sleeps, and then one replica looks.
            return (since_scale >= self.settings.zero_replica_sleep_seconds).then_some(1);
        }
        if ready == 0 {
            return None;
        }
        let seconds = self.settings.target_processing_seconds;
        let desired = desired(ready, seconds, None, &[seen]).clamp(min, max);
        if desired < current && since_scale >= self.settings.scale_down_cooldown_seconds {
            return Some(current - (current - desired).min(self.settings.replicas_per_scale_down));
        }
        if desired > current && since_scale >= self.settings.scale_up_cooldown_seconds {
            return Some(current + (desired - current).min(self.settings.replicas_per_scale_up));
        }
        None
    }
}

fn ready(observation: &Observation) -> u32 {
    let ready = observation.pods.iter().filter(|pod| pod.ready_millis.is_some() && !pod.terminating).count();
    u32::try_from(ready).unwrap_or(u32::MAX)
}

impl Scaler for Numaflow {
    fn period_millis(&self) -> u64 {
        PERIOD_MILLIS
    }

    fn tick(&mut self, observation: &Observation) -> Option<u32> {
        let now = observation.now_millis;
        let seen = self.averages(observation);
        let since_scale = self.last_scaled.map_or(u64::MAX, |at| (now - at) / 1_000);
        let wanted = self.wanted(observation, seen, since_scale)?;
        self.last_scaled = Some(now);
        Some(wanted)
    }
}
