use std::collections::BTreeSet;

use pondage_catalog::{Command, Drain};
use pondage_model::{BrokerId, Epoch, Member, Position, ShardId};

use super::{
    super::{AdminRequest, CoordinatorEffect, CoordinatorEvent, PeerMessage, ShardPosition},
    cluster::Cluster,
    ordered_log::Weather,
};
use crate::shard::RequestId;

fn is_fatal(effect: &CoordinatorEffect) -> bool {
    matches!(effect, CoordinatorEffect::Fatal(_))
}

fn brokers_that_lead(cluster: &Cluster) -> BTreeSet<u32> {
    cluster.rows().iter().filter_map(|row| row.leader).map(|broker| broker.0).collect()
}

fn epochs(cluster: &Cluster) -> Vec<Epoch> {
    cluster.rows().iter().map(|row| row.epoch).collect()
}

#[test]
fn everything_that_a_dead_broker_led_is_elected_in_one_command_after_its_lease() {
    let mut cluster = Cluster::new(3);
    let led = cluster.led_by(2);
    assert!(led.len() > 1, "the leaders are spread");
    let (from, millis) = (cluster.length(), cluster.now_millis);
    cluster.kill(1);
    while !cluster.led_by(2).is_empty() {
        cluster.pass(50);
    }
    assert_eq!(cluster.elections_from(from), [led.len()]);
    assert!((800..1_400).contains(&(cluster.now_millis - millis)), "{}", cluster.now_millis - millis);
    cluster.pass(1_000);
    cluster.check_agreement();
    assert!(cluster.rows().iter().all(|row| row.isr.len() == 2), "its leaders went on without it");
}

#[test]
fn a_broker_whose_connections_are_refused_is_gone_at_once() {
    let mut cluster = Cluster::new(3);
    let gone = cluster.at(1).coordinator.registered().expect("it is");
    cluster.kill(1);
    cluster.step(0, CoordinatorEvent::Gone(gone));
    cluster.settle();
    assert_eq!(cluster.led_by(2), []);
}

#[test]
fn a_broker_that_starts_again_is_elected_anew_without_waiting_for_a_lease() {
    let mut cluster = Cluster::new(3);
    let (led, before) = (cluster.led_by(2), epochs(&cluster));
    cluster.kill(1);
    cluster.start(1);
    cluster.settle();
    let moved = epochs(&cluster).iter().zip(&before).filter(|(now, before)| now > before).count();
    assert_eq!(moved, led.len(), "a new epoch for each");
    cluster.check_agreement();
}

#[test]
fn the_leader_of_the_consensus_fails_over_its_own_past() {
    let mut cluster = Cluster::new(3);
    let led = cluster.led_by(1);
    cluster.kill(0);
    cluster.log.borrow_mut().leader = Some(BrokerId(3));
    let millis = cluster.now_millis;
    while !cluster.led_by(1).is_empty() {
        cluster.pass(50);
    }
    assert!(cluster.now_millis - millis >= 1_000, "the new leader gives everybody a full lease first");
    assert!(!led.is_empty());
    cluster.check_agreement();
}

#[test]
fn a_broker_that_lives_and_is_not_heard_loses_its_leaderships_and_follows() {
    let mut cluster = Cluster::new(3);
    assert!(!cluster.led_by(2).is_empty());
    cluster.at(1).keeps_in_sync = false;
    cluster.cut.insert((0, 1));
    cluster.pass(1_500);
    assert_eq!(cluster.led_by(2), []);
    assert!(!cluster.has_said(1, is_fatal), "it goes on, as a follower");
    cluster.check_agreement();
    cluster.cut.clear();
    cluster.at(1).keeps_in_sync = true;
    cluster.pass(10_000);
    assert_eq!(brokers_that_lead(&cluster), [1, 2, 3].into(), "and is given some again");
    cluster.check_agreement();
}

#[test]
fn the_longest_log_of_the_newest_epoch_wins_and_a_lost_election_is_repeated() {
    let mut cluster = Cluster::new(3);
    let shard = cluster.led_by(2)[0];
    for (broker, last_epoch, end) in [(1, 7, 90), (3, 8, 20)] {
        let (last_epoch, end) = (Epoch(last_epoch), Position(end));
        let position =
            ShardPosition { shard, epoch: Epoch(1), last_epoch, end, high_watermark: Position(15) };
        cluster.ends.insert((BrokerId(broker), shard), position);
    }
    for weather in [Weather::Loses, Weather::Fair] {
        cluster.kill(1);
        cluster.weather(weather);
        cluster.pass(1_600);
        let leader = cluster.row(shard).leader;
        assert_eq!(leader, Some(BrokerId(if weather == Weather::Loses { 2 } else { 3 })));
    }
}

#[test]
fn a_shard_waits_for_its_replicas_and_is_led_once_enough_are_back() {
    let mut cluster = Cluster::new(3);
    cluster.kill(1);
    cluster.kill(2);
    cluster.pass(2_000);
    // Of two in-sync replicas one has to answer that did not start again since it was confirmed.
    let rows = cluster.rows();
    assert!(rows.iter().all(|row| row.leader == Some(BrokerId(1))), "a proven one is enough");
    cluster.kill(0);
    for host in 0..3 {
        cluster.start(host);
    }
    cluster.pass(3_000);
    assert!(cluster.rows().iter().all(|row| row.leading().is_some()));
    cluster.check_agreement();
}

