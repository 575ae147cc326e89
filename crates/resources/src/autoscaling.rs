//! What a consumer group says of scaling its consumers. What it means is checked in [`crate::scaling`].
//!
//! `behavior` and `scaleTargetRef` are written as those of Kubernetes' HorizontalPodAutoscaler (`autoscaling/v2`), the
//! words of `fallback` are those of KEDA's ScaledObject.

use kube::KubeSchema;
use pondage_model::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    duration::Duration,
    rules,
    schema::{OBJECT_API_VERSION, OBJECT_API_VERSION_MAX, OBJECT_KIND, OBJECT_NAME},
};

/// Names the workload of a group's consumers: anything with a scale subresource.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::scales_consumers())]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetReference {
    /// Its API version; `apps/v1` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = OBJECT_API_VERSION_MAX), regex(pattern = OBJECT_API_VERSION))]
    pub api_version: Option<String>,
    /// Its kind; `Deployment` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_KIND))]
    pub kind: Option<String>,
    /// Its `metadata.name`, in the group's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
}

/// What a group promises.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceObjective {
    /// The age of the oldest unread message up to which DelayWithinTarget is true; `autoscaling.target.delay` by default. It is told of a group whose `autoscaling.mode` is Recommend or Direct.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(limits::SCALING_MILLIS_MIN, limits::SCALING_MILLIS_MAX))]
    pub max_delay: Option<Duration>,
}

/// How many consumers a group has, and how that changes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::not_above("minReplicas", "maxReplicas"))]
#[x_kube(validation = rules::zero_replicas())]
#[x_kube(validation = rules::fallback_fits())]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingSpec {
    /// Whether the workload is scaled; `Direct` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<AutoscalingMode>,
    /// The fewest replicas; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::CONSUMER_REPLICAS_MAX))]
    pub min_replicas: Option<i64>,
    /// The most replicas.
    #[schemars(range(min = 1, max = limits::CONSUMER_REPLICAS_MAX))]
    pub max_replicas: i64,
    /// What is aimed at.
    pub target: AutoscalingTarget,
    /// How fast replicas come and go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<ScalingBehavior>,
    /// When the last replica goes; exactly with `minReplicas: 0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_to_zero: Option<ScaleToZero>,
    /// What is done when the brokers' figures can't be read; left out, replicas stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackSpec>,
}

/// Whether the workload is scaled (`Direct`, the default), the status tells what would be done (`Recommend`), or
/// nothing is done (`Disabled`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AutoscalingMode {
    /// Nothing is done.
    Disabled,
    /// The status tells what would be done.
    Recommend,
    /// The workload is scaled.
    #[default]
    Direct,
}

/// What is aimed at: a delay, or a backlog per replica.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::one_target())]
#[x_kube(validation = rules::utilization_of_a_delay())]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingTarget {
    /// The age that the oldest unread message shall not exceed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(limits::SCALING_MILLIS_MIN, limits::SCALING_MILLIS_MAX))]
    pub delay: Option<Duration>,
    /// The part of its time that a replica shall work, in percent; 80 by default, and only with `delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub utilization_percent: Option<i64>,
    /// Unread messages per replica, whatever their age.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = i32::MAX))]
    pub backlog_per_replica: Option<i64>,
}

/// How fast replicas come and go.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingBehavior {
    /// How fast they come; at once by default, and as many as are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// How fast they go; by default those that nothing needed for 30 seconds, or for twice the time that a pod needs to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
    /// How a replica goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// How fast replicas come, or go.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingRules {
    /// For how many seconds a change must have been needed; 0 by default in `scaleUp`, and 30 in `scaleDown`, where twice the time that a pod needs to start is the least (at most 120).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::SCALING_WINDOW_SECONDS_MAX))]
    pub stabilization_window_seconds: Option<i64>,
    /// Which of the policies counts; `Max` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,
    /// How many replicas may change within a time; no limit if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::SCALING_POLICIES_MAX))]
    pub policies: Option<Vec<ScalingPolicy>>,
}

/// Which of the policies counts: what allows the most (`Max`, the default) or the least (`Min`); with `Disabled` no
/// replica comes, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SelectPolicy {
    /// The one that allows the greatest change.
    #[default]
    Max,
    /// The one that allows the least.
    Min,
    /// None: no replica comes, or goes.
    Disabled,
}

/// How many replicas may change within a time.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// What `value` counts.
    #[serde(rename = "type")]
    pub kind: PolicyKind,
    /// How many replicas, or percent, may change within the period.
    #[schemars(range(min = 1, max = i32::MAX))]
    pub value: i64,
    /// The period, in seconds.
    #[schemars(range(min = 1, max = limits::SCALING_PERIOD_SECONDS_MAX))]
    pub period_seconds: i64,
}

/// What `value` counts: replicas (`Pods`), or percent of those at the period's start (`Percent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum PolicyKind {
    /// Replicas.
    #[default]
    Pods,
    /// Percent of the replicas that there were at the period's start.
    Percent,
}

/// How a replica goes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
pub struct Drain {
    /// How long a replica that is to go may take for the messages that it has, without new ones; 1m by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(0, limits::SCALING_DRAIN_MILLIS_MAX))]
    pub timeout: Option<Duration>,
}

/// When the last replica goes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
pub struct ScaleToZero {
    /// How long there was nothing to do: no backlog, nothing in flight, nothing new; 5m by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(limits::SCALING_MILLIS_MIN, limits::SCALING_MILLIS_MAX))]
    pub after: Option<Duration>,
}

/// What is done when the brokers' figures can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::fallback_replicas())]
pub struct FallbackSpec {
    /// How old the last figures are by then; 1m by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(limits::SCALING_MILLIS_MIN, limits::SCALING_MILLIS_MAX))]
    pub after: Option<Duration>,
    /// How many replicas; required unless `behavior` is `CurrentReplicas`, which takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::CONSUMER_REPLICAS_MAX))]
    pub replicas: Option<i64>,
    /// What `replicas` means; `Static` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<FallbackBehavior>,
}

/// What is done: `replicas` (`Static`, the default), what there is (`CurrentReplicas`), or the greater of both
/// (`CurrentReplicasIfHigher`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum FallbackBehavior {
    /// So many.
    #[default]
    Static,
    /// As many as there are.
    CurrentReplicas,
    /// At least so many.
    CurrentReplicasIfHigher,
}
