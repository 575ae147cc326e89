//! Who is to read which partition.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{MemberId, StreamId};

/// Shares `topics`' partitions out among `members`: nobody has more than one partition more than another, nobody gives
/// up more than that takes, and each topic is spread as far as the rest allows. `current` says who was to read a
/// partition before. Whoever has the same arguments gets the same answer.
///
/// Without members nobody is to read anything, and the answer is empty.
pub(super) fn assign(
    topics: &[Vec<StreamId>],
    members: &BTreeSet<MemberId>,
    current: impl Fn(StreamId) -> Option<MemberId>,
) -> BTreeMap<StreamId, MemberId> {
    let mut shares: BTreeMap<MemberId, Share> =
        members.iter().map(|member| (*member, Share::new(topics.len()))).collect();
    let mut free: Vec<Vec<StreamId>> = vec![Vec::new(); topics.len()];
    for (topic, partitions) in topics.iter().enumerate() {
        for partition in partitions {
            match current(*partition).and_then(|member| shares.get_mut(&member)) {
                Some(share) => share.push(topic, *partition),
                None => free[topic].push(*partition),
            }
        }
    }
    let partitions = topics.iter().map(Vec::len).sum();
    set_quotas(&mut shares, partitions);
    for share in shares.values_mut() {
        while share.count > share.quota {
            let (topic, partition) = share.give_up();
            free[topic].push(partition);
        }
    }
    for (topic, partitions) in free.into_iter().enumerate() {
        hand_out(&mut shares, topic, partitions);
    }
    let owned = shares.into_iter().flat_map(|(member, share)| {
        share.topics.into_iter().flatten().map(move |partition| (partition, member))
    });
    owned.collect()
}

/// One member's part.
struct Share {
    /// What it has of each topic.
    topics: Vec<Vec<StreamId>>,
    count: usize,
    quota: usize,
}

impl Share {
    fn new(topics: usize) -> Self {
        Self { topics: vec![Vec::new(); topics], count: 0, quota: 0 }
    }

    fn push(&mut self, topic: usize, partition: StreamId) {
        self.topics[topic].push(partition);
        self.count += 1;
    }

    /// Takes a partition of the topic that it has most of. There must be one.
    fn give_up(&mut self) -> (usize, StreamId) {
        let most = (0..self.topics.len()).max_by_key(|topic| self.topics[*topic].len()).unwrap_or_default();
        let partition = self.topics[most].pop().expect("who has more than its quota has something");
        self.count -= 1;
        (most, partition)
    }
}

/// Who has most already keeps the one more that some get.
fn set_quotas(shares: &mut BTreeMap<MemberId, Share>, partitions: usize) {
    let Some(each) = partitions.checked_div(shares.len()) else { return };
    let one_more = partitions % shares.len();
    let mut by_count: Vec<_> = shares.values_mut().collect();
    // Stable, and by id before: equal ones have an order too.
    by_count.sort_by_key(|share| std::cmp::Reverse(share.count));
    for (place, share) in by_count.into_iter().enumerate() {
        share.quota = each + usize::from(place < one_more);
    }
}

/// Gives the partitions of one topic to whoever has least of it, then least in all.
fn hand_out(shares: &mut BTreeMap<MemberId, Share>, topic: usize, partitions: Vec<StreamId>) {
    if partitions.is_empty() {
        return;
    }
    let place = |member: MemberId, share: &Share| (share.topics[topic].len(), share.count, member);
    let has_room = |share: &Share| share.count < share.quota;
    let mut turns: BTreeSet<_> =
        shares.iter().filter(|(_, share)| has_room(share)).map(|(id, share)| place(*id, share)).collect();
    for partition in partitions {
        let Some((_, _, member)) = turns.pop_first() else { return };
        let Some(share) = shares.get_mut(&member) else { return };
        share.push(topic, partition);
        if has_room(share) {
            turns.insert(place(member, share));
        }
    }
}

#[cfg(test)]
mod tests {
    use pondage_model::Uuid;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn member(number: u8) -> MemberId {
        MemberId(Uuid([number; 16]))
    }

    fn topics(sizes: &[usize]) -> Vec<Vec<StreamId>> {
        let mut next = 0..;
        sizes.iter().map(|size| next.by_ref().take(*size).map(StreamId).collect()).collect()
    }

    fn counts(assigned: &BTreeMap<StreamId, MemberId>, members: &BTreeSet<MemberId>) -> Vec<usize> {
        members.iter().map(|member| assigned.values().filter(|owner| *owner == member).count()).collect()
    }

    #[test]
    fn a_topic_is_spread_even_where_others_are_too() {
        let members: BTreeSet<_> = (0..4).map(member).collect();
        let topics = topics(&[4, 4, 4]);
        let assigned = assign(&topics, &members, |_| None);
        for partitions in &topics {
            let owners: BTreeSet<_> = partitions.iter().map(|partition| assigned[partition]).collect();
            assert_eq!(owners.len(), 4);
        }
    }

    #[test]
    fn nobody_reads_where_nobody_is() {
        assert!(assign(&topics(&[3]), &BTreeSet::new(), |_| Some(member(1))).is_empty());
        assert!(assign(&[], &BTreeSet::from([member(1)]), |_| None).is_empty());
    }

    proptest! {
        /// Random groups through random comings and goings.
        #[test]
        fn shares_are_equal_and_no_more_moves_than_has_to(
            sizes in prop::collection::vec(0_usize..20, 1..5),
            rounds in prop::collection::vec(prop::collection::btree_set(0_u8..12, 0..9), 1..8),
        ) {
            let topics = topics(&sizes);
            let all: usize = sizes.iter().sum();
            let mut before: BTreeMap<StreamId, MemberId> = BTreeMap::new();
            for round in rounds {
                let members: BTreeSet<_> = round.into_iter().map(member).collect();
                let after = assign(&topics, &members, |partition| before.get(&partition).copied());
                prop_assert_eq!(after.len(), if members.is_empty() { 0 } else { all });
                let shares = counts(&after, &members);
                let (least, most) = (shares.iter().min(), shares.iter().max());
                prop_assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{:?}", shares);
                // What moves from one who stays is what it had beyond its share.
                let mut held = counts(&before, &members);
                let moved = before
                    .iter()
                    .filter(|(partition, owner)| members.contains(owner) && after[*partition] != **owner)
                    .count();
                held.sort_unstable();
                let mut quotas = shares.clone();
                quotas.sort_unstable();
                let beyond: usize =
                    held.iter().zip(&quotas).map(|(held, quota)| held.saturating_sub(*quota)).sum();
                prop_assert_eq!(moved, beyond, "{:?} -> {:?}", held, shares);
                before = after;
            }
        }
    }
}
