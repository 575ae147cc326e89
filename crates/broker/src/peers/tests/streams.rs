//! What is sent arrives, in order, or is counted.

use std::{sync::atomic::Ordering, time::Duration};

use pondage_model::Epoch;
use pondage_node::{coordinator::PeerMessage, replication::Message};

use super::{Event, SHARD, options, pair, push};
use crate::peers::PeerOptions;

#[tokio::test]
async fn order_is_kept_within_a_lane_and_nothing_is_lost() {
    const COUNT: u64 = 5_000;
    let (one, mut two) = pair(options(), [None, None]).await;
    for number in 0..COUNT {
        one.peers.send_replica(two.member.broker, SHARD, push(number, 1_024));
        one.peers.send_replica(two.member.broker, SHARD, Message::Stale { epoch: Epoch(number) });
    }
    let (mut pushes, mut others) = (0, 0);
    while pushes < COUNT || others < COUNT {
        match two.event().await {
            Event::Replica(from, SHARD, message @ Message::Push(_), _) => {
                assert_eq!((from, message), (one.member, push(pushes, 1_024)));
                pushes += 1;
            }
            Event::Replica(from, SHARD, message, _) => {
                assert_eq!((from, message), (one.member, Message::Stale { epoch: Epoch(others) }));
                others += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let [(_, sent)] = &one.peers.counters()[..] else { panic!("one peer") };
    let [(_, received)] = &two.peers.counters()[..] else { panic!("one peer") };
    assert_eq!(sent.sent_messages.load(Ordering::Relaxed), 2 * COUNT);
    assert_eq!(received.received_messages.load(Ordering::Relaxed), 2 * COUNT);
    assert_eq!(sent.dropped_full.load(Ordering::Relaxed), 0);
    assert_eq!(sent.dropped_unlinked.load(Ordering::Relaxed), 0);
}

/// A shard that handles nothing: what it holds stays within the bound, urgent messages still pass, what finds no room
/// is dropped where it is sent, and the rest comes in order once there is room.
#[tokio::test]
async fn a_slow_reader_bounds_memory_on_both_sides_and_holds_up_nothing_urgent() {
    const COUNT: u64 = 400;
    const BODY: usize = 64 << 10;
    let bounds = PeerOptions { bulk_queue_bytes_max: 2 << 20, bulk_held_bytes_max: 1 << 20, ..options() };
    let (one, mut two) = pair(bounds, [None, None]).await;
    for number in 0..COUNT {
        one.peers.send_replica(two.member.broker, SHARD, push(number, BODY));
        tokio::task::yield_now().await;
    }
    let mut held = Vec::new();
    let mut seen = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(500), two.events.recv()).await {
        match event.expect("a sink") {
            Event::Replica(_, _, Message::Push(push), credit) => {
                seen.push(push.round);
                held.push(credit);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!held.is_empty() && held.len() * BODY <= 1 << 20, "{} held", held.len());

    one.peers.send_coordinator(two.member.broker, PeerMessage::Heartbeat { leaving: true });
    match two.event().await {
        Event::Coordinator(_, PeerMessage::Heartbeat { leaving: true }, credit) => drop(credit),
        other => panic!("{other:?}"),
    }

    drop(held);
    let [(_, counters)] = &one.peers.counters()[..] else { panic!("one peer") };
    let dropped = counters.dropped_full.load(Ordering::Relaxed);
    assert!(dropped > 0, "the bound was never reached");
    while (seen.len() as u64) < COUNT - dropped {
        match two.event().await {
            Event::Replica(_, _, Message::Push(push), _) => seen.push(push.round),
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
}

#[tokio::test]
async fn the_greatest_push_passes() {
    let (one, mut two) = pair(options(), [None, None]).await;
    let Message::Push(mut great) = push(1, 1 << 20) else { panic!("a push") };
    // As a leader packs them: one entry of the greatest size and a push's worth of others.
    great.entries[0].body = vec![8; pondage_model::limits::ENTRY_BYTES_MAX].into();
    great.entries.push(great.entries[0].clone());
    great.entries[1].body = vec![9; pondage_model::limits::PUSH_BYTES_MAX].into();
    one.peers.send_replica(two.member.broker, SHARD, Message::Push(great.clone()));
    match two.event().await {
        Event::Replica(_, _, Message::Push(push), _) => assert!(push == great),
        other => panic!("{other:?}"),
    }
}
