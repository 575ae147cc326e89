//! Leadership: drained, balanced; and what may go afterwards.

use pondage_model::{
    BrokerId, Incarnation, Name, Uuid, limits,
    settings::{Placement, TopicSettings},
};

use super::{moves, state};
use crate::{
    Catalog, Command, Drain, FEATURE_LEVELS,
    planners::{
        balance,
        drain::{self, Remaining},
        leaving,
    },
};

#[test]
fn leaders_are_spread_and_preferred_ones_lead() {
    for (row, (brokers, shards, expected)) in [
        ("1 2 3", &["1* 2 3", "1* 2 3", "1* 2 3"][..], "1:1>2 2:1>3"),
        ("1 2 3", &["1* 2 3", "2* 3 1", "3* 1 2"], ""),
        // As even as it can be is even enough.
        ("1 2", &["1* 2", "1* 2", "2* 1"], ""),
        ("1 2", &["1* 2", "1* 2", "1* 2", "2* 1"], "1:1>2"),
        // The preferred one takes over where that makes nothing less even.
        ("1 2", &["2 1*", "2* 1"], ""),
        ("1 2", &["2 1*", "1* 2", "2* 1"], "1:1>2"),
        ("1 2 3", &["3 2* 1"], "1:2>3"),
        // Never to one that is out of sync, leaves, is down, or gives leadership away.
        ("1 2", &["1* 2-", "1* 2-"], ""),
        ("1 2", &["1* (2)", "1* (2)"], ""),
        ("1 2?", &["2 1*", "2 1*"], ""),
        ("1 2~", &["2 1*", "2 1*"], ""),
        ("1 2!", &["2 1*", "2 1*"], ""),
        // Nor from one that is down: that is for an election.
        ("1? 2", &["2 1*", "2 1*"], ""),
        ("1 2", &["2 1", "2 1"], ""),
    ]
    .into_iter()
    .enumerate()
    {
        let (catalog, live) = state(brokers, shards);
        assert_eq!(moves(&balance::plan(&catalog, &live)), expected, "row {row}");
    }
    let many = vec!["1* 2"; 4 * limits::LEADER_MOVES_PER_ROUND_MAX];
    let (catalog, live) = state("1 2", &many);
    assert_eq!(balance::plan(&catalog, &live).len(), limits::LEADER_MOVES_PER_ROUND_MAX);
}

#[test]
fn leadership_leaves_those_who_give_it_away() {
    for (row, (brokers, shards, expected)) in [
        ("1 2 3", &["1* 2 3"][..], ""),
        ("1~ 2 3", &["1* 2 3"], "1:1>2"),
        ("1! 2 3", &["1* 2 3"], "1:1>2"),
        // To the one that leads the fewest.
        ("1~ 2 3", &["1* 2 3", "2* 3 1"], "1:1>3"),
        ("1~ 2 3", &["1* 2 3", "1* 2 3", "1* 2 3", "1* 2 3"], "1:1>2 2:1>3 3:1>2 4:1>3"),
        ("1~ 2~ 3", &["1* 2 3"], "1:1>3"),
        ("1~ 2- 3", &["1* 2- 3-"], ""),
        ("1~ 2? 3?", &["1* 2 3"], ""),
        ("1~? 2 3", &["1* 2 3"], ""),
        // Where everybody gives it away, one that keeps its copy leads rather than one that goes.
        ("1~ 2~ 3~", &["1* 2 3"], ""),
        ("1! 2~ 3!", &["1* 2 3"], "1:1>2"),
        ("1! 2!", &["(1*) 2"], "1:1>2"),
        ("1 2 3", &["(1*) 2 3"], "1:1>2"),
        ("1 2 3", &["(1*) 2- 3"], "1:1>3"),
    ]
    .into_iter()
    .enumerate()
    {
        let (catalog, live) = state(brokers, shards);
        assert_eq!(moves(&drain::plan(&catalog, &live)), expected, "row {row}");
    }
    let many = vec!["1* 2"; 2 * limits::LEADER_MOVES_PER_ROUND_MAX];
    let (catalog, live) = state("1! 2", &many);
    assert_eq!(drain::plan(&catalog, &live).len(), limits::LEADER_MOVES_PER_ROUND_MAX);
}

