use std::time::Duration;

use bytes::Bytes;
use pondage_model::{
    Code, ProducerId, limits,
    record::{BatchBuilder, Compression, RecordDraft},
};
use pondage_protocol::v1::{self, resource_spec::Spec};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{Cluster, PATIENCE, batch, batch_of, publish, unwrap, values};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.topic("events", 2).await;
    assert_eq!(cluster.publish("orders", &["a", "b"]).await.base_offset, 0);
    assert_eq!(cluster.publish("orders", &["c"]).await.base_offset, 2);
    let request = v1::PublishRequest { partition: Some(1), ..publish("events", batch(&["x"])) };
    let stored = cluster.send(request).await.expect("published");
    assert_eq!((stored.partition, stored.base_offset, stored.count), (1, 0, 1));

    let mut cluster = cluster.restart().await;
    let got = cluster.receive("orders", 10, 1_000).await;
    assert_eq!(values(&got), ["a", "b", "c"]);
    let status = cluster.status(v1::ResourceKind::Topic, "events").await;
    assert_eq!(status.iter().map(|stream| stream.end_offset).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(cluster.publish("orders", &["d"]).await.base_offset, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_stored_untouched_and_given_back() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let long = "abc".repeat(50_000);
    for codec in Compression::ALL {
        let sent = batch_of(BatchBuilder::new(codec), &["short", &long]);
        cluster.send(publish("orders", sent)).await.expect("published");
        let got = cluster.receive("orders", 10, 1_000).await;
        assert_eq!(values(&got), ["short", long.as_str()], "{codec}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_without_a_partition_take_turns() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 3).await;
    let mut partitions = Vec::new();
    for _ in 0..6 {
        partitions.push(cluster.publish("events", &["x"]).await.partition);
    }
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 0, 1, 1, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stores_once_and_in_order() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.topic("events", 2).await;
    let session =
        unwrap(cluster.messages.init_producer(v1::InitProducerRequest {}).await).expect("a session");
    let other = unwrap(cluster.messages.init_producer(v1::InitProducerRequest {}).await).expect("a session");
    assert_ne!(session.producer_id, other.producer_id);
    let numbered = |sequence, value: &str| {
        let builder = BatchBuilder::new(Compression::None);
        let builder = builder.producer(ProducerId(session.producer_id), session.epoch, sequence);
        publish("orders", batch_of(builder, &[value]))
    };
    let first = cluster.send(numbered(0, "a")).await.expect("stored");
    assert!(!first.duplicate);
    let again = cluster.send(numbered(0, "a")).await.expect("stored before");
    assert_eq!((again.duplicate, again.base_offset), (true, first.base_offset));
    let gap = cluster.send(numbered(5, "f")).await.expect_err("refused");
    assert!(gap.is(Code::OutOfOrder), "{gap}");
    cluster.send(numbered(1, "b")).await.expect("stored");
    assert_eq!(values(&cluster.receive("orders", 10, 1_000).await), ["a", "b"]);

    let nowhere = v1::PublishRequest { target: "events".to_owned(), ..numbered(0, "a") };
    let refused = cluster.send(nowhere).await.expect_err("a session names its partition");
    assert!(refused.is(Code::InvalidArgument), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_publish_is_refused_and_nothing_is_stored() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.topic("events", 2).await;
    let small = v1::QueueSpec { message_bytes_max: Some(10), ..v1::QueueSpec::default() };
    cluster.apply("small", Spec::Queue(small)).await.expect("applied");

    let good = batch(&["hello"]);
    let mut corrupt = good.to_vec();
    *corrupt.last_mut().expect("bytes") ^= 1;
    let mut reserved = BatchBuilder::new(Compression::None);
    let headers: &[(&[u8], Option<&[u8]>)] = &[(b"pondage-dead-letter-source", Some(b"x"))];
    reserved.push(&RecordDraft { headers, ..RecordDraft::default() }).expect("built");
    let reserved = reserved.build().expect("built");
    let to = |target: &str, batch: &Bytes| publish(target, batch.clone());
    for (request, code) in [
        (to("nowhere", &good), Code::NotFound),
        (to("../etc/passwd", &good), Code::InvalidName),
        (to("", &good), Code::InvalidName),
        (to("orders", &Bytes::new()), Code::CorruptBatch),
        (to("orders", &Bytes::from(corrupt)), Code::CorruptBatch),
        (to("orders", &good.slice(..40)), Code::CorruptBatch),
        (to("orders", &reserved), Code::InvalidArgument),
        (to("small", &batch(&["more than ten bytes"])), Code::TooLarge),
        (v1::PublishRequest { partition: Some(2), ..to("events", &good) }, Code::NotFound),
        (v1::PublishRequest { partition: Some(5_000), ..to("events", &good) }, Code::InvalidArgument),
        (v1::PublishRequest { ttl_millis: Some(0), ..to("orders", &good) }, Code::InvalidArgument),
        (v1::PublishRequest { delay_millis: Some(u64::MAX), ..to("orders", &good) }, Code::InvalidArgument),
        (
            v1::PublishRequest { delay_millis: Some(5), partition: Some(0), ..to("events", &good) },
            Code::InvalidArgument,
        ),
        (to("orders", &Bytes::from(vec![0; limits::BATCH_BYTES_MAX + 1])), Code::TooLarge),
    ] {
        let target = request.target.clone();
        let failure = cluster.send(request).await.expect_err("refused");
        assert!(failure.is(code), "{target}: {failure}");
        assert_eq!(failure.outcome, pondage_model::Outcome::Definite, "{failure}");
    }
    for queue in ["orders", "small"] {
        assert_eq!(cluster.status(v1::ResourceKind::Queue, queue).await[0].end_offset, 0);
    }
    // The connection is as good as before.
    assert_eq!(cluster.publish("orders", &["a"]).await.base_offset, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_publishes_keeps_the_order_and_refuses_one_by_one() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let (requests, outgoing) = mpsc::channel(16);
    let mut answers =
        cluster.messages.publish_stream(ReceiverStream::new(outgoing)).await.expect("accepted").into_inner();
    let count = 500u64;
    let long = "x".repeat(100_000);
    let sending = async move {
        for request_id in 0..count {
            // Large ones are checked beside the stream, and still stored in their turn.
            let text = format!("{request_id}");
            let values =
                if request_id % 50 == 7 { vec![text.as_str(), long.as_str()] } else { vec![text.as_str()] };
            let publish = match request_id {
                100 => publish("nowhere", batch(&["x"])),
                _ => publish("orders", batch(&values)),
            };
            let request = v1::PublishStreamRequest { request_id, publish: Some(publish) };
            requests.send(request).await.expect("the stream is open");
        }
    };
    let sent = tokio::spawn(sending);
    let mut offsets = vec![None; count as usize];
    for _ in 0..count {
        let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
        let answer = answer.expect("no status").expect("an answer");
        match answer.result.expect("a result") {
            v1::publish_stream_response::Result::Ok(stored) => {
                offsets[answer.request_id as usize] = Some(stored.base_offset);
            }
            v1::publish_stream_response::Result::Error(error) => {
                assert_eq!((answer.request_id, error.code.as_str()), (100, "NOT_FOUND"));
            }
        }
    }
    sent.await.expect("all sent");
    assert_eq!(
        answers.message().await.expect("no status"),
        None,
        "the stream ends when everything is answered"
    );
    assert_eq!(offsets[100], None);
    let stored: Vec<u64> = offsets.into_iter().flatten().collect();
    assert_eq!(stored.len(), count as usize - 1);
    assert!(stored.is_sorted(), "stored in the order of sending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_broker_ends_streams_with_a_reason() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let (requests, outgoing) = mpsc::channel(16);
    let mut answers =
        cluster.messages.publish_stream(ReceiverStream::new(outgoing)).await.expect("accepted").into_inner();
    let request = v1::PublishStreamRequest { request_id: 1, publish: Some(publish("orders", batch(&["a"]))) };
    requests.send(request).await.expect("open");
    answers.message().await.expect("no status").expect("an answer");
    let stopping = tokio::spawn(cluster.broker.stop());
    let end = tokio::time::timeout(Duration::from_secs(4), answers.message()).await.expect("at once");
    let failure = pondage_protocol::from_status(&end.expect_err("a status"));
    assert!(failure.is(Code::ShuttingDown), "{failure}");
    assert_eq!(stopping.await.expect("stopped"), pondage_broker::Stopped::InOrder);
}
