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
    /// Messages that the group committed, ever.
    pub committed_messages: u64,
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
            };
            assert_eq!(GroupPartition::from(v1::GroupPartition::from(place)), place);
        }
    }
}
