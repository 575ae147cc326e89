//! A broker that lagged gets the whole catalog instead of the commands that led to it.

use pondage_catalog::Action;
use pondage_model::settings::QueueSettings;

use super::{
    super::{AdminRequest, CoordinatorEffect, CoordinatorEvent, ResourceKind},
    cluster::Cluster,
    delete, group, name, queue, topic,
};
use crate::shard::RequestId;

fn ask(cluster: &mut Cluster, id: u64, request: AdminRequest) {
    cluster.step(0, CoordinatorEvent::Request { id: RequestId(id), request });
    cluster.settle();
}

/// The third broker hears nothing while `meanwhile` happens, and then gets the catalog as it is.
fn lags(cluster: &mut Cluster, meanwhile: impl FnOnce(&mut Cluster)) {
    cluster.at(2).said.clear();
    cluster.at(2).coordinator.consensus().is_deaf = true;
    meanwhile(cluster);
    let lagged = (cluster.length(), cluster.at(0).coordinator.catalog().clone());
    let voter = cluster.at(2).coordinator.consensus();
    voter.lagged = Some(lagged);
    voter.is_deaf = false;
    cluster.settle();
}

fn routes(cluster: &mut Cluster) -> Vec<(String, Option<usize>)> {
    let said = cluster.at(2).said.iter();
    said.filter_map(|effect| match effect {
        CoordinatorEffect::Route(name, route) => {
            Some((name.to_string(), route.as_ref().map(|route| route.partitions.len())))
        }
        CoordinatorEffect::Group(name, settings) => Some((name.to_string(), settings.as_ref().map(|_| 0))),
        _ => None,
    })
    .collect()
}

fn changes(cluster: &mut Cluster) -> Vec<(String, Action)> {
    let said = cluster.at(2).said.iter();
    said.filter_map(|effect| match effect {
        CoordinatorEffect::Changed(change) => Some((change.name.to_string(), change.action)),
        _ => None,
    })
    .collect()
}

#[test]
fn it_hears_of_what_came_changed_and_went() {
    let mut cluster = Cluster::new(3);
    ask(&mut cluster, 1, queue(1_000));
    ask(&mut cluster, 2, topic(1));
    ask(&mut cluster, 3, group());
    cluster.pass(1_000);
    lags(&mut cluster, |cluster| {
        ask(cluster, 4, delete(ResourceKind::Queue, "work"));
        ask(cluster, 5, topic(3));
        ask(cluster, 6, delete(ResourceKind::Group, "readers"));
        ask(cluster, 7, AdminRequest::ApplyQueue(name("new"), QueueSettings::default()));
    });
    cluster.pass(1_000);
    let mut heard = routes(&mut cluster);
    heard.sort();
    let expected = [("log", Some(3)), ("new", Some(1)), ("readers", None), ("work", None)];
    assert_eq!(heard, expected.map(|(name, route)| (name.to_owned(), route)));
    let mut heard = changes(&mut cluster);
    heard.sort();
    let expected = [
        ("log", Action::Applied),
        ("new", Action::Applied),
        ("readers", Action::Deleted),
        ("work", Action::Deleted),
    ];
    assert_eq!(heard, expected.map(|(name, action)| (name.to_owned(), action)));
    cluster.check_agreement();
}

#[test]
fn it_gives_up_shards_that_it_holds_no_more_and_takes_new_ones() {
    let mut cluster = Cluster::new(3);
    ask(&mut cluster, 1, topic(2));
    cluster.pass(5_000);
    cluster.check_agreement();
    let held: Vec<_> = cluster.at(2).shards.keys().copied().collect();
    lags(&mut cluster, |cluster| {
        ask(cluster, 2, delete(ResourceKind::Topic, "log"));
        ask(cluster, 3, AdminRequest::ApplyTopic(name("other"), Default::default()));
        cluster.pass(200);
    });
    cluster.pass(3_000);
    cluster.check_agreement();
    let now: Vec<_> = cluster.at(2).shards.keys().copied().collect();
    assert!(held.iter().any(|shard| !now.contains(shard)), "shards of the deleted topic are gone: {now:?}");
    assert!(now.iter().any(|shard| !held.contains(shard)), "shards of the new topic are there: {now:?}");
}

#[test]
fn a_resource_that_was_made_anew_is_the_new_one() {
    let mut cluster = Cluster::new(3);
    ask(&mut cluster, 1, queue(1_000));
    cluster.pass(1_000);
    lags(&mut cluster, |cluster| {
        ask(cluster, 2, delete(ResourceKind::Queue, "work"));
        ask(cluster, 3, topic(1));
        ask(cluster, 4, queue(2_000));
    });
    cluster.pass(1_000);
    let heard = routes(&mut cluster);
    assert!(heard.contains(&("work".to_owned(), Some(1))) && !heard.contains(&("work".to_owned(), None)));
    let uid = |cluster: &mut Cluster, host: usize| {
        cluster.at(host).coordinator.catalog().queue(&name("work")).expect("it is there").meta.uid
    };
    assert_eq!(uid(&mut cluster, 2), uid(&mut cluster, 0));
}

#[test]
fn an_older_catalog_changes_nothing() {
    let mut cluster = Cluster::new(3);
    ask(&mut cluster, 1, queue(1_000));
    cluster.pass(1_000);
    let (length, old) = (cluster.length(), cluster.at(0).coordinator.catalog().clone());
    cluster.at(2).said.clear();
    cluster.at(2).coordinator.consensus().lagged = Some((length, old));
    cluster.settle();
    assert_eq!(routes(&mut cluster), []);
    cluster.check_agreement();
}
