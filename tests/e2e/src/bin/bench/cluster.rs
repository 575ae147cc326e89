//! Single durable messages of 1 KiB on three brokers: what a publisher waits at a steady load, and how much they take.

use std::{collections::BTreeMap, fmt::Write, path::Path, path::PathBuf, time::Duration};

use anyhow::Result;
use pondage_client::{Client, Options, Settings};
use pondage_model::{Name, settings::TopicSettings};

use crate::{
    figures::{self, median, table},
    load::{self, Calls, Load, MESSAGE_BYTES, Plan, TOPIC},
    machine::Scene,
    members::{BROKERS, Members},
    publish::SYNC_DELAY,
    server::{Served, Target},
};

/// Where the figures stand in a document.
const SECTION: &str = "cluster figures";
const GIB: f64 = (1_u64 << 30) as f64;

/// How to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Turns; each measures everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes, behind one second to warm up
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Messages a second of the steady load
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Publishers at a time
    #[arg(long, default_value_t = 64)]
    publishers: usize,
    /// Connections that they share
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Where the brokers' data goes while it runs; decides which disk is measured
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Only the steady load, or only the most that they take
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Write the figures into the marked section of this document
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// So many messages a second
    Steady,
    /// As many as they take
    Most,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    SteadyFloor,
    SteadyOne,
    SteadyThree,
    One,
    Three,
    SlowOne,
    SlowThree,
}

impl Subject {
    const THIS_DISK: [Self; 5] =
        [Self::SteadyFloor, Self::SteadyOne, Self::SteadyThree, Self::One, Self::Three];
    const SLOW_DISK: [Self; 2] = [Self::SlowOne, Self::SlowThree];

    const fn part(self) -> Part {
        match self {
            Self::SteadyFloor | Self::SteadyOne | Self::SteadyThree => Part::Steady,
            Self::One | Self::Three | Self::SlowOne | Self::SlowThree => Part::Most,
        }
    }

    fn title(self, arguments: &Arguments) -> String {
        let (rate, publishers) = (arguments.rate, arguments.publishers);
        match self {
            Self::SteadyFloor => format!("{rate}/s, echo and one sync"),
            Self::SteadyOne => format!("{rate}/s, one broker"),
            Self::SteadyThree => format!("{rate}/s, {BROKERS} replicas"),
            Self::One => format!("{publishers} publishers, one broker"),
            Self::Three => format!("{publishers} publishers, {BROKERS} replicas"),
            Self::SlowOne => format!("{publishers} publishers, one broker, +2 ms per fsync"),
            Self::SlowThree => format!("{publishers} publishers, {BROKERS} replicas, +2 ms per fsync"),
        }
    }

    fn plan(self, arguments: &Arguments) -> Plan {
        let is_floor = self == Self::SteadyFloor;
        Plan {
            // Nothing of ours on either side of what the others are held against.
            calls: if is_floor { Calls::Stub } else { Calls::Client },
            clients: arguments.publishers,
            per_second: (self.part() == Part::Steady).then_some(arguments.rate),
            connections: arguments.connections.max(1),
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs_f64(arguments.seconds),
        }
    }
}

/// Measures and reports.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let scene = Scene::set(&arguments.folder)?;
    let mut measured = Measured::default();
    let is_wanted = |subject: &Subject| arguments.only.is_none_or(|only| only == subject.part());
    // One disk after the other: brokers that nobody calls still speak to each other.
    for (name, delay, subjects) in
        [("disk", None, &Subject::THIS_DISK[..]), ("slow", Some(SYNC_DELAY), &Subject::SLOW_DISK[..])]
    {
        let subjects: Vec<Subject> = subjects.iter().copied().filter(is_wanted).collect();
        if !subjects.is_empty() {
            measure(&arguments, &scene.folder.path().join(name), delay, subjects, &mut measured).await?;
        }
    }
    let mut text = measured.markdown(&arguments);
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "\n{} rounds of {} s each, {} connections. {}\n",
        arguments.rounds.max(1),
        arguments.seconds,
        arguments.connections,
        scene.sentence(),
    );
    println!("\n{text}");
    arguments.write.as_deref().map_or(Ok(()), |document| figures::write(document, SECTION, &text))
}

