//! From a recovered log to a serving leader: fold the newest checkpoint and everything behind it.

use pondage_delivery::{Leading, ShardState};
use pondage_model::{Body, Entry, Position, RawEntry, entry::CheckpointPage};

use super::{
    ShardEffect,
    forwarding::Forwarding,
    machine::{Broken, Led, Shard, State},
};

/// A fold in progress.
#[derive(Debug)]
pub(super) struct Replay {
    /// The next position to fold.
    next: Position,
    state: ShardState,
    pages: Vec<CheckpointPage>,
    /// Whether an epoch start is committed: until then it isn't known how far the log counts.
    asked: bool,
}

impl Replay {
    pub(super) fn new(from: Position) -> Self {
        Self { next: from, state: ShardState::default(), pages: Vec::new(), asked: false }
    }

    fn fold(&mut self, entry: &Entry) -> Result<(), Broken> {
        let broken = |what: &str| Broken { position: entry.position, what: what.to_owned() };
        if entry.position < self.next {
            return Err(broken("an entry came twice"));
        }
        self.next = entry.position.next();
        let Body::CheckpointPage(page) = &entry.body else {
            // A checkpoint that was cut off counts as not there: what it would have replaced still is.
            self.pages.clear();
            return self.state.apply(entry).map_err(|error| Broken::new(entry.position, &error));
        };
        if page.index == 0 {
            self.pages.clear();
        }
        if page.index as usize != self.pages.len() {
            return Err(broken("a checkpoint's pages are out of order"));
        }
        let last = page.index + 1 == page.total;
        self.pages.push(page.clone());
        if last {
            let pages = std::mem::take(&mut self.pages);
            self.state = ShardState::restore(pages).map_err(|error| Broken::new(entry.position, &error))?;
        }
        Ok(())
    }
}

impl Shard {
    /// The epoch's start is committed, and with it everything before: fold up to it, then serve.
    pub(super) fn replay_or_serve(&mut self, effects: &mut Vec<ShardEffect>) -> Result<(), Broken> {
        let State::Replaying(replay) = &mut self.state else { return Ok(()) };
        replay.asked = true;
        let in_memory = self.uncommitted.front().map_or(self.replica.end(), |entry| entry.position);
        if replay.next < in_memory {
            effects.push(ShardEffect::Replay { from: replay.next });
            return Ok(());
        }
        while let Some(entry) =
            self.uncommitted.pop_front_if(|entry| entry.position < self.replica.high_watermark())
        {
            self.maintenance.committed(&entry);
            replay.fold(&entry)?;
        }
        let committed = std::mem::take(&mut replay.state);
        let mut leading = Leading::new(self.replica.epoch(), self.id, &committed);
        for entry in &self.uncommitted {
            leading.appended(entry);
        }
        self.forwarding = Forwarding::of(&leading);
        self.state = State::Leading(Box::new(Led { committed, leading }));
        effects.push(ShardEffect::Serving(self.replica.epoch()));
        Ok(())
    }

    pub(super) fn replayed(
        &mut self,
        entries: Vec<RawEntry>,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        let in_memory = self.uncommitted.front().map_or(self.replica.end(), |entry| entry.position);
        let State::Replaying(replay) = &mut self.state else { return Ok(()) };
        if entries.is_empty() {
            return Err(Broken { position: replay.next, what: "the log ends before its end".to_owned() });
        }
        for raw in entries {
            if raw.position >= in_memory {
                break;
            }
            let position = raw.position;
            let entry = raw.decode().map_err(|error| Broken::new(position, &error))?;
            self.maintenance.committed(&entry);
            replay.fold(&entry)?;
        }
        if replay.asked { self.replay_or_serve(effects) } else { Ok(()) }
    }
}
