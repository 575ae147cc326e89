//! Dead letters on their way, and what may happen to their source and their target meanwhile.

use pondage_model::{MoveSeq, entry::Move};

use super::*;

const DEAD: StreamId = StreamId(8);
const SHARD: ShardId = ShardId(1);

fn settings() -> StreamSettings {
    let dead_letter = Some(Name::new("dead").expect("valid"));
    StreamSettings::Queue(QueueSettings { dead_letter, ..QueueSettings::default() })
}

/// A queue with that many rejected messages, whose moves are committed.
fn with_rejected(count: u64) -> Rig {
    let mut rig = with_stream(settings(), Some((SHARD, DEAD)));
    rig.ask(1, attach(100));
    for id in 2..2 + count {
        rig.ask(id, publish());
    }
    rig.sync_all();
    let items = rig.grants();
    assert_eq!(items.len() as u64, count);
    rig.ask(100, delivery::Request::Settle { stream: STREAM, items, verdict: Verdict::Reject });
    rig.sync_all();
    rig
}

fn forwards(rig: &mut Rig) -> Vec<Move> {
    let mut found = Vec::new();
    rig.said.retain(|effect| match effect {
        ShardEffect::Forward { source, moving, .. } => {
            assert_eq!(*source, STREAM);
            found.push(*moving);
            false
        }
        _ => true,
    });
    found
}

fn sequences(rig: &mut Rig) -> Vec<u64> {
    forwards(rig).iter().map(|moving| moving.seq.0).collect()
}

fn moved(seq: u64) -> delivery::Request {
    delivery::Request::Moved { stream: STREAM, seq: MoveSeq(seq) }
}

#[test]
fn one_goes_at_a_time_and_the_next_when_the_last_is_there() {
    let mut rig = with_rejected(3);
    assert_eq!(sequences(&mut rig), [1]);
    rig.step(ShardEvent::Wake);
    assert_eq!(sequences(&mut rig), [0; 0], "it is under way");
    rig.ask(200, moved(1));
    rig.sync_all();
    assert_eq!(sequences(&mut rig), [2]);
    rig.ask(201, moved(2));
    rig.ask(202, moved(2));
    rig.sync_all();
    assert_eq!(sequences(&mut rig), [3]);
    rig.ask(203, moved(3));
    rig.sync_all();
    assert_eq!(sequences(&mut rig), [0; 0]);
    assert_eq!(rig.wakes().iter().filter(|at| **at <= rig.millis).count(), 0);
}

#[test]
fn a_refused_one_is_tried_again_after_a_second_and_nothing_overtakes_it() {
    let mut rig = with_rejected(2);
    assert_eq!(sequences(&mut rig), [1]);
    rig.step(ShardEvent::ForwardRefused { source: STREAM, seq: MoveSeq(1), gone: false });
    assert_eq!(sequences(&mut rig), [0; 0]);
    assert!(rig.wakes().iter().any(|at| (1..=1_000).contains(at)), "it asks to be woken for it");
    rig.millis = 1_000;
    rig.step(ShardEvent::Wake);
    assert_eq!(sequences(&mut rig), [1]);
}

#[test]
fn a_source_that_is_deleted_meanwhile_is_forgotten() {
    let mut rig = with_rejected(2);
    assert_eq!(sequences(&mut rig), [1]);
    rig.close(200);
    rig.sync_all();
    // The target has it, and the source that it should be settled at is gone.
    rig.ask(201, moved(1));
    rig.step(ShardEvent::ForwardRefused { source: STREAM, seq: MoveSeq(1), gone: false });
    rig.sync_all();
    rig.millis = 10_000;
    rig.wakes();
    for _ in 0..3 {
        rig.step(ShardEvent::Wake);
    }
    assert_eq!(rig.wakes(), [0; 0], "nothing is left to wake for");
    assert_eq!(sequences(&mut rig), [0; 0]);
}

#[test]
fn a_message_whose_dead_letter_queue_was_deleted_goes_to_the_one_that_took_its_place() {
    let mut rig = with_rejected(2);
    assert_eq!(forwards(&mut rig)[0].target, DEAD);
    let other = (ShardId(3), StreamId(9));
    let open = Open { name: Name::new("orders").expect("valid"), partition: 0, settings: settings() };
    let to = |dead_letter| Ensure {
        stream: STREAM,
        open: Some(open.clone()),
        begin: None,
        dead_letter,
        dropped_groups: Vec::new(),
    };
    rig.ensure(200, to(Some(other)));
    for (at, gone, expected) in [(1_000, false, (SHARD, DEAD)), (2_000, true, other)] {
        rig.step(ShardEvent::ForwardRefused { source: STREAM, seq: MoveSeq(1), gone });
        rig.millis = at;
        rig.step(ShardEvent::Wake);
        let again = forwards(&mut rig);
        assert_eq!(again.iter().map(|moving| moving.seq.0).collect::<Vec<_>>(), [1]);
        assert_eq!((again[0].target_shard, again[0].target), expected, "gone: {gone}");
    }
}

#[test]
fn a_new_leader_sends_what_its_predecessor_left() {
    let disk = volume();
    let mut rig = serving(&disk, 1);
    let open = Open { name: Name::new("orders").expect("valid"), partition: 0, settings: settings() };
    let ensure = Ensure {
        stream: STREAM,
        open: Some(open),
        begin: None,
        dead_letter: Some((SHARD, DEAD)),
        dropped_groups: Vec::new(),
    };
    rig.ensure(0, ensure);
    rig.ask(1, attach(100));
    rig.ask(2, publish());
    rig.sync_all();
    let items = rig.grants();
    rig.ask(3, delivery::Request::Settle { stream: STREAM, items, verdict: Verdict::Reject });
    rig.sync_all();
    drop(rig);
    let mut rig = serving(&disk, 2);
    assert_eq!(sequences(&mut rig), [1]);
}

#[test]
fn a_message_is_not_elsewhere_before_a_lease_on_it_that_was_decided_earlier_is_spoken_of() {
    let mut rig = with_stream(
        StreamSettings::Queue(QueueSettings {
            dead_letter: Some(Name::new("dead").expect("valid")),
            max_deliveries: 1,
            ..QueueSettings::default()
        }),
        Some((SHARD, DEAD)),
    );
    rig.ask(1, publish());
    rig.sync_all();
    // From now on a lease is spoken of only once another replica confirmed that this one leads, and it is silent.
    rig.step(in_doubt::with_other(2));
    rig.ask(2, attach(10));
    rig.ask(3, delivery::Request::Detach { stream: STREAM, consumer: ConsumerId(1), lost: true });
    rig.sync_all();
    assert!(rig.grants().is_empty());
    rig.step(in_doubt::row(3, &[ME], 1));
    rig.sync_all();
    let order: Vec<_> = rig
        .said
        .iter()
        .filter_map(|effect| match effect {
            ShardEffect::Deliver { .. } => Some("lease"),
            ShardEffect::Forward { .. } => Some("move"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["lease", "move"]);
}
