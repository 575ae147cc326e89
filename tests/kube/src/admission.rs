//! Resources as hostile as administrators and their templates make them, and what a real API server says: it refuses
//! each with the field's path, or takes it and stores it as it was written.

use anyhow::{Context, Result, ensure};
use pondage_resources::{CRDS, crd_yaml};
use serde_json::Value;

use crate::client::Client;

/// One resource, and what is expected of it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is about.
    pub about: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// What is there before, if anything.
    pub old: Option<&'static str>,
    /// What is asked for.
    pub spec: &'static str,
    /// The words of the refusal, the field's path among them; none if it is taken.
    pub refused: Option<&'static [&'static str]>,
}

const fn taken(about: &'static str, kind: &'static str, spec: &'static str) -> Case {
    Case { about, kind, old: None, spec, refused: None }
}

const fn refused(
    about: &'static str,
    kind: &'static str,
    spec: &'static str,
    words: &'static [&'static str],
) -> Case {
    Case { about, kind, old: None, spec, refused: Some(words) }
}

const fn changed(
    about: &'static str,
    kind: &'static str,
    [old, spec]: [&'static str; 2],
    words: &'static [&'static str],
) -> Case {
    Case { about, kind, old: Some(old), spec, refused: Some(words) }
}

/// All of them.
pub const CASES: &[Case] = &[
    taken("nothing at all", "Topic", "{}"),
    taken("nothing at all", "Queue", "{}"),
    taken("nothing at all", "BrokerCluster", "{}"),
    taken("a null, which is dropped", "Topic", "{partitions: null}"),
    taken("sizes as numbers and words", "Topic", "{maxMessageSize: 1048576, retention: {size: 1.5Gi}}"),
    taken("a growing backoff", "Queue", "{backoff: {initial: 250ms, multiplier: '1.5', max: 1h30m}}"),
    taken("a schedule", "Queue", "{backoff: {schedule: [1s, 5s]}}"),
    taken("topics", "ConsumerGroup", "{topicRefs: [{name: a}, {name: b}], startPosition: Latest}"),
    taken(
        "consumers that are scaled, to zero and as it was told when figures are missing",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: w}, slo: {maxDelay: 1m}, \
         autoscaling: {mode: Recommend, minReplicas: 0, maxReplicas: 3, target: {delay: 30s, utilizationPercent: 70}, \
         scaleToZero: {after: 5m}, fallback: {after: 2m, replicas: 2, behavior: CurrentReplicasIfHigher}, \
         behavior: {scaleUp: {selectPolicy: Min, policies: [{type: Pods, value: 4, periodSeconds: 15}]}, \
         drain: {timeout: 2m}}}}",
    ),
    taken(
        "a start time",
        "ConsumerGroup",
        "{topicRefs: [{name: a}], startPosition: Time, startTime: '2026-01-31T10:00:00+01:00'}",
    ),
    taken("listeners", "BrokerCluster", "{listeners: [{name: a, port: 1}, {name: b, port: 65535}]}"),
    taken(
        "namespaces by their labels",
        "BrokerCluster",
        "{allowedNamespaces: {from: Selector, selector: {matchExpressions: [{key: team, operator: NotIn, values: [a]}]}}}",
    ),
    refused(
        "namespaces by no labels",
        "BrokerCluster",
        "{allowedNamespaces: {from: Selector}}",
        &["spec.allowedNamespaces.selector", "need each other"],
    ),
    // Wrong types.
    refused("a word for a number", "Topic", "{partitions: many}", &["spec.partitions", "integer"]),
    refused("a fraction for a number", "Topic", "{partitions: 1.5}", &["spec.partitions", "integer"]),
    refused("a number for a word", "Queue", "{queueName: 5}", &["spec.queueName", "string"]),
    refused("a number for a duration", "Queue", "{ackTimeout: 30}", &["spec.ackTimeout", "string"]),
    refused("a list for a map", "Queue", "{backoff: [1s]}", &["spec.backoff", "object"]),
    refused(
        "a map for a list",
        "ConsumerGroup",
        "{topicRefs: {name: a}}",
        &["unknown field", "spec.topicRefs.name"],
    ),
    refused("a word for a map", "Topic", "{retention: 1h}", &["spec.retention", "object"]),
    refused("a list as the spec", "Topic", "[]", &["spec", "object"]),
    // Unknown fields and words.
    refused("an unknown field", "Topic", "{colour: red}", &["unknown field", "spec.colour"]),
    refused(
        "a field that nothing serves yet",
        "Queue",
        "{bindings: []}",
        &["unknown field", "spec.bindings"],
    ),
    refused(
        "an unknown field further inside",
        "Queue",
        "{backoff: {schedule: [], jitter: 1s}}",
        &["spec.backoff.jitter"],
    ),
    refused("a word that nothing serves yet", "Queue", "{ordering: FIFO}", &["spec.ordering", "Standard"]),
    refused("another case", "Topic", "{placement: auto}", &["spec.placement", "Auto"]),
    // Numbers far off.
    refused(
        "a negative number",
        "Topic",
        "{partitions: -1}",
        &["spec.partitions", "greater than or equal to 1"],
    ),
    refused("zero", "Topic", "{replicas: 0}", &["spec.replicas", "greater than or equal to 1"]),
    refused("too many", "Topic", "{partitions: 1025}", &["spec.partitions", "less than or equal to 1024"]),
    refused("2^63", "Queue", "{maxDeliveries: 9223372036854775808}", &["spec.maxDeliveries"]),
    refused("2^63 - 1", "Queue", "{maxDeliveries: 9223372036854775807}", &["spec.maxDeliveries"]),
    refused(
        "a port of 65536",
        "BrokerCluster",
        "{listeners: [{name: a, port: 65536}]}",
        &["spec.listeners[0].port"],
    ),
    // Text that is not what it should be.
    refused("a path as a name", "Topic", "{topicName: ../../etc}", &["spec.topicName"]),
    refused("an empty name", "Topic", "{topicName: ''}", &["spec.topicName"]),
    refused("days", "Topic", "{retention: {duration: 7d}}", &["spec.retention.duration"]),
    refused("a negative duration", "Queue", "{ackTimeout: -1s}", &["spec.ackTimeout"]),
    refused("eleven years", "Queue", "{ackTimeout: 99999h}", &["spec.ackTimeout", "must be 100ms to 87840h"]),
    refused("an instant", "Queue", "{ackTimeout: 99ms}", &["spec.ackTimeout", "must be 100ms to 87840h"]),
    refused("a negative size", "Topic", "{maxMessageSize: -1}", &["spec.maxMessageSize", "must be 1 to 7Mi"]),
    refused("a size with a wrong suffix", "Topic", "{maxMessageSize: 1MB}", &["spec.maxMessageSize"]),
    refused("8Mi", "Topic", "{maxMessageSize: 8Mi}", &["spec.maxMessageSize", "must be 1 to 7Mi"]),
    refused(
        "exabytes in small print",
        "Topic",
        "{maxMessageSize: 9E}",
        &["spec.maxMessageSize", "must be 1 to 7Mi"],
    ),
    refused(
        "a factor of 0",
        "Queue",
        "{backoff: {initial: 1s, max: 1s, multiplier: 0}}",
        &["spec.backoff.multiplier", "1 to 1000"],
    ),
    refused(
        "no time",
        "ConsumerGroup",
        "{topicRefs: [{name: a}], startPosition: Time, startTime: noon}",
        &["spec.startTime"],
    ),
    // What one object says against itself.
    refused(
        "its own dead-letter queue",
        "Queue",
        "{deadLetter: {queueRef: {name: it}}}",
        &["spec.deadLetter.queueRef.name", "its own dead-letter queue"],
    ),
    refused(
        "dead letters without failures",
        "Queue",
        "{maxDeliveries: 0, deadLetter: {queueRef: {name: b}}}",
        &["spec.deadLetter", "above 0"],
    ),
    refused(
        "no queue for dead letters",
        "Queue",
        "{deadLetter: {}}",
        &["spec.deadLetter.queueRef", "Required"],
    ),
    refused(
        "more in sync than there are",
        "Queue",
        "{replicas: 1, minInSyncReplicas: 2}",
        &["spec.minInSyncReplicas", "more than replicas"],
    ),
    refused(
        "more copies than brokers",
        "BrokerCluster",
        "{replicas: 1, replication: {defaultReplicas: 3}}",
        &["spec.replication.defaultReplicas"],
    ),
    refused(
        "two listeners on a port",
        "BrokerCluster",
        "{listeners: [{name: a, port: 1}, {name: b, port: 1}]}",
        &["spec.listeners", "same port"],
    ),
    refused(
        "two listeners of a name",
        "BrokerCluster",
        "{listeners: [{name: a, port: 1}, {name: a, port: 2}]}",
        &["spec.listeners", "Duplicate"],
    ),
    refused(
        "neither topics nor a queue",
        "ConsumerGroup",
        "{}",
        &["spec", "exactly one of topicRefs and queueRef"],
    ),
    refused(
        "topics and a queue",
        "ConsumerGroup",
        "{topicRefs: [{name: a}], queueRef: {name: a}}",
        &["exactly one of topicRefs and queueRef"],
    ),
    refused(
        "a topic twice",
        "ConsumerGroup",
        "{topicRefs: [{name: a}, {name: a}]}",
        &["spec.topicRefs", "twice"],
    ),
    refused(
        "a start in a queue",
        "ConsumerGroup",
        "{queueRef: {name: a}, startPosition: Latest}",
        &["spec.startPosition"],
    ),
    refused(
        "a time without Time",
        "ConsumerGroup",
        "{topicRefs: [{name: a}], startTime: '2026-01-31T10:00:00Z'}",
        &["spec.startTime", "need each other"],
    ),
    refused(
        "scaling without a workload",
        "ConsumerGroup",
        "{queueRef: {name: a}, autoscaling: {maxReplicas: 3, target: {delay: 30s}}}",
        &["spec.scaleTargetRef", "required, unless autoscaling.mode is Disabled"],
    ),
    refused(
        "brokers as consumers",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {apiVersion: pondage.io/v1alpha1, kind: BrokerCluster, name: main}}",
        &["spec.scaleTargetRef.apiVersion", "of Pondage itself"],
    ),
    refused(
        "a target beyond the promise",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {name: w}, slo: {maxDelay: 10s}, \
         autoscaling: {maxReplicas: 3, target: {delay: 30s}}}",
        &["spec.autoscaling.target.delay", "more than slo.maxDelay"],
    ),
    refused(
        "a least that is more than the most",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {name: w}, \
         autoscaling: {minReplicas: 4, maxReplicas: 3, target: {delay: 30s}}}",
        &["spec.autoscaling.minReplicas", "more than maxReplicas"],
    ),
    refused(
        "no replicas and no way to them",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {name: w}, \
         autoscaling: {minReplicas: 0, maxReplicas: 3, target: {delay: 30s}}}",
        &["spec.autoscaling.scaleToZero", "need each other"],
    ),
    refused(
        "two targets",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {name: w}, \
         autoscaling: {maxReplicas: 3, target: {delay: 30s, backlogPerReplica: 10}}}",
        &["spec.autoscaling.target", "exactly one of delay and backlogPerReplica"],
    ),
    refused(
        "a fallback beyond the most",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {name: w}, \
         autoscaling: {maxReplicas: 3, target: {delay: 30s}, fallback: {replicas: 4}}}",
        &["spec.autoscaling.fallback.replicas", "to maxReplicas"],
    ),
    refused(
        "a delay of nothing",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {name: w}, autoscaling: {maxReplicas: 3, target: {delay: 0s}}}",
        &["spec.autoscaling.target.delay", "1s to 168h"],
    ),
    refused(
        "a window beyond an hour",
        "ConsumerGroup",
        "{queueRef: {name: a}, scaleTargetRef: {name: w}, autoscaling: {maxReplicas: 3, target: {delay: 30s}, \
         behavior: {scaleDown: {stabilizationWindowSeconds: 3601}}}}",
        &["spec.autoscaling.behavior.scaleDown.stabilizationWindowSeconds", "3600"],
    ),
    refused(
        "a backoff that is nothing",
        "Queue",
        "{backoff: {}}",
        &["spec.backoff", "either schedule, or initial and max"],
    ),
    refused(
        "a backoff that shrinks",
        "Queue",
        "{backoff: {initial: 2s, max: 1s}}",
        &["spec.backoff.initial"],
    ),
    refused(
        "a default above the most",
        "Queue",
        "{deliveryDelay: {default: 2s, max: 1s}}",
        &["spec.deliveryDelay.default"],
    ),
    // What does not change.
    changed(
        "another cluster",
        "Queue",
        ["{clusterRef: {name: a}}", "{clusterRef: {name: b}}"],
        &["spec.clusterRef", "can't be changed"],
    ),
    changed(
        "a cluster after all",
        "Topic",
        ["{}", "{clusterRef: {name: b}}"],
        &["spec.clusterRef", "can't be changed"],
    ),
    changed(
        "no cluster any more",
        "Topic",
        ["{clusterRef: {name: b}}", "{}"],
        &["spec.clusterRef", "can't be changed"],
    ),
    changed(
        "another name",
        "Topic",
        ["{topicName: a}", "{topicName: b}"],
        &["spec.topicName", "can't be changed"],
    ),
    changed(
        "fewer partitions",
        "Topic",
        ["{partitions: 4}", "{partitions: 3}"],
        &["spec.partitions", "only grows"],
    ),
    changed("no word of partitions", "Topic", ["{partitions: 4}", "{}"], &["spec.partitions", "only grows"]),
    Case {
        about: "more partitions",
        kind: "Topic",
        old: Some("{partitions: 3}"),
        spec: "{partitions: 4}",
        refused: None,
    },
    Case {
        about: "another timeout",
        kind: "Queue",
        old: Some("{ackTimeout: 30s}"),
        spec: "{ackTimeout: 60s}",
        refused: None,
    },
];

