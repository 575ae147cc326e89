//! What other brokers say to this one.

use bytes::Bytes;
use pondage_model::{BrokerId, Member, Refusal, ShardId};
use pondage_node::{
    coordinator::{CoordinatorEvent, PeerMessage},
    disk::Disk,
    replication,
};
use tokio::sync::mpsc;

use crate::{
    coordinator_task::AdminMessage,
    handle::Handle,
    peers::{CallKind, Credit, Introduction, PeerSink},
    shard_task::Message,
};

/// Takes what comes from peers to whom it is for.
#[derive(Debug)]
pub(super) struct Inbound<D: Disk> {
    broker: Handle<D>,
    coordinator: mpsc::UnboundedSender<AdminMessage<D>>,
}

impl<D: Disk> Inbound<D> {
    pub(super) const fn new(broker: Handle<D>, coordinator: mpsc::UnboundedSender<AdminMessage<D>>) -> Self {
        Self { broker, coordinator }
    }
}

#[tonic::async_trait]
impl<D: Disk> PeerSink for Inbound<D> {
    fn admit(&self, from: &Introduction) -> Result<(), Refusal> {
        let Some(known) = self.broker.directory().of_volume(from.volume) else { return Ok(()) };
        let newer = known.member.incarnation > from.incarnation;
        let other = known.member.incarnation == from.incarnation && known.nonce != from.nonce;
        if known.lost || newer || other {
            let what = format!(
                "start {} of the volume is overtaken: the catalog knows start {}",
                from.incarnation, known.member.incarnation
            );
            return Err(Refusal::Conflict { what });
        }
        Ok(())
    }

    fn replica(&self, from: Member, shard: ShardId, message: replication::Message, credit: Credit) {
        // A shard that is not open hears of it again: what replicas say may be lost.
        if let Ok(handle) = self.broker.shard(shard) {
            drop(handle.events.send(Message::Peer(from, message, credit)));
        }
    }

    fn coordinator(&self, from: Member, message: PeerMessage, credit: Credit) {
        drop(self.coordinator.send(AdminMessage::Peer(from, message, credit)));
    }

    fn link(&self, broker: BrokerId, up: bool) {
        self.broker.set_link(broker, up);
    }

    fn gone(&self, member: Member) {
        if let (Some(consensus), Some(entry)) =
            (self.broker.consensus(), self.broker.directory().broker(member.broker))
        {
            consensus.leader_gone(entry.volume);
        }
        drop(self.coordinator.send(AdminMessage::Event(CoordinatorEvent::Gone(member))));
    }

    async fn call(&self, from: Introduction, kind: CallKind, body: Bytes) -> Result<Bytes, Refusal> {
        match kind {
            CallKind::Consensus => match self.broker.consensus() {
                Some(consensus) => Ok(consensus.handle(from.volume, body).await),
                None => Err(Refusal::ShuttingDown),
            },
            CallKind::Request => self.broker.answer(body).await,
        }
    }
}
