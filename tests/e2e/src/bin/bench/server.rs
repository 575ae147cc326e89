//! The processes that are measured: the broker, alone or one of a cluster, and the echo.

use std::{net::SocketAddr, path::Path, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use pondage_broker::{Broker, MemberOptions, Options, RackSource, StartError};
use pondage_model::Uuid;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::echo;

/// What a process of its own serves.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    role: Role,
    /// The broker's data folder, or the file of an echo that syncs.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The broker is one of this cluster.
    #[arg(long)]
    cluster: Option<Uuid>,
    /// Where the broker listens; anywhere by default.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The other brokers of its cluster.
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<String>,
    /// How much longer each of its syncs takes.
    #[arg(long)]
    sync_delay_millis: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Broker,
    Echo,
}

/// The one line that a serving process prints.
#[derive(Debug, Deserialize, Serialize)]
struct Addresses {
    grpc: SocketAddr,
    http: Option<SocketAddr>,
}

/// Serves until standard input ends.
pub(crate) async fn serve(arguments: Arguments) -> Result<()> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    if arguments.role == Role::Echo {
        let listener = TcpListener::bind(any_port).await?;
        say(&Addresses { grpc: listener.local_addr()?, http: None })?;
        tokio::select! {
            served = echo::serve(listener, arguments.data.as_deref()) => served?,
            ended = input_ends() => ended?,
        }
        return Ok(());
    }
    let broker = arguments.start(any_port).await?;
    say(&Addresses { grpc: broker.address, http: Some(broker.http_address) })?;
    input_ends().await?;
    let stopped = broker.stop().await;
    ensure!(stopped == pondage_broker::Stopped::InOrder, "{stopped:?}");
    Ok(())
}

impl Arguments {
    async fn start(self, any_port: SocketAddr) -> Result<Broker> {
        let data = self.data.context("--data")?;
        let listen = self.listen.unwrap_or(any_port);
        let sync_delay = self.sync_delay_millis.map(Duration::from_millis);
        let started: Result<Broker, StartError> = match self.cluster {
            None => Broker::start(Options { data, listen, http: any_port, sync_delay }).await,
            Some(cluster) => {
                let options = MemberOptions {
                    data,
                    listen,
                    advertise: None,
                    http: any_port,
                    cluster,
                    seeds: self.seeds,
                    rack: RackSource::default(),
                    replaces: None,
                    tls: None,
                    sync_delay,
                };
                Broker::start_member(options).await
            }
        };
        Ok(started?)
    }
}

fn say(addresses: &Addresses) -> Result<()> {
    println!("{}", serde_json::to_string(addresses)?);
    Ok(())
}

async fn input_ends() -> Result<()> {
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    Ok(())
}

/// What clients call and what is watched meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where it is called: one address, or several with commas between them.
    pub(crate) address: String,
    /// Its processes.
    pub(crate) pids: Vec<u32>,
    /// Where those of them that have metrics show them.
    pub(crate) https: Vec<SocketAddr>,
}

impl Target {
    /// Several processes that serve together.
    pub(crate) fn of<'a>(served: impl IntoIterator<Item = &'a Served>) -> Self {
        let served: Vec<&Served> = served.into_iter().collect();
        let addresses: Vec<&str> = served.iter().map(|served| served.address.as_str()).collect();
        Self {
            address: addresses.join(","),
            pids: served.iter().map(|served| served.pid).collect(),
            https: served.iter().filter_map(|served| served.http).collect(),
        }
    }
}

/// One of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// The cluster.
    pub(crate) cluster: Uuid,
    /// Where this one listens.
    pub(crate) listen: SocketAddr,
    /// Where all of them do.
    pub(crate) seeds: Vec<SocketAddr>,
}

/// A process that serves.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    /// Its process id.
    pub(crate) pid: u32,
    /// Where its gRPC is.
    pub(crate) address: String,
    /// Where its metrics are, if it has any.
    pub(crate) http: Option<SocketAddr>,
}

impl Served {
    /// Starts the echo.
    pub(crate) async fn echo() -> Result<Self> {
        Self::start(&["echo"], None).await
    }

    /// Starts an echo that answers once the bytes are durable in this file.
    pub(crate) async fn syncing_echo(file: &Path) -> Result<Self> {
        Self::start(&["echo"], Some(file)).await
    }

    /// Starts a broker on this folder.
    pub(crate) async fn broker(data: &Path, sync_delay: Option<Duration>) -> Result<Self> {
        let delay = delayed(sync_delay);
        let mut arguments = vec!["broker"];
        arguments.extend(delay.as_deref());
        Self::start(&arguments, Some(data)).await
    }

    /// Starts a broker of a cluster on this folder.
    pub(crate) async fn member(
        data: &Path,
        sync_delay: Option<Duration>,
        place: &Membership,
    ) -> Result<Self> {
        let seeds: Vec<String> = place.seeds.iter().map(SocketAddr::to_string).collect();
        let (cluster, listen, seeds) = (
            format!("--cluster={}", place.cluster),
            format!("--listen={}", place.listen),
            format!("--seeds={}", seeds.join(",")),
        );
        let delay = delayed(sync_delay);
        let mut arguments = vec!["broker", &cluster, &listen, &seeds];
        arguments.extend(delay.as_deref());
        Self::start(&arguments, Some(data)).await
    }

    /// As something to call and to watch.
    pub(crate) fn target(&self) -> Target {
        Target::of([self])
    }

    async fn start(arguments: &[&str], data: Option<&Path>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").args(arguments);
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting a server")?;
        let output = child.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let addresses: Addresses =
            serde_json::from_str(&line).with_context(|| format!("{arguments:?} said {line:?}"))?;
        let pid = child.id().context("it ended at once")?;
        Ok(Self { child, pid, address: addresses.grpc.to_string(), http: addresses.http })
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Ends it in good order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        ensure!(status.success(), "a server ended with {status}");
        Ok(())
    }
}

fn delayed(sync_delay: Option<Duration>) -> Option<String> {
    sync_delay.map(|delay| format!("--sync-delay-millis={}", delay.as_millis()))
}
