//! Connections to the brokers of each cluster, and what their catalog is seen to hold.

mod observed;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pondage_client::{Client, ClientError, Options};
use tokio_util::sync::CancellationToken;

pub(crate) use observed::Observed;

use crate::{
    cluster::{certificates::Certificates, validate::ValidatedCluster},
    names::Key,
    triggers::Triggers,
};

/// How long one request may be tried: whoever waits comes back by itself.
const DEADLINE: Duration = Duration::from_secs(5);

/// A cluster whose brokers can be asked.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) cluster: ValidatedCluster,
    pub(crate) observed: Arc<Observed>,
    /// What the client was made of.
    print: u64,
    cancel: CancellationToken,
}

/// All clusters whose brokers can be asked.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<HashMap<Key, Arc<Connection>>>);

impl Connections {
    /// The connection to a cluster.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Connection>> {
        self.known(|known| known.get(key).cloned())
    }

    /// Clusters that are connected.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.known(|known| known.values().cloned().collect())
    }

    /// Connects to a cluster, or goes on with the connection that is there. Nothing is sent yet.
    pub(crate) fn keep(
        &self,
        cluster: &ValidatedCluster,
        certificates: &Certificates,
        triggers: &Triggers,
    ) -> Result<Arc<Connection>, ClientError> {
        let addresses: Vec<String> =
            (0..cluster.replicas.min(ADDRESSES_MAX)).map(|ordinal| cluster.broker_url(ordinal)).collect();
        let mut hasher = DefaultHasher::new();
        (&addresses, &certificates.authority, &certificates.admin.0).hash(&mut hasher);
        let print = hasher.finish();
        if let Some(there) = self.get(&cluster.key).filter(|there| there.print == print) {
            if there.cluster == *cluster {
                return Ok(there);
            }
            // Something about the cluster changed that the connection does not depend on.
            let again = Arc::new(Connection {
                client: there.client.clone(),
                cluster: cluster.clone(),
                observed: there.observed.clone(),
                print,
                cancel: there.cancel.clone(),
            });
            self.known(|known| known.insert(cluster.key.clone(), again.clone()));
            return Ok(again);
        }
        let options = Options { tls: Some(certificates.tls()), deadline: DEADLINE, ..Options::default() };
        let client = Client::connect_lazy(&addresses.join(","), options)?;
        let cancel = CancellationToken::new();
        let observed = Arc::new(Observed::default());
        tokio::spawn(observed::follow(client.clone(), observed.clone(), triggers.clone(), cancel.clone()));
        let cluster_key = cluster.key.clone();
        let connection = Arc::new(Connection { client, cluster: cluster.clone(), observed, print, cancel });
        if let Some(old) = self.known(|known| known.insert(cluster_key, connection.clone())) {
            old.cancel.cancel();
            connection.observed.take_over(&old.observed);
        }
        Ok(connection)
    }

    /// The cluster is gone.
    pub(crate) fn forget(&self, key: &Key) {
        if let Some(old) = self.known(|known| known.remove(key)) {
            old.cancel.cancel();
        }
    }

    fn known<T>(&self, with: impl FnOnce(&mut HashMap<Key, Arc<Connection>>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Brokers that are tried for the way in; the others are learned from them.
const ADDRESSES_MAX: u32 = 9;
