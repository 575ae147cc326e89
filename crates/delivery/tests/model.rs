//! Random requests, crashes and times against a naive queue: a list of messages with states, folded from the
//! same log, and a record of everything that consumers were ever given.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pondage_delivery::{ConsumerId, Reply, Request, Settled, Verdict};
use pondage_model::{
    Attempt, Body, Entry, Lease, LogTime, MoveSeq, Name, Offset, Refusal,
    entry::{DiscardCause, LeaseRange, MoveCause, MovedFrom, Publish},
    settings::{Backoff, QueueSettings, StreamSettings},
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use support::{DEAD, Held, QUEUE, Shard, watcher::Watcher};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naive {
    Ready(LogTime),
    Leased(Lease, LogTime),
    Moving(MoveSeq),
    Accepted,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    state: Naive,
    expires: LogTime,
    last: Lease,
    failures: u32,
}

/// Folds the log the slow way.
fn naive(log: &[Entry]) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    fn each(all: &mut [Message], run: &LeaseRange, mut change: impl FnMut(&mut Message)) {
        for index in run.first.0..run.first.0 + u64::from(run.count) {
            change(&mut all[index as usize]);
        }
    }
    for entry in log.iter().filter(|entry| entry.stream == QUEUE) {
        match &entry.body {
            Body::Publish(Publish { count, attributes, .. }) => {
                for index in 0..*count {
                    let timing = attributes
                        .timing
                        .iter()
                        .find(|run| (run.first..run.first + run.count).contains(&index));
                    let due = timing.and_then(|run| run.due).unwrap_or(LogTime(i64::MIN));
                    let expires = timing.and_then(|run| run.expires).unwrap_or(LogTime(i64::MAX));
                    all.push(Message {
                        state: Naive::Ready(due),
                        expires,
                        last: Lease::default(),
                        failures: 0,
                    });
                }
            }
            Body::Grant(runs) => {
                for run in runs {
                    let lease = Lease { epoch: entry.epoch, attempt: run.attempt };
                    each(&mut all, &LeaseRange { first: run.first, count: run.count, lease }, |message| {
                        message.state = Naive::Leased(lease, run.deadline);
                        message.last = lease;
                    });
                }
            }
            Body::Renew(runs) => {
                for run in runs {
                    each(&mut all, &run.leases, |message| {
                        message.state = Naive::Leased(run.leases.lease, run.deadline);
                        message.last = run.leases.lease;
                    });
                }
            }
            Body::Accept(runs) => {
                for run in runs {
                    each(&mut all, run, |message| {
                        assert!(!matches!(message.state, Naive::Accepted | Naive::Gone | Naive::Moving(_)));
                        message.state = Naive::Accepted;
                    });
                }
            }
            Body::Release(runs) => {
                for run in runs {
                    each(&mut all, &run.leases, |message| {
                        message.state = Naive::Ready(run.ready_at);
                        message.last = run.leases.lease;
                        message.failures += u32::from(run.cause.is_failure());
                    });
                }
            }
            Body::Discard(discard) => {
                for run in &discard.runs {
                    for index in run.first.0..run.first.0 + run.count {
                        let message = &mut all[index as usize];
                        assert!(run.lease.is_some() || matches!(message.state, Naive::Ready(_)));
                        assert!(discard.cause != DiscardCause::Expired || message.expires <= entry.log_time);
                        message.state = Naive::Gone;
                    }
                }
            }
            Body::Move(moved) => {
                let message = &mut all[moved.offset.0 as usize];
                assert!(moved.cause != MoveCause::Expired || message.expires <= entry.log_time);
                message.last = moved.lease.unwrap_or(message.last);
                message.state = Naive::Moving(moved.seq);
            }
            Body::Moved(seq) => {
                let message = all.iter_mut().find(|message| message.state == Naive::Moving(*seq));
                message.expect("a move ends once").state = Naive::Gone;
            }
            _ => {}
        }
    }
    all
}

