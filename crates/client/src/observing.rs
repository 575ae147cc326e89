//! Groups as brokers tell of them, as it goes.

use std::time::Duration;

use pondage_model::{Name, limits};
use pondage_protocol::{observe::GroupObservation, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    Client, ClientError,
    brokers::Broker,
    client::{Repeat, groups},
    consume_stream::lost,
};

/// A group that is observed.
#[derive(Debug)]
pub struct Observing {
    client: Client,
    broker: Broker,
    group: Name,
    requests: mpsc::Sender<v1::ObserveRequest>,
    responses: Streaming<v1::ObserveResponse>,
}

impl Observing {
    /// How the group stands, once the broker tells it again. It can be left and called again without missing anything.
    ///
    /// # Errors
    /// `NOT_FOUND` once the group is gone; and those of the connection, or of a broker that can't ask the others: observe it
    /// anew, and the client takes another one.
    pub async fn next(&mut self) -> Result<GroupObservation, ClientError> {
        let told = match self.responses.message().await {
            Ok(response) => response.ok_or_else(lost),
            Err(status) => Err(status.into()),
        };
        let response = told.inspect_err(|error| {
            if error.retriable() {
                self.client.brokers().pass_over(&self.broker);
            }
        })?;
        Ok(response.try_into()?)
    }

    /// Wants to be told so often from now on, within 0.5 s to 60 s; false if there is no room at this moment.
    #[must_use]
    pub fn every(&self, interval: Duration) -> bool {
        self.requests.try_send(request(&self.group, interval)).is_ok()
    }
}

impl Client {
    /// Has a broker tell how a group stands and who its members are: at once, then so often (within 0.5 s to 60 s), and
    /// as soon as something comes to a group that has no members and nothing to do.
    ///
    /// # Errors
    /// Those of the connection. That there is no such group is told by [`Observing::next`].
    pub async fn observe(&self, group: &Name, interval: Duration) -> Result<Observing, ClientError> {
        let mut tries = self.tries(Repeat::Safe, Duration::ZERO);
        let opened = self.call_any(&mut tries, self.options().request_timeout, |channel| {
            let (requests, receiver) = mpsc::channel(2);
            let first = requests.try_send(request(group, interval));
            debug_assert!(first.is_ok(), "there is room for two");
            async move {
                let response = groups(channel).observe(ReceiverStream::new(receiver)).await?;
                let (metadata, responses, extensions) = response.into_parts();
                Ok(tonic::Response::from_parts(metadata, (requests, responses), extensions))
            }
        });
        let ((requests, responses), broker) = opened.await?;
        Ok(Observing { client: self.clone(), broker, group: group.clone(), requests, responses })
    }
}

fn request(group: &Name, interval: Duration) -> v1::ObserveRequest {
    let millis = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
    let (least, most) = (*limits::OBSERVE_MILLIS.start(), *limits::OBSERVE_MILLIS.end());
    v1::ObserveRequest { group: group.to_string(), interval_millis: millis.clamp(least, most) }
}
