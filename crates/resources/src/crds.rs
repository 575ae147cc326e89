//! The definitions that tell Kubernetes of our kinds, made from the spec and status types.
//!
//! `crds/` holds them as files, and a test compares: the types are the only source.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::CustomResourceExt;
use serde_json::{Value, json};

use crate::{KubeBrokerCluster, KubeConsumerGroup, KubeQueue, KubeTopic, object::Kind};

/// The annotation that lets Helm leave a definition alone when a release goes: with it would go every resource.
const KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

/// The annotation that says which version of Pondage a definition is from, so that an older one leaves it alone.
pub const VERSION_ANNOTATION: &str = "pondage.io/version";

/// Conditions that every resource has from its first moment, so that whoever waits for one finds it.
const CONDITIONS: [&str; 3] = ["Accepted", "Programmed", "Ready"];

/// What a condition says before the operator has seen the resource.
const PENDING: &str = "Pending";

/// All definitions, in the order in which their kinds are applied.
pub const CRDS: [Kind; 4] = Kind::ALL;

/// The definition of a kind.
///
/// # Panics
/// Never: the types have schemas that Kubernetes can express, and a test makes all of them.
#[must_use]
pub fn crd(kind: Kind) -> CustomResourceDefinition {
    let derived = match kind {
        Kind::BrokerCluster => KubeBrokerCluster::crd(),
        Kind::Topic => KubeTopic::crd(),
        Kind::Queue => KubeQueue::crd(),
        Kind::ConsumerGroup => KubeConsumerGroup::crd(),
    };
    let mut definition = serde_json::to_value(derived).expect("a definition is JSON");
    definition["metadata"]["annotations"] =
        json!({ KEEP.0: KEEP.1, VERSION_ANNOTATION: env!("CARGO_PKG_VERSION") });
    let root = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    tidy(root);
    // The name of a Rust type is nobody's business.
    if let Value::Object(root) = root {
        root.remove("title");
    }
    let status = &mut root["properties"]["status"];
    status["description"] = "What the operator says of it.".into();
    status["default"] = json!({ "conditions": CONDITIONS.map(pending) });
    let conditions = &mut status["properties"]["conditions"];
    conditions["x-kubernetes-list-type"] = "map".into();
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    serde_json::from_value(definition).expect("it was one")
}

/// The definition of a kind as a YAML file.
///
/// # Panics
/// Never, as [`crd`].
#[must_use]
pub fn crd_yaml(kind: Kind) -> String {
    serde_yaml::to_string(&crd(kind)).expect("a definition is YAML")
}

fn pending(kind: &str) -> Value {
    json!({
        "type": kind,
        "status": "Unknown",
        "reason": PENDING,
        "message": "the operator has not looked at it yet",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    })
}

/// A field that is left out is left out: null is no value of ours, so that server-side apply never sends one.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("nullable");
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
