//! The definitions of our kinds: as they lie in `crds/`, bounded everywhere, and with rules that hold.
//!
//! `PONDAGE_REWRITE=1 cargo test -p pondage-resources --test crds` writes `crds/` anew.

use std::{fmt::Write, fs, path::PathBuf};

use kube_cel::Validator;
use pondage_resources::{CRDS, Kind, crd, crd_yaml, load};
use serde_json::{Value, json};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn definition(kind: Kind) -> Value {
    serde_json::to_value(crd(kind)).expect("JSON")
}

fn schema(kind: Kind) -> Value {
    definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn the_files_are_what_the_types_say() {
    for kind in CRDS {
        let definition = crd(kind);
        let path = repository().join(format!("crds/{}.yaml", definition.spec.names.plural));
        let made = crd_yaml(kind);
        if std::env::var_os("PONDAGE_REWRITE").is_some() {
            fs::create_dir_all(path.parent().expect("a folder")).expect("written");
            fs::write(&path, &made).expect("written");
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "{} is not what the types say: write it anew", path.display());
    }
}

#[test]
fn names_are_as_people_type_them() {
    let names: Vec<_> = CRDS
        .map(|kind| {
            let names = crd(kind).spec.names;
            let categories = names.categories.unwrap_or_default().join(" ");
            (names.plural, names.short_names.unwrap_or_default().join(" "), categories)
        })
        .into();
    let expected =
        [("brokerclusters", "pcl"), ("topics", "ptop"), ("queues", "pq"), ("consumergroups", "pcg")];
    let expected =
        expected.map(|(plural, short)| (plural.to_owned(), short.to_owned(), "pondage".to_owned()));
    assert_eq!(names, expected);
}

/// Every place of a schema that has no type, no description or no limit.
fn unbounded(at: &str, schema: &Value, in_status: bool, found: &mut String) {
    let has = |key: &str| schema.get(key).is_some();
    let mut lacks = |what: &str| writeln!(found, "{at}: {what}").expect("text");
    for banned in
        ["$ref", "nullable", "oneOf", "anyOf", "allOf", "definitions", "x-kubernetes-preserve-unknown-fields"]
    {
        if has(banned) {
            lacks(banned);
        }
    }
    let is_item = at.ends_with("[]");
    if !has("description") && !is_item && !at.is_empty() {
        lacks("no description");
    }
    match schema["type"].as_str() {
        Some("string") if has("enum") || has("maxLength") => {}
        Some("integer") if has("minimum") && (has("maximum") || in_status) => {}
        Some("array") if has("maxItems") => unbounded(&format!("{at}[]"), &schema["items"], in_status, found),
        Some("object") => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if at.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
                    continue;
                }
                let in_status = in_status || at.is_empty() && name == "status";
                unbounded(&format!("{at}.{name}"), property, in_status, found);
            }
        }
        None if schema["x-kubernetes-int-or-string"] == json!(true) && has("maxLength") => {}
        other => lacks(&format!("{other:?} without a limit")),
    }
}

#[test]
fn everything_has_a_type_a_description_and_a_limit() {
    let mut found = String::new();
    for kind in CRDS {
        unbounded("", &schema(kind), false, &mut found);
    }
    assert_eq!(found, "");
}

#[test]
fn a_resource_has_its_conditions_from_the_first_moment() {
    for kind in CRDS {
        let default = &schema(kind)["properties"]["status"]["default"];
        let ready = default["conditions"].as_array().expect("a list").iter().find(|it| it["type"] == "Ready");
        let ready = ready.expect("the summary");
        assert_eq!((ready["status"].as_str(), ready["reason"].as_str()), (Some("Unknown"), Some("Pending")));
        let subresources = &definition(kind)["spec"]["versions"][0]["subresources"];
        assert!(subresources["status"].is_object());
        assert_eq!(subresources["scale"].is_object(), kind == Kind::BrokerCluster);
    }
}

