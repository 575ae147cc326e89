//! The broker's coordinator: keeps the catalog, registers this broker, assigns its shards, serves administrators,
//! and on the leader of the consensus keeps every shard led.
//!
//! ```text
//!   start:     (read the catalog ─► WriteIdentity) ─► Initialise ─► RegisterBroker ─► Assign × n
//!   failover:  lease over, or a new start ─► positions wanted ─► ElectLeaders ─► Assign ─► Serving ─► Ensure(all)
//!   apply:     propose ─► committed ─► Changed ─► Assign, Ensure(delta) on each shard ─► Route, Reply
//!   in sync:   IsrWanted ─► AlterIsr ─► Assign
//!   hand-over: planned ─► HandOver ─► HandedOver ─► ElectLeaders ─► Assign
//! ```
//!
//! A request is answered only when the catalog's entry is committed *and* the shards have made it so, wherever they
//! are led: who got OK for a queue can publish to it at once.
//!
//! Everything that the coordinator itself wants is compared with what is, after every committed command and at every
//! tick. So it does not matter whether a proposal was lost, took effect twice or was overtaken, nor whether two
//! brokers decided differently: each row names the version that it replaces.
//!
//! A lone broker is a cluster of one and goes the same way: its start is elected among its own answers.

mod administrators;
mod assigning;
mod ensuring;
mod failing_over;
mod in_sync;
mod machine;
mod made;
mod moving;
mod outcomes;
mod peers;
mod readiness;
mod registration;
mod requests;
mod resources;
mod restored;
mod shards;
#[cfg(test)]
mod tests;
mod viewing;

use std::{collections::BTreeSet, sync::Arc};

use pondage_catalog::{Change, IsrChange, planners::failover::Behind};
use pondage_model::{BrokerId, Epoch, Incarnation, Member, Name, Position, RawEntry, Refusal, ShardId, Uuid};
use pondage_storage::log::Synced;

pub use machine::Coordinator;
pub use moving::HAND_OVERS_MAX;
pub use peers::{PeerMessage, Round, ShardPosition};
pub use pondage_replication::Assignment;
pub use readiness::Readiness;
pub use requests::{
    AdminReply, AdminRequest, Applied, ClusterView, Description, GroupRoute, Resource, ResourceKind,
    ResourceSettings, Route, ShardView,
};

use crate::shard::{Ensure, RequestId};

/// What a start says of its failure domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rack {
    /// Nothing: it stays what the catalog knows from before.
    #[default]
    Unsaid,
    /// It stands in none.
    Nowhere,
    /// Its name.
    Named(String),
}

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
    /// Where clients and other brokers reach it.
    pub address: String,
    /// Its failure domain.
    pub rack: Rack,
    /// The broker whose place this volume takes, because that one's volume is gone for good.
    pub replaces: Option<BrokerId>,
}

/// What happened.
#[derive(Debug)]
pub enum CoordinatorEvent {
    /// Begin.
    Start,
    /// About 50 to 100 ms have passed.
    Tick,
    /// The consensus has something to say.
    Consensus,
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
    /// What [`CoordinatorEffect::WriteIdentity`] asked for is durable.
    IdentityWritten,
    /// The shard serves in this epoch.
    Serving(ShardId, Epoch),
    /// The shard made its streams as [`CoordinatorEffect::Ensure`] said, or could not.
    Ensured {
        /// The effect's id.
        id: RequestId,
        /// Whether it is so.
        result: Result<(), Refusal>,
    },
    /// What [`CoordinatorEffect::RemoveShard`] named says nothing any more, to nobody.
    Removed(ShardId),
    /// The answer to [`CoordinatorEffect::AskPosition`], once the shard's log is open.
    Position(ShardPosition),
    /// The shard's leader, here, wants other in-sync replicas.
    IsrWanted(IsrChange),
    /// The shard's leader, here, has seen everything of its log on `to` and appends nothing more.
    HandedOver {
        /// The shard.
        shard: ShardId,
        /// The epoch that it leads it in.
        epoch: Epoch,
        /// The version of the row that it knows.
        version: u64,
        /// Who shall lead.
        to: BrokerId,
    },
    /// Another coordinator says something.
    Peer {
        /// Which start of which broker.
        from: Member,
        /// What.
        message: PeerMessage,
    },
    /// The connection to this start of a broker was reset and its address refuses a new one: its process is gone.
    Gone(Member),
    /// The broker is to stop: hand over what it leads, then say [`CoordinatorEffect::Stopped`].
    Stop,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum CoordinatorEffect {
    /// Write these entries to shard 0's log as one batch and sync. One at a time.
    Write(Vec<RawEntry>),
    /// Make this start's number and nonce durable on the volume, then say [`CoordinatorEvent::IdentityWritten`].
    WriteIdentity {
        /// The number.
        incarnation: Incarnation,
        /// The nonce.
        nonce: Uuid,
    },
    /// The catalog knows this start: this broker is this member from now on.
    Registered(Member),
    /// The volume was copied or restored from a backup: another start of it went further. Nothing on it may be used.
    /// End, empty the volume ([`boot::reformat`](crate::boot::reformat)) and boot again as a new one.
    Reformat,
    /// Open the shard's log if it is not open, and take part in it so. This start of the broker leads only if the
    /// in-sync replicas name it. The same row again says that the shard's last wish came to nothing.
    Assign(ShardId, Assignment),
    /// This broker holds no copy of the shard any more: close it, say [`CoordinatorEvent::Removed`], and remove its
    /// folder.
    RemoveShard(ShardId),
    /// Say where the shard's log ends, with [`CoordinatorEvent::Position`], once it is open.
    AskPosition(ShardId),
    /// Hand the shard, which this broker leads in this epoch, over to an in-sync replica; say
    /// [`CoordinatorEvent::HandedOver`] when it has everything.
    HandOver {
        /// The shard.
        shard: ShardId,
        /// The epoch.
        epoch: Epoch,
        /// Who shall lead.
        to: BrokerId,
    },
    /// The hand-over of this shard came to nothing: lead on, if it is not over by itself.
    KeepLeading(ShardId),
    /// The broker stops: every shard here is to say so to its leader.
    Leave,
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
    Group(Name, Option<GroupRoute>),
    /// Tell the watchers.
    Changed(Change),
    /// Answer an administrator.
    Reply {
        /// Which request.
        id: RequestId,
        /// With what.
        result: Result<AdminReply, Refusal>,
    },
    /// Tell the coordinator of another broker. It may be lost.
    Send {
        /// Whom.
        to: BrokerId,
        /// What.
        message: PeerMessage,
    },
    /// Something that somebody should look at: an in-sync replica lacks committed entries.
    Report(Behind),
    /// Registered, and every shard that is led here has its streams: the broker serves.
    Ready,
    /// Nothing is led here any more, and nobody waits for the copies here: the broker may stop.
    Stopped,
    /// The broker can't go on.
    Fatal(Refusal),
    /// Whole segments of shard 0's log below this position may go.
    DropSegments(Position),
}
