//! What all sessions have in common: how they begin and how they end.

use std::{future::Future, time::Duration};

use pondage_model::Refusal;
use pondage_node::disk::Disk;

use super::{
    Services,
    outbound::{Gone, Outbound},
};

/// How long a client may take for its first step.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How a session ends.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    /// The client closed it.
    Closed,
    /// The client's connection is gone, or it left without a word.
    Lost,
    /// The client broke the rules.
    Expelled(Refusal),
    /// The broker can't go on with it.
    Failed(Refusal),
    /// The broker stops.
    Stopping,
}

impl End {
    /// What the client is told; nothing where it closed the session or is gone.
    pub(super) fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Closed | Self::Lost => None,
            Self::Expelled(refusal) | Self::Failed(refusal) => Some(refusal),
            Self::Stopping => Some(Refusal::ShuttingDown),
        }
    }
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Lost
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal)
    }
}

impl<D: Disk> Services<D> {
    /// Waits for a client's first step, as `next` gives it.
    pub(super) async fn first_step<S, T>(
        &self,
        next: impl Future<Output = Result<S, End>>,
        out: &Outbound<T>,
    ) -> Result<S, End> {
        tokio::select! {
            first = next => first,
            () = tokio::time::sleep(START_TIMEOUT) => {
                Err(End::Expelled(Refusal::ProtocolState { what: "no first step in 10 s" }))
            }
            () = self.0.stopping.cancelled() => Err(End::Stopping),
            () = out.closed() => Err(End::Lost),
        }
    }
}
