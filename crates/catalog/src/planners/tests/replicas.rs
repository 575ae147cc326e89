//! Copies: how many, where, and who votes.

use pondage_model::{
    BrokerId, Name, limits,
    settings::{Placement, QueueSettings},
};

use super::{changes, state};
use crate::{
    Command, FeatureLevels, Outcome, ShardKind,
    planners::{
        brokers, feature_level,
        replication_factor::{self, Wanted},
        voters,
    },
};

#[test]
fn there_are_as_many_copies_as_wanted() {
    for (row, (brokers, shards, expected)) in [
        ("1", &["1*"][..], ""),
        ("1 2 3", &["1* 2 3"], ""),
        // A cluster that grew: the minimum rises once the copies are in sync.
        ("1 2 3", &["1*"], "1:[1 2 3] 1"),
        ("1 2 3", &["1* 2- 3-"], ""),
        ("1 2 3", &["1* 2- 3- min 1"], ""),
        ("1 2 3", &["1* 2 3- min 1"], "1:[1 2 3] 2"),
        // Onto the brokers with the fewest copies, over the racks, and not onto one that is down.
        ("1 2 3 4", &["1* 2 3", "1*"], "2:[1 4 2] 1"),
        ("1@a 2@a 3@b 4@c", &["1*"], "1:[1 3 4] 1"),
        ("1@a 2@a 3@b 4@a", &["1*"], "1:[1 3 2] 1"),
        ("1 2 3 4?", &["1* 2 3", "1*"], "2:[1 2 3] 1"),
        ("1 2? 3?", &["1*"], ""),
        // A substitute for a lost copy, if there is one.
        ("1 2 3x 4", &["1* 2 3-"], "1:[1 2 4] 2"),
        ("1 2 3x", &["1* 2 3-"], ""),
        ("1 2 3?", &["1* 2 3-"], ""),
        ("1 2x 3x 4", &["1* 2- 3- min 2"], "1:[1 4 2] 2"),
        // A broker that goes is one copy less in a cluster that is too small, and moves where it is not.
        ("1 2 3!", &["1* 2 3"], "1:[1 2] 2"),
        ("1 2 3! 4", &["1* 2 3"], "1:[1 2 4] 2"),
        ("1! 2 3 4", &["1* 2 3"], "1:[2 3 4] 2"),
        ("1 2 3! 4", &["1* 2 4- (3)"], ""),
        ("1! 2", &["1* 2"], "1:[2] 1"),
        ("1!", &["1*"], ""),
        // It stays after all.
        ("1 2 3", &["1* 2 (3)"], "1:[1 2 3] 2"),
        // One copy too many: the leader stays, and as many racks as can be.
        ("1 2 3 4", &["1* 2 3 4"], "1:[1 2 3] 2"),
        ("1 2 3 4", &["1 2 3 4*"], "1:[1 2 4] 2"),
        ("1 2 3 4", &["1* 2- 3 4"], "1:[1 3 4] 2"),
        ("1@a 2@a 3@b 4@c", &["1* 2 3 4"], "1:[1 3 4] 2"),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut catalog, live) = state(brokers, shards);
        let planned = replication_factor::plan(&catalog, &live);
        assert_eq!(changes(&planned), expected, "row {row}");
        let revision = catalog.revision().next();
        let outcome = catalog.apply(revision, &Command::ChangeReplicas { changes: planned });
        let Ok(Outcome::Shards(results)) = outcome else { panic!("row {row}: {outcome:?}") };
        assert!(results.iter().all(|it| it.result.is_ok()), "row {row}: {results:?}");
        // What was planned is not planned again.
        assert_eq!(changes(&replication_factor::plan(&catalog, &live)), "", "row {row}");
    }
}

