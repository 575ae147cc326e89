//! Queues.

use kube::{CustomResource, KubeSchema};
use pondage_model::{Name, limits, settings::QueueSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::{Checks, FieldError, References},
    delivery::{Backoff, DEAD_LETTER_FIELD, DeadLetter, DeliverySpec},
    duration::Duration,
    error::shown,
    object::{ClusterReference, DeletionPolicy, Durability, Kind, Object, Placement},
    pods::AdoptionPolicy,
    quantity::Quantity,
    rules,
    schema::NAME,
    status::QueueStatus,
};

/// A queue.
pub type Queue = Object<QueueSpec>;

/// What a queue asks for. A field that is left out takes the default of [`QueueSettings`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "pondage.io",
    version = "v1alpha1",
    kind = "Queue",
    root = "KubeQueue",
    namespaced,
    shortname = "pq",
    category = "pondage",
    status = "QueueStatus",
    doc = "A queue: each message goes to one consumer, which accepts it, gives it back or rejects it.",
    validation = rules::name_fits("queueName"),
    validation = rules::not_its_own_dead_letter_queue(),
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
        name = "Ready-Msgs",
        type_ = "integer",
        json_path = ".status.messages.ready",
        description = "Messages ready for a consumer"
    ),
    printcolumn(
        name = "Unacked",
        type_ = "integer",
        json_path = ".status.messages.unacked",
        description = "Messages with a consumer"
    ),
    printcolumn(
        name = "Scheduled",
        type_ = "integer",
        json_path = ".status.messages.scheduled",
        description = "Messages that are not due yet",
        priority = 1
    ),
    printcolumn(
        name = "Oldest",
        type_ = "integer",
        json_path = ".status.oldestMessageAgeSeconds",
        description = "Age of the oldest message that waits, in seconds"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = rules::immutable("clusterRef"))]
#[x_kube(validation = rules::immutable("queueName"))]
#[x_kube(validation = rules::immutable_with_default("ordering", "Standard"))]
#[x_kube(validation = rules::not_above("minInSyncReplicas", "replicas"))]
#[x_kube(validation = rules::dead_letters_need_failures())]
#[serde(rename_all = "camelCase")]
pub struct QueueSpec {
    /// The cluster; local mode has one and needs no reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterReference>,
    /// The name in the cluster, if it is not `metadata.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::NAME_BYTES_MAX), regex(pattern = NAME))]
    pub queue_name: Option<String>,
    /// Copies.
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
    /// The order of delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// Partitions; 1 in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1))]
    pub partitions: Option<i64>,
    /// How long a consumer has to settle a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(limits::LEASE_MILLIS_MIN, rules::LONGEST))]
    pub ack_timeout: Option<Duration>,
    /// Failed attempts after which a message goes to the dead-letter queue; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub max_deliveries: Option<i64>,
    /// How long a failed message waits before its next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::one_backoff(), validation = rules::backoff_waits())]
    #[x_kube(validation = rules::backoff_grows(), validation = rules::not_longer("initial", "max"))]
    pub backoff: Option<Backoff>,
    /// Where messages go that failed too often, were rejected or outlived their time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// How long a message may wait before it is dropped or dead-lettered.
    #[serde(rename = "messageTTL", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(1, rules::LONGEST))]
    pub message_ttl: Option<Duration>,
    /// How long messages are held back before their first delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::delays(), validation = rules::not_longer("default", "max"))]
    pub delivery_delay: Option<DeliveryDelay>,
    /// Unsettled messages that one consumer may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::CREDIT_MAX))]
    pub max_in_flight_per_consumer: Option<i64>,
    /// The greatest message: key, value and headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::holds(1, limits::MESSAGE_BYTES_MAX.into()))]
    pub max_message_size: Option<Quantity>,
    /// When a message counts as settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_mode: Option<DeliveryMode>,
    /// Where the queue lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What deleting the resource does to its messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What to do when the brokers have it already; Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,
}

/// The order of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Ordering {
    /// Nearly first in, first out; not promised under redelivery or with several consumers.
    #[default]
    Standard,
}

/// When a message counts as settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeliveryMode {
    /// When its consumer accepts it.
    #[default]
    AtLeastOnce,
}

/// How long messages are held back.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeliveryDelay {
    /// Of a message that names no delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Duration>,
    /// The longest that a message may name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Duration>,
}