/// All rounds on one disk.
async fn measure(
    arguments: &Arguments,
    folder: &Path,
    delay: Option<Duration>,
    mut subjects: Vec<Subject>,
    measured: &mut Measured,
) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let echo = Served::syncing_echo(&folder.join("echo")).await?;
    let one = Served::broker(&folder.join("one"), delay).await?;
    let three = Members::start(&folder.join("three"), delay).await?;
    for address in [one.address.clone(), three.addresses()] {
        let client = Client::connect(&address, Options::default()).await?;
        let settings = Settings::Topic(TopicSettings { partitions: 1, ..Default::default() });
        client.apply(Name::new(TOPIC)?, settings).await?;
    }
    three.whole().await?;
    for round in 0..arguments.rounds.max(1) {
        for &subject in &subjects {
            let target: Target = match subject {
                Subject::SteadyFloor => echo.target(),
                Subject::SteadyOne | Subject::One | Subject::SlowOne => one.target(),
                Subject::SteadyThree | Subject::Three | Subject::SlowThree => three.target(),
            };
            let load = load::measure(&target, subject.plan(arguments)).await?;
            let (title, rate) = (subject.title(arguments), load.calls_per_second);
            let (p50, p99) = (load.median_micros, load.p99_micros);
            eprintln!("round {}: {title}: {rate:.0}/s, p50 {p50} µs, p99 {p99} µs", round + 1);
            measured.0.entry(subject).or_default().push(load);
        }
        // Whatever drifts while a round lasts falls on both sides alike.
        subjects.reverse();
    }
    echo.stop().await?;
    one.stop().await
}

/// By subject, one load a round.
#[derive(Default)]
struct Measured(BTreeMap<Subject, Vec<Load>>);

impl Measured {
    /// The median over the rounds.
    fn median(&self, subject: Subject, figure: impl Fn(&Load) -> Option<f64>) -> Option<f64> {
        let mut figures: Vec<f64> = self.0.get(&subject)?.iter().filter_map(figure).collect();
        figures.sort_unstable_by(f64::total_cmp);
        (!figures.is_empty()).then(|| median(&figures))
    }

    /// A figure of one subject divided by that of another, round by round, ascending.
    fn ratios(&self, of: Subject, to: Subject, figure: impl Fn(&Load) -> f64) -> Vec<f64> {
        let loads = |subject| self.0.get(&subject).into_iter().flatten();
        let mut ratios: Vec<f64> = loads(of).zip(loads(to)).map(|(of, to)| figure(of) / figure(to)).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios
    }

    fn markdown(&self, arguments: &Arguments) -> String {
        let head =
            ["medians", "calls/s", "p50 ms", "p99 ms", "brokers CPU s/GiB", "calls/fsync", "disk B/call"];
        let mut rows = vec![head.map(str::to_owned)];
        for &subject in self.0.keys() {
            let shown = |figure: fn(&Load) -> Option<f64>, digits: usize| {
                self.median(subject, figure).map_or("–".to_owned(), |figure| format!("{figure:.digits$}"))
            };
            rows.push([
                subject.title(arguments),
                shown(|load| Some(load.calls_per_second), 0),
                shown(|load| Some(load.median_micros as f64 / 1e3), 2),
                shown(|load| Some(load.p99_micros as f64 / 1e3), 2),
                shown(|load| Some(load.server_cpu_micros_per_call / 1e6 * GIB / MESSAGE_BYTES as f64), 1),
                shown(|load| load.calls_per_fsync, 1),
                shown(|load| load.disk_bytes_per_call, 0),
            ]);
        }
        let (mut text, bars) = (table(&rows), self.bars());
        if bars.len() > 1 {
            text.push('\n');
            text.push_str(&table(&bars));
        }
        text
    }

    fn bars(&self) -> Vec<[String; 6]> {
        let (floor, steady) = (Subject::SteadyFloor, Subject::SteadyThree);
        let percent = |of, to| {
            let ratios = self.ratios(of, to, |load| load.calls_per_second);
            ratios.into_iter().map(|ratio| ratio * 100.0).collect()
        };
        let bars: [(&str, bool, f64, Vec<f64>); 4] = [
            (
                "p50 at the steady load, times echo and one sync",
                false,
                3.0,
                self.ratios(steady, floor, |load| load.median_micros as f64),
            ),
            (
                "p99 at the steady load, times echo and one sync",
                false,
                6.0,
                self.ratios(steady, floor, |load| load.p99_micros as f64),
            ),
            (
                "% of one broker's rate, processors are the limit",
                true,
                40.0,
                percent(Subject::Three, Subject::One),
            ),
            (
                "% of one broker's rate, +2 ms per fsync",
                true,
                25.0,
                percent(Subject::SlowThree, Subject::SlowOne),
            ),
        ];
        let mut rows = vec![["bar", "wanted", "median", "least", "most", ""].map(str::to_owned)];
        for (what, is_least, wanted, reached) in bars {
            let (Some(least), Some(most)) = (reached.first(), reached.last()) else { continue };
            let middle = median(&reached);
            let is_met = if is_least { middle >= wanted } else { middle <= wanted };
            rows.push([
                what.to_owned(),
                format!("{} {wanted}", if is_least { '≥' } else { '≤' }),
                format!("{middle:.1}"),
                format!("{least:.1}"),
                format!("{most:.1}"),
                if is_met { "met" } else { "**missed**" }.to_owned(),
            ]);
        }
        rows
    }
}
