//! The custom resource types, shared by operator and local mode.
//!
//! [`load`] reads a file of resources the way an administrator wrote it and says everything that is wrong
//! with it at once, each with file, line and field. What it returns is checked: [`Loaded::settings`] are the
//! model's types. The way back, from the model's settings to a resource that `get -o yaml` prints, is
//! `from_settings` of each kind.
//!
//! The spec types are plain serde types. What strictness they need (unknown fields, fields that a later
//! version serves) is in the decoder, not in the types, so that a reader that must be lenient can be.

#[expect(unreachable_pub, reason = "the derive makes a twin of the spec that nobody can name")]
mod autoscaling;
mod check;
#[expect(unreachable_pub, reason = "the derive makes a twin of the spec that nobody can name")]
mod cluster;
mod crds;
mod decode;
mod delivery;
mod documents;
mod duration;
mod error;
mod fault;
#[expect(unreachable_pub, reason = "the derive makes a twin of the spec that nobody can name")]
mod group;
mod kubernetes;
mod later;
mod load;
mod local;
mod object;
#[expect(unreachable_pub, reason = "the derive makes a twin of the spec that nobody can name")]
mod pods;
mod quantity;
#[expect(unreachable_pub, reason = "the derive makes a twin of the spec that nobody can name")]
mod queue;
mod rate;
mod ratio;
mod rules;
mod scaling;
mod schema;
mod status;
mod text;
mod time;
#[expect(unreachable_pub, reason = "the derive makes a twin of the spec that nobody can name")]
mod topic;
mod tree;
mod write;

pub use autoscaling::{
    AutoscalingMode, AutoscalingSpec, AutoscalingTarget, Drain, FallbackBehavior, FallbackSpec, PolicyKind,
    ScaleTargetReference, ScaleToZero, ScalingBehavior, ScalingPolicy, ScalingRules, SelectPolicy,
    ServiceObjective,
};
pub use check::{FieldError, References};
pub use cluster::{
    BrokerCluster, BrokerClusterSpec, ClusterSettings, KubeBrokerCluster, Listener, ListenerProtocol,
    ListenerSettings, Replication,
};
pub use crds::{CRDS, VERSION_ANNOTATION, crd, crd_yaml};
pub use delivery::{Backoff, DeadLetter};
pub use duration::Duration;
pub use error::LoadError;
pub use group::{ConsumerGroup, ConsumerGroupSpec, GroupMode, KubeConsumerGroup, StartAt};
pub use kubernetes::read_object;
pub use load::{DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, ERRORS_MAX, FILE_BYTES_MAX, Loaded, load};
pub use local::check_local;
pub use object::{
    API_VERSION, ClusterReference, DeletionPolicy, Durability, Kind, Metadata, Object, Placement, Reference,
    Resource, Settings,
};
pub use pods::{
    AdoptionPolicy, AllowedFrom, AllowedNamespaces, Amount, LabelOperator, LabelRequirement, LabelSelector,
    Mode, PodTemplate, Rack, RackMode, Resources, Storage, Switch, TaintEffect, Toleration,
    TolerationOperator, VolumePolicy, VolumeRetention,
};
pub use quantity::Quantity;
pub use queue::{DeliveryDelay, DeliveryMode, KubeQueue, Ordering, Queue, QueueSpec};
pub use rate::Rate;
pub use ratio::Ratio;
pub use scaling::{
    ActiveMode, Autoscaling, Fallback, FallbackReplicas, Pace, PacePolicy, ScaleTarget, ScalingGoal,
};
pub use status::{
    AutoscalerMemory, BrokerClusterStatus, BrokerState, Condition, ConsumerGroupStatus, ListenerStatus,
    QueueMessages, QueueStatus, Restarting, ScalingLimit, StuckPartition, TopicStatus, Truth,
};
pub use time::Timestamp;
pub use topic::{CleanupPolicy, Compression, KubeTopic, Retention, Topic, TopicSpec};
pub use write::{to_json, to_yaml};
