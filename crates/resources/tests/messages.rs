//! What is said of resources that are wrong: file, line, column, field, problem, and what is allowed.

use pondage_resources::load;

/// The messages for `text`, without the file's name in front.
fn messages(text: &str) -> Vec<String> {
    let errors = load("f", text).expect_err(text);
    errors.iter().map(|error| error.to_string().strip_prefix("f:").expect("the file").to_owned()).collect()
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(messages(text), expected, "\n{text}");
}

const TOPIC: &str = "apiVersion: pondage.io/v1alpha1\nkind: Topic\nmetadata: {name: t}\nspec:\n";
const QUEUE: &str = "apiVersion: pondage.io/v1alpha1\nkind: Queue\nmetadata: {name: q}\nspec:\n";
const GROUP: &str = "apiVersion: pondage.io/v1alpha1\nkind: ConsumerGroup\nmetadata: {name: g}\nspec:\n";
const CLUSTER: &str = "apiVersion: pondage.io/v1alpha1\nkind: BrokerCluster\nmetadata: {name: c}\nspec:\n";

/// Specs of one line, which is the fifth of its file.
fn check_specs(head: &str, specs: &[(&str, &str)]) {
    for (spec, expected) in specs {
        check(&format!("{head}  {spec}\n"), &[&format!("5:{expected}")]);
    }
}

