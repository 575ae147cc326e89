//! Decision tables: a catalog, a command, and what comes of it in a few words.

use pondage_model::{
    BrokerId, Incarnation, Name, ProducerId, Refusal, Revision, ShardId, StreamId, Uuid, limits,
    settings::{
        Backoff, DeletionPolicy, GroupSettings, GroupSource, Placement, QueueSettings, StartPosition,
        TopicSettings,
    },
};

use crate::{
    Action, Catalog, Change, Command, Deleted, Kind, Opened, Outcome, ShardKind, StreamOwner, StreamPlace,
};

const CLUSTER: Uuid = Uuid([7; 16]);

fn uuid(byte: u8) -> Uuid {
    Uuid([byte; 16])
}

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

fn run(catalog: &mut Catalog, command: &Command) -> Result<Outcome, Refusal> {
    let before = catalog.clone();
    let result = catalog.apply(before.revision().next(), command);
    catalog.check().expect("a state that commands lead to");
    let settled = Catalog { revision: before.revision, ..catalog.clone() };
    match &result {
        Err(refusal) => {
            assert_eq!(refusal.outcome(), pondage_model::Outcome::Definite);
            assert_eq!(settled, before, "a refusal changed the state");
        }
        Ok(Outcome::Unchanged) => assert_eq!(settled, before, "unchanged, but changed"),
        Ok(_) => {}
    }
    assert_eq!(Catalog::decode(catalog.encode()).as_ref(), Ok(&*catalog));
    result
}

/// The outcome in a few words; `streams@shards` of what was opened.
fn word(result: Result<Outcome, Refusal>) -> String {
    let applied = |verb, applied: crate::Applied| {
        let streams: Vec<String> =
            applied.streams.iter().map(|opened| format!("{}@{}", opened.stream, opened.shard)).collect();
        format!("{verb} g{} [{}] +{}", applied.generation, streams.join(" "), applied.shards.len())
    };
    match result {
        Ok(Outcome::Initialised) => "initialised".to_owned(),
        Ok(Outcome::Unchanged) => "unchanged".to_owned(),
        Ok(Outcome::Registered { broker, shards }) => format!("broker {broker} +{}", shards.len()),
        Ok(Outcome::Led { shards }) => {
            let epochs: Vec<String> = shards.iter().map(|(id, epoch)| format!("{id}:{epoch}")).collect();
            format!("led {}", epochs.join(" "))
        }
        Ok(Outcome::Created(it)) => applied("created", it),
        Ok(Outcome::Updated(it)) => applied("updated", it),
        Ok(Outcome::Deleted(Deleted { streams, shards, .. })) => {
            format!("deleted -{} -{}", streams.len(), shards.len())
        }
        Ok(Outcome::Producers { first, count }) => format!("producers {first}+{count}"),
        Err(refusal) => format!("{}: {refusal}", refusal.code().as_str()),
    }
}

/// Runs commands one after the other; an expected text that ends in `…` is a beginning.
fn check(catalog: &mut Catalog, rows: Vec<(Command, &str)>) {
    for (index, (command, expected)) in rows.into_iter().enumerate() {
        let got = word(run(catalog, &command));
        let holds = match expected.strip_suffix('…') {
            Some(beginning) => got.starts_with(beginning),
            None => got == expected,
        };
        assert!(holds, "row {index}: {command:?}\n  expected: {expected}\n       got: {got}");
    }
}

fn register(volume: u8, incarnation: u64, nonce: u8) -> Command {
    Command::RegisterBroker {
        volume: uuid(volume),
        incarnation: Incarnation(incarnation),
        nonce: uuid(nonce),
        address: "127.0.0.1:7000".to_owned(),
        rack: None,
    }
}

fn lead(broker: u32, incarnation: u64) -> Command {
    Command::LeadAll { broker: BrokerId(broker), incarnation: Incarnation(incarnation) }
}

fn topic(text: &str, change: impl FnOnce(&mut TopicSettings)) -> Command {
    let mut settings = TopicSettings::default();
    change(&mut settings);
    Command::ApplyTopic { name: name(text), settings }
}

