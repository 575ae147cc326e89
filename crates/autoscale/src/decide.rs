//! The drain-time controller: how many replicas a group needs, so that no message waits longer than the target.
//!
//! It plans with time. Messages that arrive need capacity all the time; messages that wait need capacity until they are
//! done, and there is only as much time for them as the target leaves after their age and after the start of a pod. Both
//! together, partition by partition and under the assignment that the brokers will really make, say how many replicas
//! are enough.
//!
//! | step | file |
//! |---|---|
//! | counters become rates | `estimate` |
//! | rates and backlog become a need per partition | `need` |
//! | needs become a number of replicas | `fit` |
//! | what the figures ask for, all in all | `want` |
//! | what more replicas can't help | `guard` |
//! | how fast it may go | `behavior` |
//! | who goes, and when | `shrink` |
//!
//! The order below is the order of authority: what comes first, wins.

mod behavior;
mod decision;
mod estimate;
mod fit;
mod guard;
mod need;
mod shrink;
mod want;

#[cfg(test)]
mod tests;

pub use self::decision::{Because, Decision, Inputs, LimitedBy, Reason};

use self::need::Need;
use self::shrink::Draining;
use self::want::Wanted;
use crate::observation::Observation;
use crate::spec::{FallbackBehavior, Settings, Target};
use crate::state::{Recommended, State};

/// How often to look, in milliseconds.
pub const TICK_MILLIS: u64 = 5_000;
/// When to look again after something began that takes a moment, in milliseconds.
const SOON_MILLIS: u64 = 1_000;
/// Figures older than this are not acted on, in milliseconds: three looks.
pub const STALE_MILLIS: u64 = 15_000;
/// Fewer replicas must have been enough for the time of so many starts: a replica that is missed soon costs a start,
/// and one that stays costs the window. (A departure from the design's 120 s, which is now the most.)
const WINDOW_STARTS: f64 = 2.0;
const WINDOW_MILLIS_MIN: u64 = 30_000;
const WINDOW_MILLIS_MAX: u64 = 120_000;
/// Replicas are only taken away while messages wait no longer than this share of the target.
const CALM_SHARE: f64 = 0.25;
/// … and so many rebalances after the last were.
const STEP_PAUSES: f64 = 10.0;
/// A pod that hasn't become a member after so many starts won't, and is not waited for.
const START_TIMES: f64 = 5.0;
/// … but never before so many milliseconds.
const START_MILLIS_MIN: f64 = 120_000.0;

/// One look: what is to be done, and what is known afterwards.
pub fn decide(settings: &Settings, mut state: State, seen: &Observation) -> (Decision, State) {
    let decision = Look { settings, seen }.decide(&mut state);
    (decision, state)
}

struct Look<'a> {
    settings: &'a Settings,
    seen: &'a Observation,
}

