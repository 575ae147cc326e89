//! The task that owns the coordinator: the catalog's log, the shards' starts, administrators' requests.

use std::collections::HashMap;

use pondage_model::{Epoch, Position, RawEntry, Refusal, ShardId};
use pondage_node::{
    boot::{OpenedShard, open_shard, remove_shard_folder},
    coordinator::{
        AdminReply, AdminRequest, Assignment, Coordinator, CoordinatorEffect, CoordinatorEvent, ShardPosition,
    },
    disk::{Disk, Fault, LogOptions, LogWriter, Synced},
    shard::{RequestId, ShardEvent, ShardRequest},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};

use crate::{
    disk_threads::DiskThreads,
    handle::Handle,
    shard_task::{Clocks, Message, ShardHandle, ShardTask},
};

/// Administrators' requests that wait; then senders wait.
pub(crate) const INBOX_REQUESTS_MAX: usize = 1_024;
/// Requests that are taken before their commands are written, so that they share a batch.
const BURST_MAX: usize = 1_024;

/// Where an administrator's answer goes.
type Answer = oneshot::Sender<Result<AdminReply, Refusal>>;

/// What reaches the coordinator's task.
#[derive(Debug)]
pub(crate) enum AdminMessage<D: Disk> {
    /// An administrator asks.
    Ask(AdminRequest, Answer),
    /// The writer comes back from its thread.
    Written(Box<LogWriter<D>>, Result<Option<Synced>, Fault>),
    /// A shard serves.
    Serving(ShardId, Epoch),
    /// A shard says where its log ends.
    Position(ShardPosition),
    /// A shard made its streams as it should, or could not.
    Ensured(RequestId, Result<(), Refusal>),
    /// End, once nothing is being written.
    Stop(oneshot::Sender<()>),
}

/// The owner of the coordinator.
pub(crate) struct CoordinatorTask<D: Disk> {
    pub(crate) coordinator: Coordinator,
    pub(crate) writer: Option<Box<LogWriter<D>>>,
    pub(crate) store: D,
    pub(crate) log_options: LogOptions,
    pub(crate) disk: DiskThreads,
    pub(crate) clocks: Clocks,
    pub(crate) broker: Handle<D>,
    pub(crate) events: mpsc::UnboundedSender<AdminMessage<D>>,
    pub(crate) answers: HashMap<RequestId, Answer>,
    pub(crate) next_request: u64,
    pub(crate) to_write: Option<Vec<RawEntry>>,
    pub(crate) to_drop: Option<Position>,
    pub(crate) stopping: Option<oneshot::Sender<()>>,
    /// The epochs that shards were told to lead in.
    pub(crate) led: HashMap<ShardId, Epoch>,
    /// Shards that are being opened, and some that are open by now.
    pub(crate) opening: HashMap<ShardId, JoinHandle<()>>,
    /// Shards whose folders are being removed.
    pub(crate) removing: JoinSet<()>,
}

impl<D: Disk> CoordinatorTask<D> {
    pub(crate) async fn run(
        mut self,
        mut requests: mpsc::Receiver<AdminMessage<D>>,
        mut events: mpsc::UnboundedReceiver<AdminMessage<D>>,
    ) {
        let mut effects = Vec::new();
        self.coordinator.step(self.clocks.now(), CoordinatorEvent::Start, &mut effects);
        loop {
            for effect in std::mem::take(&mut effects) {
                self.perform(effect);
            }
            if self.writer.is_some()
                && let Some(stopping) = self.stopping.take()
            {
                // Nobody writes behind the back of whoever waits for this.
                for (_, opening) in self.opening.drain() {
                    drop(opening.await);
                }
                while self.removing.join_next().await.is_some() {}
                let _ = stopping.send(());
                return;
            }
            let message = tokio::select! {
                biased;
                Some(message) = events.recv() => message,
                message = requests.recv() => match message {
                    Some(message) => message,
                    None => return,
                },
            };
            let mut next = Some(message);
            let mut taken = 0;
            while let Some(message) = next.take() {
                self.take(message, &mut effects);
                taken += 1;
                if taken < BURST_MAX {
                    next = events.try_recv().ok().or_else(|| requests.try_recv().ok());
                }
            }
        }
    }

    fn take(&mut self, message: AdminMessage<D>, effects: &mut Vec<CoordinatorEffect>) {
        let event = match message {
            AdminMessage::Ask(request, answer) => {
                let id = RequestId(self.next_request);
                self.next_request += 1;
                self.answers.insert(id, answer);
                CoordinatorEvent::Request { id, request }
            }
            AdminMessage::Written(writer, result) => {
                self.writer = Some(writer);
                self.work();
                match result {
                    Ok(Some(synced)) => CoordinatorEvent::Synced(synced),
                    Ok(None) => return,
                    Err(fault) => {
                        self.broker.fail(format!("the catalog's log: {fault}"));
                        CoordinatorEvent::WriteFailed
                    }
                }
            }
            AdminMessage::Stop(done) => {
                self.stopping = Some(done);
                return;
            }
            AdminMessage::Serving(shard, epoch) => CoordinatorEvent::Serving(shard, epoch),
            AdminMessage::Position(position) => CoordinatorEvent::Position(position),
            AdminMessage::Ensured(id, result) => CoordinatorEvent::Ensured { id, result },
        };
        self.coordinator.step(self.clocks.now(), event, effects);
    }

