use pondage_catalog::{Command, IsrChange};
use pondage_model::{BrokerId, Member, Name, ShardId, settings::QueueSettings};

use super::{
    super::{AdminReply, AdminRequest, CoordinatorEffect, CoordinatorEvent},
    cluster::Cluster,
    ordered_log::Weather,
};
use crate::shard::RequestId;

/// A cluster in which broker 2's shards want nothing by themselves, one of its shards, and a wish for it: itself and
/// broker 1.
fn wishing() -> (Cluster, ShardId, IsrChange) {
    let mut cluster = Cluster::new(3);
    cluster.at(1).keeps_in_sync = false;
    let shard = cluster.led_by(2)[0];
    let row = cluster.row(shard);
    let isr = row.isr.iter().copied().filter(|member| member.broker != BrokerId(3)).collect();
    let change = IsrChange { shard, epoch: row.epoch, version: row.version, isr };
    (cluster, shard, change)
}

#[test]
fn a_wish_is_not_kept_waiting_for_one_that_was_swallowed() {
    let (mut cluster, shard, change) = wishing();
    cluster.weather(Weather::Swallows);
    cluster.step(1, CoordinatorEvent::IsrWanted(change.clone()));
    cluster.weather(Weather::Fair);
    cluster.step(1, CoordinatorEvent::IsrWanted(change.clone()));
    cluster.pass(100);
    assert_eq!(cluster.row(shard).isr.len(), 3, "the first may have an outcome yet");
    cluster.step(1, CoordinatorEvent::IsrWanted(change));
    cluster.pass(300);
    assert_eq!(cluster.row(shard).isr.len(), 2);
    cluster.check_agreement();
}

#[test]
fn a_wish_ends_with_another_row_or_with_the_same_again() {
    let stale = |mut change: IsrChange| {
        change.version -= 1;
        change
    };
    let old_start = |mut change: IsrChange| {
        for member in &mut change.isr {
            if member.broker == BrokerId(1) {
                *member = Member { incarnation: member.incarnation.next(), ..*member };
            }
        }
        change
    };
    let same = |change: IsrChange| change;
    type Wish<'a> = (&'a str, &'a dyn Fn(IsrChange) -> IsrChange, Weather, bool);
    let cases: [Wish<'_>; 5] = [
        ("granted", &same, Weather::Fair, true),
        ("lost", &same, Weather::Loses, false),
        ("granted and not heard of", &same, Weather::Hides, true),
        ("made upon an older row", &stale, Weather::Fair, false),
        ("for a start that is not the current one", &old_start, Weather::Fair, false),
    ];
    for (what, wish, weather, is_granted) in cases {
        let (mut cluster, shard, change) = wishing();
        let before = cluster.at(1).shards.remove(&shard).expect("it leads it");
        cluster.weather(weather);
        cluster.step(1, CoordinatorEvent::IsrWanted(wish(change.clone())));
        cluster.settle();
        let told = cluster.at(1).shards.get(&shard).unwrap_or_else(|| panic!("{what}: no answer")).clone();
        assert_eq!(told.version > before.version, is_granted, "{what}");
        assert_eq!(told.isr.len(), if is_granted { 2 } else { 3 }, "{what}");
        if weather == Weather::Loses {
            // The shard still wishes it.
            cluster.weather(Weather::Fair);
            cluster.step(1, CoordinatorEvent::IsrWanted(change));
            cluster.pass(200);
            assert_eq!(cluster.row(shard).isr.len(), 2, "{what}, then wished again");
        }
    }
}

#[test]
fn wishes_that_come_while_one_is_under_way_share_the_next_command() {
    let mut cluster = Cluster::new(3);
    cluster.at(1).keeps_in_sync = false;
    let led = cluster.led_by(2);
    assert!(led.len() > 2);
    let from = cluster.length();
    cluster.at(1).coordinator.consensus().is_deaf = true;
    for shard in &led {
        let row = cluster.row(*shard);
        let isr = row.isr.iter().copied().filter(|member| member.broker != BrokerId(3)).collect();
        let change = IsrChange { shard: *shard, epoch: row.epoch, version: row.version, isr };
        cluster.step(1, CoordinatorEvent::IsrWanted(change));
    }
    cluster.at(1).coordinator.consensus().is_deaf = false;
    cluster.settle();
    let count =
        |command| if let Command::AlterIsr { changes, .. } = command { Some(changes.len()) } else { None };
    let sizes: Vec<usize> = cluster.log.borrow().commands_from(from).into_iter().filter_map(count).collect();
    assert_eq!(sizes, [1, led.len() - 1]);
    assert!(led.iter().all(|shard| cluster.row(*shard).isr.len() == 2));
}

#[test]
fn a_hand_over_that_comes_to_nothing_lets_the_leader_go_on() {
    for (weather, moves) in [(Weather::Fair, true), (Weather::Loses, false), (Weather::Hides, true)] {
        let (mut cluster, shard, IsrChange { epoch, version, .. }) = wishing();
        cluster.weather(weather);
        let to = BrokerId(3);
        cluster.step(1, CoordinatorEvent::HandedOver { shard, epoch, version, to });
        cluster.settle();
        let told = cluster.at(1).shards[&shard].clone();
        assert_eq!(told.leader, Some(BrokerId(if moves { 3 } else { 2 })), "{weather:?}");
        assert_eq!(told.epoch > epoch, moves);
        assert_eq!(cluster.at(1).kept.contains(&shard), weather != Weather::Fair, "{weather:?}");
    }
}

#[test]
fn who_got_ok_for_a_queue_finds_it_with_whoever_leads_it() {
    for lost in [false, true] {
        let mut cluster = Cluster::new(3);
        let leader = cluster.led_by(1);
        assert!(!leader.is_empty());
        let name = Name::new("work").expect("valid");
        let request = AdminRequest::ApplyQueue(name.clone(), QueueSettings::default());
        // Every broker leads some pooled shards: ask one that does not lead the queue's.
        for host in 0..3 {
            cluster.at(host).said.clear();
        }
        if lost {
            cluster.cut.extend([(0, 1), (1, 2), (0, 2)]);
        }
        cluster.step(1, CoordinatorEvent::Request { id: RequestId(7), request });
        cluster.settle();
        let catalog = cluster.at(1).coordinator.catalog();
        let shard = catalog.queue(&name).expect("applied").place.shard;
        let is_remote = cluster.row(shard).leader != Some(BrokerId(2));
        let answered = |cluster: &Cluster| {
            cluster.has_said(1, |effect| {
                matches!(
                    effect,
                    CoordinatorEffect::Reply { id: RequestId(7), result: Ok(AdminReply::Applied { .. }) }
                )
            })
        };
        assert_eq!(answered(&cluster), !(lost && is_remote));
        cluster.cut.clear();
        cluster.pass(500);
        assert!(answered(&cluster), "what was lost is asked again");
    }
}
