//! Resources that are right: what they mean, and that they survive being written and read again.

use pondage_model::{
    LogTime, Name,
    settings::{
        Backoff, DeletionPolicy, GroupSettings, GroupSource, Placement, QueueSettings, Sharing,
        StartPosition, TopicSettings,
    },
};
use pondage_resources::{
    BrokerCluster, ClusterSettings, ConsumerGroup, ListenerProtocol, ListenerSettings, Loaded, Queue,
    Resource, Settings, Topic, check_local, load, to_json, to_yaml,
};
use proptest::{collection::vec, option, prelude::*};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn loaded(text: &str) -> Vec<Loaded> {
    match load("f", text) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{text}\n{}", errors.iter().map(|e| format!("{e}\n")).collect::<String>()),
    }
}

fn settings(text: &str) -> Vec<Settings> {
    loaded(text).into_iter().map(|loaded| loaded.settings).collect()
}

fn head(kind: &str, name: &str) -> String {
    format!("apiVersion: pondage.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
}

#[test]
fn what_is_left_out_takes_the_model_s_defaults() {
    for rest in ["", "spec: {}\n", "spec:\n", "spec: {partitions: , replicas: null}\n"] {
        let text = head("Topic", "t") + rest;
        assert_eq!(settings(&text), [Settings::Topic(name("t"), TopicSettings::default())], "{text}");
    }
    for rest in ["", "spec: {}\n", "spec: {deadLetter: ~}\n"] {
        let text = head("Queue", "q") + rest;
        assert_eq!(settings(&text), [Settings::Queue(name("q"), QueueSettings::default())], "{text}");
    }
    let group = GroupSettings::of(GroupSource::Queue(name("q")));
    let text = head("ConsumerGroup", "g") + "spec: {queueRef: {name: q}}";
    assert_eq!(settings(&text), [Settings::ConsumerGroup(name("g"), group)]);
    let cluster = ClusterSettings {
        name: name("c"),
        replicas: None,
        default_replicas: None,
        min_in_sync_replicas: None,
        listeners: Vec::new(),
    };
    assert_eq!(settings(&head("BrokerCluster", "c")), [Settings::BrokerCluster(cluster)]);
}

#[test]
fn every_field_arrives() {
    let text = "\
apiVersion: pondage.io/v1alpha1
kind: Topic
metadata:
  name: flights
  namespace: travel
  labels: {team: air}
  annotations: {note: \"1\"}
  uid: 123
  creationTimestamp: null
  managedFields: [{manager: kubectl}]
spec:
  clusterRef: {name: main, namespace: infra}
  topicName: Flights_2026
  partitions: 12
  replicas: 3
  minInSyncReplicas: 2
  durability: Fsync
  retention: {duration: 1h30m, size: 10Gi}
  cleanupPolicy: Delete
  compression: Producer
  maxMessageSize: 64Ki
  placement: Dedicated
  deletionPolicy: DeleteIfEmpty
status: {anything: [1, 2]}
---
apiVersion: pondage.io/v1alpha1
kind: Queue
metadata: {name: orders}
spec:
  clusterRef: {name: main}
  queueName: Orders
  replicas: 3
  minInSyncReplicas: 2
  durability: Fsync
  ordering: Standard
  partitions: 1
  ackTimeout: 1m
  maxDeliveries: 3
  backoff: {initial: 250ms, multiplier: \"1.5\", max: 1m}
  deadLetter: {queueRef: {name: dead}}
  messageTTL: 24h
  deliveryDelay: {default: 1s, max: 1h}
  maxInFlightPerConsumer: 10
  maxMessageSize: 1000
  deliveryMode: AtLeastOnce
  placement: Pooled
  deletionPolicy: Delete
---
{\"apiVersion\": \"pondage.io/v1alpha1\", \"kind\": \"Queue\", \"metadata\": {\"name\": \"dead\"},
 \"spec\": {\"queueName\": \"Orders.dead\", \"backoff\": {\"schedule\": [\"1s\", \"5s\"]}, \"clusterRef\": {\"name\": \"main\"}}}
---
apiVersion: v1
kind: List
metadata: {resourceVersion: \"\"}
items:
- apiVersion: pondage.io/v1alpha1
  kind: ConsumerGroup
  metadata: {name: board, namespace: travel}
  spec:
    groupName: Board
    topicRefs: [{name: flights}, {name: elsewhere}]
    mode: Shared
    ackTimeout: 5s
    maxDeliveries: 3
    backoff: {schedule: [1s]}
    deadLetter: {queueRef: {name: dead}}
    startPosition: Time
    startTime: 2026-01-31T10:00:00Z
    sessionTimeout: 45s
    maxInFlightPerConsumer: 5
- apiVersion: pondage.io/v1alpha1
  kind: BrokerCluster
  metadata: {name: main}
  spec:
    replicas: 3
    replication: {defaultReplicas: 3, minInSyncReplicas: 2}
    listeners: [{name: native, port: 7400, protocol: Native}, {name: other, port: 7401}]
";
    let all = loaded(text);
    let places: Vec<_> = all.iter().map(|one| (one.document_index, one.line)).collect();
    assert_eq!(places, [(0, 1), (1, 26), (2, 49), (3, 56), (3, 71)]);
    let Resource::Topic(topic) = &all[0].resource else { panic!("a topic") };
    assert_eq!(topic.metadata.namespace.as_deref(), Some("travel"));
    assert_eq!(topic.metadata.labels["team"], "air");
    assert_eq!(topic.metadata.annotations["note"], "1");
    let topic = TopicSettings {
        partitions: 12,
        replicas: Some(3),
        min_in_sync_replicas: Some(2),
        retention_millis: Some(5_400_000),
        retention_bytes: Some(10 << 30),
        message_bytes_max: 65_536,
        placement: Placement::Dedicated,
        deletion_policy: DeletionPolicy::DeleteIfEmpty,
    };
    let queue = QueueSettings {
        replicas: Some(3),
        min_in_sync_replicas: Some(2),
        ack_timeout_millis: 60_000,
        max_deliveries: 3,
        backoff: Backoff::Exponential { initial_millis: 250, multiplier_percent: 150, max_millis: 60_000 },
        dead_letter: Some(name("Orders.dead")),
        message_ttl_millis: Some(86_400_000),
        delivery_delay_millis: 1_000,
        delivery_delay_millis_max: 3_600_000,
        in_flight_per_consumer_max: 10,
        message_bytes_max: 1_000,
        placement: Placement::Pooled,
        deletion_policy: DeletionPolicy::Delete,
    };
    let dead = QueueSettings { backoff: Backoff::Schedule(vec![1_000, 5_000]), ..QueueSettings::default() };
    let group = GroupSettings {
        source: GroupSource::Topics(vec![name("Flights_2026"), name("elsewhere")]),
        sharing: Some(Sharing {
            ack_timeout_millis: 5_000,
            max_deliveries: 3,
            backoff: Backoff::Schedule(vec![1_000]),
            // Nothing of this name in the group's namespace gives it another one.
            dead_letter: Some(name("dead")),
        }),
        start_position: StartPosition::Time(LogTime(1_769_853_600_000)),
        in_flight_per_consumer_max: 5,
        session_timeout_millis: 45_000,
    };
    let listener =
        |text, port| ListenerSettings { name: name(text), port, protocol: ListenerProtocol::Native };
    let cluster = ClusterSettings {
        name: name("main"),
        replicas: Some(3),
        default_replicas: Some(3),
        min_in_sync_replicas: Some(2),
        listeners: vec![listener("native", 7_400), listener("other", 7_401)],
    };
    let expected = [
        Settings::Topic(name("Flights_2026"), topic),
        Settings::Queue(name("Orders"), queue),
        Settings::Queue(name("Orders.dead"), dead),
        Settings::ConsumerGroup(name("Board"), group),
        Settings::BrokerCluster(cluster),
    ];
    assert_eq!(all.iter().map(|one| one.settings.clone()).collect::<Vec<_>>(), expected);

    // What was written, metadata included, survives both forms of output.
    let resources: Vec<_> = all.iter().map(|one| one.resource.clone()).collect();
    for text in [to_yaml(&resources), to_json(&resources)] {
        let again: Vec<_> = loaded(&text).into_iter().map(|one| one.resource).collect();
        assert_eq!(again, resources, "{text}");
    }
}

#[test]
fn zero_retention_is_for_ever() {
    let text = head("Topic", "t") + "spec: {retention: {duration: 0s, size: 0}}";
    let Settings::Topic(_, topic) = &settings(&text)[0] else { panic!("a topic") };
    assert_eq!((topic.retention_millis, topic.retention_bytes), (None, None));
    let text = head("Topic", "t") + "spec: {retention: {size: 1Gi}}";
    let Settings::Topic(_, topic) = &settings(&text)[0] else { panic!("a topic") };
    assert_eq!(topic.retention_millis, TopicSettings::default().retention_millis);
}

#[test]
fn other_forms_of_yaml_are_read() {
    let queue = head("Queue", "q");
    let crlf = queue.replace('\n', "\r\n");
    let alias = format!("{queue}spec: {{deliveryDelay: {{default: &d 1h, max: *d}}}}\n");
    let directive = format!("%YAML 1.2\n---\n{queue}...\n");
    for text in
        [&queue, &crlf, &alias, &directive, &format!("\u{feff}{queue}"), &format!("--- # one\n{queue}")]
    {
        assert_eq!(settings(text).len(), 1, "{text}");
    }
    assert_eq!(settings(""), []);
    assert_eq!(settings("# nothing\n---\n~\n---\n"), []);
    assert_eq!(settings("apiVersion: v1\nkind: List\nitems: []\n"), []);
}

#[test]
fn a_later_check_finds_the_line() {
    let text = head("Queue", "q") + "spec:\n  deadLetter:\n    queueRef:\n      name: gone\n";
    let queue = &loaded(&text)[0];
    for (field, place) in [
        ("spec.deadLetter.queueRef.name", "f:7:13: spec.deadLetter.queueRef.name: no such queue"),
        ("spec.deadLetter", "f:5:3: spec.deadLetter: no such queue"),
        ("spec.maxDeliveries", "f:4:1: spec.maxDeliveries: no such queue"),
        ("", "f:1:1: no such queue"),
        ("spec[7].x[", "f:4:1: spec[7].x[: no such queue"),
    ] {
        assert_eq!(queue.error(field, "no such queue").to_string(), place);
    }
}

#[test]
fn local_mode_has_one_broker() {
    let check = |text: &str, expected: &[&str]| {
        let errors = check_local(&loaded(text), 1).err().unwrap_or_default();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{text}");
    };
    let one = head("BrokerCluster", "c");
    check(&one, &[]);
    check(&format!("{one}spec: {{replicas: 1, replication: {{defaultReplicas: 1}}}}"), &[]);
    check(
        &format!("{one}spec: {{replicas: 3, replication: {{minInSyncReplicas: 2}}}}"),
        &[
            "f:4:18: spec.replicas: 3 is more than the one broker of local mode; set 1 or leave it out",
            "f:4:54: spec.replication.minInSyncReplicas: 2 is more than the one broker of local mode; set 1 or leave it out",
        ],
    );
    let three = loaded(&format!("{one}spec: {{replicas: 4}}"));
    let errors = check_local(&three, 3).err().unwrap_or_default();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].contains("4 is more than the 3 brokers"), "{told:?}");
    check(
        &format!("{one}---\n{}", head("BrokerCluster", "d")),
        &["f:6:7: kind: local mode runs one BrokerCluster; this is another"],
    );
    check(
        &format!("{}---\n{}", head("Topic", "t"), head("Topic", "t, namespace: b")),
        &["f:7:18: metadata.name: Topic \"t\" stands at line 1 already; local mode has no namespaces"],
    );
    check(&format!("{}---\n{}", head("Topic", "t"), head("Queue", "t")), &[]);
}

fn names() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9_-]{1,12}|true|null|1e3|0x1f|1.5|~|[0-9]{1,5}"
        .prop_filter_map("a name", |text| Name::new(&text).ok())
}

const LONGEST: u64 = pondage_model::limits::DURATION_MILLIS_MAX;

fn placements() -> impl Strategy<Value = Placement> {
    prop_oneof![Just(Placement::Auto), Just(Placement::Dedicated), Just(Placement::Pooled)]
}

fn deletion_policies() -> impl Strategy<Value = DeletionPolicy> {
    prop_oneof![
        Just(DeletionPolicy::Retain),
        Just(DeletionPolicy::DeleteIfEmpty),
        Just(DeletionPolicy::Delete)
    ]
}

fn replicas() -> impl Strategy<Value = (Option<u32>, Option<u32>)> {
    (option::of(1_u32..=9), option::of(1_u32..=9)).prop_map(|(replicas, minimum)| {
        (replicas, minimum.map(|minimum| minimum.min(replicas.unwrap_or(minimum))))
    })
}

prop_compose! {
    fn topics()(
        partitions in 1_u32..=1_024,
        (replicas, min_in_sync_replicas) in replicas(),
        retention_millis in option::of(1..=LONGEST),
        retention_bytes in option::of(1..=i64::MAX.unsigned_abs()),
        message_bytes_max in 1_u32..=7 << 20,
        placement in placements(),
        deletion_policy in deletion_policies(),
    ) -> TopicSettings {
        TopicSettings {
            partitions, replicas, min_in_sync_replicas, retention_millis, retention_bytes, message_bytes_max,
            placement, deletion_policy,
        }
    }
}

fn backoffs() -> impl Strategy<Value = Backoff> {
    prop_oneof![
        vec(0..=LONGEST, 0..=64).prop_map(Backoff::Schedule),
        (0..=LONGEST, 100_u32..=100_000, 0..=LONGEST).prop_map(|(one, multiplier_percent, two)| {
            Backoff::Exponential {
                initial_millis: one.min(two),
                multiplier_percent,
                max_millis: one.max(two),
            }
        }),
    ]
}

prop_compose! {
    fn queues()(
        (replicas, min_in_sync_replicas) in replicas(),
        ack_timeout_millis in 100..=LONGEST,
        max_deliveries in 1_u32..=i32::MAX as u32,
        backoff in backoffs(),
        dead_letter in option::of(names()),
        message_ttl_millis in option::of(1..=LONGEST),
        delays in (0..=LONGEST, 0..=LONGEST),
        in_flight_per_consumer_max in 1_u32..=65_536,
        message_bytes_max in 1_u32..=7 << 20,
        placement in placements(),
        deletion_policy in deletion_policies(),
    ) -> QueueSettings {
        QueueSettings {
            replicas, min_in_sync_replicas, ack_timeout_millis, max_deliveries, backoff, dead_letter,
            message_ttl_millis,
            delivery_delay_millis: delays.0.min(delays.1),
            delivery_delay_millis_max: delays.0.max(delays.1),
            in_flight_per_consumer_max, message_bytes_max, placement, deletion_policy,
        }
    }
}

fn groups() -> impl Strategy<Value = GroupSettings> {
    let start = prop_oneof![
        Just(StartPosition::Earliest),
        Just(StartPosition::Latest),
        (-62_167_219_200_000_i64..=253_402_300_799_999).prop_map(|time| StartPosition::Time(LogTime(time))),
    ];
    let topics = proptest::collection::btree_set(names(), 1..5).prop_map(|names| names.into_iter().collect());
    let sharing = (100..=LONGEST, 1_u32..=i32::MAX as u32, backoffs(), option::of(names()));
    let sharing = sharing.prop_map(|(ack_timeout_millis, max_deliveries, backoff, dead_letter)| Sharing {
        ack_timeout_millis,
        max_deliveries,
        backoff,
        dead_letter,
    });
    let session = 1_000..=3_600_000_u64;
    prop_oneof![
        (topics.prop_map(GroupSource::Topics), option::of(sharing), start, session.clone()),
        (names().prop_map(GroupSource::Queue), Just(None), Just(StartPosition::Earliest), session),
    ]
    .prop_flat_map(|(source, sharing, start_position, session_timeout_millis)| {
        (1_u32..=65_536).prop_map(move |in_flight_per_consumer_max| GroupSettings {
            source: source.clone(),
            sharing: sharing.clone(),
            start_position,
            in_flight_per_consumer_max,
            session_timeout_millis,
        })
    })
}

fn clusters() -> impl Strategy<Value = ClusterSettings> {
    let listeners = proptest::collection::btree_map(names(), Just(()), 0..4);
    (names(), option::of(9_u32..=1_000), replicas(), listeners).prop_map(
        |(name, replicas, copies, listeners)| {
            let listener = |(name, port)| ListenerSettings { name, port, protocol: ListenerProtocol::Native };
            ClusterSettings {
                name,
                replicas,
                default_replicas: copies.0,
                min_in_sync_replicas: copies.1,
                listeners: listeners.into_keys().zip(7_000..).map(listener).collect(),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// From the model to text and back nothing is lost, whatever the names look like to a YAML reader.
    #[test]
    fn settings_survive_being_written(
        topic in topics(), queue in queues(), group in groups(), cluster in clusters(), names in vec(names(), 3),
    ) {
        prop_assume!(queue.dead_letter.as_ref() != Some(&names[1]));
        let resources = [
            Resource::BrokerCluster(BrokerCluster::from_settings(&cluster)),
            Resource::Topic(Topic::from_settings(&names[0], &topic)),
            Resource::Queue(Queue::from_settings(&names[1], &queue)),
            Resource::ConsumerGroup(ConsumerGroup::from_settings(&names[2], &group)),
        ];
        let expected = [
            Settings::BrokerCluster(cluster),
            Settings::Topic(names[0].clone(), topic),
            Settings::Queue(names[1].clone(), queue),
            Settings::ConsumerGroup(names[2].clone(), group),
        ];
        for text in [to_yaml(&resources), to_json(&resources)] {
            prop_assert_eq!(&settings(&text)[..], &expected[..], "{}", text);
        }
        for (resource, expected) in resources.into_iter().zip(expected) {
            prop_assert_eq!(settings(&to_json(&[resource])), [expected]);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}|[-a: \n\\[\\]{},&*!'\"|>%#?~0-9.]{0,80}") {
        drop(load("f", &text));
    }

    /// A right file with a piece of it replaced: an answer, and every error has a line of the file.
    #[test]
    fn no_change_panics(
        at in 0_usize..600, length in 0_usize..40,
        new in "[-a: \n\\[\\]{},&*!'\"|>%#?~0-9.]{0,12}|---\n|\u{0}|null|\\PC{0,4}",
    ) {
        let mut text = to_yaml(&[
            Resource::Queue(Queue::from_settings(&name("q"), &QueueSettings::default())),
            Resource::Topic(Topic::from_settings(&name("t"), &TopicSettings::default())),
        ]);
        let from = at.min(text.len());
        let to = (from + length).min(text.len());
        text.replace_range(from..to, &new);
        if let Err(errors) = load("f", &text) {
            prop_assert!(!errors.is_empty());
            // Line breaks as YAML counts them: more kinds than Rust's lines.
            let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
            let lines = text.matches(breaks).count() + 2;
            for error in errors {
                prop_assert!((1..=lines).contains(&error.line), "{} of {}: {}", error.line, lines, error);
                prop_assert!(!error.to_string().contains(char::is_control), "{:?}", error.to_string());
            }
        }
    }
}
