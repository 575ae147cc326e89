//! What was decided, why, and from which figures.

use std::fmt;

use serde::Serialize;

/// A decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What `spec.replicas` shall be now. Equal to what it is: nothing is to be done.
    pub replicas: u32,
    /// What the figures alone ask for, before windows, policies and drains; within the bounds.
    pub recommended: u32,
    /// What keeps it from being more.
    pub limited_by: LimitedBy,
    /// Why.
    pub reason: Reason,
    /// Members that shall get nothing new, by name: they finish what they have and go. Everybody else shall.
    pub draining: Vec<String>,
    /// Partitions that make no progress, by number. They are left out of everything.
    pub stuck: Vec<usize>,
    /// When to look again, in milliseconds from now, if nothing happens before.
    pub again_millis: u64,
    /// The figures.
    pub inputs: Inputs,
}

/// What keeps a group from more replicas, or more replicas from helping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum LimitedBy {
    /// Nothing.
    #[default]
    None,
    /// `maxReplicas`.
    MaxReplicas,
    /// There are no more partitions.
    Partitions,
    /// One partition gets more than one member can do.
    HotPartition,
    /// The last scale-up brought nothing: what members call gives no more.
    Downstream,
    /// A policy or a window of `behavior`.
    Policy,
}

/// All figures that a decision was made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Messages per second that arrive.
    pub demand_per_second: f64,
    /// Messages per second that one busy member settles, if that is known.
    pub capacity_per_second: Option<f64>,
    /// Messages that wait.
    pub backlog: f64,
    /// Messages that will wait when a pod that is created now works.
    pub backlog_ahead: f64,
    /// The age of the oldest of them, in milliseconds.
    pub oldest_age_millis: u64,
    /// Within what time they shall be done, in milliseconds.
    pub remaining_millis: f64,
    /// A pod's start, in milliseconds.
    pub start_millis: f64,
    /// A rebalance, in milliseconds.
    pub pause_millis: f64,
    /// What each partition needs, in replicas.
    pub needs: Vec<f64>,
    /// What all need together, in replicas.
    pub need: f64,
    /// What the busiest of the recommended replicas needs, in replicas.
    pub busiest: f64,
    /// The most that were to be kept within the window that scale-in waits for.
    pub keep_most: u32,
    /// Members that work.
    pub members: u32,
    /// Replicas that start.
    pub starting: u32,
    /// How busy members were since the last look, 0 to 1.
    pub busy_share: f64,
}

/// Why a decision is as it is. `Display` says it in a sentence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Reason {
    /// Somebody else scales the same workload.
    Conflicting {
        /// Its name.
        name: String,
    },
    /// The figures are too old to act on.
    Stale {
        /// Their age in milliseconds.
        stale_millis: u64,
    },
    /// The figures are so old that the fallback is due.
    Fallback {
        /// Their age in milliseconds.
        stale_millis: u64,
        /// What it says.
        replicas: u32,
    },
    /// Somebody set the replicas to 0 although `minReplicas` is more.
    SwitchedOff,
    /// The replicas were out of their bounds.
    OutOfBounds {
        /// What they were.
        from: u32,
        /// What they shall be.
        to: u32,
    },
    /// Nothing to do, no replicas.
    Asleep,
    /// Nothing came for long, so that the group sleeps.
    FellAsleep {
        /// How long, in milliseconds.
        idle_millis: u64,
    },
    /// Something came, so that the group wakes.
    Woke {
        /// Replicas to wake to.
        to: u32,
        /// Messages that wait.
        backlog: u64,
    },
    /// More replicas are needed.
    ScaleUp {
        /// What they were.
        from: u32,
        /// What they shall be.
        to: u32,
        /// What is needed, in replicas.
        need: f64,
    },
    /// Nobody knows yet what a replica can do, all are busy, and messages get old: twice as many.
    Doubling {
        /// What they were.
        from: u32,
        /// What they shall be.
        to: u32,
    },
    /// More are needed, but the last ones brought nothing.
    HeldDownstream {
        /// Until when, in milliseconds.
        until_millis: u64,
    },
    /// More are needed, but `behavior` doesn't allow it now.
    HeldByPolicy {
        /// What is needed.
        wanted: u32,
    },
    /// Fewer would do, but not yet.
    NotYetFewer {
        /// What would do.
        wanted: u32,
        /// Why not.
        because: Because,
    },
    /// Members that are no longer needed finish what they have.
    Draining {
        /// How many.
        members: u32,
        /// What they still have in their hands.
        in_flight: u64,
        /// Replicas afterwards.
        to: u32,
    },
    /// Fewer replicas do.
    ScaleIn {
        /// What they were.
        from: u32,
        /// What they shall be.
        to: u32,
    },
    /// They are right.
    Right {
        /// Messages per second that arrive.
        demand_per_second: f64,
        /// What is needed, in replicas.
        need: f64,
        /// How many there are.
        replicas: u32,
    },
    /// They can't be more, and would have to be.
    AtLimit {
        /// What is needed, in replicas.
        need: f64,
        /// How many there are.
        replicas: u32,
    },
}

