//! A naive system that keeps its promises: requests take effect at any moment between being sent and being answered,
//! or after their sender gave up, or never. All choices come from outside.

use std::collections::BTreeMap;

use pondage_history::{
    Answer, Client, DeadLetters, Event, Grant, GroupId, KeyId, MessageId, Observation, Op, Publish, Queue,
    Request, Stamp, Term, Verdict, What,
};
use pondage_model::{Attempt, Epoch, GroupEpoch, Lease, LogTime, Offset, ProducerId, StreamId};

const LOG: StreamId = StreamId(7);
const WORK: StreamId = StreamId(8);
const DEAD: StreamId = StreamId(9);
const ATTEMPTS_MAX: u32 = 3;
const LEASE_MILLIS: u64 = 400;
const GROUP: GroupId = GroupId(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ready { from_micros: u64 },
    Leased { lease: Lease, until_micros: u64, client: Client },
    Gone,
}

#[derive(Debug)]
struct Item {
    message: MessageId,
    origin: Option<(StreamId, Offset)>,
    state: State,
    attempt: u32,
    failures: u32,
    won: Vec<(Lease, Verdict)>,
}

/// A request under way; `effect` is its answer once it took effect.
#[derive(Debug)]
struct Pending {
    op: Op,
    client: Client,
    request: Request,
    effect: Option<Answer>,
    is_given_up: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    choices: Vec<u32>,
    micros: u64,
    events: Vec<Event>,
    ops: u64,
    messages: u64,
    pending: Vec<Pending>,
    log: Vec<MessageId>,
    queues: BTreeMap<StreamId, Vec<Item>>,
    /// Where each stamp is stored.
    sessions: BTreeMap<(StreamId, Stamp), Offset>,
    /// By publisher: what it sends until it is confirmed, and its number there.
    sending: [Option<Publish>; 2],
    sequences: [u64; 2],
    leader: u64,
    /// Whether the recorder sits where grants are decided, or where they arrive.
    is_exact: bool,
    arriving: Vec<(Client, Grant)>,
    given: Vec<(Client, Grant)>,
    lives: u32,
    readers: [usize; 2],
    cursor: (GroupEpoch, Offset),
    owned: GroupEpoch,
    /// The last moment at which something could have been granted.
    busy_micros: u64,
}

impl World {
    /// What clients see until the choices are used up and everything came to rest.
    pub(crate) fn run(choices: &[u32]) -> Vec<Event> {
        let mut world = Self {
            choices: choices.iter().rev().copied().collect(),
            micros: 0,
            events: Vec::new(),
            ops: 0,
            messages: 0,
            pending: Vec::new(),
            log: Vec::new(),
            queues: [(WORK, Vec::new()), (DEAD, Vec::new())].into(),
            sessions: BTreeMap::new(),
            sending: [None; 2],
            sequences: [0; 2],
            leader: 1,
            is_exact: false,
            arriving: Vec::new(),
            given: Vec::new(),
            lives: 0,
            readers: [0; 2],
            cursor: (GroupEpoch(0), Offset::ZERO),
            owned: GroupEpoch(0),
            busy_micros: 0,
        };
        world.is_exact = world.choose(2) == 0;
        let dead = Some(DeadLetters { stream: DEAD, attempts_max: ATTEMPTS_MAX });
        let plain = Queue { stream: DEAD, dead: None, again_micros: Some(100_000), expires: false };
        world.see(Client(0), Observation::Log { stream: LOG });
        world.see(Client(0), Observation::Queue(plain));
        world.see(Client(0), Observation::Queue(Queue { stream: WORK, dead, ..plain }));
        while !world.choices.is_empty() {
            world.step();
        }
        world.rest();
        world.events
    }

    fn choose(&mut self, below: usize) -> usize {
        self.choices.pop().unwrap_or(0) as usize % below.max(1)
    }

    fn say(&mut self, client: Client, what: What) {
        self.events.push(Event { at_micros: self.micros, client, what });
    }

