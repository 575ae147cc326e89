use std::time::{Duration, Instant};

use pondage_model::Code;
use pondage_protocol::v1::{self, resource_spec::Spec, verdict::Verdict};

use crate::harness::{Cluster, batch, publish, unwrap, values, words};

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_have_their_effects_and_their_answers() {
    let mut cluster = Cluster::start().await;
    cluster.queue("dead").await;
    let spec = v1::QueueSpec { dead_letter: Some("dead".to_owned()), ..v1::QueueSpec::default() };
    cluster.apply("orders", Spec::Queue(spec)).await.expect("applied");
    cluster.publish("orders", &["a", "b", "c", "d", "e"]).await;
    let got = cluster.receive("orders", 10, 1_000).await;
    assert_eq!(values(&got), ["a", "b", "c", "d", "e"]);
    assert!(got.iter().all(|got| got.attempt() == 1));

    let items = vec![
        got[0].accept(),
        got[1].release(),
        got[2].item(Verdict::Return(v1::Return {})),
        got[3].reject(),
        got[4].item(Verdict::Renew(v1::Renew { lease_millis: Some(60_000) })),
    ];
    let results = cluster.settle(items).await;
    let ok = "SETTLED_STATE_OK".to_owned();
    let expected: Vec<_> = (0..5).map(|index| (index, u64::from(index), 1, ok.clone())).collect();
    assert_eq!(words(&results), expected);

    let mut again = cluster.receive("orders", 10, 1_000).await;
    again.sort_by_key(|got| got.offset);
    let attempts: Vec<_> = again.iter().map(|got| (got.value.as_str(), got.attempt())).collect();
    assert_eq!(attempts, [("b", 2), ("c", 2)]);

    let dead = cluster.receive("dead", 10, 10_000).await;
    assert_eq!(values(&dead), ["d"]);
    let header =
        |key: &str| dead[0].headers.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    assert_eq!(header("pondage-dead-letter-source"), Some("orders"));
    assert_eq!(header("pondage-dead-letter-reason"), Some("rejected"));

    let twice = cluster.settle(vec![got[0].accept(), got[0].reject(), got[1].accept()]).await;
    let twice: Vec<String> = words(&twice).into_iter().map(|(.., word)| word).collect();
    assert_eq!(twice, ["SETTLED_STATE_ALREADY_SETTLED", "LEASE_LOST", "LEASE_LOST"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_ended_differently_has_several_results() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.publish("orders", &["a", "b", "c", "d"]).await;
    let got = cluster.receive("orders", 10, 1_000).await;
    cluster.settle(vec![got[1].release()]).await;
    let all = v1::TokenRange { count: 4, ..got[0].range.expect("leased") };
    let item = v1::SettleItem { by: Some(v1::settle_item::By::Range(all)), ..got[0].accept() };
    let results = cluster.settle(vec![item]).await;
    let ok = || "SETTLED_STATE_OK".to_owned();
    assert_eq!(words(&results), [(0, 0, 1, ok()), (0, 1, 1, "LEASE_LOST".to_owned()), (0, 2, 2, ok())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_lose_and_harm_nobody() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.topic("events", 1).await;
    cluster.publish("orders", &["a"]).await;
    cluster.publish("events", &["x"]).await;
    let topic = cluster.status(v1::ResourceKind::Topic, "events").await;
    let got = cluster.receive("orders", 10, 1_000).await;
    let true_range = got[0].range.expect("leased");
    let forged = |range: v1::TokenRange| {
        let by = Some(v1::settle_item::By::Range(range));
        v1::SettleItem { by, ..got[0].accept() }
    };
    let token = |bytes: &'static [u8]| {
        let by = Some(v1::settle_item::By::Token(bytes::Bytes::from_static(bytes)));
        v1::SettleItem { by, ..got[0].accept() }
    };
    let items = vec![
        forged(v1::TokenRange { shard: 9_999, ..true_range }),
        forged(v1::TokenRange { shard: 0, ..true_range }),
        forged(v1::TokenRange { stream: 9_999, ..true_range }),
        forged(v1::TokenRange { shard: topic[0].shard, stream: topic[0].stream, ..true_range }),
        forged(v1::TokenRange { first_offset: 77, ..true_range }),
        forged(v1::TokenRange { epoch: true_range.epoch + 1, ..true_range }),
        forged(v1::TokenRange { attempt: 7, ..true_range }),
        forged(v1::TokenRange { first_offset: u64::MAX, ..true_range }),
        token(b""),
        token(&[1; 33]),
        token(&[0xff; 33]),
    ];
    let count = items.len();
    let results = cluster.settle(items).await;
    assert_eq!(results.len(), count);
    for (item, _, _, word) in words(&results) {
        assert_eq!(word, "LEASE_LOST", "item {item}");
    }
    assert_eq!(words(&cluster.settle(vec![got[0].accept()]).await)[0].3, "SETTLED_STATE_OK");

    let huge = v1::TokenRange { count: 65_536, ..true_range };
    let request = v1::SettleRequest { items: vec![forged(huge), forged(huge)] };
    let failure = unwrap(cluster.messages.settle(request).await).expect_err("refused");
    assert!(failure.is(Code::TooLarge), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_waits_as_long_as_it_says_and_answers_as_soon_as_it_can() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let before = Instant::now();
    assert!(cluster.receive("orders", 10, 0).await.is_empty());
    assert!(cluster.receive("orders", 10, 300).await.is_empty());
    assert!(before.elapsed() >= Duration::from_millis(300));

    cluster.publish("orders", &["a"]).await;
    assert_eq!(values(&cluster.receive("orders", 10, 0).await), ["a"], "no wait gets what is there");

    let mut other = cluster.messages.clone();
    let poll = tokio::spawn(async move {
        let request = v1::ReceiveRequest {
            queue: "orders".to_owned(),
            max_messages: 5,
            wait_millis: 30_000,
            lease_millis: None,
        };
        other.receive(request).await.expect("received").into_inner()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = Instant::now();
    cluster.publish("orders", &["b"]).await;
    let deliveries = poll.await.expect("polled").deliveries;
    assert_eq!(deliveries.len(), 1);
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_is_left_loses_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    for round in 0..20u64 {
        let request = v1::ReceiveRequest {
            queue: "orders".to_owned(),
            max_messages: 5,
            wait_millis: 30_000,
            lease_millis: None,
        };
        let mut other = cluster.messages.clone();
        let poll = tokio::spawn(async move { other.receive(request).await });
        tokio::time::sleep(Duration::from_millis(round % 5)).await;
        let publish = cluster.publish("orders", &["x"]);
        let _ = tokio::join!(publish, async {
            tokio::time::sleep(Duration::from_millis(round % 7)).await;
            poll.abort();
        });
    }
    // Those that were handed to a connection that was still there come back by their deadline; the rest is free.
    cluster.queue_until("orders", |status| status.consumers == 0).await;
    let status = cluster.status(v1::ResourceKind::Queue, "orders").await[0];
    assert_eq!(status.ready + status.unacked, 20, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_stays_below_what_a_client_can_read() {
    let mut cluster = Cluster::start().await;
    let spec = v1::QueueSpec { message_bytes_max: Some(7 << 20), ..v1::QueueSpec::default() };
    cluster.apply("orders", Spec::Queue(spec)).await.expect("applied");
    let large = "x".repeat(3 << 20);
    for _ in 0..4 {
        cluster.publish("orders", &[&large]).await;
    }
    let got = cluster.receive("orders", 10, 1_000).await;
    assert_eq!(got.len(), 2);
    // The others are there for the next one, and had no attempt that counts.
    cluster.queue_until("orders", |status| status.ready == 2).await;
    assert_eq!(cluster.receive("orders", 10, 1_000).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_hold_back_and_times_to_live_end() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let later = v1::PublishRequest { delay_millis: Some(600), ..publish("orders", batch(&["later"])) };
    let before = Instant::now();
    cluster.send(later).await.expect("published");
    assert!(cluster.receive("orders", 1, 0).await.is_empty());
    assert_eq!(cluster.status(v1::ResourceKind::Queue, "orders").await[0].scheduled, 1);
    assert_eq!(values(&cluster.receive("orders", 1, 10_000).await), ["later"]);
    assert!(before.elapsed() >= Duration::from_millis(600));

    let brief = v1::PublishRequest { ttl_millis: Some(50), ..publish("orders", batch(&["brief"])) };
    cluster.send(brief).await.expect("published");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(cluster.receive("orders", 1, 300).await.is_empty());
}
