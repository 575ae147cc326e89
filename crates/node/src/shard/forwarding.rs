//! Dead letters on their way: one at a time per source, because a later one must not overtake a refused one.

use std::collections::{BTreeMap, BTreeSet};

use pondage_delivery::Leading;
use pondage_model::{MoveSeq, StreamId, settings::StreamSettings};

use super::{
    ShardEffect,
    machine::{Shard, State},
};
use crate::Now;

/// Pause before a refused dead letter is tried again, in milliseconds.
const RETRY_MILLIS: u64 = 1_000;

/// Who sends and who waits. A source is in at most one of the three, so an idle shard has nothing to look through.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    /// Sources whose first move may be ready to go.
    ready: BTreeSet<StreamId>,
    /// Sources with the move that is on its way.
    under_way: BTreeMap<StreamId, MoveSeq>,
    /// Sources whose first move was refused, with when to try again and whether its queue is gone.
    refused: BTreeMap<StreamId, (u64, bool)>,
    retries: BTreeSet<(u64, StreamId)>,
}

impl Forwarding {
    /// What a new leader takes over.
    pub(super) fn of(leading: &Leading) -> Self {
        Self { ready: leading.state().sources().collect(), ..Self::default() }
    }

    /// A move of this source was committed.
    pub(super) fn note(&mut self, source: StreamId) {
        if !self.under_way.contains_key(&source) && !self.refused.contains_key(&source) {
            self.ready.insert(source);
        }
    }

    /// A move of this source is where it was to go. A repeat changes nothing: what is under way now is a later one.
    pub(super) fn arrived(&mut self, source: StreamId, seq: MoveSeq) {
        if self.under_way.get(&source) == Some(&seq) {
            self.ended(source);
        }
    }

    /// The first move of this source ended: the next one may go.
    fn ended(&mut self, source: StreamId) {
        self.under_way.remove(&source);
        if let Some((at, _)) = self.refused.remove(&source) {
            self.retries.remove(&(at, source));
        }
        self.ready.insert(source);
    }

    fn refuse(&mut self, source: StreamId, at: u64, gone: bool) {
        self.ended(source);
        self.ready.remove(&source);
        self.refused.insert(source, (at, gone));
        self.retries.insert((at, source));
    }

    /// When the next refused one is tried again, on the monotonic clock.
    pub(super) fn next_retry(&self) -> Option<u64> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// A source to look at now, and whether its queue was gone when it was tried last.
    fn next(&mut self, monotonic_millis: u64) -> Option<(StreamId, bool)> {
        if let Some(source) = self.ready.pop_first() {
            return Some((source, false));
        }
        let (_, source) = self.retries.pop_first_if(|(at, _)| *at <= monotonic_millis)?;
        let (_, gone) = self.refused.remove(&source)?;
        Some((source, gone))
    }
}

trait PopFirstIf<T> {
    fn pop_first_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T>;
}

impl<T: Ord> PopFirstIf<T> for BTreeSet<T> {
    fn pop_first_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        if self.first().is_some_and(wanted) { self.pop_first() } else { None }
    }
}

impl Shard {
    /// Sends the oldest committed dead letter of each stream on its way.
    pub(super) fn forward(&mut self, now: Now) {
        let State::Leading(led) = &self.state else { return };
        let mut ready = Vec::new();
        while let Some((source, gone)) = self.forwarding.next(now.monotonic_millis) {
            // A source that was closed has no moves any more, and is forgotten here.
            let Some(mut moving) = led.leading.next_move(&led.committed, source) else { continue };
            if gone && let Some(target) = led.leading.dead_letter(source) {
                // Its queue was deleted with all that it held: the one that the source has now takes its place. No
                // later move went there before, so its order holds.
                (moving.target_shard, moving.target) = target;
            }
            self.forwarding.under_way.insert(source, moving.seq);
            let open = led.leading.state().stream(source).map(|stream| &stream.open);
            let (stored, group) = match open.map(|open| (&open.settings, open.partition)) {
                Some((StreamSettings::Share(share), partition)) => {
                    (share.partition, Some((share.group.clone(), partition)))
                }
                _ => (source, None),
            };
            ready.push(ShardEffect::Forward { source, stored, group, moving });
        }
        // Behind all that is decided and not yet spoken: a consumer may still be about to be given the message, in
        // vain, and must not be given it once it is somewhere else.
        for effect in ready {
            self.tell(effect);
        }
    }

    pub(super) fn forward_refused(&mut self, now: Now, source: StreamId, seq: MoveSeq, gone: bool) {
        let State::Leading(led) = &self.state else { return };
        match led.leading.next_move(&led.committed, source) {
            Some(first) if first.seq == seq => {
                self.forwarding.refuse(source, now.monotonic_millis + RETRY_MILLIS, gone);
            }
            // Retention took the message meanwhile: what was refused is not what is to go now.
            _ => self.forwarding.arrived(source, seq),
        }
    }
}
