//! Leaders, in-sync replicas and replicas of shard 9: of three replicas, the first one of which leads.

use pondage_model::{BrokerId, Incarnation, Member, ShardId, limits};

use super::{check, cluster, lead, register, run};
use crate::{Catalog, Command, Election, IsrChange, ReplicaChange, ReplicaDrop};

const SHARD: ShardId = ShardId(9);

/// Shard 9 as a line: replicas (leaving ones in brackets), leader, epoch, in-sync replicas, minimum, version.
fn row(catalog: &Catalog) -> String {
    let row = catalog.shard(SHARD).expect("created with the third broker");
    let replica = |id: &BrokerId| if row.leaving.contains(id) { format!("({id})") } else { id.to_string() };
    let replicas: Vec<String> = row.replicas.iter().map(replica).collect();
    let isr: Vec<String> =
        row.isr.iter().map(|member| format!("{}.{}", member.broker, member.incarnation)).collect();
    let leader = row.leader.map_or("-".to_owned(), |leader| leader.to_string());
    format!(
        "{} led by {leader} e{} isr {} min {} v{}",
        replicas.join(" "),
        row.epoch,
        isr.join(" "),
        row.min_in_sync_replicas,
        row.version
    )
}

/// Brokers 1 to `brokers`.
fn start(brokers: u8) -> Catalog {
    let catalog = cluster(brokers);
    assert_eq!(row(&catalog), "3 1 2 led by 3 e1 isr 1.1 2.1 3.1 min 2 v1");
    catalog
}

fn members(list: &[(u32, u64)]) -> Vec<Member> {
    let member =
        |&(broker, start): &(u32, u64)| Member { broker: BrokerId(broker), incarnation: Incarnation(start) };
    list.iter().map(member).collect()
}

