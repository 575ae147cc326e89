//! Brokers in one process: each has a disk, a voter and an owner that folds what it is handed.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use pondage_model::{BrokerId, Incarnation, LogTime, Refusal, Revision, Uuid, wire::Wire};
use pondage_node::{
    catalog::{
        Catalog, Command, Consensus, ConsensusInput, ConsensusOutput, Membership, ProposalId, ReadId,
        checkpoint_pages, restore,
    },
    disk::LogOptions,
};
use pondage_storage::{Faults, HostileDisk};
use tokio::{runtime::Handle, time::Instant};

use super::super::{
    Brokers, CallError, ConsensusNode, KnownBroker, Notice, RaftVoter, Setup, Start, StartError, Started,
    Transport, start,
};

pub(super) const SOON: Duration = Duration::from_secs(20);

/// The last byte sets voters apart who are told at once that their leader is gone.
pub(super) const fn volume(host: u8) -> Uuid {
    let mut bytes = [host + 1; 16];
    bytes[15] = host.wrapping_mul(100);
    Uuid(bytes)
}

fn host_of(volume: Uuid) -> u8 {
    volume.0[0] - 1
}

/// Who is where, and who hears whom.
#[derive(Default)]
pub(super) struct Wires {
    nodes: RwLock<BTreeMap<u8, ConsensusNode>>,
    /// Requests from the one to the other are lost on the way.
    cut: RwLock<BTreeSet<(u8, u8)>>,
    /// Requests of these wait on their way.
    held: RwLock<BTreeSet<u8>>,
    /// Answers from the one to the other are lost.
    mute: RwLock<BTreeSet<(u8, u8)>>,
    rows: RwLock<BTreeMap<u8, KnownBroker>>,
}

impl Wires {
    pub(super) fn cut(&self, from: u8, to: u8) {
        self.cut.write().unwrap().insert((from, to));
    }

    pub(super) fn mute(&self, from: u8, to: u8) {
        self.mute.write().unwrap().insert((from, to));
    }

    pub(super) fn hold(&self, from: u8) {
        self.held.write().unwrap().insert(from);
    }

    /// Nobody hears this host and it hears nobody.
    pub(super) fn isolate(&self, host: u8, hosts: u8) {
        for other in (0..hosts).filter(|other| *other != host) {
            self.cut(host, other);
            self.cut(other, host);
        }
    }

    pub(super) fn heal(&self) {
        self.held.write().unwrap().clear();
        self.cut.write().unwrap().clear();
        self.mute.write().unwrap().clear();
    }

    pub(super) fn row(&self, host: u8, change: impl FnOnce(&mut KnownBroker)) {
        change(self.rows.write().unwrap().get_mut(&host).unwrap());
    }
}

pub(super) struct Way(pub(super) u8, pub(super) Arc<Wires>);

impl Transport for Way {
    fn call(
        &self,
        _to: Option<Uuid>,
        address: &str,
        request: Bytes,
        limit: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send {
        let (from, wires) = (self.0, Arc::clone(&self.1));
        let to: u8 = address.parse().unwrap();
        async move {
            while wires.held.read().unwrap().contains(&from) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let node = wires.nodes.read().unwrap().get(&to).cloned();
            let Some(node) = node else { return Err(CallError::Unreachable) };
            if wires.cut.read().unwrap().contains(&(from, to)) {
                tokio::time::sleep(limit).await;
                return Err(CallError::Lost);
            }
            let answer = tokio::time::timeout(limit, node.handle(volume(from), request)).await;
            if wires.mute.read().unwrap().contains(&(to, from))
                || wires.cut.read().unwrap().contains(&(to, from))
            {
                tokio::time::sleep(limit).await;
                return Err(CallError::Lost);
            }
            answer.map_err(|_| CallError::Lost)
        }
    }
}

struct Rows(Arc<Wires>);

impl Brokers for Rows {
    fn broker(&self, id: BrokerId) -> Option<KnownBroker> {
        self.0.rows.read().unwrap().values().find(|row| row.id == id).cloned()
    }

    fn on_volume(&self, volume: Uuid) -> Option<KnownBroker> {
        self.0.rows.read().unwrap().get(&host_of(volume)).cloned()
    }
}

/// What became of what one owner asked, and what it folded.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) catalog: Catalog,
    /// The commands in their order, by revision; those of a restored catalog are not among them.
    pub(super) commands: Vec<(Revision, Bytes)>,
    pub(super) proposals: BTreeMap<u64, Result<Revision, Refusal>>,
    pub(super) reads: BTreeMap<u64, Result<Revision, Refusal>>,
    pub(super) restored: usize,
    pub(super) ended: Vec<Notice>,
}

/// One life of a broker.
pub(super) struct Broker {
    pub(super) node: ConsensusNode,
    pub(super) voter: Arc<Mutex<RaftVoter>>,
    pub(super) heard: Arc<Mutex<Heard>>,
    changed: Arc<tokio::sync::Notify>,
    next: u64,
    owner: tokio::task::JoinHandle<()>,
}

