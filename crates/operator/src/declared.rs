//! Topics, queues and consumer groups: what is declared becomes what the brokers have, and stays so.

mod deletion;
mod status;
mod validate;

use std::time::Duration;

use kube::{Api, ResourceExt, api::Patch, core::DynamicObject, runtime::controller::Action};
use pondage_client::{Apply, Change, ClientError, Resource as Held, ResourceKind, Settings};
use pondage_model::{Name, Revision, settings::DeletionPolicy};
use pondage_resources::{AdoptionPolicy, FieldError, Kind, References, Resource, read_object};
use serde_json::{Value, json};

use crate::{
    brokers::Connection,
    conditions::Finding,
    error::ReconcileError,
    names::{FINALIZER, Key, PAUSED, says_true},
    operator::Operator,
    scaling::Wanted,
    triggers::api_resource,
    written::as_manager,
};
pub(crate) use validate::allowed_namespaces;
use validate::{Belonging, Problem};

/// When a resource is looked at again whose brokers don't do what is asked.
const AGAIN: Duration = Duration::from_secs(10);
/// When a resource is looked at again that lacks something. What is missed wakes it when it comes; that somebody who was
/// in its way is gone, nothing tells.
const LATER: Duration = Duration::from_secs(30);

/// What an object asks for, and of whom.
pub(super) struct Declared<'a> {
    pub(super) kind: Kind,
    pub(super) object: &'a DynamicObject,
    pub(super) resource: Resource,
}

impl Declared<'_> {
    pub(super) fn key(&self) -> Key {
        Key::of(&self.object.metadata)
    }
}

/// Brings what the brokers have closer to what is declared.
///
/// # Errors
/// If the API server refuses something, or nobody answers; it is tried again.
pub(crate) async fn reconcile(
    operator: &Operator,
    kind: Kind,
    object: &DynamicObject,
) -> Result<Action, ReconcileError> {
    let key = Key::of(&object.metadata);
    let held_kind = held_kind(kind);
    if object.metadata.deletion_timestamp.is_some() {
        operator.scaling.forget(&key);
        for connection in operator.connections.all() {
            connection.observed.unbind(held_kind, &key);
        }
        return deletion::finish(operator, kind, object).await;
    }
    if says_true(&object.metadata, PAUSED) {
        operator.scaling.forget(&key);
        return Ok(Action::await_change());
    }
    let raw = serde_json::to_value(object).unwrap_or_default();
    let declared = match read_object(&raw) {
        Ok(resource) => Declared { kind, object, resource },
        Err(errors) => return refuse(operator, kind, object, &Problem::invalid(&errors)).await,
    };
    let belonging = match validate::belonging(operator, &declared) {
        Ok(belonging) => belonging,
        Err(problem) => return refuse(operator, kind, object, &problem).await,
    };
    let settings = settings(&declared, &belonging);
    let (name, settings) = match settings {
        Ok(settings) => settings,
        Err(errors) => return refuse(operator, kind, object, &Problem::invalid(&errors)).await,
    };
    if let Some(action) = keep_finalizer(operator, &declared, &settings).await? {
        return Ok(action);
    }
    let connection = &belonging.connection;
    connection.observed.unbind(held_kind, &key);
    connection.observed.bind(held_kind, &name, &key);
    program(operator, &declared, connection, name, settings).await
}

/// What the brokers are to have. Copies that are not said are the cluster's.
fn settings(declared: &Declared<'_>, belonging: &Belonging) -> Result<(Name, Settings), Vec<FieldError>> {
    use pondage_resources::Settings as Wanted;
    let mut references = References::default();
    for (kind, name, cluster_name) in &belonging.references {
        let namespace = declared.object.namespace();
        references.insert(*kind, namespace.as_deref(), name, cluster_name);
    }
    let replication = belonging.connection.cluster.replication;
    Ok(match declared.resource.settings(&references)? {
        Wanted::Topic(name, mut settings) => {
            settings.replicas = settings.replicas.or(replication.replicas);
            settings.min_in_sync_replicas = settings.min_in_sync_replicas.or(replication.min_in_sync);
            (name, Settings::Topic(settings))
        }
        Wanted::Queue(name, mut settings) => {
            settings.replicas = settings.replicas.or(replication.replicas);
            settings.min_in_sync_replicas = settings.min_in_sync_replicas.or(replication.min_in_sync);
            (name, Settings::Queue(settings))
        }
        Wanted::ConsumerGroup(name, settings) => (name, Settings::Group(settings)),
        // Nobody sends one here.
        Wanted::BrokerCluster(_) => return Err(Vec::new()),
    })
}

