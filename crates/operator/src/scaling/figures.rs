//! What the brokers say of a group, in the controller's words. Pure.

use std::collections::BTreeMap;

use pondage_autoscale::{MemberSeen, PartitionSeen, Source};
use pondage_client::{GroupObservation, Member, Membership};
use pondage_model::{MemberId, Name, membership::MemberProgress};

/// The figures of a group at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) source: Source,
    pub(super) partitions: Vec<PartitionSeen>,
    /// Whose figures those are: topics or queues, and partitions.
    pub(super) places: Vec<(Name, u32)>,
    /// By their names.
    pub(super) members: Vec<Joined>,
    pub(super) rebalancing: bool,
}

/// A member, as the brokers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) name: String,
    pub(super) id: MemberId,
    pub(super) since_millis: u64,
    /// What it said of itself last; it says it again when it has joined anew or the group's home has moved.
    pub(super) progress: Option<MemberProgress>,
}

/// What members that are there did before, as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, Past>);

#[derive(Debug, Default)]
struct Past {
    first_settled_millis: Option<u64>,
    /// What it said of itself last.
    progress: MemberProgress,
}

impl Known {
    /// The members, for the controller. Of one that says nothing of itself what it said before holds.
    pub(super) fn members(&mut self, figures: &Figures, now_millis: u64) -> Vec<MemberSeen> {
        self.0.retain(|name, _| figures.members.iter().any(|member| member.name == *name));
        let seen = |member: &Joined| {
            let past = self.0.entry(member.name.clone()).or_default();
            past.progress = member.progress.unwrap_or(past.progress);
            let MemberProgress { settled, busy_millis, in_flight } = past.progress;
            if settled > 0 {
                past.first_settled_millis.get_or_insert(now_millis);
            }
            MemberSeen {
                name: member.name.clone(),
                joined_millis: member.since_millis,
                first_settled_millis: past.first_settled_millis,
                settled,
                busy_millis,
                in_flight: in_flight.into(),
            }
        };
        figures.members.iter().map(seen).collect()
    }
}

impl Figures {
    /// Of what a broker told.
    pub(super) fn of(told: GroupObservation) -> Self {
        let mut figures = with_members(&told.membership);
        let owners = owners(&told.membership, &figures.members);
        // Where messages are settled one by one, nobody owns a partition.
        let is_shared = told.partitions.iter().any(|(_, stands)| stands.shared.is_some());
        figures.source = if is_shared { Source::Queue } else { Source::Partitions };
        for (source, stands) in told.partitions {
            let place = (source, stands.partition);
            figures.partitions.push(PartitionSeen {
                backlog: stands.due(),
                appended: stands.end.0,
                settled: stands.committed_messages,
                oldest_age_millis: stands.delay_millis,
                owner: owners.get(&place).copied(),
            });
            figures.places.push(place);
        }
        figures
    }
}

/// The members by name. Of several with one name, such as a pod and what it was before its container began anew, the one
/// that came last counts.
fn with_members(membership: &Membership) -> Figures {
    let mut by_name: BTreeMap<&str, &Member> = BTreeMap::new();
    for member in &membership.members {
        let known = by_name.entry(&member.instance).or_insert(member);
        if known.connected_since < member.connected_since {
            *known = member;
        }
    }
    let joined = by_name.iter().map(|(name, member)| Joined {
        name: (*name).to_owned(),
        id: member.id,
        since_millis: member.connected_since.map_or(0, |since| u64::try_from(since.0).unwrap_or(0)),
        progress: member.progress,
    });
    let is_moving =
        |member: &Member| member.awaited > 0 || member.partitions.iter().any(|owned| owned.revoked);
    Figures {
        members: joined.collect(),
        rebalancing: membership.members.iter().any(is_moving),
        ..Figures::default()
    }
}

/// Who reads which partition, as places among the members.
fn owners(membership: &Membership, members: &[Joined]) -> BTreeMap<(Name, u32), usize> {
    let mut owners = BTreeMap::new();
    for member in &membership.members {
        let Ok(place) = members.binary_search_by(|joined| joined.name.as_str().cmp(&member.instance)) else {
            continue;
        };
        owners.extend(member.partitions.iter().map(|owned| ((owned.topic.clone(), owned.partition), place)));
    }
    owners
}

#[cfg(test)]
mod tests {
    use pondage_model::Uuid;

    use super::*;

    fn joined(name: &str, progress: Option<(u64, u32)>) -> Joined {
        let progress =
            progress.map(|(settled, in_flight)| MemberProgress { settled, busy_millis: 5, in_flight });
        Joined { name: name.to_owned(), id: MemberId(Uuid([1; 16])), since_millis: 3, progress }
    }

    #[test]
    fn a_member_that_says_nothing_is_what_it_was_and_not_idle() {
        let mut known = Known::default();
        let mut seen = |progress, now_millis| {
            let figures = Figures { members: vec![joined("worker-a", progress)], ..Figures::default() };
            known.members(&figures, now_millis).remove(0)
        };
        assert_eq!(seen(None, 1).in_flight, 0);
        let first = seen(Some((40, 7)), 2);
        assert_eq!((first.settled, first.in_flight, first.first_settled_millis), (40, 7, Some(2)));
        // Its connection was lost, or another broker leads the group's home.
        assert_eq!(seen(None, 3), first);
        assert_eq!(seen(Some((41, 0)), 4).in_flight, 0);
        // Another container of the same name begins anew once the one before is gone.
        drop(known.members(&Figures::default(), 5));
        let figures = Figures { members: vec![joined("worker-a", None)], ..Figures::default() };
        assert_eq!(known.members(&figures, 6)[0].settled, 0);
    }
}
