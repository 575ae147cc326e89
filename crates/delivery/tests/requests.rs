//! What each request is answered with.

mod support;

use bytes::Bytes;
use pondage_delivery::{ConsumerId, Reply, Request, Settled, Verdict};
use pondage_model::{
    Body, GroupEpoch, LogTime, MoveSeq, Offset, ProducerId, Refusal, ShardId, StreamId,
    entry::{DiscardCause, MoveCause, MovedFrom, Open, ProducerStamp, ReleaseCause},
    limits,
    settings::{Backoff, QueueSettings, StreamSettings, TopicSettings},
};
use support::{DEAD, QUEUE, START, Shard, TOPIC, lease, name, offsets};

const GONE: StreamId = StreamId(99);

fn group_epoch(number: u64) -> GroupEpoch {
    GroupEpoch(number)
}

fn stored(base_offset: u64) -> Reply {
    Reply::Published { base_offset: Offset(base_offset), repeat: false }
}

fn repeat(base_offset: u64) -> Reply {
    Reply::Published { base_offset: Offset(base_offset), repeat: true }
}

fn lost(offset: u64) -> Result<Settled, Refusal> {
    Err(Refusal::LeaseLost { offset: Offset(offset) })
}

const DONE: Result<Settled, Refusal> = Ok(Settled::Done);
const AGAIN: Result<Settled, Refusal> = Ok(Settled::AlreadySettled);

/// What a reply is in one word, for tables that don't care for its text.
fn word(reply: &Reply) -> &'static str {
    match reply {
        Reply::Refused(refusal) => refusal.code().as_str(),
        Reply::Published { repeat: true, .. } => "REPEAT",
        _ => "OK",
    }
}

#[test]
fn every_request_about_an_unknown_stream_is_not_found() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    let stream = GONE;
    let group = name("g");
    let consumer = ConsumerId(1);
    let requests = [
        Request::Settle { stream, items: vec![], verdict: Verdict::Accept },
        Request::Attach { stream, consumer, credit: 1, lease_millis: None, once: false },
        Request::Credit { stream, consumer, add: 1 },
        Request::Detach { stream, consumer, lost: true },
        Request::Purge { stream },
        Request::Claim { stream, group: group.clone(), start: Offset(0), owner: None },
        Request::Commit { stream, group: group.clone(), epoch: group_epoch(1), offset: Offset(0) },
        Request::Seek { stream, group: group.clone(), offset: Offset(0) },
        Request::DropGroup { stream, group },
        Request::Settings { stream, settings: StreamSettings::Topic(TopicSettings::default()) },
        Request::Close { stream },
        Request::Trim { stream, start: Offset(0) },
        Request::Moved { stream, seq: MoveSeq(1) },
    ];
    let entries = shard.log.len();
    for request in requests {
        assert_eq!(word(&shard.request(request.clone())), "NOT_FOUND", "{request:?}");
    }
    assert_eq!(word(&shard.publish(stream, 1)), "NOT_FOUND");
    assert_eq!(shard.log.len(), entries, "a refusal appends nothing");
}

