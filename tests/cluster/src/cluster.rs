//! The brokers of a run, their network, and what they say of themselves.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use pondage_client::{Client, ShardKind, Trouble, troubles};
use pondage_model::{BrokerId, Uuid};

use crate::{
    load::{self, Access, Inside},
    network::{Host, Network, Traffic},
    process::{Broker, Membership, Place},
    tls,
    volume::Volume,
};

/// Bytes of a broker's own volume.
const VOLUME_BYTES: u64 = 1 << 30;
/// How long brokers may take to find each other.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// What to set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary `pondage`.
    pub binary: PathBuf,
    /// Brokers: 1 for one alone, or as many as a cluster has.
    pub brokers: u8,
    /// Each broker has a file system of its own, whose power can be cut.
    pub has_volumes: bool,
}

/// A running cluster. Dropping it ends its processes and takes away what it lies on.
#[derive(Debug)]
pub struct Cluster {
    /// Its brokers, by host.
    pub brokers: Vec<Broker>,
    /// What goes between the hosts.
    pub network: Network,
    access: Access,
}

/// What a cluster says of itself.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By host, the streams that its broker leads.
    pub leads: BTreeMap<Host, u32>,
    /// By host, the number of its broker.
    pub numbers: BTreeMap<Host, BrokerId>,
    /// Where the catalog is led.
    pub catalog: Option<Host>,
    /// All shards' epochs, added up: grows with every change of a leader.
    pub epochs: u64,
    /// Brokers that vote on the catalog.
    pub voters: usize,
    /// What is not as it should be.
    pub troubles: Vec<Trouble>,
}

impl Cluster {
    /// Sets everything up in `folder` and waits until it serves.
    ///
    /// # Errors
    /// If the machine can't, or the brokers do not form a cluster.
    pub fn start(setup: &Setup, folder: &Path) -> Result<Self> {
        let hosts: Vec<Host> = (1..=setup.brokers).map(Host).collect();
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        let (membership, tls) = if let [alone] = hosts[..] {
            let _ = alone;
            (Membership::Alone, None)
        } else {
            let (certificates, administrator) = tls::create(&folder.join("tls"), &hosts)?;
            let seeds = hosts.iter().map(|host| Broker::address_on(*host).to_string()).collect();
            let cluster = random_uuid()?;
            (Membership::Member { cluster, seeds, certificates }, Some(administrator.for_client()?))
        };
        // One more: the clients'.
        let network = Network::new(setup.brokers + 1)?;
        let mut brokers = Vec::new();
        for host in &hosts {
            let folder = folder.join(format!("broker-{}", host.0));
            let place = if setup.has_volumes {
                Place::Volume(Volume::create(folder.with_extension("ext4"), folder, VOLUME_BYTES)?)
            } else {
                fs::create_dir_all(&folder)?;
                Place::Folder(folder)
            };
            let namespace = network.namespace(*host).clone();
            brokers.push(Broker::new(
                setup.binary.clone(),
                *host,
                namespace,
                membership.clone(),
                place,
                &logs,
            ));
        }
        let addresses = hosts.iter().map(|host| Broker::address_on(*host).to_string()).collect();
        let access = Access { addresses, tls };
        let mut cluster = Self { brokers, network, access };
        cluster.form(&membership)?;
        Ok(cluster)
    }

    /// How clients find it.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// Where the clients are.
    #[must_use]
    pub fn clients(&self) -> Host {
        Host(u8::try_from(self.brokers.len() + 1).unwrap_or(u8::MAX))
    }

    /// The broker on a host.
    ///
    /// # Panics
    /// If there is none, a mistake of the caller.
    pub fn broker(&mut self, host: Host) -> &mut Broker {
        &mut self.brokers[usize::from(host.0) - 1]
    }

