//! Who asks for what changed is told of that alone, and of all of it.

mod support;

use pondage_delivery::{Reply, Request, Settled, Verdict};
use pondage_model::{
    StreamId,
    entry::Open,
    settings::{QueueSettings, StreamSettings},
};
use support::{DEAD, QUEUE, Shard, TOPIC, name, watcher::Watcher};

fn shard() -> (Shard, Watcher) {
    let (mut shard, mut watcher) = (Shard::with_queue(QueueSettings::default()), Watcher::default());
    assert_eq!(watcher.look(&mut shard), 3, "everything is new");
    (shard, watcher)
}

fn open(shard: &mut Shard, stream: StreamId, text: &str) {
    let settings = StreamSettings::Queue(QueueSettings::default());
    let open = Open { name: name(text), partition: 0, settings };
    assert_eq!(shard.request(Request::Open { stream, open }), Reply::Done);
}

#[test]
fn idle_streams_are_not_told_of() {
    let (mut shard, mut watcher) = shard();
    shard.publish(QUEUE, 2);
    assert_eq!(watcher.look(&mut shard), 1);
    shard.pass(60_000);
    assert_eq!(watcher.look(&mut shard), 0, "a message that waits grows old by itself");
    shard.publish(QUEUE, 1);
    shard.publish(TOPIC, 1);
    shard.publish(TOPIC, 1);
    assert_eq!(watcher.look(&mut shard), 2);
}

#[test]
fn leases_are_told_of_before_they_are_logged() {
    let (mut shard, mut watcher) = shard();
    shard.publish(QUEUE, 1);
    shard.commit_all();
    watcher.look(&mut shard);
    shard.attach(QUEUE, 1, 5);
    assert_eq!(shard.tick().len(), 1);
    assert_eq!(watcher.look(&mut shard), 1);
}

#[test]
fn a_lease_that_only_its_holder_knew_of_is_told_of_when_it_is_renewed() {
    let (mut shard, mut watcher) = shard();
    shard.publish(QUEUE, 1);
    shard.commit_all();
    shard.attach(QUEUE, 1, 5);
    let held = shard.tick()[0];
    shard.crash();
    watcher.look(&mut shard);
    let renewed = shard.settle(&[(held.offset.0, held.lease)], Verdict::Renew { millis: 5_000 });
    assert_eq!(renewed, [Ok(Settled::Done)]);
    assert_eq!(watcher.look(&mut shard), 1);
}

#[test]
fn a_message_that_comes_due_is_told_of_though_nothing_is_logged() {
    let (mut shard, mut watcher) = shard();
    shard.publish_with(QUEUE, 1, Some(1_000), None);
    shard.publish_with(QUEUE, 1, Some(3_000), None);
    assert_eq!(watcher.look(&mut shard), 1);
    for (millis, streams) in [(999, 0), (1, 1), (500, 0), (5_000, 1), (5_000, 0)] {
        shard.pass(millis);
        assert_eq!(watcher.look(&mut shard), streams, "{millis} ms later");
    }
}

#[test]
fn what_was_told_in_vain_is_told_again() {
    let (mut shard, mut watcher) = shard();
    shard.publish_with(QUEUE, 1, Some(1_000), None);
    watcher.look(&mut shard);
    shard.publish(TOPIC, 1);
    shard.pass(1_000);
    watcher.look_in_vain(&mut shard);
    shard.publish(DEAD, 1);
    assert_eq!(watcher.look(&mut shard), 3);
}

#[test]
fn closed_streams_are_told_of_whether_they_moved_before_or_not() {
    let (mut shard, mut watcher) = shard();
    shard.publish(QUEUE, 1);
    assert_eq!(shard.request(Request::Close { stream: QUEUE }), Reply::Done);
    assert_eq!(shard.request(Request::Close { stream: DEAD }), Reply::Done);
    assert_eq!(watcher.look(&mut shard), 0);
    open(&mut shard, QUEUE, "another");
    assert_eq!(watcher.look(&mut shard), 1);
    assert_eq!(shard.request(Request::Close { stream: QUEUE }), Reply::Done);
    open(&mut shard, QUEUE, "orders");
    assert_eq!(watcher.look(&mut shard), 1);
}

#[test]
fn more_closed_streams_than_are_remembered_make_everything_be_told() {
    let (mut shard, mut watcher) = shard();
    let short_lived = 100..1_200;
    for id in short_lived {
        open(&mut shard, StreamId(id), "short-lived");
        assert_eq!(shard.request(Request::Close { stream: StreamId(id) }), Reply::Done);
    }
    assert_eq!(watcher.look(&mut shard), 3);
    assert_eq!(watcher.look(&mut shard), 0);
}

#[test]
fn another_leader_tells_everything() {
    let (mut shard, mut watcher) = shard();
    shard.publish(QUEUE, 1);
    watcher.look(&mut shard);
    shard.crash();
    assert_eq!(watcher.look(&mut shard), 3, "the publish was not committed");
}
