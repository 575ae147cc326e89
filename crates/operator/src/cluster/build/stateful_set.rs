//! The brokers' pods and volumes.
//!
//! All pods begin at once, since brokers wait for each other, and no pod is ever replaced by Kubernetes itself when the
//! template changes: the operator restarts brokers one by one, each when nothing depends on it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            Affinity, Capabilities, ConfigMapEnvSource, Container, ContainerPort, DownwardAPIVolumeFile,
            DownwardAPIVolumeSource, EnvFromSource, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity,
            PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
            SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
            VolumeResourceRequirements, WeightedPodAffinityTerm,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use pondage_resources::{Amount, TaintEffect, TolerationOperator};

use super::{Child, Facts, ValidatedCluster, config_map};
use crate::{
    cluster::{certificates, validate::HTTP_PORT},
    names::{CLUSTER_ID, RACK},
};

/// Where a pod finds its failure domain: what the operator wrote, else the label that Kubernetes gave it.
const RACK_FILE: &str = "/etc/pod/rack,/etc/pod/zone";
/// Who brokers are in their containers, as the image says too.
const USER: i64 = 65_532;
/// Seconds for handing over what a broker leads when it is asked to stop.
const GRACE_SECONDS: i64 = 60;
/// Brokers that a new one asks for the way in. Fixed, so that another number of brokers changes no pod.
const SEEDS: u32 = 3;

/// The StatefulSet.
pub(super) fn stateful_set(cluster: &ValidatedCluster, facts: &Facts) -> Child {
    let key = &cluster.key;
    let replicas = cluster.replicas.max(facts.replicas_at_least);
    let retention = StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(cluster.storage.when_deleted.as_str().to_owned()),
        when_scaled: Some(cluster.storage.when_scaled.as_str().to_owned()),
    };
    let set = StatefulSet {
        metadata: key.owned(key.name.clone(), &cluster.owner),
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            service_name: Some(key.headless()),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(retention),
            selector: LabelSelector { match_labels: Some(key.selector()), ..LabelSelector::default() },
            template: template(cluster, facts),
            volume_claim_templates: Some(vec![claim(cluster, facts)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    };
    Child::new(&set, "statefulsets")
}

/// The volume of each broker. It says whose data it holds, for whoever finds it when the cluster is gone.
fn claim(cluster: &ValidatedCluster, facts: &Facts) -> PersistentVolumeClaim {
    let bytes = facts.storage_bytes.unwrap_or(cluster.storage.bytes);
    let mut labels = cluster.key.labels();
    labels.insert(CLUSTER_ID.to_owned(), facts.cluster_id.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some("data".to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(bytes.to_string()))])),
                limits: None,
            }),
            storage_class_name: cluster.storage.class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn template(cluster: &ValidatedCluster, facts: &Facts) -> PodTemplateSpec {
    let mut labels = cluster.pod.labels.clone().unwrap_or_default();
    labels.extend(cluster.key.labels());
    let mut annotations = cluster.pod.annotations.clone().unwrap_or_default();
    // Settings come in by reference, and a changed one has to change the template.
    let settings = config_map::variables(cluster);
    annotations.insert("pondage.io/config".to_owned(), serde_json::json!(settings).to_string());
    annotations.insert("kubectl.kubernetes.io/default-container".to_owned(), "broker".to_owned());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(cluster, facts)),
    }
}

fn pod(cluster: &ValidatedCluster, facts: &Facts) -> PodSpec {
    let key = &cluster.key;
    PodSpec {
        service_account_name: Some(format!("{}-broker", key.name)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        priority_class_name: cluster.pod.priority_class_name.clone(),
        node_selector: cluster.pod.node_selector.clone(),
        tolerations: cluster.pod.tolerations.as_ref().map(|list| list.iter().map(toleration).collect()),
        affinity: Some(apart(cluster)),
        topology_spread_constraints: cluster.rack_label.as_ref().map(|label| vec![spread(cluster, label)]),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(cluster, facts)],
        volumes: Some(volumes(cluster)),
        ..PodSpec::default()
    }
}

