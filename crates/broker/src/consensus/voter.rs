//! The port of the coordinator: takes what it asks, and gives what was agreed on.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::ServerState;
use pondage_model::{BrokerId, Epoch, Refusal, limits};
use pondage_node::catalog::{Consensus, ConsensusInput, ConsensusOutput, Membership, ProposalId, ReadId};

use super::node::Inner;

/// A leader that no majority of voters answered for so long leads no more, and one that was not heard of for so
/// long is not believed in.
const SILENCE: Duration = Duration::from_millis(2 * limits::CONSENSUS_ELECTION_MILLIS_MAX);

/// The voter as the coordinator sees it: [`Consensus`] among several.
///
/// Proposals may come from any member; they reach the leader as requests. [`ConsensusOutput::Append`] and
/// [`ConsensusOutput::Checkpointed`] never come: the voter writes its log and its snapshots by itself.
pub struct RaftVoter(Arc<Inner>);

impl RaftVoter {
    pub(crate) const fn new(inner: Arc<Inner>) -> Self {
        Self(inner)
    }
}

impl fmt::Debug for RaftVoter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RaftVoter").field(&self.0).finish()
    }
}

impl Consensus for RaftVoter {
    fn propose(&mut self, id: ProposalId, command: Bytes) {
        let inner = Arc::clone(&self.0);
        if let Some(origin) = inner.shared.propose(id, &command) {
            self.0.runtime.spawn(async move { inner.propose(id, origin, command).await });
        }
    }

    fn read_index(&mut self, id: ReadId) {
        let inner = Arc::clone(&self.0);
        if inner.shared.read(id) {
            self.0.runtime.spawn(async move { inner.read(id).await });
        }
    }

    fn change_voters(&mut self, voters: &[BrokerId]) -> Result<(), Refusal> {
        self.0.change_voters(voters)
    }

    fn membership(&self) -> Membership {
        let (brokers, metrics) = (self.0.caller.brokers(), self.0.raft.metrics());
        let metrics = metrics.borrow();
        let number = |volume| brokers.on_volume(volume).map(|row| row.id);
        let voters = metrics.membership_config.voter_ids().filter_map(|id| number(id.0)).collect();
        let is_there = match metrics.current_leader {
            Some(leader) if leader == self.0.id => {
                metrics.state == ServerState::Leader
                    && metrics
                        .millis_since_quorum_ack
                        .is_none_or(|millis| millis <= SILENCE.as_millis() as u64)
            }
            Some(_) => self.0.heard().is_some_and(|heard| heard.elapsed() <= SILENCE),
            None => false,
        };
        let is_firm =
            self.0.shared.applied().is_some_and(|applied| applied.leader_id.term == metrics.current_term);
        let leader = metrics.current_leader.filter(|_| is_there && is_firm).and_then(|id| number(id.0));
        Membership { voters, leader, epoch: Epoch(metrics.current_term) }
    }

    fn handle(&mut self, input: ConsensusInput) {
        match input {
            ConsensusInput::Tick { now } => self.0.shared.tick(now),
            // Its log is the voter's own.
            ConsensusInput::Synced { .. } => {}
            ConsensusInput::CheckpointWanted => self.0.shared.want_snapshot(),
            ConsensusInput::CheckpointTaken { pages } => self.0.shared.checkpoint_taken(pages),
            ConsensusInput::Fault { refusal } => {
                self.0.shared.fault(&refusal);
                self.0.shared.stop();
            }
        }
    }

    fn poll(&mut self) -> Option<ConsensusOutput> {
        self.0.shared.poll()
    }
}