fn ids(list: &[u32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}

fn isr(broker: u32, epoch: u64, version: u64, list: &[(u32, u64)]) -> Command {
    let change = IsrChange { shard: SHARD, epoch: pondage_model::Epoch(epoch), version, isr: members(list) };
    Command::AlterIsr { broker: BrokerId(broker), changes: vec![change] }
}

fn elect(version: u64, leader: (u32, u64), list: &[(u32, u64)]) -> Command {
    let leader = Some(members(&[leader])[0]);
    let election = Election { shard: SHARD, version, leader, isr: members(list) };
    Command::ElectLeaders { elections: vec![election] }
}

fn end_epoch(version: u64, list: &[(u32, u64)]) -> Command {
    let election = Election { shard: SHARD, version, leader: None, isr: members(list) };
    Command::ElectLeaders { elections: vec![election] }
}

fn unclean(version: u64, leader: u32, reason: &str) -> Command {
    Command::UncleanElect { shard: SHARD, version, leader: BrokerId(leader), reason: reason.to_owned() }
}

fn change(version: u64, replicas: &[u32], min_in_sync_replicas: u32) -> Command {
    let change = ReplicaChange { shard: SHARD, version, replicas: ids(replicas), min_in_sync_replicas };
    Command::ChangeReplicas { changes: vec![change] }
}

fn drop_leaving(version: u64) -> Command {
    Command::DropReplicas { drops: vec![ReplicaDrop { shard: SHARD, version }] }
}

fn lose(broker: u32) -> Command {
    Command::LoseBroker { broker: BrokerId(broker) }
}

#[test]
fn in_sync_replicas_are_altered_by_the_leader_alone_and_by_compare_and_set() {
    let mut catalog = start(4);
    check(
        &mut catalog,
        vec![
            (isr(9, 1, 1, &[(3, 1)]), "NOT_FOUND: no broker \"9\""),
            (isr(1, 1, 1, &[(1, 1), (3, 1)]), "9: the sender does not lead the shard"),
            (isr(3, 1, 2, &[(1, 1), (3, 1)]), "9: the shard is in epoch 1 at version 1 by now"),
            (isr(3, 2, 1, &[(1, 1), (3, 1)]), "9: the shard is in epoch 1 at version 1 by now"),
            (isr(3, 0, 1, &[(1, 1), (3, 1)]), "9: the shard is in epoch 1 at version 1 by now"),
            (isr(3, 1, 1, &[(3, 1), (4, 1)]), "9: broker 4 is no replica"),
            (isr(3, 1, 1, &[(3, 1), (1, 2)]), "9: start 2 of broker 1 is not its current one"),
            (isr(3, 1, 1, &[(3, 1), (1, 1), (1, 1)]), "9: broker 1 is named twice"),
            (isr(3, 1, 1, &[(1, 1), (2, 1)]), "9: the in-sync replicas don't name the leader…"),
            (isr(3, 1, 1, &[(3, 1)]), "9: 1 in-sync replicas would be left and 2 are needed"),
            (isr(3, 1, 1, &[]), "9: the in-sync replicas don't name the leader…"),
            (isr(3, 1, 1, &[(3, 1), (1, 1)]), "9:e1v2"),
            (isr(3, 1, 1, &[(3, 1), (1, 1), (2, 1)]), "9: the shard is in epoch 1 at version 2 by now"),
            // A replica that restarted comes back under its new start only.
            (register(2, 2, 9), "broker 2 +0"),
            (isr(3, 1, 2, &[(3, 1), (1, 1), (2, 1)]), "9: start 1 of broker 2 is not its current one"),
            (isr(3, 1, 2, &[(3, 1), (1, 1), (2, 2)]), "9:e1v3"),
            // A leader that restarted does not go on in its epoch, under neither start.
            (register(3, 2, 9), "broker 3 +0"),
            (isr(3, 1, 3, &[(3, 1), (1, 1)]), "9: start 1 of broker 3 is not its current one"),
            (isr(3, 1, 3, &[(3, 2), (1, 1)]), "9: the in-sync replicas don't name the leader…"),
        ],
    );
    assert_eq!(row(&catalog), "3 1 2 led by 3 e1 isr 1.1 2.2 3.1 min 2 v3");
    let mut batch = vec![];
    for shard in [ShardId(0), ShardId(77), ShardId(1)] {
        let epoch = pondage_model::Epoch(1);
        batch.push(IsrChange { shard, epoch, version: 1, isr: members(&[(1, 1)]) });
    }
    let expected = "0: the consensus owns the catalog's shard; 77: there is no such shard; 1:e1v2";
    check(&mut catalog, vec![(Command::AlterIsr { broker: BrokerId(1), changes: batch }, expected)]);
}

#[test]
fn leaders_are_elected_among_the_in_sync_replicas_in_their_current_starts() {
    let mut catalog = start(3);
    check(
        &mut catalog,
        vec![
            (elect(0, (1, 1), &[(1, 1), (2, 1)]), "9: the shard is in epoch 1 at version 1 by now"),
            (elect(1, (4, 1), &[(4, 1), (2, 1)]), "9: broker 4 is not in sync"),
            (elect(1, (1, 2), &[(1, 2), (2, 1)]), "9: start 2 of broker 1 is not its current one"),
            (elect(1, (1, 1), &[(2, 1), (3, 1)]), "9: the in-sync replicas don't name the leader…"),
            (elect(1, (1, 1), &[(1, 1)]), "9: 1 in-sync replicas would be left and 2 are needed"),
            (elect(1, (1, 1), &[(1, 1), (1, 1)]), "9: broker 1 is named twice"),
            (elect(1, (1, 1), &[(1, 1), (2, 1)]), "9:e2v2"),
            (elect(2, (3, 1), &[(3, 1), (2, 1)]), "9: broker 3 is not in sync"),
            (register(1, 2, 9), "broker 1 +0"),
            (register(2, 2, 9), "broker 2 +0"),
            // Only the leader is known under its new start; the other one is confirmed by it later.
            (elect(2, (1, 2), &[(1, 2), (2, 2)]), "9: start 2 of broker 2 is not its current one"),
            (elect(2, (1, 2), &[(1, 2), (2, 1)]), "9:e3v3"),
            (isr(1, 3, 3, &[(1, 2), (2, 2)]), "9:e3v4"),
        ],
    );
    assert_eq!(row(&catalog), "3 1 2 led by 1 e3 isr 1.2 2.2 min 2 v4");
    let hand_over = catalog.election_of(SHARD, BrokerId(2)).expect("in sync");
    let twice = Command::ElectLeaders { elections: vec![hand_over.clone(), hand_over] };
    check(&mut catalog, vec![(twice, "9:e4v5; 9: the shard is in epoch 4 at version 5 by now")]);
    assert_eq!(row(&catalog), "3 1 2 led by 2 e4 isr 1.2 2.2 min 2 v5");
    assert_eq!(catalog.election_of(SHARD, BrokerId(3)), None, "not in sync");
    assert!(catalog.election_of(SHARD, BrokerId(1)).is_some());
    check(&mut catalog, vec![(register(1, 3, 9), "broker 1 +0")]);
    assert_eq!(catalog.election_of(SHARD, BrokerId(1)), None, "not in the start that the leader saw");
    assert_eq!(catalog.election_of(ShardId(77), BrokerId(1)), None);
}

#[test]
fn an_epoch_ends_without_a_leader_and_keeps_the_in_sync_replicas() {
    let mut catalog = start(3);
    check(
        &mut catalog,
        vec![
            (end_epoch(1, &[(1, 1), (2, 1)]), "9: the end of an epoch changes no in-sync replicas"),
            (register(1, 2, 9), "broker 1 +0"),
            (end_epoch(1, &[(1, 2), (2, 1), (3, 1)]), "9: the end of an epoch changes no in-sync replicas"),
            (end_epoch(2, &[(1, 1), (2, 1), (3, 1)]), "9: the shard is in epoch 1 at version 1 by now"),
            (end_epoch(1, &[(1, 1), (2, 1), (3, 1)]), "9:e2v2"),
        ],
    );
    assert_eq!(row(&catalog), "3 1 2 led by - e2 isr 1.1 2.1 3.1 min 2 v2");
    check(
        &mut catalog,
        vec![
            // The leader that was is none, in its old epoch or the new one.
            (isr(3, 1, 1, &[(2, 1), (3, 1)]), "9: the shard is in epoch 2 at version 2 by now"),
            (isr(3, 2, 2, &[(2, 1), (3, 1)]), "9: the sender does not lead the shard"),
            (elect(2, (1, 2), &[(1, 2), (2, 1), (3, 1)]), "9:e3v3"),
        ],
    );
    assert_eq!(row(&catalog), "3 1 2 led by 1 e3 isr 1.2 2.1 3.1 min 2 v3");
}

#[test]
fn a_lost_volume_leaves_every_isr_and_never_comes_back() {
    let mut catalog = start(3);
    check(
        &mut catalog,
        vec![
            (lose(9), "NOT_FOUND: no broker \"9\""),
            (lose(2), "done"),
            (lose(2), "unchanged"),
            (register(2, 1, 2), "CONFLICT: volume 02020202-…"),
            (
                register(2, 2, 9),
                "CONFLICT: volume 02020202-0202-0202-0202-020202020202 was given up as lost…",
            ),
            (isr(3, 1, 2, &[(3, 1), (1, 1), (2, 1)]), "9: start 1 of broker 2 is not its current one"),
            (lose(3), "done"),
        ],
    );
    // Fewer than the minimum, and nobody leads until somebody is elected.
    assert_eq!(row(&catalog), "3 1 2 led by - e2 isr 1.1 min 2 v3");
    check(&mut catalog, vec![(elect(3, (1, 1), &[(1, 1)]), "9:e3v4"), (lose(1), "done")]);
    assert_eq!(row(&catalog), "3 1 2 led by - e4 isr  min 2 v5");
    assert!(catalog.shard(SHARD).is_some_and(crate::Shard::is_data_lost));
    check(
        &mut catalog,
        vec![
            (elect(5, (1, 1), &[(1, 1)]), "9: broker 1 is not in sync"),
            (unclean(5, 1, "no other copy"), "CONFLICT: shard 9: broker 1 is no replica"),
            // A new volume takes the place of the lost one, empty.
            (register(4, 1, 4), "broker 4 +0"),
            (change(5, &[4], 1), "9:e4v6"),
            (drop_leaving(6), "9: 0 in-sync replicas would be left and 1 are needed"),
            (unclean(6, 4, ""), "INVALID_ARGUMENT: reason: …"),
            (unclean(6, 4, &"x".repeat(limits::REASON_BYTES_MAX + 1)), "INVALID_ARGUMENT: reason: …"),
            (unclean(5, 4, "begin again"), "CONFLICT: shard 9: the shard is in epoch 4 at version 6…"),
            (unclean(6, 4, "begin again"), "done"),
            (drop_leaving(7), "9:e5v8"),
        ],
    );
    assert_eq!(row(&catalog), "4 led by 4 e5 isr 4.1 min 1 v8");
    let recorded = catalog.shard(SHARD).and_then(|row| row.unclean.clone()).expect("recorded");
    assert_eq!(
        (recorded.leader, recorded.epoch.0, recorded.reason.as_str()),
        (BrokerId(4), 5, "begin again")
    );
}

#[test]
fn a_volume_that_replaces_another_one_ends_it() {
    let mut catalog = start(3);
    let replacing = |volume: u8, replaced: u32| {
        let Command::RegisterBroker { volume, incarnation, nonce, address, rack, feature_levels, .. } =
            register(volume, 1, 1)
        else {
            panic!("a registration")
        };
        let replaces = Some(BrokerId(replaced));
        Command::RegisterBroker { volume, incarnation, nonce, address, rack, feature_levels, replaces }
    };
    check(
        &mut catalog,
        vec![
            (replacing(4, 9), "NOT_FOUND: no broker \"9\""),
            (replacing(4, 4), "NOT_FOUND: no broker \"4\""),
            // As many brokers as before: no further shards.
            (replacing(4, 3), "broker 4 +0"),
            (replacing(4, 3), "broker 4 +0"),
            (replacing(4, 4), "CONFLICT: broker 4 can't replace itself"),
        ],
    );
    assert_eq!(row(&catalog), "3 1 2 led by - e2 isr 1.1 2.1 min 2 v2");
    check(&mut catalog, vec![(register(3, 2, 3), "CONFLICT: volume 03030303-…")]);
}

#[test]
fn replicas_join_first_and_leave_when_the_others_hold_enough() {
    let mut catalog = start(5);
    check(
        &mut catalog,
        vec![
            (change(1, &[], 1), "9: too many replicas, or none"),
            (change(1, &[4, 4], 1), "9: broker 4 is named twice"),
            (change(1, &[4, 9], 1), "9: broker 9 is unknown, lost, or full"),
            (change(1, &[4, 5], 3), "9: minInSyncReplicas beyond the replicas"),
            (change(1, &[4, 5], 0), "9: minInSyncReplicas beyond the replicas"),
            (change(1, &[1, 2, 4], 3), "9: 2 in-sync replicas would be left and 3 are needed"),
            (drop_leaving(1), "9: no replica is leaving"),
            (change(1, &[4, 5, 2], 2), "9:e1v2"),
        ],
    );
    assert_eq!(row(&catalog), "4 5 2 (3) (1) led by 3 e1 isr 1.1 2.1 3.1 min 2 v2");
    check(
        &mut catalog,
        vec![
            (drop_leaving(2), "9: the leader is leaving: another one must lead first"),
            (elect(2, (2, 1), &[(1, 1), (2, 1), (3, 1)]), "9:e2v3"),
            (drop_leaving(3), "9: 1 in-sync replicas would be left and 2 are needed"),
            (isr(2, 2, 3, &[(1, 1), (2, 1), (3, 1), (4, 1)]), "9:e2v4"),
            (drop_leaving(3), "9: the shard is in epoch 2 at version 4 by now"),
            (drop_leaving(4), "9:e2v5"),
        ],
    );
    assert_eq!(row(&catalog), "4 5 2 led by 2 e2 isr 2.1 4.1 min 2 v5");
    check(&mut catalog, vec![(change(5, &[2, 4], 2), "9:e2v6"), (change(6, &[2, 4, 5], 2), "9:e2v7")]);
    assert_eq!(row(&catalog), "2 4 5 led by 2 e2 isr 2.1 4.1 min 2 v7", "taken back");
    let last = catalog.revision();
    assert_eq!(catalog.shards_changed_since(last).count(), 0);
    check(&mut catalog, vec![(change(7, &[2], 1), "9:e2v8")]);
    let changed: Vec<_> = catalog.shards_changed_since(last).map(|shard| shard.id).collect();
    assert_eq!(changed, [SHARD]);
}

#[test]
fn a_broker_takes_up_only_what_nobody_else_is_in_sync_with() {
    let mut catalog = cluster(1);
    for broker in 2..=3 {
        run(&mut catalog, &register(broker, 1, broker)).expect("registered");
    }
    check(
        &mut catalog,
        vec![
            (register(1, 2, 9), "broker 1 +0"),
            (lead(1, 2), "led 1:2 2:2 3:2 4:2"),
            (lose(1), "done"),
            (lead(1, 2), "CONFLICT: start 2 of broker 1…"),
        ],
    );
}