impl Look<'_> {
    fn decide(&self, state: &mut State) -> Decision {
        let seen = self.seen;
        let memory = &mut state.memory;
        memory.since_millis.get_or_insert(seen.now_millis);
        let before = memory.replicas.replace(seen.replicas).unwrap_or(seen.replicas);
        behavior::remember_change(memory, seen.now_millis, i64::from(seen.replicas) - i64::from(before));

        let stale = seen.stale_millis > STALE_MILLIS;
        if !stale {
            self.follow_idleness(state);
            estimate::learn(state, seen);
        }
        if let Some(name) = &seen.conflicting {
            state.memory.drain = None;
            return self.leave(state, Reason::Conflicting { name: name.clone() });
        }
        let spec = self.settings.spec();
        if seen.replicas == 0 && spec.min_replicas > 0 {
            // As a HorizontalPodAutoscaler has it ("Implicit maintenance-mode deactivation").
            return self.leave(state, Reason::SwitchedOff);
        }
        if stale {
            return self.blind(state);
        }
        let mut wanted = self.want(state);
        guard::judge(state, seen, wanted.open_per_second);
        if wanted.limited_by != LimitedBy::None && guard::held_until(state, seen.now_millis).is_some() {
            wanted.limited_by = LimitedBy::Downstream;
        }
        let recommended = Recommended { replicas: wanted.replicas, keep: wanted.keep };
        behavior::remember(&mut state.memory, seen.now_millis, recommended);
        self.act(state, wanted)
    }

    /// What is done with what the figures ask for.
    fn act(&self, state: &mut State, mut wanted: Wanted) -> Decision {
        let (seen, spec) = (self.seen, self.settings.spec());
        let window = ((WINDOW_STARTS * state.learned.start()) as u64)
            .clamp(WINDOW_MILLIS_MIN, WINDOW_MILLIS_MAX)
            .max(spec.behavior.scale_down.stabilization_millis);
        wanted.inputs.keep_most = behavior::most(&state.memory, seen.now_millis, window, wanted.keep);
        if let Some(idle_millis) = self.idle_for(state) {
            return self.rest(state, wanted, idle_millis);
        }
        if seen.replicas == 0 {
            let to = wanted.replicas;
            let reason = Reason::Woke { to, backlog: seen.backlog() };
            return Decision { again_millis: SOON_MILLIS, ..wanted.decision(to, reason) };
        }
        if seen.replicas < spec.min_replicas {
            let to = wanted.replicas.max(spec.min_replicas);
            return wanted.decision(to, Reason::OutOfBounds { from: seen.replicas, to });
        }
        if wanted.replicas > seen.replicas {
            self.grow(state, wanted)
        } else if wanted.keep < seen.replicas {
            self.shrink(state, wanted, window)
        } else {
            state.memory.drain = None;
            let _ = self.follow_calm(state, &wanted);
            let (need, replicas) = (wanted.inputs.need, seen.replicas);
            let reason = if wanted.limited_by == LimitedBy::None {
                Reason::Right { demand_per_second: wanted.inputs.demand_per_second, need, replicas }
            } else {
                Reason::AtLimit { need, replicas }
            };
            wanted.decision(replicas, reason)
        }
    }

    fn grow(&self, state: &mut State, mut wanted: Wanted) -> Decision {
        let (seen, rules) = (self.seen, &self.settings.spec().behavior.scale_up);
        let from = seen.replicas;
        state.memory.drain = None;
        let _ = self.follow_calm(state, &wanted);
        if let Some(until_millis) = guard::held_until(state, seen.now_millis) {
            wanted.limited_by = LimitedBy::Downstream;
            return wanted.decision(from, Reason::HeldDownstream { until_millis });
        }
        let memory = &state.memory;
        let stable = behavior::least(memory, seen.now_millis, rules.stabilization_millis, wanted.replicas);
        let to = stable.min(behavior::up_limit(memory, seen.now_millis, from, rules)).max(from);
        if to < wanted.replicas {
            wanted.limited_by = LimitedBy::Policy;
        }
        if to == from {
            let reason = Reason::HeldByPolicy { wanted: wanted.replicas };
            return wanted.decision(from, reason);
        }
        guard::try_out(state, seen, wanted.open_per_second);
        let reason = if wanted.doubling {
            Reason::Doubling { from, to }
        } else {
            Reason::ScaleUp { from, to, need: wanted.inputs.need }
        };
        wanted.decision(to, reason)
    }

    fn shrink(&self, state: &mut State, mut wanted: Wanted, window: u64) -> Decision {
        let (seen, spec) = (self.seen, self.settings.spec());
        let (from, fewer) = (seen.replicas, wanted.keep);
        let calm = self.follow_calm(state, &wanted);
        shrink::spare(&mut state.memory, seen, wanted.keep);
        if state.memory.drain.is_none() {
            let to = if from > spec.max_replicas {
                spec.max_replicas
            } else {
                match self.step(state, &wanted, calm, window) {
                    Ok(to) => to,
                    Err(because) => {
                        if because == Because::Policy {
                            wanted.limited_by = LimitedBy::Policy;
                        }
                        return wanted.decision(from, Reason::NotYetFewer { wanted: fewer, because });
                    }
                }
            };
            shrink::begin(&mut state.memory, seen, to);
        }
        self.drain(state, wanted)
    }

    /// Waits for those who go, or lets them go.
    fn drain(&self, state: &mut State, wanted: Wanted) -> Decision {
        let (seen, from) = (self.seen, self.seen.replicas);
        let progress = shrink::progress(&state.memory, seen, self.settings.spec().drain_timeout_millis);
        let Some(drain) = state.memory.drain.clone() else {
            return wanted.decision(from, Reason::NotYetFewer { wanted: from, because: Because::Window });
        };
        let (replicas, reason) = match progress {
            Draining::InFlight(in_flight) => {
                let members = drain.names.len() as u32;
                (from, Reason::Draining { members, in_flight, to: drain.replicas })
            }
            Draining::Done | Draining::Nobody => {
                state.memory.drain = None;
                (drain.replicas, Reason::ScaleIn { from, to: drain.replicas })
            }
        };
        let again_millis = SOON_MILLIS;
        Decision { draining: drain.names, again_millis, ..wanted.decision(replicas, reason) }
    }

    /// To how few replicas it may go now, or why not.
    fn step(
        &self,
        state: &State,
        wanted: &Wanted,
        calm: Result<u64, Because>,
        window: u64,
    ) -> Result<u32, Because> {
        let (seen, memory) = (self.seen, &state.memory);
        let (from, rules) = (seen.replicas, &self.settings.spec().behavior.scale_down);
        let now = seen.now_millis;
        let calm_since = calm?;
        let watched = now.saturating_sub(memory.since_millis.unwrap_or(now));
        let enough = wanted.inputs.keep_most;
        if watched < window || enough >= from || now.saturating_sub(calm_since) < rules.stabilization_millis {
            return Err(Because::Window);
        }
        let between = rules.stabilization_millis.max((STEP_PAUSES * state.learned.pause()) as u64);
        let last = memory.changes.iter().rev().find(|change| change.what < 0);
        if last.is_some_and(|last| now.saturating_sub(last.millis) < between) {
            return Err(Because::LastStep);
        }
        let to = enough.max(behavior::down_limit(memory, now, from, rules));
        if to >= from { Err(Because::Policy) } else { Ok(to) }
    }

    /// Since when all is well enough to think of fewer replicas, or why it isn't.
    fn follow_calm(&self, state: &mut State, wanted: &Wanted) -> Result<u64, Because> {
        let late = match self.settings.target() {
            Target::Delay(target) => {
                wanted.inputs.oldest_age_millis as f64 > CALM_SHARE * target.millis as f64
            }
            Target::BacklogPerReplica(_) => false,
        };
        let unknown =
            matches!(self.settings.target(), Target::Delay(_)) && wanted.inputs.capacity_per_second.is_none();
        let unrest = if unknown {
            Some(Because::Learning)
        } else if late {
            Some(Because::Delay)
        } else if self.starting(state) > 0 {
            Some(Because::Starting)
        } else if self.seen.rebalancing {
            Some(Because::Rebalancing)
        } else {
            None
        };
        match unrest {
            Some(because) => {
                state.memory.calm_since_millis = None;
                Err(because)
            }
            None => Ok(*state.memory.calm_since_millis.get_or_insert(self.seen.now_millis)),
        }
    }

    /// Replicas that were asked for and will work soon.
    fn starting(&self, state: &State) -> u32 {
        let seen = self.seen;
        let patience = (START_TIMES * state.learned.start()).max(START_MILLIS_MIN) as u64;
        let works = |name: &str| seen.members.iter().any(|member| member.name == name);
        let living = seen.pods.iter().filter(|pod| !pod.terminating).count();
        let mut starting = (seen.replicas as usize).saturating_sub(living);
        for pod in seen.pods.iter().filter(|pod| !pod.terminating && !works(&pod.name)) {
            starting += usize::from(seen.now_millis.saturating_sub(pod.created_millis) < patience);
        }
        // Where pods aren't told, members are counted.
        if seen.pods.is_empty() {
            starting = (seen.replicas as usize).saturating_sub(seen.members.len());
        }
        u32::try_from(starting).unwrap_or(u32::MAX)
    }

    /// Old figures: nothing is done until the fallback is due.
    fn blind(&self, state: &mut State) -> Decision {
        let (seen, spec) = (self.seen, self.settings.spec());
        state.memory.drain = None;
        state.memory.calm_since_millis = None;
        state.memory.idle_since_millis = None;
        let stale_millis = seen.stale_millis;
        let Some(fallback) = spec.fallback.filter(|fallback| stale_millis >= fallback.after_millis) else {
            return self.leave(state, Reason::Stale { stale_millis });
        };
        let replicas = match fallback.behavior {
            FallbackBehavior::CurrentReplicas => seen.replicas,
            FallbackBehavior::Static { replicas } => replicas,
            FallbackBehavior::CurrentReplicasIfHigher { replicas } => replicas.max(seen.replicas),
        };
        let decision = self.leave(state, Reason::Fallback { stale_millis, replicas });
        Decision { replicas, recommended: replicas, ..decision }
    }

    /// Nothing to do for anybody: no replicas.
    fn rest(&self, state: &mut State, wanted: Wanted, idle_millis: u64) -> Decision {
        state.memory.drain = None;
        let reason =
            if self.seen.replicas == 0 { Reason::Asleep } else { Reason::FellAsleep { idle_millis } };
        Decision { recommended: 0, ..wanted.decision(0, reason) }
    }

    /// How long nothing has come, if that is long enough to sleep, or the group sleeps already.
    fn idle_for(&self, state: &State) -> Option<u64> {
        let since = state.memory.idle_since_millis?;
        let idle_millis = self.seen.now_millis.saturating_sub(since);
        if self.seen.replicas == 0 {
            return Some(idle_millis);
        }
        let zero = self.settings.spec().scale_to_zero?;
        (idle_millis >= zero.idle_millis).then_some(idle_millis)
    }

    fn follow_idleness(&self, state: &mut State) {
        let (seen, memory) = (self.seen, &mut state.memory);
        let came = memory.last.as_ref().is_some_and(|last| {
            let before = last.partitions.iter().map(|(appended, _)| *appended);
            seen.partitions.iter().zip(before).any(|(partition, before)| partition.appended != before)
        });
        if came || seen.backlog() > 0 || seen.in_flight() > 0 {
            memory.idle_since_millis = None;
        } else {
            memory.idle_since_millis.get_or_insert(seen.now_millis);
        }
    }

    /// No action.
    fn leave(&self, state: &State, reason: Reason) -> Decision {
        let wanted = Wanted {
            replicas: self.seen.replicas,
            keep: self.seen.replicas,
            limited_by: LimitedBy::None,
            doubling: false,
            inputs: self.inputs(state, &Need::default()),
            stuck: Vec::new(),
            open_per_second: 0.0,
        };
        wanted.decision(self.seen.replicas, reason)
    }

    fn inputs(&self, state: &State, need: &Need) -> Inputs {
        Inputs {
            demand_per_second: need.demand_per_second,
            capacity_per_second: state.learned.capacity_per_second,
            backlog: need.backlog,
            backlog_ahead: need.backlog_ahead,
            oldest_age_millis: need.oldest_age_millis as u64,
            remaining_millis: need.remaining_millis,
            start_millis: state.learned.start(),
            pause_millis: state.learned.pause(),
            needs: need.keep.clone(),
            need: need.total(),
            busiest: 0.0,
            keep_most: 0,
            members: u32::try_from(self.seen.members.len()).unwrap_or(u32::MAX),
            starting: self.starting(state),
            busy_share: state.memory.busy_share,
        }
    }
}
