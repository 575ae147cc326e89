//! The trigger `kafka`.
//!
//! Sources: keda.sh, "Apache Kafka" (scalers/apache-kafka, 2.17 and later), and the observable behaviour of
//! `pkg/scalers/kafka_scaler.go` of kedacore/keda.

use super::Reading;

/// The trigger's metadata, as far as it decides about replicas.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `lagThreshold`: the average lag per replica that the autoscaler aims at. 10 is the default.
    pub lag_threshold: u64,
    /// `activationLagThreshold`: the group is active above this lag. 0 is the default.
    pub activation_lag_threshold: u64,
    /// `allowIdleConsumers`: more replicas than partitions are allowed.
    pub allow_idle_consumers: bool,
    /// `limitToPartitionsWithLag`: no more replicas than partitions with a lag.
    pub limit_to_partitions_with_lag: bool,
    /// `excludePersistentLag`: a partition whose committed offset stands still doesn't count.
    pub exclude_persistent_lag: bool,
    /// `ensureEvenDistributionOfPartitions`: replicas are a divisor of the number of partitions.
    pub ensure_even_distribution: bool,
}

impl KafkaSettings {
    /// Everything at its default besides the threshold.
    pub fn with_lag_threshold(lag_threshold: u64) -> Self {
        Self {
            lag_threshold,
            activation_lag_threshold: 0,
            allow_idle_consumers: false,
            limit_to_partitions_with_lag: false,
            exclude_persistent_lag: false,
            ensure_even_distribution: false,
        }
    }

    /// The same with `ensureEvenDistributionOfPartitions`.
    pub fn evenly(self) -> Self {
        Self { ensure_even_distribution: true, ..self }
    }
}

/// What Kafka says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The group's committed offset.
    pub committed: u64,
    /// The end of the partition.
    pub latest: u64,
}

impl PartitionOffsets {
    fn lag(self) -> u64 {
        self.latest.saturating_sub(self.committed)
    }
}

/// One `kafka` trigger of a scaled object.
#[derive(Clone, Debug)]
pub struct KafkaTrigger {
    settings: KafkaSettings,
    /// The committed offsets of the last look, for `excludePersistentLag`.
    previous: Vec<u64>,
}

impl KafkaTrigger {
    /// A trigger that has not looked yet.
    pub fn new(settings: KafkaSettings) -> Self {
        Self { settings, previous: Vec::new() }
    }

    /// One look: the metric that the autoscaler gets, and whether the group is active.
    pub fn read(&mut self, partitions: &[PartitionOffsets]) -> Reading {
        let counted = self.counted_lags(partitions);
        let lag = counted.iter().sum();
        let in_all: u64 = partitions.iter().map(|partition| partition.lag()).sum();
        let with_lag = counted.iter().filter(|lag| **lag > 0).count() as u64;
        Reading {
            value: self.bounded(lag, partitions.len() as u64, with_lag) as f64,
            target: self.settings.lag_threshold as f64,
            // Persistent lag counts here: what nobody settles must not put the group to sleep.
            active: in_all > self.settings.activation_lag_threshold,
        }
    }

    /// The lag of each partition; 0 if it is persistent and those don't count.
    fn counted_lags(&mut self, partitions: &[PartitionOffsets]) -> Vec<u64> {
        let persistent = |index: usize, partition: &PartitionOffsets| {
            self.settings.exclude_persistent_lag && self.previous.get(index) == Some(&partition.committed)
        };
        let lags = partitions
            .iter()
            .enumerate()
            .map(|(index, partition)| if persistent(index, partition) { 0 } else { partition.lag() })
            .collect();
        self.previous = partitions.iter().map(|partition| partition.committed).collect();
        lags
    }

    /// The lag, bounded so that it asks for no more replicas than can work.
    fn bounded(&self, lag: u64, partitions: u64, with_lag: u64) -> u64 {
        let KafkaSettings {
            lag_threshold,
            allow_idle_consumers,
            limit_to_partitions_with_lag,
            ensure_even_distribution,
            ..
        } = self.settings;
        if allow_idle_consumers && !limit_to_partitions_with_lag && !ensure_even_distribution {
            return lag;
        }
        let lag =
            if ensure_even_distribution { even(lag, partitions, lag_threshold) * lag_threshold } else { lag };
        let most = if limit_to_partitions_with_lag { with_lag } else { partitions };
        // An integer division, as there: a lag of a little more than the bound passes, and the maximum cuts it.
        if lag / lag_threshold > most { most * lag_threshold } else { lag }
    }
}

