//! What the catalog says about brokers, for everybody on this broker who speaks to others.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use pondage_model::{BrokerId, Member, Uuid};
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

/// A cheap handle on what is known. The coordinator's task writes it after every change of the catalog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory(Arc<RwLock<BTreeMap<BrokerId, BrokerEntry>>>);

impl Directory {
    /// Takes over what the catalog says. Whether anything changed.
    pub(crate) fn follow(&self, catalog: &Catalog) -> bool {
        let brokers = catalog.brokers().map(|row| (row.id, BrokerEntry::from(row))).collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != brokers;
        *known = brokers;
        changed
    }

    /// Every broker, by id.
    pub(crate) fn brokers(&self) -> Vec<BrokerEntry> {
        self.read().values().cloned().collect()
    }

    /// One broker.
    pub(crate) fn broker(&self, id: BrokerId) -> Option<BrokerEntry> {
        self.read().get(&id).cloned()
    }

    /// The broker that a volume is.
    pub(crate) fn of_volume(&self, volume: Uuid) -> Option<BrokerEntry> {
        self.read().values().find(|broker| broker.volume == volume).cloned()
    }

    // A panic while the lock is held can't leave the map half changed: it is replaced as a whole.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<BrokerId, BrokerEntry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
