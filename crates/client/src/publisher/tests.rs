//! The lanes against a model of a broker's partitions that checks sequences as a real one does.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use pondage_model::{
    Code, Epoch, Outcome, ProducerId, Refusal, limits,
    record::{Batch, sequence_after},
};
use pondage_protocol::v1;

use super::{lane::Link, lanes::Lanes};
use crate::{Ack, ClientError, Compression, Message, Options, PublisherOptions, retry::Waits};

/// How a message ended: its offset, or the error's word and outcome.
type End = Result<u64, (String, Outcome)>;

/// The stream to the broker that leads everything.
const LINK: Link = Link(0);
const SESSION: (ProducerId, u32) = (ProducerId(4), 0);

fn options() -> PublisherOptions {
    let options = PublisherOptions {
        batch_messages: 3,
        compression: Compression::None,
        delivery_timeout: Duration::from_secs(60),
        ..PublisherOptions::default()
    };
    options.bounded()
}

fn lanes(partitions: u32, session: Option<(ProducerId, u32)>, options: PublisherOptions) -> Lanes<u32> {
    Lanes::new(
        "orders".to_owned(),
        partitions,
        session,
        options,
        Waits::new(&Options { retry_wait: Duration::ZERO, ..Options::default() }),
    )
}

fn message(id: u32, partition: u32) -> Message {
    Message { partition: Some(partition), ..Message::new(id.to_string()) }
}

fn values(request: &v1::PublishStreamRequest) -> Vec<u32> {
    let publish = request.publish.as_ref().expect("a request carries a batch");
    let batch = Batch::parse(publish.batch.clone()).expect("a batch");
    let value =
        |value: Option<bytes::Bytes>| String::from_utf8(value.expect("a value").to_vec()).expect("text");
    batch.records().expect("records").map(|record| value(record.value).parse().expect("a number")).collect()
}

fn sequence(request: &v1::PublishStreamRequest) -> u32 {
    let publish = request.publish.as_ref().expect("a request carries a batch");
    let batch = Batch::parse(publish.batch.clone()).expect("a batch");
    batch.producer().expect("a session").first_sequence
}

fn requests(lanes: &mut Lanes<u32>, now: Instant) -> Vec<v1::PublishStreamRequest> {
    std::iter::from_fn(|| next_request(lanes, now)).collect()
}

/// The next request, where one broker leads everything.
fn next_request(lanes: &mut Lanes<u32>, now: Instant) -> Option<v1::PublishStreamRequest> {
    for partition in lanes.unplaced() {
        lanes.place(partition, LINK);
    }
    lanes.next_request(now, LINK)
}

fn ended(lanes: &mut Lanes<u32>) -> Vec<(u32, End)> {
    let fact = |error: ClientError| (error.code().to_owned(), error.outcome());
    lanes.take_ended().map(|(id, end)| (id, end.map(|ack: Ack| ack.offset.0).map_err(fact))).collect()
}

fn stored(base_offset: u64) -> Result<v1::PublishResponse, ClientError> {
    Ok(v1::PublishResponse { partition: 0, base_offset, count: 3, duplicate: false })
}

fn gap() -> Result<v1::PublishResponse, ClientError> {
    Err(Refusal::OutOfOrder { expected: 0, got: 3 }.into())
}

/// One partition as a broker keeps it for one producer.
#[derive(Default)]
struct Partition {
    log: Vec<u32>,
    next_sequence: u32,
    remembered: VecDeque<(u32, u64)>,
}

impl Partition {
    fn store(&mut self, request: &v1::PublishStreamRequest) -> Result<v1::PublishResponse, ClientError> {
        let (first, messages) = (sequence(request), values(request));
        let count = messages.len() as u32;
        let base_offset = if first == self.next_sequence {
            let base = self.log.len() as u64;
            self.log.extend(messages);
            self.next_sequence = sequence_after(first, count);
            self.remembered.push_back((first, base));
            if self.remembered.len() > limits::PRODUCER_BATCHES_REMEMBERED {
                self.remembered.pop_front();
            }
            base
        } else if let Some((_, base)) = self.remembered.iter().find(|(known, _)| *known == first) {
            *base
        } else {
            return Err(Refusal::OutOfOrder { expected: self.next_sequence, got: first }.into());
        };
        Ok(v1::PublishResponse { partition: 0, base_offset, count, duplicate: false })
    }
}

