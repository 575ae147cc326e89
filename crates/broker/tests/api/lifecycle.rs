//! Things that come and go while others are at work, and a broker that stops among them.

use std::{path::Path, time::Duration};

use pondage_broker::Stopped;
use pondage_protocol::v1::{self, resource_spec::Spec};

use super::harness::{Cluster, PATIENCE};

/// Shard folders that hold something.
fn shards_with_logs(data: &Path) -> usize {
    let folders = std::fs::read_dir(data.join("shards")).expect("a data folder");
    let full = |folder: &std::fs::DirEntry| {
        std::fs::read_dir(folder.path()).is_ok_and(|mut files| files.next().is_some())
    };
    folders.flatten().filter(full).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_it_is_made_leaves_no_log_behind() {
    let mut cluster = Cluster::start().await;
    let before = shards_with_logs(&cluster.data());
    for round in 0..20 {
        let name = format!("short-{round}");
        let topic = v1::TopicSpec { partitions: Some(4), ..v1::TopicSpec::default() };
        let spec = Some(v1::ResourceSpec { spec: Some(Spec::Topic(topic)) });
        let request = v1::ApplyRequest { name: name.clone(), spec, ..v1::ApplyRequest::default() };
        let mut admin = cluster.admin.clone();
        // Its client loses patience: nobody waits for the shards.
        let applying = async move { admin.apply(request).await };
        drop(tokio::time::timeout(Duration::from_millis(1 + round % 5), applying).await);
        let delete =
            v1::DeleteRequest { kind: v1::ResourceKind::Topic.into(), name, ..v1::DeleteRequest::default() };
        // It may not be there yet.
        drop(cluster.admin.delete(delete).await);
    }
    // What was applied after its deletion was refused is deleted now.
    for round in 0..20 {
        let delete = v1::DeleteRequest {
            kind: v1::ResourceKind::Topic.into(),
            name: format!("short-{round}"),
            policy: Some(v1::DeletionPolicy::Delete.into()),
            ..v1::DeleteRequest::default()
        };
        drop(cluster.admin.delete(delete).await);
    }
    let data = cluster.data();
    let emptied = async {
        while shards_with_logs(&data) != before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, emptied).await;
    assert!(ended.is_ok(), "{} logs, {before} before", shards_with_logs(&data));
    assert_eq!(cluster.broker.stop().await, Stopped::InOrder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_among_changes_stops_in_order() {
    for round in 0..5 {
        let cluster = Cluster::start().await;
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let mut admin = cluster.admin.clone();
                tokio::spawn(async move {
                    for number in 0.. {
                        let queue = Spec::Queue(v1::QueueSpec::default());
                        let spec = Some(v1::ResourceSpec { spec: Some(queue) });
                        let name = format!("queue-{worker}-{number}");
                        let request = v1::ApplyRequest { name, spec, ..v1::ApplyRequest::default() };
                        if admin.apply(request).await.is_err() {
                            break;
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + 7 * round)).await;
        let stopped = tokio::time::timeout(PATIENCE, cluster.broker.stop()).await;
        assert_eq!(stopped, Ok(Stopped::InOrder));
        for worker in workers {
            tokio::time::timeout(PATIENCE, worker).await.expect("nobody waits for ever").expect("no panic");
        }
    }
}
