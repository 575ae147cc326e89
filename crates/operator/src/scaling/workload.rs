//! The workload that runs a group's consumers: its replicas, its pods, and who else scales it.

use std::time::{Duration, Instant};

use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch},
    core::{ApiResource, DynamicObject, GroupVersionKind},
    discovery,
};
use pondage_autoscale::PodSeen;
use pondage_resources::ScaleTarget;
use serde_json::json;

use crate::{error::ReconcileError, written::as_manager};

/// How often it is looked for other autoscalers.
const CONFLICTS_EVERY: Duration = Duration::from_secs(30);
/// Which of its pods a ReplicaSet takes first when there are fewer to be.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Less than that of any other pod.
const FIRST_TO_GO: &str = "-1";

/// A workload with a scale.
pub(super) struct Workload {
    client: Client,
    namespace: String,
    target: ScaleTarget,
    /// How its kind is called in the API, once that is known.
    resource: Option<ApiResource>,
    conflicting: Option<(Option<String>, Instant)>,
}

/// What Kubernetes says of it.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkloadSeen {
    pub(super) replicas: u32,
    pub(super) pods: Vec<PodSeen>,
    pub(super) conflicting: Option<String>,
    /// The version of the scale that this is of.
    version: Option<String>,
}

impl Workload {
    pub(super) const fn new(client: Client, namespace: String, target: ScaleTarget) -> Self {
        Self { client, namespace, target, resource: None, conflicting: None }
    }

    /// Looks at it.
    ///
    /// # Errors
    /// Those of the API server: 404 if it is not there.
    pub(super) async fn look(&mut self) -> Result<WorkloadSeen, ReconcileError> {
        let scale = self.api().await?.get_scale(&self.target.name).await?;
        let status = scale.status.unwrap_or_default();
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        Ok(WorkloadSeen {
            replicas: u32::try_from(replicas).unwrap_or(0),
            pods: self.pods(status.selector.as_deref().unwrap_or_default()).await?,
            conflicting: self.conflicting().await?,
            version: scale.metadata.resource_version,
        })
    }

    /// Gives it so many replicas, unless somebody else changed it since.
    ///
    /// # Errors
    /// Those of the API server: 409 if somebody did.
    pub(super) async fn scale(&mut self, replicas: u32, seen: &WorkloadSeen) -> Result<(), ReconcileError> {
        let patch = json!({
            "metadata": { "resourceVersion": seen.version },
            "spec": { "replicas": replicas },
        });
        let api = self.api().await?;
        api.patch_scale(&self.target.name, &as_manager(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Marks a pod as the first to go, or as any other. One that is gone needs no mark.
    ///
    /// # Errors
    /// Those of the API server.
    pub(super) async fn mark(&self, pod: &str, is_first: bool) -> Result<(), ReconcileError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let cost = is_first.then_some(FIRST_TO_GO);
        let patch = json!({ "metadata": { "annotations": { DELETION_COST: cost } } });
        match pods.patch(pod, &as_manager(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn api(&mut self) -> Result<Api<DynamicObject>, ReconcileError> {
        if self.resource.is_none() {
            let (group, version) =
                self.target.api_version.split_once('/').unwrap_or(("", &self.target.api_version));
            let kind = GroupVersionKind::gvk(group, version, &self.target.kind);
            self.resource = Some(discovery::pinned_kind(&self.client, &kind).await?.0);
        }
        let Some(resource) = &self.resource else { return Err(ReconcileError::NotConnected) };
        Ok(Api::namespaced_with(self.client.clone(), &self.namespace, resource))
    }

    async fn pods(&self, selector: &str) -> Result<Vec<PodSeen>, ReconcileError> {
        // Without a selector they would be all that there are.
        if selector.is_empty() {
            return Ok(Vec::new());
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = pods.list(&ListParams::default().labels(selector)).await?;
        let mut seen: Vec<PodSeen> = found.items.iter().map(pod_seen).collect();
        seen.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(seen)
    }

    /// Another autoscaler of the same workload; KEDA makes a HorizontalPodAutoscaler, too.
    async fn conflicting(&mut self) -> Result<Option<String>, ReconcileError> {
        if let Some((found, at)) = &self.conflicting
            && at.elapsed() < CONFLICTS_EVERY
        {
            return Ok(found.clone());
        }
        let all: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = all.list(&ListParams::default()).await?;
        let found = all.items.iter().find(|other| is_of(other, &self.target));
        let found = found.map(|other| format!("HorizontalPodAutoscaler {}", other.name_any()));
        self.conflicting = Some((found.clone(), Instant::now()));
        Ok(found)
    }
}

/// Whether the autoscaler scales this workload. Versions of one API mean the same objects.
fn is_of(autoscaler: &HorizontalPodAutoscaler, target: &ScaleTarget) -> bool {
    let Some(spec) = &autoscaler.spec else { return false };
    let other = &spec.scale_target_ref;
    let group = |api_version: &str| api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    (other.kind.as_str(), other.name.as_str()) == (target.kind.as_str(), target.name.as_str())
        && group(other.api_version.as_deref().unwrap_or_default()) == group(&target.api_version)
}

fn pod_seen(pod: &Pod) -> PodSeen {
    let millis = |time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| {
        u64::try_from(time.0.as_millisecond()).unwrap_or(0)
    };
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|found| found.type_ == "Ready" && found.status == "True");
    PodSeen {
        name: pod.name_any(),
        created_millis: pod.metadata.creation_timestamp.as_ref().map_or(0, millis),
        ready_millis: ready.and_then(|ready| ready.last_transition_time.as_ref()).map(millis),
        terminating: pod.metadata.deletion_timestamp.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoscaler_of_the_same_workload_is_found_whatever_version_it_names() {
        let target = |api_version: &str, kind: &str, name: &str| ScaleTarget {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let other: HorizontalPodAutoscaler = serde_json::from_value(json!({
            "metadata": { "name": "keda-hpa-packers" },
            "spec": {
                "maxReplicas": 3,
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "packers" },
            },
        }))
        .expect("an autoscaler");
        for (target, expected) in [
            (target("apps/v1", "Deployment", "packers"), true),
            (target("apps/v1beta1", "Deployment", "packers"), true),
            (target("apps/v1", "StatefulSet", "packers"), false),
            (target("apps/v1", "Deployment", "others"), false),
            (target("example.com/v1", "Deployment", "packers"), false),
        ] {
            assert_eq!(is_of(&other, &target), expected, "{target:?}");
        }
    }

    #[test]
    fn a_pod_is_ready_since_its_condition_says_so() {
        let pod = |status: &str, deleted: Option<&str>| -> PodSeen {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {
                    "name": "packers-1",
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                    "deletionTimestamp": deleted,
                },
                "status": { "conditions": [
                    { "type": "PodScheduled", "status": "True" },
                    { "type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:07Z" },
                ] },
            }))
            .expect("a pod");
            pod_seen(&pod)
        };
        let begun = 1_767_225_600_000;
        let ready = pod("True", None);
        assert_eq!((ready.created_millis, ready.ready_millis), (begun, Some(begun + 7_000)));
        assert_eq!(pod("False", None).ready_millis, None);
        assert!(pod("True", Some("2026-01-01T00:01:00Z")).terminating && !ready.terminating);
    }
}
