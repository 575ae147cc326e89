//! What is watched: our own kinds by their controllers, and here what belongs to broker clusters.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store, store::Writer},
        watcher::{self, Config, Event},
    },
};
use pondage_resources::Kind;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::{
    names::{INSTANCE, Key, MANAGED},
    triggers::Triggers,
    written::{Id, Written, version},
};

/// What belongs to clusters, as far as it is read whole.
#[derive(Clone, Debug)]
pub(crate) struct Children {
    pub(crate) sets: Store<StatefulSet>,
    pub(crate) pods: Store<Pod>,
    pub(crate) secrets: Store<Secret>,
}

/// Watches everything that belongs to clusters, and returns when it was seen once.
pub(crate) async fn watch(
    client: &Client,
    namespace: Option<&str>,
    written: &Arc<Written>,
    triggers: &Triggers,
) -> Children {
    let mut first = Vec::new();
    let (sets, writer) = reflector::store();
    first.push(follow(whole::<StatefulSet>(client, namespace, writer), written, triggers));
    let (pods, writer) = reflector::store();
    first.push(follow(whole::<Pod>(client, namespace, writer), written, triggers));
    let (secrets, writer) = reflector::store();
    first.push(follow(whole::<Secret>(client, namespace, writer), written, triggers));
    first.push(follow(metadata::<Service>(client, namespace), written, triggers));
    first.push(follow(metadata::<ConfigMap>(client, namespace), written, triggers));
    first.push(follow(metadata::<ServiceAccount>(client, namespace), written, triggers));
    first.push(follow(metadata::<NetworkPolicy>(client, namespace), written, triggers));
    first.push(follow(metadata::<PodDisruptionBudget>(client, namespace), written, triggers));
    for seen in first {
        // It ends with the process alone.
        drop(seen.await);
    }
    Children { sets, pods, secrets }
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Whole objects, kept in a store.
fn whole<K>(
    client: &Client,
    namespace: Option<&str>,
    writer: Writer<K>,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let objects = watcher::watcher(api(client, namespace), Config::default().labels(MANAGED));
    // What servers keep about who wrote which field is half of an object, and nobody here reads it.
    let slim = objects.modify(|object: &mut K| object.managed_fields_mut().clear());
    slim.default_backoff().reflect(writer)
}

/// Nothing but the metadata.
fn metadata<K>(
    client: &Client,
    namespace: Option<&str>,
) -> impl Stream<Item = Result<Event<PartialObjectMeta<K>>, watcher::Error>> + Send + 'static
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let objects: Api<PartialObjectMeta<K>> = api(client, namespace);
    watcher::watcher(objects, Config::default().labels(MANAGED)).default_backoff()
}

/// Notes what is seen and rings for the cluster it belongs to. Answers when everything was seen once.
fn follow<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    written: &Arc<Written>,
    triggers: &Triggers,
) -> oneshot::Receiver<()>
where
    K: Resource<DynamicType = ()> + Send,
{
    let (first, seen) = oneshot::channel();
    let (written, triggers, mut first) = (written.clone(), triggers.clone(), Some(first));
    tokio::spawn(async move {
        let kind = K::kind(&()).into_owned();
        let mut there = BTreeSet::new();
        let mut events = Box::pin(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => there.clear(),
                Ok(Event::InitApply(object)) => {
                    there.insert(Key::of(object.meta()));
                    saw(&object, &kind, &written, &triggers);
                }
                Ok(Event::InitDone) => {
                    written.keep_only(&kind, &there);
                    if let Some(first) = first.take() {
                        // Nobody waits for it any more where the operator ends.
                        let _ = first.send(());
                    }
                }
                Ok(Event::Apply(object)) => saw(&object, &kind, &written, &triggers),
                Ok(Event::Delete(object)) => {
                    written.lost(&Id { kind: kind.clone(), key: Key::of(object.meta()) });
                    ring(&object, &triggers);
                }
                Err(error) => tracing::warn!(%error, kind, "a watch broke off and begins anew"),
            }
        }
    });
    seen
}

fn saw<K: Resource<DynamicType = ()>>(object: &K, kind: &str, written: &Written, triggers: &Triggers) {
    let id = Id { kind: kind.to_owned(), key: Key::of(object.meta()) };
    written.saw(id, version(object.meta()));
    ring(object, triggers);
}

fn ring<K: Resource<DynamicType = ()>>(object: &K, triggers: &Triggers) {
    if let (Some(namespace), Some(name)) = (object.namespace(), object.labels().get(INSTANCE)) {
        triggers.ring(Kind::BrokerCluster, Key { namespace, name: name.clone() });
    }
}
