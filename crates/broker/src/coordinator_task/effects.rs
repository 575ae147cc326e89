//! What the coordinator says, done.

use std::sync::PoisonError;

use pondage_model::{Incarnation, ShardId, Uuid};
use pondage_node::{
    catalog::Consensus,
    coordinator::{CoordinatorEffect, CoordinatorEvent, Readiness},
    disk::{Disk, VolumeIdentity},
    shard::{ShardEvent, ShardRequest},
};
use tokio::sync::oneshot;

use super::{AdminMessage, CoordinatorTask};
use crate::shard_task::Message;

impl<D: Disk, C: Consensus> CoordinatorTask<D, C> {
    pub(super) fn perform(&mut self, effect: CoordinatorEffect) {
        let broker = &self.around.broker;
        match effect {
            CoordinatorEffect::Write(entries) => self.write_catalog(entries),
            CoordinatorEffect::DropSegments(position) => self.drop_catalog_segments(position),
            CoordinatorEffect::WriteIdentity { incarnation, nonce } => {
                self.write_identity(incarnation, nonce);
            }
            CoordinatorEffect::Registered(member) => {
                tracing::debug!(broker = member.broker.get(), start = member.incarnation.get(), "registered");
                broker.set_own(member.broker);
                self.tell_peers(member);
            }
            CoordinatorEffect::Reformat => broker.empty_volume(),
            CoordinatorEffect::Assign(shard, row) => {
                let broker = broker.clone();
                self.when_open(shard, move |handle| {
                    drop(handle.events.send(Message::Event(ShardEvent::Assigned(row))));
                    // Whoever leads from now on has heard of no connection that broke before.
                    broker.tell_links(handle, false);
                });
            }
            CoordinatorEffect::AskPosition(shard) => self.ask_position(shard),
            CoordinatorEffect::RemoveShard(shard) => self.remove_shard(shard),
            CoordinatorEffect::HandOver { shard, epoch, to } => {
                self.tell_shard(shard, Message::HandOver { epoch, to });
            }
            CoordinatorEffect::KeepLeading(shard) => {
                self.tell_shard(shard, Message::Event(ShardEvent::KeepLeading));
            }
            CoordinatorEffect::Leave => {
                for shard in broker.shard_ids() {
                    self.tell_shard(shard, Message::Event(ShardEvent::Leave));
                }
            }
            CoordinatorEffect::Ensure { id, shard, mut streams, complete } => {
                broker.find_begins(shard, &mut streams);
                let (broker, events) = (broker.clone(), self.around.coordinator.clone());
                self.around.runtime.spawn(async move {
                    let result = broker.ask(shard, ShardRequest::Ensure { streams, complete }).await;
                    let event = CoordinatorEvent::Ensured { id, result: result.map(drop) };
                    drop(events.send(AdminMessage::Event(event)));
                });
            }
            CoordinatorEffect::Route(name, route) => broker.set_route(name, route),
            CoordinatorEffect::Group(name, settings) => broker.set_group(name, settings),
            CoordinatorEffect::Changed(change) => broker.tell(change),
            CoordinatorEffect::Reply { id, result } => {
                if let Some(answer) = self.answers.remove(&id) {
                    drop(answer.send(result));
                }
            }
            CoordinatorEffect::Send { to, message } => {
                if let Some(member) = &self.around.member {
                    member.peers.send_coordinator(to, message);
                }
            }
            CoordinatorEffect::Report(finding) => {
                tracing::warn!(?finding, "a replica lost what it had reported as durable");
            }
            CoordinatorEffect::Ready if self.around.member.is_none() => {
                broker.set_readiness(Readiness::Ready);
            }
            // It serves; whether it is ready is more than that.
            CoordinatorEffect::Ready => {}
            CoordinatorEffect::Stopped => {
                self.has_left = true;
                for left in self.leaving.drain(..) {
                    let _ = left.send(());
                }
            }
            CoordinatorEffect::Fatal(refusal) => broker.fail(format!("{refusal}: {}", refusal.action())),
        }
    }

    /// Tells the shard, once its log is open.
    fn tell_shard(&mut self, shard: ShardId, message: Message<D>) {
        // A task that has ended has nothing to do any more.
        self.when_open(shard, move |handle| drop(handle.events.send(message)));
    }

    /// Makes the number of this start durable.
    fn write_identity(&self, incarnation: Incarnation, nonce: Uuid) {
        let (volume, broker) = (self.volume.clone(), self.around.broker.clone());
        let (events, member) = (self.around.coordinator.clone(), self.around.member.clone());
        self.around.disk.run(move || {
            // A panic while it was held is a failed write: the volume says so again.
            let mut volume = volume.lock().unwrap_or_else(PoisonError::into_inner);
            let written = match volume.identity().copied() {
                Some(known) => volume.write_identity(VolumeIdentity { incarnation, nonce, ..known }),
                None => return broker.fail("the volume has no identity".to_owned()),
            };
            match written {
                Ok(()) => {
                    if let Some(member) = member {
                        member.numbered(incarnation, nonce);
                    }
                    drop(events.send(AdminMessage::Event(CoordinatorEvent::IdentityWritten)));
                }
                Err(error) => broker.fail(error.to_string()),
            }
        });
    }

    fn ask_position(&mut self, shard: ShardId) {
        let (answer, answered) = oneshot::channel();
        self.tell_shard(shard, Message::Position(answer));
        let events = self.around.coordinator.clone();
        tokio::spawn(async move {
            if let Ok(position) = answered.await {
                drop(events.send(AdminMessage::Event(CoordinatorEvent::Position(position))));
            }
        });
    }
}
