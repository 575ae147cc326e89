//! One shard's replica: what it is, and what it does with each input.

use pondage_model::{
    Body, BrokerId, Entry, Epoch, LogTime, Member, Position, Refusal, ShardId, StreamId,
    planted::{self, Fault},
};

use crate::{
    Assignment, Effect, EpochTable, Finding, FollowerStatus, Input, Message, Now, RecoveredLog, Round,
    Status, Timing, disk::Disk, follower::Follower, leader::Leader,
};

/// What is the same for leader and follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Core {
    pub(crate) shard: ShardId,
    pub(crate) me: Member,
    pub(crate) timing: Timing,
    pub(crate) assignment: Option<Assignment>,
    /// The newest epoch that it knows of.
    pub(crate) epoch: Epoch,
    /// The newest epoch that is durably promised.
    promised: Epoch,
    promising: bool,
    /// The newest epoch that this start led.
    led: Epoch,
    pub(crate) epochs: EpochTable,
    pub(crate) disk: Disk,
    /// Everything below is committed, and here.
    pub(crate) high_watermark: Position,
    /// Everything below is committed somewhere.
    pub(crate) known_high_watermark: Position,
    /// The broker stops.
    pub(crate) leaving: bool,
}

/// What a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Follower(Follower),
    Leader(Box<Leader>),
    Fenced,
}

/// One shard's replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub(crate) core: Core,
    pub(crate) role: Role,
}

impl Core {
    /// Whether it may answer in its epoch.
    pub(crate) fn is_promised(&self) -> bool {
        self.promised >= self.epoch || planted::is(Fault::ForgetPromise)
    }

    fn raise(&mut self, epoch: Epoch, effects: &mut Vec<Effect>) {
        debug_assert!(epoch >= self.epoch);
        self.epoch = epoch;
        self.promise(effects);
    }

    fn promise(&mut self, effects: &mut Vec<Effect>) {
        if !self.promising && !self.is_promised() {
            self.promising = true;
            effects.push(Effect::Persist(self.epoch));
        }
    }

    pub(crate) fn committed(&mut self, position: Position, effects: &mut Vec<Effect>) {
        self.known_high_watermark = self.known_high_watermark.max(position);
        if position > self.high_watermark {
            self.high_watermark = position;
            effects.push(Effect::Committed(position));
        }
    }
}

impl Replica {
    /// A replica on a recovered log, on this start of its broker. It leads and follows nobody yet.
    #[must_use]
    pub fn recovered(shard: ShardId, me: Member, timing: Timing, log: RecoveredLog) -> Self {
        let RecoveredLog { end, epochs, promised } = log;
        let epoch = epochs.last().max(promised);
        let core = Core {
            shard,
            me,
            timing,
            assignment: None,
            epoch,
            // Entries of an epoch are as good a promise as any.
            promised: epoch,
            promising: false,
            led: Epoch::ZERO,
            epochs,
            disk: Disk::recovered(end),
            high_watermark: Position::ZERO,
            known_high_watermark: Position::ZERO,
            leaving: false,
        };
        Self { core, role: Role::Follower(Follower::of(None)) }
    }

