//! Who reads which partition of a topic once the group has another number of members. The brokers decide that
//! (`leading/assign.rs` of `pondage-delivery`): every member gets the same count or one more, who has most keeps the one
//! more, and no more moves than has to. Here the same rules work on places in a list.

use std::collections::BTreeSet;

/// The owner of each partition among `members` many, numbered from 0, given who owns it now; owners beyond the number
/// are gone, and theirs are free. Without members the answer is empty.
pub fn assign(current: &[Option<usize>], members: usize) -> Vec<usize> {
    if members == 0 {
        return Vec::new();
    }
    let mut held: Vec<Vec<usize>> = vec![Vec::new(); members];
    let mut free = Vec::new();
    for (partition, owner) in current.iter().enumerate() {
        match owner.and_then(|owner| held.get_mut(owner)) {
            Some(share) => share.push(partition),
            None => free.push(partition),
        }
    }
    let quotas = quotas(&held, current.len());
    for (share, quota) in held.iter_mut().zip(&quotas) {
        free.extend(share.split_off(share.len().min(*quota)));
    }
    free.sort_unstable();
    let mut owners = vec![0; current.len()];
    let mut turns: BTreeSet<(usize, usize)> = (0..members)
        .filter(|member| held[*member].len() < quotas[*member])
        .map(|member| (held[member].len(), member))
        .collect();
    for partition in free {
        // Quotas sum up to the number of partitions, so there is always room.
        let Some((count, member)) = turns.pop_first() else { break };
        held[member].push(partition);
        if count + 1 < quotas[member] {
            turns.insert((count + 1, member));
        }
    }
    for (member, share) in held.iter().enumerate() {
        for partition in share {
            owners[*partition] = member;
        }
    }
    owners
}

/// How many partitions each member shall have.
fn quotas(held: &[Vec<usize>], partitions: usize) -> Vec<usize> {
    let (each, one_more) = (partitions / held.len(), partitions % held.len());
    let mut by_count: Vec<usize> = (0..held.len()).collect();
    by_count.sort_by_key(|member| std::cmp::Reverse(held[*member].len()));
    let mut quotas = vec![each; held.len()];
    for member in by_count.into_iter().take(one_more) {
        quotas[member] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn counts(owners: &[usize], members: usize) -> Vec<usize> {
        (0..members).map(|member| owners.iter().filter(|owner| **owner == member).count()).collect()
    }

    #[test]
    fn nobody_reads_where_nobody_is() {
        assert!(assign(&[None, Some(3)], 0).is_empty());
        assert!(assign(&[], 3).is_empty());
    }

    #[test]
    fn who_stays_keeps_what_it_may() {
        let two = assign(&[None; 5], 2);
        assert_eq!(two, [0, 1, 0, 1, 0]);
        let current: Vec<_> = two.iter().copied().map(Some).collect();
        assert_eq!(assign(&current, 2), two);
        let three = assign(&current, 3);
        assert_eq!(counts(&three, 3), [2, 2, 1]);
        assert_eq!(three.iter().zip(&two).filter(|(after, before)| after != before).count(), 1);
    }

    proptest! {
        #[test]
        fn counts_differ_by_one_at_most_and_little_moves(
            current in prop::collection::vec(prop::option::of(0_usize..12), 0..40), members in 1_usize..12,
        ) {
            let owners = assign(&current, members);
            prop_assert_eq!(owners.len(), current.len());
            let after = counts(&owners, members);
            prop_assert!(after.iter().max().zip(after.iter().min()).is_none_or(|(most, least)| most - least <= 1));
            let mut before: Vec<usize> = (0..members)
                .map(|member| current.iter().filter(|owner| **owner == Some(member)).count()).collect();
            let moved = current.iter().zip(&owners)
                .filter(|(old, new)| old.is_some_and(|old| old < members && old != **new)).count();
            let mut quotas = after;
            before.sort_unstable();
            quotas.sort_unstable();
            let beyond: usize = before.iter().zip(&quotas).map(|(held, quota)| held.saturating_sub(*quota)).sum();
            prop_assert_eq!(moved, beyond);
        }
    }
}
