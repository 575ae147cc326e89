//! `pondage up --brokers N`: a cluster of several processes on this machine.

mod children;
mod ports;
pub(crate) mod record;

use std::{net::SocketAddr, time::Duration};

use pondage_client::{Client, ClusterStatus, Options as ClientOptions, Trouble, troubles};
use pondage_resources::Loaded;
use tokio::time::{Instant, interval, sleep};

use self::{
    children::{ChildSpec, Children},
    record::{ClusterFolder, Record},
};
use super::{Up, address_file::AddressFile, greet, prepared, reachable};
use crate::{
    commands::remark,
    exit::{Exit, Failure, Result},
    signals::Signals,
};

/// How long a new cluster may take until everything is in sync.
const BRING_UP_PATIENCE: Duration = Duration::from_secs(120);
/// How long a cluster from before is waited for to be whole, before it is served as it is.
const WHOLE_PATIENCE: Duration = Duration::from_secs(30);
/// How often the cluster is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// The brokers of a data folder, as this process runs them.
struct Cluster {
    folder: ClusterFolder,
    record: Record,
    children: Children,
    is_new: bool,
}

impl Up {
    /// Runs `count` brokers until a signal ends them.
    pub(super) async fn run_brokers(
        &self,
        count: usize,
        asked: Option<SocketAddr>,
        loaded: Vec<Loaded>,
    ) -> Result<Exit> {
        let mut signals = Signals::new()?;
        let address_file = self.address_file.as_deref().map(AddressFile::claim).transpose()?;
        let mut cluster = self.open(count, asked)?;
        let ended = tokio::select! {
            ended = self.serve_brokers(&mut cluster, loaded, address_file.as_ref()) => ended,
            exit = signals.next() => {
                tracing::info!(?exit, "the brokers stop");
                remark("stopping all brokers; a second signal ends them at once");
                Ok(())
            }
        };
        cluster.children.stop();
        tokio::select! {
            () = cluster.children.wait() => {}
            _ = signals.next() => {
                cluster.children.kill();
                cluster.children.wait().await;
            }
        }
        drop(address_file);
        ended.map(|()| Exit::Ok)
    }

    /// Takes the folder and records what there is to be.
    fn open(&self, count: usize, asked: Option<SocketAddr>) -> Result<Cluster> {
        let folder = ClusterFolder::claim(&self.data)?;
        let found = folder.record()?;
        let mut record = match found {
            Some(record) => record,
            None => Record::new(random_uuid()?),
        };
        folder.check_not_lost(&record)?;
        let first = record.brokers.first().map(|broker| broker.listen);
        if let (Some(first), Some(asked)) = (first, asked)
            && asked.port() != 0
            && asked != first
        {
            let what = format!("--listen {asked}: the first broker of this data folder listens on {first}");
            return Err(Failure::usage(what).help("leave --listen out: brokers keep their addresses"));
        }
        let listen = asked.or(first).unwrap_or(super::LISTEN);
        for address in [listen, self.http] {
            if !address.ip().is_loopback() {
                let what = format!("{address} can be reached from other machines");
                return Err(Failure::usage(what).help(
                    "brokers of --brokers speak plain text and listen on the loopback address; `pondage broker` has TLS",
                ));
            }
        }
        let is_new = !record.initialised;
        ports::assign(&mut record, count, listen, self.http)?;
        folder.save(&record)?;
        Ok(Cluster { folder, record, children: Children::new(), is_new })
    }

    /// Starts the brokers, applies the files, and says where everything is. Ends only with an error.
    async fn serve_brokers(
        &self,
        cluster: &mut Cluster,
        loaded: Vec<Loaded>,
        address_file: Option<&AddressFile>,
    ) -> Result<()> {
        self.start_brokers(cluster).await?;
        let places: Vec<(String, String)> =
            cluster.record.brokers.iter().map(|broker| (url(broker.listen), url(broker.http))).collect();
        let servers: Vec<&str> = places.iter().map(|(server, _)| server.as_str()).collect();
        let client = Client::connect_lazy(&servers.join(","), ClientOptions::default())?;
        let status = cluster.wait_until_whole(&client).await?;
        cluster.remember(&status)?;
        let data = self.data.display().to_string();
        let greeting = prepared(&client, &places, &data, cluster.is_new, loaded).await?;
        if let Some(file) = address_file {
            file.write(&places)?;
        }
        greet(&greeting)?;
        loop {
            // It was said and is being started again.
            let ended = cluster.children.ended().await;
            tracing::warn!(broker = ended.number, how = ended.how, "a broker ended");
        }
    }

    /// The first broker alone until the cluster has begun, then the others.
    async fn start_brokers(&self, cluster: &mut Cluster) -> Result<()> {
        let uuid = cluster.record.cluster()?;
        cluster.children.start(self.spec(cluster, 1)?);
        if !cluster.record.initialised {
            let address = url(cluster.record.brokers[0].listen);
            let client = Client::connect_lazy(&address, ClientOptions::default())?;
            let deadline = Instant::now() + BRING_UP_PATIENCE;
            let begin = async {
                loop {
                    match client.initialise_cluster(uuid).await {
                        Ok(()) => return Ok(()),
                        Err(error) if error.retriable() && Instant::now() < deadline => {
                            sleep(LOOK_EVERY).await;
                        }
                        Err(error) => return Err(Failure::from(error).about("the cluster was not begun")),
                    }
                }
            };
            tokio::select! {
                begun = begin => begun?,
                ended = cluster.children.ended() => return Err(did_not_start(ended.number, &ended.how)),
            }
            cluster.record.initialised = true;
            cluster.folder.save(&cluster.record)?;
        }
        for number in 2..=cluster.record.brokers.len() {
            cluster.children.start(self.spec(cluster, number)?);
        }
        Ok(())
    }

