//! The join stream: a member of a group as long as it lasts.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use pondage_model::{
    AssignmentEpoch, MemberId, Name, Refusal, ShardId, StreamId,
    membership::{GroupMember, MemberProgress},
    settings::GroupSource,
};
use pondage_node::{
    coordinator::GroupRoute,
    delivery::{ConsumerId, Held, MemberReport, MembershipReport, Notice, Request},
    disk::Disk,
};
use pondage_protocol::{
    members::{JoinStep, JoinSteps, Member, Membership, OwnedPartition, drained},
    v1::{self, join_response},
};
use tokio::{sync::watch, time::MissedTickBehavior};
use tonic::Streaming;

use super::{Services, edge::refusal_of, outbound::Outbound, partition_of, session::End};
use crate::remote::{RemoteAnswer, RemoteRequest};

/// How long a partition that a member owns may take to be known here by its name.
const NAME_PAUSE: Duration = Duration::from_millis(50);
/// How often a member is told of a group that was changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long somebody who asks for members waits for all names.
const NAMES_PATIENCE: Duration = Duration::from_secs(3);

struct Inbound {
    stream: Streaming<v1::JoinRequest>,
    steps: JoinSteps,
}

impl Inbound {
    async fn next(&mut self) -> Result<JoinStep, End> {
        match self.stream.message().await {
            Ok(Some(request)) => self.steps.next(request).map_err(End::Expelled),
            Ok(None) => Err(End::Lost),
            Err(status) => Err(refusal_of(&status).map_or(End::Lost, End::Expelled)),
        }
    }
}

/// A member at its group's home.
struct Session<'a, D: Disk> {
    services: &'a Services<D>,
    out: &'a Outbound<v1::JoinResponse>,
    group: Name,
    home: StreamId,
    shard: ShardId,
    consumer: ConsumerId,
}

impl<D: Disk> Services<D> {
    /// Serves one join stream to its end.
    pub(super) async fn join_stream(
        self,
        stream: Streaming<v1::JoinRequest>,
        out: Outbound<v1::JoinResponse>,
    ) {
        let mut inbound = Inbound { stream, steps: JoinSteps::default() };
        let first = self.first_step(inbound.next(), &out).await;
        let end = match first {
            Ok(JoinStep::Start { group, member, instance }) => {
                self.be_member(inbound, &out, group, GroupMember { id: member, instance }).await
            }
            Ok(_) => Refusal::ProtocolState { what: "a join stream begins with start" }.into(),
            Err(end) => end,
        };
        let last = match end {
            End::Closed => join_response::Step::Left(v1::JoinLeft {}),
            end => {
                let Some(refusal) = end.refusal() else { return };
                join_response::Step::Error(self.error(&refusal))
            }
        };
        // Nobody may be there to hear it.
        drop(out.send(response(last)).await);
    }

    /// Who the members of a group are, and what they own.
    pub(super) async fn members_of(&self, group: &Name) -> Result<Membership, Refusal> {
        let (stream, shard) = self.handle().group(group).await?.home;
        let asked = RemoteRequest::Membership { shard, stream };
        let until = Instant::now() + NAMES_PATIENCE;
        loop {
            let report = match self.handle().ask_leader(asked.clone()).await {
                Ok(RemoteAnswer::Membership(report)) => report,
                Ok(_) => return Err(Refusal::Interrupted),
                // The home is gone, and with it the group.
                Err(Refusal::NotFound { .. }) => {
                    return Err(Refusal::NotFound { kind: "consumer group", name: group.to_string() });
                }
                Err(refusal) => return Err(refusal),
            };
            if let Some(membership) = self.membership(stream, report) {
                return Ok(membership);
            }
            if Instant::now() > until {
                return Err(Refusal::Busy { what: "partitions that have no name here yet" });
            }
            tokio::time::sleep(NAME_PAUSE).await;
        }
    }