/// A sequence of numbers that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn lane_of(request: &v1::PublishStreamRequest) -> usize {
    request.publish.as_ref().and_then(|publish| publish.partition).expect("a lane") as usize
}

/// What a batch is refused for stays so, however often it is numbered anew.
fn is_refused(refuses: bool, ids: &[u32]) -> bool {
    refuses && ids.iter().any(|id| id % 50 == 7)
}

/// A broker that is busy, refuses single batches, loses streams before and after it stored, comes to lost requests late, and answers in any
/// order: still every acknowledged message is stored once, at the offset that was told, and in order.
#[test]
fn every_message_is_stored_once_and_in_order_whatever_happens() {
    let mut survived = 0;
    for seed in 0..400 {
        let refuses = seed % 2 == 1;
        let mut dice = Dice(seed);
        let mut now = Instant::now();
        let mut lanes = lanes(2, Some(SESSION), options());
        let mut partitions = [Partition::default(), Partition::default()];
        let mut answers: Vec<(u64, Result<v1::PublishResponse, ClientError>)> = Vec::new();
        let mut acks: BTreeMap<u32, End> = BTreeMap::new();
        let (mut pushed, mut refused) = (0u32, Vec::new());
        let mut is_connected = false;
        // Requests of lost streams that the broker has yet to come to.
        let mut late: VecDeque<v1::PublishStreamRequest> = VecDeque::new();
        for step in 0..2_000 {
            now += Duration::from_millis(dice.below(50));
            lanes.expire(now);
            let calm = step > 1_500;
            match dice.below(if calm { 6 } else { 12 }) {
                0..=2 if pushed < 300 => {
                    lanes.push(now, &message(pushed, pushed % 2), pushed);
                    pushed += 1;
                }
                3 if !is_connected => {
                    lanes.connected(LINK);
                    is_connected = true;
                }
                10 if is_connected => {
                    lanes.disconnected(LINK);
                    answers.clear();
                    is_connected = false;
                }
                _ if !answers.is_empty() => {
                    let (request, answer) = answers.remove(dice.below(answers.len() as u64) as usize);
                    lanes.answered(now, LINK, request, answer);
                }
                _ => {}
            }
            if dice.below(10) == 0
                && let Some(request) = late.pop_front()
                && !is_refused(refuses, &values(&request))
            {
                let _ = partitions[lane_of(&request)].store(&request);
            }
            // Once a stream is cut, what comes behind the cut is not heard of either.
            let mut is_cut = false;
            while let Some(request) = next_request(&mut lanes, now) {
                let lane = lane_of(&request);
                is_cut |= !calm && dice.below(20) == 0;
                if is_cut {
                    late.push_back(request);
                    continue;
                }
                let ids = values(&request);
                let answer = match dice.below(if calm { 100 } else { 12 }) {
                    0 => Err(Refusal::Busy { what: "requests" }.into()),
                    _ if is_refused(refuses, &ids) => {
                        refused.extend(ids);
                        Err(Refusal::CorruptBatch { what: "a test" }.into())
                    }
                    1 => {
                        // Stored, but the answer is lost in the broker: unknown.
                        let _ = partitions[lane].store(&request);
                        Err(Refusal::Timeout.into())
                    }
                    _ => partitions[lane].store(&request),
                };
                answers.push((request.request_id, answer));
            }
            if is_cut {
                lanes.disconnected(LINK);
                answers.clear();
                is_connected = false;
            }
            acks.extend(ended(&mut lanes));
        }
        let mut stored_ids = Vec::new();
        for (number, partition) in partitions.iter().enumerate() {
            assert!(partition.log.is_sorted(), "seed {seed}: out of order {:?}", partition.log);
            let mut once = partition.log.clone();
            once.dedup();
            assert_eq!(once.len(), partition.log.len(), "seed {seed}: stored twice");
            for (offset, id) in partition.log.iter().enumerate() {
                assert_eq!(*id % 2, number as u32);
                match acks.get(id) {
                    Some(Ok(told)) => assert_eq!(*told, offset as u64, "seed {seed}: message {id}"),
                    Some(Err((_, outcome))) => assert_eq!(*outcome, Outcome::Unknown, "seed {seed}: {id}"),
                    None => panic!("seed {seed}: message {id} is stored and not answered"),
                }
            }
            stored_ids.extend(&partition.log);
        }
        assert_eq!(acks.len() as u32, pushed, "seed {seed}: each message ends");
        for (id, end) in &acks {
            assert!(
                end.is_err() || stored_ids.contains(id),
                "seed {seed}: {id} is acknowledged and not stored"
            );
        }
        assert!(refused.iter().all(|id| acks.get(id).is_some_and(Result::is_err)), "seed {seed}");
        survived += usize::from(acks.get(&(pushed - 1)).is_some_and(Result::is_ok));
    }
    // A refused batch next to one that may be stored ends the session, but not always.
    assert!(survived > 200, "{survived} sessions survived");
}

