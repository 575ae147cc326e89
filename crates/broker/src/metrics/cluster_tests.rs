use std::{sync::atomic::AtomicU64, time::Duration};

use pondage_model::{Incarnation, Member, Position, Uuid};
use pondage_node::{
    Now,
    coordinator::Assignment,
    replication::{Message as Said, Timing},
    shard::{ShardEvent, ShardLog},
};
use prometheus::TextEncoder;

use super::*;

const ME: Member = Member { broker: BrokerId(1), incarnation: Incarnation(1) };

fn follower(broker: u32, behind: Option<u64>, under_way_bytes: u64, in_sync: bool) -> FollowerReport {
    FollowerReport { broker: BrokerId(broker), behind, under_way_bytes, in_sync }
}

fn replica(shard: u32, leads_in: Option<u64>, followers: &[FollowerReport]) -> ReplicaReport {
    let followers = followers.to_vec();
    ReplicaReport { shard: ShardId(shard), leads_in: leads_in.map(Epoch), followers }
}

fn seen(offline: u64, offline_millis: u64) -> Seen {
    let shards = ShardTotals { offline, below_minimum: 2, under_replicated: 3, offline_millis };
    let voters = vec![BrokerId(1), BrokerId(2), BrokerId(3)];
    let membership = Membership { voters, leader: Some(BrokerId(2)), epoch: Epoch(8) };
    Seen { at: Instant::now(), shards, membership, leads_catalog: false, revision: 40 }
}

fn voter() -> consensus::Status {
    consensus::Status {
        leader: Some(Uuid([2; 16])),
        term: 8,
        voters: Vec::new(),
        learners: Vec::new(),
        last: Some(41),
        applied: Some(40),
        snapshot: Some(29),
    }
}

/// Something in every family.
pub(in crate::metrics) fn fill(families: &ClusterFamilies) {
    let lagging = [follower(2, Some(7), 100, true), follower(3, None, 0, false)];
    let less = [follower(2, Some(4), 20, false)];
    let replicas = [replica(1, Some(5), &lagging), replica(2, None, &[]), replica(3, Some(6), &less)];
    families.fill(&replicas, Some(&seen(1, 0)), Some(&voter()), &Sources::default());
    let counters = PeerCounters {
        sent_bytes: AtomicU64::new(10),
        received_messages: AtomicU64::new(11),
        dropped_full: AtomicU64::new(12),
        links: AtomicU64::new(13),
        ..PeerCounters::default()
    };
    families.peer(BrokerId(2), true, &counters);
    families.certificate(TlsStatus { not_after_seconds: 2_000_000_000, reloads: 2, failures: 1 });
}

#[test]
fn every_figure_is_told_under_its_name() {
    let registry = Registry::new();
    fill(&ClusterFamilies::new(&registry));
    let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
    for line in [
        "pondage_shards_led 2",
        "pondage_shards_followed 1",
        "pondage_shard_epoch{shard=\"3\"} 6",
        "pondage_shards_offline 1",
        "pondage_shards_below_minimum 2",
        "pondage_shards_under_replicated 3",
        "pondage_follower_lag_entries{broker=\"2\"} 7",
        "pondage_follower_under_way_bytes{broker=\"2\"} 120",
        "pondage_follower_out_of_sync_shards{broker=\"2\"} 1",
        "pondage_follower_out_of_sync_shards{broker=\"3\"} 1",
        "pondage_catalog_leader 0",
        "pondage_catalog_leader_known 1",
        "pondage_catalog_term 8",
        "pondage_catalog_voters 3",
        "pondage_catalog_revision 40",
        "pondage_catalog_logged_entries 42",
        "pondage_catalog_applied_entries 41",
        "pondage_catalog_log_entries 12",
        "pondage_peer_up{broker=\"2\"} 1",
        "pondage_peer_bytes_total{broker=\"2\",direction=\"sent\"} 10",
        "pondage_peer_messages_total{broker=\"2\",direction=\"received\"} 11",
        "pondage_peer_dropped_total{broker=\"2\",reason=\"full\"} 12",
        "pondage_peer_links_total{broker=\"2\"} 13",
        "pondage_certificate_expiry_timestamp_seconds 2000000000",
        "pondage_certificate_reloads_total{outcome=\"used\"} 2",
        "pondage_certificate_reloads_total{outcome=\"failed\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("pondage_follower_lag_entries{broker=\"3\"}"), "nobody knows it");
}

#[test]
fn time_without_leader_goes_on_between_two_looks() {
    let seen = seen(3, 500);
    let later = seen.at + Duration::from_secs(2);
    assert!((seen.offline_seconds(later) - 6.5).abs() < 1e-9);
    assert!((seen.offline_seconds(seen.at) - 0.5).abs() < 1e-9);
}

#[test]
fn a_copy_reports_how_far_its_followers_are() {
    let log = ShardLog {
        replay_from: Position::ZERO,
        end: Position::ZERO,
        epochs: Vec::new(),
        promised: Epoch::ZERO,
        newest_log_time: pondage_model::LogTime(0),
    };
    let now = Now { monotonic_millis: 1_000, wall_millis: 1_000 };
    let mut shard = Shard::recovered(ShardId(4), ME, log, Timing::default(), now);
    assert_eq!(ReplicaReport::of(&shard), replica(4, None, &[]));
    let row = Assignment {
        epoch: Epoch(2),
        version: 1,
        leader: Some(ME.broker),
        replicas: vec![ME.broker, BrokerId(2)],
        isr: vec![ME],
        min_in_sync_replicas: 1,
    };
    let from = Member { broker: BrokerId(2), incarnation: Incarnation(1) };
    let said = |message| ShardEvent::Peer { from, message };
    let (epoch, attempt, last, durable) = (Epoch(2), 1, Epoch::ZERO, Position::ZERO);
    let step = |shard: &mut Shard, event| {
        shard.step(now, event, &mut Vec::new()).expect("nothing is broken");
    };
    step(&mut shard, ShardEvent::Assigned(row));
    assert_eq!(ReplicaReport::of(&shard), replica(4, Some(2), &[follower(2, None, 0, false)]));
    step(&mut shard, said(Said::Where { epoch, attempt, last, durable }));
    let ack = Said::Ack { epoch, attempt, durable, end: durable, round: 0, missing: false };
    step(&mut shard, said(ack));
    // The epoch's first entry is on its way.
    let told = ReplicaReport::of(&shard);
    assert_eq!(told.followers.len(), 1);
    assert_eq!(told.followers[0].behind, Some(1));
    assert!(told.followers[0].under_way_bytes > 0);
}
