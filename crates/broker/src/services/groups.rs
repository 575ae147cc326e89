//! Where consumer groups stand, and moving them.

use pondage_model::{
    GroupEpoch, Name, Offset, Refusal, StreamId,
    settings::{GroupSource, StartPosition},
};
use pondage_node::{delivery::StreamStats, disk::Disk};
use pondage_protocol::{
    consume::StartAt,
    groups::{GetOffsets, GroupPartition, SetOffsets, SharedLag},
    v1,
};
use tonic::{Response, Status, Streaming};

use super::{
    Place, Services,
    outbound::{Outbound, OutboundStream},
    partition_of, places_of,
};
use crate::{
    handle::Progress,
    metrics::Method,
    remote::{RemoteAnswer, RemoteRequest},
};

#[tonic::async_trait]
impl<D: Disk> v1::groups_server::Groups for Services<D> {
    type JoinStream = OutboundStream<v1::JoinResponse>;

    async fn join(
        &self,
        request: tonic::Request<Streaming<v1::JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let begin = async {
            let (out, stream) = Outbound::channel();
            tokio::spawn(self.clone().join_stream(request.into_inner(), out));
            Ok(stream)
        };
        self.served(Method::Join, begin).await
    }

    type ObserveStream = OutboundStream<v1::ObserveResponse>;

    async fn observe(
        &self,
        request: tonic::Request<Streaming<v1::ObserveRequest>>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let begin = async {
            let (out, stream) = Outbound::channel();
            tokio::spawn(self.clone().observe_stream(request.into_inner(), out));
            Ok(stream)
        };
        self.served(Method::Observe, begin).await
    }

    async fn get_members(
        &self,
        request: tonic::Request<v1::GetMembersRequest>,
    ) -> Result<Response<v1::GetMembersResponse>, Status> {
        let members = async {
            let group = Name::new(&request.into_inner().group)?;
            Ok(self.members_of(&group).await?.into())
        };
        self.served(Method::GetMembers, members).await
    }

    async fn get_offsets(
        &self,
        request: tonic::Request<v1::GetOffsetsRequest>,
    ) -> Result<Response<v1::GetOffsetsResponse>, Status> {
        self.served(Method::GetOffsets, self.offsets(request.into_inner())).await
    }

    async fn set_offsets(
        &self,
        request: tonic::Request<v1::SetOffsetsRequest>,
    ) -> Result<Response<v1::SetOffsetsResponse>, Status> {
        self.served(Method::SetOffsets, self.move_cursors(request.into_inner())).await
    }

    async fn drain_members(
        &self,
        request: tonic::Request<v1::DrainMembersRequest>,
    ) -> Result<Response<v1::DrainMembersResponse>, Status> {
        self.served(Method::DrainMembers, self.drain(request.into_inner())).await
    }
}

impl<D: Disk> Services<D> {
    /// Where a group of this topic begins that was never there. Refused for a shared group: it has no cursors.
    pub(super) async fn group_start(&self, group: &Name, topic: &Name) -> Result<StartAt, Refusal> {
        match self.reading(group, topic).await? {
            Reading::InOrder(start) => Ok(start),
            Reading::Shared(_) => {
                let what = format!(
                    "group {group} is shared: its members settle messages one by one and own no partitions"
                );
                Err(Refusal::InvalidArgument { what })
            }
        }
    }

    /// How a group reads a topic.
    async fn reading(&self, group: &Name, topic: &Name) -> Result<Reading, Refusal> {
        let route = self.handle().group(group).await?;
        let settings = &route.settings;
        let index = match &settings.source {
            GroupSource::Topics(topics) => topics.iter().position(|name| name == topic),
            GroupSource::Queue(_) => None,
        };
        let Some(index) = index else {
            let what = format!("group {group} does not read topic {topic}: add it to the group's topics");
            return Err(Refusal::InvalidArgument { what });
        };
        if settings.sharing.is_some() {
            let shares = (0..).zip(route.shares.get(index).into_iter().flatten());
            let place = |(partition, &(stream, shard))| Place { partition, shard, stream };
            return Ok(Reading::Shared(shares.map(place).collect()));
        }
        Ok(Reading::InOrder(match settings.start_position {
            StartPosition::Earliest => StartAt::Earliest,
            StartPosition::Latest => StartAt::Latest,
            StartPosition::Time(time) => StartAt::Time(time),
        }))
    }

