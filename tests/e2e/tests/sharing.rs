//! Consumers of one queue that are equally fast get equally many of its messages.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pondage_broker::{Broker, Options as BrokerOptions};
use pondage_client::{
    Client, ConsumerOptions, MemberOptions, Message, Options, PublisherOptions, QueueMessage, Resource,
    ResourceKind, Settings, Verdict, WorkerOptions,
};
use pondage_model::{
    Name,
    settings::{Backoff, GroupSettings, GroupSource, QueueSettings, TopicSettings},
};
use tempfile::TempDir;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

const MESSAGES: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// How the messages come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    /// As fast as they can be stored.
    Together,
    /// Each after the one before is settled.
    OneByOne,
}

async fn counts(address: &str, queue: &str, credit: u32, pace: Pace) -> [u64; 2] {
    let client = || async { Client::connect(address, Options::default()).await.expect("connected") };
    let publisher = client().await;
    let name = Name::new(queue).expect("valid");
    publisher.apply(name, Settings::Queue(QueueSettings::default())).await.expect("applied");
    let taken: [Arc<AtomicU64>; 2] = Default::default();
    // Whoever is faster gets more: they begin to settle together.
    let all_stored = Arc::new(Semaphore::new(0));
    let mut consumers = JoinSet::new();
    for taken in &taken {
        let options = ConsumerOptions { credit, ..ConsumerOptions::default() };
        let (taken, consumer) =
            (Arc::clone(taken), client().await.consumer(queue, options).await.expect("it is"));
        let may_settle = Arc::clone(&all_stored);
        consumers.spawn(async move {
            while let Some(message) = consumer.next().await.expect("a message") {
                drop(may_settle.acquire().await.expect("never closed"));
                message.accept().await.expect("accepted");
                taken.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let read = || taken.each_ref().map(|taken| taken.load(Ordering::SeqCst));
    if pace == Pace::OneByOne {
        all_stored.add_permits(2);
    }
    let until = async |count: u64| {
        while read().iter().sum::<u64>() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    match pace {
        Pace::Together => {
            let sending = publisher.publisher(queue, PublisherOptions::default()).await.expect("begun");
            for number in 0..MESSAGES {
                drop(sending.send(Message::new(format!("{number}"))).await.expect("sent"));
            }
            sending.flush().await.expect("stored");
            all_stored.add_permits(2);
        }
        Pace::OneByOne => {
            for number in 0..MESSAGES {
                publisher.publish(queue, &Message::new(format!("{number}"))).await.expect("stored");
                timeout(PATIENCE, until(number + 1)).await.expect("it is settled");
            }
        }
    }
    timeout(PATIENCE, until(MESSAGES)).await.expect("all are settled");
    consumers.shutdown().await;
    read()
}

async fn broker(folder: &TempDir) -> Broker {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let data = folder.path().join("data");
    let options = BrokerOptions { data, listen: any, http: any, sync_delay: None };
    Broker::start(options).await.expect("the broker starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_share_a_hundred_messages_evenly() {
    let folder = TempDir::new().expect("a temporary folder");
    let broker = broker(&folder).await;
    let address = broker.address.to_string();
    for (queue, credit, pace) in [
        ("waiting", 1_000, Pace::Together),
        ("calm-far", 1_000, Pace::OneByOne),
        ("calm-near", 1, Pace::OneByOne),
    ] {
        let counts = counts(&address, queue, credit, pace).await;
        eprintln!("{queue}: {counts:?}");
        assert!(counts.iter().all(|count| (49..=51).contains(count)), "{queue}: {counts:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_a_group_are_known_settle_as_they_say_and_finish_what_they_began() {
    let folder = TempDir::new().expect("a temporary folder");
    let broker = broker(&folder).await;
    let client = Client::connect(&broker.address.to_string(), Options::default()).await.expect("connected");
    let name = |text| Name::new(text).expect("valid");
    let queue = QueueSettings {
        dead_letter: Some(name("dead")),
        backoff: Backoff::Schedule(vec![10]),
        ..QueueSettings::default()
    };
    let group = GroupSettings {
        in_flight_per_consumer_max: 8,
        ..GroupSettings::of(GroupSource::Queue(name("orders")))
    };
    for (called, settings) in [
        ("dead", Settings::Queue(QueueSettings::default())),
        ("orders", Settings::Queue(queue)),
        ("packers", Settings::Group(group)),
    ] {
        client.apply(name(called), settings).await.expect("applied");
    }
    let begun = Arc::new(AtomicU64::new(0));
    let handled: Arc<Mutex<Vec<String>>> = Arc::default();
    let worker = |instance: &str| {
        let (begun, handled) = (Arc::clone(&begun), Arc::clone(&handled));
        let options = WorkerOptions { instance: instance.to_owned(), ..WorkerOptions::default() };
        let handler = move |message: Arc<QueueMessage>| {
            let (begun, handled) = (Arc::clone(&begun), Arc::clone(&handled));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                let body = String::from_utf8_lossy(message.value.as_deref().unwrap_or_default()).into_owned();
                assert!(body != "faulty" || message.attempt.get() > 1, "the first attempt panics");
                tokio::time::sleep(Duration::from_millis(if body == "slow" { 700 } else { 1 })).await;
                let verdict = if body == "bad" { Verdict::Reject } else { Verdict::Accept };
                handled.lock().expect("nobody panicked with it").push(body);
                verdict
            }
        };
        client.work("packers", options, handler).expect("joined")
    };
    let [first, second] = [worker("pod-0"), worker("pod-1")];
    let members = async || {
        let membership = client.get_members("packers").await.expect("known");
        let mut names: Vec<_> = membership.members.into_iter().map(|member| member.instance).collect();
        names.sort_unstable();
        names
    };
    let eventually = async |what: &str, is: &dyn Fn() -> bool| {
        let looking = async {
            while !is() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{what}"));
    };
    let joined = async {
        while members().await != ["pod-0", "pod-1"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, joined).await.expect("both are known");
    for body in ["one", "bad", "faulty", "two"] {
        client.publish("orders", &Message::new(body)).await.expect("stored");
    }
    let seen = || {
        let mut seen = handled.lock().expect("nobody panicked with it").clone();
        seen.sort_unstable();
        seen
    };
    eventually("all are handled", &|| seen() == ["bad", "faulty", "one", "two"]).await;

    let before = begun.load(Ordering::SeqCst);
    for _ in 0..4 {
        client.publish("orders", &Message::new("slow")).await.expect("stored");
    }
    eventually("all are begun", &|| begun.load(Ordering::SeqCst) == before + 4).await;
    first.leave().await.expect("in good order");
    assert_eq!(members().await, ["pod-1"]);
    second.leave().await.expect("in good order");
    assert_eq!(seen().iter().filter(|body| *body == "slow").count(), 4, "what was begun is finished, once");
    let status = |resource: Resource| resource.streams.expect("asked for")[0];
    let orders = status(client.get(ResourceKind::Queue, "orders").await.expect("it is there"));
    assert_eq!((orders.ready, orders.unacked, orders.settled), (0, 0, 8));
    assert_eq!(status(client.get(ResourceKind::Queue, "dead").await.expect("it is there")).ready, 1);

    // Each kind of group has its own way in.
    let topics = GroupSettings::of(GroupSource::Topics(vec![name("events")]));
    client.apply(name("events"), Settings::Topic(TopicSettings::default())).await.expect("applied");
    client.apply(name("readers"), Settings::Group(topics)).await.expect("applied");
    let mut wrong =
        client.work("readers", WorkerOptions::default(), |_| async { Verdict::Accept }).expect("begun");
    let said = wrong.ended().await.expect_err("it is on topics").to_string();
    assert!(said.contains("group readers gives its members partitions"), "{said}");
    let mut wrong = client.join("packers", MemberOptions::default(), |_| async { Ok(()) }).expect("begun");
    let said = wrong.ended().await.expect_err("it is on a queue").to_string();
    assert!(said.contains("group packers is on a queue"), "{said}");
    broker.stop().await;
}
