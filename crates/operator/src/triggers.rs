//! Ways to have a resource looked at again.

use std::collections::BTreeMap;

use futures_util::{Stream, stream};
use kube::{
    core::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::reflector::ObjectRef,
};
use pondage_resources::{API_VERSION, Kind};
use tokio::sync::mpsc;

use crate::names::Key;

/// How a kind of ours is called in the API.
pub(crate) fn api_resource(kind: Kind) -> ApiResource {
    let (group, version) = API_VERSION.split_once('/').unwrap_or((API_VERSION, ""));
    let plural = format!("{}s", kind.as_str().to_lowercase());
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind.as_str()), &plural)
}

/// Rings at the controllers. What rings often before it is answered is answered once: the controllers' queues hold each
/// resource once, so that this one is as long as it takes them to look.
#[derive(Clone, Debug)]
pub(crate) struct Triggers(BTreeMap<Kind, mpsc::UnboundedSender<Key>>);

/// What a controller waits for.
pub(crate) type Bell = mpsc::UnboundedReceiver<Key>;

impl Triggers {
    /// One bell for each kind.
    pub(crate) fn new() -> (Self, BTreeMap<Kind, Bell>) {
        let mut senders = BTreeMap::new();
        let mut bells = BTreeMap::new();
        for kind in Kind::ALL {
            let (sender, bell) = mpsc::unbounded_channel();
            senders.insert(kind, sender);
            bells.insert(kind, bell);
        }
        (Self(senders), bells)
    }

    /// Has a resource looked at again.
    pub(crate) fn ring(&self, kind: Kind, key: Key) {
        if let Some(sender) = self.0.get(&kind) {
            // Without a controller the process ends.
            drop(sender.send(key));
        }
    }
}

/// The bell of one kind, as a controller hears it.
pub(crate) fn heard(kind: Kind, bell: Bell) -> impl Stream<Item = ObjectRef<DynamicObject>> {
    stream::unfold(bell, move |mut bell| async move {
        let key = bell.recv().await?;
        let object = ObjectRef::new_with(&key.name, api_resource(kind)).within(&key.namespace);
        Some((object, bell))
    })
}
