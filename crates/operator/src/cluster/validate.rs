//! A BrokerCluster as it was written becomes one that can be built, or the reasons why not. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use pondage_resources::{
    API_VERSION, BrokerCluster, FieldError, Kind, ListenerProtocol, Mode, PodTemplate, RackMode, Resources,
    VolumePolicy,
};

use crate::names::{Key, PAUSED, says_true};

/// A cluster that can be built.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValidatedCluster {
    pub(crate) key: Key,
    pub(crate) owner: OwnerReference,
    pub(crate) replicas: u32,
    pub(crate) replication: Replication,
    pub(crate) listener: String,
    pub(crate) port: u16,
    pub(crate) image: String,
    pub(crate) storage: Storage,
    /// The label of nodes that names a broker's failure domain.
    pub(crate) rack_label: Option<String>,
    pub(crate) resources: Resources,
    pub(crate) pod: PodTemplate,
    pub(crate) config: Config,
    pub(crate) has_network_policy: bool,
    pub(crate) has_monitors: bool,
    pub(crate) is_paused: bool,
}

/// Copies of topics and queues that name none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Replication {
    pub(crate) replicas: Option<u32>,
    pub(crate) min_in_sync: Option<u32>,
}

/// The brokers' volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) bytes: u64,
    pub(crate) class: Option<String>,
    pub(crate) when_deleted: VolumePolicy,
    pub(crate) when_scaled: VolumePolicy,
}

/// Settings of the broker process.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Config {
    pub(crate) log_level: Option<String>,
    pub(crate) log_format: Option<String>,
}

/// Where clients and brokers connect unless a listener says otherwise.
const PORT: u16 = 7_420;
/// Where metrics and health are.
pub(crate) const HTTP_PORT: u16 = 7_421;
/// The size of a volume unless another one is asked for.
const STORAGE_BYTES: u64 = 10 << 30;
/// Brokers unless another number is asked for.
const BROKERS: u32 = 3;
/// The label of nodes that names their zone.
const ZONE: &str = "topology.kubernetes.io/zone";

impl ValidatedCluster {
    /// Where one of the brokers is asked.
    pub(crate) fn broker_url(&self, ordinal: u32) -> String {
        format!("https://{}:{}", self.key.broker_host(ordinal), self.port)
    }
}

/// Checks a cluster beyond what its definition does, and fills in defaults.
pub(crate) fn validate(
    object: &BrokerCluster,
    metadata: &ObjectMeta,
    own_image: &str,
) -> Result<ValidatedCluster, Vec<FieldError>> {
    let mut settings = object.settings()?;
    let spec = &object.spec;
    let mut wrong = Vec::new();
    let mut say = |field: &str, problem: String| {
        wrong.push(FieldError { field: field.to_owned(), problem, missing: false });
    };
    if settings.listeners.len() > 1 {
        say("spec.listeners", "one listener is served by this version".to_owned());
    }
    let listener = settings.listeners.pop();
    let port = listener.as_ref().map_or(PORT, |listener| listener.port);
    if port == HTTP_PORT {
        say("spec.listeners[0].port", format!("{HTTP_PORT} is where brokers have metrics and health"));
    }
    if port < 1_024 {
        let problem = format!("{port} needs a privilege that brokers don't have: take one from 1024 on");
        say("spec.listeners[0].port", problem);
    }
    let replicas = settings.replicas.unwrap_or(BROKERS);
    if let Some(copies) = settings.default_replicas
        && copies > replicas
    {
        let problem = format!("{copies} is more than the brokers, spec.replicas, which is {replicas}");
        say("spec.replication.defaultReplicas", problem);
    }
    let config = config(spec.config.as_ref(), &mut say);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let storage = spec.storage.clone().unwrap_or_default();
    let retention = storage.retention_policy.unwrap_or_default();
    let rack = spec.rack.clone().unwrap_or_default();
    let is_on =
        |switch: &Option<pondage_resources::Switch>| switch.clone().unwrap_or_default().mode == Mode::Enabled;
    Ok(ValidatedCluster {
        key: Key::of(metadata),
        owner: OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: Kind::BrokerCluster.as_str().to_owned(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        },
        replicas,
        replication: Replication {
            replicas: settings.default_replicas,
            min_in_sync: settings.min_in_sync_replicas,
        },
        listener: listener
            .map_or_else(|| word(ListenerProtocol::Native), |listener| listener.name.to_string()),
        port,
        image: spec.image.clone().unwrap_or_else(|| own_image.to_owned()),
        storage: Storage {
            bytes: storage.size.map_or(STORAGE_BYTES, pondage_resources::Quantity::bytes),
            class: storage.storage_class_name,
            when_deleted: retention.when_deleted.unwrap_or_default(),
            when_scaled: retention.when_scaled.unwrap_or_default(),
        },
        rack_label: (rack.mode.unwrap_or_default() == RackMode::Preferred)
            .then(|| rack.topology_key.unwrap_or_else(|| ZONE.to_owned())),
        resources: spec.resources.clone().unwrap_or_default(),
        pod: spec.pod_template.clone().unwrap_or_default(),
        config,
        has_network_policy: is_on(&spec.network_policy),
        has_monitors: is_on(&spec.monitoring),
        is_paused: says_true(metadata, PAUSED),
    })
}

