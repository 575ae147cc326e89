//! The task that owns the coordinator: the catalog, the shards' starts, administrators' requests.

mod catalog_log;
mod effects;
mod opening;
mod shard_watch;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use pondage_model::{Member, Refusal, Revision, ShardId};
use pondage_node::{
    catalog::Consensus,
    coordinator::{
        AdminReply, AdminRequest, Coordinator, CoordinatorEffect, CoordinatorEvent, PeerMessage, Rack,
    },
    disk::{Disk, Fault, LogOptions, LogWriter, Volume},
    shard::RequestId,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::MissedTickBehavior,
};

use crate::{
    directory::BrokerEntry,
    metrics::Seen,
    peers::{Credit, PeerAddress},
    shard_task::Done,
    surroundings::Surroundings,
};
pub(crate) use catalog_log::CatalogLog;
pub(crate) use shard_watch::ShardTotals;
use shard_watch::{ShardWatch, View};

/// Administrators' requests that wait; then senders wait.
pub(crate) const INBOX_REQUESTS_MAX: usize = 1_024;
/// Requests that are taken before their commands are written, so that they share a batch.
const BURST_MAX: usize = 1_024;
/// How often the coordinator of a cluster's member looks at the time.
const TICK_INTERVAL: Duration = Duration::from_millis(50);

/// Where an administrator's answer goes.
type Answer = oneshot::Sender<Result<AdminReply, Refusal>>;

/// What reaches the coordinator's task.
#[derive(Debug)]
pub(crate) enum AdminMessage<D: Disk> {
    /// Begin, here. Said once.
    Begin(Rack),
    /// An administrator asks.
    Ask(AdminRequest, Answer),
    /// What a shard, the consensus, another broker or a disk has to say.
    Event(CoordinatorEvent),
    /// The coordinator of another broker speaks.
    Peer(Member, PeerMessage, Credit),
    /// The writer of the catalog's log comes back from its thread.
    Written(Box<LogWriter<D>>, Result<Done, Fault>),
    /// Hand over everything that is led here; told when nothing is left.
    Leave(oneshot::Sender<()>),
    /// End, once nothing is being written.
    Stop(oneshot::Sender<()>),
}

/// The owner of the coordinator.
pub(crate) struct CoordinatorTask<D: Disk, C: Consensus> {
    coordinator: Coordinator<C>,
    /// Of a lone broker; in a cluster the log is the consensus's.
    log: Option<CatalogLog<D>>,
    store: D,
    log_options: LogOptions,
    volume: Arc<Mutex<Volume<D>>>,
    around: Surroundings<D>,
    answers: HashMap<RequestId, Answer>,
    next_request: u64,
    /// The revision up to which others were told.
    told: Revision,
    leaving: Vec<oneshot::Sender<()>>,
    has_left: bool,
    stopping: Option<oneshot::Sender<()>>,
    watch: ShardWatch,
    /// Shards that are being opened or removed, and the last one that is done.
    opening: HashMap<ShardId, JoinHandle<()>>,
}

impl<D: Disk, C: Consensus> CoordinatorTask<D, C> {
    /// A coordinator that has not begun yet. `log` is a lone broker's.
    pub(crate) fn new(
        coordinator: Coordinator<C>,
        log: Option<CatalogLog<D>>,
        (store, log_options): (D, LogOptions),
        volume: Arc<Mutex<Volume<D>>>,
        around: Surroundings<D>,
    ) -> Self {
        Self {
            coordinator,
            log,
            store,
            log_options,
            volume,
            around,
            answers: HashMap::new(),
            next_request: 0,
            told: Revision::ZERO,
            leaving: Vec::new(),
            has_left: false,
            stopping: None,
            watch: ShardWatch::default(),
            opening: HashMap::new(),
        }
    }

