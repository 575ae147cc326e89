//! A run from its start to its verdict.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use pondage_client::{Client, Options, ResourceKind, StreamStatus};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use super::{
    DEAD_LETTERS, PRODUCERS, QUEUES, TOPIC, WORKERS,
    chance::Chance,
    dataset::Dataset,
    kills::{Kill, kill_and_restart},
    ledger::{Ledger, Progress, RowLedger, Sent},
    publish::produce,
    read::{Seen, follow, read_all},
    report::Summary,
    settle::work,
    verify::{Evidence, judge},
};
use crate::process::{BrokerProcess, Installation, pondage_binary};

/// How often the progress is printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// A run in which nothing is answered for so long is stuck.
const STALL: Duration = Duration::from_secs(60);
/// How long the reader that follows the topic may take for the rest.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(15);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides when to kill and what to release.
    pub seed: u64,
    /// Brokers, one of which is killed at a time.
    pub brokers: u8,
    /// Kills that have to count.
    pub kills: usize,
    /// The first rows of the file; `None` for all.
    pub rows: Option<usize>,
    /// The run fails if it takes longer.
    pub limit: Duration,
    /// Where the broker's data and log go, and stay; `None` for a folder that is deleted after a run in order.
    pub folder: Option<PathBuf>,
}

/// Runs a plan, prints how it goes and what it came to, and answers whether every rule held.
///
/// # Errors
/// If the run could not be brought to its end, with a diagnosis.
pub async fn run(plan: &Plan) -> Result<bool> {
    let flights = Arc::new(Dataset::load(plan.rows)?);
    let temporary = tempfile::Builder::new().prefix("pondage-flights-").tempdir()?;
    let folder = plan.folder.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).with_context(|| format!("can't create {}", folder.display()))?;
    let installation = Installation::new(pondage_binary().await?, folder)?.with_brokers(plan.brokers);
    println!(
        "seed {}, {} rows, {} brokers, {} kills, data in {}",
        plan.seed,
        flights.rows.len(),
        plan.brokers,
        plan.kills,
        folder.display()
    );

    let stage = Stage {
        ledger: Arc::new(Ledger::new(flights.rows.len())),
        followed: Arc::default(),
        flights,
        installation,
    };
    let ended = timeout(plan.limit, stage.play(plan)).await;
    let ended = ended
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the run is not done after {} s", plan.limit.as_secs())));
    if ended.is_err() {
        println!("{}", stage.diagnosis());
    }
    if !matches!(ended, Ok(true)) && plan.folder.is_none() {
        println!("the broker's data and log stay in {}", temporary.keep().display());
    }
    ended
}

/// What all parts of a run share.
struct Stage {
    flights: Arc<Dataset>,
    installation: Installation,
    ledger: Arc<Ledger>,
    followed: Arc<Mutex<Seen>>,
}

impl Stage {
    async fn play(&self, plan: &Plan) -> Result<bool> {
        let resources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/flights/flights.yaml");
        let started = self.ledger.elapsed();
        let mut broker = Some(self.installation.start(&[&resources]).await?);
        let (kills, mut processor_seconds) = self.perform(plan, &mut broker).await?;
        let took = self.ledger.elapsed() - started;

        // What is judged is what a broker finds on its disk after one more crash.
        let last = broker.take().context("no broker runs")?;
        processor_seconds += last.processor_seconds().unwrap_or(0.0);
        last.kill_all().await?;
        let last = self.installation.start(&[]).await?;
        let client = self.connect().await?;
        let topic = self.status(&client, ResourceKind::Topic, TOPIC).await?;
        let partitions = u32::try_from(topic.len())?;
        let topic = read_all(&client, &self.flights, &self.ledger, partitions).await?;
        let mut backlogs = [0; QUEUES.len()];
        for (backlog, (_, name)) in backlogs.iter_mut().zip(QUEUES) {
            let streams = self.status(&client, ResourceKind::Queue, name).await?;
            let held =
                |stream: &StreamStatus| stream.ready + stream.unacked + stream.scheduled + stream.moving;
            *backlog = streams.iter().map(held).sum();
        }
        let dead = self.status(&client, ResourceKind::Queue, DEAD_LETTERS).await?;
        drop(client);
        let status = last.terminate().await?;
        ensure!(status.success(), "after SIGTERM the broker ended with {status}");

        let records = self.ledger.take_records();
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let acks = |of: fn(&RowLedger) -> &Sent| self.ledger.rows.iter().map(|row| of(row).place()).collect();
        let findings = judge(&Evidence {
            rows: &self.flights.rows,
            topic_acks: acks(|row| &row.topic),
            queue_acks: acks(|row| &row.queue),
            topic: &topic,
            followed: &followed,
            records: &records,
            backlogs,
            dead_letters: dead.iter().map(|stream| stream.end.get()).sum(),
        });
        let (ledger, records) = (&*self.ledger, &records);
        let (seed, kills, topic, findings) = (plan.seed, &kills, &topic, &findings);
        Summary { seed, ledger, records, topic, kills, findings, took, processor_seconds }.print();
        print!("{}", findings.violations);
        let (problems, words) = self.ledger.problems();
        ensure!(problems == 0, "{problems} problems: {}", words.join("; "));
        if findings.violations.is_empty() {
            println!("every rule held");
        } else {
            println!("rules were broken; repeat it with --seed {seed}");
        }
        Ok(findings.violations.is_empty())
    }

