//! From a metric's value to replicas.

/// How far from 1 a ratio must be before anything is done (`--horizontal-pod-autoscaler-tolerance`).
pub const TOLERANCE: f64 = 0.1;

/// A metric compared with a target value: ⌈replicas × current ÷ target⌉, and no change within the tolerance.
/// (The page, "Algorithm details".)
///
/// `ready` is the number of ready pods that the ratio is multiplied with. A target without replicas gets ⌈ratio⌉, and
/// no tolerance: that is how it leaves zero where this is allowed.
pub fn usage_ratio(replicas: u32, ready: u32, value: f64, target: f64) -> u32 {
    let ratio = value / target;
    if replicas == 0 {
        return rounded_up(ratio);
    }
    if is_tolerable(ratio) { replicas } else { rounded_up(ratio * f64::from(ready)) }
}

/// An external metric with an `AverageValue` target, as KEDA makes them: ⌈total ÷ target⌉, unless the average over
/// today's `replicas` is within the tolerance of the target.
pub fn per_replica_average(replicas: u32, total: f64, target: f64) -> u32 {
    let ratio = total / (target * f64::from(replicas));
    if is_tolerable(ratio) { replicas } else { rounded_up(total / target) }
}

fn is_tolerable(ratio: f64) -> bool {
    (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio)
}

fn rounded_up(replicas: f64) -> u32 {
    // A float's cast saturates: a metric out of all proportion means as many as the maximum allows.
    replicas.ceil() as u32
}
