//! Objects that no present definition would let in.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::shop::{NAMESPACE, Shop, condition, is_ready, manifest};
use crate::command::wait_until;

/// How long something may take to show.
const SOON: Duration = Duration::from_secs(40);
/// The definition that is loosened for a while.
const DEFINITION: &str = "queues.pondage.io";

/// What lies in etcd since another version let it in: each a spec, and a status if it has one.
const OLD: [(&str, &str, Option<&str>); 4] = [
    ("old-words", r#"{"maxDeliveries": "many", "ackTimeout": 30}"#, None),
    ("old-shape", r#"{"backoff": [1, 2], "deadLetter": "nowhere"}"#, None),
    ("old-no-map", r#""nothing like a map""#, None),
    ("old-status", "{}", Some(r#"{"conditions": "none", "uid": 7}"#)),
];

pub(super) fn old_bad_objects_are_said(shop: &Shop) -> Result<String> {
    let schema = definition(shop)?["spec"]["versions"][0]["schema"].clone();
    let loose =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    define(shop, &loose)?;
    let stored = OLD.iter().try_for_each(|old| store(shop, old));
    define(shop, &schema)?;
    stored?;
    // The API server keeps to the definition again.
    wait_until("the strict definition", SOON, || {
        Ok(shop.apply(&manifest("Queue", "strictly", r#"{"maxDeliveries": "many"}"#)).is_err())
    })?;
    shop.restart_operator()?;
    shop.apply(&manifest("Queue", "beside", "{}"))?;
    shop.wait_for(("queue", "beside"), SOON, is_ready)?;
    for (name, ..) in &OLD[..3] {
        shop.wait_for(("queue", name), SOON, |queue| {
            condition(queue, "Accepted") == ("False".to_owned(), "Invalid".to_owned())
        })
        .with_context(|| format!("{name} should be refused"))?;
    }
    // Only its status was bad, and that is the operator's to mend.
    shop.wait_for(("queue", "old-status"), SOON, is_ready)?;
    for pod in shop.list("pods", "app.kubernetes.io/component=operator")? {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(restarts == 0, "the operator ended {restarts} times");
    }
    for (name, ..) in OLD {
        shop.kubectl(&["delete", "queue", name, "--timeout=30s"])?;
    }
    Ok(format!("{} objects", OLD.len()))
}

fn store(shop: &Shop, (name, spec, status): &(&str, &str, Option<&str>)) -> Result<()> {
    wait_until("the loose definition", SOON, || {
        let create = ["--namespace", NAMESPACE, "create", "--validate=false", "-f", "-"];
        shop.cluster.kubectl(&create, &manifest("Queue", name, spec))?;
        Ok(true)
    })?;
    if let Some(status) = status {
        let patch = format!(r#"{{"status": {status}}}"#);
        shop.kubectl(&["patch", "queue", name, "--subresource=status", "--type=merge", "-p", &patch])?;
    }
    Ok(())
}

fn definition(shop: &Shop) -> Result<Value> {
    Ok(serde_json::from_str(&shop.cluster.kubectl(&["get", "crd", DEFINITION, "-o", "json"], "")?)?)
}

fn define(shop: &Shop, schema: &Value) -> Result<()> {
    let patch = json!([{ "op": "replace", "path": "/spec/versions/0/schema", "value": schema }]);
    let arguments = ["patch", "crd", DEFINITION, "--type=json", "-p", &patch.to_string()];
    shop.cluster.kubectl(&arguments, "").map(drop)
}
