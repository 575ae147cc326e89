//! What a group's owner asked for, checked.

use serde::{Deserialize, Serialize};

/// The longest time that any setting may name, in milliseconds: a week.
pub const MILLIS_MAX: u64 = 7 * 24 * 3_600_000;
/// Most replicas that may be asked for.
pub const REPLICAS_MAX: u32 = 10_000;
/// Most policies per direction.
pub const POLICIES_MAX: usize = 16;
/// The longest stabilization window, in milliseconds, as Kubernetes has it: an hour.
pub const STABILIZATION_MILLIS_MAX: u64 = 3_600_000;
/// The longest period of a policy, in milliseconds, as Kubernetes has it: half an hour.
pub const PERIOD_MILLIS_MAX: u64 = 1_800_000;

/// How a group is to be scaled. Nobody acts on it before [`Spec::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// Fewest replicas. 0 lets the group sleep, if [`Spec::scale_to_zero`] says when.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// How old the oldest unprocessed message may get.
    pub delay: Option<DelayTarget>,
    /// Instead of a delay: messages of backlog per replica, as KEDA counts.
    pub backlog_per_replica: Option<u64>,
    /// How fast it may go up and down.
    pub behavior: Behavior,
    /// How long a member may finish what it has in its hands before its pod goes, in milliseconds.
    pub drain_timeout_millis: u64,
    /// When the group sleeps; `None`: never, one replica stays.
    pub scale_to_zero: Option<ScaleToZero>,
    /// What happens when the brokers' figures can't be read for long; `None`: the replicas stay.
    pub fallback: Option<Fallback>,
}

/// The target of the drain-time controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelayTarget {
    /// The age of the oldest unprocessed message that shall not be passed, in milliseconds.
    pub millis: u64,
    /// How much of a member's time may be planned with, in percent.
    pub utilization_percent: u32,
}

/// How many percent of a member's time are planned with, if nothing else is asked for.
pub const UTILIZATION_PERCENT_DEFAULT: u32 = 80;

/// How fast it may go, as a HorizontalPodAutoscaler has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behavior {
    /// Upwards: by default at once and without bounds.
    pub scale_up: Rules,
    /// Downwards: by default after half a minute and without bounds.
    pub scale_down: Rules,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rules {
    /// Upwards, the lowest recommendation of so many milliseconds counts; downwards, the highest.
    pub stabilization_millis: u64,
    /// How much may change within a time; none: no bound.
    pub policies: Vec<Policy>,
    /// Which policy counts.
    pub select: Select,
}

/// A bound on change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// What the value counts.
    pub kind: PolicyKind,
    /// How much may change within the period.
    pub value: u32,
    /// The period in milliseconds.
    pub period_millis: u64,
}

/// What a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyKind {
    /// Pods.
    Pods,
    /// Percent of the replicas at the start of the period.
    Percent,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// The one that allows most change.
    #[default]
    Max,
    /// The one that allows least change.
    Min,
    /// No change in this direction at all.
    Disabled,
}

/// When a group sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleToZero {
    /// After so many milliseconds without arrivals, backlog and work in flight.
    pub idle_millis: u64,
}

/// What happens when the brokers' figures can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fallback {
    /// After so many milliseconds of old figures; until then the replicas stay.
    pub after_millis: u64,
    /// What happens then.
    pub behavior: FallbackBehavior,
}

/// What a fallback does; the words are KEDA's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FallbackBehavior {
    /// The replicas stay as they are.
    CurrentReplicas,
    /// So many replicas, even if that is less than now.
    Static {
        /// The number.
        replicas: u32,
    },
    /// So many replicas, if that is more than now.
    CurrentReplicasIfHigher {
        /// The number.
        replicas: u32,
    },
}

impl Default for Spec {
    /// One to ten replicas and no target: the target has to be named.
    fn default() -> Self {
        Self {
            min_replicas: 1,
            max_replicas: 10,
            delay: None,
            backlog_per_replica: None,
            behavior: Behavior::default(),
            drain_timeout_millis: 30_000,
            scale_to_zero: None,
            fallback: None,
        }
    }
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            scale_up: Rules::default(),
            scale_down: Rules { stabilization_millis: 30_000, ..Rules::default() },
        }
    }
}

