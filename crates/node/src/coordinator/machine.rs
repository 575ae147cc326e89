//! The coordinator's machine: proposals in, committed commands out, and what follows from each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pondage_catalog::{
    Catalog, Command, Consensus, ConsensusInput, LogEnd, OneVoter, ProposalId, ReadId, ShardVersion,
};
use pondage_model::{BrokerId, LogTime, Member, Position, Refusal, ShardId, Uuid, wire::Wire};

use super::{
    AdminRequest, CoordinatorEffect, CoordinatorEvent, Identity, PeerMessage, Rack, assigning::Asked,
    failing_over::Leading, in_sync::Wishes, made::Made, readiness::CatchingUp, registration::Registration,
    shards::Shards,
};
use crate::{LogClock, Now, shard::RequestId};

/// How long the coordinator waits before it wants again what the consensus did not do, in milliseconds.
const RETRY_MILLIS: u64 = 100;
/// How long what may be proposed twice waits for an earlier outcome, in milliseconds: many times a commit.
const PATIENCE_MILLIS: u64 = 300;
/// How long a broker that stops waits for leaders to do without its copies, in milliseconds.
const PARTING_MILLIS_MAX: u64 = 1_000;
/// How long it stays after the catalog left its copies out: the leaders hear of that about when it does.
const PARTED_MILLIS: u64 = 100;

/// The owner of the catalog on one broker.
#[derive(Debug)]
pub struct Coordinator<C: Consensus = OneVoter> {
    pub(super) identity: Identity,
    pub(super) consensus: C,
    pub(super) catalog: Catalog,
    newest_log_time: LogTime,
    clock: Option<LogClock>,
    /// The monotonic clock of this step, in milliseconds.
    pub(super) now_millis: u64,
    pub(super) registration: Registration,
    next_id: u64,
    /// Proposals whose outcome somebody waits for.
    /// Those without an outcome: why, and since when.
    proposals: BTreeMap<ProposalId, (Purpose, u64)>,
    /// What the coordinator itself wants is not proposed before then: the consensus failed it a moment ago.
    retry_at_millis: u64,
    /// Reads that wait until they may be answered.
    pub(super) reads: BTreeMap<ReadId, Reading>,
    /// The shards of this broker, and which of their rows the shell was told of last.
    pub(super) assigned: BTreeMap<ShardId, ShardVersion>,
    /// Logs that the volume held at the start and the catalog has not been asked about.
    pub(super) held: BTreeSet<ShardId>,
    /// The replicas here that were not in sync since this start.
    pub(super) catching_up: CatchingUp,
    /// What the shards have to do, and who waits for it.
    pub(super) shards: Shards,
    /// What others are to do for answers that wait here, and the other way round.
    pub(super) made: Made,
    /// What the shards that are led here want of the catalog.
    pub(super) wishes: Wishes,
    /// Positions that the leader of the consensus waits for.
    pub(super) asked: Option<Asked>,
    pub(super) heartbeat_at_millis: u64,
    /// Starts of brokers that were seen to be gone, and nobody heard of since.
    pub(super) gone_members: BTreeSet<Member>,
    /// Exists while this broker leads the consensus.
    pub(super) leading: Option<Box<Leading>>,
    /// To oneself, taken before the step ends.
    pub(super) own_messages: VecDeque<PeerMessage>,
    is_ready: bool,
    stop: Stop,
    /// It said that it can't go on.
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// What is led here is being handed over.
    Asked,
    /// The copies here are being left out of the in-sync sets, until then at the most.
    Parting {
        until_millis: u64,
    },
    Said,
}

/// Why a command was proposed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Initialise,
    Register,
    Admin(RequestId),
    /// In-sync replicas of these shards.
    AlterIsr(Vec<ShardId>),
    /// These shards handed over.
    HandOver(Vec<ShardId>),
    Elect,
    Move,
}

/// Why the catalog is read.
#[derive(Debug)]
pub(super) enum Reading {
    /// To know which of its starts the volume has seen.
    Registration,
    Admin(RequestId, AdminRequest),
}

impl Coordinator {
    /// The coordinator of a lone broker, whose recovered catalog is all there is.
    #[must_use]
    pub fn new(identity: Identity, catalog: Catalog, end: &LogEnd) -> Self {
        let voter = catalog.broker_of(identity.volume).map_or(catalog.next_broker(), |broker| broker.id);
        let consensus = OneVoter::start(voter, end);
        let registration = Registration::numbered();
        Self::with(identity, registration, consensus, catalog, end.log_time, BTreeSet::new())
    }
}

