//! What it costs a broker to show its metrics when it leads ten thousand queues and a thousand groups read its topics.

use std::{
    fmt::Write as _,
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use pondage_client::{Client, Message, Options, Settings, StartAt};
use pondage_model::{
    Name, Offset,
    settings::{GroupSettings, GroupSource, QueueSettings, TopicSettings},
};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    figures::{self, median, table},
    machine::{self, Scene, ThreadTimes},
    server::Served,
};

/// Where the figures stand in a document.
const SECTION: &str = "scrape figures";
/// Requests at a time while everything is made.
const MAKERS: usize = 16;
/// Every so many of the queues keep a message from the start on, so that their ages grow.
const BACKLOG_EVERY: usize = 4;
/// Between two looks, so that what came before is over.
const PAUSE: Duration = Duration::from_millis(300);
/// How long the broker is watched while nobody scrapes.
const IDLE: Duration = Duration::from_secs(5);
/// What a scrape may cost.
const CPU_MILLIS_BAR: f64 = 50.0;
/// What a compressed scrape may weigh.
const GZIP_BYTES_BAR: usize = 5 << 20;

/// How to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Queues to make
    #[arg(long, default_value_t = 10_000)]
    queues: usize,
    /// Consumer groups to make, each of which has a cursor in every partition of one topic
    #[arg(long, default_value_t = 1_000)]
    groups: usize,
    /// Topics that they read
    #[arg(long, default_value_t = 10)]
    topics: usize,
    /// Partitions of each
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Scrapes of each kind
    #[arg(long, default_value_t = 20)]
    scrapes: usize,
    /// Queues that get a message between two scrapes
    #[arg(long, default_value_t = 100)]
    moving: usize,
    /// Where the broker's data goes while it runs
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Write the figures into the marked section of this document
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// One scrape.
struct Scraped {
    cpu_millis: f64,
    took: Duration,
    body: Vec<u8>,
    is_gzip: bool,
}

/// Scrapes of one kind.
struct Kind {
    title: String,
    scraped: Vec<Scraped>,
    is_judged: bool,
}

/// Measures and reports.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let scene = Scene::set(&arguments.folder)?;
    let broker = Served::broker(&scene.folder.path().join("disk"), None).await?;
    let client = Client::connect(&broker.address, Options::default()).await?;
    make(&client, &arguments).await?;
    eprintln!("{} queues and {} groups are there", arguments.queues, arguments.groups);
    let memory_before = machine::memory_bytes(broker.pid)?;
    let watched = Watched::new(&broker).await?;

    let first = watched.scrape(true).await?;
    let mut kinds = vec![Kind { title: "first, gzip".to_owned(), scraped: vec![first], is_judged: false }];
    let mut round = 0;
    for (moving, gzip) in [(0, true), (arguments.moving, true), (0, false), (arguments.moving, false)] {
        let mut scraped = Vec::new();
        for _ in 0..arguments.scrapes.max(1) {
            publish(&client, touched(round, moving, arguments.queues)).await?;
            round += 1;
            sleep(PAUSE).await;
            scraped.push(watched.scrape(gzip).await?);
        }
        let state = if moving == 0 { "idle".to_owned() } else { format!("{moving} queues moved") };
        let title = format!("{state}, {}", if gzip { "gzip" } else { "plain" });
        eprintln!("{title}: {:.1} ms", cpu_median(&scraped));
        kinds.push(Kind { title, scraped, is_judged: gzip });
    }
    let memory = [memory_before, machine::memory_bytes(broker.pid)?];
    check(&kinds, &arguments)?;
    broker.stop().await?;

    let mut text = markdown(&kinds, memory);
    // Writing to a string can't fail.
    let _ = writeln!(text, "\n{}", scene.sentence());
    println!("\n{text}");
    arguments.write.as_deref().map_or(Ok(()), |document| figures::write(document, SECTION, &text))
}

fn queue(number: usize) -> String {
    format!("queue-{number:05}")
}

fn topic(number: usize) -> String {
    format!("topic-{number:02}")
}

async fn make(client: &Client, arguments: &Arguments) -> Result<()> {
    for number in 0..arguments.topics {
        let settings = TopicSettings { partitions: arguments.partitions, ..Default::default() };
        client.apply(Name::new(&topic(number))?, Settings::Topic(settings)).await?;
        for _ in 0..4 * arguments.partitions {
            client.publish(&topic(number), &Message::new("an event")).await?;
        }
    }
    let Arguments { queues, groups, topics, partitions, .. } = *arguments;
    at_once(client, queues, |client, number| async move {
        client.apply(Name::new(&queue(number))?, Settings::Queue(QueueSettings::default())).await?;
        Ok(())
    })
    .await?;
    at_once(client, groups, move |client, number| async move {
        let (group, source) = (format!("group-{number:04}"), topic(number % topics));
        let settings = GroupSettings::of(GroupSource::Topics(vec![Name::new(&source)?]));
        client.apply(Name::new(&group)?, Settings::Group(settings)).await?;
        let seeks: Vec<_> =
            (0..partitions).map(|partition| (partition, StartAt::Offset(Offset::ZERO))).collect();
        client.set_offsets(&group, &source, &seeks).await?;
        Ok(())
    })
    .await?;
    publish(client, (0..queues).step_by(BACKLOG_EVERY).collect()).await
}

