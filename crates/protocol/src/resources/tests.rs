use super::*;
use pondage_model::{
    BrokerId, LogTime, Offset, ShardId, StreamId,
    settings::{Backoff, GroupSource, Sharing, StartPosition},
};

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

fn group(source: GroupSource, start_position: StartPosition) -> Settings {
    Settings::Group(GroupSettings {
        source,
        sharing: None,
        start_position,
        in_flight_per_consumer_max: 7,
        session_timeout_millis: 8_000,
    })
}

#[test]
fn settings_survive_the_wire() {
    let exponential = Backoff::Exponential { initial_millis: 10, multiplier_percent: 150, max_millis: 1_000 };
    for settings in [
        Settings::Topic(TopicSettings::default()),
        Settings::Topic(TopicSettings {
            partitions: 12,
            replicas: Some(3),
            min_in_sync_replicas: Some(2),
            retention_millis: None,
            retention_bytes: Some(1 << 40),
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            placement: Placement::Pooled,
            deletion_policy: DeletionPolicy::Delete,
        }),
        Settings::Queue(QueueSettings::default()),
        Settings::Queue(QueueSettings {
            replicas: Some(1),
            min_in_sync_replicas: Some(1),
            ack_timeout_millis: limits::LEASE_MILLIS_MIN,
            max_deliveries: 0,
            backoff: exponential,
            dead_letter: Some(name("orders.dead")),
            message_ttl_millis: Some(1),
            delivery_delay_millis: 5,
            delivery_delay_millis_max: 5,
            in_flight_per_consumer_max: limits::CREDIT_MAX,
            message_bytes_max: 1,
            placement: Placement::Dedicated,
            deletion_policy: DeletionPolicy::DeleteIfEmpty,
        }),
        group(GroupSource::Queue(name("orders")), StartPosition::Latest),
        group(GroupSource::Topics(vec![name("a"), name("b")]), StartPosition::Time(LogTime(-3))),
        Settings::Group(GroupSettings {
            sharing: Some(Sharing {
                ack_timeout_millis: limits::LEASE_MILLIS_MIN,
                max_deliveries: 0,
                backoff: Backoff::Schedule(vec![1, 2]),
                dead_letter: Some(name("orders.dead")),
            }),
            ..GroupSettings::of(GroupSource::Topics(vec![name("a")]))
        }),
    ] {
        let resource = Resource {
            name: name("x"),
            uid: Uuid([7; 16]),
            revision: Revision(3),
            settings,
            streams: Some(vec![StreamStatus {
                partition: 1,
                shard: ShardId(2),
                stream: StreamId(3),
                leader: Some(BrokerId(4)),
                start: Offset(5),
                end: Offset(6),
                ready: 7,
                unacked: 8,
                scheduled: 9,
                moving: 10,
                dead_lettered: 11,
                oldest_age_millis: 12,
                consumers: 13,
                bytes: 14,
                settled: 15,
            }]),
        };
        assert_eq!(Resource::try_from(v1::Resource::from(resource.clone())), Ok(resource));
    }
}

#[test]
fn fields_left_out_take_their_defaults() {
    assert_eq!(TopicSettings::try_from(v1::TopicSpec::default()), Ok(TopicSettings::default()));
    assert_eq!(QueueSettings::try_from(v1::QueueSpec::default()), Ok(QueueSettings::default()));
    let long = limits::DURATION_MILLIS_MAX;
    let spec = v1::QueueSpec { delivery_delay_millis: Some(long), ..v1::QueueSpec::default() };
    assert_eq!(QueueSettings::try_from(spec).expect("valid").delivery_delay_millis_max, long);
}

