//! Topics, queues and groups: repaired, refused, deleted, and many of them.

use std::{
    fmt::Write,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::shop::{NAMESPACE, RELEASE, Shop, condition, is_ready, manifest};
use crate::command::wait_until;

/// How long a repair may take to show.
const SOON: Duration = Duration::from_secs(40);

fn queue(name: &str, spec: &str) -> String {
    manifest("Queue", name, spec)
}

pub(super) fn drift_is_repaired(shop: &Shop) -> Result<String> {
    shop.kubectl(&["delete", "service", RELEASE, &format!("{RELEASE}-brokers")])?;
    for service in [RELEASE.to_owned(), format!("{RELEASE}-brokers")] {
        shop.wait_for(("service", &service), SOON, |_| true)?;
    }
    let patch = r#"{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}"#;
    shop.kubectl(&["patch", "statefulset", RELEASE, "--type=merge", "-p", patch])?;
    shop.wait_for(("statefulset", RELEASE), SOON, |set| {
        set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 60
    })?;
    let switch = |mode: &str| {
        shop.patch(("brokercluster", RELEASE), &json!({ "spec": { "networkPolicy": { "mode": mode } } }))
    };
    let policy = format!("networkpolicy/{RELEASE}-brokers");
    switch("Disabled")?;
    shop.wait(&policy, "delete", SOON)?;
    switch("Enabled")?;
    shop.wait_for(("networkpolicy", &format!("{RELEASE}-brokers")), SOON, |_| true)?;
    shop.apply(&queue("drifting", "{maxDeliveries: 7}"))?;
    shop.wait_for(("queue", "drifting"), SOON, is_ready)?;
    let uid = |shop: &Shop| shop.kubectl(&["get", "queue", "drifting", "-o", "jsonpath={.status.uid}"]);
    let before = uid(shop)?;
    shop.pondage("administrator", &["delete", "queue", "drifting", "--policy", "delete"])?;
    let begun = Instant::now();
    wait_until("the deleted queue, made again", SOON, || Ok(uid(shop)? != before))?;
    shop.wait_for(("queue", "drifting"), SOON, is_ready)?;
    let millis = begun.elapsed().as_millis();
    let held = shop.pondage("administrator", &["get", "queue", "drifting", "-o", "json"])?;
    ensure!(held.contains("drifting"), "{held}");
    shop.wait_ready(Duration::from_secs(120))?;
    Ok(format!("a queue that somebody deleted was back after {millis} ms"))
}

pub(super) fn refusals_are_said(shop: &Shop) -> Result<String> {
    shop.apply(&queue("first", "{queueName: contested}"))?;
    shop.wait_for(("queue", "first"), SOON, is_ready)?;
    let cases = [
        ("Queue", "second", "{queueName: contested}", "Accepted", "Conflict"),
        ("Queue", "lost-letters", "{deadLetter: {queueRef: {name: nowhere}}}", "ResolvedRefs", "RefNotFound"),
        ("Queue", "elsewhere", "{clusterRef: {name: nowhere}}", "ResolvedRefs", "ClusterNotFound"),
        (
            "Queue",
            "abroad",
            "{clusterRef: {name: main, namespace: other}}",
            "ResolvedRefs",
            "ClusterNotFound",
        ),
        ("ConsumerGroup", "readers", "{topicRefs: [{name: nowhere}]}", "ResolvedRefs", "RefNotFound"),
        ("Topic", "greedy", "{replicas: 9}", "Programmed", "Refused"),
    ];
    for (kind, name, spec, aspect, reason) in cases {
        shop.apply(&manifest(kind, name, spec))?;
        let kind = kind.to_lowercase();
        shop.wait_for((&kind, name), SOON, |object| {
            condition(object, aspect) == ("False".to_owned(), reason.to_owned())
                && condition(object, "Ready").0 == "False"
        })
        .with_context(|| format!("{aspect} should be False because of {reason}"))?;
    }
    // What was missed comes, and the resource gets ready by itself.
    shop.apply(&queue("nowhere", "{}"))?;
    shop.wait_for(("queue", "lost-letters"), SOON, is_ready)?;
    // The older one goes, and the newer one takes its place.
    shop.kubectl(&["delete", "queue", "first"])?;
    shop.wait_for(("queue", "second"), Duration::from_secs(90), is_ready)?;
    for (kind, name, ..) in cases {
        shop.kubectl(&["delete", &kind.to_lowercase(), name, "--ignore-not-found"])?;
    }
    Ok(format!("{} resources", cases.len()))
}

pub(super) fn what_is_not_ours_stays(shop: &Shop) -> Result<String> {
    let pause = |(kind, name): (&str, &str), wanted: &str| {
        let annotation = format!("pondage.io/paused{wanted}");
        shop.kubectl(&["annotate", "--overwrite", kind, name, &annotation]).map(drop)
    };
    shop.apply(&queue("paused", "{}"))?;
    shop.wait_for(("queue", "paused"), SOON, is_ready)?;
    pause(("queue", "paused"), "=true")?;
    shop.pondage("administrator", &["delete", "queue", "paused", "--policy", "delete"])?;
    let service = format!("{RELEASE}-brokers");
    pause(("brokercluster", RELEASE), "=true")?;
    shop.wait_for(("brokercluster", RELEASE), SOON, |cluster| {
        condition(cluster, "ReconciliationPaused").0 == "True"
    })?;
    shop.kubectl(&["delete", "service", &service])?;
    sleep(Duration::from_secs(5));
    let held = shop.pondage("administrator", &["get", "queues", "-o", "json"])?;
    ensure!(!held.contains("\"paused\""), "a paused queue was made again: {held}");
    let services = shop.kubectl(&["get", "service", &service, "--ignore-not-found", "-o", "name"])?;
    ensure!(services.is_empty(), "a paused cluster's service was made again");
    pause(("brokercluster", RELEASE), "-")?;
    shop.wait_for(("service", &service), SOON, |_| true)?;
    pause(("queue", "paused"), "-")?;
    wait_until("the queue, made again after its pause", SOON, || {
        Ok(shop.pondage("administrator", &["get", "queues", "-o", "json"])?.contains("\"paused\""))
    })?;
    // Somebody made a queue before.
    shop.apply(&queue("adopted", "{maxDeliveries: 3}"))?;
    shop.wait_for(("queue", "adopted"), SOON, is_ready)?;
    shop.kubectl(&["delete", "queue", "adopted", "--timeout=30s"])?;
    for (spec, reason) in [
        ("{maxDeliveries: 3, adoptionPolicy: Never}", "AlreadyExists"),
        ("{maxDeliveries: 4, adoptionPolicy: AdoptIfMatching}", "NotMatching"),
    ] {
        shop.apply(&queue("adopted", spec))?;
        let is_refused =
            |object: &Value| condition(object, "Accepted") == ("False".to_owned(), reason.to_owned());
        shop.wait_for(("queue", "adopted"), SOON, is_refused).with_context(|| format!("{spec}: {reason}"))?;
    }
    shop.apply(&queue("adopted", "{maxDeliveries: 3, adoptionPolicy: AdoptIfMatching}"))?;
    shop.wait_for(("queue", "adopted"), SOON, is_ready)?;
    shop.wait_ready(Duration::from_secs(120))?;
    Ok("a queue, a cluster; Never, AdoptIfMatching".to_owned())
}

pub(super) fn deletion_follows_the_policy(shop: &Shop) -> Result<String> {
    let cases = [
        ("kept", "Retain", true, true),
        ("full", "DeleteIfEmpty", true, true),
        ("empty", "DeleteIfEmpty", false, false),
        ("doomed", "Delete", true, false),
    ];
    for (name, policy, is_full, _) in cases {
        let name = format!("policy-{name}");
        shop.apply(&queue(&name, &format!("{{deletionPolicy: {policy}}}")))?;
        shop.wait_for(("queue", &name), SOON, is_ready)?;
        if is_full {
            shop.start("publisher", 1, &["--queue", &name, "--count", "10", "publish"])?;
            let published = shop.finish("publisher", Duration::from_secs(60))?;
            ensure!(published.succeeded, "{}", published.log);
        }
        shop.kubectl(&["delete", "queue", &name, "--timeout=30s"])?;
    }
    shop.apply(&manifest("Topic", "doomed", "{deletionPolicy: Delete}"))?;
    shop.wait_for(("topic", "doomed"), SOON, is_ready)?;
    shop.kubectl(&["delete", "topic", "doomed", "--timeout=30s"])?;
    let topics = shop.pondage("administrator", &["get", "topics", "-o", "json"])?;
    ensure!(!topics.contains("doomed"), "the topic stays: {topics}");
    let held = shop.pondage("administrator", &["get", "queues", "-o", "json"])?;
    for (name, policy, _, stays) in cases {
        let is_there = held.contains(&format!("policy-{name}"));
        ensure!(is_there == stays, "policy-{name} under {policy}: in the brokers is {is_there}");
    }
    // What was retained is taken over by the next one of its name, with its messages.
    shop.apply(&queue("policy-kept", "{}"))?;
    shop.start("consumer", 1, &["--queue", "policy-kept", "--count", "10", "consume"])?;
    let consumed = shop.finish("consumer", Duration::from_secs(60))?;
    ensure!(consumed.succeeded, "{}", consumed.log);
    Ok("Retain, DeleteIfEmpty with and without messages, Delete".to_owned())
}

pub(super) fn a_thousand_queues(shop: &Shop) -> Result<String> {
    let mut text = String::new();
    for number in 0..1_000 {
        writeln!(
            text,
            "---\n{{apiVersion: pondage.io/v1alpha1, kind: Queue, metadata: {{name: many-{number}, labels: {{many: yes-many}}}}, spec: {{}}}}"
        )?;
    }
    let begun = Instant::now();
    shop.cluster.kubectl(&["--namespace", NAMESPACE, "create", "-f", "-"], &text)?;
    let created = begun.elapsed().as_secs_f64();
    loop {
        let ready = shop.list("queues", "many=yes-many")?.iter().filter(|queue| is_ready(queue)).count();
        if ready == 1_000 {
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(300), "{ready} of 1,000 queues are ready");
        sleep(Duration::from_millis(500));
    }
    let all = begun.elapsed().as_secs_f64();
    let mebibytes = shop.operator_metric("process_resident_memory_bytes")? / f64::from(1 << 20);
    ensure!(mebibytes <= 100.0, "the operator has {mebibytes:.0} MiB");
    shop.kubectl(&["delete", "queues", "-l", "many=yes-many", "--wait=false"])?;
    let late = if all > 60.0 { ": LATE" } else { "" };
    Ok(format!(
        "{all:.0} s, {created:.0} s of them until kubectl had created them, bar 60{late}; operator {mebibytes:.0} MiB, bar 100"
    ))
}

pub(super) fn a_namespace_goes_without_the_operator(shop: &Shop) -> Result<String> {
    // An operator of all namespaces, so that this one is its own too.
    shop.install(&["--set", "operator.watchAllNamespaces=true"])?;
    let deployment = shop.operator()?;
    shop.cluster.kubectl(&["create", "namespace", "doomed"], "")?;
    let text = [
        manifest("BrokerCluster", "small", "{replicas: 1}"),
        manifest("Topic", "events", "{}"),
        queue("orders", "{}"),
    ];
    let text = text.join("---\n");
    shop.cluster.kubectl(&["--namespace", "doomed", "apply", "-f", "-"], &text)?;
    shop.kubectl(&["rollout", "status", "deployment", &deployment, "--timeout=60s"])?;
    for what in ["brokercluster/small", "topic/events", "queue/orders"] {
        let wait = ["--namespace", "doomed", "wait", what, "--for=condition=Ready", "--timeout=90s"];
        shop.cluster.kubectl(&wait, "").with_context(|| format!("{what} of another namespace"))?;
    }
    let guest = consent_by_labels(shop)?;
    shop.kubectl(&["scale", "deployment", &deployment, "--replicas=0"])?;
    wait_until("the operator's end", Duration::from_secs(60), || {
        Ok(shop.list("pods", "app.kubernetes.io/component=operator")?.is_empty())
    })?;
    let begun = Instant::now();
    shop.cluster.kubectl(&["delete", "namespace", "doomed", "--timeout=90s"], "")?;
    let seconds = begun.elapsed().as_secs_f64();
    shop.install(&[])?;
    shop.kubectl(&["scale", "deployment", &deployment, "--replicas=1"])?;
    shop.kubectl(&["rollout", "status", "deployment", &deployment, "--timeout=60s"])?;
    shop.cluster.kubectl(&["delete", "namespace", GUEST, "--timeout=90s"], "")?;
    Ok(format!("{seconds:.1} s; {guest}"))
}

/// A namespace whose queues may be those of the shop's brokers, as long as its label says so.
const GUEST: &str = "guest";

fn consent_by_labels(shop: &Shop) -> Result<String> {
    shop.cluster.kubectl(&["create", "namespace", GUEST], "")?;
    let guest = |arguments: &[&str], input: &str| {
        shop.cluster.kubectl(&[&["--namespace", GUEST], arguments].concat(), input)
    };
    let text = queue("visiting", &format!("{{clusterRef: {{name: {RELEASE}, namespace: {NAMESPACE}}}}}"));
    guest(&["apply", "-f", "-"], &text)?;
    let says = |aspect: &str, wanted: &str| {
        let path = format!("jsonpath={{.status.conditions[?(@.type==\"{aspect}\")].reason}}");
        wait_until(&format!("{aspect} because of {wanted}"), SOON, || {
            Ok(guest(&["get", "queue", "visiting", "-o", &path], "")? == wanted)
        })
    };
    says("Accepted", "NotAllowed")?;
    let allowed = json!({ "from": "Selector", "selector": { "matchLabels": { "team": "orders" } } });
    shop.patch(("brokercluster", RELEASE), &json!({ "spec": { "allowedNamespaces": allowed } }))?;
    sleep(Duration::from_secs(1));
    says("Accepted", "NotAllowed")?;
    let begun = Instant::now();
    shop.cluster.kubectl(&["label", "namespace", GUEST, "team=orders"], "")?;
    guest(&["wait", "queue/visiting", "--for=condition=Ready", "--timeout=20s"], "")?;
    let millis = begun.elapsed().as_millis();
    shop.cluster.kubectl(&["label", "namespace", GUEST, "team-"], "")?;
    says("Accepted", "NotAllowed")?;
    Ok(format!("a namespace is let in {millis} ms after its label"))
}