fn queue(text: &str, change: impl FnOnce(&mut QueueSettings)) -> Command {
    let mut settings = QueueSettings::default();
    change(&mut settings);
    Command::ApplyQueue { name: name(text), settings }
}

fn group(text: &str, source: GroupSource) -> Command {
    let settings =
        GroupSettings { source, start_position: StartPosition::Earliest, in_flight_per_consumer_max: 10 };
    Command::ApplyGroup { name: name(text), settings }
}

fn topics(names: &[&str]) -> GroupSource {
    GroupSource::Topics(names.iter().map(|text| name(text)).collect())
}

fn delete_topic(text: &str, policy_override: Option<DeletionPolicy>, messages: u64) -> Command {
    Command::DeleteTopic { name: name(text), policy_override, messages, if_uid: None }
}

fn delete_queue(text: &str, policy_override: Option<DeletionPolicy>, messages: u64) -> Command {
    Command::DeleteQueue { name: name(text), policy_override, messages, if_uid: None }
}

fn delete_group(text: &str) -> Command {
    Command::DeleteGroup { name: name(text), if_uid: None }
}

/// A cluster of brokers 1 to `brokers`.
fn cluster(brokers: u8) -> Catalog {
    let mut catalog = Catalog::new();
    run(&mut catalog, &Command::Initialise { cluster: CLUSTER, nonce: uuid(1) }).expect("first");
    for broker in 1..=brokers {
        run(&mut catalog, &register(broker, 1, broker)).expect("registered");
    }
    catalog
}

#[test]
fn a_cluster_is_initialised_once() {
    let initialise = |cluster, nonce| Command::Initialise { cluster, nonce };
    let mut catalog = Catalog::new();
    check(
        &mut catalog,
        vec![
            (register(1, 1, 1), "PROTOCOL_STATE: the cluster is not initialised yet"),
            (queue("orders", |_| {}), "PROTOCOL_STATE: the cluster is not initialised yet"),
            (initialise(CLUSTER, uuid(1)), "initialised"),
            (initialise(CLUSTER, uuid(1)), "unchanged"),
            (initialise(CLUSTER, uuid(2)), "unchanged"),
            (initialise(uuid(8), uuid(1)), "CONFLICT: the cluster was initialised as 07070707-…"),
            (queue("orders", |_| {}), "PROTOCOL_STATE: no broker is registered yet"),
        ],
    );
    let info = catalog.cluster().expect("initialised");
    assert_eq!((info.uuid, info.nonce, info.created), (CLUSTER, uuid(1), Revision(3)));
}

#[test]
fn a_start_is_registered_by_compare_and_set() {
    let mut catalog = cluster(0);
    check(
        &mut catalog,
        vec![
            (register(1, 0, 1), "CONFLICT: volume 01010101-…"),
            (register(1, 2, 1), "CONFLICT: volume 01010101-0101-0101-0101-010101010101 counts 2 starts…"),
            (register(1, 1, 1), "broker 1 +4"),
            // The same start again: it crashed before it learnt that it is registered. Nothing is wiped.
            (register(1, 1, 1), "broker 1 +0"),
            // The same number from another nonce: the disk exists twice.
            (register(1, 1, 2), "CONFLICT: volume 01010101-0101-0101-0101-010101010101 is registered…"),
            (register(1, 2, 3), "broker 1 +0"),
            (register(1, 2, 3), "broker 1 +0"),
            // The first disk's backup, started again.
            (register(1, 1, 1), "CONFLICT: …"),
            (register(1, 2, 1), "CONFLICT: …"),
            (register(1, 4, 4), "CONFLICT: …"),
            (register(1, u64::MAX, 4), "CONFLICT: …"),
            (register(2, 1, 9), "broker 2 +4"),
        ],
    );
    let broker = catalog.broker_of(uuid(1)).expect("registered");
    assert_eq!((broker.id, broker.incarnation, broker.nonce), (BrokerId(1), Incarnation(2), uuid(3)));
    assert_eq!(catalog.next_broker(), BrokerId(3));
}

