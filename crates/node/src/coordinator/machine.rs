//! The coordinator's machine: proposals in, committed commands out, and what follows from each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pondage_catalog::{
    self as catalog, Action, Applied as CatalogApplied, Catalog, Change, Command, Consensus, ConsensusInput,
    ConsensusOutput, Kind, LogEnd, OneVoter, Outcome, ProposalId, ReadId, StreamOwner, StreamPlace,
    checkpoint_pages,
};
use pondage_model::{
    BrokerId, Entry, Member, Name, Position, Refusal, Revision, ShardId, StreamId,
    entry::Open,
    settings::{GroupSource, StreamSettings},
    wire::Wire,
};

use super::{
    AdminReply, AdminRequest, Applied, CoordinatorEffect, CoordinatorEvent, Description, Identity, Resource,
    ResourceSettings, Route,
    shards::{Answer, AnswerId, Shards},
};
use crate::{
    LogClock, Now,
    shard::{Ensure, RequestId},
};

/// The owner of the catalog on one broker.
#[derive(Debug)]
pub struct Coordinator {
    identity: Identity,
    consensus: OneVoter,
    catalog: Catalog,
    log_time: pondage_model::LogTime,
    clock: Option<LogClock>,
    broker: Option<BrokerId>,
    next_id: u64,
    /// Proposals whose outcome somebody waits for.
    proposals: BTreeMap<ProposalId, Purpose>,
    /// Reads that wait until they may be answered.
    reads: BTreeMap<ReadId, (RequestId, AdminRequest)>,
    /// What the shards have to do, and who waits for it.
    shards: Shards,
}

/// Why a command was proposed.
#[derive(Debug)]
enum Purpose {
    Initialise,
    Register,
    Lead,
    Admin(RequestId),
}

impl Coordinator {
    /// A coordinator on a recovered catalog.
    #[must_use]
    pub fn new(identity: Identity, catalog: Catalog, end: &LogEnd) -> Self {
        let voter = catalog.broker_of(identity.volume).map_or(catalog.next_broker(), |broker| broker.id);
        Self {
            identity,
            consensus: OneVoter::start(voter, end),
            catalog,
            log_time: end.log_time,
            clock: None,
            broker: None,
            next_id: 0,
            proposals: BTreeMap::new(),
            reads: BTreeMap::new(),
            shards: Shards::default(),
        }
    }

