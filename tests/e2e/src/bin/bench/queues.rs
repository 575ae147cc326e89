//! Ten thousand queues on three brokers: made, lost with a broker and led again, and kept while all brokers restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use pondage_client::{Client, ClusterStatus, Message, Settings, ShardKind};
use pondage_model::{BrokerId, Name, ShardId, settings::QueueSettings};
use pondage_protocol::v1::LocateRequest;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    figures::{self, table},
    load,
    machine::{self, Scene},
    members::{BROKERS, Members},
    rolling::{self, Restarted},
};

/// Where the figures stand in a document.
const SECTION: &str = "queue figures";
/// Resources that are made at a time.
const MAKERS: usize = 16;
/// How often the status is looked at after a kill.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a shard may be without leader before the benchmark gives up.
const LEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// How to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Queues to make
    #[arg(long, default_value_t = 10_000)]
    queues: usize,
    /// How often a broker is killed, each time another one
    #[arg(long, default_value_t = 3)]
    kills: usize,
    /// Messages a second while the brokers restart
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Where the brokers' data goes while it runs
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Write the figures into the marked section of this document
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What was found.
struct Found {
    made_in: Duration,
    /// Before and after the queues were made, by broker.
    memory_bytes: [Vec<u64>; 2],
    kills: Vec<Killed>,
    restarted: Restarted,
}

/// What a killed broker's shards did.
struct Killed {
    shards: usize,
    /// Until the status showed another leader of each.
    led_after: Duration,
    /// Until each had stored a message.
    stored_after: Duration,
    /// Until nothing was wrong any more, from the moment when the broker was started again.
    whole_after: Duration,
}

/// Measures and reports.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let scene = Scene::set(&arguments.folder)?;
    let mut members = Members::start(&scene.folder.path().join("queues"), None).await?;
    let before = memory(&members)?;
    let begun = Instant::now();
    make(&members, arguments.queues).await?;
    let made_in = begun.elapsed();
    eprintln!("{} queues in {:.1} s", arguments.queues, made_in.as_secs_f64());
    members.whole().await?;
    let after = memory(&members)?;

    let probes = probes(&members, arguments.queues).await?;
    let mut kills = Vec::new();
    for round in 0..arguments.kills {
        let killed = kill(&mut members, round % BROKERS, &probes).await?;
        let (led, stored) = (killed.led_after.as_millis(), killed.stored_after.as_millis());
        eprintln!(
            "kill {}: {} shards led after {led} ms, stored after {stored} ms",
            round + 1,
            killed.shards
        );
        kills.push(killed);
    }
    let queues: Vec<String> = probes.into_values().collect();
    let restarted = rolling::restart(&mut members, &queues, arguments.rate).await?;
    let found = Found { made_in, memory_bytes: [before, after], kills, restarted };
    let mut text = found.markdown(&arguments);
    // Writing to a string can't fail.
    let _ = writeln!(text, "\n{}", scene.sentence());
    println!("\n{text}");
    arguments.write.as_deref().map_or(Ok(()), |document| figures::write(document, SECTION, &text))
}

fn queue(number: usize) -> String {
    format!("queue-{number:05}")
}

fn memory(members: &Members) -> Result<Vec<u64>> {
    (0..BROKERS).map(|index| machine::memory_bytes(members.pid(index)?)).collect()
}

