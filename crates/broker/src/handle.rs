//! The way into the broker for everything that speaks to clients.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use pondage_model::{
    Body, BrokerId, Entry, Epoch, Name, Offset, Refusal, Revision, ShardId, StreamId, Uuid,
    entry::{Granted, Move, Publish},
    membership::GroupMember,
    settings::{StartPosition, StreamSettings},
};
use pondage_node::{
    catalog::{Catalog, Change},
    coordinator::{AdminReply, AdminRequest, GroupRoute, Readiness, ResourceSettings, Route},
    dead_letter::dead_letter,
    delivery::{self, ConsumerId, Notice},
    disk::Disk,
    shard::{Ensure, ReaderId, ShardEvent, ShardReply, ShardRequest},
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{
    consensus::{ConsensusNode, InitialiseError},
    coordinator_task::AdminMessage,
    cursors::Cursors,
    directory::Directory,
    leaders::{Leader, Leaders},
    metrics::Metrics,
    remote::{Remote, RemoteRequest},
    shard_task::{Message, ShardHandle},
};

/// Changes that a watcher may be behind before it has to list again.
const CHANGES_BUFFERED_MAX: usize = 4_096;

/// How long a name may take to be known here once the catalog knows it, and how often to look.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(3);
const ROUTE_PAUSE: Duration = Duration::from_millis(20);

/// Leases that a consumer was given in one stream.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The shard that gave them.
    pub shard: ShardId,
    /// The leases' epoch.
    pub epoch: Epoch,
    /// The queue's stream.
    pub stream: StreamId,
    /// Which messages.
    pub runs: Vec<Granted>,
}

/// A stream's committed start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// The oldest message that is there.
    pub start: Offset,
    /// The next message's offset: everything below is committed.
    pub end: Offset,
}

/// A shard's answer that is still to come.
#[derive(Debug)]
pub struct Answer {
    reply: oneshot::Receiver<ShardReply>,
    shard: ShardId,
    leaders: Arc<Leaders>,
}

impl Answer {
    /// Waits for it. A refusal comes as the error.
    ///
    /// # Errors
    /// What the shard refuses; [`Refusal::Interrupted`] (unknown) if the broker ends before it answers.
    pub async fn get(self) -> Result<delivery::Reply, Refusal> {
        let reply = match answered(self.reply).await {
            Ok(reply) => delivered(reply),
            Err(refusal) => Err(refusal),
        };
        reply.map_err(|refusal| self.leaders.hint(self.shard, refusal))
    }
}

/// A cheap handle on the broker.
#[derive(Debug)]
pub struct Handle<D: Disk>(Arc<Shared<D>>);

impl<D: Disk> Clone for Handle<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Shared<D: Disk> {
    shards: RwLock<HashMap<ShardId, ShardHandle<D>>>,
    routes: RwLock<Routes>,
    directory: Directory,
    /// The volume is a copy or a backup: it is emptied when the broker has ended.
    is_stale: AtomicBool,
    groups: RwLock<Groups>,
    admin: mpsc::Sender<AdminMessage<D>>,
    changes: broadcast::Sender<Change>,
    /// The cluster and its consensus, of a member.
    voter: OnceLock<(Uuid, ConsensusNode)>,
    failed: watch::Sender<Option<String>>,
    readiness: watch::Sender<Readiness>,
    links: RwLock<HashMap<BrokerId, bool>>,
    led: watch::Sender<usize>,
    next_id: AtomicU64,
    producers: Mutex<std::ops::Range<u64>>,
    metrics: Metrics,
    cursors: Cursors,
    leaders: Arc<Leaders>,
    remote: OnceLock<Arc<dyn Remote>>,
}

/// Where messages are, by name and by stream.
#[derive(Debug, Default)]
struct Routes {
    by_name: HashMap<Name, Arc<Route>>,
    by_stream: HashMap<StreamId, Arc<Route>>,
}

impl Routes {
    fn set(&mut self, name: Name, route: Option<Route>) {
        if let Some(before) = self.by_name.remove(&name) {
            for (stream, _) in &before.partitions {
                self.by_stream.remove(stream);
            }
        }
        if let Some(route) = route.map(Arc::new) {
            self.by_stream.extend(route.partitions.iter().map(|(stream, _)| (*stream, Arc::clone(&route))));
            self.by_name.insert(name, route);
        }
    }
}