#[derive(Clone, Debug)]
enum Step {
    Publish { count: u32, delay: Option<u64>, ttl: Option<u64> },
    Attach { consumer: u64, credit: u32, once: bool },
    Credit { consumer: u64, add: u32 },
    Stop(u64),
    Detach { consumer: u64, lost: bool },
    Settle { verdict: Verdict, from: usize, count: usize },
    Forge { offset: u64, attempt: u32 },
    Tick,
    Pass(u64),
    Commit { share: usize },
    Lazy,
    Crash,
    Purge,
    Target(bool),
    Settings { dead_letter: bool, max_deliveries: u32 },
    Forward,
    Look { lost: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let millis = || prop::option::weighted(0.2, prop_oneof![Just(1u64), 1..3_000u64, Just(u64::MAX)]);
    let delay = || prop::option::weighted(0.2, 0..4_000u64);
    let verdict = prop_oneof![
        4 => Just(Verdict::Accept),
        3 => delay().prop_map(|delay_millis| Verdict::Release { delay_millis }),
        1 => Just(Verdict::Return),
        1 => Just(Verdict::Reject),
        1 => (0..5_000u64).prop_map(|millis| Verdict::Renew { millis }),
    ];
    let step = prop_oneof![
        4 => (1..6u32, delay(), millis()).prop_map(|(count, delay, ttl)| Step::Publish { count, delay, ttl }),
        2 => (0..4u64, 0..8u32, any::<bool>())
            .prop_map(|(consumer, credit, once)| Step::Attach { consumer, credit, once }),
        2 => (0..4u64, 1..8u32).prop_map(|(consumer, add)| Step::Credit { consumer, add }),
        1 => (0..4u64).prop_map(Step::Stop),
        1 => (0..4u64, any::<bool>()).prop_map(|(consumer, lost)| Step::Detach { consumer, lost }),
        6 => (verdict, 0..40usize, 1..6usize)
            .prop_map(|(verdict, from, count)| Step::Settle { verdict, from, count }),
        1 => (0..30u64, 0..4u32).prop_map(|(offset, attempt)| Step::Forge { offset, attempt }),
        8 => Just(Step::Tick),
        4 => prop_oneof![0..500u64, 500..3_000u64, Just(40_000u64), Just(400_000u64)].prop_map(Step::Pass),
        5 => (0..5usize).prop_map(|share| Step::Commit { share }),
        2 => Just(Step::Lazy),
        1 => Just(Step::Crash),
        1 => Just(Step::Purge),
        1 => any::<bool>().prop_map(Step::Target),
        1 => (any::<bool>(), 0..4u32)
            .prop_map(|(dead_letter, max_deliveries)| Step::Settings { dead_letter, max_deliveries }),
        2 => Just(Step::Forward),
        3 => any::<bool>().prop_map(|lost| Step::Look { lost }),
    ];
    prop::collection::vec(step, 1..120)
}

fn settings(dead_letter: bool, max_deliveries: u32) -> QueueSettings {
    QueueSettings {
        dead_letter: dead_letter.then(|| Name::new("dead").expect("valid")),
        max_deliveries,
        backoff: Backoff::Schedule(vec![0, 300, 2_000]),
        in_flight_per_consumer_max: 6,
        ..QueueSettings::default()
    }
}

struct Run {
    shard: Shard,
    watcher: Watcher,
    /// Every grant that was ever sent, in order.
    sent: Vec<Held>,
    /// Consumers of this leader: their credit.
    credits: BTreeMap<u64, u32>,
    /// Who takes no more.
    stopped: BTreeSet<u64>,
    /// The number of each consumer's last attachment.
    attached: BTreeMap<u64, u64>,
    attachments: u64,
    /// What the dead-letter queue got, by source offset.
    dead: BTreeSet<u64>,
    /// Accepts that were answered with Done and are committed.
    accepted: BTreeSet<u64>,
    /// Accepts that wait for their commit: position and offset.
    pending: Vec<(usize, u64)>,
}

impl Run {
    fn new(dead_letter: bool, max_deliveries: u32) -> Self {
        let shard = Shard::with_queue(settings(dead_letter, max_deliveries));
        Self {
            shard,
            watcher: Watcher::default(),
            sent: Vec::new(),
            credits: BTreeMap::new(),
            stopped: BTreeSet::new(),
            attached: BTreeMap::new(),
            attachments: 0,
            dead: BTreeSet::new(),
            accepted: BTreeSet::new(),
            pending: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { count, delay, ttl } => {
                let reply = self.shard.publish_with(QUEUE, *count, *delay, *ttl);
                assert!(matches!(reply, Reply::Published { repeat: false, .. }), "{reply:?}");
            }
            Step::Attach { consumer, credit, once } => self.attach(*consumer, *credit, *once),
            Step::Credit { consumer, add } => {
                let consumer = &self.id(*consumer);
                let consumer_id = ConsumerId(*consumer);
                let reply =
                    self.shard.request(Request::Credit { stream: QUEUE, consumer: consumer_id, add: *add });
                if let Some(credit) = self.credits.get_mut(consumer) {
                    // What a stopped one asks for counts no more.
                    *credit += if self.stopped.contains(consumer) { 0 } else { *add };
                    assert_eq!(reply, Reply::Done);
                } else {
                    assert!(matches!(reply, Reply::Refused(Refusal::NotFound { kind: "consumer", .. })));
                }
            }
            Step::Stop(consumer) => {
                let consumer = self.id(*consumer);
                let stop = Request::Stop { stream: QUEUE, consumer: ConsumerId(consumer) };
                assert_eq!(self.shard.request(stop), Reply::Done);
                if let Some(credit) = self.credits.get_mut(&consumer) {
                    *credit = 0;
                    self.stopped.insert(consumer);
                }
            }
            Step::Detach { consumer, lost } => {
                let consumer = &self.id(*consumer);
                let consumer_id = ConsumerId(*consumer);
                let detach = Request::Detach { stream: QUEUE, consumer: consumer_id, lost: *lost };
                assert_eq!(self.shard.request(detach), Reply::Done);
                self.credits.remove(consumer);
            }
            Step::Settle { verdict, from, count } => self.settle(*verdict, *from, *count),
            Step::Forge { offset, attempt } => self.forge(*offset, *attempt),
            Step::Tick => self.tick(),
            Step::Pass(millis) => self.shard.pass(*millis),
            Step::Commit { share } => {
                let open = self.shard.log.len() - self.shard.committed_count;
                self.commit(self.shard.committed_count + open * share / 4);
            }
            Step::Lazy => {
                let drafts = self.shard.leading.lazy();
                self.shard.append_all(drafts);
            }
            Step::Crash => {
                self.shard.crash();
                self.pending.clear();
                self.credits.clear();
            }
            Step::Purge => {
                let ready = naive(&self.shard.log);
                let reply = self.shard.request(Request::Purge { stream: QUEUE });
                let Reply::Purged { messages } = reply else { panic!("{reply:?}") };
                assert!(messages <= ready.len() as u64);
                let stats = self.shard.stats();
                assert_eq!(stats.ready + stats.scheduled + stats.held, 0);
            }
            Step::Target(known) => self.shard.set_target(*known),
            Step::Settings { dead_letter, max_deliveries } => {
                let settings = StreamSettings::Queue(settings(*dead_letter, *max_deliveries));
                assert_eq!(self.shard.request(Request::Settings { stream: QUEUE, settings }), Reply::Done);
            }
            Step::Forward => self.forward(),
            Step::Look { lost: true } => self.watcher.look_in_vain(&mut self.shard),
            Step::Look { lost: false } => {
                self.watcher.look(&mut self.shard);
            }
        }
        self.check_counts();
    }

