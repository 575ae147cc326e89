//! A consensus for tests: one order of commands in memory, durable and committed at once, except when it is told to
//! fail. Its brokers hear of commands whenever they ask.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use bytes::Bytes;
use pondage_catalog::{
    Catalog, Command, Consensus, ConsensusInput, ConsensusOutput, Membership, ProposalId, ReadId,
    checkpoint_pages, consensus::revision_at,
};
use pondage_model::{BrokerId, Epoch, Position, Refusal, wire::Wire};

/// What happens to proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// They are committed.
    Fair,
    /// They are lost, and the proposer only knows that it does not know.
    Loses,
    /// They are committed, and the proposer does not know.
    Hides,
    /// They are lost, and the proposer hears nothing of them.
    Swallows,
}

/// The order, shared by all.
#[derive(Debug)]
pub(super) struct OrderedLog {
    commands: Vec<(Bytes, Option<(u64, ProposalId)>)>,
    pub(super) leader: Option<BrokerId>,
    pub(super) weather: Weather,
    starts: u64,
}

impl OrderedLog {
    pub(super) fn new() -> Rc<RefCell<Self>> {
        let log = Self { commands: Vec::new(), leader: None, weather: Weather::Fair, starts: 0 };
        Rc::new(RefCell::new(log))
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// The commands from this one on.
    pub(super) fn commands_from(&self, from: usize) -> Vec<Command> {
        let decode =
            |(bytes, _): &(Bytes, _)| Command::from_bytes(bytes.clone()).expect("written by a coordinator");
        self.commands[from..].iter().map(decode).collect()
    }
}

/// One start of a broker in it.
#[derive(Debug)]
pub(super) struct Voter {
    log: Rc<RefCell<OrderedLog>>,
    start: u64,
    handed_out: usize,
    /// Does not hear of commands.
    pub(super) is_deaf: bool,
    /// Gets this catalog, which holds as many commands, before it hears of any more.
    pub(super) lagged: Option<(usize, Catalog)>,
    ended: VecDeque<ConsensusOutput>,
    reads: VecDeque<(usize, ReadId)>,
}

impl Voter {
    pub(super) fn new(log: &Rc<RefCell<OrderedLog>>) -> Self {
        log.borrow_mut().starts += 1;
        let start = log.borrow().starts;
        let (ended, reads) = (VecDeque::new(), VecDeque::new());
        Self { log: log.clone(), start, handed_out: 0, is_deaf: false, lagged: None, ended, reads }
    }
}

impl Consensus for Voter {
    fn propose(&mut self, id: ProposalId, command: Bytes) {
        let mut log = self.log.borrow_mut();
        let weather = log.weather;
        if matches!(weather, Weather::Fair | Weather::Hides) {
            let proposer = (weather == Weather::Fair).then_some((self.start, id));
            log.commands.push((command, proposer));
        }
        if matches!(weather, Weather::Loses | Weather::Hides) {
            self.ended.push_back(ConsensusOutput::Failed { proposal: id, refusal: Refusal::Timeout });
        }
    }

    fn read_index(&mut self, id: ReadId) {
        let reached = self.log.borrow().len();
        self.reads.push_back((reached, id));
    }

    fn change_voters(&mut self, _: &[BrokerId]) -> Result<(), Refusal> {
        Err(Refusal::NotServed { what: "a change of the voters" })
    }

    fn membership(&self) -> Membership {
        let leader = self.log.borrow().leader;
        Membership { voters: leader.into_iter().collect(), leader, epoch: Epoch(1) }
    }

    fn handle(&mut self, _: ConsensusInput) {}

    fn poll(&mut self) -> Option<ConsensusOutput> {
        if let Some(ended) = self.ended.pop_front() {
            return Some(ended);
        }
        if self.is_deaf {
            return None;
        }
        if let Some((commands, catalog)) = self.lagged.take() {
            self.handed_out = commands;
            let revision = catalog.revision();
            return Some(ConsensusOutput::Restored { revision, pages: checkpoint_pages(&catalog) });
        }
        if let Some((_, read)) = self.reads.pop_front_if(|(reached, _)| *reached <= self.handed_out) {
            return Some(ConsensusOutput::ReadReady(read));
        }
        let log = self.log.borrow();
        let (command, proposer) = log.commands.get(self.handed_out)?.clone();
        let position = Position(self.handed_out as u64);
        self.handed_out += 1;
        let proposal = proposer.filter(|(start, _)| *start == self.start).map(|(_, proposal)| proposal);
        Some(ConsensusOutput::Committed { position, revision: revision_at(position), command, proposal })
    }
}