#[test]
fn a_repeated_start_may_come_from_another_address() {
    let mut catalog = cluster(1);
    let moved = |address: &str, rack: Option<&str>| Command::RegisterBroker {
        volume: uuid(1),
        incarnation: Incarnation(1),
        nonce: uuid(1),
        address: address.to_owned(),
        rack: rack.map(ToOwned::to_owned),
    };
    let long = "a".repeat(limits::ADDRESS_BYTES_MAX + 1);
    check(
        &mut catalog,
        vec![
            (moved("10.0.0.9:7000", Some("b")), "broker 1 +0"),
            (moved("", None), "INVALID_ARGUMENT: address: …"),
            (moved(&long, None), "INVALID_ARGUMENT: address: …"),
            (moved("a\nb", None), "INVALID_ARGUMENT: address: …"),
            (moved("a", Some("")), "INVALID_ARGUMENT: rack: …"),
        ],
    );
    let broker = catalog.broker(BrokerId(1)).expect("registered");
    assert_eq!((broker.address.as_str(), broker.rack.as_deref()), ("10.0.0.9:7000", Some("b")));
}

#[test]
fn the_first_broker_brings_the_shards() {
    let catalog = cluster(1);
    let rows: Vec<_> = catalog
        .shards()
        .map(|shard| (shard.id.0, shard.kind, shard.leader, shard.epoch.0, shard.isr.len()))
        .collect();
    let one = Some(BrokerId(1));
    assert_eq!(
        rows,
        [
            (0, ShardKind::Catalog, None, 0, 1),
            (1, ShardKind::Pooled, one, 1, 1),
            (2, ShardKind::Pooled, one, 1, 1),
            (3, ShardKind::Pooled, one, 1, 1),
            (4, ShardKind::Pooled, one, 1, 1),
        ]
    );
    let three = cluster(3);
    assert_eq!(three.shards().filter(|shard| shard.kind == ShardKind::Pooled).count(), 12);
}

#[test]
fn every_start_of_a_leader_is_a_new_epoch() {
    let mut catalog = cluster(1);
    check(
        &mut catalog,
        vec![
            (lead(1, 1), "led 1:2 2:2 3:2 4:2"),
            (lead(1, 1), "led 1:3 2:3 3:3 4:3"),
            (lead(1, 2), "CONFLICT: start 2 of broker 1 is not its current one, which is 1"),
            (lead(9, 1), "NOT_FOUND: no broker \"9\""),
            (register(1, 2, 2), "broker 1 +0"),
            (lead(1, 1), "CONFLICT: …"),
            (topic("t", |_| {}), "created g1 [1@5] +1"),
            (lead(1, 2), "led 1:4 2:4 3:4 4:4 5:2"),
        ],
    );
    assert_eq!(catalog.shard(ShardId(5)).map(|shard| shard.version), Some(2));
}

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
            (topic("t", settings(Some(2), None)), "NOT_SERVED: changing the replicas…"),
            (topic("t", settings(Some(4), None)), "INVALID_ARGUMENT: replicas: 4 replicas need 4 brokers…"),
        ],
    );
    let shard = catalog.shard(ShardId(13)).expect("dedicated");
    assert_eq!((shard.replicas.len(), shard.min_in_sync_replicas, shard.version), (3, 3, 2));
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
    assert_eq!(catalog.queue(&name("q")).map(|it| it.meta.generation), Some(2));
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
            (group("g", topics(&["a", "b"])), "created g1 [] +0"),
            (group("g", topics(&["a", "b"])), "unchanged"),
            (starting_late(group("g", topics(&["a", "b"]))), "updated g2 [] +0"),
            (group("g", topics(&["a"])), "INVALID_ARGUMENT: topics, queue: what a group reads can't change…"),
            (group("g", GroupSource::Queue(name("q"))), "INVALID_ARGUMENT: topics, queue: …"),
            (group("q", GroupSource::Queue(name("q"))), "created g1 [] +0"),
            (group("x", topics(&[])), "INVALID_ARGUMENT: topics: 1 to 256, not 0"),
            (group("x", topics(&many)), "INVALID_ARGUMENT: topics: 1 to 256, not 257"),
            (group("x", topics(&["a", "a"])), "INVALID_ARGUMENT: topics: a topic is named twice"),
            (group("x", topics(&["a", "q"])), "NOT_FOUND: no topic \"q\""),
            (group("x", GroupSource::Queue(name("a"))), "NOT_FOUND: no queue \"a\""),
        ],
    );
}

