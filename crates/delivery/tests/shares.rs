//! Shared groups: every message of a partition settled by one of a group's members, whatever happens meanwhile.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use pondage_delivery::{ConsumerId, Reply, Request, Settled, Verdict};
use pondage_model::{
    Body, Lease, Offset, Refusal, StreamId,
    entry::{DiscardCause, MoveCause, Open},
    settings::{QueueSettings, ShareSettings, StartPosition, StreamSettings},
};
use proptest::prelude::{ProptestConfig, Strategy, prop, prop_oneof, proptest};
use support::{DEAD, Held, SHARD, Shard, TOPIC, name, offsets};

const BILLING: StreamId = StreamId(10);
const AUDIT: StreamId = StreamId(11);

fn settings(group: &str, delivery: QueueSettings) -> StreamSettings {
    let group = name(group);
    let start_position = StartPosition::Earliest;
    StreamSettings::Share(Box::new(ShareSettings { group, partition: TOPIC, start_position, delivery }))
}

/// A topic that two groups share, from its begin on.
fn shared(delivery: &QueueSettings) -> Shard {
    let mut shard = Shard::with_queue(QueueSettings::default());
    for (stream, group) in [(BILLING, "billing"), (AUDIT, "audit")] {
        let settings = settings(group, delivery.clone());
        let open = Open { name: name("log"), partition: 0, settings };
        assert_eq!(shard.request(Request::Open { stream, open }), Reply::Done);
        assert_eq!(shard.request(Request::Restart { stream, start: Offset(0) }), Reply::Done);
    }
    shard.commit_all();
    shard
}

fn settle(shard: &mut Shard, stream: StreamId, held: Held, verdict: Verdict) -> Result<Settled, Refusal> {
    let items = vec![(held.offset, held.lease)];
    match shard.request(Request::Settle { stream, items, verdict }) {
        Reply::Settled(results) => results.into_iter().next().expect("one item"),
        other => panic!("a settle was answered with {other:?}"),
    }
}

fn backlog(shard: &Shard, stream: StreamId) -> u64 {
    shard.leading.state().stream(stream).expect("open").stats(shard.now).backlog()
}

fn lost(held: Held) -> Result<Settled, Refusal> {
    Err(Refusal::LeaseLost { offset: held.offset })
}

#[test]
fn each_group_gets_every_message_once_and_the_topic_keeps_it() {
    let mut shard = shared(&QueueSettings::default());
    shard.publish(TOPIC, 3);
    shard.attach(BILLING, 1, 10);
    shard.attach(BILLING, 2, 10);
    shard.attach(AUDIT, 3, 10);
    assert_eq!(shard.tick(), [], "nothing of this is committed");
    shard.commit_all();
    let held = shard.tick();
    let of = |consumers: &[u64]| -> Vec<u64> {
        let of = |held: &&Held| consumers.contains(&held.consumer.0);
        let mut offsets = offsets(&held.iter().filter(of).copied().collect::<Vec<_>>());
        offsets.sort_unstable();
        offsets
    };
    assert_eq!((of(&[1, 2]), of(&[3])), (vec![0, 1, 2], vec![0, 1, 2]));
    assert!(!of(&[1]).is_empty() && !of(&[2]).is_empty(), "members share");
    for held in held.iter().filter(|held| held.consumer != ConsumerId(3)) {
        assert_eq!(settle(&mut shard, BILLING, *held, Verdict::Accept), Ok(Settled::Done));
        assert_eq!(settle(&mut shard, BILLING, *held, Verdict::Accept), Ok(Settled::AlreadySettled));
    }
    assert_eq!((backlog(&shard, BILLING), backlog(&shard, AUDIT)), (0, 3));
    let topic = shard.leading.state().stream(TOPIC).expect("open");
    assert_eq!((topic.start(), topic.end(), topic.messages()), (Offset(0), Offset(3), 3));
    shard.settle_down();
}

