//! The client against a few brokers that lead different partitions, move them and go down, as real ones do only
//! when they choose to.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use pondage_client::{
    Client, ConsumerOptions, Message, Options, PublisherOptions, ReaderOptions, SettleItem, TopicEvent,
    Verdict,
};
use pondage_model::{
    Attempt, Code, Epoch, Lease, Offset, Refusal, ShardId, StreamId, Token,
    record::{Batch, BatchBuilder, Compression, RecordDraft, stamp_base_offset},
};
use pondage_protocol::{
    to_status,
    v1::{
        self, consume_request::Step as Request, consume_response::Step as Response, messages_server as server,
    },
};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request as Call, Response as Answer, Status, Streaming};

type Reply<T> = Result<Answer<T>, Status>;
type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

const PARTITIONS: u32 = 3;

/// By partition: the broker's index, if any leads, and the epoch.
type Leaders = Vec<(Option<usize>, u64)>;

/// What the brokers share: who leads which partition, and what is stored there.
#[derive(Default)]
struct Truth {
    leaders: Leaders,
    logs: Vec<Vec<Bytes>>,
    /// By partition and producer, the next sequence.
    sequences: HashMap<(u32, u64), u32>,
    down: Vec<bool>,
    /// A broker that takes streams and never answers.
    silent: Option<usize>,
    /// A broker that hears of no changes any more, and the leaders that it knows of.
    behind: Option<(usize, Leaders)>,
    /// By broker, the calls that it answered well.
    served: Vec<u32>,
    settled: Vec<(usize, u64)>,
}

#[derive(Clone)]
struct Node {
    index: usize,
    truth: Arc<Mutex<Truth>>,
    addresses: Arc<Vec<String>>,
}

