//! Applying topics, queues and groups.

use pondage_model::{
    Revision, ShardId, StreamId, limits,
    settings::{
        Backoff, GroupSettings, GroupSource, Placement, QueueSettings, Sharing, StartPosition, TopicSettings,
    },
};

use super::{
    check, cluster, delete_group, delete_queue, delete_topic, group, name, queue, run, topic, topics, word,
};
use crate::{Catalog, Command, ShardKind, StreamOwner, StreamPlace};

#[test]
fn topics_are_applied() {
    let mut catalog = cluster(1);
    let partitions = |count| move |it: &mut TopicSettings| it.partitions = count;
    check(
        &mut catalog,
        vec![
            (topic("t", partitions(2)), "created g1 [1@5 2@6] +2"),
            (topic("t", partitions(2)), "unchanged"),
            (topic("t", partitions(3)), "updated g2 [3@7] +1"),
            (topic("t", partitions(2)), "INVALID_ARGUMENT: partitions: only grows; the topic has 3, not 2"),
            (topic("t", partitions(0)), "INVALID_ARGUMENT: partitions: 1 to 1024, not 0"),
            (topic("t", partitions(1_025)), "INVALID_ARGUMENT: partitions: 1 to 1024, not 1025"),
            (topic("t", partitions(u32::MAX)), "INVALID_ARGUMENT: partitions: …"),
            (
                topic("t", |it| {
                    it.partitions = 3;
                    it.retention_bytes = Some(1);
                }),
                "updated g3 [] +0",
            ),
            (
                topic("t", |it| {
                    it.partitions = 3;
                    it.placement = Placement::Pooled;
                }),
                "INVALID_ARGUMENT: placement: can't change; it is Auto",
            ),
            (topic("p", |it| it.placement = Placement::Pooled), "created g1 [4@1] +0"),
            (
                topic("r", |it| it.replicas = Some(3)),
                "INVALID_ARGUMENT: replicas: 3 replicas need 3 brokers…",
            ),
            (topic("r", |it| it.replicas = Some(0)), "INVALID_ARGUMENT: replicas: …"),
            (topic("r", |it| it.min_in_sync_replicas = Some(2)), "INVALID_ARGUMENT: minInSyncReplicas: 2…"),
            (topic("r", |it| it.message_bytes_max = 0), "INVALID_ARGUMENT: maxMessageSize: …"),
            (topic("r", |it| it.message_bytes_max = u32::MAX), "INVALID_ARGUMENT: maxMessageSize: …"),
        ],
    );
    let topic = catalog.topic(&name("t")).expect("created");
    assert_eq!((topic.meta.created, topic.meta.changed), (Revision(3), Revision(10)));
    assert_eq!(topic.partitions[2], StreamPlace { stream: StreamId(3), shard: ShardId(7) });
    let owner = StreamOwner::Partition { topic: name("t"), partition: 2 };
    assert_eq!(catalog.stream(StreamId(3)).map(|stream| &stream.owner), Some(&owner));
    assert_eq!(catalog.streams_of(ShardId(7)).collect::<Vec<_>>(), [StreamId(3)]);
}

#[test]
fn a_topic_pools_what_goes_beyond_the_brokers_dedicated_shards() {
    let mut catalog = cluster(1);
    let cap = limits::DEDICATED_SHARDS_PER_BROKER_MAX as u32;
    run(&mut catalog, &topic("t", |it| it.partitions = cap + 6)).expect("created");
    let pooled: Vec<usize> = (1..=4).map(|shard| catalog.stream_count_of(ShardId(shard))).collect();
    assert_eq!(pooled, [2, 2, 1, 1]);
    assert_eq!(catalog.shards().filter(|shard| shard.kind == ShardKind::Dedicated).count(), cap as usize);
    let deleted = word(run(&mut catalog, &delete_topic("t", None, 9)));
    assert_eq!(deleted, "deleted -70 -64");
    assert_eq!(catalog.shards().len(), 5);
    assert_eq!(word(run(&mut catalog, &topic("t", |_| {}))), "created g1 [71@69] +1", "no id comes back");
}