#[test]
fn publishes_are_checked_against_the_limits_of_their_stream() {
    let settings = QueueSettings { delivery_delay_millis_max: 5_000, ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    for (stream, count, delay, ttl, expected) in [
        (QUEUE, 1, None, None, "OK"),
        (QUEUE, 0, None, None, "INVALID_ARGUMENT"),
        (QUEUE, limits::BATCH_MESSAGES_MAX, None, None, "OK"),
        (QUEUE, limits::BATCH_MESSAGES_MAX + 1, None, None, "INVALID_ARGUMENT"),
        (QUEUE, 1, Some(0), None, "OK"),
        (QUEUE, 1, Some(5_000), Some(u64::MAX), "OK"),
        (QUEUE, 1, Some(5_001), None, "INVALID_ARGUMENT"),
        (QUEUE, 1, None, Some(0), "INVALID_ARGUMENT"),
        (TOPIC, 1, None, None, "OK"),
        (TOPIC, 1, Some(0), None, "OK"),
        (TOPIC, 1, Some(1), None, "INVALID_ARGUMENT"),
        (TOPIC, 1, None, Some(1), "INVALID_ARGUMENT"),
    ] {
        let reply = shard.publish_with(stream, count, delay, ttl);
        assert_eq!(word(&reply), expected, "{stream} {count} {delay:?} {ttl:?}");
    }
    let batch = Bytes::from(vec![0; limits::BATCH_BYTES_MAX + 1]);
    let (producer, moved, delay_millis, ttl_millis) = (None, None, None, None);
    let huge = Request::Publish { stream: QUEUE, count: 1, batch, producer, delay_millis, ttl_millis, moved };
    assert_eq!(word(&shard.request(huge)), "TOO_LARGE");
    shard.settle_down();
}

#[test]
fn a_refused_delay_names_the_maximum() {
    let settings = QueueSettings { delivery_delay_millis_max: 5_000, ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    let Reply::Refused(refusal) = shard.publish_with(QUEUE, 1, Some(u64::MAX), None) else {
        panic!("stored")
    };
    assert!(refusal.to_string().contains("5000"), "{refusal}");
}

fn stamped(stream: StreamId, producer: u64, epoch: u32, first_sequence: u32, count: u32) -> Request {
    let stamp = ProducerStamp { producer: ProducerId(producer), epoch, first_sequence };
    Request::Publish {
        stream,
        count,
        batch: Bytes::from_static(b"batch"),
        producer: Some(stamp),
        delay_millis: None,
        ttl_millis: None,
        moved: None,
    }
}

#[test]
fn an_idempotent_session_stores_each_batch_once_across_leaders() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    for stream in [QUEUE, TOPIC] {
        assert_eq!(shard.request(stamped(stream, 1, 0, 0, 3)), stored(0));
        assert_eq!(shard.request(stamped(stream, 1, 0, 3, 2)), stored(3));
        shard.commit_all();
        assert_eq!(shard.request(stamped(stream, 1, 0, 5, 1)), stored(5), "lost with its leader");
        shard.crash();
        assert_eq!(shard.request(stamped(stream, 1, 0, 3, 2)), repeat(3));
        assert_eq!(
            shard.request(stamped(stream, 1, 0, 6, 1)),
            Reply::Refused(Refusal::OutOfOrder { expected: 5, got: 6 })
        );
        assert_eq!(shard.request(stamped(stream, 1, 0, 5, 1)), stored(5));
        assert_eq!(shard.request(stamped(stream, 1, 1, 0, 1)), stored(6));
        let producer = ProducerId(1);
        let fenced = Refusal::ProducerFenced { producer, current: 1 };
        assert_eq!(shard.request(stamped(stream, 1, 0, 6, 1)), Reply::Refused(fenced));
        let unknown = Refusal::UnknownProducer { producer: ProducerId(2) };
        assert_eq!(shard.request(stamped(stream, 2, 0, 4, 1)), Reply::Refused(unknown));
        shard.settle_down();
    }
}

#[test]
fn idle_producers_are_forgotten_after_a_day_and_not_before() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.request(stamped(QUEUE, 1, 0, 0, 1));
    shard.commit_all();
    assert_eq!(shard.leading.next_wake(), Some(START.plus_millis(limits::PRODUCER_IDLE_MILLIS_MAX)));
    shard.pass(limits::PRODUCER_IDLE_MILLIS_MAX - 1);
    shard.tick();
    assert_eq!(shard.stream().producer_count(), 1);
    shard.pass(1);
    shard.tick();
    assert_eq!(shard.stream().producer_count(), 0);
    assert_eq!(shard.leading.next_wake(), None);
    assert_eq!(word(&shard.request(stamped(QUEUE, 1, 0, 1, 1))), "UNKNOWN_PRODUCER");
    shard.settle_down();
}

#[test]
fn a_stream_full_of_producers_forgets_the_idlest_or_refuses() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    for producer in 0..limits::PRODUCERS_PER_STREAM_MAX as u64 {
        assert_eq!(word(&shard.request(stamped(QUEUE, producer, 0, 0, 1))), "OK");
    }
    shard.pass(59_999);
    assert_eq!(word(&shard.request(stamped(QUEUE, 1 << 40, 0, 0, 1))), "BUSY");
    shard.request(stamped(QUEUE, 0, 0, 1, 1));
    shard.pass(1);
    assert_eq!(word(&shard.request(stamped(QUEUE, 1 << 40, 0, 0, 1))), "OK");
    assert_eq!(shard.stream().producer_count(), limits::PRODUCERS_PER_STREAM_MAX);
    assert_eq!(word(&shard.request(stamped(QUEUE, 0, 0, 2, 1))), "OK", "the recently used one stays");
    assert_eq!(word(&shard.request(stamped(QUEUE, 1, 0, 1, 1))), "UNKNOWN_PRODUCER", "the idlest one went");
    shard.settle_down();
}

