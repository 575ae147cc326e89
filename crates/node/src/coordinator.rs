//! The broker's coordinator: owns the catalog, registers this broker, starts its shards, serves administrators.
//!
//! ```text
//!   start:  Initialise ─► RegisterBroker(incarnation, nonce) ─► LeadAll ─► StartShard × n ─► Ensure(all) × n ─► Ready
//!   apply:  propose ─► committed ─► Changed ─► Ensure(delta) on each shard ─► Route, Reply
//! ```
//!
//! A request is answered only when the catalog's entry is committed *and* the shards have made it so: who got OK for
//! a queue can publish to it at once.

mod machine;
mod shards;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use pondage_catalog::Change;
use pondage_model::{
    BrokerId, Epoch, Incarnation, Name, Position, RawEntry, Refusal, Revision, ShardId, StreamId, Uuid,
    settings::{GroupSettings, QueueSettings, TopicSettings},
};
use pondage_storage::log::Synced;

pub use machine::Coordinator;

use crate::shard::{Ensure, RequestId};

/// Who this broker is, from its volume and its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that the volume belongs to.
    pub cluster: Uuid,
    /// The volume.
    pub volume: Uuid,
    /// This start's number, durable on the volume.
    pub incarnation: Incarnation,
    /// This start's random number, durable with it.
    pub nonce: Uuid,
    /// Where clients reach it.
    pub address: String,
}

/// What happened.
#[derive(Debug)]
pub enum CoordinatorEvent {
    /// Begin.
    Start,
    /// An administrator asks.
    Request {
        /// Comes back in [`CoordinatorEffect::Reply`].
        id: RequestId,
        /// What.
        request: AdminRequest,
    },
    /// The batch of the last [`CoordinatorEffect::Write`] is durable.
    Synced(Synced),
    /// Its write or sync failed.
    WriteFailed,
    /// The shard serves in its epoch.
    Serving(ShardId),
    /// The shard made its streams as [`CoordinatorEffect::Ensure`] said, or could not.
    Ensured {
        /// The effect's id.
        id: RequestId,
        /// Whether it is so.
        result: Result<(), Refusal>,
    },
}

/// What an administrator can ask.
#[derive(Clone, Debug)]
pub enum AdminRequest {
    /// Create or update a topic.
    ApplyTopic(Name, TopicSettings),
    /// Create or update a queue.
    ApplyQueue(Name, QueueSettings),
    /// Create or update a consumer group.
    ApplyGroup(Name, GroupSettings),
    /// Delete. The caller counted the messages that are left, for `DeleteIfEmpty`.
    Delete {
        /// What kind of thing.
        kind: ResourceKind,
        /// Which.
        name: Name,
        /// Messages that it still holds.
        messages: u64,
    },
    /// One resource.
    Get(ResourceKind, Name),
    /// All of a kind, of every kind if `None`, by name.
    List(Option<ResourceKind>),
    /// Changes after a revision, for a watch that begins or goes on.
    Changes(Revision),
    /// The cluster as a whole.
    Describe,
    /// What applying this would do, without doing it.
    Preview(Box<AdminRequest>),
    /// A block of producer ids.
    AllocateProducers,
}

pub use pondage_catalog::Kind as ResourceKind;

/// The answer.
#[derive(Clone, Debug)]
pub enum AdminReply {
    /// It is so.
    Applied {
        /// Whether anything was made or changed.
        applied: Applied,
        /// The catalog's revision.
        revision: Revision,
    },
    /// It is gone.
    Deleted {
        /// The catalog's revision.
        revision: Revision,
    },
    /// The resource.
    Resource(Box<Resource>),
    /// The resources and the catalog's revision at which they are as given.
    Resources(Vec<Resource>, Revision),
    /// The changes; `None` if the revision is too old to tell: list again.
    Changes(Option<Vec<Change>>, Revision),
    /// The cluster.
    Described(Box<Description>),
    /// Producer ids from `first` on.
    Producers {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
}

/// The cluster as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its identity.
    pub cluster: Uuid,
    /// The broker that answers.
    pub broker: BrokerId,
    /// Every broker, by id.
    pub brokers: Vec<pondage_catalog::Broker>,
    /// Shards, the catalog's own included.
    pub shards: usize,
    /// Streams.
    pub streams: usize,
    /// The catalog's revision.
    pub revision: Revision,
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was not there before.
    Created,
    /// Its settings changed.
    Updated,
    /// It was just so already.
    Unchanged,
}

/// A topic, queue or group as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: Name,
    /// Never the same for two resources, also of one name.
    pub uid: Uuid,
    /// The revision of its last change.
    pub revision: Revision,
    /// Its settings, by kind.
    pub settings: ResourceSettings,
    /// Its streams by partition; empty for groups.
    pub partitions: Vec<(StreamId, ShardId)>,
}

/// Settings by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kinds")]
pub enum ResourceSettings {
    Topic(TopicSettings),
    Queue(QueueSettings),
    Group(GroupSettings),
}

/// Where the messages of a name are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The topic's or queue's name.
    pub name: Name,
    /// Its settings, by kind.
    pub settings: ResourceSettings,
    /// Its streams by partition.
    pub partitions: Vec<(StreamId, ShardId)>,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum CoordinatorEffect {
    /// Write these entries to shard 0's log as one batch and sync. One at a time.
    Write(Vec<RawEntry>),
    /// Open the shard's log if it is not open, and lead it in this epoch.
    StartShard(ShardId, Epoch),
    /// The shard is gone: close it and remove its folder.
    RemoveShard(ShardId),
    /// Make the shard's streams so and answer with [`CoordinatorEvent::Ensured`].
    Ensure {
        /// Comes back.
        id: RequestId,
        /// Which shard.
        shard: ShardId,
        /// Its streams.
        streams: Vec<Ensure>,
        /// These are all, and the catalog has these groups.
        complete: Option<Arc<BTreeSet<Name>>>,
    },
    /// Messages of this name go there from now on; `None`: the name is gone.
    Route(Name, Option<Route>),
    /// Groups and their settings, for who serves consumers; `None`: gone.
    Group(Name, Option<GroupSettings>),
    /// Tell the watchers.
    Changed(Change),
    /// Answer an administrator.
    Reply {
        /// Which request.
        id: RequestId,
        /// With what.
        result: Result<AdminReply, Refusal>,
    },
    /// Registered, every shard is led and has its streams: the broker serves.
    Ready,
    /// The broker can't go on.
    Fatal(Refusal),
    /// Whole segments of shard 0's log below this position may go.
    DropSegments(Position),
}
