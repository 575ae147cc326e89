//! What fails under traffic.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};

use serde_json::json;

use super::shop::{RELEASE, Shop, check_traffic, is_ready, manifest};
use crate::command::wait_until;

/// Messages of a run.
const MESSAGES: &str = "100000";

/// Node 1 has the control plane and the applications; it stays.
const CUT: u8 = 3;

pub(super) fn nothing_acknowledged_is_lost(shop: &Shop) -> Result<String> {
    begin(shop, "lossless")?;
    sleep(Duration::from_secs(8));
    kill_broker(shop, 2)?;
    shop.wait_ready(Duration::from_secs(120)).context("after a broker was killed")?;
    let pod = broker_on(shop, 1)?;
    shop.kubectl(&["delete", "pod", &pod, "--wait=false"])?;
    sleep(Duration::from_secs(5));
    shop.wait_ready(Duration::from_secs(120)).context("after a pod was deleted")?;
    shop.cluster.node(CUT)?.cut()?;
    sleep(Duration::from_secs(25));
    shop.cluster.node(CUT)?.mend()?;
    let figures = end(shop)?;
    shop.wait_ready(Duration::from_secs(180)).context("after a node was cut off")?;
    Ok(figures)
}

pub(super) fn brokers_need_no_api_server(shop: &Shop) -> Result<String> {
    begin(shop, "alone")?;
    sleep(Duration::from_secs(3));
    let server = shop.cluster.api_server()?;
    server.stop()?;
    sleep(Duration::from_secs(10));
    // The kubelet starts it again: that takes no API server either.
    kill_broker(shop, 2)?;
    sleep(Duration::from_secs(50));
    server.start()?;
    let figures = end(shop)?;
    shop.wait_ready(Duration::from_secs(180))?;
    wait_for_names(shop)?;
    Ok(figures)
}

/// Waits until names lead to new pods again. The controllers of Kubernetes find their way back to an API server that was
/// away at their leisure, and until then whatever is restarted is found by nobody: that is not what comes next here.
fn wait_for_names(shop: &Shop) -> Result<()> {
    // What they once noted of a service they must see again before they change it, so a change is what tells.
    let choose = |component: &str| {
        shop.apply(
            &json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": "settled" },
                "spec": {
                    "clusterIP": "None",
                    "selector": { "app.kubernetes.io/component": component },
                    "ports": [{ "port": 1 }],
                },
            })
            .to_string(),
        )
    };
    let found = || -> Result<usize> {
        let slices = shop.list("endpointslices", "kubernetes.io/service-name=settled")?;
        Ok(slices.iter().filter_map(|slice| slice["endpoints"].as_array()).map(Vec::len).sum())
    };
    wait_until("names of new pods", Duration::from_secs(240), || {
        for (component, count) in [("broker", 3), ("operator", 1), ("broker", 3)] {
            choose(component)?;
            wait_until("a service that leads elsewhere", Duration::from_secs(5), || Ok(found()? == count))?;
        }
        Ok(true)
    })?;
    shop.kubectl(&["delete", "service", "settled"]).map(drop)
}

/// A queue, somebody who publishes to it and somebody who takes from it.
pub(super) fn begin(shop: &Shop, queue: &str) -> Result<()> {
    shop.apply(&manifest("Queue", queue, "{}"))?;
    shop.wait_for(("queue", queue), Duration::from_secs(30), is_ready)?;
    shop.start("consumer", 1, &["--queue", queue, "--count", MESSAGES, "consume"])?;
    shop.start("publisher", 1, &["--queue", queue, "--count", MESSAGES, "publish"])?;
    shop.wait("pod/publisher", "jsonpath={.status.phase}=Running", Duration::from_secs(60))
}

/// Waits for both, and compares.
pub(super) fn end(shop: &Shop) -> Result<String> {
    let published = shop.finish("publisher", Duration::from_secs(300))?;
    let consumed = shop.finish("consumer", Duration::from_secs(300))?;
    check_traffic(&published, &consumed)
}

/// The pod of the broker on a node.
fn broker_on(shop: &Shop, node: u8) -> Result<String> {
    for (pod, _, _) in shop.brokers()? {
        if shop.node_of(&pod)? == node {
            return Ok(pod);
        }
    }
    anyhow::bail!("no broker of {RELEASE} is on node {node}")
}

/// Kills the broker's process on a node, from within the node.
fn kill_broker(shop: &Shop, node: u8) -> Result<()> {
    let found = shop.cluster.exec(node, "pgrep", &["-f", "^/pondage broker"])?;
    let pids: Vec<&str> = found.split_whitespace().collect();
    ensure!(pids.len() == 1, "brokers on node {node}: {pids:?}");
    shop.cluster.exec(node, "kill", &["-9", pids[0]]).map(drop)
}