    /// The number under which this consumer is attached; each attachment has its own.
    fn id(&self, consumer: u64) -> u64 {
        self.attached.get(&consumer).copied().unwrap_or(u64::MAX)
    }

    fn attach(&mut self, consumer: u64, credit: u32, once: bool) {
        let known = self.attached.get(&consumer).is_some_and(|id| self.credits.contains_key(id));
        if !known {
            self.attachments += 1;
            self.attached.insert(consumer, self.attachments);
        }
        let consumer = self.id(consumer);
        let id = ConsumerId(consumer);
        let attach = Request::Attach { stream: QUEUE, consumer: id, credit, lease_millis: Some(2_000), once };
        let reply = self.shard.request(attach);
        if known {
            assert!(matches!(reply, Reply::Refused(Refusal::Conflict { .. })));
        } else {
            assert_eq!(reply, Reply::Done);
            self.credits.insert(consumer, credit);
        }
    }

    fn commit(&mut self, count: usize) {
        self.shard.commit_up_to(count);
        let done = self.shard.committed_count;
        let accepted =
            self.pending.iter().filter(|(position, _)| *position < done).map(|(_, offset)| *offset);
        self.accepted.extend(accepted);
        self.pending.retain(|(position, _)| *position >= done);
    }

    /// The current lease of each message that this leader gave or knows, from the log and what was sent.
    fn current_lease(&self, offset: u64) -> Option<Lease> {
        let logged = naive(&self.shard.log)[offset as usize];
        let sent = self
            .sent
            .iter()
            .rev()
            .find(|held| held.offset.0 == offset && held.lease.epoch == self.shard.epoch);
        match (logged.state, sent) {
            (Naive::Leased(lease, _), _) => Some(lease),
            (Naive::Ready(_), Some(held)) if held.lease > logged.last => Some(held.lease),
            _ => None,
        }
    }

