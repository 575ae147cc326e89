//! What is due at a moment.

use std::cmp::Ordering;

use pondage_model::{Position, ShardId, StreamId, entry::Move};
use pondage_node::{
    coordinator::AdminRequest,
    shard::{RequestId, ShardRequest},
};

use crate::clients::ClientId;

/// What is due. `start` tells the broker's start it belongs to: what a dead one was to do is not done.
#[derive(Debug)]
pub(super) enum Due {
    ShardSync {
        start: u64,
        shard: ShardId,
    },
    CatalogSync {
        start: u64,
    },
    /// The wake with this number; only the latest one counts.
    Wake {
        start: u64,
        shard: ShardId,
        number: u64,
    },
    Segments {
        start: u64,
        shard: ShardId,
    },
    Replay {
        start: u64,
        shard: ShardId,
        from: Position,
    },
    Forward {
        start: u64,
        shard: ShardId,
        source: StreamId,
        moving: Move,
    },
    /// A request arrives at a shard.
    Ask {
        start: u64,
        shard: ShardId,
        request: ShardRequest,
        waiter: Waiter,
    },
    /// A request arrives at the catalog.
    AskCatalog {
        start: u64,
        request: AdminRequest,
        client: ClientId,
    },
    /// A deleted shard's folder is removed.
    RemoveFolder {
        start: u64,
        shard: ShardId,
    },
    Client(ClientId),
    Crash,
    /// The broker is asked to stop in order.
    Stop,
    /// A stopping broker logs its leases.
    Flush {
        start: u64,
    },
    /// A shard of a stopping broker ends once nothing of it is being written.
    EndShard {
        start: u64,
        shard: ShardId,
    },
    Restart,
}

/// Who waits for an answer of a shard.
#[derive(Debug)]
pub(super) enum Waiter {
    Client(ClientId),
    Ensure(RequestId),
    /// A dead letter's publish at its target: then it is settled at its source.
    Forwarded {
        shard: ShardId,
        source: StreamId,
        moving: Move,
    },
    /// Its settle at the source.
    Moved {
        shard: ShardId,
        source: StreamId,
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
