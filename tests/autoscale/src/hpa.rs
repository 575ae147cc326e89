//! The HorizontalPodAutoscaler (`autoscaling/v2`) as a state machine, step by step as its documentation and the
//! behaviour of its controller say, so that the benchmark meets the real thing and not a straw man.
//!
//! Sources: kubernetes.io, *Horizontal Pod Autoscaling* (the page; sections are named where they are used); the
//! observable behaviour of `pkg/controller/podautoscaler` of kubernetes/kubernetes, release 1.34; KEP-853.
//!
//! ```text
//!  metric values ─► calculator ─► proposals ─► the largest ─► stabilization ─► rate of change ─► min and max
//!                   (tolerance)   one failed: no scale-down   (windows)        (policies)
//! ```
//!
//! Metrics are perfect here: never late, never missing, besides those of pods that have just started.

mod behavior;
mod calculator;
mod utilization;

#[cfg(test)]
mod published_tests;

pub use self::behavior::{Behavior, PolicyKind, Rules, ScalingPolicy, SelectPolicy};
pub use self::calculator::{TOLERANCE, per_replica_average, usage_ratio};
pub use self::utilization::UtilizationScaler;

use self::behavior::History;

/// How often the controller looks, in milliseconds (`--horizontal-pod-autoscaler-sync-period`).
pub const SYNC_PERIOD_MILLIS: u64 = 15_000;

/// What the object's specification says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Fewest replicas; 1 is the default, 0 needs a feature gate.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// How fast it may go up and down.
    pub behavior: Behavior,
}

impl Settings {
    /// Between `min_replicas` and `max_replicas`, at the default speed.
    pub fn between(min_replicas: u32, max_replicas: u32) -> Self {
        Self { min_replicas, max_replicas, behavior: Behavior::default() }
    }
}

/// What one metric proposes: replicas, or nothing because it couldn't be read.
pub type Proposal = Option<u32>;

/// One HorizontalPodAutoscaler and what its controller remembers of it.
#[derive(Clone, Debug)]
pub struct HorizontalPodAutoscaler {
    settings: Settings,
    history: History,
}

impl HorizontalPodAutoscaler {
    /// A new object, which remembers nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, history: History::default() }
    }

    /// One sync at `now` (milliseconds): the replicas that the target shall have, given that it has `current`.
    ///
    /// A target of 0 replicas is left alone while the minimum is above 0: the page calls it implicit maintenance
    /// mode. It is what lets KEDA own the step between 0 and 1.
    pub fn sync(&mut self, now: u64, current: u32, proposals: &[Proposal]) -> u32 {
        let Settings { min_replicas, max_replicas, .. } = self.settings;
        self.history.start(now, current);
        if current == 0 && min_replicas != 0 {
            return 0;
        }
        let wanted = if current > max_replicas {
            max_replicas
        } else if current < min_replicas {
            min_replicas
        } else {
            let Some(proposed) = largest(current, proposals) else { return current };
            self.normalize(now, current, proposed)
        };
        self.history.scaled(now, current, wanted, &self.settings.behavior);
        wanted
    }

    fn normalize(&mut self, now: u64, current: u32, proposed: u32) -> u32 {
        let Settings { min_replicas, max_replicas, behavior } = &self.settings;
        let stable = self.history.stabilize(now, current, proposed, behavior);
        match stable.cmp(&current) {
            std::cmp::Ordering::Greater => {
                let limit = self.history.up_limit(now, current, &behavior.up).max(current);
                stable.min(limit.min(*max_replicas))
            }
            std::cmp::Ordering::Less => {
                let limit = self.history.down_limit(now, current, &behavior.down).min(current);
                stable.max(limit.max(*min_replicas))
            }
            std::cmp::Ordering::Equal => stable,
        }
    }
}

/// The largest proposal; `None` if nothing can be said: all metrics failed, or some did and the others want fewer
/// replicas. (The page, "Algorithm details": a failed metric blocks scaling down, not up.)
fn largest(current: u32, proposals: &[Proposal]) -> Option<u32> {
    let largest = proposals.iter().flatten().copied().max()?;
    let one_failed = proposals.iter().any(Option::is_none);
    (!one_failed || largest >= current).then_some(largest)
}
