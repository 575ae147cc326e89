//! What the checker remembers of a history and no replica does: what was committed, who led.

use pondage_model::{Epoch, Member, Position, StreamId};

use crate::disk::Stored;

/// A rule that a step broke. Rules about single states are in [`crate::properties`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A replica did what it says can't be.
    Assertion,
    /// Two starts led in one epoch.
    OneLeader,
    /// Two replicas count different entries as committed at one place, now or ever.
    CommittedForEver,
    /// An entry was committed that fewer disks hold than the minimum says.
    CommittedIsDurable,
    /// A replica cut a committed entry that it held.
    CommittedIsKept,
    /// A replica spoke in an older epoch than before.
    EpochsRise,
    /// A leader spoke of state that its successor had changed.
    OvertakenIsSilent,
    /// The in-sync set shrank below its minimum.
    MinimumInSync,
    /// Replicas found each other without entries although no disk lost any.
    NothingToReport,
}

/// A committed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// The epoch that wrote it.
    pub epoch: Epoch,
    /// What it says.
    pub stream: StreamId,
    /// The epoch of the leader that committed it first.
    pub by: Epoch,
}

/// What happened, as far as rules need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct History {
    /// Every committed entry, by position.
    pub committed: Vec<Committed>,
    /// Who led.
    led: Vec<(Epoch, Member)>,
    /// Volumes that lost what was durable.
    pub volumes_lost: u8,
    /// Entries that no leader ever committed were cut.
    pub truncated: bool,
    /// A decision came too late and was not spoken.
    pub overtaken: bool,
    /// A commit happened with fewer in sync than there are replicas.
    pub without_member: bool,
}

impl History {
    /// Somebody leads.
    pub fn leads(&mut self, epoch: Epoch, member: Member) -> Result<(), Rule> {
        match self.led.iter().find(|(known, _)| *known == epoch) {
            Some((_, known)) if *known != member => Err(Rule::OneLeader),
            Some(_) => Ok(()),
            None => {
                self.led.push((epoch, member));
                Ok(())
            }
        }
    }

    /// The newest epoch in which something was committed.
    pub fn newest_commit(&self) -> Epoch {
        self.committed.iter().map(|entry| entry.by).max().unwrap_or(Epoch::ZERO)
    }

    /// A replica counts everything of its log below a position as committed. `by` is the epoch that it leads in; a
    /// follower can't be the first to know. Returns the first entry that is new.
    pub fn commit(&mut self, log: &[Stored], to: Position, by: Option<Epoch>) -> Result<usize, Rule> {
        let log = log.get(..to.0 as usize).ok_or(Rule::CommittedIsDurable)?;
        let known = self.committed.len();
        let matches = |(&(_, epoch, stream), known): (&Stored, &Committed)| {
            epoch == known.epoch && stream == known.stream
        };
        if !log.iter().zip(&self.committed).all(matches) {
            return Err(Rule::CommittedForEver);
        }
        if let Some(new) = log.get(known..).filter(|new| !new.is_empty()) {
            let by = by.ok_or(Rule::CommittedForEver)?;
            self.committed.extend(new.iter().map(|&(_, epoch, stream)| Committed { epoch, stream, by }));
        }
        Ok(known)
    }

    /// Whether a log holds a committed entry.
    pub fn holds(&self, log: &[Stored], position: usize) -> bool {
        let (Some(known), Some(&(_, epoch, stream))) = (self.committed.get(position), log.get(position))
        else {
            return false;
        };
        epoch == known.epoch && stream == known.stream
    }
}
