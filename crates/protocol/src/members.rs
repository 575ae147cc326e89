//! A member's side of its group: the steps of a join stream, and their order.

use pondage_model::{
    AssignmentEpoch, LogTime, MemberId, Name, Refusal, StreamId, Uuid,
    limits::{INSTANCE_BYTES_MAX, MEMBERS_PER_GROUP_MAX, PARTITIONS_MAX, REQUEST_ITEMS_MAX},
    membership::MemberProgress,
};

use crate::{
    check::{at_most, invalid, required, within},
    v1,
};

/// A partition that a member owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedPartition {
    /// The topic.
    pub topic: Name,
    /// The partition.
    pub partition: u32,
    /// The assignment by which it was given.
    pub since: AssignmentEpoch,
    /// Whether it is to pass on.
    pub revoked: bool,
    /// The group's home.
    pub home: StreamId,
}

/// The members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The version of the assignment.
    pub epoch: AssignmentEpoch,
    /// Every member.
    pub members: Vec<Member>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The id that it joined with.
    pub id: MemberId,
    /// What people know it by.
    pub instance: String,
    /// Since when its join stream stands, if it does.
    pub connected_since: Option<LogTime>,
    /// What it said of itself last.
    pub progress: Option<MemberProgress>,
    /// Whether it gets nothing more to do.
    pub is_draining: bool,
    /// Every partition that it owns.
    pub partitions: Vec<OwnedPartition>,
    /// Partitions that it is to own once their owners let go of them.
    pub awaited: u32,
}

/// One step of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinStep {
    /// First, and only once.
    Start {
        /// The group.
        group: Name,
        /// Who joins.
        member: MemberId,
        /// What people know it by.
        instance: String,
    },
    /// It is done with these.
    Release(Vec<OwnedPartition>),
    /// What it has done so far.
    Progress(MemberProgress),
    /// It leaves the group.
    Leave,
}

/// The order of the steps of one stream: start first and once, nothing after leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinSteps {
    /// Nothing was said yet.
    #[default]
    Fresh,
    /// It is a member.
    Joined,
    /// It has left.
    Left,
}

impl JoinSteps {
    /// Checks the next step, in itself and in its place.
    ///
    /// # Errors
    /// [`Refusal::ProtocolState`] out of order, after which the stream ends; [`Refusal::InvalidArgument`] and
    /// [`Refusal::InvalidName`] for a step that is wrong in itself.
    pub fn next(&mut self, request: v1::JoinRequest) -> Result<JoinStep, Refusal> {
        let step = JoinStep::try_from(request)?;
        let refuse = |what| Err(Refusal::ProtocolState { what });
        *self = match (*self, &step) {
            (Self::Fresh, JoinStep::Start { .. })
            | (Self::Joined, JoinStep::Release(_) | JoinStep::Progress(_)) => Self::Joined,
            (Self::Joined, JoinStep::Leave) => Self::Left,
            (Self::Fresh, _) => return refuse("a join stream begins with start"),
            (Self::Joined, JoinStep::Start { .. }) => return refuse("a join stream starts once"),
            (Self::Left, _) => return refuse("a step after leave"),
        };
        Ok(step)
    }
}

impl TryFrom<v1::JoinRequest> for JoinStep {
    type Error = Refusal;

