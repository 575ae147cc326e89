use super::*;
use pondage_model::settings::{QueueSettings, TopicSettings};

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

fn resource() -> Resource {
    Resource {
        name: name("orders"),
        uid: Uuid([3; 16]),
        revision: Revision(9),
        settings: Settings::Topic(TopicSettings::default()),
        streams: None,
    }
}

#[test]
fn a_queue_is_not_its_own_dead_letter_queue() {
    for (dead_letter, ok) in [("orders", false), ("orders.dead", true)] {
        let queue = QueueSettings { dead_letter: Some(name(dead_letter)), ..QueueSettings::default() };
        let apply = Apply {
            name: name("orders"),
            settings: Settings::Queue(queue),
            if_revision: Some(Revision::ZERO),
            dry_run: true,
        };
        let back = Apply::try_from(v1::ApplyRequest::from(apply.clone()));
        assert_eq!(back.is_ok(), ok, "{dead_letter}");
        if let Ok(back) = back {
            assert_eq!(back, apply);
        }
    }
}

#[test]
fn a_list_is_bounded() {
    for (asked, got) in [(0, 1_000), (7, 7), (u32::MAX, 1_000)] {
        let request = v1::ListRequest { kind: 1, max_resources: asked, ..v1::ListRequest::default() };
        assert_eq!(List::try_from(request).expect("valid").resources_max, got);
    }
    let unknown = List::try_from(v1::ListRequest { kind: 0, ..v1::ListRequest::default() });
    assert!(unknown.expect_err("refused").to_string().contains("allowed: RESOURCE_KIND_TOPIC"));
}

#[test]
fn deletions_survive_the_wire() {
    for policy in [None, Some(DeletionPolicy::Retain), Some(DeletionPolicy::Delete)] {
        let delete = Delete {
            kind: ResourceKind::Queue,
            name: name("orders"),
            if_uid: Some(Uuid([1; 16])),
            if_revision: Some(Revision(4)),
            policy,
        };
        assert_eq!(Delete::try_from(v1::DeleteRequest::from(delete.clone())), Ok(delete));
    }
    let foreign = v1::DeleteRequest {
        kind: 2,
        name: "a".to_owned(),
        if_uid: Some("x".to_owned()),
        ..Default::default()
    };
    assert!(Delete::try_from(foreign).is_err());
}

#[test]
fn answers_survive_the_wire() {
    for change in [Change::Created, Change::Updated, Change::Unchanged] {
        let applied = Applied { change, resource: resource() };
        assert_eq!(Applied::try_from(v1::ApplyResponse::from(applied.clone())), Ok(applied));
    }
    let deleted = Watched::Deleted { kind: ResourceKind::Group, name: name("g"), uid: Uuid([2; 16]) };
    for what in [Watched::Changed(Box::new(resource())), deleted, Watched::Synced] {
        let event = WatchEvent { revision: Revision(4), what };
        assert_eq!(WatchEvent::try_from(v1::WatchResponse::from(event.clone())), Ok(event));
    }
    let broker = Broker {
        id: BrokerId(1),
        address: "localhost:7400".to_owned(),
        incarnation: Incarnation(2),
        version: "0.1.0".to_owned(),
    };
    let cluster = Cluster {
        uuid: Uuid([5; 16]),
        brokers: vec![broker],
        shards: 5,
        streams: 6,
        version: "0.1.0".to_owned(),
        revision: Revision(7),
    };
    assert_eq!(Cluster::try_from(v1::DescribeClusterResponse::from(cluster.clone())), Ok(cluster));
}
