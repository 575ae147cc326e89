//! Restarting the brokers of a cluster one after the other, without anybody noticing.
//!
//! ```text
//!   healthy? ─► drain leadership ─► leads nothing ─► restart ─► back and in sync ─► undrain ─► the next one
//! ```
//!
//! [`Rolling`] is the plan: it looks at the cluster's status and says what to do next, and knows no clock and no
//! connection. [`restart_one_by_one`] carries it out. A broker that does not answer comes first, since nothing depends
//! on it; the catalog's leader comes last, so that it changes once.

use std::{collections::BTreeSet, fmt, time::Duration};

use pondage_model::{BrokerId, Incarnation};
use pondage_protocol::cluster::{BrokerStatus, ClusterStatus, Drain, ShardKind, ShardStatus};
use tokio::time::{Instant, sleep};

use crate::{Client, ClientError, Trouble, troubles};

/// What is to be restarted, and how patiently.
#[derive(Clone, Debug)]
pub struct RollingOptions {
    /// Which brokers; empty for all that are not lost.
    pub brokers: Vec<BrokerId>,
    /// Also where shards take no messages while a broker is away, because they have too few other copies.
    pub despite_minimum: bool,
    /// How long one step may take, such as the hand-over of all leaderships or the way back into sync.
    pub step_timeout: Duration,
    /// The time between two looks at the cluster.
    pub poll_interval: Duration,
}

impl Default for RollingOptions {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            despite_minimum: false,
            step_timeout: Duration::from_secs(300),
            poll_interval: Duration::from_millis(200),
        }
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollingAction {
    /// Look again a little later.
    Wait(RollingWait),
    /// Order the broker to give its leaderships away.
    Drain(BrokerId),
    /// Restart its process. It must come back on the same volume.
    Restart(BrokerId),
    /// Order it to take leaderships again.
    Undrain(BrokerId),
    /// Every broker was restarted and is in sync.
    Done,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollingWait {
    /// That nothing is wrong with the cluster: this is, the worst of it first.
    Health {
        /// The worst.
        worst: Trouble,
        /// How many troubles there are.
        count: usize,
    },
    /// That the broker leads nothing.
    HandOver {
        /// The broker.
        broker: BrokerId,
        /// Shards that it still leads.
        led: usize,
    },
    /// That shards can do without the broker: without it they would take no messages.
    Needed {
        /// The broker.
        broker: BrokerId,
        /// Shards.
        shards: usize,
    },
    /// That its new start is registered.
    Return(BrokerId),
    /// That it has caught up.
    CatchUp {
        /// The broker.
        broker: BrokerId,
        /// Shards that it is not in sync with.
        shards: usize,
    },
}

impl fmt::Display for RollingWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Health { worst, count: 1 } => worst.fmt(f),
            Self::Health { worst, count } => write!(f, "{worst} (and {} more troubles)", count - 1),
            Self::HandOver { broker, led } => write!(f, "broker {broker} still leads {led} shards"),
            Self::Needed { broker, shards } => {
                write!(f, "{shards} shards would take no messages without broker {broker}")
            }
            Self::Return(broker) => write!(f, "broker {broker} is not back yet"),
            Self::CatchUp { broker, shards } => {
                write!(f, "broker {broker} is not in sync with {shards} shards yet")
            }
        }
    }
}

/// A restart of brokers one by one, as a plan that goes by the cluster's status alone.
#[derive(Clone, Debug)]
pub struct Rolling {
    todo: BTreeSet<BrokerId>,
    minimum: Minimum,
    current: Option<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    broker: BrokerId,
    /// The start that is to end.
    incarnation: Incarnation,
    /// It was drained for this restart, and not by somebody else before.
    undrains: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Draining,
    Returning,
    Undraining,
}

impl Rolling {
    /// A plan to restart these brokers, or all that are not lost.
    ///
    /// # Errors
    /// The first broker that the cluster does not have, or has lost.
    pub fn new(
        status: &ClusterStatus,
        brokers: &[BrokerId],
        despite_minimum: bool,
    ) -> Result<Self, BrokerId> {
        let there: BTreeSet<BrokerId> =
            status.brokers.iter().filter(|broker| !broker.is_lost).map(|broker| broker.id).collect();
        if let Some(unknown) = brokers.iter().find(|broker| !there.contains(broker)) {
            return Err(*unknown);
        }
        let todo = if brokers.is_empty() { there } else { brokers.iter().copied().collect() };
        let minimum = if despite_minimum { Minimum::Given } else { Minimum::Kept };
        Ok(Self { todo, minimum, current: None })
    }

    /// Brokers that are still to be restarted, the one at hand included.
    #[must_use]
    pub fn left(&self) -> usize {
        self.todo.len() + usize::from(self.current.is_some())
    }

