//! The task that owns one shard's machine.

mod disk_work;
mod effects;
mod replica_watch;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pondage_model::{BrokerId, Epoch, Member, Position, StreamId};
use pondage_node::{
    Now,
    coordinator::ShardPosition,
    delivery::{self, ConsumerId, Notice},
    disk::{Disk, Fault, LogReader, LogWriter, ReadError},
    replication,
    shard::{ReaderId, RequestId, Shard, ShardEffect, ShardEvent, ShardReply, ShardRequest},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    handle::{Grants, Progress},
    metrics::{ReplicaReport, ShardMetrics},
    peers::Credit,
    surroundings::Surroundings,
};
use disk_work::ToDo;
pub(crate) use disk_work::{Done, append};
use replica_watch::ReplicaWatch;

/// Requests that wait in front of a shard; then senders wait.
const INBOX_REQUESTS_MAX: usize = 4_096;
/// Requests that are taken before the machine settles, so that they share a batch.
const BURST_MAX: usize = 1_024;
/// How often the machine is told of its segments.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(5);

/// What reaches a shard's task from outside.
#[derive(Debug)]
pub(crate) enum Message<D: Disk> {
    /// A request and where its answer goes.
    Ask(ShardRequest, oneshot::Sender<ShardReply>),
    /// A consumer attaches to the stream; its grants go there.
    Attach(ShardRequest, StreamId, ConsumerId, mpsc::UnboundedSender<Grants>, oneshot::Sender<ShardReply>),
    /// A member of a group joins at the stream; what it owns goes there.
    Join(ShardRequest, StreamId, ConsumerId, watch::Sender<Option<Notice>>, oneshot::Sender<ShardReply>),
    /// A reader follows the stream; its progress goes there.
    Follow(ShardRequest, StreamId, ReaderId, watch::Sender<Progress>, oneshot::Sender<ShardReply>),
    /// A replica on another broker speaks.
    Peer(Member, replication::Message, Credit),
    /// An event of its own making: a finished write, a read, an answer of another shard.
    Event(ShardEvent),
    /// Hand over to this broker, if the shard is led here in this epoch.
    HandOver { epoch: Epoch, to: BrokerId },
    /// Where does the log end?
    Position(oneshot::Sender<ShardPosition>),
    /// What is this copy, and how far are its followers?
    Replica(oneshot::Sender<ReplicaReport>),
    /// The writer comes back from its thread, with the proof of what it did.
    Done(Box<LogWriter<D>>, Result<Done, Fault>),
    /// A promise is durable, or may not be.
    Promised(Epoch, Result<(), Fault>),
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

/// The owner of one machine.
pub(crate) struct ShardTask<D: Disk> {
    shard: Shard,
    writer: Option<Box<LogWriter<D>>>,
    reader: LogReader<D>,
    around: Surroundings<D>,
    metrics: Arc<ShardMetrics>,
    watch: ReplicaWatch,
    events: mpsc::UnboundedSender<Message<D>>,
    answers: HashMap<RequestId, oneshot::Sender<ShardReply>>,
    consumers: HashMap<ConsumerId, (StreamId, mpsc::UnboundedSender<Grants>)>,
    members: HashMap<ConsumerId, (StreamId, watch::Sender<Option<Notice>>)>,
    followers: HashMap<ReaderId, (StreamId, watch::Sender<Progress>)>,
    next_request: u64,
    wake: Option<Instant>,
    to_do: Option<ToDo>,
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
        around: Surroundings<D>,
    ) -> ShardHandle<D> {
        let (requests, request_inbox) = mpsc::channel(INBOX_REQUESTS_MAX);
        let (events, event_inbox) = mpsc::unbounded_channel();
        let handle = ShardHandle { requests, events: events.clone(), reader: reader.clone() };
        let metrics = around.broker.metrics().shard(shard.id());
        let task = Self {
            shard,
            writer: Some(Box::new(writer)),
            reader,
            around,
            metrics,
            watch: ReplicaWatch::default(),
            events,
            answers: HashMap::new(),
            consumers: HashMap::new(),
            members: HashMap::new(),
            followers: HashMap::new(),
            next_request: 0,
            wake: None,
            to_do: None,
            to_drop: None,
            stopping: None,
            dirty: true,
        };
        let runtime = task.around.runtime.clone();
        runtime.spawn(task.run(request_inbox, event_inbox));
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
                // Before the events and requests, which may never end.
                _ = maintenance.tick() => {
                    self.sweep();
                    if !std::mem::take(&mut self.dirty) && !self.shard.is_serving() {
                        continue;
                    }
                    Message::Event(ShardEvent::Segments(self.reader.segments()))
                }
                Some(message) = events.recv() => message,
                message = requests.recv(), if !self.shard.is_congested() => match message {
                    Some(message) => message,
                    None => return,
                },
                () = sleep_until(wake) => self.woken(),
            };
            // Others are ready to send, too: they were woken together, by the network or by the last batch's answers.
            // Letting them go first costs next to nothing when nobody is, and otherwise they share a batch.
            tokio::task::yield_now().await;
            let now = self.around.clocks.now();
            let mut next = Some(message);
            let mut taken = 0;
            while let Some(message) = next.take() {
                if let Err(broken) = self.take(now, message, &mut effects) {
                    self.around.broker.fail(format!("{:?}: {broken}", self.shard.id()));
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
            // A busy shard never comes to wait for its timer: time passes for it here.
            let is_due = self.wake.is_some_and(|at| at <= Instant::now());
            let woken = is_due.then(|| self.woken());
            let passed = woken.map_or(Ok(()), |message| self.take(now, message, &mut effects));
            if let Err(broken) = passed.and_then(|()| self.shard.settle(now, &mut effects)) {
                self.around.broker.fail(format!("{:?}: {broken}", self.shard.id()));
                return;
            }
            self.watch.look(self.shard.replica(), self.around.broker.metrics());
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

    const fn woken(&mut self) -> Message<D> {
        self.wake = None;
        Message::Event(ShardEvent::Wake)
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
            Message::Join(request, stream, consumer, notices, answer) => {
                self.members.insert(consumer, (stream, notices));
                self.ask(request, answer)
            }
            Message::Follow(request, stream, reader, progress, answer) => {
                self.followers.insert(reader, (stream, progress));
                self.ask(request, answer)
            }
            Message::Event(event) => {
                if let ShardEvent::Assigned(row) = &event {
                    replica_watch::assigned(self.shard.replica(), row, self.around.broker.metrics());
                }
                event
            }
            Message::Peer(from, message, _credit) => ShardEvent::Peer { from, message },
            Message::HandOver { epoch, to } => {
                if self.shard.replica().epoch() != epoch {
                    return Ok(());
                }
                ShardEvent::HandOver(to)
            }
            Message::Position(answer) => {
                let _ = answer.send(self.shard.position());
                return Ok(());
            }
            Message::Replica(answer) => {
                let _ = answer.send(ReplicaReport::of(&self.shard));
                return Ok(());
            }
            Message::Done(writer, result) => {
                self.metrics.observe(&writer.counters());
                self.writer = Some(writer);
                let event = match result {
                    Ok(Done::Synced(synced)) => Some(ShardEvent::Synced(synced)),
                    Ok(Done::Truncated(truncated)) => Some(ShardEvent::Truncated(truncated)),
                    Ok(Done::Nothing) => None,
                    Err(fault) => Some(self.fenced(&fault)),
                };
                self.work();
                let Some(event) = event else { return Ok(()) };
                self.dirty = true;
                event
            }
            Message::Promised(epoch, Ok(())) => ShardEvent::Persisted(epoch),
            Message::Promised(_, Err(fault)) => self.fenced(&fault),
            Message::Unreadable(error) => {
                self.around.broker.fail(format!("{:?}: {error}", self.shard.id()));
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
            ShardRequest::Delivery(delivery::Request::Leave { consumer, .. }) => {
                self.members.remove(consumer);
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

    /// The volume is fenced: nothing that waits for it is answered as if it were durable.
    fn fenced(&self, fault: &Fault) -> ShardEvent {
        self.around.broker.fail(format!("{:?}: {fault}", self.shard.id()));
        ShardEvent::WriteFailed
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
        let deaf = self.members.iter().filter(|(_, (_, notices))| notices.is_closed());
        let members: Vec<_> = deaf.map(|(consumer, (stream, _))| (*stream, *consumer)).collect();
        for (stream, consumer) in members {
            let leave = delivery::Request::Leave { stream, consumer, lost: true };
            self.ask_for_the_lost(ShardRequest::Delivery(leave));
        }
        let deaf = |(reader, (stream, progress)): (&ReaderId, &(StreamId, watch::Sender<Progress>))| {
            progress.is_closed().then_some((*stream, *reader))
        };
        let readers: Vec<_> = self.followers.iter().filter_map(deaf).collect();
        for (stream, reader) in readers {
            self.ask_for_the_lost(ShardRequest::Unfollow { stream, reader });
        }
    }
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
