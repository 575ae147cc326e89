//! Consumers that are scaled on their group's backlog: each group that asks for it is looked at every few seconds, what
//! its brokers and its workload say is put before the drain-time controller (`pondage_autoscale::decide`), and what that
//! decides is done.
//!
//! ```text
//!  brokers: backlog, members ──┐
//!                              ├─► Observation ─► decide ─► Decision ─┬─► members drained, replicas patched (Direct)
//!  workload: replicas, pods ───┘                                      └─► status, conditions, events
//! ```
//!
//! The reconciler of a ConsumerGroup says that a group is to be scaled and writes what is told here into its status; so a
//! status has one writer.

mod figures;
mod settings;
mod told;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kube::{Resource as _, core::DynamicObject};
use pondage_autoscale::{Decision, Learned, Observation, STALE_MILLIS, Settings, State, decide};
use pondage_client::ResourceKind;
use pondage_model::{MemberId, Name};
use pondage_resources::{ActiveMode, Autoscaling, Kind};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{error::ReconcileError, names::Key, operator::Operator, triggers::api_resource};
use figures::{Figures, Firsts};
pub use settings::scaling_settings;
pub(crate) use told::Told;
use workload::{Workload, WorkloadSeen};

/// How often a group without replicas is looked at: somebody waits for its first message.
const ASLEEP: Duration = Duration::from_secs(1);

/// What a group asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// Its cluster.
    pub(crate) cluster: Key,
    /// What the brokers call it.
    pub(crate) group: Name,
    pub(crate) autoscaling: Autoscaling,
    /// The age of its oldest unread message that is still well, in milliseconds.
    pub(crate) delay_millis_max: Option<u64>,
}

/// A group that is scaled.
struct Scaled {
    wanted: Wanted,
    told: Arc<Mutex<Option<Told>>>,
    cancel: CancellationToken,
}

/// All groups that are scaled.
pub(crate) struct Scaling {
    groups: Mutex<HashMap<Key, Scaled>>,
    begin: mpsc::UnboundedSender<Key>,
}

/// Groups that are to be scaled from now on.
pub(crate) type Begins = mpsc::UnboundedReceiver<Key>;

impl Scaling {
    pub(crate) fn new() -> (Self, Begins) {
        let (begin, begins) = mpsc::unbounded_channel();
        (Self { groups: Mutex::default(), begin }, begins)
    }

    /// Scales the group in this way, or goes on with it.
    pub(crate) fn keep(&self, key: &Key, wanted: Wanted) {
        let is_new = self.known(|groups| {
            if groups.get(key).is_some_and(|scaled| scaled.wanted == wanted) {
                return false;
            }
            let (told, cancel) = (Arc::default(), CancellationToken::new());
            if let Some(old) = groups.insert(key.clone(), Scaled { wanted, told, cancel }) {
                old.cancel.cancel();
            }
            true
        });
        if is_new {
            // Without anybody who begins, the operator ends.
            drop(self.begin.send(key.clone()));
        }
    }

    /// The group is not scaled any more.
    pub(crate) fn forget(&self, key: &Key) {
        if let Some(old) = self.known(|groups| groups.remove(key)) {
            old.cancel.cancel();
        }
    }

