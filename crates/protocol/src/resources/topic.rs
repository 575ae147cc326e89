//! Settings of a topic.

use pondage_model::{Refusal, limits, settings::TopicSettings};

use super::{
    deletion_policy, deletion_policy_number, placement, placement_number, replicas, unlimited_if_zero,
};
use crate::{check::within, v1};

impl TryFrom<v1::TopicSpec> for TopicSettings {
    type Error = Refusal;

    fn try_from(spec: v1::TopicSpec) -> Result<Self, Refusal> {
        let default = Self::default();
        let (replicas, min_in_sync_replicas) = replicas(spec.replicas, spec.min_in_sync_replicas)?;
        let partitions = spec.partitions.unwrap_or(default.partitions);
        let message_bytes_max = spec.message_bytes_max.unwrap_or(default.message_bytes_max);
        Ok(Self {
            partitions: within("partitions", partitions, 1..=limits::PARTITIONS_MAX)?,
            replicas,
            min_in_sync_replicas,
            retention_millis: unlimited_if_zero(spec.retention_millis.or(default.retention_millis)),
            retention_bytes: unlimited_if_zero(spec.retention_bytes.or(default.retention_bytes)),
            message_bytes_max: within("message_bytes_max", message_bytes_max, 1..=limits::MESSAGE_BYTES_MAX)?,
            placement: placement(spec.placement)?,
            deletion_policy: deletion_policy(spec.deletion_policy)?,
        })
    }
}

impl From<TopicSettings> for v1::TopicSpec {
    fn from(settings: TopicSettings) -> Self {
        Self {
            partitions: Some(settings.partitions),
            replicas: settings.replicas,
            min_in_sync_replicas: settings.min_in_sync_replicas,
            // Left out would be the default, so for ever is said.
            retention_millis: Some(settings.retention_millis.unwrap_or(0)),
            retention_bytes: Some(settings.retention_bytes.unwrap_or(0)),
            message_bytes_max: Some(settings.message_bytes_max),
            placement: placement_number(settings.placement),
            deletion_policy: deletion_policy_number(settings.deletion_policy),
        }
    }
}
