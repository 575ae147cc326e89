//! Writing the status of a resource: only if it says something new, and only onto the version that it is about.

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::Patch,
    core::{ApiResource, DynamicObject},
};
use pondage_resources::Condition;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    conditions::{Finding, conditions, timestamp},
    names::Key,
    written::as_manager,
};

/// The status that a resource has.
pub(crate) fn status_of(object: &DynamicObject) -> Option<&Map<String, Value>> {
    object.data.get("status").and_then(Value::as_object)
}

/// The conditions that a resource has.
pub(crate) fn conditions_of(object: &DynamicObject) -> Vec<Condition> {
    let found = status_of(object).and_then(|status| status.get("conditions"));
    let list = found.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // What somebody else wrote and nobody understands is replaced.
    list.iter().filter_map(|one| serde_json::from_value(one.clone()).ok()).collect()
}

/// The status that says these findings besides what `rest` says.
pub(crate) fn with_conditions(
    object: &DynamicObject,
    findings: &[Finding],
    rest: &impl Serialize,
    now: Timestamp,
) -> Map<String, Value> {
    let generation = object.metadata.generation.unwrap_or(0);
    let said = conditions(&conditions_of(object), findings, generation, timestamp(now));
    let mut status = match serde_json::to_value(rest) {
        Ok(Value::Object(status)) => status,
        _ => Map::new(),
    };
    status.insert("observedGeneration".to_owned(), generation.into());
    status.insert("conditions".to_owned(), json!(said));
    status
}

/// What has to be sent for a status to become `wanted`; `None` if it is so already.
fn difference(before: Option<&Value>, wanted: &Map<String, Value>) -> Option<Map<String, Value>> {
    let empty = Map::new();
    let before = before.and_then(Value::as_object).unwrap_or(&empty);
    let mut patch: Map<String, Value> = wanted
        .iter()
        .filter(|(field, value)| before.get(*field) != Some(value))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let gone = before.keys().filter(|field| !wanted.contains_key(*field));
    patch.extend(gone.map(|field| (field.clone(), Value::Null)));
    (!patch.is_empty()).then_some(patch)
}

/// Writes the status, if it is news. Whether it was; nothing is written onto another version of the object than this.
///
/// # Errors
/// Those of the API server, 409 for another version.
pub(crate) async fn write(
    client: &Client,
    resource: &ApiResource,
    object: &DynamicObject,
    wanted: &Map<String, Value>,
) -> Result<Option<DynamicObject>, kube::Error> {
    let Some(mut status) = difference(object.data.get("status"), wanted) else { return Ok(None) };
    // A merge goes into maps: what is in one of them and not wanted is named.
    let before = object.data.get("status").cloned().unwrap_or_default();
    for (field, value) in &mut status {
        if let (Some(old), Value::Object(new)) = (before.get(field).and_then(Value::as_object), value) {
            for key in old.keys() {
                new.entry(key.clone()).or_insert(Value::Null);
            }
        }
    }
    let key = Key::of(&object.metadata);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, resource);
    let patch = json!({ "metadata": { "resourceVersion": object.resource_version() }, "status": status });
    api.patch_status(&key.name, &as_manager(), &Patch::Merge(patch)).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_are_sent_and_what_is_gone_is_said() {
        let wanted = |value: Value| value.as_object().cloned().expect("a map");
        let before = json!({ "a": 1, "b": [1], "c": { "d": 1 } });
        assert_eq!(difference(Some(&before), &wanted(before.clone())), None);
        let patch = difference(Some(&before), &wanted(json!({ "a": 2, "c": { "d": 1 } })));
        assert_eq!(patch, Some(wanted(json!({ "a": 2, "b": null }))));
        assert_eq!(difference(None, &wanted(json!({}))), None);
        assert_eq!(
            difference(Some(&json!("odd")), &wanted(json!({ "a": 1 }))),
            Some(wanted(json!({ "a": 1 })))
        );
    }
}
