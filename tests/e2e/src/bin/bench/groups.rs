//! A hundred members of a group on a thousand partitions: what a leaving one costs the others, and whether anything is
//! lost, reordered or read again below a commit while members and leaders come and go.

mod ledger;

use std::{
    collections::BTreeSet,
    fmt::Write,
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use pondage_client::{
    Client, GroupMember, GroupMessage, HandlerError, MemberOptions, Message, PublisherOptions, Settings,
};
use pondage_model::{
    Name,
    settings::{GroupSettings, GroupSource, TopicSettings},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    figures::{self, table},
    machine::Scene,
    members::{BROKERS, Members},
};
use ledger::Ledger;

/// Where the figures stand in a document.
const SECTION: &str = "group figures";
const TOPIC: &str = "events";
const GROUP: &str = "billing";
/// How long sharing out and catching up may take before the benchmark gives up.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long partitions are watched before and after a member leaves.
const WATCHED: Duration = Duration::from_secs(4);
/// Messages of a partition between two commits.
const COMMIT_EVERY: u64 = 5;

/// How to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Members
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// Partitions
    #[arg(long, default_value_t = 1_000)]
    partitions: u32,
    /// Messages a second, over all partitions
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// How often a member leaves while the others are watched
    #[arg(long, default_value_t = 5)]
    leaves: usize,
    /// Random joins, leaves, kills of members and of brokers
    #[arg(long, default_value_t = 100)]
    events: usize,
    /// Where the brokers' data goes while it runs
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Write the figures into the marked section of this document
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What one leaving member did to the others.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// From the moment when it began to leave to the first message that another one handled, of its slowest partition.
    orphans: Duration,
    /// The longest time without a message of the partitions that stayed where they were: before, and after.
    before: Duration,
    kept: Duration,
}

/// Measures and reports.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let scene = Scene::set(&arguments.folder)?;
    let mut members = Members::start(&scene.folder.path().join("groups"), None).await?;
    declare(&members.client().await?, arguments.partitions).await?;
    members.whole().await?;

    let ledger = Arc::new(Ledger::new(arguments.partitions));
    let publishing = Publishing::start(&members, &arguments, Arc::clone(&ledger)).await?;
    let mut crowd = Crowd::new(&members, Arc::clone(&ledger));
    let begun = Instant::now();
    for _ in 0..arguments.members {
        crowd.join().await?;
    }
    crowd.settle(arguments.partitions).await?;
    eprintln!(
        "{} members share {} partitions after {:.1?}",
        arguments.members,
        arguments.partitions,
        begun.elapsed()
    );

    let mut left = Vec::new();
    for _ in 0..arguments.leaves {
        let found = leave(&mut crowd, &ledger, arguments.partitions).await?;
        eprintln!("one left: {found:.1?}");
        left.push(found);
    }
    let kinds = disturb(&mut members, &mut crowd, &arguments).await?;
    crowd.settle(arguments.partitions).await?;
    publishing.stop().await?;
    caught_up(&ledger).await?;
    let verdict = ledger.verdict();
    crowd.leave_all().await?;

    let mut text = markdown(&arguments, &left, &kinds, &verdict);
    // Writing to a string can't fail.
    let _ = writeln!(text, "\n{}", scene.sentence());
    println!("\n{text}");
    if let Some(document) = arguments.write.as_deref() {
        figures::write(document, SECTION, &text)?;
    }
    ensure!(verdict.is_clean(), "{verdict:?}");
    Ok(())
}

async fn declare(client: &Client, partitions: u32) -> Result<()> {
    let topic = TopicSettings { partitions, ..TopicSettings::default() };
    client.apply(Name::new(TOPIC)?, Settings::Topic(topic)).await?;
    let group = GroupSettings::of(GroupSource::Topics(vec![Name::new(TOPIC)?]));
    client.apply(Name::new(GROUP)?, Settings::Group(group)).await?;
    Ok(())
}

/// Messages to all partitions in turn, at a steady rate.
struct Publishing {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<()>>,
}

