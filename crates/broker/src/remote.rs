//! What one broker asks of another that leads a shard: figures, dead letters, the cursors of groups.
//!
//! Messages themselves never go this way: clients speak to the leader. The bytes are a [`RemoteRequest`] one way and
//! a [`RemoteAnswer`] the other; whoever carries them needs to know nothing of them.

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use pondage_model::{
    BrokerId, Epoch, GroupEpoch, LogTime, MemberId, Name, Offset, Refusal, ShardId, StreamId,
    entry::MovedFrom,
    wire::{Malformed, Wire},
    wire_enum, wire_struct,
};
use pondage_node::{
    delivery::{self, GroupStats, MembershipReport, StreamStats},
    disk::Disk,
    shard::{ShardReply, ShardRequest},
};

use crate::handle::Handle;

/// How long another broker may take for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a broker waits for something to come before it answers that nothing did; shorter than the above.
const AWAIT_TIMEOUT: Duration = Duration::from_secs(3);

/// The way to other brokers.
#[tonic::async_trait]
pub trait Remote: Debug + Send + Sync {
    /// Takes a request to a broker, to its [`Handle::answer`], and brings the answer. Requests have about as many
    /// bytes as a batch may have.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] (definite) if the broker was never reached; else [`Refusal::Timeout`] (unknown).
    async fn call(&self, to: BrokerId, request: Bytes) -> Result<Bytes, Refusal>;
}

/// What is asked of the leader of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteRequest {
    /// Figures of streams.
    Figures {
        /// Their shard.
        shard: ShardId,
        /// Which.
        streams: Vec<StreamId>,
    },
    /// Store a dead letter, once.
    Store {
        /// The dead-letter queue's shard.
        shard: ShardId,
        /// The dead-letter queue.
        stream: StreamId,
        /// The message, as a batch of one.
        batch: Bytes,
        /// The stream it leaves.
        source: StreamId,
        /// Which of that stream's moves it is.
        seq: pondage_model::MoveSeq,
    },
    /// Claim a partition for a group.
    Claim {
        /// The partition's shard.
        shard: ShardId,
        /// The partition.
        stream: StreamId,
        /// The group.
        group: Name,
        /// Where a group begins that was never here.
        start: Offset,
    },
    /// Move a group's cursor.
    Seek {
        /// The partition's shard.
        shard: ShardId,
        /// The partition.
        stream: StreamId,
        /// The group.
        group: Name,
        /// Where to.
        offset: Offset,
    },
    /// Read on from an offset for a shared group.
    Restart {
        /// The partition's shard.
        shard: ShardId,
        /// The shared group's stream.
        stream: StreamId,
        /// Where from.
        start: Offset,
    },
    /// The first offset whose log time is at or after this.
    OffsetAt {
        /// The stream's shard.
        shard: ShardId,
        /// The stream.
        stream: StreamId,
        /// The time.
        time: LogTime,
    },
    /// The members of a group.
    Membership {
        /// The shard of the group's home.
        shard: ShardId,
        /// The home.
        stream: StreamId,
    },
    /// Say which members of a group are drained.
    Drain {
        /// The shard of the group's home.
        shard: ShardId,
        /// The home.
        stream: StreamId,
        /// Who.
        members: Vec<MemberId>,
    },
    /// Wait for a while until something comes to one of these streams.
    Await {
        /// The streams' shard.
        shard: ShardId,
        /// Which, and where each ended.
        streams: Vec<(StreamId, Offset)>,
    },
}
wire_enum!(RemoteRequest {
    1 => Figures { shard, streams },
    2 => Store { shard, stream, batch, source, seq },
    3 => Claim { shard, stream, group, start },
    4 => Seek { shard, stream, group, offset },
    5 => OffsetAt { shard, stream, time },
    6 => Membership { shard, stream },
    7 => Restart { shard, stream, start },
    8 => Drain { shard, stream, members },
    9 => Await { shard, streams },
});

