//! What others published of the HorizontalPodAutoscaler, as tests. Each names its source; facts and figures are taken
//! from there, no code.

use super::*;

const MINUTE: u64 = 60_000;

fn autoscaler(min: u32, max: u32, up: Option<Rules>, down: Option<Rules>) -> HorizontalPodAutoscaler {
    let default = Behavior::default();
    let behavior = Behavior { up: up.unwrap_or(default.up), down: down.unwrap_or(default.down) };
    HorizontalPodAutoscaler::new(Settings { min_replicas: min, max_replicas: max, behavior })
}

fn rules(stabilization_seconds: u64, select: SelectPolicy, policies: &[(PolicyKind, u32, u64)]) -> Rules {
    let policies = policies
        .iter()
        .map(|&(kind, value, period_seconds)| ScalingPolicy { kind, value, period_seconds })
        .collect();
    Rules { stabilization_seconds, policies, select }
}

/// The replicas after each sync, one per element of `proposals` and `every` milliseconds apart, from `start`.
fn run(
    autoscaler: &mut HorizontalPodAutoscaler,
    start: u32,
    every: u64,
    proposals: impl IntoIterator<Item = u32>,
) -> Vec<u32> {
    let mut replicas = start;
    (1..)
        .zip(proposals)
        .map(|(step, proposed)| {
            replicas = autoscaler.sync(step * every, replicas, &[Some(proposed)]);
            replicas
        })
        .collect()
}

/// Horizontal Pod Autoscaling, "Algorithm details": 200m against 100m doubles, 50m halves, close to 1 does nothing.
#[test]
fn a_ratio_multiplies_the_replicas() {
    let rows = [(4, 200.0, 8), (4, 50.0, 2), (4, 109.0, 4), (4, 91.0, 4), (4, 110.0, 4), (4, 112.0, 5)];
    for (replicas, value, expected) in rows {
        assert_eq!(usage_ratio(replicas, replicas, value, 100.0), expected, "{value} against 100");
    }
}

/// Kubernetes blog, "Kubernetes v1.33: HorizontalPodAutoscaler Configurable Tolerance" (2025-04-28): 50 replicas at
/// 90 % of a target of 75 % become 60.
#[test]
fn fifty_replicas_at_ninety_percent_of_seventy_five_become_sixty() {
    assert_eq!(usage_ratio(50, 50, 90.0, 75.0), 60);
}

/// kubernetes/kubernetes, `replica_calculator_test.go`: external metrics per pod, and in all.
#[test]
fn the_tables_of_the_replica_calculator() {
    // ScaleUpPerPodCMExternal: 8,600 at 2,150 each, three replicas.
    assert_eq!(per_replica_average(3, 8_600.0, 2_150.0), 4);
    // ScaleDownPerPodCMObject, the same arithmetic: 6,000 at 2,000 each, five replicas.
    assert_eq!(per_replica_average(5, 6_000.0, 2_000.0), 3);
    // ScaleUpCMExternalIgnoresUnreadyPods: three replicas of which one is ready; 6 if unready ones counted.
    assert_eq!(usage_ratio(3, 1, 8_600.0, 4_400.0), 2);
    // ScaleUpCMExternalNoLabels.
    assert_eq!(usage_ratio(1, 1, 8_600.0, 4_400.0), 2);
}

/// `replica_calculator.go`: the tolerance of an average is against today's replicas, not against the result.
#[test]
fn an_average_within_the_tolerance_changes_nothing() {
    assert_eq!(per_replica_average(10, 109.0, 10.0), 10);
    assert_eq!(per_replica_average(10, 111.0, 10.0), 12);
    assert_eq!(per_replica_average(10, 91.0, 10.0), 10);
    assert_eq!(per_replica_average(10, 89.0, 10.0), 9);
    assert_eq!(per_replica_average(10, 0.0, 10.0), 0);
}

/// The page, "Scaling policies": 4 pods or 10 % per minute, from 80 replicas to 10: first 8 go; of 72, 7.2 is rounded
/// up to 8; from 40 on it is 4 at a time. (No window here: the example starts when it is over.)
#[test]
fn from_eighty_to_ten_by_a_tenth_or_four_a_minute() {
    let policies = [(PolicyKind::Pods, 4, 60), (PolicyKind::Percent, 10, 60)];
    let mut hpa = autoscaler(1, 100, None, Some(rules(0, SelectPolicy::Max, &policies)));
    let replicas = run(&mut hpa, 80, MINUTE, [10; 15]);
    assert_eq!(replicas, [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10, 10]);
}

/// The same policies under the controller's own 15 seconds: the period counts, not the sync.
#[test]
fn a_policy_holds_over_its_period_however_often_the_controller_looks() {
    let policies = [(PolicyKind::Pods, 4, 60), (PolicyKind::Percent, 10, 60)];
    let mut hpa = autoscaler(1, 100, None, Some(rules(0, SelectPolicy::Max, &policies)));
    let replicas = run(&mut hpa, 80, SYNC_PERIOD_MILLIS, [10; 9]);
    assert_eq!(replicas, [72, 72, 72, 72, 64, 64, 64, 64, 57]);
}

/// The page, "Example: limit scale down rate": 10 % and 5 pods with `selectPolicy: Min` means no more than 5.
#[test]
fn the_smaller_of_ten_percent_and_five_pods() {
    let policies = [(PolicyKind::Percent, 10, 60), (PolicyKind::Pods, 5, 60)];
    let mut hpa = autoscaler(1, 100, None, Some(rules(0, SelectPolicy::Min, &policies)));
    assert_eq!(run(&mut hpa, 80, MINUTE, [10; 9]), [75, 70, 65, 60, 55, 50, 45, 40, 36]);
}

