//! What one object can say of itself: CEL rules of the schemas. Each has a message for people and, where the field is
//! not the rule's own, its path.

use kube::core::Rule;
use pondage_model::limits;

use crate::{duration::Duration, quantity::Quantity};

/// The longest duration that a field takes.
pub(crate) const LONGEST: u64 = limits::DURATION_MILLIS_MAX;

/// A field of the spec that is set once, or never.
pub(crate) fn immutable(field: &str) -> Rule {
    Rule::new(format!(
        "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    ))
    .message(format!("{field} can't be changed: delete the resource and make another one").as_str())
    .field_path(format!(".{field}"))
}

/// A field of the spec that stays what it is, be it written out or left out for its default.
pub(crate) fn immutable_with_default(field: &str, default: &str) -> Rule {
    let value = |of: &str| format!("(has({of}.{field}) ? {of}.{field} : '{default}')");
    Rule::new(format!("{} == {}", value("self"), value("oldSelf")))
        .message(format!("{field} can't be changed: delete the resource and make another one").as_str())
        .field_path(format!(".{field}"))
}

/// A number that only grows; left out it is `default`.
pub(crate) fn only_grows(field: &str, default: i64) -> Rule {
    let value = |of: &str| format!("(has({of}.{field}) ? {of}.{field} : {default})");
    Rule::new(format!("{} >= {}", value("self"), value("oldSelf")))
        .message(format!("{field} only grows; left out it is {default}").as_str())
        .field_path(format!(".{field}"))
}

/// Of two optional numbers the first is not above the second.
pub(crate) fn not_above(field: &str, other: &str) -> Rule {
    Rule::new(format!("!has(self.{field}) || !has(self.{other}) || self.{field} <= self.{other}"))
        .message(format!("{field} can't be more than {other}").as_str())
        .field_path(format!(".{field}"))
}

/// Of two optional durations the first is not longer than the second.
pub(crate) fn not_longer(field: &str, other: &str) -> Rule {
    Rule::new(format!(
        "!has(self.{field}) || !has(self.{other}) || duration(self.{field}) <= duration(self.{other})"
    ))
    .message(format!("{field} can't be more than {other}").as_str())
    .field_path(format!(".{field}"))
}

/// A duration from so many milliseconds to so many.
pub(crate) fn lasts(low_millis: u64, high_millis: u64) -> Rule {
    let [low, high] = [low_millis, high_millis].map(Duration::from_millis);
    Rule::new(format!("duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"))
        .message(format!("must be {low} to {high}").as_str())
}

/// A size from so many bytes to so many.
pub(crate) fn holds(low_bytes: u64, high_bytes: u64) -> Rule {
    let [low, high] = [low_bytes, high_bytes].map(Quantity::from_bytes);
    Rule::new(format!(
        "quantity(string(self)).compareTo(quantity('{low}')) >= 0 && \
         quantity(string(self)).compareTo(quantity('{high}')) <= 0"
    ))
    .message(format!("must be {low} to {high}").as_str())
}

/// A size that only grows, once it is given.
pub(crate) fn never_shrinks(field: &str) -> Rule {
    let value = |of: &str| format!("quantity(string({of}.{field}))");
    Rule::new(format!(
        "!has(oldSelf.{field}) || has(self.{field}) && {}.compareTo({}) >= 0",
        value("self"),
        value("oldSelf")
    ))
    .message(format!("{field} never shrinks").as_str())
    .field_path(format!(".{field}"))
}

/// The name in the cluster is `metadata.name`, which may be longer than names are, unless the spec gives another.
pub(crate) fn name_fits(field: &str) -> Rule {
    let max = limits::NAME_BYTES_MAX;
    let rule = format!("size(self.metadata.name) <= {max} || has(self.spec.{field})");
    Rule::new(rule).message(
        format!("metadata.name has more than {max} characters: give a shorter spec.{field}").as_str(),
    )
}

/// Retention by age, up to the longest duration.
pub(crate) fn retention() -> Rule {
    let longest = Duration::from_millis(LONGEST);
    Rule::new(format!("!has(self.duration) || duration(self.duration) <= duration('{longest}')"))
        .message(format!("duration must be 0s to {longest}").as_str())
        .field_path(".duration")
}

/// Delays, up to the longest duration.
pub(crate) fn delays() -> Rule {
    let longest = Duration::from_millis(LONGEST);
    let fits =
        |field: &str| format!("(!has(self.{field}) || duration(self.{field}) <= duration('{longest}'))");
    Rule::new(format!("{} && {}", fits("default"), fits("max")))
        .message(format!("default and max must be 0s to {longest}").as_str())
}

/// A backoff is a schedule or it grows, and then it says how.
pub(crate) fn one_backoff() -> Rule {
    Rule::new(
        "has(self.schedule) ? !has(self.initial) && !has(self.multiplier) && !has(self.max) \
         : has(self.initial) && has(self.max)",
    )
    .message("needs either schedule, or initial and max (and multiplier)")
}

/// Every wait of a backoff, up to the longest duration.
pub(crate) fn backoff_waits() -> Rule {
    let longest = Duration::from_millis(LONGEST);
    Rule::new(format!(
        "(!has(self.schedule) || self.schedule.all(wait, duration(wait) <= duration('{longest}'))) && \
         (!has(self.max) || duration(self.max) <= duration('{longest}'))"
    ))
    .message(format!("every wait must be 0s to {longest}").as_str())
}

/// The growth of a backoff, from 1 to 1000.
pub(crate) fn backoff_grows() -> Rule {
    Rule::new(
        "!has(self.multiplier) || (double(string(self.multiplier)) >= 1.0 && \
         double(string(self.multiplier)) <= 1000.0)",
    )
    .message("multiplier must be 1 to 1000")
    .field_path(".multiplier")
}

/// Messages that can never fail for good never get to a dead-letter queue.
pub(crate) fn dead_letters_need_failures() -> Rule {
    Rule::new("!has(self.deadLetter) || !has(self.maxDeliveries) || self.maxDeliveries > 0")
        .message("deadLetter needs maxDeliveries above 0: with 0 no message ever fails for good")
        .field_path(".deadLetter")
}

/// A queue names another one for its dead letters.
pub(crate) fn not_its_own_dead_letter_queue() -> Rule {
    Rule::new("!has(self.spec.deadLetter) || self.spec.deadLetter.queueRef.name != self.metadata.name")
        .message("a queue can't be its own dead-letter queue: name another one")
        .field_path(".spec.deadLetter.queueRef.name")
}

/// A group reads topics or a queue.
pub(crate) fn one_source() -> Rule {
    Rule::new("has(self.topicRefs) != has(self.queueRef)")
        .message("needs exactly one of topicRefs and queueRef")
}

/// A field that says something of topics alone.
pub(crate) fn topics_only(field: &str) -> Rule {
    Rule::new(format!("!has(self.{field}) || !has(self.queueRef)"))
        .message(format!("{field} is for groups with topicRefs; leave it out of one with queueRef").as_str())
        .field_path(format!(".{field}"))
}

/// Fields that say how a shared group delivers.
pub(crate) fn shared_only(field: &str) -> Rule {
    Rule::new(format!("!has(self.{field}) || (has(self.mode) && self.mode == 'Shared')"))
        .message(format!("{field} is for shared groups: it needs mode: Shared").as_str())
        .field_path(format!(".{field}"))
}

/// A time to start at belongs to `startPosition: Time`, and that needs one.
pub(crate) fn start_time() -> Rule {
    Rule::new("has(self.startTime) == (has(self.startPosition) && self.startPosition == 'Time')")
        .message("startTime and startPosition: Time need each other")
        .field_path(".startTime")
}

/// A group reads each topic once.
pub(crate) fn topics_differ() -> Rule {
    Rule::new(
        "!has(self.topicRefs) || self.topicRefs.all(topic, self.topicRefs.exists_one(other, \
         other.name == topic.name))",
    )
    .message("topicRefs names a topic twice")
    .field_path(".topicRefs")
}

/// Consumers are scaled, not brokers.
pub(crate) fn scales_consumers() -> Rule {
    Rule::new("!has(self.apiVersion) || !self.apiVersion.startsWith('pondage.io/')")
        .message("apiVersion is of Pondage itself: name what runs the consumers")
        .field_path(".apiVersion")
}

/// Who scales says what.
pub(crate) fn scaled_by_name() -> Rule {
    Rule::new(
        "has(self.scaleTargetRef) || !has(self.autoscaling) || \
         (has(self.autoscaling.mode) && self.autoscaling.mode == 'Disabled')",
    )
    .message("scaleTargetRef is required, unless autoscaling.mode is Disabled")
    .field_path(".scaleTargetRef")
}

/// What is aimed at is well enough.
pub(crate) fn aims_within_objective() -> Rule {
    Rule::new(
        "!has(self.slo) || !has(self.slo.maxDelay) || !has(self.autoscaling) || \
         !has(self.autoscaling.target.delay) || \
         duration(self.autoscaling.target.delay) <= duration(self.slo.maxDelay)",
    )
    .message("autoscaling.target.delay can't be more than slo.maxDelay")
    .field_path(".autoscaling.target.delay")
}

/// No replicas at all, where and only where it is said when.
pub(crate) fn zero_replicas() -> Rule {
    Rule::new("has(self.scaleToZero) == (has(self.minReplicas) && self.minReplicas == 0)")
        .message("scaleToZero and minReplicas: 0 need each other")
        .field_path(".scaleToZero")
}

/// A fallback stays between the fewest and the most.
pub(crate) fn fallback_fits() -> Rule {
    Rule::new(
        "!has(self.fallback) || !has(self.fallback.replicas) || \
         (self.fallback.replicas >= (has(self.minReplicas) ? self.minReplicas : 1) && \
         self.fallback.replicas <= self.maxReplicas)",
    )
    .message("fallback.replicas must be minReplicas, which is 1 by default, to maxReplicas")
    .field_path(".fallback.replicas")
}

/// A fallback says how many, unless it is as many as there are.
pub(crate) fn fallback_replicas() -> Rule {
    Rule::new("has(self.replicas) != (has(self.behavior) && self.behavior == 'CurrentReplicas')")
        .message("replicas is required, unless behavior is CurrentReplicas, which takes none")
        .field_path(".replicas")
}

/// One thing is aimed at.
pub(crate) fn one_target() -> Rule {
    Rule::new("has(self.delay) != has(self.backlogPerReplica)")
        .message("needs exactly one of delay and backlogPerReplica")
}

/// How busy replicas are has to do with delays.
pub(crate) fn utilization_of_a_delay() -> Rule {
    Rule::new("!has(self.utilizationPercent) || !has(self.backlogPerReplica)")
        .message("utilizationPercent goes with delay; leave it out of a target with backlogPerReplica")
        .field_path(".utilizationPercent")
}

/// A cluster's name begins the names of its pods and services.
pub(crate) fn cluster_name_fits() -> Rule {
    Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message(
            "metadata.name must be at most 40 lower-case letters, digits and '-', and begin with a letter: pods and \
             services are named after it",
        )
}

/// Labels choose namespaces where, and only where, they are asked for.
pub(crate) fn selector_where_wanted() -> Rule {
    Rule::new("has(self.selector) == (has(self.from) && self.from == 'Selector')")
        .message("selector and from: Selector need each other")
        .field_path(".selector")
}

/// Values are given where, and only where, there is something to compare with.
pub(crate) fn values_where_wanted() -> Rule {
    Rule::new(
        "(self.operator == 'In' || self.operator == 'NotIn') == (has(self.values) && size(self.values) > 0)",
    )
    .message("In and NotIn need values, Exists and DoesNotExist have none")
    .field_path(".values")
}

/// There are brokers for all copies.
pub(crate) fn copies_fit() -> Rule {
    Rule::new(
        "!has(self.replicas) || !has(self.replication) || !has(self.replication.defaultReplicas) || \
         self.replication.defaultReplicas <= self.replicas",
    )
    .message("replication.defaultReplicas can't be more than replicas, the number of brokers")
    .field_path(".replication.defaultReplicas")
}

/// No two listeners share a port.
pub(crate) fn ports_differ() -> Rule {
    Rule::new("self.all(listener, self.exists_one(other, other.port == listener.port))")
        .message("two listeners have the same port")
}
