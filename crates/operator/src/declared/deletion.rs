//! What the end of an object does to the brokers.
//!
//! | policy | what follows |
//! |---|---|
//! | `Retain` | nothing: there is no finalizer, and nobody waits for the operator |
//! | `DeleteIfEmpty` | the brokers delete it if there are no messages; otherwise it stays, and an event says so |
//! | `Delete` | the brokers delete it with its messages |
//!
//! An object never waits for ever: not for a cluster that is gone, and not for messages that nobody takes.

use kube::{Resource as _, ResourceExt, core::DynamicObject, runtime::controller::Action};
use pondage_client::{Delete, ResourceKind};
use pondage_model::{Code, Name, Uuid, settings::DeletionPolicy};
use pondage_resources::Kind;
use serde_json::Value;

use super::{held_kind, name_field, set_finalizer, there, uid_before, validate::cluster_of};
use crate::{
    error::ReconcileError,
    names::{FINALIZER, SKIP_CLEANUP, says_true},
    operator::Operator,
    triggers::api_resource,
};

/// Does what the policy says, and lets the object go.
pub(super) async fn finish(
    operator: &Operator,
    kind: Kind,
    object: &DynamicObject,
) -> Result<Action, ReconcileError> {
    if !object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Action::await_change());
    }
    if let Some(note) = clean_up(operator, kind, object).await? {
        let about = object.object_ref(&api_resource(kind));
        operator.events.normal(&about, "Delete", "Retained", note).await;
    }
    set_finalizer(operator, kind, object, false).await?;
    Ok(Action::await_change())
}

/// Deletes it in the brokers as far as its policy allows. The note says why it stays there, if it does.
async fn clean_up(
    operator: &Operator,
    kind: Kind,
    object: &DynamicObject,
) -> Result<Option<String>, ReconcileError> {
    if says_true(&object.metadata, SKIP_CLEANUP) {
        return Ok(Some(format!("the brokers keep it: the annotation {SKIP_CLEANUP} says so")));
    }
    // What was never programmed is nobody's to delete.
    let Some((name, uid)) = programmed(kind, object) else { return Ok(None) };
    let Ok(cluster) = cluster_of(operator, object) else { return Ok(None) };
    let is_there = operator
        .object(Kind::BrokerCluster, &cluster)
        .is_some_and(|cluster| cluster.metadata.deletion_timestamp.is_none());
    if !is_there {
        return Ok(Some(format!("BrokerCluster {cluster} is gone")));
    }
    let policy = match spec_policy(object) {
        Some("Delete") => DeletionPolicy::Delete,
        Some("DeleteIfEmpty") => DeletionPolicy::DeleteIfEmpty,
        _ => return Ok(None),
    };
    let Some(connection) = operator.connections.get(&cluster) else {
        return Err(ReconcileError::System(format!("BrokerCluster {cluster} has no brokers yet")));
    };
    delete(&connection.client, held_kind(kind), &name, uid, policy).await
}

async fn delete(
    client: &pondage_client::Client,
    kind: ResourceKind,
    name: &Name,
    uid: Uuid,
    policy: DeletionPolicy,
) -> Result<Option<String>, ReconcileError> {
    // Read live: what is deleted is what was programmed, and no other one that has its name by now.
    match there(client, kind, name).await? {
        Some(held) if held.uid == uid => {}
        Some(_) => return Ok(Some(format!("{name} was made anew by somebody else"))),
        None => return Ok(None),
    }
    let request =
        Delete { kind, name: name.clone(), if_uid: Some(uid), if_revision: None, policy: Some(policy) };
    match client.delete(request).await {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(format!("the brokers keep {name}"))),
        Err(error) if error.is(Code::NotFound) => Ok(None),
        Err(error) if error.is(Code::NotEmpty) => Ok(Some(format!(
            "the brokers keep {name}: it holds messages, and deletionPolicy is DeleteIfEmpty"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// What the brokers were made to have for this object.
fn programmed(kind: Kind, object: &DynamicObject) -> Option<(Name, Uuid)> {
    let field = name_field(kind)?;
    let name = object.data.get("status")?.get(field).and_then(Value::as_str)?;
    Some((Name::new(name).ok()?, uid_before(object)?.parse().ok()?))
}

fn spec_policy(object: &DynamicObject) -> Option<&str> {
    object.data.get("spec")?.get("deletionPolicy").and_then(Value::as_str)
}
