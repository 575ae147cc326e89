//! One voter as its broker and the network see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool, mpsc},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    error::{InitializeError, RaftError},
    raft::AppendEntriesResponse,
};
use pondage_model::{Uuid, limits};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use super::{
    log_thread::Change,
    messages::{Reply, ReplyBody, Request, RequestBody},
    network::{Caller, is_older},
    ports::{Ended, Start},
    shared::Shared,
    types::{LogId, Node, Raft, Types, VolumeId},
};

/// The voter of this broker. Clones are the same one.
#[derive(Clone, Debug)]
pub struct ConsensusNode(Arc<Inner>);

/// What a voter knows, for people and gauges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The volume that leads, as far as this voter knows.
    pub leader: Option<Uuid>,
    /// The latest term.
    pub term: u64,
    /// The volumes that vote.
    pub voters: Vec<Uuid>,
    /// Those that only listen.
    pub learners: Vec<Uuid>,
    /// The last position of shard 0's log here.
    pub last: Option<u64>,
    /// The last position that was handed to the catalog's owner.
    pub applied: Option<u64>,
    /// The last position that the newest snapshot holds.
    pub snapshot: Option<u64>,
}

/// Why a cluster can't begin here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitialiseError {
    /// There is a log: the cluster began before.
    #[error("the volume has a catalog already")]
    NotEmpty,
    /// The voter ended.
    #[error("the voter stopped: {0}")]
    Stopped(String),
}

/// The parts of a voter.
pub(crate) struct Inner {
    pub(crate) raft: Raft,
    pub(crate) caller: Caller,
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: VolumeId,
    pub(crate) address: String,
    pub(crate) seeds: Vec<String>,
    pub(crate) runtime: Handle,
    changes: Mutex<mpsc::Sender<Change>>,
    /// The last entry of the log when this life began.
    pub(crate) last_at_start: Option<LogId>,
    /// When a leader was last heard of.
    heard: Mutex<Option<Instant>>,
    /// The snapshot that is being received, and where its next chunk begins.
    receiving: Mutex<Option<(String, u64)>>,
    /// Whether voters are being changed.
    pub(crate) changing: AtomicBool,
    /// Members that the catalog knew at some time in this life: one that it knows no more was removed from it.
    known: Mutex<BTreeSet<VolumeId>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("id", &self.id).field("shared", &self.shared).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is one value that is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    #[expect(clippy::too_many_arguments, reason = "its parts, put together in one place")]
    pub(crate) const fn new(
        raft: Raft,
        caller: Caller,
        shared: Arc<Shared>,
        id: VolumeId,
        address: String,
        seeds: Vec<String>,
        runtime: Handle,
        changes: mpsc::Sender<Change>,
        last_at_start: Option<LogId>,
    ) -> Self {
        Self {
            raft,
            caller,
            shared,
            id,
            address,
            seeds,
            runtime,
            changes: Mutex::new(changes),
            last_at_start,
            heard: Mutex::new(None),
            receiving: Mutex::new(None),
            changing: AtomicBool::new(false),
            known: Mutex::new(BTreeSet::new()),
        }
    }

    /// Remembers that the catalog knows the member, and says whether it ever did.
    pub(crate) fn remember_known(&self, id: VolumeId, is_known: bool) -> bool {
        let mut known = lock(&self.known);
        if is_known {
            known.insert(id);
        }
        known.contains(&id)
    }

    /// When a leader was last heard of; `None`: never in this life.
    pub(crate) fn heard(&self) -> Option<Instant> {
        *lock(&self.heard)
    }

    fn hear(&self) {
        *lock(&self.heard) = Some(Instant::now());
    }

    /// Who leads, as far as this voter knows.
    pub(crate) fn leader(&self) -> Option<VolumeId> {
        self.raft.metrics().borrow().current_leader
    }