impl RemoteRequest {
    /// The shard whose leader it is for.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        match self {
            Self::Figures { shard, .. }
            | Self::Store { shard, .. }
            | Self::Claim { shard, .. }
            | Self::Seek { shard, .. }
            | Self::Restart { shard, .. }
            | Self::OffsetAt { shard, .. }
            | Self::Membership { shard, .. }
            | Self::Drain { shard, .. }
            | Self::Await { shard, .. } => *shard,
        }
    }
}

/// The answer to a [`RemoteRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteAnswer {
    /// The figures of the streams that there are.
    Figures(Vec<Figures>),
    /// The group owns the partition.
    Claimed {
        /// The new epoch.
        epoch: GroupEpoch,
        /// The next message to read.
        offset: Offset,
    },
    /// Where that time begins, if anything is as late.
    Offset(Option<Offset>),
    /// The members, and what they own.
    Membership(MembershipReport),
    /// Whether something came.
    Arrived(bool),
    /// It took effect, or had before.
    Done,
    /// It was not done.
    Refused(Reason),
}
wire_enum!(RemoteAnswer {
    1 => Figures(figures),
    2 => Claimed { epoch, offset },
    3 => Offset(offset),
    4 => Done,
    5 => Refused(reason),
    6 => Membership(report),
    7 => Arrived(is_there),
});

/// The figures of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The stream.
    pub stream: StreamId,
    /// What it holds.
    pub stats: StreamStats,
    /// Consumers attached to it.
    pub consumers: u32,
}

impl Wire for Figures {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { stream, stats, consumers } = self;
        (*stream, *consumers).put(out);
        let StreamStats { ready, unacked, scheduled, moving, held, dead_lettered, settled, .. } = stats;
        for count in [ready, unacked, scheduled, moving, held, dead_lettered, settled] {
            count.put(out);
        }
        stats.oldest_age_millis.put(out);
        (stats.start, stats.end).put(out);
        (stats.groups.len() as u64).put(out);
        for group in &stats.groups {
            group.group.put(out);
            (group.epoch, group.offset).put(out);
            group.committed.put(out);
            (group.lag, group.oldest_age_millis).put(out);
        }
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let (stream, consumers) = Wire::take(input)?;
        let mut stats = StreamStats {
            ready: Wire::take(input)?,
            unacked: Wire::take(input)?,
            scheduled: Wire::take(input)?,
            moving: Wire::take(input)?,
            held: Wire::take(input)?,
            dead_lettered: Wire::take(input)?,
            settled: Wire::take(input)?,
            oldest_age_millis: Wire::take(input)?,
            start: Wire::take(input)?,
            end: Wire::take(input)?,
            groups: Vec::new(),
            membership: None,
        };
        for _ in 0..u64::take(input)? {
            // Each takes bytes, so that the list grows with the bytes at hand.
            stats.groups.push(GroupStats {
                group: Wire::take(input)?,
                epoch: Wire::take(input)?,
                offset: Wire::take(input)?,
                committed: Wire::take(input)?,
                lag: Wire::take(input)?,
                oldest_age_millis: Wire::take(input)?,
            });
        }
        Ok(Self { stream, stats, consumers })
    }
}

/// A refusal between brokers: the facts that the one who asked can use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the refusals of the same names")]
pub enum Reason {
    NotLeader(Epoch),
    LedElsewhere(Epoch, String),
    LeadershipLost(Epoch),
    ShuttingDown,
    NotEnoughReplicas(u32, u32),
    StorageFull,
    VolumeFenced(LogTime),
    NotFound(String),
    OutOfRange(Bounds),
    Fenced(GroupEpoch),
    Timeout,
    Busy,
    /// Any other one that is definite.
    Conflict(String),
}
wire_enum!(Reason {
    1 => NotLeader(epoch),
    2 => LedElsewhere(epoch, address),
    3 => LeadershipLost(epoch),
    4 => ShuttingDown,
    5 => NotEnoughReplicas(needed, have),
    6 => StorageFull,
    7 => VolumeFenced(since),
    8 => NotFound(name),
    9 => OutOfRange(bounds),
    10 => Fenced(by),
    11 => Timeout,
    12 => Busy,
    13 => Conflict(what),
});

