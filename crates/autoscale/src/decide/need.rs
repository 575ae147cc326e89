//! How much of a replica each partition needs, so that the delay stays within its target.

use crate::observation::{Observation, Source};
use crate::spec::DelayTarget;
use crate::state::State;

/// The share of the target in which a backlog shall be gone.
const DRAIN_SHARE: f64 = 0.5;
/// The share of that time's arrivals that may wait at any moment without being a backlog.
const SLACK_SHARE: f64 = 0.5;
/// The least time that a backlog is given, in milliseconds.
const REMAINING_MILLIS_MIN: f64 = 5_000.0;
/// Capacity is planned for the long average of arrivals, or for this much of the short one if that is less.
const LASTING_SHARE: f64 = 1.1;
/// By how many times its spread a partition's short average must be above its share to be a change and no chance.
const CHANCE: f64 = 4.0;
/// … over so many seconds, which is what the short average looks back on.
const CHANCE_SECONDS: f64 = 20.0;
/// An age below this says nothing about a rate, in milliseconds.
const AGE_MILLIS_MIN: f64 = 1_000.0;

/// What the partitions need.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Need {
    /// Replicas, for each partition; nothing for a stuck one.
    pub(super) replicas: Vec<f64>,
    /// The same if what is more for a moment counts too: with less than this nobody goes.
    pub(super) keep: Vec<f64>,
    /// Replicas in all, so that they are on average as busy as they should be.
    pub(super) mean: f64,
    /// Messages per second that arrive.
    pub(super) demand_per_second: f64,
    /// Messages that wait.
    pub(super) backlog: f64,
    /// … and that will wait when a pod that is created now works.
    pub(super) backlog_ahead: f64,
    /// The age of the oldest of them, in milliseconds.
    pub(super) oldest_age_millis: f64,
    /// Within what time they shall be done, in milliseconds.
    pub(super) remaining_millis: f64,
}

impl Need {
    /// Replicas in all, with what is more for a moment.
    pub(super) fn total(&self) -> f64 {
        self.keep.iter().sum()
    }
}

/// How fast messages arrive in a partition, in messages per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Arrivals {
    /// Now: over the last ten seconds or so.
    pub(super) now: f64,
    /// What lasts: over the last minutes, unless it has clearly become less.
    pub(super) lasting: f64,
}

/// How fast messages arrive in each partition; nothing for a stuck one.
///
/// A departure from the design, which took the larger of the short and the long average, partition by partition. The
/// largest of many noisy figures is always too large: here all partitions together say how fast it is now, and each one's
/// long average says what its share is, unless it is beyond all chance that the share has grown. Capacity is planned for
/// what lasts; what is more for a moment matters if it becomes a backlog (see [`need`]).
pub(super) fn arrivals(state: &State, seen: &Observation, stuck: &[usize]) -> Vec<Arrivals> {
    let (fast, slow) = state
        .memory
        .demands
        .iter()
        .fold((0.0, 0.0), |(fast, slow), demand| (fast + demand.fast, slow + demand.slow));
    let arrivals = |(number, partition): (usize, &crate::observation::PartitionSeen)| {
        if stuck.contains(&number) {
            return Arrivals::default();
        }
        // What waits came within its age, and that is all that can be said of a rate at the first look.
        let least =
            partition.backlog as f64 * 1_000.0 / (partition.oldest_age_millis as f64).max(AGE_MILLIS_MIN);
        let Some(demand) = state.memory.demands.get(number).filter(|demand| demand.known) else {
            return Arrivals { now: least, lasting: least };
        };
        let share = if slow > 0.0 { demand.slow / slow * fast } else { demand.fast };
        let expected = share * CHANCE_SECONDS;
        let surprising = demand.fast * CHANCE_SECONDS > expected + CHANCE * (expected + 1.0).sqrt();
        let now = if surprising { demand.fast } else { share };
        if seen.replicas == 0 {
            return Arrivals { now: now.max(least), lasting: now.max(least) };
        }
        Arrivals { now, lasting: demand.slow.min(LASTING_SHARE * now) }
    };
    seen.partitions.iter().enumerate().map(arrivals).collect()
}

