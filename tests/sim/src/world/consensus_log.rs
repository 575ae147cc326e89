//! The catalog's consensus as a model: one log that the world owns and that no fault can harm, and a voter on each
//! host that hears of it late, in part, or not at all.
//!
//! The log keeps the contract of [`Consensus`]: one order, nothing committed is ever lost, a failure with a definite
//! outcome never turns up. Within that contract it is as unkind as it can be: its leader changes, voters believe in
//! old leaders and lag behind, and proposals end unknown and turn up later, or not.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use bytes::Bytes;
use pondage_catalog::{
    Consensus, ConsensusInput, ConsensusOutput, Membership, ProposalId, ReadId, consensus::revision_at,
};
use pondage_model::{BrokerId, Epoch, Position, Refusal};

use super::host::HostId;

/// What a voter asks of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Propose(ProposalId, Bytes),
    Read(ReadId),
}

/// What lies between a voter and the world.
#[derive(Debug)]
struct Mailbox {
    asked: VecDeque<Asked>,
    outputs: VecDeque<ConsensusOutput>,
    membership: Membership,
}

/// The voter of one life of a host.
#[derive(Clone, Debug)]
pub(crate) struct ModelVoter {
    mailbox: Rc<RefCell<Mailbox>>,
}

impl Consensus for ModelVoter {
    fn propose(&mut self, id: ProposalId, command: Bytes) {
        self.mailbox.borrow_mut().asked.push_back(Asked::Propose(id, command));
    }

    fn read_index(&mut self, id: ReadId) {
        self.mailbox.borrow_mut().asked.push_back(Asked::Read(id));
    }

    fn change_voters(&mut self, _voters: &[BrokerId]) -> Result<(), Refusal> {
        Err(Refusal::NotServed { what: "a change of the model log's voters" })
    }

    fn membership(&self) -> Membership {
        self.mailbox.borrow().membership.clone()
    }

    /// The model needs no clock, no sync and no checkpoint.
    fn handle(&mut self, _input: ConsensusInput) {}

    fn poll(&mut self) -> Option<ConsensusOutput> {
        self.mailbox.borrow_mut().outputs.pop_front()
    }
}

/// Who proposed something: a life of a host and the proposal's name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposer {
    pub(super) host: HostId,
    pub(super) start: u64,
    pub(super) proposal: ProposalId,
}

#[derive(Debug)]
struct Logged {
    command: Bytes,
    /// Who waits for it; nobody once it was told of a failure.
    proposer: Option<Proposer>,
}

/// A host's place among the voters.
#[derive(Debug)]
struct Seat {
    start: u64,
    mailbox: Rc<RefCell<Mailbox>>,
    handed: usize,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct ConsensusLog {
    leader: Option<HostId>,
    epoch: Epoch,
    entries: Vec<Logged>,
    seats: Vec<Option<Seat>>,
    /// The hosts' brokers, as far as they are registered.
    brokers: Vec<Option<BrokerId>>,
}

impl ConsensusLog {
    pub(super) fn new(hosts: usize) -> Self {
        Self { seats: (0..hosts).map(|_| None).collect(), brokers: vec![None; hosts], ..Self::default() }
    }

    /// A life of a host begins: its voter knows nothing yet.
    pub(super) fn join(&mut self, host: HostId, start: u64) -> ModelVoter {
        let membership = Membership { voters: Vec::new(), leader: None, epoch: Epoch::ZERO };
        let mailbox = Mailbox { asked: VecDeque::new(), outputs: VecDeque::new(), membership };
        let mailbox = Rc::new(RefCell::new(mailbox));
        self.seats[host] = Some(Seat { start, mailbox: mailbox.clone(), handed: 0 });
        ModelVoter { mailbox }
    }

    /// The host registered as this broker.
    pub(super) fn is_broker(&mut self, host: HostId, broker: BrokerId) {
        self.brokers[host] = Some(broker);
    }

    pub(super) const fn leader(&self) -> Option<HostId> {
        self.leader
    }

    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Another leader, or none; a new one begins a new epoch.
    pub(super) fn elect(&mut self, leader: Option<HostId>) {
        self.leader = leader;
        if leader.is_some() {
            self.epoch = self.epoch.next();
        }
    }

    /// What the voter of a host asks.
    pub(super) fn asked(&mut self, host: HostId) -> VecDeque<Asked> {
        let seat = self.seats[host].as_ref();
        seat.map(|seat| std::mem::take(&mut seat.mailbox.borrow_mut().asked)).unwrap_or_default()
    }

    /// Something is committed. Nobody is told yet.
    pub(super) fn append(&mut self, command: Bytes, proposer: Option<Proposer>) {
        self.entries.push(Logged { command, proposer });
    }

    /// Hands out the next committed commands to a host's voter, `most` of them.
    pub(super) fn hand_out(&mut self, host: HostId, most: usize) {
        let Some(seat) = self.seats[host].as_mut() else { return };
        let mut mailbox = seat.mailbox.borrow_mut();
        let until = self.entries.len().min(seat.handed.saturating_add(most));
        for index in seat.handed..until {
            let Logged { command, proposer } = &self.entries[index];
            let position = Position(index as u64);
            let own = proposer.filter(|own| (own.host, own.start) == (host, seat.start));
            mailbox.outputs.push_back(ConsensusOutput::Committed {
                position,
                revision: revision_at(position),
                command: command.clone(),
                proposal: own.map(|own| own.proposal),
            });
        }
        seat.handed = until;
    }