#[test]
fn a_settle_is_judged_by_its_token() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.publish(QUEUE, 6);
    shard.commit_all();
    shard.attach(QUEUE, 1, 5);
    assert_eq!(offsets(&shard.tick()), vec![0, 1, 2, 3, 4]);
    let now = lease(1, 1);
    assert_eq!(
        shard.settle(
            &[(0, now), (0, now), (0, lease(1, 2)), (5, now), (99, now), (u64::MAX, now)],
            Verdict::Accept
        ),
        vec![DONE, AGAIN, lost(0), lost(5), lost(99), lost(u64::MAX)]
    );
    assert_eq!(shard.settle(&[(1, now)], Verdict::Release { delay_millis: Some(1) }), vec![DONE]);
    assert_eq!(shard.settle(&[(2, now)], Verdict::Return), vec![DONE]);
    assert_eq!(shard.settle(&[(3, now)], Verdict::Reject), vec![DONE]);
    assert_eq!(shard.settle(&[(4, now)], Verdict::Renew { millis: 1_000 }), vec![DONE]);
    let verdicts = [
        (0, Verdict::Accept),
        (1, Verdict::Release { delay_millis: None }),
        (2, Verdict::Return),
        (3, Verdict::Reject),
    ];
    for after in [0, limits::SETTLE_REPEAT_MILLIS] {
        shard.pass(after);
        for (offset, _) in verdicts {
            for (other, verdict) in verdicts {
                let expected = if offset == other { AGAIN } else { lost(offset) };
                assert_eq!(shard.settle(&[(offset, now)], verdict), vec![expected], "{offset} {verdict:?}");
            }
            assert_eq!(shard.settle(&[(offset, now)], Verdict::Renew { millis: 1_000 }), vec![lost(offset)]);
        }
    }
    shard.pass(60_000);
    assert_eq!(shard.settle(&[(0, now)], Verdict::Accept), vec![lost(0)], "the window is over");
    // Tokens of a topic's messages are forged.
    let forged = Request::Settle { stream: TOPIC, items: vec![(Offset(0), now)], verdict: Verdict::Accept };
    assert_eq!(shard.request(forged), Reply::Settled(vec![lost(0)]));
    shard.settle_down();
    let counters = shard.stream().counters();
    assert_eq!(counters.accepted, 1);
    assert_eq!(counters.discarded(DiscardCause::Rejected), 1);
    assert_eq!(counters.released(ReleaseCause::Released), 1);
    assert_eq!(counters.released(ReleaseCause::Returned), 1);
}

#[test]
fn settles_in_one_request_coalesce() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.publish(QUEUE, 100);
    shard.commit_all();
    shard.attach(QUEUE, 1, 100);
    shard.tick();
    let items: Vec<_> = (0..100).rev().map(|offset| (offset, lease(1, 1))).collect();
    shard.settle(&items, Verdict::Accept);
    let Some(Body::Accept(runs)) = shard.log.last().map(|entry| &entry.body) else { panic!("no accept") };
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].count, 100);
    shard.settle_down();
}

#[test]
fn an_earlier_leaders_token_settles_until_the_message_is_granted_again() {
    // (grants are logged before the crash, granted again by the new leader, token's attempt, outcome)
    for (logged, again, attempt, expected) in [
        (true, false, 1, DONE),
        (true, false, 2, lost(0)),
        (false, false, 1, DONE),
        (false, false, 2, lost(0)),
        (false, false, u32::MAX, lost(0)),
        (false, true, 1, lost(0)),
    ] {
        for verdict in
            [Verdict::Accept, Verdict::Reject, Verdict::Return, Verdict::Release { delay_millis: None }]
        {
            let mut shard = Shard::with_queue(QueueSettings::default());
            shard.publish(QUEUE, 1);
            shard.commit_all();
            shard.attach(QUEUE, 1, 1);
            assert_eq!(shard.tick().len(), 1);
            if logged {
                let drafts = shard.leading.lazy();
                shard.append_all(drafts);
                shard.commit_all();
            }
            shard.crash();
            shard.attach(QUEUE, 1, 1);
            if again {
                assert_eq!(shard.tick()[0].lease, lease(2, 1));
            } else if logged {
                assert_eq!(shard.tick(), vec![], "a logged lease stays until its deadline");
            }
            let results = shard.settle(&[(0, lease(1, attempt))], verdict);
            assert_eq!(results, vec![expected.clone()], "{logged} {again} {attempt} {verdict:?}");
            shard.settle_down();
        }
    }
}

#[test]
fn an_unlogged_lease_can_be_renewed_under_the_next_leader() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.publish(QUEUE, 1);
    shard.commit_all();
    shard.attach(QUEUE, 1, 1);
    shard.tick();
    shard.crash();
    assert_eq!(shard.settle(&[(0, lease(1, 1))], Verdict::Renew { millis: 9_000 }), vec![DONE]);
    shard.attach(QUEUE, 2, 1);
    assert_eq!(shard.tick(), vec![]);
    assert_eq!(shard.leading.next_wake(), Some(START.plus_millis(9_000)));
    shard.settle_down();
    shard.crash();
    assert_eq!(shard.settle(&[(0, lease(1, 1))], Verdict::Accept), vec![DONE]);
    shard.settle_down();
}

