//! What all kinds share: the envelope, references, and the values that several of them use.

use std::collections::BTreeMap;

use pondage_model::{
    Name,
    settings::{self, GroupSettings, QueueSettings, TopicSettings},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::{FieldError, References},
    cluster::{BrokerCluster, ClusterSettings},
    delivery::DeadLetter,
    group::ConsumerGroup,
    queue::Queue,
    schema::{NAME, NAMESPACE, NAMESPACE_MAX},
    topic::Topic,
};

/// The `apiVersion` of every resource of ours.
pub const API_VERSION: &str = "pondage.io/v1alpha1";

/// The kinds that this version serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A cluster of brokers.
    BrokerCluster,
    /// A topic.
    Topic,
    /// A queue.
    Queue,
    /// A consumer group.
    ConsumerGroup,
}

impl Kind {
    /// All of them, in the order in which they are applied.
    pub const ALL: [Self; 4] = [Self::BrokerCluster, Self::Topic, Self::Queue, Self::ConsumerGroup];

    /// The kind as resources write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BrokerCluster => "BrokerCluster",
            Self::Topic => "Topic",
            Self::Queue => "Queue",
            Self::ConsumerGroup => "ConsumerGroup",
        }
    }
}

/// One resource: the envelope that Kubernetes gives every object, around the spec of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object<S> {
    /// [`API_VERSION`].
    pub api_version: String,
    /// The kind's word.
    pub kind: String,
    /// Name and labels.
    #[serde(default)]
    pub metadata: Metadata,
    /// What is asked for.
    #[serde(default)]
    pub spec: S,
}

impl<S> Object<S> {
    /// A resource named `name` with nothing but its spec.
    pub(crate) fn new(kind: Kind, name: &Name, spec: S) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: kind.as_str().to_owned(),
            metadata: Metadata { name: Some(name.to_string()), ..Metadata::default() },
            spec,
        }
    }
}

/// What a resource is called. Everything else that Kubernetes keeps here is its own and is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The resource's name; required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The namespace; local mode has none and passes over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels, for people and selectors.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations, for tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Names another resource of the same namespace by its `metadata.name`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// Its `metadata.name`.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
}

/// Names the BrokerCluster that a resource belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClusterReference {
    /// Its `metadata.name`.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
    /// Its namespace, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = NAMESPACE_MAX), regex(pattern = NAMESPACE))]
    pub namespace: Option<String>,
}

/// When a message counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// When it is on stable storage of every replica that must have it.
    #[default]
    Fsync,
}

/// How streams are put on shards; see [`settings::Placement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the model explains them")]
pub enum Placement {
    Auto,
    Dedicated,
    Pooled,
}

impl From<Placement> for settings::Placement {
    fn from(placement: Placement) -> Self {
        match placement {
            Placement::Auto => Self::Auto,
            Placement::Dedicated => Self::Dedicated,
            Placement::Pooled => Self::Pooled,
        }
    }
}

impl From<settings::Placement> for Placement {
    fn from(placement: settings::Placement) -> Self {
        match placement {
            settings::Placement::Auto => Self::Auto,
            settings::Placement::Dedicated => Self::Dedicated,
            settings::Placement::Pooled => Self::Pooled,
        }
    }
}

/// What happens to messages on deletion; see [`settings::DeletionPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the model explains them")]
pub enum DeletionPolicy {
    Retain,
    DeleteIfEmpty,
    Delete,
}

impl From<DeletionPolicy> for settings::DeletionPolicy {
    fn from(policy: DeletionPolicy) -> Self {
        match policy {
            DeletionPolicy::Retain => Self::Retain,
            DeletionPolicy::DeleteIfEmpty => Self::DeleteIfEmpty,
            DeletionPolicy::Delete => Self::Delete,
        }
    }
}

