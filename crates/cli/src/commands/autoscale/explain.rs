//! `pondage autoscale explain`: why a group's consumers are as many as they are.
//!
//! The operator that scales them knows. It is asked through the API server, so that whoever may look at its pods needs no
//! way into the cluster's network.

use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use pondage_resources::{API_VERSION, Kind};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    commands::{ResultForm, print},
    exit::{Exit, Failure, Result},
    kubernetes::{Doing, connect, in_time},
    render::text::{Lines, shown, without_harm},
};

/// How long it may take, unless --timeout says otherwise.
const PATIENCE: Duration = Duration::from_secs(15);
/// The operator's pods, as the chart labels them.
const OPERATORS: &str = "app.kubernetes.io/name=pondage,app.kubernetes.io/component=operator";
/// Where an operator answers whose pod does not name the port `http`.
const PORT: i32 = 8_080;

const READING_PODS: Doing = Doing::Reading {
    if_forbidden: "name the operator's namespace with --operator-namespace, and ask there for list on pods and get on \
                   pods/proxy",
};
const READING_GROUP: Doing =
    Doing::Reading { if_forbidden: "ask for get on consumergroups in the group's namespace" };

/// Show what the last decision about a group's consumers came from: inputs, formula and verdict
#[derive(Args, Debug)]
#[command(after_help = "\
The operator that scales the group is asked, through the API server of the cluster that kubectl would ask: KUBECONFIG,
~/.kube/config, or the one around this pod. That takes list on pods and get on pods/proxy in the operator's namespace.

Examples:
  pondage autoscale explain packers -n shop
  pondage autoscale explain packers -n shop -o json | jq .decision.inputs")]
pub(super) struct Explain {
    /// The ConsumerGroup, as Kubernetes names it
    #[arg(value_name = "GROUP", value_hint = clap::ValueHint::Other)]
    group: String,

    /// Its namespace [default: that of the current context]
    #[arg(short, long, value_name = "NAMESPACE", value_hint = clap::ValueHint::Other)]
    namespace: Option<String>,

