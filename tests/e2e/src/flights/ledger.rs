//! What the clients of a run have asked and been answered, while it runs.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use pondage_client::{Ack, ClientError};
use pondage_model::{Lease, Offset, Outcome};
use tokio::sync::Notify;

/// Problems that are kept in words; the rest is only counted.
const PROBLEMS_SHOWN: usize = 20;

/// A partition and an offset in it; queues have partition 0.
pub(crate) type Place = (u32, Offset);

/// One publish of one row.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Nanoseconds of the run when it was handed to the client; 0: not yet.
    sent: AtomicU64,
    /// When its acknowledgement came; 0: not yet.
    acked: AtomicU64,
    partition: AtomicU32,
    offset: AtomicU64,
}

impl Sent {
    /// Where it was stored, partition and offset, if it is acknowledged.
    pub(crate) fn place(&self) -> Option<Place> {
        let place = (self.partition.load(Relaxed), Offset(self.offset.load(Relaxed)));
        (self.acked.load(Relaxed) > 0).then_some(place)
    }

    fn is_unanswered(&self, asked_before: u64) -> bool {
        let sent = self.sent.load(Relaxed);
        sent > 0 && sent < asked_before && self.acked.load(Relaxed) == 0
    }
}

/// What is known of one row.
#[derive(Debug, Default)]
pub(crate) struct RowLedger {
    pub(crate) topic: Sent,
    pub(crate) queue: Sent,
    /// When the last settle was asked that has no answer yet; 0: none.
    settling: AtomicU64,
    /// An accept returned OK, or ended as unknown.
    is_settled: AtomicBool,
}

/// A message that a worker was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) row: usize,
    pub(crate) queue: usize,
    pub(crate) offset: Offset,
    pub(crate) lease: Lease,
    /// Nanoseconds of the run when it arrived.
    pub(crate) at: u64,
}

/// An accept that returned OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) row: usize,
    pub(crate) lease: Lease,
    /// Nanoseconds of the run when the OK came.
    pub(crate) at: u64,
    /// An earlier try had got through, and its answer was lost.
    pub(crate) already: bool,
}

/// The records of the workers.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) grants: Vec<Grant>,
    pub(crate) accepted: Vec<Accepted>,
    /// Rows whose accept ended as unknown.
    pub(crate) unknown: Vec<usize>,
    pub(crate) released: u64,
    /// Settles that came too late, the lease being over.
    pub(crate) lease_lost: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) topic_acked: u64,
    pub(crate) queue_acked: u64,
    /// Rows whose accept returned OK, or ended as unknown.
    pub(crate) settled: u64,
}

