//! The leader and follower protocol of one shard, as a deterministic state machine.
//!
//! ```text
//!   append(body) ──► entry, in the open batch          Effect::Write(batch)
//!   step(Input)  ──► effects                           Effect::Committed(high watermark)
//!                                                      Effect::Serving(epoch)
//! ```
//!
//! A replica owns three places in its shard's log and nothing else: the *end* (the next position), the *durable
//! end* (what its own disk holds) and the *high watermark* (what every in-sync replica holds; consumers see only
//! what lies below). The shell writes and syncs; a durable position enters as [`Input::Durable`] and only the
//! handler of a finished sync has one.
//!
//! Rules that hold here whatever the number of replicas:
//! * at most one batch is being written; the next one closes when its sync returns (group commit);
//! * a leader serves only after an entry of its own epoch is committed;
//! * what reveals state is spoken only after a confirming round that began later than the decision
//!   ([`Replica::confirm`]); a leader that is alone in its in-sync set confirms itself;
//! * after a fault nothing is appended or committed any more.
//!
//! This version carries the interface for one replica: the in-sync set is the replica itself, so the high
//! watermark is its durable end. Peers, truncation and in-sync changes are deliberately absent until the protocol
//! that needs them is written and proved.

use pondage_model::{Body, Entry, Epoch, LogTime, Position, Refusal, ShardId, StreamId, limits};

#[cfg(test)]
mod tests;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The catalog made this replica the leader in this epoch, alone in its in-sync set.
    Lead(Epoch),
    /// This replica's disk holds everything below the position.
    Durable(Position),
    /// The disk failed: nothing that is not yet known to be durable may be answered as if it were.
    Fault,
}

/// What the shell or the node has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write these entries as one batch, sync, then say [`Input::Durable`].
    Write(Vec<Entry>),
    /// Everything below is committed.
    Committed(Position),
    /// An entry of this epoch is committed: the leader may serve.
    Serving(Epoch),
}

/// A round in which every in-sync replica confirmed the leader's epoch. Rounds are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Round(u64);

/// What this replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It holds a log and leads nothing.
    Follower,
    /// It leads; `first` is its epoch's first entry.
    Leader {
        /// The place of the epoch's start entry.
        first: Position,
        /// Whether that entry is committed.
        serving: bool,
    },
    /// Its disk failed.
    Fenced,
}

/// One shard's replica.
#[derive(Debug)]
pub struct Replica {
    shard: ShardId,
    role: Role,
    epoch: Epoch,
    end: Position,
    durable: Position,
    high_watermark: Position,
    /// Appended and not yet handed out to be written.
    open: Vec<Entry>,
    /// The end of the batch that is being written.
    writing: Option<Position>,
    round: Round,
}

impl Replica {
    /// A replica whose log was recovered up to `end`, all of it durable, in the epoch of its last entry.
    #[must_use]
    pub fn recovered(shard: ShardId, end: Position, last_epoch: Epoch) -> Self {
        Self {
            shard,
            role: Role::Follower,
            epoch: last_epoch,
            end,
            durable: end,
            high_watermark: Position::ZERO,
            open: Vec::new(),
            writing: None,
            round: Round::default(),
        }
    }

    /// The shard.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// The epoch this replica is in.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next position.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.end
    }

    /// Everything below is committed.
    #[must_use]
    pub const fn high_watermark(&self) -> Position {
        self.high_watermark
    }

    /// Whether it leads and an entry of its epoch is committed.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        matches!(self.role, Role::Leader { serving: true, .. })
    }

    /// Whether a new batch would be handed out at once: nothing is being written.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.writing.is_none()
    }

    /// Whether something was appended that no batch has taken yet.
    #[must_use]
    pub const fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether this replica may append.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] for a follower or a fenced replica, definite.
    pub const fn check_leader(&self) -> Result<(), Refusal> {
        match self.role {
            Role::Leader { .. } => Ok(()),
            Role::Follower | Role::Fenced => Err(Refusal::NotLeader { epoch: self.epoch }),
        }
    }

    /// Appends to the open batch and returns the entry with its place. Nothing is written before [`Self::flush`].
    ///
    /// # Panics
    /// If this replica does not lead: the caller asked [`Self::check_leader`].
    pub fn append(&mut self, log_time: LogTime, stream: StreamId, body: Body) -> Entry {
        assert!(matches!(self.role, Role::Leader { .. }), "only a leader appends");
        let entry = Entry { position: self.end, epoch: self.epoch, stream, log_time, body };
        self.end = self.end.next();
        self.open.push(entry.clone());
        entry
    }

    /// Closes the open batch if nothing is being written: all of it up to [`limits::SYNC_BATCH_BYTES_MAX`], beyond the
    /// first entry. What is left goes with the next one.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        if self.writing.is_some() || self.role == Role::Fenced {
            return;
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += entry.body.weight_bytes();
            first || bytes <= limits::SYNC_BATCH_BYTES_MAX
        };
        let count = self.open.iter().take_while(fits).count();
        let left = self.open.split_off(count);
        let batch = std::mem::replace(&mut self.open, left);
        if let Some(last) = batch.last() {
            self.writing = Some(last.position.next());
            effects.push(Effect::Write(batch));
        }
    }

    /// The round that must be confirmed before a decision made now may be spoken. See [`Self::confirmed`].
    #[must_use]
    pub const fn confirm(&self) -> Round {
        // Alone in the in-sync set: nobody else could have been made leader without this replica.
        self.round
    }

    /// The newest confirmed round.
    #[must_use]
    pub const fn confirmed(&self) -> Round {
        self.round
    }

    /// Takes what happened and says what follows.
    ///
    /// # Panics
    /// On inputs that no catalog and no disk can give, such as an epoch that does not grow.
    pub fn step(&mut self, log_time: LogTime, input: Input, effects: &mut Vec<Effect>) {
        match (input, self.role) {
            (_, Role::Fenced) => {}
            (Input::Fault, _) => {
                self.role = Role::Fenced;
                self.open.clear();
            }
            (Input::Lead(epoch), _) => {
                assert!(epoch > self.epoch, "{:?}: epoch {epoch} after {}", self.shard, self.epoch);
                self.epoch = epoch;
                self.role = Role::Leader { first: self.end, serving: false };
                self.append(log_time, StreamId::ZERO, Body::EpochStart);
                self.flush(effects);
            }
            (Input::Durable(position), role) => {
                assert!(position <= self.end && position >= self.durable, "a sync went backwards or ahead");
                self.durable = position;
                if self.writing.is_some_and(|end| end <= position) {
                    self.writing = None;
                }
                if let Role::Leader { first, serving } = role
                    && position > self.high_watermark
                {
                    self.high_watermark = position;
                    effects.push(Effect::Committed(position));
                    if !serving && position > first {
                        self.role = Role::Leader { first, serving: true };
                        effects.push(Effect::Serving(self.epoch));
                    }
                }
            }
        }
    }
}
