//! What is said of a cluster. Pure.

use pondage_client::{BrokerStatus, ClusterStatus, Drain, ShardKind, is_under_replicated, troubles};
use pondage_resources::{BrokerClusterStatus, BrokerState, FieldError, ListenerStatus};

use super::{
    rollout::{PodSeen, Step},
    validate::ValidatedCluster,
};
use crate::{
    conditions::{Finding, summary},
    error,
};

/// Every aspect of a cluster, in the order in which they are told.
const KINDS: [&str; 9] = [
    "Accepted",
    "Programmed",
    "Available",
    "ReplicationHealthy",
    "Progressing",
    "CertificatesValid",
    "StorageResized",
    "ScaleDownBlocked",
    "ReconciliationPaused",
];

/// What was found on one visit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found<'a> {
    pub(crate) pods: &'a [PodSeen],
    /// What the brokers say, if they answer.
    pub(crate) brokers: Option<&'a ClusterStatus>,
    /// Why they can't be asked.
    pub(crate) unreachable: Option<String>,
    /// What the rollout does.
    pub(crate) step: Option<&'a Step>,
    /// Brokers that there are beyond those that are wanted.
    pub(crate) surplus: u32,
    /// The size that volumes have, if it is not the one that is wanted.
    pub(crate) storage_bytes: Option<u64>,
    /// When the first certificate ends.
    pub(crate) certificates_end: Option<String>,
}

/// The findings about a cluster that was not accepted.
pub(crate) fn refused(errors: &[FieldError]) -> Vec<Finding> {
    let message = error::all(errors);
    let mut findings: Vec<Finding> = KINDS
        .into_iter()
        .map(|kind| Finding::unknown(kind, "NotAccepted", "the resource is not accepted"))
        .collect();
    findings[0] = Finding::no("Accepted", "Invalid", message.clone());
    findings.push(Finding::no("Ready", "Invalid", message));
    findings
}

/// The findings about a cluster that is built.
pub(crate) fn findings(cluster: &ValidatedCluster, found: &Found<'_>) -> Vec<Finding> {
    let available = available(cluster, found);
    let replication = replication(found);
    let progressing = progressing(cluster, found);
    let wanted = cluster.replicas as usize;
    let ready = found.pods.iter().filter(|pod| pod.is_ready).count();
    let enough = if ready >= wanted {
        Finding::yes("Programmed", "AllReady", format!("{ready} brokers are ready"))
    } else {
        Finding::no("Programmed", "BrokersMissing", format!("{ready} of {wanted} brokers are ready"))
    };
    let accepted = Finding::yes("Accepted", "Accepted", "the resource is valid");
    let ready = summary(
        &[accepted.clone(), enough.clone(), available.clone(), replication.clone()],
        &format!("{ready} brokers are ready, and every shard has its copies"),
    );
    let certificates = match &found.certificates_end {
        Some(end) => Finding::yes("CertificatesValid", "Valid", format!("the first one ends {end}")),
        None => Finding::unknown("CertificatesValid", "Unknown", "there are none yet"),
    };
    let resized = match found.storage_bytes {
        None => Finding::yes("StorageResized", "AsWanted", "volumes have the size that is wanted"),
        Some(bytes) => Finding::no(
            "StorageResized",
            "NotServed",
            format!("volumes have {bytes} bytes each: this version does not resize them"),
        ),
    };
    let blocked = if found.surplus == 0 {
        Finding::no("ScaleDownBlocked", "NotAsked", "no broker is to go")
    } else {
        let message = format!(
            "{} brokers more than wanted stay: this version does not take brokers away, since they hold data",
            found.surplus
        );
        Finding::yes("ScaleDownBlocked", "NotServed", message)
    };
    let paused = if cluster.is_paused {
        Finding::yes("ReconciliationPaused", "Annotation", "remove the annotation pondage.io/paused to go on")
    } else {
        Finding::no("ReconciliationPaused", "Active", "changes are carried out")
    };
    vec![accepted, enough, available, replication, progressing, certificates, resized, blocked, paused, ready]
}

