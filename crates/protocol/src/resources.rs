//! Topics, queues and groups on the wire: what people set, and what the cluster reports.

mod group;
mod queue;
mod status;
mod topic;

use pondage_model::{
    Name, Refusal, Revision, Uuid, limits,
    settings::{DeletionPolicy, GroupSettings, Placement, QueueSettings, TopicSettings},
};

pub use status::StreamStatus;

use crate::{
    check::{choose, invalid, number_of, required, uuid, within},
    v1,
};

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A topic.
    Topic,
    /// A queue.
    Queue,
    /// A consumer group.
    Group,
}

impl ResourceKind {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Queue => "queue",
            Self::Group => "group",
        }
    }
}

/// The checked settings of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// A topic.
    Topic(TopicSettings),
    /// A queue.
    Queue(QueueSettings),
    /// A consumer group.
    Group(GroupSettings),
}

impl Settings {
    /// Whose settings they are.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        match self {
            Self::Topic(_) => ResourceKind::Topic,
            Self::Queue(_) => ResourceKind::Queue,
            Self::Group(_) => ResourceKind::Group,
        }
    }
}

/// One topic, queue or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: Name,
    /// What no other resource ever had.
    pub uid: Uuid,
    /// The catalog's revision at the last change of the settings.
    pub revision: Revision,
    /// What was set.
    pub settings: Settings,
    /// What the cluster reports of its streams; `None` where only the catalog was asked.
    pub streams: Option<Vec<StreamStatus>>,
}

impl From<Resource> for v1::Resource {
    fn from(resource: Resource) -> Self {
        Self {
            name: resource.name.to_string(),
            uid: resource.uid.to_string(),
            revision: resource.revision.0,
            spec: Some(resource.settings.into()),
            status: resource.streams.map(|streams| v1::ResourceStatus {
                streams: streams.into_iter().map(v1::StreamStatus::from).collect(),
            }),
        }
    }
}

impl TryFrom<v1::Resource> for Resource {
    type Error = Refusal;

    /// # Errors
    /// Those of its parts.
    fn try_from(resource: v1::Resource) -> Result<Self, Refusal> {
        Ok(Self {
            name: Name::new(&resource.name)?,
            uid: uuid("uid", &resource.uid)?,
            revision: Revision(resource.revision),
            settings: required("spec", resource.spec)?.try_into()?,
            streams: resource
                .status
                .map(|status| status.streams.into_iter().map(StreamStatus::from).collect()),
        })
    }
}

impl From<Settings> for v1::ResourceSpec {
    fn from(settings: Settings) -> Self {
        use v1::resource_spec::Spec;
        let spec = match settings {
            Settings::Topic(topic) => Spec::Topic(topic.into()),
            Settings::Queue(queue) => Spec::Queue(queue.into()),
            Settings::Group(group) => Spec::Group(group.into()),
        };
        Self { spec: Some(spec) }
    }
}

impl TryFrom<v1::ResourceSpec> for Settings {
    type Error = Refusal;

    /// Fields that were left out take their defaults.
    ///
    /// # Errors
    /// [`Refusal::InvalidArgument`] naming the field and what it may hold, [`Refusal::InvalidName`].
    fn try_from(spec: v1::ResourceSpec) -> Result<Self, Refusal> {
        use v1::resource_spec::Spec;
        let spec = spec.spec.ok_or_else(|| invalid("spec: allowed: topic, queue, group"))?;
        Ok(match spec {
            Spec::Topic(topic) => Self::Topic(topic.try_into()?),
            Spec::Queue(queue) => Self::Queue(queue.try_into()?),
            Spec::Group(group) => Self::Group(group.try_into()?),
        })
    }
}

const KINDS: [(v1::ResourceKind, ResourceKind); 3] = [
    (v1::ResourceKind::Topic, ResourceKind::Topic),
    (v1::ResourceKind::Queue, ResourceKind::Queue),
    (v1::ResourceKind::Group, ResourceKind::Group),
];

impl ResourceKind {
    /// Reads a kind.
    ///
    /// # Errors
    /// [`Refusal::InvalidArgument`].
    pub fn from_wire(number: i32) -> Result<Self, Refusal> {
        choose("kind", number, &KINDS, v1::ResourceKind::as_str_name, None)
    }

    /// The kind as its number.
    #[must_use]
    pub fn to_wire(self) -> i32 {
        number_of(self, &KINDS)
    }
}

const PLACEMENTS: [(v1::Placement, Placement); 3] = [
    (v1::Placement::Auto, Placement::Auto),
    (v1::Placement::Dedicated, Placement::Dedicated),
    (v1::Placement::Pooled, Placement::Pooled),
];

const POLICIES: [(v1::DeletionPolicy, DeletionPolicy); 3] = [
    (v1::DeletionPolicy::Retain, DeletionPolicy::Retain),
    (v1::DeletionPolicy::DeleteIfEmpty, DeletionPolicy::DeleteIfEmpty),
    (v1::DeletionPolicy::Delete, DeletionPolicy::Delete),
];

fn placement(number: i32) -> Result<Placement, Refusal> {
    choose("placement", number, &PLACEMENTS, v1::Placement::as_str_name, Some(Placement::default()))
}

fn placement_number(placement: Placement) -> i32 {
    number_of(placement, &PLACEMENTS)
}

/// Reads a deletion policy; left out, it is the default.
pub(crate) fn deletion_policy(number: i32) -> Result<DeletionPolicy, Refusal> {
    let default = Some(DeletionPolicy::default());
    choose("deletion_policy", number, &POLICIES, v1::DeletionPolicy::as_str_name, default)
}

/// The way back.
pub(crate) fn deletion_policy_number(policy: DeletionPolicy) -> i32 {
    number_of(policy, &POLICIES)
}

/// Copies, and those that must be durable.
fn replicas(replicas: Option<u32>, min_in_sync: Option<u32>) -> Result<(Option<u32>, Option<u32>), Refusal> {
    let check =
        |field, value: Option<u32>, most| value.map(|value| within(field, value, 1..=most)).transpose();
    let replicas = check("replicas", replicas, limits::REPLICAS_MAX)?;
    let most = replicas.unwrap_or(limits::REPLICAS_MAX);
    Ok((replicas, check("min_in_sync_replicas", min_in_sync, most)?))
}

/// A limit that 0 and nothing lift.
fn unlimited_if_zero(value: Option<u64>) -> Option<u64> {
    value.filter(|value| *value > 0)
}

#[cfg(test)]
mod tests;