/// The need of each partition, for members that settle `capacity` messages per second.
pub(super) fn need(
    state: &State,
    seen: &Observation,
    target: DelayTarget,
    capacity: f64,
    stuck: &[usize],
) -> Need {
    let arrivals = arrivals(state, seen, stuck);
    let now: Vec<f64> = arrivals.iter().map(|arrivals| arrivals.now).collect();
    let counted = || seen.partitions.iter().enumerate().filter(|(number, _)| !stuck.contains(number));
    let age = counted().map(|(_, partition)| partition.oldest_age_millis).max().unwrap_or_default() as f64;
    let target_millis = target.millis as f64;
    let start = state.learned.start();
    let drain_millis = DRAIN_SHARE * target_millis;
    let remaining = drain_millis.max(target_millis - age - start).max(REMAINING_MILLIS_MIN);
    let lead_seconds = lead_millis(seen, start) / 1_000.0;
    let served = served(seen, &now, capacity);
    let utilization = f64::from(target.utilization_percent) / 100.0;

    let mut need = Need {
        replicas: vec![0.0; seen.partitions.len()],
        keep: vec![0.0; seen.partitions.len()],
        oldest_age_millis: age,
        remaining_millis: remaining,
        ..Need::default()
    };
    for (number, partition) in counted() {
        let Arrivals { now, lasting } = arrivals[number];
        let backlog = partition.backlog as f64;
        let ahead = backlog + (now - served[number]).max(0.0) * lead_seconds;
        let beyond_slack = ahead - SLACK_SHARE * drain_millis / 1_000.0 * now;
        let catching_up = if beyond_slack > 0.0 { now + beyond_slack / (remaining / 1_000.0) } else { 0.0 };
        need.replicas[number] = lasting.max(catching_up) / capacity;
        need.keep[number] = lasting.max(now).max(catching_up) / capacity;
        need.mean += lasting / utilization / capacity;
        need.demand_per_second += now;
        need.backlog += backlog;
        need.backlog_ahead += ahead;
    }
    need
}

/// How long it takes until more capacity is there, in milliseconds: a whole start, or what is left of the starts that
/// are under way, because those replicas were asked for this very deficit.
fn lead_millis(seen: &Observation, start: f64) -> f64 {
    let working = |name: &str| seen.members.iter().any(|member| member.name == name);
    let left = seen.pods.iter().filter(|pod| !pod.terminating && !working(&pod.name)).map(|pod| {
        let age = seen.now_millis.saturating_sub(pod.created_millis) as f64;
        (start - age).max(0.0)
    });
    left.reduce(f64::max).unwrap_or(start)
}

/// Messages per second that each partition gets settled by the members there are.
fn served(seen: &Observation, demands: &[f64], capacity: f64) -> Vec<f64> {
    let ready = seen.members.len();
    let in_all: f64 = demands.iter().sum();
    if seen.source == Source::Queue {
        let share = |demand: &f64| if in_all > 0.0 { demand / in_all * capacity * ready as f64 } else { 0.0 };
        return demands.iter().map(share).collect();
    }
    let mut by_owner = vec![0.0; ready];
    for (partition, demand) in seen.partitions.iter().zip(demands) {
        if let Some(sum) = partition.owner.and_then(|owner| by_owner.get_mut(owner)) {
            *sum += demand;
        }
    }
    let served = |(partition, demand): (&crate::observation::PartitionSeen, &f64)| {
        match partition.owner.and_then(|owner| by_owner.get(owner)) {
            Some(sum) if *sum > 0.0 => demand / sum * capacity,
            Some(_) => capacity,
            // It changes hands, and is served like the others when it has.
            None if in_all > 0.0 => demand / in_all * capacity * ready as f64,
            None => 0.0,
        }
    };
    seen.partitions.iter().zip(demands).map(served).collect()
}
