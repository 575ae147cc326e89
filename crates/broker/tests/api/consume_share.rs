//! Shared groups: messages of a topic's partition under leases.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pondage_model::Code;
use pondage_protocol::v1::{self, consume_start::Source, resource_spec::Spec, settle_result};

use crate::harness::{Cluster, values};

/// The longest that a word about another resource takes, for a client that does not see it come.
const SOON: Duration = Duration::from_millis(1_100);

impl Cluster {
    async fn shared(&mut self, name: &str, topic: &str, spec: v1::GroupSpec) {
        let topics = v1::GroupTopics { names: vec![topic.to_owned()] };
        let source = Some(v1::group_spec::Source::Topics(topics));
        let sharing =
            Some(v1::GroupSharing { ack_timeout_millis: Some(60_000), ..v1::GroupSharing::default() });
        self.apply(name, Spec::Group(v1::GroupSpec { source, sharing, ..spec })).await.expect("applied");
    }

    async fn lag(&mut self, group: &str, topic: &str) -> u64 {
        let request = v1::GetOffsetsRequest { group: group.to_owned(), topic: topic.to_owned() };
        let response = self.groups.get_offsets(request).await.expect("known").into_inner();
        response.partitions.iter().map(|place| place.lag).sum()
    }
}

fn refused(result: &v1::SettleResult) -> Option<&str> {
    match result.result.as_ref()? {
        settle_result::Result::Settled(_) => None,
        settle_result::Result::Error(error) => Some(error.code.as_str()),
    }
}

fn share(group: &str, topic: &str, partition: u32) -> Source {
    let (group, topic) = (group.to_owned(), topic.to_owned());
    Source::Share(v1::ShareSource { group, topic, partition, lease_millis: None })
}

#[tokio::test]
async fn members_of_a_shared_group_settle_a_partitions_messages_one_by_one() {
    let mut cluster = Cluster::start().await;
    cluster.topic("orders", 1).await;
    cluster.publish("orders", &["a", "b", "c", "d"]).await;
    cluster.shared("billing", "orders", v1::GroupSpec::default()).await;
    let mut first = cluster.consume(share("billing", "orders", 0), 2).await;
    first.started().await;
    let of_first = first.take(2).await;
    let mut second = cluster.consume(share("billing", "orders", 0), 10).await;
    second.started().await;
    let of_second = second.take(2).await;
    assert_eq!((values(&of_first), values(&of_second)), (vec!["a", "b"], vec!["c", "d"]));
    assert!(of_first.iter().chain(&of_second).all(|got| got.attempt() == 1));

    // Out of order: what one member is slow with holds up nobody.
    second.settle(1, vec![of_second[1].accept(), of_second[0].release()]).await;
    assert!(second.settled().await.results.iter().all(|result| refused(result).is_none()));
    let again = second.take(1).await;
    assert_eq!((values(&again), again[0].attempt()), (vec!["c"], 2));
    // Who leaves in good order gives back what it holds.
    first.settle(1, vec![of_first[0].accept()]).await;
    first.settled().await;
    first.close().await;
    let back = second.take(1).await;
    assert_eq!((values(&back), back[0].attempt()), (vec!["b"], 2));
    assert_eq!(cluster.lag("billing", "orders").await, 2);

    second.settle(2, vec![again[0].accept(), back[0].accept()]).await;
    second.settled().await;
    second.close().await;
    let mut cluster = cluster.restart().await;
    assert_eq!(cluster.lag("billing", "orders").await, 0);
    cluster.publish("orders", &["e"]).await;
    let mut third = cluster.consume(share("billing", "orders", 0), 10).await;
    third.started().await;
    assert_eq!(values(&third.take(1).await), ["e"]);
}

