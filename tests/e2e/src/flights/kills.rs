//! Kills the broker at random moments, in the middle of publishes and settles.

use std::{path::Path, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::{chance::Chance, ledger::Ledger};
use crate::process::{BrokerProcess, Installation};

/// The longest time between a kill's place in the run and the kill, in microseconds: several syncs.
const DELAY_MICROS: u64 = 20_000;
/// How long the answers that a broker sent before its end may take to be read.
const DRAIN: Duration = Duration::from_millis(30);
/// Kills that hit nothing, per kill that did, before the run is given up.
const MISSES_PER_KILL: usize = 3;

/// One kill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    /// Publishes without an answer when the broker died.
    pub(crate) publishes: u64,
    /// Settles without an answer when the broker died.
    pub(crate) settles: u64,
    /// From the start of the next process until it served.
    pub(crate) back_after: Duration,
}

impl Kill {
    /// Whether it hit what it is for.
    pub(crate) const fn counts(&self) -> bool {
        self.publishes > 0 && self.settles > 0
    }
}

/// Kills the broker until `wanted` kills count, and starts it again each time. Answers too how many seconds of
/// processor time the killed ones had used.
///
/// # Errors
/// If it does not come back, ends by itself, or the kills keep missing.
pub(crate) async fn kill_and_restart(
    installation: &Installation,
    files: &[&Path],
    broker: &mut Option<BrokerProcess>,
    wanted: usize,
    mut chance: Chance,
    ledger: Arc<Ledger>,
) -> Result<(Vec<Kill>, f64)> {
    let mut kills: Vec<Kill> = Vec::new();
    let mut places = places(wanted, ledger.rows.len() as u64, &mut chance).into_iter();
    let mut counted = 0;
    let mut processor_seconds = 0.0;
    while counted < wanted {
        ensure!(
            kills.len() - counted <= wanted * MISSES_PER_KILL,
            "too many kills hit no publish or no settle: {counted} of {} count",
            kills.len()
        );
        if let Some(place) = places.next() {
            while ledger.progress().queue_acked < place {
                ensure_alive(broker, installation)?;
                sleep(Duration::from_millis(1)).await;
            }
        } else {
            // In place of one that hit nothing: a little later.
            sleep(Duration::from_millis(200 + chance.below(200))).await;
        }
        let delay = Duration::from_micros(chance.below(DELAY_MICROS));
        tokio::task::spawn_blocking(move || thread::sleep(delay)).await?;

        let moment = ledger.now();
        let process = broker.take().context("no broker runs")?;
        processor_seconds += process.processor_seconds().unwrap_or(0.0);
        process.kill().await.with_context(|| installation.log_tail())?;
        sleep(DRAIN).await;
        // Nobody answers now: what was asked before the kill and has no answer yet was unanswered at the kill.
        let (publishes, settles) = ledger.unanswered(moment);
        let restarting = ledger.elapsed();
        *broker = Some(installation.start(files).await?);
        let kill = Kill { publishes, settles, back_after: ledger.elapsed() - restarting };
        counted += usize::from(kill.counts());
        report(&kill, counted, &ledger);
        kills.push(kill);
    }
    Ok((kills, processor_seconds))
}

fn report(kill: &Kill, counted: usize, ledger: &Ledger) {
    let Kill { publishes, settles, back_after } = kill;
    let note = if kill.counts() { "" } else { " (does not count)" };
    println!(
        "{:6.1} s  kill {counted}{note} at row {}: {publishes} publishes and {settles} settles unanswered, back after {} ms",
        ledger.elapsed().as_secs_f64(),
        ledger.progress().queue_acked,
        back_after.as_millis(),
    );
}

/// Rows at which to kill: each at a random place of its own share of the run, the last well before the end.
fn places(wanted: usize, rows: u64, chance: &mut Chance) -> Vec<u64> {
    let usable = rows * 9 / 10;
    let share = (usable / wanted.max(1) as u64).max(1);
    (0..wanted as u64).map(|kill| kill * share + chance.below(share)).map(|place| place.max(1)).collect()
}

fn ensure_alive(broker: &mut Option<BrokerProcess>, installation: &Installation) -> Result<()> {
    let ended = broker.as_mut().context("no broker runs")?.ended()?;
    ensure!(ended.is_none(), "the broker ended by itself with {ended:?}\n{}", installation.log_tail());
    Ok(())
}
