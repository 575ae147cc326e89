//! The checker: takes events one after the other and tells the rules.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{Offset, StreamId};

use crate::{
    books::{Books, Kind},
    event::{Answer, Client, Event, Observation, Op, Publish, Queue, Request, What},
    report::{Report, Rule, Violation},
    rules::{CursorKnown, Settle},
    text::{self, Malformed},
};

/// Judges one history, event by event.
#[derive(Debug, Default)]
pub struct Checker {
    books: Books,
    open: BTreeMap<Op, Open>,
}

/// A request without an answer.
#[derive(Debug)]
struct Open {
    client: Client,
    event: u64,
    leaps: u64,
    asked: Asked,
}

/// What was asked, and what was known then.
#[derive(Debug)]
enum Asked {
    Publish { publish: Publish, is_fenced: bool },
    Settle(Settle),
    Leave { stream: StreamId, held: BTreeSet<Offset> },
    Cursor { request: Request, known: CursorKnown },
    Removal { stream: StreamId, is_deletion: bool },
}

/// A text that is no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct NoHistory {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: Malformed,
}

impl Checker {
    /// A checker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a whole history that is written down as [`text`] says.
    ///
    /// # Errors
    /// [`NoHistory`] names the first line that is no event. That an event makes no sense is no error but a violation of
    /// [`Rule::Recording`].
    pub fn check<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Report, NoHistory> {
        let mut checker = Self::new();
        for (line, content) in (1..).zip(lines) {
            if let Some(event) = text::parse(content).map_err(|why| NoHistory { line, why })? {
                checker.observe(&event);
            }
        }
        Ok(checker.finish())
    }

    /// The next event.
    pub fn observe(&mut self, event: &Event) {
        let findings = &mut self.books.findings;
        findings.event += 1;
        findings.totals.events += 1;
        if event.at_micros < findings.at_micros {
            let before = findings.at_micros;
            findings.broken(Rule::Recording, || format!("time went from {before} to {} µs", event.at_micros));
        }
        findings.at_micros = findings.at_micros.max(event.at_micros);
        match event.what {
            What::Invoke { op, request } => self.invoked(event.client, op, request),
            What::Return { op, answer } => self.returned(event.client, op, answer),
            What::Observed(observation) => self.observed(event.client, observation),
        }
    }

    /// The first violation so far.
    #[must_use]
    pub fn first(&self) -> Option<&Violation> {
        let firsts = self.books.findings.broken.values().map(|broken| &broken.first);
        firsts.min_by_key(|violation| violation.event)
    }

    /// The history is over. What has no answer stays unknown.
    #[must_use]
    pub fn finish(self) -> Report {
        let unaudited = self.books.unaudited();
        let mut totals = self.books.findings.totals;
        totals.unknown += self.open.len() as u64;
        Report { totals, unaudited, broken: self.books.findings.broken }
    }

    fn invoked(&mut self, client: Client, op: Op, request: Request) {
        let books = &mut self.books;
        if self.open.contains_key(&op) {
            return books.findings.broken(Rule::Recording, || format!("{op:?} is asked twice"));
        }
        let asked = match request {
            Request::Publish(publish) => {
                books.stream(publish.stream);
                let is_first = !books.messages.contains_key(&publish.message);
                let is_fenced = books.publish_asked(&publish);
                books.delay_asked(&publish, is_first);
                Asked::Publish { publish, is_fenced }
            }
            Request::Settle { stream, offset, lease, verdict } => {
                Asked::Settle(books.settle_asked((stream, offset), lease, verdict))
            }
            Request::Leave { stream } => Asked::Leave { stream, held: books.leave_asked(client, stream) },
            Request::Purge { stream } | Request::Delete { stream } => {
                books.removal_asked(stream);
                Asked::Removal { stream, is_deletion: matches!(request, Request::Delete { .. }) }
            }
            Request::Claim { stream, group } | Request::Fetch { stream, group } => {
                Asked::Cursor { request, known: books.cursor_asked((stream, group), None) }
            }
            Request::Seek { stream, group, offset } => {
                Asked::Cursor { request, known: books.cursor_asked((stream, group), Some(offset)) }
            }
            Request::Commit { stream, group, epoch, offset } => {
                Asked::Cursor { request, known: books.commit_asked((stream, group), epoch, offset) }
            }
        };
        let (event, leaps) = (books.findings.event, books.leaps);
        self.open.insert(op, Open { client, event, leaps, asked });
    }

