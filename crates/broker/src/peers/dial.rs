//! Connecting to another broker's listener.

use std::{
    future::Ready,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::{
    codegen::{Service, http::Uri},
    transport::{Channel, Endpoint},
};

use super::{PeerOptions, lock};
use crate::tls::Tls;

/// What the receiver of a call's answer lets the other side send ahead, in bytes.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same for a connection as a whole.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

pub(super) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// No connection came about: nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {error}")]
pub(super) struct DialError {
    pub(super) address: String,
    #[source]
    pub(super) error: io::Error,
}

impl DialError {
    /// Whether nobody listens there. Not known of a machine that is silent or can't be reached.
    pub(super) fn is_refused(&self) -> bool {
        self.error.kind() == io::ErrorKind::ConnectionRefused
    }
}

/// Dials one address.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    address: Arc<str>,
    tls: Option<Tls>,
    limit: Duration,
}

impl Dialer {
    pub(super) fn new(address: &str, tls: Option<Tls>, limit: Duration) -> Self {
        Self { address: address.into(), tls, limit }
    }

    pub(super) async fn dial(self) -> Result<Socket, DialError> {
        let dialling = async {
            let stream = TcpStream::connect(&*self.address).await?;
            // Without it small messages wait for the other side's delayed acknowledgement.
            stream.set_nodelay(true)?;
            Ok(match &self.tls {
                None => Either::Left(stream),
                Some(tls) => Either::Right(Box::new(tls.connect(host(&self.address), stream).await?)),
            })
        };
        let dialled = tokio::time::timeout(self.limit, dialling).await;
        let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        dialled.map_err(|error| DialError { address: self.address.to_string(), error })
    }
}

/// Dials whenever a channel has no connection: for calls.
impl Service<Uri> for Dialer {
    type Response = TokioIo<Socket>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialling = self.clone().dial();
        Box::pin(async { dialling.await.map(TokioIo::new) })
    }
}

/// Gives out one connection and no second one: for links, whose loss must be seen.
struct Once(Mutex<Option<Socket>>);

impl Service<Uri> for Once {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = lock(&self.0).take();
        std::future::ready(socket.map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// A channel on this connection alone. Asked by keep-alive even when idle.
pub(super) async fn channel_on(
    socket: Socket,
    address: &str,
    options: &PeerOptions,
) -> Result<Channel, DialError> {
    let failed = |error: io::Error| DialError { address: address.to_owned(), error };
    let endpoint = endpoint(address, options).map_err(failed)?.keep_alive_while_idle(true);
    let connecting = endpoint.connect_with_connector(Once(Mutex::new(Some(socket))));
    connecting.await.map_err(|error| failed(io::Error::other(error)))
}

/// A channel that dials when it is used.
pub(super) fn channel_to(address: &str, dialer: Dialer, options: &PeerOptions) -> Result<Channel, DialError> {
    let endpoint = endpoint(address, options)
        .map_err(|error| DialError { address: address.to_owned(), error })?
        .keep_alive_while_idle(false);
    Ok(endpoint.connect_with_connector_lazy(dialer))
}

fn endpoint(address: &str, options: &PeerOptions) -> io::Result<Endpoint> {
    // The scheme says nothing of TLS: the dialer speaks it.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(endpoint
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout))
}

/// The host of `host:port`, without the brackets of IPv6.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_cut_from_addresses() {
        for (address, expected) in [
            ("broker-0.brokers.test:4070", "broker-0.brokers.test"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("[::1]:1", "::1"),
            ("bare", "bare"),
        ] {
            assert_eq!(host(address), expected);
        }
    }
}
