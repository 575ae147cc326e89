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
    /// Pods that are marked as the first to go.
    pub(super) marked: Vec<String>,
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
        // A workload that sleeps has no pods.
        let pods = match (replicas, status.replicas) {
            (0, 0) => Vec::new(),
            _ => self.pods(status.selector.as_deref().unwrap_or_default()).await?,
        };
        Ok(WorkloadSeen {
            replicas: u32::try_from(replicas).unwrap_or(0),
            marked: pods.iter().filter(|pod| is_marked(pod)).map(ResourceExt::name_any).collect(),
            pods: pods.iter().map(pod_seen).collect(),
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
        let resource = match &self.resource {
            Some(known) => known,
            None => {
                let (group, version) =
                    self.target.api_version.split_once('/').unwrap_or(("", &self.target.api_version));
                let kind = GroupVersionKind::gvk(group, version, &self.target.kind);
                let found = discovery::pinned_kind(&self.client, &kind).await?.0;
                self.resource.insert(found)
            }
        };
        Ok(Api::namespaced_with(self.client.clone(), &self.namespace, resource))
    }

    /// By their names.
    async fn pods(&self, selector: &str) -> Result<Vec<Pod>, ReconcileError> {
        // Without a selector they would be all that there are.
        if selector.is_empty() {
            return Ok(Vec::new());
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut found = pods.list(&ListParams::default().labels(selector)).await?.items;
        found.sort_unstable_by_key(ResourceExt::name_any);
        Ok(found)
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

/// Whether the autoscaler scales this workload.
fn is_of(autoscaler: &HorizontalPodAutoscaler, target: &ScaleTarget) -> bool {
    let Some(spec) = &autoscaler.spec else { return false };
    let other = &spec.scale_target_ref;
    let api_version = other.api_version.clone().unwrap_or_default();
    is_same(&ScaleTarget { api_version, kind: other.kind.clone(), name: other.name.clone() }, target)
}

/// Whether both are the same workload. Versions of one API mean the same objects.
pub(super) fn is_same(one: &ScaleTarget, other: &ScaleTarget) -> bool {
    let group =
        |target: &ScaleTarget| target.api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    (&one.kind, &one.name, group(one)) == (&other.kind, &other.name, group(other))
}

fn is_marked(pod: &Pod) -> bool {
    pod.annotations().get(DELETION_COST).is_some_and(|cost| cost == FIRST_TO_GO)
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
        ordinal: ordinal(pod),
    }
}

/// A pod's number in its StatefulSet, which is the end of its name.
fn ordinal(pod: &Pod) -> Option<u32> {
    pod.owner_references()
        .iter()
        .find(|owner| owner.kind == "StatefulSet" && owner.controller == Some(true))?;
    pod.name_any().rsplit_once('-')?.1.parse().ok()
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

    #[test]
    fn pods_of_a_stateful_set_have_numbers() {
        for (kind, name, expected) in [
            ("StatefulSet", "packers-12", Some(12)),
            ("ReplicaSet", "packers-12", None),
            ("StatefulSet", "packers", None),
        ] {
            let owner =
                json!({ "apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true });
            let pod: Pod =
                serde_json::from_value(json!({ "metadata": { "name": name, "ownerReferences": [owner] } }))
                    .expect("a pod");
            assert_eq!(pod_seen(&pod).ordinal, expected, "{kind} {name}");
        }
    }

    #[test]
    fn the_marks_of_an_earlier_operator_are_found() {
        for (cost, expected) in [(Some("-1"), true), (Some("100"), false), (None, false)] {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": "packers-1", "annotations": { DELETION_COST: cost.unwrap_or("0") } },
            }))
            .expect("a pod");
            assert_eq!(is_marked(&pod), expected, "{cost:?}");
        }
    }
}