/// An offset and the range that it is outside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub offset: Offset,
    pub start: Offset,
    pub end: Offset,
}
wire_struct!(Bounds { offset, start, end });

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader { epoch } => Self::NotLeader(epoch),
            Refusal::LedElsewhere { epoch, address } => Self::LedElsewhere(epoch, address),
            Refusal::LeadershipLost { epoch } => Self::LeadershipLost(epoch),
            Refusal::ShuttingDown => Self::ShuttingDown,
            Refusal::NotEnoughReplicas { needed, have } => Self::NotEnoughReplicas(needed, have),
            Refusal::StorageFull => Self::StorageFull,
            Refusal::VolumeFenced { since } => Self::VolumeFenced(since),
            Refusal::NotFound { name, .. } => Self::NotFound(name),
            Refusal::OutOfRange { offset, start, end } => Self::OutOfRange(Bounds { offset, start, end }),
            Refusal::Fenced { by } => Self::Fenced(by),
            Refusal::Busy { .. } => Self::Busy,
            other if other.outcome() == pondage_model::Outcome::Unknown => Self::Timeout,
            other => Self::Conflict(other.to_string()),
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NotLeader(epoch) => Self::NotLeader { epoch },
            Reason::LedElsewhere(epoch, address) => Self::LedElsewhere { epoch, address },
            Reason::LeadershipLost(epoch) => Self::LeadershipLost { epoch },
            Reason::ShuttingDown => Self::ShuttingDown,
            Reason::NotEnoughReplicas(needed, have) => Self::NotEnoughReplicas { needed, have },
            Reason::StorageFull => Self::StorageFull,
            Reason::VolumeFenced(since) => Self::VolumeFenced { since },
            Reason::NotFound(name) => Self::NotFound { kind: "stream", name },
            Reason::OutOfRange(Bounds { offset, start, end }) => Self::OutOfRange { offset, start, end },
            Reason::Fenced(by) => Self::Fenced { by },
            Reason::Timeout => Self::Timeout,
            Reason::Busy => Self::Busy { what: "requests of other brokers" },
            Reason::Conflict(what) => Self::Conflict { what },
        }
    }
}

impl<D: Disk> Handle<D> {
    /// Asks the leader of the request's shard, wherever it is. A refusal comes as the error.
    ///
    /// # Errors
    /// What the leader refuses; [`Refusal::NotLeader`] while there is none; [`Refusal::Timeout`] (unknown) if it does
    /// not answer.
    pub(crate) async fn ask_leader(&self, request: RemoteRequest) -> Result<RemoteAnswer, Refusal> {
        let shard = request.shard();
        let nobody = Refusal::NotLeader { epoch: Epoch::ZERO };
        let leader = match (self.leader_of(shard), self.remote()) {
            (Some(leader), Some(remote)) if Some(leader.broker) != self.own() => (leader.broker, remote),
            (None, Some(_)) => return Err(nobody),
            _ => return self.perform(request).await,
        };
        let (broker, remote) = leader;
        let called = tokio::time::timeout(ANSWER_TIMEOUT, remote.call(broker, request.to_bytes())).await;
        let answer = called.unwrap_or(Err(Refusal::Timeout))?;
        match RemoteAnswer::from_bytes(answer) {
            Ok(RemoteAnswer::Refused(reason)) => Err(reason.into()),
            Ok(answer) => Ok(answer),
            // A broker of another version: whatever it did, it was not said.
            Err(_) => Err(Refusal::Timeout),
        }
    }

    /// Answers what another broker asked with [`Remote::call`].
    ///
    /// # Errors
    /// [`Refusal::Malformed`] for bytes that are no request of this version. Every other refusal is part of the answer.
    pub async fn answer(&self, request: Bytes) -> Result<Bytes, Refusal> {
        let malformed = |_| Refusal::Malformed { what: "not a request of a broker of this version" };
        let request = RemoteRequest::from_bytes(request).map_err(malformed)?;
        let answer = self.perform(request).await;
        Ok(answer.unwrap_or_else(|refusal| RemoteAnswer::Refused(refusal.into())).to_bytes())
    }