    fn settle(&mut self, verdict: Verdict, from: usize, count: usize) {
        if self.sent.is_empty() {
            return;
        }
        let from = self.sent.len().saturating_sub(1 + from);
        let tokens: Vec<_> =
            self.sent.iter().skip(from).take(count).map(|held| (held.offset.0, held.lease)).collect();
        let before: Vec<_> = tokens.iter().map(|&(offset, _)| self.current_lease(offset)).collect();
        let results = self.shard.settle(&tokens, verdict);
        let mut seen = BTreeSet::new();
        for (index, ((offset, lease), result)) in tokens.iter().zip(results).enumerate() {
            let first = seen.insert((*offset, *lease));
            match (before[index], result) {
                (Some(current), Ok(Settled::Done)) if first => {
                    assert_eq!(current, *lease, "an overtaken token settled");
                }
                (Some(_), Ok(Settled::Done)) => assert!(matches!(verdict, Verdict::Renew { .. })),
                (Some(current), Ok(Settled::AlreadySettled)) => assert!(!first || current != *lease),
                (Some(current), Err(refusal)) => {
                    assert!(!first || current != *lease, "the current lease was refused: {refusal:?}");
                }
                // Nobody holds it: only an earlier leader's unlogged grant may settle.
                (None, Ok(Settled::Done)) => assert!(lease.epoch < self.shard.epoch, "a dead token settled"),
                (None, _) => {}
            }
            if result_is_done(verdict, &tokens, index, before[index]) {
                self.pending.push((self.shard.log.len() - 1, *offset));
            }
        }
    }

    fn forge(&mut self, offset: u64, attempt: u32) {
        let lease = Lease { epoch: self.shard.epoch.next(), attempt: Attempt(attempt) };
        let results = self.shard.settle(&[(offset, lease)], Verdict::Accept);
        assert_eq!(results, vec![Err(Refusal::LeaseLost { offset: Offset(offset) })]);
    }

