//! What is said of a group that is scaled: fields of its status, and conditions. Pure.

use kube::core::DynamicObject;
use pondage_autoscale::{Decision, Learned, LimitedBy, Observation, Reason, Refused};
use pondage_resources::{
    ActiveMode, AutoscalerMemory, Duration, Rate, ScaleTarget, ScalingLimit, StuckPartition, Timestamp,
};
use serde_json::{Map, Value, json};

use super::Wanted;
use crate::{conditions::Finding, error::ReconcileError, status::status_of};

/// How often figures are written that say nothing new, in milliseconds: metrics have the exact ones.
const FIGURES_EVERY_MILLIS: u64 = 30_000;
/// What can't be judged without figures.
const NOT_KNOWN: &str = "the brokers' figures can't be read";
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
    pub(super) scaled: &'a Outcome,
}

/// What came of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was nothing to do.
    Nothing,
    /// The workload has other replicas now.
    Scaled,
    /// The workload could not be scaled.
    Failed(String),
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
    /// Whether the brokers' figures were there.
    is_known: bool,
}

impl Told {
    /// What a look came to.
    pub(super) fn of(report: &Report<'_>) -> Self {
        let Report { wanted, seen, decision, learned, places, scaled } = report;
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
        let limited_by = if is_known { limit(decision.limited_by).0 } else { ScalingLimit::StaleData };
        news("limitedBy", json!(limited_by));
        if **scaled == Outcome::Scaled {
            news("lastScaleTime", json!(timestamp(seen.now_millis)));
        }
        told.findings = findings(report, is_known);
        told.is_known = is_known;
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

    /// The group's settings are nothing that the controller takes.
    pub(super) fn refused(refused: &Refused) -> Self {
        let inactive = Finding::no("ScalingActive", "InvalidSettings", refused.to_string());
        Self { findings: vec![inactive], ..Self::default() }
    }

    /// What is written after what was said before: figures stay as they were until it is time, or something changed.
    pub(super) fn after(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        if !self.is_known {
            // Who stood still when it was last seen is not said to move.
            self.stuck.clone_from(&before.stuck);
        }
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
        let before = status_of(object);
        for field in ["lastScaleTime", "autoscaler"] {
            if let Some(value) = before.and_then(|before| before.get(field)) {
                status.insert(field.to_owned(), value.clone());
            }
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
        held_until_millis: memory.held_until.and_then(|until| u64::try_from(until.log_time().0).ok()),
    }
}

fn memory(learned: &Learned) -> AutoscalerMemory {
    let time = |millis: f64| Duration::from_millis(millis.round().max(0.0) as u64);
    AutoscalerMemory {
        capacity_per_replica: learned.capacity_per_second.map(rate),
        startup_time: learned.start_millis.map(time),
        rebalance_pause: learned.pause_millis.map(time),
        held_until: learned.held_until_millis.map(timestamp),
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
    let Report { wanted, seen, decision, scaled, .. } = report;
    let sentence = decision.reason.to_string();
    let able = match scaled {
        Outcome::Failed(error) => Finding::no("AbleToScale", "FailedToScale", error.clone()),
        Outcome::Nothing | Outcome::Scaled => {
            Finding::yes("AbleToScale", "ReadyForNewScale", "the workload can be scaled")
        }
    };
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
    let limited = match limit(decision.limited_by) {
        _ if !is_known => Finding::unknown("ScalingLimited", "StaleData", NOT_KNOWN),
        (ScalingLimit::None, reason) => Finding::no("ScalingLimited", reason, "nothing limits it"),
        (_, reason) => Finding::yes("ScalingLimited", reason, sentence),
    };
    let stuck = decision.stuck.len();
    let healthy = if !is_known {
        Finding::unknown("ConsumersHealthy", "StaleData", NOT_KNOWN)
    } else if seen.members.is_empty() && seen.replicas > 0 {
        Finding::unknown("ConsumersHealthy", "NoMembers", "no replica is a member of the group yet")
    } else if stuck == 0 {
        Finding::yes("ConsumersHealthy", "Progressing", "no partition stands still")
    } else {
        let message = format!("{stuck} partitions stand still though they are read");
        Finding::no("ConsumersHealthy", "PartitionStuck", message)
    };
    vec![able, active, limited, delay(report, is_known), healthy]
}

fn delay(report: &Report<'_>, is_known: bool) -> Finding {
    const KIND: &str = "DelayWithinTarget";
    let Report { wanted, seen, decision, .. } = report;
    let moving = seen.partitions.iter().enumerate().filter(|(number, _)| !decision.stuck.contains(number));
    let oldest = moving.map(|(_, partition)| partition.oldest_age_millis).max().unwrap_or(0);
    match wanted.delay_millis_max {
        None => Finding::unknown(KIND, "NoTarget", "no delay is promised"),
        Some(_) if !is_known => Finding::unknown(KIND, "StaleData", NOT_KNOWN),
        Some(most) if oldest <= most => {
            Finding::yes(KIND, "WithinTarget", "no message waits for longer than it may")
        }
        Some(most) => {
            let [oldest, most] = [oldest, most].map(Duration::from_millis);
            Finding::no(KIND, "Behind", format!("the oldest message waits for {oldest}, {most} is the most"))
        }
    }
}

/// As the status has it, and as the reason of a condition.
const fn limit(limited_by: LimitedBy) -> (ScalingLimit, &'static str) {
    match limited_by {
        LimitedBy::None => (ScalingLimit::None, "DesiredWithinRange"),
        LimitedBy::MaxReplicas => (ScalingLimit::MaxReplicas, "MaxReplicas"),
        LimitedBy::Partitions => (ScalingLimit::Partitions, "Partitions"),
        LimitedBy::HotPartition => (ScalingLimit::HotPartition, "HotPartition"),
        LimitedBy::Downstream => (ScalingLimit::Downstream, "Downstream"),
        LimitedBy::Policy => (ScalingLimit::Policy, "Policy"),
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

#[cfg(test)]
mod tests {
    use pondage_autoscale::{MemberSeen, PartitionSeen, decide};
    use pondage_model::Name;
    use pondage_resources::{Kind, Resource, read_object};

    use super::*;
    use crate::{names::Key, scaling::settings::scaling_settings, triggers::api_resource};

    fn wanted() -> Wanted {
        let object = json!({
            "apiVersion": pondage_resources::API_VERSION,
            "kind": "ConsumerGroup",
            "metadata": { "name": "packers", "namespace": "shop" },
            "spec": {
                "queueRef": { "name": "orders" },
                "scaleTargetRef": { "name": "packers" },
                "autoscaling": { "maxReplicas": 10, "target": { "delay": "30s" } },
            },
        });
        let Ok(Resource::ConsumerGroup(group)) = read_object(&object) else { panic!("a group") };
        Wanted {
            cluster: Key { namespace: "shop".to_owned(), name: "main".to_owned() },
            group: Name::new("packers").expect("a name"),
            autoscaling: group.autoscaling().expect("sensible").expect("scaled"),
            delay_millis_max: Some(30_000),
        }
    }

    fn seen(stale_millis: u64) -> Observation {
        let partition = PartitionSeen { backlog: 5, appended: 9, settled: 4, ..PartitionSeen::default() };
        let member = MemberSeen { name: "packers-1".to_owned(), ..MemberSeen::default() };
        Observation {
            now_millis: 1_767_225_600_000,
            partitions: vec![partition],
            members: vec![member],
            replicas: 1,
            stale_millis,
            ..Observation::default()
        }
    }

    fn told(seen: &Observation, scaled: &Outcome, stuck: Vec<usize>) -> Told {
        let wanted = wanted();
        let settings = scaling_settings(&wanted.autoscaling).expect("sensible");
        let (mut decision, state) = decide(&settings, pondage_autoscale::State::default(), seen);
        decision.stuck = stuck;
        let places = [(Name::new("orders").expect("a name"), 0)];
        let learned = state.learned();
        Told::of(&Report { wanted: &wanted, seen, decision: &decision, learned, places: &places, scaled })
    }

    fn reason(told: &Told, kind: &str) -> (pondage_resources::Truth, &'static str) {
        let found = told.findings().iter().find(|finding| finding.kind == kind).expect("it is said");
        (found.status, found.reason)
    }

    fn object(status: &Value) -> DynamicObject {
        DynamicObject::new("packers", &api_resource(Kind::ConsumerGroup)).data(json!({ "status": status }))
    }

    #[test]
    fn of_figures_that_are_too_old_nothing_is_claimed() {
        use pondage_resources::Truth;
        let before = told(&seen(0), &Outcome::Nothing, vec![0]);
        assert_eq!(reason(&before, "ConsumersHealthy"), (Truth::False, "PartitionStuck"));
        assert_eq!(reason(&before, "ScalingLimited").0, Truth::False);
        let stale = told(&seen(60_000), &Outcome::Nothing, Vec::new()).after(Some(&before));
        for kind in ["ScalingLimited", "ConsumersHealthy", "DelayWithinTarget"] {
            assert_eq!(reason(&stale, kind), (Truth::Unknown, "StaleData"), "{kind}");
        }
        assert_eq!(stale.news["limitedBy"], "StaleData");
        assert_eq!(stale.stuck, before.stuck, "who stood still is not said to move");
        let again = told(&seen(0), &Outcome::Nothing, Vec::new()).after(Some(&stale));
        assert!(again.stuck.is_empty());
    }

    #[test]
    fn a_workload_that_can_not_be_scaled_is_told() {
        use pondage_resources::Truth;
        let refused = Outcome::Failed("deployments/scale is forbidden".to_owned());
        let failed = told(&seen(0), &refused, Vec::new());
        assert_eq!(reason(&failed, "AbleToScale"), (Truth::False, "FailedToScale"));
        assert!(!failed.news.contains_key("lastScaleTime"));
        let done = told(&seen(0), &Outcome::Scaled, Vec::new());
        assert_eq!(reason(&done, "AbleToScale").0, Truth::True);
        assert_eq!(done.news["lastScaleTime"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn what_was_learned_survives_a_look_that_learned_nothing() {
        let until = 1_767_225_660_000;
        let knew =
            Learned { capacity_per_second: Some(12.5), held_until_millis: Some(until), ..Learned::default() };
        let before = object(&json!({
            "autoscaler": memory(&knew), "lastScaleTime": "2026-01-01T00:00:00Z", "backlog": 7,
        }));
        assert_eq!(learned(&before), knew);
        let mut status = Map::new();
        let error = ReconcileError::NotConnected;
        Told::without_workload(&wanted().autoscaling.scale_target, &error).write_into(&mut status, &before);
        assert_eq!(learned(&object(&Value::Object(status.clone()))), knew);
        assert_eq!(status["lastScaleTime"], "2026-01-01T00:00:00Z");
        assert!(!status.contains_key("backlog"), "a figure that nobody knows is not told");
        told(&seen(0), &Outcome::Nothing, Vec::new()).write_into(&mut status, &before);
        assert_eq!(learned(&object(&Value::Object(status))), Learned::default(), "what is newer counts");
    }
}
