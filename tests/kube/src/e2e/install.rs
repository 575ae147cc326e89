//! Installing, and installing again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::shop::{NAMESPACE, RELEASE, Shop, check_traffic, is_ready, manifest};
use crate::command::wait_until;

/// What an installation may take.
const READY_SECONDS: u64 = 60;

pub(super) fn brokers_get_ready(shop: &Shop) -> Result<String> {
    let begun = Instant::now();
    shop.install(&[])?;
    shop.wait_ready(Duration::from_secs(240))?;
    let seconds = begun.elapsed().as_secs_f64();
    let brokers = shop.brokers()?;
    ensure!(brokers.len() == 3 && brokers.iter().all(|broker| broker.2), "{brokers:?}");
    let cluster = shop.get("brokercluster", RELEASE)?;
    let racks: Vec<&str> = cluster["status"]["brokers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["rack"].as_str())
        .collect();
    let mut different = racks.clone();
    different.sort_unstable();
    different.dedup();
    ensure!(different.len() == 3, "the brokers' racks are {racks:?}");
    let late = if seconds > READY_SECONDS as f64 { ": LATE" } else { "" };
    Ok(format!("{seconds:.0} s, bar {READY_SECONDS} s{late}"))
}

pub(super) fn quickstart_gets_ready(shop: &Shop) -> Result<String> {
    shop.kubectl(&["apply", "-f", &Shop::file("deploy/quickstart.yaml")])?;
    for what in ["topic", "queue", "consumergroup"] {
        shop.kubectl(&["wait", what, "--all", "--for=condition=Ready", "--timeout=30s"])?;
    }
    let mut times = Vec::new();
    for number in 0..5 {
        let begun = Instant::now();
        let name = format!("timed-{number}");
        shop.apply(&manifest("Queue", &name, "{}"))?;
        shop.wait_for(("queue", &name), Duration::from_secs(20), is_ready)?;
        times.push(begun.elapsed().as_millis());
    }
    times.sort_unstable();
    // What NOTES tell people to do next.
    shop.cluster.helm(&["test", RELEASE, "--namespace", NAMESPACE, "--timeout=120s"])?;
    for kind in ["brokerclusters", "topics", "queues", "consumergroups"] {
        let table = shop.kubectl(&["get", kind])?;
        ensure!(table.contains("READY") && table.contains("True"), "{table}");
    }
    Ok(format!(
        "a queue: median {} ms, longest {} ms, kubectl's own time in it; bar 2,000",
        times[2], times[4]
    ))
}

pub(super) fn data_outlives_the_release(shop: &Shop) -> Result<String> {
    shop.apply(&manifest("Queue", "kept", "{}"))?;
    shop.wait_for(("queue", "kept"), Duration::from_secs(20), is_ready)?;
    shop.start("publisher", 1, &["--queue", "kept", "--count", "1000", "publish"])?;
    let published = shop.finish("publisher", Duration::from_secs(60))?;
    ensure!(published.succeeded, "{}", published.log);
    let id = |shop: &Shop| -> Result<String> {
        shop.kubectl(&["get", "brokercluster", RELEASE, "-o", "jsonpath={.status.clusterId}"])
    };
    let before = id(shop)?;
    shop.cluster.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout=120s"])?;
    wait_until("the brokers' end", Duration::from_secs(120), || Ok(shop.brokers()?.is_empty()))?;
    ensure!(shop.list("persistentvolumeclaims", "")?.len() == 3, "volumes went");
    shop.install(&[])?;
    shop.wait_ready(Duration::from_secs(180))?;
    ensure!(id(shop)? == before, "it is another cluster: {} after {before}", id(shop)?);
    shop.start("consumer", 1, &["--queue", "kept", "--count", "1000", "consume"])?;
    let consumed = shop.finish("consumer", Duration::from_secs(120))?;
    check_traffic(&published, &consumed)
}