    fn tick(&mut self) {
        let committed = naive(&self.shard.log[..self.shard.committed_count]);
        for _ in 0..100 {
            let drafts = self.shard.leading.on_time(&self.shard.committed, self.shard.now);
            if self.shard.append_all(drafts) == 0 {
                break;
            }
        }
        let appended = naive(&self.shard.log);
        let now = self.shard.now;
        for dispatch in self.shard.dispatch() {
            let consumer = dispatch.consumer.0;
            for held in self.shard.held(&dispatch) {
                let offset = held.offset.0;
                assert!(!self.accepted.contains(&offset), "granted after its accept was committed");
                let known = committed[offset as usize];
                assert!(matches!(known.state, Naive::Ready(due) if due <= now || due == LogTime(i64::MAX)));
                let here = appended[offset as usize];
                assert!(matches!(here.state, Naive::Ready(_)), "granted while {:?}", here.state);
                assert_eq!(here.last, known.last, "granted before the end of its lease was committed");
                assert!(here.expires > now, "granted after it expired");
                assert_eq!(held.lease.attempt.0, here.last.attempt.0 + 1);
                let earlier = self.sent.iter().filter(|sent| sent.offset == held.offset);
                assert!(earlier.into_iter().all(|sent| sent.lease < held.lease), "tokens only grow");
                let credit = self.credits.get_mut(&consumer).expect("only attached consumers get messages");
                *credit = credit.checked_sub(1).expect("a consumer got more than its credit");
                self.sent.push(held);
            }
            if dispatch.done {
                self.credits.remove(&consumer);
            }
            let holds = self.sent.iter().filter(|held| {
                held.consumer.0 == consumer && self.credits.contains_key(&consumer) && self.is_current(held)
            });
            let distinct: BTreeSet<_> = holds.map(|held| held.offset).collect();
            assert!(distinct.len() <= 6, "a consumer holds more than the queue allows");
        }
    }

    fn is_current(&self, held: &Held) -> bool {
        self.current_lease(held.offset.0) == Some(held.lease)
    }

    /// The forwarder: each committed move is published to the dead-letter queue, sometimes twice, and ended.
    fn forward(&mut self) {
        for (source, moved) in self.shard.moves() {
            let publish = |moved_seq| Request::Publish {
                stream: moved.target,
                count: 1,
                batch: Bytes::from_static(b"dead"),
                producer: None,
                delay_millis: None,
                ttl_millis: None,
                moved: Some(MovedFrom { source, seq: moved_seq }),
            };
            let before = self.dead_count();
            let first = self.shard.request(publish(moved.seq));
            let again = self.shard.request(publish(moved.seq));
            assert!(matches!(again, Reply::Published { repeat: true, .. }), "{again:?}");
            if matches!(first, Reply::Published { repeat: false, .. }) {
                assert_eq!(self.dead_count(), before + 1);
                self.dead.insert(moved.offset.0);
            }
            self.commit(usize::MAX);
            for _ in 0..2 {
                let done = self.shard.request(Request::Moved { stream: source, seq: moved.seq });
                assert_eq!(done, Reply::Done);
            }
        }
    }

    fn dead_count(&self) -> u64 {
        self.shard.leading.state().stream(DEAD).map_or(0, |dead| dead.end().0)
    }

    /// The committed fold counts what the naive list counts.
    fn check_counts(&self) {
        let now = self.shard.now;
        let list = naive(&self.shard.log[..self.shard.committed_count]);
        let stream = self.shard.committed.stream(QUEUE).expect("open");
        let stats = stream.stats(now);
        let count =
            |test: &dyn Fn(Naive) -> bool| list.iter().filter(|message| test(message.state)).count() as u64;
        let held = LogTime(i64::MAX);
        assert_eq!(stats.ready, count(&|state| matches!(state, Naive::Ready(due) if due <= now)));
        assert_eq!(
            stats.scheduled,
            count(&|state| matches!(state, Naive::Ready(due) if due > now && due < held))
        );
        assert_eq!(stats.held, count(&|state| state == Naive::Ready(held)));
        assert_eq!(stats.unacked, count(&|state| matches!(state, Naive::Leased(..))));
        assert_eq!(stats.moving, count(&|state| matches!(state, Naive::Moving(_))));
        assert_eq!(stream.counters().accepted, count(&|state| state == Naive::Accepted));
        let first = list.iter().position(|message| !matches!(message.state, Naive::Accepted | Naive::Gone));
        assert_eq!(stream.needed_from(), Offset(first.unwrap_or(list.len()) as u64));
    }

