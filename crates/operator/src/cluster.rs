//! A BrokerCluster: fetch, validate, build, apply; then what only the brokers can be asked.

pub(crate) mod build;
pub(crate) mod certificates;
mod identity;
mod pods;
mod rollout;
mod status;
pub(crate) mod validate;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Secret};
use kube::{
    core::DynamicObject,
    runtime::{controller::Action, reflector::ObjectRef},
};
use pondage_client::{ClusterStatus, Drain};
use pondage_model::{BrokerId, Incarnation};
use pondage_resources::{BrokerClusterStatus, Kind, Resource, Restarting, read_object};

use crate::{brokers::Connection, error::ReconcileError, names::Key, operator::Operator, written};
use build::Facts;
use certificates::{Certificates, certificates};
use identity::Identity;
use rollout::{Begun, PodSeen, Step};
use validate::{ValidatedCluster, validate};

/// When a cluster that is as it should be is looked at again: the brokers tell of changes, this is for what they don't.
const RESYNC: Duration = Duration::from_secs(30);
/// When a cluster is looked at again on which something is going on.
const SOON: Duration = Duration::from_secs(1);

/// What is there, read from caches.
struct Fetched {
    /// What was recorded before.
    recorded: BrokerClusterStatus,
    set: Option<StatefulSet>,
    secrets: BTreeMap<String, Secret>,
    pods: Vec<PodSeen>,
}

/// Brings a cluster closer to what it should be.
///
/// # Errors
/// If the API server refuses something; it is tried again.
pub(crate) async fn reconcile(operator: &Operator, object: &DynamicObject) -> Result<Action, ReconcileError> {
    let key = Key::of(&object.metadata);
    if object.metadata.deletion_timestamp.is_some() {
        // What belongs to it goes by itself; what depends on it finds it gone.
        operator.connections.forget(&key);
        operator.ring_dependants();
        return Ok(Action::await_change());
    }
    let raw = serde_json::to_value(object).unwrap_or_default();
    let read = read_object(&raw).and_then(|resource| match resource {
        Resource::BrokerCluster(cluster) => validate(&cluster, &object.metadata, &operator.broker_image),
        _ => Err(Vec::new()),
    });
    let recorded = recorded(object);
    let cluster = match read {
        Ok(cluster) => cluster,
        Err(errors) => {
            let findings = status::refused(&errors);
            operator.say(Kind::BrokerCluster, object, &findings, &recorded).await?;
            return Ok(Action::await_change());
        }
    };
    let fetched = fetch(operator, &cluster, recorded);
    let Some(identity) = identity::settle(operator, object, &cluster, &fetched.recorded).await? else {
        // It was written, which brings us here again.
        return Ok(Action::await_change());
    };
    visit(operator, object, &cluster, fetched, identity).await
}

async fn visit(
    operator: &Operator,
    object: &DynamicObject,
    cluster: &ValidatedCluster,
    mut fetched: Fetched,
    identity: Identity,
) -> Result<Action, ReconcileError> {
    let certificates = certificates(cluster, &fetched.secrets, Timestamp::now())?;
    let is_first = operator.connections.get(&cluster.key).is_none();
    let connection = operator.connections.keep(cluster, &certificates, &operator.triggers)?;
    if is_first {
        operator.wake_waiting();
    }
    let is_new = fetched.pods.is_empty();
    let asked = if is_new { Err("there are no pods yet".to_owned()) } else { ask(&connection).await };
    let brokers = asked.as_ref().ok();

    let facts = facts(operator, &fetched, &identity, &certificates, brokers);
    let mut step = None;
    if !cluster.is_paused {
        apply(operator, cluster, &facts, &certificates).await?;
        pods::name_racks(operator, cluster).await?;
        identity::begin_if_new(cluster, &certificates, &mut fetched.recorded, &identity, brokers).await?;
        step = Some(roll(operator, cluster, &mut fetched, &connection, brokers).await?);
    }
    let wanted_bytes = cluster.storage.bytes;
    let found = status::Found {
        pods: &fetched.pods,
        brokers,
        unreachable: identity::explanation(&fetched.recorded, &identity, asked.as_ref().err()),
        step: step.as_ref(),
        surplus: facts.replicas_at_least.saturating_sub(cluster.replicas),
        storage_bytes: facts.storage_bytes.filter(|bytes| *bytes != wanted_bytes),
        certificates_end: Some(certificates.not_after.to_string()),
    };
    let findings = status::findings(cluster, &found);
    let figures = BrokerClusterStatus {
        cluster_id: Some(identity.cluster_id.to_string()),
        begun_at: fetched.recorded.begun_at,
        restarting: fetched.recorded.restarting.clone(),
        ..status::figures(cluster, &found)
    };
    operator.say(Kind::BrokerCluster, object, &findings, &figures).await?;
    let is_quiet = step.as_ref().is_none_or(|step| *step == Step::Nothing)
        && findings.last().is_some_and(|ready| ready.status == pondage_resources::Truth::True);
    Ok(Action::requeue(if is_quiet { RESYNC } else { SOON }))
}