impl Object<QueueSpec> {
    /// The name in the cluster, and the settings.
    ///
    /// # Errors
    /// Everything that is wrong, by field.
    pub fn settings(&self, references: &References) -> Result<(Name, QueueSettings), Vec<FieldError>> {
        let spec = &self.spec;
        let defaults = QueueSettings::default();
        let mut checks = Checks::default();
        let name = checks.cluster_name(&self.metadata, "spec.queueName", spec.queue_name.as_deref());
        checks.cluster_reference(spec.cluster_ref.as_ref());
        if let Some(partitions) = spec.partitions.filter(|partitions| *partitions != 1) {
            checks.wrong("spec.partitions", format!("{partitions} is not served by this version; served: 1"));
        }
        let (replicas, min_in_sync_replicas) = checks.replicas(
            ["spec.replicas", "spec.minInSyncReplicas"],
            [spec.replicas, spec.min_in_sync_replicas],
        );
        let delivery = DeliverySpec {
            ack_timeout: spec.ack_timeout,
            max_deliveries: spec.max_deliveries,
            backoff: spec.backoff.as_ref(),
            dead_letter: spec.dead_letter.as_ref(),
        };
        let delivery = delivery.settings(&mut checks, &self.metadata, references);
        if let (Some(dead_letter), Some(target)) = (&spec.dead_letter, &delivery.dead_letter)
            && Some(target) == name.as_ref()
        {
            let given = shown(&dead_letter.queue_ref.name);
            let text = format!("{given} is this queue itself; name another queue");
            checks.wrong(&format!("{DEAD_LETTER_FIELD}.name"), text);
        }
        let (delivery_delay_millis, delivery_delay_millis_max) = self.delivery_delay(&mut checks, &defaults);
        let settings = QueueSettings {
            replicas,
            min_in_sync_replicas,
            ack_timeout_millis: delivery.ack_timeout_millis,
            max_deliveries: delivery.max_deliveries,
            backoff: delivery.backoff,
            dead_letter: delivery.dead_letter,
            message_ttl_millis: checks.duration(
                "spec.messageTTL",
                spec.message_ttl,
                1..=limits::DURATION_MILLIS_MAX,
            ),
            delivery_delay_millis,
            delivery_delay_millis_max,
            in_flight_per_consumer_max: checks
                .in_flight(spec.max_in_flight_per_consumer)
                .unwrap_or(defaults.in_flight_per_consumer_max),
            message_bytes_max: checks.message_size(spec.max_message_size, defaults.message_bytes_max),
            placement: spec.placement.map_or(defaults.placement, Into::into),
            deletion_policy: spec.deletion_policy.map_or(defaults.deletion_policy, Into::into),
        };
        checks.finish(name.map(|name| (name, settings)))
    }

    fn delivery_delay(&self, checks: &mut Checks, defaults: &QueueSettings) -> (u64, u64) {
        let delay = self.spec.delivery_delay.clone().unwrap_or_default();
        let allowed = || 0..=limits::DURATION_MILLIS_MAX;
        let default = checks
            .duration("spec.deliveryDelay.default", delay.default, allowed())
            .unwrap_or(defaults.delivery_delay_millis);
        let max = checks
            .duration("spec.deliveryDelay.max", delay.max, allowed())
            .unwrap_or(defaults.delivery_delay_millis_max);
        if default > max {
            let [default, max] = [default, max].map(Duration::from_millis);
            checks.wrong("spec.deliveryDelay.default", format!("{default} is more than max, which is {max}"));
        }
        (default, max)
    }

    /// The resource that asks for `settings`, every setting written out.
    #[must_use]
    pub fn from_settings(name: &Name, settings: &QueueSettings) -> Self {
        let spec = QueueSpec {
            replicas: settings.replicas.map(Into::into),
            min_in_sync_replicas: settings.min_in_sync_replicas.map(Into::into),
            durability: Some(Durability::Fsync),
            ordering: Some(Ordering::Standard),
            partitions: Some(1),
            ack_timeout: Some(Duration::from_millis(settings.ack_timeout_millis)),
            max_deliveries: Some(settings.max_deliveries.into()),
            backoff: Some(Backoff::from(&settings.backoff)),
            dead_letter: settings.dead_letter.as_ref().map(DeadLetter::to),
            message_ttl: settings.message_ttl_millis.map(Duration::from_millis),
            delivery_delay: Some(DeliveryDelay {
                default: Some(Duration::from_millis(settings.delivery_delay_millis)),
                max: Some(Duration::from_millis(settings.delivery_delay_millis_max)),
            }),
            max_in_flight_per_consumer: Some(settings.in_flight_per_consumer_max.into()),
            max_message_size: Some(Quantity::from_bytes(settings.message_bytes_max.into())),
            delivery_mode: Some(DeliveryMode::AtLeastOnce),
            placement: Some(settings.placement.into()),
            deletion_policy: Some(settings.deletion_policy.into()),
            adoption_policy: None,
            ..QueueSpec::default()
        };
        Self::new(Kind::Queue, name, spec)
    }
}
