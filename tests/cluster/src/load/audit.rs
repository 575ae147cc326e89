//! The end of a run: the queues are drained, the topic is read as a whole.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use pondage_client::ResourceKind;
use pondage_history::Report;
use tokio::time::sleep;

pub(super) use super::read::read_all;
use super::{QUEUES, Shared};

/// How long the consumers may take to empty the queues: leases of lost consumers run out, and then some.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The checker's verdict.
    pub report: Report,
    /// What no history can say.
    pub problems: Vec<String>,
}

impl Findings {
    /// Whether every promise held, and was looked at.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.report.is_good() && self.report.unaudited.is_empty() && self.problems.is_empty()
    }
}

/// Waits until the queues hold nothing.
pub(super) async fn drain(shared: Arc<Shared>) -> Result<()> {
    let started = Instant::now();
    let mut last = String::from("no answer");
    while started.elapsed() < DRAIN_TIMEOUT {
        match held(&shared).await {
            Ok(0) => return Ok(()),
            Ok(held) => last = format!("{held} messages are left"),
            Err(error) => last = format!("{error:#}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
    bail!("the queues are not empty after {} s: {last}", DRAIN_TIMEOUT.as_secs());
}

/// Messages in all queues.
async fn held(shared: &Shared) -> Result<u64> {
    let client = shared.connect().await?;
    let mut held = 0;
    for name in QUEUES {
        let queue = client.get(ResourceKind::Queue, name).await?;
        let streams = queue.streams.with_context(|| format!("{name} has no status"))?;
        for stream in streams {
            // Without a leader there are no figures.
            stream.leader.with_context(|| format!("{name} has no leader"))?;
            held += stream.ready + stream.unacked + stream.scheduled + stream.moving;
        }
    }
    Ok(held)
}