impl Publishing {
    async fn start(members: &Members, arguments: &Arguments, ledger: Arc<Ledger>) -> Result<Self> {
        let client = members.client().await?;
        let publisher = client.publisher(TOPIC, PublisherOptions::default()).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, partitions, rate) = (Arc::clone(&stop), arguments.partitions, arguments.rate);
        let task = tokio::spawn(async move {
            let mut turns = interval(Duration::from_millis(10));
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut turn = 0;
            let mut waiting = tokio::task::JoinSet::new();
            while !stopping.load(Ordering::Relaxed) {
                turns.tick().await;
                for _ in 0..(rate / 100).max(1) {
                    let partition = turn % partitions;
                    turn = turn.wrapping_add(1);
                    let message = Message { partition: Some(partition), ..Message::new("x") };
                    let sending = publisher.send(message).await?;
                    let ledger = Arc::clone(&ledger);
                    waiting.spawn(async move {
                        let ack = sending.await?;
                        ledger.stored(ack.partition, ack.offset.get());
                        anyhow::Ok(())
                    });
                }
                while let Some(stored) = waiting.try_join_next() {
                    stored??;
                }
            }
            while let Some(stored) = waiting.join_next().await {
                stored??;
            }
            Ok(())
        });
        Ok(Self { stop, task })
    }

    async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// The members that are there.
struct Crowd {
    addresses: String,
    ledger: Arc<Ledger>,
    members: Vec<GroupMember>,
    joined: usize,
}

impl Crowd {
    fn new(members: &Members, ledger: Arc<Ledger>) -> Self {
        Self { addresses: members.addresses(), ledger, members: Vec::new(), joined: 0 }
    }

    async fn join(&mut self) -> Result<()> {
        self.joined += 1;
        let options = MemberOptions {
            instance: format!("member-{}", self.joined),
            commit_interval: None,
            ..MemberOptions::default()
        };
        // Each has its own connections, as a process of its own would.
        let client = Client::connect(&self.addresses, pondage_client::Options::default()).await?;
        let (ledger, number) = (Arc::clone(&self.ledger), self.joined);
        let handler = move |message: GroupMessage| handle(Arc::clone(&ledger), number, message);
        self.members.push(client.join(GROUP, options, handler)?);
        Ok(())
    }