#[test]
fn a_group_that_did_not_begin_gets_nothing_and_then_all_from_its_start_on() {
    let mut shard = Shard::with_queue(QueueSettings::default());
    shard.publish(TOPIC, 4);
    let open = Open { name: name("log"), partition: 0, settings: settings("late", QueueSettings::default()) };
    assert_eq!(shard.request(Request::Open { stream: BILLING, open: open.clone() }), Reply::Done);
    shard.publish(TOPIC, 1);
    shard.attach(BILLING, 1, 10);
    shard.commit_all();
    assert_eq!((shard.tick(), backlog(&shard, BILLING)), (vec![], 0));
    assert!(shard.leading.state().stream(BILLING).is_some_and(|share| share.is_to_begin()));
    let beyond = shard.request(Request::Restart { stream: BILLING, start: Offset(6) });
    assert!(matches!(beyond, Reply::Refused(Refusal::OutOfRange { .. })), "{beyond:?}");
    assert_eq!(shard.request(Request::Restart { stream: BILLING, start: Offset(2) }), Reply::Done);
    assert_eq!((shard.tick(), backlog(&shard, BILLING)), (vec![], 3), "the begin may yet vanish");
    shard.commit_all();
    assert_eq!(offsets(&shard.tick()), [2, 3, 4]);
    shard.settle_down();
    let elsewhere = Request::Open { stream: StreamId(50), open: Open { settings: orphan(), ..open } };
    assert!(matches!(shard.request(elsewhere), Reply::Refused(Refusal::NotFound { .. })));
}

/// A share of a partition that is not there.
fn orphan() -> StreamSettings {
    let StreamSettings::Share(share) = settings("late", QueueSettings::default()) else { unreachable!() };
    StreamSettings::Share(Box::new(ShareSettings { partition: StreamId(77), ..*share }))
}

#[test]
fn a_group_that_begins_again_takes_no_token_of_before() {
    let mut shard = shared(&QueueSettings::default());
    shard.publish(TOPIC, 2);
    shard.attach(BILLING, 1, 10);
    shard.commit_all();
    let before = shard.tick();
    assert_eq!(settle(&mut shard, BILLING, before[0], Verdict::Accept), Ok(Settled::Done));
    assert_eq!(shard.request(Request::Restart { stream: BILLING, start: Offset(0) }), Reply::Done);
    shard.commit_all();
    let after = shard.tick();
    assert_eq!(offsets(&after), [0, 1], "the accepted one comes again, and the held one");
    for held in &before {
        assert_eq!(settle(&mut shard, BILLING, *held, Verdict::Accept), lost(*held));
    }
    // The second lease was never logged: a later leader does not take it for one that it may not know of.
    shard.crash();
    for held in &before {
        assert_eq!(settle(&mut shard, BILLING, *held, Verdict::Accept), lost(*held));
    }
    assert_eq!(settle(&mut shard, BILLING, after[1], Verdict::Accept), Ok(Settled::Done));
    assert_eq!(shard.request(Request::Restart { stream: BILLING, start: Offset(2) }), Reply::Done);
    assert_eq!((backlog(&shard, BILLING), backlog(&shard, AUDIT)), (0, 2));
    shard.settle_down();
}

#[test]
fn what_retention_takes_is_settled_in_every_state() {
    let delivery =
        QueueSettings { dead_letter: Some(name("dead")), max_deliveries: 1, ..QueueSettings::default() };
    let mut shard = shared(&delivery);
    shard.leading.set_dead_letter(BILLING, Some((SHARD, DEAD)));
    shard.publish(TOPIC, 6);
    shard.attach(BILLING, 1, 4);
    shard.commit_all();
    let held = shard.tick();
    assert_eq!(offsets(&held), [0, 1, 2, 3]);
    // 0 is moving, 1 waits, 2 is accepted, 3 is held, 4 and 5 nobody touched.
    assert_eq!(settle(&mut shard, BILLING, held[0], Verdict::Reject), Ok(Settled::Done));
    assert_eq!(settle(&mut shard, BILLING, held[1], Verdict::Return), Ok(Settled::Done));
    assert_eq!(settle(&mut shard, BILLING, held[2], Verdict::Accept), Ok(Settled::Done));
    shard.commit_all();
    assert_eq!(shard.moves().len(), 1);
    assert_eq!(shard.request(Request::Trim { stream: TOPIC, start: Offset(5) }), Reply::Done);
    shard.commit_all();
    assert_eq!(backlog(&shard, BILLING), 1);
    assert_eq!(shard.moves(), [], "what is gone is not moved");
    assert_eq!(shard.request(Request::Moved { stream: BILLING, seq: held_seq() }), Reply::Done);
    assert_eq!(settle(&mut shard, BILLING, held[3], Verdict::Accept), lost(held[3]));
    let counters = *shard.leading.state().stream(BILLING).expect("open").counters();
    assert_eq!(counters.discarded(DiscardCause::Trimmed), 4);
    assert_eq!(counters.dead_lettered(MoveCause::Rejected), 0);
    let more = Request::Credit { stream: BILLING, consumer: ConsumerId(1), add: 1 };
    assert_eq!(shard.request(more), Reply::Done);
    assert_eq!(offsets(&shard.tick()), [5]);
    assert_eq!(backlog(&shard, AUDIT), 1);
    shard.settle_down();
}