    /// Tells members to finish, and all others that they need not.
    pub(super) async fn drain(
        &self,
        request: v1::DrainMembersRequest,
    ) -> Result<v1::DrainMembersResponse, Refusal> {
        let members = drained(&request)?;
        let (stream, shard) = self.handle().group(&Name::new(&request.group)?).await?.home;
        self.handle().ask_leader(RemoteRequest::Drain { shard, stream, members }).await?;
        Ok(v1::DrainMembersResponse {})
    }

    /// None if partitions can't be named yet.
    fn membership(&self, home: StreamId, report: MembershipReport) -> Option<Membership> {
        let mut shares: BTreeMap<MemberId, (Vec<OwnedPartition>, u32)> = BTreeMap::new();
        for (partition, ownership) in report.partitions {
            let is_to_pass_on = ownership.is_to_pass_on();
            if let Some(owner) = ownership.owner {
                let held = Held { partition, since: owner.since, is_to_pass_on };
                shares.entry(owner.member).or_default().0.push(self.owned(home, &held)?);
            }
            if let Some(next) = ownership.target.filter(|_| is_to_pass_on) {
                shares.entry(next).or_default().1 += 1;
            }
        }
        let members = report.members.into_iter().map(|member| {
            let MemberReport { id, instance, connected_since, progress, is_draining } = member;
            let (partitions, awaited) = shares.remove(&id).unwrap_or_default();
            Member { id, instance, connected_since, progress, is_draining, partitions, awaited }
        });
        Some(Membership { epoch: report.epoch, members: members.collect() })
    }

    /// A partition by its name, once that is known here.
    fn owned(&self, home: StreamId, held: &Held) -> Option<OwnedPartition> {
        let route = self.handle().route_of(held.partition)?;
        let partition = route.partitions.iter().position(|(stream, _)| *stream == held.partition)?;
        Some(OwnedPartition {
            topic: route.name.clone(),
            partition: u32::try_from(partition).ok()?,
            since: held.since,
            revoked: held.is_to_pass_on,
            home,
        })
    }

    async fn be_member(
        &self,
        inbound: Inbound,
        out: &Outbound<v1::JoinResponse>,
        group: Name,
        member: GroupMember,
    ) -> End {
        let found = tokio::select! {
            biased;
            // Whoever gave up and came again on another connection must not be taken for the later of the two.
            () = out.closed() => return End::Lost,
            found = self.handle().group(&group) => found,
        };
        let (home, shard) = match found {
            Ok(route) => route.home,
            Err(refusal) => return refusal.into(),
        };
        let (consumer, notices) = match self.handle().join(shard, home, member).await {
            Ok(joined) => joined,
            Err(refusal) => return refusal.into(),
        };
        let session = Session { services: self, out, group, home, shard, consumer };
        let end = session.attend(inbound, notices).await;
        let lost = end != End::Closed;
        let leave = Request::Leave { stream: home, consumer, lost };
        match self.handle().submit(shard, leave).await {
            // Only who leaves waits for it: to be told that others may take over.
            Ok(left) if !lost => left.get().await.map_or_else(End::from, |_| end),
            Err(refusal) if !lost => refusal.into(),
            _ => end,
        }
    }
}

