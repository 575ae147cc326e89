//! What a group says of scaling its consumers: what is right and what it means, what is wrong and who says so. Files
//! are checked by the reader, objects in Kubernetes by the definition's rules before; both must agree.

use kube_cel::Validator;
use pondage_model::limits;
use pondage_resources::{
    ActiveMode, AutoscalerMemory, Autoscaling, ConsumerGroup, ConsumerGroupStatus, Duration, Fallback,
    FallbackReplicas, FieldError, Kind, Pace, PacePolicy, PolicyKind, Rate, Resource, ScaleTarget,
    ScalingGoal, ScalingLimit, SelectPolicy, StuckPartition, Timestamp, crd, load, to_json, to_yaml,
};
use serde_json::{Value, json};

const HEAD: &str = "apiVersion: pondage.io/v1alpha1\nkind: ConsumerGroup\nmetadata: {name: g}\nspec:\n  \
                    queueRef: {name: q}\n";

fn schema() -> Value {
    let definition = serde_json::to_value(crd(Kind::ConsumerGroup)).expect("JSON");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// What the reader of files says, without the file's name in front.
fn told(text: &str) -> Vec<String> {
    let errors = load("f", text).err().unwrap_or_default();
    errors.iter().map(|error| error.to_string().strip_prefix("f:").expect("the file").to_owned()).collect()
}

/// What the definition's rules say, as `field: message`.
fn said(schema: &Value, object: &Value) -> Vec<String> {
    let Err(errors) = Validator::new().validate(schema, object, None) else { return Vec::new() };
    let line = |error: &kube_cel::ValidationError| {
        format!("{}: {}", error.field_path.trim_start_matches('.'), error.message)
    };
    errors.iter().map(line).collect()
}

fn group(lines: &str) -> ConsumerGroup {
    let text = format!("{HEAD}{lines}\n");
    let loaded = load("f", &text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    let Some(Resource::ConsumerGroup(group)) = loaded.into_iter().next().map(|one| one.resource) else {
        panic!("a group")
    };
    group
}

fn autoscaling(lines: &str) -> Option<Autoscaling> {
    group(lines).autoscaling().expect("right")
}

fn workload() -> ScaleTarget {
    ScaleTarget { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned(), name: "w".to_owned() }
}

const fn free(window_millis: u64) -> Pace {
    Pace { window_millis, select: SelectPolicy::Max, policies: Vec::new() }
}

#[test]
fn little_needs_to_be_said() {
    let expected = Autoscaling {
        mode: ActiveMode::Direct,
        scale_target: workload(),
        replicas_min: 1,
        replicas_max: 24,
        goal: ScalingGoal::Delay { millis: 30_000, utilization_percent: 80 },
        scale_up: free(0),
        scale_down: free(30_000),
        drain_millis: 60_000,
        idle_millis_to_zero: None,
        fallback: None,
    };
    let lines = "  scaleTargetRef: {name: w}\n  autoscaling: {maxReplicas: 24, target: {delay: 30s}";
    assert_eq!(autoscaling(&format!("{lines}}}")), Some(expected.clone()));
    for empty in ["behavior: {}", "behavior: {scaleUp: {}, scaleDown: {}, drain: {}}", "fallback: ~"] {
        assert_eq!(autoscaling(&format!("{lines}, {empty}}}")), Some(expected.clone()), "{empty}");
    }
    let backlog =
        "  scaleTargetRef: {name: w}\n  autoscaling: {maxReplicas: 24, target: {backlogPerReplica: 100}}";
    let goal = ScalingGoal::Backlog { per_replica: 100 };
    assert_eq!(autoscaling(backlog), Some(Autoscaling { goal, ..expected.clone() }));
    let zero = format!("{lines}, minReplicas: 0, scaleToZero: {{}}}}");
    let to_zero = Autoscaling { replicas_min: 0, idle_millis_to_zero: Some(300_000), ..expected };
    assert_eq!(autoscaling(&zero), Some(to_zero));
}

#[test]
fn every_field_arrives() {
    let lines = "  \
  scaleTargetRef: {apiVersion: example.com/v1beta1, kind: Worker, name: w.x-1}
  slo: {maxDelay: 1m}
  autoscaling:
    mode: Recommend
    minReplicas: 0
    maxReplicas: 1000
    target: {delay: 45s, utilizationPercent: 100}
    behavior:
      scaleUp:
        stabilizationWindowSeconds: 10
        selectPolicy: Min
        policies: [{type: Pods, value: 4, periodSeconds: 15}, {type: Percent, value: 200, periodSeconds: 60}]
      scaleDown: {stabilizationWindowSeconds: 3600, selectPolicy: Disabled}
      drain: {timeout: 5m}
    scaleToZero: {after: 10m}
    fallback: {after: 2m, replicas: 6, behavior: CurrentReplicasIfHigher}";
    let policy = |kind, value, period_millis| PacePolicy { kind, value, period_millis };
    let expected = Autoscaling {
        mode: ActiveMode::Recommend,
        scale_target: ScaleTarget {
            api_version: "example.com/v1beta1".to_owned(),
            kind: "Worker".to_owned(),
            name: "w.x-1".to_owned(),
        },
        replicas_min: 0,
        replicas_max: 1_000,
        goal: ScalingGoal::Delay { millis: 45_000, utilization_percent: 100 },
        scale_up: Pace {
            window_millis: 10_000,
            select: SelectPolicy::Min,
            policies: vec![policy(PolicyKind::Pods, 4, 15_000), policy(PolicyKind::Percent, 200, 60_000)],
        },
        scale_down: Pace { select: SelectPolicy::Disabled, ..free(3_600_000) },
        drain_millis: 300_000,
        idle_millis_to_zero: Some(600_000),
        fallback: Some(Fallback { after_millis: 120_000, replicas: FallbackReplicas::AtLeast(6) }),
    };
    assert_eq!(autoscaling(lines), Some(expected));
    assert_eq!(group(lines).delay_millis_max(), Ok(Some(60_000)));

    // What was written survives both forms of output.
    let written = [Resource::ConsumerGroup(group(lines))];
    for text in [to_yaml(&written), to_json(&written)] {
        assert_eq!(load("f", &text).expect("right")[0].resource, written[0], "{text}");
    }
}

#[test]
fn fallbacks_are_of_three_kinds() {
    let lines =
        "  scaleTargetRef: {name: w}\n  autoscaling: {maxReplicas: 4, target: {delay: 30s}, fallback: ";
    for (fallback, replicas) in [
        ("{replicas: 4}", FallbackReplicas::Exactly(4)),
        ("{replicas: 1, behavior: Static}", FallbackReplicas::Exactly(1)),
        ("{behavior: CurrentReplicas}", FallbackReplicas::Current),
        ("{replicas: 3, behavior: CurrentReplicasIfHigher}", FallbackReplicas::AtLeast(3)),
    ] {
        let found = autoscaling(&format!("{lines}{fallback}}}")).and_then(|found| found.fallback);
        assert_eq!(found, Some(Fallback { after_millis: 60_000, replicas }), "{fallback}");
    }
}

#[test]
fn whoever_does_not_scale_may_still_say_something() {
    for (lines, delay) in [
        ("", None),
        ("  slo: {}", None),
        ("  slo: {maxDelay: 1m}", Some(60_000)),
        ("  scaleTargetRef: {name: w}", None),
        ("  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 30s}}", Some(30_000)),
        (
            "  scaleTargetRef: {name: w}\n  autoscaling: {mode: Disabled, maxReplicas: 3, target: {backlogPerReplica: 9}}",
            None,
        ),
    ] {
        let group = group(lines);
        assert_eq!(group.autoscaling(), Ok(None), "{lines}");
        assert_eq!(group.delay_millis_max(), Ok(delay), "{lines}");
    }
}

/// Specs that are wrong, what the reader of files says and what the definition's rules say.
fn check_wrong(rows: &[(&str, &[&str], &[&str])]) {
    let schema = schema();
    for (lines, expected, expected_of_rules) in rows {
        let text = format!("{HEAD}{lines}\n");
        assert_eq!(told(&text), *expected, "\n{text}");
        let object: Value = serde_yaml::from_str(&text).expect("YAML");
        assert_eq!(said(&schema, &object), *expected_of_rules, "\n{text}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    check_wrong(&[
        (
            "  autoscaling: {maxReplicas: 3, target: {delay: 30s}}",
            &["4:1: spec.scaleTargetRef: is required, unless autoscaling.mode is Disabled"],
            &["spec.scaleTargetRef: scaleTargetRef is required, unless autoscaling.mode is Disabled"],
        ),
        (
            "  autoscaling: {mode: Recommend, maxReplicas: 3, target: {delay: 30s}}",
            &["4:1: spec.scaleTargetRef: is required, unless autoscaling.mode is Disabled"],
            &["spec.scaleTargetRef: scaleTargetRef is required, unless autoscaling.mode is Disabled"],
        ),
        (
            "  scaleTargetRef: {apiVersion: pondage.io/v1alpha1, kind: BrokerCluster, name: main}",
            &[
                "6:32: spec.scaleTargetRef.apiVersion: \"pondage.io/v1alpha1\" is of Pondage itself; name what runs the consumers",
            ],
            &[
                "spec.scaleTargetRef.apiVersion: apiVersion is of Pondage itself: name what runs the consumers",
            ],
        ),
        (
            "  slo: {maxDelay: 10s}\n  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 30s}}",
            &["7:65: spec.autoscaling.target.delay: 30s is more than slo.maxDelay, which is 10s"],
            &["spec.autoscaling.target.delay: autoscaling.target.delay can't be more than slo.maxDelay"],
        ),
        (
            "  autoscaling: {mode: Disabled, minReplicas: 4, maxReplicas: 3, target: {delay: 30s}, fallback: {replicas: 4}}",
            &["6:46: spec.autoscaling.minReplicas: 4 is more than maxReplicas, which is 3"],
            &[
                "spec.autoscaling.minReplicas: minReplicas can't be more than maxReplicas",
                "spec.autoscaling.fallback.replicas: fallback.replicas must be minReplicas, which is 1 by default, to maxReplicas",
            ],
        ),
        (
            "  autoscaling: {mode: Disabled, minReplicas: 0, maxReplicas: 3, target: {delay: 30s}}",
            &[
                "6:3: spec.autoscaling.scaleToZero: is required with minReplicas: 0, which is never reached without it",
            ],
            &["spec.autoscaling.scaleToZero: scaleToZero and minReplicas: 0 need each other"],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 30s}, scaleToZero: {after: 5m}}",
            &["6:71: spec.autoscaling.scaleToZero: needs minReplicas: 0"],
            &["spec.autoscaling.scaleToZero: scaleToZero and minReplicas: 0 need each other"],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {}}",
            &["6:49: spec.autoscaling.target: needs exactly one of delay and backlogPerReplica"],
            &["spec.autoscaling.target: needs exactly one of delay and backlogPerReplica"],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {utilizationPercent: 50}}",
            &["6:49: spec.autoscaling.target: needs exactly one of delay and backlogPerReplica"],
            &["spec.autoscaling.target: needs exactly one of delay and backlogPerReplica"],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 30s, backlogPerReplica: 10}}",
            &[
                "6:89: spec.autoscaling.target.backlogPerReplica: can't stand beside delay: a target needs exactly one of delay and backlogPerReplica",
            ],
            &["spec.autoscaling.target: needs exactly one of delay and backlogPerReplica"],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {backlogPerReplica: 10, utilizationPercent: 50}}",
            &[
                "6:101: spec.autoscaling.target.utilizationPercent: goes with delay; leave it out of a target with backlogPerReplica",
            ],
            &[
                "spec.autoscaling.target.utilizationPercent: utilizationPercent goes with delay; leave it out of a target with backlogPerReplica",
            ],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 30s}, fallback: {replicas: 4}}",
            &[
                "6:92: spec.autoscaling.fallback.replicas: 4 is outside of minReplicas to maxReplicas, which are 1 to 3",
            ],
            &[
                "spec.autoscaling.fallback.replicas: fallback.replicas must be minReplicas, which is 1 by default, to maxReplicas",
            ],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 30s}, fallback: {replicas: 0}}",
            &[
                "6:92: spec.autoscaling.fallback.replicas: 0 is outside of minReplicas to maxReplicas, which are 1 to 3",
            ],
            &[
                "spec.autoscaling.fallback.replicas: fallback.replicas must be minReplicas, which is 1 by default, to maxReplicas",
            ],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 30s}, fallback: {after: 2m}}",
            &["6:71: spec.autoscaling.fallback.replicas: is required, unless behavior is CurrentReplicas"],
            &[
                "spec.autoscaling.fallback.replicas: replicas is required, unless behavior is CurrentReplicas, which takes none",
            ],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 30s}, fallback: {replicas: 2, behavior: CurrentReplicas}}",
            &[
                "6:92: spec.autoscaling.fallback.replicas: says nothing with behavior: CurrentReplicas; leave it out",
            ],
            &[
                "spec.autoscaling.fallback.replicas: replicas is required, unless behavior is CurrentReplicas, which takes none",
            ],
        ),
    ]);
}