#[test]
fn leases_last_as_asked_within_the_limits() {
    let settings = QueueSettings { ack_timeout_millis: 7_000, ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    for (index, (asked, lasts)) in [
        (None, 7_000),
        (Some(500), 500),
        (Some(0), limits::LEASE_MILLIS_MIN),
        (Some(u64::MAX), limits::DURATION_MILLIS_MAX),
    ]
    .into_iter()
    .enumerate()
    {
        shard.publish(QUEUE, 1);
        shard.commit_all();
        let consumer = ConsumerId(index as u64);
        let attach = Request::Attach { stream: QUEUE, consumer, credit: 1, lease_millis: asked, once: false };
        assert_eq!(shard.request(attach), Reply::Done);
        let held = shard.tick();
        assert_eq!(held[0].deadline, START.plus_millis(lasts), "{asked:?}");
    }
}

#[test]
fn failed_attempts_back_off_and_end_in_the_dead_letter_queue() {
    let backoff = Backoff::Schedule(vec![100, 1_000]);
    let settings = QueueSettings {
        max_deliveries: 3,
        dead_letter: Some(name("dead")),
        backoff,
        ..QueueSettings::default()
    };
    // How each attempt fails: by the consumer's word, by the deadline, by a lost connection.
    for target_known in [true, false] {
        for cause in [ReleaseCause::Released, ReleaseCause::Expired, ReleaseCause::ConsumerLost] {
            let mut shard = Shard::with_queue(settings.clone());
            shard.set_target(target_known);
            shard.publish(QUEUE, 1);
            shard.commit_all();
            for (attempt, backoff) in [(1, 100), (2, 1_000), (3, 0)] {
                shard.attach(QUEUE, u64::from(attempt), 1);
                let held = shard.tick();
                assert_eq!(held.len(), 1, "attempt {attempt} after {cause:?}");
                assert_eq!(held[0].lease, lease(1, attempt));
                match cause {
                    ReleaseCause::Released => {
                        shard.settle(&[(0, held[0].lease)], Verdict::Release { delay_millis: None });
                    }
                    ReleaseCause::Expired => {
                        shard.pass(30_000);
                        shard.tick();
                    }
                    _ => {}
                }
                let consumer = ConsumerId(attempt.into());
                shard.request(Request::Detach { stream: QUEUE, consumer, lost: true });
                shard.commit_all();
                if attempt < 3 {
                    shard.attach(QUEUE, 100, 1);
                    shard.pass(backoff - 1);
                    assert_eq!(shard.tick(), vec![], "before the end of the backoff");
                    shard.request(Request::Detach { stream: QUEUE, consumer: ConsumerId(100), lost: false });
                    shard.pass(1);
                }
            }
            shard.attach(QUEUE, 200, 1);
            shard.pass(3_600_000);
            assert_eq!(shard.tick(), vec![], "granted after the last attempt");
            if !target_known {
                assert_eq!((shard.stats().held, shard.moves().len()), (1, 0));
                shard.set_target(true);
                assert_eq!(shard.tick(), vec![]);
                shard.commit_all();
            }
            let moves = shard.moves();
            assert_eq!(moves.len(), 1);
            assert_eq!((moves[0].1.cause, moves[0].1.failures), (MoveCause::MaxDeliveries, 3));
            assert_eq!(shard.stats().moving, 1);
            shard.settle_down();
        }
    }
}

#[test]
fn without_a_dead_letter_queue_a_message_is_tried_for_ever_and_returns_do_not_count() {
    let settings = QueueSettings { max_deliveries: 2, ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    shard.publish(QUEUE, 1);
    shard.commit_all();
    shard.attach(QUEUE, 1, 100);
    for attempt in 1..10 {
        let held = shard.tick();
        assert_eq!(held[0].lease, lease(1, attempt));
        let verdict =
            if attempt % 2 == 0 { Verdict::Return } else { Verdict::Release { delay_millis: None } };
        shard.settle(&[(0, held[0].lease)], verdict);
        shard.commit_all();
    }
    shard.settle_down();
    let counters = shard.stream().counters();
    assert_eq!(
        (counters.released(ReleaseCause::Released), counters.released(ReleaseCause::Returned)),
        (5, 4)
    );
}

#[test]
fn a_rejected_message_never_comes_back() {
    // (a dead-letter queue is set, it is known)
    for (set, known) in [(false, false), (true, true), (true, false)] {
        let settings = QueueSettings { dead_letter: set.then(|| name("dead")), ..QueueSettings::default() };
        let mut shard = Shard::with_queue(settings.clone());
        shard.set_target(known);
        shard.publish(QUEUE, 1);
        shard.commit_all();
        shard.attach(QUEUE, 1, 10);
        let held = shard.tick();
        assert_eq!(shard.settle(&[(0, held[0].lease)], Verdict::Reject), vec![DONE]);
        shard.commit_all();
        shard.pass(3_600_000);
        assert_eq!(shard.tick(), vec![]);
        if set && !known {
            assert_eq!(shard.stats().held, 1);
            shard.crash();
            shard.attach(QUEUE, 1, 10);
            assert_eq!(shard.tick(), vec![]);
            // The queue gives up its dead-letter queue: what was rejected is dropped, as it would have been.
            let settings = StreamSettings::Queue(QueueSettings { dead_letter: None, ..settings });
            shard.request(Request::Settings { stream: QUEUE, settings });
            assert_eq!(shard.tick(), vec![]);
        }
        shard.settle_down();
        let counters = shard.stream().counters();
        assert_eq!(counters.discarded(DiscardCause::Rejected), u64::from(!set || !known));
        let causes: Vec<_> = shard.moves().iter().map(|(_, moved)| moved.cause).collect();
        assert_eq!(causes, if known { vec![MoveCause::Rejected] } else { vec![] });
    }
}

#[test]
fn messages_live_as_long_as_the_shorter_of_their_own_and_the_queues_time() {
    for (own, queues, lives) in [
        (Some(1_000), None, 1_000),
        (None, Some(2_000), 2_000),
        (Some(1_000), Some(2_000), 1_000),
        (Some(3_000), Some(2_000), 2_000),
    ] {
        for dead_letter in [false, true] {
            let settings = QueueSettings {
                message_ttl_millis: queues,
                dead_letter: dead_letter.then(|| name("dead")),
                ..QueueSettings::default()
            };
            let mut shard = Shard::with_queue(settings);
            shard.set_target(true);
            assert_eq!(shard.publish_with(QUEUE, 3, None, own), stored(0));
            shard.commit_all();
            assert_eq!(shard.leading.next_wake(), Some(START.plus_millis(lives)));
            shard.attach(QUEUE, 1, 1);
            let held = shard.tick();
            assert_eq!(offsets(&held), vec![0]);
            shard.pass(lives - 1);
            shard.tick();
            assert_eq!(shard.stats().ready, 2);
            shard.pass(1);
            shard.request(Request::Credit { stream: QUEUE, consumer: ConsumerId(1), add: 10 });
            assert_eq!(shard.tick(), vec![], "expired messages are not granted");
            assert_eq!(shard.stats().unacked, 1, "a leased message stays");
            shard.settle(&[(0, held[0].lease)], Verdict::Return);
            shard.commit_all();
            assert_eq!(shard.tick(), vec![], "and ends when it comes back");
            shard.settle_down();
            let counters = shard.stream().counters();
            let moved: Vec<_> =
                shard.moves().iter().map(|(_, moved)| (moved.offset.0, moved.cause)).collect();
            if dead_letter {
                let expected =
                    vec![(1, MoveCause::Expired), (2, MoveCause::Expired), (0, MoveCause::Expired)];
                assert_eq!(moved, expected);
            } else {
                assert_eq!((counters.discarded(DiscardCause::Expired), moved), (3, vec![]));
            }
        }
    }
}

#[test]
fn expired_messages_wait_for_their_dead_letter_queue_without_stopping_the_others() {
    let settings = QueueSettings { dead_letter: Some(name("dead")), ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    shard.publish_with(QUEUE, 2, None, Some(1_000));
    shard.publish(QUEUE, 1);
    shard.commit_all();
    shard.pass(1_000);
    shard.attach(QUEUE, 1, 10);
    assert_eq!(offsets(&shard.tick()), vec![2]);
    shard.set_target(true);
    shard.tick();
    shard.commit_all();
    assert_eq!(shard.moves().len(), 2);
    shard.settle_down();
}

#[test]
fn a_move_is_stored_once_at_its_target() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    let publish = |source: u64, seq: u64| Request::Publish {
        stream: DEAD,
        count: 1,
        batch: Bytes::from_static(b"dead"),
        producer: None,
        delay_millis: None,
        ttl_millis: None,
        moved: Some(MovedFrom { source: StreamId(source), seq: MoveSeq(seq) }),
    };
    for (source, seq, expected) in [
        (7, 1, stored(0)),
        (7, 1, repeat(0)),
        (8, 1, stored(1)),
        (7, 5, stored(2)),
        (7, 4, repeat(2)),
        (7, 5, repeat(2)),
    ] {
        assert_eq!(shard.request(publish(source, seq)), expected, "{source} {seq}");
        shard.commit_all();
    }
    shard.crash();
    assert_eq!(shard.request(publish(7, 5)), repeat(2));
    shard.settle_down();
}

#[test]
fn groups_claim_commit_and_are_fenced() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.publish(TOPIC, 10);
    shard.commit_all();
    shard.publish(TOPIC, 5); // not committed
    let group = || name("g");
    let claim =
        |start: u64| Request::Claim { stream: TOPIC, group: group(), start: Offset(start), owner: None };
    let commit = |epoch: u64, offset: u64| {
        let (epoch, offset) = (group_epoch(epoch), Offset(offset));
        Request::Commit { stream: TOPIC, group: group(), epoch, offset }
    };
    let seek = |offset: u64| Request::Seek { stream: TOPIC, group: group(), offset: Offset(offset) };
    let trim = |start: u64| Request::Trim { stream: TOPIC, start: Offset(start) };
    let claimed =
        |epoch: u64, offset: u64| Reply::Claimed { epoch: group_epoch(epoch), offset: Offset(offset) };
    let refused = |refusal| Reply::Refused(refusal);
    let range = |offset: u64, start: u64| Refusal::OutOfRange {
        offset: Offset(offset),
        start: Offset(start),
        end: Offset(10),
    };
    let fenced = |by: u64| Refusal::Fenced { by: group_epoch(by) };
    let unknown = Refusal::NotFound { kind: "group", name: "g".into() };
    // (request, answer, entries)
    for (request, expected, entries) in [
        (commit(1, 0), refused(unknown.clone()), 0),
        (seek(0), refused(unknown.clone()), 0),
        (Request::DropGroup { stream: TOPIC, group: group() }, Reply::Done, 0),
        (claim(2), claimed(1, 2), 1),
        (commit(1, 6), Reply::Done, 1),
        (commit(1, 6), Reply::Done, 0),
        (commit(1, 3), Reply::Done, 0),
        (commit(1, 11), refused(range(11, 0)), 0),
        (claim(0), claimed(2, 6), 1),
        (commit(1, 8), refused(fenced(2)), 0),
        (commit(2, 8), Reply::Done, 1),
        (seek(1), claimed(3, 1), 1),
        (commit(2, 9), refused(fenced(3)), 0),
        (commit(3, 2), Reply::Done, 1),
        (seek(11), refused(range(11, 0)), 0),
        (trim(4), Reply::Done, 1),
        (trim(4), Reply::Done, 0),
        (trim(3), Reply::Done, 0),
        (trim(11), refused(range(11, 4)), 0),
        (claim(0), claimed(4, 4), 1),
        (seek(3), refused(range(3, 4)), 0),
        (Request::DropGroup { stream: TOPIC, group: group() }, Reply::Done, 1),
        (commit(4, 9), refused(unknown), 0),
        (claim(99), claimed(1, 10), 1),
    ] {
        let before = shard.log.len();
        assert_eq!(shard.request(request.clone()), expected, "{request:?}");
        assert_eq!(shard.log.len() - before, entries, "{request:?}");
    }
    assert_eq!(
        word(&shard.request(Request::Claim { stream: QUEUE, group: group(), start: Offset(0), owner: None })),
        "INVALID_ARGUMENT"
    );
    assert_eq!(word(&shard.request(Request::Trim { stream: QUEUE, start: Offset(0) })), "INVALID_ARGUMENT");
    assert_eq!(word(&shard.request(commit(9, 10))), "INVALID_ARGUMENT", "an epoch that nobody was given");
    shard.settle_down();
    let stats = shard.committed.stream(TOPIC).expect("open").stats(shard.now);
    assert_eq!((stats.groups[0].lag, stats.start, stats.end), (5, Offset(4), Offset(15)));
}

#[test]
fn purge_ends_what_nobody_holds() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.publish(QUEUE, 10);
    shard.publish_with(QUEUE, 5, Some(60_000), None);
    shard.commit_all();
    shard.attach(QUEUE, 1, 3);
    let held = shard.tick();
    shard.settle(&[(1, held[1].lease)], Verdict::Release { delay_millis: Some(9_000) });
    shard.publish(QUEUE, 2);
    assert_eq!(shard.request(Request::Purge { stream: QUEUE }), Reply::Purged { messages: 15 });
    assert_eq!(shard.stats().backlog(), 2);
    assert_eq!(shard.settle(&[(0, held[0].lease), (1, held[1].lease)], Verdict::Accept), vec![DONE, lost(1)]);
    assert_eq!(shard.request(Request::Purge { stream: QUEUE }), Reply::Purged { messages: 0 });
    assert_eq!(word(&shard.request(Request::Purge { stream: TOPIC })), "INVALID_ARGUMENT");
    shard.settle_down();
}

