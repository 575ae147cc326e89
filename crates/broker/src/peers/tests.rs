//! Brokers' ends over real sockets, each on a runtime of its own so that it can be killed as a process is.

mod calls;
mod hostile;
mod links;
mod streams;
mod tls;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use pondage_model::{
    BrokerId, EntryKind, Epoch, Incarnation, LogTime, Member, Offset, Position, RawEntry, Refusal, ShardId,
    StreamId, Uuid,
};
use pondage_node::{
    coordinator::PeerMessage,
    replication::{Message, Push},
};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::{CallKind, Credit, Introduction, PeerAddress, PeerOptions, PeerSink, Peers};
use crate::{
    metrics::Metrics,
    services::connection::{Caps, Greeting, accept},
    tls::Tls,
};

pub(super) const SHARD: ShardId = ShardId(7);
const CLUSTER: Uuid = Uuid([1; 16]);
/// Far above what anything takes that happens at all.
const SOON: Duration = Duration::from_secs(20);

/// What a sink was told.
#[derive(Debug)]
pub(super) enum Event {
    Replica(Member, ShardId, Message, Credit),
    Coordinator(Member, PeerMessage, Credit),
    Link(BrokerId, bool),
    Gone(Member),
}

struct Sink {
    events: mpsc::UnboundedSender<Event>,
}

impl Sink {
    fn tell(&self, event: Event) {
        // A test that has seen enough looks no more.
        drop(self.events.send(event));
    }
}

#[tonic::async_trait]
impl PeerSink for Sink {
    fn admit(&self, from: &Introduction) -> Result<(), Refusal> {
        if from.address == "unwelcome" { Err(Refusal::ShuttingDown) } else { Ok(()) }
    }

    fn replica(&self, from: Member, shard: ShardId, message: Message, credit: Credit) {
        self.tell(Event::Replica(from, shard, message, credit));
    }

    fn coordinator(&self, from: Member, message: PeerMessage, credit: Credit) {
        self.tell(Event::Coordinator(from, message, credit));
    }

    fn link(&self, broker: BrokerId, up: bool) {
        self.tell(Event::Link(broker, up));
    }

    fn gone(&self, member: Member) {
        self.tell(Event::Gone(member));
    }

    async fn call(&self, from: Introduction, kind: CallKind, body: Bytes) -> Result<Bytes, Refusal> {
        match kind {
            CallKind::Request => Err(Refusal::NotLeader { epoch: Epoch(9) }),
            CallKind::Consensus if body.is_empty() => std::future::pending().await,
            CallKind::Consensus if body == WHO_CALLS => Ok(from.address.into()),
            CallKind::Consensus => Ok(body),
        }
    }
}

/// Asks for the caller's address; any other call that is not empty comes back as it is.
const WHO_CALLS: Bytes = Bytes::from_static(b"who calls?");

/// One broker's end.
pub(super) struct Node {
    pub(super) peers: Peers,
    pub(super) member: Member,
    pub(super) address: SocketAddr,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    runtime: Option<Runtime>,
    spawner: tokio::runtime::Handle,
}

pub(super) fn member(broker: u32, incarnation: u64) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(incarnation) }
}

pub(super) fn introduction(member: Member) -> Introduction {
    Introduction {
        cluster: CLUSTER,
        volume: Uuid([member.broker.get() as u8; 16]),
        incarnation: member.incarnation,
        nonce: Uuid([9; 16]),
        broker: None,
        address: format!("broker-{}", member.broker),
    }
}

/// Impatient, so that tests are quick.
pub(super) fn options() -> PeerOptions {
    PeerOptions {
        keepalive_interval: Duration::from_millis(200),
        keepalive_timeout: Duration::from_millis(800),
        backoff: (Duration::from_millis(20), Duration::from_millis(100)),
        ..PeerOptions::default()
    }
}

impl Node {
    pub(super) async fn start(member: Member) -> Self {
        Self::start_at(member, "127.0.0.1:0", options(), None).await
    }

