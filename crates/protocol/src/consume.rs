//! The consumer's side of a consume stream: its steps, and their order.

use pondage_model::{AssignmentEpoch, LogTime, Name, Offset, Refusal, StreamId, limits};

use crate::{
    check::{at_most, choose, invalid, required, within},
    settle::{SettleItem, clamp_lease_millis, settle_items},
    v1,
};

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest message that is still there.
    Earliest,
    /// The next message.
    Latest,
    /// The first message whose log time is at or after this.
    Time(LogTime),
    /// This offset.
    Offset(Offset),
}

/// What to consume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A queue, under leases.
    Queue {
        /// Its name.
        name: Name,
        /// Milliseconds of the leases; `None` takes the queue's.
        lease_millis: Option<u64>,
    },
    /// A partition of a topic for a shared group, under leases.
    Share {
        /// The group.
        group: Name,
        /// The topic.
        topic: Name,
        /// The partition.
        partition: u32,
        /// Milliseconds of the leases; `None` takes the group's.
        lease_millis: Option<u64>,
    },
    /// Partitions of a topic.
    Topic {
        /// Its name.
        name: Name,
        /// Which, ascending and each once; empty for all.
        partitions: Vec<u32>,
        /// The group to claim them for.
        group: Option<Name>,
        /// Where to begin; `None`: the group's start position, or the earliest message.
        start: Option<StartAt>,
        /// Where to begin in single partitions, each once, in place of `start`.
        starts: Vec<(u32, StartAt)>,
        /// Of a member of the group: what its claims rest on.
        assignment: Option<Assigned>,
    },
}

/// What a member's claims rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The group's home, which tells it from an earlier group of the same name.
    pub home: StreamId,
    /// The assignment by which the member was given the partitions.
    pub since: AssignmentEpoch,
}

/// One step of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// First, and only once.
    Start {
        /// What to consume.
        source: Source,
        /// Messages, at most [`limits::CREDIT_MAX`].
        credit: u32,
    },
    /// More credit, at most [`limits::CREDIT_MAX`].
    Credit(u32),
    /// Verdicts.
    Settle {
        /// Comes back in the result.
        request_id: u64,
        /// Each checked by itself.
        items: Vec<Result<SettleItem, Refusal>>,
    },
    /// A group's progress.
    Commit {
        /// Comes back in the result.
        request_id: u64,
        /// The partition.
        partition: u32,
        /// The next offset to read.
        offset: Offset,
    },
    /// Takes no more messages.
    Stop,
    /// Leaves in good order.
    Close,
}

/// The order of the steps of one stream: start first and once, nothing after close.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Fresh,
    Queue,
    Topic,
    Closed,
}

impl Steps {
    /// Checks the next step, in itself and in its place.
    ///
    /// # Errors
    /// [`Refusal::ProtocolState`] out of order, after which the stream ends; [`Refusal::InvalidArgument`] and
    /// [`Refusal::InvalidName`] for a step that is wrong in itself.
    pub fn next(&mut self, request: v1::ConsumeRequest) -> Result<Step, Refusal> {
        let step = Step::try_from(request)?;
        let refuse = |what| Err(Refusal::ProtocolState { what });
        self.stage = match (self.stage, &step) {
            (Stage::Closed, _) => return refuse("a step after close"),
            (Stage::Fresh, Step::Start { source: Source::Queue { .. } | Source::Share { .. }, .. }) => {
                Stage::Queue
            }
            (Stage::Fresh, Step::Start { source: Source::Topic { .. }, .. }) => Stage::Topic,
            (Stage::Fresh, _) => return refuse("a consume stream begins with start"),
            (_, Step::Start { .. }) => return refuse("a consume stream starts once"),
            (Stage::Topic, Step::Settle { .. }) => return refuse("messages of a topic are not settled"),
            (Stage::Topic, Step::Stop) => {
                return refuse("a topic's reader has nothing to settle after a stop");
            }
            (Stage::Queue, Step::Commit { .. }) => {
                return refuse("queues and shared groups have no cursor to commit");
            }
            (_, Step::Close) => Stage::Closed,
            (stage, _) => stage,
        };
        Ok(step)
    }
}

impl TryFrom<v1::ConsumeRequest> for Step {
    type Error = Refusal;