#[test]
fn what_a_broker_still_has_to_give_away_is_counted() {
    let (catalog, _) = state("1 2 3", &["1* 2 3", "2* 1-", "1* 2 3-", "3* 2"]);
    let remaining = |led, held, needed| Remaining { led, held, needed };
    assert_eq!(drain::remaining(&catalog, BrokerId(1)), remaining(2, 3, 1));
    assert_eq!(drain::remaining(&catalog, BrokerId(2)), remaining(1, 4, 3));
    assert_eq!(drain::remaining(&catalog, BrokerId(3)), remaining(1, 3, 1));
    assert_eq!(drain::remaining(&catalog, BrokerId(9)), remaining(0, 0, 0));
}

#[test]
fn what_is_in_the_way_of_a_drain_is_named() {
    let (everything, leadership) = (Drain::Everything, Drain::Leadership);
    for (row, (brokers, shards, drain, expected)) in [
        ("1 2 3", &["1* 2 3"][..], leadership, ""),
        ("1 2 3", &["1* 2 3"], everything, ""),
        (
            "1 2 3",
            &["1* 2- 3-", "2* 1", "1* 2-"],
            leadership,
            "broker 1 is the only in-sync replica of 2 shards",
        ),
        // It has copies of them made before its own goes.
        ("1 2 3", &["1* 2- 3-"], everything, ""),
        ("1", &["1*"], leadership, "no other broker"),
        ("1 2~ 3x", &["1* 2"], leadership, "no other broker"),
        // A lost broker still counts for how many copies there are to be.
        ("1 2~ 3x", &["1* 2"], everything, "shard 1 is to have 2 copies"),
        ("1 2! 3x", &["1* 2"], everything, "no other broker"),
        ("1", &["1*"], Drain::Nothing, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let (catalog, _) = state(brokers, shards);
        let said = drain::obstacle(&catalog, BrokerId(1), drain).map(|it| it.to_string()).unwrap_or_default();
        assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "row {row}: {said}");
    }
}

#[test]
fn copies_that_a_topic_asks_for_need_their_brokers() {
    let mut catalog = Catalog::new();
    let commands = [Command::Initialise { cluster: Uuid([1; 16]), nonce: Uuid([2; 16]) }].into_iter();
    let registered = (1..=3).map(|number| Command::RegisterBroker {
        volume: Uuid([number; 16]),
        incarnation: Incarnation(1),
        nonce: Uuid([number; 16]),
        address: format!("b{number}:1"),
        rack: None,
        feature_levels: FEATURE_LEVELS,
        replaces: None,
    });
    let settings = TopicSettings {
        partitions: 1,
        replicas: Some(3),
        placement: Placement::Dedicated,
        ..TopicSettings::default()
    };
    let topic = Command::ApplyTopic { name: Name::new("log").expect("valid"), settings };
    for command in commands.chain(registered).chain([topic]) {
        catalog.apply(catalog.revision().next(), &command).expect("no refusal");
    }
    let said = drain::obstacle(&catalog, BrokerId(2), Drain::Everything).expect("two are left").to_string();
    assert!(said.contains("is to have 3 copies and 2 brokers would be left"), "{said}");
    assert_eq!(drain::obstacle(&catalog, BrokerId(2), Drain::Leadership), None);
}

#[test]
fn leaving_replicas_go_when_the_others_are_in_sync() {
    for (row, (brokers, shard, goes)) in [
        ("1 2 3", "1* 2 3", false),
        ("1 2 3", "(1) 2* 3", true),
        ("1 2 3", "(1*) 2 3", false),
        ("1 2 3", "(1) 2* 3-", false),
        ("1 2 3?", "(1) 2* 3-", false),
        ("1 2 3", "(1-) 2* 3", true),
        ("1 2 3", "(1) 2 3", false),
        // A lost one never comes in sync; the minimum counts all the same.
        ("1 2 3x", "(1) 2* 3- min 2", false),
        ("1 2 3x", "(1) 2* 3- min 1", true),
        // Nobody is in sync: who leaves may have what is missed.
        ("1x 2 3", "(1-) 2- 3-", false),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut catalog, _) = state(brokers, &[shard]);
        let drops = leaving::plan(&catalog);
        assert_eq!(drops.len(), usize::from(goes), "row {row}");
        let revision = catalog.revision().next();
        let outcome = catalog.apply(revision, &crate::Command::DropReplicas { drops }).expect("no refusal");
        let crate::Outcome::Shards(results) = outcome else { panic!("row {row}: {outcome:?}") };
        assert!(results.iter().all(|it| it.result.is_ok()), "row {row}: {results:?}");
    }
}