fn word(protocol: ListenerProtocol) -> String {
    match protocol {
        ListenerProtocol::Native => "native".to_owned(),
    }
}

/// Reads the escape hatch. A key that nothing reads is an error: silence would pass for consent.
fn config(given: Option<&BTreeMap<String, String>>, say: &mut impl FnMut(&str, String)) -> Config {
    let mut config = Config::default();
    for (key, value) in given.into_iter().flatten() {
        let field = format!("spec.config.{key}");
        match key.as_str() {
            "logLevel" => config.log_level = Some(value.clone()),
            "logFormat" if ["text", "json"].contains(&value.as_str()) => {
                config.log_format = Some(value.clone());
            }
            "logFormat" => say(&field, format!("{value:?} is none of text, json")),
            _ => say(&field, "is not a key; allowed: logFormat, logLevel".to_owned()),
        }
    }
    config
}

#[cfg(test)]
pub(crate) mod tests {
    use pondage_resources::{Resource, read_object};
    use serde_json::json;

    use super::*;

    pub(crate) fn cluster(spec: serde_json::Value) -> Result<ValidatedCluster, Vec<FieldError>> {
        let mut object = json!({ "apiVersion": API_VERSION, "kind": "BrokerCluster",
                                 "metadata": { "name": "main", "namespace": "shop" } });
        object["spec"] = spec;
        let metadata = ObjectMeta {
            name: Some("main".to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some("1-2-3".to_owned()),
            ..ObjectMeta::default()
        };
        match read_object(&object)? {
            Resource::BrokerCluster(object) => validate(&object, &metadata, "pondage:own"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_spec_takes_the_defaults() {
        let cluster = cluster(json!({})).expect("valid");
        assert_eq!((cluster.replicas, cluster.port, cluster.image.as_str()), (3, 7_420, "pondage:own"));
        assert_eq!(cluster.rack_label.as_deref(), Some(ZONE));
        assert_eq!(cluster.storage.when_deleted, VolumePolicy::Retain);
        assert_eq!(cluster.key.broker_host(2), "main-2.main-brokers.shop.svc");
    }

    #[test]
    fn what_the_definition_cannot_refuse_is_refused_by_field() {
        let cases = [
            (json!({"config": {"logLevel": "info", "colour": "red"}}), "spec.config.colour"),
            (json!({"config": {"logFormat": "xml"}}), "spec.config.logFormat"),
            (json!({"listeners": [{"name": "a", "port": 7421}]}), "spec.listeners[0].port"),
            (json!({"listeners": [{"name": "a", "port": 80}]}), "spec.listeners[0].port"),
            (
                json!({"listeners": [{"name": "a", "port": 2000}, {"name": "b", "port": 2001}]}),
                "spec.listeners",
            ),
            (json!({"replication": {"defaultReplicas": 5}}), "spec.replication.defaultReplicas"),
        ];
        for (spec, field) in cases {
            let errors = cluster(spec.clone()).expect_err("wrong");
            assert_eq!(errors[0].field, field, "{spec}");
        }
    }
}
