//! From counters to rates: how fast messages come, how fast a member settles them, how long a start and a rebalance
//! take.

use crate::observation::{MemberSeen, Observation};
use crate::state::{
    CAPACITY_MAX, CAPACITY_MIN, Demand, Last, Learned, MemberCounters, Memory, Progress, START_MILLIS_MAX,
    State,
};

/// A pod's start until something is known, in milliseconds.
const START_MILLIS_DEFAULT: f64 = 20_000.0;
/// A rebalance until something is known, in milliseconds.
const PAUSE_MILLIS_DEFAULT: f64 = 3_000.0;
/// How long the short and the long average of arrivals remember, in seconds.
const FAST_SECONDS: f64 = 10.0;
const SLOW_SECONDS: f64 = 90.0;
/// How long the capacity and the settle rate remember, in seconds.
const CAPACITY_SECONDS: f64 = 30.0;
/// How much one start or one rebalance counts in its average.
const START_SHARE: f64 = 0.2;
/// Counters closer together than this are looked at next time, in milliseconds.
const BETWEEN_MILLIS_MIN: u64 = 500;
/// A capacity is worked out from at least so many messages.
const SAMPLE_MESSAGES: f64 = 10.0;
/// Members with less to do than this, as a share of their time, say little about what they could do.
const BUSY_SHARE_MIN: f64 = 0.3;
/// By how many times its spread a count must be above the expected one to be a step and no chance.
const SURPRISE: f64 = 4.0;
/// How much of a step is believed at once.
const STEP_SHARE: f64 = 0.85;

impl Learned {
    /// A pod's start, in milliseconds, or a guess.
    pub(crate) fn start(&self) -> f64 {
        self.start_millis.unwrap_or(START_MILLIS_DEFAULT)
    }

    /// A rebalance, in milliseconds, or a guess.
    pub(crate) fn pause(&self) -> f64 {
        self.pause_millis.unwrap_or(PAUSE_MILLIS_DEFAULT)
    }
}

/// Takes in what fresh figures say.
pub(super) fn learn(state: &mut State, seen: &Observation) {
    let figures_millis = seen.now_millis.saturating_sub(seen.stale_millis);
    let State { learned, memory } = state;
    let count = seen.partitions.len();
    memory.demands.resize(count, Demand::default());
    let last = memory.last.take();
    if let Some(last) = &last {
        let between = figures_millis.saturating_sub(last.figures_millis);
        if between < BETWEEN_MILLIS_MIN {
            memory.last = Some(last.clone());
            return;
        }
        let seconds = between as f64 / 1_000.0;
        learn_demand(memory, last, seen, seconds);
        learn_work(learned, memory, last, seen, seconds);
        learn_starts(learned, last, seen);
        learn_pause(learned, memory, seen);
    }
    follow_progress(memory, last.as_ref(), seen);
    memory.last = Some(Last {
        figures_millis,
        partitions: seen.partitions.iter().map(|partition| (partition.appended, partition.settled)).collect(),
        members: seen.members.iter().map(|member| (member.name.clone(), counters(member))).collect(),
    });
}

fn counters(member: &MemberSeen) -> MemberCounters {
    MemberCounters {
        settled: member.settled,
        busy_millis: member.busy_millis,
        worked: member.first_settled_millis.is_some(),
    }
}

/// Moves `average` to `sample` as an exponential average that remembers for `memory_seconds` does within `seconds`.
fn follow(average: f64, sample: f64, seconds: f64, memory_seconds: f64) -> f64 {
    average + (1.0 - (-seconds / memory_seconds).exp()) * (sample - average)
}

fn learn_demand(memory: &mut Memory, last: &Last, seen: &Observation, seconds: f64) {
    // A counter that went back belongs to another leader: it says nothing this time.
    let came: Vec<Option<f64>> = seen
        .partitions
        .iter()
        .enumerate()
        .map(|(number, partition)| {
            let (before, _) = last.partitions.get(number)?;
            partition.appended.checked_sub(*before).map(|messages| messages as f64)
        })
        .collect();
    // Averages are late by their very nature. What is beyond all chance, over all partitions, is believed at once: a
    // departure from the design, where half of a step was believed after two looks only, and half a start time lost.
    let expected: f64 = memory.demands.iter().map(|demand| demand.fast.max(demand.slow) * seconds).sum();
    let in_all: f64 = came.iter().flatten().sum();
    let step = in_all > expected + SURPRISE * (expected + 1.0).sqrt() + 0.1 * expected;
    for (demand, came) in memory.demands.iter_mut().zip(came) {
        let Some(came) = came else { continue };
        let rate = came / seconds;
        if demand.known {
            demand.fast = follow(demand.fast, rate, seconds, FAST_SECONDS);
            demand.slow = follow(demand.slow, rate, seconds, SLOW_SECONDS);
            if step {
                demand.fast = demand.fast.max(STEP_SHARE * rate);
            }
        } else {
            *demand = Demand { fast: rate, slow: rate, known: true };
        }
    }
}

