//! Tries on a real cluster what tests rely on: that it comes up, what works in it, how it is harmed, and that nothing of
//! it is left.

mod traces;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{
    cluster::{Cluster, Plan},
    command::wait_until,
    image::Image,
    steps::Steps,
};
use traces::{Machine, Processes};

/// The chart that is installed.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/check/chart");
/// How long a change may take to show.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(90);
/// What lost nodes' pods are given.
const EVICTION_SECONDS: u32 = 25;

/// Makes a cluster of so many nodes, tries it, and takes it down. With a static binary of Pondage its image is tried too.
///
/// # Errors
/// With the first thing that is not as it should be.
pub fn run(nodes: u8, pondage: Option<&Path>) -> Result<()> {
    ensure!(nodes >= 2, "one node can't be cut off from others: give at least 2");
    let steps = Steps::begin();
    let machine = Machine::look()?;
    let cluster = Cluster::up_as(Plan { nodes, eviction_seconds: Some(EVICTION_SECONDS) })?;
    // Somebody else's can't be tried, which is better said before the trial than in its midst.
    cluster.node(nodes)?;
    steps.say("up");
    if let Err(error) = try_all(&cluster, nodes, pondage, &steps) {
        let logs =
            cluster.keep_logs().map_or_else(|error| format!("{error:#}"), |logs| logs.display().to_string());
        return Err(error.context(format!("the logs are in {logs}")));
    }
    let processes = Processes::of(&cluster.processes()?)?;
    cluster.down()?;
    steps.say("down");
    processes.ensure_gone()?;
    machine.ensure_same()?;
    steps.say("nothing is left");
    Ok(())
}

fn try_all(cluster: &Cluster, nodes: u8, pondage: Option<&Path>, steps: &Steps) -> Result<()> {
    install(cluster, nodes).context("a chart")?;
    steps.say("a chart of servers with volumes is installed, one server in each zone");
    try_names(cluster).context("names")?;
    steps.say("pods and services are found by their names, and by their addresses from outside of pods");
    if let Some(binary) = pondage {
        let image = Image::pondage("pondage.test/pondage:check", binary);
        cluster.load(&image)?;
        let version = ["run", "pondage", "--image", image.name(), "--restart=Never", "--", "--version"];
        cluster.kubectl(&version, "")?;
        wait_for(cluster, "pod/pondage", "jsonpath={.status.phase}=Succeeded")
            .context("pondage --version")?;
        steps.say("the image of Pondage runs");
    }
    try_volume(cluster).context("a deleted pod")?;
    steps.say("a deleted pod is back with its volume");
    try_cut(cluster, nodes, steps).context("a node that is cut off")?;
    try_kill(cluster, nodes, steps).context("a node that is killed")?;
    try_api_server(cluster, steps).context("the API server")
}

fn install(cluster: &Cluster, nodes: u8) -> Result<()> {
    let replicas = format!("replicas={nodes}");
    let install = ["install", "web", CHART, "--set", &replicas, "--wait", "--timeout=120s"];
    cluster.helm(&install)?;
    let path = "jsonpath={.items[*].spec.nodeName}";
    let on = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", path], "")?;
    let mut on: Vec<&str> = on.split(' ').collect();
    on.sort_unstable();
    on.dedup();
    ensure!(on.len() == usize::from(nodes), "the servers are on {on:?} only");
    let path = "jsonpath={.spec.tolerations[*].tolerationSeconds}";
    let seconds = cluster.kubectl(&["get", "pod", "web-0", "-o", path], "")?;
    let expected = format!("{EVICTION_SECONDS} {EVICTION_SECONDS}");
    ensure!(seconds == expected, "pods tolerate a lost node for {seconds} s");
    Ok(())
}