/// The smallest divisor of `partitions` whose replicas are enough for the lag; all partitions if none is.
fn even(lag: u64, partitions: u64, lag_threshold: u64) -> u64 {
    (1..=partitions)
        .find(|divisor| partitions.is_multiple_of(*divisor) && divisor * lag_threshold >= lag)
        .unwrap_or(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lags(lags: &[u64]) -> Vec<PartitionOffsets> {
        lags.iter().map(|lag| PartitionOffsets { committed: 1_000, latest: 1_000 + lag }).collect()
    }

    fn value(settings: KafkaSettings, partitions: &[u64]) -> f64 {
        KafkaTrigger::new(settings).read(&lags(partitions)).value
    }

    /// The page, first notice: no more replicas than partitions, unless `allowIdleConsumers`.
    #[test]
    fn the_lag_is_bounded_by_the_partitions() {
        let plain = KafkaSettings::with_lag_threshold(10);
        assert_eq!(value(plain.clone(), &[400, 0, 1]), 30.0);
        assert_eq!(value(plain.clone(), &[10, 7, 0]), 17.0);
        // The bound is an integer division: 39 / 10 is not above 3.
        assert_eq!(value(plain.clone(), &[39, 0, 0]), 39.0);
        assert_eq!(value(KafkaSettings { allow_idle_consumers: true, ..plain }, &[400, 0, 1]), 401.0);
    }

    /// `tests/scalers/apache_kafka/apache_kafka_test.go`, limitToPartitionsWithLag: six messages in one partition
    /// are one replica at a threshold of 1, five more in a second one are two.
    #[test]
    fn no_more_replicas_than_partitions_with_lag() {
        let settings = KafkaSettings {
            limit_to_partitions_with_lag: true,
            activation_lag_threshold: 1,
            ..KafkaSettings::with_lag_threshold(1)
        };
        assert_eq!(value(settings.clone(), &[6, 0, 0]), 1.0);
        assert_eq!(value(settings.clone(), &[6, 5, 0]), 2.0);
        // One message is not above the activation threshold of 1, six are.
        let mut trigger = KafkaTrigger::new(settings);
        assert!(!trigger.read(&lags(&[1, 0, 0])).active);
        assert!(trigger.read(&lags(&[6, 0, 0])).active);
    }

    /// The same test, ensureEvenDistributionOfPartitions: of ten partitions and a threshold of 1, a lag of 5 is five
    /// replicas and a lag of 8 is ten; in between, what the page calls a factor of the partition count.
    #[test]
    fn replicas_divide_the_partitions() {
        let settings = KafkaSettings::with_lag_threshold(1).evenly();
        let rows = [(0, 1.0), (1, 1.0), (2, 2.0), (3, 5.0), (5, 5.0), (6, 10.0), (8, 10.0), (500, 10.0)];
        for (lag, expected) in rows {
            let mut partitions = [0; 10];
            partitions[0] = lag;
            assert_eq!(value(settings.clone(), &partitions), expected, "a lag of {lag}");
        }
    }

    /// The same test, excludePersistentLag: messages behind an offset that stands still don't scale, and keep the
    /// group awake.
    #[test]
    fn persistent_lag_keeps_awake_and_does_not_scale() {
        let settings = KafkaSettings { exclude_persistent_lag: true, ..KafkaSettings::with_lag_threshold(1) };
        let mut trigger = KafkaTrigger::new(settings);
        let first = trigger.read(&[PartitionOffsets { committed: 7, latest: 12 }]);
        assert_eq!((first.value, first.active), (1.0, true));
        let stuck = trigger.read(&[PartitionOffsets { committed: 7, latest: 17 }]);
        assert_eq!((stuck.value, stuck.active), (0.0, true));
        let moved = trigger.read(&[PartitionOffsets { committed: 8, latest: 17 }]);
        assert_eq!((moved.value, moved.active), (1.0, true));
    }
}