/// Does this for every number below `count`, several at a time.
async fn at_once<F>(
    client: &Client,
    count: usize,
    task: impl Fn(Client, usize) -> F + Copy + Send + 'static,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
{
    let mut makers = JoinSet::new();
    for maker in 0..MAKERS {
        let client = client.clone();
        makers.spawn(async move {
            for number in (maker..count).step_by(MAKERS) {
                task(client.clone(), number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(made) = makers.join_next().await {
        made??;
    }
    Ok(())
}

/// As many queues, others in each round and far from each other: no place in the document is spared.
fn touched(round: usize, count: usize, queues: usize) -> Vec<usize> {
    (0..count).map(|index| (index * queues / count + round * 7) % queues).collect()
}

async fn publish(client: &Client, queues: Vec<usize>) -> Result<()> {
    let queues = std::sync::Arc::new(queues);
    let mut publishers = JoinSet::new();
    for publisher in 0..MAKERS {
        let (client, queues) = (client.clone(), std::sync::Arc::clone(&queues));
        publishers.spawn(async move {
            for number in queues.iter().skip(publisher).step_by(MAKERS) {
                client.publish(&queue(*number), &Message::new("a job")).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(published) = publishers.join_next().await {
        published??;
    }
    Ok(())
}

/// The broker, and what it uses while nobody scrapes.
struct Watched {
    pid: u32,
    http: SocketAddr,
    idle_share: f64,
}

impl Watched {
    async fn new(broker: &Served) -> Result<Self> {
        sleep(PAUSE).await;
        let before = ThreadTimes::of(broker.pid)?;
        sleep(IDLE).await;
        let idle = ThreadTimes::of(broker.pid)?.nanos_since(&before);
        Ok(Self {
            pid: broker.pid,
            http: broker.http.context("a broker has metrics")?,
            idle_share: idle as f64 / IDLE.as_nanos() as f64,
        })
    }

    async fn scrape(&self, gzip: bool) -> Result<Scraped> {
        let before = ThreadTimes::of(self.pid)?;
        let begun = std::time::Instant::now();
        let (http, asked) = (self.http, if gzip { "gzip" } else { "identity" });
        let answer = tokio::task::spawn_blocking(move || get(http, asked)).await??;
        let took = begun.elapsed();
        // What it does behind the answer belongs to it.
        sleep(PAUSE).await;
        let used = ThreadTimes::of(self.pid)?.nanos_since(&before) as f64;
        let idle = self.idle_share * begun.elapsed().as_nanos() as f64;
        let (head, body) = answer;
        Ok(Scraped {
            cpu_millis: (used - idle).max(0.0) / 1e6,
            took,
            body,
            is_gzip: head.to_ascii_lowercase().contains("content-encoding: gzip"),
        })
    }
}

fn get(http: SocketAddr, encoding: &str) -> Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {http}\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("no end of the head")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer)?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Ok((head, body))
}

/// Everything that was made is in what was measured.
fn check(kinds: &[Kind], arguments: &Arguments) -> Result<()> {
    let plain = kinds.iter().flat_map(|kind| &kind.scraped).rfind(|scraped| !scraped.is_gzip);
    let text = std::str::from_utf8(&plain.context("nothing plain")?.body)?;
    let lines = |family: &str| text.lines().filter(|line| line.starts_with(family)).count();
    let cursors = arguments.groups * arguments.partitions as usize;
    for (family, wanted) in [("pondage_queue_ready{", arguments.queues), ("pondage_group_lag{", cursors)] {
        ensure!(lines(family) == wanted, "{} lines of {family}, not {wanted}", lines(family));
    }
    Ok(())
}

fn cpu_median(scraped: &[Scraped]) -> f64 {
    median_of(scraped, |scraped| scraped.cpu_millis)
}

fn median_of(scraped: &[Scraped], figure: impl Fn(&Scraped) -> f64) -> f64 {
    let mut figures: Vec<f64> = scraped.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    median(&figures)
}

fn markdown(kinds: &[Kind], memory: [u64; 2]) -> String {
    let head = ["medians", "CPU ms", "most", "took ms", "MiB", "CPU ≤ 50 ms", "≤ 5 MiB gzipped"];
    let mut rows = vec![head.map(str::to_owned)];
    for Kind { title, scraped, is_judged } in kinds {
        let cpu = cpu_median(scraped);
        let most = scraped.iter().map(|scraped| scraped.cpu_millis).fold(0.0, f64::max);
        let bytes = median_of(scraped, |scraped| scraped.body.len() as f64);
        let is_small = scraped.iter().all(|scraped| scraped.is_gzip && scraped.body.len() <= GZIP_BYTES_BAR);
        let judged = |is_met: bool| match (is_judged, is_met) {
            (false, _) => "–",
            (true, true) => "met",
            (true, false) => "**missed**",
        };
        rows.push([
            title.clone(),
            format!("{cpu:.1}"),
            format!("{most:.1}"),
            format!("{:.1}", median_of(scraped, |scraped| scraped.took.as_secs_f64() * 1e3)),
            format!("{:.2}", bytes / f64::from(1 << 20)),
            judged(cpu <= CPU_MILLIS_BAR).to_owned(),
            judged(is_small).to_owned(),
        ]);
    }
    let [before, after] = memory.map(|bytes| bytes >> 20);
    format!(
        "{}\nThe broker had {before} MiB before it was scraped, and {after} MiB in the end.\n",
        table(&rows)
    )
}
