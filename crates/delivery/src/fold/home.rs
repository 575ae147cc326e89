//! The fold of a consumer group's home: its members, and who reads which partition.
//!
//! ```text
//!              Target(m)                    Target(n)                     Released, or m Left
//!  nobody's ─────────────► m's, target m ─────────────► m's, target n ──────────────────────► n's, target n
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use pondage_model::{
    AssignmentEpoch, LogTime, MemberId, StreamId,
    membership::{HandOverCause, LeaveCause, Membership, MembershipChange},
    wire::{Malformed, Wire},
    wire_struct,
};

/// The membership of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    epoch: AssignmentEpoch,
    /// By id, with what people know them by.
    members: BTreeMap<MemberId, String>,
    /// Partitions that somebody owns or is to own.
    partitions: BTreeMap<StreamId, Ownership>,
    /// Since when partitions pause: their owner was told to let go, or is gone, and nobody follows yet.
    paused: BTreeMap<StreamId, LogTime>,
    counters: HomeCounters,
}

/// What happened in a group since it was made; every replica counts the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeCounters {
    /// Changes of who is to read what.
    pub rebalances: u64,
    /// Partitions whose owner let go of them when it was told to.
    pub released: u64,
    /// Partitions whose owner did not let go in time, and was fenced.
    pub timed_out: u64,
    /// Partitions of members that left.
    pub left: u64,
    /// Partitions of members that were lost.
    pub lost: u64,
    /// How long partitions had to wait for their next owner, all of them together, in milliseconds: from when the one
    /// before was told to let go, left, or was lost. Of a lost one that is a session before it was given up.
    pub paused_millis: u64,
}
wire_struct!(HomeCounters { rebalances, released, timed_out, left, lost, paused_millis });

/// Who reads a partition, and who is to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Who may read it and commit.
    pub owner: Option<Owner>,
    /// Who is to: it waits for the owner if that is somebody else.
    pub target: Option<MemberId>,
}
wire_struct!(Ownership { owner, target });

/// Who owns a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The member.
    pub member: MemberId,
    /// The assignment by which it was given: no other ownership of this partition has the same.
    pub since: AssignmentEpoch,
    /// When that was.
    pub at: LogTime,
}
wire_struct!(Owner { member, since, at });

impl HomeCounters {
    fn count_gone(&mut self, cause: LeaveCause) {
        match cause {
            LeaveCause::Left => self.left += 1,
            LeaveCause::Lost => self.lost += 1,
        }
    }

    fn count_let_go(&mut self, cause: HandOverCause) {
        match cause {
            HandOverCause::Released => self.released += 1,
            HandOverCause::TimedOut => self.timed_out += 1,
        }
    }
}

impl Ownership {
    /// Whether this member may read it.
    #[must_use]
    pub fn is_owned_by(&self, member: MemberId) -> bool {
        self.owner.is_some_and(|owner| owner.member == member)
    }

    /// Whether its owner is to let go of it.
    #[must_use]
    pub fn is_to_pass_on(&self) -> bool {
        self.owner.is_some_and(|owner| Some(owner.member) != self.target)
    }
}

impl Home {
    /// The version of the assignment.
    #[must_use]
    pub fn epoch(&self) -> AssignmentEpoch {
        self.epoch
    }

