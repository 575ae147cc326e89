//! The record of a run: every request and everything seen, in the order in which it happened.
//!
//! Clients write into one list under one lock, which gives the order; a thread of its own takes the list over from time to
//! time, has it judged, and keeps it as compressed text for the case that something is wrong.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use pondage_history::{Answer, Checker, Client, Event, Observation, Op, Queue, Report, Request, What};
use pondage_model::StreamId;
use serde::Serialize;

/// How often the list is taken over.
const TAKE_OVER: Duration = Duration::from_millis(50);
/// The recorder itself, where it is the one who sees.
const SELF: Client = Client(0);

/// Requests without an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// Publishes.
    pub publishes: usize,
    /// Settles.
    pub settles: usize,
}

/// An answer that a publisher or consumer waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Microseconds of the run.
    pub at_micros: u64,
    /// Of what.
    pub stream: StreamId,
    /// Of a publish; else of a settle.
    pub is_publish: bool,
}

#[derive(Debug, Default)]
struct Book {
    events: Vec<Event>,
    open: BTreeMap<Op, (StreamId, bool)>,
    next_op: u64,
    next_client: u32,
    /// In order of time.
    acks: Vec<Ack>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    book: Mutex<Book>,
    /// What no history can say, such as a message with wrong bytes.
    problems: Mutex<Vec<String>>,
    violations: AtomicU64,
    is_over: AtomicBool,
}

/// Takes down what clients do and see.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    judge: Mutex<Option<JoinHandle<(Report, History)>>>,
}

/// A history as text, compressed with zstd.
#[derive(Debug, Default)]
pub struct History(Vec<u8>);

impl History {
    /// Writes it.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, &self.0).with_context(|| path.display().to_string())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds these locks panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Begins a run.
    pub(super) fn start() -> Self {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            book: Mutex::new(Book { next_client: 1, ..Book::default() }),
            problems: Mutex::default(),
            violations: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let judging = shared.clone();
        let judge = thread::spawn(move || judging.judge());
        Self { shared, judge: Mutex::new(Some(judge)) }
    }

    /// Microseconds since the run began.
    #[must_use]
    pub fn now_micros(&self) -> u64 {
        self.shared.now_micros()
    }

    /// Requests that have no answer at this moment, with what they are about.
    #[must_use]
    pub fn open(&self) -> BTreeMap<Op, bool> {
        lock(&self.shared.book).open.iter().map(|(op, (_, is_publish))| (*op, *is_publish)).collect()
    }

    /// How many of these requests still have no answer.
    #[must_use]
    pub fn still_open(&self, asked: &BTreeMap<Op, bool>) -> Unanswered {
        let book = lock(&self.shared.book);
        let mut unanswered = Unanswered::default();
        for (_, is_publish) in asked.iter().filter(|(op, _)| book.open.contains_key(op)) {
            unanswered.publishes += usize::from(*is_publish);
            unanswered.settles += usize::from(!*is_publish);
        }
        unanswered
    }

    /// The answers since a moment of the run, and the last one before for each stream.
    #[must_use]
    pub fn acks_since(&self, micros: u64) -> Vec<Ack> {
        let book = lock(&self.shared.book);
        let from = book.acks.partition_point(|ack| ack.at_micros < micros);
        let mut before = BTreeMap::new();
        for ack in book.acks[..from].iter().rev().take(20_000) {
            before.entry((ack.is_publish, ack.stream)).or_insert(*ack);
        }
        let mut acks: Vec<Ack> = before.into_values().collect();
        acks.sort_unstable_by_key(|ack| ack.at_micros);
        acks.extend_from_slice(&book.acks[from..]);
        acks
    }

    /// Publishes that were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        lock(&self.shared.book).acks.iter().filter(|ack| ack.is_publish).count()
    }

    /// Something is wrong that the history can't say.
    pub(super) fn problem(&self, problem: String) {
        lock(&self.shared.problems).push(problem);
    }

    /// What was reported so far.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        lock(&self.shared.problems).clone()
    }

    /// Broken promises so far.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.shared.violations.load(Relaxed)
    }

    /// A client that was not there before.
    pub(super) fn client(&self) -> Client {
        let mut book = lock(&self.shared.book);
        let client = Client(book.next_client);
        book.next_client += 1;
        client
    }

    /// A request is about to be sent.
    pub(super) fn asks(&self, client: Client, request: Request) -> Op {
        let mut book = lock(&self.shared.book);
        let op = Op(book.next_op);
        book.next_op += 1;
        match request {
            Request::Publish(publish) => book.open.insert(op, (publish.stream, true)),
            Request::Settle { stream, .. } => book.open.insert(op, (stream, false)),
            _ => None,
        };
        let at_micros = self.shared.now_micros();
        book.events.push(Event { at_micros, client, what: What::Invoke { op, request } });
        op
    }

    /// A request ended.
    pub(super) fn answered(&self, client: Client, op: Op, answer: Answer) {
        let mut book = lock(&self.shared.book);
        let at_micros = self.shared.now_micros();
        if let Some((stream, is_publish)) = book.open.remove(&op)
            && matches!(answer, Answer::Stored { .. } | Answer::Settled { .. })
        {
            book.acks.push(Ack { at_micros, stream, is_publish });
        }
        book.events.push(Event { at_micros, client, what: What::Return { op, answer } });
    }

    /// A client saw something.
    pub(super) fn saw(&self, client: Client, observation: Observation) {
        let mut book = lock(&self.shared.book);
        let at_micros = self.shared.now_micros();
        book.events.push(Event { at_micros, client, what: What::Observed(observation) });
    }

    pub(super) fn introduce_queue(&self, stream: StreamId) {
        let queue = Queue { stream, dead: None, again_micros: None, expires: false };
        self.saw(SELF, Observation::Queue(queue));
    }

    pub(super) fn introduce_log(&self, stream: StreamId) {
        self.saw(SELF, Observation::Log { stream });
    }

    pub(super) fn drained(&self, stream: StreamId) {
        self.saw(SELF, Observation::Drained { stream });
    }

    /// A clock of a leader jumped: log time may have leapt.
    pub fn clock_jumped(&self) {
        self.saw(SELF, Observation::Leap);
    }

    /// The run is over: the verdict on all of it, and the history.
    pub(super) fn finish(&self) -> (Report, History) {
        self.shared.is_over.store(true, Relaxed);
        let judge = lock(&self.judge).take();
        // It can end otherwise only by a panic, which then is this thread's too.
        judge.expect("a run ends once").join().expect("the judge does not panic")
    }
}

impl Shared {
    fn now_micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn judge(&self) -> (Report, History) {
        let mut checker = Checker::new();
        let mut text = zstd::stream::Encoder::new(Vec::new(), 1).ok();
        loop {
            let is_over = self.is_over.load(Relaxed);
            let events = std::mem::take(&mut lock(&self.book).events);
            for event in &events {
                checker.observe(event);
                if let Some(text) = &mut text {
                    // Into memory: it can't fail.
                    let _ = writeln!(text, "{event}");
                }
            }
            if checker.first().is_some() {
                self.violations.fetch_max(1, Relaxed);
            }
            if is_over {
                let text = text.and_then(|text| text.finish().ok()).unwrap_or_default();
                return (checker.finish(), History(text));
            }
            thread::sleep(TAKE_OVER);
        }
    }
}
