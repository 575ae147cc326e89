//! Single durable messages of 1 KiB to one partition, and the bars that they have to clear.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use pondage_client::{Client, Options, Settings};
use pondage_model::{Name, settings::TopicSettings};

use crate::{
    figures,
    load::{self, Calls, Load, Plan, TOPIC},
    machine::{Scene, load_average},
    report::Report,
    server::Served,
};

/// Where the figures stand in a document.
const SECTION: &str = "figures";
/// What a sync of a typical cloud volume takes.
pub(crate) const SYNC_DELAY: Duration = Duration::from_millis(2);

/// How to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Turns; each measures everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes, behind one second to warm up
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Publishers at a time
    #[arg(long, default_value_t = 64)]
    publishers: usize,
    /// Connections that they share
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Where the brokers' data goes while it runs; decides which disk is measured
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Only these; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Subject>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Write the figures into the marked section of this document
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The generated stub against an empty method
    Echo,
    /// Publishers against the broker on this machine's disk
    Publish,
    /// The client library against an empty method
    EchoByClient,
    /// One publisher on this machine's disk
    One,
    /// Publishers with slow syncs
    SlowPublish,
    /// One publisher with slow syncs
    SlowOne,
}

impl Subject {
    const ALL: [Self; 6] =
        [Self::Echo, Self::Publish, Self::EchoByClient, Self::One, Self::SlowPublish, Self::SlowOne];

    /// What it is called in tables.
    pub(crate) fn title(self, publishers: usize) -> String {
        match self {
            Self::Echo => format!("{publishers} clients, empty echo (generated stub)"),
            Self::EchoByClient => format!("{publishers} clients, empty echo (our client)"),
            Self::Publish => format!("{publishers} publishers, this disk"),
            Self::One => "1 publisher, this disk".to_owned(),
            Self::SlowPublish => format!("{publishers} publishers, +2 ms per fsync"),
            Self::SlowOne => "1 publisher, +2 ms per fsync".to_owned(),
        }
    }
}

/// The three servers. They live through the whole run, so that only one is busy at a time.
struct Servers {
    echo: Served,
    broker: Served,
    slow: Served,
}

impl Servers {
    async fn start(folder: &Path) -> Result<Self> {
        let servers = Self {
            echo: Served::echo().await?,
            broker: Served::broker(&folder.join("disk"), None).await?,
            slow: Served::broker(&folder.join("slow"), Some(SYNC_DELAY)).await?,
        };
        for broker in [&servers.broker, &servers.slow] {
            let client = Client::connect(&broker.address, Options::default()).await?;
            let settings = Settings::Topic(TopicSettings { partitions: 1, ..Default::default() });
            client.apply(Name::new(TOPIC)?, settings).await?;
        }
        Ok(servers)
    }

    async fn measure(&self, subject: Subject, arguments: &Arguments) -> Result<Load> {
        let (served, calls, clients) = match subject {
            Subject::Echo => (&self.echo, Calls::Stub, arguments.publishers),
            Subject::EchoByClient => (&self.echo, Calls::Client, arguments.publishers),
            Subject::Publish => (&self.broker, Calls::Client, arguments.publishers),
            Subject::One => (&self.broker, Calls::Client, 1),
            Subject::SlowPublish => (&self.slow, Calls::Client, arguments.publishers),
            Subject::SlowOne => (&self.slow, Calls::Client, 1),
        };
        let plan = Plan {
            calls,
            clients,
            per_second: None,
            connections: arguments.connections.max(1),
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs_f64(arguments.seconds),
        };
        load::measure(&served.target(), plan).await
    }

    async fn stop(self) -> Result<()> {
        for served in [self.echo, self.broker, self.slow] {
            served.stop().await?;
        }
        Ok(())
    }
}

/// Measures and reports.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let Scene { folder, machine, load_before } = Scene::set(&arguments.folder)?;
    let servers = Servers::start(folder.path()).await?;
    let wanted = |subject: &Subject| arguments.only.is_empty() || arguments.only.contains(subject);
    let mut subjects: Vec<Subject> = Subject::ALL.into_iter().filter(wanted).collect();
    let mut measured = Vec::new();
    for round in 0..arguments.rounds.max(1) {
        for &subject in &subjects {
            let load = servers.measure(subject, &arguments).await?;
            if !arguments.json {
                let title = subject.title(arguments.publishers);
                eprintln!("round {}: {title}: {:.0}/s", round + 1, load.calls_per_second);
            }
            measured.push((round, subject, load));
        }
        // Whatever drifts while a round lasts falls on both sides alike.
        subjects.reverse();
    }
    servers.stop().await?;
    let report = Report {
        machine,
        load_before,
        load_after: load_average(),
        publishers: arguments.publishers,
        connections: arguments.connections,
        seconds: arguments.seconds,
        measured,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        println!("\n{}", report.markdown());
    }
    if let Some(document) = &arguments.write {
        figures::write(document, SECTION, &report.markdown())?;
    }
    Ok(ExitCode::SUCCESS)
}
