//! `values.yaml`: its comments as a table, and whether the schema knows what is in it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::sorted;

/// The values as a table of Markdown: every key that has a comment, with its default.
///
/// # Panics
/// Names every value that no comment describes.
pub(crate) fn table(text: &str) -> String {
    let values: Value = serde_yaml::from_str(text).expect("YAML");
    let comments = comments(text);
    let mut rows = String::from("| value | default | what it is |\n|---|---|---|\n");
    for (path, comment) in &comments.in_order {
        let value = path.split('.').fold(&values, |value, key| &value[key]);
        let prefix = format!("{path}.");
        let has_rows_below = comments.in_order.iter().any(|(other, _)| other.starts_with(&prefix));
        let default = if has_rows_below { String::new() } else { format!("`{}`", sorted(value.clone())) };
        rows += &format!("| `{path}` | {default} | {} |\n", comment.replace('|', "\\|"));
    }
    let mut bare = Vec::new();
    undescribed("", &values, &comments.in_order, &mut bare);
    assert!(bare.is_empty(), "values.yaml: no comment says what these are: {}", bare.join(", "));
    rows
}

struct Comments {
    in_order: Vec<(String, String)>,
}

/// The comments right above keys, by the keys' paths. What stands above a blank line belongs to the file.
fn comments(text: &str) -> Comments {
    let mut parents: BTreeMap<usize, String> = BTreeMap::new();
    let mut pending: Vec<&str> = Vec::new();
    let mut in_order = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(comment) = content.strip_prefix("# ") {
            pending.push(comment);
            continue;
        }
        let comment = std::mem::take(&mut pending).join(" ");
        let Some((key, _)) = content.split_once(':') else { continue };
        parents.retain(|depth, _| *depth < indent);
        let mut path: Vec<&str> = parents.values().map(String::as_str).collect();
        path.push(key);
        if !comment.is_empty() {
            in_order.push((path.join("."), comment));
        }
        parents.insert(indent, key.to_owned());
    }
    Comments { in_order }
}

/// Values that neither have a comment nor are part of one that has.
fn undescribed(path: &str, value: &Value, described: &[(String, String)], found: &mut Vec<String>) {
    let is_described = |path: &str| described.iter().any(|(other, _)| other == path);
    let prefix = format!("{path}.");
    let has_rows_below = path.is_empty() || described.iter().any(|(other, _)| other.starts_with(&prefix));
    match value {
        Value::Object(map) if has_rows_below => {
            for (key, inner) in map {
                let inner_path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                undescribed(&inner_path, inner, described, found);
            }
        }
        _ if is_described(path) => {}
        _ => found.push(path.to_owned()),
    }
}

/// Finds values that the schema does not name, properties of it that no value shows, and maps that take anything.
pub(crate) fn compare(path: &str, value: &Value, schema: &Value, root: &Value, wrong: &mut Vec<String>) {
    let schema = resolved(schema, root);
    let Value::Object(map) = value else { return };
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let Some(properties) = schema["properties"].as_object() else {
        if !schema["additionalProperties"].is_object() {
            wrong.push(format!("{path}: the schema names no properties"));
        }
        return;
    };
    if schema["additionalProperties"] != false {
        wrong.push(format!("{path}: the schema lets anything in"));
    }
    for (key, inner) in map {
        match properties.get(key) {
            Some(property) => compare(&at(key), inner, property, root, wrong),
            None => wrong.push(format!("{}: the schema does not know it", at(key))),
        }
    }
    // A spec has more fields than the values show, and what Kubernetes defines is shown empty. `global` is Helm's.
    let is_ours = !path.starts_with("cluster.spec") && !map.is_empty();
    for key in properties.keys().filter(|key| is_ours && *key != "global" && !map.contains_key(*key)) {
        wrong.push(format!("{}: is in the schema and not in values.yaml", at(key)));
    }
}

fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            root.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"))
        }
        None => schema,
    }
}