#[test]
fn documents() {
    let served = "BrokerCluster, Topic, Queue, ConsumerGroup";
    for (text, expected) in [
        ("a: b: c", "1:5: is not valid YAML: mapping values are not allowed in this context"),
        (
            "\n\n[1, 2",
            "4:1: is not valid YAML: did not find expected ',' or ']', while parsing a flow sequence at 3:1",
        ),
        ("ok", "1:1: expected a resource (apiVersion, kind, metadata, spec), found \"ok\""),
        ("- 1", "1:3: expected a resource (apiVersion, kind, metadata, spec), found a list"),
        ("3.5", "1:1: expected a resource (apiVersion, kind, metadata, spec), found the number 3.5"),
        ("{}", "1:1: apiVersion: is required: pondage.io/v1alpha1"),
        ("kind: Topic", "1:1: apiVersion: is required: pondage.io/v1alpha1"),
        ("apiVersion: 1", "1:13: apiVersion: expected pondage.io/v1alpha1, found the number 1"),
        ("apiVersion: v1\nkind: Pod", "1:13: apiVersion: \"v1\" is not served; served: pondage.io/v1alpha1"),
        (
            "apiVersion: pondage.io/v1",
            "1:13: apiVersion: \"pondage.io/v1\" is not served; served: pondage.io/v1alpha1",
        ),
        ("apiVersion: pondage.io/v1alpha1", &format!("1:1: kind: is required: one of {served}")),
        (
            "apiVersion: pondage.io/v1alpha1\nkind: User",
            &format!("2:7: kind: \"User\" is not served by this version yet; served: {served}"),
        ),
        (
            "apiVersion: pondage.io/v1alpha1\nkind: topic",
            &format!("2:7: kind: \"topic\" is not a kind; served: {served}"),
        ),
        ("a: 1\na: 2", "2:1: the key \"a\" stands here a second time"),
        ("1: 2", "1:1: a key must be text; put it in quotes"),
        ("? [a]\n: 2", "1:4: a key must be text; put it in quotes"),
        ("a: *nowhere", "1:4: is not valid YAML: unknown anchor"),
        ("a: !secret x", "1:4: a value has a YAML tag (!…); write it without one"),
        ("a: \u{0}", "1:4: is not valid YAML: control characters are not allowed"),
        ("# é\n---\né: 1\né: \u{7}", "4:4: is not valid YAML: control characters are not allowed"),
        ("a: \u{1b}[31m", "1:4: is not valid YAML: control characters are not allowed"),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn topics() {
    check_specs(
        TOPIC,
        &[
            ("partitions: 0", "15: spec.partitions: 0 is outside of 1 to 1024"),
            ("partitions: -3", "15: spec.partitions: -3 is outside of 1 to 1024"),
            ("partitions: 1025", "15: spec.partitions: 1025 is outside of 1 to 1024"),
            ("partitions: 1.5", "15: spec.partitions: expected a whole number, found the number 1.5"),
            ("partitions: \"4\"", "15: spec.partitions: expected a whole number, found \"4\""),
            ("partitions: true", "15: spec.partitions: expected a whole number, found true"),
            ("partitions: [1]", "16: spec.partitions: expected a whole number, found a list"),
            (
                "partitions: 99999999999999999999",
                "15: spec.partitions: expected a whole number of at most 64 bits, found the number 99999999999999999999",
            ),
            (
                "topicName: ../etc",
                "14: spec.topicName: \"../etc\" is not a name: a name has 1 to 249 characters of A-Z a-z 0-9 . _ - and is not . or .. (this one has 6 bytes)",
            ),
            (
                "topicName: \"\\e[31m\\0\"",
                "14: spec.topicName: \"\\u{1b}[31m\\0\" is not a name: a name has 1 to 249 characters of A-Z a-z 0-9 . _ - and is not . or .. (this one has 6 bytes)",
            ),
            ("topicName: 7", "14: spec.topicName: expected text, found the number 7; put it in quotes"),
            ("minInSyncReplicas: 0", "22: spec.minInSyncReplicas: 0 is outside of 1 to 9"),
            (
                "{replicas: 2, minInSyncReplicas: 3}",
                "36: spec.minInSyncReplicas: 3 is more than replicas, which is 2",
            ),
            (
                "durability: Memory",
                "15: spec.durability: \"Memory\" is not served by this version yet; served: Fsync",
            ),
            ("durability: fsync", "15: spec.durability: expected one of Fsync, found \"fsync\""),
            (
                "cleanupPolicy: Compact",
                "18: spec.cleanupPolicy: \"Compact\" is not served by this version yet; served: Delete",
            ),
            (
                "compression: None",
                "16: spec.compression: \"None\" is not served by this version yet; served: Producer",
            ),
            ("placement: Hot", "14: spec.placement: expected one of Auto, Dedicated, Pooled, found \"Hot\""),
            (
                "deletionPolicy: [Delete]",
                "20: spec.deletionPolicy: expected one of Retain, DeleteIfEmpty, Delete, found a list",
            ),
            (
                "retention: {duration: 7d}",
                "25: spec.retention.duration: \"7d\" is not a duration; write numbers of up to 5 digits with the units h, m, s or ms, such as 30s, 1h30m or 250ms",
            ),
            (
                "retention: {duration: 90}",
                "25: spec.retention.duration: expected a duration such as 30s, 1h30m or 250ms, found the number 90",
            ),
            (
                "retention: {duration: 99999h}",
                "25: spec.retention.duration: 99999h is outside of 0s to 87840h",
            ),
            (
                "retention: {size: 1GB}",
                "21: spec.retention.size: \"1GB\" is not a size; write a number of bytes or a quantity such as 64Ki, 1Gi or 500M",
            ),
            (
                "retention: {size: -1}",
                "21: spec.retention.size: \"-1\" is not a size; write a number of bytes or a quantity such as 64Ki, 1Gi or 500M",
            ),
            (
                "retention: {size: 1.5}",
                "21: spec.retention.size: expected a size such as 64Ki, 1Gi or 500M, or a number of bytes, found the number 1.5",
            ),
            ("retention: 168h", "14: spec.retention: expected a map of duration, size, found \"168h\""),
            ("retention: {age: 1h}", "15: spec.retention.age: is not a field; allowed: duration, size"),
            ("maxMessageSize: 8Mi", "19: spec.maxMessageSize: 8Mi is outside of 1 to 7Mi"),
            ("maxMessageSize: 0", "19: spec.maxMessageSize: 0 is outside of 1 to 7Mi"),
            ("clusterRef: main", "15: spec.clusterRef: expected a map of name, namespace, found \"main\""),
            ("clusterRef: {namespace: a}", "16: spec.clusterRef.name: is required"),
        ],
    );
    let fields = "clusterRef, topicName, partitions, replicas, minInSyncReplicas, durability, retention, \
                  cleanupPolicy, compression, maxMessageSize, placement, deletionPolicy, adoptionPolicy";
    for later in ["deduplicationWindow", "quotas", "tieredStorage"] {
        check(
            &format!("{TOPIC}  {later}: x\n"),
            &[&format!("5:3: spec.{later}: is not served by this version yet; served: {fields}")],
        );
    }
    check(
        &format!("{TOPIC}  \"a\\u001b b\": x\n"),
        &[&format!("5:3: spec.\"a\\u{{1b}} b\": is not a field; allowed: {fields}")],
    );
}

#[test]
fn queues() {
    check_specs(
        QUEUE,
        &[
            ("ackTimeout: 99ms", "15: spec.ackTimeout: 99ms is outside of 100ms to 87840h"),
            ("maxDeliveries: -1", "18: spec.maxDeliveries: -1 is outside of 0 to 2147483647"),
            (
                "ordering: FIFO",
                "13: spec.ordering: \"FIFO\" is not served by this version yet; served: Standard",
            ),
            (
                "deliveryMode: AtMostOnce",
                "17: spec.deliveryMode: \"AtMostOnce\" is not served by this version yet; served: AtLeastOnce",
            ),
            ("partitions: 2", "15: spec.partitions: 2 is not served by this version; served: 1"),
            ("messageTTL: 0s", "15: spec.messageTTL: 0s is outside of 1ms to 87840h"),
            (
                "maxInFlightPerConsumer: 65537",
                "27: spec.maxInFlightPerConsumer: 65537 is outside of 1 to 65536",
            ),
            (
                "deadLetter: {queueRef: {name: q}}",
                "33: spec.deadLetter.queueRef.name: \"q\" is this queue itself; name another queue",
            ),
            (
                "{maxDeliveries: 0, deadLetter: {queueRef: {name: d}}}",
                "22: spec.deadLetter: needs maxDeliveries above 0: with 0 no message ever fails for good",
            ),
            ("deadLetter: {}", "3: spec.deadLetter.queueRef: is required"),
            (
                "deadLetter: {queueRef: d}",
                "26: spec.deadLetter.queueRef: expected a map of name, found \"d\"",
            ),
            (
                "deadLetter: {queueRef: {name: a b}}",
                "33: spec.deadLetter.queueRef.name: \"a b\" is not a name: a name has 1 to 249 characters of A-Z a-z 0-9 . _ - and is not . or .. (this one has 3 bytes)",
            ),
            (
                "deliveryDelay: {default: 2h, max: 1h}",
                "28: spec.deliveryDelay.default: 2h is more than max, which is 1h",
            ),
            (
                "backoff: 5s",
                "12: spec.backoff: expected a map of schedule, initial, multiplier, max, found \"5s\"",
            ),
            (
                "backoff: {schedule: [1s, 5]}",
                "28: spec.backoff.schedule[1]: expected a duration such as 30s, 1h30m or 250ms, found the number 5",
            ),
            (
                "backoff: {schedule: [1s, 99999h]}",
                "28: spec.backoff.schedule[1]: 99999h is outside of 0s to 87840h",
            ),
            (
                "backoff: {schedule: [1s], max: 1s}",
                "34: spec.backoff.max: can't stand beside schedule, which lists every wait",
            ),
            ("backoff: {initial: 1s}", "3: spec.backoff.max: is required, or a schedule"),
            ("backoff: {initial: 9s, max: 8s}", "31: spec.backoff.max: 8s is less than initial, which is 9s"),
            (
                "backoff: {initial: 1s, multiplier: 0, max: 8s}",
                "38: spec.backoff.multiplier: 0 is outside of 1 to 1000",
            ),
            (
                "backoff: {initial: 1s, multiplier: \"0.99\", max: 8s}",
                "38: spec.backoff.multiplier: 0.99 is outside of 1 to 1000",
            ),
            (
                "backoff: {initial: 1s, multiplier: 1.5, max: 8s}",
                "38: spec.backoff.multiplier: expected a whole number such as 2, or one or two decimals in quotes such as \"1.5\", found the number 1.5",
            ),
            (
                "backoff: {initial: 1s, max: 8s, jitter: 1s}",
                "35: spec.backoff.jitter: is not a field; allowed: schedule, initial, multiplier, max",
            ),
        ],
    );
    let steps = vec!["1s"; 65].join(", ");
    check(
        &format!("{QUEUE}  backoff: {{schedule: [{steps}]}}\n"),
        &["5:13: spec.backoff.schedule: has 65 steps; at most 64 are allowed"],
    );
    for later in ["bindings", "deduplicationWindow", "limits", "priorities", "quotas"] {
        let message = &messages(&format!("{QUEUE}  {later}: x\n"))[0];
        assert!(
            message.starts_with(&format!("5:3: spec.{later}: is not served by this version yet; served: "))
        );
    }
}

#[test]
fn groups() {
    check_specs(
        GROUP,
        &[
            ("topicRefs: []", "3: spec.topicRefs: names no topic; 1 to 256 are allowed"),
            ("topicRefs: {name: t}", "15: spec.topicRefs: expected a list, found a map"),
            ("topicRefs: [t]", "15: spec.topicRefs[0]: expected a map of name, found \"t\""),
            ("topicRefs: [{name: t}, {name: t}]", "33: spec.topicRefs[1].name: \"t\" is named twice"),
            (
                "{topicRefs: [{name: t}], queueRef: {name: q}}",
                "28: spec.queueRef: can't stand beside topicRefs: a group needs exactly one of topicRefs and queueRef",
            ),
            (
                "{queueRef: {name: q}, mode: Ordered}",
                "31: spec.mode: is for groups with topicRefs; leave it out of one with queueRef",
            ),
            (
                "{queueRef: {name: q}, startPosition: Latest}",
                "40: spec.startPosition: is for groups with topicRefs; leave it out of one with queueRef",
            ),
            (
                "{topicRefs: [{name: t}], mode: Broadcast}",
                "34: spec.mode: expected one of Ordered, Shared, found \"Broadcast\"",
            ),
            (
                "{queueRef: {name: q}, mode: Shared}",
                "31: spec.mode: is for groups with topicRefs; leave it out of one with queueRef",
            ),
            (
                "{topicRefs: [{name: t}], ackTimeout: 5s}",
                "40: spec.ackTimeout: is for shared groups: it needs mode: Shared",
            ),
            (
                "{topicRefs: [{name: t}], mode: Ordered, deadLetter: {queueRef: {name: q}}}",
                "43: spec.deadLetter: is for shared groups: it needs mode: Shared",
            ),
            (
                "{topicRefs: [{name: t}], mode: Shared, maxDeliveries: 0, deadLetter: {queueRef: {name: q}}}",
                "60: spec.deadLetter: needs maxDeliveries above 0: with 0 no message ever fails for good",
            ),
            (
                "{topicRefs: [{name: t}], startPosition: Time}",
                "43: spec.startPosition: Time needs startTime, such as 2026-01-31T10:00:00Z",
            ),
            (
                "{topicRefs: [{name: t}], startTime: 2026-01-31T10:00:00Z}",
                "39: spec.startTime: needs startPosition: Time",
            ),
            (
                "{topicRefs: [{name: t}], startPosition: Time, startTime: 2026-01-31}",
                "60: spec.startTime: \"2026-01-31\" is not a time; write it as RFC 3339 does, such as 2026-01-31T10:00:00Z",
            ),
        ],
    );
    check(GROUP, &["4:1: spec: needs exactly one of topicRefs and queueRef"]);
}

#[test]
fn clusters() {
    check_specs(
        CLUSTER,
        &[
            ("replicas: 0", "13: spec.replicas: 0 is outside of 1 to 1000"),
            (
                "replication: {defaultReplicas: 1, minInSyncReplicas: 2}",
                "56: spec.replication.minInSyncReplicas: 2 is more than defaultReplicas, which is 1",
            ),
            (
                "{replicas: 1, replication: {defaultReplicas: 3}}",
                "48: spec.replication.defaultReplicas: 3 is more than the brokers, spec.replicas, which is 1",
            ),
            ("listeners: [{name: a}]", "16: spec.listeners[0].port: is required"),
            ("listeners: [{name: a, port: 0}]", "31: spec.listeners[0].port: 0 is outside of 1 to 65535"),
            (
                "listeners: [{name: a, port: 65536}]",
                "31: spec.listeners[0].port: 65536 is outside of 1 to 65535",
            ),
            (
                "listeners: [{name: a, port: 1}, {name: a, port: 2}]",
                "42: spec.listeners[1].name: a names two listeners",
            ),
            (
                "listeners: [{name: a, port: 1}, {name: b, port: 1}]",
                "51: spec.listeners[1].port: 1 is the port of two listeners",
            ),
            (
                "listeners: [{name: a, port: 1, protocol: Kafka}]",
                "44: spec.listeners[0].protocol: \"Kafka\" is not served by this version yet; served: Native",
            ),
            (
                "listeners: [{name: a, port: 1, tls: x}]",
                "34: spec.listeners[0].tls: is not served by this version yet; served: name, port, protocol",
            ),
            (
                "tls: {mode: Managed}",
                "3: spec.tls: is not served by this version yet; served: replicas, replication, listeners, image, storage, rack, resources, podTemplate, config, allowedNamespaces, networkPolicy, monitoring",
            ),
            (
                "updateStrategy: x",
                "3: spec.updateStrategy: is not served by this version yet; served: replicas, replication, listeners, image, storage, rack, resources, podTemplate, config, allowedNamespaces, networkPolicy, monitoring",
            ),
            ("rack: x", "9: spec.rack: expected a map of topologyKey, mode, found \"x\""),
            (
                "colour: x",
                "3: spec.colour: is not a field; allowed: replicas, replication, listeners, image, storage, rack, resources, podTemplate, config, allowedNamespaces, networkPolicy, monitoring",
            ),
        ],
    );
}

#[test]
fn metadata() {
    let head = "apiVersion: pondage.io/v1alpha1\nkind: Topic\n";
    for (rest, expected) in [
        ("", "1:1: metadata.name: is required"),
        ("metadata: {}", "3:1: metadata.name: is required"),
        ("metadata:\n", "3:1: metadata.name: is required"),
        ("metadata: {name: 5}", "3:18: metadata.name: expected text, found the number 5; put it in quotes"),
        (
            "metadata: {name: t, labels: {a: 1}}",
            "3:33: metadata.labels.a: expected text, found the number 1; put it in quotes",
        ),
        (
            "metadata: {name: t, finalizers: []}",
            "3:21: metadata.finalizers: is not a field; allowed: name, namespace, labels, annotations",
        ),
        (
            "metadata: {name: t}\nspecs: {}",
            "4:1: specs: is not a field; allowed: apiVersion, kind, metadata, spec",
        ),
        (
            "metadata: {name: t}\nspec: 5",
            "4:7: spec: expected a map of clusterRef, topicName, partitions, replicas, minInSyncReplicas, durability, retention, cleanupPolicy, compression, maxMessageSize, placement, deletionPolicy, adoptionPolicy, found the number 5",
        ),
    ] {
        check(&format!("{head}{rest}"), &[expected]);
    }
}

#[test]
fn everything_is_told_at_once_with_lines_of_the_file() {
    let text = format!(
        "# A comment\n{TOPIC}  partitions: 0\n  replicas: many\n  colour: red\n---\n{QUEUE}  ackTimeout: soon\n  \
         maxDeliveries: -1\n---\nbroken: [\n---\n# an empty one\n---\n{GROUP}  mode: Broadcast\n  \
         topicRefs: none\n"
    );
    // The index of an item is not told where an item before it could not be read.
    check(
        &format!("{QUEUE}  backoff: {{schedule: [1x, 99999h]}}\n"),
        &[
            "5:24: spec.backoff.schedule[0]: \"1x\" is not a duration; write numbers of up to 5 digits with the units h, m, s or ms, such as 30s, 1h30m or 250ms",
        ],
    );
    let messages = messages(&text);
    let starts = [
        "6:15: spec.partitions: 0 is outside of 1 to 1024",
        "7:13: spec.replicas: expected a whole number, found \"many\"",
        "8:3: spec.colour: is not a field; allowed: ",
        "14:15: spec.ackTimeout: \"soon\" is not a duration; ",
        "15:18: spec.maxDeliveries: -1 is outside of 0 to 2147483647",
        "18:1: is not valid YAML: did not find expected node content, while parsing a flow node",
        "25:9: spec.mode: expected one of Ordered, Shared, found \"Broadcast\"",
        "26:14: spec.topicRefs: expected a list, found \"none\"",
    ];
    assert_eq!(messages.len(), starts.len(), "{messages:#?}");
    for (message, start) in messages.iter().zip(starts) {
        assert!(message.starts_with(start), "{message}\n{start}");
    }
}

#[test]
fn a_resource_stands_once() {
    let second = |body: &str| {
        format!("{QUEUE}  maxDeliveries: 1\n---\napiVersion: pondage.io/v1alpha1\nkind: Queue\n{body}\n")
    };
    check(&second("metadata: {name: q}"), &["9:18: metadata.name: Queue \"q\" stands at line 1 already"]);
    check(
        &second("metadata: {name: r}\nspec: {queueName: q}"),
        &["9:18: metadata.name: Queue \"q\" stands at line 1 already"],
    );
    assert!(load("f", &second("metadata: {name: q, namespace: other}")).is_ok());
    assert!(load("f", &second("metadata: {name: r}\nspec: {queueName: q, clusterRef: {name: c}}")).is_ok());
}

#[test]
fn a_dead_letter_queue_is_known_by_its_name_in_the_cluster() {
    let text = format!(
        "{QUEUE}  deadLetter: {{queueRef: {{name: alias}}}}\n---\napiVersion: pondage.io/v1alpha1\nkind: Queue\n\
         metadata: {{name: alias}}\nspec: {{queueName: q, clusterRef: {{name: other}}}}\n"
    );
    check(
        &text,
        &["5:33: spec.deadLetter.queueRef.name: \"alias\" is this queue itself; name another queue"],
    );
}

#[test]
fn lists() {
    let list = |rest: &str| format!("apiVersion: v1\nkind: List\n{rest}");
    check(&list(""), &["1:1: items: is required: a list of resources"]);
    check(&list("items: 5"), &["3:1: items: expected a list of resources"]);
    check(
        &list("items: [5]"),
        &["3:9: expected a resource (apiVersion, kind, metadata, spec), found the number 5"],
    );
    check(
        &list("items: []\nitem: 1"),
        &["4:1: item: is not a field; allowed: apiVersion, kind, metadata, items"],
    );
    check(
        &list(
            "items:\n- apiVersion: pondage.io/v1alpha1\n  kind: Topic\n  metadata: {name: t}\n  spec: {partitions: 0}\n",
        ),
        &["7:22: spec.partitions: 0 is outside of 1 to 1024"],
    );
    check(
        &list("items:\n- {apiVersion: v1, kind: List, items: []}\n"),
        &["4:16: apiVersion: \"v1\" is not served; served: pondage.io/v1alpha1"],
    );
}

#[test]
fn a_flood_of_errors_is_cut() {
    let errors = load("f", &"---\na: 1\n".repeat(1_500)).expect_err("wrong");
    assert_eq!(errors.len(), 1_000);
    assert_eq!(errors[999].problem, "more errors follow; the first 999 are told");
    let keys: String = (0..5_000).map(|at| format!("  k{at}: 1\n")).collect();
    let errors = load("f", &format!("{TOPIC}{keys}")).expect_err("wrong");
    assert!((10..100).contains(&errors.len()), "{}", errors.len());
}
