//! The machine's heart: append, commit, speak.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pondage_delivery::{Draft, Leading, ShardState};
use pondage_model::{
    Body, Entry, Epoch, LogTime, Member, Offset, Position, Refusal, ShardId, StreamId, limits,
    planted::{self, Fault},
    record,
};
use pondage_replication::{Effect, EpochTable, Input, Message, RecoveredLog, Replica, Round, Timing};

use super::{
    ReaderId, ShardEffect, ShardEvent, ShardReply, forwarding::Forwarding, maintenance::Maintenance,
    recovery::Replay,
};
use crate::{LogClock, Now, coordinator::ShardPosition, outbox::Outbox};

/// How long a grant may stay unlogged before it is logged for its own sake, in milliseconds.
const LAZY_MILLIS: u64 = 1_000;

/// Answers that wait for the disk; then requests wait.
const HELD_MAX: usize = 65_536;

/// One shard of this broker.
#[derive(Debug)]
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) replica: Replica,
    pub(super) clock: LogClock,
    /// Appended entries that are not yet committed, as the committed fold will need them.
    pub(super) uncommitted: VecDeque<Entry>,
    pub(super) state: State,
    pub(super) outbox: Outbox<ShardEffect>,
    pub(super) readers: BTreeMap<StreamId, BTreeMap<ReaderId, (Offset, Offset)>>,
    pub(super) maintenance: Maintenance,
    pub(super) forwarding: Forwarding,
    /// When the oldest unlogged grant was made, on the monotonic clock.
    pub(super) lazy_since: Option<u64>,
    /// Its broker stops: it gives no leases any more, so that none is unlogged then.
    pub(super) leaving: bool,
    pub(super) wake_at: Option<u64>,
}

/// What a shard's log was recovered with.
#[derive(Clone, Debug)]
pub struct ShardLog {
    /// Where its newest complete checkpoint begins, else where the log does.
    pub replay_from: Position,
    /// The position after the last entry.
    pub end: Position,
    /// Every epoch that ever wrote there, with its first position.
    pub epochs: Vec<(Epoch, Position)>,
    /// The newest epoch that the volume promised to answer in.
    pub promised: Epoch,
    /// The log time of the last entry.
    pub newest_log_time: LogTime,
}

/// What the machine knows of the shard's messages.
#[derive(Debug)]
pub(super) enum State {
    /// It folds what is committed, behind a leader or on its way to serve.
    Replaying(Box<Replay>),
    /// It leads.
    Leading(Box<Led>),
    /// Its disk failed, at this log time.
    Fenced(LogTime),
}

/// A leader's two folds.
#[derive(Debug)]
pub(super) struct Led {
    /// Over committed entries.
    pub(super) committed: ShardState,
    /// Over appended ones, with consumers and unlogged grants. Dies with the leadership.
    pub(super) leading: Leading,
}

impl Shard {
    /// A shard whose log was recovered, on this start of its broker. It leads and follows nobody yet.
    #[must_use]
    pub fn recovered(id: ShardId, me: Member, log: ShardLog, timing: Timing, now: Now) -> Self {
        let ShardLog { replay_from, end, epochs, promised, newest_log_time } = log;
        let recovered = RecoveredLog { end, epochs: EpochTable::new(epochs), promised };
        Self {
            id,
            replica: Replica::recovered(id, me, timing, recovered),
            clock: LogClock::start(now, newest_log_time),
            uncommitted: VecDeque::new(),
            state: State::Replaying(Box::new(Replay::new(replay_from))),
            outbox: Outbox::new(),
            readers: BTreeMap::new(),
            maintenance: Maintenance::new(replay_from),
            forwarding: Forwarding::default(),
            lazy_since: None,
            leaving: false,
            wake_at: None,
        }
    }

    /// The shard.
    #[must_use]
    pub const fn id(&self) -> ShardId {
        self.id
    }

    /// Where its log ends, for an election.
    #[must_use]
    pub fn position(&self) -> ShardPosition {
        let status = self.replica.status();
        ShardPosition {
            shard: self.id,
            epoch: status.epoch,
            last_epoch: status.last_epoch,
            end: status.durable,
            high_watermark: status.high_watermark,
        }
    }

