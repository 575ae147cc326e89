//! Whose a resource is, and whether it may be what it says: what takes more than the object itself to know. Caches are
//! read, nothing is asked.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    ResourceExt,
    core::{DynamicObject, Selector, SelectorExt},
};
use pondage_resources::{AllowedFrom, AllowedNamespaces, FieldError, Kind};
use serde_json::Value;

use super::{Declared, name_field};
use crate::{brokers::Connection, error, names::Key, namespaces::Labels, operator::Operator};

/// Whose a resource is, and what it refers to.
pub(super) struct Belonging {
    pub(super) connection: Arc<Connection>,
    /// Kind, name of the object, and what the cluster calls it.
    pub(super) references: Vec<(Kind, String, String)>,
}

/// Why a resource is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The aspect that is wrong.
    pub(super) condition: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Problem {
    fn new(condition: &'static str, reason: &'static str, message: String) -> Self {
        Self { condition, reason, message }
    }

    pub(super) fn invalid(errors: &[FieldError]) -> Self {
        Self::new("Accepted", "Invalid", error::all(errors))
    }
}

/// Finds the cluster and everything that is referred to.
pub(super) fn belonging(operator: &Operator, declared: &Declared<'_>) -> Result<Belonging, Problem> {
    let key = declared.key();
    let cluster = cluster_of(operator, declared.object)?;
    let Some(object) = operator.object(Kind::BrokerCluster, &cluster) else {
        let message = format!("there is no BrokerCluster {cluster}");
        return Err(Problem::new("ResolvedRefs", "ClusterNotFound", message));
    };
    if cluster.namespace != key.namespace {
        let labels = operator.namespaces.labels_of(&key.namespace);
        if !lets_in(&allowed_namespaces(&object), labels.as_ref()) {
            let message = format!(
                "BrokerCluster {cluster} is not for resources of namespace {}: its spec.allowedNamespaces would have \
                 to let them in",
                key.namespace
            );
            return Err(Problem::new("Accepted", "NotAllowed", message));
        }
    }
    if let Some(older) = older(operator, declared, &cluster) {
        let name = cluster_name(declared.kind, declared.object).unwrap_or_default();
        let message = format!(
            "{} {older} is older and stands for {name} of {cluster} already: one of the two has to go, or to take \
             another name",
            declared.kind.as_str()
        );
        return Err(Problem::new("Accepted", "Conflict", message));
    }
    let references = references(operator, declared, &cluster)?;
    let Some(connection) = operator.connections.get(&cluster) else {
        let message = format!("BrokerCluster {cluster} has no brokers yet");
        return Err(Problem::new("Programmed", "ClusterNotReady", message));
    };
    Ok(Belonging { connection, references })
}

/// The cluster that an object names; without a name the only one of its namespace.
pub(super) fn cluster_of(operator: &Operator, object: &DynamicObject) -> Result<Key, Problem> {
    let namespace = object.namespace().unwrap_or_default();
    let reference = object.data.get("spec").and_then(|spec| spec.get("clusterRef"));
    if let Some(name) = reference.and_then(|reference| reference.get("name")).and_then(Value::as_str) {
        let other = reference.and_then(|reference| reference.get("namespace")).and_then(Value::as_str);
        let namespace = other.map_or(namespace, str::to_owned);
        return Ok(Key { namespace, name: name.to_owned() });
    }
    let clusters = operator.objects(Kind::BrokerCluster);
    let mut of_namespace =
        clusters.iter().filter(|cluster| cluster.namespace().unwrap_or_default() == namespace);
    match (of_namespace.next(), of_namespace.next()) {
        (Some(one), None) => Ok(Key::of(&one.metadata)),
        (None, _) => Err(Problem::new(
            "ResolvedRefs",
            "ClusterNotFound",
            format!("spec.clusterRef is left out, and namespace {namespace} has no BrokerCluster"),
        )),
        (Some(_), Some(_)) => Err(Problem::new(
            "ResolvedRefs",
            "ClusterAmbiguous",
            format!("namespace {namespace} has several BrokerClusters: name one in spec.clusterRef"),
        )),
    }
}

/// Whom a cluster lets in; what can't be read lets in nobody.
pub(crate) fn allowed_namespaces(cluster: &DynamicObject) -> AllowedNamespaces {
    let allowed = cluster.data.get("spec").and_then(|spec| spec.get("allowedNamespaces"));
    allowed.and_then(|allowed| serde_json::from_value(allowed.clone()).ok()).unwrap_or_default()
}

/// Whether resources of a namespace with these labels may use the cluster. No labels are chosen where they are not known.
fn lets_in(allowed: &AllowedNamespaces, labels: Option<&Labels>) -> bool {
    let is_selected = || {
        let selector = serde_json::to_value(allowed.selector.as_ref()?).ok()?;
        let selector: LabelSelector = serde_json::from_value(selector).ok()?;
        Some(Selector::try_from(selector).ok()?.matches(labels?))
    };
    match allowed.from {
        AllowedFrom::Same => false,
        AllowedFrom::All => true,
        AllowedFrom::Selector => is_selected().unwrap_or(false),
    }
}

