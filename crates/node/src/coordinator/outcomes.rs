//! What the consensus says, and what follows from it.

use pondage_catalog::{Command, Consensus, ConsensusInput, ConsensusOutput, Outcome, checkpoint_pages};
use pondage_model::{Entry, Refusal, Revision, StreamId, wire::Wire};

use super::{
    AdminReply, Applied, Coordinator, CoordinatorEffect,
    ensuring::streams_read_by,
    machine::{Purpose, Reading},
};

impl<C: Consensus> Coordinator<C> {
    pub(super) fn perform(&mut self, output: ConsensusOutput, effects: &mut Vec<CoordinatorEffect>) {
        match output {
            ConsensusOutput::Append(entries) => {
                effects.push(CoordinatorEffect::Write(entries.iter().map(Entry::encode).collect()));
            }
            ConsensusOutput::Committed { revision, command, proposal, .. } => {
                let command = match Command::from_bytes(command) {
                    Ok(command) => command,
                    Err(malformed) => return self.end(Refusal::Malformed { what: malformed.0 }, effects),
                };
                let purpose = proposal.and_then(|proposal| self.take_purpose(proposal));
                self.commit(purpose, revision, &command, effects);
            }
            ConsensusOutput::ReadReady(read) => match self.reads.remove(&read) {
                Some(Reading::Admin(id, request)) => {
                    effects.push(CoordinatorEffect::Reply { id, result: self.read(request) });
                }
                Some(Reading::Registration) => self.choose_number(effects),
                None => {}
            },
            ConsensusOutput::Failed { proposal, refusal } => {
                let purpose = self.take_purpose(proposal);
                self.failed(purpose, refusal, effects);
            }
            ConsensusOutput::ReadFailed { read, refusal } => match self.reads.remove(&read) {
                Some(Reading::Admin(id, _)) => {
                    effects.push(CoordinatorEffect::Reply { id, result: Err(refusal) });
                }
                Some(Reading::Registration) => self.unlucky(refusal, effects),
                None => {}
            },
            ConsensusOutput::TakeCheckpoint => {
                self.consensus
                    .handle(ConsensusInput::CheckpointTaken { pages: checkpoint_pages(&self.catalog) });
            }
            ConsensusOutput::Restored { pages, .. } => self.restored(&pages, effects),
            ConsensusOutput::Checkpointed { first } => effects.push(CoordinatorEffect::DropSegments(first)),
        }
    }

    fn commit(
        &mut self,
        purpose: Option<Purpose>,
        revision: Revision,
        command: &Command,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let read_streams = match command {
            Command::DeleteGroup { name, .. } => streams_read_by(&self.catalog, name),
            _ => Vec::new(),
        };
        let before = self.catalog.revision();
        let outcome = self.catalog.apply(revision, command);
        // Of what is deleted, messages are sent elsewhere first.
        if !matches!(outcome, Ok(Outcome::Deleted(_))) {
            self.follow(before, effects);
        }
        if let Some(leading) = &mut self.leading {
            leading.catalog_changed(command, &self.catalog, self.now_millis);
        }
        self.committed(purpose, revision, outcome, &read_streams, effects);
    }

    fn committed(
        &mut self,
        purpose: Option<Purpose>,
        revision: Revision,
        outcome: Result<Outcome, Refusal>,
        read_streams: &[StreamId],
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let admin = if let Some(Purpose::Admin(id)) = purpose { Some(id) } else { None };
        let mut reply = |result| {
            if let Some(id) = admin {
                effects.push(CoordinatorEffect::Reply { id, result });
            }
        };
        match outcome {
            Err(refusal) => match purpose {
                Some(Purpose::Initialise | Purpose::Register) => self.registration_refused(refusal, effects),
                Some(Purpose::AlterIsr(shards)) => self.repeat_assignments(&shards, effects),
                Some(Purpose::HandOver(shards)) => self.keep_leading(&shards, effects),
                Some(Purpose::Admin(_)) => reply(Err(refusal)),
                // Decided anew, on the catalog as it is now.
                Some(Purpose::Elect | Purpose::Move) | None => {}
            },
            Ok(Outcome::Created(applied)) => self.applied(admin, Applied::Created, &applied, effects),
            Ok(Outcome::Updated(applied)) => self.applied(admin, Applied::Updated, &applied, effects),
            Ok(Outcome::Deleted(deleted)) => self.deleted(admin, &deleted, read_streams, effects),
            Ok(Outcome::Producers { first, count }) => {
                reply(Ok(AdminReply::Producers { first: first.get(), count }));
            }
            Ok(Outcome::Unchanged) => {
                reply(Ok(AdminReply::Applied { applied: Applied::Unchanged, revision }));
            }
            Ok(Outcome::Shards(shards)) => match purpose {
                Some(Purpose::AlterIsr(asked)) => self.repeat_assignments(&asked, effects),
                Some(Purpose::HandOver(asked)) => self.keep_leading(&asked, effects),
                _ => reply(Ok(AdminReply::Ordered { shards, revision })),
            },
            Ok(Outcome::Initialised | Outcome::Registered { .. } | Outcome::Led { .. } | Outcome::Done) => {
                reply(Ok(AdminReply::Ordered { shards: Vec::new(), revision }));
            }
        }
    }

    fn failed(&mut self, purpose: Option<Purpose>, refusal: Refusal, effects: &mut Vec<CoordinatorEffect>) {
        match purpose {
            Some(Purpose::Admin(id)) => effects.push(CoordinatorEffect::Reply { id, result: Err(refusal) }),
            Some(Purpose::AlterIsr(shards)) => {
                self.repeat_assignments(&shards, effects);
                self.unlucky(refusal, effects);
            }
            Some(Purpose::HandOver(shards)) => {
                self.keep_leading(&shards, effects);
                self.unlucky(refusal, effects);
            }
            Some(_) => self.unlucky(refusal, effects),
            None => {}
        }
    }

    /// What the coordinator wanted did not come about, or is not known to have: it looks again after a pause.
    fn unlucky(&mut self, refusal: Refusal, effects: &mut Vec<CoordinatorEffect>) {
        if refusal.retriable() && !matches!(refusal, Refusal::VolumeFenced { .. }) {
            self.pause();
        } else {
            self.end(refusal, effects);
        }
    }
}