impl<C: Consensus> Coordinator<C> {
    /// The coordinator of a cluster's member. `catalog` is where the consensus's committed commands go on from: a
    /// checkpoint's, or a new one for position 0. `next_nonce` is for this start, should the volume's own be used
    /// up; `held` are the shards that have logs on the volume.
    #[must_use]
    pub fn member(
        identity: Identity,
        next_nonce: Uuid,
        consensus: C,
        catalog: Catalog,
        held: BTreeSet<ShardId>,
    ) -> Self {
        Self::with(identity, Registration::unknown(next_nonce), consensus, catalog, LogTime::default(), held)
    }

    fn with(
        identity: Identity,
        registration: Registration,
        consensus: C,
        catalog: Catalog,
        newest_log_time: LogTime,
        held: BTreeSet<ShardId>,
    ) -> Self {
        Self {
            identity,
            consensus,
            catalog,
            newest_log_time,
            clock: None,
            now_millis: 0,
            registration,
            next_id: 0,
            proposals: BTreeMap::new(),
            retry_at_millis: 0,
            reads: BTreeMap::new(),
            assigned: BTreeMap::new(),
            held,
            catching_up: CatchingUp::default(),
            shards: Shards::default(),
            made: Made::default(),
            wishes: Wishes::default(),
            asked: None,
            heartbeat_at_millis: 0,
            gone_members: BTreeSet::new(),
            leading: None,
            own_messages: VecDeque::new(),
            is_ready: false,
            stop: Stop::No,
            ended: false,
        }
    }

    /// Who this broker is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What this start says of its failure domain: to be called before it begins.
    pub fn stands_in(&mut self, rack: Rack) {
        self.identity.rack = rack;
    }

    /// What the cluster knows besides messages, as far as it is committed.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The agreement on the catalog, for the shell that carries its messages.
    pub const fn consensus(&mut self) -> &mut C {
        &mut self.consensus
    }

    /// This start of this broker, once the catalog knows it.
    #[must_use]
    pub const fn registered(&self) -> Option<Member> {
        match self.registration.broker() {
            Some(broker) => Some(Member { broker, incarnation: self.identity.incarnation }),
            None => None,
        }
    }

    pub(super) const fn broker(&self) -> Option<BrokerId> {
        self.registration.broker()
    }

    /// Takes what happened and says what follows.
    pub fn step(&mut self, now: Now, event: CoordinatorEvent, effects: &mut Vec<CoordinatorEffect>) {
        let log_time = self.clock.get_or_insert_with(|| LogClock::start(now, self.newest_log_time)).read(now);
        self.now_millis = now.monotonic_millis;
        self.consensus.handle(ConsensusInput::Tick { now: log_time });
        self.take(log_time, event, effects);
        loop {
            while let Some(output) = self.consensus.poll() {
                self.perform(output, effects);
            }
            while let Some(message) = self.own_messages.pop_front() {
                if let Some(member) = self.registered() {
                    self.peer(member, message, effects);
                }
            }
            let proposed = self.next_id;
            if !self.ended {
                self.pursue(effects);
            }
            if self.next_id == proposed && self.own_messages.is_empty() {
                return;
            }
        }
    }

    fn take(&mut self, log_time: LogTime, event: CoordinatorEvent, effects: &mut Vec<CoordinatorEffect>) {
        match event {
            CoordinatorEvent::Start => self.registration.begin(),
            CoordinatorEvent::Tick => self.tick(effects),
            CoordinatorEvent::Consensus => {}
            CoordinatorEvent::Request { id, request } => self.request(id, request, effects),
            CoordinatorEvent::Synced(synced) => {
                if let Some(through) = synced.end().get().checked_sub(1) {
                    self.consensus.handle(ConsensusInput::Synced { through: Position(through) });
                }
            }
            CoordinatorEvent::WriteFailed => {
                let refusal = Refusal::VolumeFenced { since: log_time };
                self.consensus.handle(ConsensusInput::Fault { refusal });
            }
            CoordinatorEvent::IdentityWritten => self.registration.written(&mut self.identity),
            CoordinatorEvent::Serving(shard, epoch) => self.serving(shard, epoch, effects),
            CoordinatorEvent::Ensured { id, result } => self.ensured(id, result, effects),
            CoordinatorEvent::Removed(shard) => self.removed(shard, effects),
            CoordinatorEvent::Position(position) => self.position(position, effects),
            CoordinatorEvent::IsrWanted(change) => self.isr_wanted(change, effects),
            CoordinatorEvent::HandedOver { shard, epoch, version, to } => {
                self.handed_over(shard, ShardVersion { epoch, version }, to, effects);
            }
            CoordinatorEvent::Peer { from, message } => self.peer(from, message, effects),
            CoordinatorEvent::Gone(member) => self.gone(member),
            CoordinatorEvent::Stop => {
                if self.stop == Stop::No {
                    self.stop = Stop::Asked;
                    effects.push(CoordinatorEffect::Leave);
                    self.heartbeat_at_millis = self.now_millis;
                }
            }
        }
    }

