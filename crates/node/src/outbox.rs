//! What must not be spoken yet: every answer waits for the durability of what it reveals, refusals too.

use std::collections::VecDeque;

use pondage_model::Position;
use pondage_replication::Round;

/// Answers in the order in which they were decided, each behind a position and a confirming round.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    held: VecDeque<Held<T>>,
}

#[derive(Debug)]
struct Held<T> {
    committed: Position,
    round: Round,
    item: T,
}

impl<T> Outbox<T> {
    pub(crate) const fn new() -> Self {
        Self { held: VecDeque::new() }
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Holds `item` until everything below `committed` is committed and `round` is confirmed, and until every item
    /// before it has gone: a listener sees one order.
    pub(crate) fn hold(&mut self, committed: Position, round: Round, item: T) {
        let committed = self.held.back().map_or(committed, |last| last.committed.max(committed));
        self.held.push_back(Held { committed, round, item });
    }

    /// Takes the next item that may be spoken.
    pub(crate) fn release(&mut self, high_watermark: Position, confirmed: Round) -> Option<T> {
        self.held
            .pop_front_if(|next| next.committed <= high_watermark && next.round <= confirmed)
            .map(|held| held.item)
    }

    /// Takes everything, for a leader that will not speak any more.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.held.drain(..).map(|held| held.item)
    }
}
