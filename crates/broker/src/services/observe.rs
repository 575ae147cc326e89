//! Telling how a group stands, as it goes: whoever scales its consumers need not ask.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use pondage_model::{Name, Offset, Refusal, ShardId, StreamId, settings::GroupSource};
use pondage_node::disk::Disk;
use pondage_protocol::{
    groups::GroupPartition,
    observe::{GroupObservation, Observe},
    to_status, v1,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Streaming;

use super::{Place, Services, edge::refusal_of, outbound::Outbound, session::End};
use crate::remote::{RemoteAnswer, RemoteRequest};

/// How long until it is looked again when a part of the group could not be asked.
const AGAIN: Duration = Duration::from_secs(1);
/// After so long in which a part of the group could not be asked, another broker may do better.
const BLIND_MAX: Duration = Duration::from_secs(5);
/// How often a dormant group is looked at while something waits for its time: that comes without an arrival.
const SCHEDULED_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two looks: much may come to a dormant group that it never reads.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Where the streams of a group end that something may come to, by shard.
type Ends = BTreeMap<ShardId, Vec<(StreamId, Offset)>>;

impl<D: Disk> Services<D> {
    /// Serves one observer to its end.
    pub(super) async fn observe_stream(
        self,
        mut requests: Streaming<v1::ObserveRequest>,
        out: Outbound<v1::ObserveResponse>,
    ) {
        let end = match self.first_step(next(&mut requests), &out).await {
            Ok(wanted) => {
                let stopping = self.0.stopping.clone();
                tokio::select! {
                    end = self.observe(wanted, requests, &out) => end,
                    () = stopping.cancelled() => End::Stopping,
                    () = out.closed() => End::Lost,
                }
            }
            Err(end) => end,
        };
        if let Some(refusal) = end.refusal() {
            self.metrics().refused(refusal.code());
            out.fail(to_status(&refusal)).await;
        }
    }

    async fn observe(
        &self,
        mut wanted: Observe,
        mut requests: Streaming<v1::ObserveRequest>,
        out: &Outbound<v1::ObserveResponse>,
    ) -> End {
        let mut told: Option<Instant> = None;
        let mut blind_since: Option<Instant> = None;
        loop {
            let begun = Instant::now();
            let (mut again, mut ends) = (wanted.interval, Ends::new());
            // A shard here that lacks an in-sync replica answers nothing until the catalog has left that out.
            let looked = timeout(BLIND_MAX, self.look(&wanted.group)).await;
            match looked.unwrap_or(Err(Refusal::Timeout)) {
                Ok((seen, seen_ends)) => {
                    blind_since = None;
                    let is_due = told.is_none_or(|told| begun - told >= wanted.interval);
                    if seen.is_dormant() {
                        ends = seen_ends;
                        if seen.has_scheduled() {
                            again = again.min(SCHEDULED_PAUSE);
                        }
                    }
                    if is_due || !seen.is_dormant() {
                        if let Err(gone) = out.send(seen.into()).await {
                            return gone.into();
                        }
                        told = Some(begun);
                    }
                }
                Err(refusal @ Refusal::NotFound { .. }) => return refusal.into(),
                Err(refusal) => {
                    tracing::debug!(group = %wanted.group, %refusal, "a group can't be looked at");
                    if blind_since.get_or_insert(begun).elapsed() >= BLIND_MAX {
                        return refusal.into();
                    }
                    again = AGAIN;
                }
            }
            tokio::select! {
                () = sleep_until(begun + again) => {}
                () = self.arrival(ends) => sleep_until(begun + PAUSE_MIN).await,
                request = next(&mut requests) => match request {
                    Ok(request) if request.group == wanted.group => wanted = request,
                    Ok(_) => return Refusal::ProtocolState { what: "one stream observes one group" }.into(),
                    Err(end) => return end,
                },
            }
        }
    }

    /// How the group stands now, and where that ends to which something may come.
    async fn look(&self, group: &Name) -> Result<(GroupObservation, Ends), Refusal> {
        let route = self.handle().group(group).await?;
        let membership = self.members_of(group).await?;
        let mut places: Vec<(Name, Place, GroupPartition)> = Vec::new();
        match &route.settings.source {
            GroupSource::Queue(queue) => {
                let (place, stands) = self.stand_at_queue(queue).await?;
                places.push((queue.clone(), place, stands));
            }
            GroupSource::Topics(topics) => {
                for topic in topics {
                    let stands = self.stand_in_topic(group, topic).await?;
                    places.extend(stands.into_iter().map(|(place, stands)| (topic.clone(), place, stands)));
                }
            }
        }
        let mut ends = Ends::new();
        for (_, place, stands) in &places {
            ends.entry(place.shard).or_default().push((place.stream, stands.end));
        }
        let partitions = places.into_iter().map(|(source, _, stands)| (source, stands)).collect();
        Ok((GroupObservation { membership, partitions }, ends))
    }

    /// Waits until something comes to one of the streams, wherever they are led; for ever without any.
    async fn arrival(&self, ends: Ends) {
        let mut arrivals: FuturesUnordered<_> =
            ends.into_iter().map(|(shard, streams)| self.arrival_in(shard, streams)).collect();
        if arrivals.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    async fn arrival_in(&self, shard: ShardId, streams: Vec<(StreamId, Offset)>) {
        loop {
            let asked = RemoteRequest::Await { shard, streams: streams.clone() };
            match self.handle().ask_leader(asked).await {
                // What is gone is looked after, too.
                Ok(RemoteAnswer::Arrived(true)) | Err(Refusal::NotFound { .. }) => return,
                Ok(_) => {}
                // It has no leader, or one of an earlier version: whoever waits looks now and then anyway.
                Err(_) => sleep(AGAIN).await,
            }
        }
    }
}

/// What an observer asks for next. Who has nothing more to ask goes on listening.
async fn next(requests: &mut Streaming<v1::ObserveRequest>) -> Result<Observe, End> {
    match requests.message().await {
        Ok(Some(request)) => Observe::try_from(request).map_err(End::Expelled),
        Ok(None) => std::future::pending().await,
        Err(status) => Err(refusal_of(&status).map_or(End::Lost, End::Expelled)),
    }
}