#[test]
fn deletions_honour_the_policy_and_the_references() {
    let policy = |policy| move |it: &mut QueueSettings| it.deletion_policy = policy;
    let mut catalog = cluster(1);
    check(
        &mut catalog,
        vec![
            (delete_topic("t", None, 0), "NOT_FOUND: no topic \"t\""),
            (delete_queue("t", None, 0), "NOT_FOUND: no queue \"t\""),
            (delete_group("t"), "NOT_FOUND: no group \"t\""),
            (topic("t", |it| it.deletion_policy = DeletionPolicy::DeleteIfEmpty), "created…"),
            (delete_queue("t", None, 0), "NOT_FOUND: no queue \"t\""),
            (delete_topic("t", None, 1), "NOT_EMPTY: topic \"t\" still holds 1 messages…"),
            (group("g", topics(&["t"])), "created…"),
            (
                delete_topic("t", Some(DeletionPolicy::Delete), 1),
                "CONFLICT: topic t is in use: group g reads it",
            ),
            (delete_group("g"), "deleted -0 -0"),
            (delete_topic("t", Some(DeletionPolicy::Delete), 1), "deleted -1 -1"),
            (topic("t", |it| it.deletion_policy = DeletionPolicy::DeleteIfEmpty), "created g1…"),
            (delete_topic("t", None, 0), "deleted -1 -1"),
            (queue("retained", policy(DeletionPolicy::Retain)), "created…"),
            (delete_queue("retained", Some(DeletionPolicy::DeleteIfEmpty), 3), "NOT_EMPTY: …"),
            (delete_queue("retained", None, 3), "deleted -1 -0"),
            (queue("dlq", policy(DeletionPolicy::Delete)), "created…"),
            (queue("a", |it| it.dead_letter = Some(name("dlq"))), "created…"),
            (queue("b", |it| it.dead_letter = Some(name("dlq"))), "created…"),
            (group("dlq", GroupSource::Queue(name("dlq"))), "created…"),
            (
                delete_queue("dlq", None, 0),
                "CONFLICT: queue dlq is in use: queue a dead-letters to it, queue b dead-letters to it, \
                 group dlq reads it",
            ),
            (delete_queue("a", None, 0), "deleted -1 -0"),
            (queue("b", |_| {}), "updated…"),
            (delete_queue("dlq", None, 0), "CONFLICT: queue dlq is in use: group dlq reads it"),
            (delete_group("dlq"), "deleted -0 -0"),
            (delete_queue("dlq", None, 0), "deleted -1 -0"),
        ],
    );
}

#[test]
fn a_refusal_names_a_few_users_and_counts_the_rest() {
    let mut catalog = cluster(1);
    run(&mut catalog, &queue("dlq", |_| {})).expect("created");
    for index in 0..7 {
        let user = queue(&format!("q{index}"), |it| it.dead_letter = Some(name("dlq")));
        run(&mut catalog, &user).expect("created");
    }
    let refused = word(run(&mut catalog, &delete_queue("dlq", None, 0)));
    assert!(refused.ends_with("queue q4 dead-letters to it, and 2 more"), "{refused}");
}

