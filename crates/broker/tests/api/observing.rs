//! Groups as their brokers tell of them.

use pondage_model::Code;
use pondage_protocol::{
    Failure, from_status,
    observe::GroupObservation,
    v1::{
        self, admin_client::AdminClient, groups_client::GroupsClient, messages_client::MessagesClient,
        resource_spec::Spec,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use crate::{
    harness::{Cluster, PATIENCE, batch, publish, unwrap},
    members::{Pod, is_well, ready},
};

/// Longer than anybody here waits: what comes earlier was told because something happened.
const NEVER_MILLIS: u32 = 60_000;

struct Observer {
    requests: mpsc::Sender<v1::ObserveRequest>,
    responses: Streaming<v1::ObserveResponse>,
}

impl Observer {
    async fn of(groups: &mut GroupsClient<Channel>, group: &str, interval_millis: u32) -> Self {
        let (requests, outgoing) = mpsc::channel(4);
        let responses = groups.observe(ReceiverStream::new(outgoing)).await.expect("accepted").into_inner();
        let observer = Self { requests, responses };
        observer.ask(group, interval_millis).await;
        observer
    }

    async fn ask(&self, group: &str, interval_millis: u32) {
        let request = v1::ObserveRequest { group: group.to_owned(), interval_millis };
        self.requests.send(request).await.expect("the stream is open");
    }

    async fn next(&mut self) -> Result<GroupObservation, Failure> {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await.expect("told in time");
        let told = next.map_err(|status| from_status(&status))?.expect("the stream goes on");
        Ok(told.try_into().expect("in the words of the wire"))
    }

    /// Lag and what of it is due, of each partition.
    async fn told(&mut self) -> Vec<(u64, u64)> {
        let told = self.next().await.expect("told");
        told.partitions.iter().map(|(_, stands)| (stands.lag, stands.due())).collect()
    }
}

fn shared_group(topic: &str) -> Spec {
    let topics = v1::GroupTopics { names: vec![topic.to_owned()] };
    Spec::Group(v1::GroupSpec {
        source: Some(v1::group_spec::Source::Topics(topics)),
        sharing: Some(v1::GroupSharing::default()),
        ..v1::GroupSpec::default()
    })
}

fn queue_group(queue: &str) -> Spec {
    let source = Some(v1::group_spec::Source::Queue(queue.to_owned()));
    Spec::Group(v1::GroupSpec { source, ..v1::GroupSpec::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_a_dormant_group_is_told_at_once_and_the_rest_when_it_is_time() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.topic("events", 3).await;
    cluster.topic("clicks", 3).await;
    cluster.group("billing", "events").await;
    cluster.apply("sharers", shared_group("clicks")).await.expect("applied");
    cluster.apply("packers", queue_group("orders")).await.expect("applied");
    for (group, target, partitions) in
        [("billing", "events", 3), ("sharers", "clicks", 3), ("packers", "orders", 1)]
    {
        let mut observer = Observer::of(&mut cluster.groups, group, NEVER_MILLIS).await;
        let before: u64 = observer.told().await.iter().map(|(lag, _)| lag).sum();
        assert_eq!(before, 0, "{group} is asleep");
        // From here on the group has something to do, and is told of once in a while.
        cluster.publish(target, &["a", "b"]).await;
        let told = observer.told().await;
        assert_eq!(told.len(), partitions);
        assert_eq!(told.iter().copied().max(), Some((2, 2)), "{group}: {told:?}");
        observer.ask(group, 500).await;
        for _ in 0..2 {
            assert_eq!(observer.told().await, told, "{group} is told of, though nothing happens");
        }
        let deleting = cluster.admin.delete(v1::DeleteRequest {
            kind: v1::ResourceKind::Group.into(),
            name: group.to_owned(),
            policy: Some(v1::DeletionPolicy::Delete.into()),
            ..v1::DeleteRequest::default()
        });
        unwrap(deleting.await).expect("deleted");
        let end = loop {
            if let Err(end) = observer.next().await {
                break end;
            }
        };
        assert!(end.is(Code::NotFound), "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_for_its_time_wakes_nobody_before() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    cluster.apply("packers", queue_group("orders")).await.expect("applied");
    let mut observer = Observer::of(&mut cluster.groups, "packers", NEVER_MILLIS).await;
    assert_eq!(observer.told().await, [(0, 0)]);
    let later = v1::PublishRequest { delay_millis: Some(1_500), ..publish("orders", batch(&["a"])) };
    cluster.send(later).await.expect("published");
    assert_eq!(observer.told().await, [(1, 1)], "it is told when it is due");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_says_which_group_and_how_often() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    cluster.group("billing", "events").await;
    for (group, interval_millis, code) in [
        ("nobody", 1_000, Code::NotFound),
        ("billing", 0, Code::InvalidArgument),
        ("Not a name", 1_000, Code::InvalidName),
    ] {
        let mut observer = Observer::of(&mut cluster.groups, group, interval_millis).await;
        let end = observer.next().await.expect_err("refused");
        assert!(end.is(code), "{group}: {end:?}");
    }
    let mut observer = Observer::of(&mut cluster.groups, "billing", NEVER_MILLIS).await;
    observer.next().await.expect("told");
    observer.ask("others", NEVER_MILLIS).await;
    assert!(observer.next().await.expect_err("refused").is(Code::ProtocolState));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_broker_tells_what_comes_to_a_partition_that_another_leads() {
    const PARTITIONS: u32 = 8;
    let [first, second] = [Pod::new(), Pod::new()];
    let pods = [&first, &second];
    let mut brokers = [first.start(&pods).await, second.start(&pods).await];
    first.begin().await;
    for broker in &mut brokers {
        ready(broker).await;
    }
    let channel = |pod: &Pod| {
        Endpoint::from_shared(format!("http://{}", pod.listens_on())).expect("an address").connect_lazy()
    };
    let mut admin = AdminClient::new(channel(&first));
    let spec = v1::TopicSpec { partitions: Some(PARTITIONS), replicas: Some(1), ..v1::TopicSpec::default() };
    for (name, spec) in [("events", Spec::Topic(spec)), ("sharers", shared_group("events"))] {
        let spec = Some(v1::ResourceSpec { spec: Some(spec) });
        let request = v1::ApplyRequest { name: name.to_owned(), spec, ..v1::ApplyRequest::default() };
        unwrap(admin.apply(request).await).expect("applied");
    }
    let status = first
        .status_until("both lead", |status| {
            is_well(status) && status.brokers.iter().all(|broker| broker.led > 0)
        })
        .await;
    assert_eq!(status.brokers.len(), 2);
    let mut observers = Vec::new();
    for pod in pods {
        let mut observer = Observer::of(&mut GroupsClient::new(channel(pod)), "sharers", NEVER_MILLIS).await;
        assert_eq!(observer.told().await.len(), PARTITIONS as usize);
        observers.push(observer);
    }
    // Whoever does not lead it refuses.
    let request = v1::PublishRequest { partition: Some(0), ..publish("events", batch(&["a"])) };
    let mut stored = 0;
    for pod in pods {
        stored += usize::from(MessagesClient::new(channel(pod)).publish(request.clone()).await.is_ok());
    }
    assert_eq!(stored, 1);
    for observer in &mut observers {
        let told = observer.told().await;
        assert_eq!(told.iter().map(|(_, due)| due).sum::<u64>(), 1, "{told:?}");
    }
    // What the other one led nobody leads any more, and nobody can tell of it: whoever listens hears that.
    let [first_broker, second_broker] = brokers;
    drop(second_broker.close().await);
    let observer = &mut observers[0];
    observer.ask("sharers", 500).await;
    let end = loop {
        if let Err(end) = observer.next().await {
            break end;
        }
    };
    assert!(!end.is(Code::NotFound), "{end:?}");
    drop(first_broker.close().await);
}
