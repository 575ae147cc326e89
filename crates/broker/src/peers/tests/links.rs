//! Links that come, go and come again, and who is gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pondage_node::coordinator::PeerMessage;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Event, Node, introduction, member, options, pair};
use crate::peers::{PeerAddress, PeerOptions};

#[tokio::test]
async fn a_killed_start_is_gone_at_once_and_the_next_one_is_linked_when_the_catalog_names_it() {
    let (mut one, mut two) = pair(options(), [None, None]).await;
    let (killed, listen) = (two.member, two.address.to_string());
    // Long enough that the link counts as one that lasted.
    tokio::time::sleep(options().backoff.1).await;
    two.kill();
    one.expect_link(killed, false).await;
    one.expect_gone(killed).await;
    assert!(!one.peers.is_linked(killed.broker));
    one.peers.send_coordinator(killed.broker, PeerMessage::Heartbeat { leaving: false });
    let [(_, counters)] = &one.peers.counters()[..] else { panic!("one peer") };
    assert_eq!(counters.dropped_unlinked.load(Ordering::Relaxed), 1);

    let mut again = Node::start_at(member(2, 2), &listen, options(), None).await;
    again.knows(&[one.named()]);
    again.expect_link(one.member, true).await;
    // Who is dialled is gone, which was said, and no link is made of who answers instead.
    one.expect_silence(Duration::from_millis(300)).await;
    one.knows(&[again.named()]);
    one.expect_link(again.member, true).await;
    one.peers.send_coordinator(again.member.broker, PeerMessage::Heartbeat { leaving: true });
    assert!(matches!(again.event().await, Event::Coordinator(from, ..) if from == one.member));
}

#[tokio::test]
async fn a_later_start_that_answers_says_that_the_dialled_one_is_gone_and_says_it_once() {
    let (mut one, two) = (Node::start(member(1, 1)).await, Node::start(member(2, 5)).await);
    two.knows(&[]);
    one.knows(&[PeerAddress { member: member(2, 4), ..two.named() }]);
    one.expect_gone(member(2, 4)).await;
    one.expect_silence(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_process_that_starts_anew_under_the_same_number_is_gone_too() {
    let (mut one, two) = pair(options(), [None, None]).await;
    // It learns that its number is used up: until it is registered again it is nobody.
    two.peers.introduce(introduction(member(2, 2)));
    one.expect_link(two.member, false).await;
    one.expect_gone(two.member).await;
}

#[tokio::test]
async fn who_left_the_catalog_is_no_longer_dialled() {
    let (mut one, mut two) = pair(options(), [None, None]).await;
    one.knows(&[]);
    one.expect_link(two.member, false).await;
    assert!(one.peers.counters().is_empty());
    one.expect_silence(Duration::from_millis(300)).await;
    one.knows(&[two.named()]);
    one.expect_link(two.member, true).await;
    one.peers.stop();
    one.expect_link(two.member, false).await;
    two.expect_link(one.member, false).await;
    two.expect_silence(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn nobody_is_linked_before_the_other_side_is_registered() {
    let (mut one, mut two) = (Node::start(member(1, 1)).await, Node::start(member(2, 1)).await);
    one.knows(&[two.named()]);
    one.expect_silence(Duration::from_millis(300)).await;
    two.knows(&[one.named()]);
    two.expect_link(one.member, true).await;
    one.expect_link(two.member, true).await;
}

/// Passes bytes on until it is told to swallow them.
async fn tunnel(to: String, swallows: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(&*to).await else { continue };
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            for (mut read, mut write) in [(near_read, far_write), (far_read, near_write)] {
                let swallows = Arc::clone(&swallows);
                tokio::spawn(async move {
                    let mut bytes = vec![0; 16 << 10];
                    while let Ok(count @ 1..) = read.read(&mut bytes).await {
                        if !swallows.load(Ordering::Relaxed)
                            && write.write_all(&bytes[..count]).await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
        }
    });
    address
}

#[tokio::test]
async fn a_black_hole_is_noticed_and_is_not_taken_for_the_end_of_a_process() {
    let options = PeerOptions { dial_timeout: Duration::from_millis(400), ..options() };
    let mut one = Node::start_at(member(1, 1), "127.0.0.1:0", options, None).await;
    let two = Node::start(member(2, 1)).await;
    two.knows(&[]);
    let swallows = Arc::new(AtomicBool::new(false));
    let address = tunnel(two.address.to_string(), Arc::clone(&swallows)).await;
    one.knows(&[PeerAddress { address, ..two.named() }]);
    one.expect_link(two.member, true).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(one.peers.is_linked(two.member.broker), "a silent link stays");

    swallows.store(true, Ordering::Relaxed);
    one.expect_link(two.member, false).await;
    // It is dialled, accepted and not answered, again and again.
    one.expect_silence(Duration::from_millis(1_500)).await;

    swallows.store(false, Ordering::Relaxed);
    one.expect_link(two.member, true).await;
}
