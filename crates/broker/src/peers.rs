//! Broker to broker: messages that may be lost, and calls that are answered.
//!
//! ```text
//!   send_replica ──► outbox (bulk)    ─┐                                  ┌─► PeerSink::replica
//!   send_coordinator ► outbox (control)─┴─ one connection, two streams ──┴─► PeerSink::coordinator
//!   call ───────────► a connection of the pool, by address ─────────────────► PeerSink::call
//! ```
//!
//! Each broker dials every other one and sends only on the connection that it dialled, so a sender owns its queues and
//! learns of its losses by itself. What holds:
//!
//! * Nothing blocks a sender. Without a link, or with more queued than [`PeerOptions`] allows, a message is dropped and
//!   counted: the protocols above say it again.
//! * Order is kept within a lane. Pushes travel in the bulk lane, everything else in the control lane, so a follower that
//!   reads slowly holds up neither heartbeats nor acknowledgements.
//! * What was received and is not handled yet is bounded per sender and lane; beyond it nothing is read, and HTTP/2's
//!   windows hold the sender back.
//! * With TLS only a certificate with the brokers' own name may stream or call (`crate::tls`).
//!
//! Why gRPC, why one stream per direction, and what the framing costs: `docs/decisions/0009-peer-transport.md`.

mod calls;
mod counters;
mod credit;
mod dial;
mod introduction;
mod link;
mod outbox;
mod packing;
mod service;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use pondage_model::{BrokerId, Member, Refusal, ShardId, Uuid, limits};
use pondage_node::{coordinator::PeerMessage, replication::Message};
use pondage_protocol::v1::peers_server::PeersServer;
use tokio_util::sync::CancellationToken;

use crate::tls::Tls;
use calls::Calls;
use link::Link;
use outbox::Item;
use service::{Inbound, PeersService};

pub use calls::CallError;
pub use counters::PeerCounters;
pub use credit::Credit;
pub use introduction::{CallKind, Introduction};

/// Bytes of one frame of messages: a pack that is nearly full and the greatest push on top.
const FRAME_BYTES_MAX: usize =
    packing::PACK_BYTES + limits::ENTRY_BYTES_MAX + limits::PUSH_BYTES_MAX + (1 << 20);

const _: () = assert!(limits::RPC_BYTES_MAX + limits::ADDRESS_BYTES_MAX + 256 < FRAME_BYTES_MAX);

/// Where another broker is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its current start, as the catalog has it.
    pub member: Member,
    /// Its volume.
    pub volume: Uuid,
    /// Where it listens: host:port.
    pub address: String,
}

/// Who takes what comes in. All but [`Self::call`] are called from the connections' tasks and must not block.
#[tonic::async_trait]
pub trait PeerSink: Send + Sync + 'static {
    /// Whether this start may send messages. Cluster and version are checked already; the catalog may know that the
    /// volume has another number, or a newer start.
    ///
    /// # Errors
    /// Why not. The sender asks again after a while.
    fn admit(&self, from: &Introduction) -> Result<(), Refusal>;

    /// A replica's message. The credit is dropped when the message is handled; until then it counts as held.
    fn replica(&self, from: Member, shard: ShardId, message: Message, credit: Credit);

    /// A coordinator's message; the credit as in [`Self::replica`].
    fn coordinator(&self, from: Member, message: PeerMessage, credit: Credit);

    /// What is sent to this broker from now on reaches its current start, or is lost.
    fn link(&self, broker: BrokerId, up: bool);

    /// This start's process has ended: its connection was lost and its address refuses a new one, or another start
    /// answers there. Silence is never taken for it.
    fn gone(&self, member: Member);

    /// A call. The caller's cluster is ours; whether it is registered is for the callee to judge.
    ///
    /// # Errors
    /// The refusal reaches the caller.
    async fn call(&self, from: Introduction, kind: CallKind, body: Bytes) -> Result<Bytes, Refusal>;
}

/// Bounds and patience.
#[derive(Clone, Copy, Debug)]
pub struct PeerOptions {
    /// Bytes of pushes that may wait for one peer.
    pub bulk_queue_bytes_max: usize,
    /// Bytes of all other messages that may wait for one peer.
    pub control_queue_bytes_max: usize,
    /// Bytes of pushes that one peer has sent and nobody has handled yet.
    pub bulk_held_bytes_max: usize,
    /// The same of all other messages.
    pub control_held_bytes_max: usize,
    /// A connection that is silent for so long is asked whether it is still there.
    pub keepalive_interval: Duration,
    /// How long it may take to answer.
    pub keepalive_timeout: Duration,
    /// How long a dial may take, up to the other side's welcome.
    pub dial_timeout: Duration,
    /// The first and the longest pause between two dials.
    pub backoff: (Duration, Duration),
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            bulk_queue_bytes_max: 32 << 20,
            control_queue_bytes_max: 8 << 20,
            bulk_held_bytes_max: 32 << 20,
            control_held_bytes_max: 8 << 20,
            keepalive_interval: Duration::from_millis(250),
            keepalive_timeout: Duration::from_secs(1),
            dial_timeout: Duration::from_secs(2),
            backoff: (Duration::from_millis(50), Duration::from_secs(1)),
        }
    }
}

