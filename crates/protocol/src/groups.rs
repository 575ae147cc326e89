//! Cursors of consumer groups.

use std::collections::BTreeSet;

use pondage_model::{GroupEpoch, Name, Offset, Refusal, limits};

use crate::{
    check::{at_most, invalid, required, within},
    consume::StartAt,
    v1,
};

/// A group's place in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPartition {
    /// The partition.
    pub partition: u32,
    /// The next offset to read; `None` if the group never claimed the partition.
    pub committed: Option<Offset>,
    /// The epoch of the last claim.
    pub epoch: GroupEpoch,
    /// The oldest message that is still there.
    pub start: Offset,
    /// One beyond the last message.
    pub end: Offset,
    /// Messages not yet committed, at most.
    pub lag: u64,
    /// Age of the oldest of them in milliseconds.
    pub delay_millis: u64,
    /// Messages that the group committed or settled, ever.
    pub committed_messages: u64,
    /// Of a shared group, what the lag is made of.
    pub shared: Option<SharedLag>,
}

/// What the lag of a shared group is made of; the rest is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedLag {
    /// Messages under a lease.
    pub unacked: u64,
    /// Messages that wait for their next attempt.
    pub scheduled: u64,
    /// Messages on their way to the dead-letter queue, or waiting for it.
    pub dead_lettering: u64,
    /// Messages that the dead-letter queue took over, ever; they are no part of the lag.
    pub dead_lettered: u64,
}

impl SharedLag {
    /// The messages of a lag that a member could get now.
    #[must_use]
    pub const fn ready_of(&self, lag: u64) -> u64 {
        lag.saturating_sub(self.unacked).saturating_sub(self.scheduled).saturating_sub(self.dead_lettering)
    }
}

impl GroupPartition {
    /// The messages of the lag that somebody could be at work on: not those that wait for their time or for a dead-letter
    /// queue.
    #[must_use]
    pub const fn due(&self) -> u64 {
        match self.shared {
            Some(SharedLag { scheduled, dead_lettering, .. }) => {
                self.lag.saturating_sub(scheduled).saturating_sub(dead_lettering)
            }
            None => self.lag,
        }
    }
}

impl From<GroupPartition> for v1::GroupPartition {
    fn from(place: GroupPartition) -> Self {
        Self {
            partition: place.partition,
            committed_offset: place.committed.map(Offset::get),
            group_epoch: place.epoch.0,
            start_offset: place.start.0,
            end_offset: place.end.0,
            lag: place.lag,
            delay_millis: place.delay_millis,
            committed_messages: place.committed_messages,
            shared: place.shared.map(|shared| v1::SharedLag {
                unacked: shared.unacked,
                scheduled: shared.scheduled,
                dead_lettering: shared.dead_lettering,
                dead_lettered: shared.dead_lettered,
            }),
        }
    }
}

impl From<v1::GroupPartition> for GroupPartition {
    fn from(place: v1::GroupPartition) -> Self {
        Self {
            partition: place.partition,
            committed: place.committed_offset.map(Offset),
            epoch: GroupEpoch(place.group_epoch),
            start: Offset(place.start_offset),
            end: Offset(place.end_offset),
            lag: place.lag,
            delay_millis: place.delay_millis,
            committed_messages: place.committed_messages,
            shared: place.shared.map(|shared| SharedLag {
                unacked: shared.unacked,
                scheduled: shared.scheduled,
                dead_lettering: shared.dead_lettering,
                dead_lettered: shared.dead_lettered,
            }),
        }
    }
}

/// Asks where a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetOffsets {
    /// The group.
    pub group: Name,
    /// The topic.
    pub topic: Name,
}

impl TryFrom<v1::GetOffsetsRequest> for GetOffsets {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`].
    fn try_from(request: v1::GetOffsetsRequest) -> Result<Self, Refusal> {
        Ok(Self { group: Name::new(&request.group)?, topic: Name::new(&request.topic)? })
    }
}

/// Asks to move cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetOffsets {
    /// The group.
    pub group: Name,
    /// The topic.
    pub topic: Name,
    /// Partitions, each once, and where to.
    pub seeks: Vec<(u32, StartAt)>,
    /// Only say where they would be.
    pub dry_run: bool,
}

impl TryFrom<v1::SetOffsetsRequest> for SetOffsets {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(request: v1::SetOffsetsRequest) -> Result<Self, Refusal> {
        let wire_seeks = at_most("seeks", request.seeks, limits::PARTITIONS_MAX as usize)?;
        let mut seeks = Vec::with_capacity(wire_seeks.len());
        let mut named = BTreeSet::new();
        for seek in wire_seeks {
            let partition = within("seeks.partition", seek.partition, 0..=limits::PARTITIONS_MAX - 1)?;
            if !named.insert(partition) {
                return Err(invalid(format!("seeks.partition: {partition} is named twice")));
            }
            seeks.push((partition, required("seeks.to", seek.to)?.try_into()?));
        }
        let dry_run = request.dry_run;
        Ok(Self { group: Name::new(&request.group)?, topic: Name::new(&request.topic)?, seeks, dry_run })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeks_are_checked() {
        let seek = |partition, to: Option<StartAt>| v1::Seek { partition, to: to.map(v1::StartAt::from) };
        let latest = Some(StartAt::Latest);
        for (seeks, ok) in [
            (vec![seek(0, latest), seek(1, Some(StartAt::Offset(Offset(4))))], true),
            (vec![seek(0, latest), seek(0, latest)], false),
            (vec![seek(0, None)], false),
            (vec![seek(limits::PARTITIONS_MAX, latest)], false),
        ] {
            let request = v1::SetOffsetsRequest {
                group: "billing".to_owned(),
                topic: "events".to_owned(),
                seeks: seeks.clone(),
                dry_run: false,
            };
            assert_eq!(SetOffsets::try_from(request).is_ok(), ok, "{seeks:?}");
        }
    }

    #[test]
    fn places_survive_the_wire() {
        for committed in [None, Some(Offset(0)), Some(Offset(u64::MAX))] {
            let place = GroupPartition {
                partition: 1,
                committed,
                epoch: GroupEpoch(2),
                start: Offset(3),
                end: Offset(4),
                lag: 5,
                delay_millis: 6,
                committed_messages: 7,
                shared: committed.map(|_| SharedLag {
                    unacked: 1,
                    scheduled: 2,
                    dead_lettering: 3,
                    dead_lettered: 4,
                }),
            };
            assert_eq!(GroupPartition::from(v1::GroupPartition::from(place)), place);
        }
    }
}
