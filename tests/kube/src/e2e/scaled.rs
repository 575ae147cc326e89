//! Consumers in pods that are scaled on their group's backlog: from none to many and back, while one of them is killed.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::shop::{NAMESPACE, RELEASE, Shop, TRAFFIC, condition, is_ready, manifest};
use crate::command::wait_until;

const SOON: Duration = Duration::from_secs(40);
/// Messages of a busy time, and how many a second; then those of a quieter one.
const BUSY: (u64, u64) = (6_000, 200);
const QUIET: (u64, u64) = (7_000, 100);
/// Over each message: one worker does about thirty a second.
const WORK_MILLIS: u64 = 30;
/// How old a message may get.
const TARGET: Duration = Duration::from_secs(15);

pub(super) fn consumers_follow_the_backlog(shop: &Shop) -> Result<String> {
    shop.apply(&(workload("Deployment", "worker", 0, "jobs-group", false).to_string()))?;
    let spec = format!(
        "{{queueRef: {{name: jobs}}, scaleTargetRef: {{name: worker}}, autoscaling: {{minReplicas: 0, \
         maxReplicas: 10, target: {{delay: {}s}}, scaleToZero: {{after: 15s}}, \
         behavior: {{scaleDown: {{stabilizationWindowSeconds: 10}}}}}}}}",
        TARGET.as_secs()
    );
    shop.apply(
        &[manifest("Queue", "jobs", "{}"), manifest("ConsumerGroup", "jobs-group", &spec)].join("---\n"),
    )?;
    shop.wait_for(("consumergroup", "jobs-group"), SOON, |group| {
        is_ready(group) && condition(group, "ScalingActive").0 == "True"
    })?;
    let woke = first_message(shop)?;
    let most = busy(shop)?;
    let fewest = quiet(shop)?;
    shop.wait_for(("deployment", "worker"), Duration::from_secs(180), |worker| {
        worker["spec"]["replicas"] == 0
    })?;
    let group =
        shop.wait_for(("consumergroup", "jobs-group"), SOON, |group| group["status"]["replicas"] == 0)?;
    let settled = counted(shop, "pondage_queue_accepted_total")?;
    let published = 1 + BUSY.0 + QUIET.0;
    ensure!(settled == published, "{settled} of {published} messages were settled");
    // The member that was killed had one message in its hands, and one that waited at most.
    let lost = counted(shop, "pondage_queue_failures_total")?;
    ensure!(lost <= 2, "{lost} messages were taken from consumers that were scaled in: {}", group["status"]);
    for reason in ["Woke", "ScaledIn", "FellAsleep"] {
        let selector = format!("involvedObject.name=jobs-group,reason={reason}");
        let events = shop.kubectl(&["get", "events", "--field-selector", &selector, "-o", "name"])?;
        ensure!(!events.is_empty(), "there is no event {reason}");
    }
    let set = a_stateful_set_is_scaled(shop)?;
    Ok(format!(
        "first message after {:.1} s, {:.1} s of it until its pod was ready; {most} workers for {} messages a second, {fewest} for {}; \
         {settled} settled, {lost} of a killed one again; asleep again; {set}",
        woke.0.as_secs_f64(),
        woke.1.as_secs_f64(),
        BUSY.1,
        QUIET.1
    ))
}

/// One message wakes a worker: how long it took until it was settled, and until the pod was ready.
fn first_message(shop: &Shop) -> Result<(Duration, Duration)> {
    shop.start("to-jobs", 1, &["--queue", "jobs", "--count", "1", "publish"])?;
    let published = shop.finish("to-jobs", SOON)?;
    ensure!(published.succeeded, "{}", published.log);
    let begun = Instant::now();
    let mut ready = None;
    wait_until("the first message is settled", Duration::from_secs(90), || {
        if ready.is_none() && workers(shop)?.iter().any(is_pod_ready) {
            ready = Some(begun.elapsed());
        }
        Ok(counted(shop, "pondage_queue_accepted_total")? == 1)
    })?;
    let settled = begun.elapsed();
    let ready = ready.unwrap_or(settled);
    let after = settled.saturating_sub(ready);
    ensure!(after < Duration::from_secs(4), "it took {after:?} from the ready pod to the first message");
    Ok((settled, ready))
}