    /// What is to be said of the group.
    pub(crate) fn told(&self, key: &Key) -> Option<Told> {
        let told = self.known(|groups| groups.get(key).map(|scaled| Arc::clone(&scaled.told)))?;
        told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known<T>(&self, with: impl FnOnce(&mut HashMap<Key, Scaled>) -> T) -> T {
        with(&mut self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Scales what there is to scale, for ever.
pub(crate) async fn run(operator: Arc<Operator>, mut begins: Begins) {
    while let Some(key) = begins.recv().await {
        let begun = operator.scaling.known(|groups| {
            let scaled = groups.get(&key)?;
            Some((scaled.wanted.clone(), Arc::clone(&scaled.told), scaled.cancel.clone()))
        });
        let Some((wanted, told, cancel)) = begun else { continue };
        let operator = Arc::clone(&operator);
        tokio::spawn(async move {
            let scaled = async {
                match Loop::new(&operator, key.clone(), wanted, told).await {
                    Ok(mut scaled) => scaled.run().await,
                    Err(refused) => tracing::warn!(group = %key, %refused, "a group can't be scaled"),
                }
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = scaled => {}
            }
        });
    }
}

/// Milliseconds since the Unix epoch by a clock that does not go back.
struct Clock {
    base_millis: u64,
    begun: Instant,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base_millis: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), begun: Instant::now() }
    }

    fn now_millis(&self) -> u64 {
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base_millis.saturating_add(passed)
    }
}

/// One group that is scaled.
struct Loop<'a> {
    operator: &'a Operator,
    key: Key,
    wanted: Wanted,
    settings: Settings,
    state: State,
    workload: Workload,
    clock: Clock,
    firsts: Firsts,
    /// What the brokers said last, and when.
    figures: Option<(Figures, u64)>,
    since_millis: u64,
    /// Members that were told to finish.
    drained: BTreeSet<MemberId>,
    /// Pods that are marked as the first to go.
    marked: BTreeSet<String>,
    told: Arc<Mutex<Option<Told>>>,
}

impl<'a> Loop<'a> {
    async fn new(
        operator: &'a Operator,
        key: Key,
        wanted: Wanted,
        told: Arc<Mutex<Option<Told>>>,
    ) -> Result<Self, pondage_autoscale::Refused> {
        let settings = scaling_settings(&wanted.autoscaling)?;
        let object = operator.object(Kind::ConsumerGroup, &key);
        let learned = object.map_or_else(Learned::default, |object| told::learned(&object));
        let target = wanted.autoscaling.scale_target.clone();
        let workload = Workload::new(operator.client.clone(), key.namespace.clone(), target);
        let clock = Clock::new();
        let since_millis = clock.now_millis();
        Ok(Self {
            operator,
            key,
            wanted,
            settings,
            state: State::resume(learned),
            workload,
            clock,
            firsts: Firsts::default(),
            figures: None,
            since_millis,
            drained: BTreeSet::new(),
            marked: BTreeSet::new(),
            told,
        })
    }

    async fn run(&mut self) {
        loop {
            let again = match self.workload.look().await {
                Ok(seen) => self.look(seen).await,
                Err(error) => {
                    tracing::debug!(group = %self.key, %error, "the workload can't be read");
                    self.tell(Told::without_workload(&self.wanted.autoscaling.scale_target, &error)).await;
                    Duration::from_millis(pondage_autoscale::TICK_MILLIS)
                }
            };
            sleep(again).await;
        }
    }

    /// Looks once, and does what is decided; when to look again.
    async fn look(&mut self, workload: WorkloadSeen) -> Duration {
        let observation = self.observe(&workload).await;
        let state = std::mem::take(&mut self.state);
        let (decision, state) = decide(&self.settings, state, &observation);
        self.state = state;
        let mut scaled = None;
        if self.wanted.autoscaling.mode == ActiveMode::Direct && observation.conflicting.is_none() {
            self.drain(&decision).await;
            if decision.replicas != observation.replicas {
                match self.workload.scale(decision.replicas, &workload).await {
                    Ok(()) => scaled = Some(observation.replicas),
                    Err(error) => tracing::warn!(group = %self.key, %error, "the workload can't be scaled"),
                }
            }
        }
        let asleep = observation.replicas == 0 && decision.replicas == 0;
        let again = Duration::from_millis(decision.again_millis);
        self.report(&observation, decision, scaled).await;
        if asleep { again.min(ASLEEP) } else { again }
    }

    async fn observe(&mut self, workload: &WorkloadSeen) -> Observation {
        let now_millis = self.clock.now_millis();
        if let Ok(figures) = self.ask_brokers().await {
            self.figures = Some((figures, now_millis));
        }
        let is_known = self.figures.is_some();
        let (figures, at) = match &self.figures {
            Some((figures, at)) => (figures.clone(), *at),
            None => (Figures::default(), self.since_millis),
        };
        let members = self.firsts.members(&figures, now_millis);
        Observation {
            now_millis,
            source: figures.source,
            partitions: figures.partitions,
            members,
            replicas: workload.replicas,
            pods: workload.pods.clone(),
            rebalancing: figures.rebalancing,
            // Before the brokers answered once there is nothing that could be acted on.
            stale_millis: now_millis.saturating_sub(at).max(if is_known { 0 } else { STALE_MILLIS + 1 }),
            conflicting: workload.conflicting.clone(),
        }
    }

