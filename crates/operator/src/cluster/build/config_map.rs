//! What the brokers' processes are told, and what their clients have to believe.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{Child, ValidatedCluster};

/// The settings, as environment variables of the broker's container.
pub(super) fn settings(cluster: &ValidatedCluster) -> Child {
    config_map(cluster, format!("{}-config", cluster.key.name), variables(cluster))
}

/// The environment variables that the settings come to.
pub(super) fn variables(cluster: &ValidatedCluster) -> BTreeMap<String, String> {
    let config = &cluster.config;
    let format = config.log_format.clone().unwrap_or_else(|| "json".to_owned());
    let mut variables = BTreeMap::from([("PONDAGE_LOG_FORMAT".to_owned(), format)]);
    variables.extend(config.log_level.clone().map(|level| ("RUST_LOG".to_owned(), level)));
    variables
}

/// The authority's certificate, for clients: they mount it or read it.
pub(super) fn authority(cluster: &ValidatedCluster, certificate: &str) -> Child {
    let data = BTreeMap::from([("ca.crt".to_owned(), certificate.to_owned())]);
    config_map(cluster, format!("{}-ca", cluster.key.name), data)
}

fn config_map(cluster: &ValidatedCluster, name: String, data: BTreeMap<String, String>) -> Child {
    let metadata = cluster.key.owned(name, &cluster.owner);
    Child::new(&ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }, "configmaps")
}