#[test]
fn a_deletion_meant_for_an_earlier_resource_is_refused() {
    let mut catalog = cluster(1);
    run(&mut catalog, &queue("q", |_| {})).expect("created");
    let first = catalog.queue(&name("q")).expect("created").meta.uid;
    run(&mut catalog, &delete_queue("q", None, 0)).expect("deleted");
    run(&mut catalog, &queue("q", |_| {})).expect("created");
    let second = catalog.queue(&name("q")).expect("created").meta.uid;
    assert_ne!(first, second);
    let delete =
        |uid| Command::DeleteQueue { name: name("q"), policy_override: None, messages: 0, if_uid: Some(uid) };
    check(&mut catalog, vec![(delete(first), "CONFLICT: queue q is not the one meant…")]);
    check(&mut catalog, vec![(delete(second), "deleted -1 -0")]);
}

#[test]
fn producer_ids_come_in_blocks_that_never_overlap() {
    let mut catalog = cluster(1);
    let allocate = |broker| Command::AllocateProducers { broker: BrokerId(broker) };
    check(
        &mut catalog,
        vec![
            (allocate(1), "producers 1+1000"),
            (allocate(1), "producers 1001+1000"),
            (allocate(2), "NOT_FOUND: no broker \"2\""),
        ],
    );
    assert_eq!(catalog.next_producer, ProducerId(2001));
}

#[test]
fn outcomes_carry_what_the_caller_must_do() {
    let mut catalog = cluster(1);
    let Ok(Outcome::Created(created)) = run(&mut catalog, &topic("t", |_| {})) else { panic!("created") };
    let change =
        Change { revision: Revision(3), kind: Kind::Topic, name: name("t"), action: Action::Applied };
    assert_eq!(created.change, change);
    assert_eq!(created.streams, [Opened { stream: StreamId(1), shard: ShardId(5), partition: 0 }]);
    assert_eq!(created.shards, [(ShardId(5), pondage_model::Epoch(1))]);
    assert_eq!(created.uid.to_string(), "07070707-0707-0707-0000-000000000003");
    let Ok(Outcome::Deleted(deleted)) = run(&mut catalog, &delete_topic("t", None, 0)) else {
        panic!("deleted")
    };
    assert_eq!(deleted.change, Change { revision: Revision(4), action: Action::Deleted, ..change });
    assert_eq!(deleted.streams, [(StreamId(1), ShardId(5))]);
    assert_eq!(deleted.shards, [ShardId(5)]);
    assert_eq!(catalog.stream(StreamId(1)), None);
}

#[test]
fn watchers_resume_where_they_were_or_list_again() {
    let mut catalog = cluster(1);
    let listed = catalog.revision();
    let changes = |catalog: &Catalog, from: u64| -> Option<Vec<u64>> {
        Some(catalog.changes_since(Revision(from))?.map(|change| change.revision.0).collect())
    };
    let max = limits::CATALOG_CHANGES_MAX as u64;
    for index in 0..max {
        let settings = QueueSettings { ack_timeout_millis: index + 1, ..QueueSettings::default() };
        let revision = catalog.revision().next();
        catalog.apply(revision, &Command::ApplyQueue { name: name("q"), settings }).expect("applied");
    }
    let last = catalog.revision().0;
    assert_eq!(changes(&catalog, listed.0).map(|all| all.len() as u64), Some(max));
    assert_eq!(changes(&catalog, 0).map(|all| all.len() as u64), Some(max), "nothing is dropped yet");
    assert_eq!(changes(&catalog, last - 2), Some(vec![last - 1, last]));
    assert_eq!(changes(&catalog, last), Some(vec![]));
    assert_eq!(changes(&catalog, last + 1), None, "a revision that never was");
    run(&mut catalog, &delete_queue("q", None, 0)).expect("deleted");
    assert_eq!(changes(&catalog, listed.0), None, "the oldest change is dropped");
    assert_eq!(changes(&catalog, listed.0 + 1).map(|all| all.len() as u64), Some(max));
}

#[test]
#[should_panic(expected = "applied after")]
fn a_command_is_never_applied_twice() {
    let mut catalog = cluster(1);
    let _ = catalog.apply(catalog.revision(), &delete_group("g"));
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
    assert!(refused.starts_with("CONFLICT: the cluster has 99328 queues and partitions"), "{refused}");
    assert_eq!(Catalog::decode(catalog.encode()), Ok(catalog.clone()));
}
