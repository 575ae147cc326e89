//! What runs in pods as somebody's application: it publishes numbered messages at a steady rate, or takes them, and says
//! at the end what became of each of them.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    str::FromStr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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
    /// Messages; how many they are that come at a pace is said by it
    #[arg(long, default_value_t = 0)]
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
        /// Instead of a rate and a count, seconds and the rate in them, one after the other: 40:150,60:60-240
        #[arg(long)]
        pace: Option<Pace>,
        /// What this message says, in the place of its number
        #[arg(long)]
        poison: Option<u64>,
    },
    /// Take them, until every one was there
    Consume {
        /// Seconds without a message after which the rest counts as missing
        #[arg(long, default_value_t = 120)]
        patience: u64,
    },
}

/// What no consumer gets done.
const POISON: &str = "poison";

/// How fast messages come: seconds, and the rates at their beginning and end.
#[derive(Clone, Debug)]
struct Pace(Vec<(f64, f64, f64)>);

impl Pace {
    fn steady(count: u64, rate: u64) -> Self {
        let rate = rate as f64;
        Self(vec![(count as f64 / rate, rate, rate)])
    }

    /// Messages that are to be sent so long after the beginning.
    fn due(&self, elapsed: Duration) -> u64 {
        let (mut left, mut due) = (elapsed.as_secs_f64(), 0.0);
        for (seconds, first, last) in &self.0 {
            let within = left.min(*seconds);
            due += within * (first + (last - first) * within / seconds / 2.0);
            left -= within;
        }
        // What is a whole number but for rounding is one.
        (due + 1e-6) as u64
    }

    fn count(&self) -> u64 {
        self.due(Duration::from_secs_f64(self.0.iter().map(|(seconds, ..)| seconds).sum()))
    }
}

impl FromStr for Pace {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let part = |part: &str| {
            let (seconds, rates) = part.split_once(':').context("SECONDS:RATE")?;
            let (first, last) = rates.split_once('-').unwrap_or((rates, rates));
            Ok((seconds.parse()?, first.parse()?, last.parse()?))
        };
        Ok(Self(text.split(',').map(part).collect::<Result<_>>()?))
    }
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
        Does::Publish { rate, pace, poison } => {
            let pace = pace.unwrap_or_else(|| Pace::steady(arguments.count, rate));
            publish(&client, &arguments.queue, &pace, poison).await
        }
        Does::Consume { patience } => {
            consume(&client, &arguments.queue, arguments.count, Duration::from_secs(patience)).await
        }
    }
}

/// Publishes messages at a pace, a hundredth of a second's at a time, and says when it began, how many were acknowledged
/// and what the longest time without an acknowledgement was.
async fn publish(client: &Client, queue: &str, pace: &Pace, poison: Option<u64>) -> Result<()> {
    let count = pace.count();
    let publisher = loop {
        match client.publisher(queue, PublisherOptions::default()).await {
            Ok(publisher) => break publisher,
            Err(error) if error.retriable() => sleep(Duration::from_millis(200)).await,
            Err(error) => return Err(error.into()),
        }
    };
    let (begun, begun_at) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?);
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
        let due = pace.due(begun.elapsed()).min(count);
        while sent < due {
            let is_poison = poison == Some(sent);
            let text = if is_poison { POISON.to_owned() } else { sent.to_string() };
            let sending = publisher.send(Message::new(text)).await?;
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
            "begunUnixMillis": u64::try_from(begun_at.as_millis())?,
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
