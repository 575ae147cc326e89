use std::collections::BTreeMap;

use pondage_protocol::v1::{self, consume_request, consume_response, start_at::At};

use crate::harness::{Cluster, Consumer, batch, publish, topic_source, values};

async fn publish_to(cluster: &mut Cluster, partition: u32, values: &[&str]) {
    let request = v1::PublishRequest { partition: Some(partition), ..publish("events", batch(values)) };
    cluster.send(request).await.expect("published");
}

/// Waits until the reader has everything: what ends it later races with that otherwise.
async fn caught_up(reader: &mut Consumer) {
    match reader.next().await {
        Some(consume_response::Step::CaughtUp(_)) => {}
        other => panic!("not caught up: {other:?}"),
    }
}

async fn commit(consumer: &mut Consumer, partition: u32, offset: u64) -> Option<v1::Error> {
    let commit = v1::ConsumeCommit { request_id: 9, partition, offset };
    consumer.step(consume_request::Step::Commit(commit)).await;
    loop {
        match consumer.next().await {
            Some(consume_response::Step::Committed(committed)) => return committed.error,
            Some(consume_response::Step::CaughtUp(_)) => {}
            other => panic!("not committed: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_every_partition_in_order_and_then_what_comes() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 2).await;
    for round in 0..10 {
        for partition in 0..2 {
            publish_to(&mut cluster, partition, &[&format!("{partition}-{round}")]).await;
        }
    }
    let mut reader = cluster.consume(topic_source("events", None), 1_000).await;
    let started = reader.started().await;
    let ends: Vec<_> = started.partitions.iter().map(|at| (at.partition, at.offset, at.end_offset)).collect();
    assert_eq!(ends, [(0, 0, 10), (1, 0, 10)]);
    let (mut offsets, mut caught_up) = (BTreeMap::<u32, Vec<u64>>::new(), Vec::new());
    while caught_up.len() < 2 {
        match reader.next().await {
            Some(consume_response::Step::Delivery(delivery)) => {
                for got in crate::harness::got(&delivery) {
                    assert_eq!(got.value, format!("{}-{}", got.partition, got.offset));
                    offsets.entry(got.partition).or_default().push(got.offset);
                }
            }
            Some(consume_response::Step::CaughtUp(at)) => caught_up.push((at.partition, at.end_offset)),
            other => panic!("{other:?}"),
        }
    }
    caught_up.sort_unstable();
    assert_eq!(caught_up, [(0, 10), (1, 10)]);
    assert!(offsets.values().all(|offsets| *offsets == (0..10).collect::<Vec<_>>()), "{offsets:?}");
    publish_to(&mut cluster, 1, &["new"]).await;
    let new = reader.take(1).await;
    assert_eq!((new[0].partition, new[0].offset), (1, 10));
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_counts_messages_and_a_batch_is_never_cut() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    for _ in 0..3 {
        cluster.publish("events", &["a", "b", "c"]).await;
    }
    let mut reader = cluster.consume(topic_source("events", None), 4).await;
    reader.started().await;
    assert_eq!(reader.take(6).await.len(), 6, "4 are asked for, in 2 batches");
    reader.silent().await;
    reader.step(consume_request::Step::Credit(v1::ConsumeCredit { add: 2 })).await;
    reader.silent().await;
    reader.step(consume_request::Step::Credit(v1::ConsumeCredit { add: 1 })).await;
    assert_eq!(reader.take(3).await[0].offset, 6, "it had gone two below zero");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_starts_where_it_says() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 2).await;
    publish_to(&mut cluster, 0, &["a", "b", "c"]).await;
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later than 1970");
    let now = i64::try_from(now.as_millis()).expect("before the year 292 million");
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    publish_to(&mut cluster, 0, &["d"]).await;
    let at = |at| Some(v1::StartAt { at: Some(at) });
    let earliest = v1::StartEdge::Earliest.into();
    let latest = v1::StartEdge::Latest.into();
    for (start, starts, expected) in [
        (None, vec![], Ok(0)),
        (at(At::Edge(earliest)), vec![], Ok(0)),
        (at(At::Edge(latest)), vec![], Ok(4)),
        (at(At::Offset(1)), vec![], Ok(1)),
        (at(At::Offset(4)), vec![], Ok(4)),
        (at(At::TimeUnixMillis(now)), vec![], Ok(3)),
        (at(At::TimeUnixMillis(i64::MIN)), vec![], Ok(0)),
        (at(At::TimeUnixMillis(i64::MAX)), vec![], Ok(4)),
        (at(At::Edge(latest)), vec![v1::PartitionStart { partition: 0, at: at(At::Offset(2)) }], Ok(2)),
        (at(At::Offset(5)), vec![], Err("OUT_OF_RANGE")),
        (None, vec![v1::PartitionStart { partition: 1, at: at(At::Offset(0)) }], Err("INVALID_ARGUMENT")),
    ] {
        let source = v1::TopicSource {
            name: "events".to_owned(),
            partitions: vec![0],
            start,
            starts,
            ..v1::TopicSource::default()
        };
        let mut reader = cluster.consume(v1::consume_start::Source::Topic(source.clone()), 10).await;
        match expected {
            Ok(offset) => {
                let started = reader.started().await;
                assert_eq!(started.partitions[0].offset, offset, "{source:?}");
                if offset < 4 {
                    // A batch travels whole; what lies before the start is not counted as delivered.
                    assert_eq!(reader.take(1).await[0].offset, offset, "{source:?}");
                }
            }
            Err(code) => assert_eq!(reader.error().await.code, code, "{source:?}"),
        }
    }
    let source =
        v1::TopicSource { name: "events".to_owned(), partitions: vec![2], ..v1::TopicSource::default() };
    let mut reader = cluster.consume(v1::consume_start::Source::Topic(source), 10).await;
    assert_eq!(reader.error().await.code, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_committed_also_after_a_restart() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    cluster.group("billing", "events").await;
    cluster.publish("events", &["a", "b", "c", "d"]).await;
    let mut first = cluster.consume(topic_source("events", Some("billing")), 100).await;
    let started = first.started().await;
    assert_eq!((started.partitions[0].offset, started.partitions[0].group_epoch), (0, 1));
    assert_eq!(values(&first.take(4).await), ["a", "b", "c", "d"]);
    assert_eq!(commit(&mut first, 0, 2).await, None);
    assert_eq!(commit(&mut first, 0, 1).await, None, "an earlier commit changes nothing");
    let beyond = commit(&mut first, 0, 99).await.expect("refused");
    assert_eq!(beyond.code, "OUT_OF_RANGE");
    let foreign = commit(&mut first, 7, 1).await.expect("refused");
    assert_eq!(foreign.code, "INVALID_ARGUMENT");
    first.close().await;

    let mut cluster = cluster.restart().await;
    let mut second = cluster.consume(topic_source("events", Some("billing")), 100).await;
    let started = second.started().await;
    assert_eq!((started.partitions[0].offset, started.partitions[0].group_epoch), (2, 2));
    assert_eq!(values(&second.take(2).await), ["c", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_a_partition_is_fenced() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    cluster.group("billing", "events").await;
    cluster.publish("events", &["a", "b"]).await;
    let mut first = cluster.consume(topic_source("events", Some("billing")), 100).await;
    first.started().await;
    first.take(2).await;
    let mut second = cluster.consume(topic_source("events", Some("billing")), 100).await;
    assert_eq!(second.started().await.partitions[0].offset, 0);
    assert_eq!(first.end().await.code, "FENCED");
    second.take(2).await;
    assert_eq!(commit(&mut second, 0, 2).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_may_not_do_ends_it() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    cluster.topic("other", 1).await;
    cluster.group("billing", "other").await;
    let mut reader = cluster.consume(topic_source("events", None), 1).await;
    reader.started().await;
    caught_up(&mut reader).await;
    let step = consume_request::Step::Commit(v1::ConsumeCommit { request_id: 1, partition: 0, offset: 0 });
    reader.step(step).await;
    assert_eq!(reader.error().await.code, "PROTOCOL_STATE");
    for (topic, group, code) in [
        ("events", "billing", "INVALID_ARGUMENT"),
        ("events", "nobody", "NOT_FOUND"),
        ("nowhere", "billing", "NOT_FOUND"),
        ("<script>", "billing", "INVALID_NAME"),
    ] {
        let mut reader = cluster.consume(topic_source(topic, Some(group)), 1).await;
        assert_eq!(reader.error().await.code, code, "{topic} {group}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_ends_its_readers() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    let mut reader = cluster.consume(topic_source("events", None), 1).await;
    reader.started().await;
    caught_up(&mut reader).await;
    let request = v1::DeleteRequest {
        kind: v1::ResourceKind::Topic.into(),
        name: "events".to_owned(),
        policy: Some(v1::DeletionPolicy::Delete.into()),
        ..v1::DeleteRequest::default()
    };
    assert!(cluster.admin.delete(request).await.expect("deleted").into_inner().deleted);
    assert_eq!(reader.error().await.code, "NOT_FOUND");
}
