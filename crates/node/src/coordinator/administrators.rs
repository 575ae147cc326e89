//! Administrators' requests: writes become commands, reads wait until they see all that was answered before.

use pondage_catalog::{self as catalog, Command, Kind, Outcome, ReadId, planners};
use pondage_model::{BrokerId, Refusal};

use super::{
    AdminReply, AdminRequest, Applied, Coordinator, CoordinatorEffect, Description,
    machine::{Purpose, Reading},
    resources::resource,
};
use crate::shard::RequestId;

impl<C: catalog::Consensus> Coordinator<C> {
    pub(super) fn request(
        &mut self,
        id: RequestId,
        request: AdminRequest,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let command = match request {
            AdminRequest::ApplyTopic(name, settings) => Command::ApplyTopic { name, settings },
            AdminRequest::ApplyQueue(name, settings) => Command::ApplyQueue { name, settings },
            AdminRequest::ApplyGroup(name, settings) => Command::ApplyGroup { name, settings },
            AdminRequest::Delete { kind: Kind::Topic, name, messages } => {
                Command::DeleteTopic { name, policy_override: None, messages, if_uid: None }
            }
            AdminRequest::Delete { kind: Kind::Queue, name, messages } => {
                Command::DeleteQueue { name, policy_override: None, messages, if_uid: None }
            }
            AdminRequest::Delete { kind: Kind::Group, name, .. } => {
                Command::DeleteGroup { name, if_uid: None }
            }
            AdminRequest::AllocateProducers => {
                Command::AllocateProducers { broker: self.broker().unwrap_or(BrokerId::ZERO) }
            }
            AdminRequest::Order(command) => *command,
            AdminRequest::View { is_local: true } => {
                let result = Ok(AdminReply::View(Box::new(self.view())));
                return effects.push(CoordinatorEffect::Reply { id, result });
            }
            read @ (AdminRequest::Get(..)
            | AdminRequest::List(_)
            | AdminRequest::HasStream(_)
            | AdminRequest::HasTarget(_)
            | AdminRequest::HasGroup(_)
            | AdminRequest::Changes(_)
            | AdminRequest::Describe
            | AdminRequest::View { .. }
            | AdminRequest::Plan { .. }
            | AdminRequest::DrainObstacle(..)
            | AdminRequest::Preview(_)) => {
                let read_id = ReadId(self.new_id());
                self.reads.insert(read_id, Reading::Admin(id, read));
                self.consensus.read_index(read_id);
                return;
            }
        };
        self.propose(Purpose::Admin(id), &command);
    }

    pub(super) fn read(&self, request: AdminRequest) -> Result<AdminReply, Refusal> {
        match request {
            AdminRequest::Get(kind, name) => {
                let found = self
                    .catalog
                    .resource(kind, &name)
                    .ok_or_else(|| Refusal::NotFound { kind: kind.as_str(), name: name.to_string() })?;
                Ok(AdminReply::Resource(Box::new(resource(found))))
            }
            AdminRequest::List(kind) => {
                let of_kind = |found: &catalog::Resource<'_>| kind.is_none_or(|kind| kind == found.kind());
                let resources = self.catalog.resources().filter(of_kind).map(resource).collect();
                Ok(AdminReply::Resources(resources, self.catalog.revision()))
            }
            AdminRequest::HasStream(stream) => Ok(AdminReply::Found(self.catalog.stream(stream).is_some())),
            AdminRequest::HasTarget(name) => Ok(AdminReply::Found(
                self.catalog.topic(&name).is_some() || self.catalog.queue(&name).is_some(),
            )),
            AdminRequest::HasGroup(name) => Ok(AdminReply::Found(self.catalog.group(&name).is_some())),
            AdminRequest::Changes(since) => {
                let changes = self.catalog.changes_since(since).map(|changes| changes.cloned().collect());
                Ok(AdminReply::Changes(changes, self.catalog.revision()))
            }
            AdminRequest::Describe => Ok(AdminReply::Described(Box::new(Description {
                cluster: self.identity.cluster,
                broker: self.broker().unwrap_or(BrokerId::ZERO),
                brokers: self.catalog.brokers().cloned().collect(),
                shards: self.catalog.shards().len(),
                streams: self.catalog.stream_count(),
                revision: self.catalog.revision(),
            }))),
            AdminRequest::View { .. } => Ok(AdminReply::View(Box::new(self.view()))),
            AdminRequest::Plan { live } => Ok(self.planned(&live)),
            AdminRequest::DrainObstacle(broker, drain) => {
                Ok(AdminReply::Obstacle(planners::drain::obstacle(&self.catalog, broker, drain)))
            }
            AdminRequest::Preview(request) => self.preview(*request),
            _ => Err(Refusal::Malformed { what: "not a read" }),
        }
    }

    /// Applies to a copy of the catalog: rare, and as right as the real thing.
    fn preview(&self, request: AdminRequest) -> Result<AdminReply, Refusal> {
        let command = match request {
            AdminRequest::ApplyTopic(name, settings) => Command::ApplyTopic { name, settings },
            AdminRequest::ApplyQueue(name, settings) => Command::ApplyQueue { name, settings },
            AdminRequest::ApplyGroup(name, settings) => Command::ApplyGroup { name, settings },
            _ => return Err(Refusal::Malformed { what: "only what is applied has a preview" }),
        };
        let revision = self.catalog.revision();
        let applied = match self.catalog.clone().apply(revision.next(), &command)? {
            Outcome::Created(_) => Applied::Created,
            Outcome::Updated(_) => Applied::Updated,
            _ => Applied::Unchanged,
        };
        Ok(AdminReply::Applied { applied, revision })
    }
}