#[test]
fn streams_open_change_and_close() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    let queue = |text: &str| Open {
        name: name(text),
        partition: 0,
        settings: StreamSettings::Queue(QueueSettings::default()),
    };
    let topic = StreamSettings::Topic(TopicSettings::default());
    for (request, expected, entries) in [
        (Request::Open { stream: QUEUE, open: queue("orders") }, "OK", 0),
        (Request::Open { stream: QUEUE, open: queue("other") }, "ALREADY_EXISTS", 0),
        (Request::Settings { stream: QUEUE, settings: queue("orders").settings }, "OK", 0),
        (Request::Settings { stream: QUEUE, settings: topic.clone() }, "INVALID_ARGUMENT", 0),
        (Request::Settings { stream: TOPIC, settings: topic }, "OK", 0),
        (Request::Moved { stream: QUEUE, seq: MoveSeq(7) }, "OK", 0),
        (Request::Close { stream: QUEUE }, "OK", 1),
    ] {
        let before = shard.log.len();
        assert_eq!(word(&shard.request(request.clone())), expected, "{request:?}");
        assert_eq!(shard.log.len() - before, entries, "{request:?}");
    }
    assert!(shard.leading.state().stream(QUEUE).is_none());
    shard.settle_down();
}

#[test]
fn consumers_come_and_go() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    let attach = |stream, consumer, once| Request::Attach {
        stream,
        consumer: ConsumerId(consumer),
        credit: 1,
        lease_millis: None,
        once,
    };
    assert_eq!(word(&shard.request(attach(TOPIC, 1, false))), "INVALID_ARGUMENT");
    assert_eq!(word(&shard.request(attach(QUEUE, 1, false))), "OK");
    assert_eq!(word(&shard.request(attach(QUEUE, 1, false))), "CONFLICT");
    shard.publish(QUEUE, 3);
    shard.commit_all();
    assert_eq!(offsets(&shard.tick()), vec![0]);
    // A long poll ends with its first messages, and its leases outlive it.
    assert_eq!(word(&shard.request(attach(QUEUE, 2, true))), "OK");
    let poll = shard.dispatch();
    assert_eq!((poll.len(), poll[0].done, poll[0].grants[0].first), (1, true, Offset(1)));
    let credit = Request::Credit { stream: QUEUE, consumer: ConsumerId(2), add: 1 };
    assert_eq!(word(&shard.request(credit)), "NOT_FOUND");
    shard.request(Request::Detach { stream: QUEUE, consumer: ConsumerId(2), lost: true });
    assert_eq!(shard.stats().unacked, 2);
    // Whoever leaves in good order gives back at once.
    shard.request(Request::Detach { stream: QUEUE, consumer: ConsumerId(1), lost: false });
    shard.commit_all();
    shard.attach(QUEUE, 3, 1);
    let held = shard.tick();
    assert_eq!((offsets(&held), held[0].lease), (vec![0], lease(1, 2)));
    // A closed queue tells its consumers.
    shard.request(Request::Close { stream: QUEUE });
    let last = shard.dispatch();
    assert_eq!((last.len(), last[0].consumer, last[0].done), (1, ConsumerId(3), true));
    shard.settle_down();
}

