//! The tables of resources: is it well, and how far behind is it?

use std::collections::BTreeMap;

use pondage_client::{Cluster, GroupPartition, Member, ResourceKind, Settings, SharedLag, StreamStatus};
use pondage_model::{
    Name, Offset,
    settings::{DeletionPolicy, GroupSource, Placement},
};

use super::{
    document::{TopicMoves, TopicPlaces, View},
    table::{Column, number, table, text},
    text::{Lines, age, bytes, shown},
};
use crate::places::in_runs;

/// A table of resources of one kind.
pub(crate) fn resources(kind: ResourceKind, views: &[View], is_wide: bool) -> String {
    let (columns, row): (&[Column], Row) = match kind {
        ResourceKind::Topic => (&TOPIC, topic),
        ResourceKind::Queue => (&QUEUE, queue),
        ResourceKind::Group => (&GROUP, group),
    };
    let shown = columns.iter().filter(|column| is_wide || !WIDE.contains(&column.heading)).count();
    let rows = views.iter().map(|view| row(view).into_iter().take(shown).collect());
    table(&columns[..shown], rows.collect())
}

/// Makes the row of a resource.
type Row = fn(&View) -> Vec<String>;

/// Headings that only a wide table has; they stand last.
const WIDE: [&str; 10] = [
    "MOVING",
    "BYTES",
    "ACK-TIMEOUT",
    "MAX-DELIVERIES",
    "DEAD-LETTER",
    "RETENTION",
    "PLACEMENT",
    "DELETION",
    "IN-FLIGHT-MAX",
    "REVISION",
];

const TOPIC: [Column; 9] = [
    text("NAME"),
    number("PARTITIONS"),
    number("MESSAGES"),
    text("OLDEST"),
    number("BYTES"),
    text("RETENTION"),
    text("PLACEMENT"),
    text("DELETION"),
    number("REVISION"),
];

fn topic(view: &View) -> Vec<String> {
    let Settings::Topic(settings) = &view.resource.settings else { return vec![String::new(); TOPIC.len()] };
    let streams = view.streams();
    let messages: u64 = streams.iter().map(held).sum();
    vec![
        view.resource.name.to_string(),
        led(streams, settings.partitions),
        messages.to_string(),
        oldest(streams, messages),
        bytes(streams.iter().map(|stream| stream.bytes).sum()),
        settings.retention_millis.map_or_else(|| "for ever".to_owned(), age),
        placement(settings.placement).to_owned(),
        deletion(settings.deletion_policy).to_owned(),
        view.resource.revision.to_string(),
    ]
}

const QUEUE: [Column; 14] = [
    text("NAME"),
    number("READY"),
    number("UNACKED"),
    number("SCHEDULED"),
    number("DEAD"),
    text("OLDEST"),
    number("CONSUMERS"),
    number("MOVING"),
    number("BYTES"),
    text("ACK-TIMEOUT"),
    number("MAX-DELIVERIES"),
    text("DEAD-LETTER"),
    text("DELETION"),
    number("REVISION"),
];

fn queue(view: &View) -> Vec<String> {
    let Settings::Queue(settings) = &view.resource.settings else { return vec![String::new(); QUEUE.len()] };
    let streams = view.streams();
    let sum = |count: fn(&StreamStatus) -> u64| streams.iter().map(count).sum::<u64>();
    // Without a leader nothing is known, and a row of zeros would say that the queue is empty.
    let is_led = !streams.is_empty() && streams.iter().all(|stream| stream.leader.is_some());
    let figure = |count: u64| if is_led { count.to_string() } else { unknown() };
    let waiting = sum(|stream| stream.ready + stream.unacked + stream.scheduled + stream.moving);
    vec![
        view.resource.name.to_string(),
        figure(sum(|stream| stream.ready)),
        figure(sum(|stream| stream.unacked)),
        figure(sum(|stream| stream.scheduled)),
        figure(sum(|stream| stream.dead_lettered)),
        oldest(streams, waiting),
        figure(sum(|stream| stream.consumers.into())),
        figure(sum(|stream| stream.moving)),
        bytes(sum(|stream| stream.bytes)),
        age(settings.ack_timeout_millis),
        settings.max_deliveries.to_string(),
        settings.dead_letter.as_ref().map(ToString::to_string).unwrap_or_default(),
        deletion(settings.deletion_policy).to_owned(),
        view.resource.revision.to_string(),
    ]
}

const GROUP: [Column; 7] = [
    text("NAME"),
    text("READS"),
    number("MEMBERS"),
    number("LAG"),
    text("DELAY"),
    number("IN-FLIGHT-MAX"),
    number("REVISION"),
];

/// Topics of a group that its row names; it counts the others.
const TOPICS_SHOWN: usize = 3;