    /// The broker at hand, if it was drained for its restart: to be undrained if all of this is given up.
    #[must_use]
    pub fn drained(&self) -> Option<BrokerId> {
        self.current.as_ref().filter(|current| current.undrains).map(|current| current.broker)
    }

    /// What to do next. Each action but [`RollingAction::Wait`] is said once and taken as done.
    pub fn next(&mut self, status: &ClusterStatus) -> RollingAction {
        let Some(mut current) = self.current.take() else { return self.begin(status) };
        let id = current.broker;
        let action = match current.phase {
            Phase::Draining => match before_restart(status, id, self.minimum) {
                Some(wait) => RollingAction::Wait(wait),
                None => {
                    current.phase = Phase::Returning;
                    current.incarnation = incarnation(status, id);
                    RollingAction::Restart(id)
                }
            },
            Phase::Returning => match after_restart(status, id, current.incarnation) {
                Some(wait) => RollingAction::Wait(wait),
                None if current.undrains => {
                    current.phase = Phase::Undraining;
                    RollingAction::Undrain(id)
                }
                None => return self.begin(status),
            },
            Phase::Undraining => return self.begin(status),
        };
        self.current = Some(current);
        action
    }

    /// Turns to the next broker.
    fn begin(&mut self, status: &ClusterStatus) -> RollingAction {
        let Some(broker) = self.choose(status) else { return RollingAction::Done };
        let incarnation = broker.incarnation;
        let take = |plan: &mut Self, undrains, phase| {
            plan.todo.remove(&broker.id);
            plan.current = Some(Current { broker: broker.id, incarnation, undrains, phase });
        };
        if broker.is_alive == Some(false) {
            take(self, false, Phase::Returning);
            return RollingAction::Restart(broker.id);
        }
        if let Some(wait) = unhealthy(status) {
            return RollingAction::Wait(wait);
        }
        if broker.drain == Drain::Nothing {
            take(self, true, Phase::Draining);
            return RollingAction::Drain(broker.id);
        }
        // Somebody drained it before, and it stays so.
        take(self, false, Phase::Draining);
        self.next(status)
    }

    fn choose<'a>(&self, status: &'a ClusterStatus) -> Option<&'a BrokerStatus> {
        let rank = |broker: &&BrokerStatus| {
            let is_there = broker.is_alive != Some(false);
            (is_there, status.catalog_leader == Some(broker.id), broker.id)
        };
        status.brokers.iter().filter(|broker| self.todo.contains(&broker.id)).min_by_key(rank)
    }
}

/// Which shards may be without messages for the time of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minimum {
    /// None: a shard that needs the broker holds its restart up.
    Kept,
    /// Those that could never do without a broker, since they have no more copies than acknowledgements need. Whoever
    /// asked for that would otherwise hold every restart up for ever.
    KeptWherePossible,
    /// Every one.
    Given,
}

/// Why a drained broker can't be restarted yet; `None` if it can.
#[must_use]
pub fn before_restart(status: &ClusterStatus, broker: BrokerId, minimum: Minimum) -> Option<RollingWait> {
    let others = |shard: &ShardStatus| shard.in_sync.iter().filter(|member| **member != broker).count();
    let is_kept = |shard: &ShardStatus| match minimum {
        Minimum::Kept => true,
        Minimum::KeptWherePossible => shard.replicas_wanted > shard.min_in_sync_replicas,
        Minimum::Given => false,
    };
    if let Some(wait) = unhealthy(status) {
        return Some(wait);
    }
    let needs = |shard: &&ShardStatus| {
        shard.in_sync.contains(&broker) && others(shard) < shard.min_in_sync_replicas as usize
    };
    let shards = assigned(status).filter(needs).filter(|shard| is_kept(shard)).count();
    if shards > 0 {
        return Some(RollingWait::Needed { broker, shards });
    }
    // A shard that nobody else can lead stays where it is, and is one of those that need the broker.
    let moves = |shard: &&ShardStatus| shard.leader == Some(broker) && (is_kept(shard) || others(shard) > 0);
    let led = assigned(status).filter(moves).count();
    (led > 0).then_some(RollingWait::HandOver { broker, led })
}

fn assigned(status: &ClusterStatus) -> impl Iterator<Item = &ShardStatus> {
    status.shards.iter().filter(|shard| shard.kind != ShardKind::Catalog)
}

fn incarnation(status: &ClusterStatus, id: BrokerId) -> Incarnation {
    let found = status.brokers.iter().find(|broker| broker.id == id);
    found.map_or(Incarnation::ZERO, |broker| broker.incarnation)
}

