//! Connections before they are served: caps, the deadline of the first bytes, and the end of those that speak
//! something else.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::metrics::{Metrics, Unwelcome};

/// What every client of HTTP/2 says first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to say it.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks at a greeting that is incomplete.
const GREETING_POLL: Duration = Duration::from_millis(10);
/// Pause after a failed accept: descriptors may be exhausted, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection of HTTP/1 may last: it carries one request.
const HTTP1_TIMEOUT: Duration = Duration::from_secs(15);
/// Greeted connections that wait to be served.
const WAITING_MAX: usize = 64;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// In total.
    pub(crate) total: usize,
    /// Of one address.
    pub(crate) per_address: usize,
}

/// What a connection has to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// The preface of HTTP/2, in time.
    Http2,
    /// Anything; but the connection as a whole has a deadline.
    Any,
}

/// Accepts until `cancel`; gives what greeted well.
pub(crate) fn accept(
    listener: TcpListener,
    greeting: Greeting,
    caps: Caps,
    metrics: Metrics,
    cancel: CancellationToken,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (accepted, incoming) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let doors = Doors { caps, open: Arc::default(), metrics };
        loop {
            let stream = tokio::select! {
                () = cancel.cancelled() => return,
                stream = listener.accept() => stream,
            };
            match stream {
                Ok((stream, address)) => match doors.enter(address.ip()) {
                    Some(slot) => {
                        let (accepted, metrics) = (accepted.clone(), doors.metrics.clone());
                        tokio::spawn(greet(stream, slot, greeting, accepted, metrics));
                    }
                    None => doors.metrics.unwelcome(Unwelcome::TooMany),
                },
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    incoming
}

async fn greet(
    stream: TcpStream,
    slot: Slot,
    greeting: Greeting,
    accepted: mpsc::Sender<io::Result<Connection>>,
    metrics: Metrics,
) {
    // Without it small answers wait for the peer's delayed acknowledgement; it is no reason to refuse anybody.
    drop(stream.set_nodelay(true));
    let deadline = match greeting {
        Greeting::Any => Some(Box::pin(tokio::time::sleep_until(Instant::now() + HTTP1_TIMEOUT))),
        Greeting::Http2 => match tokio::time::timeout(GREETING_TIMEOUT, speaks_http2(&stream)).await {
            Ok(true) => None,
            Ok(false) => return metrics.unwelcome(Unwelcome::NotHttp2),
            Err(_) => return metrics.unwelcome(Unwelcome::Silent),
        },
    };
    // An error means that the broker stops.
    drop(accepted.send(Ok(Connection { stream, _slot: slot, deadline })).await);
}

/// Whether the stream begins as HTTP/2 does. Takes nothing from it.
async fn speaks_http2(stream: &TcpStream) -> bool {
    let mut seen = [0; HTTP2_PREFACE.len()];
    loop {
        match stream.peek(&mut seen).await {
            Ok(count) if count == seen.len() => return seen == HTTP2_PREFACE,
            Ok(count) if count > 0 && HTTP2_PREFACE.starts_with(&seen[..count]) => {
                tokio::time::sleep(GREETING_POLL).await;
            }
            _ => return false,
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Lets connections in as long as there is room.
struct Doors {
    caps: Caps,
    open: Arc<Mutex<Open>>,
    metrics: Metrics,
}

impl Doors {
    fn enter(&self, address: IpAddr) -> Option<Slot> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        if open.total >= self.caps.total || of_address >= self.caps.per_address {
            return None;
        }
        open.total += 1;
        open.by_address.insert(address, of_address + 1);
        self.metrics.connected(1);
        Some(Slot { address, open: Arc::clone(&self.open), metrics: self.metrics.clone() })
    }
}

/// A place among the open connections, until it is dropped.
struct Slot {
    address: IpAddr,
    open: Arc<Mutex<Open>>,
    metrics: Metrics,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
        self.metrics.connected(-1);
    }
}

/// A connection that was let in.
pub(crate) struct Connection {
    stream: TcpStream,
    _slot: Slot,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    fn check_deadline(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_deadline(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_deadline(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_deadline(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