fn group(view: &View) -> Vec<String> {
    let Settings::Group(settings) = &view.resource.settings else { return vec![String::new(); GROUP.len()] };
    let reads = match &settings.source {
        GroupSource::Queue(queue) => format!("queue/{queue}"),
        GroupSource::Topics(topics) => {
            let mut names: Vec<String> =
                topics.iter().take(TOPICS_SHOWN).map(|topic| format!("topic/{topic}")).collect();
            if topics.len() > TOPICS_SHOWN {
                names.push(format!("+{}", topics.len() - TOPICS_SHOWN));
            }
            let how = if settings.sharing.is_some() { " (shared)" } else { "" };
            names.join(",") + how
        }
    };
    let lag = view.lag();
    vec![
        view.resource.name.to_string(),
        reads,
        view.membership.as_ref().map_or_else(unknown, |membership| membership.members.len().to_string()),
        lag.to_string(),
        if lag == 0 { String::new() } else { age(view.delay_millis()) },
        settings.in_flight_per_consumer_max.to_string(),
        view.resource.revision.to_string(),
    ]
}

/// A table of streams.
pub(crate) fn streams(kind: ResourceKind, streams: &[StreamStatus]) -> String {
    let leader = |stream: &StreamStatus| stream.leader.map_or_else(|| "none".to_owned(), |id| id.to_string());
    if kind == ResourceKind::Queue {
        let columns = [
            number("SHARD"),
            text("LEADER"),
            number("READY"),
            number("UNACKED"),
            number("SCHEDULED"),
            number("MOVING"),
            number("DEAD"),
            text("OLDEST"),
            number("CONSUMERS"),
            number("BYTES"),
        ];
        let rows = streams.iter().map(|stream| {
            vec![
                stream.shard.to_string(),
                leader(stream),
                stream.ready.to_string(),
                stream.unacked.to_string(),
                stream.scheduled.to_string(),
                stream.moving.to_string(),
                stream.dead_lettered.to_string(),
                oldest(&[*stream], stream.ready + stream.unacked + stream.scheduled + stream.moving),
                stream.consumers.to_string(),
                bytes(stream.bytes),
            ]
        });
        return table(&columns, rows.collect());
    }
    let columns = [
        number("PARTITION"),
        number("SHARD"),
        text("LEADER"),
        number("START"),
        number("END"),
        text("OLDEST"),
        number("CONSUMERS"),
        number("BYTES"),
    ];
    let rows = streams.iter().map(|stream| {
        vec![
            stream.partition.to_string(),
            stream.shard.to_string(),
            leader(stream),
            stream.start.to_string(),
            stream.end.to_string(),
            oldest(&[*stream], held(stream)),
            stream.consumers.to_string(),
            bytes(stream.bytes),
        ]
    });
    table(&columns, rows.collect())
}

/// What people call a member.
fn called(member: &Member) -> String {
    if member.instance.is_empty() {
        return member.id.to_string();
    }
    shown(member.instance.as_bytes(), Lines::One)
}

/// What is not known, where a zero would say that there is none.
fn unknown() -> String {
    "?".to_owned()
}

/// A table of a group's members.
pub(crate) fn members(members: &[Member]) -> String {
    let columns = [
        text("MEMBER"),
        text("STATE"),
        number("PARTITIONS"),
        number("REVOKED"),
        number("AWAITED"),
        text("READS"),
        text("ID"),
    ];
    let rows = members.iter().map(|member| {
        let mut topics: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for owned in &member.partitions {
            topics.entry(owned.topic.as_str()).or_default().push(owned.partition);
        }
        let reads = topics.into_iter().map(|(topic, mut partitions)| {
            partitions.sort_unstable();
            format!("{topic}/{}", in_runs(&partitions))
        });
        vec![
            called(member),
            match member.connected_since {
                None => "AWAY",
                Some(_) if member.is_draining => "DRAINING",
                Some(_) => "CONNECTED",
            }
            .to_owned(),
            member.partitions.len().to_string(),
            member.partitions.iter().filter(|owned| owned.revoked).count().to_string(),
            member.awaited.to_string(),
            reads.collect::<Vec<_>>().join(" "),
            member.id.to_string(),
        ]
    });
    table(&columns, rows.collect())
}

/// A table of moved cursors.
pub(crate) fn moves(topics: &[TopicMoves]) -> String {
    let columns = [text("TOPIC"), number("PARTITION"), number("FROM"), number("TO"), number("LAG")];
    let offset = |offset: Option<Offset>| offset.map(|offset| offset.to_string()).unwrap_or_default();
    let rows = topics.iter().flat_map(|(topic, moves)| {
        moves.iter().map(move |(before, place)| {
            vec![
                topic.to_string(),
                place.partition.to_string(),
                offset(*before),
                offset(place.committed),
                place.lag.to_string(),
            ]
        })
    });
    table(&columns, rows.collect())
}

