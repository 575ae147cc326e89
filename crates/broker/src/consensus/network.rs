//! The library's way to other voters, over the [`Transport`].

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    RaftNetwork, RaftNetworkFactory,
    error::{
        InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, SnapshotMismatch, Timeout,
        Unreachable,
    },
    network::{Backoff, RPCOption, RPCTypes},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
        VoteRequest, VoteResponse,
    },
};
use pondage_model::{Uuid, limits};

use super::{
    messages::{Reply, ReplyBody, Request, RequestBody, follows},
    ports::{Brokers, CallError, Ended, Start, Transport},
    shared::Shared,
    types::{Node, Types, VolumeId},
};

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Bytes, CallError>> + Send + 'a>>;

/// A [`Transport`] behind a pointer.
pub(crate) trait AnyTransport: Send + Sync + 'static {
    fn call<'a>(&'a self, to: Option<Uuid>, address: &'a str, request: Bytes, limit: Duration) -> Answer<'a>;
}

impl<T: Transport> AnyTransport for T {
    fn call<'a>(&'a self, to: Option<Uuid>, address: &'a str, request: Bytes, limit: Duration) -> Answer<'a> {
        Box::pin(Transport::call(self, to, address, request, limit))
    }
}

/// Calls others in this start's name, and checks who answers.
#[derive(Clone)]
pub(crate) struct Caller {
    transport: Arc<dyn AnyTransport>,
    brokers: Arc<dyn Brokers>,
    shared: Arc<Shared>,
    own: Arc<Mutex<Start>>,
}

impl Caller {
    pub(crate) fn new(
        transport: Arc<dyn AnyTransport>,
        brokers: Arc<dyn Brokers>,
        shared: Arc<Shared>,
        own: Start,
    ) -> Self {
        Self { transport, brokers, shared, own: Arc::new(Mutex::new(own)) }
    }

    /// This start, as far as its number is known.
    pub(crate) fn own(&self) -> Start {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This start has its own number now.
    pub(crate) fn numbered(&self, start: Start) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = start;
    }

    pub(crate) fn brokers(&self) -> &Arc<dyn Brokers> {
        &self.brokers
    }

    /// Whether the catalog knows a start that took this one's place.
    pub(crate) fn is_superseded(&self, start: &Start) -> bool {
        self.brokers.on_volume(start.volume).is_some_and(|row| is_older(start, &row.start))
    }

    /// Calls and gives the answer, if it is the volume's that was meant.
    pub(crate) async fn call(
        &self,
        to: Option<Uuid>,
        address: &str,
        body: RequestBody,
        limit: Duration,
    ) -> Result<ReplyBody, CallError> {
        if self.shared.has_ended() {
            return Err(CallError::Unreachable);
        }
        let known = to.and_then(|volume| self.brokers.on_volume(volume));
        let known = known.map(|row| (row.start.incarnation, row.start.nonce));
        let from = self.own();
        let request = Request { from, to: known, body }.encode();
        let answer = self.transport.call(to, address, request, limit).await?;
        let reply = Reply::decode(answer).map_err(|_| CallError::Lost)?;
        if to.is_some_and(|volume| volume != reply.from.volume) || self.is_superseded(&reply.from) {
            // Another broker took the address, or the disk of this one is not what it was.
            return Err(CallError::Lost);
        }
        if reply.body == ReplyBody::Superseded {
            // What was asked under the number of the start before, on its way while this one got its own, says nothing
            // of this one.
            if from == self.own() {
                self.shared.end(Ended::Superseded);
            }
            return Err(CallError::Lost);
        }
        Ok(reply.body)
    }
}

/// Whether `row` took the place of `start`.
pub(crate) fn is_older(start: &Start, row: &Start) -> bool {
    row.incarnation > start.incarnation || (row.incarnation == start.incarnation && row.nonce != start.nonce)
}

/// Makes the ways to voters.
pub(crate) struct Network(pub(crate) Caller);

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: VolumeId, node: &Node) -> Peer {
        Peer { caller: self.0.clone(), target, address: node.address.clone() }
    }
}

/// The way to one voter.
pub(crate) struct Peer {
    caller: Caller,
    target: VolumeId,
    address: String,
}

type Rpc<E = openraft::error::Infallible> = RPCError<VolumeId, Node, RaftError<VolumeId, E>>;

#[derive(Debug, thiserror::Error)]
enum Odd {
    #[error("the answer belongs to another question")]
    Answer,
    #[error("the entries to send do not follow each other: the log changed under its reader")]
    Entries,
}

impl Peer {
    async fn call<E: std::error::Error>(
        &self,
        action: RPCTypes,
        body: RequestBody,
        limit: Duration,
    ) -> Result<ReplyBody, Rpc<E>> {
        match self.caller.call(Some(self.target.0), &self.address, body, limit).await {
            Ok(reply) => Ok(reply),
            Err(error @ CallError::Unreachable) => Err(RPCError::Unreachable(Unreachable::new(&error))),
            Err(CallError::Lost) => Err(RPCError::Timeout(Timeout {
                action,
                id: VolumeId(self.caller.own().volume),
                target: self.target,
                timeout: limit,
            })),
        }
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        append: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<VolumeId>, Rpc> {
        if !follows(&append) {
            return Err(RPCError::Network(NetworkError::new(&Odd::Entries)));
        }
        let body = RequestBody::Append(append);
        match self.call(RPCTypes::AppendEntries, body, option.hard_ttl()).await? {
            ReplyBody::Append(reply) => Ok(reply),
            _ => Err(RPCError::Network(NetworkError::new(&Odd::Answer))),
        }
    }

    async fn install_snapshot(
        &mut self,
        chunk: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<VolumeId>, Rpc<InstallSnapshotError>> {
        let (id, offset) = (chunk.meta.snapshot_id.clone(), chunk.offset);
        let body = RequestBody::Snapshot(chunk);
        match self.call(RPCTypes::InstallSnapshot, body, option.hard_ttl()).await? {
            ReplyBody::Snapshot(vote) => Ok(InstallSnapshotResponse { vote }),
            ReplyBody::SnapshotMismatch => {
                let (expect, got) = ((id.clone(), 0).into(), (id, offset).into());
                let mismatch = InstallSnapshotError::SnapshotMismatch(SnapshotMismatch { expect, got });
                Err(RPCError::RemoteError(RemoteError::new(self.target, RaftError::APIError(mismatch))))
            }
            _ => Err(RPCError::Network(NetworkError::new(&Odd::Answer))),
        }
    }

    async fn vote(
        &mut self,
        vote: VoteRequest<VolumeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<VolumeId>, Rpc> {
        match self.call(RPCTypes::Vote, RequestBody::Vote(vote), option.hard_ttl()).await? {
            ReplyBody::Vote(reply) => Ok(reply),
            _ => Err(RPCError::Network(NetworkError::new(&Odd::Answer))),
        }
    }

    /// A voter that comes back is to hear of its leader before it stands for election.
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(limits::CONSENSUS_HEARTBEAT_MILLIS)))
    }
}
