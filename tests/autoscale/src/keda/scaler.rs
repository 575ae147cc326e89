//! KEDA in the simulator.

use pondage_autoscale::Observation;
use pondage_autoscale::simulate::Scaler;

use super::{KafkaTrigger, Operator, PartitionOffsets, RabbitTrigger, Reading, ScaledObject};
use crate::hpa::SYNC_PERIOD_MILLIS;

/// Over what a publish rate is measured, in milliseconds: what one writes into a query of Prometheus.
const RATE_WINDOW_MILLIS: u64 = 60_000;

/// Figures older than this, in milliseconds, count as a trigger that couldn't be asked.
const STALE_MILLIS: u64 = 30_000;

/// A trigger of a scaled object.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// Lag of a group.
    Kafka(KafkaTrigger),
    /// Messages of a queue, or their rate.
    Rabbit(RabbitTrigger),
}

/// KEDA with its triggers; several count as KEDA counts them: whichever wants most.
#[derive(Clone, Debug)]
pub struct Keda {
    operator: Operator,
    triggers: Vec<Trigger>,
    /// Looks of the last window: when, and how much had been appended ever.
    appended: Vec<(u64, u64)>,
}

impl Keda {
    /// A scaled object and its triggers.
    pub fn new(object: ScaledObject, triggers: Vec<Trigger>) -> Self {
        Self { operator: Operator::new(object), triggers, appended: Vec::new() }
    }

    /// Messages published per second over the window.
    fn published_per_second(&mut self, observation: &Observation) -> f64 {
        let now = observation.now_millis;
        let appended = observation.partitions.iter().map(|partition| partition.appended).sum();
        self.appended.retain(|(at, _)| now - at <= RATE_WINDOW_MILLIS);
        self.appended.push((now, appended));
        let (since, before) = self.appended[0];
        let seconds = (now - since) as f64 / 1_000.0;
        if seconds > 0.0 { appended.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

impl Scaler for Keda {
    fn period_millis(&self) -> u64 {
        SYNC_PERIOD_MILLIS
    }

    fn tick(&mut self, observation: &Observation) -> Option<u32> {
        let rate = self.published_per_second(observation);
        let offsets: Vec<PartitionOffsets> = observation
            .partitions
            .iter()
            .map(|partition| PartitionOffsets {
                committed: partition.settled,
                latest: partition.settled + partition.backlog,
            })
            .collect();
        let known = observation.stale_millis <= STALE_MILLIS;
        let readings: Vec<Option<Reading>> = self
            .triggers
            .iter_mut()
            .map(|trigger| {
                known.then(|| match trigger {
                    Trigger::Kafka(kafka) => kafka.read(&offsets),
                    Trigger::Rabbit(rabbit) => rabbit.read(observation.backlog(), rate),
                })
            })
            .collect();
        let replicas = self.operator.sync(observation.now_millis, observation.replicas, &readings);
        (replicas != observation.replicas).then_some(replicas)
    }
}
