//! The leader's side: it decides requests, gives leases and watches the time, on the fold over everything that
//! it appended, committed or not.

mod assign;
mod changes;
mod consumers;
mod cursors;
mod dispatch;
mod home;
mod outcomes;
mod publish;
mod request;
mod settle;
mod streams;
mod timers;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use pondage_model::{
    Body, Entry, Epoch, LogTime, Refusal, ShardId, StreamId,
    entry::{Granted, LeaseRange, Move, Renewed},
};

pub use changes::{Changed, Mark};
pub use home::{Held, MemberReport, MembershipReport, Notice};
pub use request::{ConsumerId, Decision, Dispatch, Draft, Reply, Request, Settled, Verdict};

use crate::fold::{
    Queue, ShardState, Stream,
    message::{HELD, Place, State},
    offsets,
};
use changes::Changes;
use home::has_members;
use outcomes::{Policy, chunks};
use work::Work;

/// What a leader holds of its shard; it dies with the leadership.
///
/// The state inside is the fold over everything appended, plus the leases that were given and are not logged yet.
/// Every entry that the node appends goes through [`Leading::appended`] before the next call of anything else.
#[derive(Clone, Debug, PartialEq)]
pub struct Leading {
    epoch: Epoch,
    shard: ShardId,
    state: ShardState,
    work: BTreeMap<StreamId, Work>,
    /// Streams in which something may be ready for a consumer that wants it.
    active: BTreeSet<StreamId>,
    wakes: BTreeSet<(LogTime, StreamId)>,
    /// Streams with leases or renewals that are not logged.
    unlogged: BTreeSet<StreamId>,
    /// Consumers whose queue was closed, to be told.
    orphans: Vec<(StreamId, ConsumerId)>,
    /// Groups some of whose members were told something else than what is.
    untold: BTreeSet<StreamId>,
    /// Connections that speak for no member any more, to be told.
    dismissed: Vec<(StreamId, ConsumerId)>,
    /// When it dispatched last.
    looked: LogTime,
    /// Where the last dispatch stopped because it had given enough for one call.
    resume: Option<StreamId>,
    changes: Changes,
}

impl Leading {
    /// Begins to lead `shard` in `epoch` from what was folded so far. Logged leases stay until their deadline;
    /// entries between `committed` and the end of the log follow through [`Leading::appended`].
    #[must_use]
    pub fn new(epoch: Epoch, shard: ShardId, committed: &ShardState) -> Self {
        let mut leading = Self {
            epoch,
            shard,
            state: committed.clone(),
            work: BTreeMap::new(),
            active: BTreeSet::new(),
            wakes: BTreeSet::new(),
            unlogged: BTreeSet::new(),
            orphans: Vec::new(),
            untold: BTreeSet::new(),
            dismissed: Vec::new(),
            looked: LogTime(i64::MIN),
            resume: None,
            changes: Changes::default(),
        };
        let ids: Vec<_> = committed.streams().map(|(id, _)| id).collect();
        for id in ids {
            if committed.stream(id).is_some_and(has_members) {
                leading.membership_changed(id);
            }
            leading.refresh(id);
        }
        leading
    }

    /// The term.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The fold over everything appended, with the leases that are not logged yet.
    #[must_use]
    pub fn state(&self) -> &ShardState {
        &self.state
    }

