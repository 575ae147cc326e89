//! What the operator wrote, and as what it was last seen: an object is written again when something else is wanted, or
//! when somebody changed it; otherwise nothing is asked of the API server.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::DynamicObject,
};

use crate::{
    cluster::build::Child,
    names::{Key, MANAGER},
};

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) kind: String,
    pub(crate) key: Key,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// The version that was seen last.
    seen: Option<String>,
    /// What was written, and the version that it became.
    written: Option<(u64, String)>,
}

/// Objects that belong to clusters.
#[derive(Debug, Default)]
pub(crate) struct Written(Mutex<HashMap<Id, Known>>);

impl Written {
    /// A watch saw the object.
    pub(crate) fn saw(&self, id: Id, version: Option<String>) {
        self.known(|known| known.entry(id).or_default().seen = version);
    }

    /// A watch saw that the object is gone.
    pub(crate) fn lost(&self, id: &Id) {
        self.known(|known| known.remove(id));
    }

    /// A watch began anew: of this kind there is this and nothing else.
    pub(crate) fn keep_only(&self, kind: &str, there: &BTreeSet<Key>) {
        self.known(|known| known.retain(|id, _| id.kind != kind || there.contains(&id.key)));
    }

    fn is_there(&self, id: &Id) -> bool {
        self.known(|known| known.get(id).is_some_and(|known| known.seen.is_some()))
    }

    fn is_as_written(&self, id: &Id, hash: u64) -> bool {
        self.known(|known| {
            known.get(id).is_some_and(|known| match (&known.seen, &known.written) {
                (Some(seen), Some((wrote, version))) => *wrote == hash && seen == version,
                _ => false,
            })
        })
    }

    fn wrote(&self, id: Id, hash: u64, version: String) {
        self.known(|known| {
            *known.entry(id).or_default() =
                Known { seen: Some(version.clone()), written: Some((hash, version)) };
        });
    }

    fn known<T>(&self, with: impl FnOnce(&mut HashMap<Id, Known>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Brings the object to what is wanted by server-side apply; fields of others stay theirs. Whether it was written.
    pub(crate) async fn apply(
        &self,
        client: &Client,
        namespace: &str,
        child: &Child,
    ) -> Result<bool, kube::Error> {
        let mut hasher = DefaultHasher::new();
        child.body.to_string().hash(&mut hasher);
        let hash = hasher.finish();
        let id = Self::id(namespace, child);
        if self.is_as_written(&id, hash) {
            return Ok(false);
        }
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &child.resource);
        let params = PatchParams::apply(MANAGER).force();
        let object = api.patch(&child.name, &params, &Patch::Apply(&child.body)).await?;
        self.wrote(id, hash, version(&object.metadata).unwrap_or_default());
        tracing::debug!(kind = child.resource.kind, namespace, name = child.name, "applied");
        Ok(true)
    }

    /// Removes an object that is not wanted any more, if it is there.
    pub(crate) async fn remove(
        &self,
        client: &Client,
        namespace: &str,
        child: &Child,
    ) -> Result<(), kube::Error> {
        let id = Self::id(namespace, child);
        if !self.is_there(&id) {
            return Ok(());
        }
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &child.resource);
        match api.delete(&child.name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        self.lost(&id);
        Ok(())
    }

    fn id(namespace: &str, child: &Child) -> Id {
        let key = Key { namespace: namespace.to_owned(), name: child.name.clone() };
        Id { kind: child.resource.kind.clone(), key }
    }
}

/// What changes with each change of what is wanted of an object: its generation where it has one, since its resource
/// version changes with its status too.
pub(crate) fn version(metadata: &ObjectMeta) -> Option<String> {
    let generation = metadata.generation.map(|generation| format!("generation {generation}"));
    generation.or_else(|| metadata.resource_version.clone())
}

/// A secret as a child.
pub(crate) fn secret(secret: &Secret) -> Child {
    Child::new(secret, "secrets")
}

/// Deletes the pod with this uid and no other one of its name. Whether it was there.
pub(crate) async fn delete_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<bool, kube::Error> {
    let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), namespace);
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(name, &params).await {
        Ok(_) => Ok(true),
        // It is gone, or another one has its name by now.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How the operator changes some fields of an object, and only those.
pub(crate) fn as_manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Id {
        Id { kind: "Service".to_owned(), key: Key { namespace: "n".to_owned(), name: "a".to_owned() } }
    }

    #[test]
    fn what_is_as_it_was_written_is_not_written_again() {
        let written = Written::default();
        assert!(!written.is_as_written(&id(), 1), "nothing is known");
        written.wrote(id(), 1, "7".to_owned());
        assert!(written.is_as_written(&id(), 1));
        assert!(!written.is_as_written(&id(), 2), "something else is wanted");
        written.saw(id(), Some("7".to_owned()));
        assert!(written.is_as_written(&id(), 1), "the watch tells of our own write");
        written.saw(id(), Some("8".to_owned()));
        assert!(!written.is_as_written(&id(), 1), "somebody changed it");
        written.wrote(id(), 1, "9".to_owned());
        written.lost(&id());
        assert!(!written.is_as_written(&id(), 1), "somebody deleted it");
    }

    #[test]
    fn a_watch_that_begins_anew_forgets_what_is_gone() {
        let written = Written::default();
        written.wrote(id(), 1, "7".to_owned());
        written.keep_only("ConfigMap", &BTreeSet::new());
        assert!(written.is_as_written(&id(), 1), "of another kind");
        written.keep_only("Service", &BTreeSet::from([id().key]));
        assert!(written.is_as_written(&id(), 1));
        written.keep_only("Service", &BTreeSet::new());
        assert!(!written.is_as_written(&id(), 1));
    }
}