#[test]
fn consumers_are_capped_per_queue() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    for consumer in 0..limits::CONSUMERS_PER_STREAM_MAX as u64 {
        shard.attach(QUEUE, consumer, 0);
    }
    let consumer = ConsumerId(u64::MAX);
    let attach = Request::Attach { stream: QUEUE, consumer, credit: 1, lease_millis: None, once: false };
    assert_eq!(word(&shard.request(attach)), "BUSY");
}

#[test]
fn delayed_messages_come_when_they_are_due_and_not_before() {
    let settings = QueueSettings { delivery_delay_millis: 500, ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    shard.publish(QUEUE, 1);
    shard.publish_with(QUEUE, 1, Some(0), None);
    shard.publish_with(QUEUE, 1, Some(200), None);
    shard.commit_all();
    shard.attach(QUEUE, 1, 10);
    assert_eq!(offsets(&shard.tick()), vec![1]);
    for (wake, offset) in [(200, 2), (500, 0)] {
        let wake = START.plus_millis(wake);
        assert_eq!(shard.leading.next_wake(), Some(wake));
        shard.now = LogTime(wake.0 - 1);
        shard.publish_with(QUEUE, 1, Some(0), None);
        shard.commit_all();
        assert_eq!(shard.tick().len(), 1, "only the one without a delay");
        shard.now = wake;
        assert_eq!(offsets(&shard.tick()), vec![offset]);
    }
    shard.settle_down();
}

#[test]
fn nothing_is_granted_on_entries_that_are_not_committed() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.publish(QUEUE, 1);
    shard.attach(QUEUE, 1, 10);
    assert_eq!(shard.tick(), vec![], "the publish is not committed");
    shard.commit_all();
    let held = shard.tick();
    shard.settle(&[(0, held[0].lease)], Verdict::Return);
    assert_eq!(shard.tick(), vec![], "the return is not committed");
    shard.commit_all();
    assert_eq!(shard.tick().len(), 1);
}