    /// Starts all brokers that do not run, and waits until they serve.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_missing(&mut self) -> Result<u32> {
        let mut started = 0;
        for broker in &mut self.brokers {
            // How it ended is for the caller to judge, before.
            let _ = broker.ended()?;
            if !broker.is_started() {
                broker.spawn()?;
                started += 1;
            }
        }
        for broker in &mut self.brokers {
            broker.wait_ready()?;
        }
        Ok(started)
    }

    /// Kills all brokers at once, and starts them again.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn restart_all(&mut self) -> Result<()> {
        for broker in &mut self.brokers {
            broker.kill()?;
        }
        self.start_missing().map(|_| ())
    }

    /// Everything goes its way again.
    ///
    /// # Errors
    /// If the machine can't.
    pub fn heal_network(&self) -> Result<()> {
        self.network.set(&Traffic::default())
    }

    /// The ends of all logs, for people.
    #[must_use]
    pub fn log_tails(&self) -> String {
        self.brokers.iter().map(Broker::log_tail).collect()
    }

    /// Starts all brokers; those of a cluster join the first one, which begins it.
    fn form(&mut self, membership: &Membership) -> Result<()> {
        let Membership::Member { cluster, .. } = membership else {
            return self.start_missing().map(|_| ());
        };
        let cluster: Uuid = cluster.parse().map_err(|_| anyhow!("{cluster} is no UUID"))?;
        let inside = Inside::new(self.network.namespace(self.clients()))?;
        self.brokers[0].spawn()?;
        self.brokers[0].wait_ready()?;
        let first = Access { addresses: vec![self.brokers[0].address().to_string()], ..self.access.clone() };
        inside.run(async move { Ok(load::connect(&first).await?.initialise_cluster(cluster).await?) })?;
        self.start_missing()?;

        let started = Instant::now();
        loop {
            let access = self.access.clone();
            let view = inside.run(async move { look(load::connect(&access).await?).await });
            if view.as_ref().is_ok_and(|view| view.is_whole() && view.numbers.len() == self.brokers.len()) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < FORM_TIMEOUT,
                "no cluster after {} s: {view:?}\n{}",
                FORM_TIMEOUT.as_secs(),
                self.log_tails()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Asks a cluster what it says of itself.
///
/// # Errors
/// If nobody answers.
pub(crate) async fn look(client: Client) -> Result<View> {
    let status = client.cluster_status().await?;
    let mut view = View { troubles: troubles(&status), ..View::default() };
    let mut hosts = BTreeMap::new();
    for broker in status.brokers.iter().filter(|broker| !broker.is_lost) {
        let address: SocketAddrV4 = broker.address.parse().context("a broker's address")?;
        let host = Host(address.ip().octets()[2]);
        hosts.insert(broker.id, host);
        view.numbers.insert(host, broker.id);
        view.leads.entry(host).or_default();
    }
    view.catalog = status.catalog_leader.and_then(|leader| hosts.get(&leader)).copied();
    for shard in status.shards.iter().filter(|shard| shard.kind != ShardKind::Catalog) {
        view.epochs += shard.epoch.0;
        if let Some(host) = shard.leader.and_then(|leader| hosts.get(&leader)) {
            *view.leads.entry(*host).or_default() += shard.streams;
        }
    }
    view.voters = status.voters.len();
    Ok(view)
}

impl View {
    /// Whether nothing is left to be repaired.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.troubles.is_empty() && self.voters == self.numbers.len().min(3)
    }

    /// What is left to be repaired, in words.
    #[must_use]
    pub fn missing(&self) -> String {
        let troubles: Vec<String> = self.troubles.iter().map(ToString::to_string).collect();
        if troubles.is_empty() { format!("{} voters", self.voters) } else { troubles.join(", ") }
    }

    /// The host whose broker leads most, and the one whose broker leads least.
    #[must_use]
    pub fn most_and_least(&self) -> Option<(Host, Host)> {
        let most = self.leads.iter().max_by_key(|(_, leads)| **leads)?;
        let least = self.leads.iter().min_by_key(|(_, leads)| **leads)?;
        Some((*most.0, *least.0))
    }
}

/// A UUID that nobody had before.
fn random_uuid() -> Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(uuid.trim().to_owned())
}
