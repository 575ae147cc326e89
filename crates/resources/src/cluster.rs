//! Broker clusters.

use std::collections::BTreeSet;

use pondage_model::Name;
use serde::{Deserialize, Serialize};

use crate::{
    check::{Checks, FieldError},
    object::{Kind, Object},
};

/// A cluster of brokers.
pub type BrokerCluster = Object<BrokerClusterSpec>;

/// What a cluster asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerClusterSpec {
    /// Brokers; local mode has 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Copies of topics and queues that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
    /// Ports that clients connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<Listener>>,
}

/// Copies of topics and queues that name none.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Replication {
    /// Copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_replicas: Option<i64>,
    /// Copies that must be durable before a message is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_in_sync_replicas: Option<i64>,
}

/// A port that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name, unique in the cluster.
    pub name: String,
    /// The TCP port, unique in the cluster.
    pub port: i64,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: ListenerProtocol,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
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