#[test]
fn durations_have_bounds() {
    check_wrong(&[
        (
            "  slo: {maxDelay: 999ms}",
            &["6:19: spec.slo.maxDelay: 999ms is outside of 1s to 168h"],
            &["spec.slo.maxDelay: must be 1s to 168h"],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 0s}}",
            &["6:65: spec.autoscaling.target.delay: 0s is outside of 1s to 168h"],
            &["spec.autoscaling.target.delay: must be 1s to 168h"],
        ),
        (
            "  autoscaling: {mode: Disabled, minReplicas: 0, maxReplicas: 3, target: {delay: 1s}, scaleToZero: {after: 0s}}",
            &["6:107: spec.autoscaling.scaleToZero.after: 0s is outside of 1s to 168h"],
            &["spec.autoscaling.scaleToZero.after: must be 1s to 168h"],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 1s}, fallback: {after: 999ms, replicas: 1}}",
            &["6:88: spec.autoscaling.fallback.after: 999ms is outside of 1s to 168h"],
            &["spec.autoscaling.fallback.after: must be 1s to 168h"],
        ),
        (
            "  slo: {maxDelay: 168h1ms}",
            &["6:19: spec.slo.maxDelay: 168h1ms is outside of 1s to 168h"],
            &["spec.slo.maxDelay: must be 1s to 168h"],
        ),
        (
            "  autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 1s}, behavior: {drain: {timeout: 25h}}}",
            &["6:98: spec.autoscaling.behavior.drain.timeout: 25h is outside of 0s to 24h"],
            &["spec.autoscaling.behavior.drain.timeout: must be 0s to 24h"],
        ),
    ]);
}