    pub(super) async fn start_at(
        member: Member,
        listen: &str,
        options: PeerOptions,
        tls: Option<Tls>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let spawner = runtime.handle().clone();
        let (told, events) = mpsc::unbounded_channel();
        let listen = listen.to_owned();
        let starting = spawner.spawn(async move {
            let listener = TcpListener::bind(&*listen).await.expect("a free port");
            let address = listener.local_addr().expect("bound");
            let sink = Arc::new(Sink { events: told });
            let peers = Peers::new(introduction(member), tls.clone(), sink, options);
            let caps = Caps { total: 100, per_address: 100 };
            let cancel = CancellationToken::new();
            let incoming = accept(listener, Greeting::Http2, tls, caps, Metrics::new(), cancel);
            let server = Server::builder()
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .add_service(peers.service())
                .serve_with_incoming(ReceiverStream::new(incoming));
            tokio::spawn(server);
            (peers, address)
        });
        let (peers, address) = starting.await.expect("started");
        Self { peers, member, address, events, runtime: Some(runtime), spawner }
    }

    /// As the catalog names it to others.
    pub(super) fn named(&self) -> PeerAddress {
        let volume = introduction(self.member).volume;
        PeerAddress { member: self.member, volume, address: self.address.to_string() }
    }

    pub(super) fn knows(&self, brokers: &[PeerAddress]) {
        let _within = self.spawner.enter();
        self.peers.set_brokers(self.member, brokers.to_vec());
    }

    /// What its sink is told next.
    pub(super) async fn event(&mut self) -> Event {
        tokio::time::timeout(SOON, self.events.recv()).await.expect("an event in time").expect("a sink")
    }

    pub(super) async fn expect_link(&mut self, to: Member, is_up: bool) {
        match self.event().await {
            Event::Link(broker, up) if (broker, up) == (to.broker, is_up) => {}
            other => panic!("{other:?} instead of link {is_up}"),
        }
    }

    pub(super) async fn expect_gone(&mut self, gone: Member) {
        match self.event().await {
            Event::Gone(member) if member == gone => {}
            other => panic!("{other:?} instead of gone"),
        }
    }

    pub(super) async fn expect_silence(&mut self, time: Duration) {
        if let Ok(event) = tokio::time::timeout(time, self.events.recv()).await {
            panic!("{event:?}");
        }
    }

    /// Everything of it ends at once, and its sockets with it.
    pub(super) fn kill(&mut self) {
        self.runtime.take().expect("killed once").shutdown_background();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Two that know each other, linked both ways.
pub(super) async fn pair(options: PeerOptions, tls: [Option<Tls>; 2]) -> (Node, Node) {
    let [one_tls, two_tls] = tls;
    let mut one = Node::start_at(member(1, 1), "127.0.0.1:0", options, one_tls).await;
    let mut two = Node::start_at(member(2, 1), "127.0.0.1:0", options, two_tls).await;
    one.knows(&[two.named()]);
    two.knows(&[one.named()]);
    one.expect_link(two.member, true).await;
    two.expect_link(one.member, true).await;
    (one, two)
}

/// A push of one entry; its round tells it from others.
pub(super) fn push(round: u64, body_bytes: usize) -> Message {
    static BODY: OnceLock<Bytes> = OnceLock::new();
    let body = BODY.get_or_init(|| vec![7; 1 << 20].into());
    let entry = RawEntry {
        position: Position(round),
        epoch: Epoch(1),
        stream: StreamId(2),
        log_time: LogTime(3),
        kind: EntryKind::Publish,
        base_offset: Offset(4),
        count: 5,
        attributes: Bytes::new(),
        body: body.slice(..body_bytes),
    };
    Message::Push(Push {
        epoch: Epoch(1),
        from: Position(round),
        to: Position(round + 1),
        before: Epoch(1),
        entries: vec![entry],
        epochs: Vec::new(),
        high_watermark: Position(0),
        round,
    })
}
