//! Topics.

use kube::{CustomResource, KubeSchema};
use pondage_model::{Name, limits, settings::TopicSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::{Checks, FieldError},
    duration::Duration,
    object::{ClusterReference, DeletionPolicy, Durability, Kind, Object, Placement},
    pods::AdoptionPolicy,
    quantity::Quantity,
    rules,
    schema::NAME,
    status::TopicStatus,
};

/// A topic.
pub type Topic = Object<TopicSpec>;

/// What a topic asks for. A field that is left out takes the default of [`TopicSettings`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "pondage.io",
    version = "v1alpha1",
    kind = "Topic",
    root = "KubeTopic",
    namespaced,
    shortname = "ptop",
    category = "pondage",
    status = "TopicStatus",
    doc = "A topic: a log of messages that every consumer group reads for itself.",
    validation = rules::name_fits("topicName"),
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
        name = "Partitions",
        type_ = "integer",
        json_path = ".status.partitions",
        description = "Partitions that it has"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Copies of each partition",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = rules::immutable("clusterRef"))]
#[x_kube(validation = rules::immutable("topicName"))]
#[x_kube(validation = rules::only_grows("partitions", 1))]
#[x_kube(validation = rules::not_above("minInSyncReplicas", "replicas"))]
#[serde(rename_all = "camelCase")]
pub struct TopicSpec {
    /// The cluster; local mode has one and needs no reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterReference>,
    /// The name in the cluster, if it is not `metadata.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::NAME_BYTES_MAX), regex(pattern = NAME))]
    pub topic_name: Option<String>,
    /// Partitions; only grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::PARTITIONS_MAX))]
    pub partitions: Option<i64>,
    /// Copies of each partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::REPLICAS_MAX))]
    pub replicas: Option<i64>,
    /// Copies that must be durable before a message is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::REPLICAS_MAX))]
    pub min_in_sync_replicas: Option<i64>,
    /// When a message counts as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How long messages are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::retention())]
    pub retention: Option<Retention>,
    /// What retention does to old messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_policy: Option<CleanupPolicy>,
    /// How stored batches are compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The greatest message: key, value and headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::holds(1, limits::MESSAGE_BYTES_MAX.into()))]
    pub max_message_size: Option<Quantity>,
    /// Where its partitions live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What deleting the resource does to its messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What to do when the brokers have it already; Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,
}

/// How long messages are kept.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// The age at which they may go; `0s` keeps them for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// The bytes per partition above which the oldest go; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
}

/// What retention does to old messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum CleanupPolicy {
    /// The oldest are deleted.
    #[default]
    Delete,
}

/// How stored batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Compression {
    /// As their producer sent them.
    #[default]
    Producer,
}

impl Object<TopicSpec> {
    /// The name in the cluster, and the settings.
    ///
    /// # Errors
    /// Everything that is wrong, by field.
    pub fn settings(&self) -> Result<(Name, TopicSettings), Vec<FieldError>> {
        let spec = &self.spec;
        let defaults = TopicSettings::default();
        let mut checks = Checks::default();
        let name = checks.cluster_name(&self.metadata, "spec.topicName", spec.topic_name.as_deref());
        checks.cluster_reference(spec.cluster_ref.as_ref());
        let (replicas, min_in_sync_replicas) = checks.replicas(
            ["spec.replicas", "spec.minInSyncReplicas"],
            [spec.replicas, spec.min_in_sync_replicas],
        );
        let retention = spec.retention.clone().unwrap_or_default();
        let settings = TopicSettings {
            partitions: checks
                .number("spec.partitions", spec.partitions, 1..=i64::from(limits::PARTITIONS_MAX))
                .unwrap_or(defaults.partitions),
            replicas,
            min_in_sync_replicas,
            retention_millis: match retention.duration {
                None => defaults.retention_millis,
                given => checks
                    .duration("spec.retention.duration", given, 0..=limits::DURATION_MILLIS_MAX)
                    .filter(|millis| *millis > 0),
            },
            retention_bytes: retention.size.map(Quantity::bytes).filter(|bytes| *bytes > 0),
            message_bytes_max: checks.message_size(spec.max_message_size, defaults.message_bytes_max),
            placement: spec.placement.map_or(defaults.placement, Into::into),
            deletion_policy: spec.deletion_policy.map_or(defaults.deletion_policy, Into::into),
        };
        checks.finish(name.map(|name| (name, settings)))
    }

    /// The resource that asks for `settings`, every setting written out.
    #[must_use]
    pub fn from_settings(name: &Name, settings: &TopicSettings) -> Self {
        let spec = TopicSpec {
            partitions: Some(settings.partitions.into()),
            replicas: settings.replicas.map(Into::into),
            min_in_sync_replicas: settings.min_in_sync_replicas.map(Into::into),
            durability: Some(Durability::Fsync),
            retention: Some(Retention {
                duration: Some(Duration::from_millis(settings.retention_millis.unwrap_or(0))),
                size: Some(Quantity::from_bytes(settings.retention_bytes.unwrap_or(0))),
            }),
            cleanup_policy: Some(CleanupPolicy::Delete),
            compression: Some(Compression::Producer),
            max_message_size: Some(Quantity::from_bytes(settings.message_bytes_max.into())),
            placement: Some(settings.placement.into()),
            deletion_policy: Some(settings.deletion_policy.into()),
            adoption_policy: None,
            ..TopicSpec::default()
        };
        Self::new(Kind::Topic, name, spec)
    }
}
