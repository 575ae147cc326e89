use super::*;

fn member(broker: u32, incarnation: u64) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(incarnation) }
}

fn ids(list: &[u32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}

/// What happens, at a time, and what is known afterwards.
enum Event {
    Renewed(u32, u64, Renewal),
    Gone(u32, u64),
    Forget(u32),
    Nothing,
}

#[test]
fn leases_end_when_they_are_not_renewed() {
    use Event::{Forget, Gone, Nothing, Renewed};
    use Renewal::{Held, Overtaken, Returned};
    let mut leases =
        Leases::new([member(1, 1), member(2, 5), member(3, 1)], &BTreeSet::from([BrokerId(3)]), 0);
    for (row, (now, event, expired, live, next)) in [
        // Everybody gets a full lease but those who are known to be gone.
        (0, Nothing, ids(&[3]), ids(&[1, 2]), Some(1_000)),
        (0, Nothing, ids(&[]), ids(&[1, 2]), Some(1_000)),
        (200, Renewed(1, 1, Held), ids(&[]), ids(&[1, 2]), Some(1_000)),
        (999, Nothing, ids(&[]), ids(&[1, 2]), Some(1_000)),
        (1_000, Nothing, ids(&[2]), ids(&[1]), Some(1_200)),
        (1_001, Nothing, ids(&[]), ids(&[1]), Some(1_200)),
        // An overtaken start renews nothing, a late one returns.
        (1_100, Renewed(2, 4, Overtaken), ids(&[]), ids(&[1]), Some(1_200)),
        (1_100, Renewed(2, 5, Returned), ids(&[]), ids(&[1, 2]), Some(1_200)),
        (1_110, Renewed(2, 5, Held), ids(&[]), ids(&[1, 2]), Some(1_200)),
        (1_150, Renewed(3, 2, Returned), ids(&[]), ids(&[1, 2, 3]), Some(1_200)),
        (1_190, Renewed(1, 1, Held), ids(&[]), ids(&[1, 2, 3]), Some(2_110)),
        // A reset connection says nothing about a later start.
        (1_200, Gone(3, 1), ids(&[]), ids(&[1, 2, 3]), Some(2_110)),
        (1_200, Gone(3, 2), ids(&[3]), ids(&[1, 2]), Some(2_110)),
        (1_201, Gone(9, 1), ids(&[]), ids(&[1, 2]), Some(2_110)),
        (1_201, Gone(3, 2), ids(&[]), ids(&[1, 2]), Some(2_110)),
        // A start again is one even if the lease never ended.
        (1_300, Renewed(2, 6, Returned), ids(&[]), ids(&[1, 2]), Some(2_190)),
        (1_300, Renewed(7, 1, Returned), ids(&[]), ids(&[1, 2, 7]), Some(2_190)),
        (1_300, Forget(1), ids(&[]), ids(&[2, 7]), Some(2_300)),
        (9_999, Nothing, ids(&[2, 7]), ids(&[]), None),
    ]
    .into_iter()
    .enumerate()
    {
        match event {
            Renewed(broker, incarnation, expected) => {
                assert_eq!(leases.renewed(member(broker, incarnation), now), expected, "row {row}");
            }
            Gone(broker, incarnation) => leases.gone(member(broker, incarnation), now),
            Forget(broker) => leases.forget(BrokerId(broker)),
            Nothing => {}
        }
        assert_eq!(leases.expired(now), expired, "row {row}");
        assert_eq!(leases.live(now).into_iter().collect::<Vec<_>>(), live, "row {row}");
        assert_eq!(leases.next_millis(), next, "row {row}");
    }
}

#[test]
fn the_end_of_time_is_no_overflow() {
    let mut leases = Leases::new([member(1, 1)], &BTreeSet::new(), u64::MAX);
    assert_eq!(leases.renewed(member(1, 1), u64::MAX), Renewal::Held);
    assert_eq!(leases.next_millis(), Some(u64::MAX));
}
