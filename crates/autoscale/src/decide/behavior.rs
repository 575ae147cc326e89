//! `behavior` as a HorizontalPodAutoscaler has it: windows over recommendations, bounds on change within a time.
//! (kubernetes.io, *Horizontal Pod Autoscaling*, "Configurable scaling behavior"; KEP-853.)

use crate::spec::{Policy, PolicyKind, Rules, STABILIZATION_MILLIS_MAX, Select};
use crate::state::{At, Memory, Recommended};

/// Most entries of a history: an hour of looks every five seconds and some more.
const HISTORY_MAX: usize = 1_000;

/// Remembers a recommendation.
pub(super) fn remember(memory: &mut Memory, now_millis: u64, recommended: Recommended) {
    push(&mut memory.recommended, now_millis, recommended);
}

/// Remembers that the replicas changed, whoever did it.
pub(super) fn remember_change(memory: &mut Memory, now_millis: u64, change: i64) {
    if change != 0 {
        push(&mut memory.changes, now_millis, change);
    }
}

fn push<T>(history: &mut std::collections::VecDeque<At<T>>, millis: u64, what: T) {
    while history.len() >= HISTORY_MAX
        || history.front().is_some_and(|first| first.millis.saturating_add(STABILIZATION_MILLIS_MAX) < millis)
    {
        history.pop_front();
    }
    history.push_back(At { millis, what });
}

fn within(memory: &Memory, now_millis: u64, window_millis: u64) -> impl Iterator<Item = Recommended> {
    let is_within = move |at: &&At<Recommended>| now_millis.saturating_sub(at.millis) < window_millis;
    memory.recommended.iter().filter(is_within).map(|at| at.what)
}

/// The fewest replicas that were needed within a window, the `replicas` of now included.
pub(super) fn least(memory: &Memory, now_millis: u64, window_millis: u64, replicas: u32) -> u32 {
    within(memory, now_millis, window_millis).map(|at| at.replicas).fold(replicas, u32::min)
}

/// The most replicas that were to be kept within a window, the `keep` of now included.
pub(super) fn most(memory: &Memory, now_millis: u64, window_millis: u64, keep: u32) -> u32 {
    within(memory, now_millis, window_millis).map(|at| at.keep).fold(keep, u32::max)
}

/// How many replicas the policies allow at most.
pub(super) fn up_limit(memory: &Memory, now_millis: u64, current: u32, rules: &Rules) -> u32 {
    limit(memory, now_millis, current, rules, true)
}

/// How many replicas the policies allow at least.
pub(super) fn down_limit(memory: &Memory, now_millis: u64, current: u32, rules: &Rules) -> u32 {
    limit(memory, now_millis, current, rules, false)
}

fn limit(memory: &Memory, now_millis: u64, current: u32, rules: &Rules, up: bool) -> u32 {
    if rules.select == Select::Disabled {
        return current;
    }
    let allowed = rules.policies.iter().map(|policy| {
        let started = start_of_period(memory, now_millis, current, policy, up);
        let replicas = apply(policy, started, up);
        if up { replicas.max(current) } else { replicas.min(current) }
    });
    // The one that allows most change is the highest upwards and the lowest downwards.
    let widest = (rules.select == Select::Max) == up;
    let limit = if widest { allowed.max() } else { allowed.min() };
    limit.unwrap_or(if up { u32::MAX } else { 0 })
}

/// Replicas at the start of a policy's period, as far as changes in this direction and back go.
fn start_of_period(memory: &Memory, now_millis: u64, current: u32, policy: &Policy, up: bool) -> u32 {
    let since = now_millis.saturating_sub(policy.period_millis);
    let changed: i64 =
        memory.changes.iter().filter(|at| at.millis > since && (at.what > 0) == up).map(|at| at.what).sum();
    u32::try_from((i64::from(current) - changed).max(0)).unwrap_or(u32::MAX)
}

fn apply(policy: &Policy, started: u32, up: bool) -> u32 {
    let value = f64::from(policy.value);
    let start = f64::from(started);
    match (policy.kind, up) {
        (PolicyKind::Pods, true) => started.saturating_add(policy.value),
        (PolicyKind::Pods, false) => started.saturating_sub(policy.value),
        (PolicyKind::Percent, true) => (start * (1.0 + value / 100.0) - 1e-9).ceil() as u32,
        (PolicyKind::Percent, false) => (start * (1.0 - value / 100.0)).max(0.0) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: PolicyKind, value: u32) -> Policy {
        Policy { kind, value, period_millis: 60_000 }
    }

    fn rules(select: Select, policies: &[Policy]) -> Rules {
        Rules { stabilization_millis: 0, policies: policies.to_vec(), select }
    }

    #[test]
    fn policies_bound_both_directions() {
        use PolicyKind::{Percent, Pods};
        let both = [policy(Pods, 4), policy(Percent, 100)];
        let rows = [
            // current, changes within the period, select, up, down
            (10, 0, Select::Max, 20, 0),
            (10, 0, Select::Min, 14, 6),
            (10, 0, Select::Disabled, 10, 10),
            (3, 0, Select::Max, 7, 0),
            (1, 0, Select::Min, 2, 0),
            (10, 4, Select::Min, 10, 6),
            (10, -4, Select::Min, 14, 10),
        ];
        for (current, change, select, up, down) in rows {
            let mut memory = Memory::default();
            remember_change(&mut memory, 50_000, change);
            let rules = rules(select, &both);
            assert_eq!(up_limit(&memory, 60_000, current, &rules), up, "up {current} {change} {select:?}");
            assert_eq!(
                down_limit(&memory, 60_000, current, &rules),
                down,
                "down {current} {change} {select:?}"
            );
        }
        let memory = Memory::default();
        let none = rules(Select::Max, &[]);
        assert_eq!((up_limit(&memory, 0, 3, &none), down_limit(&memory, 0, 3, &none)), (u32::MAX, 0));
    }

    fn both(replicas: u32) -> Recommended {
        Recommended { replicas, keep: replicas }
    }

    #[test]
    fn windows_forget() {
        let mut memory = Memory::default();
        remember(&mut memory, 0, both(9));
        remember(&mut memory, 60_000, both(2));
        assert_eq!(most(&memory, 90_000, 60_000, 4), 4);
        assert_eq!(most(&memory, 59_999, 60_000, 4), 9);
        assert_eq!(least(&memory, 90_000, 60_000, 4), 2);
        for look in 0..3_000 {
            remember(&mut memory, 60_000 + look * 5_000, both(3));
        }
        assert!(memory.recommended.len() <= HISTORY_MAX);
    }
}
