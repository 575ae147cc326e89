//! Values that are refused, each with its place.

use anyhow::{Result, ensure};

use crate::{Check, helm::Helm};

pub(crate) const CHECKS: &[Check] = &[("wrong values are refused with their place", refused)];

/// Settings, and what Helm must say.
const REFUSED: &[(&[&str], &[&str])] = &[
    (&["--set", "operatr.replicas=2"], &["operatr"]),
    (&["--set", "operator.replcas=2"], &["/operator", "replcas"]),
    (&["--set", "operator.replicas=two"], &["/operator/replicas"]),
    (&["--set", "operator.securityContext.runAsUser=0"], &["/operator", "securityContext"]),
    (&["--set", "operator.logFormat=xml"], &["/operator/logFormat"]),
    (&["--set", "operator.tolerations[0].kee=a"], &["/operator/tolerations/0", "kee"]),
    (&["--set", "operator.networkPolicy.apiServerPorts={}"], &["/operator/networkPolicy/apiServerPorts"]),
    (&["--set", "image.digest=sha256:abc"], &["/image/digest"]),
    (&["--set", "image.repository=pondage@sha256:abc"], &["/image/repository"]),
    (&["--set", "crds.keep=false"], &["/crds", "keep"]),
    (&["--set", "cluster.name=Pondage"], &["/cluster/name"]),
    (&["--set", "cluster.spec.replicas=0"], &["/cluster/spec/replicas"]),
    (&["--set", "cluster.spec.repliccas=3"], &["/cluster/spec", "repliccas"]),
    (&["--set", "topics[0].spec.partitions=4"], &["/topics/0", "name"]),
    (
        &["--set", "topics[0].name=a", "--set", "topics[0].spec.retention.size=7Q"],
        &["/topics/0/spec/retention/size"],
    ),
    (
        &["--set", "queues[0].name=a", "--set", "queues[0].spec.ackTimeout=soon"],
        &["/queues/0/spec/ackTimeout"],
    ),
    (
        &["--set", "queues[0].name=a", "--set", "queues[0].spec.priorities=3"],
        &["/queues/0/spec", "priorities"],
    ),
    (&["--set", "consumerGroups[0].name=a"], &["/consumerGroups/0", "spec"]),
    (&["--set", "tests.timeoutSeconds=0"], &["/tests/timeoutSeconds"]),
    (
        &["--set", "cluster.enabled=false", "--set", "queues[0].name=a"],
        &["queues.0 (a): spec.clusterRef is needed"],
    ),
    (
        &["--set", "monitoring.enabled=true"],
        &["monitoring.enabled: the cluster has no monitoring.coreos.com/v1"],
    ),
];

fn refused(helm: &Helm) -> Result<()> {
    for (args, said) in REFUSED {
        let error = helm.refused(args)?;
        for part in *said {
            ensure!(error.contains(part), "{args:?}: no word of {part:?}: {error}");
        }
    }
    Ok(())
}
