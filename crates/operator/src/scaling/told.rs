//! What is said of a group that is scaled: fields of its status, and conditions. Pure.

use kube::core::DynamicObject;
use pondage_autoscale::{Decision, Learned, LimitedBy, Observation, Reason};
use pondage_resources::{
    ActiveMode, AutoscalerMemory, Duration, Rate, ScaleTarget, ScalingLimit, StuckPartition, Timestamp, Truth,
};
use serde_json::{Map, Value, json};

use super::{Wanted, status_of};
use crate::{conditions::Finding, error::ReconcileError};

/// How often figures are written that say nothing new, in milliseconds: metrics have the exact ones.
const FIGURES_EVERY_MILLIS: u64 = 30_000;
/// Partitions that are named, at most.
const STUCK_MAX: usize = 100;

/// What a look came to.
pub(super) struct Report<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) seen: &'a Observation,
    pub(super) decision: &'a Decision,
    pub(super) learned: Learned,
    /// Names of the partitions.
    pub(super) places: &'a [(pondage_model::Name, u32)],
    /// When the workload was scaled by it, if it was.
    pub(super) scaled_millis: Option<u64>,
}

/// What is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Fields of the status that are figures: they are written now and then.
    figures: Map<String, Value>,
    /// Fields whose change is news.
    news: Map<String, Value>,
    findings: Vec<Finding>,
    /// When it was found.
    at_millis: u64,
    /// Since when partitions stand still.
    stuck: Vec<StuckPartition>,
}

impl Told {
    /// What a look came to.
    pub(super) fn of(report: &Report<'_>) -> Self {
        let Report { wanted, seen, decision, learned, places, scaled_millis } = report;
        let is_known = seen.stale_millis <= pondage_autoscale::STALE_MILLIS;
        let mut told = Self { at_millis: seen.now_millis, ..Self::default() };
        let mut figure = |field: &str, value: Value| drop(told.figures.insert(field.to_owned(), value));
        if is_known {
            let oldest =
                seen.partitions.iter().map(|partition| partition.oldest_age_millis).max().unwrap_or(0);
            figure("backlog", number(seen.backlog()));
            figure("delaySeconds", number(oldest / 1_000));
            figure("members", number(seen.members.len() as u64));
            figure("arrivalRate", json!(rate(decision.inputs.demand_per_second)));
        }
        figure("serviceRatePerReplica", json!(learned.capacity_per_second.map(rate)));
        figure("reason", decision.reason.to_string().into());
        figure("autoscaler", json!(memory(learned)));
        let mut news = |field: &str, value: Value| drop(told.news.insert(field.to_owned(), value));
        news("replicas", seen.replicas.into());
        let desired = match wanted.autoscaling.mode {
            ActiveMode::Direct => decision.replicas,
            ActiveMode::Recommend => decision.recommended,
        };
        news("desiredReplicas", desired.into());
        let limited_by = if is_known { limit(decision.limited_by) } else { ScalingLimit::StaleData };
        news("limitedBy", json!(limited_by));
        if let Some(millis) = scaled_millis {
            news("lastScaleTime", json!(timestamp(*millis)));
        }
        told.findings = findings(report, is_known);
        let since = timestamp(seen.now_millis);
        let stuck = decision.stuck.iter().take(STUCK_MAX).filter_map(|number| places.get(*number));
        told.stuck = stuck
            .map(|(topic, partition)| StuckPartition {
                topic: topic.to_string(),
                partition: (*partition).into(),
                since,
            })
            .collect();
        told
    }

    /// The workload can't be looked at.
    pub(super) fn without_workload(target: &ScaleTarget, error: &ReconcileError) -> Self {
        let what = format!("{} {}", target.kind, target.name);
        let (reason, message) = if error.is_not_found() {
            ("TargetNotFound", format!("there is no {what} in this namespace: scaleTargetRef names it"))
        } else {
            ("TargetUnreadable", format!("{what} can't be read: {error}"))
        };
        let inactive = Finding::no("ScalingActive", reason, message.clone());
        Self { findings: vec![Finding::no("AbleToScale", reason, message), inactive], ..Self::default() }
    }

    /// What is written after what was said before: figures stay as they were until it is time, or something changed.
    pub(super) fn after(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        for found in &mut self.stuck {
            let is_same =
                |old: &&StuckPartition| (&old.topic, old.partition) == (&found.topic, found.partition);
            if let Some(old) = before.stuck.iter().find(is_same) {
                found.since = old.since;
            }
        }
        if let Some(last) = before.news.get("lastScaleTime") {
            self.news.entry("lastScaleTime").or_insert_with(|| last.clone());
        }
        let words = |findings: &[Finding]| {
            findings.iter().map(|finding| (finding.kind, finding.status, finding.reason)).collect::<Vec<_>>()
        };
        let is_same = (&self.news, &self.stuck) == (&before.news, &before.stuck)
            && words(&self.findings) == words(&before.findings);
        if is_same && self.at_millis < before.at_millis.saturating_add(FIGURES_EVERY_MILLIS) {
            return before.clone();
        }
        self
    }

    /// What the status says; what is not known any more stays from before.
    pub(crate) fn write_into(&self, status: &mut Map<String, Value>, object: &DynamicObject) {
        if let Some(last) = status_of(object).and_then(|before| before.get("lastScaleTime")) {
            status.insert("lastScaleTime".to_owned(), last.clone());
        }
        let fields = self.figures.iter().chain(&self.news).filter(|(_, value)| !value.is_null());
        status.extend(fields.map(|(field, value)| (field.clone(), value.clone())));
        if !self.stuck.is_empty() {
            status.insert("stuckPartitions".to_owned(), json!(self.stuck));
        }
    }