fn object(name: &str, spec: &str) -> Value {
    let spec: Value = serde_yaml::from_str(spec).expect("YAML");
    json!({ "apiVersion": "pondage.io/v1alpha1", "metadata": { "name": name }, "spec": spec })
}

/// What the rules say, as `field: message`.
fn said(kind: Kind, spec: &str, old: Option<&str>) -> Vec<String> {
    let old = old.map(|old| object("it", old));
    match Validator::new().validate(&schema(kind), &object("it", spec), old.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| format!("{}: {}", error.field_path.trim_start_matches('.'), error.message))
            .collect(),
    }
}

#[test]
fn what_is_right_is_taken() {
    for (kind, spec) in [
        (Kind::BrokerCluster, "{}"),
        (Kind::BrokerCluster, "{replicas: 3, replication: {defaultReplicas: 3, minInSyncReplicas: 2}}"),
        (Kind::BrokerCluster, "{listeners: [{name: a, port: 1}, {name: b, port: 2}]}"),
        (Kind::BrokerCluster, "{allowedNamespaces: {from: Selector, selector: {}}}"),
        (
            Kind::BrokerCluster,
            "{allowedNamespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: In, values: [b]}, {key: c, operator: Exists}]}}}",
        ),
        (Kind::Topic, "{}"),
        (Kind::Topic, "{partitions: 4, retention: {duration: 0s, size: 1Gi}, maxMessageSize: 7Mi}"),
        (Kind::Topic, "{maxMessageSize: 1048576, replicas: 3, minInSyncReplicas: 3}"),
        (Kind::Queue, "{}"),
        (Kind::Queue, "{backoff: {schedule: []}}"),
        (Kind::Queue, "{backoff: {schedule: [1s, 87840h]}, ackTimeout: 100ms, messageTTL: 1ms}"),
        (
            Kind::Queue,
            "{backoff: {initial: 1s, multiplier: '1.5', max: 1m}, deliveryDelay: {default: 1s, max: 1s}}",
        ),
        (Kind::Queue, "{backoff: {initial: 0s, multiplier: 1000, max: 1m}}"),
        (Kind::Queue, "{maxDeliveries: 1, deadLetter: {queueRef: {name: other}}}"),
        (Kind::Queue, "{maxDeliveries: 0}"),
        (Kind::ConsumerGroup, "{topicRefs: [{name: a}, {name: b}], mode: Ordered, startPosition: Latest}"),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}], startPosition: Time, startTime: '2026-01-31T10:00:00Z'}",
        ),
        (Kind::ConsumerGroup, "{queueRef: {name: a}}"),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}], mode: Shared, ackTimeout: 5s, maxDeliveries: 2, backoff: {schedule: [1s]}, deadLetter: {queueRef: {name: b}}}",
        ),
    ] {
        assert_eq!(said(kind, spec, None), [""; 0], "{kind:?} {spec}");
        assert_eq!(said(kind, spec, Some(spec)), [""; 0], "{kind:?} {spec}, unchanged");
    }
}