/// Why no broker may be taken away now. A lost one alone is no reason: what it lacks, its shards say.
#[must_use]
pub fn unhealthy(status: &ClusterStatus) -> Option<RollingWait> {
    let troubles: Vec<Trouble> =
        troubles(status).into_iter().filter(|trouble| !matches!(trouble, Trouble::Lost(_))).collect();
    troubles.first().map(|worst| RollingWait::Health { worst: *worst, count: troubles.len() })
}

/// What a restarted broker still lacks; `before` is the start that ended. `None` once it is back and in sync.
#[must_use]
pub fn after_restart(status: &ClusterStatus, id: BrokerId, before: Incarnation) -> Option<RollingWait> {
    let is_back = status
        .brokers
        .iter()
        .any(|broker| broker.id == id && broker.incarnation > before && broker.is_alive != Some(false));
    if status.is_stale || !is_back {
        return Some(RollingWait::Return(id));
    }
    let lacks = |shard: &&ShardStatus| {
        let stays = shard.replicas.contains(&id) && !shard.leaving.contains(&id);
        stays && (!shard.in_sync.contains(&id) || shard.unconfirmed.contains(&id))
    };
    let shards = assigned(status).filter(lacks).count();
    (shards > 0).then_some(RollingWait::CatchUp { broker: id, shards })
}

/// How far a restart of brokers one by one has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollingProgress {
    /// Brokers that are done.
    pub done: usize,
    /// Brokers in all.
    pub total: usize,
    /// What is done now.
    pub action: RollingAction,
}

/// Why brokers were not all restarted. Those before are done and in sync.
#[derive(Debug, thiserror::Error)]
pub enum RollingError<E> {
    /// The cluster could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no such broker, or it is lost.
    #[error("the cluster has no broker {0}")]
    NoBroker(BrokerId),
    /// Something took too long.
    #[error("gave up after {} s: {waited_for}", after.as_secs())]
    TimedOut {
        /// The time.
        after: Duration,
        /// What did not come about.
        waited_for: RollingWait,
    },
    /// The restart itself failed.
    #[error("restarting broker {broker}: {error}")]
    Restart {
        /// Which.
        broker: BrokerId,
        /// Why.
        error: E,
    },
}

/// Restarts brokers one by one. `restart` ends a broker's process and sees to it that it starts again; it may return
/// before the broker is back. `progress` is told what is done, also again and again while it waits.
///
/// # Errors
/// [`RollingError`]. A broker that was drained for its restart is undrained as far as the cluster can be reached.
pub async fn restart_one_by_one<E>(
    client: &Client,
    options: &RollingOptions,
    mut restart: impl AsyncFnMut(&BrokerStatus) -> Result<(), E>,
    mut progress: impl FnMut(&RollingProgress),
) -> Result<usize, RollingError<E>> {
    let status = client.cluster_status().await?;
    let mut plan =
        Rolling::new(&status, &options.brokers, options.despite_minimum).map_err(RollingError::NoBroker)?;
    let total = plan.left();
    let ended = drive(client, options, &mut plan, total, &mut restart, &mut progress).await;
    if ended.is_err()
        && let Some(broker) = plan.drained()
    {
        // What went wrong is the error to tell; a drain that stays is seen in the status.
        drop(client.drain(broker, Drain::Nothing, true).await);
    }
    ended.map(|()| total)
}

async fn drive<E>(
    client: &Client,
    options: &RollingOptions,
    plan: &mut Rolling,
    total: usize,
    restart: &mut impl AsyncFnMut(&BrokerStatus) -> Result<(), E>,
    progress: &mut impl FnMut(&RollingProgress),
) -> Result<(), RollingError<E>> {
    let mut since = Instant::now();
    loop {
        let status = match client.cluster_status().await {
            Ok(status) => status,
            // The broker that was asked may be the one that starts again.
            Err(error) if error.retriable() && since.elapsed() < options.step_timeout => {
                sleep(options.poll_interval).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let action = plan.next(&status);
        progress(&RollingProgress { done: total - plan.left(), total, action: action.clone() });
        match action {
            RollingAction::Done => return Ok(()),
            RollingAction::Wait(waited_for) if since.elapsed() >= options.step_timeout => {
                return Err(RollingError::TimedOut { after: options.step_timeout, waited_for });
            }
            RollingAction::Wait(_) => {
                sleep(options.poll_interval).await;
                continue;
            }
            // Whether it can be carried out is for the plan to wait for.
            RollingAction::Drain(broker) => client.drain(broker, Drain::Leadership, true).await?,
            RollingAction::Undrain(broker) => client.drain(broker, Drain::Nothing, true).await?,
            RollingAction::Restart(broker) => {
                if let Some(row) = status.brokers.iter().find(|row| row.id == broker) {
                    restart(row).await.map_err(|error| RollingError::Restart { broker, error })?;
                }
            }
        }
        since = Instant::now();
    }
}

#[cfg(test)]
#[path = "rolling_tests.rs"]
mod tests;
