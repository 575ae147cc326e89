//! From a validated cluster to every object that it needs. Pure: one file per kind.

mod access;
mod config_map;
mod monitors;
mod services;
mod stateful_set;

use k8s_openapi::{Metadata, Resource, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;
use serde_json::Value;

use super::validate::ValidatedCluster;

/// An object that the operator writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Child {
    pub(crate) resource: ApiResource,
    pub(crate) name: String,
    pub(crate) body: Value,
}

impl Child {
    /// Of a typed object; `plural` is how its kind is called in paths.
    pub(crate) fn new<K>(object: &K, plural: &str) -> Self
    where
        K: Resource + Metadata<Ty = ObjectMeta> + Serialize,
    {
        let body = serde_json::to_value(object).unwrap_or(Value::Null);
        let kind = GroupVersionKind::gvk(K::GROUP, K::VERSION, K::KIND);
        Self {
            resource: ApiResource::from_gvk_with_plural(&kind, plural),
            name: object.metadata().name.clone().unwrap_or_default(),
            body,
        }
    }
}

/// What is known of a cluster when its objects are built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The cluster's identity.
    pub(crate) cluster_id: String,
    /// The certificate of the authority that the brokers' clients have to believe.
    pub(crate) authority: String,
    /// Brokers that there are already: fewer are not made.
    pub(crate) replicas_at_least: u32,
    /// The size that volumes have already: it does not change.
    pub(crate) storage_bytes: Option<u64>,
    /// Whether a broker can go without a shard losing its last spare copy.
    pub(crate) can_spare_one: bool,
    /// Whether the Prometheus operator's definitions are there.
    pub(crate) has_monitor_kinds: bool,
}

/// Every object of the cluster, in the order in which they are applied: what a pod needs comes before it.
pub(crate) fn build(cluster: &ValidatedCluster, facts: &Facts) -> Vec<Child> {
    let mut children = vec![
        access::service_account(cluster),
        config_map::settings(cluster),
        config_map::authority(cluster, &facts.authority),
        services::headless(cluster),
        services::clients(cluster),
    ];
    children.extend(access::network_policy(cluster));
    children.extend(access::disruption_budget(cluster, facts));
    children.push(stateful_set::stateful_set(cluster, facts));
    children.extend(monitors::pod_monitor(cluster, facts));
    children
}

/// Objects that are not wanted, if they are there from before.
pub(crate) fn unwanted(cluster: &ValidatedCluster, facts: &Facts) -> Vec<Child> {
    let mut without = cluster.clone();
    (without.has_network_policy, without.has_monitors, without.replicas) = (true, true, 3);
    let all = Facts { has_monitor_kinds: facts.has_monitor_kinds, ..facts.clone() };
    let wanted = build(cluster, facts);
    let is_wanted = |child: &Child| {
        wanted.iter().any(|other| other.resource.kind == child.resource.kind && other.name == child.name)
    };
    build(&without, &all).into_iter().filter(|child| !is_wanted(child)).collect()
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