fn learn_work(learned: &mut Learned, memory: &mut Memory, last: &Last, seen: &Observation, seconds: f64) {
    let settled: f64 = seen
        .partitions
        .iter()
        .zip(&last.partitions)
        .map(|(partition, (_, before))| partition.settled.saturating_sub(*before) as f64)
        .sum();
    let rate = settled / seconds;
    memory.settle_rate =
        Some(memory.settle_rate.map_or(rate, |average| follow(average, rate, seconds, CAPACITY_SECONDS)));

    let (mut members, mut settled, mut busy_millis) = (0.0, 0.0, 0.0);
    for member in &seen.members {
        let Some(before) = last.members.get(&member.name).filter(|before| before.worked) else { continue };
        let (Some(more), Some(busy)) =
            (member.settled.checked_sub(before.settled), member.busy_millis.checked_sub(before.busy_millis))
        else {
            continue;
        };
        members += 1.0;
        settled += more as f64;
        busy_millis += busy as f64;
    }
    let share = if members > 0.0 { busy_millis / (members * seconds * 1_000.0) } else { 0.0 };
    memory.busy_share = share.min(1.0);
    memory.able_per_second = if busy_millis > 0.0 { settled * 1_000.0 / busy_millis * members } else { 0.0 };
    // While partitions move, members wait for them; while there is little to do, they wait for messages. The very
    // first sample may be a poor one: it is better than none.
    if seen.rebalancing || (share < BUSY_SHARE_MIN && learned.capacity_per_second.is_some()) {
        return;
    }
    memory.effort.settled += settled;
    memory.effort.busy_millis += busy_millis;
    memory.effort.millis += seconds * 1_000.0;
    close_sample(learned, memory);
}

/// Turns effort into a rate once there is enough of it. Messages that take minutes make samples rare, not zero: that is
/// a departure from the design, whose average would forget the capacity between two of them.
fn close_sample(learned: &mut Learned, memory: &mut Memory) {
    let effort = memory.effort;
    let busy_seconds = effort.busy_millis / 1_000.0;
    if busy_seconds <= 0.0 {
        return;
    }
    let expected = learned.capacity_per_second.map_or(0.0, |capacity| capacity * busy_seconds);
    let enough = effort.settled >= SAMPLE_MESSAGES
        || expected >= SAMPLE_MESSAGES
        || (learned.capacity_per_second.is_none() && effort.settled >= 1.0 && busy_seconds >= 10.0);
    if !enough {
        return;
    }
    // Nothing at all is at most one.
    let sample = (effort.settled.max(1.0) / busy_seconds).clamp(CAPACITY_MIN, CAPACITY_MAX);
    learned.capacity_per_second = Some(match learned.capacity_per_second {
        Some(capacity) => follow(capacity, sample, effort.millis / 1_000.0, CAPACITY_SECONDS),
        None => sample,
    });
    memory.effort = crate::state::Effort::default();
}

/// A start is over with the first settled message, or soon after joining if there was nothing to settle.
fn learn_starts(learned: &mut Learned, last: &Last, seen: &Observation) {
    let idle_millis = 2.0 * learned.pause() + 2_000.0;
    for member in &seen.members {
        let was_working = last.members.get(&member.name).is_some_and(|before| before.worked);
        let Some(first) = member.first_settled_millis.filter(|_| !was_working) else { continue };
        let Some(pod) = seen.pods.iter().find(|pod| pod.name == member.name) else { continue };
        let latest = member.joined_millis as f64 + idle_millis;
        let took = (first as f64).min(latest) - pod.created_millis as f64;
        if took > 0.0 && took < START_MILLIS_MAX {
            let average = learned.start_millis.unwrap_or(took);
            learned.start_millis = Some(average + START_SHARE * (took - average));
        }
    }
}

/// A rebalance is only seen at looks: it lasted half a look less than from the first that saw it to the first that
/// didn't.
fn learn_pause(learned: &mut Learned, memory: &mut Memory, seen: &Observation) {
    match (seen.rebalancing, memory.rebalancing_since_millis) {
        (true, None) => memory.rebalancing_since_millis = Some(seen.now_millis),
        (false, Some(since)) => {
            memory.rebalancing_since_millis = None;
            let took = seen.now_millis.saturating_sub(since) as f64 - super::TICK_MILLIS as f64 / 2.0;
            if took > 0.0 && took < START_MILLIS_MAX {
                let average = learned.pause();
                learned.pause_millis = Some(average + START_SHARE * (took - average));
            }
        }
        _ => {}
    }
}

/// Keeps count of what happens elsewhere while a partition doesn't move.
fn follow_progress(memory: &mut Memory, last: Option<&Last>, seen: &Observation) {
    let fresh = |settled| Progress { settled, since_millis: seen.now_millis, others: 0.0 };
    let in_all: f64 = last.map_or(0.0, |last| {
        let pairs = seen.partitions.iter().zip(&last.partitions);
        pairs.map(|(partition, (_, before))| partition.settled.saturating_sub(*before) as f64).sum()
    });
    memory.progress.truncate(seen.partitions.len());
    for (number, partition) in seen.partitions.iter().enumerate() {
        match memory.progress.get_mut(number) {
            None => memory.progress.push(fresh(partition.settled)),
            Some(progress) => {
                let moved = progress.settled != partition.settled || partition.backlog == 0;
                // Nobody is to blame for a partition that nobody has.
                if moved || partition.owner.is_none() {
                    *progress = fresh(partition.settled);
                } else {
                    progress.others += in_all;
                }
            }
        }
    }
}
