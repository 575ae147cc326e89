//! Connections before they are served: caps, the deadline of the first bytes, TLS, and the end of those that speak
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
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, Sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, sync::CancellationToken};
use tonic::transport::server::Connected;

use crate::{
    metrics::{Metrics, Unwelcome},
    tls::{Presented, Tls},
};

/// What every client of HTTP/2 says first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to say it, and for the handshake of TLS before.
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

/// Accepts until `cancel`; gives what greeted well. The caps come before TLS: a handshake costs more than a refusal.
pub(crate) fn accept(
    listener: TcpListener,
    greeting: Greeting,
    tls: Option<Tls>,
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
                        tokio::spawn(greet(stream, slot, greeting, tls.clone(), accepted, metrics));
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
    tls: Option<Tls>,
    accepted: mpsc::Sender<io::Result<Connection>>,
    metrics: Metrics,
) {
    // Without it small answers wait for the peer's delayed acknowledgement; it is no reason to refuse anybody.
    drop(stream.set_nodelay(true));
    let greeted = match greeting {
        Greeting::Any => Ok(Connection {
            deadline: Some(Box::pin(tokio::time::sleep_until(Instant::now() + HTTP1_TIMEOUT))),
            ..Connection::plain(stream, slot)
        }),
        Greeting::Http2 => {
            let hearing = async {
                match tls {
                    None => hear_plain(stream, slot).await,
                    Some(tls) => hear_encrypted(stream, slot, &tls).await,
                }
            };
            tokio::time::timeout(GREETING_TIMEOUT, hearing).await.unwrap_or(Err(Unwelcome::Silent))
        }
    };
    match greeted {
        // An error means that the broker stops.
        Ok(connection) => drop(accepted.send(Ok(connection)).await),
        Err(why) => metrics.unwelcome(why),
    }
}

async fn hear_plain(stream: TcpStream, slot: Slot) -> Result<Connection, Unwelcome> {
    if speaks_http2(&stream).await { Ok(Connection::plain(stream, slot)) } else { Err(Unwelcome::NotHttp2) }
}

async fn hear_encrypted(stream: TcpStream, slot: Slot, tls: &Tls) -> Result<Connection, Unwelcome> {
    let (mut stream, presented) = tls.accept(stream).await.map_err(|error| {
        tracing::debug!(%error, "a TLS handshake failed");
        Unwelcome::Handshake
    })?;
    // Here nothing can be looked at without taking it: it is given out again before what follows.
    let mut preface = [0; HTTP2_PREFACE.len()];
    for place in 0..preface.len() {
        let read = stream.read_exact(&mut preface[place..=place]).await;
        if read.is_err() || preface[place] != HTTP2_PREFACE[place] {
            return Err(Unwelcome::NotHttp2);
        }
    }
    let stream = Either::Right(Box::new(stream));
    Ok(Connection { stream, presented, again: HTTP2_PREFACE, _slot: slot, deadline: None })
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
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    presented: Presented,
    /// What was read already, to be read once more.
    again: &'static [u8],
    _slot: Slot,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    fn plain(stream: TcpStream, slot: Slot) -> Self {
        let presented = Presented::Plaintext;
        Self { stream: Either::Left(stream), presented, again: &[], _slot: slot, deadline: None }
    }

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
    type ConnectInfo = Presented;

    fn connect_info(&self) -> Presented {
        self.presented
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_deadline(context)?;
        if !self.again.is_empty() {
            let count = self.again.len().min(buffer.remaining());
            let (first, rest) = self.again.split_at(count);
            buffer.put_slice(first);
            self.again = rest;
            return Poll::Ready(Ok(()));
        }
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
