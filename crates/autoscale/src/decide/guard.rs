//! What more replicas can't help: a partition that is stuck, and a downstream that gives no more.

use crate::observation::{Observation, Source};
use crate::state::{State, Trial};

/// A partition must have stood still for this long to be called stuck, in milliseconds.
const STUCK_MILLIS: u64 = 30_000;
/// … while its owner could have settled so many of its messages, and others settled some.
const STUCK_MESSAGES: f64 = 20.0;
/// How long after all have joined a scale-up is judged, in milliseconds.
const TRIAL_MILLIS: u64 = 30_000;
/// … and how long after the time of a start at the latest, because some may never join.
const TRIAL_MILLIS_MAX: u64 = 60_000;
/// Fewer messages than this, expected of the new ones meanwhile, allow no verdict.
const TRIAL_MESSAGES: f64 = 20.0;
/// What it must have brought of what was expected.
const TRIAL_SHARE: f64 = 0.10;
/// … and what they could do together must have risen by less than this share of what the new ones should add.
const TRIAL_CAPACITY_SHARE: f64 = 0.3;
/// How busy members must be for a verdict.
const TRIAL_BUSY: f64 = 0.8;
/// For how long no further scale-up is tried, in milliseconds.
pub(super) const HOLD_MILLIS: u64 = 300_000;

/// Partitions that make no progress although their owner is there and other work goes on.
pub(super) fn stuck(state: &State, seen: &Observation) -> Vec<usize> {
    let Some(capacity) = state.learned.capacity_per_second else { return Vec::new() };
    if seen.source == Source::Queue {
        // In a queue a bad message holds up nobody: it comes back, and then it is a dead letter.
        return Vec::new();
    }
    let mut owned = vec![0_u32; seen.members.len()];
    for owner in seen.partitions.iter().filter_map(|partition| partition.owner) {
        if let Some(count) = owned.get_mut(owner) {
            *count += 1;
        }
    }
    let is_stuck = |(number, progress): (usize, &crate::state::Progress)| {
        let partition = seen.partitions.get(number)?;
        let owner = partition.owner.filter(|owner| *owner < seen.members.len())?;
        let still_millis = seen.now_millis.saturating_sub(progress.since_millis);
        let could = capacity * still_millis as f64 / 1_000.0 / f64::from(owned[owner].max(1));
        let stands =
            still_millis >= STUCK_MILLIS && could >= STUCK_MESSAGES && progress.others >= STUCK_MESSAGES;
        (stands && partition.backlog > 0).then_some(number)
    };
    state.memory.progress.iter().enumerate().filter_map(is_stuck).collect()
}

/// Remembers how things are before a scale-up, unless an earlier one is still to be judged. `open_per_second` is what has
/// to be settled per second besides what is settled now.
pub(super) fn try_out(state: &mut State, seen: &Observation, open_per_second: f64) {
    let (Some(capacity), Some(settle_rate)) = (state.learned.capacity_per_second, state.memory.settle_rate)
    else {
        return;
    };
    state.memory.trial.get_or_insert(Trial {
        since_millis: seen.now_millis,
        joined_millis: None,
        members: seen.members.len(),
        settle_rate,
        capacity_per_second: capacity,
        open_per_second,
    });
}

/// Judges a scale-up when its time has come; `open_per_second` as above, now.
///
/// A departure from the design: the settle rate alone said of every scale-up whose load had gone meanwhile that it had
/// brought nothing, and the burst after it met a held group. So there must have been something to gain, and members must
/// have got slower in the proportion in which they got more, as those do who wait for the same slow thing.
pub(super) fn judge(state: &mut State, seen: &Observation, open_per_second: f64) {
    let Some(trial) = &mut state.memory.trial else { return };
    if seen.members.len() > trial.members && seen.members.len() >= seen.replicas as usize {
        trial.joined_millis.get_or_insert(seen.now_millis);
    } else {
        trial.joined_millis = None;
    }
    let at_latest =
        trial.since_millis.saturating_add(state.learned.start() as u64).saturating_add(TRIAL_MILLIS_MAX);
    let due =
        trial.joined_millis.map_or(at_latest, |joined| at_latest.min(joined.saturating_add(TRIAL_MILLIS)));
    if seen.now_millis < due {
        return;
    }
    let trial = *trial;
    state.memory.trial = None;
    let Some(settle_rate) = state.memory.settle_rate else { return };
    let more = seen.members.len().saturating_sub(trial.members) as f64 * trial.capacity_per_second;
    if more * TRIAL_MILLIS as f64 / 1_000.0 < TRIAL_MESSAGES {
        return;
    }
    let expected = more.min(trial.open_per_second).min(open_per_second);
    let gained = settle_rate - trial.settle_rate;
    let got_able = state.memory.able_per_second - trial.members as f64 * trial.capacity_per_second;
    let useless = expected > 0.0 && gained < TRIAL_SHARE * expected && got_able < TRIAL_CAPACITY_SHARE * more;
    if useless && state.memory.busy_share >= TRIAL_BUSY {
        state.learned.held_until_millis = Some(seen.now_millis.saturating_add(HOLD_MILLIS));
    }
}

/// Until when no scale-up is tried, if that is so.
pub(super) fn held_until(state: &mut State, now_millis: u64) -> Option<u64> {
    let until = state.learned.held_until_millis?;
    // A status from somewhere else, or a clock that was set: a hold is never longer than a hold.
    if now_millis >= until || until > now_millis.saturating_add(HOLD_MILLIS) {
        state.learned.held_until_millis = None;
    }
    state.learned.held_until_millis
}
