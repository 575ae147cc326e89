//! Each fault: how it begins and how it ends.

use std::{
    collections::BTreeMap,
    fmt, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use pondage_history::Op;
use serde::Serialize;

use super::Stage;
use crate::{
    cluster::look,
    load::Unanswered,
    network::{Host, Shape, Traffic},
    scenarios::{Kind, Scenario},
};

/// How long the answers that a broker sent before its end may take to be read.
const IN_THE_AIR: Duration = Duration::from_millis(5);
/// Publishes, and settles, that are to be without an answer when a fault begins: the answers of some are on their way.
const MIDST: usize = 4;
/// How long to wait for such a moment.
const MIDST_TIMEOUT: Duration = Duration::from_millis(500);
/// How long no leader moves before it counts as calm, and how long that may take to come.
const LEADERS_STAY: Duration = Duration::from_secs(10);
const LEADERS_STAY_TIMEOUT: Duration = Duration::from_secs(90);
/// How far clocks jump.
const TEN_YEARS_SECONDS: i64 = 10 * 365 * 86_400;

/// One fault that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// The scenario's name.
    pub name: &'static str,
    /// When it began, in microseconds of its cluster's run.
    pub from_micros: u64,
    /// When nothing was left of it.
    pub whole_micros: u64,
    /// The host that it hit, if it was one.
    pub victim: Option<u8>,
    /// What had no answer when it began.
    pub unanswered: Unanswered,
    /// Whether it hit what it is for.
    pub counts: bool,
    /// The longest time without an acknowledgement of any one stream.
    pub gap: Duration,
    /// From its end until nothing was left of it.
    pub repaired: Duration,
    /// What was missing until then.
    pub waited_for: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unanswered: Unanswered { publishes, settles }, gap, repaired, .. } = self;
        let victim = self.victim.map(|victim| format!(" of broker {victim}")).unwrap_or_default();
        let (gap, repaired) = (gap.as_millis(), repaired.as_millis());
        write!(f, "{name}{victim}: {publishes} publishes and {settles} settles unanswered, ")?;
        write!(f, "longest gap {gap} ms, whole {repaired} ms after its end")?;
        if !self.waited_for.is_empty() {
            write!(f, " ({})", self.waited_for)?;
        }
        if self.counts { Ok(()) } else { write!(f, " (does not count)") }
    }
}

/// A fault under way.
pub(super) struct Begun {
    pub(super) victim: Option<Host>,
    pub(super) unanswered: Unanswered,
    /// Packets that had gone through the shaper before.
    shaped_packets: u64,
}

/// Makes the fault.
///
/// # Errors
/// If the machine can't.
pub(super) fn begin(stage: &mut Stage, scenario: &Scenario) -> Result<Begun> {
    let (most, least) = stage.view.most_and_least().context("nobody leads anything")?;
    let catalog = stage.view.catalog.unwrap_or(most);
    let victim = match scenario.kind {
        Kind::KillFollower => least,
        Kind::KillCatalog => catalog,
        _ => most,
    };
    // Any other one, for what happens between two.
    let others: Vec<Host> =
        stage.cluster.brokers.iter().map(|broker| broker.host).filter(|host| *host != victim).collect();
    let other = others.get(stage.chance.below(others.len().max(1) as u64) as usize).copied();
    let other = || other.context("there is no other broker");
    let clients = stage.cluster.clients();
    let number = stage.view.numbers.get(&victim).map(|number| number.0);
    let mut asked = in_the_midst(stage);
    let cluster = &mut stage.cluster;
    match scenario.kind {
        Kind::KillLeader | Kind::KillFollower | Kind::KillCatalog => cluster.broker(victim).kill()?,
        Kind::Stop => cluster.broker(victim).pause()?,
        Kind::Planned => cluster.broker(victim).terminate()?,
        Kind::OneWay => cluster.network.set(&Traffic::default().cut_one_way(victim, other()?))?,
        Kind::Partial => cluster.network.set(&Traffic::default().cut(victim, other()?))?,
        Kind::ClientCut => cluster.network.set(&Traffic::default().cut(victim, clients))?,
        Kind::Loss => cluster.network.set(&Traffic { loss_permille: 50, ..Traffic::default() })?,
        Kind::Reorder => {
            let shape = Shape {
                delay: Duration::from_millis(1),
                jitter: Duration::from_millis(4),
                duplicates_percent: 2,
            };
            cluster.network.set(&Traffic { shape: Some(shape), ..Traffic::default() })?;
        }
        Kind::Wipe => {
            cluster.broker(victim).kill()?;
            cluster.broker(victim).wipe(number)?;
        }
        Kind::Restore => return restore(stage, victim, number),
        Kind::Clock => {
            let sign = if stage.chance.percent(50) { 1 } else { -1 };
            stage.load.recorder().clock_jumped();
            stage.cluster.broker(victim).set_clock(sign * TEN_YEARS_SECONDS)?;
        }
        Kind::PowerCut => asked = power_cut(stage)?,
        Kind::DiskFull => cluster.broker(victim).volume()?.fill()?,
        Kind::Calm => wait_until_leaders_stay(stage)?,
    }
    let shaped_packets = stage.cluster.network.shaped_packets();
    Ok(Begun { victim: Some(victim), unanswered: unanswered(stage, &asked), shaped_packets })
}

