//! Broker clusters.

use std::collections::{BTreeMap, BTreeSet};

use kube::{CustomResource, KubeSchema};
use pondage_model::{Name, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::{Checks, FieldError},
    object::{Kind, Object},
    pods::{AllowedNamespaces, PodTemplate, Rack, Resources, Storage, Switch},
    rules,
    schema::NAME,
    status::BrokerClusterStatus,
};

/// A cluster of brokers.
pub type BrokerCluster = Object<BrokerClusterSpec>;

/// What a cluster asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "pondage.io",
    version = "v1alpha1",
    kind = "BrokerCluster",
    root = "KubeBrokerCluster",
    namespaced,
    shortname = "pcl",
    category = "pondage",
    status = "BrokerClusterStatus",
    doc = "A cluster of brokers.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = rules::cluster_name_fits(),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether it is as it was asked for"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why",
        priority = 1
    ),
    printcolumn(
        name = "Brokers",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Brokers whose own copies have caught up"
    ),
    printcolumn(
        name = "Wanted",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Brokers that there should be"
    ),
    printcolumn(
        name = "Under-Replicated",
        type_ = "integer",
        json_path = ".status.underReplicatedShards",
        description = "Shards with fewer copies in sync than they should have"
    ),
    printcolumn(
        name = "Offline",
        type_ = "integer",
        json_path = ".status.offlineShards",
        description = "Shards that nobody leads"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = rules::copies_fit())]
#[serde(rename_all = "camelCase")]
pub struct BrokerClusterSpec {
    /// Brokers; local mode has 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = BROKERS_MAX))]
    pub replicas: Option<i64>,
    /// Copies of topics and queues that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::not_above("minInSyncReplicas", "defaultReplicas"))]
    pub replication: Option<Replication>,
    /// Ports that clients connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LISTENERS_MAX))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]), validation = rules::ports_differ())]
    pub listeners: Option<Vec<Listener>>,
    /// The image that brokers run, if it is not the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = IMAGE_MAX))]
    pub image: Option<String>,
    /// The brokers' volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The failure domains over which copies are spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rack: Option<Rack>,
    /// What a broker's container may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// What the brokers' pods have besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// Settings of the broker process; which keys there are, the page on resources says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = CONFIG_MAX), inner(length(max = 1_024)))]
    pub config: Option<BTreeMap<String, String>>,
    /// Which namespaces may declare topics, queues and groups of this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// Who may connect to the brokers' pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<Switch>,
    /// Monitors for the Prometheus operator, where it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Switch>,
}

/// Copies of topics and queues that name none.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Replication {
    /// Copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::REPLICAS_MAX))]
    pub default_replicas: Option<i64>,
    /// Copies that must be durable before a message is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::REPLICAS_MAX))]
    pub min_in_sync_replicas: Option<i64>,
}

/// A port that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name, unique in the cluster.
    #[schemars(length(min = 1, max = 63), regex(pattern = NAME))]
    pub name: String,
    /// The TCP port, unique in the cluster.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i64,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: ListenerProtocol,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ListenerProtocol {
    /// Pondage's own gRPC interface.
    #[default]
    Native,
}

/// A checked cluster. `None` leaves the choice to whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Its name.
    pub name: Name,
    /// Brokers.
    pub replicas: Option<u32>,
    /// Copies of topics and queues that name none.
    pub default_replicas: Option<u32>,
    /// Copies that must be durable before a message is acknowledged.
    pub min_in_sync_replicas: Option<u32>,
    /// Ports that clients connect to; names and ports are unique. Empty takes the usual port.
    pub listeners: Vec<ListenerSettings>,
}

/// A checked listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Its name.
    pub name: Name,
    /// The TCP port, not 0.
    pub port: u16,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
}

/// The greatest number of brokers that a resource may ask for.
const BROKERS_MAX: i64 = 1_000;

/// The greatest number of listeners of a cluster.
const LISTENERS_MAX: usize = 64;

/// Characters of an image's name.
const IMAGE_MAX: usize = 512;

/// Keys of `config`.
const CONFIG_MAX: usize = 64;

impl Object<BrokerClusterSpec> {
    /// The settings.
    ///
    /// # Errors
    /// Everything that is wrong, by field.
    pub fn settings(&self) -> Result<ClusterSettings, Vec<FieldError>> {
        let spec = &self.spec;
        let mut checks = Checks::default();
        let name = checks.cluster_name(&self.metadata, "metadata.name", None);
        let replicas = checks.number("spec.replicas", spec.replicas, 1..=BROKERS_MAX);
        let replication = spec.replication.clone().unwrap_or_default();
        let (default_replicas, min_in_sync_replicas) = checks.replicas(
            ["spec.replication.defaultReplicas", "spec.replication.minInSyncReplicas"],
            [replication.default_replicas, replication.min_in_sync_replicas],
        );
        if let (Some(brokers), Some(copies)) = (replicas, default_replicas)
            && copies > brokers
        {
            checks.wrong(
                "spec.replication.defaultReplicas",
                format!("{copies} is more than the brokers, spec.replicas, which is {brokers}"),
            );
        }
        let listeners = listeners(&mut checks, spec.listeners.as_deref().unwrap_or_default());
        checks.finish(name.map(|name| ClusterSettings {
            name,
            replicas,
            default_replicas,
            min_in_sync_replicas,
            listeners,
        }))
    }

    /// The resource that asks for `settings`.
    #[must_use]
    pub fn from_settings(settings: &ClusterSettings) -> Self {
        let replication = Replication {
            default_replicas: settings.default_replicas.map(Into::into),
            min_in_sync_replicas: settings.min_in_sync_replicas.map(Into::into),
        };
        let listener = |listener: &ListenerSettings| Listener {
            name: listener.name.to_string(),
            port: listener.port.into(),
            protocol: listener.protocol,
        };
        let listeners: Vec<_> = settings.listeners.iter().map(listener).collect();
        let spec = BrokerClusterSpec {
            replicas: settings.replicas.map(Into::into),
            replication: (replication != Replication::default()).then_some(replication),
            listeners: (!listeners.is_empty()).then_some(listeners),
            ..BrokerClusterSpec::default()
        };
        Self::new(Kind::BrokerCluster, &settings.name, spec)
    }
}

fn listeners(checks: &mut Checks, listeners: &[Listener]) -> Vec<ListenerSettings> {
    if listeners.len() > LISTENERS_MAX {
        let count = listeners.len();
        checks.wrong("spec.listeners", format!("has {count} listeners; at most {LISTENERS_MAX} are allowed"));
        return Vec::new();
    }
    let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
    let mut out = Vec::new();
    for (at, listener) in listeners.iter().enumerate() {
        let field = |name: &str| format!("spec.listeners[{at}].{name}");
        let name = checks.name(&field("name"), &listener.name);
        let port = checks.number(&field("port"), Some(listener.port), 1..=65_535);
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            checks.wrong(&field("name"), format!("{} names two listeners", listener.name));
        }
        if port.is_some_and(|port: u16| !ports.insert(port)) {
            checks.wrong(&field("port"), format!("{} is the port of two listeners", listener.port));
        }
        out.extend(name.zip(port).map(|(name, port)| ListenerSettings {
            name,
            port,
            protocol: listener.protocol,
        }));
    }
    out
}
