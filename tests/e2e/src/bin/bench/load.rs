//! Clients that call as fast as they are answered, and what that took.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use pondage_client::{Client, Message, Options};
use pondage_model::{
    limits,
    record::{BatchBuilder, Compression, RecordDraft},
};
use pondage_protocol::v1::{PublishRequest, messages_client::MessagesClient};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tonic::transport::{Channel, Endpoint};

use crate::{machine, server::Target};

/// The topic, on brokers.
pub(crate) const TOPIC: &str = "bench";
/// Bytes of a message's value.
pub(crate) const MESSAGE_BYTES: usize = 1_024;
/// Different messages of one publisher.
const MESSAGES: usize = 64;
const FSYNCS: &str = "pondage_shard_fsyncs_total";
const BYTES_WRITTEN: &str = "pondage_shard_written_bytes_total";

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// `Client::publish`: the batch is built for each call.
    Client,
    /// The generated stub with a request that was built before: as little as a gRPC call can cost.
    Stub,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) calls: Calls,
    pub(crate) clients: usize,
    /// Calls of all clients together; without it each calls again once it was answered.
    pub(crate) per_second: Option<f64>,
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What was counted while a measurement ran.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Load {
    pub(crate) calls: u64,
    pub(crate) calls_per_second: f64,
    pub(crate) median_micros: u64,
    pub(crate) p99_micros: u64,
    pub(crate) server_cpu_micros_per_call: f64,
    pub(crate) client_cpu_micros_per_call: f64,
    pub(crate) calls_per_fsync: Option<f64>,
    pub(crate) disk_bytes_per_call: Option<f64>,
}

#[derive(Clone)]
enum Caller {
    Client(Client, Vec<Message>),
    Stub(Box<(MessagesClient<Channel>, PublishRequest)>),
}

impl Caller {
    async fn connect(calls: Calls, address: &str) -> Result<Self> {
        Ok(match calls {
            Calls::Client => Self::Client(Client::connect(address, Options::default()).await?, Vec::new()),
            Calls::Stub => {
                let batch = batch(&noise(1))?;
                let request = PublishRequest { target: TOPIC.to_owned(), batch, ..Default::default() };
                Self::Stub(Box::new((stub(address).await?, request)))
            }
        })
    }

    /// The same connection for another client, with messages of its own.
    fn for_client(&self, index: usize) -> Self {
        let mut caller = self.clone();
        if let Self::Client(_, messages) = &mut caller {
            *messages =
                (0..MESSAGES).map(|message| Message::new(noise(index * MESSAGES + message))).collect();
        }
        caller
    }

    async fn call(&mut self, number: usize) -> Result<()> {
        match self {
            Self::Client(client, messages) => {
                client.publish(TOPIC, &messages[number % messages.len()]).await?;
            }
            Self::Stub(called) => {
                let (stub, request) = &mut **called;
                stub.publish(request.clone()).await?;
            }
        }
        Ok(())
    }
}

/// A connection with the settings of the client's own.
pub(crate) async fn stub(address: &str) -> Result<MessagesClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    Ok(MessagesClient::new(endpoint.connect().await?)
        .max_decoding_message_size(limits::RPC_BYTES_MAX)
        .max_encoding_message_size(limits::RPC_BYTES_MAX))
}

fn batch(value: &Bytes) -> Result<Bytes> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordDraft { value: Some(value), ..RecordDraft::default() })?;
    Ok(builder.build()?)
}

/// Bytes that don't compress, the same for the same seed.
fn noise(seed: usize) -> Bytes {
    let mut state = (seed as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(MESSAGE_BYTES);
    while bytes.len() < MESSAGE_BYTES {
        // xorshift64: a state other than 0 never becomes 0.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

/// Counters at one moment.
struct Sample {
    server_cpu: f64,
    client_cpu: f64,
    disk: Option<(f64, f64)>,
}

impl Sample {
    async fn take(target: &Target) -> Result<Self> {
        let Target { pids, https, .. } = target.clone();
        let sampled = tokio::task::spawn_blocking(move || {
            let sum = |metric: &str| -> Result<f64> {
                https.iter().map(|http| machine::scrape(*http, metric)).sum()
            };
            let disk = || -> Result<(f64, f64)> { Ok((sum(FSYNCS)?, sum(BYTES_WRITTEN)?)) };
            Ok(Self {
                disk: (!https.is_empty()).then(disk).transpose()?,
                server_cpu: pids.iter().map(|pid| machine::cpu_seconds(*pid)).sum::<Result<f64>>()?,
                client_cpu: machine::cpu_seconds(std::process::id())?,
            })
        });
        sampled.await?
    }
}

/// Lets the clients call and counts.
pub(crate) async fn measure(target: &Target, plan: Plan) -> Result<Load> {
    let mut connections = Vec::new();
    for _ in 0..plan.connections.min(plan.clients) {
        connections.push(Caller::connect(plan.calls, &target.address).await?);
    }
    let begin = Instant::now() + plan.warm_up;
    let end = begin + plan.measured;
    let mut clients = JoinSet::new();
    let turn = plan.per_second.map(|rate| Duration::from_secs_f64(1.0 / rate));
    for index in 0..plan.clients {
        let mut caller = connections[index % connections.len()].for_client(index);
        // One after the other, evenly.
        let mut due = turn.map(|turn| Instant::now() + turn * index as u32);
        clients.spawn(async move {
            let mut took_micros: Vec<u32> = Vec::new();
            for number in 0.. {
                if let (Some(due), Some(turn)) = (&mut due, turn) {
                    sleep_until(*due).await;
                    *due += turn * plan.clients as u32;
                }
                let started = Instant::now();
                if started >= end {
                    break;
                }
                caller.call(number).await?;
                let answered = Instant::now();
                if (begin..end).contains(&answered) {
                    let took = (answered - started).as_micros();
                    took_micros.push(u32::try_from(took).unwrap_or(u32::MAX));
                }
            }
            anyhow::Ok(took_micros)
        });
    }
    sleep_until(begin).await;
    let before = Sample::take(target).await?;
    sleep_until(end).await;
    let after = Sample::take(target).await?;

    let mut took_micros = Vec::new();
    while let Some(client) = clients.join_next().await {
        took_micros.extend(client??);
    }
    took_micros.sort_unstable();
    let calls = took_micros.len();
    let last = calls.checked_sub(1).context("nothing was answered in time")?;
    let per_call = |used: f64| used / calls as f64;
    let disk = before.disk.zip(after.disk);
    Ok(Load {
        calls: calls as u64,
        calls_per_second: calls as f64 / plan.measured.as_secs_f64(),
        median_micros: took_micros[calls / 2].into(),
        p99_micros: took_micros[(calls * 99 / 100).min(last)].into(),
        server_cpu_micros_per_call: per_call((after.server_cpu - before.server_cpu) * 1e6),
        client_cpu_micros_per_call: per_call((after.client_cpu - before.client_cpu) * 1e6),
        calls_per_fsync: disk.map(|((before, _), (after, _))| calls as f64 / (after - before).max(1.0)),
        disk_bytes_per_call: disk.map(|((_, before), (_, after))| per_call(after - before)),
    })
}
