//! The namespace in which everything is installed, and how it is looked at.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Habits;
use crate::{cluster::Cluster, command::wait_until};

/// The image of Pondage.
pub(super) const IMAGE: &str = "pondage.test/pondage:test";
/// The same under another name, as a new version has one.
pub(super) const NEXT_IMAGE: &str = "pondage.test/pondage:next";
/// The image of an application.
pub(super) const TRAFFIC: &str = "pondage.test/traffic:test";
/// The namespace, the release and the BrokerCluster.
pub(super) const NAMESPACE: &str = "shop";
pub(super) const RELEASE: &str = "main";

/// A Kubernetes cluster with one installation of Pondage.
pub(super) struct Shop {
    pub(super) cluster: Cluster,
    pub(super) habits: Habits,
    /// The binary that the image has.
    pondage: PathBuf,
}

/// What an application said at its end.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) succeeded: bool,
    pub(super) report: Value,
    pub(super) log: String,
}

impl Shop {
    pub(super) const fn new(cluster: Cluster, habits: Habits, pondage: PathBuf) -> Self {
        Self { cluster, habits, pondage }
    }

    /// Something in the repository.
    pub(super) fn file(path: &str) -> String {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        root.join(path).display().to_string()
    }

    /// Installs the chart; `more` is what Helm is told besides.
    pub(super) fn install(&self, more: &[&str]) -> Result<()> {
        let chart = Self::file("charts/pondage");
        let (repository, tag) = IMAGE.split_once(':').context("an image with a tag")?;
        let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
        let mut arguments = vec![
            "upgrade",
            "--install",
            RELEASE,
            &chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--set",
            &repository,
            "--set",
            &tag,
            "--set",
            "image.pullPolicy=Never",
            "--set",
            "cluster.name=main",
            "--set",
            "operator.logLevel=info\\,pondage_operator=debug",
        ];
        arguments.extend(more);
        self.cluster.helm(&arguments).map(drop)
    }

