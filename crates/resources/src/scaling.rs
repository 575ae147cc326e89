//! What a consumer group's words on scaling mean, checked: plain data for whoever scales. Brokers have no use for it.

use std::ops::RangeInclusive;

use pondage_model::limits;

use crate::{
    autoscaling::{
        AutoscalingMode, AutoscalingSpec, AutoscalingTarget, FallbackBehavior, FallbackSpec, PolicyKind,
        ScaleTargetReference, ScalingRules, SelectPolicy, ServiceObjective,
    },
    check::Checks,
    duration::Duration,
    error::shown,
    schema,
};

/// What scales the consumers of a group, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaling {
    /// Whether it is done or told.
    pub mode: ActiveMode,
    /// The workload.
    pub scale_target: ScaleTarget,
    /// The fewest replicas, at most [`Self::replicas_max`]. It is 0 exactly with [`Self::idle_millis_to_zero`].
    pub replicas_min: u32,
    /// The most replicas, 1 to [`limits::CONSUMER_REPLICAS_MAX`].
    pub replicas_max: u32,
    /// What is aimed at.
    pub goal: ScalingGoal,
    /// How fast replicas come.
    pub scale_up: Pace,
    /// How fast they go.
    pub scale_down: Pace,
    /// How long a replica that is to go may take for what it has, in milliseconds.
    pub drain_millis: u64,
    /// After how many idle milliseconds the last replica goes; `None` keeps it.
    pub idle_millis_to_zero: Option<u64>,
    /// What is done without figures; `None` leaves replicas as they are.
    pub fallback: Option<Fallback>,
}

/// What autoscaling that is not disabled does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActiveMode {
    /// It tells.
    Recommend,
    /// It scales.
    Direct,
}

/// The workload of a group's consumers, in the group's namespace. Its parts are fit for the path of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleTarget {
    /// Its group and version, such as `apps/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingGoal {
    /// The oldest unread message is no older than this.
    Delay {
        /// Its age, in milliseconds.
        millis: u64,
        /// The part of its time that a replica works, 1 to 100.
        utilization_percent: u32,
    },
    /// So many unread messages for each replica.
    Backlog {
        /// Messages, at least 1.
        per_replica: u32,
    },
}

/// How fast replicas come, or go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How far it is looked back for the fewest (coming) or most (going) replicas that were needed, in milliseconds.
    pub window_millis: u64,
    /// Which policy counts.
    pub select: SelectPolicy,
    /// Limits of the change; without any there is none.
    pub policies: Vec<PacePolicy>,
}

/// A limit of the change within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacePolicy {
    /// What [`Self::value`] counts.
    pub kind: PolicyKind,
    /// So many replicas or percent, at least 1.
    pub value: u32,
    /// The time, in milliseconds.
    pub period_millis: u64,
}

/// What is done without figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// How old the last figures are by then, in milliseconds.
    pub after_millis: u64,
    /// How many replicas there are from then on.
    pub replicas: FallbackReplicas,
}

/// How many replicas there are without figures. Numbers lie between the fewest and the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackReplicas {
    /// So many.
    Exactly(u32),
    /// As many as there are.
    Current,
    /// As many as there are, but no fewer than this.
    AtLeast(u32),
}

/// What is taken where nothing is said.
const API_VERSION: &str = "apps/v1";
const KIND: &str = "Deployment";
const REPLICAS_MIN: u32 = 1;
const UTILIZATION_PERCENT: u32 = 80;
const UP_WINDOW_MILLIS: u64 = 0;
const DOWN_WINDOW_MILLIS: u64 = 30_000;
const DRAIN_MILLIS: u64 = 60_000;
const IDLE_MILLIS: u64 = 300_000;
const FALLBACK_MILLIS: u64 = 60_000;

const TIMES: RangeInclusive<u64> = limits::SCALING_MILLIS_MIN..=limits::SCALING_MILLIS_MAX;
const ONE_GOAL: &str = "needs exactly one of delay and backlogPerReplica";

/// The fields of a group's spec that say how its consumers are scaled.
pub(crate) struct ScalingSpec<'a> {
    pub(crate) scale_target: Option<&'a ScaleTargetReference>,
    pub(crate) slo: Option<&'a ServiceObjective>,
    pub(crate) autoscaling: Option<&'a AutoscalingSpec>,
}

