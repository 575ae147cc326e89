//! What a check found.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// A line of the delivery contract (`docs/guarantees.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Rule {
    /// Nothing acknowledged is lost, nothing refused is stored.
    D1,
    /// An offset means the same bytes for ever, in one order for all.
    L1,
    /// Only what is committed is seen; cursors move back by a seek only.
    L2,
    /// Messages of one session and key keep their order.
    L3,
    /// A plain message is stored at most once for each time that it was sent.
    P1,
    /// A message of a session is stored at most once.
    P2,
    /// No new grant once an accept is confirmed.
    Q1,
    /// One current lease, tokens that grow, overtaken ones that fail.
    Q2,
    /// What was given back is delivered again in time.
    Q3,
    /// A dead letter is in exactly one of the two queues, with its history.
    Q5,
    /// Nothing is delivered before its time.
    Q7,
    /// No guarantee: the history contradicts itself, so its recorder is at fault and nothing is proved.
    Recording,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::D1,
        Self::L1,
        Self::L2,
        Self::L3,
        Self::P1,
        Self::P2,
        Self::Q1,
        Self::Q2,
        Self::Q3,
        Self::Q5,
        Self::Q7,
        Self::Recording,
    ];

    /// The word for it in reports and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::D1 => "D1",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::Q1 => "Q1",
            Self::Q2 => "Q2",
            Self::Q3 => "Q3",
            Self::Q5 => "Q5",
            Self::Q7 => "Q7",
            Self::Recording => "RECORDING",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The promise.
    pub rule: Rule,
    /// The event that showed it, counted from 1.
    pub event: u64,
    /// When that was, in microseconds of the history.
    pub at_micros: u64,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at event {} ({} µs): {}", self.rule, self.event, self.at_micros, self.what)
    }
}

/// How often a promise was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// How often.
    pub count: u64,
    /// The first time.
    pub first: Violation,
}

/// What a history held, so that a run that proved little can be told from one that proved much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Lines.
    pub events: u64,
    /// Publishes that were acknowledged.
    pub acknowledged: u64,
    /// Requests that ended as unknown, or have no answer.
    pub unknown: u64,
    /// Definite errors.
    pub refused: u64,
    /// Messages that readers got.
    pub read: u64,
    /// Grants.
    pub granted: u64,
    /// Grants of earlier leases that arrived when a later one, or the accept, was known: allowed, their tokens dead.
    pub granted_late: u64,
    /// Messages whose accept or reject was confirmed.
    pub settled: u64,
    /// Dead letters found.
    pub dead_letters: u64,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the history held.
    pub totals: Totals,
    /// Streams with messages whose end was never written ([`End`](crate::Observation::End),
    /// [`Drained`](crate::Observation::Drained)): nothing is proved about losses there.
    pub unaudited: Vec<u64>,
    /// Broken promises.
    pub broken: BTreeMap<Rule, Broken>,
}

impl Report {
    /// Whether every promise held.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    /// The first violation of all.
    #[must_use]
    pub fn first(&self) -> Option<&Violation> {
        self.broken.values().map(|broken| &broken.first).min_by_key(|violation| violation.event)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals {
            events,
            acknowledged,
            unknown,
            refused,
            read,
            granted,
            granted_late,
            settled,
            dead_letters,
        } = self.totals;
        writeln!(f, "{events} events: {acknowledged} acknowledged, {refused} refused, {unknown} unknown,")?;
        writeln!(
            f,
            "{read} read, {granted} granted ({granted_late} late), {settled} settled, {dead_letters} dead"
        )?;
        if !self.unaudited.is_empty() {
            writeln!(f, "not audited to their end: streams {:?}", self.unaudited)?;
        }
        for Broken { count, first } in self.broken.values() {
            writeln!(f, "VIOLATED {count} times: {first}")?;
        }
        if self.is_good() { writeln!(f, "every promise held") } else { Ok(()) }
    }
}