#[test]
fn replicas_are_real_where_there_are_brokers() {
    let mut catalog = cluster(3);
    let settings = |replicas, minimum| {
        move |it: &mut TopicSettings| {
            it.replicas = replicas;
            it.min_in_sync_replicas = minimum;
        }
    };
    check(
        &mut catalog,
        vec![
            (topic("t", settings(None, None)), "created g1 [1@13] +1"),
            (topic("t", settings(Some(3), None)), "updated g2 [] +0"),
            (topic("t", settings(Some(3), Some(3))), "updated g3 [] +0"),
            // The copies follow by the planners.
            (topic("t", settings(Some(2), None)), "updated g4 [] +0"),
            (topic("t", settings(Some(4), None)), "INVALID_ARGUMENT: replicas: 4 replicas need 4 brokers…"),
        ],
    );
    let shard = catalog.shard(ShardId(13)).expect("dedicated");
    assert_eq!((shard.replicas.len(), shard.min_in_sync_replicas, shard.version), (3, 2, 3));
    let settings = |minimum| {
        move |it: &mut QueueSettings| {
            it.placement = Placement::Dedicated;
            it.min_in_sync_replicas = minimum;
        }
    };
    check(
        &mut catalog,
        vec![
            (queue("q", settings(None)), "created g1 [2@14] +1"),
            (queue("q", settings(Some(1))), "updated g2 [] +0"),
        ],
    );
    let shard = catalog.shard(ShardId(14)).expect("dedicated");
    assert_eq!((shard.min_in_sync_replicas, shard.version), (1, 2));
}

#[test]
fn a_minimum_that_is_not_reached_waits_for_the_planners() {
    let mut catalog = cluster(3);
    let minimum = |minimum| move |it: &mut TopicSettings| it.min_in_sync_replicas = Some(minimum);
    let minimum_of = |catalog: &Catalog| catalog.shard(ShardId(13)).map(|row| row.min_in_sync_replicas);
    check(&mut catalog, vec![(topic("t", minimum(1)), "created g1 [1@13] +1")]);
    let lost = catalog.shard(ShardId(13)).expect("dedicated").replicas[1];
    check(
        &mut catalog,
        vec![(Command::LoseBroker { broker: lost }, "done"), (topic("t", minimum(3)), "updated g2 [] +0")],
    );
    assert_eq!(minimum_of(&catalog), Some(1), "it would stop the writes");
    check(&mut catalog, vec![(topic("t", minimum(2)), "updated g3 [] +0")]);
    assert_eq!(minimum_of(&catalog), Some(2));
}

#[test]
fn queues_are_applied() {
    let mut catalog = cluster(1);
    let dead_letter = |target: &str| {
        let target = name(target);
        move |it: &mut QueueSettings| it.dead_letter = Some(target)
    };
    check(
        &mut catalog,
        vec![
            (queue("q", |_| {}), "created g1 [1@1] +0"),
            (queue("q", |_| {}), "unchanged"),
            (queue("r", |_| {}), "created g1 [2@2] +0"),
            (queue("own", |it| it.placement = Placement::Dedicated), "created g1 [3@5] +1"),
            (topic("t", |_| {}), "created g1 [4@6] +1"),
            (queue("t", |_| {}), "CONFLICT: t is a topic; topics and queues share one name space"),
            (topic("q", |_| {}), "CONFLICT: q is a queue; topics and queues share one name space"),
            (queue("q", dead_letter("r")), "updated g2 [] +0"),
            (queue("r", dead_letter("q")), "updated g2 [] +0"),
            (queue("q", dead_letter("q")), "INVALID_ARGUMENT: deadLetter: a queue can't be its own…"),
            (queue("q", dead_letter("t")), "INVALID_ARGUMENT: deadLetter: t is a topic…"),
            (queue("q", dead_letter("absent")), "NOT_FOUND: no queue \"absent\""),
            (queue("new", dead_letter("new")), "INVALID_ARGUMENT: deadLetter: …"),
            (queue("q", |it| it.placement = Placement::Dedicated), "INVALID_ARGUMENT: placement: …"),
            (
                queue("n", |it| it.replicas = Some(2)),
                "INVALID_ARGUMENT: replicas: 2 replicas need 2 brokers…",
            ),
            (queue("n", |it| it.message_bytes_max = 0), "INVALID_ARGUMENT: maxMessageSize: …"),
            (
                queue("n", |it| it.in_flight_per_consumer_max = 0),
                "INVALID_ARGUMENT: maxInFlightPerConsumer: …",
            ),
            (queue("n", |it| it.ack_timeout_millis = 0), "INVALID_ARGUMENT: ackTimeout: …"),
            (queue("n", |it| it.message_ttl_millis = Some(0)), "INVALID_ARGUMENT: messageTTL: …"),
            (queue("n", |it| it.delivery_delay_millis = u64::MAX), "INVALID_ARGUMENT: deliveryDelay: …"),
            (queue("n", |it| it.backoff = Backoff::Schedule(vec![1; 65])), "INVALID_ARGUMENT: backoff: …"),
            (
                queue("n", |it| {
                    it.backoff =
                        Backoff::Exponential { initial_millis: 1, multiplier_percent: 99, max_millis: 9 };
                }),
                "INVALID_ARGUMENT: backoff.multiplier: …",
            ),
        ],
    );
    let meta = catalog.queue(&name("q")).expect("created").meta;
    assert_eq!((meta.generation, meta.created, meta.changed), (2, Revision(3), Revision(10)));
}

