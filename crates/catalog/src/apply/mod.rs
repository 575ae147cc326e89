//! The fold: one committed command after the other.
//!
//! Each command is checked and planned against the unchanged state first; once it begins to change the state,
//! nothing of it can fail.

mod brokers;
mod cluster;
mod delete;
mod groups;
mod replicas;
mod shards;
mod streams;
mod validate;

use pondage_model::{Refusal, Revision};

use self::brokers::Start;
use crate::{
    command::{Command, Outcome},
    invariants,
    rows::FeatureLevels,
    state::Catalog,
};

/// The feature levels of this version: what entries and commands it can write and read.
pub const FEATURE_LEVELS: FeatureLevels = FeatureLevels { lowest: 1, highest: 1 };

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
        let outcome = self.perform(command);
        if cfg!(debug_assertions)
            && let Err(broken) = invariants::check_changed(self, Revision(revision.0 - 1))
        {
            panic!("{broken}: after {command:?}");
        }
        outcome
    }

    fn perform(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Initialise { cluster, nonce } => self.initialise(*cluster, *nonce),
            Command::RegisterBroker {
                volume,
                incarnation,
                nonce,
                address,
                rack,
                feature_levels,
                replaces,
            } => self.register(&Start {
                volume: *volume,
                incarnation: *incarnation,
                nonce: *nonce,
                address,
                rack: rack.as_deref(),
                feature_levels: *feature_levels,
                replaces: *replaces,
            }),
            Command::LoseBroker { broker } => self.lose_broker(*broker),
            Command::AlterIsr { broker, changes } => self.alter_isr(*broker, changes),
            Command::ElectLeaders { elections } => Ok(self.elect_leaders(elections)),
            Command::UncleanElect { shard, version, leader, reason } => {
                self.unclean_elect(*shard, *version, *leader, reason)
            }
            Command::ChangeReplicas { changes } => Ok(self.change_replicas(changes)),
            Command::DropReplicas { drops } => Ok(self.drop_replicas(drops)),
            Command::SetFeatureLevel { level } => self.set_feature_level(*level),
            Command::Drain { broker, drain } => self.drain(*broker, *drain),
            Command::RemoveBroker { broker } => self.remove_broker(*broker),
            Command::SetVoters { voters } => self.set_voters(voters),
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
