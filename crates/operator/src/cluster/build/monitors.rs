//! What the Prometheus operator needs to scrape the brokers.

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;

use super::{Child, Facts, ValidatedCluster};
use crate::names::INSTANCE;

/// A monitor of the brokers' pods, where its kind is known.
pub(super) fn pod_monitor(cluster: &ValidatedCluster, facts: &Facts) -> Option<Child> {
    if !cluster.has_monitors || !facts.has_monitor_kinds {
        return None;
    }
    let name = format!("{}-brokers", cluster.key.name);
    // What alerts and dashboards tell clusters apart by. Many already have a label `cluster`, of Kubernetes itself.
    let instance = INSTANCE.replace(['.', '/'], "_");
    let named = json!({
        "sourceLabels": [format!("__meta_kubernetes_pod_label_{instance}")],
        "targetLabel": "pondage_cluster",
    });
    let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PodMonitor");
    let body = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": cluster.key.owned(name.clone(), &cluster.owner),
        "spec": {
            "selector": { "matchLabels": cluster.key.selector() },
            "podMetricsEndpoints": [{ "port": "http", "path": "/metrics", "relabelings": [named] }],
        },
    });
    Some(Child { resource: ApiResource::from_gvk_with_plural(&kind, "podmonitors"), name, body })
}
