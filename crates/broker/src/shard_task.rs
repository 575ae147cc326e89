//! The task that owns one shard's machine.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pondage_model::{Lease, Position, RawEntry, StreamId};
use pondage_node::{
    Now,
    coordinator::ShardPosition,
    delivery::{self, ConsumerId},
    disk::{Disk, Fault, LogReader, LogWriter, ReadError, Synced},
    shard::{
        ReaderId, RequestId, Shard, ShardEffect, ShardEvent, ShardReply, ShardRequest,
        replication::{Assignment, Batch},
    },
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    disk_threads::DiskThreads,
    handle::{Grants, Handle, Progress},
    metrics::ShardMetrics,
};

/// Requests that wait in front of a shard; then senders wait.
const INBOX_REQUESTS_MAX: usize = 4_096;
/// Requests that are taken before the machine settles, so that they share a batch.
const BURST_MAX: usize = 1_024;
/// How often the machine is told of its segments.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(5);
/// How much a replay reads at once.
const REPLAY_BYTES: usize = 8 << 20;

/// What reaches a shard's task from outside.
#[derive(Debug)]
pub(crate) enum Message<D: Disk> {
    /// A request and where its answer goes.
    Ask(ShardRequest, oneshot::Sender<ShardReply>),
    /// A consumer attaches to the stream; its grants go there.
    Attach(ShardRequest, StreamId, ConsumerId, mpsc::UnboundedSender<Grants>, oneshot::Sender<ShardReply>),
    /// A reader follows the stream; its progress goes there.
    Follow(ShardRequest, StreamId, ReaderId, watch::Sender<Progress>, oneshot::Sender<ShardReply>),
    /// An event of its own making: a finished write, a read, an answer of another shard.
    Event(ShardEvent),
    /// Where does the log end?
    Position(oneshot::Sender<ShardPosition>),
    /// Leads in this epoch from now on; told when it serves.
    Lead(Assignment, oneshot::Sender<()>),
    /// The writer comes back from its thread, with the proof of durability if it synced.
    Written(Box<LogWriter<D>>, Result<Option<Synced>, Fault>),
    /// The log can't be read.
    Unreadable(ReadError),
    /// End.
    Stop(oneshot::Sender<()>),
}

/// The way to a shard's task.
#[derive(Debug)]
pub(crate) struct ShardHandle<D: Disk> {
    /// Requests: bounded, senders wait.
    pub(crate) requests: mpsc::Sender<Message<D>>,
    /// Events that the task itself asked for: as many as it has operations under way.
    pub(crate) events: mpsc::UnboundedSender<Message<D>>,
    pub(crate) reader: LogReader<D>,
}

impl<D: Disk> Clone for ShardHandle<D> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), events: self.events.clone(), reader: self.reader.clone() }
    }
}

impl<D: Disk> ShardHandle<D> {
    /// Ends the task and waits for it. What it has not answered has an unknown outcome.
    pub(crate) async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.events.send(Message::Stop(done)).is_ok() {
            // An error means that the task had ended already.
            drop(ended.await);
        }
    }
}

/// Clocks of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    origin: Instant,
}

impl Clocks {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Now {
            monotonic_millis: u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX),
            wall_millis: match wall {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => {
                    i64::try_from(before.duration().as_millis()).map_or(i64::MIN, i64::wrapping_neg)
                }
            },
        }
    }

    fn instant(self, monotonic_millis: u64) -> Instant {
        self.origin + Duration::from_millis(monotonic_millis)
    }
}

/// The owner of one machine.
pub(crate) struct ShardTask<D: Disk> {
    shard: Shard,
    writer: Option<Box<LogWriter<D>>>,
    reader: LogReader<D>,
    disk: DiskThreads,
    clocks: Clocks,
    broker: Handle<D>,
    metrics: Arc<ShardMetrics>,
    events: mpsc::UnboundedSender<Message<D>>,
    answers: HashMap<RequestId, oneshot::Sender<ShardReply>>,
    consumers: HashMap<ConsumerId, (StreamId, mpsc::UnboundedSender<Grants>)>,
    followers: HashMap<ReaderId, (StreamId, watch::Sender<Progress>)>,
    serving: Option<oneshot::Sender<()>>,
    next_request: u64,
    wake: Option<Instant>,
    to_write: Option<Batch>,
    to_drop: Option<Position>,
    stopping: Option<oneshot::Sender<()>>,
    dirty: bool,
}

