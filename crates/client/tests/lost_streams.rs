//! The client over a real connection to a server that loses streams just where it hurts, which a broker can't be
//! made to do on purpose.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use pondage_client::{
    Client, ConsumerOptions, Message, Options, PublisherOptions, ReaderOptions, TopicEvent,
};
use pondage_model::{
    Offset, Refusal,
    record::{Batch, BatchBuilder, Compression, RecordDraft, stamp_base_offset},
};
use pondage_protocol::{
    to_status,
    v1::{
        self, consume_request::Step as Request, consume_response::Step as Response, messages_server as server,
    },
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request as Call, Response as Answer, Status, Streaming};

type Reply<T> = Result<Answer<T>, Status>;
type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A partition that takes each sequence once; the first stream of each kind is lost in the middle.
#[derive(Clone, Default)]
struct Faulty {
    log: Arc<Mutex<Vec<Bytes>>>,
    next_sequence: Arc<Mutex<u32>>,
    publish_streams: Arc<AtomicU32>,
    consume_streams: Arc<AtomicU32>,
}

fn unserved<T>() -> Reply<T> {
    Err(to_status(&Refusal::NotServed { what: "this call" }))
}

fn batch_of(values: &[&str], base: u64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for value in values {
        builder.push(&RecordDraft { value: Some(value.as_bytes()), ..RecordDraft::default() }).expect("fits");
    }
    stamp_base_offset(builder.build().expect("messages"), Offset(base))
}

fn delivery(base: u64, leased: bool) -> Response {
    let lease =
        v1::LeasedRange { first_offset: base, count: 2, epoch: 1, attempt: 1, deadline_unix_millis: 9 };
    Response::Delivery(v1::Delivery {
        source: "orders".to_owned(),
        partition: 0,
        shard: 1,
        stream: 2,
        batch: batch_of(&["a", "b"], base),
        leases: if leased { vec![lease] } else { Vec::new() },
        first_offset: base,
        count: 2,
    })
}

impl Faulty {
    fn store(&self, publish: &v1::PublishRequest) -> v1::PublishResponse {
        let batch = Batch::parse(publish.batch.clone()).expect("a batch");
        let first = batch.producer().expect("a session").first_sequence;
        let mut next = self.next_sequence.lock().expect("not poisoned");
        let duplicate = first < *next;
        if !duplicate {
            assert_eq!(first, *next, "no gap");
            *next += batch.count();
            let mut log = self.log.lock().expect("not poisoned");
            log.extend(batch.records().expect("records").map(|record| record.value.expect("a value")));
        }
        v1::PublishResponse { partition: 0, base_offset: u64::from(first), count: batch.count(), duplicate }
    }
}

#[tonic::async_trait]
impl server::Messages for Faulty {
    type PublishStreamStream = Responses<v1::PublishStreamResponse>;
    type ConsumeStream = Responses<v1::ConsumeResponse>;
    type BrowseStream = Responses<v1::BrowseResponse>;

    async fn locate(&self, _: Call<v1::LocateRequest>) -> Reply<v1::LocateResponse> {
        let here = v1::PartitionLocation { shard: 1, stream: 2, here: true, ..Default::default() };
        Ok(Answer::new(v1::LocateResponse {
            is_topic: true,
            partitions: 1,
            message_bytes_max: 1 << 20,
            locations: vec![here],
            brokers: Vec::new(),
        }))
    }

    async fn init_producer(&self, _: Call<v1::InitProducerRequest>) -> Reply<v1::InitProducerResponse> {
        Ok(Answer::new(v1::InitProducerResponse { producer_id: 7, epoch: 0 }))
    }