    /// The shard.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        self.core.shard
    }

    /// This start of its broker.
    #[must_use]
    pub const fn member(&self) -> Member {
        self.core.me
    }

    /// The newest epoch that it knows of.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.core.epoch
    }

    /// The next position.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.core.disk.end
    }

    /// Everything below is on its own disk.
    #[must_use]
    pub const fn durable(&self) -> Position {
        self.core.disk.durable
    }

    /// Everything below is committed, and here.
    #[must_use]
    pub const fn high_watermark(&self) -> Position {
        self.core.high_watermark
    }

    /// The row of the catalog that it goes by.
    #[must_use]
    pub const fn assignment(&self) -> Option<&Assignment> {
        self.core.assignment.as_ref()
    }

    /// The epochs that wrote its log.
    #[must_use]
    pub const fn epochs(&self) -> &EpochTable {
        &self.core.epochs
    }

    /// Whether it leads and an entry of its epoch is committed.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.serving)
    }

    /// Whether it leads, serving or not yet.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Who leads in its epoch, as far as it knows.
    #[must_use]
    pub const fn leader(&self) -> Option<BrokerId> {
        match &self.role {
            Role::Leader(_) => Some(self.core.me.broker),
            Role::Follower(follower) => follower.leader,
            Role::Fenced => None,
        }
    }

    /// Its followers by broker, as far as it knows of them; none unless it leads.
    pub fn followers(&self) -> impl Iterator<Item = FollowerStatus> {
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) | Role::Fenced => None,
        };
        leader.into_iter().flat_map(|leader| leader.followers(&self.core))
    }

    /// Whom it hands over to, while it waits for that follower to have everything.
    #[must_use]
    pub fn handing_over(&self) -> Option<BrokerId> {
        match &self.role {
            Role::Leader(leader) => leader.handing_over(),
            Role::Follower(_) | Role::Fenced => None,
        }
    }

    /// Whether a new batch would be handed out at once: nothing is being written.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.core.disk.is_idle()
    }

    /// Whether something was appended that no batch has taken yet.
    #[must_use]
    pub const fn has_open(&self) -> bool {
        self.core.disk.has_open()
    }

    /// About the bytes that were appended and that no batch has taken yet.
    #[must_use]
    pub const fn open_bytes(&self) -> usize {
        self.core.disk.open_bytes
    }

    /// Its place, for who plans a failover.
    #[must_use]
    pub fn status(&self) -> Status {
        let durable = self.core.disk.durable;
        let last_epoch = self.core.epochs.before(durable);
        Status {
            // A durable entry of an epoch is as good a promise as any.
            epoch: self.core.promised.max(last_epoch),
            last_epoch,
            durable,
            high_watermark: self.core.known_high_watermark,
            leading: self.is_leader().then(|| self.is_serving()),
        }
    }

    /// Whether this replica may append.
    ///
    /// # Errors
    /// Definite: [`Refusal::NotLeader`] for a follower, a fenced replica and a leader that hands over;
    /// [`Refusal::NotEnoughReplicas`] while fewer replicas than a commit needs are in sync, or one that it needs has
    /// not answered for longer than it may.
    pub fn check_leader(&self) -> Result<(), Refusal> {
        match &self.role {
            Role::Leader(leader) if leader.handing_over().is_none() => leader.check_enough(&self.core),
            _ => Err(Refusal::NotLeader { epoch: self.core.epoch }),
        }
    }

    /// Appends to the open batch and returns the entry with its place. Nothing is written or sent before
    /// [`Self::flush`].
    ///
    /// # Panics
    /// If this replica does not lead: the caller asked [`Self::check_leader`].
    pub fn append(&mut self, log_time: LogTime, stream: StreamId, body: Body) -> Entry {
        let Role::Leader(leader) = &mut self.role else { panic!("only a leader appends") };
        leader.append(&mut self.core, log_time, stream, body)
    }

    /// What follows from everything so far: the next batch for the disk if it is free, pushes to the followers, the
    /// next confirming round, changes of the in-sync set.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Role::Leader(leader) = &mut self.role {
            leader.advance(&mut self.core, now.monotonic_millis, effects);
        }
        if !matches!(self.role, Role::Fenced) {
            self.core.disk.flush(effects);
        }
        #[cfg(debug_assertions)]
        crate::invariants::check(self);
    }

    /// The round that must be confirmed before a decision made now may be spoken: one that has not begun. It begins
    /// with the next [`Self::flush`] that finds no other under way.
    pub fn confirm(&mut self) -> Round {
        match &mut self.role {
            Role::Leader(leader) => leader.confirm(&self.core),
            // Whoever lost the leadership speaks no more: no round after this one is ever confirmed.
            Role::Follower(_) | Role::Fenced => Round(u64::MAX),
        }
    }

    /// The newest confirmed round.
    #[must_use]
    pub const fn confirmed(&self) -> Round {
        match &self.role {
            Role::Leader(leader) => leader.confirmed(),
            Role::Follower(_) | Role::Fenced => Round::NONE,
        }
    }

    /// When [`Input::Tick`] is wanted, on the monotonic clock; never while everything is as it should be.
    #[must_use]
    pub fn next_tick(&self, now: Now) -> Option<u64> {
        match &self.role {
            Role::Leader(leader) => leader.next_tick(&self.core, now.monotonic_millis),
            Role::Follower(_) | Role::Fenced => None,
        }
    }

    /// Takes what happened and says what follows. [`Self::flush`] afterwards, perhaps after several inputs.
    ///
    /// # Panics
    /// On inputs that no catalog and no disk can give.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        let millis = now.monotonic_millis;
        match (input, &mut self.role) {
            (_, Role::Fenced) => {}
            (Input::Fault, _) => {
                self.role = Role::Fenced;
                self.core.disk.fence();
            }
            (Input::Assigned(assignment), _) => self.assigned(now, assignment, effects),
            (Input::Durable(position), role) => {
                self.core.disk.synced(position);
                match role {
                    Role::Leader(leader) => leader.commit(&mut self.core, millis, effects),
                    Role::Follower(follower) => follower.synced(&mut self.core, effects),
                    Role::Fenced => {}
                }
            }
            (Input::Truncated(position), _) => self.core.disk.truncated(position),
            (Input::Persisted(epoch), role) => {
                self.core.promising = false;
                self.core.promised = self.core.promised.max(epoch);
                match role {
                    Role::Follower(follower) if self.core.is_promised() => {
                        follower.promised(&self.core, effects);
                    }
                    // A leader's own entries are its promise.
                    Role::Leader(_) => {}
                    _ => self.core.promise(effects),
                }
            }
            (Input::Message { from, message }, _) => self.hear(now, from, message, effects),
            (Input::Read { to, from, entries }, Role::Leader(leader)) => {
                leader.read(&self.core, to, from, entries, millis, effects);
            }
            (Input::Link { broker, up }, Role::Leader(leader)) => {
                leader.link(&self.core, broker, up, millis, effects);
            }
            (Input::Tick, Role::Leader(leader)) => leader.tick(&mut self.core, millis, effects),
            (Input::HandOver(to), Role::Leader(leader)) => leader.hand_over(&self.core, to, millis),
            (Input::KeepLeading, Role::Leader(leader)) => leader.keep_leading(),
            (Input::Leave, role) => {
                self.core.leaving = true;
                if let Role::Follower(follower) = role {
                    follower.take_leave(&self.core, effects);
                }
            }
            (
                Input::Read { .. }
                | Input::Link { .. }
                | Input::Tick
                | Input::HandOver(_)
                | Input::KeepLeading,
                Role::Follower(_),
            ) => {}
        }
    }

    fn assigned(&mut self, now: Now, row: Assignment, effects: &mut Vec<Effect>) {
        if self.core.assignment.as_ref().is_some_and(|known| known.version >= row.version) {
            return;
        }
        let core = &mut self.core;
        let (epoch, is_mine, leader) = (row.epoch, row.is_led_by(core.me), row.leader);
        let next_version = core.assignment.as_ref().map_or(0, |known| known.version + 1);
        let skipped = row.version > next_version;
        core.assignment = Some(row);
        if epoch < core.epoch {
            return;
        }
        if is_mine && epoch > core.led {
            return self.lead(now, epoch, effects);
        }
        let other = leader.filter(|leader| *leader != core.me.broker);
        match &mut self.role {
            Role::Leader(leading) if epoch == core.epoch && is_mine => {
                leading.reassigned(core, skipped, now.monotonic_millis, effects);
            }
            Role::Follower(follower) if epoch == core.epoch => follower.leader = follower.leader.or(other),
            _ => self.follow(epoch, other, effects),
        }
    }

    fn lead(&mut self, now: Now, epoch: Epoch, effects: &mut Vec<Effect>) {
        if self.is_leader() {
            // Rounds begin anew: what waits for an older one must not be taken for one of this epoch.
            effects.push(Effect::Following(epoch));
        }
        let core = &mut self.core;
        if epoch <= core.epochs.last() {
            // Somebody else wrote in this epoch. No catalog makes two leaders, but entries come over the network.
            let what = "entries of an epoch that nobody else led";
            effects.push(Effect::Report(Finding::Mismatch { from: core.me, at: core.disk.end, what }));
            return self.follow(epoch, None, effects);
        }
        if core.known_high_watermark > core.disk.end {
            let (end, high_watermark) = (core.disk.end, core.known_high_watermark);
            effects.push(Effect::Report(Finding::LeaderBehind { end, high_watermark }));
            return self.follow(epoch, None, effects);
        }
        core.epoch = epoch;
        core.led = epoch;
        let mut leader = Leader::new(core, now.monotonic_millis);
        leader.append(core, now.log_time, StreamId::ZERO, Body::EpochStart);
        leader.reassigned(core, false, now.monotonic_millis, effects);
        self.role = Role::Leader(Box::new(leader));
        self.flush(now, effects);
    }

    /// Follows in a newer epoch, or in this one after having led it.
    fn follow(&mut self, epoch: Epoch, leader: Option<BrokerId>, effects: &mut Vec<Effect>) {
        self.role = Role::Follower(Follower::of(leader));
        effects.push(Effect::Following(epoch));
        self.core.raise(epoch, effects);
    }

    fn hear(&mut self, now: Now, from: Member, message: Message, effects: &mut Vec<Effect>) {
        let epoch = message.epoch();
        if let (Role::Follower(follower), Message::Push(push)) = (&mut self.role, &message)
            && epoch < self.core.epoch
            && planted::is(Fault::AcceptOlderEpoch)
        {
            follower.leader = Some(from.broker);
            return follower.pushed(&mut self.core, from, push.clone(), effects);
        }
        let sixteen_bits = |epoch: Epoch| epoch.get() & 0xffff;
        if planted::is(Fault::SixteenBitEpoch) && sixteen_bits(epoch) < sixteen_bits(self.core.epoch) {
            return;
        }
        if epoch < self.core.epoch {
            // An answer in an old epoch wants no answer.
            if matches!(message, Message::Hello { .. } | Message::Align { .. } | Message::Push(_)) {
                let message = Message::Stale { epoch: self.core.epoch };
                effects.push(Effect::Send { to: from.broker, message });
            }
            return;
        }
        if epoch > self.core.epoch {
            let leader = match message {
                Message::Hello { .. } | Message::Align { .. } | Message::Push(_) => Some(from.broker),
                _ => None,
            };
            self.follow(epoch, leader, effects);
        }
        let core = &mut self.core;
        match (&mut self.role, message) {
            (Role::Follower(follower), Message::Hello { attempt, .. }) => {
                follower.greeted(core, from.broker, attempt, effects);
            }
            (Role::Follower(follower), Message::Align { attempt, last, of, end, .. }) => {
                follower.align(core, from.broker, (attempt, last), (of, end), effects);
            }
            (Role::Follower(follower), Message::Push(push)) => follower.pushed(core, from, push, effects),
            (Role::Leader(leader), Message::Where { attempt, last, durable, .. }) => {
                leader.located(core, from, attempt, last, durable, now.monotonic_millis, effects);
            }
            (Role::Leader(leader), Message::Ack { attempt, durable, end, round, missing, .. }) => {
                let said = (attempt, durable, end, round, missing);
                leader.acked(core, from, said, now.monotonic_millis, effects);
            }
            (Role::Leader(leader), Message::Leaving { .. }) => {
                leader.leaves(core, from, now.monotonic_millis, effects);
            }
            (Role::Leader(_), Message::Behind { high_watermark, .. }) => {
                core.known_high_watermark = core.known_high_watermark.max(high_watermark);
                let (end, epoch) = (core.disk.end, core.epoch);
                effects.push(Effect::Report(Finding::LeaderBehind { end, high_watermark }));
                self.follow(epoch, None, effects);
            }
            // Whoever is told that it is stale raised its epoch above. The rest comes too late or from nobody.
            _ => {}
        }
    }
}