impl Node {
    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().expect("not poisoned")
    }

    fn check_up(&self) -> Result<(), Status> {
        if self.truth().down[self.index] { Err(Status::unavailable("gone")) } else { Ok(()) }
    }

    /// Never comes to an end at a broker that is silent.
    async fn check_silent(&self) {
        while self.truth().silent == Some(self.index) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn check_leader(&self, partition: u32) -> Result<(), Refusal> {
        let (leader, epoch) = self.truth().leaders[partition as usize];
        let is_behind = self.truth().behind.as_ref().is_some_and(|(broker, _)| *broker == self.index);
        match leader {
            Some(leader) if leader == self.index => Ok(()),
            // Another broker told it that it leads no more, not who does.
            Some(_) if is_behind => Err(Refusal::NotLeader { epoch: Epoch(epoch) }),
            Some(leader) => {
                Err(Refusal::LedElsewhere { epoch: Epoch(epoch), address: self.addresses[leader].clone() })
            }
            None => Err(Refusal::NotLeader { epoch: Epoch(epoch) }),
        }
    }

    fn store(&self, publish: &v1::PublishRequest) -> Result<v1::PublishResponse, Refusal> {
        let partition = publish.partition.expect("the client chooses");
        self.check_leader(partition)?;
        let batch = Batch::parse(publish.batch.clone()).expect("a batch");
        let mut guard = self.truth();
        let truth = &mut *guard;
        truth.served[self.index] += 1;
        let log = &mut truth.logs[partition as usize];
        let mut base_offset = log.len() as u64;
        let mut duplicate = false;
        if let Some(producer) = batch.producer() {
            let next = truth.sequences.entry((partition, producer.producer.get())).or_default();
            duplicate = producer.first_sequence < *next;
            if duplicate {
                base_offset = u64::from(producer.first_sequence);
            } else if producer.first_sequence > *next {
                return Err(Refusal::OutOfOrder { expected: *next, got: producer.first_sequence });
            } else {
                *next += batch.count();
            }
        }
        if !duplicate {
            log.extend(batch.records().expect("records").map(|record| record.value.expect("a value")));
        }
        Ok(v1::PublishResponse { partition, base_offset, count: batch.count(), duplicate })
    }

    /// Delivers what is stored as long as this broker leads everything that is read.
    async fn read(self, starts: Vec<(u32, u64)>, answers: mpsc::Sender<Result<v1::ConsumeResponse, Status>>) {
        let say = async |step| answers.send(Ok(v1::ConsumeResponse { step: Some(step) })).await.is_ok();
        let partitions = starts
            .iter()
            .map(|(partition, offset)| v1::StartedPartition {
                partition: *partition,
                offset: *offset,
                ..Default::default()
            })
            .collect();
        if !say(Response::Started(v1::ConsumeStarted { partitions, lease_millis: 0 })).await {
            return;
        }
        let mut next = starts;
        loop {
            for (partition, offset) in &mut next {
                if let Err(refusal) = self.check_leader(*partition) {
                    say(Response::Error((&refusal).into())).await;
                    return;
                }
                let value = self.truth().logs[*partition as usize].get(*offset as usize).cloned();
                let Some(value) = value else { continue };
                let delivery = v1::Delivery {
                    source: "events".to_owned(),
                    partition: *partition,
                    shard: *partition + 1,
                    stream: u64::from(*partition) + 10,
                    batch: batch_of(&value, *offset),
                    leases: Vec::new(),
                    first_offset: *offset,
                    count: 1,
                };
                *offset += 1;
                if !say(Response::Delivery(delivery)).await {
                    return;
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Node {
    /// Leases one message of a queue, partition 0, and takes its verdict if it leads the queue by then.
    async fn lease(
        self,
        mut requests: Streaming<v1::ConsumeRequest>,
        answers: mpsc::Sender<Result<v1::ConsumeResponse, Status>>,
    ) {
        let say = async |step| answers.send(Ok(v1::ConsumeResponse { step: Some(step) })).await.is_ok();
        if let Err(refusal) = self.check_leader(0) {
            say(Response::Error((&refusal).into())).await;
            return;
        }
        say(Response::Started(v1::ConsumeStarted {
            partitions: vec![v1::StartedPartition::default()],
            ..v1::ConsumeStarted::default()
        }))
        .await;
        let offset = self.truth().leaders[0].1;
        let lease =
            v1::LeasedRange { first_offset: offset, count: 1, epoch: 1, attempt: 1, ..Default::default() };
        let delivery = v1::Delivery {
            source: "orders".to_owned(),
            shard: 1,
            stream: 10,
            batch: batch_of(&Bytes::from_static(b"x"), offset),
            leases: vec![lease],
            first_offset: offset,
            count: 1,
            ..Default::default()
        };
        say(Response::Delivery(delivery)).await;
        while let Ok(Some(v1::ConsumeRequest { step: Some(step) })) = requests.message().await {
            match step {
                Request::Settle(v1::ConsumeSettle { request_id, items }) => {
                    let answer =
                        server::Messages::settle(&self, Call::new(v1::SettleRequest { items })).await;
                    let results = answer.expect("it is up").into_inner().results;
                    say(Response::Settled(v1::ConsumeSettled { request_id, results })).await;
                }
                Request::Close(_) => drop(say(Response::Closed(v1::ConsumeClosed {})).await),
                _ => {}
            }
        }
    }
}

fn batch_of(value: &Bytes, base: u64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordDraft { value: Some(value), ..RecordDraft::default() }).expect("fits");
    stamp_base_offset(builder.build().expect("a message"), Offset(base))
}

fn unserved<T>() -> Reply<T> {
    Err(to_status(&Refusal::NotServed { what: "this call" }))
}

#[tonic::async_trait]
impl server::Messages for Node {
    type PublishStreamStream = Responses<v1::PublishStreamResponse>;
    type ConsumeStream = Responses<v1::ConsumeResponse>;
    type BrowseStream = Responses<v1::BrowseResponse>;

    async fn locate(&self, _: Call<v1::LocateRequest>) -> Reply<v1::LocateResponse> {
        self.check_up()?;
        let truth = self.truth();
        let known = truth.behind.as_ref().filter(|(broker, _)| *broker == self.index);
        let leaders = known.map_or(&truth.leaders, |(_, leaders)| leaders);
        let location = |(partition, (leader, epoch)): (u32, &(Option<usize>, u64))| v1::PartitionLocation {
            partition,
            shard: partition + 1,
            stream: u64::from(partition) + 10,
            epoch: *epoch,
            leader: leader.map(|leader| leader as u32),
            address: leader.map_or_else(String::new, |leader| self.addresses[leader].clone()),
            here: *leader == Some(self.index),
        };
        Ok(Answer::new(v1::LocateResponse {
            is_topic: true,
            partitions: PARTITIONS,
            message_bytes_max: 1 << 20,
            locations: (0..).zip(leaders).map(location).collect(),
            brokers: self.addresses.to_vec(),
        }))
    }

    async fn init_producer(&self, _: Call<v1::InitProducerRequest>) -> Reply<v1::InitProducerResponse> {
        self.check_up()?;
        Ok(Answer::new(v1::InitProducerResponse { producer_id: 7, epoch: 0 }))
    }

    async fn publish(&self, request: Call<v1::PublishRequest>) -> Reply<v1::PublishResponse> {
        self.check_up()?;
        self.store(&request.into_inner()).map(Answer::new).map_err(|refusal| to_status(&refusal))
    }

    async fn publish_stream(
        &self,
        requests: Call<Streaming<v1::PublishStreamRequest>>,
    ) -> Reply<Self::PublishStreamStream> {
        use v1::publish_stream_response::Result as Wire;
        self.check_up()?;
        self.check_silent().await;
        let (answers, receiver) = mpsc::channel(16);
        let (node, mut requests) = (self.clone(), requests.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                if let Err(status) = node.check_up() {
                    drop(answers.send(Err(status)).await);
                    return;
                }
                let result = match node.store(&request.publish.expect("a batch")) {
                    Ok(response) => Wire::Ok(response),
                    Err(refusal) => Wire::Error((&refusal).into()),
                };
                let answer =
                    v1::PublishStreamResponse { request_id: request.request_id, result: Some(result) };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Answer::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn consume(&self, requests: Call<Streaming<v1::ConsumeRequest>>) -> Reply<Self::ConsumeStream> {
        self.check_up()?;
        self.check_silent().await;
        let (answers, receiver) = mpsc::channel(16);
        let (node, mut requests) = (self.clone(), requests.into_inner());
        tokio::spawn(async move {
            let Ok(Some(v1::ConsumeRequest { step: Some(Request::Start(start)) })) = requests.message().await
            else {
                panic!("a start is first")
            };
            let topic = match start.source.expect("a source") {
                v1::consume_start::Source::Topic(topic) => topic,
                v1::consume_start::Source::Queue(_) | v1::consume_start::Source::Share(_) => {
                    return node.lease(requests, answers).await;
                }
            };
            let begins = |partition: &u32| {
                let start = topic.starts.iter().find(|start| start.partition == *partition);
                match start.and_then(|start| start.at).and_then(|at| at.at) {
                    Some(v1::start_at::At::Offset(offset)) => (*partition, offset),
                    _ => (*partition, 0),
                }
            };
            let starts: Vec<_> = topic.partitions.iter().map(begins).collect();
            let say = async |step| answers.send(Ok(v1::ConsumeResponse { step: Some(step) })).await;
            let refused = starts.iter().find_map(|(partition, _)| node.check_leader(*partition).err());
            if let Some(refusal) = refused {
                drop(say(Response::Error((&refusal).into())).await);
                return;
            }
            let reading = tokio::spawn(node.read(starts, answers.clone()));
            while let Ok(Some(request)) = requests.message().await {
                if let Some(Request::Close(_)) = request.step {
                    reading.abort();
                    drop(say(Response::Closed(v1::ConsumeClosed {})).await);
                }
            }
            reading.abort();
        });
        Ok(Answer::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn settle(&self, request: Call<v1::SettleRequest>) -> Reply<v1::SettleResponse> {
        self.check_up()?;
        let mut results = Vec::new();
        for (index, item) in (0..).zip(request.into_inner().items) {
            let Some(v1::settle_item::By::Range(range)) = item.by else { panic!("a range") };
            results.push(match self.check_leader(range.shard - 1) {
                Ok(()) => {
                    self.truth().settled.push((self.index, range.first_offset));
                    let settled =
                        v1::Settled { state: v1::SettledState::Ok.into(), deadline_unix_millis: None };
                    v1::SettleResult {
                        item: index,
                        first_offset: range.first_offset,
                        count: range.count,
                        result: Some(v1::settle_result::Result::Settled(settled)),
                    }
                }
                Err(refusal) => v1::SettleResult {
                    item: index,
                    result: Some(v1::settle_result::Result::Error((&refusal).into())),
                    ..Default::default()
                },
            });
        }
        Ok(Answer::new(v1::SettleResponse { results }))
    }

    async fn receive(&self, _: Call<v1::ReceiveRequest>) -> Reply<v1::ReceiveResponse> {
        unserved()
    }

    async fn browse(&self, _: Call<v1::BrowseRequest>) -> Reply<Self::BrowseStream> {
        unserved()
    }

    async fn purge(&self, _: Call<v1::PurgeRequest>) -> Reply<v1::PurgeResponse> {
        unserved()
    }
}

struct Cluster {
    truth: Arc<Mutex<Truth>>,
    addresses: Arc<Vec<String>>,
}

impl Cluster {
    /// Brokers of which each leads one of the partitions.
    async fn start() -> Self {
        let mut listeners = Vec::new();
        for _ in 0..PARTITIONS {
            listeners.push(tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
        }
        let address =
            |listener: &tokio::net::TcpListener| listener.local_addr().expect("an address").to_string();
        let addresses: Arc<Vec<String>> = Arc::new(listeners.iter().map(address).collect());
        let truth = Arc::new(Mutex::new(Truth {
            leaders: (0..listeners.len()).map(|index| (Some(index), 1)).collect(),
            logs: vec![Vec::new(); listeners.len()],
            down: vec![false; listeners.len()],
            served: vec![0; listeners.len()],
            ..Truth::default()
        }));
        for (index, listener) in listeners.into_iter().enumerate() {
            let node = Node { index, truth: Arc::clone(&truth), addresses: Arc::clone(&addresses) };
            let service = server::MessagesServer::new(node);
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            tokio::spawn(
                tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
            );
        }
        Self { truth, addresses }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.addresses[0], Options::default()).await.expect("a connection")
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().expect("not poisoned")
    }

    fn lead(&self, partition: usize, broker: Option<usize>) {
        let leader = &mut self.truth().leaders[partition];
        *leader = (broker, leader.1 + 1);
    }

    /// The broker goes down; what it led has no leader for a while, and then another one.
    async fn fail_over(&self, broker: usize, to: usize) {
        self.truth().down[broker] = true;
        let led: Vec<usize> =
            (0..3).filter(|partition| self.truth().leaders[*partition].0 == Some(broker)).collect();
        for partition in &led {
            self.lead(*partition, None);
        }
        sleep(Duration::from_millis(300)).await;
        for partition in led {
            self.lead(partition, Some(to));
        }
    }
}

/// A leader was stopped, and the client was sent there before anybody had noticed: its streams are never taken.
#[tokio::test]
async fn a_leader_that_takes_no_stream_is_not_waited_for() {
    let cluster = Cluster::start().await;
    let options = Options { request_timeout: Duration::from_secs(600), ..Options::default() };
    let client = Client::connect(&cluster.addresses[0], options).await.expect("a connection");
    cluster.truth().silent = Some(1);
    let publisher = client.publisher("events", PublisherOptions::default()).await.expect("a publisher");
    let message = Message { partition: Some(1), ..Message::new(b"a".as_slice()) };
    let sending = publisher.send(message).await.expect("taken");
    let reading = {
        let client = client.clone();
        tokio::spawn(async move {
            let options = ReaderOptions { partitions: vec![1], ..ReaderOptions::default() };
            let reader = client.reader("events", options).await.expect("a reader");
            match reader.next().await.expect("no error") {
                Some(TopicEvent::Message(message)) => message.value,
                other => panic!("{other:?}"),
            }
        })
    };
    sleep(Duration::from_millis(300)).await;
    cluster.lead(1, Some(2));
    let acknowledged = tokio::time::timeout(Duration::from_secs(60), sending).await;
    acknowledged.expect("not waited for").expect("stored");
    let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
    assert_eq!(read.expect("not waited for").expect("no panic").as_deref(), Some(&b"a"[..]));
}

#[tokio::test]
async fn each_partition_is_published_to_its_leader_wherever_that_moves() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let options = PublisherOptions { batch_messages: 2, ..PublisherOptions::default() };
    let publisher = client.publisher("events", options).await.expect("a publisher");
    let mut sendings = Vec::new();
    for number in 0..300u32 {
        let message = Message { partition: Some(number % PARTITIONS), ..Message::new(number.to_string()) };
        sendings.push((number, publisher.send(message).await.expect("taken")));
        match number {
            60 => cluster.lead(0, Some(2)),
            120 => cluster.lead(2, Some(1)),
            200 => cluster.fail_over(1, 0).await,
            _ => {}
        }
        if number % 10 == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    }
    for (number, sending) in sendings {
        let ack = sending.await.expect("stored");
        assert_eq!(
            (ack.partition, ack.offset),
            (number % PARTITIONS, Offset(u64::from(number / PARTITIONS)))
        );
    }
    for (partition, log) in (0..).zip(&cluster.truth().logs) {
        let expected: Vec<Bytes> =
            (0..100).map(|index| (index * PARTITIONS + partition).to_string().into()).collect();
        assert_eq!(*log, expected, "partition {partition}: each once and in order");
    }
    let served = cluster.truth().served.clone();
    assert!(served.iter().all(|calls| *calls > 0), "{served:?}");
}

#[tokio::test]
async fn the_wait_for_a_leader_begins_anew_once_something_was_stored() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let publisher = client.publisher("events", PublisherOptions::default()).await.expect("a publisher");
    let mut took = Vec::new();
    // By the tenth round every wait would be one of the longest, 250 to 500 ms. One short one shows that they begin
    // anew, and a machine that is busy with other things has more rounds to show it.
    let is_short = |took: &[Duration]| took.iter().skip(9).any(|took| *took < Duration::from_millis(200));
    for round in 0..60 {
        // The streams to the two are in use all the time: none is opened for the partition that moves.
        for partition in [1, 2] {
            let message = Message { partition: Some(partition), ..Message::new("x") };
            publisher.send(message).await.expect("taken").await.expect("stored");
        }
        cluster.lead(0, None);
        let message = Message { partition: Some(0), ..Message::new("x") };
        let sending = publisher.send(message).await.expect("taken");
        sleep(Duration::from_millis(30)).await;
        cluster.lead(0, Some(1 + round % 2));
        let led = tokio::time::Instant::now();
        sending.await.expect("stored");
        took.push(led.elapsed());
        if is_short(&took) {
            return;
        }
    }
    panic!("the waits stay long: {took:?}");
}

#[tokio::test]
async fn a_broker_that_is_cut_off_and_says_that_it_leads_is_not_believed_twice() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let publisher = client.publisher("events", PublisherOptions::default()).await.expect("a publisher");
    let message = |value: &'static str| Message { partition: Some(0), ..Message::new(value) };
    publisher.send(message("before")).await.expect("taken").await.expect("stored");
    let known = cluster.truth().leaders.clone();
    cluster.truth().behind = Some((0, known));
    cluster.lead(0, Some(2));
    let started = tokio::time::Instant::now();
    publisher.send(message("streamed")).await.expect("taken").await.expect("stored");
    assert_eq!(client.publish("events", &message("alone")).await.expect("stored").offset, Offset(2));
    assert!(started.elapsed() < Duration::from_secs(5), "the others were not asked before the time was over");
    assert!(cluster.truth().served[2] >= 2);
}

#[tokio::test]
async fn a_reader_merges_what_several_brokers_lead_and_goes_after_what_moves() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    for partition in 0..3 {
        cluster.truth().logs[partition] = (0..50).map(|number| number.to_string().into()).collect();
    }
    let options = ReaderOptions { credit: 16, ..ReaderOptions::default() };
    let reader = client.reader("events", options).await.expect("a reader");
    let mut read = vec![Vec::new(); 3];
    for count in 0..150 {
        let Some(TopicEvent::Message(message)) = reader.next().await.expect("no error") else {
            panic!("a message")
        };
        read[message.partition as usize].push(message.offset.0);
        match count {
            20 => cluster.lead(1, Some(0)),
            60 => cluster.fail_over(0, 2).await,
            _ => {}
        }
    }
    for offsets in read {
        assert_eq!(offsets, (0..50).collect::<Vec<_>>(), "each once and in order");
    }
    reader.close().await;
}

#[tokio::test]
async fn verdicts_go_to_the_leaders_of_their_shards() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let item = |shard: u32, offset| SettleItem {
        tokens: Token {
            shard: ShardId(shard),
            stream: StreamId(u64::from(shard) + 9),
            offset: Offset(offset),
            lease: Lease { epoch: Epoch(1), attempt: Attempt(1) },
        }
        .into(),
        verdict: Verdict::Accept,
    };
    // It knows nothing of these shards yet: the first broker that is asked names their leaders.
    for (round, leader) in [(0, 2), (1, 0)] {
        let items = vec![item(3, 30 + round), item(1, 10 + round), item(3, 40 + round), item(2, 20 + round)];
        let results = client.settle(items).await.expect("answered");
        let told: Vec<_> = results.iter().map(|result| (result.item, result.first.0)).collect();
        assert_eq!(told, [(0, 30 + round), (1, 10 + round), (2, 40 + round), (3, 20 + round)]);
        assert!(results.iter().all(|result| result.result.is_ok()));
        let mut settled = std::mem::take(&mut cluster.truth().settled);
        settled.sort_unstable();
        let mut expected = vec![(0, 10 + round), (1, 20 + round), (leader, 30 + round), (leader, 40 + round)];
        expected.sort_unstable();
        assert_eq!(settled, expected);
        cluster.lead(2, Some(0));
    }
}

#[tokio::test]
async fn a_consumer_and_its_verdicts_move_with_the_queue() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let consumer = client.consumer("orders", ConsumerOptions::default()).await.expect("a consumer");
    let first = consumer.next().await.expect("no error").expect("a message");
    assert_eq!(first.offset, Offset(1));
    cluster.lead(0, Some(2));
    // The old leader refuses it, the new one takes it.
    first.accept().await.expect("settled");
    let second = consumer.next().await.expect("no error").expect("a message");
    assert_eq!(second.offset, Offset(2));
    cluster.lead(0, None);
    let accepting = tokio::spawn(async move { second.accept().await });
    sleep(Duration::from_millis(200)).await;
    cluster.lead(0, Some(1));
    accepting.await.expect("no panic").expect("settled");
    consumer.close().await;
    assert_eq!(cluster.truth().settled, [(2, 1), (1, 2)]);
}

#[tokio::test]
async fn a_failover_is_ridden_out_by_whoever_knows_one_broker_that_lives() {
    let cluster = Cluster::start().await;
    let dead = "127.0.0.1:1".to_owned();
    let addresses = [dead, cluster.addresses[1].clone()];
    let client = Client::connect_any(&addresses, Options::default()).await.expect("one of them lives");
    let message = Message { partition: Some(1), ..Message::new("before") };
    assert_eq!(client.publish("events", &message).await.expect("stored").offset, Offset(0));
    let message = Message { partition: Some(0), ..Message::new("elsewhere") };
    assert_eq!(client.publish("events", &message).await.expect("stored").partition, 0);
    let batch = {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&RecordDraft { value: Some(b"after"), ..RecordDraft::default() }).expect("fits");
        builder.producer(pondage_model::ProducerId(9), 0, 0).build().expect("a batch")
    };
    let (_, stored) =
        tokio::join!(cluster.fail_over(1, 2), client.publish_batch("events", Some(1), batch.clone()));
    assert_eq!(stored.expect("stored").partition, 1);
    assert!(client.publish_batch("events", Some(1), batch).await.expect("stored before").already);
    let message = Message { partition: Some(9), ..Message::new("nowhere") };
    let refused = client.publish("events", &message).await.expect_err("no such partition");
    assert!(refused.is(Code::NotFound), "{refused}");
}
