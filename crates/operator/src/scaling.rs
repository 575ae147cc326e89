//! Consumers that are scaled on their group's backlog. Of each group that asks for it a broker tells every few seconds, and
//! as soon as something comes to one that sleeps; what it says and what the workload says is put before the drain-time
//! controller (`pondage_autoscale::decide`), and what that decides is done.
//!
//! ```text
//!  brokers: backlog, members ──┐
//!                              ├─► Observation ─► decide ─► Decision ─┬─► members drained, replicas patched (Direct)
//!  workload: replicas, pods ───┘                                      └─► status, conditions, events
//! ```
//!
//! The reconciler of a ConsumerGroup says that a group is to be scaled and writes what is told here into its status; so a
//! status has one writer.

mod explained;
mod figures;
mod listening;
mod settings;
mod told;
mod workload;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kube::Resource as _;
use pondage_autoscale::{Decision, Learned, Observation, STALE_MILLIS, Settings, State, TICK_MILLIS, decide};
use pondage_model::{MemberId, Name};
use pondage_resources::{ActiveMode, Autoscaling, Kind};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{names::Key, operator::Operator, triggers::api_resource};
pub(crate) use explained::Explanation;
use figures::{Figures, Known};
use listening::Listening;
pub use settings::scaling_settings;
use told::Outcome;
pub(crate) use told::Told;
use workload::{Workload, WorkloadSeen};

/// How much longer than the brokers were asked to be silent they may be before it is looked without their word.
const GRACE: Duration = Duration::from_secs(1);

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
    said: Arc<Mutex<Said>>,
    cancel: CancellationToken,
}

