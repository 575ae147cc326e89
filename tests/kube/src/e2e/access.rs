//! What the operator asks of the API server, and what it may.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::shop::{NAMESPACE, Shop};

/// What was just declared settles for so long: its first figures are read within half a minute.
const SETTLE: Duration = Duration::from_secs(40);

/// Whose calls are the operator's.
fn is_operator(name: &str) -> bool {
    name.starts_with(&format!("system:serviceaccount:{NAMESPACE}:")) && !name.ends_with(":default")
}

pub(super) fn quiet_while_idle(shop: &Shop) -> Result<String> {
    sleep(SETTLE);
    let audit = shop.cluster.audit()?;
    let before = audit.end()?;
    sleep(shop.habits.idle);
    let mut calls: BTreeMap<(String, String), u32> = BTreeMap::new();
    for call in audit.since(before)? {
        if is_operator(&call.user.username) {
            *calls.entry((call.verb.clone(), call.object_ref.resource.clone())).or_insert(0) += 1;
        }
    }
    // The end of a watch is noted when the server ends it, which it does now and then.
    let others: Vec<_> =
        calls.iter().filter(|((verb, resource), _)| resource != "leases" && verb != "watch").collect();
    let seconds = shop.habits.idle.as_secs();
    ensure!(others.is_empty(), "in {seconds} idle seconds: {others:?}");
    let leases: u32 =
        calls.iter().filter(|((_, resource), _)| resource == "leases").map(|(_, count)| count).sum();
    let watches: u32 = calls.iter().filter(|((verb, _), _)| verb == "watch").map(|(_, count)| count).sum();
    ensure!(leases > 0, "the operator renews no lease");
    Ok(format!("{leases} lease calls and {watches} watches in {seconds} s"))
}

/// A verb on a resource of an API group.
type Right = (String, String, String);

pub(super) fn rights_are_used(shop: &Shop) -> Result<String> {
    let mut granted: BTreeSet<Right> = BTreeSet::new();
    for kind in ["roles", "clusterroles"] {
        for role in shop.list(kind, "app.kubernetes.io/component=operator")? {
            for rule in role["rules"].as_array().into_iter().flatten() {
                let words = |field: &str| -> Vec<String> {
                    let list = rule[field].as_array().cloned().unwrap_or_default();
                    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
                };
                for group in words("apiGroups") {
                    for resource in words("resources") {
                        granted.extend(
                            words("verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)),
                        );
                    }
                }
            }
        }
    }
    ensure!(!granted.is_empty(), "the operator has no role");
    let mut used: BTreeSet<Right> = BTreeSet::new();
    let mut refused: BTreeSet<Right> = BTreeSet::new();
    for call in shop.cluster.audit()?.all()? {
        if !is_operator(&call.user.username) || call.object_ref.resource.is_empty() {
            continue;
        }
        let object = call.object_ref;
        let resource = if object.subresource.is_empty() {
            object.resource
        } else {
            format!("{}/{}", object.resource, object.subresource)
        };
        let right = (object.api_group, resource, call.verb);
        if call.response_status.code == 403 {
            refused.insert(right);
            continue;
        }
        // What is applied and not there yet is created, which takes both rights and is noted as one call.
        if call.response_status.code == 201 && right.2 == "patch" {
            used.insert((right.0.clone(), right.1.clone(), "create".to_owned()));
        }
        used.insert(right);
    }
    let unused: Vec<&Right> = granted
        .difference(&used)
        // An event is only patched when the same one comes again within minutes.
        .filter(|(_, resource, verb)| (resource.as_str(), verb.as_str()) != ("events", "patch"))
        .collect();
    ensure!(refused.is_empty(), "it was refused: {refused:?}");
    ensure!(unused.is_empty(), "it never used: {unused:?}");
    Ok(format!("{} verbs granted and used", granted.len()))
}
