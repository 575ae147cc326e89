use pondage_protocol::v1::{self, consume_request, consume_response, resource_spec::Spec};

use crate::harness::{Cluster, queue_source, values, words};

#[tokio::test(flavor = "multi_thread")]
async fn credit_bounds_what_is_sent_and_a_verdict_gives_it_back() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.publish("orders", &["a", "b", "c", "d", "e", "f"]).await;
    let mut consumer = cluster.consume(queue_source("orders"), 2).await;
    consumer.started().await;
    let got = consumer.take(2).await;
    assert_eq!(values(&got), ["a", "b"]);
    consumer.silent().await;

    consumer.settle(7, vec![got[0].accept()]).await;
    let settled = consumer.settled().await;
    assert_eq!(settled.request_id, 7);
    assert_eq!(words(&settled.results), [(0, 0, 1, "SETTLED_STATE_OK".to_owned())]);
    assert_eq!(values(&consumer.take(1).await), ["c"]);
    consumer.silent().await;

    // Said twice, it gives nothing twice.
    consumer.settle(8, vec![got[0].accept(), got[0].reject()]).await;
    let again: Vec<_> = words(&consumer.settled().await.results).into_iter().map(|(.., word)| word).collect();
    assert_eq!(again, ["SETTLED_STATE_ALREADY_SETTLED", "LEASE_LOST"]);
    consumer.silent().await;

    consumer.step(consume_request::Step::Credit(v1::ConsumeCredit { add: 2 })).await;
    assert_eq!(values(&consumer.take(2).await), ["d", "e"]);
    consumer.silent().await;
    consumer.close().await;
    cluster
        .queue_until("orders", |status| status.ready == 5 && status.unacked == 0 && status.consumers == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_its_start_also_when_messages_wait() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.publish("orders", &["a"]).await;
    // The delivery and the start once raced each other: often enough to show it.
    for _ in 0..100 {
        let mut consumer = cluster.consume(queue_source("orders"), 1).await;
        consumer.started().await;
        assert_eq!(values(&consumer.take(1).await), ["a"]);
        consumer.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_in_good_order_is_no_failed_attempt_and_being_lost_is() {
    let mut cluster = Cluster::start().await;
    cluster.queue("dead").await;
    let spec = v1::QueueSpec {
        dead_letter: Some("dead".to_owned()),
        max_deliveries: Some(2),
        ..v1::QueueSpec::default()
    };
    cluster.apply("orders", Spec::Queue(spec)).await.expect("applied");
    cluster.publish("orders", &["a"]).await;
    for attempt in 1..=3 {
        let mut consumer = cluster.consume(queue_source("orders"), 5).await;
        consumer.started().await;
        assert_eq!(consumer.take(1).await[0].attempt(), attempt);
        consumer.close().await;
    }
    for attempt in 4..=5 {
        let mut consumer = cluster.consume(queue_source("orders"), 5).await;
        consumer.started().await;
        assert_eq!(consumer.take(1).await[0].attempt(), attempt);
        drop(consumer);
    }
    let dead = cluster.receive("dead", 1, 10_000).await;
    assert_eq!(values(&dead), ["a"]);
    assert!(
        dead[0].headers.contains(&("pondage-dead-letter-reason".to_owned(), "max-deliveries".to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn results_come_before_the_close() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let all: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    cluster.publish("orders", &all).await;
    let mut consumer = cluster.consume(queue_source("orders"), 50).await;
    consumer.started().await;
    let got = consumer.take(50).await;
    assert_eq!(values(&got), all);
    for (request_id, got) in (0..).zip(&got) {
        consumer.settle(request_id, vec![got.accept()]).await;
    }
    consumer.step(consume_request::Step::Close(v1::ConsumeClose {})).await;
    let mut answered = 0;
    loop {
        match consumer.next().await {
            Some(consume_response::Step::Settled(settled)) => {
                answered += 1;
                assert_eq!(words(&settled.results)[0].3, "SETTLED_STATE_OK");
            }
            Some(consume_response::Step::Closed(_)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered, 50);
    assert_eq!(consumer.next().await, None);
    cluster.queue_until("orders", |status| status.ready + status.unacked == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_comes_back_with_its_credit() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.publish("orders", &["a"]).await;
    let source = v1::QueueSource { name: "orders".to_owned(), lease_millis: Some(200) };
    let mut consumer = cluster.consume(v1::consume_start::Source::Queue(source), 1).await;
    consumer.started().await;
    let first = consumer.take(1).await;
    // The consumer does nothing: after the deadline it gets the message again, for the credit of the first time.
    let second = consumer.take(1).await;
    assert_eq!((first[0].attempt(), second[0].attempt()), (1, 2));
    consumer.settle(1, vec![first[0].accept(), second[0].accept()]).await;
    let results: Vec<_> =
        words(&consumer.settled().await.results).into_iter().map(|(.., word)| word).collect();
    assert_eq!(results, ["LEASE_LOST", "SETTLED_STATE_OK"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_gets_no_more_and_settles_what_it_has() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.publish("orders", &["a", "b", "c"]).await;
    let mut consumer = cluster.consume(queue_source("orders"), 2).await;
    consumer.started().await;
    let messages = consumer.take(2).await;
    consumer.step(consume_request::Step::Stop(v1::ConsumeStop {})).await;
    consumer.step(consume_request::Step::Credit(v1::ConsumeCredit { add: 5 })).await;
    // Settling gives no credit back either.
    consumer.settle(1, vec![messages[0].accept(), messages[1].accept()]).await;
    let results: Vec<_> =
        words(&consumer.settled().await.results).into_iter().map(|(.., word)| word).collect();
    assert_eq!(results, ["SETTLED_STATE_OK", "SETTLED_STATE_OK"]);
    // Another one gets it, and at once.
    let mut other = cluster.consume(queue_source("orders"), 1).await;
    other.started().await;
    assert_eq!(other.take(1).await[0].attempt(), 1);
    consumer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_out_of_order_end_the_stream() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.publish("orders", &["a"]).await;
    let start = || {
        let source = Some(queue_source("orders"));
        consume_request::Step::Start(v1::ConsumeStart { source, credit: 0 })
    };
    let credit = || consume_request::Step::Credit(v1::ConsumeCredit { add: 1 });
    let commit =
        || consume_request::Step::Commit(v1::ConsumeCommit { request_id: 1, partition: 0, offset: 1 });
    for (steps, started) in
        [(vec![credit()], false), (vec![start(), start()], true), (vec![start(), commit()], true)]
    {
        let mut consumer = cluster.consume_raw().await;
        for step in steps {
            consumer.step(step).await;
        }
        if started {
            consumer.started().await;
        }
        assert_eq!(consumer.error().await.code, "PROTOCOL_STATE");
    }
    let mut consumer = cluster.consume(queue_source("nowhere"), 1).await;
    assert_eq!(consumer.error().await.code, "NOT_FOUND");
    cluster.queue_until("orders", |status| status.consumers == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_ends_its_consumers() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let mut consumer = cluster.consume(queue_source("orders"), 1).await;
    consumer.started().await;
    let request = v1::DeleteRequest {
        kind: v1::ResourceKind::Queue.into(),
        name: "orders".to_owned(),
        policy: Some(v1::DeletionPolicy::Delete.into()),
        ..v1::DeleteRequest::default()
    };
    assert!(cluster.admin.delete(request).await.expect("deleted").into_inner().deleted);
    assert_eq!(consumer.error().await.code, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_broker_takes_messages_back_without_a_failed_attempt() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.publish("orders", &["a"]).await;
    let mut consumer = cluster.consume(queue_source("orders"), 1).await;
    consumer.started().await;
    assert_eq!(consumer.take(1).await[0].attempt(), 1);
    let ending = tokio::spawn(async move { consumer.error().await.code });
    let mut cluster = cluster.restart().await;
    assert_eq!(ending.await.expect("ended"), "SHUTTING_DOWN");
    let again = cluster.receive("orders", 1, 5_000).await;
    assert_eq!(values(&again), ["a"]);
    let text = crate::web::get(cluster.broker.http_address, "/metrics").await.1;
    let lost = "pondage_queue_failures_total{cause=\"consumer-lost\",queue=\"orders\"} 0";
    assert!(text.contains(lost), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_share_and_a_reader_that_stalls_stops_nobody() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let mut stalled = cluster.consume(queue_source("orders"), 10).await;
    stalled.started().await;
    let mut busy = cluster.consume(queue_source("orders"), 10).await;
    busy.started().await;
    let large = "x".repeat(500_000);
    for _ in 0..60 {
        cluster.publish("orders", &[&large]).await;
    }
    // One holds its ten and reads nothing; the other gets all the rest.
    let mut seen = 0;
    while seen < 50 {
        match busy.next().await {
            Some(consume_response::Step::Delivery(delivery)) => {
                for got in crate::harness::got(&delivery) {
                    seen += 1;
                    busy.settle(seen, vec![got.accept()]).await;
                }
            }
            Some(consume_response::Step::Settled(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    cluster.queue_until("orders", |status| (status.ready, status.unacked) == (0, 10)).await;
    assert_eq!(stalled.take(10).await.len(), 10);
}