/// What is said of a group that is scaled.
#[derive(Default)]
struct Said {
    /// In its status.
    told: Option<Told>,
    /// To who asks why.
    explained: Option<Arc<Explanation>>,
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
            let old = groups.get(key);
            if old.is_some_and(|scaled| scaled.wanted == wanted) {
                return false;
            }
            // What was said holds until there is something new to say.
            let said = old.map(|old| Arc::clone(&old.said)).unwrap_or_default();
            let cancel = CancellationToken::new();
            if let Some(old) = groups.insert(key.clone(), Scaled { wanted, said, cancel }) {
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

    /// Whether the group is scaled and nothing was said of it yet.
    pub(crate) fn is_silent(&self, key: &Key) -> bool {
        self.known(|groups| groups.contains_key(key)) && self.told(key).is_none()
    }

    /// Another group that has the same workload scaled.
    fn rival(&self, key: &Key, wanted: &Wanted) -> Option<String> {
        let is_rival = |(other, scaled): &(&Key, &Scaled)| {
            *other != key
                && other.namespace == key.namespace
                && scaled.wanted.autoscaling.mode == ActiveMode::Direct
                && workload::is_same(
                    &scaled.wanted.autoscaling.scale_target,
                    &wanted.autoscaling.scale_target,
                )
        };
        self.known(|groups| Some(format!("ConsumerGroup {}", groups.iter().find(is_rival)?.0.name)))
    }

    /// What is to be said of the group.
    pub(crate) fn told(&self, key: &Key) -> Option<Told> {
        self.said(key, |said| said.told.clone())
    }

    /// What the last decision about the group came from.
    pub(crate) fn explained(&self, key: &Key) -> Option<Arc<Explanation>> {
        self.said(key, |said| said.explained.clone())
    }

    fn said<T>(&self, key: &Key, with: impl FnOnce(&Said) -> Option<T>) -> Option<T> {
        let said = self.known(|groups| groups.get(key).map(|scaled| Arc::clone(&scaled.said)))?;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        with(&said)
    }

    fn known<T>(&self, with: impl FnOnce(&mut HashMap<Key, Scaled>) -> T) -> T {
        with(&mut self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Scales what there is to scale, for ever. Who drops this ends all of it.
pub(crate) async fn run(operator: Arc<Operator>, mut begins: Begins) {
    let mut running = JoinSet::new();
    loop {
        let key = tokio::select! {
            begun = begins.recv() => match begun {
                Some(key) => key,
                None => return,
            },
            Some(_) = running.join_next() => continue,
        };
        let begun = operator.scaling.known(|groups| {
            let scaled = groups.get(&key)?;
            Some((scaled.wanted.clone(), Arc::clone(&scaled.said), scaled.cancel.clone()))
        });
        let Some((wanted, said, cancel)) = begun else { continue };
        let operator = Arc::clone(&operator);
        running.spawn(async move {
            let scaled = async {
                let settings = scaling_settings(&wanted.autoscaling);
                let mut scaled = Loop::new(&operator, key, wanted, said);
                match settings {
                    Ok(settings) => scaled.run(&settings).await,
                    Err(refused) => scaled.tell(Told::refused(&refused)),
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
    state: State,
    workload: Workload,
    listening: Listening,
    clock: Clock,
    known_members: Known,
    /// What the brokers said last, and when.
    figures: Option<(Figures, u64)>,
    since_millis: u64,
    /// Whether members were told to finish.
    is_draining: bool,
    said: Arc<Mutex<Said>>,
}

impl<'a> Loop<'a> {
    fn new(operator: &'a Operator, key: Key, wanted: Wanted, said: Arc<Mutex<Said>>) -> Self {
        let object = operator.object(Kind::ConsumerGroup, &key);
        let learned = object.map_or_else(Learned::default, |object| told::learned(&object));
        let target = wanted.autoscaling.scale_target.clone();
        let workload = Workload::new(operator.client.clone(), key.namespace.clone(), target);
        let clock = Clock::new();
        let since_millis = clock.now_millis();
        Self {
            operator,
            key,
            wanted,
            state: State::resume(learned),
            workload,
            listening: Listening::default(),
            clock,
            known_members: Known::default(),
            figures: None,
            since_millis,
            is_draining: false,
            said,
        }
    }

    async fn run(&mut self, settings: &Settings) {
        let mut again = Duration::from_millis(TICK_MILLIS);
        loop {
            self.listen(again).await;
            if self.operator.object(Kind::ConsumerGroup, &self.key).is_none() {
                // Nobody looks at a resource that is gone: a group has nothing to do before it goes.
                self.operator.scaling.forget(&self.key);
                return;
            }
            again = match self.workload.look().await {
                Ok(seen) => self.look(settings, &seen).await,
                Err(error) => {
                    tracing::debug!(group = %self.key, %error, "the workload can't be read");
                    self.tell(Told::without_workload(&self.wanted.autoscaling.scale_target, &error));
                    Duration::from_millis(TICK_MILLIS)
                }
            };
        }
    }

    /// Waits for the brokers' next word, which they were asked to say so often.
    async fn listen(&mut self, every: Duration) {
        let told = self.listening.next(self.operator, (&self.key, &self.wanted), every);
        if let Ok(told) = timeout(every + GRACE, told).await {
            let figures = Figures::of(told);
            if self.figures.as_ref().is_some_and(|(before, _)| !figures.places.starts_with(&before.places)) {
                // The controller knows partitions by their order.
                self.state = State::resume(self.state.learned());
            }
            self.figures = Some((figures, self.clock.now_millis()));
        }
    }

    /// Looks once, and does what is decided; when to look again.
    async fn look(&mut self, settings: &Settings, workload: &WorkloadSeen) -> Duration {
        let observation = self.observe(workload);
        let state = std::mem::take(&mut self.state);
        let (decision, state) = decide(settings, state, &observation);
        self.state = state;
        let mut scaled = Outcome::Nothing;
        if self.wanted.autoscaling.mode == ActiveMode::Direct && observation.conflicting.is_none() {
            self.drain(&decision, workload).await;
            if decision.replicas != observation.replicas {
                scaled = match self.workload.scale(decision.replicas, workload).await {
                    Ok(()) => Outcome::Scaled,
                    // Somebody else scaled it since: the next look sees to what.
                    Err(error) if error.is_conflict() => Outcome::Nothing,
                    Err(error) => {
                        tracing::warn!(group = %self.key, %error, "the workload can't be scaled");
                        Outcome::Failed(error.to_string())
                    }
                };
            }
        }
        let again = Duration::from_millis(decision.again_millis);
        self.report(settings, observation, decision, &scaled).await;
        again
    }

    fn observe(&mut self, workload: &WorkloadSeen) -> Observation {
        let now_millis = self.clock.now_millis();
        let is_known = self.figures.is_some();
        let (figures, at) = match &self.figures {
            Some((figures, at)) => (figures.clone(), *at),
            None => (Figures::default(), self.since_millis),
        };
        let members = self.known_members.members(&figures, now_millis);
        Observation {
            now_millis,
            source: figures.source,
            partitions: figures.partitions,
            members,
            replicas: workload.replicas,
            pods: workload.pods.clone(),
            rebalancing: figures.rebalancing,
            // Before the brokers said anything there is nothing that could be acted on.
            stale_millis: now_millis.saturating_sub(at).max(if is_known { 0 } else { STALE_MILLIS + 1 }),
            conflicting: workload
                .conflicting
                .clone()
                .or_else(|| self.operator.scaling.rival(&self.key, &self.wanted)),
        }
    }

    /// Tells members that are to go to finish, and marks their pods.
    async fn drain(&mut self, decision: &Decision, workload: &WorkloadSeen) {
        let wanted: BTreeSet<&str> = decision.draining.iter().map(String::as_str).collect();
        let members = self.figures.iter().flat_map(|(figures, _)| &figures.members);
        let members: Vec<MemberId> =
            members.filter(|member| wanted.contains(member.name.as_str())).map(|member| member.id).collect();
        // It is said again as long as it holds: brokers forget it.
        if (!members.is_empty() || self.is_draining)
            && let Some(connection) = self.operator.connections.get(&self.wanted.cluster)
        {
            match connection.client.drain_members(self.wanted.group.as_str(), &members).await {
                Ok(()) => self.is_draining = !members.is_empty(),
                Err(error) => tracing::debug!(group = %self.key, %error, "members can't be drained"),
            }
        }
        let marked: BTreeSet<&str> = workload.marked.iter().map(String::as_str).collect();
        let others = marked.difference(&wanted).map(|pod| (*pod, false));
        for (pod, is_first) in others.chain(wanted.difference(&marked).map(|pod| (*pod, true))) {
            if let Err(error) = self.workload.mark(pod, is_first).await {
                tracing::debug!(group = %self.key, pod, %error, "a pod can't be marked");
            }
        }
    }

    /// Says what was decided, and what came of it.
    async fn report(&mut self, settings: &Settings, seen: Observation, decision: Decision, scaled: &Outcome) {
        let places = self.figures.as_ref().map(|(figures, _)| figures.places.as_slice()).unwrap_or_default();
        let told = Told::of(&told::Report {
            wanted: &self.wanted,
            seen: &seen,
            decision: &decision,
            learned: self.state.learned(),
            places,
            scaled,
        });
        if *scaled == Outcome::Scaled
            && let Some(object) = self.operator.object(Kind::ConsumerGroup, &self.key)
        {
            let about = object.object_ref(&api_resource(Kind::ConsumerGroup));
            let note = format!("{} → {} replicas: {}", seen.replicas, decision.replicas, decision.reason);
            self.operator.events.normal(&about, "Scale", told::event(&decision.reason), note).await;
            self.operator.metrics.scalings.inc();
        }
        let explained = Explanation {
            namespace: self.key.namespace.clone(),
            group: self.key.name.clone(),
            mode: self.wanted.autoscaling.mode,
            settings: settings.spec().clone(),
            learned: self.state.learned(),
            places: places.iter().map(|(source, partition)| format!("{source}/{partition}")).collect(),
            verdict: decision.reason.to_string(),
            decision,
            observation: seen,
        };
        self.said().explained = Some(Arc::new(explained));
        self.tell(told);
    }

    /// Has it written, if it is news.
    fn tell(&self, told: Told) {
        let is_news = {
            let mut said = self.said();
            let next = told.after(said.told.as_ref());
            let is_news = said.told.as_ref() != Some(&next);
            said.told = Some(next);
            is_news
        };
        if is_news {
            self.operator.triggers.ring(Kind::ConsumerGroup, self.key.clone());
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