impl<D: Disk> Session<'_, D> {
    async fn attend(&self, mut inbound: Inbound, mut notices: watch::Receiver<Option<Notice>>) -> End {
        let stopping = self.services.0.stopping.clone();
        // A new topic's name may be known here a little later than its partitions are shared out.
        let mut untold = false;
        let mut route = self.services.handle().known_group(&self.group);
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                () = stopping.cancelled() => return End::Stopping,
                () = self.out.closed() => return End::Lost,
                changed = notices.changed() => match changed {
                    Ok(()) => Ok(None),
                    // The shard has lost its leadership, or is leaving this broker.
                    Err(_) => return self.services.handle().not_leader(self.shard).into(),
                },
                () = tokio::time::sleep(NAME_PAUSE), if untold => Ok(None),
                _ = look.tick() => {
                    // Its settings, and what a shared group reads, change without its members.
                    let now = self.services.handle().known_group(&self.group);
                    if now == route {
                        continue;
                    }
                    route = now;
                    Ok(None)
                }
                step = inbound.next() => step.map(Some),
            };
            let done = match step {
                Ok(None) => {
                    let notice = notices.borrow_and_update().clone();
                    match notice {
                        Some(notice) if notice.done => return self.dismissed().into(),
                        Some(notice) => self.tell(&notice).await.map(|told| untold = !told),
                        None => Ok(()),
                    }
                }
                Ok(Some(JoinStep::Release(partitions))) => self.release(partitions).await,
                Ok(Some(JoinStep::Progress(progress))) => self.progress(progress).await,
                Ok(Some(JoinStep::Leave)) => return End::Closed,
                Ok(Some(JoinStep::Start { .. })) => {
                    Err(Refusal::ProtocolState { what: "a join stream starts once" }.into())
                }
                Err(end) => Err(end),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Tells what the member owns; whether all of it could be named.
    async fn tell(&self, notice: &Notice) -> Result<bool, End> {
        let named = notice.held.iter().filter_map(|held| self.services.owned(self.home, held));
        let named: Vec<_> = named.map(v1::OwnedPartition::from).collect();
        let is_whole = named.len() == notice.held.len();
        if is_whole {
            // Of a group that is gone there is nothing to tell; it ends in a moment.
            let group = self.services.handle().known_group(&self.group);
            let Some(group) = group.filter(|group| group.home == (self.home, self.shard)) else {
                return Ok(false);
            };
            let settings = &group.settings;
            let (queue, topics) = match &settings.source {
                GroupSource::Queue(queue) => (queue.to_string(), Vec::new()),
                GroupSource::Topics(topics) => (String::new(), shared_topics(topics, &group)),
            };
            let assignment = v1::Assignment {
                epoch: notice.epoch.0,
                partitions: named,
                session_timeout_millis: settings.session_timeout_millis,
                queue,
                in_flight_per_consumer_max: settings.in_flight_per_consumer_max,
                topics,
                draining: notice.is_draining,
            };
            let step = join_response::Step::Assignment(assignment);
            self.out.send(response(step)).await?;
        }
        Ok(is_whole)
    }

    async fn release(&self, released: Vec<OwnedPartition>) -> Result<(), End> {
        let mut partitions: Vec<(StreamId, AssignmentEpoch)> = Vec::with_capacity(released.len());
        for owned in released {
            // Of a topic that is gone there is nothing to let go of.
            let Ok(route) = self.services.topic(&owned.topic) else { continue };
            let Ok(place) = partition_of(&route, owned.partition) else { continue };
            partitions.push((place.stream, owned.since));
        }
        let release = Request::Release { stream: self.home, consumer: self.consumer, partitions };
        self.services.handle().deliver(self.shard, release).await?;
        Ok(())
    }

    async fn progress(&self, progress: MemberProgress) -> Result<(), End> {
        let told = Request::Progress { stream: self.home, consumer: self.consumer, progress };
        self.services.handle().submit(self.shard, told).await?;
        Ok(())
    }

    /// Why nobody tells of the membership any more.
    fn dismissed(&self) -> Refusal {
        match self.services.handle().known_group(&self.group) {
            Some(route) if route.home == (self.home, self.shard) => {
                let what = format!("another connection speaks for this member of group {}", self.group);
                Refusal::Conflict { what }
            }
            _ => Refusal::NotFound { kind: "consumer group", name: self.group.to_string() },
        }
    }
}

/// What the members of a shared group consume.
fn shared_topics(topics: &[Name], group: &GroupRoute) -> Vec<v1::SharedTopic> {
    let shared = topics.iter().zip(&group.shares);
    shared
        .map(|(topic, shares)| v1::SharedTopic { topic: topic.to_string(), partitions: shares.len() as u32 })
        .collect()
}

fn response(step: join_response::Step) -> v1::JoinResponse {
    v1::JoinResponse { step: Some(step) }
}
