//! What `crds/` says of a `spec`, as a JSON schema that refuses unknown fields.

use serde_json::{Map, Value};

/// The `spec` of each definition, as it stands in `values.schema.json`.
pub(crate) fn definitions(crds: &[(&str, String)]) -> String {
    let made: Map<String, Value> = crds.iter().map(|(kind, text)| ((*kind).to_owned(), spec(text))).collect();
    let text = serde_json::to_string_pretty(&sorted(Value::Object(made))).expect("JSON");
    text.replace('\n', "\n  ")
}

fn spec(crd: &str) -> Value {
    let crd: Value = serde_yaml::from_str(crd).expect("YAML");
    let mut spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
    strict(&mut spec);
    // Rules between fields are the API server's: it says them better.
    spec
}

/// Refuses unknown fields, and leaves out what only Kubernetes understands.
fn strict(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if map.remove("x-kubernetes-int-or-string").is_some() {
        map.insert("type".to_owned(), serde_json::json!(["integer", "string"]));
    }
    map.retain(|key, _| {
        !key.starts_with("x-kubernetes-") && !["description", "default", "format"].contains(&key.as_str())
    });
    for bound in ["minimum", "maximum"] {
        if let Some(number) = map.get(bound).and_then(Value::as_f64) {
            #[expect(clippy::cast_possible_truncation, reason = "bounds of our fields are whole numbers")]
            map.insert(bound.to_owned(), (number as i64).into());
        }
    }
    // A field may be null in the values: Helm leaves it out.
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(strict);
        if !map.contains_key("additionalProperties") {
            map.insert("additionalProperties".to_owned(), false.into());
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            strict(inner);
        }
    }
}

/// The same in the order of the keys, whatever map serde_json was built with.
pub(crate) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(entries.into_iter().map(|(key, inner)| (key, sorted(inner))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