    /// Who this broker is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// This start of this broker, once it is registered.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        self.broker.map(|broker| Member { broker, incarnation: self.identity.incarnation })
    }

    /// What the cluster knows besides messages, as far as it is committed.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Takes what happened and says what follows.
    pub fn step(&mut self, now: Now, event: CoordinatorEvent, effects: &mut Vec<CoordinatorEffect>) {
        let log_time = self.clock.get_or_insert_with(|| LogClock::start(now, self.log_time)).read(now);
        self.consensus.handle(ConsensusInput::Tick { now: log_time });
        match event {
            CoordinatorEvent::Start => {
                let command =
                    Command::Initialise { cluster: self.identity.cluster, nonce: self.identity.nonce };
                self.propose(Purpose::Initialise, &command);
            }
            CoordinatorEvent::Request { id, request } => self.request(id, request),
            CoordinatorEvent::Synced(synced) => {
                if let Some(through) = synced.end().get().checked_sub(1) {
                    self.consensus.handle(ConsensusInput::Synced { through: Position(through) });
                }
            }
            CoordinatorEvent::WriteFailed => {
                let refusal = Refusal::VolumeFenced { since: log_time };
                self.consensus.handle(ConsensusInput::Fault { refusal });
            }
            CoordinatorEvent::Serving(shard) => self.serving(shard, effects),
            CoordinatorEvent::Ensured { id, result } => self.ensured(id, result, effects),
        }
        while let Some(output) = self.consensus.poll() {
            self.perform(output, effects);
        }
    }

    fn perform(&mut self, output: ConsensusOutput, effects: &mut Vec<CoordinatorEffect>) {
        match output {
            ConsensusOutput::Append(entries) => {
                effects.push(CoordinatorEffect::Write(entries.iter().map(Entry::encode).collect()));
            }
            ConsensusOutput::Committed { revision, command, proposal, .. } => {
                let mut read = Vec::new();
                let outcome = match Command::from_bytes(command) {
                    Ok(command) => {
                        if let Command::DeleteGroup { name, .. } = &command {
                            read = self.streams_read_by(name);
                        }
                        self.catalog.apply(revision, &command)
                    }
                    Err(malformed) => {
                        effects.push(CoordinatorEffect::Fatal(Refusal::Malformed { what: malformed.0 }));
                        return;
                    }
                };
                let purpose = proposal.and_then(|proposal| self.proposals.remove(&proposal));
                self.committed(purpose, revision, outcome, &read, effects);
            }
            ConsensusOutput::ReadReady(read) => {
                if let Some((id, request)) = self.reads.remove(&read) {
                    effects.push(CoordinatorEffect::Reply { id, result: self.read(request) });
                }
            }
            ConsensusOutput::Failed { proposal, refusal } => match self.proposals.remove(&proposal) {
                Some(Purpose::Admin(id)) => {
                    effects.push(CoordinatorEffect::Reply { id, result: Err(refusal) });
                }
                Some(Purpose::Initialise | Purpose::Register | Purpose::Lead) => {
                    effects.push(CoordinatorEffect::Fatal(refusal));
                }
                None => {}
            },
            ConsensusOutput::ReadFailed { read, refusal } => {
                if let Some((id, _)) = self.reads.remove(&read) {
                    effects.push(CoordinatorEffect::Reply { id, result: Err(refusal) });
                }
            }
            ConsensusOutput::TakeCheckpoint => {
                self.consensus
                    .handle(ConsensusInput::CheckpointTaken { pages: checkpoint_pages(&self.catalog) });
            }
            ConsensusOutput::Checkpointed { first } => effects.push(CoordinatorEffect::DropSegments(first)),
        }
    }

    fn committed(
        &mut self,
        purpose: Option<Purpose>,
        revision: Revision,
        outcome: Result<Outcome, Refusal>,
        read_streams: &[StreamId],
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        match (purpose, outcome) {
            (Some(Purpose::Admin(id)), Err(refusal)) => {
                effects.push(CoordinatorEffect::Reply { id, result: Err(refusal) });
            }
            (_, Err(refusal)) => effects.push(CoordinatorEffect::Fatal(refusal)),
            (Some(Purpose::Initialise), Ok(_)) => {
                let Identity { volume, incarnation, nonce, ref address, .. } = self.identity;
                let address = address.clone();
                self.propose(
                    Purpose::Register,
                    &Command::RegisterBroker {
                        volume,
                        incarnation,
                        nonce,
                        address,
                        rack: None,
                        feature_levels: catalog::FEATURE_LEVELS,
                        replaces: None,
                    },
                );
            }
            (_, Ok(Outcome::Registered { broker, .. })) => {
                self.broker = Some(broker);
                let incarnation = self.identity.incarnation;
                self.propose(Purpose::Lead, &Command::LeadAll { broker, incarnation });
            }
            (_, Ok(Outcome::Led { shards })) => self.lead(&shards, effects),
            (purpose, Ok(Outcome::Created(applied))) => {
                self.applied(purpose.as_ref(), Applied::Created, &applied, effects);
            }
            (purpose, Ok(Outcome::Updated(applied))) => {
                self.applied(purpose.as_ref(), Applied::Updated, &applied, effects);
            }
            (Some(Purpose::Admin(id)), Ok(Outcome::Unchanged)) => {
                let reply = AdminReply::Applied { applied: Applied::Unchanged, revision };
                effects.push(CoordinatorEffect::Reply { id, result: Ok(reply) });
            }
            (purpose, Ok(Outcome::Deleted(deleted))) => {
                self.deleted(purpose.as_ref(), &deleted, read_streams, effects);
            }
            (Some(Purpose::Admin(id)), Ok(Outcome::Producers { first, count })) => {
                let reply = AdminReply::Producers { first: first.get(), count };
                effects.push(CoordinatorEffect::Reply { id, result: Ok(reply) });
            }
            (
                _,
                Ok(
                    Outcome::Initialised
                    | Outcome::Unchanged
                    | Outcome::Done
                    | Outcome::Shards(_)
                    | Outcome::Producers { .. },
                ),
            ) => {}
        }
    }

    /// Everything that this broker leads, after a start.
    fn lead(&mut self, shards: &[(ShardId, pondage_model::Epoch)], effects: &mut Vec<CoordinatorEffect>) {
        for resource in self.catalog.resources() {
            route(&self.catalog, resource.kind(), resource.name(), effects);
        }
        let ready = self.shards.answer(Answer::saying(Some(CoordinatorEffect::Ready)));
        for (shard, epoch) in shards {
            self.shards.start(*shard);
            self.shards.wait(*shard, ready);
            effects.push(CoordinatorEffect::StartShard(*shard, *epoch));
        }
        self.settle(ready, effects);
    }

    /// Gives the answer if no shard has to do anything for it.
    fn settle(&mut self, answer: AnswerId, effects: &mut Vec<CoordinatorEffect>) {
        let mut given = Vec::new();
        self.shards.settle(answer, &mut given);
        self.give(given, effects);
    }

    fn give(&self, given: Vec<Answer>, effects: &mut Vec<CoordinatorEffect>) {
        for answer in given {
            if let Some((kind, name, revision)) = answer.route
                && self.catalog.resource(kind, &name).is_some_and(|found| found.meta().changed == revision)
            {
                route(&self.catalog, kind, &name, effects);
            }
            effects.extend(answer.effect);
        }
    }

    fn applied(
        &mut self,
        purpose: Option<&Purpose>,
        how: Applied,
        applied: &CatalogApplied,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Change { revision, kind, ref name, .. } = applied.change;
        effects.push(CoordinatorEffect::Changed(applied.change.clone()));
        for (shard, epoch) in &applied.shards {
            self.shards.start(*shard);
            effects.push(CoordinatorEffect::StartShard(*shard, *epoch));
        }
        let places = self.places_of(kind, name);
        for place in &places {
            self.shards.want(place.shard, place.stream, None);
        }
        let affected: BTreeSet<ShardId> = places.iter().map(|place| place.shard).collect();
        let reply = |id| {
            let result = Ok(AdminReply::Applied { applied: how, revision });
            CoordinatorEffect::Reply { id, result }
        };
        // Nobody is sent to a stream that its shard does not have yet.
        let said = Answer::saying(admin_of(purpose).map(reply));
        let answer = self.shards.answer(said.routing(kind, name.clone(), revision));
        affected.iter().for_each(|shard| self.shards.wait(*shard, answer));
        if kind == Kind::Group {
            // One of the same name was deleted a moment ago: its cursors are not this one's.
            self.shards.wait_until_forgotten(name, answer);
        }
        self.settle(answer, effects);
        affected.into_iter().for_each(|shard| self.ask_shard(shard, effects));
    }

    fn deleted(
        &mut self,
        purpose: Option<&Purpose>,
        deleted: &catalog::Deleted,
        read_streams: &[StreamId],
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Change { revision, kind, ref name, action } = deleted.change;
        debug_assert_eq!(action, Action::Deleted);
        route(&self.catalog, kind, name, effects);
        effects.push(CoordinatorEffect::Changed(deleted.change.clone()));
        let mut given = Vec::new();
        for shard in &deleted.shards {
            self.shards.remove(*shard, &mut given);
            effects.push(CoordinatorEffect::RemoveShard(*shard));
        }
        self.give(given, effects);
        let mut affected = BTreeSet::new();
        for (stream, shard) in &deleted.streams {
            self.shards.want(*shard, *stream, None);
            affected.insert(*shard);
        }
        // The cursors of a group that is gone.
        for stream in read_streams {
            if let Some(found) = self.catalog.stream(*stream) {
                self.shards.want(found.shard, *stream, Some(name));
                affected.insert(found.shard);
            }
        }
        let reply = |id| CoordinatorEffect::Reply { id, result: Ok(AdminReply::Deleted { revision }) };
        let answer = self.shards.answer(Answer::saying(admin_of(purpose).map(reply)));
        affected.iter().for_each(|shard| self.shards.wait(*shard, answer));
        self.settle(answer, effects);
        affected.into_iter().for_each(|shard| self.ask_shard(shard, effects));
    }

    /// Where the streams of a resource are.
    fn places_of(&self, kind: Kind, name: &Name) -> Vec<StreamPlace> {
        match kind {
            Kind::Topic => self.catalog.topic(name).map(|topic| topic.partitions.clone()),
            Kind::Queue => self.catalog.queue(name).map(|queue| vec![queue.place]),
            Kind::Group => None,
        }
        .unwrap_or_default()
    }

    /// The partitions that a group has cursors in.
    fn streams_read_by(&self, group: &Name) -> Vec<StreamId> {
        let Some(group) = self.catalog.group(group) else { return Vec::new() };
        let GroupSource::Topics(topics) = &group.settings.source else { return Vec::new() };
        let partitions =
            topics.iter().filter_map(|name| self.catalog.topic(name)).flat_map(|topic| &topic.partitions);
        partitions.map(|place| place.stream).collect()
    }

    fn serving(&mut self, shard: ShardId, effects: &mut Vec<CoordinatorEffect>) {
        self.shards.serving(shard);
        self.ask_shard(shard, effects);
    }

    /// Asks the shard for what it has to do, if it is not asked something already.
    fn ask_shard(&mut self, shard: ShardId, effects: &mut Vec<CoordinatorEffect>) {
        let id = RequestId(self.new_id());
        let Some(wanted) = self.shards.ask(shard, id) else { return };
        let ensure = |(stream, dropped): (StreamId, Vec<Name>)| Ensure {
            dropped_groups: dropped,
            ..ensure(&self.catalog, stream)
        };
        let mut streams: BTreeMap<StreamId, Vec<Name>> = BTreeMap::new();
        if wanted.all {
            streams.extend(self.catalog.streams_of(shard).map(|stream| (stream, Vec::new())));
        }
        for (stream, dropped) in &wanted.streams {
            streams.insert(*stream, dropped.iter().cloned().collect());
        }
        let groups = || Arc::new(self.catalog.groups().map(|group| group.name.clone()).collect());
        let complete = wanted.all.then(groups);
        let streams = streams.into_iter().map(ensure).collect();
        effects.push(CoordinatorEffect::Ensure { id, shard, streams, complete });
    }

    fn ensured(&mut self, id: RequestId, result: Result<(), Refusal>, effects: &mut Vec<CoordinatorEffect>) {
        let mut given = Vec::new();
        let shard = self.shards.did(id, &mut given);
        self.give(given, effects);
        let Some(shard) = shard else { return };
        if let Err(refusal) = result {
            // The catalog and a shard that serves disagree about what may be: nothing the sender can mend.
            effects.push(CoordinatorEffect::Fatal(refusal));
            return;
        }
        self.ask_shard(shard, effects);
    }

    fn request(&mut self, id: RequestId, request: AdminRequest) {
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
                Command::AllocateProducers { broker: self.broker.unwrap_or(BrokerId::ZERO) }
            }
            read @ (AdminRequest::Get(..)
            | AdminRequest::List(_)
            | AdminRequest::Changes(_)
            | AdminRequest::Describe
            | AdminRequest::Preview(_)) => {
                let read_id = ReadId(self.new_id());
                self.reads.insert(read_id, (id, read));
                self.consensus.read_index(read_id);
                return;
            }
        };
        self.propose(Purpose::Admin(id), &command);
    }

    fn read(&self, request: AdminRequest) -> Result<AdminReply, Refusal> {
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
            AdminRequest::Changes(since) => {
                let changes = self.catalog.changes_since(since).map(|changes| changes.cloned().collect());
                Ok(AdminReply::Changes(changes, self.catalog.revision()))
            }
            AdminRequest::Describe => Ok(AdminReply::Described(Box::new(Description {
                cluster: self.identity.cluster,
                broker: self.broker.unwrap_or(BrokerId::ZERO),
                brokers: self.catalog.brokers().cloned().collect(),
                shards: self.catalog.shards().len(),
                streams: self.catalog.stream_count(),
                revision: self.catalog.revision(),
            }))),
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

    fn propose(&mut self, purpose: Purpose, command: &Command) {
        let id = ProposalId(self.new_id());
        self.proposals.insert(id, purpose);
        self.consensus.propose(id, command.to_bytes());
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// Who waits, if it is an administrator.
fn admin_of(purpose: Option<&Purpose>) -> Option<RequestId> {
    if let Some(&Purpose::Admin(id)) = purpose { Some(id) } else { None }
}

/// How a stream should be, by the catalog.
fn ensure(catalog: &Catalog, stream: StreamId) -> Ensure {
    let open = catalog.stream(stream).zip(catalog.stream_settings(stream)).map(|(found, settings)| {
        let (name, partition) = match &found.owner {
            StreamOwner::Partition { topic, partition } => (topic.clone(), *partition),
            StreamOwner::Queue(queue) => (queue.clone(), 0),
        };
        Open { name, partition, settings }
    });
    let dead_letter = open.as_ref().and_then(|open| match &open.settings {
        StreamSettings::Queue(settings) => {
            let target = catalog.queue(settings.dead_letter.as_ref()?)?;
            Some((target.place.shard, target.place.stream))
        }
        StreamSettings::Topic(_) => None,
    });
    Ensure { stream, open, dead_letter, dropped_groups: Vec::new() }
}

fn resource(found: catalog::Resource<'_>) -> Resource {
    let meta = found.meta();
    let (settings, partitions) = match found {
        catalog::Resource::Topic(topic) => {
            (ResourceSettings::Topic(topic.settings.clone()), topic.partitions.clone())
        }
        catalog::Resource::Queue(queue) => {
            (ResourceSettings::Queue(queue.settings.clone()), vec![queue.place])
        }
        catalog::Resource::Group(group) => (ResourceSettings::Group(group.settings.clone()), Vec::new()),
    };
    Resource {
        name: found.name().clone(),
        uid: meta.uid,
        revision: meta.changed,
        settings,
        partitions: partitions.into_iter().map(|place| (place.stream, place.shard)).collect(),
    }
}

/// Tells the shell where the messages of a name are now.
fn route(catalog: &Catalog, kind: Kind, name: &Name, effects: &mut Vec<CoordinatorEffect>) {
    let found = catalog.resource(kind, name);
    effects.push(match (kind, found) {
        (Kind::Group, Some(catalog::Resource::Group(group))) => {
            CoordinatorEffect::Group(name.clone(), Some(group.settings.clone()))
        }
        (Kind::Group, _) => CoordinatorEffect::Group(name.clone(), None),
        (_, found) => CoordinatorEffect::Route(
            name.clone(),
            found.map(resource).map(|Resource { name, settings, partitions, .. }| Route {
                name,
                settings,
                partitions,
            }),
        ),
    });
}