/// Waits until no leader moves any more: those that the fault before took away are given back after a while.
fn wait_until_leaders_stay(stage: &mut Stage) -> Result<()> {
    let started = Instant::now();
    let mut since = started;
    while since.elapsed() < LEADERS_STAY {
        ensure!(started.elapsed() < LEADERS_STAY_TIMEOUT, "leaders move on and on");
        thread::sleep(Duration::from_millis(200));
        let epochs = stage.load.ask(look)?.epochs;
        if std::mem::replace(&mut stage.view.epochs, epochs) != epochs {
            since = Instant::now();
        }
    }
    Ok(())
}

/// Ends the fault: what was killed is started, what was cut is joined.
///
/// # Errors
/// If the machine can't, or a broker does not come up.
pub(super) fn end(stage: &mut Stage, scenario: &Scenario, begun: &Begun) -> Result<()> {
    let victim = begun.victim.context("nobody was hit")?;
    let cluster = &mut stage.cluster;
    match scenario.kind {
        Kind::KillLeader
        | Kind::KillFollower
        | Kind::KillCatalog
        | Kind::Planned
        | Kind::Wipe
        | Kind::Restore => cluster.start_missing().map(|_| ()),
        Kind::Stop => cluster.broker(victim).go_on(),
        Kind::OneWay | Kind::Partial | Kind::ClientCut | Kind::Loss => cluster.heal_network(),
        Kind::Reorder => {
            ensure!(cluster.network.shaped_packets() > begun.shaped_packets, "the shaper saw no packet");
            cluster.heal_network()
        }
        Kind::Clock => {
            cluster.broker(victim).set_clock(0)?;
            stage.load.recorder().clock_jumped();
            Ok(())
        }
        // It ended with the cut.
        Kind::PowerCut => Ok(()),
        Kind::Calm => {
            let (before, after) = (stage.view.epochs, stage.load.ask(look)?.epochs);
            ensure!(
                before == after,
                "a leader was changed although nothing was wrong: {before} epochs, now {after}"
            );
            Ok(())
        }
        Kind::DiskFull => {
            cluster.broker(victim).volume()?.relieve()?;
            // A broker whose disk is full may end; it may not come back wrong.
            cluster.start_missing().map(|_| ())
        }
    }
}

/// Kills a broker, copies its data, lets it work on, kills it again and puts the copy in its place.
fn restore(stage: &mut Stage, victim: Host, number: Option<u32>) -> Result<Begun> {
    let broker = stage.cluster.broker(victim);
    broker.kill()?;
    broker.back_up()?;
    stage.cluster.start_missing()?;
    stage.wait_whole(false)?;
    thread::sleep(Duration::from_secs(1));
    let asked = in_the_midst(stage);
    stage.cluster.broker(victim).kill()?;
    let unanswered = unanswered(stage, &asked);
    stage.cluster.broker(victim).restore(number)?;
    Ok(Begun { victim: Some(victim), unanswered, shaped_packets: 0 })
}

/// First no volume takes anything any more, then the processes go, then the power is back.
/// Gives what had no answer when the first volume was gone.
fn power_cut(stage: &mut Stage) -> Result<BTreeMap<Op, bool>> {
    let mut asked = None;
    let cluster = &mut stage.cluster;
    for broker in &mut cluster.brokers {
        broker.volume()?.cut_power()?;
        asked.get_or_insert_with(|| stage.load.recorder().open());
    }
    for broker in &mut cluster.brokers {
        // One may have ended by itself when its disk was gone: it may.
        if broker.ended()?.is_none() {
            broker.kill()?;
        }
        broker.volume()?.restore_power()?;
    }
    cluster.start_missing()?;
    asked.context("there is no broker")
}

/// Waits for a moment at which some publishes and settles have no answer, and gives all that have none then.
fn in_the_midst(stage: &Stage) -> BTreeMap<Op, bool> {
    let started = Instant::now();
    loop {
        let open = stage.load.recorder().open();
        let count = |is_publish| open.values().filter(|publish| **publish == is_publish).count();
        if count(true).min(count(false)) >= MIDST || started.elapsed() > MIDST_TIMEOUT {
            return open;
        }
        thread::sleep(Duration::from_micros(50));
    }
}

/// What was asked before and has no answer now, when nothing sent before can still be on its way.
fn unanswered(stage: &Stage, asked: &BTreeMap<Op, bool>) -> Unanswered {
    thread::sleep(IN_THE_AIR);
    stage.load.recorder().still_open(asked)
}
