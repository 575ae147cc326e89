//! What a machine says, done.

use pondage_model::{Lease, Name, Position, RawEntry, StreamId, entry::Move};
use pondage_node::{
    catalog::IsrChange,
    coordinator::CoordinatorEvent,
    delivery::{self, ConsumerId},
    disk::Disk,
    shard::{ShardEffect, ShardEvent, ShardRequest, replication::IsrRequest},
};
use tokio::sync::oneshot;

use super::{Message, ShardTask, ToDo, replica_watch};
use crate::{
    coordinator_task::AdminMessage,
    handle::{Grants, Progress},
};

/// How much a replay reads at once.
const REPLAY_BYTES: usize = 8 << 20;

impl<D: Disk> ShardTask<D> {
    pub(super) fn perform(&mut self, effect: ShardEffect) {
        match effect {
            ShardEffect::Write(batch) => {
                self.to_do = Some(ToDo::Write(batch));
                self.work();
            }
            ShardEffect::Truncate(end) => {
                self.to_do = Some(ToDo::Truncate(end));
                self.work();
            }
            ShardEffect::Persist(epoch) => {
                let events = self.events.clone();
                self.around.promises.promise(self.shard.id(), epoch, move |result| {
                    drop(events.send(Message::Promised(epoch, result)));
                });
            }
            ShardEffect::Send { to, message } => {
                if let Some(member) = &self.around.member {
                    member.peers.send_replica(to, self.shard.id(), message);
                }
            }
            ShardEffect::Read { to, from, bytes_max } => {
                self.read(from, bytes_max, move |entries| ShardEvent::Read { to, from, entries });
            }
            ShardEffect::RequestIsr(IsrRequest { epoch, version, isr, .. }) => {
                replica_watch::asked(self.shard.replica(), &isr, self.around.broker.metrics());
                let wanted = IsrChange { shard: self.shard.id(), epoch, version, isr };
                self.tell_coordinator(CoordinatorEvent::IsrWanted(wanted));
            }
            ShardEffect::HandOver { epoch, version, to } => {
                let shard = self.shard.id();
                self.tell_coordinator(CoordinatorEvent::HandedOver { shard, epoch, version, to });
            }
            ShardEffect::Following(epoch) => {
                tracing::debug!(shard = self.shard.id().get(), epoch = epoch.get(), "follows");
                // Their sessions end, and look for the new leader.
                self.consumers.clear();
                self.members.clear();
                self.followers.clear();
            }
            ShardEffect::FindCheckpoint { below } => {
                let first = self.reader.replay_from(below);
                drop(self.events.send(Message::Event(ShardEvent::Checkpoint { below, first })));
            }
            ShardEffect::Replay { from } => self.read(from, REPLAY_BYTES, ShardEvent::Replayed),
            ShardEffect::Serving(epoch) => {
                tracing::debug!(shard = self.shard.id().get(), epoch = epoch.get(), "leads");
                self.tell_coordinator(CoordinatorEvent::Serving(self.shard.id(), epoch));
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
            ShardEffect::Notify(notice) => {
                // A member that is gone is found by the sweep.
                let (consumer, done) = (notice.consumer, notice.done);
                if let Some((_, notices)) = self.members.get(&consumer) {
                    notices.send_replace(Some(notice));
                }
                if done {
                    self.members.remove(&consumer);
                }
            }
            ShardEffect::Progress { reader, start, end, .. } => {
                if let Some((_, progress)) = self.followers.get(&reader) {
                    progress.send_replace(Progress { start, end });
                }
            }
            ShardEffect::Forward { source, stored, group, moving } => {
                self.forward(source, stored, group, moving);
            }
            ShardEffect::DropSegments(position) => {
                self.to_drop = Some(position);
                self.work();
            }
            ShardEffect::Report(finding) => {
                tracing::error!(shard = self.shard.id().get(), ?finding, "replicas disagree");
            }
            ShardEffect::WakeAt(at) => self.wake = Some(self.around.clocks.instant(at)),
        }
    }

    fn tell_coordinator(&self, event: CoordinatorEvent) {
        // A coordinator that has ended decides nothing more.
        drop(self.around.coordinator.send(AdminMessage::Event(event)));
    }

    /// Reads durable entries from a position on, beside this task.
    fn read(
        &self,
        from: Position,
        bytes_max: usize,
        event: impl FnOnce(Vec<RawEntry>) -> ShardEvent + Send + 'static,
    ) {
        let (reader, events) = (self.reader.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let message = match reader.read_from(from, bytes_max) {
                Ok(entries) => Message::Event(event(entries)),
                Err(error) => Message::Unreadable(error),
            };
            drop(events.send(message));
        });
    }

    /// Takes a dead letter to its queue, beside this task.
    fn forward(&self, source: StreamId, stored: StreamId, group: Option<(Name, u32)>, moving: Move) {
        let (broker, shard, events) = (self.around.broker.clone(), self.shard.id(), self.events.clone());
        tokio::spawn(async move {
            if let Err(refusal) = broker.forward((shard, source), stored, group.as_ref(), moving).await {
                if broker.route_of(stored).is_some() {
                    tracing::warn!(%source, offset = moving.offset.get(), %refusal, "a dead letter waits");
                }
                let gone = broker.is_deleted(moving.target).await;
                drop(events.send(Message::Event(ShardEvent::ForwardRefused {
                    source,
                    seq: moving.seq,
                    gone,
                })));
            }
        });
    }

    /// Asks in the place of somebody who is gone; nobody waits for the answer.
    pub(super) fn ask_for_the_lost(&self, request: ShardRequest) {
        let (answer, _) = oneshot::channel();
        drop(self.events.send(Message::Ask(request, answer)));
    }

    pub(super) fn detach_lost(&self, stream: StreamId, consumer: ConsumerId) {
        let detach = delivery::Request::Detach { stream, consumer, lost: true };
        self.ask_for_the_lost(ShardRequest::Delivery(detach));
    }

    fn give_back(&self, grants: &Grants) {
        for run in &grants.runs {
            let lease = Lease { epoch: grants.epoch, attempt: run.attempt };
            let items = (0..u64::from(run.count)).map(|index| (run.first.plus(index), lease)).collect();
            let verdict = delivery::Verdict::Return;
            let request = delivery::Request::Settle { stream: grants.stream, items, verdict };
            self.ask_for_the_lost(ShardRequest::Delivery(request));
        }
    }
}