    async fn ask_brokers(&self) -> Result<Figures, ReconcileError> {
        let Some(connection) = self.operator.connections.get(&self.wanted.cluster) else {
            return Err(ReconcileError::NotConnected);
        };
        let held = connection.observed.get(ResourceKind::Group, &self.wanted.group).flatten();
        let Some(held) = held else { return Err(ReconcileError::NotConnected) };
        figures::ask(&connection.client, &held).await.inspect_err(|error| {
            tracing::debug!(group = %self.key, %error, "the group's figures can't be read");
        })
    }

    /// Tells members that are to go to finish, and marks their pods.
    async fn drain(&mut self, decision: &Decision) {
        let wanted: BTreeSet<&str> = decision.draining.iter().map(String::as_str).collect();
        let ids = self.figures.iter().flat_map(|(figures, _)| &figures.ids);
        let ids: BTreeSet<MemberId> =
            ids.filter(|(name, _)| wanted.contains(name.as_str())).map(|(_, id)| *id).collect();
        // It is said again as long as it holds: brokers forget it.
        if (!ids.is_empty() || !self.drained.is_empty())
            && let Some(connection) = self.operator.connections.get(&self.wanted.cluster)
        {
            let members: Vec<MemberId> = ids.iter().copied().collect();
            match connection.client.drain_members(self.wanted.group.as_str(), &members).await {
                Ok(()) => self.drained = ids,
                Err(error) => tracing::debug!(group = %self.key, %error, "members can't be drained"),
            }
        }
        let wanted: BTreeSet<String> = decision.draining.iter().cloned().collect();
        for (pod, marked) in self
            .marked
            .difference(&wanted)
            .map(|pod| (pod.clone(), false))
            .chain(wanted.difference(&self.marked).map(|pod| (pod.clone(), true)))
            .collect::<Vec<_>>()
        {
            match self.workload.mark(&pod, marked).await {
                Ok(()) if marked => drop(self.marked.insert(pod)),
                Ok(()) => drop(self.marked.remove(&pod)),
                Err(error) => tracing::debug!(group = %self.key, pod, %error, "a pod can't be marked"),
            }
        }
    }

    /// Says what was decided, and what came of it.
    async fn report(&mut self, seen: &Observation, decision: Decision, scaled: Option<u32>) {
        let places = self.figures.as_ref().map(|(figures, _)| figures.places.as_slice()).unwrap_or_default();
        let told = Told::of(&told::Report {
            wanted: &self.wanted,
            seen,
            decision: &decision,
            learned: self.state.learned(),
            places,
            scaled_millis: scaled.map(|_| seen.now_millis),
        });
        if let Some(from) = scaled
            && let Some(object) = self.operator.object(Kind::ConsumerGroup, &self.key)
        {
            let about = object.object_ref(&api_resource(Kind::ConsumerGroup));
            let note = format!("{} → {} replicas: {}", from, decision.replicas, decision.reason);
            self.operator.events.normal(&about, "Scale", told::event(&decision.reason), note).await;
            self.operator.metrics.scalings.inc();
        }
        self.tell(told).await;
    }

    /// Has it written, if it is news.
    async fn tell(&mut self, told: Told) {
        let is_news = {
            let mut before = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let next = told.after(before.as_ref());
            let is_news = before.as_ref() != Some(&next);
            *before = Some(next);
            is_news
        };
        if is_news {
            self.operator.triggers.ring(Kind::ConsumerGroup, self.key.clone());
        }
    }
}

/// What the status says of scaling and of what else a group's figures are.
pub(crate) fn status_of(object: &DynamicObject) -> Option<&serde_json::Map<String, Value>> {
    object.data.get("status").and_then(Value::as_object)
}

/// Names of partitions, in the order of the figures.
pub(crate) type Places = Vec<(Name, u32)>;

/// Ids of members by their names.
pub(crate) type Ids = BTreeMap<String, MemberId>;