/// Groups by name; and by the streams of shared ones, where they live and how many milliseconds their leases last.
#[derive(Debug, Default)]
struct Groups {
    by_name: HashMap<Name, Arc<GroupRoute>>,
    by_share: HashMap<StreamId, (ShardId, u64)>,
}

impl Groups {
    fn set(&mut self, name: Name, route: Option<GroupRoute>) {
        if let Some(before) = self.by_name.remove(&name) {
            for (stream, _) in before.shares.iter().flatten() {
                self.by_share.remove(stream);
            }
        }
        if let Some(route) = route {
            if let Some(sharing) = &route.settings.sharing {
                let shares = route.shares.iter().flatten();
                self.by_share
                    .extend(shares.map(|(stream, shard)| (*stream, (*shard, sharing.ack_timeout_millis))));
            }
            self.by_name.insert(name, Arc::new(route));
        }
    }
}

impl<D: Disk> Handle<D> {
    pub(crate) fn new(admin: mpsc::Sender<AdminMessage<D>>, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            shards: RwLock::default(),
            routes: RwLock::default(),
            directory: Directory::default(),
            is_stale: AtomicBool::new(false),
            groups: RwLock::default(),
            admin,
            changes: broadcast::channel(CHANGES_BUFFERED_MAX).0,
            voter: OnceLock::new(),
            failed: watch::channel(None).0,
            readiness: watch::channel(Readiness::default()).0,
            links: RwLock::default(),
            led: watch::channel(0).0,
            next_id: AtomicU64::new(1),
            producers: Mutex::new(0..0),
            metrics,
            cursors: Cursors::default(),
            leaders: Arc::default(),
            remote: OnceLock::new(),
        }))
    }

    /// Where the messages of a topic or queue are.
    ///
    /// # Errors
    /// Definite: [`Refusal::NotFound`] of a lone broker. The catalog of a member may be a little behind: it refuses with
    /// [`Refusal::NotLeader`], and who asks where the name is led hears whether there is one.
    pub fn route(&self, name: &Name) -> Result<Arc<Route>, Refusal> {
        self.known_route(name).ok_or_else(|| match self.consensus() {
            Some(_) => Refusal::NotLeader { epoch: Epoch::ZERO },
            None => no_target(name),
        })
    }

    fn known_route(&self, name: &Name) -> Option<Arc<Route>> {
        read(&self.0.routes).by_name.get(name).cloned()
    }

    /// As [`Self::route`], but sure of it: a member asks the catalog's leader before it says that nothing of this name is
    /// there.
    ///
    /// # Errors
    /// Definite: [`Refusal::NotFound`]; [`Refusal::NotLeader`] while the catalog can't be asked.
    pub async fn route_surely(&self, name: &Name) -> Result<Arc<Route>, Refusal> {
        let known = || self.known_route(name);
        self.surely(known, AdminRequest::HasTarget(name.clone()), || no_target(name)).await
    }

    /// What is known here, or why it is not: it is nowhere, as the catalog's leader says, or not known here yet.
    async fn surely<T>(
        &self,
        known: impl Fn() -> Option<T>,
        exists: AdminRequest,
        nowhere: impl Fn() -> Refusal,
    ) -> Result<T, Refusal> {
        if let Some(known) = known() {
            return Ok(known);
        }
        if self.consensus().is_none() {
            return Err(nowhere());
        }
        let deadline = tokio::time::Instant::now() + ROUTE_TIMEOUT;
        match tokio::time::timeout_at(deadline, self.admin(exists)).await {
            Ok(Ok(AdminReply::Found(false))) => return Err(nowhere()),
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(Refusal::NotLeader { epoch: Epoch::ZERO }),
        }
        // It is being made: its shards tell when it is there.
        loop {
            match known() {
                Some(known) => return Ok(known),
                None if tokio::time::Instant::now() < deadline => tokio::time::sleep(ROUTE_PAUSE).await,
                None => return Err(Refusal::NotLeader { epoch: Epoch::ZERO }),
            }
        }
    }

    /// A consumer group's settings, and where its members are known; none if it is not known here.
    #[must_use]
    pub fn known_group(&self, name: &Name) -> Option<Arc<GroupRoute>> {
        read(&self.0.groups).by_name.get(name).cloned()
    }

    /// Where a stream that gives leases lives, and for how long it gives them unless a consumer asks for another time: a
    /// queue, or a shared group beside a partition.
    pub(crate) fn lender(&self, stream: StreamId) -> Option<(ShardId, u64)> {
        if let Some(route) = self.route_of(stream) {
            let ResourceSettings::Queue(queue) = &route.settings else { return None };
            let place = route.partitions.iter().find(|(found, _)| *found == stream);
            return place.map(|(_, shard)| (*shard, queue.ack_timeout_millis));
        }
        read(&self.0.groups).by_share.get(&stream).copied()
    }

    /// As [`Self::known_group`], but sure of it: a member asks the catalog's leader before it says that there is none.
    ///
    /// # Errors
    /// Definite: [`Refusal::NotFound`]; [`Refusal::NotLeader`] while the catalog can't be asked.
    pub async fn group(&self, name: &Name) -> Result<Arc<GroupRoute>, Refusal> {
        let none = || Refusal::NotFound { kind: "consumer group", name: name.to_string() };
        self.surely(|| self.known_group(name), AdminRequest::HasGroup(name.clone()), none).await
    }

    /// Every route, in no order.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<Route>> {
        read(&self.0.routes).by_name.values().cloned().collect()
    }

    /// The shards that this broker has open.
    #[must_use]
    pub fn shard_ids(&self) -> Vec<ShardId> {
        let mut ids: Vec<_> = read(&self.0.shards).keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Who leads a shard, as the catalog says; `None` while nobody does.
    #[must_use]
    pub fn leader_of(&self, shard: ShardId) -> Option<Leader> {
        let is_open = read(&self.0.shards).contains_key(&shard);
        self.0.leaders.of(shard, is_open)
    }

    /// This broker's id, once it is registered.
    #[must_use]
    pub fn own(&self) -> Option<BrokerId> {
        self.0.leaders.own()
    }

    /// Addresses of the cluster's brokers.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.0.leaders.addresses()
    }

    /// Why a shard's request is refused here: definite, with the leader's address if another broker leads it.
    #[must_use]
    pub fn not_leader(&self, shard: ShardId) -> Refusal {
        let epoch = self.leader_of(shard).map_or(Epoch::ZERO, |leader| leader.epoch);
        self.0.leaders.hint(shard, Refusal::NotLeader { epoch })
    }

    /// Asks a shard. A refusal comes as the error.
    ///
    /// # Errors
    /// What the shard refuses, [`Refusal::LedElsewhere`] among it; [`Refusal::Interrupted`] (unknown) if the broker
    /// ends before it answers.
    pub async fn ask(&self, shard: ShardId, request: ShardRequest) -> Result<ShardReply, Refusal> {
        let (answer, reply) = oneshot::channel();
        self.send(shard, Message::Ask(request, answer)).await?;
        answered(reply).await.map_err(|refusal| self.0.leaders.hint(shard, refusal))
    }

    /// Asks a shard's delivery engine. A refusal comes as the error.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn deliver(
        &self,
        shard: ShardId,
        request: delivery::Request,
    ) -> Result<delivery::Reply, Refusal> {
        delivered(self.ask(shard, ShardRequest::Delivery(request)).await?)
    }

    /// Puts a request into the shard's inbox: what one task submits is decided in that order.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] or [`Refusal::LedElsewhere`] if the shard isn't open here, [`Refusal::ShuttingDown`] if
    /// it ends.
    pub async fn submit(&self, shard: ShardId, request: delivery::Request) -> Result<Answer, Refusal> {
        let (answer, reply) = oneshot::channel();
        self.send(shard, Message::Ask(ShardRequest::Delivery(request), answer)).await?;
        Ok(Answer { reply, shard, leaders: Arc::clone(&self.0.leaders) })
    }

    /// Attaches a consumer to a queue. Its grants come through the receiver, as far as its credit goes.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn attach(
        &self,
        shard: ShardId,
        stream: StreamId,
        credit: u32,
        lease_millis: Option<u64>,
        once: bool,
    ) -> Result<(ConsumerId, mpsc::UnboundedReceiver<Grants>), Refusal> {
        let consumer = ConsumerId(self.next_id());
        let (grants, receiver) = mpsc::unbounded_channel();
        let request = ShardRequest::Delivery(delivery::Request::Attach {
            stream,
            consumer,
            credit,
            lease_millis,
            once,
        });
        let (answer, reply) = oneshot::channel();
        self.send(shard, Message::Attach(request, stream, consumer, grants, answer)).await?;
        match answered(reply).await {
            Ok(ShardReply::Delivery(delivery::Reply::Refused(refusal))) | Err(refusal) => {
                Err(self.0.leaders.hint(shard, refusal))
            }
            Ok(_) => Ok((consumer, receiver)),
        }
    }

    /// Speaks for a member of a group at its home, until it leaves. What the member owns comes through the receiver: the
    /// newest word alone, because each says all.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn join(
        &self,
        shard: ShardId,
        stream: StreamId,
        member: GroupMember,
    ) -> Result<(ConsumerId, watch::Receiver<Option<Notice>>), Refusal> {
        let consumer = ConsumerId(self.next_id());
        let (notices, receiver) = watch::channel(None);
        let request = ShardRequest::Delivery(delivery::Request::Join { stream, consumer, member });
        let (answer, reply) = oneshot::channel();
        self.send(shard, Message::Join(request, stream, consumer, notices, answer)).await?;
        match answered(reply).await.and_then(delivered) {
            Ok(_) => Ok((consumer, receiver)),
            Err(refusal) => Err(self.0.leaders.hint(shard, refusal)),
        }
    }

    /// Follows a stream's committed start and end. `unfollow` ends it.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn follow(
        &self,
        shard: ShardId,
        stream: StreamId,
    ) -> Result<(ReaderId, watch::Receiver<Progress>), Refusal> {
        let reader = ReaderId(self.next_id());
        let (sender, receiver) = watch::channel(Progress::default());
        let (answer, reply) = oneshot::channel();
        let told = sender.clone();
        let request = ShardRequest::Follow { stream, reader };
        self.send(shard, Message::Follow(request, stream, reader, sender, answer)).await?;
        let answer = answered(reply).await.map_err(|refusal| self.0.leaders.hint(shard, refusal))?;
        if let ShardReply::Following { start, end } = answer {
            told.send_if_modified(|known| {
                let newer = end > known.end || start > known.start;
                if newer {
                    *known = Progress { start, end };
                }
                newer
            });
        }
        Ok((reader, receiver))
    }

    /// Waits until something comes to one of these streams behind where it ended. They are led here.
    ///
    /// # Errors
    /// As [`Self::ask`], also when the leadership ends meanwhile.
    pub(crate) async fn arrival(
        &self,
        shard: ShardId,
        streams: Vec<(StreamId, Offset)>,
    ) -> Result<(), Refusal> {
        // Who waits no longer has dropped the receivers, which ends the follows.
        let arrivals = streams.into_iter().map(|(stream, ended)| async move {
            let (_, mut progress) = self.follow(shard, stream).await?;
            let arrived = progress.wait_for(|now| now.end > ended).await.map(drop);
            arrived.map_err(|_| self.not_leader(shard))
        });
        let mut arrivals: FuturesUnordered<_> = arrivals.collect();
        arrivals.next().await.unwrap_or(Err(Refusal::Interrupted))
    }

    /// Reads published entries of a stream that reach to or behind `from`, about `bytes_max` of them and at least one
    /// if there is one. The caller keeps below the committed end.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if the log can't be read there.
    pub async fn read_stream(
        &self,
        shard: ShardId,
        stream: StreamId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, Refusal> {
        let reader = self.shard(shard)?.reader;
        let read = tokio::task::spawn_blocking(move || {
            let raw = reader
                .read_stream(stream, from, bytes_max)
                .map_err(|error| Refusal::Conflict { what: error.to_string() })?;
            raw.into_iter()
                .map(|entry| entry.decode().map_err(|error| Refusal::Conflict { what: error.to_string() }))
                .collect()
        });
        read.await.unwrap_or(Err(Refusal::Interrupted))
    }

    /// Finds where shared groups begin whose start is a time.
    pub(crate) fn find_begins(&self, shard: ShardId, streams: &mut [Ensure]) {
        for ensure in streams {
            if let Some(StreamSettings::Share(share)) = ensure.open.as_ref().map(|open| &open.settings)
                && let StartPosition::Time(time) = share.start_position
            {
                // One that does not lead any more does not begin anything.
                let reader = self.shard(shard).ok().map(|shard| shard.reader);
                ensure.begin = reader.and_then(|reader| reader.first_since(share.partition, time));
            }
        }
    }

    /// The first offset of a stream whose log time is at or after `time`.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] if the shard isn't open here.
    pub fn offset_at_time(
        &self,
        shard: ShardId,
        stream: StreamId,
        time: pondage_model::LogTime,
    ) -> Result<Option<Offset>, Refusal> {
        Ok(self.shard(shard)?.reader.offset_at_time(stream, time))
    }

    /// Asks the catalog.
    ///
    /// # Errors
    /// What the catalog refuses; [`Refusal::Interrupted`] (unknown) if the broker ends before it answers.
    pub async fn admin(&self, request: AdminRequest) -> Result<AdminReply, Refusal> {
        let (answer, reply) = oneshot::channel();
        self.0.admin.send(AdminMessage::Ask(request, answer)).await.map_err(|_| Refusal::ShuttingDown)?;
        reply.await.unwrap_or(Err(Refusal::Interrupted))
    }

    /// Begins the cluster with this broker's volume as its only voter. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if the broker belongs to another cluster, or the cluster has begun elsewhere.
    pub async fn initialise(&self, cluster: Uuid) -> Result<(), Refusal> {
        if let Some((own, consensus)) = self.0.voter.get() {
            if *own != cluster {
                let what = format!("the broker belongs to cluster {own} and not to {cluster}");
                return Err(Refusal::Conflict { what });
            }
            return match consensus.initialise().await {
                // A log that is there is this cluster's: it was begun before, and whoever asks missed the answer.
                Ok(()) | Err(InitialiseError::NotEmpty) => Ok(()),
                Err(InitialiseError::Stopped(_)) => Err(Refusal::Interrupted),
            };
        }
        match self.admin(AdminRequest::Describe).await? {
            AdminReply::Described(found) if found.cluster == cluster => Ok(()),
            AdminReply::Described(found) => {
                let what = format!("the broker belongs to cluster {} and not to {cluster}", found.cluster);
                Err(Refusal::Conflict { what })
            }
            _ => Err(Refusal::Interrupted),
        }
    }

    /// The other brokers that were spoken to, and whether they are there as far as the connections tell.
    #[must_use]
    pub fn links(&self) -> HashMap<BrokerId, bool> {
        read(&self.0.links).clone()
    }

    /// How many shards this broker leads.
    #[must_use]
    pub fn led(&self) -> watch::Receiver<usize> {
        self.0.led.subscribe()
    }

    /// A producer id that nobody in the cluster had before.
    ///
    /// # Errors
    /// As [`Self::admin`].
    pub async fn producer_id(&self) -> Result<u64, Refusal> {
        loop {
            if let Some(id) = lock(&self.0.producers).next() {
                return Ok(id);
            }
            if let AdminReply::Producers { first, count } =
                self.admin(AdminRequest::AllocateProducers).await?
            {
                *lock(&self.0.producers) = first..first + count;
            }
        }
    }

    /// Changes of resources from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// How far the broker is. Of a lone broker: ready once it leads its shards and serves.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.0.readiness.subscribe()
    }

    /// Whether the broker ever heard of its cluster's catalog: a new one waits until the cluster is begun, or a seed
    /// lets it in.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.consensus().is_none_or(|consensus| consensus.status().last.is_some())
    }

    /// Why the broker can't go on, if so.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.0.failed.subscribe()
    }

    /// Takes a dead letter to its queue and settles it at its source.
    ///
    /// # Errors
    /// Why it has to wait at its source; trying again is safe, the target knows what it has.
    pub(crate) async fn forward(
        &self,
        (shard, source): (ShardId, StreamId),
        stored: StreamId,
        group: Option<&(Name, u32)>,
        moving: Move,
    ) -> Result<(), Refusal> {
        let entries = self.read_stream(shard, stored, moving.offset, 1).await?;
        let publish = publish_with(&entries, moving.offset)
            .ok_or(Refusal::CorruptBatch { what: "a moving message is not in the log" })?;
        let name = self.stream_name(stored);
        let batch = dead_letter(&name, group, publish, &moving)?;
        let store = RemoteRequest::Store {
            shard: moving.target_shard,
            stream: moving.target,
            batch,
            source,
            seq: moving.seq,
        };
        self.ask_leader(store).await?;
        self.deliver(shard, delivery::Request::Moved { stream: source, seq: moving.seq }).await?;
        Ok(())
    }

    /// The topic or queue that a stream belongs to.
    #[must_use]
    pub fn route_of(&self, stream: StreamId) -> Option<Arc<Route>> {
        read(&self.0.routes).by_stream.get(&stream).cloned()
    }

    fn stream_name(&self, stream: StreamId) -> Name {
        self.route_of(stream)
            .map_or_else(|| Name::new("deleted").expect("a valid name"), |route| route.name.clone())
    }

    /// Takes over who leads the shards whose rows changed since a revision, and where brokers are reached.
    pub(crate) fn follow_leaders(&self, catalog: &Catalog, since: Revision) {
        let leaders = &self.0.leaders;
        let address = |broker| catalog.broker(broker).map(|row| row.address.clone());
        for row in catalog.shards_changed_since(since) {
            let leader = row
                .leader
                .and_then(|broker| Some(Leader { broker, epoch: row.epoch, address: address(broker)? }));
            leaders.set(row.id, leader);
        }
        leaders.keep(catalog.shards().len(), |shard| catalog.shard(shard).is_some());
        let there = catalog.brokers().filter(|row| !row.lost);
        leaders.set_addresses(there.map(|row| row.address.clone()).collect());
    }

    /// The way to other brokers, given once.
    pub(crate) fn set_remote(&self, remote: Arc<dyn Remote>) {
        // A second one would be another way to the same brokers.
        drop(self.0.remote.set(remote));
    }

    /// The way to other brokers; a lone broker has none.
    pub(crate) fn remote(&self) -> Option<Arc<dyn Remote>> {
        self.0.remote.get().cloned()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The cursors that sessions here rest on.
    pub(crate) fn cursors(&self) -> &Cursors {
        &self.0.cursors
    }

    /// The broker can't go on: everything that waits for the disk has an unknown outcome.
    pub(crate) fn fail(&self, reason: String) {
        self.0.failed.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                tracing::error!(reason, "the broker can't go on");
                *known = Some(reason);
            }
            first
        });
    }

    /// Another start of this volume went further: nothing on it may be used.
    pub(crate) fn empty_volume(&self) {
        self.0.is_stale.store(true, Ordering::Release);
        self.fail(
            "the volume is a copy or was restored from a backup: another start of it went further. It is emptied \
             now; start the broker again, and it joins as a new one"
                .to_owned(),
        );
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.0.is_stale.load(Ordering::Acquire)
    }

    /// This broker is a member of the cluster and votes, or learns, through this.
    pub(crate) fn votes_through(&self, cluster: Uuid, consensus: ConsensusNode) {
        // It is set once.
        drop(self.0.voter.set((cluster, consensus)));
    }

    /// The consensus of a member.
    pub(crate) fn consensus(&self) -> Option<&ConsensusNode> {
        self.0.voter.get().map(|(_, consensus)| consensus)
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// The catalog knows this broker.
    pub(crate) fn set_own(&self, broker: BrokerId) {
        self.0.leaders.set_own(broker);
    }

    /// Tells a shard which connections are there, or which are not; behind all that it was told of them before, and
    /// before all that follows.
    pub(crate) fn tell_links(&self, shard: &ShardHandle<D>, up: bool) {
        let links = read(&self.0.links);
        for (broker, _) in links.iter().filter(|(_, is_up)| **is_up == up) {
            drop(shard.events.send(Message::Event(ShardEvent::Link { broker: *broker, up })));
        }
    }

    /// A connection to a broker is there, or is not.
    pub(crate) fn set_link(&self, broker: BrokerId, up: bool) {
        // Held to the end: no shard must hear of two changes in another order than they happened in.
        let mut links = write(&self.0.links);
        links.insert(broker, up);
        for shard in read(&self.0.shards).values() {
            drop(shard.events.send(Message::Event(ShardEvent::Link { broker, up })));
        }
    }

    /// Whether the catalog, asked now, knows that this stream is gone for good.
    pub(crate) async fn is_deleted(&self, stream: StreamId) -> bool {
        self.route_of(stream).is_none()
            && matches!(self.admin(AdminRequest::HasStream(stream)).await, Ok(AdminReply::Found(false)))
    }

    pub(crate) fn set_led(&self, count: usize) {
        self.0.led.send_replace(count);
    }

    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        self.0.readiness.send_if_modified(|known| std::mem::replace(known, readiness) != readiness);
    }

    pub(crate) fn set_route(&self, name: Name, route: Option<Route>) {
        write(&self.0.routes).set(name, route);
    }

    pub(crate) fn set_group(&self, name: Name, route: Option<GroupRoute>) {
        write(&self.0.groups).set(name, route);
    }

    pub(crate) fn tell(&self, change: Change) {
        // Nobody may be watching.
        drop(self.0.changes.send(change));
    }

    pub(crate) fn add_shard(&self, id: ShardId, shard: ShardHandle<D>) {
        write(&self.0.shards).insert(id, shard);
    }

    pub(crate) fn remove_shard(&self, id: ShardId) -> Option<ShardHandle<D>> {
        write(&self.0.shards).remove(&id)
    }

    pub(crate) fn shard(&self, id: ShardId) -> Result<ShardHandle<D>, Refusal> {
        read(&self.0.shards).get(&id).cloned().ok_or(Refusal::NotLeader { epoch: Epoch::ZERO })
    }

    /// Waits until others lead what this broker led.
    pub(crate) async fn leave(&self) {
        let (done, left) = oneshot::channel();
        if self.0.admin.send(AdminMessage::Leave(done)).await.is_ok() {
            // An error means that the coordinator's task has ended.
            drop(left.await);
        }
    }

    /// Whether the catalog, as far as it is known here, says that this broker leads the shard.
    pub(crate) fn leads(&self, shard: ShardId) -> bool {
        self.leader_of(shard).is_some_and(|leader| Some(leader.broker) == self.own())
    }

    /// Ends the coordinator's task once nothing of it is being written.
    pub(crate) async fn stop_coordinator(&self) {
        let (done, ended) = oneshot::channel();
        if self.0.admin.send(AdminMessage::Stop(done)).await.is_ok() {
            // An error means that the task had ended already.
            drop(ended.await);
        }
    }

    async fn send(&self, shard: ShardId, message: Message<D>) -> Result<(), Refusal> {
        let handle = self.shard(shard).map_err(|refusal| self.0.leaders.hint(shard, refusal))?;
        handle.requests.send(message).await.map_err(|_| Refusal::ShuttingDown)
    }

    fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

fn no_target(name: &Name) -> Refusal {
    Refusal::NotFound { kind: "topic or queue", name: name.to_string() }
}

/// The published entry that holds this message.
pub(crate) fn publish_with(entries: &[Entry], offset: Offset) -> Option<&Publish> {
    entries.iter().find_map(|entry| match &entry.body {
        Body::Publish(publish)
            if publish.base_offset <= offset
                && offset < publish.base_offset.plus(u64::from(publish.count)) =>
        {
            Some(publish)
        }
        _ => None,
    })
}

async fn answered(reply: oneshot::Receiver<ShardReply>) -> Result<ShardReply, Refusal> {
    match reply.await {
        Ok(ShardReply::Refused(refusal)) => Err(refusal),
        Ok(reply) => Ok(reply),
        Err(_) => Err(Refusal::Interrupted),
    }
}

fn delivered(reply: ShardReply) -> Result<delivery::Reply, Refusal> {
    match reply {
        ShardReply::Delivery(delivery::Reply::Refused(refusal)) => Err(refusal),
        ShardReply::Delivery(reply) => Ok(reply),
        _ => Err(Refusal::Interrupted),
    }
}

// A panic while one of these locks is held can't leave a map half changed: nothing that a holder does can panic.
fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
