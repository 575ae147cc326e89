//! Membership of a consumer group: who its members are and which partition each of them reads, as the outcomes that
//! the leader of the group's home stream decided.
//!
//! The rules are those of Kafka's KIP-848 in words of this log: a partition has an owner and may have another target;
//! it passes on only when its owner let go of it or is gone. So nobody stops reading what it keeps.

use crate::{AssignmentEpoch, MemberId, StreamId, wire_enum, wire_struct};

/// What changed at once in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The version of the group's assignment from here on. Whatever passes to an owner by this passes under this
    /// number, and no other version had it.
    pub epoch: AssignmentEpoch,
    /// What changed, in order.
    pub changes: Vec<MembershipChange>,
}
wire_struct!(Membership { epoch, changes });

/// One change of a group's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Somebody became a member.
    Joined(GroupMember),
    /// Somebody is a member no more, and owns nothing.
    Left {
        /// Who.
        member: MemberId,
        /// Why.
        cause: LeaveCause,
    },
    /// Who is to read a partition. It is theirs at once if nobody owns it, else once its owner let go of it.
    Target {
        /// The partition.
        partition: StreamId,
        /// Who; nobody while there is no member.
        member: Option<MemberId>,
    },
    /// The owner of a partition let go of it, or had its time for that.
    Released {
        /// The partition.
        partition: StreamId,
        /// Why.
        cause: HandOverCause,
    },
    /// The group does not read this partition any more.
    Removed(StreamId),
}
wire_enum!(MembershipChange {
    0 => Joined(member),
    1 => Left { member, cause },
    2 => Target { partition, member },
    3 => Released { partition, cause },
    4 => Removed(partition),
});

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id, made anew by each start of a consumer.
    pub id: MemberId,
    /// What people know it by, such as a pod's name.
    pub instance: String,
}
wire_struct!(GroupMember { id, instance });

/// What a member has done since it began, as it says itself. Not logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberProgress {
    /// Messages that it was done with.
    pub settled: u64,
    /// How long its hands were busy, in milliseconds; half of them busy for two seconds is one.
    pub busy_millis: u64,
    /// Messages that it works on now.
    pub in_flight: u32,
}
wire_struct!(MemberProgress { settled, busy_millis, in_flight });

/// Why somebody is a member no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaveCause {
    /// It said so.
    Left,
    /// Its connection was lost and it did not come back in time.
    Lost,
}
wire_enum!(LeaveCause { 0 => Left, 1 => Lost });

/// Why a partition passed on from a member that is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandOverCause {
    /// Its owner was done with it.
    Released,
    /// Its owner was not done in time: it is fenced.
    TimedOut,
}
wire_enum!(HandOverCause { 0 => Released, 1 => TimedOut });

/// Consecutive streams: a topic's partitions as they were created together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRun {
    /// The first.
    pub first: StreamId,
    /// How many.
    pub count: u32,
}
wire_struct!(StreamRun { first, count });

impl StreamRun {
    /// The streams of some runs, in order.
    pub fn streams(runs: &[Self]) -> impl Iterator<Item = StreamId> + '_ {
        runs.iter().flat_map(|run| (0..u64::from(run.count)).map(|index| run.first.plus(index)))
    }

    /// Some streams as runs.
    pub fn of(streams: impl IntoIterator<Item = StreamId>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for stream in streams {
            match runs.last_mut() {
                Some(run) if run.first.plus(run.count.into()) == stream => run.count += 1,
                _ => runs.push(Self { first: stream, count: 1 }),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_the_streams_they_are_made_of() {
        for streams in [&[][..], &[3], &[3, 4, 5], &[3, 4, 9, 10, 2]] {
            let streams: Vec<_> = streams.iter().map(|id| StreamId(*id)).collect();
            let runs = StreamRun::of(streams.iter().copied());
            assert_eq!(StreamRun::streams(&runs).collect::<Vec<_>>(), streams);
        }
        assert_eq!(StreamRun::of([7, 8].map(StreamId)), [StreamRun { first: StreamId(7), count: 2 }]);
    }
}
