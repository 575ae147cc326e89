//! What the controller knows from before: a few figures that outlive it, and windows that it rebuilds within minutes.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Bounds of a capacity, in messages per second, so that nothing is divided by nothing.
pub(crate) const CAPACITY_MIN: f64 = 1e-6;
pub(crate) const CAPACITY_MAX: f64 = 1e12;
/// A start or a rebalance that took longer is no sample, in milliseconds: something else was wrong.
pub(crate) const START_MILLIS_MAX: f64 = 900_000.0;

/// What survives a restart of the controller and a group's sleep. It stands in the group's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Learned {
    /// Messages per second that one busy member settles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_per_second: Option<f64>,
    /// From a pod's creation to the first message that it settles, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_millis: Option<f64>,
    /// How long partitions rest when they change hands, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_millis: Option<f64>,
    /// No scale-up before this time, in milliseconds, because the last one didn't help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until_millis: Option<u64>,
}

impl Learned {
    /// The same without what can't be: somebody may have edited the status.
    fn sane(self) -> Self {
        let within = |least: f64, most: f64| move |value: &f64| (least..=most).contains(value);
        Self {
            capacity_per_second: self.capacity_per_second.filter(within(CAPACITY_MIN, CAPACITY_MAX)),
            start_millis: self.start_millis.filter(within(1.0, START_MILLIS_MAX)),
            pause_millis: self.pause_millis.filter(within(1.0, START_MILLIS_MAX)),
            held_until_millis: self.held_until_millis,
        }
    }
}

/// All that the controller knows from before one group's last look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(crate) learned: Learned,
    pub(crate) memory: Memory,
}

impl State {
    /// The state of a controller that just started, with what an earlier one had learned.
    pub fn resume(learned: Learned) -> Self {
        Self { learned: learned.sane(), memory: Memory::default() }
    }

    /// What has to be kept.
    pub fn learned(&self) -> Learned {
        self.learned
    }
}

/// What is rebuilt after a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// The first look since the start.
    pub(crate) since_millis: Option<u64>,
    pub(crate) last: Option<Last>,
    /// `spec.replicas` of the last look.
    pub(crate) replicas: Option<u32>,
    /// One per partition.
    pub(crate) demands: Vec<Demand>,
    /// One per partition.
    pub(crate) progress: Vec<Progress>,
    /// What waits to become a sample of the capacity.
    pub(crate) effort: Effort,
    /// Messages settled per second, in all, over the last half minute or so.
    pub(crate) settle_rate: Option<f64>,
    /// How busy the members were between the last two looks, 0 to 1.
    pub(crate) busy_share: f64,
    /// Messages per second that all members could have settled between the last two looks, at the speed that they had.
    pub(crate) able_per_second: f64,
    pub(crate) rebalancing_since_millis: Option<u64>,
    /// Recommendations, oldest first.
    pub(crate) recommended: VecDeque<At<Recommended>>,
    /// Changes of the replicas, whoever made them, oldest first.
    pub(crate) changes: VecDeque<At<i64>>,
    /// Since when all is well enough to think of fewer replicas.
    pub(crate) calm_since_millis: Option<u64>,
    pub(crate) idle_since_millis: Option<u64>,
    pub(crate) drain: Option<Drain>,
    pub(crate) trial: Option<Trial>,
}

/// Something and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) millis: u64,
    pub(crate) what: T,
}

/// How many replicas were right at a look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Recommended {
    /// So many are needed.
    pub(crate) replicas: u32,
    /// Fewer than this would not do.
    pub(crate) keep: u32,
}

/// The counters of the last look.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Last {
    /// When the figures were true.
    pub(crate) figures_millis: u64,
    /// Appended and settled, for each partition.
    pub(crate) partitions: Vec<(u64, u64)>,
    pub(crate) members: BTreeMap<String, MemberCounters>,
}

/// A member's counters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MemberCounters {
    pub(crate) settled: u64,
    pub(crate) busy_millis: u64,
    pub(crate) worked: bool,
}

/// How fast messages come, in messages per second, over a short and a long time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Demand {
    pub(crate) fast: f64,
    pub(crate) slow: f64,
    pub(crate) known: bool,
}

/// Since when a partition's backlog has not moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Progress {
    pub(crate) settled: u64,
    pub(crate) since_millis: u64,
    /// Messages that others settled since.
    pub(crate) others: f64,
}

/// Work that was seen and not yet turned into a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Effort {
    pub(crate) settled: f64,
    pub(crate) busy_millis: f64,
    pub(crate) millis: f64,
}

/// Members that finish before they go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drain {
    pub(crate) since_millis: u64,
    /// Replicas afterwards.
    pub(crate) replicas: u32,
    pub(crate) names: Vec<String>,
}

/// A scale-up that has to show what it is good for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trial {
    pub(crate) since_millis: u64,
    /// Since when all that were asked for have joined.
    pub(crate) joined_millis: Option<u64>,
    /// Members that worked before, and messages that all settled per second.
    pub(crate) members: usize,
    pub(crate) settle_rate: f64,
    pub(crate) capacity_per_second: f64,
    /// Messages per second that had to be settled besides.
    pub(crate) open_per_second: f64,
}
