use pondage_model::{
    BrokerId, Incarnation, Member, Name, Uuid,
    settings::{GroupSettings, QueueSettings, TopicSettings},
};

use super::*;
use crate::{Command, FEATURE_LEVELS, ShardKind};

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

/// One broker; topic `t` of two partitions on shards 5 and 6, queues `d` and `q` on shards 1 and 2, with dead letters from `q` to `d`; group `g`.
fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    let queue = |text: &str, dead_letter: Option<Name>| Command::ApplyQueue {
        name: name(text),
        settings: QueueSettings { dead_letter, ..QueueSettings::default() },
    };
    for command in [
        Command::Initialise { cluster: Uuid([1; 16]), nonce: Uuid([2; 16]) },
        Command::RegisterBroker {
            volume: Uuid([3; 16]),
            incarnation: Incarnation(1),
            nonce: Uuid([4; 16]),
            address: "a:1".to_owned(),
            rack: Some("r".to_owned()),
            feature_levels: FEATURE_LEVELS,
            replaces: None,
        },
        Command::ApplyTopic {
            name: name("t"),
            settings: TopicSettings { partitions: 2, ..TopicSettings::default() },
        },
        queue("d", None),
        queue("q", Some(name("d"))),
        Command::ApplyGroup {
            name: name("g"),
            settings: GroupSettings {
                in_flight_per_consumer_max: 1,
                ..GroupSettings::of(GroupSource::Topics(vec![name("t")]))
            },
        },
    ] {
        catalog.apply(catalog.revision().next(), &command).expect("no refusal");
    }
    catalog
}

fn member(broker: u32) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(1) }
}

fn topic(catalog: &mut Catalog) -> &mut crate::Topic {
    catalog.topics.get_mut(&name("t")).expect("there")
}

fn queue(catalog: &mut Catalog) -> &mut crate::Queue {
    catalog.queues.get_mut(&name("q")).expect("there")
}

fn group(catalog: &mut Catalog) -> &mut crate::Group {
    catalog.groups.get_mut(&name("g")).expect("there")
}

fn shard(catalog: &mut Catalog, shard: u32) -> &mut Shard {
    catalog.shards.get_mut(&ShardId(shard)).expect("there")
}

/// One way to break a state, and what decoding says about it.
type Breakage = (&'static str, fn(&mut Catalog));

#[test]
fn a_state_that_no_commands_lead_to_is_refused() {
    let rows: [Breakage; 39] = [
        ("brokers before a cluster", |it| it.cluster = None),
        ("two brokers with one volume", |it| {
            let copy = crate::Broker { id: BrokerId(2), ..it.brokers[&BrokerId(1)].clone() };
            it.brokers.insert(BrokerId(2), copy);
        }),
        ("a broker's id beyond the next one", |it| it.next_broker = BrokerId(1)),
        ("a shard's id beyond the next one", |it| it.next_shard = ShardId(6)),
        ("leaving without a replica", |it| shard(it, 1).leaving.push(BrokerId(2))),
        ("leaving without a replica", |it| shard(it, 1).leaving.push(BrokerId(1))),
        ("in sync under a start that never was", |it| shard(it, 1).isr[0].incarnation = Incarnation(2)),
        ("a lost broker in sync", |it| it.brokers.values_mut().for_each(|broker| broker.lost = true)),
        ("a row of a later revision", |it| shard(it, 1).changed = Revision(99)),
        ("a feature level that a broker lacks", |it| {
            it.cluster.as_mut().expect("initialised").feature_level = 99;
        }),
        ("a replica twice", |it| shard(it, 1).replicas.push(BrokerId(1))),
        ("in sync without a replica", |it| shard(it, 1).isr.push(member(2))),
        ("in sync without a replica", |it| shard(it, 1).isr.push(member(1))),
        ("a replica without a broker", |it| shard(it, 1).replicas.push(BrokerId(2))),
        ("a minimum beyond the replicas", |it| shard(it, 1).min_in_sync_replicas = 2),
        ("a minimum beyond the replicas", |it| shard(it, 1).min_in_sync_replicas = 0),
        ("the catalog's shard", |it| shard(it, 0).leader = Some(BrokerId(1))),
        ("the catalog's shard", |it| shard(it, 1).kind = ShardKind::Catalog),
        ("the catalog's shard", |it| queue(it).place.shard = ShardId(0)),
        ("a shard without an epoch", |it| shard(it, 1).epoch = pondage_model::Epoch(0)),
        ("a leader out of sync", |it| shard(it, 1).isr.clear()),
        ("a leader out of sync", |it| shard(it, 1).leader = Some(BrokerId(2))),
        ("a dedicated shard", |it| shard(it, 4).kind = ShardKind::Dedicated),
        ("a dedicated shard", |it| topic(it).partitions[1].shard = ShardId(5)),
        ("a resource of a later revision", |it| topic(it).meta.changed = Revision(99)),
        ("a resource of a later revision", |it| topic(it).meta.created = Revision(4)),
        ("a resource of a later revision", |it| topic(it).meta.generation = 0),
        ("a topic with a queue's name", |it| {
            let mut queue = it.queues[&name("d")].clone();
            (queue.name, queue.place.stream) = (name("t"), StreamId(6));
            it.queues.insert(name("t"), queue);
            it.next_stream = StreamId(7);
        }),
        ("a partition too few", |it| topic(it).settings.partitions = 3),
        ("a stream's id beyond the next one", |it| it.next_stream = StreamId(5)),
        ("a stream's id beyond the next one", |it| queue(it).place.stream = StreamId(0)),
        ("two streams with one id", |it| queue(it).place.stream = StreamId(1)),
        ("two streams with one id", |it| group(it).home.stream = StreamId(1)),
        ("a stream without a shard", |it| group(it).home.shard = ShardId(9)),
        ("a stream without a shard", |it| queue(it).place.shard = ShardId(9)),
        ("a dead-letter queue that is none", |it| queue(it).settings.dead_letter = Some(name("t"))),
        ("a dead-letter queue that is none", |it| queue(it).settings.dead_letter = Some(name("q"))),
        ("changes out of order", |it| it.changes.swap(0, 1)),
        ("a change of a later revision", |it| it.revision = Revision(5)),
    ];
    for (index, (expected, breakage)) in rows.into_iter().enumerate() {
        let mut broken = catalog();
        breakage(&mut broken);
        if expected == "a change of a later revision" {
            broken.groups.clear();
        }
        assert_eq!(Catalog::decode(broken.encode()), Err(Malformed(expected)), "row {index}");
    }
    let mut broken = catalog();
    broken.topics.clear();
    for shard in [5, 6] {
        broken.shards.remove(&ShardId(shard));
    }
    assert_eq!(Catalog::decode(broken.encode()), Err(Malformed("a group that reads nothing")));
}

#[test]
fn another_version_or_more_bytes_are_refused() {
    let catalog = catalog();
    assert_eq!(Catalog::decode(catalog.encode()).as_ref(), Ok(&catalog));
    let mut bytes = catalog.encode().to_vec();
    bytes.push(0);
    assert_eq!(Catalog::decode(bytes.clone().into()), Err(Malformed("bytes left over")));
    bytes[0] = 1;
    assert_eq!(Catalog::decode(bytes.into()), Err(Malformed("unknown version of the catalog")));
    assert_eq!(Catalog::decode(Bytes::new()), Err(Malformed("ends early")));
}
