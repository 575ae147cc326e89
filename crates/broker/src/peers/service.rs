//! The receiving side: who may stream, and from frames to the sink.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use pondage_model::{BrokerId, Incarnation, Member};
use pondage_protocol::{to_status, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Peers,
    counters::{PeerCounters, add},
    credit::Budget,
    introduction::{CallKind, Introduction, uuid_bytes},
    lock,
    packing::{Item, Lane, unpack},
};
use crate::tls::require_peer_certificate;

/// How long a stream may take to say who opened it.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);

/// The streams of others that are open: one per broker and lane, the newest.
#[derive(Default)]
pub(super) struct Inbound(Mutex<Open>);

#[derive(Default)]
struct Open {
    streams: HashMap<(BrokerId, Lane), Entered>,
    entered: u64,
}

struct Entered {
    /// The start, and which of its dials: what comes late does not push out what came after it.
    order: (Incarnation, u64),
    number: u64,
    ending: CancellationToken,
}

impl Inbound {
    /// Ends all that are open.
    pub(super) fn end_all(&self) {
        for (_, entered) in lock(&self.0).streams.drain() {
            entered.ending.cancel();
        }
    }

    /// Takes the place of the broker's stream before it, unless that is of a later start or dial.
    fn enter(&self, from: Member, lane: Lane, dial: u64) -> Result<(u64, CancellationToken), Status> {
        let mut open = lock(&self.0);
        let place = (from.broker, lane);
        let order = (from.incarnation, dial);
        if open.streams.get(&place).is_some_and(|before| before.order > order) {
            return Err(Status::permission_denied("a later stream of this broker is open"));
        }
        open.entered += 1;
        let (number, ending) = (open.entered, CancellationToken::new());
        let entered = Entered { order, number, ending: ending.clone() };
        if let Some(before) = open.streams.insert(place, entered) {
            before.ending.cancel();
        }
        Ok((number, ending))
    }

    fn leave(&self, broker: BrokerId, lane: Lane, number: u64) {
        let mut open = lock(&self.0);
        if open.streams.get(&(broker, lane)).is_some_and(|entered| entered.number == number) {
            open.streams.remove(&(broker, lane));
        }
    }
}

/// Answers the others.
pub struct PeersService(Peers);

impl PeersService {
    pub(super) const fn new(peers: Peers) -> Self {
        Self(peers)
    }
}

#[tonic::async_trait]
impl v1::peers_server::Peers for PeersService {
    type StreamStream = ReceiverStream<Result<v1::Welcome, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::PeerFrame>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        require_peer_certificate(&request)?;
        let peers = &self.0;
        let mut frames = request.into_inner();
        let first = tokio::time::timeout(OPENING_TIMEOUT, frames.message());
        let first = first.await.map_err(|_| Status::deadline_exceeded("no opening in time"))??;
        let opening = first.and_then(|frame| frame.opening);
        let opening = opening.ok_or_else(|| Status::invalid_argument("a stream begins with an opening"))?;
        let lane = Lane::ALL.into_iter().find(|lane| *lane as i32 == opening.lane);
        let lane = lane.ok_or_else(|| Status::invalid_argument("the lane is not known"))?;
        let own = peers.own().clone();
        let from = Introduction::meant_for(&own, opening.introduction)?;
        if own.broker.is_none() {
            // Who is dialled as a member was registered, so this is a later start.
            return Err(Status::failed_precondition("this start is not registered yet"));
        }
        let member = from.member().ok_or_else(|| Status::invalid_argument("the sender is not registered"))?;
        peers.0.sink.admit(&from).map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
        let (number, ending) = peers.0.inbound.enter(member, lane, opening.dial)?;
        // If this start changed meanwhile, or stops, the stream must not outlive what it was told.
        if peers.0.stopping.is_cancelled() || *peers.own() != own {
            peers.0.inbound.leave(member.broker, lane, number);
            return Err(Status::unavailable("the broker starts anew or stops"));
        }
        peers.wake(member.broker);

        let (answers, welcomes) = mpsc::channel(2);
        let welcome = v1::Welcome { volume: uuid_bytes(own.volume), incarnation: own.incarnation.get() };
        // There is room, and who left already misses nothing.
        drop(answers.try_send(Ok(welcome)));
        let held_bytes_max = match lane {
            Lane::Bulk => peers.0.options.bulk_held_bytes_max,
            Lane::Control => peers.0.options.control_held_bytes_max,
        };
        let reading = Reading {
            counters: peers.counters_of(member.broker),
            peers: peers.clone(),
            from: member,
            budget: Budget::new(held_bytes_max),
        };
        tokio::spawn(async move {
            let ended = tokio::select! {
                () = ending.cancelled() => Err(Status::unavailable("the broker has another stream, or stops")),
                () = answers.closed() => Ok(()),
                ended = reading.read(frames) => ended,
            };
            if let Err(status) = ended {
                tracing::debug!(peer = ?member, %status, "a peer's stream ends");
                // Who left already misses nothing.
                drop(answers.try_send(Err(status)));
            }
            reading.peers.0.inbound.leave(member.broker, lane, number);
        });
        Ok(Response::new(ReceiverStream::new(welcomes)))
    }

    async fn call(&self, request: Request<v1::CallRequest>) -> Result<Response<v1::CallResponse>, Status> {
        require_peer_certificate(&request)?;
        let v1::CallRequest { introduction, kind, body } = request.into_inner();
        let own = self.0.own().clone();
        let from = Introduction::meant_for(&own, introduction)?;
        let kind = CallKind::from_number(kind)
            .ok_or_else(|| Status::unimplemented(format!("calls of kind {kind} are not known here")))?;
        let answered = self.0.0.sink.call(from, kind, body).await;
        let body = answered.map_err(|refusal| to_status(&refusal))?;
        Ok(Response::new(v1::CallResponse { body }))
    }
}

struct Reading {
    peers: Peers,
    from: Member,
    counters: Arc<PeerCounters>,
    budget: Budget,
}

impl Reading {
    /// Hands messages on until the stream ends. Reads no further while the sender has its budget's worth of messages
    /// here.
    async fn read(&self, mut frames: Streaming<v1::PeerFrame>) -> Result<(), Status> {
        while let Some(frame) = frames.message().await? {
            let malformed = |what: &str| {
                tracing::warn!(peer = ?self.from, what, "a peer's stream is malformed");
                add(&self.counters.malformed, 1);
                Status::invalid_argument(what)
            };
            if frame.opening.is_some() {
                return Err(malformed("a second opening"));
            }
            let bytes = frame.messages.len();
            let items = unpack(frame.messages).map_err(|error| malformed(error.0))?;
            add(&self.counters.received_bytes, bytes as u64);
            add(&self.counters.received_messages, items.len() as u64);
            let weight = items.iter().map(|(_, weight)| weight).sum();
            let mut credit = self.budget.take(weight).await;
            for (item, weight) in items {
                let credit = credit.split(weight);
                match item {
                    Item::Replica(shard, message) => {
                        self.peers.0.sink.replica(self.from, shard, message, credit);
                    }
                    Item::Coordinator(message) => self.peers.0.sink.coordinator(self.from, message, credit),
                }
            }
        }
        Ok(())
    }
}
