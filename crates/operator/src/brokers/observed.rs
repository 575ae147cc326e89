//! What the brokers' catalog holds, followed as it changes: whoever changes a queue behind the operator's back is
//! noticed at once, and a resource that is as it should be costs no request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pondage_client::{Client, ClientError, Resource, ResourceKind, StreamStatus, Watched};
use pondage_model::{Name, Revision};
use pondage_resources::Kind;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{names::Key, triggers::Triggers};

/// How long to wait before following again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often figures are read: statuses tell no exact ones, metrics do.
const FIGURES_EVERY: Duration = Duration::from_secs(30);

/// What a cluster calls a resource.
type Called = (ResourceKind, Name);

#[derive(Debug, Default)]
struct State {
    /// Everything there is was seen at least once.
    is_synced: bool,
    resources: BTreeMap<Called, Resource>,
    figures: BTreeMap<Called, Vec<StreamStatus>>,
    /// Who is to be told of a change.
    bound: BTreeMap<Called, Key>,
}

/// What is known of one cluster's catalog.
#[derive(Debug, Default)]
pub(crate) struct Observed(Mutex<State>);

impl Observed {
    /// What the cluster holds under this name; `None` if that is not known yet.
    pub(crate) fn get(&self, kind: ResourceKind, name: &Name) -> Option<Option<Resource>> {
        self.state(|state| state.is_synced.then(|| state.resources.get(&(kind, name.clone())).cloned()))
    }

    /// The latest figures of its streams.
    pub(crate) fn figures(&self, kind: ResourceKind, name: &Name) -> Option<Vec<StreamStatus>> {
        self.state(|state| state.figures.get(&(kind, name.clone())).cloned())
    }

    /// Whoever changes this resource in the cluster has that object looked at.
    pub(crate) fn bind(&self, kind: ResourceKind, name: &Name, object: &Key) {
        self.state(|state| state.bound.insert((kind, name.clone()), object.clone()));
    }

    /// The object is gone, or means another resource.
    pub(crate) fn unbind(&self, kind: ResourceKind, object: &Key) {
        self.state(|state| state.bound.retain(|(of, _), bound| *of != kind || bound != object));
    }

    /// What the operator did itself is known before the watch tells of it.
    pub(crate) fn did(&self, resource: Resource) {
        let called = (resource.settings.kind(), resource.name.clone());
        self.state(|state| state.resources.insert(called, resource));
    }

    /// Goes on with the bindings of a connection that was replaced.
    pub(crate) fn take_over(&self, old: &Self) {
        let bound = old.state(|state| std::mem::take(&mut state.bound));
        self.state(|state| state.bound.extend(bound));
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rings for everything that is bound to these.
    fn ring(&self, triggers: &Triggers, called: impl IntoIterator<Item = Called>) {
        let keys: Vec<(ResourceKind, Key)> = self.state(|state| {
            let bound = |called: Called| Some((called.0, state.bound.get(&called)?.clone()));
            called.into_iter().filter_map(bound).collect()
        });
        for (kind, key) in keys {
            triggers.ring(declared_kind(kind), key);
        }
    }

    /// A pass over everything began, or ended with this being all.
    fn synced(&self, seen: &BTreeSet<Called>) -> BTreeSet<Called> {
        self.state(|state| {
            let mut changed: BTreeSet<Called> =
                state.resources.keys().filter(|called| !seen.contains(called)).cloned().collect();
            state.resources.retain(|called, _| seen.contains(called));
            if !std::mem::replace(&mut state.is_synced, true) {
                changed.extend(state.bound.keys().cloned());
            }
            changed
        })
    }
}

/// The kind of a resource file for a kind of the cluster.
pub(crate) const fn declared_kind(kind: ResourceKind) -> Kind {
    match kind {
        ResourceKind::Topic => Kind::Topic,
        ResourceKind::Queue => Kind::Queue,
        ResourceKind::Group => Kind::ConsumerGroup,
    }
}

/// Follows a cluster's catalog and reads its figures until `cancel`.
pub(super) async fn follow(
    client: Client,
    observed: Arc<Observed>,
    triggers: Triggers,
    cancel: CancellationToken,
) {
    let changes = async {
        loop {
            if let Err(error) = follow_once(&client, &observed, &triggers).await {
                tracing::debug!(%error, "the catalog can't be followed");
            }
            sleep(AGAIN).await;
        }
    };
    let figures = async {
        let mut ticks = interval(FIGURES_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for kind in [ResourceKind::Topic, ResourceKind::Queue, ResourceKind::Group] {
                if let Err(error) = read_figures(&client, &observed, &triggers, kind).await {
                    tracing::debug!(%error, "the figures can't be read");
                }
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = changes => {}
        () = figures => {}
    }
}

async fn follow_once(client: &Client, observed: &Observed, triggers: &Triggers) -> Result<(), ClientError> {
    let mut watch = client.watch(Revision::ZERO).await?;
    let mut seen = Some(BTreeSet::new());
    while let Some(event) = watch.next().await? {
        match event.what {
            Watched::Changed(resource) => {
                let called = (resource.settings.kind(), resource.name.clone());
                if let Some(seen) = &mut seen {
                    seen.insert(called.clone());
                }
                let is_news = observed.state(|state| {
                    let old = state.resources.insert(called.clone(), (*resource).clone());
                    old.is_none_or(|old| (old.uid, old.revision) != (resource.uid, resource.revision))
                });
                if is_news {
                    observed.ring(triggers, [called]);
                }
            }
            Watched::Deleted { kind, name, .. } => {
                let called = (kind, name);
                if let Some(seen) = &mut seen {
                    seen.remove(&called);
                }
                observed.state(|state| state.resources.remove(&called));
                observed.ring(triggers, [called]);
            }
            Watched::Synced => {
                if let Some(seen) = seen.take() {
                    let changed = observed.synced(&seen);
                    observed.ring(triggers, changed);
                }
            }
        }
    }
    Ok(())
}

async fn read_figures(
    client: &Client,
    observed: &Observed,
    triggers: &Triggers,
    kind: ResourceKind,
) -> Result<(), ClientError> {
    let is_asked_for = observed.state(|state| state.bound.keys().any(|(of, _)| *of == kind));
    if !is_asked_for {
        return Ok(());
    }
    let mut changed = Vec::new();
    for resource in client.list(kind, true).await? {
        let called = (kind, resource.name);
        let streams = resource.streams.unwrap_or_default();
        let is_news = observed.state(|state| {
            let old = state.figures.insert(called.clone(), streams.clone());
            old.is_none_or(|old| old != streams)
        });
        if is_news {
            changed.push(called);
        }
    }
    observed.ring(triggers, changed);
    Ok(())
}