    fn tick(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        self.tell_positions(effects);
        self.ask_all_shards(effects);
        self.ask_others_again(effects);
        if let Some(leading) = &mut self.leading {
            leading.tick();
        }
    }

    /// Compares what should be with what is, and begins what is missing.
    fn pursue(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        if self.broker().is_none() {
            self.register(effects);
        }
        let Some(broker) = self.broker() else { return };
        self.check_superseded(broker, effects);
        self.catching_up.look();
        self.tell_made(effects);
        self.beat(broker, effects);
        if self.now_millis >= self.retry_at_millis {
            self.propose_wishes(broker);
            self.lead_consensus(broker, effects);
        }
        if !self.is_ready && self.serves_all_it_leads(broker) {
            self.is_ready = true;
            effects.push(CoordinatorEffect::Ready);
        }
        self.part(broker, effects);
    }

    /// Goes on with a stop.
    fn part(&mut self, broker: BrokerId, effects: &mut Vec<CoordinatorEffect>) {
        if matches!(self.stop, Stop::No | Stop::Said) {
            return;
        }
        let is_missed = self.is_missed(broker);
        if self.stop == Stop::Asked && !self.has_to_hand_over(broker) {
            let wait = if is_missed { PARTING_MILLIS_MAX } else { 0 };
            self.stop = Stop::Parting { until_millis: self.now_millis + wait };
        }
        let Stop::Parting { until_millis } = &mut self.stop else { return };
        if !is_missed {
            *until_millis = (*until_millis).min(self.now_millis + PARTED_MILLIS);
        }
        if self.now_millis >= *until_millis {
            self.stop = Stop::Said;
            effects.push(CoordinatorEffect::Stopped);
        }
    }

    pub(super) const fn is_leaving(&self) -> bool {
        !matches!(self.stop, Stop::No)
    }

    pub(super) fn take_purpose(&mut self, proposal: ProposalId) -> Option<Purpose> {
        self.proposals.remove(&proposal).map(|(purpose, _)| purpose)
    }

    /// Waits before it wants again what came to nothing.
    pub(super) const fn pause(&mut self) {
        self.retry_at_millis = self.now_millis.saturating_add(RETRY_MILLIS);
    }

    pub(super) const fn may_try(&self) -> bool {
        self.now_millis >= self.retry_at_millis
    }

    pub(super) fn end(&mut self, refusal: Refusal, effects: &mut Vec<CoordinatorEffect>) {
        if !self.ended {
            self.ended = true;
            effects.push(CoordinatorEffect::Fatal(refusal));
        }
    }

    /// Nothing on this volume may be used.
    pub(super) fn reformat(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        if !self.ended {
            self.ended = true;
            effects.push(CoordinatorEffect::Reformat);
        }
    }

    pub(super) fn propose(&mut self, purpose: Purpose, command: &Command) {
        let id = ProposalId(self.new_id());
        self.proposals.insert(id, (purpose, self.now_millis));
        self.consensus.propose(id, command.to_bytes());
    }

    /// Whether a proposal of this kind has no outcome yet.
    pub(super) fn is_proposed(&self, of: impl Fn(&Purpose) -> bool) -> bool {
        self.proposals.values().any(|(purpose, _)| of(purpose))
    }

    /// Whether a proposal of this kind has no outcome yet and may have one any moment. One that went to a leader that was
    /// just stopped has none for seconds: what may be proposed twice is not kept waiting for it.
    pub(super) fn is_awaited(&self, of: impl Fn(&Purpose) -> bool) -> bool {
        let since = self.now_millis.saturating_sub(PATIENCE_MILLIS);
        self.proposals.values().any(|(purpose, at)| *at > since && of(purpose))
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Tells the coordinator of a broker, this one included.
    pub(super) fn send(&mut self, to: BrokerId, message: PeerMessage, effects: &mut Vec<CoordinatorEffect>) {
        if self.broker() == Some(to) {
            self.own_messages.push_back(message);
        } else {
            effects.push(CoordinatorEffect::Send { to, message });
        }
    }

    fn peer(&mut self, from: Member, message: PeerMessage, effects: &mut Vec<CoordinatorEffect>) {
        self.gone_members.remove(&from);
        match message {
            PeerMessage::Heartbeat { leaving } => self.heard(from, leaving),
            PeerMessage::PositionsWanted { round, shards } => {
                self.positions_wanted(from, round, shards, effects);
            }
            PeerMessage::Positions { round, positions } => self.positions_told(from, round, &positions),
            PeerMessage::HandOver { shard, epoch, to } => self.hand_over(shard, epoch, to, effects),
            PeerMessage::MadeWanted { number, revision, shards } => {
                self.made_wanted(from.broker, number, revision, shards);
            }
            PeerMessage::Made { number } => self.others_made(number, effects),
        }
    }
}
