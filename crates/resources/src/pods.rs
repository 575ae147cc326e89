//! What a broker cluster asks of Kubernetes. Local mode has no use for it and passes over it.

use std::{collections::BTreeMap, fmt};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{quantity::Quantity, rules};

/// The volumes of brokers, one each.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::immutable("storageClassName"))]
#[x_kube(validation = rules::never_shrinks("size"))]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The size of each; 10Gi by default. It never shrinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::holds(1 << 28, 1 << 50))]
    pub size: Option<Quantity>,
    /// The storage class; the Kubernetes cluster's default one if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of volumes that nobody needs any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<VolumeRetention>,
}

/// What becomes of volumes that nobody needs any more.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRetention {
    /// When the cluster is deleted; `Retain` by default, and a new cluster of the same name takes them over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<VolumePolicy>,
    /// When the cluster has fewer brokers than before; `Retain` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_scaled: Option<VolumePolicy>,
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum VolumePolicy {
    /// It stays, with all messages.
    #[default]
    Retain,
    /// It goes, with all messages.
    Delete,
}

impl VolumePolicy {
    /// The word that Kubernetes has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "Retain",
            Self::Delete => "Delete",
        }
    }
}

/// Failure domains.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rack {
    /// The label of nodes that names the domain; `topology.kubernetes.io/zone` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: Option<String>,
    /// Whether copies are spread over domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RackMode>,
}

/// Whether copies are spread over failure domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum RackMode {
    /// As far as there are domains.
    #[default]
    Preferred,
    /// Brokers have no domain.
    Disabled,
}

/// On or off.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Switch {
    /// Whether it is made.
    #[serde(default)]
    pub mode: Mode,
}

/// Whether something is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It is.
    #[default]
    Enabled,
    /// It is not.
    Disabled,
}

/// Which namespaces may use a cluster, besides its own.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::selector_where_wanted())]
pub struct AllowedNamespaces {
    /// Which.
    #[serde(default)]
    pub from: AllowedFrom,
    /// The labels of those that may, for `Selector`. Every namespace has its name as `kubernetes.io/metadata.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Objects by their labels, as Kubernetes words it: all that is said has to be so. Nothing said is so of every object.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64), inner(length(max = 63)))]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// What else is said of labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub match_expressions: Option<Vec<LabelRequirement>>,
}

/// What is said of one label.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::values_where_wanted())]
pub struct LabelRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// What of it.
    pub operator: LabelOperator,
    /// The values, for `In` and `NotIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Option<Vec<String>>,
}

/// What is said of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// It has one of the values.
    #[default]
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// Which namespaces may use a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AllowedFrom {
    /// The cluster's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those with certain labels.
    Selector,
}

/// What a container may use, as Kubernetes words it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// What is set aside for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: Option<BTreeMap<String, Amount>>,
    /// What it gets at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: Option<BTreeMap<String, Amount>>,
}

/// An amount of anything, such as `500m` of `cpu`: written as it was, and understood by Kubernetes alone.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Amount(pub String);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount such as 2, 500m or 1Gi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// What the pods of brokers have besides.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels; those that the operator sets stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64), inner(length(max = 63)))]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations; those that the operator sets stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64), inner(length(max = 4_096)))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels of the nodes that they may run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64), inner(length(max = 63)))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that they bear.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Their priority class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

/// A taint that pods bear, as Kubernetes words it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key; empty for every taint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub key: Option<String>,
    /// How the value is compared; `Equal` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// The taint's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// The taint's effect; every one if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// For how long, with `NoExecute`; for ever if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub toleration_seconds: Option<i64>,
}

/// How a taint's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// It is the same.
    Equal,
    /// There is one.
    Exists,
}

/// What a taint does to pods that don't bear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// They don't get on the node.
    NoSchedule,
    /// They don't get on the node if there is another one.
    PreferNoSchedule,
    /// They have to go.
    NoExecute,
}

/// What to do when the brokers already have what a new resource declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// Take it over, and bring it to what is declared.
    #[default]
    Adopt,
    /// Take it over if it is as declared already.
    AdoptIfMatching,
    /// Leave it alone: the resource is not accepted.
    Never,
}
