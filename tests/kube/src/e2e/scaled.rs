//! Consumers in pods that are scaled on their group's backlog: from none to many and back under a step, a burst and a ramp,
//! while one of them is killed, a message can't be processed, and the brokers' figures are missing for a while.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    paced::{Course, Sample, pace, predicted},
    shop::{NAMESPACE, RELEASE, Shop, TRAFFIC, condition, is_ready, manifest},
};
use crate::command::wait_until;

const SOON: Duration = Duration::from_secs(40);
/// Over each message: one worker does about thirty a second.
const WORK_MILLIS: u64 = 30;
/// What no worker gets done.
const POISON: &str = "poison";
/// From the first message of a sleeping group to the first that is settled, beyond the start of a pod.
const WAKE: Duration = Duration::from_secs(2);

/// The group on the queue.
const JOBS: &str = "{queueRef: {name: jobs}, scaleTargetRef: {name: worker}, autoscaling: {minReplicas: 0, maxReplicas: 16, \
                    target: {delay: 15s}, scaleToZero: {after: 15s}, \
                    fallback: {after: 20s, replicas: 6, behavior: CurrentReplicasIfHigher}, \
                    behavior: {scaleDown: {stabilizationWindowSeconds: 10}}}}";

pub(super) fn consumers_follow_the_backlog(shop: &Shop) -> Result<String> {
    let queue = "{maxDeliveries: 3, deadLetter: {queueRef: {name: jobs-dead}}}";
    shop.apply(&workload("Deployment", "worker", 0, &["--group", "jobs-group"]).to_string())?;
    shop.apply(
        &[
            manifest("Queue", "jobs-dead", "{}"),
            manifest("Queue", "jobs", queue),
            manifest("ConsumerGroup", "jobs-group", JOBS),
        ]
        .join("---\n"),
    )?;
    shop.wait_for(("consumergroup", "jobs-group"), SOON, |group| {
        is_ready(group) && condition(group, "ScalingActive").0 == "True"
    })?;
    a_stateful_set_is_scaled(shop)?;
    let (measured, start, woke) = under_a_step_a_burst_and_a_ramp(shop)?;
    let compared = measured.compare(&predicted(shop, JOBS, start)?)?;
    let stuck = a_stuck_partition_is_told(shop)?;
    let outage = without_figures(shop)?;
    two_groups_do_not_pull_at_one_workload(shop)?;
    for reason in ["Woke", "ScaledUp", "ScaledIn", "FellAsleep", "FellBack"] {
        let selector = format!("involvedObject.name=jobs-group,reason={reason}");
        let events = shop.kubectl(&["get", "events", "--field-selector", &selector, "-o", "name"])?;
        ensure!(!events.is_empty(), "there is no event {reason}");
    }
    for (kind, name) in [("consumergroup", "readers"), ("statefulset", "reader"), ("deployment", "worker")] {
        shop.kubectl(&["delete", kind, name, "--wait=true"])?;
    }
    Ok(format!("{woke}; {compared}; {stuck}; {outage}"))
}

/// Messages come to a group that sleeps. One worker is killed, and one message fails wherever it goes. How the workers
/// followed, and how long the first pod took to be ready.
fn under_a_step_a_burst_and_a_ramp(shop: &Shop) -> Result<(Course, Duration, String)> {
    shop.start("to-jobs", 1, &["--queue", "jobs", "publish", "--pace", &pace(), "--poison", "500"])?;
    let mut course = Course::default();
    let (mut created, mut ready, mut settled) = (None, None, None);
    let mut is_killed = false;
    wait_until("the workers are done and sleep", Duration::from_secs(300), || {
        let pods = shop.list("pods", "app=worker")?;
        let now = now_millis()?;
        if !pods.is_empty() {
            created.get_or_insert(now);
        }
        let up: Vec<&Value> = pods.iter().filter(|pod| is_ready(pod)).collect();
        if !up.is_empty() {
            ready.get_or_insert(now);
        }
        let figures = Figures::of(shop, "jobs")?;
        if figures.accepted > 0 {
            settled.get_or_insert(now_millis()?);
        }
        if up.len() >= 3 && figures.accepted > 1_000 && !is_killed {
            let name = up[0]["metadata"]["name"].as_str().context("a name")?;
            shop.kubectl(&["delete", "pod", name, "--grace-period=0", "--force"])?;
            is_killed = true;
        }
        let replicas = shop.get("deployment", "worker")?["spec"]["replicas"].as_u64().unwrap_or(0);
        course.samples.push(Sample { at_millis: now_millis()?, replicas, age_seconds: figures.age_seconds });
        Ok(settled.is_some() && replicas == 0 && figures.left == 0)
    })?;
    let published = shop.finish("to-jobs", SOON)?;
    ensure!(published.succeeded, "{}", published.log);
    course.begun_millis = published.report["begunUnixMillis"].as_u64().context("when it began")?;
    let count = published.report["acknowledged"].as_u64().context("a count")?;
    let figures = Figures::of(shop, "jobs")?;
    ensure!(
        (figures.accepted, figures.dead_lettered) == (count - 1, 1),
        "{} of {count} messages were settled and {} given up",
        figures.accepted,
        figures.dead_lettered
    );
    // The poisonous one failed thrice. A member that is killed has one in its hands, and one that waits, at most.
    let killed = figures.failures.saturating_sub(3);
    ensure!(is_killed && killed <= 2, "{killed} messages were taken from consumers that were scaled in");
    let (created, ready) = (created.context("a pod")?, ready.context("a ready pod")?);
    let settled = settled.context("a settled message")?;
    let took = Duration::from_millis(settled.saturating_sub(course.begun_millis));
    let start = Duration::from_millis(ready - created);
    ensure!(took <= start + WAKE, "the first message took {took:?}, and a pod's start {start:?}");
    let most = course.samples.iter().map(|sample| sample.replicas).max().unwrap_or(0);
    Ok((
        course,
        start,
        format!(
            "{count} messages, {} settled, 1 given up, {killed} of a killed worker again, {most} workers at most; the first \
             after {:.1} s, of which its pod's start {:.1} s",
            figures.accepted,
            took.as_secs_f64(),
            start.as_secs_f64()
        ),
    ))
}

