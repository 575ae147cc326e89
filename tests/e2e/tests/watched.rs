//! What a broker's metrics say under load is what those who publish, settle and commit have counted themselves.
//!
//! Nothing stands still for a scrape. So whoever publishes counts before and after each call, and a figure has to lie
//! between what was certain before the scrape and what was possible after it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use pondage_broker::{Broker, Options as BrokerOptions};
use pondage_client::{Client, ConsumerOptions, MemberOptions, Message, Options, Settings};
use pondage_model::{
    Name, Offset,
    settings::{GroupSettings, GroupSource, QueueSettings, TopicSettings},
};
use tempfile::TempDir;
use tokio::time::sleep;

/// Publishers of each kind.
const PUBLISHERS: usize = 4;
/// What one message takes who handles it: less than they publish, so that a backlog grows.
const HANDLING: Duration = Duration::from_millis(2);
/// Before the first look.
const WARM_UP: Duration = Duration::from_secs(2);
const LOOKS: u64 = 10;
/// A broker remembers about once a second when messages came, and says so in the documentation of metrics.
const AGE_GRAIN: Duration = Duration::from_secs(1);
/// Log times are in milliseconds, and rounded down.
const ROUNDING: Duration = Duration::from_millis(2);

/// What is certain, and what is possible.
#[derive(Clone, Debug, Default)]
struct Counts {
    publishes_begun: u64,
    published: u64,
    ends_begun: u64,
    ended: u64,
    /// By offset: when it was begun to be published, and when it was acknowledged.
    times: BTreeMap<u64, (Instant, Instant)>,
}

type Shared = Arc<Mutex<Counts>>;

fn counts(shared: &Shared) -> Counts {
    shared.lock().expect("nobody panicked").clone()
}

fn count(shared: &Shared, change: impl FnOnce(&mut Counts)) {
    change(&mut shared.lock().expect("nobody panicked"));
}

async fn publish(client: Client, target: &str, shared: Shared) {
    let body = Bytes::from(vec![b'x'; 200]);
    loop {
        let begun = Instant::now();
        count(&shared, |counts| counts.publishes_begun += 1);
        let ack = client.publish(target, &Message::new(body.clone())).await.expect("published");
        count(&shared, |counts| {
            counts.published += 1;
            counts.times.insert(ack.offset.get(), (begun, Instant::now()));
        });
    }
}

fn scrape(http: SocketAddr) -> String {
    let mut stream = TcpStream::connect(http).expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

/// The sum of these series.
fn figure(metrics: &str, series: &[&str]) -> f64 {
    let value = |series: &&str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(*series));
        let value = line.unwrap_or_else(|| panic!("{series} is not in\n{metrics}")).rsplit(' ').next();
        value.and_then(|value| value.parse().ok()).expect("a number")
    };
    series.iter().map(value).sum()
}