    fn see(&mut self, client: Client, observation: Observation) {
        self.say(client, What::Observed(observation));
    }

    fn ask(&mut self, client: Client, request: Request) {
        self.ops += 1;
        let op = Op(self.ops);
        self.say(client, What::Invoke { op, request });
        self.pending.push(Pending { op, client, request, effect: None, is_given_up: false });
    }

    fn step(&mut self) {
        self.micros += self.choose(20_000) as u64;
        let now = self.micros;
        let is_over = |state| matches!(state, State::Leased { until_micros, .. } if until_micros <= now);
        if self.queues[&WORK].iter().any(|item| item.is_free(now) || is_over(item.state)) {
            self.busy_micros = now;
        }
        match self.choose(16) {
            0 | 1 => self.publish(),
            2..=4 => self.take_effect(),
            5 | 6 => self.answer(),
            7 => self.fail(),
            8 | 9 => self.grant(),
            10 => self.arrive(),
            11 | 12 => self.settle(),
            13 => self.read(),
            14 => self.move_cursor(),
            _ => self.disturb(),
        }
    }

    fn publish(&mut self) {
        let publisher = self.choose(3);
        let stream = if self.choose(2) == 0 { LOG } else { WORK };
        let delay_micros = if stream == WORK { self.choose(3) as u64 * 100_000 } else { 0 };
        let key = Some(KeyId(self.choose(2) as u64));
        let fresh = MessageId(0xa00 + self.messages);
        let plain = Publish { stream, message: fresh, key, stamp: None, delay_micros, expires: false };
        let publish = match self.sending.get(publisher).copied() {
            None => plain,
            Some(Some(again)) => again,
            Some(None) => {
                let producer = ProducerId(publisher as u64);
                let stamp = Stamp { producer, epoch: 0, sequence: self.sequences[publisher] };
                self.sequences[publisher] += 1;
                let publish = Publish { stamp: Some(stamp), ..plain };
                self.sending[publisher] = Some(publish);
                publish
            }
        };
        self.messages += u64::from(publish.message == fresh);
        self.ask(Client(1 + publisher as u32), Request::Publish(publish));
    }

    fn take_effect(&mut self) {
        let index = self.choose(self.pending.len());
        let Some(pending) = self.pending.get(index).filter(|pending| pending.effect.is_none()) else {
            return;
        };
        let (client, request) = (pending.client, pending.request);
        let effect = self.perform(client, request);
        self.pending[index].effect = Some(effect);
        if self.pending[index].is_given_up {
            self.pending.remove(index);
        }
    }

    fn perform(&mut self, client: Client, request: Request) -> Answer {
        match request {
            Request::Publish(publish) => Answer::Stored { offset: self.store(&publish) },
            Request::Settle { stream, offset, lease, verdict } => {
                let answer = self.judge(stream, offset, lease, verdict);
                self.bury();
                answer
            }
            Request::Leave { stream } => {
                let now = self.micros;
                for item in self.queues.get_mut(&stream).expect("a queue") {
                    if matches!(item.state, State::Leased { client: holder, .. } if holder == client) {
                        item.fail(now);
                    }
                }
                self.bury();
                Answer::Done
            }
            Request::Purge { stream } => {
                for item in self.queues.get_mut(&stream).expect("a queue") {
                    if matches!(item.state, State::Ready { .. }) {
                        item.state = State::Gone;
                    }
                }
                Answer::Done
            }
            Request::Claim { .. } => self.begin_term(self.cursor.1),
            Request::Seek { offset, .. } => self.begin_term(offset),
            Request::Commit { epoch, .. } if epoch != self.cursor.0 => Answer::Refused,
            Request::Commit { offset, .. } => {
                self.cursor.1 = self.cursor.1.max(offset);
                Answer::Done
            }
            Request::Fetch { .. } => Answer::Cursor { epoch: self.cursor.0, offset: self.cursor.1 },
            Request::Delete { .. } => Answer::Refused,
        }
    }

