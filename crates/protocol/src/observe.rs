//! How a group stands, told as it goes.

use std::time::Duration;

use pondage_model::{Name, Refusal, limits};

use crate::{
    check::{required, within},
    groups::GroupPartition,
    members::Membership,
    v1,
};

/// Asks to be told how a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// The group.
    pub group: Name,
    /// How often.
    pub interval: Duration,
}

/// How a group stands at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupObservation {
    /// Who its members are.
    pub membership: Membership,
    /// Every partition of every topic that it reads, by topic, or its queue.
    pub partitions: Vec<(Name, GroupPartition)>,
}

impl GroupObservation {
    /// Whether nobody is there, and nothing to do.
    #[must_use]
    pub fn is_dormant(&self) -> bool {
        self.membership.members.is_empty() && self.partitions.iter().all(|(_, stands)| stands.due() == 0)
    }

    /// Whether something waits for its time.
    #[must_use]
    pub fn has_scheduled(&self) -> bool {
        let mut shared = self.partitions.iter().filter_map(|(_, stands)| stands.shared);
        shared.any(|shared| shared.scheduled > 0)
    }
}

impl TryFrom<v1::ObserveRequest> for Observe {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(request: v1::ObserveRequest) -> Result<Self, Refusal> {
        let millis = within("interval_millis", request.interval_millis, limits::OBSERVE_MILLIS)?;
        Ok(Self { group: Name::new(&request.group)?, interval: Duration::from_millis(millis.into()) })
    }
}

impl From<GroupObservation> for v1::ObserveResponse {
    fn from(observation: GroupObservation) -> Self {
        let GroupObservation { membership, partitions } = observation;
        let partition = |(source, stands): (Name, GroupPartition)| v1::SourcePartition {
            source: source.to_string(),
            stands: Some(stands.into()),
        };
        Self {
            membership: Some(membership.into()),
            partitions: partitions.into_iter().map(partition).collect(),
        }
    }
}

impl TryFrom<v1::ObserveResponse> for GroupObservation {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(response: v1::ObserveResponse) -> Result<Self, Refusal> {
        let partition = |told: v1::SourcePartition| {
            let stands = required("partitions.stands", told.stands)?;
            Ok((Name::new(&told.source)?, GroupPartition::from(stands)))
        };
        Ok(Self {
            membership: required("membership", response.membership)?.try_into()?,
            partitions: response.partitions.into_iter().map(partition).collect::<Result<_, Refusal>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use pondage_model::{GroupEpoch, MemberId, Offset, Uuid};

    use super::*;
    use crate::{groups::SharedLag, members::Member};

    fn stands(lag: u64, scheduled: u64) -> GroupPartition {
        GroupPartition {
            partition: 1,
            committed: Some(Offset(2)),
            epoch: GroupEpoch(2),
            start: Offset(0),
            end: Offset(4),
            lag,
            delay_millis: 6,
            committed_messages: 7,
            shared: Some(SharedLag { scheduled, ..SharedLag::default() }),
        }
    }

    fn observation(members: usize, lag: u64, scheduled: u64) -> GroupObservation {
        let member = Member {
            id: MemberId(Uuid([3; 16])),
            instance: "billing-0".to_owned(),
            connected_since: None,
            progress: None,
            is_draining: false,
            partitions: Vec::new(),
            awaited: 0,
        };
        GroupObservation {
            membership: Membership { members: vec![member; members], ..Membership::default() },
            partitions: vec![(Name::new("events").expect("valid"), stands(lag, scheduled))],
        }
    }

    #[test]
    fn what_is_told_survives_the_wire() {
        let told = observation(1, 5, 2);
        assert_eq!(GroupObservation::try_from(v1::ObserveResponse::from(told.clone())), Ok(told));
    }

    #[test]
    fn a_group_is_dormant_without_members_and_without_anything_due() {
        for (members, lag, scheduled, expected) in
            [(0, 0, 0, true), (0, 3, 3, true), (0, 3, 2, false), (1, 0, 0, false), (0, 1, 0, false)]
        {
            let told = observation(members, lag, scheduled);
            assert_eq!(told.is_dormant(), expected, "{members} members, {lag}, {scheduled} scheduled");
            assert_eq!(told.has_scheduled(), scheduled > 0);
        }
    }

    #[test]
    fn an_interval_has_bounds() {
        for (interval_millis, ok) in [(0, false), (499, false), (500, true), (60_000, true), (60_001, false)]
        {
            let request = v1::ObserveRequest { group: "billing".to_owned(), interval_millis };
            assert_eq!(Observe::try_from(request).is_ok(), ok, "{interval_millis} ms");
        }
        let nobody = v1::ObserveRequest { group: "Not a name".to_owned(), interval_millis: 500 };
        assert!(Observe::try_from(nobody).is_err());
    }
}
