//! Bytes to domain and back for every protocol. No sockets: a transport hands bytes in and takes bytes out.
//!
//! [`v1`] is the native API as generated; the other modules check what came in and turn it into the words of the
//! domain, and back. What passed them needs no second look.

pub mod admin;
mod check;
pub mod cluster;
pub mod consume;
pub mod delivery;
pub mod failure;
pub mod groups;
pub mod members;
pub mod messages;
pub mod observe;
pub mod peers;
pub mod resources;
pub mod settle;

pub use failure::{Failure, LeaderHint, from_status, to_status};

/// The native API, generated from `proto/pondage/v1`.
#[allow(clippy::all, clippy::pedantic, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("pondage.v1");

    /// The descriptors of the native API, encoded, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("pondage.v1.descriptors");
}

#[cfg(test)]
mod hostile_tests;