/// What the schema refuses in Kubernetes, before any rule: only the reader's words are ours.
#[test]
fn other_values_have_bounds_too() {
    let disabled = |fields: &str| {
        format!("{HEAD}  autoscaling: {{mode: Disabled, maxReplicas: 3, target: {{delay: 1s}}, {fields}}}\n")
    };
    let six = |line: &str| format!("{HEAD}  {line}\n");
    for (text, expected) in [
        (
            six("scaleTargetRef: w"),
            "6:19: spec.scaleTargetRef: expected a map of apiVersion, kind, name, found \"w\"",
        ),
        (six("scaleTargetRef: {kind: Deployment}"), "6:20: spec.scaleTargetRef.name: is required"),
        (
            six("scaleTargetRef: {name: ../../secrets}"),
            "6:26: spec.scaleTargetRef.name: \"../../secrets\" is not a name of an object in Kubernetes: 1 to 253 lower-case letters, digits, '-' and '.'",
        ),
        (
            six("scaleTargetRef: {name: w, apiVersion: apps/}"),
            "6:41: spec.scaleTargetRef.apiVersion: \"apps/\" is not an API version such as apps/v1",
        ),
        (
            six("scaleTargetRef: {name: w, kind: deployment}"),
            "6:35: spec.scaleTargetRef.kind: \"deployment\" is not a kind such as Deployment",
        ),
        (
            six("scaleTargetRef: {name: w, namespace: other}"),
            "6:29: spec.scaleTargetRef.namespace: is not a field; allowed: apiVersion, kind, name",
        ),
        (six("slo: 30s"), "6:8: spec.slo: expected a map of maxDelay, found \"30s\""),
        (six("autoscaling: {target: {delay: 1s}}"), "6:17: spec.autoscaling.maxReplicas: is required"),
        (six("autoscaling: {mode: Disabled, maxReplicas: 3}"), "6:17: spec.autoscaling.target: is required"),
        (
            six("autoscaling: {mode: HPA, maxReplicas: 3, target: {delay: 1s}}"),
            "6:23: spec.autoscaling.mode: \"HPA\" is not served by this version yet; served: Disabled, Recommend, Direct",
        ),
        (
            six("autoscaling: {mode: KEDA, maxReplicas: 3, target: {delay: 1s}}"),
            "6:23: spec.autoscaling.mode: \"KEDA\" is not served by this version yet; served: Disabled, Recommend, Direct",
        ),
        (
            six("autoscaling: {mode: Auto, maxReplicas: 3, target: {delay: 1s}}"),
            "6:23: spec.autoscaling.mode: expected one of Disabled, Recommend, Direct, found \"Auto\"",
        ),
        (
            six("autoscaling: {mode: Disabled, maxReplicas: 0, target: {delay: 1s}}"),
            "6:46: spec.autoscaling.maxReplicas: 0 is outside of 1 to 1000",
        ),
        (
            six("autoscaling: {mode: Disabled, maxReplicas: 1001, target: {delay: 1s}}"),
            "6:46: spec.autoscaling.maxReplicas: 1001 is outside of 1 to 1000",
        ),
        (
            six(
                "autoscaling: {mode: Disabled, maxReplicas: 3, target: {delay: 1s, utilizationPercent: 101}}",
            ),
            "6:89: spec.autoscaling.target.utilizationPercent: 101 is outside of 1 to 100",
        ),
        (
            six("autoscaling: {mode: Disabled, maxReplicas: 3, target: {backlogPerReplica: 0}}"),
            "6:77: spec.autoscaling.target.backlogPerReplica: 0 is outside of 1 to 2147483647",
        ),
        (
            disabled("minReplicas: \"0\", scaleToZero: {}"),
            "6:83: spec.autoscaling.minReplicas: expected a whole number, found \"0\"",
        ),
        (disabled("minReplicas: -1"), "6:83: spec.autoscaling.minReplicas: -1 is outside of 0 to 1000"),
        (
            disabled("schedules: []"),
            "6:70: spec.autoscaling.schedules: is not served by this version yet; served: mode, minReplicas, maxReplicas, target, behavior, scaleToZero, fallback",
        ),
        (
            disabled("behavior: {scaleUp: {stabilizationWindowSeconds: 3601}}"),
            "6:119: spec.autoscaling.behavior.scaleUp.stabilizationWindowSeconds: 3601 is outside of 0 to 3600",
        ),
        (
            disabled("behavior: {scaleDown: {selectPolicy: None}}"),
            "6:107: spec.autoscaling.behavior.scaleDown.selectPolicy: expected one of Max, Min, Disabled, found \"None\"",
        ),
        (
            disabled("behavior: {scaleDown: {policies: []}}"),
            "6:93: spec.autoscaling.behavior.scaleDown.policies: names no policy; 1 to 16 are allowed",
        ),
        (
            disabled("behavior: {scaleUp: {policies: [{type: Pods, value: 0, periodSeconds: 15}]}}"),
            "6:122: spec.autoscaling.behavior.scaleUp.policies[0].value: 0 is outside of 1 to 2147483647",
        ),
        (
            disabled("behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 1801}]}}"),
            "6:140: spec.autoscaling.behavior.scaleUp.policies[0].periodSeconds: 1801 is outside of 1 to 1800",
        ),
        (
            disabled("behavior: {scaleUp: {policies: [{type: Pods, value: 1}]}}"),
            "6:103: spec.autoscaling.behavior.scaleUp.policies[0].periodSeconds: is required",
        ),
        (
            disabled("behavior: {tolerance: 1}"),
            "6:81: spec.autoscaling.behavior.tolerance: is not a field; allowed: scaleUp, scaleDown, drain",
        ),
        (
            disabled("fallback: {replicas: 1, behavior: static}"),
            "6:104: spec.autoscaling.fallback.behavior: expected one of Static, CurrentReplicas, CurrentReplicasIfHigher, found \"static\"",
        ),
    ] {
        assert_eq!(told(&text), [expected], "\n{text}");
    }
    let many = vec!["{type: Pods, value: 1, periodSeconds: 1}"; limits::SCALING_POLICIES_MAX + 1].join(", ");
    assert_eq!(
        told(&disabled(&format!("behavior: {{scaleUp: {{policies: [{many}]}}}}"))),
        ["6:91: spec.autoscaling.behavior.scaleUp.policies: names 17 policies; 1 to 16 are allowed"]
    );
}

