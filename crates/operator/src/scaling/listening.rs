//! Hearing what brokers say of a group, through whichever of them is there.

use std::time::Duration;

use pondage_client::{GroupObservation, Observing};
use tokio::time::sleep;

use super::Wanted;
use crate::{error::ReconcileError, names::Key, operator::Operator};

/// How long to wait before another broker is asked to tell.
const AGAIN: Duration = Duration::from_secs(1);

/// A broker that tells of a group, or that none does at the moment.
#[derive(Debug, Default)]
pub(super) struct Listening {
    observing: Option<Observing>,
    /// How often it was asked to.
    every: Duration,
}

impl Listening {
    /// How the group stands, once a broker tells it; each tells it so often. It can be left and called again without
    /// missing anything.
    pub(super) async fn next(
        &mut self,
        operator: &Operator,
        (key, wanted): (&Key, &Wanted),
        every: Duration,
    ) -> GroupObservation {
        loop {
            match self.try_next(operator, wanted, every).await {
                Ok(told) => return told,
                Err(error) => {
                    tracing::debug!(group = %key, %error, "no broker tells of the group");
                    self.observing = None;
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn try_next(
        &mut self,
        operator: &Operator,
        wanted: &Wanted,
        every: Duration,
    ) -> Result<GroupObservation, ReconcileError> {
        if self.observing.is_none() {
            let connection = operator.connections.get(&wanted.cluster).ok_or(ReconcileError::NotConnected)?;
            (self.observing, self.every) =
                (Some(connection.client.observe(&wanted.group, every).await?), every);
        }
        let Some(observing) = &mut self.observing else { return Err(ReconcileError::NotConnected) };
        if self.every != every && observing.every(every) {
            self.every = every;
        }
        Ok(observing.next().await?)
    }
}
