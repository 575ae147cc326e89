//! Publishing: checked at the edge, submitted in order, acknowledged as the shards answer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{FuturesOrdered, FuturesUnordered},
};
use pondage_model::{
    Refusal, ShardId,
    record::{Batch, Compression},
};
use pondage_node::{
    coordinator::{ResourceSettings, Route},
    delivery::{Reply, Request},
    disk::Disk,
};
use pondage_protocol::{messages::Publish, to_status, v1};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

use super::{Place, Services, edge::refusal_of, outbound::Outbound, partition_of};
use crate::handle::Answer;

/// Plain batches up to this size are walked where they come in; larger or compressed ones beside it.
const CHECK_INLINE_BYTES_MAX: usize = 64 << 10;
/// Requests of one stream that are not answered yet; then the stream is not read.
const IN_FLIGHT_MAX: usize = 1_024;
/// Bytes of batches of one stream that are not answered yet.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// A batch that was checked, and where it goes.
#[derive(Debug)]
struct Checked {
    shard: ShardId,
    partition: u32,
    count: u32,
    request: Request,
}

/// A check that was begun.
enum Check {
    Done(Box<Result<Checked, Refusal>>),
    UnderWay(JoinHandle<Result<Checked, Refusal>>),
}

impl Check {
    async fn end(self) -> Result<Checked, Refusal> {
        match self {
            Self::Done(result) => *result,
            // It ends early only if it panics, which the shell reports; nothing was stored.
            Self::UnderWay(check) => check.await.unwrap_or(Err(Refusal::Busy { what: "batches to check" })),
        }
    }
}

/// A batch that was submitted.
struct Submitted {
    partition: u32,
    count: u32,
    answer: Answer,
}

impl Submitted {
    async fn end(self) -> Result<v1::PublishResponse, Refusal> {
        match self.answer.get().await? {
            Reply::Published { base_offset, repeat } => Ok(v1::PublishResponse {
                partition: self.partition,
                base_offset: base_offset.0,
                count: self.count,
                duplicate: repeat,
            }),
            _ => Err(Refusal::Interrupted),
        }
    }
}

impl<D: Disk> Services<D> {
    /// Stores one batch.
    pub(super) async fn publish_one(
        &self,
        request: v1::PublishRequest,
    ) -> Result<v1::PublishResponse, Refusal> {
        let started = Instant::now();
        let checked = self.check(request).end().await?;
        let response = self.submit(checked).await?.end().await?;
        self.metrics().published(started.elapsed());
        Ok(response)
    }

    /// Begins to check a batch. The place is chosen here, in the order of arrival.
    fn check(&self, request: v1::PublishRequest) -> Check {
        let placed = Publish::try_from(request).and_then(|publish| {
            let route = self.handle().route(&publish.target)?;
            let batch = Batch::parse(own(&publish.batch))?;
            let place = self.place(&route, publish.partition, batch.producer().is_some())?;
            Ok((publish, batch, place, message_bytes_max(&route)))
        });
        let (publish, batch, place, bytes_max) = match placed {
            Ok(placed) => placed,
            Err(refusal) => return Check::Done(Box::new(Err(refusal))),
        };
        let inline =
            batch.compression() == Compression::None && batch.bytes().len() <= CHECK_INLINE_BYTES_MAX;
        let walk = move || {
            batch.check_records(bytes_max)?;
            Ok(Checked {
                shard: place.shard,
                partition: place.partition,
                count: batch.count(),
                request: Request::Publish {
                    stream: place.stream,
                    count: batch.count(),
                    producer: batch.producer(),
                    batch: batch.into_bytes(),
                    delay_millis: publish.delay_millis,
                    ttl_millis: publish.ttl_millis,
                    moved: None,
                },
            })
        };
        if inline {
            Check::Done(Box::new(walk()))
        } else {
            Check::UnderWay(tokio::task::spawn_blocking(walk))
        }
    }

    /// Which partition. Publishes without one take turns; a session can't: its sequence is the partition's.
    fn place(&self, route: &Arc<Route>, asked: Option<u32>, in_session: bool) -> Result<Place, Refusal> {
        let partitions = route.partitions.len();
        match (&route.settings, asked) {
            (ResourceSettings::Queue(_), _) => partition_of(route, 0),
            (_, Some(partition)) => partition_of(route, partition),
            (_, None) if partitions == 1 => partition_of(route, 0),
            (_, None) if in_session => {
                let what = "partition: required, since a producer session numbers its batches by partition";
                Err(Refusal::InvalidArgument { what: what.to_owned() })
            }
            (_, None) => {
                let turn = self.0.turn.fetch_add(1, Ordering::Relaxed) % partitions.max(1);
                partition_of(route, u32::try_from(turn).unwrap_or(0))
            }
        }
    }