    /// Whether the host's voter has been handed everything below.
    pub(super) fn has(&self, host: HostId, entries: usize) -> bool {
        self.seats[host].as_ref().is_some_and(|seat| seat.handed >= entries)
    }

    /// The proposer is told of a failure, unless it was told already that it is committed. With an unknown outcome
    /// it may be in the log; then nobody waits for it from now on.
    pub(super) fn fail(&mut self, proposer: Proposer, refusal: Refusal) {
        let Some(seat) = self.seats[proposer.host].as_mut().filter(|seat| seat.start == proposer.start)
        else {
            return;
        };
        for (index, logged) in self.entries.iter_mut().enumerate().rev() {
            if logged.proposer == Some(proposer) {
                if index < seat.handed {
                    return;
                }
                logged.proposer = None;
                break;
            }
        }
        let failed = ConsensusOutput::Failed { proposal: proposer.proposal, refusal };
        seat.mailbox.borrow_mut().outputs.push_back(failed);
    }

    /// A read's end at this life of the host.
    pub(super) fn end_read(&mut self, host: HostId, start: u64, read: ReadId, refusal: Option<Refusal>) {
        let Some(seat) = self.seats[host].as_mut().filter(|seat| seat.start == start) else { return };
        seat.mailbox.borrow_mut().outputs.push_back(match refusal {
            None => ConsensusOutput::ReadReady(read),
            Some(refusal) => ConsensusOutput::ReadFailed { read, refusal },
        });
    }

    /// The host's voter hears who leads, or loses its belief in a leader. Whether that is news to it.
    pub(super) fn tell_leader(&mut self, host: HostId, leader: Option<HostId>) -> bool {
        let membership = Membership {
            voters: self.brokers.iter().flatten().copied().collect(),
            leader: leader.and_then(|leader| self.brokers[leader]),
            epoch: self.epoch,
        };
        let Some(seat) = self.seats[host].as_ref() else { return false };
        let known = &mut seat.mailbox.borrow_mut().membership;
        let news = *known != membership;
        *known = membership;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn proposer(host: HostId, start: u64, proposal: u64) -> Proposer {
        Proposer { host, start, proposal: ProposalId(proposal) }
    }

    fn heard(voter: &mut ModelVoter) -> Vec<(Option<u64>, &'static str)> {
        std::iter::from_fn(|| voter.poll())
            .map(|output| match output {
                ConsensusOutput::Committed { position, proposal, .. } => {
                    (Some(position.0), if proposal.is_some() { "mine" } else { "committed" })
                }
                ConsensusOutput::Failed { .. } => (None, "failed"),
                ConsensusOutput::ReadReady(_) => (None, "ready"),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn every_voter_hears_the_same_order_and_the_proposer_its_own() {
        let mut log = ConsensusLog::new(2);
        let (mut first, mut second) = (log.join(0, 1), log.join(1, 1));
        first.propose(ProposalId(7), Bytes::from_static(b"a"));
        assert_eq!(log.asked(0), [Asked::Propose(ProposalId(7), Bytes::from_static(b"a"))]);
        assert!(log.asked(0).is_empty(), "what was asked is asked once");
        log.append(Bytes::from_static(b"a"), Some(proposer(0, 1, 7)));
        log.append(Bytes::from_static(b"b"), Some(proposer(1, 1, 1)));
        log.hand_out(0, 1);
        log.hand_out(1, 9);
        assert_eq!(heard(&mut first), [(Some(0), "mine")]);
        assert_eq!(heard(&mut second), [(Some(0), "committed"), (Some(1), "mine")]);
        assert!(log.has(1, 2) && !log.has(0, 2));
        let mut again = log.join(0, 2);
        log.hand_out(0, 9);
        assert_eq!(
            heard(&mut again),
            [(Some(0), "committed"), (Some(1), "committed")],
            "a new life from the start"
        );
    }

    #[test]
    fn a_failure_with_an_unknown_outcome_turns_up_as_somebody_elses() {
        let mut log = ConsensusLog::new(1);
        let mut voter = log.join(0, 1);
        log.append(Bytes::new(), Some(proposer(0, 1, 1)));
        log.fail(proposer(0, 1, 1), Refusal::Timeout);
        log.hand_out(0, 9);
        assert_eq!(heard(&mut voter), [(None, "failed"), (Some(0), "committed")]);
        log.append(Bytes::new(), Some(proposer(0, 1, 2)));
        log.hand_out(0, 9);
        log.fail(proposer(0, 1, 2), Refusal::Timeout);
        assert_eq!(heard(&mut voter), [(Some(1), "mine")], "what is known to be committed does not fail");
        log.fail(proposer(0, 9, 2), Refusal::Timeout);
        assert_eq!(heard(&mut voter), [], "another life");
    }

    #[test]
    fn voters_believe_what_they_were_told_last() {
        let mut log = ConsensusLog::new(2);
        let (first, second) = (log.join(0, 1), log.join(1, 1));
        log.is_broker(1, BrokerId(5));
        log.elect(Some(1));
        assert!(log.tell_leader(0, Some(1)) && !log.tell_leader(0, Some(1)));
        assert_eq!(first.membership().leader, Some(BrokerId(5)));
        assert_eq!(second.membership().leader, None);
        log.elect(Some(0));
        assert_eq!(first.membership().epoch, Epoch(1), "not told yet");
    }
}
