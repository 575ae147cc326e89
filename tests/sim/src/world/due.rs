//! What is due at a moment.

use std::cmp::Ordering;

use pondage_model::{
    BrokerId, Epoch, Lease, Member, MoveSeq, Offset, Position, Refusal, ShardId, StreamId, entry::Move,
};
use pondage_node::{
    coordinator::{AdminReply, AdminRequest, PeerMessage},
    delivery::ConsumerId,
    shard::{ReaderId, RequestId, ShardReply, ShardRequest},
};
use pondage_replication::Message;

use super::{consensus::ConsensusDue, host::HostId, reach::Ticket};
use crate::clients::ClientId;

/// What is due somewhere in the world.
#[derive(Debug)]
pub(super) enum Due {
    /// Something on a host. `start` tells the life it belongs to: what a dead one was to do is not done.
    Host {
        host: HostId,
        start: u64,
        due: HostDue,
    },
    /// The host's broker starts.
    Restart(HostId),
    /// The host goes on after a pause.
    Resume(HostId),
    Client(ClientId),
    /// Something reaches the clients.
    Told(Told),
    /// Whoever had a connection to this life of the host notices that it is gone.
    HostLost(HostId),
    /// A client has waited long enough for an answer.
    GiveUp(ClientId, Ticket),
    /// The next fault.
    Fault,
    /// A cut of the network ends.
    Mend(u64),
    Consensus(ConsensusDue),
}

/// What is due on one host.
#[derive(Debug)]
pub(super) enum HostDue {
    ShardSync(ShardId),
    CatalogSync,
    /// The wake with this number; only the latest one counts.
    Wake {
        shard: ShardId,
        number: u64,
    },
    Segments(ShardId),
    Checkpoint {
        shard: ShardId,
        below: Position,
    },
    Replay {
        shard: ShardId,
        from: Position,
    },
    Forward {
        shard: ShardId,
        source: StreamId,
        /// Where the log has the message.
        stored: StreamId,
        moving: Move,
    },
    /// What came of a dead letter's publish at its target, or nothing did in time.
    Forwarded {
        shard: ShardId,
        source: StreamId,
        moving: Move,
        published: bool,
    },
    /// A request arrives at a shard.
    Ask {
        shard: ShardId,
        request: ShardRequest,
        waiter: Waiter,
    },
    /// A request arrives at the catalog.
    AskCatalog {
        request: AdminRequest,
        client: ClientId,
        ticket: Ticket,
    },
    /// A deleted shard's folder is removed.
    RemoveFolder(ShardId),
    /// Time passes for the coordinator and every shard.
    Tick,
    /// Another coordinator says something.
    CoordinatorPeer {
        from: Member,
        message: PeerMessage,
    },
    /// Another replica says something.
    ReplicaPeer {
        shard: ShardId,
        from: Member,
        message: Message,
    },
    /// A log's end is cut.
    Truncate {
        shard: ShardId,
        to: Position,
    },
    /// A promise is made durable.
    Persist {
        shard: ShardId,
        epoch: Epoch,
    },
    /// Entries are read for a follower.
    ReadFor {
        shard: ShardId,
        to: BrokerId,
        from: Position,
        bytes_max: usize,
    },
    /// There is a connection to another broker.
    PeerThere(BrokerId),
    /// A start of another broker is gone for certain.
    PeerGone(Member),
    /// A stopping broker ends its sessions.
    LastSessions,
    /// A stopping broker logs its leases.
    Flush,
    /// A shard of a stopping broker ends once nothing of it is being written.
    EndShard(ShardId),
}

/// What a broker tells its clients.
#[derive(Debug)]
pub(super) enum Told {
    Answer {
        client: ClientId,
        ticket: Ticket,
        reply: ShardReply,
        /// The epoch of the leader that answers.
        epoch: Epoch,
    },
    Admin {
        client: ClientId,
        ticket: Ticket,
        result: Result<AdminReply, Refusal>,
    },
    Granted {
        host: HostId,
        shard: ShardId,
        stream: StreamId,
        consumer: ConsumerId,
        messages: Vec<(Offset, Lease)>,
        /// Nothing follows for this consumer.
        done: bool,
    },
    Progress {
        reader: ReaderId,
        start: Offset,
        end: Offset,
    },
    /// The host leads the shard no more.
    SessionsEnd {
        host: HostId,
        shard: ShardId,
    },
}

/// Who waits for an answer of a shard.
#[derive(Debug)]
pub(super) enum Waiter {
    Client(ClientId, Ticket),
    Ensure(RequestId),
    /// A dead letter's publish at its target: then it is settled at its source.
    Forwarded {
        /// Who forwards, and its life.
        host: HostId,
        start: u64,
        shard: ShardId,
        source: StreamId,
        moving: Move,
    },
    /// Its settle at the source.
    Moved {
        shard: ShardId,
        source: StreamId,
        seq: MoveSeq,
    },
    /// A stopping broker's leases.
    Flushed,
    Nobody,
}

/// Something due, at a moment.
pub(super) struct Scheduled {
    pub(super) at: u64,
    pub(super) order: u64,
    pub(super) due: Box<Due>,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    /// The earliest first: the heap gives the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}
