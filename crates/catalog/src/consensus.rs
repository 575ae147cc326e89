//! The narrow port through which the catalog's commands get their order and their durability.
//!
//! Sans-IO: the owner calls, then polls until nothing is left, performing each output in the order given. The
//! contract of every implementation:
//!
//! * Every accepted proposal ends in exactly one of [`ConsensusOutput::Committed`] with its id, and
//!   [`ConsensusOutput::Failed`]; every read in [`ConsensusOutput::ReadReady`] or [`ConsensusOutput::ReadFailed`].
//! * Commands are committed in one order, the same on every voter and after every restart; a command counts as
//!   committed only once it is durable on a majority of the voters.
//! * A read is ready only after everything that was committed before it was asked was handed out.
//! * A failure with an unknown outcome (a fault) may still turn up as committed after a restart; a definite one never.

use bytes::Bytes;
use pondage_model::{BrokerId, Entry, Epoch, LogTime, Position, Refusal, Revision};

/// Names a proposal; chosen by the proposer, unique among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// Names a read; chosen by the reader, unique among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Who votes, and who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The brokers that vote on the catalog.
    pub voters: Vec<BrokerId>,
    /// The leader as far as this voter knows; none before an entry of its own epoch is committed, and after a fault.
    pub leader: Option<BrokerId>,
    /// The leader's term: the epoch of shard 0.
    pub epoch: Epoch,
}

/// What happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsensusInput {
    /// Log time of the entries appended from now on. It never goes back: an earlier time changes nothing.
    Tick {
        /// By the broker's log clock.
        now: LogTime,
    },
    /// The appended entries up to this position, itself included, are durable.
    Synced {
        /// The last durable position.
        through: Position,
    },
    /// A checkpoint is wanted soon, whether or not enough commands have gathered.
    CheckpointWanted,
    /// The answer to [`ConsensusOutput::TakeCheckpoint`].
    CheckpointTaken {
        /// From [`checkpoint_pages`](crate::checkpoint_pages).
        pages: Vec<Bytes>,
    },
    /// The log failed, or the broker stops: nothing is committed from here on.
    Fault {
        /// What everything that waits is told; its outcome is unknown.
        refusal: Refusal,
    },
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsensusOutput {
    /// Append these entries to shard 0's log, sync, then report [`ConsensusInput::Synced`]. The next append is
    /// given out only once all of this one is reported.
    Append(Vec<Entry>),
    /// Apply this command; answer its proposer, if it waits here.
    Committed {
        /// Where it lies in shard 0's log.
        position: Position,
        /// The revision to apply it at.
        revision: Revision,
        /// The encoded command.
        command: Bytes,
        /// None if nobody waits for it on this broker.
        proposal: Option<ProposalId>,
    },
    /// Everything that the read has to see was handed out.
    ReadReady(ReadId),
    /// The proposal ends so.
    Failed {
        /// Which.
        proposal: ProposalId,
        /// Why; says whether it may still have taken effect.
        refusal: Refusal,
    },
    /// The read ends so.
    ReadFailed {
        /// Which.
        read: ReadId,
        /// Why.
        refusal: Refusal,
    },
    /// Encode the catalog as it is after everything handed out so far, and answer with
    /// [`ConsensusInput::CheckpointTaken`]. Appends wait for it.
    TakeCheckpoint,
    /// This voter lagged behind and got the whole state instead of the commands that led to it: it replaces everything
    /// handed out before. Commands go on behind it; a proposal of this broker among those left out fails, its
    /// outcome unknown.
    Restored {
        /// The commands up to this revision are in it.
        revision: Revision,
        /// From [`checkpoint_pages`](crate::checkpoint_pages), and checked.
        pages: Vec<Bytes>,
    },
    /// A checkpoint is committed: the entries of shard 0 below its first page may be dropped.
    Checkpointed {
        /// The position of its first page.
        first: Position,
    },
}

/// Agreement on the order of the catalog's commands. The module's page is its contract.
pub trait Consensus {
    /// Asks for `command` to be committed.
    fn propose(&mut self, id: ProposalId, command: Bytes);

    /// Asks when the catalog's state may be read so that the read sees everything that was answered before it.
    fn read_index(&mut self, id: ReadId);

    /// Asks for other voters.
    ///
    /// # Errors
    /// Definite: [`Refusal::InvalidArgument`] for no voter or one named twice, [`Refusal::NotServed`] for a set that
    /// this implementation can't serve.
    fn change_voters(&mut self, voters: &[BrokerId]) -> Result<(), Refusal>;

    /// Who votes, and who leads.
    fn membership(&self) -> Membership;

    /// Takes in what happened.
    fn handle(&mut self, input: ConsensusInput);

    /// The next thing to do, if any.
    fn poll(&mut self) -> Option<ConsensusOutput>;
}

/// The revision of the command at this position of shard 0: positions count from 0, and revision 0 is the catalog
/// before its first command.
#[must_use]
pub const fn revision_at(position: Position) -> Revision {
    Revision(position.0).next()
}
