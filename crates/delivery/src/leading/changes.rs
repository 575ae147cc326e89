//! Which streams' figures may have changed since somebody looked, so that who looks often asks after those alone.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{Epoch, LogTime, StreamId};

use super::Leading;
use crate::fold::Stream;

/// Closed streams that are remembered; one who looked before the first of them is told everything again.
const CLOSED_MAX: usize = 1_024;

/// Up to where somebody knows the figures of a shard's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    epoch: Epoch,
    looks: u64,
}

/// What changed behind a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The mark to ask with next.
    pub mark: Mark,
    /// The open streams whose figures may be others.
    pub streams: Vec<StreamId>,
    /// These are all open streams: whatever else was known is gone. Otherwise, those that were closed; some may have
    /// been opened again.
    pub closed: Option<Vec<StreamId>>,
}

/// The leader's notes. They take a few numbers for each stream that changed in this term.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// How often somebody looked.
    looks: u64,
    /// After how many looks each stream changed last.
    changed: BTreeMap<StreamId, u64>,
    by_look: BTreeSet<(u64, StreamId)>,
    closed: BTreeSet<(u64, StreamId)>,
    /// Who looked less often does not know of all closed streams.
    forgotten: u64,
    /// When figures change next although nothing happens: a delayed message is due.
    due: BTreeMap<StreamId, LogTime>,
    by_due: BTreeSet<(LogTime, StreamId)>,
}

impl Changes {
    /// The stream's figures may be others now.
    pub(super) fn note(&mut self, id: StreamId) {
        let before = self.changed.insert(id, self.looks);
        if before == Some(self.looks) {
            return;
        }
        if let Some(before) = before {
            self.by_look.remove(&(before, id));
        }
        self.by_look.insert((self.looks, id));
    }

    /// The stream is gone.
    pub(super) fn close(&mut self, id: StreamId) {
        if let Some(before) = self.changed.remove(&id) {
            self.by_look.remove(&(before, id));
        }
        self.expect(id, None);
        self.closed.insert((self.looks, id));
        if self.closed.len() > CLOSED_MAX
            && let Some((looks, _)) = self.closed.pop_first()
        {
            self.forgotten = looks + 1;
        }
    }

    /// The stream's figures change at this time at the latest.
    fn expect(&mut self, id: StreamId, due: Option<LogTime>) {
        let before = match due {
            Some(due) => self.due.insert(id, due),
            None => self.due.remove(&id),
        };
        if let Some(before) = before {
            self.by_due.remove(&(before, id));
        }
        if let Some(due) = due {
            self.by_due.insert((due, id));
        }
    }

    /// Notes the streams whose time came.
    fn pass(&mut self, now: LogTime) {
        while let Some(&(due, id)) = self.by_due.first()
            && due <= now
        {
            self.expect(id, None);
            self.note(id);
        }
    }
}

impl Leading {
    /// The streams whose figures may have changed since `known`; all of them if it is none, or of another term. A
    /// mark may be used again: what is asked twice is told twice.
    pub fn changed_since(&mut self, known: Option<Mark>, now: LogTime) -> Changed {
        self.changes.pass(now);
        let changes = &self.changes;
        let known = known
            .filter(|mark| mark.epoch == self.epoch && mark.looks >= changes.forgotten)
            .map(|mark| (mark.looks, StreamId::ZERO));
        let (streams, closed) = match known {
            None => (self.state.streams().map(|(id, _)| id).collect(), None),
            Some(from) => {
                let ids = |notes: &BTreeSet<(u64, StreamId)>| -> Vec<StreamId> {
                    notes.range(from..).map(|&(_, id)| id).collect()
                };
                (ids(&changes.by_look), Some(ids(&changes.closed)))
            }
        };
        for id in &streams {
            let due = self.state.stream(*id).and_then(|stream| next_change(stream, now));
            self.changes.expect(*id, due);
        }
        self.changes.looks += 1;
        Changed { mark: Mark { epoch: self.epoch, looks: self.changes.looks }, streams, closed }
    }
}

/// When the stream's figures are others than at `now` although nothing happens, its age aside.
fn next_change(stream: &Stream, now: LogTime) -> Option<LogTime> {
    let queue = stream.queue()?;
    [queue.scheduled(), queue.waiting()].iter().filter_map(|timeline| timeline.first_time_after(now)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes_of(streams: &[u32]) -> Changes {
        let mut changes = Changes::default();
        streams.iter().for_each(|id| changes.note(stream(*id)));
        changes
    }

    fn stream(id: u32) -> StreamId {
        StreamId(id.into())
    }

    #[test]
    fn a_stream_is_noted_once_however_often_it_changes() {
        let mut changes = changes_of(&[1, 2, 1, 1]);
        changes.looks = 1;
        changes.note(stream(1));
        assert_eq!(changes.by_look.iter().copied().collect::<Vec<_>>(), [(0, stream(2)), (1, stream(1))]);
        assert_eq!(changes.changed.len(), 2);
    }

    #[test]
    fn closed_streams_are_remembered_up_to_a_limit() {
        let mut changes = changes_of(&[0]);
        for id in 0..CLOSED_MAX as u32 {
            changes.close(stream(id));
        }
        assert_eq!((changes.forgotten, changes.changed.len()), (0, 0));
        changes.looks = 5;
        changes.close(stream(9_999));
        assert_eq!((changes.forgotten, changes.closed.len()), (1, CLOSED_MAX));
    }

    #[test]
    fn time_notes_what_was_expected_and_forgets_what_is_gone() {
        let mut changes = Changes::default();
        changes.expect(stream(1), Some(LogTime(10)));
        changes.expect(stream(2), Some(LogTime(10)));
        changes.expect(stream(3), Some(LogTime(11)));
        changes.expect(stream(1), Some(LogTime(30)));
        changes.close(stream(3));
        changes.pass(LogTime(20));
        assert_eq!(changes.changed.keys().copied().collect::<Vec<_>>(), [stream(2)]);
        changes.pass(LogTime(30));
        assert_eq!(changes.changed.len(), 2);
        assert_eq!((changes.due.len(), changes.by_due.len()), (0, 0));
    }
}
