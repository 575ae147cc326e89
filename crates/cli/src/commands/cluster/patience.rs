//! Waiting for what a cluster does bit by bit, and telling people how far it is.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use pondage_client::{Client, ClusterStatus};
use tokio::time::sleep;

use crate::{
    commands::remark,
    exit::{Exit, Failure, Result},
};

/// The time between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The least time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far something is, on stderr: a bar on a terminal, else a line when something changed.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    said: String,
    say_at: Instant,
}

impl Progress {
    pub(super) fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            match ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { bar, said: String::new(), say_at: Instant::now() }
    }

    /// So many of so many are done, and this is going on.
    pub(super) fn say(&mut self, done: u64, total: u64, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(what.to_owned());
        } else if self.said != what && Instant::now() >= self.say_at {
            remark(what);
            what.clone_into(&mut self.said);
            self.say_at = Instant::now() + LINE_EVERY;
        }
    }

    /// A step that is told whatever was said just before.
    pub(super) fn step(&mut self, done: u64, total: u64, what: &str) {
        self.say_at = Instant::now();
        self.say(done, total, what);
        self.say_at = Instant::now();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far something is that a cluster does.
pub(super) enum Reached {
    /// It is done.
    Done,
    /// So much is left, and this is what is said about it.
    Left(u64, String),
}

/// Looks at the cluster until it is done.
pub(super) async fn wait_for(
    client: &Client,
    patience: Duration,
    mut reached: impl AsyncFnMut(&ClusterStatus) -> Result<Reached>,
) -> Result<()> {
    let start = Instant::now();
    let mut progress = Progress::start();
    let mut most = 0;
    loop {
        let status = client.cluster_status().await?;
        let (left, what) = match reached(&status).await? {
            Reached::Done => return Ok(()),
            Reached::Left(left, what) => (left, what),
        };
        most = most.max(left);
        progress.say(most - left, most, &what);
        if start.elapsed() >= patience {
            return Err(too_long(patience, &what));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What was ordered goes on; the command does not wait longer.
pub(super) fn too_long(patience: Duration, what: &str) -> Failure {
    let failure = Failure::failed(format!("not done after {patience:?}: {what}"));
    Failure { exit: Exit::Failed, word: "TIMEOUT".to_owned(), ..failure }.help(
        "the cluster goes on with it; look at `pondage cluster status`, or wait longer with --wait-timeout",
    )
}