#[test]
fn only_so_many_shards_copy_at_once() {
    let many = vec!["1*"; limits::REPLICA_MOVES_MAX + 8];
    let (catalog, live) = state("1 2 3", &many);
    assert_eq!(replication_factor::plan(&catalog, &live).len(), limits::REPLICA_MOVES_MAX);
    let mut some = many.clone();
    some[..10].fill("1* 2- 3- min 1");
    let (catalog, live) = state("1 2 3", &some);
    assert_eq!(replication_factor::plan(&catalog, &live).len(), limits::REPLICA_MOVES_MAX - 10);
    // Copies of a shard without a leader go nowhere, and hold nothing up.
    some[..10].fill("1- 2- 3- min 1");
    let (catalog, live) = state("1 2 3", &some);
    assert_eq!(replication_factor::plan(&catalog, &live).len(), limits::REPLICA_MOVES_MAX - 2);
    // Nor do those on a broker that is down.
    some[..10].fill("1* 2 3-");
    let (catalog, live) = state("1 2 3? 4", &some);
    assert_eq!(replication_factor::plan(&catalog, &live).len(), limits::REPLICA_MOVES_MAX - 2);
}

#[test]
fn copies_move_to_brokers_that_came() {
    for (row, (brokers, shards, expected)) in [
        ("1 2 3", &["1* 2 3", "1* 2 3"][..], ""),
        // A follower's copy rather than the leader's.
        ("1 2 3 4", &["1* 2 3", "1* 2 3"], "1:[1 4 3] 2"),
        ("1 2", &["1*", "1*"], "1:[2] 1"),
        ("1 2", &["1*", "1*", "2*"], ""),
        ("1 2 3 4?", &["1* 2 3", "1* 2 3"], ""),
        ("1 2 3 4~", &["1* 2 3", "1* 2 3"], "1:[1 4 3] 2"),
        ("1 2 3 4!", &["1* 2 3", "1* 2 3"], ""),
        // Into a rack without a copy, even onto a fuller broker; never out of one.
        ("1@a 2@a 3@b", &["1* 2", "3*", "3*"], "1:[1 3] 2, 2:[2] 1"),
        ("1@a 2@b 3@b", &["1* 2", "1* 2", "1* 2"], "1:[1 3] 2"),
        ("1@a 2@b 3@c 4@a", &["1* 2 3", "1* 2 3"], "1:[4 2 3] 2"),
        // One change of a shard at a time.
        ("1 2 3 4", &["1* 2 3-", "1* 2 (3)"], ""),
        // Nothing is copied where nobody leads.
        ("1 2 3 4", &["1 2 3", "1- 2- 3-"], ""),
        ("1? 2 3 4", &["1* 2 3", "1* 2 3"], ""),
    ]
    .into_iter()
    .enumerate()
    {
        let (catalog, live) = state(brokers, shards);
        assert_eq!(changes(&brokers::spread(&catalog, &live)), expected, "row {row}");
    }
    let many = vec!["1*"; 4 * limits::REPLICA_MOVES_MAX];
    let (catalog, live) = state("1 2", &many);
    assert_eq!(brokers::spread(&catalog, &live).len(), limits::REPLICA_MOVES_MAX);
}

#[test]
fn lost_brokers_are_forgotten_once_nothing_names_them() {
    let (catalog, _) = state("1 2x 3x 4", &["1* 2-", "1*"]);
    assert_eq!(brokers::forgotten(&catalog), [BrokerId(3)]);
}

