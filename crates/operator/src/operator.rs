//! What all reconcilers share.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::{
    Client, Resource as _, ResourceExt,
    core::DynamicObject,
    runtime::reflector::{ObjectRef, Store},
};
use pondage_resources::{AllowedFrom, Kind, Truth};
use serde::Serialize;

use crate::{
    brokers::Connections,
    conditions::Finding,
    declared,
    error::ReconcileError,
    events::Events,
    metrics::Metrics,
    names::Key,
    namespaces::Namespaces,
    scaling::Scaling,
    status,
    triggers::{Triggers, api_resource},
    watching::Children,
    written::Written,
};

/// The wait after the first failure; it doubles with each further one.
const RETRY: Duration = Duration::from_millis(500);
/// The longest wait.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Everything that a look at a resource needs.
pub(crate) struct Operator {
    pub(crate) client: Client,
    /// What brokers run, unless a cluster names something else.
    pub(crate) broker_image: String,
    /// Whether the Prometheus operator's definitions are there.
    pub(crate) has_monitor_kinds: bool,
    pub(crate) stores: BTreeMap<Kind, Store<DynamicObject>>,
    pub(crate) children: Children,
    /// None are known unless all namespaces are looked at.
    pub(crate) namespaces: Namespaces,
    pub(crate) written: Arc<Written>,
    pub(crate) connections: Connections,
    pub(crate) scaling: Arc<Scaling>,
    pub(crate) triggers: Triggers,
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
    /// Resources that lack something that may come.
    pub(crate) waiting: Mutex<BTreeSet<(Kind, Key)>>,
    /// Failures in a row.
    pub(crate) failures: Mutex<HashMap<(Kind, Key), u32>>,
}

impl Operator {
    /// An object of ours, as the cache has it.
    pub(crate) fn object(&self, kind: Kind, key: &Key) -> Option<Arc<DynamicObject>> {
        let reference = ObjectRef::new_with(&key.name, api_resource(kind)).within(&key.namespace);
        self.stores.get(&kind)?.get(&reference)
    }

    /// All objects of a kind, as the cache has them.
    pub(crate) fn objects(&self, kind: Kind) -> Vec<Arc<DynamicObject>> {
        self.stores.get(&kind).map(Store::state).unwrap_or_default()
    }

    /// Writes what was found to the object's status, if it is news, and an event if it is a change worth telling.
    pub(crate) async fn say(
        &self,
        kind: Kind,
        object: &DynamicObject,
        findings: &[Finding],
        rest: &impl Serialize,
    ) -> Result<(), ReconcileError> {
        let wanted = status::with_conditions(object, findings, rest, Timestamp::now());
        let ready = findings.iter().find(|finding| finding.kind == "Ready");
        let before = status::conditions_of(object);
        let before = before.iter().find(|condition| condition.kind == "Ready");
        if status::write(&self.client, &api_resource(kind), object, &wanted).await?.is_none() {
            return Ok(());
        }
        self.metrics.writes.inc();
        let (Some(ready), Some(before)) = (ready, before) else { return Ok(()) };
        let about = object.object_ref(&api_resource(kind));
        let is_change = (ready.status, ready.reason) != (before.status, before.reason.as_str());
        // That a new one is made is no event: its status says so.
        let was_wrong = before.status == Truth::False;
        if is_change && ready.status == Truth::False {
            self.events.warn(&about, "Reconcile", ready.reason, ready.message.clone()).await;
        } else if is_change && ready.status == Truth::True && was_wrong {
            self.events.normal(&about, "Reconcile", ready.reason, ready.message.clone()).await;
        }
        Ok(())
    }

    /// Has everything looked at that may depend on a cluster.
    pub(crate) fn ring_dependants(&self) {
        self.ring_dependants_if(|_| true);
    }

    fn ring_dependants_if(&self, is_wanted: impl Fn(&Key) -> bool) {
        for kind in [Kind::Topic, Kind::Queue, Kind::ConsumerGroup] {
            let keys = self.objects(kind).into_iter().map(|object| Key::of(&object.metadata));
            keys.filter(&is_wanted).for_each(|key| self.triggers.ring(kind, key));
        }
    }

    /// A namespace has other labels than before, and clusters may let it in or not.
    pub(crate) fn namespace_changed(&self, name: &str) {
        let selects = |cluster: &Arc<DynamicObject>| {
            declared::allowed_namespaces(cluster).from == AllowedFrom::Selector
        };
        if self.objects(Kind::BrokerCluster).iter().any(selects) {
            self.ring_dependants_if(|key| key.namespace == name);
        }
    }

    /// The resource lacks something that may come.
    pub(crate) fn waits(&self, kind: Kind, key: Key) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert((kind, key));
    }

    /// Something came: whatever waits is looked at again.
    pub(crate) fn wake_waiting(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for (kind, key) in waiting {
            self.triggers.ring(kind, key);
        }
    }

    /// A look ended well.
    pub(crate) fn succeeded(&self, kind: Kind, key: Key) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, key));
    }

    /// A look failed: when to look again.
    pub(crate) fn failed(&self, kind: Kind, key: Key) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry((kind, key)).or_insert(0);
        *count = count.saturating_add(1);
        RETRY.saturating_mul(1 << (*count - 1).min(10)).min(RETRY_MAX)
    }

    /// Counts resources by whether they are ready.
    pub(crate) fn count_resources(&self) {
        for kind in Kind::ALL {
            let mut counts = BTreeMap::from([("True", 0), ("False", 0), ("Unknown", 0)]);
            for object in self.objects(kind) {
                let ready = status::conditions_of(&object);
                let ready = ready.iter().find(|condition| condition.kind == "Ready");
                let word = match ready.map(|condition| condition.status) {
                    Some(Truth::True) => "True",
                    Some(Truth::False) => "False",
                    Some(Truth::Unknown) | None => "Unknown",
                };
                *counts.entry(word).or_insert(0) += 1;
            }
            for (ready, count) in counts {
                self.metrics.resources.with_label_values(&[kind.as_str(), ready]).set(count);
            }
        }
    }
}

/// For logs.
pub(crate) fn shown(kind: Kind, object: &DynamicObject) -> String {
    format!("{} {}/{}", kind.as_str(), object.namespace().unwrap_or_default(), object.name_any())
}
