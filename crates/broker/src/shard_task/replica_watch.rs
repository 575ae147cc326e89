//! What a replica's changes are to those who look from outside: in-sync changes and hand-overs.

use pondage_model::{BrokerId, Epoch, Member};
use pondage_node::{coordinator::Assignment, replication::Replica};

use crate::metrics::{HandOverEnd, InSyncChange, Metrics};

/// Follows the hand-overs of one shard.
#[derive(Debug, Default)]
pub(super) struct ReplicaWatch {
    /// One under way: the epoch that it is to end, and who shall lead then.
    handing: Option<(Epoch, BrokerId)>,
}

/// What there is to know of a replica for that.
#[derive(Clone, Copy, Debug)]
struct Place {
    epoch: Epoch,
    is_leader: bool,
    leader: Option<BrokerId>,
    handing_over: Option<BrokerId>,
}

impl ReplicaWatch {
    /// Looks at the replica after it changed.
    pub(super) fn look(&mut self, replica: &Replica, metrics: &Metrics) {
        let (begun, ended) = self.follow(Place {
            epoch: replica.epoch(),
            is_leader: replica.is_leader(),
            leader: replica.leader(),
            handing_over: replica.handing_over(),
        });
        if let Some(end) = ended {
            metrics.hand_over_ended(end);
        }
        if begun {
            metrics.hand_over_begun();
        }
    }

    /// Whether one began, and how the one before ended.
    fn follow(&mut self, place: Place) -> (bool, Option<HandOverEnd>) {
        let now = place.handing_over.map(|to| (place.epoch, to));
        if now == self.handing {
            return (false, None);
        }
        let ended = match (self.handing, now) {
            (None, _) => None,
            // Somebody leads in a newer epoch; the row that says who is still to come.
            (Some((epoch, _)), None) if !place.is_leader && place.epoch > epoch && place.leader.is_none() => {
                return (false, None);
            }
            (Some((epoch, to)), None) if place.epoch > epoch && place.leader == Some(to) => {
                Some(HandOverEnd::Finished)
            }
            (Some(_), _) => Some(HandOverEnd::Failed),
        };
        self.handing = now;
        (now.is_some(), ended)
    }
}

/// A leader asks for these in-sync replicas.
pub(super) fn asked(replica: &Replica, wanted: &[Member], metrics: &Metrics) {
    let known = replica.assignment().map_or(&[][..], |row| row.isr.as_slice());
    let (shard, epoch) = (replica.shard().get(), replica.epoch().get());
    tracing::info!(shard, epoch, in_sync = ?known, ?wanted, "wants other in-sync replicas");
    changes(known, wanted).for_each(|change| metrics.in_sync_asked(change));
}

/// The replica is about to take over a row. In another epoch it is not a change of in-sync replicas but of leaders.
pub(super) fn assigned(replica: &Replica, row: &Assignment, metrics: &Metrics) {
    if let Some(known) = replica.assignment()
        && replica.is_leader()
        && known.epoch == row.epoch
        && known.version < row.version
    {
        changes(&known.isr, &row.isr).for_each(|change| metrics.in_sync_changed(change));
    }
}

/// What became of a set of replicas. A new start of the same broker changes nothing.
fn changes(before: &[Member], after: &[Member]) -> impl Iterator<Item = InSyncChange> {
    let lacks = |of: &[Member], than: &[Member]| {
        than.iter().any(|member| !of.iter().any(|other| other.broker == member.broker))
    };
    let shrinks = lacks(after, before).then_some(InSyncChange::Shrink);
    let expands = lacks(before, after).then_some(InSyncChange::Expand);
    shrinks.into_iter().chain(expands)
}

#[cfg(test)]
mod tests {
    use pondage_model::Incarnation;

    use super::*;

    fn set(brokers: &[u32], incarnation: u64) -> Vec<Member> {
        let member = |broker| Member { broker: BrokerId(broker), incarnation: Incarnation(incarnation) };
        brokers.iter().copied().map(member).collect()
    }

    #[test]
    fn sets_shrink_and_expand_by_their_brokers() {
        use InSyncChange::{Expand, Shrink};
        let cases: [(&[u32], &[u32], &[InSyncChange]); 5] = [
            (&[1, 2], &[1, 2], &[]),
            (&[1, 2], &[1], &[Shrink]),
            (&[1], &[1, 2], &[Expand]),
            (&[1, 2], &[1, 3], &[Shrink, Expand]),
            (&[1, 2], &[2, 1], &[]),
        ];
        for (before, after, expected) in cases {
            let found: Vec<_> = changes(&set(before, 1), &set(after, 2)).collect();
            assert_eq!(found, expected, "{before:?} to {after:?}");
        }
    }

    #[test]
    fn every_hand_over_that_begins_ends_once() {
        use HandOverEnd::{Failed, Finished};
        let leads = |epoch, to: Option<u32>| Place {
            epoch: Epoch(epoch),
            is_leader: true,
            leader: Some(BrokerId(1)),
            handing_over: to.map(BrokerId),
        };
        let follows = |epoch, leader: Option<u32>| Place {
            epoch: Epoch(epoch),
            is_leader: false,
            leader: leader.map(BrokerId),
            handing_over: None,
        };
        let cases = [
            (vec![leads(1, None), leads(1, None)], 0, vec![]),
            (vec![leads(1, Some(2)), leads(1, Some(2)), follows(2, Some(2))], 1, vec![Finished]),
            // The new epoch is known before who leads in it.
            (vec![leads(1, Some(2)), follows(2, None), follows(2, Some(2))], 1, vec![Finished]),
            (vec![leads(1, Some(2)), follows(2, Some(3))], 1, vec![Failed]),
            (vec![leads(1, Some(2)), leads(1, None)], 1, vec![Failed]),
            (vec![leads(1, Some(2)), leads(3, None)], 1, vec![Failed]),
            (vec![leads(1, Some(2)), leads(1, Some(3)), follows(2, Some(3))], 2, vec![Failed, Finished]),
        ];
        for (places, begun, expected) in cases {
            let mut watch = ReplicaWatch::default();
            let followed: Vec<_> = places.iter().map(|place| watch.follow(*place)).collect();
            let ended: Vec<_> = followed.iter().filter_map(|(_, ended)| *ended).collect();
            assert_eq!(followed.iter().filter(|(begun, _)| *begun).count(), begun, "{places:?}");
            assert_eq!(ended, expected, "{places:?}");
        }
    }
}