#[test]
fn what_one_object_can_say_of_itself_is_checked() {
    for (kind, spec, expected) in [
        (
            Kind::BrokerCluster,
            "{replicas: 2, replication: {defaultReplicas: 3}}",
            "spec.replication.defaultReplicas: replication.defaultReplicas can't be more than replicas, the number of brokers",
        ),
        (
            Kind::BrokerCluster,
            "{replication: {defaultReplicas: 1, minInSyncReplicas: 2}}",
            "spec.replication.minInSyncReplicas: minInSyncReplicas can't be more than defaultReplicas",
        ),
        (
            Kind::BrokerCluster,
            "{listeners: [{name: a, port: 1}, {name: b, port: 1}]}",
            "spec.listeners: two listeners have the same port",
        ),
        (
            Kind::BrokerCluster,
            "{allowedNamespaces: {from: Selector}}",
            "spec.allowedNamespaces.selector: selector and from: Selector need each other",
        ),
        (
            Kind::BrokerCluster,
            "{allowedNamespaces: {selector: {}}}",
            "spec.allowedNamespaces.selector: selector and from: Selector need each other",
        ),
        (
            Kind::BrokerCluster,
            "{allowedNamespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: In}]}}}",
            "spec.allowedNamespaces.selector.matchExpressions[0].values: In and NotIn need values, Exists and DoesNotExist have none",
        ),
        (
            Kind::BrokerCluster,
            "{allowedNamespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}}",
            "spec.allowedNamespaces.selector.matchExpressions[0].values: In and NotIn need values, Exists and DoesNotExist have none",
        ),
        (
            Kind::Topic,
            "{replicas: 1, minInSyncReplicas: 2}",
            "spec.minInSyncReplicas: minInSyncReplicas can't be more than replicas",
        ),
        (
            Kind::Topic,
            "{retention: {duration: 87841h}}",
            "spec.retention.duration: duration must be 0s to 87840h",
        ),
        (Kind::Topic, "{maxMessageSize: 8Mi}", "spec.maxMessageSize: must be 1 to 7Mi"),
        (Kind::Topic, "{maxMessageSize: 0}", "spec.maxMessageSize: must be 1 to 7Mi"),
        (Kind::Queue, "{maxMessageSize: 8388608}", "spec.maxMessageSize: must be 1 to 7Mi"),
        (Kind::Queue, "{ackTimeout: 99ms}", "spec.ackTimeout: must be 100ms to 87840h"),
        (Kind::Queue, "{ackTimeout: 99999h}", "spec.ackTimeout: must be 100ms to 87840h"),
        (Kind::Queue, "{messageTTL: 0s}", "spec.messageTTL: must be 1ms to 87840h"),
        (
            Kind::Queue,
            "{backoff: {}}",
            "spec.backoff: needs either schedule, or initial and max (and multiplier)",
        ),
        (
            Kind::Queue,
            "{backoff: {schedule: [1s], max: 1s}}",
            "spec.backoff: needs either schedule, or initial and max (and multiplier)",
        ),
        (Kind::Queue, "{backoff: {schedule: [99999h]}}", "spec.backoff: every wait must be 0s to 87840h"),
        (
            Kind::Queue,
            "{backoff: {initial: 2s, max: 1s}}",
            "spec.backoff.initial: initial can't be more than max",
        ),
        (
            Kind::Queue,
            "{backoff: {initial: 1s, max: 1s, multiplier: '0.99'}}",
            "spec.backoff.multiplier: multiplier must be 1 to 1000",
        ),
        (
            Kind::Queue,
            "{deliveryDelay: {default: 2s, max: 1s}}",
            "spec.deliveryDelay.default: default can't be more than max",
        ),
        (
            Kind::Queue,
            "{deliveryDelay: {max: 99999h}}",
            "spec.deliveryDelay: default and max must be 0s to 87840h",
        ),
        (
            Kind::Queue,
            "{maxDeliveries: 0, deadLetter: {queueRef: {name: other}}}",
            "spec.deadLetter: deadLetter needs maxDeliveries above 0: with 0 no message ever fails for good",
        ),
        (
            Kind::Queue,
            "{deadLetter: {queueRef: {name: it}}}",
            "spec.deadLetter.queueRef.name: a queue can't be its own dead-letter queue: name another one",
        ),
        (Kind::ConsumerGroup, "{}", "spec: needs exactly one of topicRefs and queueRef"),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}], queueRef: {name: a}}",
            "spec: needs exactly one of topicRefs and queueRef",
        ),
        (
            Kind::ConsumerGroup,
            "{queueRef: {name: a}, mode: Ordered}",
            "spec.mode: mode is for groups with topicRefs; leave it out of one with queueRef",
        ),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}], ackTimeout: 5s}",
            "spec.ackTimeout: ackTimeout is for shared groups: it needs mode: Shared",
        ),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}], mode: Ordered, maxDeliveries: 2}",
            "spec.maxDeliveries: maxDeliveries is for shared groups: it needs mode: Shared",
        ),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}], mode: Shared, maxDeliveries: 0, deadLetter: {queueRef: {name: b}}}",
            "spec.deadLetter: deadLetter needs maxDeliveries above 0: with 0 no message ever fails for good",
        ),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}], mode: Shared, backoff: {}}",
            "spec.backoff: needs either schedule, or initial and max (and multiplier)",
        ),
        (
            Kind::ConsumerGroup,
            "{queueRef: {name: a}, startPosition: Latest}",
            "spec.startPosition: startPosition is for groups with topicRefs; leave it out of one with queueRef",
        ),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}], startPosition: Time}",
            "spec.startTime: startTime and startPosition: Time need each other",
        ),
        (
            Kind::ConsumerGroup,
            "{topicRefs: [{name: a}, {name: a}]}",
            "spec.topicRefs: topicRefs names a topic twice",
        ),
    ] {
        assert_eq!(said(kind, spec, None), [expected], "{kind:?} {spec}");
    }
}