/// What the cluster calls an object.
fn cluster_name(kind: Kind, object: &DynamicObject) -> Option<String> {
    let field = name_field(kind)?;
    let given = object.data.get("spec").and_then(|spec| spec.get(field)).and_then(Value::as_str);
    given.map(str::to_owned).or_else(|| object.metadata.name.clone())
}

/// An older object that stands for the same resource of the same cluster.
fn older(operator: &Operator, declared: &Declared<'_>, cluster: &Key) -> Option<Key> {
    let own = declared.object;
    let name = cluster_name(declared.kind, own)?;
    let others = operator.objects(declared.kind);
    let mut rivals = others.iter().filter(|other| {
        other.metadata.uid != own.metadata.uid
            && other.metadata.deletion_timestamp.is_none()
            && cluster_name(declared.kind, other).as_ref() == Some(&name)
            && cluster_of(operator, other).as_ref() == Ok(cluster)
            && seniority(other) < seniority(own)
    });
    rivals.next().map(|rival| Key::of(&rival.metadata))
}

/// What orders objects that stand for one resource; the least comes first. Kubernetes counts whole seconds: of two that
/// were created in the same one, what the brokers have already goes before what they don't, lest a newcomer takes its
/// place.
fn seniority(object: &DynamicObject) -> impl Ord + use<> {
    let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let is_held =
        object.data.get("status").and_then(|status| status.get("uid")).is_some_and(Value::is_string);
    (created, !is_held, object.metadata.uid.clone())
}

fn references(
    operator: &Operator,
    declared: &Declared<'_>,
    cluster: &Key,
) -> Result<Vec<(Kind, String, String)>, Problem> {
    let namespace = declared.key().namespace;
    let mut found = Vec::new();
    for (kind, name, field) in declared.resource.references() {
        let key = Key { namespace: namespace.clone(), name: name.to_owned() };
        let object =
            operator.object(kind, &key).filter(|object| object.metadata.deletion_timestamp.is_none());
        let Some(object) = object else {
            let message = format!("{field}: there is no {} {key}", kind.as_str());
            return Err(Problem::new("ResolvedRefs", "RefNotFound", message));
        };
        if cluster_of(operator, &object).as_ref() != Ok(cluster) {
            let message = format!("{field}: {} {key} belongs to another cluster", kind.as_str());
            return Err(Problem::new("ResolvedRefs", "RefOfAnotherCluster", message));
        }
        let called = cluster_name(kind, &object).unwrap_or_default();
        found.push((kind, name.to_owned(), called));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_says_which_namespaces_it_is_for() {
        let one_of = |values: &[&str]| json!({ "matchExpressions": [{ "key": "team", "operator": "In", "values": values }] });
        for (allowed, is_let_in) in [
            (json!(null), false),
            (json!({}), false),
            (json!({ "from": "Same" }), false),
            (json!({ "from": "All" }), true),
            (json!({ "from": "Selector", "selector": {} }), true),
            (json!({ "from": "Selector", "selector": { "matchLabels": { "team": "a" } } }), true),
            (json!({ "from": "Selector", "selector": { "matchLabels": { "team": "b" } } }), false),
            (json!({ "from": "Selector", "selector": one_of(&["a", "b"]) }), true),
            (json!({ "from": "Selector", "selector": one_of(&["b"]) }), false),
            // What never gets past the definitions lets in nobody.
            (json!({ "from": "Selector" }), false),
            (json!({ "from": "Selector", "selector": { "matchExpressions": [{ "key": "team" }] } }), false),
            (json!({ "from": "Everybody" }), false),
        ] {
            let cluster = json!({
                "apiVersion": "pondage.io/v1alpha1", "kind": "BrokerCluster", "metadata": { "name": "main" },
                "spec": { "allowedNamespaces": allowed },
            });
            let cluster: DynamicObject = serde_json::from_value(cluster).expect("an object");
            let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
            let parsed = allowed_namespaces(&cluster);
            assert_eq!(lets_in(&parsed, Some(&labels)), is_let_in, "{allowed}");
            assert_eq!(
                lets_in(&parsed, None),
                parsed.from == AllowedFrom::All,
                "{allowed} of a namespace unknown"
            );
        }
    }

    #[test]
    fn who_is_there_goes_before_who_came_in_the_same_second() {
        let object = |uid: &str, created: &str, status: serde_json::Value| -> DynamicObject {
            let metadata = json!({ "name": "orders", "uid": uid, "creationTimestamp": created });
            let object = json!({
                "apiVersion": "pondage.io/v1alpha1", "kind": "Queue", "metadata": metadata, "status": status,
            });
            serde_json::from_value(object).expect("an object")
        };
        let held = || json!({ "uid": "of the brokers" });
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        for (first, second) in [
            (object("b", early, json!(null)), object("a", late, held())),
            (object("b", early, held()), object("a", early, json!(null))),
            (object("b", early, held()), object("a", early, json!({ "uid": 7 }))),
            (object("a", early, held()), object("b", early, held())),
            (object("a", early, json!({})), object("b", early, json!({}))),
        ] {
            assert!(seniority(&first) < seniority(&second), "{first:?} {second:?}");
        }
    }
}
