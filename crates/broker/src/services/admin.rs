//! Resources and the cluster.

use pondage_model::{Name, Refusal, Revision, Uuid, settings::DeletionPolicy};
use pondage_node::{
    coordinator::{
        AdminReply, AdminRequest, Applied as Did, Description, Resource as Found, ResourceKind as FoundKind,
        ResourceSettings,
    },
    disk::Disk,
};
use pondage_protocol::{
    admin::{Applied, Apply, Broker, Change, Cluster, Delete, Get, List},
    resources::{Resource, ResourceKind, Settings},
    v1,
};
use tonic::{Request, Response, Status};

use super::{
    Place, Services,
    outbound::{Outbound, OutboundStream},
};
use crate::metrics::Method;

/// Streams whose status one page of a list carries, about; a page ends behind the resource that reaches it.
const LIST_STREAMS_MAX: usize = 20_000;

#[tonic::async_trait]
impl<D: Disk> v1::admin_server::Admin for Services<D> {
    type WatchStream = OutboundStream<v1::WatchResponse>;

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        self.served(Method::Apply, self.apply_one(request.into_inner())).await
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        self.served(Method::Get, self.get_one(request.into_inner())).await
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        self.served(Method::List, self.list_page(request.into_inner())).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        self.served(Method::Delete, self.delete_one(request.into_inner())).await
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let from = Revision(request.into_inner().from_revision);
        let begin = async {
            let (out, stream) = Outbound::channel();
            tokio::spawn(self.clone().watch_stream(from, out));
            Ok(stream)
        };
        self.served(Method::Watch, begin).await
    }

    async fn describe_cluster(
        &self,
        _: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        let describe = async { Ok(cluster(self.describe().await?).into()) };
        self.served(Method::DescribeCluster, describe).await
    }
}

impl<D: Disk> Services<D> {
    async fn apply_one(&self, request: v1::ApplyRequest) -> Result<v1::ApplyResponse, Refusal> {
        let Apply { name, settings, if_revision, dry_run } = Apply::try_from(request)?;
        let kind = settings.kind();
        let _alone = self.alone(&name).await;
        if let Some(expected) = if_revision {
            let is = self.find(kind, &name).await?.map_or(Revision::ZERO, |found| found.revision);
            check_revision(kind, &name, expected, is)?;
        }
        let request = match settings.clone() {
            Settings::Topic(topic) => AdminRequest::ApplyTopic(name.clone(), topic),
            Settings::Queue(queue) => AdminRequest::ApplyQueue(name.clone(), queue),
            Settings::Group(group) => AdminRequest::ApplyGroup(name.clone(), group),
        };
        let request = if dry_run { AdminRequest::Preview(Box::new(request)) } else { request };
        let AdminReply::Applied { applied, .. } = self.handle().admin(request).await? else {
            return Err(Refusal::Interrupted);
        };
        let resource = match self.find(kind, &name).await? {
            Some(found) if dry_run => Resource { settings, ..resource(found) },
            Some(found) => resource(found),
            None if dry_run => {
                Resource { name, uid: Uuid::default(), revision: Revision::ZERO, settings, streams: None }
            }
            None => return Err(Refusal::Interrupted),
        };
        let change = match applied {
            Did::Created => Change::Created,
            Did::Updated => Change::Updated,
            Did::Unchanged => Change::Unchanged,
        };
        Ok(Applied { change, resource }.into())
    }

    async fn get_one(&self, request: v1::GetRequest) -> Result<v1::GetResponse, Refusal> {
        let Get { kind, name } = Get::try_from(request)?;
        let found = self.find(kind, &name).await?;
        let found = found.ok_or_else(|| not_found(kind, &name))?;
        let with_status = self.with_status(vec![found]).await?;
        Ok(v1::GetResponse { resource: with_status.into_iter().next().map(v1::Resource::from) })
    }

    async fn list_page(&self, request: v1::ListRequest) -> Result<v1::ListResponse, Refusal> {
        let List { kind, resources_max, after, with_status } = List::try_from(request)?;
        let asked = self.handle().admin(AdminRequest::List(Some(found_kind(kind)))).await?;
        let AdminReply::Resources(mut found, revision) = asked else { return Err(Refusal::Interrupted) };
        found.sort_by(|left, right| left.name.cmp(&right.name));
        let skipped = after.map_or(0, |after| found.partition_point(|resource| resource.name <= after));
        found.drain(..skipped);
        let mut streams = 0;
        let most = resources_max as usize;
        let fits = found
            .iter()
            .take(most)
            .take_while(|resource| {
                let room = streams < LIST_STREAMS_MAX;
                streams += if with_status { resource.partitions.len() } else { 0 };
                room
            })
            .count();
        let more = found.len() > fits;
        found.truncate(fits);
        let resources = if with_status {
            self.with_status(found).await?
        } else {
            found.into_iter().map(resource).collect()
        };
        let resources = resources.into_iter().map(v1::Resource::from).collect();
        Ok(v1::ListResponse { resources, more, revision: revision.0 })
    }