    /// Where a member is reached.
    pub(crate) fn address_of(&self, id: VolumeId) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().get_node(&id).map(|node| node.address.clone())
    }

    /// For who asked the wrong voter.
    pub(crate) fn not_leader(&self) -> ReplyBody {
        let leader = self.leader().filter(|leader| *leader != self.id);
        ReplyBody::NotLeader(
            leader.and_then(|leader| self.address_of(leader).map(|address| (leader.0, address))),
        )
    }

    async fn answer(self: &Arc<Self>, from: Uuid, request: Bytes) -> ReplyBody {
        let Ok(request) = Request::decode(request) else { return ReplyBody::Malformed };
        if request.from.volume != from {
            return ReplyBody::Malformed;
        }
        if self.shared.has_ended() {
            return ReplyBody::Gone;
        }
        let own = self.caller.own();
        if let Some((incarnation, nonce)) = request.to
            && is_older(&own, &Start { volume: own.volume, incarnation, nonce })
        {
            self.shared.end(Ended::Superseded);
            return ReplyBody::Gone;
        }
        if self.caller.is_superseded(&request.from) {
            return ReplyBody::Superseded;
        }
        match request.body {
            RequestBody::Append(append) => match self.raft.append_entries(append).await {
                Ok(reply) => {
                    if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
                        self.hear();
                    }
                    ReplyBody::Append(reply)
                }
                Err(_) => ReplyBody::Gone,
            },
            RequestBody::Vote(vote) => self.raft.vote(vote).await.map_or(ReplyBody::Gone, ReplyBody::Vote),
            RequestBody::Snapshot(chunk) => self.receive(chunk).await,
            RequestBody::Propose(proposed) => self.propose_for_another(proposed).await,
            RequestBody::ReadIndex => self.read_for_another().await,
            RequestBody::Join { volume, address, forwarded } => {
                self.take_in(volume, address, forwarded).await
            }
        }
    }

    /// Takes the next chunk of a snapshot. Only the next: memory grows with what was received, not with the place
    /// that a chunk claims.
    async fn receive(&self, chunk: openraft::raft::InstallSnapshotRequest<Types>) -> ReplyBody {
        let id = format!("{}/{}", chunk.vote, chunk.meta.snapshot_id);
        let next = chunk.offset.saturating_add(chunk.data.len() as u64);
        {
            let mut receiving = lock(&self.receiving);
            let is_next = chunk.offset == 0
                || receiving.as_ref().is_some_and(|(known, next)| *known == id && *next == chunk.offset);
            if !is_next {
                *receiving = None;
                return ReplyBody::SnapshotMismatch;
            }
            // A chunk that is sent again begins the snapshot anew.
            *receiving = Some((id, next));
        }
        match self.raft.install_snapshot(chunk).await {
            Ok(reply) => {
                self.hear();
                ReplyBody::Snapshot(reply.vote)
            }
            Err(RaftError::APIError(_)) => ReplyBody::SnapshotMismatch,
            Err(RaftError::Fatal(_)) => ReplyBody::Gone,
        }
    }
}

impl ConsensusNode {
    pub(crate) const fn new(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// Begins a cluster's catalog with this broker as its only voter. Others join it.
    ///
    /// # Errors
    /// [`InitialiseError::NotEmpty`] if the volume has a log of it already: nothing is changed then.
    pub async fn initialise(&self) -> Result<(), InitialiseError> {
        let node = Node { address: self.0.address.clone() };
        match self.0.raft.initialize(BTreeMap::from([(self.0.id, node)])).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Err(InitialiseError::NotEmpty),
            Err(error) => Err(InitialiseError::Stopped(error.to_string())),
        }
    }

    /// Answers what another voter sent. `from` is the volume in whose name it came.
    pub async fn handle(&self, from: Uuid, request: Bytes) -> Bytes {
        let inner = Arc::clone(&self.0);
        // In the voter's own runtime, and to its end: who asked may go, what was begun must not stop half-way.
        let answer = self.0.runtime.spawn(async move { inner.answer(from, request).await });
        let body = answer.await.unwrap_or(ReplyBody::Unknown);
        Reply { from: self.0.caller.own(), body }.encode()
    }

    /// A hint that this volume's process is gone. If it led, an election begins as soon as its lease is over, which
    /// voters wait for.
    pub fn leader_gone(&self, volume: Uuid) {
        let inner = Arc::clone(&self.0);
        if inner.leader() == Some(VolumeId(volume)) && volume != inner.id.0 {
            self.0.runtime.spawn(async move { inner.elect_soon(VolumeId(volume)).await });
        }
    }

    /// Whether this voter stands for election of its own accord, when it hears nothing of a leader.
    #[cfg(test)]
    pub(super) fn run_election_timer(&self, runs: bool) {
        self.0.raft.runtime_config().elect(runs);
    }

    /// Whether one set of voters decides, and that is committed: while voters are being changed, two do.
    #[cfg(test)]
    pub(super) fn has_one_quorum(&self) -> bool {
        let metrics = self.0.raft.metrics().borrow().clone();
        let config = &metrics.membership_config;
        let is_committed = config.log_id().is_none_or(|at| metrics.last_applied.is_some_and(|to| to >= at));
        is_committed && config.membership().get_joint_config().len() == 1
    }

    /// This start of the volume has its own number now. To be called before the catalog can hear of the number:
    /// until then it speaks in the name of the start before.
    pub fn numbered(&self, start: Start) {
        self.0.caller.numbered(start);
    }

    /// What the voter knows.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        Status {
            leader: metrics.current_leader.map(|id| id.0),
            term: metrics.current_term,
            voters: membership.voter_ids().map(|id| id.0).collect(),
            learners: membership.learner_ids().map(|id| id.0).collect(),
            last: metrics.last_log_index,
            applied: self.0.shared.applied().map(|id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
        }
    }

    /// Ends the voter: when this returns, nothing of it touches the volume any more. The owner is not told.
    pub async fn shutdown(&self) {
        self.0.shared.stop();
        let inner = Arc::clone(&self.0);
        let stopped = self.0.runtime.spawn(async move {
            let _it_panicked = inner.raft.shutdown().await;
        });
        let _it_panicked = stopped.await;
        let (closed, waits) = oneshot::channel();
        if lock(&self.0.changes).send(Change::Close(closed)).is_ok() {
            let _it_is_closed = waits.await;
        }
    }
}

/// What is left of the time until then.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// When something that is asked now has to have an answer.
pub(crate) fn answer_deadline() -> Instant {
    Instant::now() + Duration::from_millis(limits::CONSENSUS_ANSWER_MILLIS)
}