    /// Its conditions.
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

/// What was learned before, as the status has it.
pub(super) fn learned(object: &DynamicObject) -> Learned {
    let memory = status_of(object).and_then(|status| status.get("autoscaler")).cloned().unwrap_or_default();
    let memory: AutoscalerMemory = serde_json::from_value(memory).unwrap_or_default();
    Learned {
        capacity_per_second: memory.capacity_per_replica.map(|rate| rate.millionths() as f64 / 1e6),
        start_millis: memory.startup_time.map(|time| time.millis() as f64),
        pause_millis: memory.rebalance_pause.map(|time| time.millis() as f64),
        held_until_millis: None,
    }
}

fn memory(learned: &Learned) -> AutoscalerMemory {
    let time = |millis: f64| Duration::from_millis(millis.round().max(0.0) as u64);
    AutoscalerMemory {
        capacity_per_replica: learned.capacity_per_second.map(rate),
        startup_time: learned.start_millis.map(time),
        rebalance_pause: learned.pause_millis.map(time),
    }
}

/// The reason of an event.
pub(super) const fn event(reason: &Reason) -> &'static str {
    match reason {
        Reason::ScaleUp { .. } => "ScaledUp",
        Reason::Doubling { .. } => "Doubled",
        Reason::Woke { .. } => "Woke",
        Reason::FellAsleep { .. } => "FellAsleep",
        Reason::ScaleIn { .. } => "ScaledIn",
        Reason::Fallback { .. } => "FellBack",
        _ => "Scaled",
    }
}

fn findings(report: &Report<'_>, is_known: bool) -> Vec<Finding> {
    let Report { wanted, seen, decision, .. } = report;
    let sentence = decision.reason.to_string();
    let able = Finding::yes("AbleToScale", "ReadyForNewScale", "the workload can be scaled");
    let active = match (&decision.reason, wanted.autoscaling.mode) {
        (Reason::Conflicting { .. }, _) => {
            Finding::no("ScalingActive", "ConflictingAutoscaler", sentence.clone())
        }
        (Reason::SwitchedOff, _) => Finding::no("ScalingActive", "ScalingDisabled", sentence.clone()),
        _ if !is_known => Finding::no("ScalingActive", "StaleData", sentence.clone()),
        (_, ActiveMode::Recommend) => {
            Finding::no("ScalingActive", "Recommending", "mode is Recommend: nothing is done")
        }
        (_, ActiveMode::Direct) => {
            Finding::yes("ScalingActive", "Scaling", "the group is scaled on its backlog")
        }
    };
    let limited = match decision.limited_by {
        LimitedBy::None => Finding::no("ScalingLimited", "DesiredWithinRange", "nothing limits it"),
        LimitedBy::MaxReplicas => Finding::yes("ScalingLimited", "MaxReplicas", sentence),
        LimitedBy::Partitions => Finding::yes("ScalingLimited", "Partitions", sentence),
        LimitedBy::HotPartition => Finding::yes("ScalingLimited", "HotPartition", sentence),
        LimitedBy::Downstream => Finding::yes("ScalingLimited", "Downstream", sentence),
        LimitedBy::Policy => Finding::yes("ScalingLimited", "Policy", sentence),
    };
    let mut findings = vec![able, active, limited, delay(report, is_known)];
    let unhealthy = if decision.stuck.is_empty() {
        Finding::yes("ConsumersHealthy", "Progressing", "no partition stands still")
    } else {
        let stuck = decision.stuck.len();
        Finding::no(
            "ConsumersHealthy",
            "PartitionStuck",
            format!("{stuck} partitions stand still though they are read"),
        )
    };
    findings.push(if seen.members.is_empty() && seen.replicas > 0 && seen.stale_millis == 0 {
        Finding::unknown("ConsumersHealthy", "NoMembers", "no replica is a member of the group yet")
    } else {
        unhealthy
    });
    findings
}

fn delay(report: &Report<'_>, is_known: bool) -> Finding {
    const KIND: &str = "DelayWithinTarget";
    let Report { wanted, seen, decision, .. } = report;
    let moving = seen.partitions.iter().enumerate().filter(|(number, _)| !decision.stuck.contains(number));
    let oldest = moving.map(|(_, partition)| partition.oldest_age_millis).max().unwrap_or(0);
    match wanted.delay_millis_max {
        None => Finding::unknown(KIND, "NoTarget", "no delay is promised"),
        Some(_) if !is_known => Finding::unknown(KIND, "StaleData", "the brokers' figures can't be read"),
        Some(most) if oldest <= most => {
            Finding::yes(KIND, "WithinTarget", "no message waits for longer than it may")
        }
        Some(most) => {
            let [oldest, most] = [oldest, most].map(Duration::from_millis);
            Finding::new(
                KIND,
                Truth::False,
                "Behind",
                format!("the oldest message waits for {oldest}, {most} is the most"),
            )
        }
    }
}

const fn limit(limited_by: LimitedBy) -> ScalingLimit {
    match limited_by {
        LimitedBy::None => ScalingLimit::None,
        LimitedBy::MaxReplicas => ScalingLimit::MaxReplicas,
        LimitedBy::Partitions => ScalingLimit::Partitions,
        LimitedBy::HotPartition => ScalingLimit::HotPartition,
        LimitedBy::Downstream => ScalingLimit::Downstream,
        LimitedBy::Policy => ScalingLimit::Policy,
    }
}

fn rate(per_second: f64) -> Rate {
    Rate::from_millionths((per_second * 1e6).round().max(0.0) as u64)
}

fn number(count: u64) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

fn timestamp(millis: u64) -> Timestamp {
    // In whole seconds, as conditions are.
    Timestamp::from_unix_millis(i64::try_from(millis / 1_000 * 1_000).unwrap_or(i64::MAX))
}
