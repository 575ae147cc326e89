//! The brokers' pods, as caches have them, and the failure domain that each is told.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Node, Pod},
};
use kube::{Api, ResourceExt, api::Patch};
use serde_json::json;

use super::{rollout::PodSeen, validate::ValidatedCluster};
use crate::{
    error::ReconcileError,
    names::{INSTANCE, RACK},
    operator::Operator,
    written::as_manager,
};

/// What the StatefulSet's controller puts on each pod: which template it was made from.
const REVISION: &str = "controller-revision-hash";

/// The pods of a cluster.
pub(super) fn seen(
    operator: &Operator,
    cluster: &ValidatedCluster,
    set: Option<&StatefulSet>,
) -> Vec<PodSeen> {
    let status = set.and_then(|set| set.status.as_ref());
    let generation = set.and_then(|set| set.metadata.generation);
    let is_fresh = status.and_then(|status| status.observed_generation) >= generation;
    let update = status.and_then(|status| status.update_revision.as_deref());
    let mut pods: Vec<PodSeen> = pods(operator, cluster)
        .iter()
        .map(|pod| {
            let name = pod.name_any();
            let revision = pod.labels().get(REVISION).map(String::as_str);
            PodSeen {
                uid: pod.uid().unwrap_or_default(),
                // What the controller has not looked at yet, nobody knows: such a pod is left alone.
                is_current: !is_fresh || update.is_none() || revision == update,
                is_ready: is_ready(pod),
                is_going: pod.metadata.deletion_timestamp.is_some(),
                address: format!("{}:{}", cluster.key.pod_host(&name), cluster.port),
                name,
            }
        })
        .collect();
    pods.sort_by(|one, other| (one.name.len(), &one.name).cmp(&(other.name.len(), &other.name)));
    pods
}

fn pods(operator: &Operator, cluster: &ValidatedCluster) -> Vec<std::sync::Arc<Pod>> {
    let key = &cluster.key;
    let prefix = format!("{}-", key.name);
    let is_ours = |pod: &Pod| {
        pod.namespace().as_deref() == Some(key.namespace.as_str())
            && pod.labels().get(INSTANCE) == Some(&key.name)
            && pod.name_any().starts_with(&prefix)
    };
    operator.children.pods.state().into_iter().filter(|pod| is_ours(pod)).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

/// Tells every pod that has a node by now what that node's failure domain is, `-` for none.
pub(super) async fn name_racks(
    operator: &Operator,
    cluster: &ValidatedCluster,
) -> Result<(), ReconcileError> {
    let Some(label) = &cluster.rack_label else { return Ok(()) };
    for pod in pods(operator, cluster) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let Some(node) = node.filter(|_| !pod.annotations().contains_key(RACK)) else { continue };
        let nodes: Api<Node> = Api::all(operator.client.clone());
        let rack = match nodes.get_opt(&node).await {
            Ok(found) => found.and_then(|node| node.labels().get(label).cloned()),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                tracing::debug!(node, "nodes may not be read: brokers have no failure domain");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let patch = json!({
            "metadata": {
                "uid": pod.uid(),
                "annotations": { RACK: rack.unwrap_or_else(|| "-".to_owned()) },
            },
        });
        let api: Api<Pod> = Api::namespaced(operator.client.clone(), &cluster.key.namespace);
        match api.patch(&pod.name_any(), &as_manager(), &Patch::Merge(patch)).await {
            Ok(_) => operator.metrics.writes.inc(),
            // It is gone, or another one has its name by now.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