    /// Whether it leads and answers.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        matches!(self.state, State::Leading(_))
    }

    /// Whether as much is waiting for the disk as one batch may carry, or as many answers as may be held: the shell
    /// should let requests wait.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.replica.open_bytes() >= limits::SYNC_BATCH_BYTES_MAX || self.outbox.len() >= HELD_MAX
    }

    /// The replica under it.
    #[must_use]
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The fold over committed entries, as far as it got; none while something is missing.
    #[must_use]
    pub fn committed(&self) -> Option<&ShardState> {
        match &self.state {
            State::Leading(led) => Some(&led.committed),
            State::Replaying(replay) => replay.state(),
            State::Fenced(_) => None,
        }
    }

    /// Takes one event and says all that follows: [`Self::handle`], then [`Self::settle`].
    ///
    /// # Errors
    /// [`Broken`] if the log holds what no leader could have written: nothing may be served from it.
    pub fn step(
        &mut self,
        now: Now,
        event: ShardEvent,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        self.handle(now, event, effects)?;
        self.settle(now, effects)
    }

    /// Takes one event. The shell takes all that are there before it settles, so that they share a batch.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn handle(
        &mut self,
        now: Now,
        event: ShardEvent,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        let log_time = self.clock.read(now);
        match event {
            ShardEvent::Assigned(row) => self.replicate(now, Input::Assigned(row), effects),
            ShardEvent::Peer { from, message } => self.hear(now, from, message, effects),
            ShardEvent::Link { broker, up } => self.replicate(now, Input::Link { broker, up }, effects),
            ShardEvent::Synced(synced) => self.replicate(now, Input::Durable(synced.end()), effects),
            ShardEvent::Truncated(cut) => self.replicate(now, Input::Truncated(cut.end()), effects),
            ShardEvent::Persisted(epoch) => self.replicate(now, Input::Persisted(epoch), effects),
            ShardEvent::Read { to, from, entries } => {
                self.replicate(now, Input::Read { to, from, entries }, effects)
            }
            ShardEvent::HandOver(to) => {
                self.log_leases(log_time)?;
                self.replicate(now, Input::HandOver(to), effects)
            }
            ShardEvent::KeepLeading => self.replicate(now, Input::KeepLeading, effects),
            ShardEvent::Leave => self.replicate(now, Input::Leave, effects),
            ShardEvent::Replayed(entries) => self.replayed(entries, effects),
            ShardEvent::Checkpoint { below, first } => self.replay_anew(below, first, effects),
            ShardEvent::WriteFailed => {
                self.fence(now, log_time, effects);
                Ok(())
            }
            ShardEvent::Request { id, request } => self.request(now, log_time, id, request, effects),
            ShardEvent::Segments(segments) => self.maintain(log_time, &segments, effects),
            ShardEvent::ForwardRefused { source, seq, gone } => {
                self.forward_refused(now, source, seq, gone);
                Ok(())
            }
            ShardEvent::Wake => {
                self.wake_at = None;
                self.replicate(now, Input::Tick, effects)
            }
        }
    }

    /// What follows from any event: time, grants, dead letters, the next batch, answers, the next wake.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn settle(&mut self, now: Now, effects: &mut Vec<ShardEffect>) -> Result<(), Broken> {
        let log_time = self.clock.read(now);
        // Nothing is appended that could not be committed, nor while the leadership is handed over.
        if self.is_serving() && self.replica.check_leader().is_ok() {
            self.act_on_time(log_time)?;
            self.grant(now, log_time);
            self.notify_members();
            self.forward(now);
            self.log_lazily(now, log_time)?;
        }
        let mut replication = Vec::new();
        self.replica.flush(clocks(now, log_time), &mut replication);
        self.perform(replication, effects)?;
        while let Some(effect) = self.outbox.release(self.replica.high_watermark(), self.replica.confirmed())
        {
            effects.push(effect);
        }
        self.arm(now, log_time, effects);
        Ok(())
    }

    /// Appends a draft: gives it a place, folds it into the leading state.
    pub(super) fn append(&mut self, log_time: LogTime, draft: Draft) -> Result<(), Broken> {
        let Draft { stream, mut body } = draft;
        if let Body::Publish(publish) = &mut body {
            let batch = std::mem::take(&mut publish.batch);
            publish.batch = record::stamp_base_offset(batch, publish.base_offset);
        }
        let entry = self.replica.append(log_time, stream, body);
        let State::Leading(led) = &mut self.state else {
            unreachable!("drafts come from a leading state");
        };
        led.leading.appended(&entry);
        self.uncommitted.push_back(entry);
        Ok(())
    }

    /// Speaks once everything appended so far is committed. What was appended for it (`appended`) proves by being
    /// committed that this leader still leads; without that a later round has to.
    pub(super) fn speak(&mut self, appended: bool, effect: ShardEffect) {
        let round = if appended { Round::NONE } else { self.replica.confirm() };
        self.outbox.hold(self.replica.end(), round, effect);
    }

    /// Tells of committed messages alone: what is committed stays so, whoever leads.
    pub(super) fn tell(&mut self, effect: ShardEffect) {
        self.outbox.hold(self.replica.high_watermark(), Round::NONE, effect);
    }

    /// Gives what is committed to somebody alone: no later position is needed, but the round is.
    fn give(&mut self, effect: ShardEffect) {
        let round = self.replica.confirm();
        self.outbox.hold(self.replica.high_watermark(), round, effect);
    }

    /// Another replica said something. Entries that are taken push this log's time on at once: this replica may lead
    /// before they are handed to its disk.
    fn hear(
        &mut self,
        now: Now,
        from: Member,
        message: Message,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        let newest = match &message {
            Message::Push(push) => push.entries.last().map(|entry| entry.log_time),
            _ => None,
        };
        let end = self.replica.end();
        self.replicate(now, Input::Message { from, message }, effects)?;
        if let Some(newest) = newest
            && self.replica.end() > end
        {
            self.clock.not_before(newest);
        }
        Ok(())
    }

    pub(super) fn replicate(
        &mut self,
        now: Now,
        input: Input,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        let log_time = self.clock.read(now);
        let mut replication = Vec::new();
        self.replica.step(clocks(now, log_time), input, &mut replication);
        self.perform(replication, effects)
    }

    fn perform(&mut self, replication: Vec<Effect>, effects: &mut Vec<ShardEffect>) -> Result<(), Broken> {
        for effect in replication {
            match effect {
                Effect::Write(batch) => {
                    if let State::Replaying(_) = self.state {
                        for raw in &batch.entries {
                            let entry = raw.clone().decode();
                            let entry = entry.map_err(|error| Broken::new(raw.position, &error))?;
                            self.clock.not_before(entry.log_time);
                            self.uncommitted.push_back(entry);
                        }
                    }
                    effects.push(ShardEffect::Write(batch));
                }
                Effect::Cut(end) => self.cut(end, effects),
                Effect::Committed(high_watermark) => self.commit(high_watermark, effects)?,
                Effect::Serving(_) => self.serve_soon(effects)?,
                Effect::Following(epoch) => self.stop_leading(epoch, effects),
                Effect::Truncate(to) => effects.push(ShardEffect::Truncate(to)),
                Effect::Persist(epoch) => effects.push(ShardEffect::Persist(epoch)),
                Effect::Send { to, message } => effects.push(ShardEffect::Send { to, message }),
                Effect::Read { to, from, bytes_max } => {
                    effects.push(ShardEffect::Read { to, from, bytes_max });
                }
                Effect::RequestIsr(request) => effects.push(ShardEffect::RequestIsr(request)),
                Effect::HandOver { epoch, version, to } => {
                    effects.push(ShardEffect::HandOver { epoch, version, to });
                }
                Effect::Report(finding) => effects.push(ShardEffect::Report(finding)),
            }
        }
        Ok(())
    }

    /// The leadership is over: the overlay dies, and whoever waits learns that the outcome is unknown.
    fn stop_leading(&mut self, epoch: Epoch, effects: &mut Vec<ShardEffect>) {
        match &mut self.state {
            State::Leading(led) => {
                let mut committed = std::mem::take(&mut led.committed);
                if planted::is(Fault::KeepOverlayAfterDeposal) {
                    committed = led.leading.state().clone();
                }
                let replay = Replay::resumed(committed, self.replica.high_watermark());
                self.state = State::Replaying(Box::new(replay));
                // What was written and is not committed is on the disk, if it ever counts.
                self.uncommitted.clear();
                self.readers.clear();
                self.forwarding = Forwarding::default();
                self.lazy_since = None;
                self.leaving = false;
                self.answer_all(&Refusal::LeadershipLost { epoch }, effects);
            }
            State::Replaying(replay) => replay.forget(),
            State::Fenced(_) => {}
        }
        effects.push(ShardEffect::Following(epoch));
    }

    fn answer_all(&mut self, refusal: &Refusal, effects: &mut Vec<ShardEffect>) {
        for effect in self.outbox.drain() {
            if let ShardEffect::Reply { id, .. } = effect {
                effects.push(ShardEffect::Reply { id, reply: ShardReply::Refused(refusal.clone()) });
            }
        }
    }

    /// Logs every lease.
    pub(super) fn log_leases(&mut self, log_time: LogTime) -> Result<(), Broken> {
        self.lazy_since = None;
        let State::Leading(led) = &mut self.state else { return Ok(()) };
        for draft in led.leading.lazy() {
            self.append(log_time, draft)?;
        }
        Ok(())
    }

    /// Folds what became committed and tells the readers.
    fn commit(&mut self, high_watermark: Position, effects: &mut Vec<ShardEffect>) -> Result<(), Broken> {
        let State::Leading(led) = &mut self.state else {
            return self.keep_up(effects);
        };
        let mut moved = BTreeSet::new();
        while let Some(entry) = self.uncommitted.pop_front_if(|entry| entry.position < high_watermark) {
            if matches!(entry.body, Body::Publish(_) | Body::Trim(_) | Body::Close) {
                moved.insert(entry.stream);
            }
            if let Body::Move(_) = entry.body {
                self.forwarding.note(entry.stream);
            }
            self.maintenance.committed(&entry);
            led.committed.apply(&entry).map_err(|error| Broken::new(entry.position, &error))?;
        }
        for stream in moved {
            self.tell_readers(stream);
        }
        Ok(())
    }

    fn tell_readers(&mut self, stream: StreamId) {
        let State::Leading(led) = &self.state else { return };
        let Some(readers) = self.readers.get_mut(&stream) else { return };
        let Some((start, end)) = led.committed.stream(stream).map(|found| (found.start(), found.end()))
        else {
            self.readers.remove(&stream);
            return;
        };
        let told: Vec<_> = readers
            .iter_mut()
            .filter(|(_, known)| **known != (start, end))
            .map(|(reader, known)| {
                *known = (start, end);
                ShardEffect::Progress { reader: *reader, stream, start, end }
            })
            .collect();
        for effect in told {
            self.tell(effect);
        }
    }

    /// Expired leases, due and outlived messages, idle producers.
    fn act_on_time(&mut self, log_time: LogTime) -> Result<(), Broken> {
        let State::Leading(led) = &mut self.state else { return Ok(()) };
        for draft in led.leading.on_time(&led.committed, log_time) {
            self.append(log_time, draft)?;
        }
        Ok(())
    }

    /// Gives leases to consumers with credit.
    fn grant(&mut self, now: Now, log_time: LogTime) {
        let State::Leading(led) = &mut self.state else { return };
        if self.leaving {
            return;
        }
        let dispatches = led.leading.dispatch(&led.committed, log_time);
        if !dispatches.is_empty() {
            self.lazy_since.get_or_insert(now.monotonic_millis);
        }
        let epoch = self.replica.epoch();
        for dispatch in dispatches {
            self.give(ShardEffect::Deliver { epoch, dispatch });
        }
    }

    /// Tells members of groups what they own, once it is committed.
    fn notify_members(&mut self) {
        let State::Leading(led) = &mut self.state else { return };
        for notice in led.leading.notices() {
            self.speak(false, ShardEffect::Notify(notice));
        }
    }

    /// Puts unlogged grants into a batch that is about to be written anyway, or after a while for their own sake.
    fn log_lazily(&mut self, now: Now, log_time: LogTime) -> Result<(), Broken> {
        let Some(since) = self.lazy_since else { return Ok(()) };
        let waited = self.leaving || now.monotonic_millis.saturating_sub(since) >= LAZY_MILLIS;
        if self.replica.is_idle() && (self.replica.has_open() || waited) {
            self.lazy_since = None;
            let State::Leading(led) = &mut self.state else { return Ok(()) };
            for draft in led.leading.lazy() {
                self.append(log_time, draft)?;
            }
        }
        Ok(())
    }

    fn arm(&mut self, now: Now, log_time: LogTime, effects: &mut Vec<ShardEffect>) {
        // What may not be appended is not waited for either, or a wake would follow the other at once.
        let delivery = if let State::Leading(led) = &self.state
            && self.replica.check_leader().is_ok()
        {
            let timed = led.leading.next_wake();
            let timed = timed.map(|at| now.monotonic_millis + at.millis_since(log_time).max(1));
            // While a batch is written its end is the next chance to log leases, and it wakes by itself.
            let lazy = self.lazy_since.filter(|_| self.replica.is_idle()).map(|since| since + LAZY_MILLIS);
            [self.forwarding.next_retry(), timed, lazy].into_iter().flatten().min()
        } else {
            None
        };
        let replication = self.replica.next_tick(clocks(now, log_time));
        let next = delivery.into_iter().chain(replication).min();
        if let Some(at) = next
            && self.wake_at.is_none_or(|armed| at < armed || armed <= now.monotonic_millis)
        {
            self.wake_at = Some(at);
            effects.push(ShardEffect::WakeAt(at));
        }
    }

    /// The disk failed: what was decided and not committed has an unknown outcome.
    fn fence(&mut self, now: Now, log_time: LogTime, effects: &mut Vec<ShardEffect>) {
        let mut nothing = Vec::new();
        self.replica.step(clocks(now, log_time), Input::Fault, &mut nothing);
        self.state = State::Fenced(log_time);
        self.uncommitted.clear();
        self.answer_all(&Refusal::VolumeFenced { since: log_time }, effects);
    }
}

const fn clocks(now: Now, log_time: LogTime) -> pondage_replication::Now {
    pondage_replication::Now { monotonic_millis: now.monotonic_millis, log_time }
}

/// The log holds what no leader could have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry at position {position} does not follow from those before it: {what}")]
pub struct Broken {
    /// Where.
    pub position: Position,
    /// What.
    pub what: String,
}

impl Broken {
    pub(super) fn new(position: Position, error: &dyn std::fmt::Display) -> Self {
        Self { position, what: error.to_string() }
    }
}
