//! What administrators and the operator ask.

use pondage_model::{BrokerId, Incarnation, Name, Refusal, Revision, Uuid, settings::DeletionPolicy};

use crate::{
    check::{choose, invalid, number_of, required, uuid},
    resources::{Resource, ResourceKind, Settings, deletion_policy, deletion_policy_number},
    v1,
};

/// Resources of one page of a list.
pub const LIST_RESOURCES_MAX: u32 = 1_000;

/// A resource as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// Its name.
    pub name: Name,
    /// Its settings.
    pub settings: Settings,
    /// Only if it has this revision; zero: only if it does not exist.
    pub if_revision: Option<Revision>,
    /// Only say what would change.
    pub dry_run: bool,
}

impl TryFrom<v1::ApplyRequest> for Apply {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`] naming the field.
    fn try_from(request: v1::ApplyRequest) -> Result<Self, Refusal> {
        let name = Name::new(&request.name)?;
        let settings: Settings = required("spec", request.spec)?.try_into()?;
        if let Settings::Queue(queue) = &settings
            && queue.dead_letter.as_ref() == Some(&name)
        {
            return Err(invalid(
                "dead_letter: a queue is not its own dead-letter queue; allowed: another one",
            ));
        }
        Ok(Self { name, settings, if_revision: request.if_revision.map(Revision), dry_run: request.dry_run })
    }
}

impl From<Apply> for v1::ApplyRequest {
    fn from(apply: Apply) -> Self {
        Self {
            name: apply.name.to_string(),
            spec: Some(apply.settings.into()),
            if_revision: apply.if_revision.map(Revision::get),
            dry_run: apply.dry_run,
        }
    }
}

/// What applying did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Created,
    /// Its settings changed.
    Updated,
    /// It was so already.
    Unchanged,
}

impl Change {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

const CHANGES: [(v1::Change, Change); 3] = [
    (v1::Change::Created, Change::Created),
    (v1::Change::Updated, Change::Updated),
    (v1::Change::Unchanged, Change::Unchanged),
];

/// What applying did, and the resource as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What changed.
    pub change: Change,
    /// The resource.
    pub resource: Resource,
}

impl From<Applied> for v1::ApplyResponse {
    fn from(applied: Applied) -> Self {
        Self { change: number_of(applied.change, &CHANGES), resource: Some(applied.resource.into()) }
    }
}

impl TryFrom<v1::ApplyResponse> for Applied {
    type Error = Refusal;

    fn try_from(response: v1::ApplyResponse) -> Result<Self, Refusal> {
        Ok(Self {
            change: choose("change", response.change, &CHANGES, v1::Change::as_str_name, None)?,
            resource: required("resource", response.resource)?.try_into()?,
        })
    }
}

/// Asks for one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Name,
}

impl TryFrom<v1::GetRequest> for Get {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(request: v1::GetRequest) -> Result<Self, Refusal> {
        Ok(Self { kind: ResourceKind::from_wire(request.kind)?, name: Name::new(&request.name)? })
    }
}

/// Asks for a page of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Their kind.
    pub kind: ResourceKind,
    /// Resources at most, 1 to [`LIST_RESOURCES_MAX`].
    pub resources_max: u32,
    /// Only names behind this one.
    pub after: Option<Name>,
    /// With status.
    pub with_status: bool,
}

impl TryFrom<v1::ListRequest> for List {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(request: v1::ListRequest) -> Result<Self, Refusal> {
        let after = (!request.after_name.is_empty()).then(|| Name::new(&request.after_name)).transpose()?;
        let asked = if request.max_resources == 0 { LIST_RESOURCES_MAX } else { request.max_resources };
        Ok(Self {
            kind: ResourceKind::from_wire(request.kind)?,
            resources_max: asked.min(LIST_RESOURCES_MAX),
            after,
            with_status: request.with_status,
        })
    }
}

/// Asks to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Name,
    /// Only if it has this uid.
    pub if_uid: Option<Uuid>,
    /// Only if it has this revision.
    pub if_revision: Option<Revision>,
    /// Instead of its own policy.
    pub policy: Option<DeletionPolicy>,
}

impl TryFrom<v1::DeleteRequest> for Delete {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(request: v1::DeleteRequest) -> Result<Self, Refusal> {
        Ok(Self {
            kind: ResourceKind::from_wire(request.kind)?,
            name: Name::new(&request.name)?,
            if_uid: request.if_uid.as_deref().map(|text| uuid("if_uid", text)).transpose()?,
            if_revision: request.if_revision.map(Revision),
            // Said and not said of what kind is no policy: the resource's own holds.
            policy: request.policy.filter(|policy| *policy != 0).map(deletion_policy).transpose()?,
        })
    }
}

impl From<Delete> for v1::DeleteRequest {
    fn from(delete: Delete) -> Self {
        Self {
            kind: delete.kind.to_wire(),
            name: delete.name.to_string(),
            if_uid: delete.if_uid.map(|uid| uid.to_string()),
            if_revision: delete.if_revision.map(Revision::get),
            policy: delete.policy.map(deletion_policy_number),
        }
    }
}

/// One change that a watch shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The catalog's revision that shows it.
    pub revision: Revision,
    /// What happened.
    pub what: Watched,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Created or updated.
    Changed(Box<Resource>),
    /// Deleted.
    Deleted {
        /// Its kind.
        kind: ResourceKind,
        /// Its name.
        name: Name,
        /// Its uid.
        uid: Uuid,
    },
    /// Everything up to this revision has been seen.
    Synced,
}

impl From<WatchEvent> for v1::WatchResponse {
    fn from(event: WatchEvent) -> Self {
        use v1::watch_response::Event;
        let what = match event.what {
            Watched::Changed(resource) => Event::Changed((*resource).into()),
            Watched::Deleted { kind, name, uid } => Event::Deleted(v1::DeletedResource {
                kind: kind.to_wire(),
                name: name.to_string(),
                uid: uid.to_string(),
            }),
            Watched::Synced => Event::Synced(v1::WatchSynced {}),
        };
        Self { revision: event.revision.0, event: Some(what) }
    }
}

impl TryFrom<v1::WatchResponse> for WatchEvent {
    type Error = Refusal;

    fn try_from(response: v1::WatchResponse) -> Result<Self, Refusal> {
        use v1::watch_response::Event;
        let what = match required("event", response.event)? {
            Event::Changed(resource) => Watched::Changed(Box::new(resource.try_into()?)),
            Event::Deleted(deleted) => Watched::Deleted {
                kind: ResourceKind::from_wire(deleted.kind)?,
                name: Name::new(&deleted.name)?,
                uid: uuid("uid", &deleted.uid)?,
            },
            Event::Synced(_) => Watched::Synced,
        };
        Ok(Self { revision: Revision(response.revision), what })
    }
}

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its brokers, by id.
    pub brokers: Vec<Broker>,
    /// Shards, the catalog's included.
    pub shards: u32,
    /// Streams.
    pub streams: u32,
    /// The version of the broker that answered.
    pub version: String,
    /// The catalog's revision.
    pub revision: Revision,
}

/// A broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// Where clients reach it.
    pub address: String,
    /// How often its volume has been started.
    pub incarnation: Incarnation,
    /// Its version.
    pub version: String,
}

impl From<Cluster> for v1::DescribeClusterResponse {
    fn from(cluster: Cluster) -> Self {
        let broker = |broker: Broker| v1::Broker {
            id: broker.id.0,
            address: broker.address,
            incarnation: broker.incarnation.0,
            version: broker.version,
        };
        Self {
            cluster_uuid: cluster.uuid.to_string(),
            brokers: cluster.brokers.into_iter().map(broker).collect(),
            shards: cluster.shards,
            version: cluster.version,
            revision: cluster.revision.0,
            streams: cluster.streams,
        }
    }
}

impl TryFrom<v1::DescribeClusterResponse> for Cluster {
    type Error = Refusal;

    fn try_from(response: v1::DescribeClusterResponse) -> Result<Self, Refusal> {
        let broker = |broker: v1::Broker| Broker {
            id: BrokerId(broker.id),
            address: broker.address,
            incarnation: Incarnation(broker.incarnation),
            version: broker.version,
        };
        Ok(Self {
            uuid: uuid("cluster_uuid", &response.cluster_uuid)?,
            brokers: response.brokers.into_iter().map(broker).collect(),
            shards: response.shards,
            streams: response.streams,
            version: response.version,
            revision: Revision(response.revision),
        })
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