    fn try_from(request: v1::ConsumeRequest) -> Result<Self, Refusal> {
        use v1::consume_request::Step as Wire;
        Ok(match required("step", request.step)? {
            Wire::Start(start) => Self::Start {
                source: required("start.source", start.source)?.try_into()?,
                credit: start.credit.min(limits::CREDIT_MAX),
            },
            Wire::Credit(credit) => Self::Credit(credit.add.min(limits::CREDIT_MAX)),
            Wire::Settle(settle) => {
                Self::Settle { request_id: settle.request_id, items: settle_items(settle.items)? }
            }
            Wire::Commit(commit) => Self::Commit {
                request_id: commit.request_id,
                partition: within("commit.partition", commit.partition, 0..=limits::PARTITIONS_MAX - 1)?,
                offset: Offset(commit.offset),
            },
            Wire::Stop(_) => Self::Stop,
            Wire::Close(_) => Self::Close,
        })
    }
}

impl TryFrom<v1::consume_start::Source> for Source {
    type Error = Refusal;

    fn try_from(source: v1::consume_start::Source) -> Result<Self, Refusal> {
        Ok(match source {
            v1::consume_start::Source::Queue(queue) => Self::Queue {
                name: Name::new(&queue.name)?,
                lease_millis: queue.lease_millis.map(clamp_lease_millis),
            },
            v1::consume_start::Source::Share(share) => Self::Share {
                group: Name::new(&share.group)?,
                topic: Name::new(&share.topic)?,
                partition: within("start.share.partition", share.partition, 0..=limits::PARTITIONS_MAX - 1)?,
                lease_millis: share.lease_millis.map(clamp_lease_millis),
            },
            v1::consume_start::Source::Topic(topic) => {
                let field = "start.topic.starts";
                let wire_starts = at_most(field, topic.starts, limits::PARTITIONS_MAX as usize)?;
                let mut starts = Vec::with_capacity(wire_starts.len());
                for start in wire_starts {
                    starts.push((start.partition, required("start.topic.starts.at", start.at)?.try_into()?));
                }
                distinct_partitions(field, starts.iter().map(|(partition, _)| *partition).collect())?;
                let assigned =
                    Assigned { home: StreamId(topic.home), since: AssignmentEpoch(topic.assignment) };
                let assignment = Some(assigned).filter(|assigned| assigned.since.0 > 0);
                if assignment.is_some() && topic.group.is_none() {
                    return Err(invalid("start.topic.assignment: only with a group".to_owned()));
                }
                Self::Topic {
                    name: Name::new(&topic.name)?,
                    partitions: distinct_partitions("start.topic.partitions", topic.partitions)?,
                    starts,
                    group: topic.group.as_deref().map(Name::new).transpose()?,
                    start: topic.start.map(StartAt::try_from).transpose()?,
                    assignment,
                }
            }
        })
    }
}

/// The partitions, ascending.
fn distinct_partitions(field: &'static str, partitions: Vec<u32>) -> Result<Vec<u32>, Refusal> {
    let mut partitions = at_most(field, partitions, limits::PARTITIONS_MAX as usize)?;
    partitions.sort_unstable();
    if partitions.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(invalid(format!("{field}: one is named twice")));
    }
    if let Some(&greatest) = partitions.last() {
        within(field, greatest, 0..=limits::PARTITIONS_MAX - 1)?;
    }
    Ok(partitions)
}

impl From<Source> for v1::consume_start::Source {
    fn from(source: Source) -> Self {
        match source {
            Source::Queue { name, lease_millis } => {
                Self::Queue(v1::QueueSource { name: name.to_string(), lease_millis })
            }
            Source::Share { group, topic, partition, lease_millis } => Self::Share(v1::ShareSource {
                group: group.to_string(),
                topic: topic.to_string(),
                partition,
                lease_millis,
            }),
            Source::Topic { name, partitions, group, start, starts, assignment } => {
                Self::Topic(v1::TopicSource {
                    name: name.to_string(),
                    partitions,
                    group: group.map(|group| group.to_string()),
                    start: start.map(v1::StartAt::from),
                    starts: starts
                        .into_iter()
                        .map(|(partition, at)| v1::PartitionStart { partition, at: Some(at.into()) })
                        .collect(),
                    assignment: assignment.map_or(0, |assigned| assigned.since.0),
                    home: assignment.map_or(0, |assigned| assigned.home.0),
                })
            }
        }
    }
}

const EDGES: [(v1::StartEdge, StartAt); 2] =
    [(v1::StartEdge::Earliest, StartAt::Earliest), (v1::StartEdge::Latest, StartAt::Latest)];

impl TryFrom<v1::StartAt> for StartAt {
    type Error = Refusal;