#[test]
fn the_dead_letter_target_is_where_messages_move() {
    let settings = QueueSettings { dead_letter: Some(name("dead")), ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    shard.leading.set_dead_letter(QUEUE, Some((ShardId(9), StreamId(8))));
    shard.publish_with(QUEUE, 2, None, Some(60_000));
    shard.commit_all();
    shard.attach(QUEUE, 1, 2);
    let held = shard.tick();
    let items: Vec<_> = held.iter().map(|held| (held.offset.0, held.lease)).collect();
    shard.settle(&items, Verdict::Reject);
    let next = |shard: &Shard| shard.leading.next_move(&shard.committed, QUEUE).map(|moved| moved.seq);
    assert_eq!((shard.moves(), next(&shard)), (vec![], None), "not before the move is committed");
    shard.commit_all();
    assert_eq!(next(&shard), Some(MoveSeq(1)), "one goes at a time");
    assert_eq!(shard.leading.state().sources().collect::<Vec<_>>(), [QUEUE]);
    let moves = shard.moves();
    assert_eq!(moves.iter().map(|(_, moved)| moved.seq).collect::<Vec<_>>(), vec![MoveSeq(1), MoveSeq(2)]);
    assert_eq!((moves[0].1.target_shard, moves[0].1.target), (ShardId(9), StreamId(8)));
    assert_eq!(shard.request(Request::Moved { stream: QUEUE, seq: MoveSeq(1) }), Reply::Done);
    assert_eq!((shard.moves().len(), next(&shard)), (1, Some(MoveSeq(2))));
    assert_eq!(shard.request(Request::Moved { stream: QUEUE, seq: MoveSeq(2) }), Reply::Done);
    assert_eq!(next(&shard), None);
    assert_eq!(shard.leading.next_wake(), None, "the time to live of a moved message is nobody's business");
    shard.settle_down();
}

#[test]
fn returns_do_not_bring_a_message_nearer_to_the_dead_letter_queue() {
    let settings =
        QueueSettings { max_deliveries: 2, dead_letter: Some(name("dead")), ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    shard.set_target(true);
    shard.publish(QUEUE, 1);
    shard.commit_all();
    shard.attach(QUEUE, 1, 100);
    let release = Verdict::Release { delay_millis: None };
    for verdict in [Verdict::Return, release, Verdict::Return, Verdict::Return, release] {
        assert_eq!(shard.moves(), vec![]);
        let held = shard.tick();
        assert_eq!(shard.settle(&[(0, held[0].lease)], verdict), vec![DONE]);
        shard.commit_all();
    }
    assert_eq!(shard.moves()[0].1.failures, 2);
    shard.settle_down();
}

#[test]
fn expired_messages_are_not_granted_even_before_their_expiry_is_dealt_with() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.publish_with(QUEUE, 1, None, Some(1_000));
    shard.commit_all();
    shard.pass(1_000);
    shard.attach(QUEUE, 1, 1);
    assert_eq!(shard.dispatch(), vec![]);
    assert!(shard.leading.next_wake().is_some_and(|wake| wake <= shard.now));
}

#[test]
fn a_parked_message_that_was_held_on_to_moves_once() {
    let settings = QueueSettings { dead_letter: Some(name("dead")), ..QueueSettings::default() };
    let mut shard = Shard::with_queue(settings);
    shard.publish_with(QUEUE, 1, None, Some(1_000));
    shard.commit_all();
    shard.attach(QUEUE, 1, 1);
    shard.tick();
    shard.crash();
    shard.pass(1_000);
    shard.tick();
    for verdict in [Verdict::Renew { millis: 1_000 }, Verdict::Return] {
        assert_eq!(shard.settle(&[(0, lease(1, 1))], verdict), vec![DONE]);
    }
    shard.commit_all();
    shard.set_target(true);
    shard.tick();
    shard.commit_all();
    assert_eq!(shard.moves().len(), 1);
    shard.settle_down();
}
