//! Whether this start of the broker has what it is to have: who waits for one broker before touching the next looks here.
//!
//! A replica has caught up once a leader confirmed this start of the broker as in sync. That it did once is enough, for
//! each replica and for the broker: what others do, or where they are, makes a broker that was ready never unready.

use std::{collections::BTreeSet, fmt};

use pondage_catalog::{Consensus, Shard};
use pondage_model::{Member, ShardId};

use super::Coordinator;

/// How far this start of the broker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// The catalog does not know this start yet.
    #[default]
    Unregistered,
    /// Replicas here were not in sync since this start.
    CatchingUp {
        /// So many of them.
        behind: usize,
        /// Of so many that are here.
        held: usize,
    },
    /// It is registered, and every replica here was in sync since this start. It stays so.
    Ready,
}

impl Readiness {
    /// Whether there is nothing to wait for.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready)
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unregistered => f.write_str("not registered yet"),
            Self::CatchingUp { behind: 1, held: 1 } => f.write_str("1 of 1 replica has not caught up"),
            Self::CatchingUp { behind: 1, held } => write!(f, "1 of {held} replicas has not caught up"),
            Self::CatchingUp { behind, held } => write!(f, "{behind} of {held} replicas have not caught up"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// The replicas that were not in sync since this start.
#[derive(Debug, Default)]
pub(super) struct CatchingUp {
    behind: BTreeSet<ShardId>,
    is_over: bool,
}

impl CatchingUp {
    /// A row of a shard that this broker holds.
    pub(super) fn saw(&mut self, row: &Shard, own: Member, is_new: bool) {
        if has_caught_up(row, own) {
            self.behind.remove(&row.id);
        } else if is_new && !self.is_over {
            self.behind.insert(row.id);
        }
    }

    /// This broker holds the shard no more.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.behind.remove(&shard);
    }

    #[cfg(test)]
    pub(super) fn is_behind(&self, shard: ShardId) -> bool {
        self.behind.contains(&shard)
    }

    /// Every row as of the registration was seen.
    pub(super) fn look(&mut self) {
        self.is_over |= self.behind.is_empty();
    }
}

/// Whether the replica here has nothing to wait for.
fn has_caught_up(row: &Shard, own: Member) -> bool {
    // Where all are lost there is nobody to catch up with before somebody orders what to go on with, and a copy that
    // goes need not come back first.
    row.isr.contains(&own) || row.is_data_lost() || row.leaving.contains(&own.broker)
}

impl<C: Consensus> Coordinator<C> {
    /// How far this start of the broker is.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let (behind, held) = (self.catching_up.behind.len(), self.assigned.len());
        match self.broker() {
            None => Readiness::Unregistered,
            Some(_) if self.catching_up.is_over => Readiness::Ready,
            Some(_) => Readiness::CatchingUp { behind, held },
        }
    }
}
