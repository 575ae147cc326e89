use super::*;

const CAP: usize = limits::DEDICATED_SHARDS_PER_BROKER_MAX;
const FULL: usize = limits::SHARDS_PER_BROKER_MAX;

/// Brokers 1, 2, … as (dedicated, held, led); pooled shards 1, 2, … as (streams, replicas, minimum).
fn loads(brokers: &[(usize, usize, usize)], pooled: &[(usize, u32, u32)]) -> Loads {
    Loads {
        brokers: (1..)
            .map(BrokerId)
            .zip(brokers.iter().map(|&(dedicated, held, led)| BrokerLoad {
                dedicated,
                held,
                led,
                ..BrokerLoad::default()
            }))
            .collect(),
        pooled: (1..)
            .map(ShardId)
            .zip(pooled.iter().map(|&(streams, replicas, minimum)| PooledLoad { streams, replicas, minimum }))
            .collect(),
    }
}

fn pooled(shard: u32) -> Option<Decision> {
    Some(Decision::Pooled(ShardId(shard)))
}

fn dedicated(replicas: &[u32]) -> Option<Decision> {
    Some(Decision::Dedicated { replicas: replicas.iter().copied().map(BrokerId).collect() })
}

#[test]
fn a_stream_goes_where_the_table_says() {
    use Placement::{Auto, Dedicated, Pooled};
    let one = loads(&[(0, 4, 4)], &[(3, 1, 1), (1, 1, 1), (1, 1, 1), (2, 1, 1)]);
    let capped = loads(&[(CAP, CAP + 4, CAP + 4)], &[(0, 1, 1), (0, 1, 1)]);
    let full = loads(&[(FULL - 1, FULL, FULL)], &[(9, 1, 1)]);
    let bare = loads(&[(0, 0, 0)], &[]);
    let three = loads(&[(2, 9, 1), (0, 4, 3), (0, 4, 2)], &[(0, 1, 1), (5, 3, 2), (4, 3, 2)]);
    let mixed = loads(&[(CAP, 70, 0), (0, 4, 0), (1, 4, 0)], &[(7, 2, 2)]);
    let crowded = loads(&[(0, FULL, 0), (1, 5, 5)], &[]);
    let (partition, queue) = (true, false);
    for (row, loads, is_partition, placement, replicas, minimum, expected) in [
        (1, &one, partition, Auto, None, None, dedicated(&[1])),
        (2, &one, queue, Auto, None, None, pooled(2)),
        (3, &one, partition, Pooled, None, None, pooled(2)),
        (4, &one, queue, Dedicated, None, None, dedicated(&[1])),
        (5, &capped, partition, Auto, None, None, pooled(1)),
        (6, &capped, partition, Dedicated, None, None, dedicated(&[1])),
        (7, &full, partition, Dedicated, None, None, None),
        (8, &full, queue, Auto, None, None, pooled(1)),
        (9, &bare, queue, Auto, None, None, dedicated(&[1])),
        (10, &bare, queue, Pooled, None, None, None),
        // Three copies by default, led by the broker that leads least, held by those with the fewest shards.
        (11, &three, partition, Auto, None, None, dedicated(&[1, 3, 2])),
        (12, &three, partition, Auto, Some(1), None, dedicated(&[3])),
        (13, &three, partition, Auto, Some(2), None, dedicated(&[3, 2])),
        // A pooled shard may be safer than asked, never weaker.
        (14, &three, queue, Auto, None, None, pooled(1)),
        (15, &three, queue, Auto, Some(2), None, pooled(3)),
        (16, &three, queue, Auto, Some(3), Some(3), dedicated(&[1, 3, 2])),
        (17, &three, queue, Pooled, Some(3), Some(3), None),
        // One broker at its cap: two copies go to the others, three don't fit and share.
        (18, &mixed, partition, Auto, Some(2), None, dedicated(&[2, 3])),
        (19, &mixed, partition, Auto, Some(3), None, None),
        (20, &mixed, partition, Auto, None, None, pooled(1)),
        // A broker without room takes nothing, however few dedicated shards it has.
        (21, &crowded, partition, Auto, Some(1), None, dedicated(&[2])),
    ] {
        let replication =
            Replication::of(replicas, minimum, loads.brokers.len(), REPLICAS_DEFAULT).expect("servable");
        let wish = Wish { is_partition, placement, replication };
        let got = loads.clone().place(&wish);
        assert_eq!(got.clone().ok(), expected, "row {row}: {got:?}");
        assert!(got.is_ok() || matches!(got, Err(Refusal::Conflict { .. })), "row {row}: {got:?}");
    }
}

#[test]
fn each_decision_raises_the_loads_that_the_next_one_sees() {
    let auto = |is_partition| Wish {
        is_partition,
        placement: Placement::Auto,
        replication: Replication::of(Some(1), None, 2, REPLICAS_DEFAULT).expect("servable"),
    };
    let mut loads = loads(&[(CAP - 2, CAP - 2, 0), (CAP - 1, CAP - 1, 0)], &[(0, 1, 1), (1, 1, 1)]);
    let places: Vec<_> = (0..6).map(|_| loads.place(&auto(true)).ok()).collect();
    assert_eq!(places, [dedicated(&[1]), dedicated(&[2]), dedicated(&[1]), pooled(1), pooled(1), pooled(2)]);
}

#[test]
fn replica_numbers_are_checked_against_the_brokers() {
    for (replicas, minimum, brokers, expected) in [
        (None, None, 1, Ok(1)),
        (None, None, 2, Ok(2)),
        (None, None, 9, Ok(3)),
        (Some(5), Some(5), 5, Ok(5)),
        (
            Some(3),
            None,
            1,
            Err("replicas: 3 replicas need 3 brokers; the number of brokers in the cluster is 1"),
        ),
        (Some(u32::MAX), None, 1, Err("replicas: 4294967295 replicas need")),
        (Some(0), None, 1, Err("replicas: must be at least 1")),
        (None, Some(2), 1, Err("minInSyncReplicas: 2 is more than replicas, which is 1")),
        (Some(3), Some(4), 4, Err("minInSyncReplicas: 4 is more than replicas, which is 3")),
        (None, Some(0), 1, Err("minInSyncReplicas: must be at least 1")),
        (None, None, 0, Err("no broker is registered yet")),
    ] {
        let got = Replication::of(replicas, minimum, brokers, REPLICAS_DEFAULT);
        match (&got, expected) {
            (Ok(replication), Ok(replicas)) => assert_eq!(replication.replicas, replicas),
            (Err(refusal), Err(words)) => assert!(refusal.to_string().starts_with(words), "{refusal}"),
            _ => panic!("{replicas:?} {minimum:?} {brokers}: {got:?}"),
        }
    }
    for (replicas, least) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
        assert_eq!(majority(replicas), least);
    }
}
