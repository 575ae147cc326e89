//! What gRPC's framing costs between brokers: the same pushes over a link of [`Peers`], and over a plain TCP socket with
//! a length before each message. `cargo run --profile fast-build -p pondage-broker --example peer_framing`.
#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use pondage_broker::{
    peers::{CallKind, Credit, Introduction, PeerAddress, PeerOptions, PeerSink, Peers},
    tls::Presented,
};
use pondage_model::{
    BrokerId, EntryKind, Epoch, Incarnation, LogTime, Member, Offset, Position, RawEntry, Refusal, ShardId,
    StreamId, Uuid, wire::Wire,
};
use pondage_node::{
    coordinator::PeerMessage,
    replication::{Message, Push},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::StreamExt;
use tonic::transport::server::Connected;

/// Bytes of bodies per run.
const RUN_BYTES: usize = 256 << 20;
/// Runs of each kind; an odd number has a median.
const RUNS: usize = 5;
/// Bytes of bodies that were sent and not received yet, for both kinds alike.
const UNDER_WAY_BYTES: usize = 8 << 20;

/// A message that takes so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

fn main() {
    println!("| batch | carrier | MiB/s | CPU s per GiB |\n|---|---|---|---|");
    for body_bytes in [1 << 10, 64 << 10] {
        let (mut plain, mut grpc) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            plain.push(measured(|| run_plain(body_bytes)));
            grpc.push(measured(|| run_grpc(body_bytes)));
        }
        for (carrier, runs) in [("plain TCP", plain), ("Peers", grpc)] {
            let (seconds, cpu): (Vec<f64>, Vec<f64>) = runs.into_iter().unzip();
            let rate = RUN_BYTES as f64 / f64::from(1 << 20) / median(seconds);
            println!("| {} KiB | {carrier} | {rate:.0} | {:.2} |", body_bytes >> 10, median(cpu));
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds by the wall clock and of the processor.
fn measured(run: impl FnOnce() -> Duration) -> (f64, f64) {
    let before = cpu_seconds();
    let took = run();
    (took.as_secs_f64(), (cpu_seconds() - before) * (1 << 30) as f64 / RUN_BYTES as f64)
}

/// Of this process so far, user and system, in the kernel's ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    ticks / 100.0
}

fn push(body: &Bytes, round: u64) -> Message {
    Message::Push(Push {
        epoch: Epoch(1),
        from: Position(round),
        to: Position(round + 1),
        before: Epoch(1),
        entries: vec![RawEntry {
            position: Position(round),
            epoch: Epoch(1),
            stream: StreamId(2),
            log_time: LogTime(1_700_000_000_000),
            kind: EntryKind::Publish,
            base_offset: Offset(round),
            count: 5,
            attributes: Bytes::new(),
            body: body.clone(),
        }],
        epochs: Vec::new(),
        high_watermark: Position(round),
        round,
    })
}

/// Sends with a bound on what is under way: `send` sends one, `received` has an item for each that came.
fn pumped(body_bytes: usize, mut send: impl FnMut(u64), received: &mpsc::Receiver<()>) -> Duration {
    let count = (RUN_BYTES / body_bytes) as u64;
    let ahead = (UNDER_WAY_BYTES / body_bytes) as u64;
    let begun = Instant::now();
    for number in 0..count {
        if number >= ahead {
            came(received);
        }
        send(number);
    }
    for _ in 0..ahead.min(count) {
        came(received);
    }
    begun.elapsed()
}

/// Waits for one. A link drops what it can't send, which is no measurement.
fn came(received: &mpsc::Receiver<()>) {
    received.recv_timeout(LOST_AFTER).expect("nothing is lost");
}

fn run_plain(body_bytes: usize) -> Duration {
    let body = Bytes::from(vec![7; body_bytes]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut out = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    out.set_nodelay(true).expect("a socket");
    let (mut input, _) = listener.accept().expect("dialled");
    let (done, received) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut length = [0; 4];
        while input.read_exact(&mut length).is_ok() {
            let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
            input.read_exact(&mut bytes).expect("a message");
            drop(Message::from_bytes(bytes.into()).expect("a message"));
            if done.send(()).is_err() {
                return;
            }
        }
    });
    let mut bytes = Vec::new();
    let send = |number| {
        bytes.clear();
        bytes.extend_from_slice(&[0; 4]);
        push(&body, number).put(&mut bytes);
        let length = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        out.write_all(&bytes).expect("sent");
    };
    let took = pumped(body_bytes, send, &received);
    drop(out);
    reader.join().expect("it read everything");
    took
}

struct Sink {
    received: mpsc::Sender<()>,
    linked: mpsc::Sender<()>,
}

#[tonic::async_trait]
impl PeerSink for Sink {
    fn admit(&self, _: &Introduction) -> Result<(), Refusal> {
        Ok(())
    }

    fn replica(&self, _: Member, _: ShardId, message: Message, credit: Credit) {
        drop((message, credit));
        // The last run may have ended.
        let _ = self.received.send(());
    }

    fn coordinator(&self, _: Member, _: PeerMessage, _: Credit) {}

    fn link(&self, _: BrokerId, is_up: bool) {
        if is_up {
            let _ = self.linked.send(());
        }
    }

    fn gone(&self, _: Member) {}

    async fn call(&self, _: Introduction, _: CallKind, body: Bytes) -> Result<Bytes, Refusal> {
        Ok(body)
    }
}

fn run_grpc(body_bytes: usize) -> Duration {
    let body = Bytes::from(vec![7; body_bytes]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let _within = runtime.enter();
    let (told, received) = mpsc::channel();
    let (up, linked) = mpsc::channel();
    let [one, two] = [1, 2].map(|number| {
        let member = Member { broker: BrokerId(number), incarnation: Incarnation(1) };
        let introduction = Introduction {
            cluster: Uuid([1; 16]),
            volume: Uuid([number as u8; 16]),
            incarnation: member.incarnation,
            nonce: Uuid([2; 16]),
            broker: None,
            address: String::new(),
        };
        let sink = Arc::new(Sink { received: told.clone(), linked: up.clone() });
        (Peers::new(introduction, None, sink, PeerOptions::default()), member)
    });
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    two.0.set_brokers(two.1, Vec::new());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener).map(|stream| {
        stream.and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(Local(stream))
        })
    });
    // As the broker's listener is set.
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(two.0.service())
        .serve_with_incoming(incoming);
    runtime.spawn(server);
    one.0.set_brokers(one.1, vec![PeerAddress { member: two.1, volume: Uuid([2; 16]), address }]);
    linked.recv().expect("a link");
    let send = |number| one.0.send_replica(two.1.broker, ShardId(3), push(&body, number));
    let took = pumped(body_bytes, send, &received);
    drop(_within);
    runtime.shutdown_background();
    took
}

/// A connection of this machine.
struct Local(tokio::net::TcpStream);

impl Connected for Local {
    type ConnectInfo = Presented;

    fn connect_info(&self) -> Presented {
        Presented::Plaintext
    }
}

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