/// Changes of one place of a spec: a path, and a value or nothing.
const CHANGES: &[(&str, Option<&str>)] = &[
    ("scaleTargetRef", None),
    ("scaleTargetRef", Some("{name: w}")),
    ("scaleTargetRef", Some("{name: w, apiVersion: pondage.io/v1alpha1}")),
    ("slo", Some("{maxDelay: 10s}")),
    ("slo", Some("{maxDelay: 30s}")),
    ("slo", Some("{}")),
    ("autoscaling", None),
    ("autoscaling.mode", Some("Disabled")),
    ("autoscaling.mode", Some("Recommend")),
    ("autoscaling.minReplicas", None),
    ("autoscaling.minReplicas", Some("0")),
    ("autoscaling.minReplicas", Some("3")),
    ("autoscaling.minReplicas", Some("4")),
    ("autoscaling.maxReplicas", Some("1")),
    ("autoscaling.target", Some("{}")),
    ("autoscaling.target", Some("{backlogPerReplica: 1}")),
    ("autoscaling.target", Some("{backlogPerReplica: 1, utilizationPercent: 80}")),
    ("autoscaling.target.backlogPerReplica", Some("7")),
    ("autoscaling.target.utilizationPercent", Some("100")),
    ("autoscaling.target.delay", Some("999ms")),
    ("autoscaling.behavior", Some("{drain: {timeout: 24h}}")),
    ("autoscaling.behavior", Some("{drain: {timeout: 24h1ms}}")),
    ("autoscaling.scaleToZero", None),
    ("autoscaling.scaleToZero", Some("{}")),
    ("autoscaling.scaleToZero", Some("{after: 1s}")),
    ("autoscaling.fallback", None),
    ("autoscaling.fallback", Some("{}")),
    ("autoscaling.fallback", Some("{replicas: 0}")),
    ("autoscaling.fallback", Some("{replicas: 3, behavior: CurrentReplicasIfHigher}")),
    ("autoscaling.fallback", Some("{behavior: CurrentReplicas}")),
    ("autoscaling.fallback", Some("{replicas: 4, behavior: CurrentReplicas}")),
];

