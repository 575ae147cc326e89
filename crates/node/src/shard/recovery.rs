//! The fold of a replica that does not serve: over what is committed, as far as it got. A follower keeps up, so that
//! it can serve at once when it is made the leader.

use pondage_delivery::{Leading, ShardState};
use pondage_model::{Body, Entry, Position, RawEntry, entry::CheckpointPage};

use super::{
    ShardEffect,
    forwarding::Forwarding,
    machine::{Broken, Led, Shard, State},
    maintenance::Maintenance,
};

/// A fold in progress.
#[derive(Debug)]
pub(super) struct Replay {
    /// The next position to fold.
    next: Position,
    state: ShardState,
    pages: Vec<CheckpointPage>,
    /// Entries are missing below: only a complete checkpoint tells the state again.
    has_hole: bool,
    /// Entries are being read from the disk.
    reading: bool,
    /// Where the log was cut since the fold began: the checkpoint that it waits for may be gone.
    cut: Option<Position>,
    /// It leads, and serves when it is through.
    asked: bool,
}

impl Replay {
    /// At a recovered log's newest checkpoint, or at its start.
    pub(super) fn new(from: Position) -> Self {
        let has_hole = from > Position::ZERO;
        Self {
            next: from,
            state: ShardState::default(),
            pages: Vec::new(),
            has_hole,
            reading: false,
            cut: None,
            asked: false,
        }
    }

    /// Behind everything that is committed.
    pub(super) const fn resumed(state: ShardState, next: Position) -> Self {
        Self { next, state, pages: Vec::new(), has_hole: false, reading: false, cut: None, asked: false }
    }

    /// The state, if nothing is missing.
    pub(super) fn state(&self) -> Option<&ShardState> {
        (!self.has_hole).then_some(&self.state)
    }

    /// It does not lead any more.
    pub(super) const fn forget(&mut self) {
        self.asked = false;
    }

    fn fold(&mut self, entry: &Entry) -> Result<(), Broken> {
        let broken = |what: &str| Broken { position: entry.position, what: what.to_owned() };
        if entry.position < self.next {
            return Err(broken("an entry came twice"));
        }
        if entry.position > self.next {
            // The leader had reclaimed what was there before this replica caught up.
            self.has_hole = true;
            self.pages.clear();
        }
        self.next = entry.position.next();
        let Body::CheckpointPage(page) = &entry.body else {
            // A checkpoint that was cut off counts as not there: what it would have replaced still is.
            self.pages.clear();
            if self.has_hole {
                return Ok(());
            }
            return self.state.apply(entry).map_err(|error| Broken::new(entry.position, &error));
        };
        if page.index == 0 {
            self.pages.clear();
        }
        if self.pages.is_empty() && page.index > 0 && !self.has_hole {
            // It led when the first pages came, and needs none of them.
            return Ok(());
        }
        if page.index as usize != self.pages.len() {
            return if self.has_hole { Ok(()) } else { Err(broken("a checkpoint's pages are out of order")) };
        }
        let last = page.index + 1 == page.total;
        self.pages.push(page.clone());
        if last {
            let pages = std::mem::take(&mut self.pages);
            self.state = ShardState::restore(pages).map_err(|error| Broken::new(entry.position, &error))?;
            self.has_hole = false;
        }
        Ok(())
    }
}

impl Shard {
    /// It leads and an entry of its epoch is committed: fold up to it, then serve.
    pub(super) fn serve_soon(&mut self, effects: &mut Vec<ShardEffect>) -> Result<(), Broken> {
        if let State::Replaying(replay) = &mut self.state {
            replay.asked = true;
        }
        self.keep_up(effects)
    }

    /// Folds what is committed: from memory where it is there, else from the disk, which holds all of it. Then serves
    /// if it shall.
    pub(super) fn keep_up(&mut self, effects: &mut Vec<ShardEffect>) -> Result<(), Broken> {
        let State::Replaying(replay) = &mut self.state else { return Ok(()) };
        let committed = self.replica.high_watermark();
        if !replay.reading {
            while self.uncommitted.pop_front_if(|entry| entry.position < replay.next).is_some() {}
            while let Some(entry) = self
                .uncommitted
                .pop_front_if(|entry| entry.position == replay.next && entry.position < committed)
            {
                self.maintenance.committed(&entry);
                replay.fold(&entry)?;
            }
        }
        if replay.next < committed {
            // What will be read is not kept twice.
            while self.uncommitted.pop_front_if(|entry| entry.position < committed).is_some() {}
            if !std::mem::replace(&mut replay.reading, true) {
                effects.push(ShardEffect::Replay { from: replay.next });
            }
            return Ok(());
        }
        if replay.asked { self.serve(effects) } else { Ok(()) }
    }

    fn serve(&mut self, effects: &mut Vec<ShardEffect>) -> Result<(), Broken> {
        let State::Replaying(replay) = &mut self.state else { return Ok(()) };
        if replay.has_hole {
            let what = "entries below are missing and no checkpoint stands for them".to_owned();
            return Err(Broken { position: replay.next, what });
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

    /// The log was cut. A fold that waits for a checkpoint may have waited for one that was cut with it: what is on the
    /// disk is not what is committed.
    pub(super) fn cut(&mut self, end: Position, effects: &mut Vec<ShardEffect>) {
        self.uncommitted.retain(|entry| entry.position < end);
        if let State::Replaying(replay) = &mut self.state
            && replay.has_hole
        {
            replay.cut = Some(end);
            // Nothing is folded meanwhile. What is being read comes first, and counts no more.
            if !std::mem::replace(&mut replay.reading, true) {
                effects.push(ShardEffect::FindCheckpoint { below: end });
            }
        }
    }

    pub(super) fn replay_anew(
        &mut self,
        below: Position,
        first: Position,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        let State::Replaying(replay) = &mut self.state else { return Ok(()) };
        let Some(cut) = replay.cut else { return Ok(()) };
        if cut != below {
            effects.push(ShardEffect::FindCheckpoint { below: cut });
            return Ok(());
        }
        let asked = replay.asked;
        **replay = Replay { asked, ..Replay::new(first) };
        self.maintenance = Maintenance::new(first);
        self.keep_up(effects)
    }

    pub(super) fn replayed(
        &mut self,
        entries: Vec<RawEntry>,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        let State::Replaying(replay) = &mut self.state else { return Ok(()) };
        if let Some(below) = replay.cut {
            effects.push(ShardEffect::FindCheckpoint { below });
            return Ok(());
        }
        if !std::mem::take(&mut replay.reading) {
            return Ok(());
        }
        let committed = self.replica.high_watermark();
        if entries.is_empty() && replay.next < committed {
            return Err(Broken { position: replay.next, what: "the log ends before its end".to_owned() });
        }
        for raw in entries {
            if raw.position >= committed {
                break;
            }
            let position = raw.position;
            let entry = raw.decode().map_err(|error| Broken::new(position, &error))?;
            self.maintenance.committed(&entry);
            replay.fold(&entry)?;
        }
        self.keep_up(effects)
    }
}