impl<D: Disk> ShardTask<D> {
    /// Starts the task of a shard whose log was opened.
    pub(crate) fn spawn(
        shard: Shard,
        writer: LogWriter<D>,
        reader: LogReader<D>,
        disk: DiskThreads,
        clocks: Clocks,
        broker: Handle<D>,
    ) -> ShardHandle<D> {
        let (requests, request_inbox) = mpsc::channel(INBOX_REQUESTS_MAX);
        let (events, event_inbox) = mpsc::unbounded_channel();
        let handle = ShardHandle { requests, events: events.clone(), reader: reader.clone() };
        let metrics = broker.metrics().shard(shard.id());
        let task = Self {
            shard,
            writer: Some(Box::new(writer)),
            reader,
            disk,
            clocks,
            broker,
            metrics,
            events,
            answers: HashMap::new(),
            consumers: HashMap::new(),
            followers: HashMap::new(),
            serving: None,
            next_request: 0,
            wake: None,
            to_write: None,
            to_drop: None,
            stopping: None,
            dirty: true,
        };
        tokio::spawn(task.run(request_inbox, event_inbox));
        handle
    }

    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Message<D>>,
        mut events: mpsc::UnboundedReceiver<Message<D>>,
    ) {
        let mut maintenance = tokio::time::interval(MAINTENANCE_INTERVAL);
        maintenance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut effects = Vec::new();
        loop {
            let wake = self.wake;
            let message = tokio::select! {
                biased;
                Some(message) = events.recv() => message,
                // Before the requests, which may never end.
                _ = maintenance.tick() => {
                    self.sweep();
                    if !std::mem::take(&mut self.dirty) && !self.shard.is_serving() {
                        continue;
                    }
                    Message::Event(ShardEvent::Segments(self.reader.segments()))
                }
                message = requests.recv(), if !self.shard.is_congested() => match message {
                    Some(message) => message,
                    None => return,
                },
                () = sleep_until(wake) => {
                    self.wake = None;
                    Message::Event(ShardEvent::Wake)
                }
            };
            // Others are ready to send, too: they were woken together, by the network or by the last batch's answers.
            // Letting them go first costs next to nothing when nobody is, and otherwise they share a batch.
            tokio::task::yield_now().await;
            let now = self.clocks.now();
            let mut next = Some(message);
            let mut taken = 0;
            while let Some(message) = next.take() {
                if let Err(broken) = self.take(now, message, &mut effects) {
                    self.broker.fail(format!("{:?}: {broken}", self.shard.id()));
                    return;
                }
                taken += 1;
                if taken < BURST_MAX {
                    next = events.try_recv().ok();
                    if next.is_none() && !self.shard.is_congested() {
                        next = requests.try_recv().ok();
                    }
                }
            }
            if let Err(broken) = self.shard.settle(now, &mut effects) {
                self.broker.fail(format!("{:?}: {broken}", self.shard.id()));
                return;
            }
            for effect in std::mem::take(&mut effects) {
                self.perform(effect);
            }
            if self.writer.is_some()
                && let Some(stopping) = self.stopping.take()
            {
                let _ = stopping.send(());
                return;
            }
        }
    }

    fn take(
        &mut self,
        now: Now,
        message: Message<D>,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), pondage_node::shard::Broken> {
        let event = match message {
            Message::Ask(request, answer) => self.ask(request, answer),
            Message::Attach(request, stream, consumer, grants, answer) => {
                self.consumers.insert(consumer, (stream, grants));
                self.ask(request, answer)
            }
            Message::Follow(request, stream, reader, progress, answer) => {
                self.followers.insert(reader, (stream, progress));
                self.ask(request, answer)
            }
            Message::Event(event) => event,
            Message::Position(answer) => {
                let _ = answer.send(self.shard.position());
                return Ok(());
            }
            Message::Lead(row, serving) => {
                self.serving = Some(serving);
                ShardEvent::Assigned(row)
            }
            Message::Written(writer, result) => {
                self.metrics.observe(&writer.counters());
                self.writer = Some(writer);
                let event = match result {
                    Ok(Some(synced)) => Some(ShardEvent::Synced(synced)),
                    Ok(None) => None,
                    Err(fault) => {
                        self.broker.fail(format!("{:?}: {fault}", self.shard.id()));
                        Some(ShardEvent::WriteFailed)
                    }
                };
                self.work();
                let Some(event) = event else { return Ok(()) };
                self.dirty = true;
                event
            }
            Message::Unreadable(error) => {
                self.broker.fail(format!("{:?}: {error}", self.shard.id()));
                ShardEvent::WriteFailed
            }
            Message::Stop(done) => {
                self.stopping = Some(done);
                return Ok(());
            }
        };
        self.shard.handle(now, event, effects)
    }

    fn ask(&mut self, request: ShardRequest, answer: oneshot::Sender<ShardReply>) -> ShardEvent {
        match &request {
            ShardRequest::Delivery(delivery::Request::Detach { consumer, .. }) => {
                self.consumers.remove(consumer);
            }
            ShardRequest::Unfollow { reader, .. } => {
                self.followers.remove(reader);
            }
            _ => {}
        }
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.answers.insert(id, answer);
        ShardEvent::Request { id, request }
    }

    fn perform(&mut self, effect: ShardEffect) {
        match effect {
            ShardEffect::Write(batch) => {
                self.to_write = Some(batch);
                self.work();
            }
            ShardEffect::FindCheckpoint { below } => {
                let first = self.reader.replay_from(below);
                drop(self.events.send(Message::Event(ShardEvent::Checkpoint { below, first })));
            }
            ShardEffect::Replay { from } => {
                let (reader, events) = (self.reader.clone(), self.events.clone());
                tokio::task::spawn_blocking(move || {
                    let message = match reader.read_from(from, REPLAY_BYTES) {
                        Ok(entries) => Message::Event(ShardEvent::Replayed(entries)),
                        Err(error) => Message::Unreadable(error),
                    };
                    drop(events.send(message));
                });
            }
            ShardEffect::Serving(epoch) => {
                tracing::debug!(shard = self.shard.id().get(), epoch = epoch.get(), "leads");
                if let Some(serving) = self.serving.take() {
                    let _ = serving.send(());
                }
            }
            ShardEffect::Reply { id, reply } => {
                if let Some(answer) = self.answers.remove(&id) {
                    // Whoever asked may be gone; the outcome stands all the same.
                    drop(answer.send(reply));
                }
            }
            ShardEffect::Deliver { epoch, dispatch } => {
                let (consumer, done) = (dispatch.consumer, dispatch.done);
                let grants =
                    Grants { shard: self.shard.id(), epoch, stream: dispatch.stream, runs: dispatch.grants };
                let unsent = match self.consumers.get(&consumer) {
                    Some((_, to)) => to.send(grants).err().map(|unsent| unsent.0),
                    None => Some(grants),
                };
                if done {
                    self.consumers.remove(&consumer);
                }
                if let Some(unsent) = unsent {
                    // It left while its grants waited here: nobody saw these messages.
                    self.give_back(&unsent);
                    if !done {
                        self.detach_lost(dispatch.stream, consumer);
                    }
                }
            }
            ShardEffect::Progress { reader, start, end, .. } => {
                if let Some((_, progress)) = self.followers.get(&reader) {
                    progress.send_replace(Progress { start, end });
                }
            }
            ShardEffect::Forward { source, moving } => {
                let (broker, shard, events) = (self.broker.clone(), self.shard.id(), self.events.clone());
                tokio::spawn(async move {
                    if let Err(refusal) = broker.forward(shard, source, moving).await {
                        if broker.route_of(source).is_some() {
                            tracing::warn!(%source, offset = moving.offset.get(), %refusal, "a dead letter waits");
                        }
                        // The catalog's word: a queue that it does not know is deleted for good.
                        let gone = broker.route_of(moving.target).is_none();
                        drop(events.send(Message::Event(ShardEvent::ForwardRefused { source, gone })));
                    }
                });
            }
            ShardEffect::DropSegments(position) => {
                self.to_drop = Some(position);
                self.work();
            }
            ShardEffect::Report(finding) => {
                tracing::error!(shard = self.shard.id().get(), ?finding, "replicas disagree");
            }
            // A broker whose shards have one replica each asks nobody, follows nobody and cuts nothing.
            ShardEffect::Truncate(_)
            | ShardEffect::Persist(_)
            | ShardEffect::Send { .. }
            | ShardEffect::Read { .. }
            | ShardEffect::RequestIsr(_)
            | ShardEffect::HandOver { .. }
            | ShardEffect::Following(_) => {
                self.broker.fail(format!("{:?} behaves as one of several replicas", self.shard.id()));
            }
            ShardEffect::WakeAt(at) => self.wake = Some(self.clocks.instant(at)),
        }
    }

    /// Ends what nobody listens to any more: an attach or a follow whose caller was gone before it was answered, or
    /// that was refused.
    fn sweep(&mut self) {
        let deaf =
            |(consumer, (stream, grants)): (&ConsumerId, &(StreamId, mpsc::UnboundedSender<Grants>))| {
                grants.is_closed().then_some((*stream, *consumer))
            };
        let consumers: Vec<_> = self.consumers.iter().filter_map(deaf).collect();
        for (stream, consumer) in consumers {
            self.detach_lost(stream, consumer);
        }
        let deaf = |(reader, (stream, progress)): (&ReaderId, &(StreamId, watch::Sender<Progress>))| {
            progress.is_closed().then_some((*stream, *reader))
        };
        let readers: Vec<_> = self.followers.iter().filter_map(deaf).collect();
        for (stream, reader) in readers {
            let (answer, _) = oneshot::channel();
            drop(self.events.send(Message::Ask(ShardRequest::Unfollow { stream, reader }, answer)));
        }
    }

    fn detach_lost(&mut self, stream: StreamId, consumer: ConsumerId) {
        let (answer, _) = oneshot::channel();
        let request = ShardRequest::Delivery(delivery::Request::Detach { stream, consumer, lost: true });
        drop(self.events.send(Message::Ask(request, answer)));
    }

    fn give_back(&mut self, grants: &Grants) {
        for run in &grants.runs {
            let lease = Lease { epoch: grants.epoch, attempt: run.attempt };
            let items = (0..u64::from(run.count)).map(|index| (run.first.plus(index), lease)).collect();
            let verdict = delivery::Verdict::Return;
            let request = delivery::Request::Settle { stream: grants.stream, items, verdict };
            let (answer, _) = oneshot::channel();
            drop(self.events.send(Message::Ask(ShardRequest::Delivery(request), answer)));
        }
    }

    /// Hands the writer to a disk thread with what there is to do. It comes back with the proof.
    fn work(&mut self) {
        if self.to_write.is_none() && self.to_drop.is_none() {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        let (batch, below, events) = (self.to_write.take(), self.to_drop.take(), self.events.clone());
        self.disk.run(move || {
            let entries = batch.map(|batch| batch.entries);
            let result = perform_on_disk(&mut writer, entries, below);
            drop(events.send(Message::Written(writer, result)));
        });
    }
}

pub(crate) fn perform_on_disk<D: Disk>(
    writer: &mut LogWriter<D>,
    entries: Option<Vec<RawEntry>>,
    drop_below: Option<Position>,
) -> Result<Option<Synced>, Fault> {
    if let Some(position) = drop_below {
        writer.drop_segments_below(position)?;
    }
    let Some(entries) = entries else { return Ok(None) };
    let written = writer.write(&entries)?;
    writer.sync(written).map(Some)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "shard_task_tests.rs"]
mod tests;