/// A table of a group's places, and who reads there.
pub(crate) fn places(topics: &[TopicPlaces], members: &[Member]) -> String {
    let owned = |member: &'_ Member| {
        let name = called(member);
        let keys = member.partitions.iter().map(|owned| (owned.topic.clone(), owned.partition));
        keys.map(|key| (key, name.clone())).collect::<Vec<_>>()
    };
    let shared = topics.iter().flat_map(|(topic, places)| places.iter().map(move |place| (topic, place)));
    let shared: Vec<_> = shared.filter_map(|(topic, place)| Some((topic, place, place.shared?))).collect();
    if !shared.is_empty() {
        return shares(&shared);
    }
    let owners: BTreeMap<(Name, u32), String> = members.iter().flat_map(owned).collect();
    let owner = |topic: &Name, partition| owners.get(&(topic.clone(), partition)).cloned();
    let columns = [
        text("TOPIC"),
        number("PARTITION"),
        text("MEMBER"),
        number("COMMITTED"),
        number("START"),
        number("END"),
        number("LAG"),
        text("DELAY"),
        number("EPOCH"),
    ];
    let rows = topics.iter().flat_map(|(topic, places)| {
        places.iter().map(move |place| {
            vec![
                topic.to_string(),
                place.partition.to_string(),
                owner(topic, place.partition).unwrap_or_default(),
                place.committed.map(|offset| offset.to_string()).unwrap_or_default(),
                place.start.to_string(),
                place.end.to_string(),
                place.lag.to_string(),
                if place.lag == 0 { String::new() } else { age(place.delay_millis) },
                place.epoch.to_string(),
            ]
        })
    });
    table(&columns, rows.collect())
}

/// Where a shared group stands in each partition.
fn shares(places: &[(&Name, &GroupPartition, SharedLag)]) -> String {
    let columns = [
        text("TOPIC"),
        number("PARTITION"),
        number("READY"),
        number("UNACKED"),
        number("SCHEDULED"),
        number("MOVING"),
        number("DEAD-LETTERED"),
        number("COMMITTED"),
        number("START"),
        number("END"),
        number("LAG"),
        text("DELAY"),
    ];
    let rows = places.iter().map(|(topic, place, shared)| {
        vec![
            topic.to_string(),
            place.partition.to_string(),
            shared.ready_of(place.lag).to_string(),
            shared.unacked.to_string(),
            shared.scheduled.to_string(),
            shared.dead_lettering.to_string(),
            shared.dead_lettered.to_string(),
            place.committed.map(|offset| offset.to_string()).unwrap_or_default(),
            place.start.to_string(),
            place.end.to_string(),
            place.lag.to_string(),
            if place.lag == 0 { String::new() } else { age(place.delay_millis) },
        ]
    });
    table(&columns, rows.collect())
}

/// The cluster and its brokers.
pub(crate) fn cluster(cluster: &Cluster) -> String {
    let columns = [number("BROKER"), text("ADDRESS"), number("STARTS"), text("VERSION")];
    let rows = cluster.brokers.iter().map(|broker| {
        vec![
            broker.id.to_string(),
            broker.address.clone(),
            broker.incarnation.to_string(),
            broker.version.clone(),
        ]
    });
    format!(
        "Cluster {}: {} shards, {} streams, revision {}\n\n{}",
        cluster.uuid,
        cluster.shards,
        cluster.streams,
        cluster.revision,
        table(&columns, rows.collect())
    )
}

/// Messages of a topic's partition, at most: compaction leaves gaps.
const fn held(stream: &StreamStatus) -> u64 {
    stream.end.get().saturating_sub(stream.start.get())
}

/// Partitions, and how many of them are led where not all are.
fn led(streams: &[StreamStatus], partitions: u32) -> String {
    let led = streams.iter().filter(|stream| stream.leader.is_some()).count();
    if streams.is_empty() || led == streams.len() {
        partitions.to_string()
    } else {
        format!("{led}/{partitions}")
    }
}

fn oldest(streams: &[StreamStatus], messages: u64) -> String {
    let oldest = streams.iter().map(|stream| stream.oldest_age_millis).max().unwrap_or(0);
    if messages == 0 { String::new() } else { age(oldest) }
}

const fn placement(placement: Placement) -> &'static str {
    match placement {
        Placement::Auto => "Auto",
        Placement::Dedicated => "Dedicated",
        Placement::Pooled => "Pooled",
    }
}

const fn deletion(policy: DeletionPolicy) -> &'static str {
    match policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::DeleteIfEmpty => "DeleteIfEmpty",
        DeletionPolicy::Delete => "Delete",
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
