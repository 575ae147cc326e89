//! What can be asked for, and what the answer to everything else is.

use pondage_autoscale::{
    Behavior, DelayTarget, Fallback, FallbackBehavior, Policy, PolicyKind, Refused, Rules, ScaleToZero, Spec,
};

fn good() -> Spec {
    Spec { delay: Some(DelayTarget { millis: 30_000, utilization_percent: 80 }), ..Spec::default() }
}

#[test]
fn good_ones_pass() {
    for spec in [
        good(),
        Spec { delay: None, backlog_per_replica: Some(100), ..Spec::default() },
        Spec { min_replicas: 0, scale_to_zero: Some(ScaleToZero { idle_millis: 300_000 }), ..good() },
        Spec { min_replicas: 0, ..good() },
        Spec { min_replicas: 10, ..good() },
        Spec {
            fallback: Some(Fallback { after_millis: 0, behavior: FallbackBehavior::Static { replicas: 10 } }),
            ..good()
        },
    ] {
        let settings = spec.clone().check().unwrap();
        assert_eq!(settings.spec(), &spec);
    }
}

#[test]
fn bad_ones_are_told_what_to_do() {
    let delay = |millis, utilization_percent| Spec {
        delay: Some(DelayTarget { millis, utilization_percent }),
        ..Spec::default()
    };
    let policies = |policies: Vec<Policy>, stabilization_millis| Spec {
        behavior: Behavior {
            scale_up: Rules { policies, stabilization_millis, ..Rules::default() },
            ..Behavior::default()
        },
        ..good()
    };
    let policy = |value, period_millis| Policy { kind: PolicyKind::Pods, value, period_millis };
    let fallback = |behavior| Spec { fallback: Some(Fallback { after_millis: 1, behavior }), ..good() };
    for (spec, words) in [
        (Spec::default(), "exactly one target"),
        (Spec { backlog_per_replica: Some(1), ..good() }, "exactly one target"),
        (Spec { delay: None, backlog_per_replica: Some(0), ..Spec::default() }, "choose 1 to"),
        (Spec { min_replicas: 11, ..good() }, "not below minReplicas"),
        (Spec { min_replicas: 0, max_replicas: 0, ..good() }, "at least 1"),
        (Spec { max_replicas: 10_001, ..good() }, "choose 0 to 10000"),
        (Spec { scale_to_zero: Some(ScaleToZero { idle_millis: 1_000 }), ..good() }, "leave scaleToZero out"),
        (
            Spec { min_replicas: 0, scale_to_zero: Some(ScaleToZero { idle_millis: 0 }), ..good() },
            "choose 1000 to",
        ),
        (delay(0, 80), "choose 1000 to"),
        (delay(u64::MAX, 80), "choose 1000 to"),
        (delay(30_000, 0), "choose 1 to 100"),
        (delay(30_000, 101), "choose 1 to 100"),
        (Spec { drain_timeout_millis: u64::MAX, ..good() }, "drainTimeout"),
        (fallback(FallbackBehavior::Static { replicas: 0 }), "choose 1 to 10"),
        (fallback(FallbackBehavior::CurrentReplicasIfHigher { replicas: 11 }), "choose 1 to 10"),
        (policies(vec![policy(0, 60_000)], 0), "a policy's value"),
        (policies(vec![policy(1, 0)], 0), "a policy's period"),
        (policies(vec![policy(1, 1_800_001)], 0), "a policy's period"),
        (policies(vec![], 3_600_001), "stabilizationWindow"),
        (policies(vec![policy(1, 60_000); 17], 0), "number of policies"),
    ] {
        let refused: Refused = spec.clone().check().expect_err(&format!("{spec:?}"));
        assert!(refused.to_string().contains(words), "{refused}");
    }
}