    /// Does what is asked, on a shard that is led here.
    async fn perform(&self, request: RemoteRequest) -> Result<RemoteAnswer, Refusal> {
        let shard = request.shard();
        let ask = match request {
            RemoteRequest::Figures { streams, .. } => {
                return match self.ask(shard, ShardRequest::Stats(Some(streams))).await? {
                    ShardReply::Stats(found) => Ok(RemoteAnswer::Figures(self.figures(found))),
                    _ => Err(Refusal::Interrupted),
                };
            }
            RemoteRequest::Membership { stream, .. } => {
                return match self.ask(shard, ShardRequest::Membership(stream)).await? {
                    ShardReply::Membership(report) => Ok(RemoteAnswer::Membership(report)),
                    _ => Err(Refusal::Interrupted),
                };
            }
            RemoteRequest::Await { streams, .. } => {
                let arriving = tokio::time::timeout(AWAIT_TIMEOUT, self.arrival(shard, streams)).await;
                return arriving.map_or(Ok(RemoteAnswer::Arrived(false)), |arrived| {
                    arrived.map(|()| RemoteAnswer::Arrived(true))
                });
            }
            RemoteRequest::OffsetAt { stream, time, .. } => {
                // Whoever follows may have less than the leader, and does not know it.
                self.ask(shard, ShardRequest::Stats(Some(Vec::new()))).await?;
                return Ok(RemoteAnswer::Offset(self.offset_at_time(shard, stream, time)?));
            }
            RemoteRequest::Store { stream, batch, source, seq, .. } => delivery::Request::Publish {
                stream,
                count: 1,
                batch,
                producer: None,
                delay_millis: None,
                ttl_millis: None,
                moved: Some(MovedFrom { source, seq }),
            },
            RemoteRequest::Claim { stream, group, start, .. } => {
                delivery::Request::Claim { stream, group, start, owner: None }
            }
            RemoteRequest::Restart { stream, start, .. } => delivery::Request::Restart { stream, start },
            RemoteRequest::Drain { stream, members, .. } => delivery::Request::Drain { stream, members },
            RemoteRequest::Seek { stream, group, offset, .. } => {
                delivery::Request::Seek { stream, group, offset }
            }
        };
        let cursor = match &ask {
            delivery::Request::Claim { stream, group, .. }
            | delivery::Request::Seek { stream, group, .. } => Some((*stream, group.clone())),
            _ => None,
        };
        Ok(match self.deliver(shard, ask).await? {
            delivery::Reply::Claimed { epoch, offset } => {
                if let Some((stream, group)) = cursor {
                    self.cursors().moved(stream, &group, epoch);
                }
                RemoteAnswer::Claimed { epoch, offset }
            }
            _ => RemoteAnswer::Done,
        })
    }