impl ScalingSpec<'_> {
    /// The workload that they name.
    pub(crate) fn scale_target(&self, checks: &mut Checks) -> Option<ScaleTarget> {
        self.scale_target?.checked(checks)
    }

    /// The age of the oldest unread message that is still well, in milliseconds.
    pub(crate) fn delay_millis_max(&self, checks: &mut Checks) -> Option<u64> {
        let promised = self.slo.and_then(|slo| slo.max_delay);
        let promised = checks.duration("spec.slo.maxDelay", promised, TIMES);
        let aimed_at = self.autoscaling.and_then(|spec| spec.target.delay).map(Duration::millis);
        if let (Some(promised), Some(aimed_at)) = (promised, aimed_at)
            && aimed_at > promised
        {
            let [promised, aimed_at] = [promised, aimed_at].map(Duration::from_millis);
            checks.wrong(
                "spec.autoscaling.target.delay",
                format!("{aimed_at} is more than slo.maxDelay, which is {promised}"),
            );
        }
        promised.or(aimed_at)
    }

    /// How they scale; `None` if they don't. What is disabled is checked all the same.
    pub(crate) fn autoscaling(&self, checks: &mut Checks) -> Option<Autoscaling> {
        let scale_target = self.scale_target(checks);
        self.delay_millis_max(checks);
        let spec = self.autoscaling?;
        let mode = match spec.mode.unwrap_or_default() {
            AutoscalingMode::Disabled => None,
            AutoscalingMode::Recommend => Some(ActiveMode::Recommend),
            AutoscalingMode::Direct => Some(ActiveMode::Direct),
        };
        if mode.is_some() && self.scale_target.is_none() {
            checks.missing("spec.scaleTargetRef", "is required, unless autoscaling.mode is Disabled");
        }
        let (replicas_min, replicas_max) = spec.replicas(checks);
        let goal = spec.target.goal(checks);
        let behavior = spec.behavior.clone().unwrap_or_default();
        let pace = |checks: &mut Checks, name: &str, rules: Option<&ScalingRules>, window_millis| {
            let field = format!("spec.autoscaling.behavior.{name}");
            rules.cloned().unwrap_or_default().pace(checks, &field, window_millis)
        };
        let scale_up = pace(checks, "scaleUp", behavior.scale_up.as_ref(), UP_WINDOW_MILLIS);
        let scale_down = pace(checks, "scaleDown", behavior.scale_down.as_ref(), DOWN_WINDOW_MILLIS);
        let drain = behavior.drain.and_then(|drain| drain.timeout);
        let drain = checks.duration(
            "spec.autoscaling.behavior.drain.timeout",
            drain,
            0..=limits::SCALING_DRAIN_MILLIS_MAX,
        );
        let idle_millis_to_zero = spec.idle_millis_to_zero(checks, replicas_min);
        let fallback =
            spec.fallback.as_ref().and_then(|fallback| fallback.checked(checks, replicas_min, replicas_max));
        Some(Autoscaling {
            mode: mode?,
            scale_target: scale_target?,
            replicas_min,
            replicas_max,
            goal: goal?,
            scale_up,
            scale_down,
            drain_millis: drain.unwrap_or(DRAIN_MILLIS),
            idle_millis_to_zero,
            fallback,
        })
    }
}

