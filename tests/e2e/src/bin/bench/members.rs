//! Three brokers on loopback, each a process of its own.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use pondage_client::{Client, ClusterStatus, MovePlan, Options, troubles};
use pondage_model::Uuid;
use tokio::time::{Instant, sleep};

use crate::server::{Membership, Served, Target};

/// How many.
pub(crate) const BROKERS: usize = 3;
/// How long they may take to become whole.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(120);

/// A cluster. Dropping it kills its processes.
#[derive(Debug)]
pub(crate) struct Members {
    /// By place; one that was killed is missing.
    served: Vec<Option<Served>>,
    places: Vec<Membership>,
    folder: PathBuf,
    sync_delay: Option<Duration>,
}

impl Members {
    /// Starts them in this folder and waits until they are a cluster with all copies of everything.
    pub(crate) async fn start(folder: &Path, sync_delay: Option<Duration>) -> Result<Self> {
        let cluster: Uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?
            .trim()
            .parse()
            .map_err(|_| anyhow::anyhow!("the system gives no UUID"))?;
        let seeds = free_addresses()?;
        let place = |listen: &SocketAddr| Membership { cluster, listen: *listen, seeds: seeds.clone() };
        let places = seeds.iter().map(place).collect();
        let served = seeds.iter().map(|_| None).collect();
        let mut members = Self { served, places, folder: folder.to_owned(), sync_delay };
        members.launch(0).await?;
        // Only the first one: it begins the cluster.
        let first = Client::connect(&seeds[0].to_string(), Options::default()).await?;
        first.initialise_cluster(cluster).await?;
        for index in 1..BROKERS {
            members.launch(index).await?;
        }
        members.whole().await?;
        Ok(members)
    }

    /// Where all of them are.
    pub(crate) fn addresses(&self) -> String {
        let places: Vec<String> = self.places.iter().map(|place| place.listen.to_string()).collect();
        places.join(",")
    }

    /// A client of all of them.
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.addresses(), Options::default()).await?)
    }

    /// Those that run, to be called and watched.
    pub(crate) fn target(&self) -> Target {
        Target { address: self.addresses(), ..Target::of(self.served.iter().flatten()) }
    }

    /// Waits until nothing is wrong and nothing is still to be moved; answers the status.
    pub(crate) async fn whole(&self) -> Result<ClusterStatus> {
        let client = self.client().await?;
        let begun = Instant::now();
        loop {
            let status = client.cluster_status().await?;
            let plan = client.plan_moves().await;
            let is_settled = plan.is_ok_and(|plan| plan == MovePlan::default());
            let found = troubles(&status);
            if found.is_empty() && is_settled && status.voters.len() == BROKERS {
                return Ok(status);
            }
            if begun.elapsed() > WHOLE_TIMEOUT {
                let worst = found.first().map(ToString::to_string);
                bail!("not whole after {} s: {worst:?}", WHOLE_TIMEOUT.as_secs());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Which of them listens at an address.
    pub(crate) fn place_at(&self, address: &str) -> Result<usize> {
        let found = self.places.iter().position(|place| place.listen.to_string() == address);
        found.with_context(|| format!("nobody was started at {address}"))
    }

    /// The process id of one that runs.
    pub(crate) fn pid(&self, index: usize) -> Result<u32> {
        Ok(self.served[index].as_ref().context("it does not run")?.pid)
    }

    /// Kills one.
    pub(crate) async fn kill(&mut self, index: usize) -> Result<()> {
        self.served[index].take().context("it does not run")?.kill().await
    }

    /// Stops one in good order.
    pub(crate) async fn stop(&mut self, index: usize) -> Result<()> {
        self.served[index].take().context("it does not run")?.stop().await
    }

    /// Starts one; returns when it listens.
    pub(crate) async fn launch(&mut self, index: usize) -> Result<()> {
        let folder = self.folder.join(format!("broker-{}", index + 1));
        let served = Served::member(&folder, self.sync_delay, &self.places[index]).await?;
        self.served[index] = Some(served);
        Ok(())
    }
}

/// Addresses that nobody has now, and that stay when a broker starts again.
fn free_addresses() -> Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> =
        (0..BROKERS).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}
