//! Starting brokers and speaking to them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use pondage_broker::{Broker, Options};
use pondage_model::record::{Batch, BatchBuilder, Compression, RecordDraft};
use pondage_protocol::{
    Failure, from_status,
    v1::{
        self, admin_client::AdminClient, cluster_client::ClusterClient, consume_request, consume_response,
        groups_client::GroupsClient, messages_client::MessagesClient, resource_spec::Spec,
    },
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// Longer than anything here takes on a slow machine, shorter than anybody's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    pub(crate) messages: MessagesClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
    pub(crate) cluster: ClusterClient<Channel>,
    pub(crate) groups: GroupsClient<Channel>,
    folder: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::on(TempDir::new().expect("a temporary folder")).await
    }

    async fn on(folder: TempDir) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let options = Options { data: folder.path().join("data"), listen: any, http: any, sync_delay: None };
        let broker = Broker::start(options).await.expect("the broker starts");
        let endpoint = Endpoint::from_shared(format!("http://{}", broker.address)).expect("an address");
        let channel = endpoint.connect().await.expect("the broker listens");
        Self {
            messages: MessagesClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            admin: AdminClient::new(channel.clone()),
            cluster: ClusterClient::new(channel.clone()),
            groups: GroupsClient::new(channel),
            broker,
            folder,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Another connection.
    pub(crate) async fn connect(&self) -> MessagesClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.broker.address)).expect("an address");
        let channel = endpoint.connect().await.expect("the broker listens");
        MessagesClient::new(channel).max_decoding_message_size(64 << 20)
    }

    pub(crate) async fn restart(self) -> Self {
        let Self { broker, folder, messages, admin, cluster, groups } = self;
        drop((messages, admin, cluster, groups));
        assert_eq!(broker.stop().await, pondage_broker::Stopped::InOrder);
        Self::on(folder).await
    }

    pub(crate) async fn apply(&mut self, name: &str, spec: Spec) -> Result<v1::ApplyResponse, Failure> {
        let spec = Some(v1::ResourceSpec { spec: Some(spec) });
        let request = v1::ApplyRequest { name: name.to_owned(), spec, ..v1::ApplyRequest::default() };
        unwrap(self.admin.apply(request).await)
    }

    pub(crate) async fn queue(&mut self, name: &str) {
        self.apply(name, Spec::Queue(v1::QueueSpec::default())).await.expect("applied");
    }

    pub(crate) async fn topic(&mut self, name: &str, partitions: u32) {
        let spec = v1::TopicSpec { partitions: Some(partitions), ..v1::TopicSpec::default() };
        self.apply(name, Spec::Topic(spec)).await.expect("applied");
    }

    pub(crate) async fn group(&mut self, name: &str, topic: &str) {
        let topics = v1::GroupTopics { names: vec![topic.to_owned()] };
        let source = Some(v1::group_spec::Source::Topics(topics));
        let spec = v1::GroupSpec { source, ..v1::GroupSpec::default() };
        self.apply(name, Spec::Group(spec)).await.expect("applied");
    }

    pub(crate) async fn publish(&mut self, target: &str, values: &[&str]) -> v1::PublishResponse {
        self.send(publish(target, batch(values))).await.expect("published")
    }

    pub(crate) async fn send(&mut self, request: v1::PublishRequest) -> Result<v1::PublishResponse, Failure> {
        unwrap(self.messages.publish(request).await)
    }

    pub(crate) async fn receive(&mut self, queue: &str, max_messages: u32, wait_millis: u64) -> Vec<Got> {
        let request =
            v1::ReceiveRequest { queue: queue.to_owned(), max_messages, wait_millis, lease_millis: None };
        let response = unwrap(self.messages.receive(request).await).expect("received");
        response.deliveries.iter().flat_map(got).collect()
    }

    pub(crate) async fn settle(&mut self, items: Vec<v1::SettleItem>) -> Vec<v1::SettleResult> {
        unwrap(self.messages.settle(v1::SettleRequest { items }).await).expect("answered").results
    }

    pub(crate) async fn status(&mut self, kind: v1::ResourceKind, name: &str) -> Vec<v1::StreamStatus> {
        let request = v1::GetRequest { kind: kind.into(), name: name.to_owned() };
        let response = unwrap(self.admin.get(request).await).expect("it is there");
        response.resource.and_then(|resource| resource.status).expect("with status").streams
    }

    /// Waits until the queue stands so.
    pub(crate) async fn queue_until(&mut self, name: &str, stands: impl Fn(&v1::StreamStatus) -> bool) {
        let waiting = async {
            loop {
                let status = self.status(v1::ResourceKind::Queue, name).await;
                if stands(&status[0]) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the queue gets there");
    }

    /// Opens a consume stream with its first step.
    pub(crate) async fn consume(&mut self, source: v1::consume_start::Source, credit: u32) -> Consumer {
        let start = v1::ConsumeStart { source: Some(source), credit };
        let mut consumer = self.consume_raw().await;
        consumer.step(consume_request::Step::Start(start)).await;
        consumer
    }

    pub(crate) async fn consume_raw(&mut self) -> Consumer {
        let (steps, outgoing) = mpsc::channel(64);
        let responses =
            self.messages.consume(ReceiverStream::new(outgoing)).await.expect("accepted").into_inner();
        Consumer { steps, responses }
    }
}

/// A consume stream.
pub(crate) struct Consumer {
    steps: mpsc::Sender<v1::ConsumeRequest>,
    responses: Streaming<v1::ConsumeResponse>,
}

impl Consumer {
    pub(crate) async fn step(&mut self, step: consume_request::Step) {
        self.steps.send(v1::ConsumeRequest { step: Some(step) }).await.expect("the stream is open");
    }

    /// The next response; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<consume_response::Step> {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await.expect("an answer in time");
        next.expect("no status").and_then(|response| response.step)
    }

    pub(crate) async fn started(&mut self) -> v1::ConsumeStarted {
        match self.next().await {
            Some(consume_response::Step::Started(started)) => started,
            other => panic!("not started: {other:?}"),
        }
    }

    pub(crate) async fn error(&mut self) -> v1::Error {
        match self.next().await {
            Some(consume_response::Step::Error(error)) => {
                assert_eq!(self.next().await, None, "an error is the last response");
                error
            }
            other => panic!("no error: {other:?}"),
        }
    }

    /// The error that ends the stream, whatever came before it.
    pub(crate) async fn end(&mut self) -> v1::Error {
        loop {
            match self.next().await {
                Some(consume_response::Step::Error(error)) => return error,
                Some(_) => {}
                None => panic!("it ended without an error"),
            }
        }
    }

    /// Deliveries until so many messages are there.
    pub(crate) async fn take(&mut self, messages: usize) -> Vec<Got> {
        let mut taken = Vec::new();
        while taken.len() < messages {
            match self.next().await {
                Some(consume_response::Step::Delivery(delivery)) => taken.extend(got(&delivery)),
                Some(consume_response::Step::CaughtUp(_)) => {}
                other => panic!("no delivery: {other:?}"),
            }
        }
        taken
    }

    /// Asserts that nothing comes for a while.
    pub(crate) async fn silent(&mut self) {
        let next = tokio::time::timeout(Duration::from_millis(300), self.responses.message()).await;
        assert!(next.is_err(), "{next:?}");
    }

    pub(crate) async fn settle(&mut self, request_id: u64, items: Vec<v1::SettleItem>) {
        self.step(consume_request::Step::Settle(v1::ConsumeSettle { request_id, items })).await;
    }

    pub(crate) async fn settled(&mut self) -> v1::ConsumeSettled {
        match self.next().await {
            Some(consume_response::Step::Settled(settled)) => settled,
            other => panic!("not settled: {other:?}"),
        }
    }

    pub(crate) async fn close(mut self) {
        self.step(consume_request::Step::Close(v1::ConsumeClose {})).await;
        loop {
            match self.next().await {
                Some(consume_response::Step::Closed(_)) => break,
                Some(consume_response::Step::Error(error)) => panic!("not closed: {error:?}"),
                Some(_) => {}
                None => panic!("not closed"),
            }
        }
        assert_eq!(self.next().await, None);
    }
}