/// The way to the other brokers. Cloning is cheap.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

struct Shared {
    own: Mutex<Introduction>,
    options: PeerOptions,
    sink: Arc<dyn PeerSink>,
    tls: Option<Tls>,
    links: RwLock<HashMap<BrokerId, Link>>,
    /// Kept for as long as the broker is in the catalog, over all its connections.
    counters: Mutex<HashMap<BrokerId, Arc<PeerCounters>>>,
    inbound: Inbound,
    calls: Calls,
    /// Of the newest dial of a link.
    dials: AtomicU64,
    stopping: CancellationToken,
}

impl Peers {
    /// Knows nobody yet. Streams from others are refused until [`Self::set_brokers`] says which broker this is.
    pub fn new(
        introduction: Introduction,
        tls: Option<Tls>,
        sink: Arc<dyn PeerSink>,
        options: PeerOptions,
    ) -> Self {
        Self(Arc::new(Shared {
            own: Mutex::new(introduction),
            options,
            sink,
            calls: Calls::new(tls.clone(), options),
            // Above those of a start before this one that had the same number and died before it was registered.
            dials: AtomicU64::new(unix_millis()),
            tls,
            links: RwLock::default(),
            counters: Mutex::default(),
            inbound: Inbound::default(),
            stopping: CancellationToken::new(),
        }))
    }

    /// What answers the others' connections.
    pub fn service(&self) -> PeersServer<PeersService> {
        PeersServer::new(PeersService::new(self.clone()))
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }

    /// Speaks as another start from now on: its number was used up, or its volume was emptied. The others' streams end,
    /// and are refused until [`Self::set_brokers`].
    pub fn introduce(&self, introduction: Introduction) {
        let mut own = self.own();
        if *own != introduction {
            *own = introduction;
            drop(own);
            self.0.inbound.end_all();
        }
    }

    /// Who there is. Links to brokers that left, moved or started anew end; links to new ones begin.
    pub fn set_brokers(&self, me: Member, brokers: Vec<PeerAddress>) {
        {
            let mut own = self.own();
            let before = own.member().filter(|member| *member != me);
            (own.broker, own.incarnation) = (Some(me.broker), me.incarnation);
            if before.is_some() {
                self.0.inbound.end_all();
            }
        }
        if self.0.stopping.is_cancelled() {
            return;
        }
        let mut links = self.0.links.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *links);
        for target in brokers.into_iter().filter(|peer| peer.member.broker != me.broker) {
            let broker = target.member.broker;
            let link = match before.remove(&broker) {
                Some(link) if link.reaches(&target, me) => link,
                former => Link::start(self.clone(), me, target, former),
            };
            links.insert(broker, link);
        }
        for link in before.into_values() {
            link.end();
        }
        lock(&self.0.counters).retain(|broker, _| links.contains_key(broker));
    }

    /// Sends a replica's message, if there is a link with room.
    pub fn send_replica(&self, to: BrokerId, shard: ShardId, message: Message) {
        self.send(to, Item::Replica(shard, message));
    }

    /// Sends a coordinator's message, if there is a link with room.
    pub fn send_coordinator(&self, to: BrokerId, message: PeerMessage) {
        self.send(to, Item::Coordinator(message));
    }

    /// Asks whoever listens at an address, who must have the volume if one is named. `limit` covers everything, dialling
    /// too.
    ///
    /// # Errors
    /// [`CallError::outcome`] says whether the call may have taken effect.
    pub async fn call(
        &self,
        address: &str,
        to_volume: Option<Uuid>,
        kind: CallKind,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        let introduction = self.own().to_wire(to_volume);
        self.0.calls.call(address, introduction, kind, body, limit).await
    }

    /// Whether messages to this broker are sent at all.
    pub fn is_linked(&self, broker: BrokerId) -> bool {
        let links = self.0.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(&broker).is_some_and(Link::is_up)
    }

    /// What was sent, received and dropped, by broker.
    pub fn counters(&self) -> Vec<(BrokerId, Arc<PeerCounters>)> {
        let counters = lock(&self.0.counters);
        counters.iter().map(|(broker, counters)| (*broker, Arc::clone(counters))).collect()
    }

    /// Ends every link and stream, and begins no other.
    pub fn stop(&self) {
        self.0.stopping.cancel();
        self.0.inbound.end_all();
        for (_, link) in self.0.links.write().unwrap_or_else(PoisonError::into_inner).drain() {
            link.end();
        }
    }

    fn send(&self, to: BrokerId, item: Item) {
        let links = self.0.links.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&to) {
            link.send(item);
        }
    }

    /// This broker is there: whoever waits to dial it does so now.
    fn wake(&self, broker: BrokerId) {
        let links = self.0.links.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&broker) {
            link.wake();
        }
    }

    fn next_dial(&self) -> u64 {
        self.0.dials.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn own(&self) -> MutexGuard<'_, Introduction> {
        lock(&self.0.own)
    }

    fn counters_of(&self, broker: BrokerId) -> Arc<PeerCounters> {
        Arc::clone(lock(&self.0.counters).entry(broker).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
