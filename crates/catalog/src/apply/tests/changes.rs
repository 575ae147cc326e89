//! Deletions, what outcomes carry, and watching.

use pondage_model::{
    Revision, ShardId, StreamId, limits,
    settings::{DeletionPolicy, GroupSource, QueueSettings},
};

use super::{
    check, cluster, delete_group, delete_queue, delete_topic, group, name, queue, run, topic, topics, word,
};
use crate::{Action, Catalog, Change, Command, Kind, Opened, Outcome};

#[test]
fn deletions_honour_the_policy_and_the_references() {
    let policy = |policy| move |it: &mut QueueSettings| it.deletion_policy = policy;
    let mut catalog = cluster(1);
    check(
        &mut catalog,
        vec![
            (delete_topic("t", None, 0), "NOT_FOUND: no topic \"t\""),
            (delete_queue("t", None, 0), "NOT_FOUND: no queue \"t\""),
            (delete_group("t"), "NOT_FOUND: no group \"t\""),
            (topic("t", |it| it.deletion_policy = DeletionPolicy::DeleteIfEmpty), "created…"),
            (delete_queue("t", None, 0), "NOT_FOUND: no queue \"t\""),
            (delete_topic("t", None, 1), "NOT_EMPTY: topic \"t\" still holds 1 messages…"),
            (group("g", topics(&["t"])), "created…"),
            (
                delete_topic("t", Some(DeletionPolicy::Delete), 1),
                "CONFLICT: topic t is in use: group g reads it",
            ),
            (delete_group("g"), "deleted -1 -0"),
            (delete_topic("t", Some(DeletionPolicy::Delete), 1), "deleted -1 -1"),
            (topic("t", |it| it.deletion_policy = DeletionPolicy::DeleteIfEmpty), "created g1…"),
            (delete_topic("t", None, 0), "deleted -1 -1"),
            (queue("retained", policy(DeletionPolicy::Retain)), "created…"),
            (delete_queue("retained", Some(DeletionPolicy::DeleteIfEmpty), 3), "NOT_EMPTY: …"),
            (delete_queue("retained", None, 3), "deleted -1 -0"),
            (queue("dlq", policy(DeletionPolicy::Delete)), "created…"),
            (queue("a", |it| it.dead_letter = Some(name("dlq"))), "created…"),
            (queue("b", |it| it.dead_letter = Some(name("dlq"))), "created…"),
            (group("dlq", GroupSource::Queue(name("dlq"))), "created…"),
            (
                delete_queue("dlq", None, 0),
                "CONFLICT: queue dlq is in use: queue a dead-letters to it, queue b dead-letters to it, \
                 group dlq reads it",
            ),
            (delete_queue("a", None, 0), "deleted -1 -0"),
            (queue("b", |_| {}), "updated…"),
            (delete_queue("dlq", None, 0), "CONFLICT: queue dlq is in use: group dlq reads it"),
            (delete_group("dlq"), "deleted -1 -0"),
            (delete_queue("dlq", None, 0), "deleted -1 -0"),
        ],
    );
}

#[test]
fn a_refusal_names_a_few_users_and_counts_the_rest() {
    let mut catalog = cluster(1);
    run(&mut catalog, &queue("dlq", |_| {})).expect("created");
    for index in 0..7 {
        let user = queue(&format!("q{index}"), |it| it.dead_letter = Some(name("dlq")));
        run(&mut catalog, &user).expect("created");
    }
    let refused = word(run(&mut catalog, &delete_queue("dlq", None, 0)));
    assert!(refused.ends_with("queue q4 dead-letters to it, and 2 more"), "{refused}");
}

#[test]
fn a_deletion_meant_for_an_earlier_resource_is_refused() {
    let mut catalog = cluster(1);
    run(&mut catalog, &queue("q", |_| {})).expect("created");
    let first = catalog.queue(&name("q")).expect("created").meta.uid;
    run(&mut catalog, &delete_queue("q", None, 0)).expect("deleted");
    run(&mut catalog, &queue("q", |_| {})).expect("created");
    let second = catalog.queue(&name("q")).expect("created").meta.uid;
    assert_ne!(first, second);
    let delete =
        |uid| Command::DeleteQueue { name: name("q"), policy_override: None, messages: 0, if_uid: Some(uid) };
    check(&mut catalog, vec![(delete(first), "CONFLICT: queue q is not the one meant…")]);
    check(&mut catalog, vec![(delete(second), "deleted -1 -0")]);
}

#[test]
fn outcomes_carry_what_the_caller_must_do() {
    let mut catalog = cluster(1);
    let Ok(Outcome::Created(created)) = run(&mut catalog, &topic("t", |_| {})) else { panic!("created") };
    let change =
        Change { revision: Revision(3), kind: Kind::Topic, name: name("t"), action: Action::Applied };
    assert_eq!(created.change, change);
    assert_eq!(created.streams, [Opened { stream: StreamId(1), shard: ShardId(5), partition: 0 }]);
    assert_eq!(created.shards, [(ShardId(5), pondage_model::Epoch(1))]);
    assert_eq!(created.uid.to_string(), "07070707-0707-0707-0000-000000000003");
    let Ok(Outcome::Deleted(deleted)) = run(&mut catalog, &delete_topic("t", None, 0)) else {
        panic!("deleted")
    };
    assert_eq!(deleted.change, Change { revision: Revision(4), action: Action::Deleted, ..change });
    assert_eq!(deleted.streams, [(StreamId(1), ShardId(5))]);
    assert_eq!(deleted.shards, [(ShardId(5), Some(pondage_model::BrokerId(1)))]);
    assert_eq!(catalog.stream(StreamId(1)), None);
}

#[test]
fn watchers_resume_where_they_were_or_list_again() {
    let mut catalog = cluster(1);
    let listed = catalog.revision();
    let changes = |catalog: &Catalog, from: u64| -> Option<Vec<u64>> {
        Some(catalog.changes_since(Revision(from))?.map(|change| change.revision.0).collect())
    };
    let max = limits::CATALOG_CHANGES_MAX as u64;
    for index in 0..max {
        let settings = QueueSettings { ack_timeout_millis: index + 1, ..QueueSettings::default() };
        let revision = catalog.revision().next();
        catalog.apply(revision, &Command::ApplyQueue { name: name("q"), settings }).expect("applied");
    }
    let last = catalog.revision().0;
    assert_eq!(changes(&catalog, listed.0).map(|all| all.len() as u64), Some(max));
    assert_eq!(changes(&catalog, 0).map(|all| all.len() as u64), Some(max), "nothing is dropped yet");
    assert_eq!(changes(&catalog, last - 2), Some(vec![last - 1, last]));
    assert_eq!(changes(&catalog, last), Some(vec![]));
    assert_eq!(changes(&catalog, last + 1), None, "a revision that never was");
    run(&mut catalog, &delete_queue("q", None, 0)).expect("deleted");
    assert_eq!(changes(&catalog, listed.0), None, "the oldest change is dropped");
    assert_eq!(changes(&catalog, listed.0 + 1).map(|all| all.len() as u64), Some(max));
}
