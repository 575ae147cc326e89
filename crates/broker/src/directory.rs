//! What the catalog says about brokers and leaders, for everybody on this broker who speaks to others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use pondage_model::{BrokerId, Epoch, Member, ShardId, Uuid};
use pondage_node::catalog::{self, Catalog};

/// A broker as others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerEntry {
    /// Its current start.
    pub(crate) member: Member,
    /// Its volume.
    pub(crate) volume: Uuid,
    /// The random value of that start.
    pub(crate) nonce: Uuid,
    /// Where clients and brokers reach it, as host:port.
    pub(crate) address: String,
    /// Its volume is lost for good.
    pub(crate) lost: bool,
}

impl From<&catalog::Broker> for BrokerEntry {
    fn from(row: &catalog::Broker) -> Self {
        Self {
            member: row.member(),
            volume: row.volume,
            nonce: row.nonce,
            address: row.address.clone(),
            lost: row.lost,
        }
    }
}

/// Who leads a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leading {
    /// In which epoch.
    pub(crate) epoch: Epoch,
    /// Which broker; none while there is none.
    pub(crate) leader: Option<BrokerId>,
}

/// A cheap handle on what is known. The coordinator's task writes it after every change of the catalog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    brokers: BTreeMap<BrokerId, BrokerEntry>,
    leaders: HashMap<ShardId, Leading>,
}

impl Directory {
    /// Takes over what changed since this revision. Whether a broker changed.
    pub(crate) fn follow(&self, catalog: &Catalog, since: pondage_model::Revision) -> bool {
        let brokers: BTreeMap<BrokerId, BrokerEntry> =
            catalog.brokers().map(|row| (row.id, BrokerEntry::from(row))).collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for row in catalog.shards_changed_since(since) {
            known.leaders.insert(row.id, Leading { epoch: row.epoch, leader: row.leader });
        }
        // Deleted shards are never named again; they go once they are many.
        if known.leaders.len() > 2 * catalog.shards().len() + 64 {
            known.leaders.retain(|shard, _| catalog.shard(*shard).is_some());
        }
        let changed = known.brokers != brokers;
        known.brokers = brokers;
        changed
    }

    /// Every broker, by id.
    pub(crate) fn brokers(&self) -> Vec<BrokerEntry> {
        self.read(|known| known.brokers.values().cloned().collect())
    }

    /// One broker.
    pub(crate) fn broker(&self, id: BrokerId) -> Option<BrokerEntry> {
        self.read(|known| known.brokers.get(&id).cloned())
    }

    /// The broker that a volume is.
    pub(crate) fn of_volume(&self, volume: Uuid) -> Option<BrokerEntry> {
        self.read(|known| known.brokers.values().find(|broker| broker.volume == volume).cloned())
    }

    /// Who leads the shard, as far as this broker has heard.
    pub(crate) fn leading(&self, shard: ShardId) -> Option<Leading> {
        self.read(|known| known.leaders.get(&shard).copied())
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
