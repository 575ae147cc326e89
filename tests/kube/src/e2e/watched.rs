//! What Prometheus makes of everything.

use std::{
    fs,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    pictures,
    shop::{NAMESPACE, RELEASE, Shop, is_ready, manifest},
};
use crate::{command::wait_until, prometheus::Prometheus};

/// How long a figure may take to be scraped.
const SOON: Duration = Duration::from_secs(30);

pub(super) fn prometheus_knows(shop: &Shop) -> Result<String> {
    let configuration = fs::read_to_string(Shop::file("deploy/kubernetes/prometheus.yml"))?;
    // Services are called after the release and the BrokerCluster.
    let configuration = configuration
        .replace("pondage-brokers.shop", &format!("{RELEASE}-brokers.{NAMESPACE}"))
        .replace("pondage-operator.shop", &format!("{RELEASE}-pondage-operator.{NAMESPACE}"));
    let prometheus = Prometheus::start(&shop.cluster, &configuration)?;
    let resources = [
        ("Queue", "watched", "{}"),
        ("Topic", "watched-events", "{partitions: 2}"),
        ("ConsumerGroup", "watchers", "{topicRefs: [{name: watched-events}]}"),
        ("ConsumerGroup", "sharers", "{topicRefs: [{name: watched-events}], mode: Shared}"),
    ];
    shop.apply(&resources.map(|(kind, name, spec)| manifest(kind, name, spec)).join("---\n"))?;
    for (kind, name, _) in resources {
        shop.wait_for((&kind.to_lowercase(), name), SOON, is_ready)?;
    }
    for (pod, target, count) in [("to-queue", "watched", "300"), ("to-topic", "watched-events", "500")] {
        shop.start(pod, 1, &["--queue", target, "--count", count, "publish"])?;
        let published = shop.finish(pod, Duration::from_secs(60))?;
        ensure!(published.succeeded, "{}", published.log);
    }
    let brokers = format!("namespace=\"{NAMESPACE}\",pondage_cluster=\"{RELEASE}\",pod=~\"{RELEASE}-[0-2]\"");
    prometheus.wait(&format!("count(up{{job=\"pondage\",{brokers}}} == 1)"), 3.0, SOON)?;
    prometheus.wait("count(pondage_operator_is_leader == 1)", 1.0, SOON)?;
    let backlog = "sum(pondage_queue_ready{queue=\"watched\"})";
    let lag = "sum(pondage_group_lag{group=\"watchers\",topic=\"watched-events\"})";
    prometheus.wait(backlog, 300.0, SOON)?;
    prometheus.wait("count(pondage_queue_oldest_age_seconds{queue=\"watched\"} > 0)", 1.0, SOON)?;
    shop.pondage("administrator", &["consume", "watched", "--limit", "100"])?;
    let read = |until: &[&str]| {
        let arguments = [&["consume", "watched-events", "--group", "watchers"], until].concat();
        shop.pondage("administrator", &arguments).map(drop)
    };
    read(&["--limit", "100"])?;
    prometheus.wait(backlog, 200.0, SOON)?;
    prometheus.wait(lag, 400.0, SOON)?;
    read(&["--until-end"])?;
    prometheus.wait(lag, 0.0, SOON)?;
    prometheus.wait("sum(pondage_group_committed_total{group=\"watchers\"})", 500.0, SOON)?;
    // A shared group has a lag of its own.
    let shared = "sum(pondage_group_lag{group=\"sharers\"})";
    prometheus.wait(shared, 500.0, SOON)?;
    shop.pondage("administrator", &["consume", "--group", "sharers", "--until-end"])?;
    prometheus.wait(shared, 0.0, SOON)?;
    shop.start_pondage("member", &["consume", "--group", "watchers", "--member", "watcher-0"])?;
    prometheus.wait("pondage_group_member_partitions{member=\"watcher-0\"}", 2.0, SOON)?;
    let panels = dashboards_show_something(shop, &prometheus)?;
    shop.kubectl(&["delete", "pod", "member", "--wait=true"])?;
    prometheus.wait("sum(pondage_group_members{group=\"watchers\"})", 0.0, SOON)?;
    prometheus.stop()?;
    Ok(format!(
        "4 pods found; backlog 300 and 200, lag 400 and 0 as they were, of a shared group 500 and 0; a member seen and gone; {panels} queries of panels answered"
    ))
}

