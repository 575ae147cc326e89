//! Topics.

use pondage_model::{Name, limits, settings::TopicSettings};
use serde::{Deserialize, Serialize};

use crate::{
    check::{Checks, FieldError},
    duration::Duration,
    object::{ClusterReference, DeletionPolicy, Durability, Kind, Object, Placement},
    quantity::Quantity,
};

/// A topic.
pub type Topic = Object<TopicSpec>;

/// What a topic asks for. A field that is left out takes the default of [`TopicSettings`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicSpec {
    /// The cluster; local mode has one and needs no reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterReference>,
    /// The name in the cluster, if it is not `metadata.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// Partitions; only grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i64>,
    /// Copies of each partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Copies that must be durable before a message is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_in_sync_replicas: Option<i64>,
    /// When a message counts as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How long messages are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What retention does to old messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_policy: Option<CleanupPolicy>,
    /// How stored batches are compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The greatest message: key, value and headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_size: Option<Quantity>,
    /// Where its partitions live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What deleting the resource does to its messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// How long messages are kept.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CleanupPolicy {
    /// The oldest are deleted.
    #[default]
    Delete,
}

/// How stored batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
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
            ..TopicSpec::default()
        };
        Self::new(Kind::Topic, name, spec)
    }
}
