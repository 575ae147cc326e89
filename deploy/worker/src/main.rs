//! An example of a consumer that is scaled: a member of a group on topics, of a shared one or of one on a queue, which takes
//! some time over each message. Copy it, and put your work in the place of the sleep.
//!
//! What makes it fit to be scaled: the member is known by its pod's name, it tells its group how busy it is (the client
//! does that), and at SIGTERM it finishes what it has and leaves.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use pondage_client::{
    Client, GroupMember, GroupMessage, MemberOptions, Options, QueueMessage, Tls, Verdict, WorkerOptions,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// How long it waits before it tries again what it can't leave out.
const RETRY: Duration = Duration::from_secs(1);

/// A member of a consumer group that takes some time over each message
#[derive(Parser)]
struct Arguments {
    /// Where the brokers are, such as https://main.shop.svc:7420
    #[arg(long, env = "PONDAGE_SERVER")]
    server: String,
    /// The authority of their certificates, a file; without it the connection is not encrypted
    #[arg(long, env = "PONDAGE_CERTIFICATE_AUTHORITY")]
    certificate_authority: Option<PathBuf>,
    /// The group
    #[arg(long, env = "PONDAGE_GROUP")]
    group: String,
    /// The group reads its topics in order: its mode is Ordered
    #[arg(long)]
    ordered: bool,
    /// What the member is known by: its pod's name, which the autoscaler needs to tell who may go
    #[arg(long, env = "POD_NAME", default_value = "")]
    member: String,
    /// Messages that are handled at once
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// Milliseconds over each message
    #[arg(long, default_value_t = 100)]
    work_millis: u64,
    /// Messages with this text fail: one that is settled by itself is given back as a failed attempt, and of a group in
    /// order it is tried again and again, because what comes behind it must wait
    #[arg(long)]
    fails_at: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match work(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn work(arguments: Arguments) -> Result<()> {
    let tls = match &arguments.certificate_authority {
        Some(path) => Some(Tls::new(std::fs::read(path).with_context(|| path.display().to_string())?)),
        None => None,
    };
    let client = Client::connect_lazy(&arguments.server, Options { tls, ..Options::default() })?;
    let mut member = begin(&client, &arguments)?;
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = member.ended() => ended?,
        _ = stop.recv() => member.leave().await?,
    }
    Ok(())
}

fn begin(client: &Client, arguments: &Arguments) -> Result<GroupMember> {
    let Arguments { group, member, concurrency, work_millis, .. } = arguments;
    let (instance, concurrency, work) = (member.clone(), *concurrency, Duration::from_millis(*work_millis));
    let fails_at = arguments.fails_at.clone().map(Bytes::from);
    Ok(if arguments.ordered {
        let options = MemberOptions { instance, concurrency, ..MemberOptions::default() };
        client.join(group, options, move |message: GroupMessage| {
            let fails_at = fails_at.clone();
            async move {
                sleep(work).await;
                while fails_at.is_some() && message.message.value == fails_at {
                    sleep(RETRY).await;
                }
                Ok(())
            }
        })?
    } else {
        let options = WorkerOptions { instance, concurrency, ..WorkerOptions::default() };
        client.work(group, options, move |message: Arc<QueueMessage>| {
            let fails_at = fails_at.clone();
            async move {
                sleep(work).await;
                if fails_at.is_some() && message.value == fails_at {
                    return Verdict::Release { delay_millis: None };
                }
                Verdict::Accept
            }
        })?
    })
}
