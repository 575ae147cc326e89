//! **L1** (delivery contract, "Logs"): one total order for each partition; an offset, once readable, means the same
//! bytes for ever, until retention takes them. So no two clients see different messages at one offset, no reader goes
//! back or leaves out what another one has seen, and nothing turns up behind a reader.

use pondage_model::{Offset, StreamId};

use crate::{
    books::{At, Books, Place, Reader},
    event::{Client, MessageId},
    report::Rule,
};

/// Whether the message there is new to the books, known already, or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    New,
    Known,
    Other,
}

impl Books {
    /// A message was seen at a place, by whatever way.
    pub(crate) fn seen(&mut self, id: MessageId, at: At) -> Found {
        let (stream, offset) = at;
        let found = self.seen_as_copy(id, at);
        let is_dead_letter = self.dead_streams.contains(&stream)
            && self
                .messages
                .get(&id)
                .is_some_and(|message| message.sends.iter().all(|send| send.stream != stream));
        if found == Found::New && !is_dead_letter {
            self.messages.entry(id).or_default().places.push(at);
            self.judge_copies(id, stream);
            self.judge_order(id, stream, offset);
        }
        found
    }

    /// A message was seen at a place where it did not come from its publisher.
    pub(crate) fn seen_as_copy(&mut self, id: MessageId, at: At) -> Found {
        self.stream(at.0).has_messages = true;
        match self.places.get(&at) {
            Some(place) if place.message == id => Found::Known,
            Some(place) => {
                let before = place.message;
                self.findings.broken(Rule::L1, || format!("{at:?} was {before:?} and is {id:?}"));
                Found::Other
            }
            None => {
                let place = Place { message: id, acked_event: 0, is_kept: false, queued: None };
                self.places.insert(at, place);
                Found::New
            }
        }
    }

    /// A message turned up at a place: no reader may have passed it.
    pub(crate) fn judge_passed(&mut self, (stream, offset): At, rule: Rule) {
        let gap = self.stream(stream).gaps.range(..=offset).next_back();
        if gap.is_some_and(|(_, end)| offset < *end) {
            self.findings
                .broken(rule, || format!("{stream:?} {offset:?} holds a message that a reader did not get"));
        }
    }

    /// A reader begins.
    pub(crate) fn read_from(&mut self, client: Client, stream: StreamId, offset: Offset) {
        self.stream(stream);
        self.readers.insert((client, stream), Reader { from: offset, next: offset });
    }

    /// A reader got a message.
    pub(crate) fn read(&mut self, client: Client, (stream, offset): At, id: MessageId) {
        self.findings.totals.read += 1;
        if self.seen(id, (stream, offset)) == Found::New {
            self.judge_passed((stream, offset), Rule::L1);
        }
        let reader = self.readers.entry((client, stream)).or_insert(Reader { from: offset, next: offset });
        let next = reader.next;
        if offset < next {
            return self.findings.broken(Rule::L1, || {
                format!("{client:?} got {stream:?} {offset:?} when it was at {next:?}")
            });
        }
        reader.next = Offset(offset.get().saturating_add(1));
        self.judge_skipped(client, stream, next, offset);
    }

    /// A reader went from one offset to another without a message between them.
    fn judge_skipped(&mut self, client: Client, stream: StreamId, next: Offset, to: Offset) {
        let start = self.stream(stream).start.max(next);
        if start >= to {
            return;
        }
        for (at, place) in self.places.range((stream, start)..(stream, to)) {
            let rule = if place.acked_event > 0 { Rule::D1 } else { Rule::L1 };
            self.findings.broken(rule, || format!("{client:?} read to {to:?} and did not get {at:?}"));
        }
        let gaps = &mut self.stream(stream).gaps;
        // Most readers find the same gaps: one run for all that touch.
        let (mut first, mut end) = (start, to);
        while let Some((&other, &other_end)) =
            gaps.range(..=end).next_back().filter(|(_, other_end)| **other_end >= first)
        {
            gaps.remove(&other);
            (first, end) = (first.min(other), end.max(other_end));
        }
        gaps.insert(first, end);
    }

    /// Retention may have taken what is below.
    pub(crate) fn trimmed(&mut self, stream: StreamId, offset: Offset) {
        let books = self.stream(stream);
        books.start = books.start.max(offset);
    }
}