#[test]
fn shared_groups_live_beside_the_partitions_that_they_read() {
    let mut catalog = cluster(1);
    let partitions = |count| move |it: &mut TopicSettings| it.partitions = count;
    let shared = |text: &str, source: GroupSource, dead_letter: Option<&str>| {
        let sharing = Some(Sharing { dead_letter: dead_letter.map(name), ..Sharing::default() });
        Command::ApplyGroup {
            name: name(text),
            settings: GroupSettings { sharing, ..GroupSettings::of(source) },
        }
    };
    check(
        &mut catalog,
        vec![
            (topic("a", partitions(2)), "created g1 [1@5 2@6] +2"),
            (topic("b", |it| it.placement = Placement::Pooled), "created g1 [3@1] +0"),
            (queue("dead", |_| {}), "created g1 [4@2] +0"),
            (shared("g", topics(&["a", "b"]), Some("dead")), "created g1 [5@3 6@5 7@6 8@1] +0"),
            (shared("g", topics(&["a", "b"]), Some("dead")), "unchanged"),
            (shared("h", topics(&["a"]), None), "created g1 [9@4 10@5 11@6] +0"),
            (
                group("g", topics(&["a", "b"])),
                "INVALID_ARGUMENT: mode: a group is shared for life or not at all…",
            ),
            (shared("q", GroupSource::Queue(name("dead")), None), "INVALID_ARGUMENT: mode: …"),
            (shared("n", topics(&["a"]), Some("a")), "INVALID_ARGUMENT: deadLetter: a is a topic…"),
            (shared("n", topics(&["a"]), Some("absent")), "NOT_FOUND: no queue \"absent\""),
            (topic("a", partitions(3)), "updated g2 [12@7 13@7 14@7] +1"),
            (delete_topic("a", None, 0), "CONFLICT: topic a is in use: group g reads it, group h reads it"),
            (delete_queue("dead", None, 0), "CONFLICT: queue dead is in use: group g dead-letters to it"),
            (shared("g", topics(&["a", "b"]), None), "updated g2 [] +0"),
            (delete_queue("dead", None, 0), "deleted -1 -0"),
        ],
    );
    let g = catalog.group(&name("g")).expect("created");
    let place = |stream, shard| StreamPlace { stream: StreamId(stream), shard: ShardId(shard) };
    assert_eq!(g.shares_of(&name("a")), [place(6, 5), place(7, 6), place(13, 7)]);
    assert_eq!(g.shares_of(&name("b")), [place(8, 1)]);
    let owner = StreamOwner::Share { group: name("g"), topic: name("a"), partition: 2 };
    assert_eq!(catalog.stream(StreamId(13)).map(|stream| &stream.owner), Some(&owner));
    let settings = catalog.stream_settings(StreamId(13)).expect("there");
    assert_eq!(settings.reads(), Some(StreamId(12)));
    assert_eq!(catalog.streams_of(ShardId(7)).collect::<Vec<_>>(), [12, 13, 14].map(StreamId));
    assert_eq!(Catalog::decode(catalog.encode()).as_ref(), Ok(&catalog));

    // A partition's shard outlives the groups that share it, and goes with the partition.
    check(
        &mut catalog,
        vec![
            (delete_group("g"), "deleted -5 -0"),
            (delete_group("h"), "deleted -4 -0"),
            (topic("a", partitions(4)), "updated g3 [15@8] +1"),
            (delete_topic("a", None, 0), "deleted -4 -4"),
        ],
    );
    let many = limits::SHARED_GROUPS_PER_TOPIC_MAX;
    for index in 0..many {
        run(&mut catalog, &shared(&format!("s{index}"), topics(&["b"]), None)).expect("created");
    }
    check(
        &mut catalog,
        vec![
            (shared("more", topics(&["b"]), None), "CONFLICT: topic b has 64 shared groups, the most…"),
            (group("more", topics(&["b"])), "created…"),
        ],
    );
}

