//! The processes that are measured: the broker, and the echo.

use std::{net::SocketAddr, path::Path, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use pondage_broker::{Broker, Options};
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
    /// The broker's data folder.
    #[arg(long)]
    data: Option<PathBuf>,
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
    match arguments.role {
        Role::Broker => {
            let data = arguments.data.context("--data")?;
            let sync_delay = arguments.sync_delay_millis.map(Duration::from_millis);
            let broker =
                Broker::start(Options { data, listen: any_port, http: any_port, sync_delay }).await?;
            say(&Addresses { grpc: broker.address, http: Some(broker.http_address) })?;
            input_ends().await?;
            let stopped = broker.stop().await;
            ensure!(stopped == pondage_broker::Stopped::InOrder, "{stopped:?}");
        }
        Role::Echo => {
            let listener = TcpListener::bind(any_port).await?;
            say(&Addresses { grpc: listener.local_addr()?, http: None })?;
            tokio::select! {
                served = echo::serve(listener) => served?,
                ended = input_ends() => ended?,
            }
        }
    }
    Ok(())
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

    /// Starts a broker on this folder.
    pub(crate) async fn broker(data: &Path, sync_delay: Option<Duration>) -> Result<Self> {
        let delay = sync_delay.map(|delay| format!("--sync-delay-millis={}", delay.as_millis()));
        let mut arguments = vec!["broker"];
        arguments.extend(delay.as_deref());
        Self::start(&arguments, Some(data)).await
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

    /// Ends it in good order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        ensure!(status.success(), "a server ended with {status}");
        Ok(())
    }
}
