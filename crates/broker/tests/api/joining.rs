//! Members of a group: who owns what, and what their claims are worth.

use pondage_model::Code;
use pondage_protocol::v1::{
    self, consume_request, consume_response, consume_start::Source, join_request, join_response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    harness::{Cluster, Consumer, PATIENCE, batch, publish, values},
    web::get,
};

struct Member {
    steps: mpsc::Sender<v1::JoinRequest>,
    responses: Streaming<v1::JoinResponse>,
}

impl Member {
    async fn join(cluster: &mut Cluster, group: &str, id: u8) -> Self {
        let (steps, outgoing) = mpsc::channel(64);
        let responses =
            cluster.groups.join(ReceiverStream::new(outgoing)).await.expect("accepted").into_inner();
        let member = Self { steps, responses };
        let instance = format!("pod-{id}");
        let start = v1::JoinStart { group: group.to_owned(), member_id: vec![id; 16].into(), instance };
        member.step(join_request::Step::Start(start)).await;
        member
    }

    async fn step(&self, step: join_request::Step) {
        self.steps.send(v1::JoinRequest { step: Some(step) }).await.expect("the stream is open");
    }

    async fn next(&mut self) -> Option<join_response::Step> {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await.expect("an answer in time");
        next.expect("no status").and_then(|response| response.step)
    }

    /// What it owns, once that is as wanted.
    async fn owns(&mut self, wanted: impl Fn(&[v1::OwnedPartition]) -> bool) -> Vec<v1::OwnedPartition> {
        loop {
            match self.next().await {
                Some(join_response::Step::Assignment(now)) if wanted(&now.partitions) => {
                    return now.partitions;
                }
                Some(join_response::Step::Assignment(_)) => {}
                other => panic!("no assignment: {other:?}"),
            }
        }
    }

    async fn release(&self, owned: &[v1::OwnedPartition]) {
        let partitions = owned.iter().filter(|owned| owned.revoked).cloned().collect();
        self.step(join_request::Step::Release(v1::JoinRelease { partitions })).await;
    }

    async fn error(&mut self) -> v1::Error {
        loop {
            match self.next().await {
                Some(join_response::Step::Error(error)) => return error,
                Some(join_response::Step::Assignment(_)) => {}
                other => panic!("no error: {other:?}"),
            }
        }
    }
}

fn source(owned: &v1::OwnedPartition) -> Source {
    Source::Topic(v1::TopicSource {
        name: owned.topic.clone(),
        partitions: vec![owned.partition],
        group: Some("billing".to_owned()),
        assignment: owned.since,
        home: owned.home,
        ..v1::TopicSource::default()
    })
}

/// The members: names, whether they are connected, how many partitions they have and wait for.
async fn members(cluster: &mut Cluster, group: &str) -> Vec<(String, bool, usize, u32)> {
    let asked = v1::GetMembersRequest { group: group.to_owned() };
    let found = cluster.groups.get_members(asked).await.expect("known").into_inner().members;
    let shown =
        |member: v1::Member| (member.instance, member.connected, member.partitions.len(), member.awaited);
    found.into_iter().map(shown).collect()
}