fn available(cluster: &ValidatedCluster, found: &Found<'_>) -> Finding {
    let Some(status) = found.brokers else {
        let why = found.unreachable.clone();
        let why = why.unwrap_or_else(|| format!("no broker of {} answers yet", cluster.key.name));
        return Finding::no("Available", "NoAnswer", why);
    };
    match troubles(status).into_iter().find(|trouble| trouble.is_grave()) {
        Some(trouble) => Finding::no("Available", "Unavailable", trouble.to_string()),
        None => Finding::yes("Available", "Available", "every shard has a leader and takes messages"),
    }
}

fn replication(found: &Found<'_>) -> Finding {
    let Some(status) = found.brokers else {
        return Finding::unknown("ReplicationHealthy", "NoAnswer", "no broker answers");
    };
    let troubles = troubles(status);
    match troubles.first() {
        None => Finding::yes("ReplicationHealthy", "InSync", "every shard has its copies in sync"),
        Some(trouble) => {
            let others = troubles.len() - 1;
            let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
            Finding::no("ReplicationHealthy", "UnderReplicated", format!("{trouble}{more}"))
        }
    }
}

fn progressing(cluster: &ValidatedCluster, found: &Found<'_>) -> Finding {
    if cluster.is_paused {
        return Finding::no("Progressing", "Paused", "the annotation pondage.io/paused says so");
    }
    match found.step {
        None => Finding::unknown("Progressing", "Unknown", "nothing was looked at yet"),
        Some(Step::Nothing) => Finding::no("Progressing", "Done", "every pod is as it is wanted"),
        Some(Step::Wait(wait)) => Finding::yes("Progressing", "RestartingBrokers", format!("waits: {wait}")),
        Some(Step::Begin(begun)) => {
            Finding::yes("Progressing", "RestartingBrokers", format!("restarts {} next", begun.pod))
        }
        Some(Step::Delete { pod, .. }) => {
            Finding::yes("Progressing", "RestartingBrokers", format!("restarts {pod}"))
        }
        Some(Step::Drain(id) | Step::Undrain(id)) => {
            Finding::yes("Progressing", "RestartingBrokers", format!("moves leaderships of broker {id}"))
        }
        Some(Step::Finish) => Finding::yes("Progressing", "RestartingBrokers", "one broker is done"),
    }
}

/// The counts and lists of the status. Conditions and what is recorded are the caller's.
pub(crate) fn figures(cluster: &ValidatedCluster, found: &Found<'_>) -> BrokerClusterStatus {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let shards = found.brokers.map(|status| &status.shards);
    let grave = |status: &ClusterStatus| {
        let is_led_by_none = |shard: &&pondage_client::ShardStatus| {
            let is_away =
                |id| status.brokers.iter().any(|broker| broker.id == id && broker.is_alive == Some(false));
            shard.kind != ShardKind::Catalog && shard.leader.is_none_or(is_away)
        };
        count(status.shards.iter().filter(is_led_by_none).count())
    };
    let selector: Vec<String> =
        cluster.key.selector().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let address = format!("https://{}.{}.svc:{}", cluster.key.name, cluster.key.namespace, cluster.port);
    BrokerClusterStatus {
        replicas: Some(count(found.pods.len())),
        ready_replicas: Some(count(found.pods.iter().filter(|pod| pod.is_ready).count())),
        selector: Some(selector.join(",")),
        under_replicated_shards: shards
            .map(|shards| count(shards.iter().filter(|shard| is_under_replicated(shard)).count())),
        offline_shards: found.brokers.map(grave),
        listeners: Some(vec![ListenerStatus { name: cluster.listener.clone(), bootstrap_address: address }]),
        brokers: found
            .brokers
            .map(|status| status.brokers.iter().map(|broker| state(broker, found.pods)).collect()),
        ..BrokerClusterStatus::default()
    }
}

fn state(broker: &BrokerStatus, pods: &[PodSeen]) -> BrokerState {
    let word = if broker.is_lost {
        "Lost"
    } else if broker.is_alive == Some(false) {
        "Away"
    } else if broker.drain != Drain::Nothing {
        "Draining"
    } else {
        "Up"
    };
    let pod = pods.iter().find(|pod| pod.address == broker.address);
    BrokerState {
        id: broker.id.0.into(),
        pod_name: pod.map(|pod| pod.name.clone()).unwrap_or_default(),
        rack: broker.rack.clone(),
        state: word.to_owned(),
        leaders: broker.led.into(),
        replicas: broker.held.into(),
    }
}
