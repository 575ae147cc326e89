//! The custom resource types, shared by operator and local mode.
//!
//! [`load`] reads a file of resources the way an administrator wrote it and says everything that is wrong
//! with it at once, each with file, line and field. What it returns is checked: [`Loaded::settings`] are the
//! model's types. The way back, from the model's settings to a resource that `get -o yaml` prints, is
//! `from_settings` of each kind.
//!
//! The spec types are plain serde types. What strictness they need (unknown fields, fields that a later
//! version serves) is in the decoder, not in the types, so that a reader that must be lenient can be.

mod check;
mod cluster;
mod decode;
mod documents;
mod duration;
mod error;
mod fault;
mod group;
mod later;
mod load;
mod local;
mod object;
mod quantity;
mod queue;
mod ratio;
mod time;
mod topic;
mod tree;
mod write;

pub use check::{FieldError, References};
pub use cluster::{
    BrokerCluster, BrokerClusterSpec, ClusterSettings, Listener, ListenerProtocol, ListenerSettings,
    Replication,
};
pub use duration::Duration;
pub use error::LoadError;
pub use group::{ConsumerGroup, ConsumerGroupSpec, GroupMode, StartAt};
pub use load::{DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, ERRORS_MAX, FILE_BYTES_MAX, Loaded, load};
pub use local::check_local;
pub use object::{
    API_VERSION, ClusterReference, DeletionPolicy, Durability, Kind, Metadata, Object, Placement, Reference,
    Resource, Settings,
};
pub use quantity::Quantity;
pub use queue::{
    Backoff, DeadLetter, DeliveryDelay, DeliveryMode, ExponentialBackoff, Ordering, Queue, QueueSpec,
};
pub use ratio::Ratio;
pub use time::Timestamp;
pub use topic::{CleanupPolicy, Compression, Retention, Topic, TopicSpec};
pub use write::{to_json, to_yaml};