/// Why not fewer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Because {
    /// Not long enough that it would do.
    Window,
    /// Messages wait longer than a quarter of the target.
    Delay,
    /// Replicas start.
    Starting,
    /// Partitions change hands.
    Rebalancing,
    /// The last step is too short ago.
    LastStep,
    /// A policy of `behavior`.
    Policy,
    /// Nobody knows yet what a replica can do.
    Learning,
}

fn seconds(millis: u64) -> String {
    format!("{} s", millis / 1_000)
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflicting { name } => {
                write!(out, "{name} scales the same workload: nothing is done until one of both is gone")
            }
            Self::Stale { stale_millis } => {
                write!(out, "the brokers' figures are {} old: the replicas stay", seconds(*stale_millis))
            }
            Self::Fallback { stale_millis, replicas } => {
                write!(out, "the brokers' figures are {} old: fallback to {replicas}", seconds(*stale_millis))
            }
            Self::SwitchedOff => {
                write!(out, "the workload has 0 replicas and minReplicas is more: somebody switched it off")
            }
            Self::OutOfBounds { from, to } => {
                write!(out, "{from} replicas are outside of minReplicas and maxReplicas: {to}")
            }
            Self::Asleep => write!(out, "no messages, no replicas"),
            Self::FellAsleep { idle_millis } => {
                write!(out, "nothing came for {}: 0 replicas until something does", seconds(*idle_millis))
            }
            Self::Woke { to, backlog } => {
                write!(out, "{backlog} messages came to a sleeping group: {to} replicas")
            }
            Self::ScaleUp { from, to, need } => {
                write!(out, "{need:.1} replicas' work has to be done: {to} instead of {from}")
            }
            Self::Doubling { from, to } => write!(
                out,
                "messages get old, all {from} replicas are busy and have not shown yet what they can do: {to}"
            ),
            Self::HeldDownstream { until_millis } => write!(
                out,
                "the last replicas brought nothing, something behind the members is slow: no more before {until_millis}"
            ),
            Self::HeldByPolicy { wanted } => {
                write!(out, "{wanted} replicas are needed, behavior doesn't allow it now")
            }
            Self::NotYetFewer { wanted, because } => write!(out, "{wanted} replicas would do, but {because}"),
            Self::Draining { members, in_flight, to } => {
                write!(
                    out,
                    "{members} members finish {in_flight} messages before they go, then {to} replicas"
                )
            }
            Self::ScaleIn { from, to } => write!(out, "{to} replicas do, instead of {from}"),
            Self::Right { demand_per_second, need, replicas } if *need > f64::from(*replicas) => write!(
                out,
                "{demand_per_second:.1} messages/s are {need:.1} replicas' work, but with {replicas} none waits for too long yet"
            ),
            Self::Right { demand_per_second, need, replicas } => write!(
                out,
                "{demand_per_second:.1} messages/s are {need:.1} replicas' work: {replicas} are right"
            ),
            Self::AtLimit { need, replicas } => {
                write!(
                    out,
                    "{need:.1} replicas' work has to be done, and more than {replicas} would not help or may not be"
                )
            }
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Window => "not for long enough",
            Self::Delay => "messages wait for more than a quarter of the target",
            Self::Starting => "replicas are starting",
            Self::Rebalancing => "partitions are changing hands",
            Self::LastStep => "the last step was a moment ago",
            Self::Policy => "behavior doesn't allow it now",
            Self::Learning => "what a replica can do isn't known yet",
        })
    }
}