#[tokio::test]
async fn a_reset_gives_everything_again_and_takes_no_verdict_on_what_was_held() {
    let mut cluster = Cluster::start().await;
    cluster.topic("orders", 1).await;
    cluster.publish("orders", &["a", "b"]).await;
    cluster.shared("billing", "orders", v1::GroupSpec::default()).await;
    let mut member = cluster.consume(share("billing", "orders", 0), 10).await;
    member.started().await;
    let before = member.take(2).await;
    member.settle(1, vec![before[0].accept()]).await;
    member.settled().await;
    let to = Some(v1::StartAt { at: Some(v1::start_at::At::Edge(v1::StartEdge::Earliest.into())) });
    let request = v1::SetOffsetsRequest {
        group: "billing".to_owned(),
        topic: "orders".to_owned(),
        seeks: vec![v1::Seek { partition: 0, to }],
        dry_run: false,
    };
    cluster.groups.set_offsets(request).await.expect("moved");
    let after = member.take(2).await;
    assert_eq!(values(&after), ["a", "b"]);
    member.settle(2, vec![before[1].accept(), after[1].accept()]).await;
    let results = member.settled().await.results;
    let codes: Vec<_> = results.iter().map(refused).collect();
    assert_eq!(codes, [Some(Code::LeaseLost.as_str()), None]);
    assert_eq!(cluster.lag("billing", "orders").await, 1);
}

#[tokio::test]
async fn a_shared_group_may_start_at_a_time_or_at_the_end() {
    let mut cluster = Cluster::start().await;
    cluster.topic("orders", 1).await;
    cluster.publish("orders", &["before"]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let time = i64::try_from(now).expect("not that late");
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.publish("orders", &["behind"]).await;
    let at = |at| v1::GroupSpec {
        start_position: Some(v1::GroupStart { at: Some(at) }),
        ..v1::GroupSpec::default()
    };
    cluster.shared("timed", "orders", at(v1::group_start::At::TimeUnixMillis(time))).await;
    cluster.shared("late", "orders", at(v1::group_start::At::Latest(v1::GroupStartLatest {}))).await;
    cluster.shared("young", "orders", at(v1::group_start::At::TimeUnixMillis(time + 3_600_000))).await;
    cluster.publish("orders", &["new"]).await;
    for (group, expected) in [("timed", &["behind", "new"][..]), ("late", &["new"]), ("young", &["new"])] {
        assert_eq!(cluster.lag(group, "orders").await, expected.len() as u64, "{group}");
        let mut member = cluster.consume(share(group, "orders", 0), 10).await;
        member.started().await;
        assert_eq!(values(&member.take(expected.len()).await), expected, "{group}");
    }
}

#[tokio::test]
async fn what_does_not_fit_a_shared_group_is_refused() {
    let mut cluster = Cluster::start().await;
    cluster.topic("orders", 1).await;
    cluster.topic("other", 1).await;
    cluster.group("ordered", "orders").await;
    cluster.shared("billing", "orders", v1::GroupSpec::default()).await;
    let of_topic = Source::Topic(v1::TopicSource {
        name: "orders".to_owned(),
        group: Some("billing".to_owned()),
        ..v1::TopicSource::default()
    });
    for (source, code) in [
        (share("ordered", "orders", 0), Code::InvalidArgument),
        (share("billing", "other", 0), Code::InvalidArgument),
        (share("billing", "orders", 1), Code::NotFound),
        (share("nobody", "orders", 0), Code::NotFound),
        (of_topic, Code::InvalidArgument),
    ] {
        let mut consumer = cluster.consume(source.clone(), 1).await;
        let error = consumer.end().await;
        assert_eq!(error.code, code.as_str(), "{source:?}: {error:?}");
    }
    // Whoever consumes for a group hears of its end.
    let mut member = cluster.consume(share("billing", "orders", 0), 1).await;
    member.started().await;
    let delete = v1::DeleteRequest {
        kind: v1::ResourceKind::Group.into(),
        name: "billing".to_owned(),
        ..v1::DeleteRequest::default()
    };
    cluster.admin.delete(delete).await.expect("deleted");
    assert_eq!(member.end().await.code, Code::NotFound.as_str());
    tokio::time::sleep(SOON).await;
    // One of the same name is another one.
    cluster.publish("orders", &["a"]).await;
    cluster.shared("billing", "orders", v1::GroupSpec::default()).await;
    assert_eq!(cluster.lag("billing", "orders").await, 1);
}