    /// Lets producers, workers and the reader work while the broker is being killed, until everything is settled.
    async fn perform(&self, plan: &Plan, broker: &mut Option<BrokerProcess>) -> Result<(Vec<Kill>, f64)> {
        let (done, is_done) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for worker in 0..WORKERS {
            let chance = Chance::new(plan.seed.wrapping_add(1 + worker as u64));
            let (client, flights, ledger) =
                (self.connect().await?, self.flights.clone(), self.ledger.clone());
            tasks.spawn(work(worker, client, flights, ledger, chance, is_done.clone()));
        }
        for producer in 0..PRODUCERS {
            let (client, flights, ledger) =
                (self.connect().await?, self.flights.clone(), self.ledger.clone());
            tasks.spawn(produce(producer, client, flights, ledger));
        }
        let (client, flights, ledger) = (self.connect().await?, self.flights.clone(), self.ledger.clone());
        let mut following = JoinSet::new();
        following.spawn(follow(client, flights, ledger, self.followed.clone()));

        let chance = Chance::new(plan.seed);
        let asking = self.connect().await?;
        let mut killing = pin!(kill_and_restart(
            &self.installation,
            &[],
            broker,
            plan.kills,
            chance,
            self.ledger.clone(),
            &asking
        ));
        let mut kills = None;
        let mut watchdog = Watchdog::new();
        let mut ticks = interval(Duration::from_millis(20));
        let mut printed = Instant::now();
        while kills.is_none() || !self.is_settled() {
            tokio::select! {
                killed = &mut killing, if kills.is_none() => kills = Some(killed?),
                Some(ended) = tasks.join_next() => ended??,
                Some(ended) = following.join_next() => ended??,
                () = self.ledger.problem() => {
                    let (count, words) = self.ledger.problems();
                    bail!("{count} problems: {}", words.join("; "));
                }
                _ = ticks.tick() => {
                    watchdog.look(self.ledger.progress())?;
                    if printed.elapsed() >= PROGRESS_INTERVAL {
                        printed = Instant::now();
                        println!("{:6.1} s  {}", self.ledger.elapsed().as_secs_f64(), self.progress());
                    }
                }
            }
        }
        let _ = done.send(true);
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        let rows = self.flights.rows.len();
        let followed = || self.followed.lock().unwrap_or_else(PoisonError::into_inner).count();
        let waiting = Instant::now();
        while followed() < rows && waiting.elapsed() < FOLLOW_TIMEOUT {
            sleep(Duration::from_millis(5)).await;
        }
        let kills: (Vec<Kill>, f64) = kills.context("the kills are not done")?;
        Ok(kills)
    }

    async fn connect(&self) -> Result<Client> {
        Ok(Client::connect(&self.installation.address()?, Options::default()).await?)
    }

    async fn status(&self, client: &Client, kind: ResourceKind, name: &str) -> Result<Vec<StreamStatus>> {
        let resource = client.get(kind, name).await.with_context(|| format!("the status of {name}"))?;
        resource.streams.with_context(|| format!("{name} has no status"))
    }

    fn is_settled(&self) -> bool {
        let rows = self.flights.rows.len() as u64;
        let Progress { topic_acked, queue_acked, settled } = self.ledger.progress();
        topic_acked >= rows && queue_acked >= rows && settled >= rows
    }

    fn progress(&self) -> String {
        let Progress { topic_acked, queue_acked, settled } = self.ledger.progress();
        format!("topic {topic_acked}, queues {queue_acked}, settled {settled} of {}", self.flights.rows.len())
    }

    /// What to look at when a run does not come to its end.
    fn diagnosis(&self) -> String {
        let (publishes, settles) = self.ledger.unanswered(u64::MAX);
        let lost: Vec<usize> = self.ledger.unsettled().take(10).collect();
        format!(
            "{}; {publishes} publishes and {settles} settles are unanswered; first rows that are not settled: {lost:?}\n{}",
            self.progress(),
            self.installation.log_tail()
        )
    }
}

/// Notices a run in which nothing moves.
struct Watchdog {
    last: Progress,
    moved: Instant,
}

impl Watchdog {
    fn new() -> Self {
        Self { last: Progress::default(), moved: Instant::now() }
    }

    fn look(&mut self, progress: Progress) -> Result<()> {
        if progress != self.last {
            (self.last, self.moved) = (progress, Instant::now());
        }
        ensure!(self.moved.elapsed() < STALL, "nothing was answered for {} s", STALL.as_secs());
        Ok(())
    }
}