    /// A shared group's stream beside a partition, and the partition's own.
    pub(super) async fn share(
        &self,
        group: &Name,
        topic: &Name,
        partition: u32,
    ) -> Result<(Place, StreamId), Refusal> {
        let reading = self.reading(group, topic).await?;
        if let Reading::InOrder(_) = reading {
            let what = format!("group {group} is not shared: its members own partitions and commit");
            return Err(Refusal::InvalidArgument { what });
        }
        let stored = partition_of(&*self.topic(topic)?, partition).map(|place| place.stream);
        match (reading.share_of(partition), stored) {
            (Some(share), Ok(stored)) => Ok((share, stored)),
            (None, Err(refusal)) => Err(refusal),
            // One of the two is known here a moment before the other.
            _ => Err(Refusal::Busy { what: "partitions that have just come" }),
        }
    }

    /// The offset of a place in a partition that holds `progress`. An offset comes back as it is.
    pub(super) async fn resolve(
        &self,
        place: Place,
        at: StartAt,
        progress: Progress,
    ) -> Result<Offset, Refusal> {
        let Progress { start, end } = progress;
        Ok(match at {
            StartAt::Earliest => start,
            StartAt::Latest => end,
            StartAt::Time(time) => {
                // The log knows what is synced, which may be ahead of what is committed, and what retention took.
                let Place { shard, stream, .. } = place;
                match self.handle().ask_leader(RemoteRequest::OffsetAt { shard, stream, time }).await? {
                    RemoteAnswer::Offset(found) => found.unwrap_or(end).clamp(start, end),
                    _ => return Err(Refusal::Interrupted),
                }
            }
            StartAt::Offset(offset) => offset,
        })
    }

    async fn offsets(&self, request: v1::GetOffsetsRequest) -> Result<v1::GetOffsetsResponse, Refusal> {
        let GetOffsets { group, topic } = GetOffsets::try_from(request)?;
        let partitions = self.stand_in_topic(&group, &topic).await?;
        Ok(v1::GetOffsetsResponse {
            partitions: partitions.into_iter().map(|(_, stands)| stands.into()).collect(),
        })
    }

    /// How a group stands in each partition of a topic, and where that is.
    pub(super) async fn stand_in_topic(
        &self,
        group: &Name,
        topic: &Name,
    ) -> Result<Vec<(Place, GroupPartition)>, Refusal> {
        let reading = self.reading(group, topic).await?;
        let places: Vec<Place> = places_of(&*self.topic(topic)?).collect();
        let stands = self.stand(group, &reading, &places).await?;
        Ok(places.into_iter().zip(stands).collect())
    }

    /// How a group stands whose members consume a queue, and where that is.
    pub(super) async fn stand_at_queue(&self, queue: &Name) -> Result<(Place, GroupPartition), Refusal> {
        let (_, place) = self.queue(queue)?;
        let figures = self.figures(&[place]).await;
        let found = figures.get(&place.stream).ok_or(Refusal::Busy { what: "shards that start" })?;
        Ok((place, stand_shared(place, &found.stats, &found.stats)))
    }

    async fn move_cursors(&self, request: v1::SetOffsetsRequest) -> Result<v1::SetOffsetsResponse, Refusal> {
        let SetOffsets { group, topic, seeks, dry_run } = SetOffsets::try_from(request)?;
        let reading = self.reading(&group, &topic).await?;
        let route = self.topic(&topic)?;
        let mut places = Vec::with_capacity(seeks.len());
        for (partition, _) in &seeks {
            places.push(partition_of(&route, *partition)?);
        }
        let mut moves = Vec::with_capacity(seeks.len());
        // Everything is checked before anything moves.
        for (stands, (place, (_, to))) in
            self.stand(&group, &reading, &places).await?.into_iter().zip(places.iter().zip(seeks))
        {
            let (start, end) = (stands.start, stands.end);
            let offset = self.resolve(*place, to, Progress { start, end }).await?;
            if !(start..=end).contains(&offset) {
                return Err(Refusal::OutOfRange { offset, start, end });
            }
            moves.push((*place, stands, offset));
        }
        if dry_run {
            let moved = moves.into_iter().map(|(_, stands, offset)| GroupPartition {
                committed: Some(offset),
                lag: stands.end.0 - offset.0,
                delay_millis: 0,
                shared: stands
                    .shared
                    .map(|shared| SharedLag { dead_lettered: shared.dead_lettered, ..SharedLag::default() }),
                ..stands
            });
            return Ok(v1::SetOffsetsResponse { partitions: moved.map(v1::GroupPartition::from).collect() });
        }
        for (place, stands, offset) in moves {
            match reading.share_of(place.partition) {
                Some(Place { shard, stream, .. }) => {
                    self.handle().ask_leader(RemoteRequest::Restart { shard, stream, start: offset }).await?;
                }
                None => self.seek(place, &group, stands.committed.is_some(), offset).await?,
            }
        }
        let partitions = self.stand(&group, &reading, &places).await?;
        Ok(v1::SetOffsetsResponse {
            partitions: partitions.into_iter().map(v1::GroupPartition::from).collect(),
        })
    }

