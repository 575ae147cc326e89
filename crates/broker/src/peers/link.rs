//! The way to one start of one broker: dial, hold, dial again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pondage_model::{Incarnation, Member};
use pondage_protocol::v1::{self, peers_client::PeersClient};
use tokio::{sync::Notify, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Status, Streaming,
    body::Body,
    codegen::{Context, Poll, Service, http},
    transport::Channel,
};

use super::{
    PeerAddress, Peers,
    counters::{PeerCounters, add},
    dial::{DialError, Dialer, channel_on},
    introduction::uuid,
    lock,
    outbox::{Frames, Item, Outbox},
    packing::Lane,
};

/// A task that keeps a connection to one start of a broker.
pub(super) struct Link {
    target: PeerAddress,
    me: Member,
    outboxes: Arc<Mutex<Option<Outboxes>>>,
    counters: Arc<PeerCounters>,
    wake: Arc<Notify>,
    ending: CancellationToken,
    task: JoinHandle<()>,
}

/// The queues of one connection.
#[derive(Clone)]
struct Outboxes {
    bulk: Arc<Outbox>,
    control: Arc<Outbox>,
}

impl Outboxes {
    fn of(&self, lane: Lane) -> &Arc<Outbox> {
        match lane {
            Lane::Bulk => &self.bulk,
            Lane::Control => &self.control,
        }
    }
}

impl Link {
    /// Begins to dial once the former link has ended.
    pub(super) fn start(peers: Peers, me: Member, target: PeerAddress, former: Option<Self>) -> Self {
        let counters = peers.counters_of(target.member.broker);
        let (outboxes, wake, ending) = <(Arc<Mutex<_>>, Arc<_>, CancellationToken)>::default();
        let former = former.map(Self::end);
        let worker = Worker {
            peers,
            target: target.clone(),
            outboxes: Arc::clone(&outboxes),
            counters: Arc::clone(&counters),
            wake: Arc::clone(&wake),
            ending: ending.clone(),
        };
        let task = tokio::spawn(async move {
            if let Some(former) = former {
                // It says that it is down before this one can say that it is up. It only fails with the runtime.
                drop(former.await);
            }
            worker.run().await;
        });
        Self { target, me, outboxes, counters, wake, ending, task }
    }

    /// Whether this link is the one wanted.
    pub(super) fn reaches(&self, target: &PeerAddress, me: Member) -> bool {
        self.target == *target && self.me == me
    }

    pub(super) fn is_up(&self) -> bool {
        lock(&self.outboxes).is_some()
    }

    pub(super) fn send(&self, item: Item) {
        match &*lock(&self.outboxes) {
            Some(outboxes) => outboxes.of(item.lane()).push(item),
            None => add(&self.counters.dropped_unlinked, 1),
        }
    }

    /// The other side is there: dial now rather than after the pause.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn end(self) -> JoinHandle<()> {
        self.ending.cancel();
        self.task
    }
}

struct Worker {
    peers: Peers,
    target: PeerAddress,
    outboxes: Arc<Mutex<Option<Outboxes>>>,
    counters: Arc<PeerCounters>,
    wake: Arc<Notify>,
    ending: CancellationToken,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
enum NoLink {
    /// Nobody listens there.
    #[error("nobody listens there")]
    Refused,
    /// Somebody else listens there: another volume, or another start of the one that was dialled.
    #[error("somebody else listens there")]
    SomebodyElse {
        /// It is surely a later start of the same volume.
        is_later: bool,
    },
    /// Anything else, which says nothing about the process.
    #[error("{0}")]
    Failed(String),
}

/// A connection that was welcomed in both lanes.
struct Opened {
    outboxes: Outboxes,
    bulk: Streaming<v1::Welcome>,
    control: Streaming<v1::Welcome>,
}

impl Worker {
    async fn run(self) {
        let (pause_min, pause_max) = self.peers.0.options.backoff;
        let mut pause = pause_min;
        // Whether the dialled start ever welcomed us, and whether it was said to be gone since.
        let (mut was_linked, mut is_said) = (false, false);
        loop {
            let opened = tokio::select! {
                () = self.ending.cancelled() => return,
                opened = self.open() => opened,
            };
            match opened {
                Ok(opened) => {
                    let since = Instant::now();
                    self.hold(opened).await;
                    if self.ending.is_cancelled() {
                        return;
                    }
                    (was_linked, is_said) = (true, false);
                    // A link that lasted is dialled again at once: whether that is refused tells whether the process
                    // has ended. One that did not would be dialled in a circle.
                    if since.elapsed() >= pause_max {
                        pause = pause_min;
                        continue;
                    }
                }
                Err(why) => {
                    tracing::debug!(peer = ?self.target, %why, "no link");
                    add(&self.counters.failed_dials, 1);
                    let is_gone = match why {
                        NoLink::Refused => was_linked,
                        NoLink::SomebodyElse { is_later } => was_linked || is_later,
                        NoLink::Failed(_) => false,
                    };
                    if is_gone && !is_said {
                        is_said = true;
                        self.peers.0.sink.gone(self.target.member);
                    }
                }
            }
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(jittered(pause)) => {}
            }
            pause = (2 * pause).min(pause_max);
        }
    }