/// Publishes so many messages, so many a second, and looks every second at how many workers there are to be.
fn publish(shop: &Shop, (count, rate): (u64, u64), mut look: impl FnMut(u64) -> Result<()>) -> Result<()> {
    let (counted, paced) = (count.to_string(), rate.to_string());
    shop.start("to-jobs", 1, &["--queue", "jobs", "--count", &counted, "publish", "--rate", &paced])?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(count / rate) {
        look(shop.get("deployment", "worker")?["spec"]["replicas"].as_u64().unwrap_or(0))?;
        sleep(Duration::from_secs(1));
    }
    let published = shop.finish("to-jobs", SOON)?;
    ensure!(published.succeeded, "{}", published.log);
    Ok(())
}

/// More messages than one worker gets done; one of several is killed in the middle. The most workers that there were.
fn busy(shop: &Shop) -> Result<u64> {
    let (mut most, mut is_killed) = (0, false);
    publish(shop, BUSY, |replicas| {
        most = most.max(replicas);
        let ready = workers(shop)?.into_iter().find(|pod| most >= 3 && is_pod_ready(pod));
        if let Some(victim) = ready.filter(|_| !is_killed) {
            let name = victim["metadata"]["name"].as_str().context("a name")?.to_owned();
            shop.kubectl(&["delete", "pod", &name, "--grace-period=0", "--force"])?;
            is_killed = true;
        }
        Ok(())
    })?;
    ensure!(is_killed && most >= 4, "{most} workers were the most");
    Ok(most)
}

/// Half as many a second: workers go while the others work. The fewest that there were.
fn quiet(shop: &Shop) -> Result<u64> {
    let mut fewest = u64::MAX;
    publish(shop, QUIET, |replicas| {
        fewest = fewest.min(replicas);
        Ok(())
    })?;
    Ok(fewest)
}

/// A group on a topic whose workload is a StatefulSet, and that has fewer replicas than it is to have.
fn a_stateful_set_is_scaled(shop: &Shop) -> Result<String> {
    shop.apply(&workload("StatefulSet", "reader", 1, "readers", true).to_string())?;
    let spec = "{topicRefs: [{name: jobs-events}], scaleTargetRef: {kind: StatefulSet, name: reader}, autoscaling: \
                {minReplicas: 2, maxReplicas: 3, target: {delay: 30s}}}";
    let resources =
        [manifest("Topic", "jobs-events", "{partitions: 4}"), manifest("ConsumerGroup", "readers", spec)];
    shop.apply(&resources.join("---\n"))?;
    shop.wait_for(("statefulset", "reader"), SOON, |set| set["spec"]["replicas"] == 2)?;
    shop.wait_for(("consumergroup", "readers"), Duration::from_secs(90), |group| {
        group["status"]["members"] == 2
    })?;
    for (kind, name) in [("consumergroup", "readers"), ("statefulset", "reader"), ("deployment", "worker")] {
        shop.kubectl(&["delete", kind, name, "--wait=true"])?;
    }
    Ok("a StatefulSet from 1 to 2, both members".to_owned())
}

fn workers(shop: &Shop) -> Result<Vec<Value>> {
    shop.list("pods", "app=worker")
}

fn is_pod_ready(pod: &Value) -> bool {
    condition(pod, "Ready").0 == "True"
}

/// What all brokers together counted of the queue.
fn counted(shop: &Shop, metric: &str) -> Result<u64> {
    let mut all = 0.0_f64;
    for (pod, ..) in shop.brokers()? {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:7421/proxy/metrics");
        let page = shop.cluster.kubectl(&["get", "--raw", &path], "")?;
        let lines = page.lines().filter(|line| line.starts_with(metric) && line.contains("queue=\"jobs\""));
        all += lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(all as u64)
}

/// Workers of a group; nothing of it says how many.
fn workload(kind: &str, name: &str, replicas: u64, group: &str, is_ordered: bool) -> Value {
    let server = format!("https://{RELEASE}.{NAMESPACE}.svc:7420");
    let mut arguments =
        vec!["--server", &server, "--certificate-authority", "/trust/ca.crt", "--group", group];
    let work = WORK_MILLIS.to_string();
    arguments.extend(["--work-millis", &work]);
    if is_ordered {
        arguments.push("--ordered");
    }
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