    /// `kubectl` in the namespace.
    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", NAMESPACE];
        all.extend(arguments);
        self.cluster.kubectl(&all, "")
    }

    /// Applies what this says.
    pub(super) fn apply(&self, text: &str) -> Result<String> {
        self.cluster.kubectl(&["--namespace", NAMESPACE, "apply", "-f", "-"], text)
    }

    /// An object, as JSON.
    pub(super) fn get(&self, kind: &str, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"])?)?)
    }

    /// Objects, as JSON.
    pub(super) fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let mut arguments = vec!["get", kind, "-o", "json"];
        if !selector.is_empty() {
            arguments.extend(["-l", selector]);
        }
        let list: Value = serde_json::from_str(&self.kubectl(&arguments)?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits for a condition.
    pub(super) fn wait(&self, what: &str, condition: &str, limit: Duration) -> Result<()> {
        let (condition, limit) = (format!("--for={condition}"), format!("--timeout={}s", limit.as_secs()));
        self.kubectl(&["wait", what, &condition, &limit]).map(drop)
    }

    /// Waits until the brokers are ready and in sync.
    pub(super) fn wait_ready(&self, limit: Duration) -> Result<()> {
        self.wait(&format!("brokercluster/{RELEASE}"), "condition=Ready", limit)
    }

    /// Changes an object's fields.
    pub(super) fn patch(&self, (kind, name): (&str, &str), patch: &Value) -> Result<()> {
        self.kubectl(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()]).map(drop)
    }

    /// Starts the operator anew, and waits until it is there.
    pub(super) fn restart_operator(&self) -> Result<()> {
        let deployment = self.operator()?;
        self.kubectl(&["rollout", "restart", "deployment", &deployment])?;
        self.kubectl(&["rollout", "status", "deployment", &deployment, "--timeout=60s"]).map(drop)
    }

    /// The operator's Deployment.
    pub(super) fn operator(&self) -> Result<String> {
        let found = self.list("deployments", "app.kubernetes.io/component=operator")?;
        let name = found.first().and_then(|one| one["metadata"]["name"].as_str());
        name.map(str::to_owned).context("there is no operator")
    }

    /// Waits until an object's condition is so.
    pub(super) fn wait_for(
        &self,
        (kind, name): (&str, &str),
        limit: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = Value::Null;
        let waited = wait_until(&format!("{kind}/{name}"), limit, || {
            last = self.get(kind, name)?;
            Ok(is_so(&last))
        });
        waited.with_context(|| format!("its status is {}", last["status"]))?;
        Ok(last)
    }

    /// The brokers' pods by name: uid and whether it is ready.
    pub(super) fn brokers(&self) -> Result<Vec<(String, String, bool)>> {
        let pods = self.list("pods", "app.kubernetes.io/component=broker")?;
        let mut brokers: Vec<(String, String, bool)> = pods
            .iter()
            .map(|pod| {
                let text =
                    |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let is_ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
                (text("/metadata/name"), text("/metadata/uid"), is_ready)
            })
            .collect();
        brokers.sort();
        Ok(brokers)
    }

    /// The node on which a pod runs, by its number.
    pub(super) fn node_of(&self, pod: &str) -> Result<u8> {
        let name = self.kubectl(&["get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"])?;
        let number = name.trim_start_matches(|character: char| !character.is_ascii_digit());
        number.parse().with_context(|| format!("{pod} runs on {name:?}"))
    }

    /// Starts an application on a node.
    pub(super) fn start(&self, name: &str, node: u8, arguments: &[&str]) -> Result<()> {
        let server = Self::server();
        let access = ["--server", &server, "--authority", "/trust/ca.crt"];
        let trust = json!({ "configMap": { "name": format!("{RELEASE}-ca") } });
        let node = self.cluster.node(node)?.name().to_owned();
        self.run(name, TRAFFIC, &[&access, arguments].concat(), &trust, Some(&node))
    }

    /// Runs an image in a new pod, once; what it trusts is in `/trust`.
    fn run(
        &self,
        name: &str,
        image: &str,
        arguments: &[&str],
        trust: &Value,
        node: Option<&str>,
    ) -> Result<()> {
        self.kubectl(&["delete", "pod", name, "--ignore-not-found", "--wait=true"])?;
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name },
            "spec": {
                "restartPolicy": "Never",
                "nodeName": node,
                "containers": [{
                    "name": "once",
                    "image": image,
                    "args": arguments,
                    "volumeMounts": [{ "name": "trust", "mountPath": "/trust" }],
                }],
                "volumes": [{ "name": "trust", "projected": { "sources": [trust] } }],
            },
        });
        self.apply(&pod.to_string()).map(drop)
    }

    /// Runs `pondage` on this machine, as somebody with the kubeconfig of an administrator.
    pub(super) fn pondage_here(&self, arguments: &[&str]) -> Result<String> {
        let [kubectl, _] = self.cluster.clients()?;
        kubectl.with_program(self.pondage.clone()).run(arguments, "")
    }

    /// What `pondage autoscale explain` says of a group.
    pub(super) fn explain(&self, group: &str, more: &[&str]) -> Result<String> {
        let arguments = [&["autoscale", "explain", group, "--namespace", NAMESPACE], more].concat();
        self.pondage_here(&arguments)
    }

    /// Where clients connect.
    pub(super) fn server() -> String {
        format!("https://{RELEASE}.{NAMESPACE}.svc:7420")
    }

    /// Waits for an application's end.
    pub(super) fn finish(&self, name: &str, limit: Duration) -> Result<Said> {
        wait_until(&format!("the end of {name}"), limit, || {
            let phase = self.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.phase}"])?;
            Ok(["Succeeded", "Failed"].contains(&phase.as_str()))
        })
        .with_context(|| self.kubectl(&["logs", name]).unwrap_or_default())?;
        let phase = self.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.phase}"])?;
        let log = self.kubectl(&["logs", name])?;
        let report = log.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        Ok(Said { succeeded: phase == "Succeeded", report: report.unwrap_or_default(), log })
    }

    /// Runs `pondage` with these arguments in a pod, against the cluster, as an administrator.
    pub(super) fn pondage(&self, name: &str, arguments: &[&str]) -> Result<String> {
        self.start_pondage(name, arguments)?;
        let said = self.finish(name, Duration::from_secs(90))?;
        if !said.succeeded {
            bail!("pondage {}: {}", arguments.join(" "), said.log);
        }
        Ok(said.log)
    }

    /// Starts the same and does not wait for its end.
    pub(super) fn start_pondage(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let server = Self::server();
        let access = [
            "--server",
            &server,
            "--certificate-authority",
            "/trust/ca.crt",
            "--client-certificate",
            "/trust/tls.crt",
            "--client-key",
            "/trust/tls.key",
        ];
        let trust = json!({ "secret": { "name": format!("{RELEASE}-admin-tls") } });
        self.run(name, IMAGE, &[arguments, &access].concat(), &trust, None)
    }

    /// A figure that the operator says of itself.
    pub(super) fn operator_metric(&self, name: &str) -> Result<f64> {
        let pods = self.list("pods", "app.kubernetes.io/component=operator")?;
        let pod = pods.first().context("there is no operator")?;
        let pod = pod["metadata"]["name"].as_str().context("a name")?;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics");
        let page = self.cluster.kubectl(&["get", "--raw", &path], "")?;
        let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
        let value = line.and_then(|line| line.rsplit(' ').next()).with_context(|| format!("no {name}"))?;
        Ok(value.parse()?)
    }

    /// What helps to see why something failed.
    pub(super) fn evidence(&self) -> String {
        let looks: [&[&str]; 5] = [
            &["get", "brokercluster,topic,queue,consumergroup", "-o", "wide"],
            &["get", "pods", "-o", "wide"],
            &["get", "brokercluster", "-o", "jsonpath={.items[*].status}"],
            &["logs", "-l", "app.kubernetes.io/component=operator", "--tail=60"],
            &["logs", "-l", "app.kubernetes.io/component=broker", "--tail=15", "--prefix"],
        ];
        let said = looks.map(|look| {
            let text = self.kubectl(look).unwrap_or_else(|error| format!("{error:#}"));
            let lines: Vec<&str> = text.lines().take(120).collect();
            format!("--- kubectl {}\n{}", look.join(" "), lines.join("\n"))
        });
        said.join("\n")
    }
}

/// A resource of ours, as YAML; the spec is YAML, too, on one line.
pub(super) fn manifest(kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: pondage.io/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n")
}

/// The status of one of an object's conditions, with its reason.
pub(super) fn condition(object: &Value, kind: &str) -> (String, String) {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// Whether an object is ready.
pub(super) fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").0 == "True"
}

/// Both applications got through.
pub(super) fn check_traffic(published: &Said, consumed: &Said) -> Result<String> {
    ensure!(published.succeeded, "publishing: {}", published.log);
    ensure!(consumed.succeeded, "consuming: {}", consumed.log);
    Ok(format!(
        "{} acknowledged, {} taken, {} again, none lost, longest gap {} ms",
        published.report["acknowledged"],
        consumed.report["distinct"],
        consumed.report["again"],
        published.report["longestGapMillis"]
    ))
}