/// The operator can't hear the brokers for a while: nobody is taken away, and after a time it is as `fallback` says.
fn without_figures(shop: &Shop) -> Result<String> {
    const RATE: u64 = 60;
    shop.start("to-jobs", 1, &["--queue", "jobs", "publish", "--pace", &format!("75:{RATE}")])?;
    let replicas = |group: &Value| group["status"]["replicas"].as_u64().unwrap_or(0);
    let before =
        shop.wait_for(("consumergroup", "jobs-group"), SOON, |group| (1..6).contains(&replicas(group)))?;
    let before = replicas(&before);
    let (node, operator) = operator_process(shop)?;
    let in_its_network = |arguments: &[&str]| {
        let all = [&["-t", operator.as_str(), "-n", "nft"], arguments].concat();
        shop.cluster.exec(node, "nsenter", &all)
    };
    in_its_network(&[
        "add table inet outage; add chain inet outage out { type filter hook output priority 0; }; \
         add rule inet outage out tcp dport 7420 drop",
    ])?;
    let stale = shop.wait_for(("consumergroup", "jobs-group"), SOON, |group| {
        group["status"]["limitedBy"] == "StaleData"
    })?;
    ensure!(replicas(&stale) >= before, "{before} replicas, then {}", stale["status"]);
    ensure!(condition(&stale, "DelayWithinTarget").1 == "StaleData", "{}", stale["status"]);
    shop.wait_for(("deployment", "worker"), SOON, |worker| worker["spec"]["replicas"] == 6)?;
    in_its_network(&["delete table inet outage"])?;
    shop.wait_for(("consumergroup", "jobs-group"), SOON, |group| {
        condition(group, "ScalingActive").0 == "True" && group["status"]["limitedBy"] != "StaleData"
    })?;
    let told = explain(shop, "jobs-group")?;
    ensure!(told["decision"]["inputs"]["demandPerSecond"].as_f64().is_some_and(|rate| rate > 0.0), "{told}");
    let published = shop.finish("to-jobs", Duration::from_secs(90))?;
    ensure!(published.succeeded, "{}", published.log);
    shop.wait_for(("deployment", "worker"), Duration::from_secs(120), |worker| {
        worker["spec"]["replicas"] == 0
    })?;
    let figures = Figures::of(shop, "jobs")?;
    ensure!(figures.left == 0, "{} messages are left", figures.left);
    Ok(format!("without figures {before}, then 6 replicas, and asleep again"))
}

/// Neither scales as long as both are there: the other one is deleted, and nobody scales for it any more.
fn two_groups_do_not_pull_at_one_workload(shop: &Shop) -> Result<()> {
    shop.apply(&manifest("ConsumerGroup", "jobs-rival", JOBS))?;
    for group in ["jobs-group", "jobs-rival"] {
        shop.wait_for(("consumergroup", group), SOON, |group| {
            condition(group, "ScalingActive") == ("False".to_owned(), "ConflictingAutoscaler".to_owned())
        })?;
    }
    shop.kubectl(&["delete", "consumergroup", "jobs-rival", "--wait=true"])?;
    shop.wait_for(("consumergroup", "jobs-group"), SOON, |group| {
        condition(group, "ScalingActive").0 == "True"
    })?;
    Ok(())
}

/// The operator's node and its process there.
fn operator_process(shop: &Shop) -> Result<(u8, String)> {
    let pods = shop.list("pods", "app.kubernetes.io/component=operator")?;
    let pod =
        pods.first().and_then(|pod| pod["metadata"]["name"].as_str()).context("there is no operator")?;
    let node = shop.node_of(pod)?;
    let found = shop.cluster.exec(node, "pgrep", &["-f", "^/pondage operator"])?;
    let pid = found.split_whitespace().next().context("its process")?;
    Ok((node, pid.to_owned()))
}

