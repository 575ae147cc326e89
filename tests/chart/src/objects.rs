//! What holds for every object, whatever the values.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

/// Kinds that lie in no namespace.
const CLUSTERWIDE: [&str; 3] = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];

/// A word for an object in errors.
pub(crate) fn label(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The one object of a kind.
pub(crate) fn the<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    match of_kind(objects, kind)[..] {
        [object] => Ok(object),
        ref found => bail!("{} objects are a {kind}", found.len()),
    }
}

/// Looks at everything that must hold for each object alone, and for their names together.
pub(crate) fn check(objects: &[Value], namespace: &str) -> Result<()> {
    let mut names = Vec::new();
    for object in objects {
        let at = label(object);
        ensure!(!names.contains(&at), "{at} is there twice");
        names.push(at.clone());
        placed(object, namespace).map_err(|error| error.context(at.clone()))?;
        if let Some(pod) = pod(object) {
            restricted(pod).map_err(|error| error.context(at))?;
        }
    }
    Ok(())
}

/// It lies in the release's namespace or is named after it, and is labelled.
fn placed(object: &Value, namespace: &str) -> Result<()> {
    let metadata = &object["metadata"];
    let name = text(&metadata["name"]);
    if object["kind"] == "CustomResourceDefinition" {
        return Ok(());
    }
    if CLUSTERWIDE.contains(&text(&object["kind"])) {
        ensure!(metadata["namespace"].is_null(), "has a namespace");
        ensure!(name.starts_with(&format!("{namespace}-")), "another namespace's release has the same name");
    } else {
        ensure!(metadata["namespace"] == namespace, "is not in the release's namespace");
    }
    ensure!(name.len() <= 63, "the name is too long");
    for (key, value) in [("name", "pondage"), ("managed-by", "Helm"), ("part-of", "pondage")] {
        ensure!(metadata["labels"][format!("app.kubernetes.io/{key}")] == value, "no label {key}={value}");
    }
    for key in ["instance", "component", "version"] {
        ensure!(metadata["labels"][format!("app.kubernetes.io/{key}")].is_string(), "no label {key}");
    }
    Ok(())
}

/// The pod that an object is or makes.
pub(crate) fn pod(object: &Value) -> Option<&Value> {
    match text(&object["kind"]) {
        "Pod" => Some(&object["spec"]),
        "Deployment" | "Job" => Some(&object["spec"]["template"]["spec"]),
        _ => None,
    }
}

/// All containers of a pod.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(|key| pod[key].as_array().into_iter().flatten())
}

/// The Pod Security Standard "restricted", and a root file system that can't be written to.
fn restricted(pod: &Value) -> Result<()> {
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        ensure!(pod[key].is_null(), "{key}");
    }
    let security = &pod["securityContext"];
    ensure!(security["runAsNonRoot"] == true && security["runAsUser"] == 65532, "runs as root");
    ensure!(security["seccompProfile"] == json!({ "type": "RuntimeDefault" }), "no seccomp profile");
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds: Vec<&String> =
            volume.as_object().into_iter().flat_map(|map| map.keys()).filter(|key| *key != "name").collect();
        ensure!(kinds == ["configMap"], "a volume of {kinds:?}");
    }
    for container in containers(pod) {
        let security = &container["securityContext"];
        ensure!(security["allowPrivilegeEscalation"] == false, "privileges can grow");
        ensure!(security["readOnlyRootFilesystem"] == true, "the root file system can be written to");
        ensure!(security["capabilities"] == json!({ "drop": ["ALL"] }), "has capabilities");
        ensure!(security["privileged"].is_null(), "privileged");
        let resources = &container["resources"];
        ensure!(resources["requests"].is_object(), "asks for no resources");
        ensure!(resources["limits"]["memory"].is_string(), "has no limit of memory");
    }
    Ok(())
}