fn container(cluster: &ValidatedCluster, facts: &Facts) -> Container {
    let port = |name: &str, number: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, is_read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    };
    Container {
        name: "broker".to_owned(),
        image: Some(cluster.image.clone()),
        args: Some(vec!["broker".to_owned()]),
        env: Some(environment(cluster, facts)),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource {
                name: format!("{}-config", cluster.key.name),
                optional: None,
            }),
            ..EnvFromSource::default()
        }]),
        ports: Some(vec![port("client", cluster.port), port("http", HTTP_PORT)]),
        resources: Some(ResourceRequirements {
            requests: cluster.resources.requests.as_ref().map(amounts),
            limits: cluster.resources.limits.as_ref().map(amounts),
            claims: None,
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        // Recovery of a large volume takes its time; after that a broker answers at once or is broken.
        startup_probe: Some(probe("/livez", 2, 300)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        volume_mounts: Some(vec![
            mount("data", "/data", false),
            mount("tls", "/etc/tls", true),
            mount("pod", "/etc/pod", true),
        ]),
        ..Container::default()
    }
}

fn environment(cluster: &ValidatedCluster, facts: &Facts) -> Vec<EnvVar> {
    let key = &cluster.key;
    let variable =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let seeds: Vec<String> =
        (0..SEEDS).map(|ordinal| format!("{}:{}", key.broker_host(ordinal), cluster.port)).collect();
    let mut variables = vec![
        EnvVar {
            name: "POD_NAME".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(field("metadata.name")),
                ..EnvVarSource::default()
            }),
        },
        variable("PONDAGE_CLUSTER", facts.cluster_id.clone()),
        variable("PONDAGE_DATA", "/data".to_owned()),
        variable("PONDAGE_LISTEN", format!("0.0.0.0:{}", cluster.port)),
        variable("PONDAGE_HTTP", format!("0.0.0.0:{HTTP_PORT}")),
        variable(
            "PONDAGE_ADVERTISE",
            format!("$(POD_NAME).{}.{}.svc:{}", key.headless(), key.namespace, cluster.port),
        ),
        variable("PONDAGE_SEEDS", seeds.join(",")),
        variable("PONDAGE_TLS_CERTIFICATE", "/etc/tls/tls.crt".to_owned()),
        variable("PONDAGE_TLS_KEY", "/etc/tls/tls.key".to_owned()),
        variable("PONDAGE_TLS_CA", "/etc/tls/ca.crt".to_owned()),
    ];
    if cluster.rack_label.is_some() {
        variables.push(variable("PONDAGE_RACK_FILE", RACK_FILE.to_owned()));
    }
    variables
}

fn volumes(cluster: &ValidatedCluster) -> Vec<Volume> {
    let file = |path: &str, from: String| DownwardAPIVolumeFile {
        path: path.to_owned(),
        field_ref: Some(field(&from)),
        ..DownwardAPIVolumeFile::default()
    };
    let label = cluster.rack_label.as_deref().unwrap_or("topology.kubernetes.io/zone");
    vec![
        Volume {
            name: "tls".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(certificates::broker_secret(&cluster.key)),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "pod".to_owned(),
            downward_api: Some(DownwardAPIVolumeSource {
                items: Some(vec![
                    file("rack", format!("metadata.annotations['{RACK}']")),
                    file("zone", format!("metadata.labels['{label}']")),
                ]),
                ..DownwardAPIVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}

fn field(path: &str) -> ObjectFieldSelector {
    ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

/// Brokers on different nodes, as long as there are enough.
fn apart(cluster: &ValidatedCluster) -> Affinity {
    let term = PodAffinityTerm {
        topology_key: "kubernetes.io/hostname".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(cluster.key.selector()),
            ..LabelSelector::default()
        }),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn spread(cluster: &ValidatedCluster, label: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: label.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(cluster.key.selector()),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}

fn amounts(given: &BTreeMap<String, Amount>) -> BTreeMap<String, Quantity> {
    given.iter().map(|(name, amount)| (name.clone(), Quantity(amount.0.clone()))).collect()
}

fn toleration(given: &pondage_resources::Toleration) -> Toleration {
    let operator = given.operator.map(|operator| match operator {
        TolerationOperator::Equal => "Equal",
        TolerationOperator::Exists => "Exists",
    });
    let effect = given.effect.map(|effect| match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    });
    Toleration {
        key: given.key.clone(),
        operator: operator.map(str::to_owned),
        value: given.value.clone(),
        effect: effect.map(str::to_owned),
        toleration_seconds: given.toleration_seconds,
    }
}