    fn try_from(request: v1::JoinRequest) -> Result<Self, Refusal> {
        use v1::join_request::Step as Wire;
        Ok(match required("step", request.step)? {
            Wire::Start(start) => Self::Start {
                group: Name::new(&start.group)?,
                member: member_id(&start.member_id)?,
                instance: instance(start.instance)?,
            },
            Wire::Release(release) => {
                let partitions = at_most("release.partitions", release.partitions, REQUEST_ITEMS_MAX)?;
                Self::Release(partitions.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
            }
            Wire::Progress(progress) => Self::Progress(progress.into()),
            Wire::Leave(_) => Self::Leave,
        })
    }
}

/// The members that are to be drained.
///
/// # Errors
/// [`Refusal::InvalidArgument`].
pub fn drained(request: &v1::DrainMembersRequest) -> Result<Vec<MemberId>, Refusal> {
    if request.member_ids.len() > MEMBERS_PER_GROUP_MAX {
        let what = format!(
            "member_ids: {} of them, at most {MEMBERS_PER_GROUP_MAX} are taken",
            request.member_ids.len()
        );
        return Err(invalid(what));
    }
    request.member_ids.iter().map(|id| member_id(id)).collect()
}

impl From<v1::MemberProgress> for MemberProgress {
    fn from(progress: v1::MemberProgress) -> Self {
        let v1::MemberProgress { settled, busy_millis, in_flight } = progress;
        Self { settled, busy_millis, in_flight }
    }
}

impl From<MemberProgress> for v1::MemberProgress {
    fn from(progress: MemberProgress) -> Self {
        let MemberProgress { settled, busy_millis, in_flight } = progress;
        Self { settled, busy_millis, in_flight }
    }
}

fn member_id(bytes: &[u8]) -> Result<MemberId, Refusal> {
    let bytes = <[u8; 16]>::try_from(bytes)
        .map_err(|_| invalid(format!("member_id: must have 16 bytes, not {}", bytes.len())))?;
    Ok(MemberId(Uuid(bytes)))
}

fn instance(instance: String) -> Result<String, Refusal> {
    if instance.len() > INSTANCE_BYTES_MAX {
        let what =
            format!("start.instance: {} bytes, at most {INSTANCE_BYTES_MAX} are taken", instance.len());
        return Err(invalid(what));
    }
    Ok(instance)
}

impl TryFrom<v1::OwnedPartition> for OwnedPartition {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(owned: v1::OwnedPartition) -> Result<Self, Refusal> {
        Ok(Self {
            topic: Name::new(&owned.topic)?,
            partition: within("partitions.partition", owned.partition, 0..=PARTITIONS_MAX - 1)?,
            since: AssignmentEpoch(owned.since),
            revoked: owned.revoked,
            home: StreamId(owned.home),
        })
    }
}

impl From<Membership> for v1::GetMembersResponse {
    fn from(membership: Membership) -> Self {
        let member = |member: Member| v1::Member {
            member_id: member.id.0.0.to_vec().into(),
            instance: member.instance,
            connected: member.connected_since.is_some(),
            partitions: member.partitions.into_iter().map(Into::into).collect(),
            awaited: member.awaited,
            connected_since_unix_millis: member.connected_since.map(|since| since.0),
            progress: member.progress.map(Into::into),
            draining: member.is_draining,
        };
        Self { epoch: membership.epoch.0, members: membership.members.into_iter().map(member).collect() }
    }
}

impl TryFrom<v1::GetMembersResponse> for Membership {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(response: v1::GetMembersResponse) -> Result<Self, Refusal> {
        let member = |member: v1::Member| {
            Ok(Member {
                id: member_id(&member.member_id)?,
                instance: member.instance,
                connected_since: member.connected_since_unix_millis.map(LogTime),
                progress: member.progress.map(Into::into),
                is_draining: member.draining,
                partitions: member.partitions.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
                awaited: member.awaited,
            })
        };
        let members = response.members.into_iter().map(member).collect::<Result<_, Refusal>>()?;
        Ok(Self { epoch: AssignmentEpoch(response.epoch), members })
    }
}

impl From<OwnedPartition> for v1::OwnedPartition {
    fn from(owned: OwnedPartition) -> Self {
        Self {
            topic: owned.topic.to_string(),
            partition: owned.partition,
            since: owned.since.0,
            revoked: owned.revoked,
            home: owned.home.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use pondage_model::Code;
    use v1::join_request::Step as Wire;

    use super::*;

    fn start(id_bytes: usize, instance_bytes: usize) -> Wire {
        Wire::Start(v1::JoinStart {
            group: "billing".to_owned(),
            member_id: vec![7; id_bytes].into(),
            instance: "x".repeat(instance_bytes),
        })
    }

    fn release(partition: u32) -> Wire {
        let owned =
            v1::OwnedPartition { topic: "events".to_owned(), partition, since: 4, revoked: true, home: 7 };
        Wire::Release(v1::JoinRelease { partitions: vec![owned] })
    }

    #[test]
    fn who_is_drained_is_bounded_and_named_by_16_bytes() {
        let drained = |ids: usize, bytes: usize| {
            let member_ids = vec![vec![7; bytes].into(); ids];
            drained(&v1::DrainMembersRequest { group: String::new(), member_ids }).map(|ids| ids.len())
        };
        assert_eq!(drained(0, 16), Ok(0));
        assert_eq!(drained(MEMBERS_PER_GROUP_MAX, 16), Ok(MEMBERS_PER_GROUP_MAX));
        assert!(drained(MEMBERS_PER_GROUP_MAX + 1, 16).is_err() && drained(1, 15).is_err());
    }

    #[test]
    fn steps_have_their_order_and_their_limits() {
        let leave = || Wire::Leave(v1::JoinLeave {});
        let progress = || Wire::Progress(v1::MemberProgress::default());
        for (steps, code) in [
            (vec![start(16, 0), release(0), release(PARTITIONS_MAX - 1), leave()], None),
            (vec![start(16, INSTANCE_BYTES_MAX)], None),
            (vec![start(16, 0), progress(), release(0), progress(), leave()], None),
            (vec![progress()], Some(Code::ProtocolState)),
            (vec![start(16, 0), leave(), progress()], Some(Code::ProtocolState)),
            (vec![release(0)], Some(Code::ProtocolState)),
            (vec![leave()], Some(Code::ProtocolState)),
            (vec![start(16, 0), start(16, 0)], Some(Code::ProtocolState)),
            (vec![start(16, 0), leave(), release(0)], Some(Code::ProtocolState)),
            (vec![start(15, 0)], Some(Code::InvalidArgument)),
            (vec![start(17, 0)], Some(Code::InvalidArgument)),
            (vec![start(16, INSTANCE_BYTES_MAX + 1)], Some(Code::InvalidArgument)),
            (vec![start(16, 0), release(PARTITIONS_MAX)], Some(Code::InvalidArgument)),
        ] {
            let mut order = JoinSteps::default();
            let refusal =
                steps.iter().find_map(|step| order.next(v1::JoinRequest { step: Some(step.clone()) }).err());
            assert_eq!(refusal.map(|refusal| refusal.code()), code, "{steps:?}");
        }
    }

    #[test]
    fn what_is_owned_survives_the_wire() {
        let owned = OwnedPartition {
            topic: Name::new("events").expect("valid"),
            partition: 3,
            since: AssignmentEpoch(9),
            revoked: true,
            home: StreamId(7),
        };
        assert_eq!(OwnedPartition::try_from(v1::OwnedPartition::from(owned.clone())), Ok(owned.clone()));
        let member = Member {
            id: MemberId(Uuid([3; 16])),
            instance: "billing-0".to_owned(),
            connected_since: Some(LogTime(5)),
            progress: Some(MemberProgress { settled: 7, busy_millis: 8, in_flight: 9 }),
            is_draining: true,
            partitions: vec![owned],
            awaited: 2,
        };
        let membership = Membership { epoch: AssignmentEpoch(11), members: vec![member] };
        assert_eq!(Membership::try_from(v1::GetMembersResponse::from(membership.clone())), Ok(membership));
    }
}
