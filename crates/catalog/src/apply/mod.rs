//! The fold: one committed command after the other.
//!
//! Each command is checked and planned against the unchanged state first; once it begins to change the state,
//! nothing of it can fail.

mod cluster;
mod delete;
mod groups;
mod streams;
mod validate;

use pondage_model::{Refusal, Revision};

use crate::{
    command::{Command, Outcome},
    state::Catalog,
};

/// The feature level of this version: what entries and commands it can write.
const FEATURE_LEVEL: u32 = 1;

impl Catalog {
    /// Applies a committed command.
    ///
    /// Deterministic in the state, the revision and the command. A refusal is an outcome like any other: it is
    /// definite, the same on every broker, and leaves the state as it was but for its revision.
    ///
    /// # Errors
    /// What the command's sender has to be told; never [unknown](pondage_model::refusal::Outcome::Unknown).
    ///
    /// # Panics
    /// If `revision` is not after [`Catalog::revision`]: a command was applied twice, or out of order.
    pub fn apply(&mut self, revision: Revision, command: &Command) -> Result<Outcome, Refusal> {
        assert!(revision > self.revision, "{revision:?} applied after {:?}", self.revision);
        self.revision = revision;
        if self.cluster.is_none() && !matches!(command, Command::Initialise { .. }) {
            return Err(Refusal::ProtocolState { what: "the cluster is not initialised yet" });
        }
        match command {
            Command::Initialise { cluster, nonce } => self.initialise(*cluster, *nonce),
            Command::RegisterBroker { volume, incarnation, nonce, address, rack } => {
                self.register(*volume, *incarnation, *nonce, address, rack.as_deref())
            }
            Command::LeadAll { broker, incarnation } => self.lead_all(*broker, *incarnation),
            Command::ApplyTopic { name, settings } => self.apply_topic(name, settings),
            Command::ApplyQueue { name, settings } => self.apply_queue(name, settings),
            Command::ApplyGroup { name, settings } => self.apply_group(name, settings),
            Command::DeleteTopic { name, policy_override, messages, if_uid } => {
                self.delete_topic(name, *policy_override, *messages, *if_uid)
            }
            Command::DeleteQueue { name, policy_override, messages, if_uid } => {
                self.delete_queue(name, *policy_override, *messages, *if_uid)
            }
            Command::DeleteGroup { name, if_uid } => self.delete_group(name, *if_uid),
            Command::AllocateProducers { broker } => self.allocate_producers(*broker),
        }
    }
}

#[cfg(test)]
mod tests;