fn change(spec: &mut Value, (path, value): (&str, Option<&str>)) {
    let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
    let mut parent = parent.split('.').filter(|part| !part.is_empty());
    let Some(parent) = parent.try_fold(spec, |at, part| at.get_mut(part)) else { return };
    let Some(fields) = parent.as_object_mut() else { return };
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), serde_yaml::from_str(value).expect("YAML"))),
        None => drop(fields.remove(field)),
    }
}

/// A file and an object in Kubernetes are right or wrong alike.
#[test]
fn the_reader_and_the_rules_agree() {
    let schema = schema();
    let (mut right, mut wrong) = (0, 0);
    for base in [
        "{queueRef: {name: q}, scaleTargetRef: {name: w}, autoscaling: {maxReplicas: 3, target: {delay: 30s}}}",
        "{queueRef: {name: q}, autoscaling: {mode: Disabled, minReplicas: 0, maxReplicas: 3, \
         target: {delay: 30s}, scaleToZero: {}, fallback: {replicas: 3}}}",
    ] {
        for (at, first) in CHANGES.iter().enumerate() {
            for second in &CHANGES[at..] {
                let mut spec: Value = serde_yaml::from_str(base).expect("YAML");
                change(&mut spec, *first);
                change(&mut spec, *second);
                let object = json!({
                    "apiVersion": "pondage.io/v1alpha1", "kind": "ConsumerGroup", "metadata": { "name": "g" },
                    "spec": spec,
                });
                let (told, said) = (told(&object.to_string()), said(&schema, &object));
                assert_eq!(told.is_empty(), said.is_empty(), "{object}\n{told:#?}\n{said:#?}");
                *if told.is_empty() { &mut right } else { &mut wrong } += 1;
            }
        }
    }
    assert!(right > 200 && wrong > 200, "{right} right, {wrong} wrong");
}