fn try_names(cluster: &Cluster) -> Result<()> {
    for name in ["web-1.web", "web-any", "web-1.web.default.svc.cluster.local"] {
        let port = if name == "web-any" { 80 } else { 8080 };
        let url = format!("http://{name}:{port}/born");
        let born = cluster.kubectl(&["exec", "web-0", "--", "/bin/wget", "-q", "-O", "-", &url], "")?;
        let expected = if name == "web-any" { "web-" } else { "web-1" };
        ensure!(born.starts_with(expected), "{url} says {born:?}");
    }
    let address = |resource, path| cluster.kubectl(&["get", resource, "-o", path], "");
    let pod = address("pod/web-1", "jsonpath={.status.podIP}")?;
    let service = address("service/web-any", "jsonpath={.spec.clusterIP}")?;
    for (address, port) in [(pod, 8080), (service, 80)] {
        let born = ask(cluster, SocketAddr::new(address.parse()?, port)).context(address)?;
        ensure!(born.contains("web-"), "{born}");
    }
    Ok(())
}

/// As a test's own client does: on a thread in the network of the first node.
fn ask(cluster: &Cluster, address: SocketAddr) -> Result<String> {
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            cluster.enter_network()?;
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            stream.write_all(b"GET /born HTTP/1.0\r\n\r\n")?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        });
        asking.join().unwrap_or_else(|_| Err(anyhow!("a panic")))
    })
}

fn try_volume(cluster: &Cluster) -> Result<()> {
    let mark = ["exec", "web-1", "--", "/bin/sh", "-c", "echo marked > /data/born"];
    cluster.kubectl(&mark, "")?;
    cluster.kubectl(&["delete", "pod", "web-1", "--wait=true"], "")?;
    expect_mark(cluster)
}

fn expect_mark(cluster: &Cluster) -> Result<()> {
    wait_until("a pod with its volume", CHANGE_TIMEOUT, || {
        let born = cluster.kubectl(&["exec", "web-1", "--", "/bin/cat", "/data/born"], "")?;
        ensure!(born.trim() == "marked", "it is another volume: {born}");
        Ok(true)
    })?;
    wait_for(cluster, "pod/web-1", "condition=Ready")
}

fn try_cut(cluster: &Cluster, nodes: u8, steps: &Steps) -> Result<()> {
    let node = cluster.node(nodes)?;
    node.cut()?;
    wait_for(cluster, &format!("node/{}", node.name()), "condition=Ready=Unknown")?;
    steps.say(&format!("{}, cut off, is not ready", node.name()));
    node.mend()?;
    wait_for(cluster, &format!("node/{}", node.name()), "condition=Ready")?;
    steps.say(&format!("{} is back", node.name()));
    wait_for_servers(cluster)
}

fn try_kill(cluster: &Cluster, nodes: u8, steps: &Steps) -> Result<()> {
    let node = cluster.node(nodes)?;
    node.kill()?;
    wait_for(cluster, &format!("node/{}", node.name()), "condition=Ready=Unknown")?;
    steps.say(&format!("{}, killed, is not ready", node.name()));
    node.start()?;
    steps.say(&format!("{} runs again", node.name()));
    wait_for_servers(cluster)?;
    expect_mark(cluster)?;
    steps.say("its pods run again, with their volumes");
    Ok(())
}

fn try_api_server(cluster: &Cluster, steps: &Steps) -> Result<()> {
    let server = cluster.api_server()?;
    let audit = cluster.audit()?;
    let before = audit.end()?;
    server.stop()?;
    ensure!(cluster.kubectl(&["get", "nodes"], "").is_err(), "it answers, although it was stopped");
    server.start()?;
    cluster.kubectl(&["get", "configmap", "noted", "--ignore-not-found"], "")?;
    let calls = audit.since(before)?;
    let noted = calls.iter().any(|call| {
        let object = &call.object_ref;
        (&call.verb[..], &call.user.username[..]) == ("get", "administrator")
            && (&object.resource[..], &object.name[..]) == ("configmaps", "noted")
            && call.response_status.code == 404
    });
    ensure!(noted, "among {} calls is not ours", calls.len());
    steps.say("the API server was away and is back, and has noted a call");
    Ok(())
}

fn wait_for_servers(cluster: &Cluster) -> Result<()> {
    let status = ["rollout", "status", "statefulset/web", "--timeout=120s"];
    cluster.kubectl(&status, "").map(drop)
}

fn wait_for(cluster: &Cluster, resource: &str, what: &str) -> Result<()> {
    let what = format!("--for={what}");
    let limit = format!("--timeout={}s", CHANGE_TIMEOUT.as_secs());
    cluster.kubectl(&["wait", resource, &what, &limit], "").map(drop)
}
