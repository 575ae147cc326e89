//! KEDA: triggers that say how much there is, an operator for the step between 0 and 1, and a HorizontalPodAutoscaler
//! for all others.
//!
//! The baseline is better off than KEDA in life: its metrics are exact and never late, the autoscaler syncs at the very
//! moment that 15 seconds are over, and it has the documented default behaviour.

mod kafka;
mod operator;
mod rabbitmq;
mod scaler;

pub use self::kafka::{KafkaSettings, KafkaTrigger, PartitionOffsets};
pub use self::operator::{Operator, ScaledObject};
pub use self::rabbitmq::{RabbitMode, RabbitTrigger};
pub use self::scaler::{Keda, Trigger};

/// What a trigger says: a total, what of it one replica shall have (`AverageValue`), and whether anything is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The total.
    pub value: f64,
    /// The average per replica that is aimed at.
    pub target: f64,
    /// Whether it keeps the group awake.
    pub active: bool,
}
