use std::time::Duration;

use pondage_model::Code;
use pondage_protocol::v1::{self, resource_spec::Spec, watch_response::Event};
use tonic::Streaming;

use crate::harness::{Cluster, PATIENCE, unwrap};

fn apply(name: &str, spec: Spec) -> v1::ApplyRequest {
    let spec = Some(v1::ResourceSpec { spec: Some(spec) });
    v1::ApplyRequest { name: name.to_owned(), spec, ..v1::ApplyRequest::default() }
}

fn queue(spec: v1::QueueSpec) -> Spec {
    Spec::Queue(spec)
}

fn delete(kind: v1::ResourceKind, name: &str) -> v1::DeleteRequest {
    v1::DeleteRequest { kind: kind.into(), name: name.to_owned(), ..v1::DeleteRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_is_level_triggered_and_conditional() {
    let mut cluster = Cluster::start().await;
    let plain = || queue(v1::QueueSpec::default());
    let long = || queue(v1::QueueSpec { ack_timeout_millis: Some(60_000), ..v1::QueueSpec::default() });
    let mut ask = async |request: v1::ApplyRequest| {
        unwrap(cluster.admin.apply(request).await).map(|response| (response.change(), response.resource))
    };

    let dry = v1::ApplyRequest { dry_run: true, ..apply("orders", plain()) };
    assert_eq!(ask(dry).await.expect("would do").0, v1::Change::Created);
    let (change, created) = ask(apply("orders", plain())).await.expect("applied");
    assert_eq!(change, v1::Change::Created, "the dry run made nothing");
    let created = created.expect("the resource");
    assert_eq!(ask(apply("orders", plain())).await.expect("applied").0, v1::Change::Unchanged);
    let dry = v1::ApplyRequest { dry_run: true, ..apply("orders", long()) };
    assert_eq!(ask(dry).await.expect("would do").0, v1::Change::Updated);
    let fresh = v1::ApplyRequest { if_revision: Some(0), ..apply("orders", long()) };
    assert!(ask(fresh).await.expect_err("it exists").is(Code::Conflict));
    let at = v1::ApplyRequest { if_revision: Some(created.revision), ..apply("orders", long()) };
    let (change, updated) = ask(at.clone()).await.expect("applied");
    let updated = updated.expect("the resource");
    assert_eq!((change, &updated.uid), (v1::Change::Updated, &created.uid));
    assert!(updated.revision > created.revision);
    assert!(ask(at).await.expect_err("it went on").is(Code::Conflict));

    let lost =
        || queue(v1::QueueSpec { dead_letter: Some("nowhere".to_owned()), ..v1::QueueSpec::default() });
    for request in [
        apply("orders", Spec::Topic(v1::TopicSpec::default())),
        apply("bad name", plain()),
        apply(
            "itself",
            queue(v1::QueueSpec { dead_letter: Some("itself".to_owned()), ..Default::default() }),
        ),
        apply("zero", Spec::Topic(v1::TopicSpec { partitions: Some(0), ..v1::TopicSpec::default() })),
        apply("lost", lost()),
        v1::ApplyRequest { dry_run: true, ..apply("lost", lost()) },
        v1::ApplyRequest { name: "nothing".to_owned(), ..v1::ApplyRequest::default() },
    ] {
        let name = request.name.clone();
        let failure = ask(request).await.expect_err("refused");
        assert_eq!(failure.outcome, pondage_model::Outcome::Definite, "{name}: {failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages_and_status() {
    let mut cluster = Cluster::start().await;
    for name in ["c", "a", "b"] {
        cluster.queue(name).await;
    }
    cluster.topic("t", 3).await;
    cluster.publish("b", &["x", "y"]).await;
    let list = |max_resources, after_name: &str, with_status| v1::ListRequest {
        kind: v1::ResourceKind::Queue.into(),
        max_resources,
        after_name: after_name.to_owned(),
        with_status,
    };
    let page = unwrap(cluster.admin.list(list(2, "", false)).await).expect("listed");
    let names: Vec<_> = page.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!((names, page.more), (vec!["a", "b"], true));
    assert!(page.resources.iter().all(|resource| resource.status.is_none()));
    let page = unwrap(cluster.admin.list(list(2, "b", false)).await).expect("listed");
    assert_eq!((page.resources[0].name.as_str(), page.more), ("c", false));
    let page = unwrap(cluster.admin.list(list(0, "a", true)).await).expect("listed");
    let status = page.resources[0].status.clone().expect("with status").streams[0];
    assert_eq!((status.ready, status.end_offset, status.leader.is_some()), (2, 2, true));

    let describe = v1::DescribeClusterRequest {};
    let described = unwrap(cluster.admin.describe_cluster(describe).await).expect("described");
    assert_eq!((described.streams, described.brokers.len()), (6, 1));
    assert!(described.shards > 1 && described.cluster_uuid.len() == 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_keeps_its_policy_and_its_preconditions() {
    let mut cluster = Cluster::start().await;
    let kind = v1::ResourceKind::Queue;
    let policy = |policy: v1::DeletionPolicy| {
        queue(v1::QueueSpec { deletion_policy: policy.into(), ..v1::QueueSpec::default() })
    };
    cluster.apply("keep", policy(v1::DeletionPolicy::Retain)).await.expect("applied");
    cluster.apply("empty", policy(v1::DeletionPolicy::DeleteIfEmpty)).await.expect("applied");
    cluster.apply("go", policy(v1::DeletionPolicy::Delete)).await.expect("applied");
    for name in ["keep", "empty", "go"] {
        cluster.publish(name, &["a"]).await;
    }
    let kept = unwrap(cluster.admin.delete(delete(kind, "keep")).await).expect("answered");
    assert!(!kept.deleted);
    assert_eq!(cluster.receive("keep", 1, 1_000).await.len(), 1, "it lives on with its messages");

    let failure = unwrap(cluster.admin.delete(delete(kind, "empty")).await).expect_err("not empty");
    assert!(failure.is(Code::NotEmpty), "{failure}");
    let got = cluster.receive("empty", 1, 1_000).await;
    cluster.settle(vec![got[0].accept()]).await;
    assert!(unwrap(cluster.admin.delete(delete(kind, "empty")).await).expect("deleted").deleted);

    let wrong = "00000000-0000-0000-0000-000000000001".to_owned();
    let request = v1::DeleteRequest { if_uid: Some(wrong), ..delete(kind, "go") };
    assert!(unwrap(cluster.admin.delete(request).await).expect_err("another one").is(Code::Conflict));
    let request = v1::DeleteRequest { if_revision: Some(1), ..delete(kind, "go") };
    assert!(unwrap(cluster.admin.delete(request).await).expect_err("another one").is(Code::Conflict));
    assert!(unwrap(cluster.admin.delete(delete(kind, "go")).await).expect("deleted").deleted);
    assert!(unwrap(cluster.admin.delete(delete(kind, "go")).await).expect_err("gone").is(Code::NotFound));

    // A queue of the same name is a new one.
    cluster.queue("go").await;
    assert!(cluster.receive("go", 1, 0).await.is_empty());
    assert_eq!(cluster.publish("go", &["new"]).await.base_offset, 0);
}

async fn next(watch: &mut Streaming<v1::WatchResponse>) -> (u64, String) {
    let next = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time");
    let response = next.expect("no status").expect("an event");
    let what = match response.event.expect("an event") {
        Event::Changed(resource) => format!("changed {}", resource.name),
        Event::Deleted(deleted) => format!("deleted {} {}", deleted.name, deleted.uid.len()),
        Event::Synced(_) => "synced".to_owned(),
    };
    (response.revision, what)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_what_there_is_and_then_what_changes() {
    let mut cluster = Cluster::start().await;
    cluster.queue("a").await;
    cluster.topic("b", 1).await;
    let request = v1::WatchRequest { from_revision: 0 };
    let mut watch = cluster.admin.watch(request).await.expect("accepted").into_inner();
    let mut there = vec![next(&mut watch).await.1, next(&mut watch).await.1];
    there.sort_unstable();
    assert_eq!(there, ["changed a", "changed b"]);
    let (synced, what) = next(&mut watch).await;
    assert_eq!(what, "synced");

    cluster.queue("c").await;
    let spec = v1::QueueSpec { max_deliveries: Some(9), ..v1::QueueSpec::default() };
    cluster.apply("a", queue(spec)).await.expect("applied");
    let request = v1::DeleteRequest {
        policy: Some(v1::DeletionPolicy::Delete.into()),
        ..delete(v1::ResourceKind::Queue, "c")
    };
    cluster.admin.delete(request).await.expect("deleted");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(next(&mut watch).await);
    }
    let whats: Vec<_> = seen.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(whats, ["changed c", "changed a", "deleted c 36"]);
    assert!(seen.is_sorted_by_key(|(revision, _)| *revision) && seen[0].0 > synced);

    // One that goes on where it was.
    let request = v1::WatchRequest { from_revision: seen[0].0 };
    let mut again = cluster.admin.watch(request).await.expect("accepted").into_inner();
    assert_eq!(next(&mut again).await, seen[1]);
    assert_eq!(next(&mut again).await.1, "deleted c 36");
    assert_eq!(next(&mut again).await.1, "synced");

    let stopping = tokio::spawn(cluster.broker.stop());
    let end = tokio::time::timeout(Duration::from_secs(4), watch.message()).await.expect("at once");
    let failure = pondage_protocol::from_status(&end.expect_err("a status"));
    assert!(failure.is(Code::ShuttingDown), "{failure}");
    stopping.await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_forgotten_says_so() {
    let mut cluster = Cluster::start().await;
    cluster.queue("a").await;
    for round in 0..1_100u32 {
        let spec = v1::QueueSpec { max_deliveries: Some(10 + round % 2), ..v1::QueueSpec::default() };
        cluster.apply("a", queue(spec)).await.expect("applied");
    }
    let request = v1::WatchRequest { from_revision: 1 };
    let mut watch = cluster.admin.watch(request).await.expect("accepted").into_inner();
    let end = tokio::time::timeout(PATIENCE, watch.message()).await.expect("at once");
    let failure = pondage_protocol::from_status(&end.expect_err("a status"));
    assert!(failure.is(Code::OutOfRange), "{failure}");
}