    fn begin_term(&mut self, offset: Offset) -> Answer {
        self.cursor = (self.cursor.0.next(), offset);
        Answer::Cursor { epoch: self.cursor.0, offset }
    }

    fn store(&mut self, publish: &Publish) -> Offset {
        if let Some(stamp) = publish.stamp
            && let Some(offset) = self.sessions.get(&(publish.stream, stamp))
        {
            return *offset;
        }
        let from_micros = self.micros + publish.delay_micros;
        let offset = if publish.stream == LOG {
            self.log.push(publish.message);
            self.log.len() - 1
        } else {
            let items = self.queues.get_mut(&publish.stream).expect("a queue");
            items.push(Item::new(publish.message, None, from_micros));
            items.len() - 1
        };
        let offset = Offset(offset as u64);
        if let Some(stamp) = publish.stamp {
            self.sessions.insert((publish.stream, stamp), offset);
        }
        offset
    }

    fn judge(&mut self, stream: StreamId, offset: Offset, lease: Lease, verdict: Verdict) -> Answer {
        let now = self.micros;
        let item = &mut self.queues.get_mut(&stream).expect("a queue")[offset.get() as usize];
        if item.won.contains(&(lease, verdict)) {
            return Answer::Settled { already: true, until: None };
        }
        let State::Leased { lease: current, until_micros, client } = item.state else {
            return Answer::LeaseLost;
        };
        if current != lease || until_micros <= now {
            return Answer::LeaseLost;
        }
        let mut until = None;
        match verdict {
            Verdict::Accept => item.state = State::Gone,
            // The one that stands behind the dead letters.
            Verdict::Reject => item.failures = ATTEMPTS_MAX,
            Verdict::Return => item.state = State::Ready { from_micros: now },
            Verdict::Release { delay_micros } => item.fail(now + delay_micros),
            Verdict::Renew { lasts_micros } => {
                let until_micros = now + lasts_micros;
                item.state = State::Leased { lease, until_micros, client };
                until = Some(LogTime((until_micros / 1_000) as i64));
                return Answer::Settled { already: false, until };
            }
        }
        item.won.push((lease, verdict));
        Answer::Settled { already: false, until }
    }

    /// What failed too often goes to the dead letters.
    fn bury(&mut self) {
        let now = self.micros;
        let mut moved = Vec::new();
        for (offset, item) in (0..).zip(self.queues.get_mut(&WORK).expect("a queue")) {
            if item.failures >= ATTEMPTS_MAX && item.state != State::Gone {
                item.state = State::Gone;
                moved.push(Item::new(item.message, Some((WORK, Offset(offset))), now));
                moved.last_mut().expect("just pushed").attempt = 0;
            }
        }
        self.queues.get_mut(&DEAD).expect("a queue").append(&mut moved);
    }

    fn answer(&mut self) {
        let index = self.choose(self.pending.len());
        if let Some(Pending { effect: Some(answer), .. }) = self.pending.get(index) {
            let answer = *answer;
            let Pending { op, client, request, .. } = self.pending.remove(index);
            self.say(client, What::Return { op, answer });
            match (request, answer) {
                (Request::Publish(publish), _) => {
                    for sending in &mut self.sending {
                        *sending = sending.filter(|sending| sending.message != publish.message);
                    }
                }
                (_, Answer::Cursor { epoch, .. }) => self.owned = epoch,
                _ => {}
            }
        }
    }

    /// A request is refused before it takes effect, or its answer is lost.
    fn fail(&mut self) {
        let index = self.choose(self.pending.len());
        let is_lost = self.choose(2) == 0;
        let Some(pending) = self.pending.get_mut(index).filter(|pending| !pending.is_given_up) else {
            return;
        };
        let (op, client, has_effect) = (pending.op, pending.client, pending.effect.is_some());
        if is_lost || has_effect {
            pending.is_given_up = true;
            if has_effect {
                self.pending.remove(index);
            }
            self.say(client, What::Return { op, answer: Answer::Unknown });
        } else {
            self.pending.remove(index);
            self.say(client, What::Return { op, answer: Answer::Refused });
        }
    }