/// The books of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    started: Instant,
    pub(crate) rows: Vec<RowLedger>,
    records: Mutex<Records>,
    topic_acked: AtomicU64,
    queue_acked: AtomicU64,
    stored_before: AtomicU64,
    settled: AtomicU64,
    publishing: AtomicI64,
    settling: AtomicI64,
    released: AtomicU64,
    ack_times: Mutex<Vec<u64>>,
    problems: Mutex<(u64, Vec<String>)>,
    has_problem: AtomicBool,
    problem: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No code that holds these locks panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            started: Instant::now(),
            rows: std::iter::repeat_with(RowLedger::default).take(rows).collect(),
            records: Mutex::default(),
            topic_acked: AtomicU64::new(0),
            queue_acked: AtomicU64::new(0),
            stored_before: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            publishing: AtomicI64::new(0),
            settling: AtomicI64::new(0),
            released: AtomicU64::new(0),
            ack_times: Mutex::default(),
            problems: Mutex::default(),
            has_problem: AtomicBool::new(false),
            problem: Notify::new(),
        }
    }

    /// Nanoseconds since the run began, from 1.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            topic_acked: self.topic_acked.load(Relaxed),
            queue_acked: self.queue_acked.load(Relaxed),
            settled: self.settled.load(Relaxed),
        }
    }

    /// The row is handed to the publishers.
    pub(crate) fn sending(&self, sent: &Sent) {
        sent.sent.store(self.now(), Relaxed);
        self.publishing.fetch_add(1, Relaxed);
    }

    /// A publish of the row to the topic ended.
    pub(crate) fn topic_answered(&self, row: usize, answer: Result<Ack, ClientError>) {
        self.published(&self.rows[row].topic, &self.topic_acked, row, answer);
    }

    /// A publish of the row to its queue ended.
    pub(crate) fn queue_answered(&self, row: usize, answer: Result<Ack, ClientError>) {
        self.published(&self.rows[row].queue, &self.queue_acked, row, answer);
    }

    fn published(&self, sent: &Sent, total: &AtomicU64, row: usize, answer: Result<Ack, ClientError>) {
        self.publishing.fetch_sub(1, Relaxed);
        match answer {
            Ok(ack) => {
                let now = self.now();
                sent.partition.store(ack.partition, Relaxed);
                sent.offset.store(ack.offset.get(), Relaxed);
                sent.acked.store(now, Relaxed);
                total.fetch_add(1, Relaxed);
                self.stored_before.fetch_add(u64::from(ack.already), Relaxed);
                lock(&self.ack_times).push(now);
            }
            Err(error) => self.report(format!("publishing row {row} ended in {error}")),
        }
    }

    /// A worker was given a message.
    pub(crate) fn granted(&self, grant: Grant) {
        lock(&self.records).grants.push(grant);
    }

    pub(crate) fn settle_asked(&self, row: usize) {
        self.settling.fetch_add(1, Relaxed);
        self.rows[row].settling.store(self.now(), Relaxed);
    }

    /// The settle of a row was answered; `lease` is that of an accept.
    pub(crate) fn settle_answered(
        &self,
        row: usize,
        lease: Option<Lease>,
        answer: Result<pondage_client::Settled, ClientError>,
    ) {
        let now = self.now();
        self.settling.fetch_sub(1, Relaxed);
        self.rows[row].settling.store(0, Relaxed);
        let mut records = lock(&self.records);
        match (answer, lease) {
            (Ok(settled), Some(lease)) => {
                records.accepted.push(Accepted { row, lease, at: now, already: settled.already });
                self.settled(row);
                lock(&self.ack_times).push(now);
            }
            (Ok(_), None) => records.released += 1,
            (Err(error), _) if error.is(pondage_model::Code::LeaseLost) => records.lease_lost += 1,
            (Err(error), Some(_)) if error.outcome() == Outcome::Unknown => {
                records.unknown.push(row);
                self.settled(row);
            }
            // A release that may or may not have been made needs nothing: the message comes again either way.
            (Err(error), None) if error.outcome() == Outcome::Unknown => {}
            (Err(error), _) => self.report(format!("settling row {row} ended in {error}")),
        }
    }

    /// Counts a row once, however often it is accepted.
    fn settled(&self, row: usize) {
        let before = self.rows[row].is_settled.swap(true, Relaxed);
        self.settled.fetch_add(u64::from(!before), Relaxed);
    }

    /// So many rows may be sent, or as many as before if that is more.
    pub(crate) fn release(&self, rows: u64) {
        self.released.fetch_max(rows, Relaxed);
    }

    /// Whether a row may be sent.
    pub(crate) fn is_released(&self, row: usize) -> bool {
        (row as u64) < self.released.load(Relaxed)
    }

    /// Whether a publish and a settle wait for their answers at this moment.
    pub(crate) fn is_busy(&self) -> bool {
        self.publishing.load(Relaxed) > 0 && self.settling.load(Relaxed) > 0
    }

    /// Rows that are published to the topic, to the queues, and settled, without an answer although they were asked
    /// before a moment of the run.
    pub(crate) fn unanswered(&self, asked_before: u64) -> (u64, u64) {
        let (mut publishes, mut settles) = (0, 0);
        for row in &self.rows {
            publishes += u64::from(row.topic.is_unanswered(asked_before));
            publishes += u64::from(row.queue.is_unanswered(asked_before));
            let settling = row.settling.load(Relaxed);
            settles += u64::from(settling > 0 && settling < asked_before);
        }
        (publishes, settles)
    }

    /// Rows that no accept has ended yet.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = usize> + '_ {
        (0..).zip(&self.rows).filter(|(_, row)| !row.is_settled.load(Relaxed)).map(|(index, _)| index)
    }

    /// Something happened that must not.
    pub(crate) fn report(&self, problem: String) {
        let mut problems = lock(&self.problems);
        problems.0 += 1;
        if problems.1.len() < PROBLEMS_SHOWN {
            problems.1.push(problem);
        }
        self.has_problem.store(true, Relaxed);
        self.problem.notify_waiters();
    }

    /// Waits until something was reported.
    pub(crate) async fn problem(&self) {
        let reported = self.problem.notified();
        if !self.has_problem.load(Relaxed) {
            reported.await;
        }
    }

    /// How much was reported, and the first of it in words.
    pub(crate) fn problems(&self) -> (u64, Vec<String>) {
        lock(&self.problems).clone()
    }

    /// Publishes that a killed broker had stored, and whose answers were lost with it.
    pub(crate) fn stored_before(&self) -> u64 {
        self.stored_before.load(Relaxed)
    }

    /// The workers' records, once they are done.
    pub(crate) fn take_records(&self) -> Records {
        std::mem::take(&mut lock(&self.records))
    }

    /// The longest time between two answers while there was something to publish, and the most answers within one
    /// second. Behind the last publish only leases of the last killed broker may be left, which take their time.
    pub(crate) fn gap_and_peak(&self) -> (Duration, u64) {
        let mut times = lock(&self.ack_times).clone();
        times.sort_unstable();
        let acked = |row: &RowLedger| row.topic.acked.load(Relaxed).max(row.queue.acked.load(Relaxed));
        let published = self.rows.iter().map(acked).max().unwrap_or(0);
        let while_publishing = &times[..times.partition_point(|time| *time <= published)];
        let gap = while_publishing.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let mut seconds: BTreeMap<u64, u64> = BTreeMap::new();
        for time in times {
            *seconds.entry(time / 1_000_000_000).or_default() += 1;
        }
        (Duration::from_nanos(gap), seconds.into_values().max().unwrap_or(0))
    }
}