    async fn open(&self) -> Result<Opened, NoLink> {
        let limit = self.peers.0.options.dial_timeout;
        let opening = tokio::time::timeout(limit, self.open_unbounded());
        opening.await.unwrap_or_else(|_| Err(NoLink::Failed("no welcome in time".to_owned())))
    }

    async fn open_unbounded(&self) -> Result<Opened, NoLink> {
        let shared = &self.peers.0;
        let dialer = Dialer::new(&self.target.address, shared.tls.clone(), shared.options.dial_timeout);
        let socket = dialer.dial().await?;
        let channel = channel_on(socket, &self.target.address, &shared.options).await?;
        let outboxes = Outboxes {
            bulk: Outbox::new(shared.options.bulk_queue_bytes_max, Arc::clone(&self.counters)),
            control: Outbox::new(shared.options.control_queue_bytes_max, Arc::clone(&self.counters)),
        };
        let dial = self.peers.next_dial();
        let (bulk, control) = futures_util::future::try_join(
            self.open_lane(channel.clone(), dial, Lane::Bulk, &outboxes),
            self.open_lane(channel, dial, Lane::Control, &outboxes),
        )
        .await?;
        Ok(Opened { outboxes, bulk, control })
    }

    async fn open_lane(
        &self,
        channel: Channel,
        dial: u64,
        lane: Lane,
        outboxes: &Outboxes,
    ) -> Result<Streaming<v1::Welcome>, NoLink> {
        let introduction = self.peers.own().to_wire(Some(self.target.volume));
        let opening = v1::StreamOpening { introduction: Some(introduction), lane: lane as i32, dial };
        let opening = pondage_protocol::peers::opening_frame(opening);
        let frames = Frames::new(opening, Arc::clone(outboxes.of(lane)));
        let frames = Body::new(axum::body::Body::from_stream(frames));
        let mut client = PeersClient::new(Carrying { channel, body: Some(frames) });
        let mut welcomes = client.stream(tokio_stream::empty()).await?.into_inner();
        let welcome =
            welcomes.message().await?.ok_or_else(|| NoLink::Failed("ended without a welcome".to_owned()))?;
        let Member { incarnation: dialled, .. } = self.target.member;
        let (volume, answering) = (uuid(&welcome.volume)?, Incarnation(welcome.incarnation));
        if volume != self.target.volume || answering != dialled {
            let is_later = volume == self.target.volume && answering > dialled;
            return Err(NoLink::SomebodyElse { is_later });
        }
        Ok(welcomes)
    }

    /// Lets messages through until the connection is lost.
    async fn hold(&self, opened: Opened) {
        let Opened { outboxes, mut bulk, mut control } = opened;
        let broker = self.target.member.broker;
        *lock(&self.outboxes) = Some(outboxes.clone());
        add(&self.counters.links, 1);
        tracing::info!(peer = ?self.target, "linked");
        self.peers.0.sink.link(broker, true);
        // Nothing follows a welcome: whatever comes is the end.
        let end = tokio::select! {
            () = self.ending.cancelled() => Ok(None),
            end = bulk.message() => end,
            end = control.message() => end,
        };
        *lock(&self.outboxes) = None;
        for outbox in [&outboxes.bulk, &outboxes.control] {
            outbox.close();
        }
        tracing::info!(peer = ?self.target, reason = ?end.err().map(|status| status.to_string()), "no longer linked");
        self.peers.0.sink.link(broker, false);
    }
}

impl From<DialError> for NoLink {
    fn from(error: DialError) -> Self {
        if error.is_refused() { Self::Refused } else { Self::Failed(error.to_string()) }
    }
}

impl From<Status> for NoLink {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::FailedPrecondition => Self::SomebodyElse { is_later: false },
            _ => Self::Failed(status.to_string()),
        }
    }
}

/// Between half of it and all of it, so that brokers that lost the same one do not dial it in step.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without random numbers the pauses are equal, which is no harm by itself.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 512
}

/// Sends a request with a body of ours in place of the generated one: frames that are encoded already.
struct Carrying {
    channel: Channel,
    body: Option<Body>,
}

impl Service<http::Request<Body>> for Carrying {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let body = self.body.take().unwrap_or_default();
        self.channel.call(request.map(|_| body))
    }
}