#[test]
fn a_resource_decides_about_its_own_shard() {
    for (row, (brokers, replicas, minimum, expected)) in [
        ("1 2 3 4", None, None, (3, 2)),
        ("1 2", None, None, (2, 2)),
        ("1 2 3 4", Some(1), None, (1, 1)),
        ("1 2 3 4", Some(4), Some(2), (4, 2)),
        // Who asks for a number keeps it when a broker goes; who does not, gets what there is.
        ("1 2 3 4!", Some(4), None, (4, 3)),
        ("1 2 3!", None, None, (2, 2)),
        ("1 2 3!", None, Some(3), (3, 3)),
        ("1 2 3x", None, None, (3, 2)),
    ]
    .into_iter()
    .enumerate()
    {
        // All there while it is applied; then those that go, and those that are lost.
        let (mut catalog, _) = state(&brokers.replace(['!', 'x'], ""), &[]);
        let defaults = QueueSettings::default();
        let settings = QueueSettings {
            replicas,
            min_in_sync_replicas: minimum,
            placement: Placement::Dedicated,
            ..defaults
        };
        let name = Name::new("q").expect("valid");
        let revision = catalog.revision().next();
        catalog.apply(revision, &Command::ApplyQueue { name, settings }).expect("created");
        let (later, _) = state(brokers, &[]);
        catalog.brokers = later.brokers;
        let shard = catalog.shards().find(|shard| shard.kind == ShardKind::Dedicated).expect("created");
        let (replicas, min_in_sync_replicas) = expected;
        let wanted = replication_factor::wanted(&catalog, shard);
        assert_eq!(wanted, Wanted { replicas, min_in_sync_replicas }, "row {row}");
    }
}

#[test]
fn few_brokers_vote() {
    for (row, (brokers, present, expected)) in [
        ("1", "1", None),
        ("1 2", "1", None),
        ("1 2 3", "1", Some(&[1, 2, 3][..])),
        ("1 2 3 4", "1 2 3", None),
        ("1 2 3 4 5", "1 2 3", Some(&[1, 2, 3, 4, 5])),
        ("1 2 3 4 5 6", "1 2 3 4 6", None),
        ("1 2 3x 4", "1 2 3", Some(&[1, 2, 4])),
        ("1 2 3! 4", "1 2 3", Some(&[1, 2, 4])),
        ("1 2 3~ 4", "1 2 3", None),
        ("1 2 3!", "1 2 3", Some(&[1])),
        ("1@a 2@a 3@b 4@c", "1", Some(&[1, 3, 4])),
        ("1x", "1", None),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut catalog, _) = state(brokers, &[]);
        let mut shard_zero = super::shard(pondage_model::ShardId::CATALOG, present);
        shard_zero.kind = ShardKind::Catalog;
        catalog.shards.insert(shard_zero.id, shard_zero);
        let expected = expected.map(|ids| ids.iter().copied().map(BrokerId).collect::<Vec<_>>());
        assert_eq!(voters::plan(&catalog), expected, "row {row}");
    }
}

#[test]
fn the_feature_level_is_what_everybody_supports() {
    for (row, (levels, lost, expected)) in [
        (&[(1, 1), (1, 1)][..], None, None),
        (&[(1, 2), (1, 1)], None, None),
        (&[(1, 2), (1, 3)], None, Some(2)),
        (&[(1, 3), (1, 1)], Some(2), Some(3)),
        (&[(1, 1), (1, 1)], Some(1), None),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut catalog, _) = state("1 2", &[]);
        for (broker, &(lowest, highest)) in catalog.brokers.values_mut().zip(levels) {
            broker.feature_levels = FeatureLevels { lowest, highest };
            broker.lost = lost == Some(broker.id.0);
        }
        assert_eq!(feature_level::plan(&catalog), expected, "row {row}");
        let Some(level) = expected else { continue };
        for (asked, word) in [(level + 1, "CONFLICT"), (level, "done"), (level, "unchanged"), (1, "CONFLICT")]
        {
            let revision = catalog.revision().next();
            let got = match catalog.apply(revision, &Command::SetFeatureLevel { level: asked }) {
                Ok(Outcome::Done) => "done",
                Ok(Outcome::Unchanged) => "unchanged",
                Ok(other) => panic!("row {row}: {other:?}"),
                Err(refusal) => refusal.code().as_str(),
            };
            assert_eq!(got, word, "row {row}: {asked}");
        }
    }
}
