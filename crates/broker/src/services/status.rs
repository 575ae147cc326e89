//! What the shards report of their streams: one question per shard, however many streams it has.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::join_all;
use pondage_model::{Refusal, ShardId, StreamId};
use pondage_node::{
    disk::Disk,
    shard::{ShardReply, ShardRequest, StreamReport},
};
use pondage_protocol::resources::StreamStatus;

use super::{Place, Services};
use crate::remote::{Figures, RemoteAnswer, RemoteRequest};

impl<D: Disk> Services<D> {
    /// The figures of streams, wherever they are led. One whose leader does not answer is left out.
    pub(super) async fn figures(&self, places: &[Place]) -> HashMap<StreamId, Figures> {
        let mut by_shard: BTreeMap<ShardId, Vec<StreamId>> = BTreeMap::new();
        for place in places {
            by_shard.entry(place.shard).or_default().push(place.stream);
        }
        let asked = by_shard
            .into_iter()
            .map(|(shard, streams)| self.handle().ask_leader(RemoteRequest::Figures { shard, streams }));
        let mut figures = HashMap::new();
        for answer in join_all(asked).await {
            if let Ok(RemoteAnswer::Figures(found)) = answer {
                figures.extend(found.into_iter().map(|found| (found.stream, found)));
            }
        }
        figures
    }

    /// The report of one stream that is led here.
    pub(super) async fn report(&self, place: Place) -> Result<StreamReport, Refusal> {
        let asked = ShardRequest::Stats(Some(vec![place.stream]));
        match self.handle().ask(place.shard, asked).await? {
            ShardReply::Stats(mut found) => found
                .pop()
                .ok_or_else(|| Refusal::NotFound { kind: "stream", name: place.stream.to_string() }),
            _ => Err(Refusal::Interrupted),
        }
    }

    /// The status of a stream, from its figures.
    pub(super) fn status(&self, place: Place, figures: Option<&Figures>) -> StreamStatus {
        let mut status = StreamStatus {
            partition: place.partition,
            shard: place.shard,
            stream: place.stream,
            ..StreamStatus::default()
        };
        if let Some(Figures { stats, consumers, .. }) = figures {
            status.leader = self.handle().leader_of(place.shard).map(|leader| leader.broker);
            status.start = stats.start;
            status.end = stats.end;
            status.ready = stats.ready;
            status.unacked = stats.unacked;
            // What waits for a dead-letter queue that is not there waits for its time, for all who look from outside.
            status.scheduled = stats.scheduled + stats.held;
            status.moving = stats.moving;
            status.dead_lettered = stats.dead_lettered;
            status.settled = stats.settled;
            status.oldest_age_millis = stats.oldest_age_millis.unwrap_or(0);
            status.consumers = *consumers;
        }
        status
    }
}
