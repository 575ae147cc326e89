//! What the chart makes of values.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Check,
    helm::{Helm, NAMESPACE, tool},
    objects::{check, containers, label, of_kind, pod, text, the},
};

pub(crate) const CHECKS: &[Check] = &[
    ("Helm's own rules", Helm::lint),
    ("every object is placed, labelled and restricted", everything_is_sound),
    ("the objects of an untouched chart", untouched),
    ("one set of rules for a namespace and for all", rules),
    ("without the rights to make roles", without_roles),
    ("releases of one name in two namespaces share nothing", two_namespaces),
    ("the definitions are those of the repository", definitions),
    ("definitions are brought up to date before an upgrade", upgrade),
    ("images by tag and by digest", images),
    ("several operators", several_operators),
    ("who may talk to the operator, and to whom it may", network),
    ("metrics", monitoring),
    ("alerts, which do what their scenarios say", alerts),
    ("dashboards", dashboards),
    ("the cluster", cluster),
    ("topics, queues and groups", resources),
    ("the test asks the cluster over TLS", test),
];

/// A file of values that uses everything.
const EVERYTHING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/everything.yaml");

const MONITORING: [&str; 2] = ["--api-versions", "monitoring.coreos.com/v1"];

fn everything() -> Vec<&'static str> {
    ["--values", EVERYTHING].into_iter().chain(MONITORING).collect()
}

fn everything_is_sound(helm: &Helm) -> Result<()> {
    let everything = everything();
    for args in [&[][..], &["--include-crds"], &["--is-upgrade"], &everything] {
        check(&helm.template(args)?, NAMESPACE)?;
    }
    let upgrade: Vec<_> = everything.into_iter().chain(["--is-upgrade", "--include-crds"]).collect();
    check(&helm.template(&upgrade)?, NAMESPACE)
}

fn untouched(helm: &Helm) -> Result<()> {
    let mut found: Vec<String> = helm.template(&[])?.iter().map(label).collect();
    found.sort();
    let expected = [
        "BrokerCluster/pondage",
        "ClusterRole/demo-pondage-operator-nodes",
        "ClusterRoleBinding/demo-pondage-operator-nodes",
        "ConfigMap/pondage-test",
        "Deployment/pondage-operator",
        "NetworkPolicy/pondage-operator",
        "Pod/pondage-test",
        "Queue/pondage-test",
        "Role/pondage-operator",
        "Role/pondage-operator-lease",
        "RoleBinding/pondage-operator",
        "RoleBinding/pondage-operator-lease",
        "Service/pondage-operator",
        "ServiceAccount/pondage-operator",
    ];
    ensure!(found == expected, "{found:#?}");
    Ok(())
}

/// The one object of a kind whose name ends so.
fn named<'a>(objects: &'a [Value], kind: &str, end: &str) -> Result<&'a Value> {
    let found = of_kind(objects, kind).into_iter().find(|it| text(&it["metadata"]["name"]).ends_with(end));
    found.with_context(|| format!("no {kind} …{end}"))
}