impl Broker {
    pub(super) fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn propose(&mut self, command: &Command) -> u64 {
        self.next += 1;
        self.voter.lock().unwrap().propose(ProposalId(self.next), command.to_bytes());
        self.next
    }

    /// Lets the owner look.
    pub(super) fn poke(&self) {
        self.changed.notify_one();
    }

    pub(super) fn read(&mut self) -> u64 {
        self.next += 1;
        self.voter.lock().unwrap().read_index(ReadId(self.next));
        self.next
    }

    pub(super) fn membership(&self) -> Membership {
        self.voter.lock().unwrap().membership()
    }

    pub(super) async fn outcome(&self, id: u64) -> Result<Revision, Refusal> {
        wait("an outcome", || self.heard(|heard| heard.proposals.get(&id).cloned())).await
    }

    pub(super) async fn answer(&self, id: u64) -> Result<Revision, Refusal> {
        wait("an answer", || self.heard(|heard| heard.reads.get(&id).cloned())).await
    }
}

pub(super) async fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) struct Cluster {
    pub(super) wires: Arc<Wires>,
    pub(super) disks: Vec<HostileDisk>,
    pub(super) brokers: Vec<Option<Broker>>,
    commands: u64,
}

impl Cluster {
    pub(super) fn empty(count: u8) -> Self {
        let wires = Arc::new(Wires::default());
        for host in 0..count {
            let row = KnownBroker {
                id: BrokerId(u32::from(host) + 1),
                start: Start { volume: volume(host), incarnation: Incarnation(1), nonce: Uuid([9; 16]) },
                address: host.to_string(),
                lost: false,
            };
            wires.rows.write().unwrap().insert(host, row);
        }
        let disks = (0..count).map(|host| HostileDisk::new(u64::from(host), Faults::default())).collect();
        Self { wires, disks, brokers: (0..count).map(|_| None).collect(), commands: 0 }
    }

    /// Brokers of which all vote.
    pub(super) async fn new(count: u8) -> Self {
        let mut cluster = Self::empty(count);
        for host in 0..count {
            cluster.start(host).await.unwrap();
        }
        cluster.at(0).node.initialise().await.unwrap();
        cluster.leader().await;
        cluster.make_voters(&(0..count).collect::<Vec<_>>()).await;
        cluster
    }

    pub(super) fn start_of(&self, host: u8) -> Start {
        self.wires.rows.read().unwrap()[&host].start
    }

    pub(super) async fn start(&mut self, host: u8) -> Result<(), StartError> {
        let start_of = self.start_of(host);
        self.start_as(host, start_of).await
    }

    pub(super) async fn start_as(&mut self, host: u8, as_start: Start) -> Result<(), StartError> {
        let changed = Arc::new(tokio::sync::Notify::new());
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (telling, ended) = (Arc::clone(&changed), Arc::clone(&heard));
        let setup = Setup {
            disk: self.disks[usize::from(host)].clone(),
            log: LogOptions::default(),
            start: as_start,
            address: host.to_string(),
            seeds: (0..u8::try_from(self.disks.len()).unwrap()).map(|seed| seed.to_string()).collect(),
            transport: Way(host, Arc::clone(&self.wires)),
            brokers: Arc::new(Rows(Arc::clone(&self.wires))),
            notify: Arc::new(move |notice| {
                if notice != Notice::Changed {
                    ended.lock().unwrap().ended.push(notice);
                }
                telling.notify_one();
            }),
            runtime: Handle::current(),
        };
        let Started { voter, node, catalog, damaged } = start(setup).await?;
        assert_eq!(damaged, [""; 0]);
        heard.lock().unwrap().catalog = catalog;
        let voter = Arc::new(Mutex::new(voter));
        let owner = tokio::spawn(own(Arc::clone(&voter), Arc::clone(&heard), Arc::clone(&changed)));
        self.wires.nodes.write().unwrap().insert(host, node.clone());
        self.brokers[usize::from(host)] = Some(Broker { node, voter, heard, changed, next: 0, owner });
        Ok(())
    }

    pub(super) fn at(&mut self, host: u8) -> &mut Broker {
        self.brokers[usize::from(host)].as_mut().expect("it runs")
    }

    /// The process ends. What is on its disk by then survives, synced or not.
    pub(super) async fn kill(&mut self, host: u8) {
        self.wires.nodes.write().unwrap().remove(&host);
        if let Some(broker) = self.brokers[usize::from(host)].take() {
            broker.owner.abort();
            broker.node.shutdown().await;
        }
    }

    /// The power of all goes at this moment: what was not synced is lost, or torn.
    pub(super) async fn power_cut(&mut self) {
        self.wires.nodes.write().unwrap().clear();
        for disk in &self.disks {
            disk.crash();
        }
        for host in 0..u8::try_from(self.disks.len()).unwrap() {
            self.kill(host).await;
        }
    }

