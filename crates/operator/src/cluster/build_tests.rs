use serde_json::json;

use super::*;
use crate::cluster::validate::tests::cluster;

fn facts() -> Facts {
    Facts {
        cluster_id: "id".to_owned(),
        authority: "PEM".to_owned(),
        replicas_at_least: 0,
        storage_bytes: None,
        can_spare_one: true,
        has_monitor_kinds: false,
    }
}

fn built(spec: Value, facts: &Facts) -> Vec<Child> {
    build(&cluster(spec).expect("valid"), facts)
}

fn one<'a>(children: &'a [Child], kind: &str) -> Option<&'a Value> {
    children.iter().find(|child| child.resource.kind == kind).map(|child| &child.body)
}

#[test]
fn everything_belongs_to_the_cluster_and_says_so() {
    for child in built(json!({}), &facts()) {
        let metadata = &child.body["metadata"];
        assert_eq!(metadata["namespace"], "shop", "{child:?}");
        assert_eq!(metadata["ownerReferences"][0]["uid"], "1-2-3", "{child:?}");
        assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "pondage-operator", "{child:?}");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "main", "{child:?}");
        assert_eq!(child.body["kind"], child.resource.kind.as_str());
        assert!(child.name.starts_with("main"), "{}", child.name);
    }
}

#[test]
fn pods_are_as_restricted_as_pods_can_be() {
    let children = built(json!({}), &facts());
    let pod = &one(&children, "StatefulSet").expect("built")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"], json!({ "drop": ["ALL"] }));
}

#[test]
fn pods_are_restarted_by_nobody_else() {
    let children = built(json!({}), &facts());
    let spec = &one(&children, "StatefulSet").expect("built")["spec"];
    assert_eq!(spec["updateStrategy"], json!({ "type": "OnDelete" }));
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({ "whenDeleted": "Retain", "whenScaled": "Retain" })
    );
    assert_eq!(spec["volumeClaimTemplates"][0]["metadata"]["labels"]["pondage.io/cluster-id"], "id");
}

#[test]
fn the_number_of_brokers_changes_no_pod() {
    let template = |replicas: u32| {
        let children = built(json!({ "replicas": replicas }), &facts());
        one(&children, "StatefulSet").expect("built")["spec"]["template"].clone()
    };
    assert_eq!(template(1), template(5));
}

#[test]
fn a_setting_changes_the_template() {
    let template = |spec: Value| {
        let children = built(spec, &facts());
        one(&children, "StatefulSet").expect("built")["spec"]["template"].clone()
    };
    let plain = template(json!({}));
    for spec in [
        json!({"config": {"logLevel": "debug"}}),
        json!({"image": "pondage:2"}),
        json!({"resources": {"requests": {"cpu": 2}}}),
        json!({"podTemplate": {"labels": {"team": "shop"}}}),
        json!({"listeners": [{"name": "clients", "port": 9000}]}),
        json!({"rack": {"mode": "Disabled"}}),
    ] {
        assert_ne!(template(spec.clone()), plain, "{spec}");
    }
    for spec in
        [json!({"networkPolicy": {"mode": "Disabled"}}), json!({"allowedNamespaces": {"from": "All"}})]
    {
        assert_eq!(template(spec.clone()), plain, "{spec}");
    }
}

#[test]
fn labels_of_people_do_not_replace_those_that_select() {
    let children = built(
        json!({"podTemplate": {"labels": {"app.kubernetes.io/name": "mine", "team": "shop"}}}),
        &facts(),
    );
    let labels = &one(&children, "StatefulSet").expect("built")["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&labels["app.kubernetes.io/name"], &labels["team"]), (&json!("pondage"), &json!("shop")));
}

#[test]
fn brokers_that_are_there_stay_and_volumes_keep_their_size() {
    let facts = Facts { replicas_at_least: 5, storage_bytes: Some(1 << 30), ..facts() };
    let children = built(json!({ "replicas": 3, "storage": { "size": "20Gi" } }), &facts);
    let spec = &one(&children, "StatefulSet").expect("built")["spec"];
    assert_eq!(spec["replicas"], 5);
    let claim = &spec["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["resources"]["requests"]["storage"], "1073741824");
}

#[test]
fn the_budget_spares_one_broker_none_or_is_not_there() {
    let most = |replicas: u32, can_spare_one: bool| {
        let children = built(json!({ "replicas": replicas }), &Facts { can_spare_one, ..facts() });
        one(&children, "PodDisruptionBudget").map(|budget| budget["spec"]["maxUnavailable"].clone())
    };
    assert_eq!(most(3, true), Some(json!(1)));
    assert_eq!(most(3, false), Some(json!(0)));
    assert_eq!(most(1, true), None);
}

#[test]
fn figures_of_brokers_say_whose_they_are() {
    let children = built(json!({}), &Facts { has_monitor_kinds: true, ..facts() });
    let pods = &one(&children, "StatefulSet").expect("built")["spec"]["template"];
    let monitor = one(&children, "PodMonitor").expect("built");
    assert_eq!(monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"], "broker");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let ports = pods["spec"]["containers"][0]["ports"].as_array().expect("ports");
    assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{ports:?}");
    let named = &endpoint["relabelings"][0];
    assert_eq!(named["targetLabel"], "pondage_cluster");
    assert_eq!(named["sourceLabels"], json!(["__meta_kubernetes_pod_label_app_kubernetes_io_instance"]));
    assert!(pods["metadata"]["labels"]["app.kubernetes.io/instance"].is_string());
}

#[test]
fn what_is_switched_off_is_not_built_and_goes_if_it_is_there() {
    let off =
        json!({"networkPolicy": {"mode": "Disabled"}, "monitoring": {"mode": "Disabled"}, "replicas": 1});
    let with_kinds = Facts { has_monitor_kinds: true, ..facts() };
    let children = built(off.clone(), &with_kinds);
    for kind in ["NetworkPolicy", "PodMonitor", "PodDisruptionBudget"] {
        assert_eq!(one(&children, kind), None, "{kind}");
    }
    let gone = unwanted(&cluster(off).expect("valid"), &with_kinds);
    let kinds: Vec<&str> = gone.iter().map(|child| child.resource.kind.as_str()).collect();
    assert_eq!(kinds, ["NetworkPolicy", "PodDisruptionBudget", "PodMonitor"]);
    assert!(unwanted(&cluster(json!({})).expect("valid"), &with_kinds).is_empty());
}