/// A message as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) offset: u64,
    pub(crate) partition: u32,
    pub(crate) value: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Of queues.
    pub(crate) range: Option<v1::TokenRange>,
}

impl Got {
    pub(crate) fn attempt(&self) -> u32 {
        self.range.expect("leased").attempt
    }

    pub(crate) fn item(&self, verdict: v1::verdict::Verdict) -> v1::SettleItem {
        let by = Some(v1::settle_item::By::Range(self.range.expect("leased")));
        v1::SettleItem { by, verdict: Some(v1::Verdict { verdict: Some(verdict) }) }
    }

    pub(crate) fn accept(&self) -> v1::SettleItem {
        self.item(v1::verdict::Verdict::Accept(v1::Accept {}))
    }

    pub(crate) fn release(&self) -> v1::SettleItem {
        self.item(v1::verdict::Verdict::Release(v1::Release { delay_millis: None }))
    }

    pub(crate) fn reject(&self) -> v1::SettleItem {
        self.item(v1::verdict::Verdict::Reject(v1::Reject {}))
    }
}

pub(crate) fn values(got: &[Got]) -> Vec<&str> {
    got.iter().map(|got| got.value.as_str()).collect()
}

/// The delivered messages of a batch.
pub(crate) fn got(delivery: &v1::Delivery) -> Vec<Got> {
    let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("text");
    let records = Batch::parse(delivery.batch.clone()).expect("a batch").records().expect("records");
    let delivered = delivery.first_offset..delivery.first_offset + u64::from(delivery.count);
    let mut all = Vec::new();
    for record in records {
        let offset = record.offset.get();
        let lease = delivery.leases.iter().find(|lease| {
            (lease.first_offset..lease.first_offset + u64::from(lease.count)).contains(&offset)
        });
        if lease.is_none() && !(delivery.leases.is_empty() && delivered.contains(&offset)) {
            continue;
        }
        let range = lease.map(|lease| v1::TokenRange {
            shard: delivery.shard,
            stream: delivery.stream,
            first_offset: offset,
            count: 1,
            epoch: lease.epoch,
            attempt: lease.attempt,
        });
        let headers =
            record.headers.iter().map(|(key, value)| (text(Some(key.clone())), text(value.clone())));
        all.push(Got {
            offset,
            partition: delivery.partition,
            headers: headers.collect(),
            value: text(record.value),
            range,
        });
    }
    all
}