    /// The namespace of the operator [default: it is looked for in all]
    #[arg(long, value_name = "NAMESPACE", value_hint = clap::ValueHint::Other)]
    operator_namespace: Option<String>,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl Explain {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(super) async fn run(&self, patience: Option<Duration>) -> Result<Exit> {
        let deadline = Instant::now() + patience.unwrap_or(PATIENCE);
        let client = connect().await?;
        let namespace = self.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
        for part in [&namespace, &self.group] {
            check(part)?;
        }
        let pods: Api<Pod> = match &self.operator_namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let wanted = ListParams::default().labels(OPERATORS);
        let operators = pods.list(&wanted);
        let mut operators = in_time(deadline, "the operator's pods", READING_PODS, operators).await?.items;
        operators.retain(|pod| {
            pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
        });
        let mut problem = None;
        for pod in &operators {
            let request = http::Request::get(self.path(pod, &namespace)).body(Vec::new());
            let request = request.map_err(|error| Failure::usage(error.to_string()))?;
            let name = pod.name_any();
            match in_time(deadline, &name, READING_PODS, client.request_text(request)).await {
                Ok(explained) => {
                    print(&self.told(&explained)?)?;
                    return Ok(Exit::Ok);
                }
                // One that waits for the lease knows of nothing.
                Err(failure) if failure.exit == Exit::NotFound => {}
                Err(failure) => problem = Some(failure),
            }
        }
        Err(match problem {
            Some(problem) => problem,
            None => self.not_scaled(&client, &namespace, operators.len(), deadline).await?,
        })
    }

    /// Where an operator answers, behind the API server.
    fn path(&self, pod: &Pod, namespace: &str) -> String {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        let named = ports.find(|port| port.name.as_deref() == Some("http"));
        let port = named.map_or(PORT, |port| port.container_port);
        let (home, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let form = if self.is_json() { "?output=json" } else { "" };
        let group = &self.group;
        format!("/api/v1/namespaces/{home}/pods/{name}:{port}/proxy/autoscaling/{namespace}/{group}{form}")
    }

    fn told(&self, explained: &str) -> Result<String> {
        if !self.is_json() {
            return Ok(shown(explained.as_bytes(), Lines::Many));
        }
        let not_understood = |error| Failure::failed(format!("the operator's answer is no JSON: {error}"));
        let value: Value = serde_json::from_str(explained).map_err(not_understood)?;
        let pretty = serde_json::to_string_pretty(&value).map_err(not_understood)?;
        Ok(without_harm(&pretty) + "\n")
    }

    /// Why no operator knows of the group.
    async fn not_scaled(
        &self,
        client: &Client,
        namespace: &str,
        operators: usize,
        deadline: Instant,
    ) -> Result<Failure> {
        let kind = Kind::ConsumerGroup.as_str();
        let (group, version) = API_VERSION.split_once('/').unwrap_or((API_VERSION, ""));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let groups: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let name = format!("ConsumerGroup {namespace}/{}", self.group);
        let found = in_time(deadline, &name, READING_GROUP, groups.get(&self.group)).await?;
        if operators == 0 {
            return Ok(Failure::failed("no pod of an operator runs here")
                .help("install the chart; or name the operator's namespace with --operator-namespace"));
        }
        let asked = found.data.pointer("/spec/autoscaling");
        if asked.is_none_or(|asked| asked.get("mode").and_then(Value::as_str) == Some("Disabled")) {
            return Ok(Failure::failed(format!(
                "{name} is not scaled: it has no autoscaling, or mode Disabled"
            ))
            .help("set spec.autoscaling and spec.scaleTargetRef, with mode Recommend to only look"));
        }
        let conditions = found.data.pointer("/status/conditions").and_then(Value::as_array);
        let wrong = conditions.into_iter().flatten().find(|one| one["status"] == "False");
        let why = wrong.and_then(|one| one["message"].as_str()).unwrap_or("no operator has looked at it yet");
        Ok(Failure::failed(format!("{name} is not scaled at the moment: {why}"))
            .help(format!("look: kubectl describe consumergroup -n {namespace} {}", self.group)))
    }
}

/// A name that is a part of a path, and nothing else.
fn check(name: &str) -> Result<()> {
    let is_well =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    if !name.is_empty() && name.chars().all(is_well) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Failure::usage(format!("{name:?} is no name of Kubernetes"))
        .help("names have small letters, digits, - and ."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explain(output: ResultForm) -> Explain {
        Explain { group: "packers".to_owned(), namespace: None, operator_namespace: None, output }
    }

    #[test]
    fn the_operator_is_asked_at_the_port_that_its_pod_names() {
        let pod = |ports: Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": { "name": "operator-1", "namespace": "pondage" },
                "spec": { "containers": [{ "name": "operator", "ports": ports }] },
            }))
            .expect("a pod")
        };
        let named =
            pod(json!([{ "name": "other", "containerPort": 1 }, { "name": "http", "containerPort": 9 }]));
        assert_eq!(
            explain(ResultForm::Json).path(&named, "shop"),
            "/api/v1/namespaces/pondage/pods/operator-1:9/proxy/autoscaling/shop/packers?output=json"
        );
        assert_eq!(
            explain(ResultForm::Text).path(&pod(json!([])), "shop"),
            "/api/v1/namespaces/pondage/pods/operator-1:8080/proxy/autoscaling/shop/packers"
        );
    }

    #[test]
    fn what_is_no_name_goes_into_no_path() {
        for name in ["", ".", "..", "a/b", "a?b", "A", "a%2f"] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(check("packers-2.eu").is_ok());
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_is_printed() {
        let told = explain(ResultForm::Text).told("a\u{1b}[2Jb\n").expect("told");
        assert!(!told.contains('\u{1b}') && told.ends_with("b\n"), "{told:?}");
        assert!(explain(ResultForm::Json).told("<html>").is_err());
    }
}
