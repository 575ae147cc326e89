use pondage_model::{Code, record::Batch};
use pondage_protocol::v1;

use crate::harness::{Cluster, batch, publish, unwrap};

fn browse(target: &str) -> v1::BrowseRequest {
    v1::BrowseRequest { target: target.to_owned(), ..v1::BrowseRequest::default() }
}

/// (first, count, state, failures) of every run that is shown.
async fn runs(cluster: &mut Cluster, request: v1::BrowseRequest) -> Vec<(u64, u32, v1::MessageState, u32)> {
    let mut shown = cluster.messages.browse(request).await.expect("accepted").into_inner();
    let mut runs = Vec::new();
    while let Some(response) = shown.message().await.expect("no status") {
        let whole = Batch::parse(response.batch).expect("a batch");
        for run in response.runs {
            assert!(run.first_offset >= whole.base_offset().get());
            assert!(run.first_offset + u64::from(run.count) <= whole.last_offset().get() + 1);
            runs.push((run.first_offset, run.count, run.state(), run.failures));
        }
    }
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn browsing_shows_and_changes_nothing() {
    use v1::MessageState::{Leased, Ready, Scheduled};
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.publish("orders", &["a", "b", "c", "d"]).await;
    let late = v1::PublishRequest { delay_millis: Some(60_000), ..publish("orders", batch(&["e"])) };
    cluster.send(late).await.expect("published");
    cluster.publish("orders", &["f", "g"]).await;
    let got = cluster.receive("orders", 3, 1_000).await;
    cluster.settle(vec![got[1].accept(), got[2].release()]).await;
    let expected =
        [(0, 1, Leased, 0), (2, 1, Ready, 1), (3, 1, Ready, 0), (4, 1, Scheduled, 0), (5, 2, Ready, 0)];
    for _ in 0..2 {
        assert_eq!(runs(&mut cluster, browse("orders")).await, expected);
    }
    let from = v1::BrowseRequest { from_offset: 3, max_messages: 2, ..browse("orders") };
    assert_eq!(runs(&mut cluster, from).await, expected[2..4]);
    let one = v1::BrowseRequest { max_bytes: 1, ..browse("orders") };
    assert_eq!(runs(&mut cluster, one).await, expected[..3], "one batch at least");

    cluster.topic("events", 2).await;
    let request = v1::PublishRequest { partition: Some(1), ..publish("events", batch(&["x", "y"])) };
    cluster.send(request).await.expect("published");
    assert_eq!(runs(&mut cluster, browse("events")).await, []);
    let second = v1::BrowseRequest { partition: 1, ..browse("events") };
    assert_eq!(runs(&mut cluster, second).await, [(0, 2, Ready, 0)]);
    for (request, code) in [
        (browse("nowhere"), Code::NotFound),
        (browse("a b"), Code::InvalidName),
        (v1::BrowseRequest { partition: 2, ..browse("events") }, Code::NotFound),
    ] {
        let failure = unwrap(cluster.messages.browse(request).await).expect_err("refused");
        assert!(failure.is(code), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_browse_comes_in_full() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    let value = "x".repeat(400_000);
    for _ in 0..60 {
        cluster.publish("events", &[&value, "y"]).await;
    }
    let runs = runs(&mut cluster, browse("events")).await;
    assert_eq!(runs.iter().map(|(_, count, ..)| count).sum::<u32>(), 120);
    assert!(runs.is_sorted_by_key(|(first, ..)| *first));
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_settles_what_is_there() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.topic("events", 1).await;
    cluster.publish("orders", &["a", "b", "c"]).await;
    let purge = |queue: &str| v1::PurgeRequest { queue: queue.to_owned() };
    let purged = unwrap(cluster.messages.purge(purge("orders")).await).expect("purged");
    assert_eq!(purged.messages, 3);
    assert!(cluster.receive("orders", 1, 0).await.is_empty());
    let mut cluster = cluster.restart().await;
    assert!(cluster.receive("orders", 1, 0).await.is_empty());
    for (name, code) in [("events", Code::NotFound), ("nowhere", Code::NotFound), ("", Code::InvalidName)] {
        let failure = unwrap(cluster.messages.purge(purge(name)).await).expect_err("refused");
        assert!(failure.is(code), "{failure}");
    }
    let locate = |target: &str| v1::LocateRequest { target: target.to_owned() };
    let found = unwrap(cluster.messages.locate(locate("events")).await).expect("there");
    assert_eq!((found.is_topic, found.partitions, found.message_bytes_max), (true, 1, 1 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_broker_says_that_everything_is_here() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 3).await;
    cluster.queue("orders").await;
    for (name, is_topic, partitions) in [("events", true, 3), ("orders", false, 1)] {
        let request = v1::LocateRequest { target: name.to_owned() };
        let located = unwrap(cluster.messages.locate(request).await).expect("it is there");
        assert_eq!((located.is_topic, located.partitions), (is_topic, partitions));
        let numbers: Vec<u32> = located.locations.iter().map(|location| location.partition).collect();
        assert_eq!(numbers, (0..partitions).collect::<Vec<_>>());
        let kind = if is_topic { v1::ResourceKind::Topic } else { v1::ResourceKind::Queue };
        let status = cluster.status(kind, name).await;
        for (location, stream) in located.locations.iter().zip(status) {
            assert!(location.here, "{location:?}");
            assert_eq!(location.address, "", "clients reach it as they did");
            assert_eq!((location.shard, location.stream), (stream.shard, stream.stream));
            assert_eq!(location.leader, stream.leader);
            assert!(stream.leader.is_some());
        }
    }
    let unknown = v1::LocateRequest { target: "nothing".to_owned() };
    let refused = unwrap(cluster.messages.locate(unknown).await).expect_err("no such name");
    assert!(refused.is(Code::NotFound), "{refused}");
}