/// Why settings can't be, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Both targets or none.
    #[error("name exactly one target: either a delay or backlogPerReplica")]
    Targets,
    /// The bounds of the replicas.
    #[error(
        "minReplicas is {min} and maxReplicas {max}: maxReplicas must be at least 1 and not below minReplicas"
    )]
    Replicas {
        /// Fewest.
        min: u32,
        /// Most.
        max: u32,
    },
    /// A group that sleeps and doesn't.
    #[error("scaleToZero needs minReplicas 0, not {min}: set it to 0, or leave scaleToZero out")]
    NeverZero {
        /// Fewest.
        min: u32,
    },
    /// A number that is out of its bounds.
    #[error("{field} is {value}: choose {least} to {most}")]
    OutOfBounds {
        /// Which one.
        field: &'static str,
        /// What was asked for.
        value: u64,
        /// The least that can be.
        least: u64,
        /// The most that can be.
        most: u64,
    },
    /// A fallback outside of the bounds.
    #[error(
        "the fallback wants {replicas} replicas: choose {min} to {max}, which are minReplicas and maxReplicas"
    )]
    FallbackReplicas {
        /// What was asked for.
        replicas: u32,
        /// Fewest.
        min: u32,
        /// Most.
        max: u32,
    },
}

/// A specification that can be acted on: the only way to one is [`Spec::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    spec: Spec,
    target: Target,
}

/// The one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A delay.
    Delay(DelayTarget),
    /// Messages of backlog per replica.
    BacklogPerReplica(u64),
}

impl Settings {
    /// What was asked for.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The target.
    pub fn target(&self) -> Target {
        self.target
    }
}

impl Spec {
    /// Looks whether this can be.
    pub fn check(self) -> Result<Settings, Refused> {
        let target = self.target()?;
        let (min, max) = (self.min_replicas, self.max_replicas);
        within("maxReplicas", u64::from(max), 0, u64::from(REPLICAS_MAX))?;
        if max == 0 || min > max {
            return Err(Refused::Replicas { min, max });
        }
        within("drainTimeout in milliseconds", self.drain_timeout_millis, 0, MILLIS_MAX)?;
        if let Some(zero) = self.scale_to_zero {
            if min > 0 {
                return Err(Refused::NeverZero { min });
            }
            within("scaleToZero's idle time in milliseconds", zero.idle_millis, 1_000, MILLIS_MAX)?;
        }
        if let Some(fallback) = self.fallback {
            within("the fallback's time in milliseconds", fallback.after_millis, 0, MILLIS_MAX)?;
            match fallback.behavior {
                FallbackBehavior::Static { replicas }
                | FallbackBehavior::CurrentReplicasIfHigher { replicas }
                    if replicas < min || replicas > max =>
                {
                    return Err(Refused::FallbackReplicas { replicas, min, max });
                }
                _ => {}
            }
        }
        self.behavior.scale_up.check()?;
        self.behavior.scale_down.check()?;
        Ok(Settings { spec: self, target })
    }

    fn target(&self) -> Result<Target, Refused> {
        match (self.delay, self.backlog_per_replica) {
            (Some(delay), None) => {
                within("the delay in milliseconds", delay.millis, 1_000, MILLIS_MAX)?;
                within("utilizationPercent", u64::from(delay.utilization_percent), 1, 100)?;
                Ok(Target::Delay(delay))
            }
            (None, Some(messages)) => {
                within("backlogPerReplica", messages, 1, u64::MAX)?;
                Ok(Target::BacklogPerReplica(messages))
            }
            _ => Err(Refused::Targets),
        }
    }
}

impl Rules {
    fn check(&self) -> Result<(), Refused> {
        within(
            "stabilizationWindow in milliseconds",
            self.stabilization_millis,
            0,
            STABILIZATION_MILLIS_MAX,
        )?;
        within("the number of policies", self.policies.len() as u64, 0, POLICIES_MAX as u64)?;
        for policy in &self.policies {
            within("a policy's value", u64::from(policy.value), 1, u64::from(u32::MAX))?;
            within("a policy's period in milliseconds", policy.period_millis, 1_000, PERIOD_MILLIS_MAX)?;
        }
        Ok(())
    }
}

fn within(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), Refused> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(Refused::OutOfBounds { field, value, least, most })
    }
}