    fn perform(&mut self, effect: CoordinatorEffect) {
        match effect {
            CoordinatorEffect::Write(entries) => {
                self.to_write = Some(entries);
                self.work();
            }
            CoordinatorEffect::Assign(shard, assignment) => self.assign(shard, assignment),
            CoordinatorEffect::AskPosition(shard) => self.ask_position(shard),
            CoordinatorEffect::RemoveShard(shard) => self.remove_shard(shard),
            CoordinatorEffect::Ensure { id, shard, streams, complete } => {
                let (broker, events) = (self.broker.clone(), self.events.clone());
                tokio::spawn(async move {
                    let result = broker.ask(shard, ShardRequest::Ensure { streams, complete }).await;
                    drop(events.send(AdminMessage::Ensured(id, result.map(drop))));
                });
            }
            CoordinatorEffect::Route(name, route) => self.broker.set_route(name, route),
            CoordinatorEffect::Group(name, settings) => self.broker.set_group(name, settings),
            CoordinatorEffect::Changed(change) => self.broker.tell(change),
            CoordinatorEffect::Reply { id, result } => {
                if let Some(answer) = self.answers.remove(&id) {
                    drop(answer.send(result));
                }
            }
            CoordinatorEffect::Ready => self.broker.set_ready(true),
            CoordinatorEffect::Fatal(refusal) => self.broker.fail(format!("{refusal}: {}", refusal.action())),
            CoordinatorEffect::DropSegments(position) => {
                self.to_drop = Some(position);
                self.work();
            }
            CoordinatorEffect::Registered(member) => {
                tracing::debug!(?member, "registered");
                self.broker.set_own(member.broker);
            }
            CoordinatorEffect::Report(finding) => {
                tracing::warn!(?finding, "a replica lost what it had reported as durable");
            }
            CoordinatorEffect::Stopped => {}
            CoordinatorEffect::WriteIdentity { .. }
            | CoordinatorEffect::Reformat
            | CoordinatorEffect::HandOver { .. }
            | CoordinatorEffect::KeepLeading(_)
            | CoordinatorEffect::Send { .. } => {
                unreachable!(
                    "a lone broker chose its number at the boot and has nobody to speak to: {effect:?}"
                )
            }
        }
    }

    fn work(&mut self) {
        if self.to_write.is_none() && self.to_drop.is_none() {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        let (entries, below, events) = (self.to_write.take(), self.to_drop.take(), self.events.clone());
        self.disk.run(move || {
            let result = crate::shard_task::perform_on_disk(&mut writer, entries, below);
            drop(events.send(AdminMessage::Written(writer, result)));
        });
    }

    /// Opens the shard, and leads it if it is this broker's to lead and does not do so already.
    fn assign(&mut self, shard: ShardId, assignment: Assignment) {
        let own = self.coordinator.registered().map(|member| member.broker);
        let epoch = assignment.epoch;
        if assignment.leader.is_none() || assignment.leader != own {
            self.when_open(shard, |_| {});
        } else if self.led.insert(shard, epoch) == Some(epoch) {
            let changed = Message::Event(ShardEvent::Assigned(assignment));
            self.when_open(shard, move |handle| drop(handle.events.send(changed)));
        } else {
            let (serving, served) = oneshot::channel();
            self.when_open(shard, move |handle| drop(handle.events.send(Message::Lead(assignment, serving))));
            let events = self.events.clone();
            tokio::spawn(async move {
                if served.await.is_ok() {
                    drop(events.send(AdminMessage::Serving(shard, epoch)));
                }
            });
        }
    }

    fn ask_position(&mut self, shard: ShardId) {
        let (answer, answered) = oneshot::channel();
        self.when_open(shard, move |handle| drop(handle.events.send(Message::Position(answer))));
        let events = self.events.clone();
        tokio::spawn(async move {
            if let Ok(position) = answered.await {
                drop(events.send(AdminMessage::Position(position)));
            }
        });
    }

    /// Opens the shard's log beside this task, unless it is open, and then does `then`, after all that was to be
    /// done before.
    fn when_open(&mut self, shard: ShardId, then: impl FnOnce(&ShardHandle<D>) + Send + 'static) {
        let Some(me) = self.coordinator.registered() else { return };
        let (store, options, disk, clocks) =
            (self.store.clone(), self.log_options, self.disk.clone(), self.clocks);
        let broker = self.broker.clone();
        let before = self.opening.remove(&shard);
        let opening = tokio::spawn(async move {
            if let Some(before) = before {
                drop(before.await);
            }
            if broker.shard(shard).is_err() {
                let opened = tokio::task::spawn_blocking(move || {
                    open_shard(&store, &options, shard, me, Epoch::ZERO, clocks.now())
                })
                .await;
                match opened {
                    Ok(Ok(opened)) => {
                        let OpenedShard { shard: machine, writer, reader } = opened;
                        let handle = ShardTask::spawn(machine, writer, reader, disk, clocks, broker.clone());
                        broker.add_shard(shard, handle);
                    }
                    Ok(Err(error)) => return broker.fail(error.to_string()),
                    Err(error) => return broker.fail(error.to_string()),
                }
            }
            if let Ok(handle) = broker.shard(shard) {
                then(&handle);
            }
        });
        self.opening.insert(shard, opening);
    }

    /// Ends the shard's task, then removes its folder.
    fn remove_shard(&mut self, shard: ShardId) {
        let opening = self.opening.remove(&shard);
        self.led.remove(&shard);
        let removed = self.broker.remove_shard(shard);
        let (store, broker) = (self.store.clone(), self.broker.clone());
        // Those that are done need not be remembered.
        while self.removing.try_join_next().is_some() {}
        self.removing.spawn(async move {
            if let Some(opening) = opening {
                // It may not have come to be yet.
                drop(opening.await);
            }
            if let Some(handle) = removed.or_else(|| broker.remove_shard(shard)) {
                handle.stop().await;
            }
            let removed = tokio::task::spawn_blocking(move || remove_shard_folder(&store, shard)).await;
            if let Ok(Err(error)) = removed {
                broker.fail(format!("removing {shard:?}: {error}"));
            }
        });
    }
}