#[test]
fn what_is_on_its_way_to_the_dead_letters_goes_on_when_the_group_begins_again() {
    let delivery = QueueSettings { dead_letter: Some(name("dead")), ..QueueSettings::default() };
    let mut shard = shared(&delivery);
    shard.leading.set_dead_letter(BILLING, Some((SHARD, DEAD)));
    shard.publish(TOPIC, 3);
    shard.attach(BILLING, 1, 9);
    shard.commit_all();
    let held = shard.tick();
    assert_eq!(settle(&mut shard, BILLING, held[1], Verdict::Reject), Ok(Settled::Done));
    assert_eq!(shard.request(Request::Restart { stream: BILLING, start: Offset(0) }), Reply::Done);
    shard.commit_all();
    assert_eq!(shard.moves().len(), 1);
    assert_eq!(offsets(&shard.tick()), [0, 2], "nobody gets what may be a dead letter already");
    assert_eq!(shard.request(Request::Moved { stream: BILLING, seq: held_seq() }), Reply::Done);
    assert_eq!(backlog(&shard, BILLING), 2);
    shard.settle_down();
}

fn held_seq() -> pondage_model::MoveSeq {
    pondage_model::MoveSeq(1)
}

#[test]
fn a_closed_partition_or_group_leaves_the_others_alone() {
    let mut shard = shared(&QueueSettings::default());
    shard.publish(TOPIC, 1);
    shard.commit_all();
    assert_eq!(shard.request(Request::Close { stream: BILLING }), Reply::Done);
    shard.publish(TOPIC, 1);
    assert_eq!(backlog(&shard, AUDIT), 2);
    assert_eq!(shard.request(Request::Close { stream: TOPIC }), Reply::Done);
    assert_eq!(shard.request(Request::Close { stream: AUDIT }), Reply::Done);
    shard.settle_down();
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u32),
    Commit(usize),
    Give,
    Credit,
    Settle(usize, Verdict),
    Leave(bool),
    Trim(u64),
    Restart(u64),
    Pass(u64),
    Log,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let verdict = prop_oneof![
        3 => proptest::strategy::Just(Verdict::Accept),
        1 => proptest::strategy::Just(Verdict::Release { delay_millis: None }),
        1 => proptest::strategy::Just(Verdict::Return),
        1 => proptest::strategy::Just(Verdict::Reject),
        1 => proptest::strategy::Just(Verdict::Renew { millis: 5_000 }),
    ];
    let step = prop_oneof![
        4 => (1..5u32).prop_map(Step::Publish),
        4 => (1..6usize).prop_map(Step::Commit),
        6 => proptest::strategy::Just(Step::Give),
        2 => proptest::strategy::Just(Step::Credit),
        8 => (0..40usize, verdict).prop_map(|(index, verdict)| Step::Settle(index, verdict)),
        1 => prop::bool::ANY.prop_map(Step::Leave),
        1 => (0..4u64).prop_map(Step::Trim),
        1 => (0..12u64).prop_map(Step::Restart),
        2 => (1..40_000u64).prop_map(Step::Pass),
        1 => proptest::strategy::Just(Step::Log),
        1 => proptest::strategy::Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..120)
}

/// What consumers of one share saw.
struct Watch {
    shard: Shard,
    /// Everything that was ever given out.
    given: Vec<Held>,
    tokens: BTreeSet<(Offset, Lease)>,
    /// Accepts that took effect, with how much of the log has to be committed for their answers.
    accepted: BTreeMap<Offset, usize>,
    consumers: u64,
}

impl Watch {
    fn new() -> Self {
        let mut shard = shared(&QueueSettings { max_deliveries: 2, ..QueueSettings::default() });
        shard.attach(BILLING, 1, 5);
        let (given, tokens, accepted) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Self { shard, given, tokens, accepted, consumers: 1 }
    }