fn fetch(operator: &Operator, cluster: &ValidatedCluster, recorded: BrokerClusterStatus) -> Fetched {
    let key = &cluster.key;
    let set = ObjectRef::<StatefulSet>::new(&key.name).within(&key.namespace);
    let set = operator.children.sets.get(&set).map(|set| (*set).clone());
    let secrets = [
        certificates::authority_secret(key),
        certificates::broker_secret(key),
        certificates::admin_secret(key),
    ];
    let secrets = secrets.into_iter().filter_map(|name| {
        let found = operator.children.secrets.get(&ObjectRef::<Secret>::new(&name).within(&key.namespace));
        Some((name, (*found?).clone()))
    });
    let pods = pods::seen(operator, cluster, set.as_ref());
    Fetched { recorded, secrets: secrets.collect(), pods, set }
}

fn recorded(object: &DynamicObject) -> BrokerClusterStatus {
    let status = object.data.get("status").cloned().unwrap_or_default();
    serde_json::from_value(status).unwrap_or_default()
}

/// What the brokers say of themselves.
async fn ask(connection: &Connection) -> Result<ClusterStatus, String> {
    connection.client.cluster_status().await.map_err(|error| error.to_string())
}

fn facts(
    operator: &Operator,
    fetched: &Fetched,
    identity: &Identity,
    certificates: &Certificates,
    brokers: Option<&ClusterStatus>,
) -> Facts {
    let spec = fetched.set.as_ref().and_then(|set| set.spec.as_ref());
    let replicas = spec.and_then(|spec| spec.replicas).and_then(|replicas| u32::try_from(replicas).ok());
    let claim = spec.and_then(|spec| spec.volume_claim_templates.as_ref()?.first()?.spec.as_ref());
    let size = claim.and_then(|claim| claim.resources.as_ref()?.requests.as_ref()?.get("storage"));
    let bytes = size.and_then(|size| size.0.parse::<pondage_resources::Quantity>().ok());
    // A shard that lacks a copy has none to spare, be it by accident or while a broker restarts.
    let can_spare_one = brokers.is_some_and(|status| {
        let minimum = |shard: &pondage_client::ShardStatus| {
            shard.kind == pondage_client::ShardKind::Catalog
                || shard.replicas_wanted <= shard.min_in_sync_replicas
                || shard.in_sync.len() > shard.min_in_sync_replicas as usize
        };
        status.shards.iter().all(minimum)
    });
    Facts {
        cluster_id: identity.cluster_id.to_string(),
        authority: certificates.authority.clone(),
        replicas_at_least: replicas.unwrap_or(0),
        storage_bytes: bytes.map(pondage_resources::Quantity::bytes),
        can_spare_one,
        has_monitor_kinds: operator.has_monitor_kinds,
    }
}

async fn apply(
    operator: &Operator,
    cluster: &ValidatedCluster,
    facts: &Facts,
    certificates: &Certificates,
) -> Result<(), ReconcileError> {
    let namespace = &cluster.key.namespace;
    let secrets = certificates.to_write.iter().map(written::secret);
    for child in secrets.chain(build::build(cluster, facts)) {
        if operator.written.apply(&operator.client, namespace, &child).await? {
            operator.metrics.writes.inc();
        }
    }
    for child in build::unwanted(cluster, facts) {
        operator.written.remove(&operator.client, namespace, &child).await?;
    }
    Ok(())
}

/// Does the next step of a restart of brokers, if there is one to do, and records it.
async fn roll(
    operator: &Operator,
    cluster: &ValidatedCluster,
    fetched: &mut Fetched,
    connection: &Connection,
    brokers: Option<&ClusterStatus>,
) -> Result<Step, ReconcileError> {
    let begun = fetched.recorded.restarting.as_ref().map(|restarting| Begun {
        broker: BrokerId(u32::try_from(restarting.broker).unwrap_or(0)),
        pod: restarting.pod_name.clone(),
        pod_uid: restarting.pod_uid.clone(),
        incarnation: Incarnation(restarting.incarnation.unsigned_abs()),
    });
    let step = rollout::next_step(&fetched.pods, brokers, begun.as_ref());
    match &step {
        Step::Nothing | Step::Wait(_) => {}
        Step::Begin(begun) => {
            tracing::info!(cluster = %cluster.key, pod = begun.pod, "a broker is restarted");
            fetched.recorded.restarting = Some(Restarting {
                broker: begun.broker.0.into(),
                pod_name: begun.pod.clone(),
                pod_uid: begun.pod_uid.clone(),
                incarnation: i64::try_from(begun.incarnation.0).unwrap_or(i64::MAX),
                since: crate::conditions::timestamp(Timestamp::now()),
            });
        }
        Step::Drain(id) => connection.client.drain(*id, Drain::Leadership, false).await?,
        Step::Undrain(id) => connection.client.drain(*id, Drain::Nothing, false).await?,
        Step::Delete { pod, uid } => {
            if written::delete_pod(&operator.client, &cluster.key.namespace, pod, uid).await? {
                operator.metrics.restarts.inc();
                operator.metrics.writes.inc();
                tracing::info!(cluster = %cluster.key, pod, "the broker's pod is deleted");
            }
        }
        Step::Finish => fetched.recorded.restarting = None,
    }
    Ok(step)
}
