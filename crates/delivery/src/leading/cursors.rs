//! Cursors of groups over a topic's partition.

use pondage_model::{
    AssignmentEpoch, Body, GroupEpoch, Name, Offset, Refusal, StreamId,
    entry::Cursor,
    limits,
    planted::{self, Fault},
};

use super::{Decision, Leading, Reply};
use crate::fold::{Stream, Topic};

impl Leading {
    pub(super) fn claim(
        &self,
        id: StreamId,
        end: Offset,
        group: Name,
        start: Offset,
        owner: Option<AssignmentEpoch>,
    ) -> Decision {
        self.on_topic(id, |topic| {
            let (epoch, offset) = match topic.group(&group) {
                Some(known) => (next_claim(known.epoch, owner)?, known.offset),
                None if topic.group_count() >= limits::GROUPS_PER_STREAM_MAX => {
                    return Err(Refusal::Busy { what: "groups of this partition" });
                }
                None => (next_claim(GroupEpoch::ZERO, owner)?, start.min(end)),
            };
            Ok(claimed(id, group, epoch, offset.max(topic.start())))
        })
    }

    pub(super) fn seek(&self, id: StreamId, end: Offset, group: Name, offset: Offset) -> Decision {
        self.on_topic(id, |topic| {
            let known = topic.group(&group).ok_or_else(|| unknown(&group))?;
            in_range(topic, end, offset)?;
            let epoch = known.epoch.next();
            if planted::is(Fault::ForgetSeek) {
                return Ok(Decision::reply(Reply::Claimed { epoch, offset }));
            }
            let stored = if planted::is(Fault::StoreReadPosition) { end } else { offset };
            let cursor = Cursor { group, epoch, offset: stored };
            Ok(Decision::append(id, Body::Claim(cursor), Reply::Claimed { epoch, offset }))
        })
    }

    pub(super) fn commit(
        &self,
        id: StreamId,
        end: Offset,
        group: Name,
        epoch: GroupEpoch,
        offset: Offset,
    ) -> Decision {
        self.on_topic(id, |topic| {
            let known = topic.group(&group).ok_or_else(|| unknown(&group))?;
            let epoch = if planted::is(Fault::AcceptEarlierOwner) { known.epoch } else { epoch };
            if epoch < known.epoch {
                return Err(Refusal::Fenced { by: known.epoch });
            }
            if epoch > known.epoch {
                let what = format!("no owner of group {group} ever had epoch {epoch}");
                return Err(Refusal::InvalidArgument { what });
            }
            if offset > end {
                return Err(Refusal::OutOfRange { offset, start: topic.start(), end });
            }
            if offset <= known.offset {
                return Ok(Decision::reply(Reply::Done));
            }
            Ok(Decision::append(id, Body::Commit(Cursor { group, epoch, offset }), Reply::Done))
        })
    }

    pub(super) fn drop_group(&self, id: StreamId, group: Name) -> Decision {
        self.on_topic(id, |topic| {
            Ok(match topic.group(&group) {
                Some(_) => Decision::append(id, Body::DropGroup(group), Reply::Done),
                None => Decision::reply(Reply::Done),
            })
        })
    }

    pub(super) fn trim(&mut self, id: StreamId, end: Offset, start: Offset) -> Decision {
        let mut decision = self.on_topic(id, |topic| {
            if start <= topic.start() {
                return Ok(Decision::reply(Reply::Done));
            }
            in_range(topic, end, start)?;
            Ok(Decision::append(id, Body::Trim(start), Reply::Done))
        });
        if !decision.drafts.is_empty() {
            // It ends leases of shared groups.
            let shares: Vec<StreamId> = self.state.shares(id).collect();
            let leases = shares.into_iter().flat_map(|share| self.lazy_of(share));
            decision.drafts.splice(..0, leases.collect::<Vec<_>>());
        }
        decision
    }

    fn on_topic(&self, id: StreamId, decide: impl FnOnce(&Topic) -> Result<Decision, Refusal>) -> Decision {
        let topic = self.state.stream(id).and_then(Stream::topic);
        let not_a_topic = || Refusal::InvalidArgument {
            what: "only a topic has cursors and is trimmed: a queue's messages are settled".into(),
        };
        topic.ok_or_else(not_a_topic).and_then(decide).unwrap_or_else(Into::into)
    }
}

/// Under which term somebody owns a partition who claims it after `last`. A member of the group says by which
/// assignment it was given the partition, so that one who has not heard of a later assignment takes it from nobody.
fn next_claim(last: GroupEpoch, owner: Option<AssignmentEpoch>) -> Result<GroupEpoch, Refusal> {
    match owner {
        Some(owner) if owner < last.assignment() => Err(Refusal::Fenced { by: last }),
        Some(owner) if owner > last.assignment() => {
            let what = || format!("no group ever had assignment {owner}");
            GroupEpoch::first_under(owner).ok_or_else(|| Refusal::InvalidArgument { what: what() })
        }
        _ => Ok(last.next()),
    }
}

fn claimed(id: StreamId, group: Name, epoch: GroupEpoch, offset: Offset) -> Decision {
    Decision::append(id, Body::Claim(Cursor { group, epoch, offset }), Reply::Claimed { epoch, offset })
}

fn in_range(topic: &Topic, end: Offset, offset: Offset) -> Result<(), Refusal> {
    let start = topic.start();
    if (start..=end).contains(&offset) { Ok(()) } else { Err(Refusal::OutOfRange { offset, start, end }) }
}

fn unknown(group: &Name) -> Refusal {
    Refusal::NotFound { kind: "group", name: group.to_string() }
}
