//! What the brokers say of a group.

use std::collections::BTreeMap;

use pondage_autoscale::{MemberSeen, PartitionSeen, Source};
use pondage_client::{Client, Member, Membership, Resource, ResourceKind, Settings};
use pondage_model::{Name, membership::MemberProgress, settings::GroupSource};

use super::{Ids, Places};
use crate::error::ReconcileError;

/// The figures of a group at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) source: Source,
    pub(super) partitions: Vec<PartitionSeen>,
    /// Whose figures those are.
    pub(super) places: Places,
    /// By their names.
    pub(super) members: Vec<Joined>,
    pub(super) ids: Ids,
    pub(super) rebalancing: bool,
}

/// A member, as the brokers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) name: String,
    pub(super) since_millis: u64,
    pub(super) progress: MemberProgress,
}

/// When members that are there first settled something, as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Firsts(BTreeMap<String, u64>);

impl Firsts {
    /// The members, for the controller.
    pub(super) fn members(&mut self, figures: &Figures, now_millis: u64) -> Vec<MemberSeen> {
        self.0.retain(|name, _| figures.members.iter().any(|member| member.name == *name));
        let seen = |member: &Joined| {
            let MemberProgress { settled, busy_millis, in_flight } = member.progress;
            if settled > 0 {
                self.0.entry(member.name.clone()).or_insert(now_millis);
            }
            MemberSeen {
                name: member.name.clone(),
                joined_millis: member.since_millis,
                first_settled_millis: self.0.get(&member.name).copied(),
                settled,
                busy_millis,
                in_flight: in_flight.into(),
            }
        };
        figures.members.iter().map(seen).collect()
    }
}

/// Asks for a group's figures.
///
/// # Errors
/// Those of the brokers.
pub(super) async fn ask(client: &Client, group: &Resource) -> Result<Figures, ReconcileError> {
    let Settings::Group(settings) = &group.settings else { return Err(ReconcileError::NotConnected) };
    let membership = client.get_members(group.name.as_str()).await?;
    let mut figures = with_members(&membership);
    match &settings.source {
        GroupSource::Queue(queue) => {
            figures.source = Source::Queue;
            let held = client.get(ResourceKind::Queue, queue.as_str()).await?;
            for stream in held.streams.unwrap_or_default() {
                figures.places.push((queue.clone(), stream.partition));
                figures.partitions.push(PartitionSeen {
                    // What waits for its time is no work yet.
                    backlog: stream.ready.saturating_add(stream.unacked),
                    appended: stream.end.0,
                    settled: stream.settled,
                    oldest_age_millis: stream.oldest_age_millis,
                    owner: None,
                });
            }
        }
        GroupSource::Topics(topics) => {
            let is_shared = settings.sharing.is_some();
            figures.source = if is_shared { Source::Queue } else { Source::Partitions };
            let owners = owners(&membership, &figures.members);
            for topic in topics {
                for place in client.get_offsets(group.name.as_str(), topic.as_str()).await? {
                    let waits = place.shared.map_or(0, |shared| shared.scheduled + shared.dead_lettering);
                    let key = (topic.clone(), place.partition);
                    figures.partitions.push(PartitionSeen {
                        backlog: place.lag.saturating_sub(waits),
                        appended: place.end.0,
                        settled: place.committed_messages,
                        oldest_age_millis: place.delay_millis,
                        owner: owners.get(&key).copied(),
                    });
                    figures.places.push(key);
                }
            }
        }
    }
    Ok(figures)
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
        since_millis: member.connected_since.map_or(0, |since| u64::try_from(since.0).unwrap_or(0)),
        progress: member.progress.unwrap_or_default(),
    });
    let is_moving =
        |member: &Member| member.awaited > 0 || member.partitions.iter().any(|owned| owned.revoked);
    Figures {
        members: joined.collect(),
        ids: by_name.iter().map(|(name, member)| ((*name).to_owned(), member.id)).collect(),
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
