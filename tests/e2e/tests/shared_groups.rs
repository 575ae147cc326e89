//! Shared groups: a topic's messages, each settled by one of a group's members.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use pondage_broker::{Broker, Options as BrokerOptions};
use pondage_client::{
    Client, ClientError, Delete, GroupMember, MemberOptions, Message, Options, PublisherOptions,
    QueueMessage, ReaderOptions, ResourceKind, Settings, StartAt, TopicEvent, Verdict, WorkerOptions,
};
use pondage_model::{
    Name,
    settings::{
        Backoff, DeletionPolicy, GroupSettings, GroupSource, QueueSettings, Sharing, StartPosition,
        TopicSettings,
    },
};
use tempfile::TempDir;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

async fn delete(client: &Client, kind: ResourceKind, called: &str) -> Result<bool, ClientError> {
    let delete = Delete {
        kind,
        name: name(called),
        if_uid: None,
        if_revision: None,
        policy: Some(DeletionPolicy::Delete),
    };
    client.delete(delete).await
}

fn topic(partitions: u32) -> Settings {
    Settings::Topic(TopicSettings { partitions, ..TopicSettings::default() })
}

fn shared(topic: &str, sharing: Sharing) -> GroupSettings {
    GroupSettings { sharing: Some(sharing), ..GroupSettings::of(GroupSource::Topics(vec![name(topic)])) }
}

async fn broker(folder: &TempDir) -> Broker {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let data = folder.path().join("data");
    let options = BrokerOptions { data, listen: any, http: any, sync_delay: None };
    Broker::start(options).await.expect("the broker starts")
}

async fn connect(broker: &Broker) -> Client {
    Client::connect(&broker.address.to_string(), Options::default()).await.expect("connected")
}

/// Publishes so many messages, with keys that spread over the partitions; their bodies are `from` and the next numbers.
async fn publish(client: &Client, topic: &str, from: u64, count: u64) {
    let publisher = client.publisher(topic, PublisherOptions::default()).await.expect("begun");
    for number in from..from + count {
        let message = Message::new(number.to_string()).key(format!("key-{}", number % 17));
        drop(publisher.send(message).await.expect("sent"));
    }
    publisher.flush().await.expect("stored");
}

fn body(message: &QueueMessage) -> String {
    String::from_utf8_lossy(message.value.as_deref().unwrap_or_default()).into_owned()
}

/// What was handled: by which member, where it lay, and its body.
type Handled = Arc<Mutex<Vec<(String, u32, String)>>>;

