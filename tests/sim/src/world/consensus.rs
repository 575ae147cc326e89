//! How the catalog's consensus goes in the world: proposals travel, leaders change, voters lag.

use bytes::Bytes;
use pondage_catalog::ReadId;
use pondage_model::{Epoch, Refusal};
use pondage_node::coordinator::CoordinatorEvent;

use super::{
    World,
    consensus_log::{Asked, Proposer},
    due::Due,
    host::{Brain, HostId},
};
use crate::{chance::Chance, clients::Clients};

/// What is due in the consensus.
#[derive(Debug)]
pub(super) enum ConsensusDue {
    /// A proposal arrives at the leader of this epoch.
    Arrive { epoch: Epoch, proposer: Proposer, command: Bytes },
    /// A majority has it.
    Commit { epoch: Epoch, proposer: Proposer, command: Bytes },
    /// What had an unknown outcome turns up.
    Late { command: Bytes },
    /// The proposer hears of a failure.
    Fail { proposer: Proposer, refusal: Refusal },
    /// Committed commands reach a host.
    HandOut(HostId),
    /// A read is confirmed, at a moment when this many commands were committed.
    Read { host: HostId, start: u64, read: ReadId, committed: usize },
    /// Leaders are elected, and who lags is told.
    Tick,
}

/// How unkind the consensus is while faults are on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unkindness {
    /// Ticks at which the leader changes without a reason, of a thousand.
    changes: u64,
    /// Proposals that end unknown though nothing is wrong, of a thousand.
    unknown: u64,
    /// How long a commit takes at most.
    commit_micros_max: u64,
    /// How late a voter hears at most.
    lag_micros_max: u64,
}

impl Unkindness {
    pub(super) fn drawn(chance: &mut Chance) -> Self {
        let mut draw = |choices: [u64; 3]| choices[chance.below(3) as usize];
        Self {
            changes: draw([0, 5, 50]),
            unknown: draw([0, 20, 200]),
            commit_micros_max: draw([2_000, 20_000, 300_000]),
            lag_micros_max: draw([1_000, 50_000, 2_000_000]),
        }
    }
}

const TICK_MICROS: u64 = 250_000;
/// After this long a proposal or read that nobody answered has failed.
const TIMEOUT_MICROS: u64 = 1_000_000;
/// Commands that are handed out at once.
const HANDED_MAX: usize = 64;

impl World {
    /// The consensus begins without a leader.
    pub(super) fn begin_consensus(&mut self) {
        self.plan_consensus(0, ConsensusDue::Tick);
    }

    /// A host's coordinator takes what its voter heard.
    pub(super) fn consensus_moves(&mut self, host: HostId, clients: &mut Clients) {
        let found = &self.hosts[host];
        if !found.paused && found.running.as_ref().is_some_and(|up| matches!(up.brain, Brain::Member(_))) {
            self.coordinator(host, CoordinatorEvent::Consensus, clients);
        }
    }

    /// Sends what a host's voter asks on its way.
    pub(super) fn consensus_asked(&mut self, host: HostId) {
        let start = self.hosts[host].start;
        for asked in self.consensus.asked(host) {
            let leader = self.consensus.leader().filter(|leader| self.network.both_ways(host, *leader));
            let delay = self.network.delay(&mut self.chance);
            match asked {
                Asked::Propose(proposal, command) => {
                    let proposer = Proposer { host, start, proposal };
                    if leader.is_some() {
                        let epoch = self.consensus.epoch();
                        self.plan_consensus(delay, ConsensusDue::Arrive { epoch, proposer, command });
                    } else {
                        let refusal = Refusal::Busy { what: "the catalog without a leader, which is" };
                        self.plan_consensus(delay, ConsensusDue::Fail { proposer, refusal });
                    }
                }
                Asked::Read(read) => {
                    let committed = self.consensus.len();
                    let quorate = leader.is_some_and(|leader| self.is_quorate(leader));
                    if quorate {
                        let due = ConsensusDue::Read { host, start, read, committed };
                        self.plan_consensus(delay * 2, due);
                    } else {
                        let refusal = Refusal::Busy { what: "the catalog without a leader, which is" };
                        self.consensus.end_read(host, start, read, Some(refusal));
                        self.plan_consensus(delay, ConsensusDue::HandOut(host));
                    }
                }
            }
        }
    }

    fn plan_consensus(&mut self, in_micros: u64, due: ConsensusDue) {
        self.plan(in_micros, Due::Consensus(due));
    }

    /// Whether a majority of the hosts runs and hears this one, itself included.
    fn is_quorate(&self, leader: HostId) -> bool {
        let runs = |host: HostId| self.hosts[host].running.is_some() && !self.hosts[host].paused;
        let hears = |host: &HostId| runs(*host) && self.network.both_ways(leader, *host);
        runs(leader) && (0..self.hosts.len()).filter(hears).count() * 2 > self.hosts.len()
    }

