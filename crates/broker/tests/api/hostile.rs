use std::time::{Duration, Instant};

use bytes::Bytes;
use pondage_model::{Code, limits};
use pondage_protocol::{from_status, v1};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{Cluster, PATIENCE, publish};

/// How long until the broker closes a connection that said this.
async fn closed_after(cluster: &Cluster, said: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(cluster.broker.address).await.expect("it listens");
    let begun = Instant::now();
    // The broker may close while this is written.
    drop(stream.write_all(said).await);
    let mut answer = [0; 1_024];
    let reading = async { while matches!(stream.read(&mut answer).await, Ok(count) if count > 0) {} };
    tokio::time::timeout(PATIENCE, reading).await.expect("it is closed");
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_are_shown_the_door_at_once() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let noise: Vec<u8> =
        (0..200_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for said in [
        &b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"AMQP\x00\x00\x09\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        b"\x00",
        &noise,
    ] {
        let took = closed_after(&cluster, said).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    // The right greeting, then noise: a frame of 16 MiB is announced.
    let mut greeted = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    greeted.extend_from_slice(&[0xff; 4_096]);
    assert!(closed_after(&cluster, &greeted).await < Duration::from_secs(2));
    // A greeting that never ends.
    let took = closed_after(&cluster, b"PRI * HT").await;
    assert!((4..10).contains(&took.as_secs()), "{took:?}");
    let text = crate::web::get(cluster.broker.http_address, "/metrics").await.1;
    assert!(text.contains("pondage_connections_refused_total{reason=\"not-http2\"} 6"), "{text}");
    assert!(text.contains("pondage_connections_refused_total{reason=\"silent\"} 1"), "{text}");
    assert_eq!(cluster.publish("orders", &["a"]).await.base_offset, 0, "the others don't notice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_limit_is_refused_and_the_connection_stays() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let large = Bytes::from(vec![0; limits::RPC_BYTES_MAX + 1]);
    let failure = cluster.send(publish("orders", large.clone())).await.expect_err("refused");
    assert!(failure.is(Code::TooLarge), "{failure}");
    assert_eq!(failure.outcome, pondage_model::Outcome::Definite);

    let (requests, outgoing) = mpsc::channel(2);
    let mut answers =
        cluster.messages.publish_stream(ReceiverStream::new(outgoing)).await.expect("accepted").into_inner();
    let request = v1::PublishStreamRequest { request_id: 1, publish: Some(publish("orders", large)) };
    requests.send(request).await.expect("open");
    let status =
        tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time").expect_err("a status");
    assert!(from_status(&status).is(Code::TooLarge), "{status:?}");
    assert_eq!(cluster.publish("orders", &["a"]).await.base_offset, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_malformed() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let endpoint = format!("http://{}", cluster.broker.address);
    let channel = tonic::transport::Endpoint::from_shared(endpoint).expect("an address").connect().await;
    let mut client = tonic::client::Grpc::new(channel.expect("it listens"));
    client.ready().await.expect("ready");
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/pondage.v1.Messages/Publish");
    // A settle with a token is no publish: its first field is a message where a text is expected.
    let noise = v1::PublishResponse { partition: 7, base_offset: u64::MAX, count: 3, duplicate: true };
    let codec = tonic_prost::ProstCodec::<v1::PublishResponse, v1::PublishResponse>::default();
    let answer = client.unary(tonic::Request::new(noise), path, codec).await;
    let failure = from_status(&answer.expect_err("refused"));
    assert!(failure.is(Code::Malformed), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_pauses_its_session_only() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    let value = "x".repeat(1_000_000);
    for _ in 0..80 {
        cluster.publish("events", &[&value]).await;
    }
    let mut lazy = Vec::new();
    for _ in 0..3 {
        // A connection each: what a client doesn't read fills its own window.
        cluster.messages = cluster.connect().await;
        lazy.push(cluster.consume(crate::harness::topic_source("events", None), 1_000).await);
    }
    cluster.messages = cluster.connect().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = Instant::now();
    cluster.publish("events", &["small"]).await;
    assert!(before.elapsed() < Duration::from_secs(5));
    // And whoever begins to read gets everything.
    let mut reader = lazy.pop().expect("three of them");
    reader.started().await;
    assert_eq!(reader.take(81).await.len(), 81);
}