impl From<settings::DeletionPolicy> for DeletionPolicy {
    fn from(policy: settings::DeletionPolicy) -> Self {
        match policy {
            settings::DeletionPolicy::Retain => Self::Retain,
            settings::DeletionPolicy::DeleteIfEmpty => Self::DeleteIfEmpty,
            settings::DeletionPolicy::Delete => Self::Delete,
        }
    }
}

/// A resource of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the kinds explain themselves")]
pub enum Resource {
    BrokerCluster(BrokerCluster),
    Topic(Topic),
    Queue(Queue),
    ConsumerGroup(ConsumerGroup),
}

impl Resource {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::BrokerCluster(_) => Kind::BrokerCluster,
            Self::Topic(_) => Kind::Topic,
            Self::Queue(_) => Kind::Queue,
            Self::ConsumerGroup(_) => Kind::ConsumerGroup,
        }
    }

    /// Its metadata.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        match self {
            Self::BrokerCluster(object) => &object.metadata,
            Self::Topic(object) => &object.metadata,
            Self::Queue(object) => &object.metadata,
            Self::ConsumerGroup(object) => &object.metadata,
        }
    }

    /// The name under which the cluster knows it, unchecked: `spec.topicName` and its like, else
    /// `metadata.name`.
    #[must_use]
    pub fn cluster_name(&self) -> Option<&str> {
        let given = match self {
            Self::BrokerCluster(_) => None,
            Self::Topic(object) => object.spec.topic_name.as_deref(),
            Self::Queue(object) => object.spec.queue_name.as_deref(),
            Self::ConsumerGroup(object) => object.spec.group_name.as_deref(),
        };
        given.or(self.metadata().name.as_deref())
    }

    /// The cluster that it names.
    #[must_use]
    pub const fn cluster(&self) -> Option<&ClusterReference> {
        match self {
            Self::BrokerCluster(_) => None,
            Self::Topic(object) => object.spec.cluster_ref.as_ref(),
            Self::Queue(object) => object.spec.cluster_ref.as_ref(),
            Self::ConsumerGroup(object) => object.spec.cluster_ref.as_ref(),
        }
    }

    /// The resources of its namespace that it names, each with the field that does.
    #[must_use]
    pub fn references(&self) -> Vec<(Kind, &str, String)> {
        match self {
            Self::BrokerCluster(_) | Self::Topic(_) => Vec::new(),
            Self::Queue(object) => object.spec.dead_letter.iter().map(DeadLetter::reference).collect(),
            Self::ConsumerGroup(object) => {
                let topics = object.spec.topic_refs.iter().flatten().enumerate();
                let topics = topics
                    .map(|(at, topic)| (Kind::Topic, topic.name.as_str(), format!("spec.topicRefs[{at}]")));
                let queue = object.spec.queue_ref.iter();
                topics
                    .chain(queue.map(|queue| (Kind::Queue, queue.name.as_str(), "spec.queueRef".to_owned())))
                    .chain(object.spec.dead_letter.iter().map(DeadLetter::reference))
                    .collect()
            }
        }
    }

    /// What it asks for, in the model's types.
    ///
    /// # Errors
    /// Everything that is wrong with it, by field.
    pub fn settings(&self, references: &References) -> Result<Settings, Vec<FieldError>> {
        Ok(match self {
            Self::BrokerCluster(object) => Settings::BrokerCluster(object.settings()?),
            Self::Topic(object) => {
                let (name, settings) = object.settings()?;
                Settings::Topic(name, settings)
            }
            Self::Queue(object) => {
                let (name, settings) = object.settings(references)?;
                Settings::Queue(name, settings)
            }
            Self::ConsumerGroup(object) => {
                let (name, settings) = object.settings(references)?;
                Settings::ConsumerGroup(name, settings)
            }
        })
    }
}

/// What a checked resource asks for: the name that the cluster knows, and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kinds explain themselves")]
pub enum Settings {
    BrokerCluster(ClusterSettings),
    Topic(Name, TopicSettings),
    Queue(Name, QueueSettings),
    ConsumerGroup(Name, GroupSettings),
}