/// Whether a backlog, and the age of its oldest message, are what the counts before and after allow.
fn agrees(what: &str, (backlog, age): (f64, f64), before: (&Counts, Instant), after: (&Counts, Instant)) {
    let ((before, asked), (after, answered)) = (before, after);
    let least = before.published.saturating_sub(after.ends_begun);
    let most = after.publishes_begun - before.ended;
    eprintln!("{what}: {backlog} waiting, {least} to {most} counted; the oldest for {age:.3} s");
    assert!((least as f64..=most as f64).contains(&backlog), "{what}: {backlog}, not {least} to {most}");
    // Messages end in the order of their offsets: the oldest lies between these two.
    let (earliest, latest) = (after.times.get(&before.ended), after.times.get(&after.ends_begun));
    let least =
        latest.map_or(Duration::ZERO, |(_, acknowledged)| asked.saturating_duration_since(*acknowledged));
    let most = earliest.map(|(begun, _)| answered.duration_since(*begun) + AGE_GRAIN);
    let most = most.unwrap_or(AGE_GRAIN) + ROUNDING;
    let range = least.saturating_sub(ROUNDING).as_secs_f64()..=most.as_secs_f64();
    assert!(range.contains(&age), "{what}: the oldest for {age} s, not {range:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_backlog_and_delay_are_what_others_count() {
    let folder = TempDir::new().expect("a temporary folder");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let options =
        BrokerOptions { data: folder.path().join("data"), listen: any, http: any, sync_delay: None };
    let broker = Broker::start(options).await.expect("the broker starts");
    let http = broker.http_address;
    let client = Client::connect(&broker.address.to_string(), Options::default()).await.expect("connected");
    let name = |text| Name::new(text).expect("valid");
    for (called, settings) in [
        ("orders", Settings::Queue(QueueSettings::default())),
        ("events", Settings::Topic(TopicSettings { partitions: 1, ..TopicSettings::default() })),
        ("billing", Settings::Group(GroupSettings::of(GroupSource::Topics(vec![name("events")])))),
    ] {
        client.apply(name(called), settings).await.expect("applied");
    }
    let (queue, topic): (Shared, Shared) = Default::default();
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..PUBLISHERS {
        load.spawn(publish(client.clone(), "orders", Arc::clone(&queue)));
        load.spawn(publish(client.clone(), "events", Arc::clone(&topic)));
    }
    let settled = Arc::clone(&queue);
    let consumer = client.consumer("orders", ConsumerOptions::default()).await.expect("consumes");
    load.spawn(async move {
        while let Some(message) = consumer.next().await.expect("a message") {
            sleep(HANDLING).await;
            count(&settled, |counts| counts.ends_begun += 1);
            message.accept().await.expect("accepted");
            count(&settled, |counts| counts.ended += 1);
        }
    });
    let committed = Arc::clone(&topic);
    let member_options = MemberOptions { commit_interval: None, ..MemberOptions::default() };
    let member = client.join("billing", member_options, move |message| {
        let committed = Arc::clone(&committed);
        async move {
            sleep(HANDLING).await;
            count(&committed, |counts| counts.ends_begun += 1);
            message.commit().await?;
            count(&committed, |counts| counts.ended += 1);
            assert_eq!(message.message.offset.next(), Offset(counts(&committed).ended), "in order");
            Ok(())
        }
    });
    let member = member.expect("joined");
    sleep(WARM_UP).await;
    for look in 0..LOOKS {
        // At moments that follow no clock of the broker.
        sleep(Duration::from_millis(100 + look * look * 7 % 400)).await;
        let before = (counts(&queue), counts(&topic));
        let asked = Instant::now();
        let metrics = tokio::task::spawn_blocking(move || scrape(http)).await.expect("scraped");
        let answered = Instant::now();
        let after = (counts(&queue), counts(&topic));
        let of_queue = ["ready", "unacked", "scheduled", "moving", "held"]
            .map(|state| format!("pondage_queue_{state}{{queue=\"orders\"}}"));
        let backlog = figure(&metrics, &of_queue.each_ref().map(String::as_str));
        let age = figure(&metrics, &["pondage_queue_oldest_age_seconds{queue=\"orders\"}"]);
        agrees("queue", (backlog, age), (&before.0, asked), (&after.0, answered));
        let lag = figure(&metrics, &["pondage_group_lag{group=\"billing\""]);
        let delay = figure(&metrics, &["pondage_group_delay_seconds{group=\"billing\""]);
        agrees("group", (lag, delay), (&before.1, asked), (&after.1, answered));
        let done = figure(&metrics, &["pondage_group_committed_total{group=\"billing\""]);
        let (least, most) = (before.1.ended as f64, after.1.ends_begun as f64);
        assert!((least..=most).contains(&done), "{done} committed, not {least} to {most}");
    }
    assert!(counts(&topic).published > counts(&topic).ended + 100, "there was a backlog");
    load.shutdown().await;
    drop(member);
    broker.stop().await;
}