async fn commit(consumer: &mut Consumer, partition: u32, offset: u64) -> Option<v1::Error> {
    let commit = v1::ConsumeCommit { request_id: 1, partition, offset };
    consumer.step(consume_request::Step::Commit(commit)).await;
    loop {
        match consumer.next().await {
            Some(consume_response::Step::Committed(committed)) => return committed.error,
            Some(consume_response::Step::CaughtUp(_) | consume_response::Step::Delivery(_)) => {}
            other => panic!("not committed: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_passes_on_when_its_owner_lets_go_and_goes_on_where_it_stood() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 2).await;
    cluster.group("billing", "events").await;
    for partition in 0..2 {
        let request =
            v1::PublishRequest { partition: Some(partition), ..publish("events", batch(&["a", "b", "c"])) };
        cluster.send(request).await.expect("published");
    }
    let mut first = Member::join(&mut cluster, "billing", 1).await;
    let owned = first.owns(|owned| owned.len() == 2).await;
    let mut readers = Vec::new();
    for owned in &owned {
        let mut reader = cluster.consume(source(owned), 100).await;
        reader.started().await;
        assert_eq!(values(&reader.take(3).await), ["a", "b", "c"]);
        assert_eq!(commit(&mut reader, owned.partition, 2).await, None);
        readers.push(reader);
    }

    let mut second = Member::join(&mut cluster, "billing", 2).await;
    assert_eq!(second.owns(|_| true).await, [], "nobody has let go of anything");
    let revoked = first.owns(|owned| owned.iter().any(|owned| owned.revoked)).await;
    assert_eq!(revoked.iter().filter(|owned| owned.revoked).count(), 1);
    let pod = |id, partitions, awaited| (format!("pod-{id}"), true, partitions, awaited);
    assert_eq!(members(&mut cluster, "billing").await, [pod(1, 2, 0), pod(2, 0, 1)]);
    first.release(&revoked).await;
    let taken = second.owns(|owned| owned.len() == 1).await;
    let mut reader = cluster.consume(source(&taken[0]), 100).await;
    let started = reader.started().await;
    assert_eq!(started.partitions[0].offset, 2, "where it was committed");
    assert_eq!(values(&reader.take(1).await), ["c"]);
    assert_eq!(commit(&mut reader, taken[0].partition, 3).await, None);

    // The one before is fenced, and takes it back from nobody; what it keeps is its own.
    for (owned, reader) in owned.iter().zip(&mut readers) {
        let passed_on = owned.partition == taken[0].partition;
        if passed_on {
            assert_eq!(reader.end().await.code, Code::Fenced.as_str());
        } else {
            assert_eq!(commit(reader, owned.partition, 3).await, None);
        }
        let mut again = cluster.consume(source(owned), 100).await;
        if passed_on {
            assert_eq!(again.error().await.code, Code::Fenced.as_str());
        } else {
            assert_eq!(again.started().await.partitions[0].offset, 3);
        }
    }

    second.step(join_request::Step::Leave(v1::JoinLeave {})).await;
    loop {
        match second.next().await {
            Some(join_response::Step::Left(_)) => break,
            Some(join_response::Step::Assignment(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(second.next().await, None);
    first.owns(|owned| owned.len() == 2 && owned.iter().all(|owned| !owned.revoked)).await;
    assert_eq!(members(&mut cluster, "billing").await, [pod(1, 2, 0)]);
    let (_, metrics) = get(cluster.broker.http_address, "/metrics").await;
    for line in [
        "pondage_group_members{group=\"billing\"} 1",
        "pondage_group_member_partitions{group=\"billing\",member=\"pod-1\"} 2",
        "pondage_group_passed_on_partitions_total{cause=\"released\",group=\"billing\"} 1",
        "pondage_group_passed_on_partitions_total{cause=\"left\",group=\"billing\"} 1",
        "pondage_group_rebalances_total{group=\"billing\"} 3",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let committed =
        |partition| format!("pondage_group_committed_total{{group=\"billing\",partition=\"{partition}\"");
    for partition in 0..2 {
        let line = metrics.lines().find(|line| line.starts_with(&committed(partition))).expect("it is there");
        assert!(line.ends_with(" 3"), "all was committed once: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_keeps_what_it_has_also_after_a_restart_of_the_broker() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 3).await;
    for group in ["billing", "shipping", "audit", "fraud", "mail"] {
        cluster.group(group, "events").await;
    }
    let mut member = Member::join(&mut cluster, "billing", 1).await;
    let before = member.owns(|owned| owned.len() == 3).await;
    let (_, metrics) = get(cluster.broker.http_address, "/metrics").await;
    assert!(
        metrics.contains("topic=\"events\"") && !metrics.contains("topic=\"billing\""),
        "a home is no topic"
    );
    drop(member);
    let mut member = Member::join(&mut cluster, "billing", 1).await;
    assert_eq!(member.owns(|_| true).await, before);
    let mut displaced = member;
    let mut member = Member::join(&mut cluster, "billing", 1).await;
    assert_eq!(displaced.error().await.code, Code::Conflict.as_str());
    assert_eq!(member.owns(|_| true).await, before);
    let mut cluster = cluster.restart().await;
    let mut member = Member::join(&mut cluster, "billing", 1).await;
    assert_eq!(member.owns(|_| true).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_are_shared_out_and_a_deleted_group_ends_its_members() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    cluster.group("billing", "events").await;
    let mut member = Member::join(&mut cluster, "billing", 1).await;
    member.owns(|owned| owned.len() == 1).await;
    cluster.topic("events", 4).await;
    let mut numbers: Vec<_> =
        member.owns(|owned| owned.len() == 4).await.iter().map(|owned| owned.partition).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3]);
    let delete = v1::DeleteRequest {
        kind: v1::ResourceKind::Group.into(),
        name: "billing".to_owned(),
        ..v1::DeleteRequest::default()
    };
    cluster.admin.delete(delete).await.expect("deleted");
    assert_eq!(member.error().await.code, Code::NotFound.as_str());
    let mut nobody = Member::join(&mut cluster, "nobody", 1).await;
    assert_eq!(nobody.error().await.code, Code::NotFound.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_no_assignment_stands_behind_harms_nobody() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    cluster.group("billing", "events").await;
    let mut member = Member::join(&mut cluster, "billing", 1).await;
    let owned = member.owns(|owned| owned.len() == 1).await.remove(0);
    for (since, home, code) in [
        (1 << 40, owned.home, Code::InvalidArgument),
        (u64::MAX, owned.home, Code::InvalidArgument),
        // An earlier group of the same name.
        (owned.since + 9, owned.home + 1, Code::Fenced),
    ] {
        let forged = v1::OwnedPartition { since, home, ..owned.clone() };
        let mut claims = cluster.consume(source(&forged), 1).await;
        assert_eq!(claims.error().await.code, code.as_str(), "{since} {home}");
    }
    let mut claims = cluster.consume(source(&owned), 1).await;
    claims.started().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_on_a_queue_says_what_to_consume_and_knows_who_does() {
    let mut cluster = Cluster::start().await;
    cluster.queue("orders").await;
    let source = v1::group_spec::Source::Queue("orders".to_owned());
    let spec = v1::GroupSpec {
        source: Some(source),
        in_flight_per_consumer_max: Some(7),
        session_timeout_millis: Some(2_000),
        ..v1::GroupSpec::default()
    };
    cluster.apply("packers", v1::resource_spec::Spec::Group(spec)).await.expect("applied");
    let mut joined = Vec::new();
    for id in [1, 2] {
        let mut member = Member::join(&mut cluster, "packers", id).await;
        let Some(join_response::Step::Assignment(told)) = member.next().await else { panic!("not told") };
        assert_eq!((told.queue.as_str(), told.in_flight_per_consumer_max), ("orders", 7));
        assert_eq!((told.partitions, told.session_timeout_millis), (vec![], 2_000));
        joined.push(member);
    }
    let pod = |id, is_connected| (format!("pod-{id}"), is_connected, 0, 0);
    assert_eq!(members(&mut cluster, "packers").await, [pod(1, true), pod(2, true)]);
    let (_, metrics) = get(cluster.broker.http_address, "/metrics").await;
    assert!(metrics.contains("pondage_group_members{group=\"packers\"} 2"), "{metrics}");
    // Who is lost is a member for its session, as the group was made.
    drop(joined.remove(0));
    let away = async {
        while members(&mut cluster, "packers").await != [pod(1, false), pod(2, true)] {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, away).await.expect("it is away, and a member");
    let began = std::time::Instant::now();
    while members(&mut cluster, "packers").await != [pod(2, true)] {
        assert!(began.elapsed() < PATIENCE, "it is given up");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_out_of_order_ends_the_stream() {
    let mut cluster = Cluster::start().await;
    cluster.topic("events", 1).await;
    cluster.group("billing", "events").await;
    let mut member = Member::join(&mut cluster, "billing", 1).await;
    member.owns(|owned| owned.len() == 1).await;
    let again =
        v1::JoinStart { group: "billing".to_owned(), member_id: vec![1; 16].into(), ..Default::default() };
    member.step(join_request::Step::Start(again)).await;
    assert_eq!(member.error().await.code, Code::ProtocolState.as_str());
}
