//! What a group asks for, in the controller's words. Pure.

use pondage_autoscale::{
    Behavior, DelayTarget, Fallback, FallbackBehavior, Policy, PolicyKind, Refused, Rules, ScaleToZero,
    Select, Settings, Spec,
};
use pondage_model::limits;
use pondage_resources::{
    Autoscaling, FallbackReplicas, Pace, PolicyKind as AskedKind, ScalingGoal, SelectPolicy,
};

// What the resource's checks let pass, the controller takes.
const _: () = {
    assert!(limits::SCALING_MILLIS_MAX <= pondage_autoscale::MILLIS_MAX);
    assert!(limits::CONSUMER_REPLICAS_MAX <= pondage_autoscale::REPLICAS_MAX);
    assert!(limits::SCALING_POLICIES_MAX <= pondage_autoscale::POLICIES_MAX);
    assert!(limits::SCALING_WINDOW_SECONDS_MAX as u64 * 1_000 <= pondage_autoscale::STABILIZATION_MILLIS_MAX);
    assert!(limits::SCALING_PERIOD_SECONDS_MAX as u64 * 1_000 <= pondage_autoscale::PERIOD_MILLIS_MAX);
};

/// The controller's settings, of what a group asks for.
///
/// # Errors
/// What the controller does not take; the resource's own checks refuse the same before.
pub fn scaling_settings(asked: &Autoscaling) -> Result<Settings, Refused> {
    let (delay, backlog_per_replica) = match asked.goal {
        ScalingGoal::Delay { millis, utilization_percent } => {
            (Some(DelayTarget { millis, utilization_percent }), None)
        }
        ScalingGoal::Backlog { per_replica } => (None, Some(per_replica.into())),
    };
    Spec {
        min_replicas: asked.replicas_min,
        max_replicas: asked.replicas_max,
        delay,
        backlog_per_replica,
        behavior: Behavior { scale_up: rules(&asked.scale_up), scale_down: rules(&asked.scale_down) },
        drain_timeout_millis: asked.drain_millis,
        scale_to_zero: asked.idle_millis_to_zero.map(|idle_millis| ScaleToZero { idle_millis }),
        fallback: asked.fallback.as_ref().map(|fallback| Fallback {
            after_millis: fallback.after_millis,
            behavior: match fallback.replicas {
                FallbackReplicas::Exactly(replicas) => FallbackBehavior::Static { replicas },
                FallbackReplicas::Current => FallbackBehavior::CurrentReplicas,
                FallbackReplicas::AtLeast(replicas) => FallbackBehavior::CurrentReplicasIfHigher { replicas },
            },
        }),
    }
    .check()
}

fn rules(pace: &Pace) -> Rules {
    let policies = pace.policies.iter().map(|policy| Policy {
        kind: match policy.kind {
            AskedKind::Pods => PolicyKind::Pods,
            AskedKind::Percent => PolicyKind::Percent,
        },
        value: policy.value,
        period_millis: policy.period_millis,
    });
    Rules {
        stabilization_millis: pace.window_millis,
        policies: policies.collect(),
        select: match pace.select {
            SelectPolicy::Max => Select::Max,
            SelectPolicy::Min => Select::Min,
            SelectPolicy::Disabled => Select::Disabled,
        },
    }
}
