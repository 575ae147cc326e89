//! Who leads which shard, as the catalog says: what a refusal's hint and a client's way to the leader come from.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use pondage_model::{BrokerId, Epoch, Refusal, ShardId};

/// The broker that leads a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Which.
    pub broker: BrokerId,
    /// In which epoch.
    pub epoch: Epoch,
    /// Where it is reached, as host:port; empty for a lone broker, which clients reach as they reached it before.
    pub address: String,
}

/// What this broker knows of the leaders, itself included.
#[derive(Debug, Default)]
pub(crate) struct Leaders(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    own: Option<BrokerId>,
    /// `None`: the shard has no leader at this moment.
    shards: HashMap<ShardId, Option<Leader>>,
    addresses: Vec<String>,
}

impl Leaders {
    /// This broker's own id, once it is registered.
    pub(crate) fn own(&self) -> Option<BrokerId> {
        self.read().own
    }

    pub(crate) fn set_own(&self, broker: BrokerId) {
        self.write().own = Some(broker);
    }

    pub(crate) fn set(&self, shard: ShardId, leader: Option<Leader>) {
        self.write().shards.insert(shard, leader);
    }

    /// Forgets shards that are not there any more, once they are many.
    pub(crate) fn keep(&self, there: usize, is_there: impl Fn(ShardId) -> bool) {
        let mut known = self.write();
        if known.shards.len() > 2 * there + 64 {
            known.shards.retain(|shard, _| is_there(*shard));
        }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.read().addresses.clone()
    }

    pub(crate) fn set_addresses(&self, addresses: Vec<String>) {
        self.write().addresses = addresses;
    }

    /// Who leads a shard. A lone broker is told of no leaders: it leads what it has open.
    pub(crate) fn of(&self, shard: ShardId, is_open: bool) -> Option<Leader> {
        let known = self.read();
        match known.shards.get(&shard) {
            Some(leader) => leader.clone(),
            None if is_open => {
                Some(Leader { broker: known.own?, epoch: Epoch::ZERO, address: String::new() })
            }
            None => None,
        }
    }

    /// A refusal of this broker's own shard with the leader's address, if another broker is known to lead it.
    pub(crate) fn hint(&self, shard: ShardId, refusal: Refusal) -> Refusal {
        let Refusal::NotLeader { .. } = refusal else { return refusal };
        let known = self.read();
        match known.shards.get(&shard) {
            Some(Some(Leader { broker, epoch, address })) if Some(*broker) != known.own => {
                Refusal::LedElsewhere { epoch: *epoch, address: address.clone() }
            }
            _ => refusal,
        }
    }

    // A panic while the lock is held can't leave the map half changed: nothing that a holder does can panic.
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_another_leader_and_never_the_broker_itself() {
        let leaders = Leaders::default();
        leaders.set_own(BrokerId(1));
        let at = |broker| Leader { broker: BrokerId(broker), epoch: Epoch(4), address: "b:1".to_owned() };
        leaders.set(ShardId(1), Some(at(1)));
        leaders.set(ShardId(2), Some(at(2)));
        leaders.set(ShardId(3), None);
        let refusal = Refusal::NotLeader { epoch: Epoch(3) };
        let elsewhere = Refusal::LedElsewhere { epoch: Epoch(4), address: "b:1".to_owned() };
        for (shard, expected) in [(1, &refusal), (2, &elsewhere), (3, &refusal), (9, &refusal)] {
            assert_eq!(leaders.hint(ShardId(shard), refusal.clone()), *expected, "shard {shard}");
        }
        assert_eq!(leaders.hint(ShardId(2), Refusal::StorageFull), Refusal::StorageFull);
    }

    #[test]
    fn a_broker_that_knows_of_no_leaders_leads_what_it_has_open() {
        let leaders = Leaders::default();
        assert_eq!(leaders.of(ShardId(1), true), None, "it is nobody yet");
        leaders.set_own(BrokerId(1));
        let itself = Leader { broker: BrokerId(1), epoch: Epoch::ZERO, address: String::new() };
        assert_eq!(leaders.of(ShardId(1), true), Some(itself));
        assert_eq!(leaders.of(ShardId(1), false), None);
        leaders.set(ShardId(1), None);
        assert_eq!(leaders.of(ShardId(1), true), None, "it is told that nobody leads it");
        leaders.keep(0, |_| false);
        assert_eq!(leaders.of(ShardId(1), true), None, "one is not many");
    }
}