async fn make(members: &Members, count: usize) -> Result<()> {
    let client = members.client().await?;
    let mut makers = JoinSet::new();
    for maker in 0..MAKERS {
        let client = client.clone();
        makers.spawn(async move {
            for number in (maker..count).step_by(MAKERS) {
                let settings = Settings::Queue(QueueSettings::default());
                client.apply(Name::new(&queue(number))?, settings).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(made) = makers.join_next().await {
        made??;
    }
    Ok(())
}

/// A queue of each shard that has any.
async fn probes(members: &Members, count: usize) -> Result<BTreeMap<ShardId, String>> {
    let status = members.client().await?.cluster_status().await?;
    let wanted: BTreeSet<ShardId> = with_streams(&status).map(|shard| shard.id).collect();
    let address = members.target().address;
    let first = address.split(',').next().context("no address")?;
    let mut stub = load::stub(first).await?;
    let mut found = BTreeMap::new();
    for number in 0..count {
        let target = queue(number);
        let located = stub.locate(LocateRequest { target: target.clone() }).await?.into_inner();
        let shard = located.locations.first().context("a queue without a place")?.shard;
        found.entry(ShardId(shard)).or_insert(target);
        if found.len() == wanted.len() {
            return Ok(found);
        }
    }
    let has = found.len();
    anyhow::bail!("{} shards have streams, and queues are on {has}", wanted.len())
}

fn with_streams(status: &ClusterStatus) -> impl Iterator<Item = &pondage_client::ShardStatus> {
    status.shards.iter().filter(|shard| shard.kind != ShardKind::Catalog && shard.streams > 0)
}

/// Kills the broker at a place, waits until everything that it led serves again, and brings it back.
async fn kill(members: &mut Members, index: usize, probes: &BTreeMap<ShardId, String>) -> Result<Killed> {
    let status = members.whole().await?;
    let broker = status
        .brokers
        .iter()
        .find(|row| members.place_at(&row.address).is_ok_and(|place| place == index))
        .context("the broker is not in the status")?
        .id;
    let led: Vec<ShardId> =
        with_streams(&status).filter(|shard| shard.leader == Some(broker)).map(|shard| shard.id).collect();
    ensure!(!led.is_empty(), "broker {broker} leads nothing");
    // Clients that know the leaders, as clients of a running service do.
    let mut clients = Vec::new();
    for shard in &led {
        let name = probes.get(shard).context("a shard without a probe")?.clone();
        let client = members.client().await?;
        client.publish(&name, &Message::new("before")).await?;
        clients.push((client, name));
    }
    let asking = members.client().await?;

    let killed = Instant::now();
    members.kill(index).await?;
    let storing = clients.into_iter().map(|(client, name)| async move {
        // It is not sent again by the client if the outcome is unknown: here twice is as good as once.
        while let Err(error) = client.publish(&name, &Message::new("after")).await {
            ensure!(killed.elapsed() < LEADER_TIMEOUT, "{name}: {error}");
            sleep(LOOK_EVERY).await;
        }
        Ok(killed.elapsed())
    });
    let storing: JoinSet<Result<Duration>> = storing.collect();
    let (led_after, stored) = tokio::join!(until_led(&asking, broker, killed), storing.join_all());
    let led_after = led_after?;
    let stored_after =
        stored.into_iter().collect::<Result<Vec<_>>>()?.into_iter().max().context("no shard")?;

    members.launch(index).await?;
    let launched = Instant::now();
    members.whole().await?;
    Ok(Killed { shards: led.len(), led_after, stored_after, whole_after: launched.elapsed() })
}

/// How long it took since the kill until the status shows another leader of every shard.
async fn until_led(client: &Client, dead: BrokerId, killed: Instant) -> Result<Duration> {
    loop {
        if let Ok(status) = client.cluster_status().await {
            let is_led = |leader: Option<BrokerId>| leader.is_some_and(|leader| leader != dead);
            if with_streams(&status).all(|shard| is_led(shard.leader)) {
                return Ok(killed.elapsed());
            }
        }
        ensure!(killed.elapsed() < LEADER_TIMEOUT, "shards without a leader");
        sleep(LOOK_EVERY).await;
    }
}

impl Found {
    fn markdown(&self, arguments: &Arguments) -> String {
        let seconds = |took: Duration| format!("{:.2} s", took.as_secs_f64());
        let worst = |figure: fn(&Killed) -> Duration| self.kills.iter().map(figure).max().unwrap_or_default();
        let shown = |bytes: &[u64]| {
            let shown: Vec<String> = bytes.iter().map(|bytes| (bytes >> 20).to_string()).collect();
            format!("{} MiB", shown.join(", "))
        };
        let judged = |is_met: bool| if is_met { "met" } else { "**missed**" }.to_owned();
        let Restarted { took, longest_wait, sent, failed, handed, early, lost } = &self.restarted;
        let per_second = arguments.queues as f64 / self.made_in.as_secs_f64();
        let shards: usize = self.kills.iter().map(|killed| killed.shards).sum();
        let no_bar = || ("–".to_owned(), String::new());
        let [before, after] = &self.memory_bytes;
        let failed_over = worst(|killed| killed.stored_after);
        let mut rows = vec![["what", "reached", "bar", ""].map(str::to_owned)];
        let mut row = |what: &str, reached: String, (bar, judged): (String, String)| {
            rows.push([what.to_owned(), reached, bar, judged]);
        };
        row(
            &format!("{} queues made, {MAKERS} at a time", arguments.queues),
            format!("{} ({per_second:.0}/s)", seconds(self.made_in)),
            no_bar(),
        );
        row("memory of each broker before", shown(before), no_bar());
        row("memory of each broker with the queues", shown(after), no_bar());
        row(
            &format!(
                "killed broker, {} times, {shards} shards: the status shows new leaders",
                self.kills.len()
            ),
            seconds(worst(|killed| killed.led_after)),
            no_bar(),
        );
        row(
            "the same: each shard stored a message",
            seconds(failed_over),
            ("≤ 2 s".to_owned(), judged(failed_over <= Duration::from_secs(2))),
        );
        row(
            "started again: everything in sync and led as before",
            seconds(worst(|killed| killed.whole_after)),
            no_bar(),
        );
        row(
            &format!("rolling restart of {BROKERS} at {} messages/s", arguments.rate),
            seconds(*took),
            ("≤ 60 s".to_owned(), judged(*took <= Duration::from_secs(60))),
        );
        row("the same: longest wait for an acknowledgement", seconds(*longest_wait), no_bar());
        row(
            "the same: publishes and verdicts that failed in the end",
            format!("{failed} of {}", sent + handed),
            ("0".to_owned(), judged(*failed == 0)),
        );
        row(
            "the same: messages given again before their time",
            format!("{early} of {handed}"),
            ("0".to_owned(), judged(*early == 0)),
        );
        row("the same: messages that never came", lost.to_string(), ("0".to_owned(), judged(*lost == 0)));
        table(&rows)
    }
}
