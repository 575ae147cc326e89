//! What the figures ask for, within the bounds: by time where the capacity is known, by doubling where it isn't, by
//! KEDA's arithmetic where that was asked for.

use super::decision::{Decision, Inputs, LimitedBy, Reason};
use super::need::Need;
use super::{Look, TICK_MILLIS, fit, guard, need};
use crate::observation::Source;
use crate::spec::{DelayTarget, Target};
use crate::state::State;

/// While nothing is known of a member, messages may get this old, as a share of the target, before there are more.
const DOUBLING_SHARE: f64 = 0.25;

/// What the figures ask for.
pub(super) struct Wanted {
    pub(super) replicas: u32,
    /// With fewer than this it would not do: at least as many as are needed.
    pub(super) keep: u32,
    pub(super) limited_by: LimitedBy,
    /// Twice as many for want of anything better.
    pub(super) doubling: bool,
    pub(super) inputs: Inputs,
    pub(super) stuck: Vec<usize>,
    /// Messages per second to be settled besides what is settled now.
    pub(super) open_per_second: f64,
}

impl Wanted {
    pub(super) fn decision(self, replicas: u32, reason: Reason) -> Decision {
        Decision {
            replicas,
            recommended: self.replicas,
            limited_by: self.limited_by,
            reason,
            draining: Vec::new(),
            stuck: self.stuck,
            again_millis: TICK_MILLIS,
            inputs: self.inputs,
        }
    }
}

impl Look<'_> {
    /// What the figures ask for, within the bounds.
    pub(super) fn want(&self, state: &State) -> Wanted {
        let stuck = guard::stuck(state, self.seen);
        let known = state.learned.capacity_per_second;
        match (self.settings.target(), known) {
            (Target::Delay(target), Some(capacity)) => self.want_by_time(state, target, capacity, stuck),
            (Target::Delay(target), None) => self.want_unknowing(state, target, stuck),
            (Target::BacklogPerReplica(messages), _) => self.want_by_backlog(state, messages, stuck),
        }
    }

    fn want_by_time(&self, state: &State, target: DelayTarget, capacity: f64, stuck: Vec<usize>) -> Wanted {
        let (seen, spec) = (self.seen, self.settings.spec());
        let need = need::need(state, seen, target, capacity, &stuck);
        let fit = fit::fit(seen, &need.replicas, need.mean, self.most());
        let mut inputs = self.inputs(state, &need);
        inputs.busiest = fit.busiest;
        let settled = state.memory.settle_rate.unwrap_or_default();
        let replicas = fit.replicas.max(self.least()).min(spec.max_replicas);
        let keep = fit::fit(seen, &need.keep, need.mean, self.most());
        Wanted {
            replicas,
            keep: keep.replicas.max(replicas).min(spec.max_replicas),
            limited_by: if fit.enough { LimitedBy::None } else { self.limit(&need.replicas) },
            doubling: false,
            open_per_second: (need.demand_per_second - settled).max(0.0)
                + need.backlog * 1_000.0 / need.remaining_millis,
            inputs,
            stuck,
        }
    }

    /// Nothing is known of a member yet. One is woken; while messages get old although all members are busy, as many
    /// again join: each doubling is paid for by evidence, and the first settled messages end the guessing.
    fn want_unknowing(&self, state: &State, target: DelayTarget, stuck: Vec<usize>) -> Wanted {
        let (seen, spec) = (self.seen, self.settings.spec());
        // With a capacity of one, the figures besides the need are right.
        let need = Need { replicas: Vec::new(), ..need::need(state, seen, target, 1.0, &stuck) };
        let late = need.oldest_age_millis > DOUBLING_SHARE * target.millis as f64;
        let busy = !seen.members.is_empty() && seen.members.iter().all(|member| member.in_flight > 0);
        let since_step =
            state.memory.changes.back().map(|change| seen.now_millis.saturating_sub(change.millis));
        let settled_in = since_step.is_none_or(|millis| millis as f64 >= state.learned.start());
        let doubling = late && busy && settled_in && self.starting(state) == 0;
        let most = self.most().max(self.least());
        let replicas = if doubling { seen.replicas.saturating_mul(2).min(most) } else { seen.replicas };
        // No more replicas than messages.
        let useful = u32::try_from(seen.backlog()).unwrap_or(u32::MAX).max(seen.replicas);
        let replicas = replicas.min(useful).max(self.least()).min(spec.max_replicas);
        Wanted {
            replicas,
            keep: replicas,
            limited_by: if doubling && replicas == seen.replicas { self.limit(&[]) } else { LimitedBy::None },
            doubling,
            inputs: self.inputs(state, &need),
            stuck,
            open_per_second: 0.0,
        }
    }

    /// KEDA's arithmetic: one replica for each so many messages of backlog.
    fn want_by_backlog(&self, state: &State, messages: u64, stuck: Vec<usize>) -> Wanted {
        let (seen, spec) = (self.seen, self.settings.spec());
        let counts = |number: &usize| !stuck.contains(number);
        let backlog = (0..seen.partitions.len())
            .filter(counts)
            .fold(0, |sum: u64, number| sum.saturating_add(seen.partitions[number].backlog));
        let wanted = u32::try_from(backlog.div_ceil(messages)).unwrap_or(u32::MAX);
        let need = Need {
            backlog: backlog as f64,
            demand_per_second: need::arrivals(state, seen, &stuck).iter().map(|arrivals| arrivals.now).sum(),
            ..Need::default()
        };
        let mut inputs = self.inputs(state, &need);
        inputs.need = backlog as f64 / messages as f64;
        let replicas = wanted.min(self.most()).max(self.least()).min(spec.max_replicas);
        Wanted {
            replicas,
            keep: replicas,
            limited_by: if wanted > self.most() { self.limit(&[]) } else { LimitedBy::None },
            doubling: false,
            inputs,
            stuck,
            open_per_second: 0.0,
        }
    }

    /// The least that a group with work has: sleeping is decided elsewhere.
    fn least(&self) -> u32 {
        self.settings.spec().min_replicas.max(1)
    }

    /// The most that can do something.
    fn most(&self) -> u32 {
        let max = self.settings.spec().max_replicas;
        match self.seen.source {
            Source::Queue => max,
            Source::Partitions => max.min(u32::try_from(self.seen.partitions.len()).unwrap_or(u32::MAX)),
        }
    }

    /// What it is that keeps more replicas away, or from helping.
    fn limit(&self, needs: &[f64]) -> LimitedBy {
        if self.seen.source == Source::Queue {
            return LimitedBy::MaxReplicas;
        }
        let mut sorted = needs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let hottest = sorted.last().copied().unwrap_or_default();
        let partitions = u32::try_from(self.seen.partitions.len()).unwrap_or(u32::MAX);
        if hottest > 1.0 && (hottest > 2.0 * median || needs.len() == 1) {
            LimitedBy::HotPartition
        } else if self.settings.spec().max_replicas < partitions {
            LimitedBy::MaxReplicas
        } else {
            LimitedBy::Partitions
        }
    }
}