    pub(super) fn consensus_happens(&mut self, due: ConsensusDue, clients: &mut Clients) {
        match due {
            ConsensusDue::Arrive { epoch, proposer, command } => {
                let leader = self.consensus.leader().filter(|_| self.consensus.epoch() == epoch);
                let strange = self.chance.below(1_000) < self.unkindness().unknown;
                match leader.filter(|leader| self.is_quorate(*leader)) {
                    Some(_) if !strange => {
                        let most = self.unkindness().commit_micros_max.max(2_000);
                        let pause = self.chance.between(500, most);
                        self.plan_consensus(pause, ConsensusDue::Commit { epoch, proposer, command });
                    }
                    _ => self.becomes_unknown(proposer, command),
                }
            }
            ConsensusDue::Commit { epoch, proposer, command } => {
                let leader = self.consensus.leader().filter(|_| self.consensus.epoch() == epoch);
                if leader.is_some_and(|leader| self.is_quorate(leader)) {
                    self.consensus.append(command, Some(proposer));
                    self.spread();
                    self.plan_consensus(
                        TIMEOUT_MICROS * 4,
                        ConsensusDue::Fail { proposer, refusal: Refusal::Timeout },
                    );
                } else {
                    self.becomes_unknown(proposer, command);
                }
            }
            ConsensusDue::Late { command } => {
                self.consensus.append(command, None);
                self.spread();
            }
            ConsensusDue::Fail { proposer, refusal } => {
                self.consensus.fail(proposer, refusal);
                self.consensus_moves(proposer.host, clients);
            }
            ConsensusDue::HandOut(host) => {
                if self.hears_consensus(host) {
                    self.consensus.hand_out(host, HANDED_MAX);
                    if !self.consensus.has(host, self.consensus.len()) {
                        self.plan_consensus(1_000, ConsensusDue::HandOut(host));
                    }
                }
                self.consensus_moves(host, clients);
            }
            ConsensusDue::Read { host, start, read, committed } => {
                if self.consensus.has(host, committed) {
                    self.consensus.end_read(host, start, read, None);
                    self.consensus_moves(host, clients);
                } else if self.hears_consensus(host) {
                    self.consensus.hand_out(host, HANDED_MAX);
                    self.plan_consensus(1_000, ConsensusDue::Read { host, start, read, committed });
                    self.consensus_moves(host, clients);
                } else {
                    self.consensus.end_read(host, start, read, Some(Refusal::Timeout));
                    self.consensus_moves(host, clients);
                }
            }
            ConsensusDue::Tick => self.consensus_tick(clients),
        }
    }

    fn unkindness(&self) -> Unkindness {
        if self.is_healing() { Unkindness::default() } else { self.faults.consensus }
    }

    /// Nobody knows what becomes of it: the proposer is told so, and it may turn up before or after that.
    fn becomes_unknown(&mut self, proposer: Proposer, command: Bytes) {
        let told = self.chance.between(1_000, TIMEOUT_MICROS);
        if self.chance.once_in(2) && !self.is_healing() {
            let late = self.chance.between(0, TIMEOUT_MICROS * 2);
            self.plan_consensus(late, ConsensusDue::Late { command });
        }
        self.plan_consensus(told, ConsensusDue::Fail { proposer, refusal: Refusal::Timeout });
    }

    /// A committed command goes to every host.
    fn spread(&mut self) {
        for host in 0..self.hosts.len() {
            let lag = self.chance.below(self.unkindness().lag_micros_max + 1);
            let delay = self.network.delay(&mut self.chance);
            let late = if self.consensus.leader() == Some(host) || self.chance.once_in(2) { 0 } else { lag };
            self.plan_consensus(delay + late, ConsensusDue::HandOut(host));
        }
    }

    fn hears_consensus(&self, host: HostId) -> bool {
        self.consensus.leader().is_some_and(|leader| self.network.both_ways(leader, host))
    }

    fn consensus_tick(&mut self, clients: &mut Clients) {
        self.plan_consensus(TICK_MICROS, ConsensusDue::Tick);
        let leader = self.consensus.leader().filter(|leader| self.is_quorate(*leader));
        let strange = self.chance.below(1_000) < self.unkindness().changes;
        if leader.is_none() || strange {
            let able: Vec<HostId> = (0..self.hosts.len()).filter(|host| self.is_quorate(*host)).collect();
            // A voter waits a while before it stands for election.
            if !able.is_empty() && !self.chance.once_in(2) {
                let elected = able[self.chance.below(able.len() as u64) as usize];
                if self.consensus.leader() != Some(elected) {
                    self.consensus.elect(Some(elected));
                    let epoch = self.consensus.epoch();
                    self.trace.say(
                        self.micros,
                        format_args!("the catalog's leader is host {elected} in {epoch:?}"),
                    );
                }
            }
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].paused {
                continue;
            }
            let leader = self.consensus.leader();
            let news = if self.hears_consensus(host) {
                self.consensus.tell_leader(host, leader)
            } else {
                // It hears of nobody for a while before it believes in nobody.
                self.chance.once_in(4) && self.consensus.tell_leader(host, None)
            };
            if !self.consensus.has(host, self.consensus.len()) && self.hears_consensus(host) {
                self.plan_consensus(0, ConsensusDue::HandOut(host));
            } else if news {
                self.consensus_moves(host, clients);
            }
        }
    }
}
