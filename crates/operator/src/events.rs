//! Events: what happened to a resource, for `kubectl describe`. They tell of changes, never of states.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::names::MANAGER;

/// Where events go. One that does not get through is logged and forgotten.
#[derive(Clone)]
pub(crate) struct Events(Recorder);

impl Events {
    /// Events of the operator with this identity.
    pub(crate) fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    /// Says that something went as it should.
    pub(crate) async fn normal(&self, about: &ObjectReference, action: &str, reason: &str, note: String) {
        self.publish(about, EventType::Normal, action, reason, note).await;
    }

    /// Says that something needs a look.
    pub(crate) async fn warn(&self, about: &ObjectReference, action: &str, reason: &str, note: String) {
        self.publish(about, EventType::Warning, action, reason, note).await;
    }

    async fn publish(
        &self,
        about: &ObjectReference,
        type_: EventType,
        action: &str,
        reason: &str,
        note: String,
    ) {
        let note = Some(note.chars().take(1_000).collect());
        let event =
            Event { type_, reason: reason.to_owned(), note, action: action.to_owned(), secondary: None };
        if let Err(error) = self.0.publish(&event, about).await {
            tracing::warn!(%error, reason, "an event could not be published");
        }
    }
}
