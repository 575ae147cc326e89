//! Restarts of brokers whose pods are not as the StatefulSet wants them: one at a time, broken ones first, each drained
//! before and in sync after. Pure; what was begun is in the cluster's status, so that another operator goes on with it.

use pondage_client::{
    BrokerStatus, ClusterStatus, Drain,
    rolling::{Minimum, after_restart, before_restart, unhealthy},
};
use pondage_model::{BrokerId, Incarnation};

/// A broker's pod, as Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodSeen {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Its template is the one that is wanted.
    pub(crate) is_current: bool,
    pub(crate) is_ready: bool,
    pub(crate) is_going: bool,
    /// The address that its broker has in the catalog.
    pub(crate) address: String,
}

/// A restart that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) broker: BrokerId,
    pub(crate) pod: String,
    /// The pod that is to end.
    pub(crate) pod_uid: String,
    /// The start that is to end.
    pub(crate) incarnation: Incarnation,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Every pod is as it is wanted.
    Nothing,
    /// Look again a little later; this is waited for.
    Wait(String),
    /// Note that this restart begins.
    Begin(Begun),
    /// Let the broker give away what it leads.
    Drain(BrokerId),
    /// Let its pod end. It is the one with this uid, or somebody else's.
    Delete { pod: String, uid: String },
    /// Let it lead again.
    Undrain(BrokerId),
    /// Note that the restart is over.
    Finish,
}

/// Whether a broker can be restarted now, or why not.
pub(crate) fn can_restart(broker: BrokerId, status: &ClusterStatus) -> Result<(), String> {
    match before_restart(status, broker, Minimum::KeptWherePossible) {
        None => Ok(()),
        Some(wait) => Err(wait.to_string()),
    }
}

/// The next step. `status` is what the brokers say, if they can be asked.
pub(crate) fn next_step(pods: &[PodSeen], status: Option<&ClusterStatus>, begun: Option<&Begun>) -> Step {
    // A broken pod of an old template depends on nobody's permission: nothing is served by it.
    let broken = pods
        .iter()
        .find(|pod| !pod.is_current && !pod.is_ready && !pod.is_going && is_away(broker_of(pod, status)));
    if let Some(pod) = broken {
        return Step::Delete { pod: pod.name.clone(), uid: pod.uid.clone() };
    }
    if let Some(begun) = begun {
        return go_on(pods, status, begun);
    }
    let mut outdated: Vec<&PodSeen> = pods.iter().filter(|pod| !pod.is_current).collect();
    if outdated.is_empty() {
        return Step::Nothing;
    }
    if let Some(pod) = pods.iter().find(|pod| pod.is_going || !pod.is_ready) {
        return Step::Wait(format!("pod {} is not ready", pod.name));
    }
    let Some(status) = status else {
        return Step::Wait("the brokers don't answer".to_owned());
    };
    if let Some(wait) = unhealthy(status) {
        return Step::Wait(wait.to_string());
    }
    // The catalog's leader last, so that it changes once.
    outdated.sort_by_key(|pod| {
        let id = broker_of(pod, Some(status)).map(|broker| broker.id);
        (id.is_some() && id == status.catalog_leader, pod.name.clone())
    });
    let found = outdated.into_iter().find_map(|pod| Some((pod, broker_of(pod, Some(status))?)));
    match found {
        Some((pod, broker)) => Step::Begin(Begun {
            broker: broker.id,
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            incarnation: broker.incarnation,
        }),
        None => Step::Wait("the cluster does not know the brokers in these pods yet".to_owned()),
    }
}

fn go_on(pods: &[PodSeen], status: Option<&ClusterStatus>, begun: &Begun) -> Step {
    let Some(status) = status else {
        return Step::Wait("the brokers don't answer".to_owned());
    };
    let Some(broker) = status.brokers.iter().find(|broker| broker.id == begun.broker && !broker.is_lost)
    else {
        return Step::Finish;
    };
    let pod = pods.iter().find(|pod| pod.name == begun.pod);
    if let Some(pod) = pod.filter(|pod| pod.uid == begun.pod_uid) {
        if pod.is_going {
            return Step::Wait(format!("pod {} ends", pod.name));
        }
        // What was wanted may have changed back.
        if pod.is_current {
            return undrained(broker);
        }
        if broker.drain == Drain::Nothing {
            return match unhealthy(status) {
                Some(wait) => Step::Wait(wait.to_string()),
                None => Step::Drain(broker.id),
            };
        }
        return match can_restart(broker.id, status) {
            Ok(()) => Step::Delete { pod: pod.name.clone(), uid: pod.uid.clone() },
            Err(wait) => Step::Wait(wait),
        };
    }
    if !pod.is_some_and(|pod| pod.is_ready) {
        return Step::Wait(format!("pod {} is not ready", begun.pod));
    }
    match after_restart(status, begun.broker, begun.incarnation) {
        Some(wait) => Step::Wait(wait.to_string()),
        None => undrained(broker),
    }
}

fn undrained(broker: &BrokerStatus) -> Step {
    if broker.drain == Drain::Leadership { Step::Undrain(broker.id) } else { Step::Finish }
}

/// The broker that runs in a pod.
pub(crate) fn broker_of<'a>(pod: &PodSeen, status: Option<&'a ClusterStatus>) -> Option<&'a BrokerStatus> {
    status?.brokers.iter().find(|broker| !broker.is_lost && broker.address == pod.address)
}

fn is_away(broker: Option<&BrokerStatus>) -> bool {
    broker.is_none_or(|broker| broker.is_alive == Some(false))
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
