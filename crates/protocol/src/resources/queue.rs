//! Settings of a queue.

use pondage_model::{
    Name, Refusal, limits,
    settings::{Backoff, QueueSettings},
};

use super::{
    deletion_policy, deletion_policy_number, placement, placement_number, replicas, unlimited_if_zero,
};
use crate::{
    check::{at_most, invalid, within},
    v1,
};

/// How long leases may last.
pub(super) const ACK_TIMEOUT_MILLIS: std::ops::RangeInclusive<u64> =
    limits::LEASE_MILLIS_MIN..=limits::DURATION_MILLIS_MAX;

/// The steepest backoff: a hundredfold per failure.
const MULTIPLIER_PERCENT_MAX: u32 = 10_000;

impl TryFrom<v1::QueueSpec> for QueueSettings {
    type Error = Refusal;

    fn try_from(spec: v1::QueueSpec) -> Result<Self, Refusal> {
        const LONGEST: u64 = limits::DURATION_MILLIS_MAX;
        let default = Self::default();
        let (replicas, min_in_sync_replicas) = replicas(spec.replicas, spec.min_in_sync_replicas)?;
        let ack_timeout = spec.ack_timeout_millis.unwrap_or(default.ack_timeout_millis);
        let ttl = spec.message_ttl_millis.unwrap_or(0);
        let delay = spec.delivery_delay_millis.unwrap_or(default.delivery_delay_millis);
        // A default that is longer than the longest allowed one would refuse every plain publish.
        let delay_max =
            spec.delivery_delay_millis_max.unwrap_or(default.delivery_delay_millis_max.max(delay));
        let in_flight = spec.in_flight_per_consumer_max.unwrap_or(default.in_flight_per_consumer_max);
        let message_bytes_max = spec.message_bytes_max.unwrap_or(default.message_bytes_max);
        within("delivery_delay_millis_max", delay_max, 0..=LONGEST)?;
        Ok(Self {
            replicas,
            min_in_sync_replicas,
            ack_timeout_millis: within("ack_timeout_millis", ack_timeout, ACK_TIMEOUT_MILLIS)?,
            max_deliveries: spec.max_deliveries.unwrap_or(default.max_deliveries),
            backoff: spec.backoff.map(Backoff::try_from).transpose()?.unwrap_or_default(),
            dead_letter: spec.dead_letter.as_deref().map(Name::new).transpose()?,
            message_ttl_millis: unlimited_if_zero(Some(within("message_ttl_millis", ttl, 0..=LONGEST)?)),
            delivery_delay_millis: within("delivery_delay_millis", delay, 0..=delay_max)?,
            delivery_delay_millis_max: delay_max,
            in_flight_per_consumer_max: within(
                "in_flight_per_consumer_max",
                in_flight,
                1..=limits::CREDIT_MAX,
            )?,
            message_bytes_max: within("message_bytes_max", message_bytes_max, 1..=limits::MESSAGE_BYTES_MAX)?,
            placement: placement(spec.placement)?,
            deletion_policy: deletion_policy(spec.deletion_policy)?,
        })
    }
}

impl From<QueueSettings> for v1::QueueSpec {
    fn from(settings: QueueSettings) -> Self {
        Self {
            replicas: settings.replicas,
            min_in_sync_replicas: settings.min_in_sync_replicas,
            ack_timeout_millis: Some(settings.ack_timeout_millis),
            max_deliveries: Some(settings.max_deliveries),
            backoff: Some(settings.backoff.into()),
            dead_letter: settings.dead_letter.map(|name| name.to_string()),
            message_ttl_millis: settings.message_ttl_millis,
            delivery_delay_millis: Some(settings.delivery_delay_millis),
            delivery_delay_millis_max: Some(settings.delivery_delay_millis_max),
            in_flight_per_consumer_max: Some(settings.in_flight_per_consumer_max),
            message_bytes_max: Some(settings.message_bytes_max),
            placement: placement_number(settings.placement),
            deletion_policy: deletion_policy_number(settings.deletion_policy),
        }
    }
}

impl TryFrom<v1::Backoff> for Backoff {
    type Error = Refusal;

    fn try_from(backoff: v1::Backoff) -> Result<Self, Refusal> {
        const LONGEST: u64 = limits::DURATION_MILLIS_MAX;
        let backoff = backoff.backoff.ok_or_else(|| invalid("backoff: allowed: schedule, exponential"))?;
        Ok(match backoff {
            v1::backoff::Backoff::Schedule(schedule) => {
                let field = "backoff.schedule.steps_millis";
                let steps = at_most(field, schedule.steps_millis, limits::BACKOFF_STEPS_MAX)?;
                for step in &steps {
                    within(field, *step, 0..=LONGEST)?;
                }
                Self::Schedule(steps)
            }
            v1::backoff::Backoff::Exponential(exponential) => {
                let max_millis =
                    within("backoff.exponential.max_millis", exponential.max_millis, 0..=LONGEST)?;
                Self::Exponential {
                    initial_millis: within(
                        "backoff.exponential.initial_millis",
                        exponential.initial_millis,
                        0..=max_millis,
                    )?,
                    multiplier_percent: within(
                        "backoff.exponential.multiplier_percent",
                        exponential.multiplier_percent,
                        100..=MULTIPLIER_PERCENT_MAX,
                    )?,
                    max_millis,
                }
            }
        })
    }
}

impl From<Backoff> for v1::Backoff {
    fn from(backoff: Backoff) -> Self {
        let backoff = match backoff {
            Backoff::Schedule(steps_millis) => {
                v1::backoff::Backoff::Schedule(v1::BackoffSchedule { steps_millis })
            }
            Backoff::Exponential { initial_millis, multiplier_percent, max_millis } => {
                v1::backoff::Backoff::Exponential(v1::BackoffExponential {
                    initial_millis,
                    multiplier_percent,
                    max_millis,
                })
            }
        };
        Self { backoff: Some(backoff) }
    }
}