    /// Waits until every partition is read by one member and nobody has more than one more than another.
    async fn settle(&mut self, partitions: u32) -> Result<()> {
        let begun = Instant::now();
        loop {
            let owned: Vec<BTreeSet<_>> = self.members.iter().map(GroupMember::owned).collect();
            let all: usize = owned.iter().map(BTreeSet::len).sum();
            let distinct: BTreeSet<_> = owned.iter().flatten().collect();
            let sizes = || owned.iter().map(BTreeSet::len);
            let spread = sizes().max().unwrap_or(0) - sizes().min().unwrap_or(0);
            if all == partitions as usize && distinct.len() == all && spread <= 1 {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < SETTLE_TIMEOUT,
                "{} of {partitions} partitions are read, {all} in all, spread {spread}",
                distinct.len()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn take(&mut self) -> Option<GroupMember> {
        (!self.members.is_empty()).then(|| self.members.swap_remove(random(self.members.len())))
    }

    async fn leave_all(&mut self) -> Result<()> {
        for member in std::mem::take(&mut self.members) {
            member.leave().await?;
        }
        Ok(())
    }
}

async fn handle(ledger: Arc<Ledger>, member: usize, message: GroupMessage) -> Result<(), HandlerError> {
    let (partition, offset) = (message.message.partition, message.message.offset.get());
    ledger.handled(member, partition, offset);
    if offset % COMMIT_EVERY == 0 && message.commit().await.is_ok() {
        ledger.committed(partition, offset + 1);
    }
    Ok(())
}

/// One member leaves, and all partitions are watched.
async fn leave(crowd: &mut Crowd, ledger: &Ledger, partitions: u32) -> Result<Left> {
    ledger.watch();
    sleep(WATCHED).await;
    let before = ledger.gaps(|_| true);
    let member = crowd.take().context("no member")?;
    let orphans: BTreeSet<u32> = member.owned().into_iter().map(|(_, partition)| partition).collect();
    ledger.watch();
    let begun = Instant::now();
    member.leave().await?;
    let taken_over = loop {
        if let Some(at) = ledger.handled_by_others_since(begun, &orphans) {
            break at;
        }
        ensure!(begun.elapsed() < SETTLE_TIMEOUT, "nobody reads what was left");
        sleep(Duration::from_millis(5)).await;
    };
    sleep(WATCHED.saturating_sub(begun.elapsed())).await;
    let kept = ledger.gaps(|partition| !orphans.contains(&partition));
    crowd.join().await?;
    crowd.settle(partitions).await?;
    Ok(Left { orphans: taken_over, before, kept })
}

/// How many of what happened.
#[derive(Debug, Default)]
struct Kinds {
    joined: usize,
    left: usize,
    killed: usize,
    leaders: usize,
}

async fn disturb(members: &mut Members, crowd: &mut Crowd, arguments: &Arguments) -> Result<Kinds> {
    let mut kinds = Kinds::default();
    for event in 0..arguments.events {
        match random(20) {
            0..7 => {
                crowd.join().await?;
                kinds.joined += 1;
            }
            7..13 if crowd.members.len() > 1 => {
                crowd.take().context("no member")?.leave().await?;
                kinds.left += 1;
            }
            13..18 if crowd.members.len() > 1 => {
                // Its connections end without a word.
                drop(crowd.take());
                kinds.killed += 1;
            }
            _ => {
                let broker = event % BROKERS;
                members.kill(broker).await?;
                sleep(Duration::from_millis(500)).await;
                members.launch(broker).await?;
                members.whole().await?;
                kinds.leaders += 1;
            }
        }
        sleep(Duration::from_millis(random(400) as u64)).await;
    }
    eprintln!("{kinds:?}");
    Ok(kinds)
}

async fn caught_up(ledger: &Ledger) -> Result<()> {
    let begun = Instant::now();
    while ledger.missing() > 0 {
        ensure!(begun.elapsed() < SETTLE_TIMEOUT, "{} messages were never handled", ledger.missing());
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn random(below: usize) -> usize {
    (RandomState::new().hash_one(0) % below.max(1) as u64) as usize
}

fn markdown(arguments: &Arguments, left: &[Left], kinds: &Kinds, verdict: &ledger::Verdict) -> String {
    let millis = |took: Duration| format!("{} ms", took.as_millis());
    let range = |figure: fn(&Left) -> Duration| {
        let mut all: Vec<Duration> = left.iter().map(figure).collect();
        all.sort_unstable();
        match all.as_slice() {
            [] => "–".to_owned(),
            all => format!("{} (to {})", millis(all[all.len() / 2]), millis(all[all.len() - 1])),
        }
    };
    let judged = |is_met: bool| if is_met { "met" } else { "**missed**" }.to_owned();
    let no_bar = || ("–".to_owned(), String::new());
    let slowest = left.iter().map(|left| left.orphans).max().unwrap_or_default();
    let mut rows = vec![["what", "reached", "bar", ""].map(str::to_owned)];
    let mut row = |what: &str, reached: String, (bar, judged): (String, String)| {
        rows.push([what.to_owned(), reached, bar, judged]);
    };
    let Arguments { members, partitions, leaves, .. } = arguments;
    row(
        &format!(
            "one of {members} members leaves {partitions} partitions, {leaves} times: its own are read again"
        ),
        range(|left| left.orphans),
        ("≤ 1 s".to_owned(), judged(slowest <= Duration::from_secs(1))),
    );
    row(
        "longest time without a message of a kept partition, 4 s before",
        range(|left| left.before),
        no_bar(),
    );
    row("the same, 4 s from then on", range(|left| left.kept), ("as before".to_owned(), String::new()));
    let Kinds { joined, left, killed, leaders } = kinds;
    row(
        &format!(
            "{joined} joins, {left} leaves, {killed} kills of members, {leaders} of brokers: lost messages"
        ),
        format!("{} of {}", verdict.lost, verdict.stored),
        ("0".to_owned(), judged(verdict.lost == 0)),
    );
    row(
        "the same: reordered",
        verdict.reordered.to_string(),
        ("0".to_owned(), judged(verdict.reordered == 0)),
    );
    row(
        "the same: handled again below a commit",
        verdict.below_commit.to_string(),
        ("0".to_owned(), judged(verdict.below_commit == 0)),
    );
    row("the same: handled again, not committed before", verdict.again.to_string(), no_bar());
    table(&rows)
}
