//! What the cluster knows besides messages, as a deterministic state machine over shard 0.
//!
//! * [`Catalog`] is the state; [`Catalog::apply`] folds one committed [`Command`] into it. Equal commands at equal
//!   revisions make equal states on every broker: no clock, no randomness, no order of a hash map.
//! * [`placement`] holds the pure planners: which shard takes a stream, which brokers take a shard.
//! * [`consensus`] is the narrow port through which commands get their order and durability; [`OneVoter`]
//!   implements it for one voter.
//! * [`checkpoint`] cuts the state into pages of shard 0's log and rebuilds it from that log at a start.

mod apply;
pub mod checkpoint;
mod command;
pub mod consensus;
mod index;
pub mod invariants;
mod one_voter;
pub mod placement;
mod rows;
mod shard_changes;
mod snapshot;
mod state;

pub use apply::FEATURE_LEVELS;
pub use checkpoint::{LogEnd, Replay, ReplayError, checkpoint_pages, restore};
pub use command::{Applied, Command, Deleted, Opened, Outcome};
pub use consensus::{Consensus, ConsensusInput, ConsensusOutput, Membership, ProposalId, ReadId};
pub use one_voter::OneVoter;
pub use placement::{Decision, place_stream};
pub use rows::{
    Action, Broker, Change, ClusterInfo, Drain, FeatureLevels, Group, Kind, Meta, Queue, Shard, ShardKind,
    Stream, StreamOwner, StreamPlace, Topic, UncleanElection,
};
pub use shard_changes::{
    Election, IsrChange, ReplicaChange, ReplicaDrop, ShardRefusal, ShardResult, ShardVersion,
};
pub use state::{Catalog, Resource};
