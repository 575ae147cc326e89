//! A leader that may append nothing: too few replicas are in sync, or it hands over.

use super::*;

const OTHER: Member = Member { broker: BrokerId(2), incarnation: Incarnation(1) };

/// The row of the shard that is led here, changed.
pub(super) fn row(version: u64, isr: &[Member], min_in_sync_replicas: u32) -> ShardEvent {
    ShardEvent::Assigned(Assignment {
        version,
        replicas: vec![ME.broker, OTHER.broker],
        isr: isr.to_vec(),
        min_in_sync_replicas,
        ..Assignment::alone(ME, Epoch(1))
    })
}

/// The row under which another replica, which never says anything, is in sync.
pub(super) fn with_other(version: u64) -> ShardEvent {
    row(version, &[ME, OTHER], 1)
}

/// A queue with two messages, the first of which the only consumer holds: its credit is used up.
fn with_one_of_two_granted() -> (Rig, Vec<(Offset, Lease)>) {
    let mut rig = with_queue();
    rig.ask(1, attach(1));
    rig.ask(2, publish());
    rig.ask(3, publish());
    rig.sync_all();
    let granted = rig.grants();
    assert_eq!(granted.len(), 1);
    (rig, granted)
}

fn credit() -> delivery::Request {
    delivery::Request::Credit { stream: STREAM, consumer: ConsumerId(1), add: 1 }
}

fn is_refused(rig: &mut Rig, id: u64) -> bool {
    matches!(rig.reply(id), Some(ShardReply::Refused(_)))
}

#[test]
fn credit_that_comes_while_nothing_can_be_appended_counts_afterwards() {
    for in_doubt in [row(2, &[ME], 2), ShardEvent::HandOver(OTHER.broker)] {
        let (mut rig, _) = with_one_of_two_granted();
        if matches!(in_doubt, ShardEvent::HandOver(_)) {
            rig.step(with_other(2));
        }
        rig.step(in_doubt);
        rig.ask(4, publish());
        assert!(is_refused(&mut rig, 4), "it is in doubt");
        rig.ask(5, credit());
        assert!(!is_refused(&mut rig, 5), "nobody gives it again");
        assert!(rig.grants().is_empty());
        rig.step(row(3, &[ME], 1));
        rig.sync_all();
        assert_eq!(rig.grants().len(), 1);
    }
}

#[test]
fn a_consumer_that_leaves_while_nothing_can_be_appended_is_gone_and_its_leases_end_by_themselves() {
    for lost in [false, true] {
        let (mut rig, granted) = with_one_of_two_granted();
        rig.step(row(2, &[ME], 2));
        rig.ask(4, credit());
        rig.ask(5, delivery::Request::Detach { stream: STREAM, consumer: ConsumerId(1), lost });
        assert!(!is_refused(&mut rig, 5), "nobody says it again");
        rig.step(row(3, &[ME], 1));
        rig.sync_all();
        assert!(rig.grants().is_empty(), "nobody is there to be given the second one");
        let request = delivery::Request::Attach {
            stream: STREAM,
            consumer: ConsumerId(2),
            credit: 10,
            lease_millis: None,
            once: false,
        };
        rig.ask(6, request);
        rig.sync_all();
        assert_eq!(rig.grants().len(), 1, "the first one is still leased");
        rig.millis += 31_000;
        rig.step(ShardEvent::Wake);
        rig.sync_all();
        rig.millis += 31_000;
        rig.step(ShardEvent::Wake);
        rig.sync_all();
        let again = rig.grants();
        assert!(again.iter().any(|(offset, _)| *offset == granted[0].0), "{again:?}");
    }
}

#[test]
fn a_hand_over_that_comes_to_nothing_leaves_a_leader_that_gives_leases() {
    for ends in [ShardEvent::KeepLeading, row(3, &[ME], 1), ShardEvent::Wake] {
        let mut rig = with_queue();
        rig.ask(1, attach(10));
        rig.sync_all();
        rig.step(with_other(2));
        rig.step(ShardEvent::HandOver(OTHER.broker));
        rig.ask(2, publish());
        assert!(is_refused(&mut rig, 2));
        if matches!(ends, ShardEvent::Wake) {
            rig.millis += 1_000;
        }
        rig.step(ends);
        rig.ask(3, publish());
        assert!(!is_refused(&mut rig, 3), "it goes on");
        rig.step(row(4, &[ME], 1));
        rig.sync_all();
        assert_eq!(rig.grants().len(), 1);
    }
}

#[test]
fn a_hand_over_to_a_replica_that_is_not_in_sync_is_not_begun() {
    let mut rig = with_queue();
    rig.step(row(2, &[ME], 1));
    rig.step(ShardEvent::HandOver(OTHER.broker));
    rig.ask(1, publish());
    rig.sync_all();
    assert!(matches!(rig.reply(1), Some(ShardReply::Delivery(delivery::Reply::Published { .. }))));
}
