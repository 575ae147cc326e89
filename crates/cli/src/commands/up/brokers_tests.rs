//! How several brokers are started, without starting them.

use clap::Parser;
use pondage_client::{BrokerStatus, ShardStatus};
use pondage_model::{BrokerId, Epoch, Revision, ShardId};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    up: Up,
}

fn up(data: &std::path::Path, rest: &[&str]) -> Up {
    let data = data.to_str().expect("text");
    let words = ["up", "--data", data, "--http", "127.0.0.1:0"].into_iter().chain(rest.iter().copied());
    Line::try_parse_from(words).expect("valid").up
}

const ANY: Option<SocketAddr> = Some(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0));

#[test]
fn the_record_is_there_before_any_broker_and_a_later_start_keeps_it() {
    let place = tempfile::tempdir().expect("a folder");
    let up = up(place.path(), &["--log-format", "json", "--sync-delay", "2ms"]);
    let mut first = up.open(3, ANY).expect("a new folder");
    assert!(first.is_new && record::is_cluster(place.path()));
    let spec = up.spec(&first, 2).expect("a record");
    let line = spec.args.join(" ");
    let places: Vec<String> = first.record.brokers.iter().map(|broker| broker.listen.to_string()).collect();
    for part in [
        "broker --supervised".to_owned(),
        format!("--listen {} ", places[1]),
        format!("--seeds {},{} ", places[0], places[2]),
        format!("--cluster {} ", first.record.cluster().expect("a UUID")),
        "--log-format json --sync-delay 2ms".to_owned(),
    ] {
        assert!(line.contains(&part), "{part} in {line}");
    }
    assert!(!line.contains("--replaces"), "{line}");

    first.record.initialised = true;
    first.record.brokers[1].id = Some(7);
    first.folder.save(&first.record).expect("writable");
    std::fs::create_dir_all(first.folder.broker(1)).expect("writable");
    std::fs::write(first.folder.broker(1).join("identity"), "x").expect("writable");
    let before = first.record.clone();
    drop(first);
    let again = up.open(3, ANY).expect("the same folder");
    assert!(!again.is_new && again.record == before);
    // Its volume is gone and it was known: the new one takes its place.
    assert!(up.spec(&again, 2).expect("a record").args.join(" ").contains("--replaces 7"));
    assert!(!up.spec(&again, 1).expect("a record").args.join(" ").contains("--replaces"));
    drop(again);

    for (count, asked, said) in [
        (2, ANY, "the cluster of this data folder has 3 brokers"),
        (3, "127.0.0.1:1".parse().ok(), "listens on"),
    ] {
        let refused = up.open(count, asked).err().expect("refused");
        assert!(refused.exit == Exit::Usage && refused.message.contains(said), "{refused}");
    }
}

#[test]
fn other_machines_are_kept_out() {
    let place = tempfile::tempdir().expect("a folder");
    let refused = up(place.path(), &[]).open(3, "0.0.0.0:0".parse().ok()).err().expect("refused");
    assert!(refused.message.contains("other machines"), "{refused}");
}

#[test]
fn a_cluster_is_whole_with_all_brokers_voters_and_copies() {
    let status = |there: u32, voters: u32, in_sync: u32| ClusterStatus {
        uuid: None,
        broker: BrokerId(1),
        version: String::new(),
        is_stale: false,
        revision: Revision(1),
        feature_level: 1,
        feature_level_possible: None,
        catalog_leader: Some(BrokerId(1)),
        catalog_epoch: Epoch(1),
        voters: (1..=voters).map(BrokerId).collect(),
        brokers: (1..=there).map(|id| BrokerStatus { id: BrokerId(id), ..BrokerStatus::default() }).collect(),
        shards: vec![ShardStatus {
            id: ShardId(1),
            leader: Some(BrokerId(1)),
            replicas: (1..=there).map(BrokerId).collect(),
            in_sync: (1..=in_sync).map(BrokerId).collect(),
            min_in_sync_replicas: 1,
            replicas_wanted: there,
            ..ShardStatus::default()
        }],
    };
    for (status, expected) in [
        (status(3, 3, 3), None),
        (status(3, 1, 3), Some(("1 of 3 brokers vote on the catalog", false))),
        (status(2, 1, 2), Some(("2 of 3 brokers have joined", false))),
        (status(3, 3, 2), Some(("shard 1 has too few in-sync copies", false))),
        (status(3, 3, 0), Some(("shard 1 has no replica left that holds every acknowledged message", true))),
    ] {
        let lack = lacks(&status, 3);
        assert_eq!(lack.as_ref().map(|lack| (lack.what.as_str(), lack.is_grave)), expected);
    }
}
