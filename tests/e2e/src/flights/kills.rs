//! Kills the broker at random moments, in the middle of publishes and settles.

use std::{path::Path, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use pondage_client::{Client, troubles};
use tokio::time::{Instant, sleep};

use super::{chance::Chance, ledger::Ledger};
use crate::process::{BrokerProcess, Installation};

/// The longest time between a kill's place in the run and the kill, in microseconds: several syncs.
const DELAY_MICROS: u64 = 20_000;
/// How long after its place a kill may wait for a moment at which something is unanswered.
const MOMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Rows that are released for a kill that waits for its moment.
const ROWS_MORE: u64 = 500;
/// How long the answers that a broker sent before its end may take to be read.
const DRAIN: Duration = Duration::from_millis(30);
/// How long a cluster may take to be whole again after a kill.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Kills that hit nothing, per kill that did, before the run is given up.
const MISSES_PER_KILL: usize = 3;

/// One kill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    /// Publishes without an answer when the broker died.
    pub(crate) publishes: u64,
    /// Settles without an answer when the broker died.
    pub(crate) settles: u64,
    /// From the start of the next process until it served; in a cluster until every copy was in sync again.
    pub(crate) back_after: Duration,
}

impl Kill {
    /// Whether it hit what it is for.
    pub(crate) const fn counts(&self) -> bool {
        self.publishes > 0 && self.settles > 0
    }
}

/// Kills the broker, or one of the brokers of a cluster, until `wanted` kills count, each time when it is back from the
/// last one. Answers too how many seconds of processor time the killed ones had used, where they are known.
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
    client: &Client,
) -> Result<(Vec<Kill>, f64)> {
    let mut kills: Vec<Kill> = Vec::new();
    let mut counted = 0;
    let mut processor_seconds = 0.0;
    while counted < wanted {
        ensure!(
            kills.len() - counted <= wanted * MISSES_PER_KILL,
            "too many kills hit no publish or no settle: {counted} of {} count",
            kills.len()
        );
        let published = || ledger.progress().queue_acked;
        let (place, rows) = next_place(published(), ledger.rows.len() as u64, wanted - counted, &mut chance);
        // A cluster goes on without the one that is killed: it leaves rows for the next.
        ledger.release(place + rows);
        while published() < place {
            ensure_alive(broker, installation)?;
            sleep(Duration::from_millis(1)).await;
        }
        let delay = Duration::from_micros(chance.below(DELAY_MICROS));
        tokio::task::spawn_blocking(move || thread::sleep(delay)).await?;
        // The producers pause while the workers are far behind: a kill then would prove nothing.
        let waiting = Instant::now();
        while !ledger.is_busy() {
            ensure!(
                waiting.elapsed() < MOMENT_TIMEOUT,
                "no publish and settle wait for an answer at one time"
            );
            ensure_alive(broker, installation)?;
            ledger.release(published() + ROWS_MORE);
            sleep(Duration::from_micros(100)).await;
        }

        let moment = ledger.now();
        let back = if installation.brokers() == 1 {
            let process = broker.take().context("no broker runs")?;
            processor_seconds += process.processor_seconds().unwrap_or(0.0);
            process.kill().await.with_context(|| installation.log_tail())?;
            None
        } else {
            let supervisor = broker.as_mut().context("no broker runs")?;
            supervisor.kill_child(chance.below(u64::from(installation.brokers()))).await?;
            Some(client)
        };
        sleep(DRAIN).await;
        // Nobody answers now who was killed: what was asked before the kill and has no answer yet was unanswered at it.
        let (publishes, settles) = ledger.unanswered(moment);
        let restarting = ledger.elapsed();
        match back {
            None => *broker = Some(installation.start(files).await?),
            Some(client) => wait_until_whole(client).await.with_context(|| installation.log_tail())?,
        }
        let kill = Kill { publishes, settles, back_after: ledger.elapsed() - restarting };
        counted += usize::from(kill.counts());
        report(&kill, counted, &ledger);
        kills.push(kill);
    }
    ledger.release(u64::MAX);
    Ok((kills, processor_seconds))
}

/// Waits until the brokers of a cluster are all there and every copy is in sync: another kill before could take the last
/// one that acknowledgements need.
async fn wait_until_whole(client: &Client) -> Result<()> {
    let started = Instant::now();
    loop {
        let status = client.cluster_status().await;
        if status.as_ref().is_ok_and(|status| troubles(status).is_empty()) {
            return Ok(());
        }
        let status = status.map(|status| troubles(&status));
        ensure!(
            started.elapsed() < WHOLE_TIMEOUT,
            "not whole after {} s: {status:?}",
            WHOLE_TIMEOUT.as_secs()
        );
        sleep(Duration::from_millis(20)).await;
    }
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

/// The row at which to kill next, and how many may be sent behind it before the one after: a random one in the first half
/// of this kill's share, and as many as the other half. The shares are of what is left now, so a fast machine, or kills
/// that did not count, can't use the rows up; the last tenth stays free of kills.
fn next_place(published: u64, rows: u64, left: usize, chance: &mut Chance) -> (u64, u64) {
    let usable = (rows * 9 / 10).saturating_sub(published);
    let half = (usable / left.max(1) as u64 / 2).max(1);
    (published + 1 + chance.below(half), half)
}

fn ensure_alive(broker: &mut Option<BrokerProcess>, installation: &Installation) -> Result<()> {
    let ended = broker.as_mut().context("no broker runs")?.ended()?;
    ensure!(ended.is_none(), "the broker ended by itself with {ended:?}\n{}", installation.log_tail());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_run_and_leave_its_end_free() {
        let mut chance = Chance::new(7);
        let mut published = 0;
        for left in (1..=20).rev() {
            let (place, more) = next_place(published, 100_000, left, &mut chance);
            assert!(place > published && place + more <= 90_003, "kill at {place}, {left} left");
            published = place + more;
        }
        assert!(published > 50_000, "all kills came early, the last at {published}");
    }

    #[test]
    fn kills_that_do_not_count_leave_rows_for_others() {
        let mut chance = Chance::new(7);
        let place = (0..60).fold(0, |published, _| {
            let (place, more) = next_place(published, 100_000, 20, &mut chance);
            place + more
        });
        assert!(place < 90_000);
    }
}
