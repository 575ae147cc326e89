//! Resources as the Kubernetes API gives them.

use serde_json::{Value, json};

use crate::{check::FieldError, load::draft, object::Resource};

/// Reads an object as strictly as a file is read: an old API server, or one without the definitions' rules, may hold
/// anything. What Kubernetes keeps in an object besides is passed over. The resource is not checked yet:
/// [`Resource::settings`] does it, when what it refers to is known.
///
/// # Errors
/// Everything that can't be read, by field.
pub fn read_object(object: &Value) -> Result<Resource, Vec<FieldError>> {
    let kept = |of: &Value, names: &[&str]| -> Value {
        names.iter().filter_map(|name| Some(((*name).to_owned(), of.get(name)?.clone()))).collect()
    };
    let mut shown = kept(object, &["apiVersion", "kind", "spec"]);
    shown["metadata"] =
        kept(object.get("metadata").unwrap_or(&json!({})), &["name", "namespace", "labels", "annotations"]);
    // JSON is YAML, and one reader is enough.
    draft(&shown.to_string()).map_err(|errors| {
        let wrong = |error: crate::LoadError| FieldError {
            field: if error.field.is_empty() { "spec".to_owned() } else { error.field },
            problem: error.problem,
            missing: false,
        };
        errors.into_iter().map(wrong).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Resource, Vec<FieldError>> {
        read_object(&serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn an_object_with_all_that_kubernetes_adds_is_read() {
        let object = read(
            r#"{"apiVersion": "pondage.io/v1alpha1", "kind": "Queue",
                "metadata": {"name": "a", "namespace": "n", "uid": "u", "finalizers": ["x/y"],
                             "deletionTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"fieldsV1": {}}],
                             "ownerReferences": [], "generation": 3, "annotations": {"k": "{\"a\": 1}\n\u00e9"}},
                "spec": {"maxDeliveries": 3}, "status": {"anything": 1}}"#,
        );
        let object = object.expect("readable");
        assert_eq!(object.metadata().namespace.as_deref(), Some("n"));
        assert_eq!(object.metadata().annotations["k"], "{\"a\": 1}\n\u{e9}");
        let Resource::Queue(queue) = object else { panic!("a queue") };
        assert_eq!(queue.spec.max_deliveries, Some(3));
    }

    #[test]
    fn everything_that_cannot_be_read_is_told_by_field() {
        let errors = read(
            r#"{"apiVersion": "pondage.io/v1alpha1", "kind": "Queue", "metadata": {"name": "a"},
                "spec": {"maxDeliveries": "many", "colour": 1}}"#,
        );
        let fields: Vec<String> = errors.expect_err("wrong").into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["spec.colour", "spec.maxDeliveries"]);
        for text in ["{}", "[]", "null", r#"{"metadata": 1, "spec": []}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
