//! The trigger `rabbitmq`, in its modes `QueueLength` and `MessageRate`.
//!
//! Sources: keda.sh, "RabbitMQ Queue" (scalers/rabbitmq-queue), and the observable behaviour of
//! `pkg/scalers/rabbitmq_scaler.go` of kedacore/keda.

use super::Reading;

/// What the trigger looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RabbitMode {
    /// Messages in the queue, unsettled ones included.
    QueueLength,
    /// Messages published per second.
    MessageRate,
}

/// The trigger's metadata, as far as it decides about replicas.
#[derive(Clone, Copy, Debug)]
pub struct RabbitTrigger {
    /// `mode`.
    pub mode: RabbitMode,
    /// `value`: messages, or messages per second, per replica.
    pub value: f64,
    /// `activationValue`: the queue is active above it.
    pub activation_value: f64,
}

impl RabbitTrigger {
    /// One look at a queue of `messages` into which `published_per_second` go.
    pub fn read(&self, messages: u64, published_per_second: f64) -> Reading {
        let messages = messages as f64;
        let (value, active) = match self.mode {
            RabbitMode::QueueLength => (messages, messages > self.activation_value),
            // A queue that nobody publishes to is active as long as something is left in it.
            RabbitMode::MessageRate => (
                published_per_second,
                published_per_second > self.activation_value || messages > self.activation_value,
            ),
        };
        Reading { value, target: self.value, active }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::per_replica_average;

    /// The page's specification: `value: "100.50"`, "message backlog or publish/sec. target per instance" (2.10), which
    /// the autoscaler takes as an average.
    #[test]
    fn length_and_rate() {
        let length = RabbitTrigger { mode: RabbitMode::QueueLength, value: 100.5, activation_value: 10.5 };
        let rate = RabbitTrigger { mode: RabbitMode::MessageRate, ..length };
        let replicas = |reading: Reading| per_replica_average(1, reading.value, reading.target);
        let rows = [(201, 202.0, 2, 3), (202, 201.0, 3, 2), (0, 350.0, 0, 4)];
        for (messages, published, by_length, by_rate) in rows {
            assert_eq!(replicas(length.read(messages, published)), by_length, "{messages}, {published}/s");
            assert_eq!(replicas(rate.read(messages, published)), by_rate, "{messages}, {published}/s");
        }
    }

    /// The same, `activationValue: "10.5"`: it counts for messages in both modes, and for the rate in one.
    #[test]
    fn activation() {
        let length = RabbitTrigger { mode: RabbitMode::QueueLength, value: 100.0, activation_value: 10.5 };
        let rate = RabbitTrigger { mode: RabbitMode::MessageRate, ..length };
        let rows =
            [(10, 0.0, false, false), (11, 0.0, true, true), (0, 10.6, false, true), (0, 10.5, false, false)];
        for (messages, published, by_length, by_rate) in rows {
            assert_eq!(length.read(messages, published).active, by_length, "{messages}, {published}/s");
            assert_eq!(rate.read(messages, published).active, by_rate, "{messages}, {published}/s");
        }
    }
}
