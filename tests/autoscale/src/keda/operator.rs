//! KEDA's operator: it owns the step between 0 and the minimum, and a HorizontalPodAutoscaler does the rest.
//!
//! Sources: keda.sh, "Scaling Deployments" (`pollingInterval`, `cooldownPeriod`, `minReplicaCount`), "KEDA concepts";
//! observable behaviour of `pkg/scaling/executor` of kedacore/keda.

use super::Reading;
use crate::hpa::{Behavior, HorizontalPodAutoscaler, Settings, per_replica_average};

/// The scaled object's specification.
#[derive(Clone, Debug)]
pub struct ScaledObject {
    /// `minReplicaCount`; 0 is the default.
    pub min_replicas: u32,
    /// `maxReplicaCount`.
    pub max_replicas: u32,
    /// `pollingInterval`, in milliseconds; 30 s is the default.
    pub polling_interval_millis: u64,
    /// `cooldownPeriod`, in milliseconds; 300 s is the default. It counts for the step to 0 only.
    pub cooldown_millis: u64,
}

impl ScaledObject {
    /// Down to 0 and up to `max_replicas`, everything else at its default.
    pub fn up_to(max_replicas: u32) -> Self {
        Self { min_replicas: 0, max_replicas, polling_interval_millis: 30_000, cooldown_millis: 300_000 }
    }
}

/// The operator and its autoscaler, for one scaled object.
#[derive(Clone, Debug)]
pub struct Operator {
    object: ScaledObject,
    autoscaler: HorizontalPodAutoscaler,
    last_active: Option<u64>,
    next_poll: u64,
}

impl Operator {
    /// A scaled object that was just created: the first poll is at once.
    pub fn new(object: ScaledObject) -> Self {
        let autoscaler = HorizontalPodAutoscaler::new(Settings {
            // The autoscaler never sees 0: KEDA gives it a minimum of 1.
            min_replicas: object.min_replicas.max(1),
            max_replicas: object.max_replicas,
            behavior: Behavior::default(),
        });
        Self { object, autoscaler, last_active: None, next_poll: 0 }
    }

    /// One sync of the autoscaler at `now` (milliseconds), before it a poll of the operator if one is due. `None` among
    /// the readings is a trigger that couldn't be asked.
    ///
    /// The metric is answered live: the autoscaler sees what the poll would see now.
    pub fn sync(&mut self, now: u64, current: u32, readings: &[Option<Reading>]) -> u32 {
        let mut replicas = current;
        if now >= self.next_poll {
            self.next_poll = now + self.object.polling_interval_millis;
            replicas = self.poll(now, replicas, readings);
        }
        let proposals: Vec<Option<u32>> = readings
            .iter()
            .map(|reading| {
                reading.map(|reading| per_replica_average(replicas, reading.value, reading.target))
            })
            .collect();
        self.autoscaler.sync(now, replicas, &proposals)
    }

    fn poll(&mut self, now: u64, replicas: u32, readings: &[Option<Reading>]) -> u32 {
        let active = readings.iter().flatten().any(|reading| reading.active);
        if active {
            self.last_active = Some(now);
            return if replicas == 0 { self.object.min_replicas.max(1) } else { replicas };
        }
        // Who couldn't be asked is not inactive.
        let known = readings.iter().all(Option::is_some);
        let cooled =
            self.last_active.is_none_or(|active| now.saturating_sub(active) > self.object.cooldown_millis);
        if self.object.min_replicas == 0 && known && cooled {
            0
        } else {
            replicas.max(self.object.min_replicas)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: u64 = 15_000;

    fn lag(value: f64) -> [Option<Reading>; 1] {
        [Some(Reading { value, target: 10.0, active: value > 0.0 })]
    }

    /// "Scaling Deployments": the operator makes 1 out of 0, then the autoscaler goes on; at most as fast as it may.
    #[test]
    fn the_operator_wakes_and_the_autoscaler_goes_on() {
        let mut operator = Operator::new(ScaledObject::up_to(24));
        assert_eq!(operator.sync(0, 0, &lag(0.0)), 0);
        // Not before the next poll.
        assert_eq!(operator.sync(SYNC, 0, &lag(240.0)), 0);
        let mut replicas = 0;
        let seen: Vec<u32> = (2..6)
            .map(|step| {
                replicas = operator.sync(step * SYNC, replicas, &lag(240.0));
                replicas
            })
            .collect();
        assert_eq!(seen, [5, 10, 20, 24]);
    }

    /// "Scaling Deployments": `cooldownPeriod` is the time after the last activity until the step to 0, and counts for
    /// this step only: down to 1 it is the autoscaler's window.
    #[test]
    fn the_step_to_zero_waits_for_the_cooldown() {
        let mut operator = Operator::new(ScaledObject::up_to(24));
        let mut replicas = operator.sync(0, 8, &lag(80.0));
        assert_eq!(replicas, 8);
        for step in 1..=20 {
            replicas = operator.sync(step * SYNC, replicas, &lag(0.0));
            assert!(replicas >= 1, "at {step}");
        }
        assert_eq!(replicas, 1, "after 300 s the window is over, and the cooldown not yet");
        assert_eq!(operator.sync(21 * SYNC, replicas, &lag(0.0)), 1);
        assert_eq!(operator.sync(22 * SYNC, replicas, &lag(0.0)), 0, "the first poll later than 300 s");
    }

    /// A trigger that fails neither puts to sleep nor scales down.
    #[test]
    fn a_failed_trigger_keeps_the_replicas() {
        let mut operator = Operator::new(ScaledObject::up_to(24));
        for step in 0..60 {
            assert_eq!(operator.sync(step * SYNC, 7, &[None]), 7);
        }
    }

    /// `minReplicaCount` above 0: the operator keeps it, and there is no step to 0.
    #[test]
    fn a_minimum_is_kept() {
        let mut operator = Operator::new(ScaledObject { min_replicas: 2, ..ScaledObject::up_to(24) });
        assert_eq!(operator.sync(0, 0, &lag(0.0)), 2);
        let mut replicas = 9;
        for step in 1..60 {
            replicas = operator.sync(step * SYNC, replicas, &lag(0.0));
        }
        assert_eq!(replicas, 2);
    }
}
