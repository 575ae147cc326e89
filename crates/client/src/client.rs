//! A connection to a broker, and what all requests share.

use std::{future::Future, sync::Arc, time::Duration};

use pondage_model::{Outcome, limits};
use pondage_protocol::v1::{
    admin_client::AdminClient, cluster_client::ClusterClient, groups_client::GroupsClient,
    messages_client::MessagesClient,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{ClientError, Options, retry::Waits};

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// A client of one broker. Cloning is cheap; clones share the connection, which comes back by itself after a loss.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    options: Arc<Options>,
}

/// Whether a request whose outcome is unknown may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice is as good as once.
    Safe,
    /// Only if it is known not to have taken effect.
    IfDefinite,
}

impl Client {
    /// Connects to a broker at an address such as `http://localhost:7400`, or `localhost:7400`.
    ///
    /// # Errors
    /// `UNAVAILABLE`, definite, if nobody answers there within the connect timeout; `INVALID_ARGUMENT` for an
    /// address that is none.
    pub async fn connect(address: &str, options: Options) -> Result<Self, ClientError> {
        let endpoint = endpoint(address, &options)?;
        let channel = endpoint.connect().await.map_err(|error| {
            let reason = deepest_reason(&error);
            ClientError::unavailable(format!("no connection to {address}: {reason}"), Outcome::Definite)
        })?;
        Ok(Self { channel, options: Arc::new(options) })
    }

    /// As [`Client::connect`], but connects with the first request.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an address that is none.
    pub fn connect_lazy(address: &str, options: Options) -> Result<Self, ClientError> {
        let channel = endpoint(address, &options)?.connect_lazy();
        Ok(Self { channel, options: Arc::new(options) })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn messages(&self) -> MessagesClient<Channel> {
        MessagesClient::new(self.channel.clone())
            .max_decoding_message_size(limits::RPC_BYTES_MAX)
            .max_encoding_message_size(limits::RPC_BYTES_MAX)
    }

    pub(crate) fn admin_service(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone()).max_decoding_message_size(limits::RPC_BYTES_MAX)
    }

    pub(crate) fn cluster_service(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone()).max_decoding_message_size(limits::RPC_BYTES_MAX)
    }

    pub(crate) fn groups(&self) -> GroupsClient<Channel> {
        GroupsClient::new(self.channel.clone()).max_decoding_message_size(limits::RPC_BYTES_MAX)
    }

    /// Calls until it succeeds, fails in a way that trying again does not help, or was tried often enough.
    pub(crate) async fn call<T, F>(
        &self,
        repeat: Repeat,
        try_once: impl FnMut() -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.call_within(self.options.request_timeout, repeat, try_once).await
    }

    /// As [`Client::call`], with another limit for each try.
    pub(crate) async fn call_within<T, F>(
        &self,
        limit: Duration,
        repeat: Repeat,
        mut try_once: impl FnMut() -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut waits = Waits::new(&self.options);
        let mut tries_left = self.options.retries;
        // A try that may have taken effect makes the whole call so, whatever later ones say.
        let mut unknown = false;
        loop {
            let error = match timeout(limit, try_once()).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => ClientError::from(status),
                Err(_) => pondage_model::Refusal::Timeout.into(),
            };
            let is_unknown = error.outcome() == Outcome::Unknown;
            unknown |= is_unknown;
            let worth_it = error.retriable() && (repeat == Repeat::Safe || !is_unknown);
            if !worth_it || tries_left == 0 {
                let worse = unknown && repeat == Repeat::IfDefinite;
                return Err(if worse { error.with_outcome(Outcome::Unknown) } else { error });
            }
            tries_left -= 1;
            sleep(waits.next()).await;
        }
    }

    /// When a wait that begins now is over.
    pub(crate) fn request_deadline(&self) -> Instant {
        Instant::now() + self.options.request_timeout
    }
}

fn endpoint(address: &str, options: &Options) -> Result<Endpoint, ClientError> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url).map_err(|_| pondage_model::Refusal::InvalidArgument {
        what: "address: expected host:port or http://host:port".to_owned(),
    })?;
    Ok(endpoint
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        // A broker that vanished without a word is noticed while streams wait for it.
        .http2_keep_alive_interval(options.request_timeout / 3)
        .keep_alive_timeout(options.connect_timeout)
        .keep_alive_while_idle(true))
}

/// The innermost cause: "connection refused" says more than "transport error".
fn deepest_reason(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    use pondage_model::Refusal;
    use pondage_protocol::to_status;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_only_where_that_is_right() {
        let options = Options { retries: 3, request_timeout: Duration::from_secs(1), ..Options::default() };
        for (repeat, refusal, tries) in [
            (Repeat::Safe, Refusal::Timeout, 4),
            (Repeat::Safe, Refusal::StorageFull, 4),
            (Repeat::IfDefinite, Refusal::StorageFull, 4),
            (Repeat::IfDefinite, Refusal::Timeout, 1),
            (Repeat::Safe, Refusal::InvalidName { length: 0 }, 1),
        ] {
            let client = Client::connect_lazy("localhost:1", options.clone()).expect("an address");
            let tried = AtomicU32::new(0);
            let result: Result<(), ClientError> = client
                .call(repeat, || {
                    tried.fetch_add(1, Ordering::Relaxed);
                    let status = to_status(&refusal);
                    async { Err(status) }
                })
                .await;
            assert_eq!(result.expect_err("refused").outcome(), refusal.outcome());
            assert_eq!(tried.load(Ordering::Relaxed), tries, "{repeat:?} {refusal:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_definite() {
        let error = Client::connect("127.0.0.1:1", Options::default()).await.expect_err("nobody there");
        assert_eq!((error.code(), error.outcome()), ("UNAVAILABLE", Outcome::Definite));
        assert!(Client::connect("not an address", Options::default()).await.is_err());
    }
}
