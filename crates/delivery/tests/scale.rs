//! Bounds: what a call does at most, what a large backlog costs, and hostile checkpoints.

mod support;

use pondage_delivery::{Request, ShardState, Verdict};
use pondage_model::{
    entry::CheckpointPage,
    limits,
    settings::{QueueSettings, StreamSettings},
    wire::Malformed,
};
use proptest::prelude::{any, prop, proptest};
use support::{QUEUE, Shard, lease};

#[test]
fn a_backlog_of_ten_million_is_a_few_numbers() {
    let settings = QueueSettings { in_flight_per_consumer_max: 100, ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    for _ in 0..160 {
        shard.publish(QUEUE, limits::BATCH_MESSAGES_MAX);
        shard.pass(50);
    }
    shard.commit_all();
    let pages = shard.committed.checkpoint();
    assert!(pages.len() == 1 && pages[0].bytes.len() < 1_000, "{} bytes", pages[0].bytes.len());
    shard.attach(QUEUE, 1, u32::MAX);
    for _ in 0..200 {
        let held = shard.tick();
        assert_eq!(held.len(), 100);
        let items: Vec<_> = held.iter().map(|held| (held.offset.0, held.lease)).collect();
        shard.settle(&items, Verdict::Accept);
        shard.commit_all();
    }
    shard.settle_down();
    let bytes: usize = shard.committed.checkpoint().iter().map(|page| page.bytes.len()).sum();
    assert!(bytes < 1_000, "{bytes} bytes after 20,000 settles in order");
    let stats = shard.stats();
    assert_eq!(stats.backlog(), 160 * u64::from(limits::BATCH_MESSAGES_MAX) - 20_000);
    assert_eq!(stats.oldest_age_millis, Some(160 * 50));
}

#[test]
fn one_dispatch_gives_a_bounded_number_and_the_next_ones_the_rest() {
    let settings = QueueSettings { in_flight_per_consumer_max: u32::MAX, ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    for _ in 0..3 {
        shard.publish(QUEUE, limits::BATCH_MESSAGES_MAX);
    }
    shard.commit_all();
    for consumer in 0..4 {
        shard.attach(QUEUE, consumer, u32::MAX);
    }
    let mut given = 0;
    let mut calls = 0;
    loop {
        let dispatches = shard.dispatch();
        let count: usize = dispatches.iter().map(|dispatch| shard.held(dispatch).len()).sum();
        assert!(count <= 65_536);
        given += count;
        calls += 1;
        if shard.leading.next_wake().is_none_or(|wake| wake > shard.now) {
            break;
        }
        assert!(calls < 100, "no end");
    }
    assert_eq!(given as u32, 3 * limits::BATCH_MESSAGES_MAX);
    assert!(calls >= 3);
    // All leases end at once: bounded calls again, and every message comes back.
    shard.pass(30_000);
    let mut largest = 0;
    while shard.leading.next_wake().is_some_and(|wake| wake <= shard.now) {
        let before = shard.stats().unacked;
        let drafts = shard.leading.on_time(&shard.committed, shard.now);
        shard.append_all(drafts);
        largest = largest.max(before - shard.stats().unacked);
    }
    assert!(largest <= 10_000);
    assert_eq!(shard.stats().unacked, 0);
    shard.settle_down();
    let pages = shard.committed.checkpoint();
    assert!(pages.len() > 1, "196,608 touched messages take more than one page");
    assert!(pages.iter().all(|page| page.bytes.len() <= limits::CHECKPOINT_PAGE_BYTES_MAX));
}

#[test]
fn budgets_do_not_starve_later_queues() {
    let settings = QueueSettings { in_flight_per_consumer_max: u32::MAX, ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings.clone());
    let stream = pondage_model::StreamId(50);
    let open = pondage_model::entry::Open {
        name: support::name("later"),
        partition: 0,
        settings: StreamSettings::Queue(settings),
    };
    shard.request(Request::Open { stream, open });
    for _ in 0..4 {
        shard.publish(QUEUE, limits::BATCH_MESSAGES_MAX);
    }
    shard.publish(stream, 1);
    shard.commit_all();
    for consumer in 0..4 {
        shard.attach(QUEUE, consumer, u32::MAX);
    }
    shard.attach(stream, 9, 1);
    shard.dispatch();
    let next = shard.dispatch();
    assert!(next.iter().any(|dispatch| dispatch.stream == stream), "the later queue waits for ever");
}

#[test]
fn expiry_of_a_large_backlog_is_cheap_and_bounded() {
    let settings = QueueSettings { message_ttl_millis: Some(1_000), ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    for _ in 0..10 {
        shard.publish(QUEUE, limits::BATCH_MESSAGES_MAX);
        shard.pass(1);
    }
    shard.commit_all();
    shard.pass(1_000);
    let entries = shard.log.len();
    shard.tick();
    assert_eq!(shard.stats().backlog(), 0);
    assert!(shard.log.len() - entries < 200, "{} entries", shard.log.len() - entries);
    assert_eq!(shard.leading.next_wake(), None);
    shard.settle_down();
}

#[test]
fn a_message_that_comes_back_while_its_batch_expires_moves_once() {
    let settings = QueueSettings {
        dead_letter: Some(support::name("dead")),
        in_flight_per_consumer_max: u32::MAX,
        ..QueueSettings::default()
    };
    let mut shard = Shard::with_queue(settings);
    shard.set_target(true);
    shard.publish_with(QUEUE, 30_000, None, Some(1_000));
    shard.commit_all();
    shard.attach(QUEUE, 1, 15_001);
    shard.tick();
    let items: Vec<_> = (0..15_000).map(|offset| (offset, lease(1, 1))).collect();
    shard.settle(&items, Verdict::Return);
    shard.commit_all();
    shard.pass(1_000);
    let drafts = shard.leading.on_time(&shard.committed, shard.now);
    assert_eq!(shard.append_all(drafts), 10_000, "the call ends in the middle of the batch");
    shard.settle(&[(15_000, lease(1, 1))], Verdict::Return);
    shard.tick();
    shard.commit_all();
    assert_eq!(shard.moves().len(), 30_000);
    shard.settle_down();
}

fn busy_checkpoint() -> Vec<CheckpointPage> {
    let settings = QueueSettings { dead_letter: Some(support::name("dead")), ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    shard.set_target(true);
    shard.publish_with(QUEUE, 20, None, Some(50_000));
    shard.publish_with(QUEUE, 5, Some(1_000), None);
    shard.commit_all();
    shard.attach(QUEUE, 1, 9);
    shard.tick();
    let one = lease(1, 1);
    shard.settle(&[(0, one), (3, one)], Verdict::Accept);
    shard.settle(&[(1, one)], Verdict::Reject);
    shard.settle(&[(2, one)], Verdict::Release { delay_millis: Some(5) });
    shard.settle_down();
    shard.committed.checkpoint()
}

#[test]
fn pages_must_be_all_there_and_in_order() {
    let page = busy_checkpoint().remove(0);
    let half = page.bytes.len() / 2;
    let first = CheckpointPage { index: 0, total: 2, bytes: page.bytes.slice(..half) };
    let second = CheckpointPage { index: 1, total: 2, bytes: page.bytes.slice(half..) };
    let whole = ShardState::restore(vec![page.clone()]).expect("one page");
    assert_eq!(ShardState::restore(vec![first.clone(), second.clone()]), Ok(whole));
    for pages in
        [vec![], vec![first.clone()], vec![second.clone()], vec![second, first.clone()], vec![first, page]]
    {
        assert!(matches!(ShardState::restore(pages), Err(Malformed(_))));
    }
    let empty = ShardState::default();
    assert_eq!(ShardState::restore(empty.checkpoint()), Ok(empty));
}

proptest! {
    #[test]
    fn a_damaged_checkpoint_is_refused_or_restores_something_without_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        shorten: bool,
    ) {
        let mut page = busy_checkpoint().remove(0);
        let mut bytes = page.bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        page.bytes = bytes.into();
        if let Ok(state) = ShardState::restore(vec![page]) {
            assert_eq!(ShardState::restore(state.checkpoint()), Ok(state));
        }
    }
}