    /// Decides a request on everything appended so far. The drafts are to be appended in order, and the reply
    /// sent once all that is appended by then is committed.
    pub fn decide(&mut self, committed: &ShardState, now: LogTime, request: Request) -> Decision {
        let id = request.stream();
        if let Request::Open { open, .. } = request {
            return self.open(id, open);
        }
        if self.state.stream(id).is_none() {
            return Refusal::NotFound { kind: "stream", name: id.to_string() }.into();
        }
        // What a client may know of a stream ends where the committed part ends.
        let end = committed.stream(id).map(Stream::end).unwrap_or_default();
        match request {
            Request::Open { .. } => unreachable!("decided above"),
            Request::Publish { count, batch, producer, delay_millis, ttl_millis, moved, .. } => {
                let publish = publish::Publishing { count, batch, producer, delay_millis, ttl_millis, moved };
                self.publish(id, now, publish)
            }
            Request::Settle { items, verdict, .. } => self.settle(id, now, end, &items, verdict),
            Request::Attach { consumer, credit, lease_millis, once, .. } => {
                self.attach(id, consumer, credit, lease_millis, once)
            }
            Request::Credit { consumer, add, .. } => self.credit(id, consumer, add),
            Request::Stop { consumer, .. } => self.stop(id, consumer),
            Request::Detach { consumer, lost, .. } => self.detach(id, now, consumer, lost),
            Request::Join { consumer, member, .. } => self.join(id, now, consumer, member),
            Request::Release { consumer, partitions, .. } => self.release(id, consumer, &partitions),
            Request::Progress { consumer, progress, .. } => self.progress(id, consumer, progress),
            Request::Drain { members, .. } => self.drain(id, now, members),
            Request::Leave { consumer, lost, .. } => self.leave(id, now, consumer, lost),
            Request::Purge { .. } => self.purge(id),
            Request::Claim { group, start, owner, .. } => self.claim(id, end, group, start, owner),
            Request::Commit { group, epoch, offset, .. } => self.commit(id, end, group, epoch, offset),
            Request::Seek { group, offset, .. } => self.seek(id, end, group, offset),
            Request::Restart { start, .. } => self.restart(id, start),
            Request::DropGroup { group, .. } => self.drop_group(id, group),
            Request::Settings { settings, .. } => self.change_settings(id, settings),
            Request::Close { .. } => Decision::append(id, Body::Close, Reply::Done),
            Request::Trim { start, .. } => self.trim(id, end, start),
            Request::Moved { seq, .. } if self.state.is_moving(id, seq) => {
                Decision::append(id, Body::Moved(seq), Reply::Done)
            }
            Request::Moved { .. } => Decision::reply(Reply::Done),
        }
    }

    /// Folds an entry that was appended: a draft of this leader, or one of its predecessors that was not
    /// committed when this leader began.
    ///
    /// # Panics
    /// If the entry contradicts what was appended before: the node appended something that nobody decided.
    pub fn appended(&mut self, entry: &Entry) {
        let applied = self.state.apply(entry);
        applied.expect("what is appended was decided on this very state");
        let id = entry.stream;
        match &entry.body {
            Body::EpochStart | Body::CheckpointPage(_) | Body::Command(_) | Body::Voters(_) => return,
            Body::Close => return self.forget_stream(id),
            Body::Settings(_) => {
                if let (Some(work), Some(stream)) = (self.work.get_mut(&id), self.state.stream(id)) {
                    work.take_settings(stream);
                    work.attendance.is_changed = has_members(stream);
                }
            }
            Body::Membership(_) => self.membership_changed(id),
            Body::Accept(runs) => runs.iter().for_each(|run| self.lease_ended(id, lease_offsets(run))),
            Body::Release(runs) => {
                for run in runs {
                    self.lease_ended(id, lease_offsets(&run.leases));
                    self.came_back(id, lease_offsets(&run.leases));
                }
            }
            Body::Discard(discard) => {
                discard.runs.iter().for_each(|run| self.lease_ended(id, offsets(run.first, run.count)));
            }
            Body::Move(moved) => self.lease_ended(id, offsets(moved.offset, 1)),
            Body::Restart(_) => {
                self.lease_ended(id, 0..u64::MAX);
                if let Some(work) = self.work.get_mut(&id) {
                    work.restart();
                }
            }
            _ => {}
        }
        self.changes.note(id);
        self.refresh(id);
        if let Body::Publish(_) | Body::Trim(_) = &entry.body {
            self.partition_changed(id, &entry.body);
        }
    }

    /// What happened to a partition happened to the messages of the shared groups that read it.
    fn partition_changed(&mut self, id: StreamId, body: &Body) {
        let shares: Vec<StreamId> = self.state.shares(id).collect();
        for share in shares {
            if let Body::Trim(start) = body {
                self.lease_ended(share, 0..start.0);
            }
            self.changes.note(share);
            self.refresh(share);
        }
    }