fn work(client: &Client, group: &str, instance: &str, handled: &Handled) -> GroupMember {
    let (handled, who) = (Arc::clone(handled), instance.to_owned());
    let handler = move |message: Arc<QueueMessage>| {
        let (handled, who) = (Arc::clone(&handled), who.clone());
        async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            handled.lock().expect("whole").push((who, message.partition, body(&message)));
            Verdict::Accept
        }
    };
    let options = WorkerOptions { instance: instance.to_owned(), concurrency: 4, ..WorkerOptions::default() };
    client.work(group, options, handler).expect("begun")
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn lag(client: &Client, group: &str, topic: &str) -> u64 {
    let places = client.get_offsets(group, topic).await.expect("known");
    assert!(places.iter().all(|place| place.shared.is_some()), "{places:?}");
    places.iter().map(|place| place.lag).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_a_topic_message_by_message_and_the_topic_keeps_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let running = broker(&folder).await;
    let client = connect(&running).await;
    client.apply(name("orders"), topic(3)).await.expect("applied");
    publish(&client, "orders", 0, 50).await;
    for (group, start_position) in [
        ("billing", StartPosition::Earliest),
        ("audit", StartPosition::Earliest),
        ("late", StartPosition::Latest),
    ] {
        let settings = GroupSettings { start_position, ..shared("orders", Sharing::default()) };
        client.apply(name(group), Settings::Group(settings)).await.expect("applied");
    }
    // How far behind a group is, is known before anybody came.
    assert_eq!(lag(&client, "billing", "orders").await, 50);
    assert_eq!(lag(&client, "late", "orders").await, 0);

    let handled = Handled::default();
    let [first, second] = ["pod-0", "pod-1"].map(|instance| work(&client, "billing", instance, &handled));
    publish(&client, "orders", 50, 150).await;
    until("all are settled", async || lag(&client, "billing", "orders").await == 0).await;
    let seen = handled.lock().expect("whole").clone();
    let bodies: BTreeSet<u64> = seen.iter().map(|(_, _, body)| body.parse().expect("a number")).collect();
    assert_eq!((seen.len(), bodies), (200, (0..200).collect()), "each once");
    let mut by: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for (who, partition, _) in &seen {
        *by.entry((who, *partition)).or_default() += 1;
    }
    assert_eq!(by.len(), 6, "both members got messages of all three partitions: {by:?}");
    assert_eq!(lag(&client, "audit", "orders").await, 200, "another group reads for itself");
    assert_eq!(lag(&client, "late", "orders").await, 150);
    let members = client.get_members("billing").await.expect("known").members;
    assert_eq!(members.len(), 2);

    // The topic is whole, for whoever reads it otherwise.
    let reader = client.reader("orders", ReaderOptions::default()).await.expect("open");
    let (mut read, mut ended) = (0, 0);
    while ended < 3 {
        match timeout(PATIENCE, reader.next()).await.expect("it goes on").expect("open") {
            Some(TopicEvent::Message(_)) => read += 1,
            Some(TopicEvent::CaughtUp { .. }) => ended += 1,
            None => break,
        }
    }
    assert_eq!(read, 200);

    // New partitions are consumed by members that are there already.
    client.apply(name("orders"), topic(5)).await.expect("grown");
    let fresh = client.publisher("orders", PublisherOptions::default()).await.expect("begun");
    for partition in [3, 4] {
        let message = Message { partition: Some(partition), ..Message::new("grown") };
        fresh.send(message).await.expect("sent").await.expect("stored");
    }
    let grown = async || {
        let seen = handled.lock().expect("whole");
        let partitions =
            seen.iter().filter(|(_, _, body)| body == "grown").map(|(_, partition, _)| *partition);
        partitions.collect::<BTreeSet<u32>>() == BTreeSet::from([3, 4])
    };
    until("new partitions are consumed", grown).await;

    // Reading again, after a restart of the broker.
    first.leave().await.expect("in good order");
    second.leave().await.expect("in good order");
    drop(client);
    running.stop().await;
    let running = broker(&folder).await;
    let client = connect(&running).await;
    assert_eq!(lag(&client, "billing", "orders").await, 0);
    let seeks: Vec<(u32, StartAt)> = (0..5).map(|partition| (partition, StartAt::Earliest)).collect();
    let tried = client.try_offsets("billing", "orders", &seeks).await.expect("possible");
    assert_eq!(tried.iter().map(|place| place.lag).sum::<u64>(), 202);
    assert_eq!(lag(&client, "billing", "orders").await, 0, "it was only tried");
    client.set_offsets("billing", "orders", &seeks).await.expect("moved");
    assert_eq!(lag(&client, "billing", "orders").await, 202);
    handled.lock().expect("whole").clear();
    let again = work(&client, "billing", "pod-0", &handled);
    until("all are settled again", async || lag(&client, "billing", "orders").await == 0).await;
    assert_eq!(handled.lock().expect("whole").len(), 202);
    again.leave().await.expect("in good order");

    // It has no cursor to claim, and nobody deletes the topic under it.
    let mut wrong = client.join("billing", MemberOptions::default(), |_| async { Ok(()) }).expect("begun");
    let said = wrong.ended().await.expect_err("it is shared").to_string();
    assert!(said.contains("shared"), "{said}");
    let said = delete(&client, ResourceKind::Topic, "orders").await.expect_err("it is read").to_string();
    assert!(said.contains("group audit reads it"), "{said}");
    for group in ["billing", "audit", "late"] {
        delete(&client, ResourceKind::Group, group).await.expect("deleted");
    }
    delete(&client, ResourceKind::Topic, "orders").await.expect("deleted");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_a_shared_group_backs_off_and_ends_in_its_dead_letter_queue() {
    let folder = TempDir::new().expect("a temporary folder");
    let broker = broker(&folder).await;
    let client = connect(&broker).await;
    client.apply(name("events"), topic(1)).await.expect("applied");
    client.apply(name("dead"), Settings::Queue(QueueSettings::default())).await.expect("applied");
    let sharing = Sharing {
        max_deliveries: 3,
        backoff: Backoff::Schedule(vec![10, 50]),
        dead_letter: Some(name("dead")),
        ..Sharing::default()
    };
    client.apply(name("workers"), Settings::Group(shared("events", sharing))).await.expect("applied");
    let said = delete(&client, ResourceKind::Queue, "dead").await.expect_err("in use").to_string();
    assert!(said.contains("group workers dead-letters to it"), "{said}");
    let attempts: Arc<Mutex<BTreeMap<String, Vec<u32>>>> = Arc::default();
    let handler = {
        let attempts = Arc::clone(&attempts);
        move |message: Arc<QueueMessage>| {
            let attempts = Arc::clone(&attempts);
            async move {
                let body = body(&message);
                let attempt = message.attempt.get();
                attempts.lock().expect("whole").entry(body.clone()).or_default().push(attempt);
                match body.as_str() {
                    "long" => {
                        // For as long as the group gives, which is longer than this.
                        message.renew(None).await.expect("held");
                        tokio::time::sleep(Duration::from_millis(400)).await;
                        Verdict::Accept
                    }
                    "bad" => Verdict::Reject,
                    "failing" => Verdict::Release { delay_millis: None },
                    "shaky" if attempt < 2 => panic!("the first attempt fails"),
                    _ => Verdict::Accept,
                }
            }
        }
    };
    let worker = client.work("workers", WorkerOptions::default(), handler).expect("begun");
    for body in ["good", "bad", "failing", "shaky", "long"] {
        client.publish("events", &Message::new(body)).await.expect("stored");
    }
    until("all are done with", async || lag(&client, "workers", "events").await == 0).await;
    worker.leave().await.expect("in good order");
    let seen = attempts.lock().expect("whole").clone();
    let expected = [
        ("bad", vec![1]),
        ("failing", vec![1, 2, 3]),
        ("good", vec![1]),
        ("long", vec![1]),
        ("shaky", vec![1, 2]),
    ];
    assert_eq!(seen, expected.map(|(body, attempts)| (body.to_owned(), attempts)).into());
    let place = client.get_offsets("workers", "events").await.expect("known")[0];
    assert_eq!(place.shared.map(|shared| shared.dead_lettered), Some(2));

    let dead = client.receive("dead", 10, Duration::from_secs(5), None).await.expect("there");
    let mut found: Vec<(String, String, String, String)> = Vec::new();
    for message in &dead {
        let header = |wanted: &str| {
            let found = message.headers.iter().find(|(key, _)| key == wanted.as_bytes());
            let value = found.and_then(|(_, value)| value.clone()).unwrap_or_default();
            String::from_utf8_lossy(&value).into_owned()
        };
        let body = String::from_utf8_lossy(message.value.as_deref().unwrap_or_default()).into_owned();
        let [source, group, reason] =
            ["source", "group", "reason"].map(|what| header(&format!("pondage-dead-letter-{what}")));
        found.push((body, source, group, reason));
    }
    found.sort_unstable();
    let expected = [("bad", "rejected"), ("failing", "max-deliveries")]
        .map(|(body, reason)| (body.into(), "events".into(), "workers".into(), reason.into()));
    assert_eq!(found, expected);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_hand_is_given_back_before_its_lease_runs_out() {
    let folder = TempDir::new().expect("a temporary folder");
    let broker = broker(&folder).await;
    let client = connect(&broker).await;
    client.apply(name("orders"), topic(8)).await.expect("applied");
    // A lease that ran out would be the end of its message.
    let sharing = Sharing { ack_timeout_millis: 4_000, max_deliveries: 1, ..Sharing::default() };
    client.apply(name("slow"), Settings::Group(shared("orders", sharing))).await.expect("applied");
    for number in 0..16 {
        let message = Message { partition: Some(number % 8), ..Message::new(number.to_string()) };
        client.publish("orders", &message).await.expect("stored");
    }
    let handled: Arc<Mutex<Vec<String>>> = Arc::default();
    let handler = {
        let handled = Arc::clone(&handled);
        move |message: Arc<QueueMessage>| {
            let handled = Arc::clone(&handled);
            async move {
                tokio::time::sleep(Duration::from_millis(800)).await;
                handled.lock().expect("whole").push(body(&message));
                Verdict::Accept
            }
        }
    };
    // One hand for eight partitions, each of which has a message here: the last wait for longer than their leases last.
    let options = WorkerOptions { concurrency: 1, ..WorkerOptions::default() };
    let worker = client.work("slow", options, handler).expect("begun");
    until("all are settled", async || lag(&client, "slow", "orders").await == 0).await;
    worker.leave().await.expect("in good order");
    let mut seen: Vec<u64> =
        handled.lock().expect("whole").iter().map(|body| body.parse().expect("a number")).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..16).collect::<Vec<_>>(), "each once, and none was given up");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_drained_finishes_what_it_has_and_takes_nothing_until_it_is_let_again() {
    let folder = TempDir::new().expect("a temporary folder");
    let broker = broker(&folder).await;
    let client = connect(&broker).await;
    client.apply(name("orders"), topic(3)).await.expect("applied");
    client.apply(name("jobs"), Settings::Queue(QueueSettings::default())).await.expect("applied");
    let groups = [
        ("shared", shared("orders", Sharing::default())),
        ("queued", GroupSettings::of(GroupSource::Queue(name("jobs")))),
    ];
    for (group, settings) in groups {
        client.apply(name(group), Settings::Group(settings)).await.expect("applied");
        let handled: Handled = Handled::default();
        let held = Arc::new(tokio::sync::Semaphore::new(0));
        let work = |instance: &str| {
            let (handled, held, who) = (Arc::clone(&handled), Arc::clone(&held), instance.to_owned());
            let handler = move |message: Arc<QueueMessage>| {
                let (handled, held, who) = (Arc::clone(&handled), Arc::clone(&held), who.clone());
                async move {
                    if body(&message) == "held" {
                        held.acquire().await.expect("open").forget();
                    }
                    handled.lock().expect("whole").push((who, message.partition, body(&message)));
                    Verdict::Accept
                }
            };
            let options =
                WorkerOptions { instance: instance.to_owned(), concurrency: 4, ..WorkerOptions::default() };
            client.work(group, options, handler).expect("begun")
        };
        let target = if group == "shared" { "orders" } else { "jobs" };
        let member = async |instance: &str| {
            let members = client.get_members(group).await.expect("known").members;
            members.into_iter().find(|member| member.instance == instance)
        };
        let first = work("pod-0");
        for _ in 0..2 {
            client.publish(target, &Message::new("held")).await.expect("stored");
        }
        let in_flight = async |instance: &str| {
            member(instance).await.and_then(|member| member.progress).map(|progress| progress.in_flight)
        };
        until("both are worked on, and the group is told", async || in_flight("pod-0").await == Some(2))
            .await;
        let drained = member("pod-0").await.expect("there").id;
        client.drain_members(group, &[drained]).await.expect("told");
        let is_draining = async || member("pod-0").await.is_some_and(|member| member.is_draining);
        assert!(is_draining().await);
        let second = work("pod-1");
        // It has hands free, and takes nothing more.
        let who = || handled.lock().expect("whole").iter().map(|(who, ..)| who.clone()).collect::<Vec<_>>();
        for number in 1..=20 {
            client.publish(target, &Message::new("free")).await.expect("stored");
            until("the other one takes it", async || who().len() == number).await;
        }
        assert!(who().iter().all(|who| who == "pod-1"), "{:?}", who());
        // What it has counts, with the leases of before.
        held.add_permits(2);
        until("what it had is settled", async || who().iter().filter(|who| *who == "pod-0").count() == 2)
            .await;
        let idle = async || {
            member("pod-0").await.and_then(|member| member.progress).is_some_and(|progress| {
                progress.in_flight == 0 && progress.settled == 2 && progress.busy_millis > 0
            })
        };
        until("the group is told that it is idle", idle).await;
        // It is let again.
        second.leave().await.expect("in good order");
        client.publish(target, &Message::new("free")).await.expect("stored");
        client.drain_members(group, &[]).await.expect("told");
        until("it works again", async || who().len() == 23).await;
        assert_eq!(who()[22], "pod-0");
        first.leave().await.expect("in good order");
    }
    broker.stop().await;
}
