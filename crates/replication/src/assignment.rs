//! What the catalog says of a shard.

use pondage_model::{
    BrokerId, Epoch, Member,
    planted::{self, Fault},
};

/// A shard's row in the catalog, as far as its replicas go by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The leader's term.
    pub epoch: Epoch,
    /// Grows with every change of the row; what a compare-and-set compares.
    pub version: u64,
    /// Who leads, if anybody does.
    pub leader: Option<BrokerId>,
    /// Who holds a copy; the first is preferred as leader.
    pub replicas: Vec<BrokerId>,
    /// Who holds every committed entry durably, each under the start that a leader confirmed.
    pub isr: Vec<Member>,
    /// In-sync replicas without which nothing is committed.
    pub min_in_sync_replicas: u32,
}

impl Assignment {
    /// The row of a shard that has one replica, which leads.
    #[must_use]
    pub fn alone(member: Member, epoch: Epoch) -> Self {
        Self {
            epoch,
            version: epoch.get(),
            leader: Some(member.broker),
            replicas: vec![member.broker],
            isr: vec![member],
            min_in_sync_replicas: 1,
        }
    }

    /// The start under which a broker is in sync.
    #[must_use]
    pub fn in_sync(&self, broker: BrokerId) -> Option<Member> {
        self.isr.iter().copied().find(|member| member.broker == broker)
    }

    /// Whether this very start of a broker was made the leader. A start after it needs an epoch of its own, or two
    /// starts would write different entries in one epoch.
    #[must_use]
    pub fn is_led_by(&self, member: Member) -> bool {
        self.leader == Some(member.broker) && self.in_sync(member.broker) == Some(member)
    }

    /// Whether as many replicas are in sync as a commit needs.
    #[must_use]
    pub fn has_minimum(&self) -> bool {
        self.isr.len() >= self.min_in_sync_replicas as usize || planted::is(Fault::ShrinkIsrBelowMinimum)
    }
}

/// A leader's wish for another in-sync set, to be done by the catalog only if epoch and version are still these. A
/// request for the set as it is raises the version as well: what was asked for before can't be done any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IsrRequest {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The version that it goes by.
    pub version: u64,
    /// Who shall be in sync, in the order of the replicas.
    pub isr: Vec<Member>,
}
