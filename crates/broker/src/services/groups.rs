//! Where consumer groups stand, and moving them.

use pondage_model::{
    GroupEpoch, Name, Offset, Refusal,
    settings::{GroupSource, StartPosition},
};
use pondage_node::{delivery::StreamStats, disk::Disk};
use pondage_protocol::{
    consume::StartAt,
    groups::{GetOffsets, GroupPartition, SetOffsets},
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

    async fn get_members(
        &self,
        request: tonic::Request<v1::GetMembersRequest>,
    ) -> Result<Response<v1::GetMembersResponse>, Status> {
        self.served(Method::GetMembers, self.members(request.into_inner())).await
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
}

impl<D: Disk> Services<D> {
    /// Where a group of this topic begins that was never there.
    pub(super) async fn group_start(&self, group: &Name, topic: &Name) -> Result<StartAt, Refusal> {
        let settings = &self.handle().group(group).await?.settings;
        let reads = match &settings.source {
            GroupSource::Topics(topics) => topics.contains(topic),
            GroupSource::Queue(_) => false,
        };
        if !reads {
            let what = format!("group {group} does not read topic {topic}: add it to the group's topics");
            return Err(Refusal::InvalidArgument { what });
        }
        Ok(match settings.start_position {
            StartPosition::Earliest => StartAt::Earliest,
            StartPosition::Latest => StartAt::Latest,
            StartPosition::Time(time) => StartAt::Time(time),
        })
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
        let start = self.group_start(&group, &topic).await?;
        let route = self.topic(&topic)?;
        let places: Vec<Place> = places_of(&route).collect();
        let partitions = self.stand(&group, start, &places).await?;
        Ok(v1::GetOffsetsResponse {
            partitions: partitions.into_iter().map(v1::GroupPartition::from).collect(),
        })
    }

    async fn move_cursors(&self, request: v1::SetOffsetsRequest) -> Result<v1::SetOffsetsResponse, Refusal> {
        let SetOffsets { group, topic, seeks, dry_run } = SetOffsets::try_from(request)?;
        let start = self.group_start(&group, &topic).await?;
        let route = self.topic(&topic)?;
        let mut places = Vec::with_capacity(seeks.len());
        for (partition, _) in &seeks {
            places.push(partition_of(&route, *partition)?);
        }
        let mut moves = Vec::with_capacity(seeks.len());
        // Everything is checked before anything moves.
        for (stands, (place, (_, to))) in
            self.stand(&group, start, &places).await?.into_iter().zip(places.iter().zip(seeks))
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
                ..stands
            });
            return Ok(v1::SetOffsetsResponse { partitions: moved.map(v1::GroupPartition::from).collect() });
        }
        for (place, stands, offset) in moves {
            self.seek(place, &group, stands.committed.is_some(), offset).await?;
        }
        let partitions = self.stand(&group, start, &places).await?;
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
        start: StartAt,
        places: &[Place],
    ) -> Result<Vec<GroupPartition>, Refusal> {
        let figures = self.figures(places).await;
        let mut stands = Vec::with_capacity(places.len());
        for place in places {
            let found = figures.get(&place.stream).ok_or(Refusal::Busy { what: "shards that start" })?;
            stands.push(self.stand_in(group, start, *place, &found.stats).await?);
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
                }
            }
        })
    }
}