#[test]
fn a_refusal_names_the_field_and_what_it_may_hold() {
    let topic =
        |spec| Settings::try_from(v1::ResourceSpec { spec: Some(v1::resource_spec::Spec::Topic(spec)) });
    let queue =
        |spec| Settings::try_from(v1::ResourceSpec { spec: Some(v1::resource_spec::Spec::Queue(spec)) });
    let groups =
        |spec| Settings::try_from(v1::ResourceSpec { spec: Some(v1::resource_spec::Spec::Group(spec)) });
    let topic_default = v1::TopicSpec::default;
    let queue_default = v1::QueueSpec::default;
    let schedule = |steps_millis| {
        Some(v1::Backoff {
            backoff: Some(v1::backoff::Backoff::Schedule(v1::BackoffSchedule { steps_millis })),
        })
    };
    let exponential = |initial_millis, multiplier_percent, max_millis| {
        let inner = v1::BackoffExponential { initial_millis, multiplier_percent, max_millis };
        Some(v1::Backoff { backoff: Some(v1::backoff::Backoff::Exponential(inner)) })
    };
    let topics = |names: &[&str]| v1::GroupSpec {
        source: Some(v1::group_spec::Source::Topics(v1::GroupTopics {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        })),
        ..v1::GroupSpec::default()
    };
    let beyond = limits::DURATION_MILLIS_MAX + 1;
    for (refused, words) in [
        (Settings::try_from(v1::ResourceSpec::default()), "spec: allowed: topic, queue, group"),
        (
            topic(v1::TopicSpec { partitions: Some(0), ..topic_default() }),
            "partitions: 0 is outside 1 to 1024",
        ),
        (topic(v1::TopicSpec { partitions: Some(1025), ..topic_default() }), "partitions"),
        (topic(v1::TopicSpec { replicas: Some(0), ..topic_default() }), "replicas: 0 is outside 1 to 9"),
        (
            topic(v1::TopicSpec { replicas: Some(2), min_in_sync_replicas: Some(3), ..topic_default() }),
            "min_in_sync_replicas: 3 is outside 1 to 2",
        ),
        (topic(v1::TopicSpec { message_bytes_max: Some(0), ..topic_default() }), "message_bytes_max"),
        (
            topic(v1::TopicSpec { placement: 9, ..topic_default() }),
            "placement: 9 is unknown; allowed: PLACEMENT_AUTO, PLACEMENT_DEDICATED, PLACEMENT_POOLED",
        ),
        (topic(v1::TopicSpec { deletion_policy: -1, ..topic_default() }), "deletion_policy: -1 is unknown"),
        (queue(v1::QueueSpec { ack_timeout_millis: Some(99), ..queue_default() }), "ack_timeout_millis"),
        (queue(v1::QueueSpec { ack_timeout_millis: Some(beyond), ..queue_default() }), "ack_timeout_millis"),
        (queue(v1::QueueSpec { message_ttl_millis: Some(beyond), ..queue_default() }), "message_ttl_millis"),
        (
            queue(v1::QueueSpec {
                delivery_delay_millis: Some(6),
                delivery_delay_millis_max: Some(5),
                ..queue_default()
            }),
            "delivery_delay_millis: 6 is outside 0 to 5",
        ),
        (
            queue(v1::QueueSpec { in_flight_per_consumer_max: Some(0), ..queue_default() }),
            "in_flight_per_consumer_max",
        ),
        (queue(v1::QueueSpec { dead_letter: Some("a/b".to_owned()), ..queue_default() }), "a name has"),
        (
            queue(v1::QueueSpec { backoff: Some(v1::Backoff::default()), ..queue_default() }),
            "backoff: allowed",
        ),
        (queue(v1::QueueSpec { backoff: schedule(vec![1; 65]), ..queue_default() }), "65 items, at most 64"),
        (queue(v1::QueueSpec { backoff: schedule(vec![beyond]), ..queue_default() }), "steps_millis"),
        (queue(v1::QueueSpec { backoff: exponential(5, 200, 4), ..queue_default() }), "initial_millis"),
        (queue(v1::QueueSpec { backoff: exponential(1, 99, 4), ..queue_default() }), "multiplier_percent"),
        (queue(v1::QueueSpec { backoff: exponential(1, 100, beyond), ..queue_default() }), "max_millis"),
        (groups(v1::GroupSpec::default()), "source: allowed: topics, queue"),
        (groups(topics(&[])), "topics.names: empty"),
        (groups(topics(&["a", "a"])), "topics.names: one is named twice"),
        (groups(topics(&["a", ".."])), "a name has"),
        (
            groups(v1::GroupSpec { session_timeout_millis: Some(999), ..topics(&["a"]) }),
            "session_timeout_millis",
        ),
        (
            groups(v1::GroupSpec { start_position: Some(v1::GroupStart::default()), ..topics(&["a"]) }),
            "start_position: allowed",
        ),
    ] {
        let said = refused.expect_err(words).to_string();
        assert!(said.contains(words), "{said:?} lacks {words:?}");
    }
}
