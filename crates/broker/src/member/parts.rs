//! What a member of a cluster has besides what every broker has.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use pondage_model::{BrokerId, Epoch, Incarnation, Outcome, Refusal, Uuid};
use pondage_node::{coordinator::CoordinatorEvent, disk::Disk};
use tokio::{runtime::Runtime, sync::mpsc};

use crate::{
    consensus::{self, Brokers, CallError, ConsensusNode, Ended, KnownBroker, Notice, Start, Transport},
    coordinator_task::AdminMessage,
    directory::{BrokerEntry, Directory},
    handle::Handle,
    peers::{CallKind, Introduction, Peers},
    remote::Remote,
    run::StartError,
};

/// How long another broker may take for what this one asks of it.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(5);

/// The ways to other brokers.
#[derive(Debug)]
pub(crate) struct MemberParts {
    pub(crate) peers: Peers,
    pub(crate) consensus: ConsensusNode,
    introduction: Mutex<Introduction>,
    /// The coordinator and the consensus have a thread of their own: whoever keeps the others busy does not make
    /// this broker look dead.
    control: Mutex<Option<Runtime>>,
    control_handle: tokio::runtime::Handle,
}

impl MemberParts {
    pub(super) fn new(
        peers: Peers,
        consensus: ConsensusNode,
        introduction: Introduction,
        control: Runtime,
    ) -> Self {
        let control_handle = control.handle().clone();
        Self {
            peers,
            consensus,
            introduction: Mutex::new(introduction),
            control: Mutex::new(Some(control)),
            control_handle,
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.control_handle.spawn(task);
    }

    /// This start has another number than the volume had when it was opened.
    pub(crate) fn numbered(&self, incarnation: Incarnation, nonce: Uuid) {
        let mut introduction = self.introduction.lock().unwrap_or_else(PoisonError::into_inner);
        (introduction.incarnation, introduction.nonce) = (incarnation, nonce);
        self.consensus.numbered(Start { volume: introduction.volume, incarnation, nonce });
        self.peers.introduce(introduction.clone());
    }

    /// Ends what writes and what speaks to others.
    pub(crate) async fn stop(&self) {
        self.peers.stop();
        self.consensus.shutdown().await;
    }
}

impl Drop for MemberParts {
    fn drop(&mut self) {
        let control = self.control.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(control) = control {
            // Nothing may wait where this is dropped, and what writes has ended by itself.
            control.shutdown_background();
        }
    }
}

/// The runtime of the coordinator and the consensus.
///
/// # Errors
/// If the system gives no more threads.
pub(crate) fn control_runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| StartError::System(error.to_string()))
}

/// The consensus speaks through the peers.
#[derive(Clone, Debug)]
pub(super) struct OverPeers(Peers);

impl OverPeers {
    pub(super) const fn new(peers: Peers) -> Self {
        Self(peers)
    }
}

impl Transport for OverPeers {
    async fn call(
        &self,
        to: Option<Uuid>,
        address: &str,
        request: Bytes,
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        self.0.call(address, to, CallKind::Consensus, request, limit).await.map_err(|error| {
            match error.outcome() {
                Outcome::Definite => CallError::Unreachable,
                Outcome::Unknown => CallError::Lost,
            }
        })
    }
}

/// One broker asks another through the peers.
#[derive(Debug)]
pub(super) struct OverCalls {
    peers: Peers,
    brokers: Directory,
}

impl OverCalls {
    pub(super) const fn new(peers: Peers, brokers: Directory) -> Self {
        Self { peers, brokers }
    }
}

#[tonic::async_trait]
impl Remote for OverCalls {
    async fn call(&self, to: BrokerId, request: Bytes) -> Result<Bytes, Refusal> {
        let nobody = Refusal::NotLeader { epoch: Epoch::ZERO };
        let Some(entry) = self.brokers.broker(to) else { return Err(nobody) };
        let (address, volume) = (entry.address.as_str(), Some(entry.volume));
        let called = self.peers.call(address, volume, CallKind::Request, request, REMOTE_TIMEOUT);
        called.await.map_err(|error| match error.outcome() {
            Outcome::Definite => nobody,
            Outcome::Unknown => Refusal::Timeout,
        })
    }
}

/// The brokers as the consensus looks them up.
#[derive(Debug)]
pub(crate) struct BrokersKnown(pub(crate) Directory);

impl From<BrokerEntry> for KnownBroker {
    fn from(entry: BrokerEntry) -> Self {
        let BrokerEntry { member, volume, nonce, address, lost } = entry;
        let start = Start { volume, incarnation: member.incarnation, nonce };
        Self { id: member.broker, start, address, lost }
    }
}

impl Brokers for BrokersKnown {
    fn broker(&self, id: BrokerId) -> Option<KnownBroker> {
        self.0.broker(id).map(KnownBroker::from)
    }

    fn on_volume(&self, volume: Uuid) -> Option<KnownBroker> {
        self.0.of_volume(volume).map(KnownBroker::from)
    }
}

/// What the consensus says goes to the coordinator, or ends the broker.
pub(super) fn notices<D: Disk>(
    broker: Handle<D>,
    coordinator: mpsc::UnboundedSender<AdminMessage<D>>,
) -> Arc<dyn Fn(Notice) + Send + Sync> {
    Arc::new(move |notice| {
        let event = match notice {
            Notice::Changed => CoordinatorEvent::Consensus,
            Notice::Ended(Ended::Superseded) => return broker.empty_volume(),
            Notice::Ended(Ended::VolumeFailed(reason)) => {
                broker.fail(format!("the catalog's log: {reason}"));
                CoordinatorEvent::WriteFailed
            }
            Notice::Ended(Ended::Stopped(reason)) => {
                broker.fail(format!("the catalog's consensus ended: {reason}"));
                CoordinatorEvent::WriteFailed
            }
        };
        // A coordinator that has ended needs no news.
        drop(coordinator.send(AdminMessage::Event(event)));
    })
}

impl From<consensus::StartError> for StartError {
    fn from(error: consensus::StartError) -> Self {
        Self::Consensus(error)
    }
}
