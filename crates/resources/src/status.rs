//! What the operator writes back: what became of what was asked for.
//!
//! Counts of messages are roundly right: they are written at most every 30 s. Exact figures are metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{duration::Duration, rate::Rate, time::Timestamp};

/// One aspect of a resource, as Kubernetes words it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect: `Ready` is the summary of all.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub kind: String,
    /// Whether it is so.
    pub status: Truth,
    /// The `metadata.generation` that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Since when.
    pub last_transition_time: Timestamp,
    /// Why, in one word for programs.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Why, for people, and what to do.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the words explain themselves")]
pub enum Truth {
    True,
    False,
    Unknown,
}

/// What became of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerClusterStatus {
    /// The `metadata.generation` that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Aspects of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
    /// Brokers that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i64>,
    /// Brokers whose own copies have caught up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready_replicas: Option<i64>,
    /// Selects the brokers' pods, for whoever scales the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Shards with fewer copies in sync than they should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub under_replicated_shards: Option<i64>,
    /// Shards that nobody leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub offline_shards: Option<i64>,
    /// The cluster's identity, recorded before its first broker starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub cluster_id: Option<String>,
    /// When the first broker was told to begin the cluster; it is told so once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Timestamp>,
    /// Where clients connect, by listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub listeners: Option<Vec<ListenerStatus>>,
    /// The brokers, by their number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_000))]
    pub brokers: Option<Vec<BrokerState>>,
    /// The broker that is being restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarting: Option<Restarting>,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The listener.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The address to give to clients, as a URL.
    #[schemars(length(max = 512))]
    pub bootstrap_address: String,
}

/// A broker of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerState {
    /// Its number.
    #[schemars(range(min = 0))]
    pub id: i64,
    /// Its pod.
    #[schemars(length(max = 253))]
    pub pod_name: String,
    /// Its failure domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub rack: Option<String>,
    /// `Up`, `Away`, `Draining` or `Lost`.
    #[schemars(length(max = 32))]
    pub state: String,
    /// Shards that it leads.
    #[schemars(range(min = 0))]
    pub leaders: i64,
    /// Shards that it holds a copy of.
    #[schemars(range(min = 0))]
    pub replicas: i64,
}

/// A broker that is being restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restarting {
    /// Its number.
    #[schemars(range(min = 0))]
    pub broker: i64,
    /// Its pod.
    #[schemars(length(max = 253))]
    pub pod_name: String,
    /// The pod that is to end.
    #[schemars(length(max = 64))]
    pub pod_uid: String,
    /// How often its volume had been started before.
    #[schemars(range(min = 0))]
    pub incarnation: i64,
    /// Since when.
    pub since: Timestamp,
}

/// What became of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The `metadata.generation` that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Aspects of the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
    /// The name that the brokers know it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 249))]
    pub topic_name: Option<String>,
    /// What no other one in the brokers ever had: what is deleted is this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub uid: Option<String>,
    /// Partitions that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub partitions: Option<i64>,
}

/// What became of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// The `metadata.generation` that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Aspects of the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
    /// The name that the brokers know it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 249))]
    pub queue_name: Option<String>,
    /// What no other one in the brokers ever had: what is deleted is this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub uid: Option<String>,
    /// Messages, roundly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<QueueMessages>,
    /// The age of the oldest message that waits, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub oldest_message_age_seconds: Option<i64>,
    /// The broker that leads its shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub leader: Option<i64>,
}

/// The messages of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueMessages {
    /// Ready for a consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready: Option<i64>,
    /// With a consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub unacked: Option<i64>,
    /// Not due yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub scheduled: Option<i64>,
    /// Moved to the dead-letter queue since its shard was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub dead_lettered: Option<i64>,
}

/// What became of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupStatus {
    /// The `metadata.generation` that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Aspects of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub conditions: Option<Vec<Condition>>,
    /// The name that the brokers know it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 249))]
    pub group_name: Option<String>,
    /// What no other one in the brokers ever had: what is deleted is this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub uid: Option<String>,
    /// Messages that it has not read, roundly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub backlog: Option<i64>,
    /// The age of the oldest message that it has not read, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub delay_seconds: Option<i64>,
    /// Members that it has: consumers that are connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub members: Option<i64>,
    /// Replicas that its consumers have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i64>,
    /// Replicas that its consumers should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub desired_replicas: Option<i64>,
    /// Why it should have so many, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// What keeps it from having more replicas, or those from helping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<ScalingLimit>,
    /// When the number of replicas was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Timestamp>,
    /// Messages that arrive for it, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival_rate: Option<Rate>,
    /// Messages that a busy replica gets done, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_rate_per_replica: Option<Rate>,
    /// Partitions in which nothing is got done although they have a member; no number of replicas helps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub stuck_partitions: Option<Vec<StuckPartition>>,
    /// What the autoscaler has learned, so that it need not learn it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<AutoscalerMemory>,
}

/// What keeps a group from having more replicas, or those from helping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ScalingLimit {
    /// Nothing.
    #[default]
    None,
    /// `maxReplicas`.
    MaxReplicas,
    /// Each partition has a replica of its own.
    Partitions,
    /// A partition has more to do than one replica gets done.
    HotPartition,
    /// More replicas got no more done: what they call is the slow part.
    Downstream,
    /// `behavior`.
    Policy,
    /// The brokers' figures can't be read.
    StaleData,
}

/// A partition in which nothing is got done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StuckPartition {
    /// The topic, by the name that the brokers know it by.
    #[schemars(length(max = 249))]
    pub topic: String,
    /// The partition's number.
    #[schemars(range(min = 0))]
    pub partition: i64,
    /// Since when.
    pub since: Timestamp,
}

/// What the autoscaler has learned of a group.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerMemory {
    /// Messages that a busy replica gets done, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_per_replica: Option<Rate>,
    /// How long a new pod takes until it has got its first message done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_time: Option<Duration>,
    /// How long partitions rest when they change hands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance_pause: Option<Duration>,
    /// No more replicas before this time, because the last ones brought nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
}