    async fn submit(&self, checked: Checked) -> Result<Submitted, Refusal> {
        let Checked { shard, partition, count, request } = checked;
        let answer = self.handle().submit(shard, request).await?;
        Ok(Submitted { partition, count, answer })
    }

    /// Serves one stream of publishes until the client ends it and everything is answered, or either side goes.
    pub(super) async fn publish_stream(
        self,
        mut inbound: Streaming<v1::PublishStreamRequest>,
        out: Outbound<v1::PublishStreamResponse>,
    ) {
        let mut checks = FuturesOrdered::new();
        let mut answers = FuturesUnordered::new();
        let (mut in_flight, mut bytes_in_flight) = (0usize, 0usize);
        let mut reading = true;
        while reading || in_flight > 0 {
            let room = in_flight < IN_FLIGHT_MAX && bytes_in_flight < IN_FLIGHT_BYTES_MAX;
            tokio::select! {
                biased;
                () = out.closed() => return,
                Some((ticket, result)) = answers.next(), if !answers.is_empty() => {
                    let Ticket { request_id, bytes, started } = ticket;
                    in_flight -= 1;
                    bytes_in_flight -= bytes;
                    if out.send(self.acknowledgement(request_id, result, started)).await.is_err() {
                        return;
                    }
                }
                Some((ticket, checked)) = checks.next(), if !checks.is_empty() => {
                    let submitted = match checked {
                        Ok(checked) => self.submit(checked).await,
                        Err(refusal) => Err(refusal),
                    };
                    answers.push(async move {
                        let result = match submitted {
                            Ok(submitted) => submitted.end().await,
                            Err(refusal) => Err(refusal),
                        };
                        (ticket, result)
                    });
                }
                request = inbound.message(), if reading && room => match request {
                    Ok(Some(v1::PublishStreamRequest { request_id, publish })) => {
                        let publish = publish.unwrap_or_default();
                        let bytes = publish.batch.len();
                        let ticket = Ticket { request_id, bytes, started: Instant::now() };
                        in_flight += 1;
                        bytes_in_flight += bytes;
                        let check = self.check(publish);
                        checks.push_back(async move { (ticket, check.end().await) });
                    }
                    Ok(None) => reading = false,
                    Err(status) => return out.fail(self.broken(status)).await,
                },
                () = self.0.stopping.cancelled(), if reading => reading = false,
            }
        }
        if self.0.stopping.is_cancelled() {
            out.fail(to_status(&Refusal::ShuttingDown)).await;
        }
    }

    fn acknowledgement(
        &self,
        request_id: u64,
        result: Result<v1::PublishResponse, Refusal>,
        started: Instant,
    ) -> v1::PublishStreamResponse {
        use v1::publish_stream_response::Result as Wire;
        let result = match result {
            Ok(response) => {
                self.metrics().published(started.elapsed());
                Wire::Ok(response)
            }
            Err(refusal) => Wire::Error(self.error(&refusal)),
        };
        v1::PublishStreamResponse { request_id, result: Some(result) }
    }

    /// The status of a stream whose next message can't be read.
    pub(super) fn broken(&self, status: Status) -> Status {
        match refusal_of(&status) {
            Some(refusal) => {
                self.metrics().refused(refusal.code());
                to_status(&refusal)
            }
            None => status,
        }
    }
}

/// A publish that is not answered yet.
struct Ticket {
    request_id: u64,
    bytes: usize,
    started: Instant,
}

/// The batch in an allocation of its own: the shard can write the base offset in place, and a small batch doesn't
/// keep a large receive buffer alive.
fn own(batch: &Bytes) -> Bytes {
    Bytes::from(batch.to_vec())
}

fn message_bytes_max(route: &Route) -> u32 {
    match &route.settings {
        ResourceSettings::Topic(topic) => topic.message_bytes_max,
        ResourceSettings::Queue(queue) => queue.message_bytes_max,
        ResourceSettings::Group(_) => 0,
    }
}