    async fn delete_one(&self, request: v1::DeleteRequest) -> Result<v1::DeleteResponse, Refusal> {
        let Delete { kind, name, if_uid, if_revision, policy } = Delete::try_from(request)?;
        let _alone = self.alone(&name).await;
        let found = self.find(kind, &name).await?.ok_or_else(|| not_found(kind, &name))?;
        if let Some(expected) = if_uid
            && expected != found.uid
        {
            let what =
                format!("{} {name} is not the one meant ({expected}) but {}", kind.as_str(), found.uid);
            return Err(Refusal::Conflict { what });
        }
        if let Some(expected) = if_revision {
            check_revision(kind, &name, expected, found.revision)?;
        }
        let own = match &found.settings {
            ResourceSettings::Topic(topic) => topic.deletion_policy,
            ResourceSettings::Queue(queue) => queue.deletion_policy,
            // A group holds cursors and no messages.
            ResourceSettings::Group(_) => DeletionPolicy::Delete,
        };
        let policy = match found.settings {
            ResourceSettings::Group(_) => own,
            _ => policy.unwrap_or(own),
        };
        if policy == DeletionPolicy::Retain {
            return Ok(v1::DeleteResponse { deleted: false, revision: found.revision.0 });
        }
        let messages = match policy {
            DeletionPolicy::DeleteIfEmpty => self.messages_in(&found).await?,
            DeletionPolicy::Delete | DeletionPolicy::Retain => 0,
        };
        if messages > 0 {
            return Err(Refusal::NotEmpty { kind: kind.as_str(), name: name.to_string(), messages });
        }
        let delete = AdminRequest::Delete { kind: found_kind(kind), name, messages };
        match self.handle().admin(delete).await? {
            AdminReply::Deleted { revision } => {
                Ok(v1::DeleteResponse { deleted: true, revision: revision.0 })
            }
            _ => Err(Refusal::Interrupted),
        }
    }

    /// The messages that a topic or queue still holds.
    async fn messages_in(&self, found: &Found) -> Result<u64, Refusal> {
        let places = places(found);
        let figures = self.figures(&places).await;
        let mut messages = 0;
        for place in &places {
            let missing = Refusal::Busy { what: "shards that start" };
            let stats = &figures.get(&place.stream).ok_or(missing)?.stats;
            messages += match &found.settings {
                ResourceSettings::Queue(_) => stats.backlog(),
                _ => stats.end.0.saturating_sub(stats.start.0),
            };
        }
        Ok(messages)
    }

    pub(super) async fn find(&self, kind: ResourceKind, name: &Name) -> Result<Option<Found>, Refusal> {
        match self.handle().admin(AdminRequest::Get(found_kind(kind), name.clone())).await {
            Ok(AdminReply::Resource(found)) => Ok(Some(*found)),
            Ok(_) => Err(Refusal::Interrupted),
            Err(Refusal::NotFound { .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    async fn with_status(&self, found: Vec<Found>) -> Result<Vec<Resource>, Refusal> {
        let all: Vec<Place> = found.iter().flat_map(places).collect();
        let figures = self.figures(&all).await;
        let with_status = |found: Found| {
            let status = |place: Place| self.status(place, figures.get(&place.stream));
            let streams = places(&found).into_iter().map(status).collect();
            Resource { streams: Some(streams), ..resource(found) }
        };
        Ok(found.into_iter().map(with_status).collect())
    }

    async fn describe(&self) -> Result<Description, Refusal> {
        match self.handle().admin(AdminRequest::Describe).await? {
            AdminReply::Described(description) => Ok(*description),
            _ => Err(Refusal::Interrupted),
        }
    }
}

fn places(found: &Found) -> Vec<Place> {
    let place = |(partition, &(stream, shard))| Place { partition, shard, stream };
    (0..).zip(&found.partitions).map(place).collect()
}

fn not_found(kind: ResourceKind, name: &Name) -> Refusal {
    Refusal::NotFound { kind: kind.as_str(), name: name.to_string() }
}

fn check_revision(kind: ResourceKind, name: &Name, expected: Revision, is: Revision) -> Result<(), Refusal> {
    if expected == is {
        return Ok(());
    }
    let kind = kind.as_str();
    let what = match (expected, is) {
        (Revision::ZERO, _) => format!("{kind} {name} exists already, at revision {is}"),
        (_, Revision::ZERO) => format!("{kind} {name} does not exist; expected at revision {expected}"),
        _ => format!("{kind} {name} is at revision {is}, not {expected}"),
    };
    Err(Refusal::Conflict { what })
}

fn found_kind(kind: ResourceKind) -> FoundKind {
    match kind {
        ResourceKind::Topic => FoundKind::Topic,
        ResourceKind::Queue => FoundKind::Queue,
        ResourceKind::Group => FoundKind::Group,
    }
}

pub(super) fn wire_kind(kind: FoundKind) -> ResourceKind {
    match kind {
        FoundKind::Topic => ResourceKind::Topic,
        FoundKind::Queue => ResourceKind::Queue,
        FoundKind::Group => ResourceKind::Group,
    }
}

/// A resource in the words of the wire, without status.
pub(super) fn resource(found: Found) -> Resource {
    let settings = match found.settings {
        ResourceSettings::Topic(topic) => Settings::Topic(topic),
        ResourceSettings::Queue(queue) => Settings::Queue(queue),
        ResourceSettings::Group(group) => Settings::Group(group),
    };
    Resource { name: found.name, uid: found.uid, revision: found.revision, settings, streams: None }
}

fn cluster(description: Description) -> Cluster {
    let version = env!("CARGO_PKG_VERSION");
    let brokers = description.brokers.into_iter().map(|broker| Broker {
        id: broker.id,
        address: broker.address,
        incarnation: broker.incarnation,
        // One broker of one version: the one that answers.
        version: version.to_owned(),
    });
    Cluster {
        uuid: description.cluster,
        brokers: brokers.collect(),
        shards: u32::try_from(description.shards).unwrap_or(u32::MAX),
        streams: u32::try_from(description.streams).unwrap_or(u32::MAX),
        version: version.to_owned(),
        revision: description.revision,
    }
}