#[test]
fn what_was_not_read_from_a_file_is_checked_too() {
    let mut group =
        group("  scaleTargetRef: {name: w}\n  autoscaling: {maxReplicas: 3, target: {delay: 30s}}");
    let fields = |errors: Vec<FieldError>| errors.into_iter().map(|error| error.field).collect::<Vec<_>>();
    group.spec.scale_target_ref.as_mut().expect("one").name = "a/../b".to_owned();
    group.spec.autoscaling.as_mut().expect("some").max_replicas = i64::MAX;
    let expected = ["spec.scaleTargetRef.name", "spec.autoscaling.maxReplicas"].map(str::to_owned);
    assert_eq!(group.autoscaling().map_err(fields), Err(expected.to_vec()));
}

#[test]
fn a_status_is_written_and_read() {
    let since = Timestamp::from_unix_millis(1_769_853_600_000);
    let status = ConsumerGroupStatus {
        members: Some(5),
        replicas: Some(6),
        desired_replicas: Some(24),
        reason: Some("25000 messages per second arrive, and a replica gets 1250 done".to_owned()),
        limited_by: Some(ScalingLimit::Partitions),
        last_scale_time: Some(since),
        arrival_rate: Some(Rate::from_millionths(25_000_000_000)),
        service_rate_per_replica: Some(Rate::from_millionths(12_500_000)),
        stuck_partitions: Some(vec![StuckPartition { topic: "flights".to_owned(), partition: 3, since }]),
        autoscaler: Some(AutoscalerMemory {
            capacity_per_replica: Some(Rate::from_millionths(1_667)),
            startup_time: Some(Duration::from_millis(12_250)),
            rebalance_pause: Some(Duration::from_millis(900)),
            held_until: Some(since),
        }),
        ..ConsumerGroupStatus::default()
    };
    let written = serde_json::to_value(&status).expect("JSON");
    let expected = json!({
        "members": 5,
        "replicas": 6,
        "desiredReplicas": 24,
        "reason": "25000 messages per second arrive, and a replica gets 1250 done",
        "limitedBy": "Partitions",
        "lastScaleTime": "2026-01-31T10:00:00Z",
        "arrivalRate": "25000",
        "serviceRatePerReplica": "12500m",
        "stuckPartitions": [{ "topic": "flights", "partition": 3, "since": "2026-01-31T10:00:00Z" }],
        "autoscaler": { "capacityPerReplica": "1667u", "startupTime": "12s250ms", "rebalancePause": "900ms", "heldUntil": "2026-01-31T10:00:00Z" },
    });
    assert_eq!(written, expected);
    assert_eq!(serde_json::from_value::<ConsumerGroupStatus>(written).expect("readable"), status);
}