/// Gives the API server our definitions, and waits until it serves them.
///
/// # Errors
/// If it does not take one: it is not structural, or a rule costs too much.
pub fn install(kubectl: &Client) -> Result<()> {
    for kind in CRDS {
        kubectl
            .run(&["apply", "--server-side", "-f", "-"], &crd_yaml(kind))
            .with_context(|| format!("the definition of {kind:?}"))?;
    }
    let names =
        CRDS.map(|kind| format!("crd/{}", pondage_resources::crd(kind).metadata.name.unwrap_or_default()));
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
    wait.extend(names.iter().map(String::as_str));
    kubectl.run(&wait, "")?;
    Ok(())
}

/// Tries one case.
///
/// # Errors
/// With what is not as expected.
pub fn check(kubectl: &Client, case: &Case) -> Result<()> {
    let resource = |spec: &str| {
        format!(
            "apiVersion: pondage.io/v1alpha1\nkind: {}\nmetadata: {{name: it}}\nspec: {spec}\n",
            case.kind
        )
    };
    let give = |verb: &str, spec: &str| {
        kubectl.run(&[verb, "--validate=strict", "-o", "json", "-f", "-"], &resource(spec))
    };
    if let Some(old) = case.old {
        give("create", old).context("what was there before")?;
    }
    let result = give(if case.old.is_some() { "replace" } else { "create" }, case.spec);
    let there = case.old.is_some() || result.is_ok();
    let stored =
        if there { kubectl.run(&["get", case.kind, "it", "-o", "json"], "")? } else { String::new() };
    if there {
        kubectl.run(&["delete", case.kind, "it", "--wait=true"], "").context("cleaning up")?;
    }
    match (case.refused, result) {
        (None, result) => {
            result?;
            let stored: Value = serde_json::from_str(&stored)?;
            ensure!(
                stored["status"]["conditions"][0]["reason"] == "Pending",
                "no conditions: {}",
                stored["status"]
            );
            Ok(())
        }
        (Some(words), Err(refusal)) => {
            let said = format!("{refusal:#}");
            for word in words {
                ensure!(said.contains(word), "nothing of {word:?} in: {said}");
            }
            Ok(())
        }
        (Some(_), Ok(_)) => anyhow::bail!("it was taken: {stored}"),
    }
}