    /// How to start a broker.
    fn spec(&self, cluster: &Cluster, number: usize) -> Result<ChildSpec> {
        let Cluster { folder, record, .. } = cluster;
        let own = &record.brokers[number - 1];
        let others = record.brokers.iter().filter(|other| *other != own);
        let seeds: Vec<String> = others.map(|other| other.listen.to_string()).collect();
        let mut args = vec!["broker".to_owned(), "--supervised".to_owned()];
        let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
        option("--data", folder.broker(number).display().to_string());
        option("--listen", own.listen.to_string());
        option("--http", own.http.to_string());
        option("--cluster", record.cluster()?.to_string());
        if !seeds.is_empty() {
            option("--seeds", seeds.join(","));
        }
        if let Some(id) = own.id.filter(|_| !folder.has_volume(number)) {
            remark(&format!(
                "the volume of broker {number} is gone; a new one takes the place of broker {id}"
            ));
            option("--replaces", id.to_string());
        }
        option("--log-format", self.logs.log_format.as_str().to_owned());
        if let Some(level) = &self.logs.log_level {
            option("--log-level", level.clone());
        }
        if let Some(delay) = self.sync_delay {
            option("--sync-delay", format!("{}ms", delay.as_millis()));
        }
        let program = std::env::current_exe()?;
        Ok(ChildSpec { number, program, args, folder: self.data.clone() })
    }
}

impl Cluster {
    /// Waits until every broker is there and nothing is wrong. A cluster from before goes on without some of its
    /// brokers, as long as every message can be reached.
    async fn wait_until_whole(&mut self, client: &Client) -> Result<ClusterStatus> {
        let start = Instant::now();
        let mut looks = interval(LOOK_EVERY);
        let mut say_at = start + SAY_EVERY;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                ended = self.children.ended() => {
                    if self.is_new {
                        return Err(did_not_start(ended.number, &ended.how));
                    }
                    continue;
                }
            }
            let missing = match client.cluster_status().await {
                Ok(status) => match lacks(&status, self.record.brokers.len()) {
                    None => return Ok(status),
                    Some(missing)
                        if !missing.is_grave && !self.is_new && start.elapsed() > WHOLE_PATIENCE =>
                    {
                        remark(&format!("warning: {}; the cluster goes on as it is", missing.what));
                        return Ok(status);
                    }
                    Some(missing) => missing.what,
                },
                Err(error) if error.retriable() => error.message().to_owned(),
                Err(error) => return Err(error.into()),
            };
            if Instant::now() > say_at {
                remark(&format!("waiting: {missing}"));
                say_at = Instant::now() + SAY_EVERY;
            }
            if self.is_new && start.elapsed() > BRING_UP_PATIENCE {
                return Err(Failure::failed(format!("the cluster did not come up: {missing}")));
            }
        }
    }

    /// Records which of the cluster's brokers each volume is.
    fn remember(&mut self, status: &ClusterStatus) -> Result<()> {
        let before = self.record.clone();
        for broker in &mut self.record.brokers {
            let address = broker.listen.to_string();
            let found = status.brokers.iter().filter(|found| !found.is_lost && found.address == address);
            if let Some(newest) = found.map(|found| found.id).max() {
                broker.id = Some(newest.get());
            }
        }
        if self.record == before { Ok(()) } else { self.folder.save(&self.record) }
    }
}

/// Why a cluster is not whole.
#[derive(Debug, PartialEq, Eq)]
struct Lack {
    what: String,
    is_grave: bool,
}

fn lacks(status: &ClusterStatus, count: usize) -> Option<Lack> {
    let lack = |what: String, is_grave| Some(Lack { what, is_grave });
    let found = troubles(status);
    if let Some(worst) = found.first() {
        return lack(worst.to_string(), found.iter().copied().any(Trouble::is_grave));
    }
    let there = status.brokers.iter().filter(|broker| !broker.is_lost).count();
    if there < count {
        return lack(format!("{there} of {count} brokers have joined"), there == 0);
    }
    let voters = match there {
        0..=2 => 1,
        3 | 4 => 3,
        _ => 5,
    };
    if status.voters.len() < voters {
        return lack(format!("{} of {voters} brokers vote on the catalog", status.voters.len()), false);
    }
    None
}

fn did_not_start(number: usize, how: &str) -> Failure {
    Failure::failed(format!("broker {number} did not start ({how})")).help("its last words are above")
}

fn url(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

fn random_uuid() -> Result<pondage_model::Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::failed(format!("no random numbers: {error}")))?;
    Ok(pondage_model::Uuid(bytes))
}

#[cfg(test)]
#[path = "brokers_tests.rs"]
mod tests;
