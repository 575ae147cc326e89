//! Numaflow's autoscaling of a vertex.
//!
//! Sources: numaflow.numaproj.io, "Autoscaling" (user guide, reference; the parameters and their defaults), and the
//! observable behaviour of `pkg/reconciler/vertex/scaling` of numaproj/numaflow.
//!
//! A source divides the time that its pending messages take at today's rate by the time that they should take. A vertex
//! in the middle looks at its buffer as well: above a usage, it aims at what shall stay available.

mod scaler;

pub use self::scaler::Numaflow;

/// A vertex's `scale`, with the names of the page.
#[derive(Clone, Copy, Debug)]
pub struct ScaleSettings {
    /// `min`; 0 is the default.
    pub min: u32,
    /// `max`; 50 is the default.
    pub max: u32,
    /// `lookbackSeconds`, over which rate and pending messages are averaged.
    pub lookback_seconds: u64,
    /// `scaleUpCooldownSeconds`, since the last change in either direction.
    pub scale_up_cooldown_seconds: u64,
    /// `scaleDownCooldownSeconds`, since the last change in either direction.
    pub scale_down_cooldown_seconds: u64,
    /// `zeroReplicaSleepSeconds`: how long a source sleeps before one replica looks whether there is something.
    pub zero_replica_sleep_seconds: u64,
    /// `targetProcessingSeconds`: within what time the pending messages should be done.
    pub target_processing_seconds: u64,
    /// `replicasPerScaleUp`: the largest step up.
    pub replicas_per_scale_up: u32,
    /// `replicasPerScaleDown`: the largest step down.
    pub replicas_per_scale_down: u32,
}

impl ScaleSettings {
    /// Everything at its default besides the maximum.
    pub fn up_to(max: u32) -> Self {
        Self {
            min: 0,
            max,
            lookback_seconds: 120,
            scale_up_cooldown_seconds: 90,
            scale_down_cooldown_seconds: 90,
            zero_replica_sleep_seconds: 120,
            target_processing_seconds: 20,
            replicas_per_scale_up: 2,
            replicas_per_scale_down: 2,
        }
    }
}

/// What a vertex knows of one of its own partitions; a source has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VertexPartition {
    /// Messages per second that it works off.
    pub rate: f64,
    /// Messages that wait.
    pub pending: u64,
}

/// The buffer in front of a vertex that is not a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buffer {
    /// How many messages a partition of it may hold.
    pub length: u64,
    /// Of these, how many it accepts before it pushes back.
    pub usable: u64,
    /// `targetBufferAvailability`, in messages.
    pub target_available: u64,
}

/// Replicas that a vertex wants, before bounds, steps and cooldowns; with `buffer`, one that is not a source.
///
/// 0 only if nothing is pending and nothing moves.
pub fn desired(
    ready: u32,
    target_processing_seconds: u64,
    buffer: Option<Buffer>,
    partitions: &[VertexPartition],
) -> u32 {
    let still = |partition: &VertexPartition| partition.rate == 0.0 && partition.pending == 0;
    if partitions.iter().all(still) {
        return 0;
    }
    partitions
        .iter()
        // One of the two alone says nothing about how many replicas it would take.
        .filter(|partition| partition.rate > 0.0 && partition.pending > 0)
        .map(|partition| {
            let wanted = match buffer {
                Some(buffer)
                    if partition.pending >= buffer.length.saturating_sub(buffer.target_available) =>
                {
                    by_availability(ready, buffer, partition.pending)
                }
                _ => {
                    let seconds = partition.pending as f64 / partition.rate;
                    (seconds / target_processing_seconds as f64 * f64::from(ready)).round() as u32
                }
            };
            // Never more replicas than messages.
            wanted.max(1).min(u32::try_from(partition.pending).unwrap_or(u32::MAX))
        })
        .fold(1, u32::max)
}

/// What of the buffer is free is what today's replicas contribute; how many contribute the target?
fn by_availability(ready: u32, buffer: Buffer, pending: u64) -> u32 {
    if pending >= buffer.usable {
        return u32::MAX;
    }
    let each = (buffer.usable - pending) as f64 / f64::from(ready);
    (buffer.target_available as f64 / each).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(rates: &[f64], pending: &[u64]) -> Vec<VertexPartition> {
        rates.iter().zip(pending).map(|(&rate, &pending)| VertexPartition { rate, pending }).collect()
    }

    /// `scaling_test.go`, "test src": two ready replicas, 5 seconds.
    #[test]
    fn the_table_of_sources() {
        let rows: [(&[f64], &[u64], u32); 7] = [
            (&[250.0, 500.0, 750.0], &[10_010, 800, 1_200], 16),
            (&[450.0, 500.0, 750.0], &[10_010, 800, 1_200], 9),
            (&[450.0, 20.0, 750.0], &[10_010, 800, 1_200], 16),
            (&[450.0, 20.0, 750.0], &[18_932, 800, 1_200], 17),
            (&[800.0, 200.0, 750.0], &[18_932, 800, 24_988], 13),
            (&[800.0, 210.0, 750.0], &[18_932, 800, 24_988], 13),
            (&[800.0, 21.0, 750.0], &[18_932, 800, 24_988], 15),
        ];
        for (rates, pending, expected) in rows {
            assert_eq!(desired(2, 5, None, &partitions(rates, pending)), expected, "{rates:?} {pending:?}");
        }
    }

    /// The same, "test udf": a buffer of 30,000 of which 24,000 are usable and 27,000 should be free.
    #[test]
    fn the_table_of_vertices_with_a_buffer() {
        let buffer = Buffer { length: 30_000, usable: 24_000, target_available: 27_000 };
        let rows: [(&[f64], &[u64], u32, u32); 10] = [
            (&[250.0, 500.0, 750.0], &[2_789, 800, 1_200], 2, 4),
            (&[250.0, 500.0, 750.0], &[2_999, 800, 1_200], 2, 5),
            (&[250.0, 500.0, 750.0], &[3_001, 800, 1_200], 5, 6),
            (&[250.0, 500.0, 750.0], &[8_001, 800, 1_200], 6, 10),
            (&[250.0, 500.0, 750.0], &[8_001, 3_882, 4_002], 9, 15),
            (&[250.0, 500.0, 750.0], &[6_000, 3_882, 4_002], 9, 14),
            (&[650.0, 570.0, 790.0], &[6_000, 3_882, 4_002], 9, 14),
            (&[650.0, 570.0, 790.0], &[3_100, 3_001, 3_223], 11, 14),
            (&[650.0, 570.0, 790.0], &[2_998, 2_998, 2_998], 13, 14),
            (&[650.0, 570.0, 790.0], &[2_501, 1_283, 2_044], 14, 11),
        ];
        for (rates, pending, ready, expected) in rows {
            assert_eq!(
                desired(ready, 5, Some(buffer), &partitions(rates, pending)),
                expected,
                "{rates:?} {pending:?}"
            );
        }
    }

    /// The page: down to 0 only when nothing is pending and nothing moves; one of both alone asks for one.
    #[test]
    fn nothing_at_all_is_zero() {
        assert_eq!(desired(3, 20, None, &partitions(&[0.0], &[0])), 0);
        assert_eq!(desired(3, 20, None, &partitions(&[10.0], &[0])), 1);
        assert_eq!(desired(3, 20, None, &partitions(&[0.0], &[10])), 1);
        assert_eq!(desired(3, 20, None, &partitions(&[0.001], &[2])), 2);
    }
}
