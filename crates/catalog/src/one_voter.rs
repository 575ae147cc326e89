//! Consensus of one: what is durable in this broker's log is committed.
//!
//! One append is in flight at a time; what is proposed meanwhile goes into the next one together (group commit).
//! The first entry of a start is an `EpochStart` in a new epoch, and nothing is answered before it is durable.

use std::collections::VecDeque;

use bytes::Bytes;
use pondage_model::{
    Body, BrokerId, Entry, Epoch, LogTime, Position, Refusal, StreamId, entry::CheckpointPage, limits,
    refusal::Outcome,
};

use crate::{
    checkpoint::LogEnd,
    consensus::{Consensus, ConsensusInput, ConsensusOutput, Membership, ProposalId, ReadId, revision_at},
};

/// The one voter of a catalog.
#[derive(Clone, Debug)]
pub struct OneVoter {
    voter: BrokerId,
    epoch: Epoch,
    clock: LogTime,
    /// The position of the next entry.
    next: Position,
    /// Not appended yet, in order.
    queue: VecDeque<Item>,
    /// Appended and not durable yet, in order.
    in_flight: VecDeque<(Position, Item)>,
    /// Reads, each with the number of accepted items that it waits for.
    reads: VecDeque<(u64, ReadId)>,
    /// Epoch starts and commands accepted since the start.
    accepted: u64,
    /// Of these, committed.
    committed: u64,
    /// Bytes of the commands that wait.
    waiting_bytes: usize,
    checkpoint: Checkpoint,
    outputs: VecDeque<ConsensusOutput>,
    fault: Option<Refusal>,
}

/// What becomes one entry.
#[derive(Clone, Debug)]
enum Item {
    EpochStart,
    Command(ProposalId, Bytes),
    Page(CheckpointPage),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::EpochStart => 0,
            Self::Command(_, command) => command.len(),
            Self::Page(page) => page.bytes.len(),
        }
    }

    fn body(&self) -> Body {
        match self {
            Self::EpochStart => Body::EpochStart,
            Self::Command(_, command) => Body::Command(command.clone()),
            Self::Page(page) => Body::CheckpointPage(page.clone()),
        }
    }
}

/// Where the next checkpoint stands. Its pages must hold everything below the first of them, so they are taken
/// while nothing is in flight and written before anything else.
#[derive(Clone, Debug)]
struct Checkpoint {
    step: CheckpointStep,
    wanted: bool,
    /// Bytes of commands committed since the last one.
    bytes_since: u64,
    /// Bytes of the last one.
    bytes_last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckpointStep {
    /// None is under way.
    Idle,
    /// It was asked for: nothing is appended until the answer.
    Asked,
    /// Its pages are queued or in flight.
    Writing,
}

impl Checkpoint {
    /// A checkpoint costs what it holds, so it waits for about twice as many bytes of commands.
    fn is_due(&self) -> bool {
        let enough = limits::CATALOG_CHECKPOINT_BYTES_MIN.max(self.bytes_last.saturating_mul(2));
        self.step == CheckpointStep::Idle && (self.wanted || self.bytes_since >= enough)
    }
}

impl OneVoter {
    /// Starts a term on a recovered log: [`Replay::finish`](crate::Replay::finish) says where it ends,
    /// [`LogEnd::default`] is an empty one. The first output is the append of the epoch's start.
    #[must_use]
    pub fn start(voter: BrokerId, end: &LogEnd) -> Self {
        Self {
            voter,
            epoch: end.epoch.next(),
            clock: end.log_time,
            next: end.next,
            queue: VecDeque::from([Item::EpochStart]),
            in_flight: VecDeque::new(),
            reads: VecDeque::new(),
            accepted: 1,
            committed: 0,
            waiting_bytes: 0,
            checkpoint: Checkpoint {
                step: CheckpointStep::Idle,
                wanted: false,
                bytes_since: end.bytes_since_checkpoint,
                bytes_last: end.checkpoint_bytes,
            },
            outputs: VecDeque::new(),
            fault: None,
        }
    }

    /// The epoch of this start: that of every entry it appends to shard 0.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn synced(&mut self, through: Position) {
        assert!(through < self.next, "{through:?} synced, the log ends before {:?}", self.next);
        while let Some((position, item)) = self.in_flight.pop_front_if(|(position, _)| *position <= through) {
            self.commit(position, item);
        }
    }

    fn commit(&mut self, position: Position, item: Item) {
        match item {
            Item::EpochStart => self.committed += 1,
            Item::Command(proposal, command) => {
                self.committed += 1;
                self.waiting_bytes -= command.len();
                self.checkpoint.bytes_since += command.len() as u64;
                self.outputs.push_back(ConsensusOutput::Committed {
                    position,
                    revision: revision_at(position),
                    command,
                    proposal: Some(proposal),
                });
            }
            Item::Page(page) => {
                if page.index + 1 == page.total {
                    self.checkpoint.step = CheckpointStep::Idle;
                    let first = Position(position.0 - u64::from(page.index));
                    self.outputs.push_back(ConsensusOutput::Checkpointed { first });
                }
            }
        }
        let committed = self.committed;
        while let Some((_, read)) = self.reads.pop_front_if(|(waits_for, _)| *waits_for <= committed) {
            self.outputs.push_back(ConsensusOutput::ReadReady(read));
        }
    }