/// Every query of every panel has an answer while messages flow.
fn dashboards_show_something(shop: &Shop, prometheus: &Prometheus<'_>) -> Result<usize> {
    let begin = seconds_since_1970()?;
    let count = if shop.habits.pictures.is_some() { "150000" } else { "30000" };
    for (pod, command) in [("consumer", "consume"), ("publisher", "publish")] {
        shop.start(pod, 1, &["--queue", "watched", "--count", count, command])?;
    }
    // Nobody was refused anything before.
    let refused = shop.pondage("administrator", &["consume", "nowhere", "--until-end"]);
    ensure!(refused.is_err(), "there is no queue `nowhere`");
    let dashboards = dashboards()?;
    let mut count = 0;
    for (name, dashboard) in &dashboards {
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = filled_in(target["expr"].as_str().context("a query")?);
                wait_until(&expression, SOON, || Ok(!prometheus.query(&expression)?.is_empty()))
                    .with_context(|| format!("{name}: {} shows nothing", panel["title"]))?;
                count += 1;
            }
        }
    }
    if let Some(folder) = &shop.habits.pictures {
        members_come_and_go(shop)?;
        let end = seconds_since_1970()?;
        pictures::draw(prometheus, &dashboards, (begin, end), &filled_in, folder)?;
    }
    for pod in ["publisher", "consumer"] {
        let said = shop.finish(pod, Duration::from_secs(300))?;
        ensure!(said.succeeded, "{}", said.log);
    }
    Ok(count)
}

/// Something to see: a topic that is written and read, by members that share it for a while.
fn members_come_and_go(shop: &Shop) -> Result<()> {
    shop.start("to-topic", 1, &["--queue", "watched-events", "--count", "100000", "publish"])?;
    sleep(Duration::from_secs(30));
    shop.start_pondage("member-2", &["consume", "--group", "watchers", "--member", "watcher-1"])?;
    sleep(Duration::from_secs(40));
    shop.kubectl(&["delete", "pod", "member-2", "--wait=true"])?;
    sleep(Duration::from_secs(30));
    let published = shop.finish("to-topic", Duration::from_secs(300))?;
    ensure!(published.succeeded, "{}", published.log);
    Ok(())
}

/// The dashboards of the chart, by name.
fn dashboards() -> Result<Vec<(String, Value)>> {
    let folder = Shop::file("charts/pondage/monitoring/dashboards");
    let mut dashboards = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.clone())? {
        let path = entry?.path();
        let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
        dashboards.push((name, serde_json::from_str(&fs::read_to_string(&path)?)?));
    }
    dashboards.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(dashboards)
}

/// A query as Grafana asks it when everything is chosen.
fn filled_in(expression: &str) -> String {
    let variables = [
        ("$namespace", NAMESPACE),
        ("$cluster", RELEASE),
        ("$queue", ".*"),
        ("$group", ".*"),
        ("$__rate_interval", "20s"),
    ];
    variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
}

fn seconds_since_1970() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The kind as far as our monitors use it; the Prometheus operator itself is not here.
const POD_MONITORS: &str = r#"{
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": { "name": "podmonitors.monitoring.coreos.com" },
    "spec": {
        "group": "monitoring.coreos.com",
        "names": { "kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor" },
        "scope": "Namespaced",
        "versions": [{
            "name": "v1", "served": true, "storage": true,
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } }
        }]
    }
}"#;

pub(super) fn monitors_are_made(shop: &Shop) -> Result<String> {
    shop.cluster.kubectl(&["apply", "-f", "-"], POD_MONITORS)?;
    shop.cluster.kubectl(
        &["wait", "crd/podmonitors.monitoring.coreos.com", "--for=condition=Established", "--timeout=20s"],
        "",
    )?;
    // Which kinds there are is asked at the start.
    shop.restart_operator()?;
    let name = format!("{RELEASE}-brokers");
    let monitor = shop.wait_for(("podmonitor", &name), SOON, |_| true)?;
    let labels = &monitor["spec"]["selector"]["matchLabels"];
    let selector: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let chosen = shop.list("pods", &selector.join(","))?.len();
    ensure!(chosen == 3, "{labels} selects {chosen} pods");
    let switch = |mode: &str| {
        shop.patch(("brokercluster", RELEASE), &json!({ "spec": { "monitoring": { "mode": mode } } }))
    };
    switch("Disabled")?;
    shop.wait(&format!("podmonitor/{name}"), "delete", SOON)?;
    switch("Enabled")?;
    shop.wait_for(("podmonitor", &name), SOON, |_| true)?;
    Ok("a PodMonitor that selects the brokers; gone when switched off".to_owned())
}
