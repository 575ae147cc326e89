//! What runs in pods as somebody's application: it publishes numbered messages at a steady rate, or takes them, and says
//! at the end what became of each of them.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use pondage_client::{Client, ConsumerOptions, Message, Options, PublisherOptions, Tls};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// An application of a queue
#[derive(Parser)]
struct Arguments {
    /// Where the brokers are
    #[arg(long)]
    server: String,
    /// The authority of their certificates
    #[arg(long)]
    authority: std::path::PathBuf,
    /// The queue
    #[arg(long)]
    queue: String,
    /// Messages
    #[arg(long)]
    count: u64,
    #[command(subcommand)]
    does: Does,
}

#[derive(Subcommand)]
enum Does {
    /// Publish them
    Publish {
        /// Messages in a second
        #[arg(long, default_value_t = 1_500)]
        rate: u64,
    },
    /// Take them, until every one was there
    Consume {
        /// Seconds without a message after which the rest counts as missing
        #[arg(long, default_value_t = 120)]
        patience: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match perform(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(arguments: Arguments) -> Result<()> {
    let authority = std::fs::read(&arguments.authority).context("the authority")?;
    let options = Options { tls: Some(Tls::new(authority)), ..Options::default() };
    let client = Client::connect_lazy(&arguments.server, options)?;
    match arguments.does {
        Does::Publish { rate } => publish(&client, &arguments.queue, arguments.count, rate).await,
        Does::Consume { patience } => {
            consume(&client, &arguments.queue, arguments.count, Duration::from_secs(patience)).await
        }
    }
}

/// Publishes `count` messages, a hundredth of a second's at a time, and says how many were acknowledged and what the
/// longest time without an acknowledgement was.
async fn publish(client: &Client, queue: &str, count: u64, rate: u64) -> Result<()> {
    let publisher = loop {
        match client.publisher(queue, PublisherOptions::default()).await {
            Ok(publisher) => break publisher,
            Err(error) if error.retriable() => sleep(Duration::from_millis(200)).await,
            Err(error) => return Err(error.into()),
        }
    };
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    let mut waiting = JoinSet::new();
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let mut failures: Vec<String> = Vec::new();
    let mut settle = |done: Result<(), pondage_client::ClientError>| match done {
        Ok(()) => {
            acknowledged += 1;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        Err(error) => failures.push(error.to_string()),
    };
    while sent < count {
        ticks.tick().await;
        for _ in 0..(rate / 100).max(1).min(count - sent) {
            let sending = publisher.send(Message::new(sent.to_string())).await?;
            waiting.spawn(async move { sending.await.map(drop) });
            sent += 1;
        }
        while let Some(done) = waiting.try_join_next() {
            settle(done?);
        }
    }
    while let Some(done) = waiting.join_next().await {
        settle(done?);
    }
    println!(
        "{}",
        serde_json::json!({
            "acknowledged": acknowledged,
            "failed": failures.len(),
            "failure": failures.first(),
            "longestGapMillis": longest.as_millis(),
        })
    );
    ensure!(acknowledged == count, "{} messages were not acknowledged", count - acknowledged);
    Ok(())
}

/// Takes messages until each of `count` was there, and says how many there were.
async fn consume(client: &Client, queue: &str, count: u64, patience: Duration) -> Result<()> {
    let mut seen: BTreeSet<u64> = BTreeSet::new();
    let mut again = 0_u64;
    let mut consumer = None;
    let mut accepting = JoinSet::new();
    while (seen.len() as u64) < count {
        let Some(open) = &consumer else {
            match client.consumer(queue, ConsumerOptions::default()).await {
                Ok(open) => consumer = Some(open),
                Err(error) if error.retriable() => sleep(Duration::from_millis(200)).await,
                Err(error) => return Err(error.into()),
            }
            continue;
        };
        let open: &pondage_client::QueueConsumer = open;
        let Ok(next) = timeout(patience, open.next()).await else { break };
        match next {
            Ok(Some(message)) => {
                let value = message.value.as_deref().unwrap_or_default();
                let number: u64 = std::str::from_utf8(value)?.parse()?;
                if !seen.insert(number) {
                    again += 1;
                }
                // A lease that was lost comes again, and is counted then.
                accepting.spawn(async move { drop(message.accept().await) });
                while accepting.try_join_next().is_some() {}
            }
            Ok(None) => consumer = None,
            Err(error) if error.retriable() => consumer = None,
            Err(error) => return Err(error.into()),
        }
    }
    while accepting.join_next().await.is_some() {}
    let missing: Vec<u64> = (0..count).filter(|number| !seen.contains(number)).take(20).collect();
    let lost = count - seen.len() as u64;
    println!(
        "{}",
        serde_json::json!({ "distinct": seen.len(), "again": again, "missing": missing, "lost": lost })
    );
    ensure!(lost == 0, "{lost} messages are missing");
    Ok(())
}