    fn checkpoint_taken(&mut self, pages: Vec<Bytes>) {
        assert!(self.checkpoint.step == CheckpointStep::Asked, "a checkpoint that nobody asked for");
        assert!(!pages.is_empty(), "a checkpoint without a page");
        let total = u32::try_from(pages.len()).expect("pages are bounded by the limits on streams");
        self.checkpoint = Checkpoint {
            step: CheckpointStep::Writing,
            wanted: false,
            bytes_since: 0,
            bytes_last: pages.iter().map(|page| page.len() as u64).sum(),
        };
        for (index, bytes) in (0..total).zip(pages).rev() {
            self.queue.push_front(Item::Page(CheckpointPage { index, total, bytes }));
        }
    }

    fn fail(&mut self, refusal: Refusal) {
        assert!(
            refusal.outcome() == Outcome::Unknown,
            "what is in flight at a fault may be durable, but the answer would be {refusal:?}"
        );
        let in_flight = self.in_flight.drain(..).map(|(_, item)| item);
        for item in in_flight.chain(self.queue.drain(..)) {
            if let Item::Command(proposal, _) = item {
                self.outputs.push_back(ConsensusOutput::Failed { proposal, refusal: refusal.clone() });
            }
        }
        for (_, read) in self.reads.drain(..) {
            self.outputs.push_back(ConsensusOutput::ReadFailed { read, refusal: refusal.clone() });
        }
        self.waiting_bytes = 0;
        self.fault = Some(refusal);
    }

    /// Why a command can't be taken.
    fn refuse(&self, command: &Bytes) -> Option<Refusal> {
        let limit = limits::CATALOG_COMMAND_BYTES_MAX;
        if self.fault.is_some() {
            self.fault.clone()
        } else if command.len() > limit {
            let bytes = command.len() as u64;
            Some(Refusal::TooLarge { what: "a command to the catalog", bytes, limit: limit as u64 })
        } else if self.queue.len() + self.in_flight.len() >= limits::CATALOG_PENDING_MAX
            || self.waiting_bytes + command.len() > limits::SYNC_BATCH_BYTES_MAX
        {
            Some(Refusal::Busy { what: "commands to the catalog" })
        } else {
            None
        }
    }

    /// Decides what to write next, once everything before is durable and handed out.
    fn advance(&mut self) {
        if self.fault.is_some() || !self.in_flight.is_empty() || self.checkpoint.step == CheckpointStep::Asked
        {
            return;
        }
        // Before its epoch's start is durable, nothing is known to be worth keeping.
        if self.committed > 0 && self.checkpoint.is_due() {
            self.checkpoint.step = CheckpointStep::Asked;
            self.outputs.push_back(ConsensusOutput::TakeCheckpoint);
            return;
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(item) = self
            .queue
            .pop_front_if(|item| entries.is_empty() || bytes + item.bytes() <= limits::SYNC_BATCH_BYTES_MAX)
        {
            bytes += item.bytes();
            let position = self.next;
            self.next = position.next();
            entries.push(Entry {
                position,
                epoch: self.epoch,
                stream: StreamId::ZERO,
                log_time: self.clock,
                body: item.body(),
            });
            self.in_flight.push_back((position, item));
        }
        if !entries.is_empty() {
            self.outputs.push_back(ConsensusOutput::Append(entries));
        }
    }
}

impl Consensus for OneVoter {
    fn propose(&mut self, id: ProposalId, command: Bytes) {
        if let Some(refusal) = self.refuse(&command) {
            self.outputs.push_back(ConsensusOutput::Failed { proposal: id, refusal });
            return;
        }
        self.accepted += 1;
        self.waiting_bytes += command.len();
        self.queue.push_back(Item::Command(id, command));
    }

    fn read_index(&mut self, id: ReadId) {
        if let Some(refusal) = self.fault.clone() {
            self.outputs.push_back(ConsensusOutput::ReadFailed { read: id, refusal });
        } else if self.committed == self.accepted {
            self.outputs.push_back(ConsensusOutput::ReadReady(id));
        } else if self.reads.len() >= limits::CATALOG_PENDING_MAX {
            let refusal = Refusal::Busy { what: "reads of the catalog" };
            self.outputs.push_back(ConsensusOutput::ReadFailed { read: id, refusal });
        } else {
            self.reads.push_back((self.accepted, id));
        }
    }

    fn change_voters(&mut self, voters: &[BrokerId]) -> Result<(), Refusal> {
        match voters {
            [] => Err(Refusal::InvalidArgument { what: "voters: the catalog needs at least one".to_owned() }),
            [only] if *only == self.voter => Ok(()),
            _ => Err(Refusal::NotServed { what: "a change of the catalog's only voter" }),
        }
    }

    fn membership(&self) -> Membership {
        let leads = self.committed > 0 && self.fault.is_none();
        Membership { voters: vec![self.voter], leader: leads.then_some(self.voter), epoch: self.epoch }
    }

    fn handle(&mut self, input: ConsensusInput) {
        if self.fault.is_some() {
            // After a fault nothing is trusted, not even a sync that is reported late.
            return;
        }
        match input {
            ConsensusInput::Tick { now } => self.clock = self.clock.max(now),
            ConsensusInput::Synced { through } => self.synced(through),
            ConsensusInput::CheckpointWanted => self.checkpoint.wanted = true,
            ConsensusInput::CheckpointTaken { pages } => self.checkpoint_taken(pages),
            ConsensusInput::Fault { refusal } => self.fail(refusal),
        }
    }

    fn poll(&mut self) -> Option<ConsensusOutput> {
        if self.outputs.is_empty() {
            self.advance();
        }
        self.outputs.pop_front()
    }
}

#[cfg(test)]
#[path = "one_voter_tests.rs"]
mod tests;