pub(crate) fn publish(target: &str, batch: Bytes) -> v1::PublishRequest {
    v1::PublishRequest { target: target.to_owned(), batch, ..v1::PublishRequest::default() }
}

pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_of(BatchBuilder::new(Compression::None), values)
}

pub(crate) fn batch_of(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for value in values {
        let draft =
            RecordDraft { value: Some(value.as_bytes()), timestamp_millis: 1, ..RecordDraft::default() };
        builder.push(&draft).expect("small");
    }
    builder.build().expect("small")
}

pub(crate) fn queue_source(name: &str) -> v1::consume_start::Source {
    v1::consume_start::Source::Queue(v1::QueueSource { name: name.to_owned(), lease_millis: None })
}

pub(crate) fn topic_source(name: &str, group: Option<&str>) -> v1::consume_start::Source {
    v1::consume_start::Source::Topic(v1::TopicSource {
        name: name.to_owned(),
        group: group.map(str::to_owned),
        ..v1::TopicSource::default()
    })
}

/// The answer, or the facts of the refusal.
pub(crate) fn unwrap<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Failure> {
    answer.map(tonic::Response::into_inner).map_err(|status| from_status(&status))
}

/// The words of the results, item by item and run by run.
pub(crate) fn words(results: &[v1::SettleResult]) -> Vec<(u32, u64, u32, String)> {
    use v1::settle_result::Result as Wire;
    let word = |result: &v1::SettleResult| match &result.result {
        Some(Wire::Settled(settled)) => settled.state().as_str_name().to_owned(),
        Some(Wire::Error(error)) => error.code.clone(),
        None => "nothing".to_owned(),
    };
    results.iter().map(|result| (result.item, result.first_offset, result.count, word(result))).collect()
}