fn rules(helm: &Helm) -> Result<()> {
    let narrow = helm.template(&[])?;
    let wide = helm.template(&["--set", "operator.watchAllNamespaces=true"])?;
    let role = named(&narrow, "Role", "-operator")?;
    let cluster_role = named(&wide, "ClusterRole", "-operator")?;
    let (of_one, mut of_all) = (&role["rules"], cluster_role["rules"].clone());
    // Whoever looks at all namespaces sees their labels, too.
    let namespaces = of_all.as_array_mut().and_then(Vec::pop).context("rules")?;
    ensure!(
        namespaces == json!({ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"] }),
        "{namespaces}"
    );
    ensure!(*of_one == of_all, "the rules differ");
    ensure!(named(&narrow, "ClusterRole", "-operator").is_err(), "rights in all namespaces nobody asked for");
    for rule in role["rules"].as_array().context("rules")? {
        ensure!(!rule.to_string().contains("\"*\""), "a rule for everything: {rule}");
    }
    let narrow = arguments(&narrow)?;
    let wide = arguments(&wide)?;
    ensure!(narrow.contains(&"--namespace=$(POD_NAMESPACE)".to_owned()), "{narrow:?}");
    ensure!(!wide.iter().any(|it| it.starts_with("--namespace")), "{wide:?}");
    Ok(())
}

/// What the operator is told.
fn arguments(objects: &[Value]) -> Result<Vec<String>> {
    let pod = pod(the(objects, "Deployment")?).context("a pod")?;
    let args = pod["containers"][0]["args"].as_array().context("arguments")?;
    Ok(args.iter().map(|it| text(it).to_owned()).collect())
}

fn without_roles(helm: &Helm) -> Result<()> {
    let args = ["--set", "operator.rbac.create=false,operator.serviceAccount.create=false"];
    let objects = helm.template(&[&args[..], &["--set", "operator.serviceAccount.name=given"]].concat())?;
    for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"] {
        ensure!(of_kind(&objects, kind).is_empty(), "there is a {kind}");
    }
    let pod = pod(the(&objects, "Deployment")?).context("a pod")?;
    ensure!(pod["serviceAccountName"] == "given");
    let no_nodes = helm.template(&["--set", "operator.readNodes=false"])?;
    ensure!(of_kind(&no_nodes, "ClusterRole").is_empty(), "rights on nodes that were not wanted");
    Ok(())
}

fn two_namespaces(helm: &Helm) -> Result<()> {
    let args = ["--is-upgrade", "--set", "operator.watchAllNamespaces=true"];
    let one: Vec<String> =
        helm.template_in("one", &args)?.iter().filter(|it| is_clusterwide(it)).map(label).collect();
    let other = helm.template_in("other", &args)?;
    let same: Vec<_> =
        other.iter().filter(|it| is_clusterwide(it)).map(label).filter(|it| one.contains(it)).collect();
    ensure!(!one.is_empty() && same.is_empty(), "both have {same:?}");
    Ok(())
}

fn is_clusterwide(object: &Value) -> bool {
    object["metadata"]["namespace"].is_null()
}

fn definitions(helm: &Helm) -> Result<()> {
    let objects = helm.template(&["--include-crds"])?;
    let found = of_kind(&objects, "CustomResourceDefinition");
    ensure!(found.len() == 4, "{} definitions", found.len());
    for definition in found {
        let plural = text(&definition["spec"]["names"]["plural"]);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../crds/{plural}.yaml"));
        let kept: Value = serde_yaml::from_str(&fs::read_to_string(path)?)?;
        ensure!(*definition == kept, "{plural} is another one");
        ensure!(definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep");
    }
    let none = helm.template(&["--include-crds", "--set", "crds.install=false"])?;
    ensure!(of_kind(&none, "CustomResourceDefinition").is_empty(), "definitions that were not wanted");
    Ok(())
}

fn upgrade(helm: &Helm) -> Result<()> {
    ensure!(of_kind(&helm.template(&[])?, "Job").is_empty(), "an installation needs no Job");
    let off = helm.template(&["--is-upgrade", "--set", "crds.install=false"])?;
    ensure!(of_kind(&off, "Job").is_empty(), "a Job that was not wanted");
    let objects = helm.template(&["--is-upgrade"])?;
    let job = the(&objects, "Job")?;
    let ours: Vec<&Value> =
        objects.iter().filter(|it| text(&it["metadata"]["name"]).ends_with("-crds")).collect();
    ensure!(ours.len() == 4, "account, role, binding, Job");
    for object in ours {
        let hook = text(&object["metadata"]["annotations"]["helm.sh/hook"]);
        ensure!(hook == "pre-install,pre-upgrade", "{} outlives the upgrade: {hook:?}", label(object));
    }
    ensure!(pod(job).context("a pod")?["containers"][0]["args"] == json!(["crds", "apply"]));
    Ok(())
}

fn images(helm: &Helm) -> Result<()> {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let by_digest = format!("image.digest={digest}");
    for (args, expected) in [
        (&[][..], "ghcr.io/pondage/pondage:0.1.0".to_owned()),
        (&["--set", "image.tag=edge"], "ghcr.io/pondage/pondage:edge".to_owned()),
        (&["--set", by_digest.as_str()], format!("ghcr.io/pondage/pondage@{digest}")),
        (
            &["--set", by_digest.as_str(), "--set", "image.repository=localhost:5000/p,image.tag=edge"],
            format!("localhost:5000/p:edge@{digest}"),
        ),
    ] {
        let objects = helm.template(&[args, &["--is-upgrade"]].concat())?;
        let pods: Vec<&Value> = objects.iter().filter_map(pod).collect();
        ensure!(pods.len() == 3, "operator, upgrade, test");
        for container in pods.into_iter().flat_map(containers) {
            ensure!(container["image"] == expected.as_str(), "{}, not {expected}", container["image"]);
        }
        ensure!(
            arguments(&objects)?.contains(&format!("--broker-image={expected}")),
            "{args:?}: brokers run another"
        );
    }
    let other = helm.template(&["--set", "operator.brokerImage=other:1"])?;
    ensure!(arguments(&other)?.contains(&"--broker-image=other:1".to_owned()));
    Ok(())
}

fn several_operators(helm: &Helm) -> Result<()> {
    let one = helm.template(&[])?;
    ensure!(
        of_kind(&one, "PodDisruptionBudget").is_empty(),
        "a budget for one keeps nodes from being drained"
    );
    let three = helm.template(&["--set", "operator.replicas=3"])?;
    let budget = the(&three, "PodDisruptionBudget")?;
    let deployment = the(&three, "Deployment")?;
    ensure!(deployment["spec"]["replicas"] == 3);
    ensure!(budget["spec"]["selector"] == deployment["spec"]["selector"]);
    let off = helm.template(&["--set", "operator.replicas=3,operator.podDisruptionBudget.enabled=false"])?;
    ensure!(of_kind(&off, "PodDisruptionBudget").is_empty());
    for object in [&one, &three] {
        let deployment = the(object, "Deployment")?;
        let selected = deployment["spec"]["selector"]["matchLabels"].as_object().context("labels")?;
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        ensure!(selected.iter().all(|(key, value)| labels[key] == *value), "it selects other pods");
        ensure!(the(object, "Service")?["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]);
    }
    Ok(())
}

fn network(helm: &Helm) -> Result<()> {
    let objects = helm.template(&[])?;
    let spec = &the(&objects, "NetworkPolicy")?["spec"];
    ensure!(spec["policyTypes"] == json!(["Ingress", "Egress"]));
    ensure!(spec["podSelector"] == the(&objects, "Deployment")?["spec"]["selector"]);
    let brokers = |spec: &Value| spec["egress"][2]["to"][0].clone();
    ensure!(brokers(spec)["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "broker");
    ensure!(brokers(spec)["namespaceSelector"].is_null(), "brokers of other namespaces");
    let wide = helm.template(&[
        "--set",
        "operator.watchAllNamespaces=true,operator.networkPolicy.apiServerPorts={8443}",
    ])?;
    let spec = &the(&wide, "NetworkPolicy")?["spec"];
    ensure!(brokers(spec)["namespaceSelector"] == json!({}));
    ensure!(spec["egress"][1]["ports"] == json!([{ "port": 8443, "protocol": "TCP" }]));
    let off = helm.template(&["--set", "operator.networkPolicy.enabled=false"])?;
    ensure!(of_kind(&off, "NetworkPolicy").is_empty());
    Ok(())
}

fn monitoring(helm: &Helm) -> Result<()> {
    let args = ["--set", "monitoring.enabled=true,monitoring.labels.release=prometheus"];
    let objects = helm.template(&[&args[..], &MONITORING].concat())?;
    let monitor = the(&objects, "ServiceMonitor")?;
    ensure!(monitor["metadata"]["labels"]["release"] == "prometheus");
    let service = the(&objects, "Service")?;
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().context("labels")?;
    ensure!(
        wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value),
        "it finds no service"
    );
    ensure!(monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]);
    Ok(())
}

fn alerts(helm: &Helm) -> Result<()> {
    ensure!(of_kind(&helm.template(&[])?, "PrometheusRule").is_empty(), "rules that nobody asked for");
    let objects = helm.template(&everything())?;
    let rule = the(&objects, "PrometheusRule")?;
    ensure!(rule["metadata"]["labels"]["release"] == "prometheus");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/pondage/monitoring/rules.yaml");
    let kept: Value = serde_yaml::from_str(&fs::read_to_string(path)?)?;
    ensure!(rule["spec"] == kept, "the rules are not those of the file");
    let tried = promtool(&["test", "rules", SCENARIOS])?;
    let scenarios = fs::read_to_string(SCENARIOS)?;
    for rule in kept["groups"].as_array().into_iter().flatten().flat_map(|group| group["rules"].as_array()) {
        for alert in rule.iter().map(|rule| text(&rule["alert"])) {
            let named = format!("alertname: {alert}\n");
            let fires = scenarios.split(&named).skip(1);
            let fires = fires.filter(|rest| rest.trim_start().starts_with("exp_alerts:\n")).count();
            ensure!(fires > 0, "no scenario makes {alert} fire: {tried}");
        }
    }
    Ok(())
}

/// What the alerts do when.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rules.yaml");

/// Prometheus' own judge of rules: `PONDAGE_PROMTOOL`, or where the tests of the Kubernetes cluster put it.
fn promtool(arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(tool("PONDAGE_PROMTOOL", "prometheus/usr/bin/promtool")?).args(arguments).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
    Ok(said)
}

fn dashboards(helm: &Helm) -> Result<()> {
    let is_dashboard = |object: &&Value| text(&object["metadata"]["name"]).contains("-dashboard-");
    ensure!(helm.template(&[])?.iter().find(is_dashboard).is_none(), "dashboards that nobody asked for");
    let objects = helm.template(&everything())?;
    let found: Vec<&Value> = objects.iter().filter(is_dashboard).collect();
    ensure!(found.len() == 4, "{} dashboards", found.len());
    for object in found {
        ensure!(object["metadata"]["labels"]["grafana_dashboard"] == "yes", "{}", label(object));
        for (name, content) in object["data"].as_object().context("data")? {
            let dashboard: Value = serde_json::from_str(text(content)).with_context(|| name.clone())?;
            let title = text(&dashboard["title"]);
            ensure!(title.starts_with("Pondage / ") && dashboard["panels"][0].is_object(), "{name}: {title}");
        }
    }
    Ok(())
}

fn cluster(helm: &Helm) -> Result<()> {
    let objects =
        helm.template(&["--set", "cluster.name=main,cluster.spec.replicas=5,cluster.annotations.a=b"])?;
    let cluster = the(&objects, "BrokerCluster")?;
    ensure!(
        cluster["metadata"]["name"] == "main" && cluster["spec"] == json!({ "replicas": 5 }),
        "{cluster}"
    );
    ensure!(cluster["metadata"]["annotations"] == json!({ "a": "b" }), "it would outlive the release");
    let scaled = helm.template(&["--set", "cluster.spec.replicas=null,cluster.keep=true"])?;
    let cluster = the(&scaled, "BrokerCluster")?;
    ensure!(cluster["spec"] == json!({}), "replicas of a cluster that something else scales: {cluster}");
    ensure!(cluster["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep");
    let none = helm.template(&["--set", "cluster.enabled=false"])?;
    for kind in ["BrokerCluster", "Pod", "Queue"] {
        ensure!(of_kind(&none, kind).is_empty(), "there is a {kind}");
    }
    Ok(())
}

fn resources(helm: &Helm) -> Result<()> {
    let objects = helm.template(&everything())?;
    let topic = the(&objects, "Topic")?;
    ensure!(topic["metadata"]["name"] == "flights");
    let expected =
        json!({ "clusterRef": { "name": "main" }, "partitions": 4, "retention": { "duration": "24h" } });
    ensure!(topic["spec"] == expected, "{topic}");
    let elsewhere = named(&objects, "Queue", "elsewhere")?;
    ensure!(elsewhere["spec"]["clusterRef"] == json!({ "name": "other", "namespace": "brokers" }));
    ensure!(the(&objects, "ConsumerGroup")?["spec"]["topicRefs"] == json!([{ "name": "flights" }]));
    Ok(())
}

fn test(helm: &Helm) -> Result<()> {
    let objects = helm.template(&["--set", "cluster.name=main"])?;
    let pod = the(&objects, "Pod")?;
    let queue = the(&objects, "Queue")?;
    for object in [pod, queue, the(&objects, "ConfigMap")?] {
        ensure!(object["metadata"]["annotations"]["helm.sh/hook"] == "test", "{} is no test", label(object));
    }
    for container in containers(&pod["spec"]) {
        let args: Vec<&str> = container["args"].as_array().context("arguments")?.iter().map(text).collect();
        ensure!(args.contains(&"--server=https://main.demo.svc:7420"), "{args:?}");
        ensure!(args.contains(&"--certificate-authority=/ca/ca.crt"), "{args:?}");
        ensure!(args[1] == text(&queue["metadata"]["name"]), "{args:?}");
    }
    ensure!(pod["spec"]["volumes"][0] == json!({ "name": "ca", "configMap": { "name": "main-ca" } }));
    ensure!(queue["spec"] == json!({ "clusterRef": { "name": "main" }, "deletionPolicy": "Delete" }));
    let off = helm.template(&["--set", "tests.enabled=false"])?;
    ensure!(of_kind(&off, "Pod").is_empty() && of_kind(&off, "Queue").is_empty());
    Ok(())
}