    /// Bookkeeping for leases that ended; harmless for messages without one.
    fn lease_ended(&mut self, id: StreamId, offsets: Range<u64>) {
        if let Some(work) = self.work.get_mut(&id) {
            work.unlogged_grants.remove(offsets.clone());
            work.unlogged_renewals.remove(offsets.clone());
            work.consumers.lease_ended(offsets);
        }
    }

    /// Bookkeeping for messages that wait again: they are granted once their release is committed.
    fn came_back(&mut self, id: StreamId, offsets: Range<u64>) {
        let (Some(stream), work) = (self.state.stream(id), &mut self.work) else { return };
        let work = work.entry(id).or_insert_with(|| Work::new(stream));
        let Some(queue) = stream.queue() else { return };
        work.parked.remove(offsets.clone());
        for offset in offsets {
            if queue.place(offset).ready_at() != Some(HELD) {
                work.uncommitted.push_back(offset);
            }
            if let Some(expires) = queue.expiry().get(offset)
                && (expires, offset) < work.expired_until
            {
                work.expiry_rechecks.insert((expires, offset));
            }
        }
    }

    fn forget_stream(&mut self, id: StreamId) {
        self.changes.close(id);
        if let Some(work) = self.work.remove(&id) {
            self.orphans.extend(work.consumers.ids().map(|consumer| (id, consumer)));
            self.dismissed.extend(work.attendance.consumers().map(|consumer| (id, consumer)));
            if let Some(wake) = work.wake {
                self.wakes.remove(&(wake, id));
            }
        }
        self.active.remove(&id);
        self.unlogged.remove(&id);
    }

    /// Notes anew when a stream needs attention.
    fn refresh(&mut self, id: StreamId) {
        let Some(stream) = self.state.stream(id) else { return };
        let idle = stream.queue().is_none_or(|queue| {
            queue.leased().is_empty() && queue.waiting().is_empty() && queue.expiry().is_empty()
        });
        if idle && !self.work.contains_key(&id) && stream.producer_count() == 0 {
            return;
        }
        let work = self.work.entry(id).or_insert_with(|| Work::new(stream));
        let wake = work.next_wake(stream, self.looked);
        if work.wake != wake {
            if let Some(before) = work.wake {
                self.wakes.remove(&(before, id));
            }
            if let Some(wake) = wake {
                self.wakes.insert((wake, id));
            }
            work.wake = wake;
        }
        if work.may_dispatch(stream, self.looked) {
            self.active.insert(id);
        }
        if !work.unlogged_grants.is_empty() || !work.unlogged_renewals.is_empty() {
            self.unlogged.insert(id);
        }
    }