#[test]
fn groups_are_applied() {
    let mut catalog = cluster(1);
    let starting_late = |command: Command| match command {
        Command::ApplyGroup { name, mut settings } => {
            settings.start_position = StartPosition::Latest;
            Command::ApplyGroup { name, settings }
        }
        other => other,
    };
    let many: Vec<String> = (0..=limits::TOPICS_PER_GROUP_MAX).map(|index| format!("t{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(
        &mut catalog,
        vec![
            (topic("a", |_| {}), "created…"),
            (topic("b", |_| {}), "created…"),
            (queue("q", |_| {}), "created…"),
            (group("g", topics(&["a", "b"])), "created g1 [4@2] +0"),
            (group("g", topics(&["a", "b"])), "unchanged"),
            (starting_late(group("g", topics(&["a", "b"]))), "updated g2 [] +0"),
            (group("g", topics(&["a"])), "INVALID_ARGUMENT: topics, queue: what a group reads can't change…"),
            (group("g", GroupSource::Queue(name("q"))), "INVALID_ARGUMENT: topics, queue: …"),
            (group("q", GroupSource::Queue(name("q"))), "created g1 [5@3] +0"),
            (group("x", topics(&[])), "INVALID_ARGUMENT: topics: 1 to 256, not 0"),
            (group("x", topics(&many)), "INVALID_ARGUMENT: topics: 1 to 256, not 257"),
            (group("x", topics(&["a", "a"])), "INVALID_ARGUMENT: topics: a topic is named twice"),
            (group("x", topics(&["a", "q"])), "NOT_FOUND: no topic \"q\""),
            (group("x", GroupSource::Queue(name("a"))), "NOT_FOUND: no queue \"a\""),
        ],
    );
}

#[test]
fn the_cluster_takes_so_many_streams_and_no_more() {
    let mut catalog = cluster(1);
    let pooled = |it: &mut TopicSettings| {
        it.partitions = limits::PARTITIONS_MAX;
        it.placement = Placement::Pooled;
    };
    let whole = limits::STREAMS_MAX / limits::PARTITIONS_MAX as usize;
    for index in 0..whole {
        let revision = catalog.revision().next();
        catalog.apply(revision, &topic(&format!("t{index}"), pooled)).expect("room");
    }
    let revision = catalog.revision().next();
    let refused = word(catalog.apply(revision, &topic("more", pooled)));
    assert!(refused.starts_with("CONFLICT: the cluster has 99328 queues, partitions and"), "{refused}");
    assert_eq!(Catalog::decode(catalog.encode()), Ok(catalog.clone()));
}

#[test]
fn the_cluster_takes_so_many_groups_and_no_more() {
    let mut catalog = cluster(1);
    run(&mut catalog, &queue("q", |_| {})).expect("created");
    for index in 0..=limits::GROUPS_MAX {
        let command = group(&format!("g{index}"), GroupSource::Queue(name("q")));
        let revision = catalog.revision().next();
        assert_eq!(catalog.apply(revision, &command).is_ok(), index < limits::GROUPS_MAX, "group {index}");
    }
}