    /// The host that leads and knows it, once one does.
    pub(super) async fn leader(&self) -> u8 {
        wait("a leader", || {
            let leads = |broker: &&Broker| {
                let membership = broker.membership();
                membership.leader.is_some() && membership.leader == Some(self.id_of(broker))
            };
            self.brokers.iter().flatten().find(leads).map(|broker| (self.id_of(broker).0 - 1) as u8)
        })
        .await
    }

    fn id_of(&self, broker: &Broker) -> BrokerId {
        let host = self
            .brokers
            .iter()
            .position(|found| found.as_ref().is_some_and(|found| Arc::ptr_eq(&found.voter, &broker.voter)));
        BrokerId(host.expect("it is one of them") as u32 + 1)
    }

    pub(super) async fn make_voters(&mut self, hosts: &[u8]) {
        let wanted: Vec<BrokerId> = hosts.iter().map(|host| BrokerId(u32::from(*host) + 1)).collect();
        let deadline = Instant::now() + SOON;
        loop {
            let leader = self.leader().await;
            let broker = self.at(leader);
            broker.voter.lock().unwrap().change_voters(&wanted).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut voters = broker.membership().voters;
            voters.sort_unstable();
            // Until the change is over, a majority of those before has to agree to every election.
            if voters == wanted && broker.node.has_one_quorum() {
                return;
            }
            assert!(Instant::now() < deadline, "{voters:?} vote, not {wanted:?}");
        }
    }

    /// A command that is unlike any other.
    pub(super) fn command(&mut self) -> Command {
        self.commands += 1;
        let nonce = Uuid(u128::from(self.commands).to_be_bytes());
        Command::Initialise { cluster: Uuid([7; 16]), nonce }
    }

    /// Proposes at a host until it is committed. An outcome may be unknown: an old leader takes proposals until it
    /// hears of the new one.
    pub(super) async fn commit(&mut self, host: u8) -> Revision {
        let deadline = Instant::now() + SOON;
        loop {
            let command = self.command();
            let broker = self.at(host);
            let id = broker.propose(&command);
            match broker.outcome(id).await {
                Ok(revision) => return revision,
                Err(refusal) => assert!(Instant::now() < deadline, "{refusal}"),
            }
        }
    }

    /// Waits until all that run have heard the same, up to what any of them has.
    pub(super) async fn converge(&self) {
        wait("agreement", || {
            let mut catalogs =
                self.brokers.iter().flatten().map(|broker| broker.heard(|heard| heard.catalog.encode()));
            let first = catalogs.next()?;
            catalogs.all(|other| other == first).then_some(())
        })
        .await;
        self.check_order();
    }

    /// No two ever heard different commands at one place.
    pub(super) fn check_order(&self) {
        let mut order: BTreeMap<Revision, Bytes> = BTreeMap::new();
        for broker in self.brokers.iter().flatten() {
            broker.heard(|heard| {
                let mut last = Revision::ZERO;
                for (revision, command) in &heard.commands {
                    assert!(*revision > last, "commands go back");
                    last = *revision;
                    assert_eq!(order.entry(*revision).or_insert_with(|| command.clone()), command);
                }
            });
        }
    }
}

async fn own(voter: Arc<Mutex<RaftVoter>>, heard: Arc<Mutex<Heard>>, changed: Arc<tokio::sync::Notify>) {
    loop {
        changed.notified().await;
        let mut voter = voter.lock().unwrap();
        voter.handle(ConsensusInput::Tick { now: LogTime(1) });
        while let Some(output) = voter.poll() {
            let mut heard = heard.lock().unwrap();
            match output {
                ConsensusOutput::Committed { revision, command, proposal, .. } => {
                    let _refused =
                        heard.catalog.apply(revision, &Command::from_bytes(command.clone()).unwrap());
                    heard.commands.push((revision, command));
                    if let Some(proposal) = proposal {
                        assert!(heard.proposals.insert(proposal.0, Ok(revision)).is_none(), "one outcome");
                    }
                }
                ConsensusOutput::Failed { proposal, refusal } => {
                    assert!(heard.proposals.insert(proposal.0, Err(refusal)).is_none(), "one outcome");
                }
                ConsensusOutput::ReadReady(read) => {
                    let seen = heard.catalog.revision();
                    assert!(heard.reads.insert(read.0, Ok(seen)).is_none(), "one outcome");
                }
                ConsensusOutput::ReadFailed { read, refusal } => {
                    assert!(heard.reads.insert(read.0, Err(refusal)).is_none(), "one outcome");
                }
                ConsensusOutput::TakeCheckpoint => {
                    let pages = checkpoint_pages(&heard.catalog);
                    voter.handle(ConsensusInput::CheckpointTaken { pages });
                }
                ConsensusOutput::Restored { revision, pages } => {
                    heard.catalog = restore(&pages).unwrap();
                    assert!(heard.catalog.revision() <= revision);
                    heard.restored += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