/// What the last decision about a group came from, as `pondage autoscale explain` tells it.
fn explain(shop: &Shop, group: &str) -> Result<Value> {
    let text = shop.explain(group, &[])?;
    ensure!(text.contains("Verdict") && text.contains("Formula, target"), "{text}");
    Ok(serde_json::from_str(&shop.explain(group, &["-o", "json"])?)?)
}

/// A group that reads a topic in order, and whose workload is a StatefulSet that has fewer replicas than it is to have.
fn a_stateful_set_is_scaled(shop: &Shop) -> Result<()> {
    let arguments = ["--group", "readers", "--ordered", "--concurrency", "4"];
    shop.apply(&workload("StatefulSet", "reader", 1, &arguments).to_string())?;
    let spec = "{topicRefs: [{name: jobs-events}], scaleTargetRef: {kind: StatefulSet, name: reader}, autoscaling: \
                {minReplicas: 2, maxReplicas: 3, target: {delay: 60s}}}";
    let resources =
        [manifest("Topic", "jobs-events", "{partitions: 4}"), manifest("ConsumerGroup", "readers", spec)];
    shop.apply(&resources.join("---\n"))?;
    shop.wait_for(("statefulset", "reader"), SOON, |set| set["spec"]["replicas"] == 2)?;
    shop.wait_for(("consumergroup", "readers"), Duration::from_secs(90), |group| {
        group["status"]["members"] == 2
    })?;
    // It is told while the other group works.
    let traffic = ["--queue", "jobs-events", "publish", "--pace", "150:100", "--poison", "300"];
    shop.start("to-events", 1, &traffic)
}

/// One message can't be processed, and what is behind it waits: that is told, and does not look like too few replicas.
fn a_stuck_partition_is_told(shop: &Shop) -> Result<String> {
    let group = shop.wait_for(("consumergroup", "readers"), Duration::from_secs(60), |group| {
        group["status"]["stuckPartitions"].as_array().is_some_and(|stuck| stuck.len() == 1)
    })?;
    ensure!(condition(&group, "ConsumersHealthy") == ("False".to_owned(), "PartitionStuck".to_owned()));
    ensure!(condition(&group, "DelayWithinTarget").0 == "True", "the other partitions: {}", group["status"]);
    let told = shop.explain("readers", &[])?;
    ensure!(told.contains("makes no progress"), "{told}");
    Ok(format!(
        "a StatefulSet from 1 to 2, at {} with {}",
        group["status"]["replicas"], group["status"]["stuckPartitions"][0]["topic"]
    ))
}

/// What all brokers together say of a queue.
#[derive(Debug, Default)]
struct Figures {
    accepted: u64,
    failures: u64,
    dead_lettered: u64,
    left: u64,
    age_seconds: f64,
}

impl Figures {
    fn of(shop: &Shop, queue: &str) -> Result<Self> {
        let label = format!("queue=\"{queue}\"");
        let mut found = Self::default();
        for (pod, ..) in shop.brokers()? {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:7421/proxy/metrics");
            let page = shop.cluster.kubectl(&["get", "--raw", &path], "")?;
            for line in page.lines().filter(|line| line.contains(&label)) {
                let (Some((metric, _)), Some((_, value))) = (line.split_once('{'), line.rsplit_once(' '))
                else {
                    continue;
                };
                let value: f64 = value.parse()?;
                match metric {
                    "pondage_queue_accepted_total" => found.accepted += value as u64,
                    "pondage_queue_failures_total" => found.failures += value as u64,
                    "pondage_queue_dead_lettered_total" => found.dead_lettered += value as u64,
                    "pondage_queue_ready" | "pondage_queue_unacked" | "pondage_queue_scheduled" => {
                        found.left += value as u64;
                    }
                    "pondage_queue_oldest_age_seconds" => found.age_seconds = found.age_seconds.max(value),
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

fn now_millis() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Workers of a group; nothing of the workload says how many.
fn workload(kind: &str, name: &str, replicas: u64, more: &[&str]) -> Value {
    let (server, work) = (Shop::server(), WORK_MILLIS.to_string());
    let access = ["--server", &server, "--certificate-authority", "/trust/ca.crt"];
    let arguments = [&access, &["--work-millis", &work, "--fails-at", POISON][..], more].concat();
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "serviceName": (kind == "StatefulSet").then_some(name),
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "terminationGracePeriodSeconds": 30,
                    "containers": [{
                        "name": "worker",
                        "image": TRAFFIC,
                        "command": ["/worker"],
                        "args": arguments,
                        "env": [{
                            "name": "POD_NAME",
                            "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } },
                        }],
                        "volumeMounts": [{ "name": "trust", "mountPath": "/trust" }],
                    }],
                    "volumes": [{ "name": "trust", "configMap": { "name": format!("{RELEASE}-ca") } }],
                },
            },
        },
    })
}