impl ScaleTargetReference {
    fn checked(&self, checks: &mut Checks) -> Option<ScaleTarget> {
        let api_version = self.api_version.as_deref().unwrap_or(API_VERSION);
        let kind = self.kind.as_deref().unwrap_or(KIND);
        let name = self.name.as_str();
        let mut is_right = true;
        let mut refuse = |field: &str, problem: String| {
            checks.wrong(&format!("spec.scaleTargetRef.{field}"), problem);
            is_right = false;
        };
        if !schema::is_object_api_version(api_version) {
            refuse(
                "apiVersion",
                format!("{} is not an API version such as {API_VERSION}", shown(api_version)),
            );
        } else if api_version.starts_with("pondage.io/") {
            refuse(
                "apiVersion",
                format!("{} is of Pondage itself; name what runs the consumers", shown(api_version)),
            );
        }
        if !schema::is_object_kind(kind) {
            refuse("kind", format!("{} is not a kind such as {KIND}", shown(kind)));
        }
        if !schema::is_object_name(name) {
            let problem =
                "is not a name of an object in Kubernetes: 1 to 253 lower-case letters, digits, '-' and '.'";
            refuse("name", format!("{} {problem}", shown(name)));
        }
        is_right.then(|| ScaleTarget {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl AutoscalingSpec {
    /// The fewest and the most replicas.
    fn replicas(&self, checks: &mut Checks) -> (u32, u32) {
        let most = limits::CONSUMER_REPLICAS_MAX;
        let min = checks.number("spec.autoscaling.minReplicas", self.min_replicas, 0..=most.into());
        let max = checks.number("spec.autoscaling.maxReplicas", Some(self.max_replicas), 1..=most.into());
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            let problem = format!("{min} is more than maxReplicas, which is {max}");
            checks.wrong("spec.autoscaling.minReplicas", problem);
            // Nothing fits between them; one look at a fallback's replicas is enough.
            return (min, most);
        }
        (min.unwrap_or(REPLICAS_MIN), max.unwrap_or(most))
    }

    fn idle_millis_to_zero(&self, checks: &mut Checks, replicas_min: u32) -> Option<u64> {
        const FIELD: &str = "spec.autoscaling.scaleToZero";
        let Some(to_zero) = &self.scale_to_zero else {
            if replicas_min == 0 {
                checks.missing(FIELD, "is required with minReplicas: 0, which is never reached without it");
            }
            return None;
        };
        match self.min_replicas {
            None => checks.missing(FIELD, "needs minReplicas: 0"),
            Some(_) if replicas_min > 0 => checks.wrong(FIELD, "needs minReplicas: 0"),
            Some(_) => {}
        }
        Some(checks.duration(&format!("{FIELD}.after"), to_zero.after, TIMES).unwrap_or(IDLE_MILLIS))
    }
}

impl AutoscalingTarget {
    fn goal(&self, checks: &mut Checks) -> Option<ScalingGoal> {
        const FIELD: &str = "spec.autoscaling.target";
        let delay = checks.duration(&format!("{FIELD}.delay"), self.delay, TIMES);
        let utilization =
            checks.number(&format!("{FIELD}.utilizationPercent"), self.utilization_percent, 1..=100);
        let backlog_field = format!("{FIELD}.backlogPerReplica");
        let backlog = checks.number(&backlog_field, self.backlog_per_replica, 1..=i32::MAX.into());
        if self.backlog_per_replica.is_some() && self.utilization_percent.is_some() {
            let problem = "goes with delay; leave it out of a target with backlogPerReplica";
            checks.wrong(&format!("{FIELD}.utilizationPercent"), problem);
        }
        match (self.delay, self.backlog_per_replica) {
            (None, None) => {
                checks.missing(FIELD, ONE_GOAL);
                None
            }
            (Some(_), Some(_)) => {
                checks.wrong(&backlog_field, format!("can't stand beside delay: a target {ONE_GOAL}"));
                None
            }
            (Some(_), None) => Some(ScalingGoal::Delay {
                millis: delay?,
                utilization_percent: utilization.unwrap_or(UTILIZATION_PERCENT),
            }),
            (None, Some(_)) => Some(ScalingGoal::Backlog { per_replica: backlog? }),
        }
    }
}

impl ScalingRules {
    fn pace(&self, checks: &mut Checks, field: &str, window_millis: u64) -> Pace {
        let window_field = format!("{field}.stabilizationWindowSeconds");
        let window = checks.number::<u64>(
            &window_field,
            self.stabilization_window_seconds,
            0..=limits::SCALING_WINDOW_SECONDS_MAX.into(),
        );
        let policies = self.policies.as_deref().unwrap_or_default();
        let max = limits::SCALING_POLICIES_MAX;
        let policies_field = format!("{field}.policies");
        if self.policies.is_some() && policies.is_empty() {
            checks.missing(&policies_field, format!("names no policy; 1 to {max} are allowed"));
        } else if policies.len() > max {
            let problem = format!("names {} policies; 1 to {max} are allowed", policies.len());
            checks.wrong(&policies_field, problem);
        }
        let mut policy = |(at, policy): (usize, &crate::autoscaling::ScalingPolicy)| {
            let field = format!("{field}.policies[{at}]");
            let value = checks.number(&format!("{field}.value"), Some(policy.value), 1..=i32::MAX.into());
            let period = checks.number::<u64>(
                &format!("{field}.periodSeconds"),
                Some(policy.period_seconds),
                1..=limits::SCALING_PERIOD_SECONDS_MAX.into(),
            );
            Some(PacePolicy { kind: policy.kind, value: value?, period_millis: period? * 1_000 })
        };
        Pace {
            window_millis: window.map_or(window_millis, |seconds| seconds * 1_000),
            select: self.select_policy.unwrap_or_default(),
            policies: policies.iter().take(max).enumerate().filter_map(&mut policy).collect(),
        }
    }
}

impl FallbackSpec {
    fn checked(&self, checks: &mut Checks, replicas_min: u32, replicas_max: u32) -> Option<Fallback> {
        const FIELD: &str = "spec.autoscaling.fallback.replicas";
        let after = checks.duration("spec.autoscaling.fallback.after", self.after, TIMES);
        let behavior = self.behavior.unwrap_or_default();
        let replicas = if behavior == FallbackBehavior::CurrentReplicas {
            if self.replicas.is_some() {
                checks.wrong(FIELD, "says nothing with behavior: CurrentReplicas; leave it out");
            }
            FallbackReplicas::Current
        } else {
            if self.replicas.is_none() {
                checks.missing(FIELD, "is required, unless behavior is CurrentReplicas");
            }
            let replicas = self.replicas?;
            let fits = |replicas: &u32| (replicas_min..=replicas_max).contains(replicas);
            let Some(replicas) = u32::try_from(replicas).ok().filter(fits) else {
                let allowed =
                    format!("minReplicas to maxReplicas, which are {replicas_min} to {replicas_max}");
                checks.wrong(FIELD, format!("{replicas} is outside of {allowed}"));
                return None;
            };
            match behavior {
                FallbackBehavior::CurrentReplicasIfHigher => FallbackReplicas::AtLeast(replicas),
                _ => FallbackReplicas::Exactly(replicas),
            }
        };
        Some(Fallback { after_millis: after.unwrap_or(FALLBACK_MILLIS), replicas })
    }
}
