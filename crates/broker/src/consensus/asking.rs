//! Proposals and reads: brought to whoever leads, here or elsewhere, until they have an outcome.
//!
//! A proposal is given to a leader again only while no leader can have appended it. Once one may have, it is waited
//! for: it is recognised by its origin when it is applied here, and fails with an unknown outcome if that takes too
//! long.

use std::time::Duration;

use bytes::Bytes;
use openraft::error::RaftError;
use pondage_model::{Epoch, Refusal};
use pondage_node::catalog::{ProposalId, ReadId};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    messages::{ReplyBody, RequestBody},
    node::{Inner, answer_deadline, left},
    ports::CallError,
    types::{LogId, Origin, Proposed},
};

/// How long to wait before a leader is looked for again.
const RETRY: Duration = Duration::from_millis(20);

/// How long one question about a read may take: asking again costs nothing.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// What became of a command that was given to a leader.
enum Given {
    /// It is not in any log and will not be.
    Refused,
    /// It is committed.
    Committed,
    /// It may be in a log.
    Unknown,
}

impl Inner {
    /// Brings the proposal to its outcome.
    pub(crate) async fn propose(&self, id: ProposalId, origin: Origin, command: Bytes) {
        let deadline = answer_deadline();
        let bytes = command.len();
        let mut may_be_in = false;
        let given = self.give_to_leader(Proposed { origin, command }, deadline, &mut may_be_in);
        if timeout_at(deadline, given).await.is_err() {
            let _counted_as_unknown = self.shared.was_appended(origin);
        }
        self.shared.proposal_over(bytes);
        while !self.shared.has_outcome(id) && may_be_in && Instant::now() < deadline {
            sleep(RETRY.min(left(deadline))).await;
        }
        let refusal = if may_be_in { Refusal::Timeout } else { self.leads_not() };
        self.shared.fail_proposal(id, refusal);
    }

    /// Gives the command to leaders until one may have it. `may_be_in` is right at every moment.
    async fn give_to_leader(&self, proposed: Proposed, deadline: Instant, may_be_in: &mut bool) {
        while Instant::now() < deadline && !self.shared.has_ended() {
            if let Some(leader) = self.leader() {
                *may_be_in = true;
                let given = if leader == self.id {
                    self.give(proposed.clone()).await
                } else {
                    match self.address_of(leader) {
                        Some(address) => {
                            self.forward(leader.0, &address, proposed.clone(), left(deadline)).await
                        }
                        None => Given::Refused,
                    }
                };
                if !matches!(given, Given::Refused) {
                    return;
                }
                *may_be_in = false;
            }
            sleep(RETRY.min(left(deadline))).await;
        }
    }

    /// Gives a command to the library, here.
    async fn give(&self, proposed: Proposed) -> Given {
        let origin = proposed.origin;
        self.shared.submit(origin);
        let written = self.raft.client_write(proposed).await;
        // What the library refuses may be in the log all the same: it was cut there by another leader, and other logs
        // may still have it.
        let was_appended = self.shared.was_appended(origin);
        match written {
            Ok(_) => Given::Committed,
            Err(_) if was_appended => Given::Unknown,
            // A voter that stops may have it in hand, on its way to the log.
            Err(RaftError::Fatal(_)) => Given::Unknown,
            Err(RaftError::APIError(_)) => Given::Refused,
        }
    }

    async fn forward(
        &self,
        to: pondage_model::Uuid,
        address: &str,
        proposed: Proposed,
        limit: Duration,
    ) -> Given {
        match self.caller.call(Some(to), address, RequestBody::Propose(proposed), limit).await {
            Ok(ReplyBody::Committed) => Given::Committed,
            Ok(ReplyBody::NotLeader(_) | ReplyBody::Busy | ReplyBody::Malformed) => Given::Refused,
            Err(CallError::Unreachable) => Given::Refused,
            _ => Given::Unknown,
        }
    }

    /// Another member's proposal.
    pub(crate) async fn propose_for_another(&self, proposed: Proposed) -> ReplyBody {
        if self.leader() != Some(self.id) {
            return self.not_leader();
        }
        if proposed.command.len() > pondage_model::limits::CATALOG_COMMAND_BYTES_MAX {
            return ReplyBody::Malformed;
        }
        let origin = proposed.origin;
        match timeout_at(answer_deadline(), self.give(proposed)).await {
            Ok(Given::Committed) => ReplyBody::Committed,
            Ok(Given::Refused) => self.not_leader(),
            Ok(Given::Unknown) => ReplyBody::Unknown,
            Err(_) => {
                let _counted_as_unknown = self.shared.was_appended(origin);
                ReplyBody::Unknown
            }
        }
    }

    /// Finds out what the read has to see; the state machine says when it is there.
    pub(crate) async fn read(&self, id: ReadId) {
        let deadline = answer_deadline();
        while Instant::now() < deadline && !self.shared.has_ended() {
            if let Some(index) = self.read_index().await {
                self.shared.read_waits_for(id, index);
                tokio::time::sleep_until(deadline).await;
                break;
            }
            sleep(RETRY.min(left(deadline))).await;
        }
        self.shared.fail_read(id, self.leads_not());
    }

    /// The entry that a read has to see, if a leader says so: committed when it was asked, or before.
    async fn read_index(&self) -> Option<Option<u64>> {
        let leader = self.leader()?;
        if leader == self.id {
            let confirmed = timeout(READ_LIMIT, self.raft.get_read_log_id()).await.ok()?;
            let (id, _) = confirmed.ok()?;
            return Some(id.map(|id| id.max(self.resumed(id).unwrap_or(id)).index));
        }
        let address = self.address_of(leader)?;
        match self.caller.call(Some(leader.0), &address, RequestBody::ReadIndex, READ_LIMIT).await {
            Ok(ReplyBody::ReadIndex(index)) => Some(index),
            _ => None,
        }
    }

    /// What a leader that started again in its own term has to see besides. The library takes the term's first entry
    /// for the least that every read sees, and forgot with its last life what the term committed since. The log, which
    /// nobody else wrote in this term, has all of it.
    fn resumed(&self, read: LogId) -> Option<LogId> {
        self.last_at_start.filter(|last| last.leader_id == read.leader_id)
    }

    /// Another member's read.
    pub(crate) async fn read_for_another(&self) -> ReplyBody {
        if self.leader() != Some(self.id) {
            return self.not_leader();
        }
        match self.read_index().await {
            Some(index) => ReplyBody::ReadIndex(index),
            None => self.not_leader(),
        }
    }

    /// Nothing was done: no leader was found in time.
    fn leads_not(&self) -> Refusal {
        Refusal::NotLeader { epoch: Epoch(self.raft.metrics().borrow().current_term) }
    }
}
