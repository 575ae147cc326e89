//! How messages are delivered under leases: what the specs of queues and of shared groups have in common.

use pondage_model::{
    Name, limits,
    settings::{self, Sharing},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::{Checks, References},
    duration::Duration,
    object::{Kind, Metadata, Reference},
    ratio::Ratio,
};

/// Where a spec names its dead-letter queue.
pub(crate) const DEAD_LETTER_FIELD: &str = "spec.deadLetter.queueRef";

/// Where messages go that failed.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The queue.
    pub queue_ref: Reference,
}

impl DeadLetter {
    /// The queue by its name here, and the field that names it.
    pub(crate) fn reference(&self) -> (Kind, &str, String) {
        (Kind::Queue, self.queue_ref.name.as_str(), DEAD_LETTER_FIELD.to_owned())
    }

    /// To the queue of this name.
    pub(crate) fn to(queue: &Name) -> Self {
        Self { queue_ref: Reference { name: queue.to_string() } }
    }
}

/// How long a failed message waits before its next attempt: `schedule`, or a wait that grows (`initial`, `multiplier`,
/// `max`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// The wait after the first, second, … failure; the last one repeats. Empty: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::BACKOFF_STEPS_MAX))]
    pub schedule: Option<Vec<Duration>>,
    /// The wait after the first failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<Duration>,
    /// Growth per failure; 2 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<Ratio>,
    /// The longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Duration>,
}

/// The fields of a spec that say how messages are delivered under leases.
pub(crate) struct DeliverySpec<'a> {
    pub(crate) ack_timeout: Option<Duration>,
    pub(crate) max_deliveries: Option<i64>,
    pub(crate) backoff: Option<&'a Backoff>,
    pub(crate) dead_letter: Option<&'a DeadLetter>,
}

impl DeliverySpec<'_> {
    /// What they say, with defaults for those that are left out.
    pub(crate) fn settings(
        self,
        checks: &mut Checks,
        metadata: &Metadata,
        references: &References,
    ) -> Sharing {
        let defaults = Sharing::default();
        let max_deliveries = checks
            .number("spec.maxDeliveries", self.max_deliveries, 0..=i64::from(i32::MAX))
            .unwrap_or(defaults.max_deliveries);
        if self.dead_letter.is_some() && max_deliveries == 0 {
            checks.wrong(
                "spec.deadLetter",
                "needs maxDeliveries above 0: with 0 no message ever fails for good",
            );
        }
        let dead_letter = self.dead_letter.and_then(|to| {
            checks.reference(DEAD_LETTER_FIELD, Kind::Queue, metadata, &to.queue_ref, references)
        });
        let ack_timeout_millis = checks
            .duration(
                "spec.ackTimeout",
                self.ack_timeout,
                limits::LEASE_MILLIS_MIN..=limits::DURATION_MILLIS_MAX,
            )
            .unwrap_or(defaults.ack_timeout_millis);
        let backoff = self.backoff.map_or(defaults.backoff, |backoff| backoff.settings(checks));
        Sharing { ack_timeout_millis, max_deliveries, backoff, dead_letter }
    }
}

impl Backoff {
    fn settings(&self, checks: &mut Checks) -> settings::Backoff {
        match &self.schedule {
            Some(steps) => {
                for (field, given) in [
                    ("spec.backoff.initial", self.initial.is_some()),
                    ("spec.backoff.multiplier", self.multiplier.is_some()),
                    ("spec.backoff.max", self.max.is_some()),
                ] {
                    if given {
                        checks.wrong(field, "can't stand beside schedule, which lists every wait");
                    }
                }
                scheduled(checks, steps)
            }
            None => self.growing(checks),
        }
    }

    fn growing(&self, checks: &mut Checks) -> settings::Backoff {
        for (field, given) in
            [("spec.backoff.initial", self.initial.is_some()), ("spec.backoff.max", self.max.is_some())]
        {
            if !given {
                checks.missing(field, "is required, or a schedule");
            }
        }
        let [initial, max] = [self.initial, self.max].map(Option::unwrap_or_default);
        let multiplier = self.multiplier.unwrap_or(Ratio::from_percent(200));
        checks.duration("spec.backoff.initial", self.initial, BACKOFF_ALLOWED);
        checks.duration("spec.backoff.max", self.max, BACKOFF_ALLOWED);
        if self.max.is_some() && max < initial {
            checks.wrong("spec.backoff.max", format!("{max} is less than initial, which is {initial}"));
        }
        if !(100..=100_000).contains(&multiplier.percent()) {
            checks.wrong("spec.backoff.multiplier", format!("{multiplier} is outside of 1 to 1000"));
        }
        settings::Backoff::Exponential {
            initial_millis: initial.millis(),
            multiplier_percent: multiplier.percent(),
            max_millis: max.millis(),
        }
    }
}

const BACKOFF_ALLOWED: std::ops::RangeInclusive<u64> = 0..=limits::DURATION_MILLIS_MAX;

fn scheduled(checks: &mut Checks, steps: &[Duration]) -> settings::Backoff {
    if steps.len() > limits::BACKOFF_STEPS_MAX {
        let (count, max) = (steps.len(), limits::BACKOFF_STEPS_MAX);
        checks.wrong("spec.backoff.schedule", format!("has {count} steps; at most {max} are allowed"));
    }
    let mut step = |(at, step): (usize, &Duration)| {
        checks.duration(&format!("spec.backoff.schedule[{at}]"), Some(*step), BACKOFF_ALLOWED).unwrap_or(0)
    };
    let steps = steps.iter().take(limits::BACKOFF_STEPS_MAX).enumerate().map(&mut step).collect();
    settings::Backoff::Schedule(steps)
}

impl From<&settings::Backoff> for Backoff {
    fn from(backoff: &settings::Backoff) -> Self {
        match backoff {
            settings::Backoff::Schedule(steps) => {
                let steps = steps.iter().copied().map(Duration::from_millis).collect();
                Self { schedule: Some(steps), ..Self::default() }
            }
            settings::Backoff::Exponential { initial_millis, multiplier_percent, max_millis } => Self {
                schedule: None,
                initial: Some(Duration::from_millis(*initial_millis)),
                multiplier: Some(Ratio::from_percent(*multiplier_percent)),
                max: Some(Duration::from_millis(*max_millis)),
            },
        }
    }
}