    pub(crate) async fn run(
        mut self,
        mut requests: mpsc::Receiver<AdminMessage<D>>,
        mut events: mpsc::UnboundedReceiver<AdminMessage<D>>,
    ) {
        let mut effects = Vec::new();
        let is_member = self.log.is_none();
        let mut ticks = tokio::time::interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            for effect in std::mem::take(&mut effects) {
                self.perform(effect);
            }
            self.tell_readiness();
            self.tell_others();
            self.tell_metrics();
            if self.log.as_ref().is_none_or(CatalogLog::is_idle)
                && let Some(stopping) = self.stopping.take()
            {
                // Nobody writes behind the back of whoever waits for this.
                for (_, opening) in self.opening.drain() {
                    drop(opening.await);
                }
                let _ = stopping.send(());
                return;
            }
            let message = tokio::select! {
                biased;
                _ = ticks.tick(), if is_member => AdminMessage::Event(CoordinatorEvent::Tick),
                Some(message) = events.recv() => message,
                message = requests.recv() => match message {
                    Some(message) => message,
                    None => return,
                },
            };
            let mut next = Some(message);
            let mut taken = 0;
            while let Some(message) = next.take() {
                self.take(message, &mut effects);
                taken += 1;
                if taken < BURST_MAX {
                    next = events.try_recv().ok().or_else(|| requests.try_recv().ok());
                }
            }
        }
    }

    fn take(&mut self, message: AdminMessage<D>, effects: &mut Vec<CoordinatorEffect>) {
        let event = match message {
            AdminMessage::Begin(rack) => {
                self.coordinator.stands_in(rack);
                CoordinatorEvent::Start
            }
            AdminMessage::Ask(request, answer) => {
                let id = RequestId(self.next_request);
                self.next_request += 1;
                self.answers.insert(id, answer);
                CoordinatorEvent::Request { id, request }
            }
            AdminMessage::Event(event) => {
                if let CoordinatorEvent::Serving(shard, _) = event {
                    self.watch.said(shard);
                }
                event
            }
            AdminMessage::Peer(from, message, _credit) => CoordinatorEvent::Peer { from, message },
            AdminMessage::Written(writer, result) => {
                self.came_back(writer);
                match result {
                    Ok(Done::Synced(synced)) => CoordinatorEvent::Synced(synced),
                    Ok(Done::Truncated(_) | Done::Nothing) => return,
                    Err(fault) => {
                        self.around.broker.fail(format!("the catalog's log: {fault}"));
                        CoordinatorEvent::WriteFailed
                    }
                }
            }
            AdminMessage::Leave(left) => {
                // A start that the catalog does not know leads nothing.
                if self.has_left || self.coordinator.registered().is_none() {
                    let _ = left.send(());
                    return;
                }
                self.leaving.push(left);
                CoordinatorEvent::Stop
            }
            AdminMessage::Stop(done) => {
                self.stopping = Some(done);
                return;
            }
        };
        self.step(event, effects);
    }

    fn step(&mut self, event: CoordinatorEvent, effects: &mut Vec<CoordinatorEffect>) {
        self.coordinator.step(self.around.clocks.now(), event, effects);
    }

    /// A lone broker is ready when it serves, which the coordinator says by itself.
    fn tell_readiness(&self) {
        if self.around.member.is_some() {
            self.around.broker.set_readiness(self.coordinator.readiness());
        }
    }

    /// Tells the rest of this broker what the catalog says of brokers and leaders, if it changed.
    fn tell_others(&mut self) {
        let catalog = self.coordinator.catalog();
        let revision = catalog.revision();
        if revision == self.told {
            return;
        }
        let since = std::mem::replace(&mut self.told, revision);
        let broker = &self.around.broker;
        let brokers_changed = broker.directory().follow(catalog);
        if self.around.member.is_some() {
            // A lone broker leads what it has open.
            broker.follow_leaders(catalog, if brokers_changed { Revision::ZERO } else { since });
        }
        let Some(me) = self.coordinator.registered() else { return };
        broker.set_led(catalog.shards().filter(|row| row.leading() == Some(me)).count());
        if brokers_changed {
            self.tell_peers(me);
        }
    }

    /// What the cluster looks like from here.
    fn tell_metrics(&mut self) {
        let (coordinator, broker) = (&self.coordinator, &self.around.broker);
        let catalog = coordinator.catalog();
        let away = match coordinator.live() {
            Some(live) => catalog.brokers().map(|row| row.id).filter(|id| !live.contains(id)).collect(),
            None => broker.links().into_iter().filter(|(_, up)| !up).map(|(id, _)| id).collect(),
        };
        let view = View {
            now_millis: self.around.clocks.now().monotonic_millis,
            catalog,
            own: coordinator.registered(),
            away,
            serves: &|shard, epoch| coordinator.serves(shard, epoch),
        };
        let mut gaps_millis = Vec::new();
        let shards = self.watch.look(&view, &mut gaps_millis);
        let metrics = broker.metrics();
        for gap in gaps_millis {
            metrics.leader_gap(Duration::from_millis(gap));
        }
        let membership = coordinator.membership();
        let own = view.own.map(|member| member.broker);
        let leads_catalog = own.is_some() && membership.leader == own;
        let revision = catalog.revision().get();
        metrics.see(Seen { at: Instant::now(), shards, membership, leads_catalog, revision });
    }

    /// Tells the peers whom to speak to.
    fn tell_peers(&self, me: Member) {
        let Some(member) = &self.around.member else { return };
        let brokers = self.around.broker.directory().brokers();
        let there = brokers.into_iter().filter(|broker| !broker.lost);
        let there =
            there.map(|BrokerEntry { member, volume, address, .. }| PeerAddress { member, volume, address });
        // Messages are not to keep the coordinator's thread busy.
        let _where_links_run = self.around.runtime.enter();
        member.peers.set_brokers(me, there.collect());
    }
}