#[test]
fn replicas_that_started_again_lead_after_the_epoch_of_a_silent_leader_was_ended() {
    let mut cluster = Cluster::new(3);
    let shard = cluster.led_by(2)[0];
    let before = cluster.row(shard).epoch;
    // Its leader goes on and is not heard; both others start again.
    cluster.at(1).keeps_in_sync = false;
    cluster.cut.extend([(0, 1), (1, 2)]);
    let from = cluster.length();
    for host in [0, 2] {
        cluster.kill(host);
        cluster.start(host);
        cluster.at(host).keeps_in_sync = false;
    }
    let millis = cluster.now_millis;
    while cluster.row(shard).leading().is_none_or(|leading| leading.broker == BrokerId(2)) {
        cluster.pass(50);
        assert!(cluster.now_millis - millis < 2_000, "{:?}", cluster.row(shard));
    }
    let mut leaders = Vec::new();
    for command in cluster.log.borrow().commands_from(from) {
        let Command::ElectLeaders { elections } = command else { continue };
        let of_shard = elections.into_iter().filter(|election| election.shard == shard);
        leaders.extend(of_shard.map(|election| election.leader.map(|leader| leader.broker.0)));
    }
    assert!(matches!(leaders[..], [None, Some(1 | 3)]), "{leaders:?}");
    assert_eq!(cluster.row(shard).epoch, Epoch(before.0 + 2));
    cluster.check_agreement();
}

#[test]
fn a_pause_of_the_consensus_leader_takes_nobodys_lease() {
    let mut cluster = Cluster::new(3);
    let (before, from) = (epochs(&cluster), cluster.length());
    // Nothing happens anywhere for ten seconds; the leader of the consensus is the first to wake.
    cluster.now_millis += 10_000;
    cluster.step(0, CoordinatorEvent::Tick);
    cluster.pass(2_000);
    assert_eq!((epochs(&cluster), cluster.elections_from(from)), (before, vec![]));
}

#[test]
fn a_new_consensus_leader_goes_on_where_the_old_one_stopped() {
    let mut cluster = Cluster::new(3);
    cluster.kill(1);
    cluster.pass(500);
    cluster.log.borrow_mut().leader = Some(BrokerId(3));
    cluster.pass(1_500);
    assert_eq!(cluster.led_by(2), []);
    cluster.check_agreement();
}

#[test]
fn a_broker_that_stops_leads_nothing_before_it_says_so() {
    let mut cluster = Cluster::new(3);
    for host in [1, 0] {
        let from = cluster.length();
        let led = cluster.led_by(host as u32 + 1).len();
        cluster.step(host, CoordinatorEvent::Stop);
        cluster.pass(1_000);
        assert!(cluster.has_said(host, |effect| matches!(effect, CoordinatorEffect::Stopped)));
        assert_eq!(cluster.led_by(host as u32 + 1), []);
        let waited_for = cluster.rows().into_iter().filter(|row| {
            row.in_sync(BrokerId(host as u32 + 1)).is_some()
                && row.isr.len() > row.min_in_sync_replicas as usize
        });
        assert_eq!(waited_for.map(|row| row.id).collect::<Vec<_>>(), [], "no leader waits for its copies");
        assert_eq!(cluster.elections_from(from).iter().sum::<usize>(), led, "no shard moved twice");
        cluster.pass(3_000);
        assert_eq!(cluster.led_by(host as u32 + 1), [], "the planners give it nothing back");
        cluster.kill(host);
        cluster.start(host);
        cluster.pass(10_000);
        assert!(!cluster.led_by(host as u32 + 1).is_empty(), "its next start takes part again");
    }
    cluster.check_agreement();
}

#[test]
fn a_broker_stops_though_nobody_lets_its_copies_go() {
    let mut cluster = Cluster::new(3);
    for host in 0..3 {
        cluster.at(host).keeps_in_sync = false;
    }
    cluster.step(1, CoordinatorEvent::Stop);
    cluster.pass(500);
    let has_stopped =
        |cluster: &Cluster| cluster.has_said(1, |effect| matches!(effect, CoordinatorEffect::Stopped));
    assert!(!has_stopped(&cluster), "they may yet");
    cluster.pass(1_500);
    assert!(has_stopped(&cluster));
}

#[test]
fn a_lone_broker_stops_at_once() {
    let mut cluster = Cluster::new(1);
    assert!(!cluster.led_by(1).is_empty());
    cluster.step(0, CoordinatorEvent::Stop);
    assert!(cluster.has_said(0, |effect| matches!(effect, CoordinatorEffect::Stopped)));
}

#[test]
fn a_drained_broker_gives_away_what_it_leads() {
    let mut cluster = Cluster::new(3);
    let drain = Command::Drain { broker: BrokerId(2), drain: Drain::Leadership };
    let request = AdminRequest::Order(Box::new(drain));
    cluster.step(2, CoordinatorEvent::Request { id: RequestId(1), request });
    cluster.pass(3_000);
    assert_eq!(cluster.led_by(2), []);
    assert!(cluster.rows().iter().all(|row| row.isr.len() == 3), "and keeps its copies");
    cluster.check_agreement();
}

#[test]
fn an_order_to_hand_over_of_an_earlier_epoch_means_nothing() {
    let mut cluster = Cluster::new(3);
    let shard: ShardId = cluster.led_by(2)[0];
    let epoch = cluster.row(shard).epoch;
    let from = Member { broker: BrokerId(1), ..cluster.at(0).coordinator.registered().expect("it is") };
    for (said, moves) in [(Epoch(epoch.0 - 1), false), (epoch, true)] {
        let message = PeerMessage::HandOver { shard, epoch: said, to: BrokerId(3) };
        cluster.step(1, CoordinatorEvent::Peer { from, message });
        cluster.settle();
        assert_eq!(cluster.row(shard).leader == Some(BrokerId(3)), moves);
    }
}