    /// Everything heals: the backlog drains and every message is accounted for once.
    fn drain(&mut self) {
        self.shard.set_target(true);
        self.step(&Step::Detach { consumer: 0, lost: false });
        self.attach(0, 60_000, false);
        for _ in 0..400 {
            self.tick();
            self.commit(usize::MAX);
            self.forward();
            self.commit(usize::MAX);
            self.tick();
            // Nothing is left to do at this time, so the leader must not ask to be woken for it.
            assert!(self.shard.leading.next_wake().is_none_or(|wake| wake > self.shard.now), "a busy loop");
            let mine: Vec<_> = self.sent.iter().filter(|held| self.is_current(held)).copied().collect();
            let items: Vec<_> = mine.iter().map(|held| (held.offset.0, held.lease)).collect();
            self.shard.settle(&items, Verdict::Accept);
            self.commit(usize::MAX);
            if self.shard.stats().backlog() == 0 {
                break;
            }
            // Go where the leader wants to be woken, or on if it waits for nobody.
            let wake = self.shard.leading.next_wake().unwrap_or(self.shard.now);
            self.shard.now = wake.max(self.shard.now);
        }
        self.shard.settle_down();
        let stream = self.shard.stream();
        assert_eq!(stream.stats(self.shard.now).backlog(), 0, "stuck: {:?}", stream.stats(self.shard.now));
        let counters = stream.counters();
        let causes = [MoveCause::Rejected, MoveCause::MaxDeliveries, MoveCause::Expired];
        let dead: u64 = causes.into_iter().map(|cause| counters.dead_lettered(cause)).sum();
        let causes = [DiscardCause::Rejected, DiscardCause::Expired, DiscardCause::Purged];
        let discarded: u64 = causes.into_iter().map(|cause| counters.discarded(cause)).sum();
        assert_eq!(counters.published, counters.accepted + dead + discarded);
        assert_eq!(self.dead_count(), dead, "each moved message is in the dead-letter queue once");
        assert_eq!(self.dead.len() as u64, dead);
    }
}

/// Whether the item's accept took effect now: it was current, and no earlier item of the request named it.
fn result_is_done(verdict: Verdict, tokens: &[(u64, Lease)], index: usize, before: Option<Lease>) -> bool {
    let (offset, lease) = tokens[index];
    verdict == Verdict::Accept && before == Some(lease) && !tokens[..index].contains(&(offset, lease))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_keeps_its_promises(steps in steps(), dead_letter: bool, max_deliveries in 0u32..4) {
        let mut run = Run::new(dead_letter, max_deliveries);
        for step in &steps {
            run.step(step);
        }
        run.shard.settle_down();
        run.drain();
    }

    #[test]
    fn a_checkpoint_and_later_entries_give_the_same_state(steps in steps(), cut in 0usize..100) {
        let mut run = Run::new(true, 2);
        run.shard.set_target(true);
        for step in &steps {
            run.step(step);
        }
        run.shard.settle_down();
        let cut = run.shard.log.len() * cut / 100;
        let mut early = pondage_delivery::ShardState::default();
        run.shard.log[..cut].iter().for_each(|entry| early.apply(entry).expect("consistent"));
        let mut restored = pondage_delivery::ShardState::restore(early.checkpoint()).expect("written here");
        run.shard.log[cut..].iter().for_each(|entry| restored.apply(entry).expect("consistent"));
        assert_eq!(restored, run.shard.committed);
    }
}
