//! The fold of a consumer group's home: its members, and who reads which partition.
//!
//! ```text
//!              Target(m)                    Target(n)                     Released, or m Left
//!  nobody's ─────────────► m's, target m ─────────────► m's, target n ──────────────────────► n's, target n
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use pondage_model::{
    AssignmentEpoch, MemberId, StreamId,
    membership::{Membership, MembershipChange},
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
}

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
}
wire_struct!(Owner { member, since });

impl Ownership {
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

    pub(crate) fn apply(&mut self, membership: &Membership) -> Result<(), &'static str> {
        if membership.epoch <= self.epoch {
            return Err("an assignment is newer than the one before");
        }
        self.epoch = membership.epoch;
        membership.changes.iter().try_for_each(|change| self.change(change))
    }

    fn change(&mut self, change: &MembershipChange) -> Result<(), &'static str> {
        match change {
            MembershipChange::Joined(member) => {
                if self.members.insert(member.id, member.instance.clone()).is_some() {
                    return Err("a member joins once");
                }
            }
            MembershipChange::Left { member, .. } => {
                self.members.remove(member).ok_or("who leaves was a member")?;
                let epoch = self.epoch;
                self.partitions.retain(|_, ownership| {
                    ownership.target = ownership.target.filter(|target| target != member);
                    ownership.owner = ownership.owner.filter(|owner| owner.member != *member);
                    pass_on(ownership, epoch)
                });
            }
            MembershipChange::Target { partition, member } => {
                if member.is_some_and(|member| !self.has_member(member)) {
                    return Err("who is to read a partition is a member");
                }
                self.set(*partition, |ownership| ownership.target = *member);
            }
            MembershipChange::Released { partition, .. } => {
                if self.ownership(*partition).owner.is_none() {
                    return Err("a partition that passes on has an owner");
                }
                self.set(*partition, |ownership| ownership.owner = None);
            }
            MembershipChange::Removed(partition) => {
                self.partitions.remove(partition).ok_or("a partition that goes was there")?;
            }
        }
        Ok(())
    }

    fn set(&mut self, partition: StreamId, change: impl FnOnce(&mut Ownership)) {
        let mut ownership = self.ownership(partition);
        change(&mut ownership);
        if pass_on(&mut ownership, self.epoch) {
            self.partitions.insert(partition, ownership);
        } else {
            self.partitions.remove(&partition);
        }
    }
}

/// Gives a partition that nobody owns to whoever is to have it; whether there is anything to remember of it.
fn pass_on(ownership: &mut Ownership, since: AssignmentEpoch) -> bool {
    if ownership.owner.is_none() {
        ownership.owner = ownership.target.map(|member| Owner { member, since });
    }
    ownership.owner.is_some()
}

impl Wire for Home {
    fn put(&self, out: &mut Vec<u8>) {
        self.epoch.put(out);
        self.members.put(out);
        self.partitions.put(out);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let home = Self {
            epoch: Wire::take(input)?,
            members: Wire::take(input)?,
            partitions: BTreeMap::<StreamId, Ownership>::take(input)?,
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