    fn give(&mut self) {
        let committed = self.shard.committed.stream(TOPIC).expect("open");
        let (start, end) = (committed.start(), committed.end());
        for held in self.shard.tick() {
            assert!(held.offset < end, "{held:?} is not committed");
            assert!(held.offset >= start || self.uncommitted_trim(), "{held:?} is gone by retention");
            assert!(self.tokens.insert((held.offset, held.lease)), "{held:?} was given twice");
            let done = self.accepted.get(&held.offset);
            assert!(done.is_none(), "{held:?} was accepted, and nobody began again");
            self.given.push(held);
        }
    }

    fn uncommitted_trim(&self) -> bool {
        self.shard.log[self.shard.committed_count..].iter().any(|entry| matches!(entry.body, Body::Trim(_)))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(count) => drop(self.shard.publish(TOPIC, count)),
            Step::Commit(count) => self.shard.commit_up_to(self.shard.committed_count + count),
            Step::Give => self.give(),
            Step::Credit => {
                let consumer = ConsumerId(self.consumers);
                self.shard.request(Request::Credit { stream: BILLING, consumer, add: 3 });
            }
            Step::Settle(index, verdict) => {
                let Some(held) = self.given.iter().rev().nth(index).copied() else { return };
                if settle(&mut self.shard, BILLING, held, verdict) == Ok(Settled::Done)
                    && matches!(verdict, Verdict::Accept | Verdict::Reject)
                {
                    self.accepted.insert(held.offset, self.shard.log.len());
                }
            }
            Step::Leave(lost) => {
                let consumer = ConsumerId(self.consumers);
                self.shard.request(Request::Detach { stream: BILLING, consumer, lost });
                self.attach();
            }
            Step::Trim(count) => {
                let topic = self.shard.leading.state().stream(TOPIC).expect("open");
                let start = Offset(topic.start().0 + count).min(topic.end());
                self.shard.request(Request::Trim { stream: TOPIC, start });
            }
            Step::Restart(start) => {
                if self.shard.request(Request::Restart { stream: BILLING, start: Offset(start) })
                    == Reply::Done
                {
                    // Whether it takes effect is open until it is committed.
                    self.shard.commit_all();
                    self.accepted.clear();
                }
            }
            Step::Pass(millis) => self.shard.pass(millis),
            Step::Log => self.shard.settle_down(),
            Step::Crash => {
                let kept = self.shard.committed_count;
                self.accepted.retain(|_, needs| *needs <= kept);
                self.shard.crash();
                self.attach();
            }
        }
    }

    fn attach(&mut self) {
        self.consumers += 1;
        self.shard.attach(BILLING, self.consumers, 5);
    }

    /// Everything that is left is given and accepted; nothing is missing.
    fn drain(mut self) {
        self.shard.commit_all();
        let topic = self.shard.leading.state().stream(TOPIC).expect("open");
        let restart = self.shard.log.iter().rev().find_map(|entry| match &entry.body {
            Body::Restart(restart) if entry.stream == BILLING => Some(restart.start),
            _ => None,
        });
        let first = topic.start().max(restart.expect("it began"));
        let expected: BTreeSet<Offset> = (first.0..topic.end().0)
            .map(Offset)
            .filter(|offset| !self.accepted.contains_key(offset))
            .collect();
        assert_eq!(backlog(&self.shard, BILLING), expected.len() as u64);
        let mut got = BTreeSet::new();
        for _ in 0..1_000 {
            if got.len() == expected.len() {
                break;
            }
            self.shard.pass(60_000);
            self.attach();
            let from = self.given.len();
            self.give();
            for index in from..self.given.len() {
                let held = self.given[index];
                assert_eq!(settle(&mut self.shard, BILLING, held, Verdict::Accept), Ok(Settled::Done));
                got.insert(held.offset);
            }
            self.shard.commit_all();
        }
        assert_eq!(got, expected);
        assert_eq!(backlog(&self.shard, BILLING), 0);
        self.shard.settle_down();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_message_is_settled_once_in_each_life_of_a_group(steps in steps()) {
        let mut watch = Watch::new();
        steps.into_iter().for_each(|step| watch.step(step));
        watch.drain();
    }
}