    fn returned(&mut self, client: Client, op: Op, answer: Answer) {
        let books = &mut self.books;
        let Some(open) = self.open.remove(&op).filter(|open| open.client == client) else {
            return books.findings.broken(Rule::Recording, || format!("{client:?} never asked {op:?}"));
        };
        match answer {
            // Whatever it may do is counted as possible since it was asked.
            Answer::Unknown => books.findings.totals.unknown += 1,
            Answer::Refused | Answer::LeaseLost => {
                books.findings.totals.refused += 1;
                refused(books, &open, answer == Answer::LeaseLost);
            }
            Answer::Stored { .. } | Answer::Settled { .. } | Answer::Cursor { .. } | Answer::Done => {
                if !confirmed(books, open, answer) {
                    books
                        .findings
                        .broken(Rule::Recording, || format!("{op:?} can't be answered by {answer:?}"));
                }
            }
        }
    }

    fn observed(&mut self, client: Client, observation: Observation) {
        let books = &mut self.books;
        match observation {
            Observation::Log { stream } => introduced(books, stream, Kind::Log),
            Observation::Queue(queue) => introduced(books, queue.stream, Kind::Queue(queue)),
            Observation::From { stream, offset } => books.read_from(client, stream, offset),
            Observation::Read { stream, offset, message } => books.read(client, (stream, offset), message),
            Observation::End { stream } => books.read_to_end(client, stream),
            Observation::Trimmed { stream, offset } => books.trimmed(stream, offset),
            Observation::Grant(grant) => books.granted(client, &grant),
            Observation::DeadLetter { stream, offset, message, source, failures } => {
                books.dead_letter((stream, offset), message, source, failures);
            }
            Observation::Idle { stream, since_micros } => books.judge_idle(client, stream, since_micros),
            Observation::Drained { stream } => books.drained(stream),
            Observation::LeaderLost { stream } => books.stream(stream).leaders_lost += 1,
            Observation::Leap => books.leaps += 1,
        }
    }
}

fn introduced(books: &mut Books, id: StreamId, kind: Kind) {
    if let Kind::Queue(Queue { dead: Some(dead), .. }) = kind {
        books.dead_streams.insert(dead.stream);
    }
    let stream = books.streams.entry(id).or_default();
    // Settings of a queue may change, what it is may not.
    if matches!((&stream.kind, kind), (Some(Kind::Log), Kind::Queue(_)) | (Some(Kind::Queue(_)), Kind::Log)) {
        return books.findings.broken(Rule::Recording, || format!("{id:?} is a log and a queue"));
    }
    stream.kind = Some(kind);
}

fn refused(books: &mut Books, open: &Open, is_lost: bool) {
    match &open.asked {
        Asked::Publish { publish, is_fenced } => books.publish_refused(publish, open.leaps, *is_fenced),
        Asked::Settle(settle) => books.settle_refused(settle, is_lost),
        Asked::Removal { stream, .. } => books.removal_refused(*stream),
        Asked::Leave { .. } | Asked::Cursor { .. } => {}
    }
}

/// Whether the answer is one for this request.
fn confirmed(books: &mut Books, open: Open, answer: Answer) -> bool {
    match (open.asked, answer) {
        (Asked::Publish { publish, is_fenced }, Answer::Stored { offset }) => {
            books.acknowledged(&publish, offset);
            books.publish_confirmed(&publish, open.leaps, is_fenced);
        }
        (Asked::Settle(settle), Answer::Settled { already, until }) => {
            books.settle_confirmed(&settle, already, until);
        }
        (Asked::Leave { stream, held }, Answer::Done) => books.left(open.client, stream, held),
        (Asked::Removal { stream, is_deletion }, Answer::Done) => {
            books.removed(stream, open.event, is_deletion);
        }
        (Asked::Cursor { request, known }, answer) => return cursor_confirmed(books, request, known, answer),
        _ => return false,
    }
    true
}

fn cursor_confirmed(books: &mut Books, request: Request, known: CursorKnown, answer: Answer) -> bool {
    match (request, answer) {
        (Request::Claim { stream, group }, Answer::Cursor { epoch, offset }) => {
            books.cursor_given((stream, group), epoch, offset, None, known);
        }
        (Request::Seek { stream, group, offset: to }, Answer::Cursor { epoch, offset }) => {
            books.cursor_given((stream, group), epoch, offset, Some(to), known);
        }
        (Request::Fetch { stream, group }, Answer::Cursor { epoch, offset }) => {
            books.cursor_fetched((stream, group), epoch, offset, known);
        }
        (Request::Commit { stream, group, epoch, offset }, Answer::Done) => {
            books.committed((stream, group), epoch, offset, known);
        }
        _ => return false,
    }
    true
}