    fn grant(&mut self) {
        let stream = if self.choose(3) == 0 { DEAD } else { WORK };
        let (now, leader, first) = (self.micros, self.leader, self.choose(4));
        let client = Client(100 + self.lives + self.choose(2) as u32);
        // A lease whose deadline has passed is a failed attempt.
        for item in self.queues.get_mut(&stream).expect("a queue") {
            if matches!(item.state, State::Leased { until_micros, .. } if until_micros <= now) {
                item.fail(now);
            }
        }
        if stream == WORK {
            self.bury();
        }
        let items = self.queues.get_mut(&stream).expect("a queue");
        let mut free: Vec<(usize, &mut Item)> =
            items.iter_mut().enumerate().filter(|(_, item)| item.is_free(now)).collect();
        if free.is_empty() {
            return;
        }
        let index = first % free.len();
        let (offset, item) = &mut free[index];
        item.attempt += 1;
        let lease = Lease { epoch: Epoch(leader), attempt: Attempt(item.attempt) };
        let until_micros = now + LEASE_MILLIS * 1_000;
        item.state = State::Leased { lease, until_micros, client };
        let millis = |micros: u64| LogTime((micros / 1_000) as i64);
        let term = Term { decided: millis(now), deadline: millis(until_micros) };
        let grant = Grant {
            stream,
            offset: Offset(*offset as u64),
            message: item.message,
            lease,
            term: self.is_exact.then_some(term),
            lasts_micros: Some(LEASE_MILLIS * 1_000),
        };
        let letter = item.origin.map(|source| (source, grant));
        if let Some((source, Grant { stream, offset, message, .. })) = letter {
            self.see(
                client,
                Observation::DeadLetter { stream, offset, message, source, failures: ATTEMPTS_MAX },
            );
        }
        if self.is_exact {
            self.see(client, Observation::Grant(grant));
            self.given.push((client, grant));
        } else {
            self.arriving.push((client, grant));
        }
    }

    fn arrive(&mut self) {
        let index = self.choose(self.arriving.len());
        if index < self.arriving.len() {
            let (client, grant) = self.arriving.remove(index);
            self.see(client, Observation::Grant(grant));
            self.given.push((client, grant));
        }
    }

    fn settle(&mut self) {
        let index = self.choose(self.given.len());
        let Some((client, Grant { stream, offset, lease, .. })) = self.given.get(index).copied() else {
            return;
        };
        let verdict = match self.choose(8) {
            0 => Verdict::Reject,
            1 => Verdict::Return,
            2 => Verdict::Release { delay_micros: 0 },
            3 => Verdict::Release { delay_micros: 200_000 },
            4 => Verdict::Renew { lasts_micros: LEASE_MILLIS * 2_000 },
            _ => Verdict::Accept,
        };
        // Dead letters are only accepted or renewed, else they would stay for ever.
        let verdict = if stream == DEAD { Verdict::Accept } else { verdict };
        if self.choose(2) == 0 {
            self.given.remove(index);
        }
        self.ask(client, Request::Settle { stream, offset, lease, verdict });
    }

    fn read(&mut self) {
        let reader = self.choose(2);
        let client = Client(10 + reader as u32);
        if self.choose(10) == 0 {
            self.readers[reader] = self.choose(self.log.len() + 1);
            let offset = Offset(self.readers[reader] as u64);
            self.see(client, Observation::From { stream: LOG, offset });
        }
        if let Some(message) = self.log.get(self.readers[reader]).copied() {
            let offset = Offset(self.readers[reader] as u64);
            self.see(client, Observation::Read { stream: LOG, offset, message });
            self.readers[reader] += 1;
        }
    }