/// A finalizer is there exactly where deletion does something. `Some` if the object was changed.
async fn keep_finalizer(
    operator: &Operator,
    declared: &Declared<'_>,
    settings: &Settings,
) -> Result<Option<Action>, ReconcileError> {
    let wanted = deletion_policy(settings) != DeletionPolicy::Retain;
    let has = declared.object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    if wanted == has {
        return Ok(None);
    }
    set_finalizer(operator, declared.kind, declared.object, wanted).await?;
    Ok(Some(Action::await_change()))
}

const fn deletion_policy(settings: &Settings) -> DeletionPolicy {
    match settings {
        Settings::Topic(settings) => settings.deletion_policy,
        Settings::Queue(settings) => settings.deletion_policy,
        Settings::Group(_) => DeletionPolicy::Retain,
    }
}

async fn set_finalizer(
    operator: &Operator,
    kind: Kind,
    object: &DynamicObject,
    wanted: bool,
) -> Result<(), ReconcileError> {
    let mut finalizers: Vec<String> = object.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch =
        json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers } });
    let key = Key::of(&object.metadata);
    let api: Api<DynamicObject> =
        Api::namespaced_with(operator.client.clone(), &key.namespace, &api_resource(kind));
    match api.patch(&key.name, &as_manager(), &Patch::Merge(patch)).await {
        Ok(_) => operator.metrics.writes.inc(),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// What became of a request to the brokers.
enum Programmed {
    Done(Box<Held>),
    /// Somebody else's resource, which is left alone.
    Foreign(&'static str, String),
}

async fn program(
    operator: &Operator,
    declared: &Declared<'_>,
    connection: &Connection,
    name: Name,
    settings: Settings,
) -> Result<Action, ReconcileError> {
    let (kind, object) = (declared.kind, declared.object);
    let known = connection.observed.get(settings.kind(), &name).flatten();
    let is_ours = |held: &Held| uid_before(object).is_some_and(|uid| uid == held.uid.to_string());
    let programmed = match known {
        Some(held) if is_ours(&held) && held.settings == settings => Ok(Programmed::Done(Box::new(held))),
        _ => apply(operator, declared, connection, &name, settings).await,
    };
    let figures = connection.observed.figures(held_kind(kind), &name);
    match programmed {
        Ok(Programmed::Done(held)) => {
            let mut findings = status::programmed(&name);
            let mut rest = status::figures(object, &held, figures.as_deref());
            scale(operator, declared, connection, &name);
            if let Some(told) = operator.scaling.told(&declared.key()) {
                findings.extend_from_slice(told.findings());
                told.write_into(&mut rest, object);
            }
            let is_new = uid_before(object).is_none();
            // An operator that has just begun to scale a group knows less of it than its status has from the one before.
            if is_new || !operator.scaling.is_silent(&declared.key()) {
                operator.say(kind, object, &findings, &rest).await?;
            }
            if is_new {
                operator.wake_waiting();
            }
            Ok(Action::await_change())
        }
        Ok(Programmed::Foreign(reason, message)) => {
            let problem = Problem { condition: "Accepted", reason, message };
            refuse(operator, kind, object, &problem).await
        }
        Err(error) => {
            let mut findings = status::not_programmed(&error);
            if let Some(told) = operator.scaling.told(&declared.key()) {
                findings.extend_from_slice(told.findings());
            }
            operator.say(kind, object, &findings, &status::kept(object)).await?;
            if error.retriable() {
                // Whoever failed waits longer and longer.
                return Err(error.into());
            }
            Ok(Action::requeue(AGAIN))
        }
    }
}

/// Begins to scale the consumers of a group that asks for it, and ends it where it does not.
fn scale(operator: &Operator, declared: &Declared<'_>, connection: &Connection, name: &Name) {
    let Resource::ConsumerGroup(group) = &declared.resource else { return };
    let key = declared.key();
    // What is wrong with it was refused before.
    match (group.autoscaling(), group.delay_millis_max()) {
        (Ok(Some(autoscaling)), Ok(delay_millis_max)) => {
            let cluster = connection.cluster.key.clone();
            operator
                .scaling
                .keep(&key, Wanted { cluster, group: name.clone(), autoscaling, delay_millis_max });
        }
        _ => operator.scaling.forget(&key),
    }
}

/// Asks the brokers, which take a resource over only as far as its policy allows.
async fn apply(
    operator: &Operator,
    declared: &Declared<'_>,
    connection: &Connection,
    name: &Name,
    settings: Settings,
) -> Result<Programmed, ClientError> {
    let client = &connection.client;
    let before = uid_before(declared.object);
    let mut if_revision = None;
    if before.is_none() && adoption_policy(&declared.resource) != AdoptionPolicy::Adopt {
        match there(client, settings.kind(), name).await? {
            None => if_revision = Some(Revision::ZERO),
            Some(held) => {
                let policy = adoption_policy(&declared.resource);
                if policy == AdoptionPolicy::Never {
                    let message = format!("the brokers have {name} already, and adoptionPolicy is Never");
                    return Ok(Programmed::Foreign("AlreadyExists", message));
                }
                if held.settings != settings {
                    let message = format!(
                        "the brokers have {name} already, with other settings, and adoptionPolicy is AdoptIfMatching"
                    );
                    return Ok(Programmed::Foreign("NotMatching", message));
                }
            }
        }
    }
    let applied =
        client.apply_with(Apply { name: name.clone(), settings, if_revision, dry_run: false }).await?;
    let was_said = status::is_observed(declared.object);
    if applied.change != Change::Unchanged && before.is_some() && was_said {
        operator.metrics.corrections.with_label_values(&[declared.kind.as_str()]).inc();
        let about = kube::Resource::object_ref(declared.object, &api_resource(declared.kind));
        let note = match applied.change {
            Change::Created => {
                format!("the brokers did not have {name} any more; it was made again, without messages")
            }
            _ => format!("somebody changed {name} in the brokers; it is as declared again"),
        };
        operator.events.warn(&about, "Correct", "DriftCorrected", note).await;
    }
    connection.observed.did(applied.resource.clone());
    Ok(Programmed::Done(Box::new(applied.resource)))
}

async fn there(
    client: &pondage_client::Client,
    kind: ResourceKind,
    name: &Name,
) -> Result<Option<Held>, ClientError> {
    match client.get(kind, name.as_str()).await {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.is(pondage_model::Code::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn adoption_policy(resource: &Resource) -> AdoptionPolicy {
    let given = match resource {
        Resource::Topic(object) => object.spec.adoption_policy,
        Resource::Queue(object) => object.spec.adoption_policy,
        Resource::ConsumerGroup(_) | Resource::BrokerCluster(_) => None,
    };
    given.unwrap_or_default()
}

/// What the brokers' resource was that this object was programmed into before.
fn uid_before(object: &DynamicObject) -> Option<&str> {
    object.data.get("status")?.get("uid").and_then(Value::as_str)
}

async fn refuse(
    operator: &Operator,
    kind: Kind,
    object: &DynamicObject,
    problem: &Problem,
) -> Result<Action, ReconcileError> {
    operator.scaling.forget(&Key::of(&object.metadata));
    let findings: Vec<Finding> = status::refused(problem);
    operator.waits(kind, Key::of(&object.metadata));
    operator.say(kind, object, &findings, &status::kept(object)).await?;
    Ok(Action::requeue(LATER))
}

/// The field, of spec and of status, with what the brokers call it.
const fn name_field(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Topic => Some("topicName"),
        Kind::Queue => Some("queueName"),
        Kind::ConsumerGroup => Some("groupName"),
        Kind::BrokerCluster => None,
    }
}

/// The kind as the brokers call it.
const fn held_kind(kind: Kind) -> ResourceKind {
    match kind {
        Kind::Topic | Kind::BrokerCluster => ResourceKind::Topic,
        Kind::Queue => ResourceKind::Queue,
        Kind::ConsumerGroup => ResourceKind::Group,
    }
}