    /// The members with what people know them by, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (MemberId, &str)> {
        self.members.iter().map(|(id, instance)| (*id, instance.as_str()))
    }

    /// Whether this is a member.
    #[must_use]
    pub fn has_member(&self, id: MemberId) -> bool {
        self.members.contains_key(&id)
    }

    /// The partitions that somebody owns or is to own.
    pub fn partitions(&self) -> impl Iterator<Item = (StreamId, Ownership)> {
        self.partitions.iter().map(|(partition, ownership)| (*partition, *ownership))
    }

    /// Who reads a partition and who is to; nobody, of an unknown one.
    #[must_use]
    pub fn ownership(&self, partition: StreamId) -> Ownership {
        self.partitions.get(&partition).copied().unwrap_or_default()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &HomeCounters {
        &self.counters
    }

    /// Takes over what was decided at that time, in a group whose lost members are given up after so long.
    pub(crate) fn apply(
        &mut self,
        membership: &Membership,
        at: LogTime,
        session_timeout_millis: u64,
    ) -> Result<(), &'static str> {
        if membership.epoch <= self.epoch {
            return Err("an assignment is newer than the one before");
        }
        self.epoch = membership.epoch;
        let is_target = |change: &MembershipChange| matches!(change, MembershipChange::Target { .. });
        self.counters.rebalances += u64::from(membership.changes.iter().any(is_target));
        membership.changes.iter().try_for_each(|change| self.change(change, at, session_timeout_millis))?;
        if self.members.is_empty() {
            // Who would read them is not there: that is no matter of passing on.
            self.paused.clear();
        }
        Ok(())
    }

    fn change(
        &mut self,
        change: &MembershipChange,
        at: LogTime,
        session_timeout_millis: u64,
    ) -> Result<(), &'static str> {
        match change {
            MembershipChange::Joined(member) => {
                if self.members.insert(member.id, member.instance.clone()).is_some() {
                    return Err("a member joins once");
                }
            }
            MembershipChange::Left { member, cause } => {
                self.members.remove(member).ok_or("who leaves was a member")?;
                let gone_since = match cause {
                    LeaveCause::Left => at,
                    LeaveCause::Lost => LogTime(at.0.saturating_sub_unsigned(session_timeout_millis)),
                };
                for partition in self.touched_by(*member) {
                    let owner = self.ownership(partition).owner.filter(|owner| owner.member == *member);
                    // Who was given it this moment, and is gone as well, has never had it.
                    if let Some(owner) = owner.filter(|owner| owner.since < self.epoch) {
                        self.counters.count_gone(*cause);
                        self.paused.entry(partition).or_insert(gone_since.max(owner.at));
                    }
                    self.set(partition, at, |ownership| {
                        ownership.target = ownership.target.filter(|target| target != member);
                        ownership.owner = ownership.owner.filter(|owner| owner.member != *member);
                    });
                }
            }
            MembershipChange::Target { partition, member } => {
                if member.is_some_and(|member| !self.has_member(member)) {
                    return Err("who is to read a partition is a member");
                }
                self.set(*partition, at, |ownership| ownership.target = *member);
            }
            MembershipChange::Released { partition, cause } => {
                if self.ownership(*partition).owner.is_none() {
                    return Err("a partition that passes on has an owner");
                }
                self.counters.count_let_go(*cause);
                self.set(*partition, at, |ownership| ownership.owner = None);
            }
            MembershipChange::Removed(partition) => {
                self.partitions.remove(partition).ok_or("a partition that goes was there")?;
                self.paused.remove(partition);
            }
        }
        Ok(())
    }

    /// Partitions that the member owns or is to own.
    fn touched_by(&self, member: MemberId) -> Vec<StreamId> {
        let is_touched =
            |ownership: &Ownership| ownership.target == Some(member) || ownership.is_owned_by(member);
        self.partitions().filter(|(_, ownership)| is_touched(ownership)).map(|(id, _)| id).collect()
    }

    /// Changes who has a partition, and gives one that nobody owns to whoever is to have it.
    fn set(&mut self, partition: StreamId, at: LogTime, change: impl FnOnce(&mut Ownership)) {
        let mut ownership = self.ownership(partition);
        change(&mut ownership);
        let since = self.epoch;
        ownership.owner = ownership.owner.or(ownership.target.map(|member| Owner { member, since, at }));
        let Some(owner) = ownership.owner else {
            // There is nothing to remember of it but that nobody reads it.
            self.partitions.remove(&partition);
            return;
        };
        self.partitions.insert(partition, ownership);
        if ownership.is_to_pass_on() {
            self.paused.entry(partition).or_insert(at);
        } else if let Some(paused) = self.paused.remove(&partition)
            && owner.since == self.epoch
        {
            self.counters.paused_millis += at.millis_since(paused);
        }
    }
}

impl Wire for Home {
    fn put(&self, out: &mut Vec<u8>) {
        self.epoch.put(out);
        self.members.put(out);
        self.partitions.put(out);
        self.paused.put(out);
        self.counters.put(out);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let home = Self {
            epoch: Wire::take(input)?,
            members: Wire::take(input)?,
            partitions: BTreeMap::<StreamId, Ownership>::take(input)?,
            paused: Wire::take(input)?,
            counters: Wire::take(input)?,
        };
        let is_right = |ownership: &Ownership| {
            ownership.owner.is_some_and(|owner| home.has_member(owner.member) && owner.since <= home.epoch)
                && ownership.target.is_none_or(|target| home.has_member(target))
        };
        if home.partitions.values().all(is_right) {
            Ok(home)
        } else {
            Err(Malformed("a partition of nobody"))
        }
    }
}
