//! What is said of a topic, queue or group. Pure.

use kube::core::DynamicObject;
use pondage_client::{ClientError, Resource, Settings, StreamStatus};
use pondage_model::Name;
use serde_json::{Map, Value, json};

use super::{Problem, uid_before};
use crate::conditions::{Finding, summary};

/// The aspects in the order in which they are found out.
const KINDS: [&str; 3] = ["Accepted", "ResolvedRefs", "Programmed"];

/// It is as declared.
pub(super) fn programmed(name: &Name) -> Vec<Finding> {
    let findings = vec![
        Finding::yes("Accepted", "Accepted", "the resource is valid"),
        Finding::yes("ResolvedRefs", "ResolvedRefs", "everything that it names is there"),
        Finding::yes("Programmed", "Programmed", format!("the brokers have it as {name}")),
    ];
    with_summary(findings)
}

/// The brokers did not do it.
pub(super) fn not_programmed(error: &ClientError) -> Vec<Finding> {
    let action = if error.action().is_empty() { String::new() } else { format!(": {}", error.action()) };
    let message = format!("{}{action}", error.message());
    let last = if error.retriable() {
        Finding::unknown("Programmed", "BrokersUnreachable", message)
    } else {
        Finding::no("Programmed", "Refused", message)
    };
    with_summary(vec![
        Finding::yes("Accepted", "Accepted", "the resource is valid"),
        Finding::yes("ResolvedRefs", "ResolvedRefs", "everything that it names is there"),
        last,
    ])
}

/// It is not carried out: what comes before the problem is well, what comes after it is not known.
pub(super) fn refused(problem: &Problem) -> Vec<Finding> {
    let mut is_past = false;
    let findings = KINDS.into_iter().map(|kind| {
        if kind == problem.condition {
            is_past = true;
            Finding::no(kind, problem.reason, problem.message.clone())
        } else if is_past {
            Finding::unknown(kind, "Pending", format!("waits for {}", problem.condition))
        } else {
            Finding::yes(kind, kind, "nothing is wrong with it")
        }
    });
    with_summary(findings.collect())
}

fn with_summary(mut findings: Vec<Finding>) -> Vec<Finding> {
    let ready = summary(&findings, "the brokers have it as declared");
    findings.push(ready);
    findings
}

/// Whether the present settings were carried out before, so that a difference is somebody else's doing.
pub(super) fn is_observed(object: &DynamicObject) -> bool {
    let observed = object.data.get("status").and_then(|status| status.get("observedGeneration"));
    observed.and_then(Value::as_i64) == object.metadata.generation
}

/// What stays of a status when nothing new is known besides conditions.
pub(super) fn kept(object: &DynamicObject) -> Map<String, Value> {
    let mut status = object.data.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    status.remove("conditions");
    status
}

/// Counts and names. A count that changed by a tenth at most stays as it was written: metrics have the exact one.
pub(super) fn figures(
    object: &DynamicObject,
    held: &Resource,
    streams: Option<&[StreamStatus]>,
) -> Map<String, Value> {
    let empty = Map::new();
    let is_same = uid_before(object) == Some(held.uid.to_string().as_str());
    let before = object.data.get("status").and_then(Value::as_object).filter(|_| is_same).unwrap_or(&empty);
    let mut status = Map::new();
    let mut put = |field: &str, value: Value| drop(status.insert(field.to_owned(), value));
    put("uid", held.uid.to_string().into());
    match &held.settings {
        Settings::Topic(settings) => {
            put("topicName", held.name.as_str().into());
            put("partitions", settings.partitions.into());
        }
        Settings::Queue(_) => {
            put("queueName", held.name.as_str().into());
            let Some(streams) = streams else {
                for field in ["messages", "oldestMessageAgeSeconds", "leader"] {
                    status.extend(before.get(field).map(|value| (field.to_owned(), value.clone())));
                }
                return status;
            };
            let sum = |of: fn(&StreamStatus) -> u64| streams.iter().map(of).fold(0, u64::saturating_add);
            let messages = before.get("messages").cloned().unwrap_or_default();
            let rounded = |field: &str, now: u64| near(messages.get(field), now);
            put(
                "messages",
                json!({
                    "ready": rounded("ready", sum(|stream| stream.ready)),
                    "unacked": rounded("unacked", sum(|stream| stream.unacked)),
                    "scheduled": rounded("scheduled", sum(|stream| stream.scheduled)),
                    "deadLettered": rounded("deadLettered", sum(|stream| stream.dead_lettered)),
                }),
            );
            let oldest = streams.iter().map(|stream| stream.oldest_age_millis).max().unwrap_or(0) / 1_000;
            put("oldestMessageAgeSeconds", near(before.get("oldestMessageAgeSeconds"), oldest));
            if let Some(leader) = streams.first().and_then(|stream| stream.leader) {
                put("leader", leader.0.into());
            }
        }
        Settings::Group(_) => put("groupName", held.name.as_str().into()),
    }
    status
}

/// The number as it was written before, if it is nearly that.
fn near(before: Option<&Value>, now: u64) -> Value {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    match before.and_then(Value::as_i64) {
        Some(before) if now != 0 && before != 0 && (now - before).abs() <= before.abs() / 10 => before.into(),
        _ => now.into(),
    }
}

#[cfg(test)]
mod tests {
    use pondage_resources::Truth;

    use super::*;

    #[test]
    fn what_comes_after_a_problem_is_not_known() {
        let problem = Problem { condition: "ResolvedRefs", reason: "RefNotFound", message: "no".to_owned() };
        let said: Vec<(&str, Truth)> =
            refused(&problem).iter().map(|finding| (finding.kind, finding.status)).collect();
        let expected = [
            ("Accepted", Truth::True),
            ("ResolvedRefs", Truth::False),
            ("Programmed", Truth::Unknown),
            ("Ready", Truth::False),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_count_is_written_when_it_changed_by_more_than_a_tenth() {
        for (before, now, expected) in [
            (100, 105, 100),
            (100, 111, 111),
            (100, 0, 0),
            (0, 1, 1),
            (5, 6, 6),
            (1_000, 900, 1_000),
            (1_000, 899, 899),
        ] {
            assert_eq!(near(Some(&json!(before)), now), json!(expected), "{before} → {now}");
        }
        assert_eq!(near(None, 7), json!(7));
    }
}