    fn figures(&self, found: Vec<pondage_node::shard::StreamReport>) -> Vec<Figures> {
        let figures = |report: pondage_node::shard::StreamReport| Figures {
            stream: report.stream,
            consumers: self.metrics().consumers_of(report.stream),
            stats: report.stats,
        };
        found.into_iter().map(figures).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{AssignmentEpoch, MemberId, MoveSeq, Uuid, membership::MemberProgress};
    use pondage_node::delivery::{MemberReport, Owner, Ownership};

    fn name() -> Name {
        Name::new("billing").expect("a name")
    }

    #[test]
    fn requests_and_answers_survive_the_way() {
        let (shard, stream) = (ShardId(3), StreamId(70_000));
        for request in [
            RemoteRequest::Figures { shard, streams: vec![stream, StreamId(1)] },
            RemoteRequest::Store {
                shard,
                stream,
                batch: Bytes::from_static(b"batch"),
                source: StreamId(9),
                seq: MoveSeq(4),
            },
            RemoteRequest::Claim { shard, stream, group: name(), start: Offset(u64::MAX) },
            RemoteRequest::Seek { shard, stream, group: name(), offset: Offset(5) },
            RemoteRequest::OffsetAt { shard, stream, time: LogTime(-5) },
            RemoteRequest::Restart { shard, stream, start: Offset(6) },
            RemoteRequest::Membership { shard, stream },
            RemoteRequest::Drain { shard, stream, members: vec![MemberId(Uuid([7; 16]))] },
            RemoteRequest::Await { shard, streams: vec![(stream, Offset(7)), (StreamId(1), Offset(0))] },
        ] {
            assert_eq!(request.shard(), shard);
            assert_eq!(RemoteRequest::from_bytes(request.to_bytes()), Ok(request));
        }
        let group = GroupStats {
            group: name(),
            epoch: GroupEpoch(2),
            offset: Offset(7),
            committed: 5,
            lag: 3,
            oldest_age_millis: Some(20),
        };
        let stats = StreamStats {
            ready: 1,
            unacked: 2,
            scheduled: 3,
            moving: 4,
            held: 5,
            dead_lettered: 6,
            settled: 11,
            oldest_age_millis: None,
            start: Offset(7),
            end: Offset(8),
            groups: vec![group.clone(), group],
            membership: None,
        };
        let member = MemberReport {
            id: MemberId(Uuid([7; 16])),
            instance: "billing-0".to_owned(),
            connected_since: Some(LogTime(5)),
            progress: Some(MemberProgress { settled: 7, busy_millis: 8, in_flight: 9 }),
            is_draining: true,
        };
        let since = AssignmentEpoch(4);
        let owner = Some(Owner { member: member.id, since, at: LogTime(6) });
        let membership = MembershipReport {
            epoch: AssignmentEpoch(5),
            partitions: vec![(stream, Ownership { owner, target: None })],
            members: vec![member],
        };
        for answer in [
            RemoteAnswer::Figures(vec![Figures { stream, stats, consumers: 9 }]),
            RemoteAnswer::Claimed { epoch: GroupEpoch(1), offset: Offset(2) },
            RemoteAnswer::Offset(None),
            RemoteAnswer::Offset(Some(Offset(3))),
            RemoteAnswer::Membership(membership),
            RemoteAnswer::Arrived(true),
            RemoteAnswer::Done,
        ] {
            assert_eq!(RemoteAnswer::from_bytes(answer.to_bytes()), Ok(answer));
        }
        assert!(RemoteRequest::from_bytes(Bytes::from_static(&[99])).is_err());
    }

    #[test]
    fn a_refusal_keeps_its_code_or_at_least_its_outcome() {
        for refusal in [
            Refusal::NotLeader { epoch: Epoch(3) },
            Refusal::LedElsewhere { epoch: Epoch(3), address: "b:1".to_owned() },
            Refusal::LeadershipLost { epoch: Epoch(3) },
            Refusal::ShuttingDown,
            Refusal::NotEnoughReplicas { needed: 2, have: 1 },
            Refusal::StorageFull,
            Refusal::VolumeFenced { since: LogTime(4) },
            Refusal::NotFound { kind: "stream", name: "7".to_owned() },
            Refusal::OutOfRange { offset: Offset(9), start: Offset(1), end: Offset(2) },
            Refusal::Fenced { by: GroupEpoch(3) },
            Refusal::Timeout,
        ] {
            let sent = RemoteAnswer::Refused(refusal.clone().into()).to_bytes();
            let Ok(RemoteAnswer::Refused(reason)) = RemoteAnswer::from_bytes(sent) else {
                panic!("{refusal:?} did not survive")
            };
            assert_eq!(Refusal::from(reason), refusal);
        }
        for refusal in [Refusal::Interrupted, Refusal::InvalidArgument { what: "x".to_owned() }] {
            assert_eq!(Refusal::from(Reason::from(refusal.clone())).outcome(), refusal.outcome());
        }
    }
}