    /// Moves a cursor; a group that was never here begins here.
    async fn seek(&self, place: Place, group: &Name, known: bool, offset: Offset) -> Result<(), Refusal> {
        let Place { shard, stream, .. } = place;
        if !known {
            let claim = RemoteRequest::Claim { shard, stream, group: group.clone(), start: offset };
            if let RemoteAnswer::Claimed { offset: at, .. } = self.handle().ask_leader(claim).await?
                && at == offset
            {
                return Ok(());
            }
        }
        // Also for a group that claimed the partition in the meantime.
        let seek = RemoteRequest::Seek { shard, stream, group: group.clone(), offset };
        self.handle().ask_leader(seek).await.map(drop)
    }

    /// How a group stands in some partitions, in their order.
    async fn stand(
        &self,
        group: &Name,
        reading: &Reading,
        places: &[Place],
    ) -> Result<Vec<GroupPartition>, Refusal> {
        let shares = places.iter().filter_map(|place| reading.share_of(place.partition));
        let asked: Vec<Place> = places.iter().copied().chain(shares).collect();
        let figures = self.figures(&asked).await;
        let stats = |stream: StreamId| {
            figures.get(&stream).map(|found| &found.stats).ok_or(Refusal::Busy { what: "shards that start" })
        };
        let mut stands = Vec::with_capacity(places.len());
        for place in places {
            let of_partition = stats(place.stream)?;
            stands.push(match reading {
                Reading::InOrder(start) => self.stand_in(group, *start, *place, of_partition).await?,
                Reading::Shared(_) => {
                    let share = reading.share_of(place.partition);
                    let share = share.ok_or(Refusal::Busy { what: "partitions that have just come" })?;
                    stand_shared(*place, of_partition, stats(share.stream)?)
                }
            });
        }
        Ok(stands)
    }

    async fn stand_in(
        &self,
        group: &Name,
        group_start: StartAt,
        place: Place,
        stats: &StreamStats,
    ) -> Result<GroupPartition, Refusal> {
        let (start, end) = (stats.start, stats.end);
        let known = stats.groups.iter().find(|known| known.group == *group);
        Ok(match known {
            Some(known) => GroupPartition {
                partition: place.partition,
                committed: Some(known.offset),
                epoch: known.epoch,
                start,
                end,
                lag: known.lag,
                delay_millis: known.oldest_age_millis.unwrap_or(0),
                committed_messages: known.committed,
                shared: None,
            },
            None => {
                let first = self.resolve(place, group_start, Progress { start, end }).await?;
                let lag = end.0.saturating_sub(first.0);
                let oldest = stats.oldest_age_millis.filter(|_| first == start && lag > 0);
                GroupPartition {
                    partition: place.partition,
                    committed: None,
                    epoch: GroupEpoch::ZERO,
                    start,
                    end,
                    lag,
                    delay_millis: oldest.unwrap_or(0),
                    committed_messages: 0,
                    shared: None,
                }
            }
        })
    }
}

/// How a group reads a topic.
enum Reading {
    /// Each partition in order, beginning here.
    InOrder(StartAt),
    /// Message by message: its streams beside the partitions, by their numbers.
    Shared(Vec<Place>),
}

impl Reading {
    /// A shared group's stream beside a partition.
    fn share_of(&self, partition: u32) -> Option<Place> {
        let Self::Shared(shares) = self else { return None };
        shares.get(usize::try_from(partition).ok()?).copied()
    }
}

/// How a shared group stands in a partition; or who consumes a queue, which is its own share.
fn stand_shared(place: Place, partition: &StreamStats, share: &StreamStats) -> GroupPartition {
    GroupPartition {
        partition: place.partition,
        committed: Some(share.start),
        epoch: GroupEpoch::ZERO,
        start: partition.start,
        end: partition.end,
        lag: share.backlog(),
        delay_millis: share.oldest_age_millis.unwrap_or(0),
        committed_messages: share.settled,
        shared: Some(SharedLag {
            unacked: share.unacked,
            scheduled: share.scheduled,
            dead_lettering: share.moving + share.held,
            dead_lettered: share.dead_lettered,
        }),
    }
}
