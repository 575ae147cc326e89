//! The words of the domain: ids, positions, offsets, epochs, record batches, settings, entries, limits.
//!
//! Nothing here knows a runtime, a clock, a file or a socket. The other crates speak to each other in these
//! types; wire and resource types live and die at their borders.

pub mod entry;
pub mod ids;
pub mod limits;
pub mod membership;
pub mod name;
pub mod planted;
pub mod record;
pub mod refusal;
pub mod settings;
pub mod wire;

pub use entry::{Body, Entry, EntryKind, RawEntry};
pub use ids::{
    AssignmentEpoch, Attempt, BrokerId, Epoch, GroupEpoch, Incarnation, Lease, LogTime, Member, MemberId,
    MoveSeq, NoUuid, Offset, Position, ProducerId, Revision, ShardId, StreamId, Token, Uuid,
};
pub use name::Name;
pub use refusal::{Code, Outcome, Refusal};