#[test]
fn a_batch_is_full_by_count_and_else_waits_for_its_linger() {
    let now = Instant::now();
    let linger = Duration::from_millis(5);
    let mut lanes = lanes(1, Some(SESSION), PublisherOptions { linger, ..options() });
    lanes.connected(LINK);
    for id in 0..5 {
        lanes.push(now, &message(id, 0), id);
    }
    let sent: Vec<_> = requests(&mut lanes, now).iter().map(values).collect();
    assert_eq!(sent, [vec![0, 1, 2]]);
    assert_eq!(lanes.next_wakeup(now), Some(now + linger));
    let sent = requests(&mut lanes, now + linger);
    assert_eq!(sent.iter().map(values).collect::<Vec<_>>(), [vec![3, 4]]);
    assert_eq!(sequence(&sent[0]), 3);
}

#[test]
fn messages_with_other_times_travel_apart_and_in_order() {
    let now = Instant::now();
    let mut lanes = lanes(1, Some(SESSION), options());
    lanes.connected(LINK);
    for (id, delay) in [(0, None), (1, Some(5)), (2, Some(5)), (3, None)] {
        let delay = delay.map(Duration::from_millis);
        lanes.push(now, &Message { delay, ..message(id, 0) }, id);
    }
    let sent: Vec<_> = requests(&mut lanes, now)
        .iter()
        .map(|request| (values(request), request.publish.as_ref().and_then(|publish| publish.delay_millis)))
        .collect();
    assert_eq!(sent, [(vec![0], None), (vec![1, 2], Some(5)), (vec![3], None)]);
}

/// The broker recognises a repeat among the last 5 batches, so the oldest unanswered one must be among them.
#[test]
fn no_more_batches_are_ahead_of_the_oldest_than_the_broker_remembers() {
    let now = Instant::now();
    let mut lanes = lanes(1, Some(SESSION), options());
    lanes.connected(LINK);
    for id in 0..60 {
        lanes.push(now, &message(id, 0), id);
    }
    let first = requests(&mut lanes, now);
    assert_eq!(first.len(), limits::PRODUCER_BATCHES_REMEMBERED);
    for request in &first[1..] {
        lanes.answered(now, LINK, request.request_id, stored(u64::from(sequence(request))));
    }
    assert!(next_request(&mut lanes, now).is_none(), "the first one is not answered");
    lanes.answered(now, LINK, first[0].request_id, stored(0));
    assert_eq!(requests(&mut lanes, now).len(), limits::PRODUCER_BATCHES_REMEMBERED);
}

#[test]
fn a_refused_batch_leaves_no_gap_behind() {
    let now = Instant::now();
    let later = now + Duration::from_secs(10);
    let mut lanes = lanes(1, Some(SESSION), options());
    lanes.connected(LINK);
    for id in 0..9 {
        lanes.push(now, &message(id, 0), id);
    }
    let sent = requests(&mut lanes, now);
    // The gap may be told before its cause.
    lanes.answered(now, LINK, sent[1].request_id, gap());
    lanes.answered(now, LINK, sent[0].request_id, Err(Refusal::CorruptBatch { what: "a test" }.into()));
    assert!(next_request(&mut lanes, later).is_none(), "one is still in flight");
    lanes.answered(now, LINK, sent[2].request_id, gap());
    let again = requests(&mut lanes, later);
    assert_eq!(again.iter().map(values).collect::<Vec<_>>(), [vec![3, 4, 5], vec![6, 7, 8]]);
    assert_eq!(again.iter().map(sequence).collect::<Vec<_>>(), [0, 3]);
    let corrupt = |id| (id, Err(("CORRUPT_BATCH".to_owned(), Outcome::Definite)));
    assert_eq!(ended(&mut lanes), [corrupt(0), corrupt(1), corrupt(2)]);
}

