//! Who a cluster is, and that it begins once.
//!
//! ```text
//!   recorded in the status   volumes there      what follows
//!   an id                    –                  it is that cluster
//!   nothing                  of one cluster     it is that cluster, and it has begun
//!   nothing                  of several         nothing: somebody has to say whose they are
//!   nothing                  none               a new id, recorded before anything is made
//!
//!   begun                    brokers say        what follows
//!   no                       not begun          the first broker is told to begin, then it is recorded
//!   yes                      not begun          nothing: every volume is empty, and that is lost data
//! ```
//!
//! A cluster that begins anew under its old name would pass for one that lost nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt, api::ListParams, core::DynamicObject};
use pondage_client::{Client, ClusterStatus, Options};
use pondage_model::Uuid;
use pondage_resources::{BrokerClusterStatus, Kind};

use super::{certificates::Certificates, validate::ValidatedCluster};
use crate::{
    conditions::{Finding, timestamp},
    error::ReconcileError,
    names::{BEGIN_EMPTY, CLUSTER_ID},
    operator::Operator,
};

/// Who a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: Uuid,
    /// An administrator says that this cluster's data is gone and that it may begin anew.
    pub(crate) may_begin_empty: bool,
}

/// What to do about the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Settled {
    Known(Uuid),
    Adopted(Uuid),
    New,
    Torn(BTreeSet<String>),
}

fn decide(recorded: Option<&str>, volumes: &BTreeSet<String>) -> Settled {
    if let Some(uuid) = recorded.and_then(|text| text.parse().ok()) {
        return Settled::Known(uuid);
    }
    let mut ids = volumes.iter();
    match (ids.next(), ids.next()) {
        (None, _) => Settled::New,
        (Some(one), None) => match one.parse() {
            Ok(uuid) => Settled::Adopted(uuid),
            Err(_) => Settled::Torn(volumes.clone()),
        },
        (Some(_), Some(_)) => Settled::Torn(volumes.clone()),
    }
}

/// The cluster's identity. `None` if it had to be recorded first, which changes the object and brings us here again.
pub(super) async fn settle(
    operator: &Operator,
    object: &DynamicObject,
    cluster: &ValidatedCluster,
    recorded: &BrokerClusterStatus,
) -> Result<Option<Identity>, ReconcileError> {
    let volumes = match &recorded.cluster_id {
        Some(_) => BTreeSet::new(),
        None => ids_of_volumes(operator, cluster).await?,
    };
    let (cluster_id, begun_at) = match decide(recorded.cluster_id.as_deref(), &volumes) {
        Settled::Known(uuid) => {
            let said = object.annotations().get(BEGIN_EMPTY);
            let may_begin_empty = said.is_some_and(|said| *said == uuid.to_string());
            return Ok(Some(Identity { cluster_id: uuid, may_begin_empty }));
        }
        Settled::Adopted(uuid) => {
            tracing::info!(cluster = %cluster.key, id = %uuid, "volumes of this cluster are taken over");
            (uuid, Some(timestamp(Timestamp::now())))
        }
        Settled::New => (new_uuid()?, None),
        Settled::Torn(ids) => {
            let ids: Vec<String> = ids.into_iter().collect();
            let message = format!(
                "its volume claims belong to several clusters ({}): delete or rename those that it shall not have",
                ids.join(", ")
            );
            let findings = [
                Finding::no("Accepted", "VolumesOfSeveralClusters", message.clone()),
                Finding::no("Ready", "VolumesOfSeveralClusters", message),
            ];
            operator.say(Kind::BrokerCluster, object, &findings, recorded).await?;
            return Ok(None);
        }
    };
    let wanted =
        BrokerClusterStatus { cluster_id: Some(cluster_id.to_string()), begun_at, ..recorded.clone() };
    let findings = [Finding::unknown("Ready", "Pending", "its identity is recorded; brokers follow")];
    operator.say(Kind::BrokerCluster, object, &findings, &wanted).await?;
    Ok(None)
}

/// The clusters whose data the volume claims of this name hold. Asked of the API server itself, once in a cluster's life.
async fn ids_of_volumes(
    operator: &Operator,
    cluster: &ValidatedCluster,
) -> Result<BTreeSet<String>, ReconcileError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(operator.client.clone(), &cluster.key.namespace);
    let labels: Vec<String> =
        cluster.key.selector().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let claims = api.list(&ListParams::default().labels(&labels.join(","))).await?;
    Ok(claims.items.iter().filter_map(|claim| claim.labels().get(CLUSTER_ID).cloned()).collect())
}

fn new_uuid() -> Result<Uuid, ReconcileError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| ReconcileError::System(error.to_string()))?;
    // Version 4, variant 1 (RFC 9562).
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(Uuid(bytes))
}

/// Tells the first broker to begin the cluster, once in its life.
pub(super) async fn begin_if_new(
    cluster: &ValidatedCluster,
    certificates: &Certificates,
    recorded: &mut BrokerClusterStatus,
    identity: &Identity,
    brokers: Option<&ClusterStatus>,
) -> Result<(), ReconcileError> {
    if brokers.is_some_and(|status| status.uuid == Some(identity.cluster_id)) {
        recorded.begun_at.get_or_insert_with(|| timestamp(Timestamp::now()));
        return Ok(());
    }
    if recorded.begun_at.is_some() && !identity.may_begin_empty {
        return Ok(());
    }
    // Only one broker is ever told, so that there is one cluster even if nobody hears that it began.
    let address = cluster.broker_url(0);
    let options = Options {
        tls: Some(certificates.tls()),
        deadline: std::time::Duration::from_secs(2),
        ..Options::default()
    };
    match Client::connect_lazy(&address, options)?.initialise_cluster(identity.cluster_id).await {
        Ok(()) => {
            tracing::info!(cluster = %cluster.key, id = %identity.cluster_id, "the cluster begins");
            recorded.begun_at = Some(timestamp(Timestamp::now()));
        }
        Err(error) => tracing::debug!(cluster = %cluster.key, %error, "the cluster can't begin yet"),
    }
    Ok(())
}

/// Why the brokers don't answer, as far as it is more than that they don't.
pub(super) fn explanation(
    recorded: &BrokerClusterStatus,
    identity: &Identity,
    unreachable: Option<&String>,
) -> Option<String> {
    let why = unreachable?;
    if recorded.begun_at.is_some() {
        return Some(format!(
            "no broker answers as a member of cluster {id}: {why}. If all of its volumes are lost, so are its messages; \
             the annotation {BEGIN_EMPTY}={id} begins it anew, empty",
            id = identity.cluster_id
        ));
    }
    Some(why.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_found_again() {
        let one = Uuid([1; 16]).to_string();
        let two = Uuid([2; 16]).to_string();
        let volumes = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<String>>();
        assert_eq!(decide(Some(&one), &volumes(&[&two])), Settled::Known(Uuid([1; 16])));
        assert_eq!(decide(None, &volumes(&[])), Settled::New);
        assert_eq!(decide(None, &volumes(&[&two])), Settled::Adopted(Uuid([2; 16])));
        assert_eq!(decide(None, &volumes(&[&one, &two])), Settled::Torn(volumes(&[&one, &two])));
        assert!(matches!(decide(None, &volumes(&[&"odd".to_owned()])), Settled::Torn(_)));
        // A record that nobody can read is none.
        assert_eq!(decide(Some("odd"), &volumes(&[&one])), Settled::Adopted(Uuid([1; 16])));
    }
}