    fn try_from(start: v1::StartAt) -> Result<Self, Refusal> {
        Ok(match required("start.at", start.at)? {
            v1::start_at::At::Edge(edge) => {
                choose("start.edge", edge, &EDGES, v1::StartEdge::as_str_name, Some(Self::Earliest))?
            }
            v1::start_at::At::TimeUnixMillis(time) => Self::Time(LogTime(time)),
            v1::start_at::At::Offset(offset) => Self::Offset(Offset(offset)),
        })
    }
}

impl From<StartAt> for v1::StartAt {
    fn from(start: StartAt) -> Self {
        let at = match start {
            StartAt::Earliest => v1::start_at::At::Edge(v1::StartEdge::Earliest.into()),
            StartAt::Latest => v1::start_at::At::Edge(v1::StartEdge::Latest.into()),
            StartAt::Time(time) => v1::start_at::At::TimeUnixMillis(time.0),
            StartAt::Offset(offset) => v1::start_at::At::Offset(offset.0),
        };
        Self { at: Some(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::Code;
    use v1::consume_request::Step as Wire;

    fn name(text: &str) -> Name {
        Name::new(text).expect("valid")
    }

    fn topic(partitions: Vec<u32>) -> Source {
        let start = Some(StartAt::Offset(Offset(4)));
        let starts = partitions.iter().map(|partition| (*partition, StartAt::Offset(Offset(7)))).collect();
        Source::Topic {
            name: name("events"),
            partitions,
            group: Some(name("billing")),
            start,
            starts,
            assignment: Some(Assigned { home: StreamId(4), since: AssignmentEpoch(3) }),
        }
    }

    fn start(source: Source) -> Wire {
        Wire::Start(v1::ConsumeStart { source: Some(source.into()), credit: u32::MAX })
    }

    fn queue() -> Source {
        Source::Queue { name: name("orders"), lease_millis: Some(5_000) }
    }

    fn commit() -> Wire {
        Wire::Commit(v1::ConsumeCommit { request_id: 1, partition: 0, offset: 5 })
    }

    fn settle() -> Wire {
        Wire::Settle(v1::ConsumeSettle { request_id: 1, items: Vec::new() })
    }

    fn stop() -> Wire {
        Wire::Stop(v1::ConsumeStop {})
    }

    fn close() -> Wire {
        Wire::Close(v1::ConsumeClose {})
    }

    #[test]
    fn steps_have_their_order() {
        let credit = || Wire::Credit(v1::ConsumeCredit { add: 1 });
        for (steps, code) in [
            (vec![start(queue()), credit(), settle(), close()], None),
            (vec![start(topic(vec![])), credit(), commit(), close()], None),
            (vec![credit()], Some(Code::ProtocolState)),
            (vec![close()], Some(Code::ProtocolState)),
            (vec![start(queue()), start(queue())], Some(Code::ProtocolState)),
            (vec![start(queue()), commit()], Some(Code::ProtocolState)),
            (vec![start(topic(vec![])), settle()], Some(Code::ProtocolState)),
            (vec![start(queue()), stop(), settle(), credit(), close()], None),
            (vec![start(topic(vec![])), stop()], Some(Code::ProtocolState)),
            (vec![stop()], Some(Code::ProtocolState)),
            (vec![start(queue()), close(), settle()], Some(Code::ProtocolState)),
            (vec![start(topic(vec![3, 3]))], Some(Code::InvalidArgument)),
            (vec![start(topic(vec![limits::PARTITIONS_MAX]))], Some(Code::InvalidArgument)),
            (vec![Wire::Start(v1::ConsumeStart::default())], Some(Code::InvalidArgument)),
        ] {
            let mut order = Steps::default();
            let refusal = steps
                .iter()
                .find_map(|step| order.next(v1::ConsumeRequest { step: Some(step.clone()) }).err());
            assert_eq!(refusal.map(|refusal| refusal.code()), code, "{steps:?}");
        }
    }

    #[test]
    fn sources_survive_the_wire_and_credit_is_capped() {
        for source in [queue(), topic(vec![1, 5]), topic(vec![])] {
            let step = Step::try_from(v1::ConsumeRequest { step: Some(start(source.clone())) });
            assert_eq!(step, Ok(Step::Start { source, credit: limits::CREDIT_MAX }));
        }
        for at in [StartAt::Earliest, StartAt::Latest, StartAt::Time(LogTime(-1))] {
            assert_eq!(StartAt::try_from(v1::StartAt::from(at)), Ok(at));
        }
    }
}
