//! What holds in every replica after every step, and between the replicas of a shard at every moment.

use std::collections::BTreeSet;

use pondage_model::{BrokerId, Epoch, Position};

use crate::{Replica, replica::Role};

/// Panics if a replica is in a state that no history leads to.
///
/// # Panics
/// With the broken rule.
pub fn check(replica: &Replica) {
    let core = &replica.core;
    core.disk.check();
    let shard = core.shard;
    assert!(
        core.high_watermark <= core.disk.durable || matches!(replica.role, Role::Fenced),
        "{shard:?}: committed up to {:?}, durable up to {:?}",
        core.high_watermark,
        core.disk.durable
    );
    assert!(core.known_high_watermark >= core.high_watermark, "{shard:?}: what is committed is known");
    assert!(
        core.epochs.last() <= core.epoch,
        "{shard:?}: entries of {:?} in {:?}",
        core.epochs.last(),
        core.epoch
    );
    if let Role::Leader(leader) = &replica.role {
        assert!(core.epochs.last() == core.epoch, "{shard:?}: a leader's last entries are of its epoch");
        assert!(
            core.epochs.at(leader.first) == core.epoch,
            "{shard:?}: its epoch begins with its first entry"
        );
        assert!(
            leader.serving == (core.high_watermark > leader.first),
            "{shard:?}: it serves when its first entry is committed"
        );
        let row = core.assignment.as_ref().expect("a leader was made one by a row");
        assert!(row.leader == Some(core.me.broker), "{shard:?}: {:?} leads, not {:?}", row.leader, core.me);
    }
}

/// The replicas that a commit and a round of this leader need, as it counts them; none if it does not lead.
#[must_use]
pub fn quorum(replica: &Replica) -> Option<BTreeSet<BrokerId>> {
    match &replica.role {
        Role::Leader(leader) => Some(leader.union(&replica.core).iter().collect()),
        Role::Follower(_) | Role::Fenced => None,
    }
}

/// One replica's log as an observer of all replicas sees it: what a simulator or a model checker compares.
#[derive(Clone, Debug)]
pub struct View<'a, T> {
    /// What is on its disk, ascending: places, the epochs that wrote them, and what they hold.
    pub log: &'a [(Position, Epoch, T)],
    /// Everything below is committed, says this replica.
    pub high_watermark: Position,
    /// The epoch that it leads in, if it does.
    pub leads: Option<Epoch>,
}

/// Two replicas of one shard that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum Contradiction {
    #[error("replicas {0} and {1} lead in one epoch, {2:?}")]
    TwoLeaders(usize, usize, Epoch),
    #[error("replicas {0} and {1} hold different entries at {2:?}, written in the same epoch")]
    LogMatching(usize, usize, Position),
    #[error("replicas {0} and {1} both count {2:?} as committed and hold different entries there")]
    Committed(usize, usize, Position),
}

/// Compares the replicas of one shard. At most one leads in an epoch; entries at one place in one epoch are the same
/// (log matching); what two of them count as committed is the same.
///
/// Sources: election safety, log matching and state machine safety of Raft (Ongaro and Ousterhout, 2014, figure 3), in
/// the form that the public TLA+ model of KIP-966 checks for Kafka.
///
/// # Errors
/// The first [`Contradiction`].
pub fn compare<T: PartialEq>(replicas: &[View<'_, T>]) -> Result<(), Contradiction> {
    for (left, one) in replicas.iter().enumerate() {
        for (right, other) in replicas.iter().enumerate().skip(left + 1) {
            if let (Some(epoch), Some(same)) = (one.leads, other.leads)
                && epoch == same
            {
                return Err(Contradiction::TwoLeaders(left, right, epoch));
            }
            compare_logs(left, one, right, other)?;
        }
    }
    Ok(())
}

fn compare_logs<T: PartialEq>(
    left: usize,
    one: &View<'_, T>,
    right: usize,
    other: &View<'_, T>,
) -> Result<(), Contradiction> {
    let committed = one.high_watermark.min(other.high_watermark);
    let mut theirs = other.log.iter().peekable();
    for (position, epoch, entry) in one.log {
        while theirs.next_if(|(at, ..)| at < position).is_some() {}
        let Some((_, their_epoch, their_entry)) = theirs.next_if(|(at, ..)| at == position) else { continue };
        if epoch == their_epoch && entry != their_entry {
            return Err(Contradiction::LogMatching(left, right, *position));
        }
        if *position < committed && (epoch, entry) != (their_epoch, their_entry) {
            return Err(Contradiction::Committed(left, right, *position));
        }
    }
    Ok(())
}