#[test]
fn a_session_that_is_over_is_never_retried_silently() {
    let unknown_producer = Refusal::UnknownProducer { producer: SESSION.0 };
    let fenced = Refusal::ProducerFenced { producer: SESSION.0, current: 1 };
    let out_of_order = Refusal::OutOfOrder { expected: 9, got: 0 };
    for refusal in [unknown_producer, fenced, out_of_order] {
        let now = Instant::now();
        let mut lanes = lanes(1, Some(SESSION), options());
        lanes.connected(LINK);
        for id in 0..4 {
            lanes.push(now, &message(id, 0), id);
        }
        lanes.flush();
        let sent = requests(&mut lanes, now);
        lanes.answered(now, LINK, sent[0].request_id, Err(refusal.clone().into()));
        lanes.push(now, &message(4, 0), 4);
        let code = refusal.code().as_str().to_owned();
        let outcomes = ended(&mut lanes);
        assert_eq!(outcomes.len(), 5, "{refusal:?}");
        assert!(outcomes.iter().all(|(_, end)| end.as_ref().is_err_and(|(told, _)| *told == code)));
        assert_eq!(outcomes[4].1, Err((code, Outcome::Definite)));
        assert!(lanes.is_idle() && next_request(&mut lanes, now + Duration::from_secs(99)).is_none());
    }
}

#[test]
fn time_ends_what_was_never_sent_definitely_and_what_may_be_stored_as_unknown() {
    for (sends, outcome) in [(false, Outcome::Definite), (true, Outcome::Unknown)] {
        let now = Instant::now();
        let mut lanes = lanes(1, Some(SESSION), options());
        lanes.push(now, &message(0, 0), 0);
        if sends {
            lanes.connected(LINK);
            assert_eq!(requests(&mut lanes, now).len(), 1);
            lanes.disconnected(LINK);
        }
        assert_eq!(lanes.next_wakeup(now), Some(now + Duration::from_secs(60)));
        lanes.expire(now + Duration::from_secs(59));
        assert_eq!(ended(&mut lanes), []);
        lanes.expire(now + Duration::from_secs(60));
        assert_eq!(ended(&mut lanes), [(0, Err((Code::Timeout.as_str().to_owned(), outcome)))]);
        assert!(lanes.is_idle());
    }
}

#[test]
fn keys_keep_their_partition_and_the_rest_spreads_by_batch() {
    let now = Instant::now();
    let mut lanes = lanes(4, None, options());
    lanes.connected(LINK);
    for id in 0..12 {
        lanes.push(now, &Message::new(id.to_string()), id);
    }
    let spread: Vec<_> = requests(&mut lanes, now)
        .iter()
        .map(|request| request.publish.as_ref().and_then(|publish| publish.partition))
        .collect();
    assert_eq!(spread, [Some(0), Some(1), Some(2), Some(3)]);
    for id in 20..23 {
        lanes.push(now, &Message::new(id.to_string()).key("foobar"), id);
    }
    let keyed = requests(&mut lanes, now);
    let expected = crate::partition_of_key(b"foobar", 4);
    assert_eq!(keyed.len(), 1);
    assert_eq!(keyed[0].publish.as_ref().and_then(|publish| publish.partition), Some(expected));
    lanes.push(now, &message(30, 4), 30);
    assert_eq!(ended(&mut lanes), [(30, Err(("INVALID_ARGUMENT".to_owned(), Outcome::Definite)))]);
}

/// A late copy of the second batch would be stored under the sequence that another batch gets by then.
#[test]
fn a_batch_that_may_be_stored_never_changes_its_sequence() {
    for is_lost_with_its_stream in [false, true] {
        let now = Instant::now();
        let mut lanes = lanes(1, Some(SESSION), options());
        lanes.connected(LINK);
        for id in 0..6 {
            lanes.push(now, &message(id, 0), id);
        }
        let sent = requests(&mut lanes, now);
        let corrupt = || Err(Refusal::CorruptBatch { what: "a test" }.into());
        if is_lost_with_its_stream {
            lanes.answered(now, LINK, sent[0].request_id, corrupt());
            lanes.disconnected(LINK);
        } else {
            lanes.answered(now, LINK, sent[1].request_id, Err(Refusal::Timeout.into()));
            lanes.answered(now, LINK, sent[0].request_id, corrupt());
        }
        let outcomes: Vec<_> = ended(&mut lanes)
            .into_iter()
            .map(|(id, end)| (id, end.map_err(|(_, outcome)| outcome)))
            .collect();
        let expected: Vec<_> =
            (0..6).map(|id| (id, Err(if id < 3 { Outcome::Definite } else { Outcome::Unknown }))).collect();
        assert_eq!(outcomes, expected, "lost with its stream: {is_lost_with_its_stream}");
        lanes.connected(LINK);
        assert!(next_request(&mut lanes, now + Duration::from_secs(10)).is_none());
    }
}

