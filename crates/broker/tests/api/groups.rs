use pondage_model::Code;
use pondage_protocol::v1::{self, start_at::At};

use crate::harness::{Cluster, batch, publish, topic_source, unwrap, values};

fn get(group: &str, topic: &str) -> v1::GetOffsetsRequest {
    v1::GetOffsetsRequest { group: group.to_owned(), topic: topic.to_owned() }
}

fn set(seeks: &[(u32, At)]) -> v1::SetOffsetsRequest {
    seek(seeks, false)
}

fn seek(seeks: &[(u32, At)], dry_run: bool) -> v1::SetOffsetsRequest {
    let seek = |(partition, at): &(u32, At)| v1::Seek {
        partition: *partition,
        to: Some(v1::StartAt { at: Some(*at) }),
    };
    let seeks = seeks.iter().map(seek).collect();
    v1::SetOffsetsRequest { group: "billing".to_owned(), topic: "events".to_owned(), seeks, dry_run }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_messages_hears_that_its_cursor_is_another_s_or_was_moved() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 2).await;
    cluster.group("billing", "events").await;
    cluster.group("shipping", "events").await;
    let mut bystander = cluster.consume(topic_source("events", Some("shipping")), 10).await;
    bystander.started().await;
    let mut first = cluster.consume(topic_source("events", Some("billing")), 10).await;
    first.started().await;
    let mut second = cluster.consume(topic_source("events", Some("billing")), 10).await;
    second.started().await;
    assert_eq!(first.end().await.code, Code::Fenced.as_str());
    let latest = At::Edge(v1::StartEdge::Latest.into());
    unwrap(cluster.groups.set_offsets(set(&[(1, latest)])).await).expect("moved");
    assert_eq!(second.end().await.code, Code::Fenced.as_str());
    // Another group's cursor is its own affair.
    cluster.publish("events", &["a"]).await;
    assert_eq!(values(&bystander.take(1).await), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_are_seen_and_moved() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 2).await;
    cluster.group("billing", "events").await;
    let request = v1::PublishRequest { partition: Some(1), ..publish("events", batch(&["a", "b", "c"])) };
    cluster.send(request).await.expect("published");

    let places =
        unwrap(cluster.groups.get_offsets(get("billing", "events")).await).expect("known").partitions;
    let stand = |places: &[v1::GroupPartition]| -> Vec<_> {
        places.iter().map(|at| (at.partition, at.committed_offset, at.end_offset, at.lag)).collect()
    };
    assert_eq!(stand(&places), [(0, None, 0, 0), (1, None, 3, 3)]);

    let tried = seek(&[(1, At::Offset(2))], true);
    let tried = unwrap(cluster.groups.set_offsets(tried).await).expect("it could be").partitions;
    assert_eq!(stand(&tried), [(1, Some(2), 3, 1)]);
    let places =
        unwrap(cluster.groups.get_offsets(get("billing", "events")).await).expect("known").partitions;
    assert_eq!(stand(&places), [(0, None, 0, 0), (1, None, 3, 3)], "nothing has moved");

    let moved =
        unwrap(cluster.groups.set_offsets(set(&[(1, At::Offset(2))])).await).expect("moved").partitions;
    assert_eq!(stand(&moved), [(1, Some(2), 3, 1)]);
    let latest = At::Edge(v1::StartEdge::Latest.into());
    let moved = unwrap(cluster.groups.set_offsets(set(&[(1, latest), (0, latest)])).await).expect("moved");
    assert_eq!(stand(&moved.partitions), [(1, Some(3), 3, 0), (0, Some(0), 0, 0)]);
    assert!(moved.partitions[0].group_epoch > 1, "its owner is fenced");

    // One bad seek moves nothing.
    for (seeks, code) in [
        (vec![(1, At::Offset(1)), (0, At::Offset(9))], Code::OutOfRange),
        (vec![(1, At::Offset(1)), (5, latest)], Code::NotFound),
        (vec![(1, At::Offset(1)), (1, latest)], Code::InvalidArgument),
    ] {
        let failure = unwrap(cluster.groups.set_offsets(set(&seeks)).await).expect_err("refused");
        assert!(failure.is(code), "{failure}");
    }
    let mut cluster = cluster.restart().await;
    let places =
        unwrap(cluster.groups.get_offsets(get("billing", "events")).await).expect("known").partitions;
    assert_eq!(stand(&places), [(0, Some(0), 0, 0), (1, Some(3), 3, 0)]);

    for (group, topic, code) in [
        ("nobody", "events", Code::NotFound),
        ("billing", "nowhere", Code::InvalidArgument),
        ("${jndi:x}", "events", Code::InvalidName),
    ] {
        let failure = unwrap(cluster.groups.get_offsets(get(group, topic)).await).expect_err("refused");
        assert!(failure.is(code), "{failure}");
    }
}
