//! What a voter needs of the world around it, and what it tells its owner.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use pondage_model::{BrokerId, Incarnation, Uuid};

/// One start of a volume: who speaks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The volume.
    pub volume: Uuid,
    /// How often it was started.
    pub incarnation: Incarnation,
    /// The random value of that start: tells it from a copy of the disk.
    pub nonce: Uuid,
}

/// Carries requests to other voters.
///
/// A request may be answered after its caller gave up, and two requests to one voter may overtake each other.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request to the broker at this address and gives its answer. `to` is the volume that is meant, and
    /// `None` for a seed, of which only the address is known; who answers is checked by the caller.
    fn call(
        &self,
        to: Option<Uuid>,
        address: &str,
        request: Bytes,
        limit: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send;
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was never delivered and will not be.
    #[error("the broker can't be reached")]
    Unreachable,
    /// It may have been delivered, or may yet be.
    #[error("no answer")]
    Lost,
}

/// What the catalog says about brokers, as far as it is applied here. Reads are cheap and don't block.
pub trait Brokers: Send + Sync + 'static {
    /// The broker with this number.
    fn broker(&self, id: BrokerId) -> Option<KnownBroker>;

    /// The broker on this volume.
    fn on_volume(&self, volume: Uuid) -> Option<KnownBroker>;
}

/// A broker's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBroker {
    /// Its number.
    pub id: BrokerId,
    /// Its current start.
    pub start: Start,
    /// Where other brokers reach it.
    pub address: String,
    /// Its volume is lost for good.
    pub lost: bool,
}

/// What the owner of a voter is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// [`Consensus::poll`](pondage_node::catalog::Consensus::poll) has something to say, or the membership changed.
    Changed,
    /// The voter ended, and nothing is agreed on here any more. Said once; what waits fails after the owner says
    /// [`ConsensusInput::Fault`](pondage_node::catalog::ConsensusInput::Fault).
    Ended(Ended),
}

/// Why a voter ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Its files can't be written or read: nothing on the volume is to be trusted from here on.
    #[error("the volume failed under the catalog's log: {0}")]
    VolumeFailed(String),
    /// Another start of this volume is registered that is newer, or another with the same number: this disk was
    /// restored from a backup, or copied. Nothing on it may be used.
    #[error("another start of this volume took over: its disk was restored or copied")]
    Superseded,
    /// A mistake of ours, or of the library: the voter stopped without a reason of the disk's.
    #[error("the voter stopped: {0}")]
    Stopped(String),
}