    async fn publish_stream(
        &self,
        requests: Call<Streaming<v1::PublishStreamRequest>>,
    ) -> Reply<Self::PublishStreamStream> {
        let is_first = self.publish_streams.fetch_add(1, Ordering::SeqCst) == 0;
        let (answers, receiver) = mpsc::channel(16);
        let (faulty, mut requests) = (self.clone(), requests.into_inner());
        tokio::spawn(async move {
            let mut stored = 0;
            while let Ok(Some(request)) = requests.message().await {
                let ok = faulty.store(&request.publish.expect("a batch"));
                stored += 1;
                if is_first && stored == 3 {
                    // Stored, and never said so.
                    let _ = answers.send(Err(Status::unavailable("gone"))).await;
                    return;
                }
                let result = Some(v1::publish_stream_response::Result::Ok(ok));
                let answer = v1::PublishStreamResponse { request_id: request.request_id, result };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Answer::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn consume(&self, requests: Call<Streaming<v1::ConsumeRequest>>) -> Reply<Self::ConsumeStream> {
        let is_first = self.consume_streams.fetch_add(1, Ordering::SeqCst) == 0;
        let (answers, receiver) = mpsc::channel(16);
        let mut requests = requests.into_inner();
        tokio::spawn(async move {
            let say = async |step| answers.send(Ok(v1::ConsumeResponse { step: Some(step) })).await;
            while let Ok(Some(request)) = requests.message().await {
                let said = match request.step.expect("a step") {
                    Request::Start(start) => {
                        let started = v1::StartedPartition { offset: 4, end_offset: 8, ..Default::default() };
                        let partitions = vec![started];
                        say(Response::Started(v1::ConsumeStarted { partitions, lease_millis: 0 }))
                            .await
                            .expect("heard");
                        let resumes = match start.source {
                            Some(v1::consume_start::Source::Topic(topic)) => Some(topic.starts),
                            _ => None,
                        };
                        match resumes {
                            None if is_first => say(delivery(4, true)).await,
                            None => Ok(()),
                            Some(starts) if is_first => {
                                assert!(starts.is_empty());
                                say(delivery(4, false)).await.expect("heard");
                                return;
                            }
                            Some(starts) => {
                                let resume = v1::start_at::At::Offset(6);
                                assert_eq!(starts[0].at, Some(v1::StartAt { at: Some(resume) }));
                                say(delivery(6, false)).await.expect("heard");
                                say(Response::CaughtUp(v1::CaughtUp { partition: 0, end_offset: 8 })).await
                            }
                        }
                    }
                    // The verdict holds, and the answer gets lost with the stream.
                    Request::Settle(_) if is_first => return,
                    Request::Settle(settle) => {
                        let state = v1::SettledState::AlreadySettled.into();
                        let settled = v1::Settled { state, deadline_unix_millis: None };
                        let result = |(item, settle): (usize, v1::SettleItem)| {
                            let Some(v1::settle_item::By::Range(range)) = settle.by else {
                                panic!("a range")
                            };
                            v1::SettleResult {
                                item: item as u32,
                                first_offset: range.first_offset,
                                count: range.count,
                                result: Some(v1::settle_result::Result::Settled(settled)),
                            }
                        };
                        let results = settle.items.into_iter().enumerate().map(result).collect();
                        say(Response::Settled(v1::ConsumeSettled { request_id: settle.request_id, results }))
                            .await
                    }
                    Request::Close(_) => say(Response::Closed(v1::ConsumeClosed {})).await,
                    Request::Credit(_) | Request::Commit(_) | Request::Stop(_) => Ok(()),
                };
                if said.is_err() {
                    return;
                }
            }
        });
        Ok(Answer::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn publish(&self, _: Call<v1::PublishRequest>) -> Reply<v1::PublishResponse> {
        unserved()
    }

    async fn receive(&self, _: Call<v1::ReceiveRequest>) -> Reply<v1::ReceiveResponse> {
        unserved()
    }

    async fn settle(&self, _: Call<v1::SettleRequest>) -> Reply<v1::SettleResponse> {
        unserved()
    }

    async fn browse(&self, _: Call<v1::BrowseRequest>) -> Reply<Self::BrowseStream> {
        unserved()
    }

    async fn purge(&self, _: Call<v1::PurgeRequest>) -> Reply<v1::PurgeResponse> {
        unserved()
    }
}

async fn serve() -> (Faulty, Client) {
    let faulty = Faulty::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let service = server::MessagesServer::new(faulty.clone());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let options = Options { request_timeout: Duration::from_secs(10), ..Options::default() };
    (faulty, Client::connect(&address, options).await.expect("a connection"))
}

#[tokio::test]
async fn a_lost_publish_stream_stores_nothing_twice_and_keeps_the_order() {
    let (faulty, client) = serve().await;
    let options = PublisherOptions { batch_messages: 2, ..PublisherOptions::default() };
    let publisher = client.publisher("orders", options).await.expect("a publisher");
    let mut sendings = Vec::new();
    for number in 0..100 {
        sendings.push(publisher.send(Message::new(number.to_string())).await.expect("taken"));
    }
    let mut already = 0;
    for (number, sending) in sendings.into_iter().enumerate() {
        let ack = sending.await.expect("stored");
        assert_eq!(ack.offset, Offset(number as u64));
        already += u32::from(ack.already);
    }
    assert!((1..=2).contains(&already), "one batch lost its answer, not {already} messages");
    publisher.flush().await.expect("nothing is left");
    let expected: Vec<Bytes> = (0..100).map(|number| number.to_string().into()).collect();
    assert_eq!(*faulty.log.lock().expect("not poisoned"), expected);
    assert_eq!(faulty.publish_streams.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_verdict_on_a_lost_stream_is_repeated_on_the_next() {
    let (faulty, client) = serve().await;
    let consumer = client.consumer("orders", ConsumerOptions::default()).await.expect("a consumer");
    let first = consumer.next().await.expect("no error").expect("a message");
    let second = consumer.next().await.expect("no error").expect("a message");
    assert_eq!((first.offset, second.offset), (Offset(4), Offset(5)));
    let (first, second) = tokio::join!(first.accept(), second.accept());
    assert!(first.expect("settled").already && second.expect("settled").already);
    assert_eq!(faulty.consume_streams.load(Ordering::SeqCst), 2);
    consumer.close().await;
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let (_faulty, client) = serve().await;
    let reader = client.reader("orders", ReaderOptions::default()).await.expect("a reader");
    let mut offsets = Vec::new();
    let end = loop {
        match reader.next().await.expect("no error").expect("not closed") {
            TopicEvent::Message(message) => offsets.push(message.offset.0),
            TopicEvent::CaughtUp { end, .. } => break end,
        }
    };
    assert_eq!((offsets, end), (vec![4, 5, 6, 7], Offset(8)));
    reader.close().await;
}
