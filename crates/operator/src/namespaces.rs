//! The labels of namespaces, by which clusters choose whom they let in.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Config, Event},
    },
};

/// A namespace's labels.
pub(crate) type Labels = BTreeMap<String, String>;

/// The labels of all namespaces, as far as they are known. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces(Arc<Mutex<BTreeMap<String, Labels>>>);

impl Namespaces {
    /// The labels of a namespace, if it is known: none are before [`Namespaces::follow`] saw it.
    pub(crate) fn labels_of(&self, name: &str) -> Option<Labels> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Watches for ever, and says which namespaces have other labels than before, come or go.
    pub(crate) async fn follow(&self, client: &Client, mut changed: impl FnMut(&str)) {
        let objects: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        let mut events = Box::pin(watcher::watcher(objects, Config::default()).default_backoff());
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &mut listed).iter().for_each(|name| changed(name)),
                Err(error) => tracing::warn!(%error, "the watch of namespaces broke off and begins anew"),
            }
        }
    }

    /// Takes what was seen; `listed` gathers a list until it is whole. Answers with what changed.
    fn take(
        &self,
        event: Event<PartialObjectMeta<Namespace>>,
        listed: &mut BTreeMap<String, Labels>,
    ) -> Vec<String> {
        let row = |object: PartialObjectMeta<Namespace>| (object.name_any(), object.labels().clone());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => listed.extend([row(object)]),
            Event::InitDone => {
                let before = mem::replace(&mut *known, mem::take(listed));
                let names = before.keys().chain(known.keys());
                let mut changed: Vec<String> =
                    names.filter(|name| before.get(*name) != known.get(*name)).cloned().collect();
                changed.sort_unstable();
                changed.dedup();
                return changed;
            }
            Event::Apply(object) => {
                let (name, labels) = row(object);
                let before = known.insert(name.clone(), labels);
                if before.as_ref() != known.get(&name) {
                    return vec![name];
                }
            }
            Event::Delete(object) => {
                let (name, _) = row(object);
                if known.remove(&name).is_some() {
                    return vec![name];
                }
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, team: &str) -> PartialObjectMeta<Namespace> {
        let mut object = PartialObjectMeta::<Namespace>::default();
        object.metadata.name = Some(name.to_owned());
        object.labels_mut().insert("team".to_owned(), team.to_owned());
        object
    }

    #[test]
    fn who_has_other_labels_is_said_once_they_are_known() {
        let namespaces = Namespaces::default();
        let mut listed = BTreeMap::new();
        let mut take = |event| namespaces.take(event, &mut listed);
        let team = |name: &str| namespaces.labels_of(name).map(|labels| labels["team"].clone());
        assert!(take(Event::Init).is_empty());
        assert!(take(Event::InitApply(namespace("shop", "a"))).is_empty());
        assert_eq!(team("shop"), None, "the list is not whole");
        assert!(take(Event::InitApply(namespace("cellar", "a"))).is_empty());
        assert_eq!(take(Event::InitDone), ["cellar", "shop"]);
        assert_eq!(team("shop").as_deref(), Some("a"));
        assert!(take(Event::Apply(namespace("shop", "a"))).is_empty(), "something else about it changed");
        assert_eq!(take(Event::Apply(namespace("shop", "b"))), ["shop"]);
        assert_eq!(team("shop").as_deref(), Some("b"));
        // The watch begins anew: what went meanwhile, came and changed.
        take(Event::Init);
        take(Event::InitApply(namespace("shop", "c")));
        take(Event::InitApply(namespace("attic", "a")));
        assert_eq!(take(Event::InitDone), ["attic", "cellar", "shop"]);
        assert_eq!((team("cellar"), team("shop").as_deref()), (None, Some("c")));
        assert_eq!(take(Event::Delete(namespace("attic", "a"))), ["attic"]);
        assert!(take(Event::Delete(namespace("attic", "a"))).is_empty());
    }
}
