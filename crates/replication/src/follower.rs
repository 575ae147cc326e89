//! A follower: promises the epoch, aligns its log with the leader's, takes pushes, says how far it is.

use pondage_model::{
    BrokerId, Epoch, Member, Position, limits,
    planted::{self, Fault},
};

use crate::{Effect, Finding, Message, Push, replica::Core};

/// What a follower knows of its leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    pub(crate) leader: Option<BrokerId>,
    /// The newest hello of this epoch.
    attempt: u64,
    /// It was asked where its log ends and has not promised the epoch yet.
    asked: bool,
    /// The epoch that the leader was asked about last.
    located: Option<Epoch>,
    /// The log is a beginning of the leader's.
    pub(crate) aligned: bool,
    /// The newest round that was asked for.
    round: u64,
    /// It did not take what the leader pushed, because too much waits for its disk.
    full: bool,
}

impl Follower {
    pub(crate) const fn of(leader: Option<BrokerId>) -> Self {
        Self { leader, attempt: 0, asked: false, located: None, aligned: false, round: 0, full: false }
    }

    /// The leader says that it leads.
    pub(crate) fn greeted(&mut self, core: &Core, from: BrokerId, attempt: u64, effects: &mut Vec<Effect>) {
        if !self.follows(from) || attempt < self.attempt || (attempt == self.attempt && self.aligned) {
            return;
        }
        (self.attempt, self.aligned, self.asked, self.located) = (attempt, false, true, None);
        self.promised(core, effects);
    }

    /// Says where the log ends, if somebody asked and the epoch is promised.
    pub(crate) fn promised(&mut self, core: &Core, effects: &mut Vec<Effect>) {
        if self.asked && core.is_promised() {
            self.asked = false;
            self.locate(core, self.attempt, core.epochs.last(), effects);
        }
    }

    /// Cuts what the leader does not have, if this is where the logs part.
    pub(crate) fn align(
        &mut self,
        core: &mut Core,
        from: BrokerId,
        (attempt, last): (u64, Epoch),
        (of, end): (Epoch, Position),
        effects: &mut Vec<Effect>,
    ) {
        let is_answer = attempt == self.attempt && self.located == Some(last);
        if !self.follows(from) || self.aligned || self.asked || !is_answer || !core.is_promised() {
            return;
        }
        let (mine, my_end) = core.epochs.floor(of, core.disk.end);
        if mine != of {
            return self.locate(core, attempt, mine, effects);
        }
        // What is here of the leader's own epoch came from the leader, which may have appended since it answered.
        let mut cut = if of == core.epoch { my_end } else { my_end.min(end) };
        if planted::is(Fault::TruncateToHighWatermark) {
            cut = core.high_watermark;
        }
        if planted::is(Fault::SkipAlignment) {
            cut = core.disk.end;
        }
        if cut < core.high_watermark {
            // The leader lacks what is committed and here. Better no leader than a loss.
            let (epoch, high_watermark) = (core.epoch, core.high_watermark);
            let message = Message::Behind { epoch, high_watermark };
            return self.say(message, effects);
        }
        if cut < core.disk.end {
            core.disk.truncate(cut);
            core.epochs.truncate(cut);
            effects.push(Effect::Cut(cut));
        }
        (self.aligned, self.full) = (true, false);
        self.acknowledge(core, false, effects);
        self.take_leave(core, effects);
    }

    /// Tells the leader not to wait any more, if the broker stops.
    pub(crate) fn take_leave(&self, core: &Core, effects: &mut Vec<Effect>) {
        if core.leaving && self.aligned {
            self.say(Message::Leaving { epoch: core.epoch }, effects);
        }
    }

    /// Takes the leader's entries.
    pub(crate) fn pushed(&mut self, core: &mut Core, from: Member, push: Push, effects: &mut Vec<Effect>) {
        if !self.follows(from.broker) || !core.is_promised() {
            return;
        }
        if !self.aligned {
            if planted::is(Fault::CommitUnmatchedTail) {
                core.committed(push.high_watermark.min(core.disk.durable), effects);
            }
            if self.attempt == 0 {
                // It forgot that it was aligned: a start ago.
                self.locate(core, 0, core.epochs.last(), effects);
            }
            return;
        }
        if push.from > core.disk.end {
            if !self.full {
                self.acknowledge(core, true, effects);
            }
            return;
        }
        if let Err(what) = fits(core, &push) {
            effects.push(Effect::Report(Finding::Mismatch { from, at: push.from, what }));
            self.aligned = false;
            return self.locate(core, 0, core.epochs.last(), effects);
        }
        if push.to > core.disk.end && core.disk.open_bytes > limits::PUSH_WINDOW_BYTES {
            // The leader's window counts what is here, not what is durable. It goes on when the disk does.
            self.full = true;
            return;
        }
        let (high_watermark, is_new) = (push.high_watermark, push.to > core.disk.end);
        let is_urgent = push.round > self.round;
        self.round = self.round.max(push.round);
        take(core, push);
        core.known_high_watermark = core.known_high_watermark.max(high_watermark);
        self.commit(core, effects);
        // What is new is acknowledged when it is durable.
        if is_urgent || !is_new {
            self.acknowledge(core, false, effects);
        }
    }