    /// The leases and renewals that the log does not know yet, as entries. They need not be committed before
    /// anything, but should be logged within a second or so, and before a hand-over.
    pub fn lazy(&mut self) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for id in std::mem::take(&mut self.unlogged) {
            drafts.extend(self.lazy_of(id));
        }
        drafts
    }

    /// As [`Leading::lazy`], of one stream. What ends leases without naming them is appended behind this.
    fn lazy_of(&mut self, id: StreamId) -> Vec<Draft> {
        self.unlogged.remove(&id);
        let Some(work) = self.work.get_mut(&id) else { return Vec::new() };
        let grants = std::mem::take(&mut work.unlogged_grants);
        let renewals = std::mem::take(&mut work.unlogged_renewals);
        let Some(queue) = self.state.stream(id).and_then(Stream::queue) else { return Vec::new() };
        let granted = granted_runs(queue, grants.iter().flatten());
        let renewed = renewed_runs(queue, renewals.iter().flatten());
        let bodies = chunks(granted, Body::Grant).into_iter().chain(chunks(renewed, Body::Renew));
        bodies.map(|body| Draft { stream: id, body }).collect()
    }

    /// The earliest time at which [`Leading::on_time`] and [`Leading::dispatch`] have something to do, if nothing
    /// else happens: a deadline, a due time, the end of a backoff, an expiry. One that is past means at once.
    #[must_use]
    pub fn next_wake(&self) -> Option<LogTime> {
        let unfinished = self.resume.map(|_| self.looked);
        let wake = self.wakes.first().map(|&(wake, _)| wake);
        [unfinished, wake].into_iter().flatten().min()
    }

    /// Says where the dead letters of `stream` go, or that it is not known; asked of the catalog by the node, and
    /// again whenever the queue's settings or the catalog change.
    pub fn set_dead_letter(&mut self, stream: StreamId, target: Option<(ShardId, StreamId)>) {
        if let Some(queue) = self.state.stream(stream) {
            self.work.entry(stream).or_insert_with(|| Work::new(queue)).target = target;
            self.refresh(stream);
        }
    }

    /// The committed moves that are not finished, by source, then sequence: the forwarder publishes each to its
    /// target in this order and reports back with [`Request::Moved`].
    pub fn moves<'a>(&'a self, committed: &'a ShardState) -> impl Iterator<Item = (StreamId, Move)> + 'a {
        committed.moves().filter(|(id, moved)| self.state.is_moving(*id, moved.seq))
    }

    /// The first of `source`'s unfinished moves, if it is committed: the only one that the forwarder may have under
    /// way, because a later one must not overtake it.
    #[must_use]
    pub fn next_move(&self, committed: &ShardState, source: StreamId) -> Option<Move> {
        let (_, first) = self.state.stream(source)?.queue()?.moves().first_key_value()?;
        committed.is_moving(source, first.seq).then_some(*first)
    }

    /// Where the dead letters of `stream` go now, as [`Leading::set_dead_letter`] said.
    #[must_use]
    pub fn dead_letter(&self, stream: StreamId) -> Option<(ShardId, StreamId)> {
        self.work.get(&stream)?.target
    }

    /// The queue with its policy, if the stream is one.
    fn queue(&self, id: StreamId) -> Option<(&Queue, Policy<'_>)> {
        let stream = self.state.stream(id)?;
        let settings = stream.open.settings.queue()?;
        let target = self.work.get(&id).and_then(|work| work.target);
        Some((stream.queue()?, Policy { settings, target }))
    }
}

fn lease_offsets(run: &LeaseRange) -> Range<u64> {
    offsets(run.first, run.count.into())
}

/// The current leases of `offsets` as runs.
fn granted_runs(queue: &Queue, offsets: impl Iterator<Item = u64>) -> Vec<Granted> {
    let mut runs: Vec<Granted> = Vec::new();
    for offset in offsets {
        let Place::Touched(message) = queue.place(offset) else { continue };
        let State::Leased(deadline) = message.state else { continue };
        let granted = Granted {
            first: pondage_model::Offset(offset),
            count: 1,
            attempt: message.lease.attempt,
            deadline,
        };
        push_granted(&mut runs, granted);
    }
    runs
}

/// Appends `granted` to `runs`, as part of the last one if it continues it.
fn push_granted(runs: &mut Vec<Granted>, granted: Granted) {
    match runs.last_mut() {
        Some(run)
            if run.attempt == granted.attempt
                && run.deadline == granted.deadline
                && run.first.0 + u64::from(run.count) == granted.first.0 =>
        {
            run.count += granted.count;
        }
        _ => runs.push(granted),
    }
}

fn renewed_runs(queue: &Queue, offsets: impl Iterator<Item = u64>) -> Vec<Renewed> {
    let mut runs: Vec<Renewed> = Vec::new();
    for offset in offsets {
        let Place::Touched(message) = queue.place(offset) else { continue };
        let State::Leased(deadline) = message.state else { continue };
        match runs.last_mut() {
            Some(run)
                if run.deadline == deadline
                    && run.leases.lease == message.lease
                    && lease_offsets(&run.leases).end == offset =>
            {
                run.leases.count += 1;
            }
            _ => {
                let first = pondage_model::Offset(offset);
                let leases = LeaseRange { first, count: 1, lease: message.lease };
                runs.push(Renewed { leases, deadline });
            }
        }
    }
    runs
}