/// Two brokers: what one of them refuses goes to the other, once everything has come back, and in order.
#[test]
fn a_partition_moves_to_its_new_leader_without_overtaking() {
    let now = Instant::now();
    let (old, new) = (Link(1), Link(2));
    let mut lanes = lanes(2, Some(SESSION), options());
    lanes.connected(old);
    lanes.connected(new);
    for id in 0..9 {
        lanes.push(now, &message(id, 0), id);
    }
    lanes.push(now, &message(20, 1), 20);
    lanes.flush();
    assert_eq!(lanes.unplaced(), [0, 1]);
    lanes.place(0, old);
    lanes.place(1, new);
    let sent: Vec<_> = std::iter::from_fn(|| lanes.next_request(now, old)).collect();
    assert_eq!(sent.len(), 3);
    assert_eq!(lanes.next_request(now, new).map(|request| lane_of(&request)), Some(1));
    let elsewhere = || Err(Refusal::LedElsewhere { epoch: Epoch(2), address: "b:2".to_owned() }.into());
    assert_eq!(lanes.partition_of(old, sent[1].request_id), Some(0));
    lanes.answered(now, old, sent[1].request_id, elsewhere());
    lanes.answered(now, old, sent[0].request_id, stored(0));
    assert_eq!(lanes.unplaced(), [0; 0], "one is still on its way");
    assert!(lanes.next_request(now, old).is_none());
    lanes.answered(now, old, sent[2].request_id, elsewhere());
    assert_eq!(lanes.unplaced(), [0]);
    assert!(!lanes.is_used(old) && lanes.is_used(new));
    lanes.place(0, new);
    let later = now + Duration::from_secs(1);
    let again: Vec<_> = std::iter::from_fn(|| lanes.next_request(later, new)).collect();
    assert_eq!(again.iter().map(values).collect::<Vec<_>>(), [[3, 4, 5], [6, 7, 8]]);
    assert_eq!(again.iter().map(sequence).collect::<Vec<_>>(), [3, 6]);
    // A late answer of the old stream is nobody's.
    lanes.answered(later, old, again[0].request_id, stored(99));
    lanes.answered(later, new, again[0].request_id, stored(3));
    lanes.answered(later, new, again[1].request_id, stored(6));
    let told: Vec<_> = ended(&mut lanes).into_iter().map(|(id, end)| (id, end.expect("stored"))).collect();
    assert_eq!(told, (0..9).map(|id| (id, u64::from(id))).collect::<Vec<_>>());
}

/// Losing one broker's stream leaves the other's partitions alone.
#[test]
fn a_lost_stream_is_about_its_own_partitions() {
    let now = Instant::now();
    let (one, two) = (Link(1), Link(2));
    let mut lanes = lanes(2, Some(SESSION), options());
    for (partition, link) in [(0, one), (1, two)] {
        lanes.connected(link);
        lanes.push(now, &message(partition, partition), partition);
        lanes.place(partition, link);
    }
    lanes.flush();
    let (first, second) = (lanes.next_request(now, one), lanes.next_request(now, two));
    assert_eq!(first.as_ref().map(lane_of), Some(0));
    lanes.disconnected(one);
    assert_eq!(lanes.unplaced(), [0]);
    assert_eq!((lanes.oldest_sent(one), lanes.oldest_sent(two)), (None, Some(now)));
    lanes.answered(now, two, second.expect("sent").request_id, stored(0));
    assert_eq!(ended(&mut lanes), [(1, Ok(0))]);
    lanes.refuse_unplaced(&Refusal::NotFound { kind: "topic", name: "orders".to_owned() }.into());
    assert_eq!(ended(&mut lanes), [(0, Err(("NOT_FOUND".to_owned(), Outcome::Unknown)))]);
}
