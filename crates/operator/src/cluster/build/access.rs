//! Who the brokers are to Kubernetes, who reaches them, and how many may be taken away at once.

use k8s_openapi::{
    api::{
        core::v1::ServiceAccount,
        networking::v1::{
            NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Child, Facts, ValidatedCluster};
use crate::cluster::validate::HTTP_PORT;

/// An account without any right: brokers never ask the API server.
pub(super) fn service_account(cluster: &ValidatedCluster) -> Child {
    let metadata = cluster.key.owned(format!("{}-broker", cluster.key.name), &cluster.owner);
    let account = ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    Child::new(&account, "serviceaccounts")
}

/// Everybody reaches the ports that are for everybody, and nobody any other one. Who may do what is decided by
/// certificates, not by addresses.
pub(super) fn network_policy(cluster: &ValidatedCluster) -> Option<Child> {
    let port = |number: u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(number.into())),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    let everywhere = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let clients = NetworkPolicyIngressRule { from: None, ports: Some(vec![port(cluster.port)]) };
    let scrapers =
        NetworkPolicyIngressRule { from: Some(vec![everywhere]), ports: Some(vec![port(HTTP_PORT)]) };
    let policy = NetworkPolicy {
        metadata: cluster.key.owned(format!("{}-brokers", cluster.key.name), &cluster.owner),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(cluster.key.selector()),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![clients, scrapers]),
            ..NetworkPolicySpec::default()
        }),
    };
    cluster.has_network_policy.then(|| Child::new(&policy, "networkpolicies"))
}

/// One broker at a time, and none while a shard has no copy to spare. A lone broker has no budget: it could never be
/// evicted, and a node with it never drained.
pub(super) fn disruption_budget(cluster: &ValidatedCluster, facts: &Facts) -> Option<Child> {
    let most = i32::from(facts.can_spare_one);
    let budget = PodDisruptionBudget {
        metadata: cluster.key.owned(format!("{}-brokers", cluster.key.name), &cluster.owner),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(most)),
            selector: Some(LabelSelector {
                match_labels: Some(cluster.key.selector()),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    };
    (cluster.replicas.max(facts.replicas_at_least) > 1).then(|| Child::new(&budget, "poddisruptionbudgets"))
}
