//! What things are called.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Writes what the operator writes, as `managedFields` and labels say it.
pub(crate) const MANAGER: &str = "pondage-operator";
/// Selects what the operator made.
pub(crate) const MANAGED: &str = "app.kubernetes.io/managed-by=pondage-operator";
/// The label that holds a broker cluster's name.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
/// On any of our resources: `true` stops the operator from changing anything for it.
pub(crate) const PAUSED: &str = "pondage.io/paused";
/// On a topic or queue that is being deleted: `true` lets it go and leaves the brokers alone.
pub(crate) const SKIP_CLEANUP: &str = "pondage.io/skip-cleanup";
/// On a topic or queue whose deletion is more than the removal of an object.
pub(crate) const FINALIZER: &str = "pondage.io/cleanup";
/// On a volume claim: the cluster whose data it holds.
pub(crate) const CLUSTER_ID: &str = "pondage.io/cluster-id";
/// On a broker cluster: this cluster, whose volumes were all lost, may be begun anew, empty.
pub(crate) const BEGIN_EMPTY: &str = "pondage.io/begin-empty";
/// On a broker's pod: its failure domain, `-` for none.
pub(crate) const RACK: &str = "pondage.io/rack";

/// An object's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Key {
    /// Of an object.
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// The service that names every broker, ready or not.
    pub(crate) fn headless(&self) -> String {
        format!("{}-brokers", self.name)
    }

    /// A broker's host name.
    pub(crate) fn broker_host(&self, ordinal: u32) -> String {
        self.pod_host(&format!("{}-{ordinal}", self.name))
    }

    /// The host name of a broker's pod.
    pub(crate) fn pod_host(&self, pod: &str) -> String {
        format!("{pod}.{}.{}.svc", self.headless(), self.namespace)
    }

    /// The labels of everything that belongs to the cluster.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
        labels
    }

    /// The labels that select the brokers' pods.
    pub(crate) fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from(
            [
                ("app.kubernetes.io/name", "pondage"),
                ("app.kubernetes.io/component", "broker"),
                (INSTANCE, &self.name),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        )
    }

    /// The metadata of an object that goes with the cluster.
    pub(crate) fn owned(&self, name: String, owner: &OwnerReference) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// Whether an annotation says `true`.
pub(crate) fn says_true(metadata: &ObjectMeta, annotation: &str) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(annotation)).is_some_and(|value| value == "true")
}