    /// A sync returned.
    pub(crate) fn synced(&mut self, core: &mut Core, effects: &mut Vec<Effect>) {
        if planted::is(Fault::CommitAfterDeposal) {
            core.committed(core.disk.durable, effects);
        }
        if self.aligned || planted::is(Fault::CountDivergedAcknowledgement) {
            self.commit(core, effects);
            let has_room = core.disk.open_bytes <= limits::PUSH_WINDOW_BYTES;
            let missing = self.full && has_room;
            self.full &= !has_room;
            self.acknowledge(core, missing, effects);
        }
    }

    /// What the leader says is committed counts as far as it is on this disk.
    fn commit(&self, core: &mut Core, effects: &mut Vec<Effect>) {
        if self.aligned {
            core.committed(core.known_high_watermark.min(core.disk.durable), effects);
        }
    }

    fn follows(&mut self, from: BrokerId) -> bool {
        *self.leader.get_or_insert(from) == from
    }

    fn locate(&mut self, core: &Core, attempt: u64, last: Epoch, effects: &mut Vec<Effect>) {
        let (epoch, durable) = (core.epoch, core.disk.durable);
        self.located = (attempt != 0).then_some(last);
        self.say(Message::Where { epoch, attempt, last, durable }, effects);
    }

    fn acknowledge(&self, core: &Core, missing: bool, effects: &mut Vec<Effect>) {
        let (epoch, mut durable, end) = (core.epoch, core.disk.durable, core.disk.end);
        if planted::is(Fault::FollowerAcknowledgesBeforeSync) {
            durable = end;
        }
        let (attempt, round) = (self.attempt, self.round);
        self.say(Message::Ack { epoch, attempt, durable, end, round, missing }, effects);
    }

    fn say(&self, message: Message, effects: &mut Vec<Effect>) {
        if let Some(to) = self.leader {
            effects.push(Effect::Send { to, message });
        }
    }
}

/// Whether a push continues this log: what was aligned stays aligned, but nothing is believed.
fn fits(core: &Core, push: &Push) -> Result<(), &'static str> {
    let (held, table) = (core.disk.end, &core.epochs);
    if table.before(push.from) != push.before && !planted::is(Fault::SkipPreviousCheck) {
        return Err("the epoch before it");
    }
    let agrees = |epoch: Epoch, at: Position| match at < held {
        true => table.at(at) == epoch,
        false => table.last() <= epoch && epoch <= push.epoch,
    };
    let mut starts = push.epochs.iter().copied().peekable();
    let (mut expected, mut epoch) = (push.from, push.before);
    for entry in &push.entries {
        if entry.position < expected || entry.position >= push.to {
            return Err("an entry outside of its range");
        }
        if entry.position > expected && entry.position > push.high_watermark {
            return Err("a hole in what is not committed");
        }
        while let Some((started, at)) = starts.next_if(|(_, at)| *at <= entry.position) {
            if at < expected || started <= epoch || !agrees(started, at) {
                return Err("the start of an epoch");
            }
            (expected, epoch) = (at, started);
        }
        if entry.epoch < epoch || !agrees(entry.epoch, entry.position) {
            return Err("the epoch of an entry");
        }
        (expected, epoch) = (entry.position.next(), entry.epoch);
    }
    if starts.next().is_some() {
        return Err("the start of an epoch");
    }
    if expected == push.to { Ok(()) } else { Err("its end") }
}

/// Appends what is new of a push that fits.
fn take(core: &mut Core, push: Push) {
    let held = core.disk.end;
    let mut starts = push.epochs.into_iter().peekable();
    for entry in push.entries.into_iter().filter(|entry| entry.position >= held) {
        while let Some((epoch, start)) = starts.next_if(|(_, start)| *start <= entry.position) {
            if epoch > core.epochs.last() && start < entry.position {
                core.epochs.note(epoch, start);
                core.disk.note_epoch(epoch, start);
            }
        }
        core.epochs.note(entry.epoch, entry.position);
        core.disk.append(entry);
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