/// The page, "Example: disable scale down"; KEP-853, story 4.
#[test]
fn disabled_never_goes_down() {
    let mut hpa = autoscaler(1, 100, None, Some(rules(0, SelectPolicy::Disabled, &[])));
    assert_eq!(run(&mut hpa, 80, MINUTE, [10, 10, 90, 10]), [80, 80, 90, 90]);
}

/// The page, "Stabilization window" and "Default Behavior": the highest state of the last 5 minutes counts.
#[test]
fn down_only_to_the_highest_of_five_minutes() {
    let mut hpa = HorizontalPodAutoscaler::new(Settings::between(1, 24));
    let replicas = run(&mut hpa, 10, MINUTE, [10, 8, 6, 9, 5, 4, 4, 4, 4, 4, 4]);
    //                                    what each minute proposes: 10 and 9 leave the window 5 minutes later
    assert_eq!(replicas, [10, 10, 10, 10, 10, 9, 9, 9, 5, 4, 4]);
}

/// The page, "Default Behavior": 4 pods or 100 % every 15 seconds, whichever is more.
#[test]
fn by_default_four_or_twice_as_many_per_sync() {
    let mut hpa = HorizontalPodAutoscaler::new(Settings::between(1, 100));
    assert_eq!(run(&mut hpa, 1, SYNC_PERIOD_MILLIS, [100; 6]), [5, 10, 20, 40, 80, 100]);
}

/// KEP-853, story 1: 900 % a minute makes 1 → 10 → 100 → 1000.
#[test]
fn nine_hundred_percent_is_ten_times_as_many() {
    let up = rules(0, SelectPolicy::Max, &[(PolicyKind::Percent, 900, 60)]);
    let mut hpa = autoscaler(1, 1_000, Some(up), None);
    assert_eq!(run(&mut hpa, 1, MINUTE, [1_000; 3]), [10, 100, 1_000]);
}

/// KEP-853, story 2: one pod every 10 minutes on the way down.
#[test]
fn one_pod_in_ten_minutes() {
    let down = rules(0, SelectPolicy::Max, &[(PolicyKind::Pods, 1, 600)]);
    let mut hpa = autoscaler(1, 1_000, None, Some(down));
    let replicas = run(&mut hpa, 1_000, MINUTE, [1; 21]);
    assert_eq!(
        (replicas[0], replicas[9], replicas[10], replicas[19], replicas[20]),
        (999, 999, 998, 998, 997)
    );
}

/// KEP-853, story 3: one pod every 5 minutes on the way up: 1 → 2 → 3 → 4.
#[test]
fn one_pod_in_five_minutes() {
    let up = rules(0, SelectPolicy::Max, &[(PolicyKind::Pods, 1, 300)]);
    let mut hpa = autoscaler(1, 1_000, Some(up), None);
    assert_eq!(run(&mut hpa, 1, 5 * MINUTE, [100; 3]), [2, 3, 4]);
}

/// KEP-853, story 5: over ten minutes the largest recommendation counts, 10 in the tenth minute, 9 in the eleventh.
#[test]
fn a_window_of_ten_minutes_on_the_way_down() {
    let down = rules(600, SelectPolicy::Max, &[(PolicyKind::Pods, 5, 60)]);
    let mut hpa = autoscaler(1, 100, None, Some(down));
    let replicas = run(&mut hpa, 10, MINUTE, [10, 9, 8, 9, 9, 8, 9, 8, 9, 8, 7]);
    assert_eq!(replicas, [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 9]);
}

/// KEP-853, story 6: over five minutes the smallest recommendation counts, 2 in the sixth minute, 3 in the seventh.
/// (Its window holds six recommendations, so its minutes are a little shorter than a minute.)
#[test]
fn a_window_of_five_minutes_on_the_way_up() {
    let up = rules(300, SelectPolicy::Max, &[(PolicyKind::Pods, 20, 60)]);
    let mut hpa = autoscaler(1, 100, Some(up), None);
    assert_eq!(run(&mut hpa, 2, 55_000, [2, 3, 19, 10, 3, 4, 7]), [2, 2, 2, 2, 2, 2, 3]);
}

/// The page, "Algorithm details": the largest of several metrics counts; a failed one blocks the way down only.
#[test]
fn several_metrics() {
    let rows: [(&[Proposal], u32); 6] = [
        (&[Some(12), Some(15), Some(3)], 15),
        (&[Some(12), None], 12),
        (&[Some(10), None], 10),
        (&[Some(4), None], 10),
        (&[None, None], 10),
        (&[Some(4), Some(5)], 5),
    ];
    for (proposals, expected) in rows {
        let mut hpa =
            autoscaler(1, 100, None, Some(rules(0, SelectPolicy::Max, &[(PolicyKind::Percent, 100, 15)])));
        assert_eq!(hpa.sync(0, 10, proposals), expected, "{proposals:?}");
    }
}

/// The page, "Implicit maintenance-mode deactivation": nothing happens at 0 replicas. Outside the bounds, the bounds
/// count and no metric is asked.
#[test]
fn zero_is_left_alone_and_bounds_are_kept() {
    let mut hpa = HorizontalPodAutoscaler::new(Settings::between(2, 24));
    assert_eq!(hpa.sync(0, 0, &[Some(10)]), 0);
    assert_eq!(hpa.sync(15_000, 1, &[None]), 2);
    assert_eq!(hpa.sync(30_000, 40, &[None]), 24);
    let mut hpa = HorizontalPodAutoscaler::new(Settings::between(2, 24));
    assert_eq!(hpa.sync(0, 20, &[Some(100)]), 24);
    assert_eq!(run(&mut hpa, 20, 6 * MINUTE, [0; 2]), [2, 2]);
}