    fn move_cursor(&mut self) {
        let client = Client(20 + self.choose(2) as u32);
        let offset = Offset(self.choose(30) as u64);
        let (stream, group, epoch) = (LOG, GROUP, self.owned);
        let request = match self.choose(6) {
            0 => Request::Claim { stream, group },
            1 => Request::Seek { stream, group, offset },
            2 => Request::Fetch { stream, group },
            // Nobody commits who was not given a term.
            _ if epoch == GroupEpoch(0) => Request::Claim { stream, group },
            _ => Request::Commit { stream, group, epoch, offset },
        };
        self.ask(client, request);
    }

    fn disturb(&mut self) {
        match self.choose(6) {
            0 => {
                self.leader += 1;
                for stream in [WORK, DEAD] {
                    self.see(Client(0), Observation::LeaderLost { stream });
                }
                // Leases that are not logged are given again at once, with the number of the attempt.
                let now = self.micros;
                for index in 0..self.queues[&WORK].len() {
                    let is_logged = self.choose(2) == 0;
                    let item = &mut self.queues.get_mut(&WORK).expect("a queue")[index];
                    if matches!(item.state, State::Leased { .. }) && !is_logged {
                        item.state = State::Ready { from_micros: now };
                        item.attempt -= 1;
                    }
                }
            }
            1 => {
                let client = Client(100 + self.lives);
                self.lives += 2;
                self.ask(client, Request::Leave { stream: WORK });
            }
            2 if self.choose(4) == 0 => self.ask(Client(0), Request::Purge { stream: WORK }),
            // What is on its way to another consumer is nobody's delay here.
            _ if self.arriving.is_empty() => {
                let since_micros = self.busy_micros;
                self.see(Client(99), Observation::Idle { stream: WORK, since_micros });
            }
            _ => {}
        }
    }

    /// What can take effect does, what can be answered is, and everything is read and settled.
    fn rest(&mut self) {
        while !self.pending.is_empty() {
            self.choices.extend([0; 4]);
            let has_effect = self.pending[0].effect.is_some();
            if has_effect { self.answer() } else { self.take_effect() }
        }
        while !self.arriving.is_empty() {
            self.arrive();
        }
        for stream in [WORK, DEAD] {
            for round in 0.. {
                assert!(round < 100_000, "{stream:?} comes to rest");
                self.micros += 1_000_000;
                self.choices = if stream == DEAD { vec![0; 8] } else { vec![1; 8] };
                let before = self.events.len();
                self.grant();
                while !self.arriving.is_empty() {
                    self.choices.clear();
                    self.arrive();
                }
                if self.events.len() == before {
                    break;
                }
                let (client, Grant { stream, offset, lease, .. }) = self.given.pop().expect("just given");
                self.ask(client, Request::Settle { stream, offset, lease, verdict: Verdict::Accept });
                self.choices.clear();
                self.take_effect();
                self.answer();
            }
            self.see(Client(0), Observation::Drained { stream });
        }
        let client = Client(11);
        self.see(client, Observation::From { stream: LOG, offset: Offset::ZERO });
        for (offset, message) in (0..).zip(self.log.clone()) {
            self.see(client, Observation::Read { stream: LOG, offset: Offset(offset), message });
        }
        self.see(client, Observation::End { stream: LOG });
    }
}

impl Item {
    const fn new(message: MessageId, origin: Option<(StreamId, Offset)>, from_micros: u64) -> Self {
        let state = State::Ready { from_micros };
        Self { message, origin, state, attempt: 0, failures: 0, won: Vec::new() }
    }

    const fn fail(&mut self, from_micros: u64) {
        self.failures += 1;
        self.state = State::Ready { from_micros };
    }

    const fn is_free(&self, now: u64) -> bool {
        matches!(self.state, State::Ready { from_micros } if from_micros <= now)
    }
}