#[test]
fn what_can_not_change_does_not() {
    let fixed = |field: &str| {
        format!("spec.{field}: {field} can't be changed: delete the resource and make another one")
    };
    let names = [(Kind::Topic, "topicName"), (Kind::Queue, "queueName"), (Kind::ConsumerGroup, "groupName")];
    for (kind, name) in names {
        let source = if kind == Kind::ConsumerGroup { "queueRef: {name: q}, " } else { "" };
        for (field, one, other) in [("clusterRef", "{name: a}", "{name: b}"), (name, "a", "b")] {
            let none = format!("{{{source}}}");
            let [one, other] = [one, other].map(|value| format!("{{{source}{field}: {value}}}"));
            for (new, old) in [(&one, &other), (&one, &none), (&none, &one)] {
                assert_eq!(said(kind, new, Some(old)), [fixed(field)], "{kind:?} {old} → {new}");
            }
        }
    }
    for (new, old, is_right) in [
        ("{}", "{}", true),
        ("{partitions: 1}", "{}", true),
        ("{partitions: 4}", "{}", true),
        ("{partitions: 4}", "{partitions: 3}", true),
        ("{partitions: 3}", "{partitions: 4}", false),
        ("{}", "{partitions: 2}", false),
    ] {
        let expected = (!is_right).then_some("spec.partitions: partitions only grows; left out it is 1");
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(said(Kind::Topic, new, Some(old)), expected, "{old} → {new}");
    }
    // No second order is served yet; the rule waits for it.
    assert_eq!(said(Kind::Queue, "{ordering: Standard}", Some("{}")), [""; 0]);
    assert_eq!(said(Kind::Queue, "{ordering: FIFO}", Some("{}")), [fixed("ordering")]);
}

#[test]
fn a_name_that_brokers_could_not_take_is_refused() {
    let long = "a".repeat(250);
    let check = |kind: Kind, name: &str, spec: &str| {
        let result = Validator::new().validate(&schema(kind), &object(name, spec), None);
        result.err().map(|errors| errors.iter().map(|error| error.message.clone()).collect::<Vec<_>>())
    };
    let message = "metadata.name has more than 249 characters: give a shorter spec.queueName";
    assert_eq!(check(Kind::Queue, &long, "{}"), Some(vec![message.to_owned()]));
    assert_eq!(check(Kind::Queue, &long, "{queueName: short}"), None);
    assert_eq!(check(Kind::BrokerCluster, "main-1", "{}"), None);
    for bad in ["1st", "with.dot", &"a".repeat(41)] {
        assert_eq!(check(Kind::BrokerCluster, bad, "{}").map(|said| said.len()), Some(1), "{bad}");
    }
}

#[test]
fn the_samples_pass_the_rules() {
    let text = fs::read_to_string(repository().join("deploy/quickstart.yaml")).expect("the sample");
    for loaded in load("deploy/quickstart.yaml", &text).expect("right") {
        let kind = loaded.resource.kind();
        let object = serde_json::to_value(&loaded.resource).expect("JSON");
        let result = Validator::new().validate(&schema(kind), &object, None);
        assert!(result.is_ok(), "{kind:?}: {result:?}");
    }
}
