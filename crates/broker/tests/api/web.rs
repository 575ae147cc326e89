use std::{net::SocketAddr, time::Duration};

use pondage_protocol::v1;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Cluster, topic_source};

/// The status and the whole answer of one request.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: broker\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    // Well below the deadline of a connection: it is closed because the answer says so.
    let read = tokio::time::timeout(Duration::from_secs(8), stream.read_to_string(&mut answer)).await;
    read.expect("the connection is closed after one request").expect("text");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served() {
    let mut cluster = Cluster::start().await;
    let web = cluster.broker.http_address;
    assert_eq!(get(web, "/livez").await.0, 200);
    assert_eq!(get(web, "/readyz").await.0, 200);
    assert_eq!(get(web, "/").await.0, 404);
    assert_eq!(get(web, "/metrics/../etc/passwd").await.0, 404);

    cluster.queue("orders").await;
    cluster.topic("events", 1).await;
    cluster.group("billing", "events").await;
    cluster.publish("orders", &["a", "b", "c"]).await;
    cluster.publish("events", &["x", "y"]).await;
    let got = cluster.receive("orders", 2, 1_000).await;
    cluster.settle(vec![got[0].accept(), got[1].release()]).await;
    let mut reader = cluster.consume(topic_source("events", Some("billing")), 0).await;
    reader.started().await;
    let text = get(web, "/metrics").await.1;
    for line in [
        "pondage_queue_ready{queue=\"orders\"} 2",
        "pondage_queue_unacked{queue=\"orders\"} 0",
        "pondage_queue_published_total{queue=\"orders\"} 3",
        "pondage_queue_accepted_total{queue=\"orders\"} 1",
        "pondage_queue_failures_total{cause=\"released\",queue=\"orders\"} 1",
        "pondage_queue_dead_lettered_total{queue=\"orders\",reason=\"rejected\"} 0",
        "pondage_topic_end_offset{partition=\"0\",topic=\"events\"} 2",
        "pondage_group_lag{group=\"billing\",partition=\"0\",topic=\"events\"} 2",
        "pondage_requests_total{method=\"Publish\"} 2",
        "pondage_publish_duration_seconds_count 2",
        "pondage_ready 1",
        "pondage_catalog_leader 1",
        "pondage_catalog_voters 1",
        "pondage_shards_followed 0",
        "pondage_shards_offline 0",
        "pondage_shards_under_replicated 0",
        "pondage_hand_overs_begun_total 0",
        "pondage_in_sync_changes_total{change=\"shrink\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    for name in [
        "pondage_shard_fsyncs_total{",
        "pondage_shard_written_bytes_total{",
        "pondage_volume_free_bytes ",
        "pondage_volume_size_bytes ",
        "process_open_fds ",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_by_their_word() {
    let mut cluster = Cluster::start().await;
    let missing = crate::harness::publish("nowhere", crate::harness::batch(&["a"]));
    cluster.send(missing).await.expect_err("refused");
    let text = get(cluster.broker.http_address, "/metrics").await.1;
    assert!(text.contains("pondage_refusals_total{code=\"NOT_FOUND\"} 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_port_tells_its_health_and_its_services() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let cluster = Cluster::start().await;
    let endpoint = format!("http://{}", cluster.broker.address);
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).expect("an address");
    let channel = endpoint.connect().await.expect("it listens");
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "pondage.v1.Messages"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.expect("answered").into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let mut reflection = ServerReflectionClient::new(channel);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let requests = tokio_stream::once(ServerReflectionRequest { host: String::new(), message_request });
    let mut answers = reflection.server_reflection_info(requests).await.expect("accepted").into_inner();
    let answer = answers.message().await.expect("no status").expect("an answer").message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["pondage.v1.Admin", "pondage.v1.Groups", "pondage.v1.Messages", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

/// The head, and the body as it came.
async fn get_gzip(address: SocketAddr) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = "GET /metrics HTTP/1.1\r\nHost: broker\r\nAccept-Encoding: gzip\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).expect("text").to_ascii_lowercase(), body)
}

fn gunzip(body: &[u8]) -> String {
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(body);
    std::io::Read::read_to_string(&mut decoder, &mut text).expect("whole");
    text
}

/// Samples of streams, those of ages aside.
fn of_streams(text: &str) -> Vec<&str> {
    let is_ageless = |line: &&str| !line.contains("_age_seconds{") && !line.contains("_delay_seconds{");
    let families = ["pondage_queue_", "pondage_topic_", "pondage_group_"];
    text.lines()
        .filter(|line| families.iter().any(|name| line.starts_with(name)))
        .filter(is_ageless)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_accepts_gzip_reads_the_same_in_fewer_bytes() {
    let mut cluster = Cluster::start().await;
    let web = cluster.broker.http_address;
    cluster.topic("events", 2).await;
    for round in 0..4 {
        cluster.queue(&format!("orders-{round}")).await;
        cluster.publish("orders-0", &["a"]).await;
        let (head, body) = get_gzip(web).await;
        for line in ["content-encoding: gzip", "vary: accept-encoding", "connection: close"] {
            assert!(head.lines().any(|found| found == line), "{line} is not in\n{head}");
        }
        let (compressed, plain) = (gunzip(&body), get(web, "/metrics").await.1);
        assert!(!plain.to_ascii_lowercase().contains("content-encoding"), "nobody asked for it");
        assert_eq!(of_streams(&compressed), of_streams(&plain));
        assert!(compressed.contains(&format!("pondage_queue_ready{{queue=\"orders-0\"}} {}\n", round + 1)));
        assert!(compressed.contains(&format!("pondage_queue_ready{{queue=\"orders-{round}\"}} ")));
        assert!(body.len() < compressed.len() / 2, "{} of {} bytes", body.len(), compressed.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_from_the_next_scrape() {
    let mut cluster = Cluster::start().await;
    let web = cluster.broker.http_address;
    cluster.queue("orders").await;
    cluster.queue("kept").await;
    // A partition has a shard of its own.
    cluster.topic("events", 1).await;
    let text = gunzip(&get_gzip(web).await.1);
    assert!(text.contains("{queue=\"orders\"}") && text.contains(",topic=\"events\"}"), "{text}");
    for (kind, name) in [(v1::ResourceKind::Queue, "orders"), (v1::ResourceKind::Topic, "events")] {
        let (kind, name, policy) = (kind.into(), name.to_owned(), Some(v1::DeletionPolicy::Delete.into()));
        let delete = v1::DeleteRequest { kind, name, policy, ..v1::DeleteRequest::default() };
        assert!(cluster.admin.delete(delete).await.expect("answered").into_inner().deleted);
    }
    for text in [gunzip(&get_gzip(web).await.1), get(web, "/metrics").await.1] {
        assert!(!text.contains("queue=\"orders\"") && !text.contains("topic=\"events\""), "{text}");
        assert!(text.contains("{queue=\"kept\"}"), "{text}");
    }
}
