//! What Kubernetes is told of our kinds.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use serde_json::{Value, json};

use crate::harness::{Ended, Place};

#[test]
fn definitions_are_printed_as_they_lie_in_the_repository() {
    let place = Place::empty();
    let text = place.ok(&["crds", "print"]);
    let kinds: Vec<&str> = text.split("---\n").collect();
    assert_eq!(kinds.len(), 4);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds");
    let kept = std::fs::read_to_string(format!("{folder}/queues.yaml")).expect("it is there");
    assert_eq!(place.ok(&["crds", "print", "pq"]), kept);
    assert!(kinds.contains(&kept.as_str()));
}

#[test]
fn programs_get_a_list() {
    let place = Place::empty();
    let text = place.ok(&["crds", "print", "topics", "Queue", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let names: Vec<_> =
        list["items"].as_array().expect("a list").iter().map(|it| &it["metadata"]["name"]).collect();
    assert_eq!(names, ["topics.pondage.io", "queues.pondage.io"]);
    place
        .run(&["crds", "print", "users"])
        .failed(2, &["the kinds are brokerclusters, topics, queues, consumergroups"]);
}

/// `crds apply` with a kubeconfig, or with one that is not there, and in no pod.
fn apply(place: &Place, args: &[&str]) -> Ended {
    let mut command = place.pondage(&[&["crds", "apply"], args].concat());
    command.env("KUBECONFIG", place.path("kubeconfig")).env("HOME", place.path("nobody"));
    command.env_remove("KUBERNETES_SERVICE_HOST");
    Ended::of(args, &command.output().expect("the binary starts"))
}

fn write_kubeconfig(place: &Place, server: &str) {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "clusters": [{ "name": "test", "cluster": { "server": server } }],
        "users": [{ "name": "test", "user": {} }],
    });
    place.write("kubeconfig", &config.to_string());
}

/// An API server: what it answers to each request line, one connection a request. Gives its address.
fn api_server(answer: impl Fn(&str) -> (u16, Value) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that went away is none of ours.
            let _ = serve(stream.expect("a connection"), &answer);
        }
    });
    format!("http://{address}")
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str) -> (u16, Value)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut std::io::Read::take(reader, length), &mut std::io::sink())?;
    let (status, body) = answer(request.trim_end());
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// What an API server says when it does not do something.
fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, status)
}

#[test]
fn without_a_cluster_nothing_is_applied() {
    let place = Place::empty();
    apply(&place, &[]).failed(2, &["no Kubernetes cluster to ask", "help: let KUBECONFIG name"]);
    place.write("kubeconfig", "clusters: [");
    apply(&place, &[]).failed(2, &["no Kubernetes cluster to ask"]);
    write_kubeconfig(&place, "http://127.0.0.1:9");
    apply(&place, &[]).failed(5, &["brokerclusters.pondage.io", "kubectl get --raw /readyz"]);
}

#[test]
fn who_may_not_change_definitions_is_told() {
    let place = Place::empty();
    let server = api_server(|_| status(403, "Forbidden", "somebody cannot get resource"));
    write_kubeconfig(&place, &server);
    apply(&place, &[])
        .failed(1, &["error: brokerclusters.pondage.io: somebody cannot get", "help: only who administers"]);
    let error: Value = serde_json::from_str(&apply(&place, &["-o", "json"]).err).expect("one object");
    assert_eq!(error["error"]["code"], "FORBIDDEN");
}

#[test]
fn definitions_are_created_or_configured_and_then_served() {
    let place = Place::empty();
    let text = place.ok(&["crds", "print", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    // Topics are there in this version, queues in an older one; the others are not.
    let server = api_server(move |request| {
        let is_of = |item: &&Value| request.contains(item["metadata"]["name"].as_str().expect("a name"));
        let mut item =
            list["items"].as_array().expect("a list").iter().find(is_of).expect("one of ours").clone();
        let is_there = request.contains("topics") || request.contains("queues");
        let patched = request.starts_with("PATCH");
        if patched {
            assert!(request.contains("fieldManager=pondage") && request.contains("force=true"), "{request}");
        }
        item["metadata"]["resourceVersion"] =
            if patched && request.contains("queues") { "2" } else { "1" }.into();
        item["status"] = json!({
            "storedVersions": ["v1alpha1"],
            "conditions": [{ "type": "Established", "status": "True", "lastTransitionTime": null, "reason": "", "message": "" }],
        });
        // The wait comes after the last patch, and finds all of them.
        static PATCHES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let patches = PATCHES.fetch_add(u32::from(patched), std::sync::atomic::Ordering::SeqCst);
        if patched || is_there || patches == 4 { (200, item) } else { status(404, "NotFound", "not found") }
    });
    write_kubeconfig(&place, &server);
    let ended = apply(&place, &[]);
    assert_eq!(
        ended.ok(),
        "customresourcedefinition/brokerclusters.pondage.io created\n\
         customresourcedefinition/topics.pondage.io unchanged\n\
         customresourcedefinition/queues.pondage.io configured\n\
         customresourcedefinition/consumergroups.pondage.io created\n"
    );
}

#[test]
fn definitions_of_a_newer_version_stay_unless_forced() {
    let place = Place::empty();
    let text = place.ok(&["crds", "print", "queues", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let server = api_server(move |request| {
        assert!(request.starts_with("GET"), "{request}");
        let mut item = list["items"][0].clone();
        item["metadata"]["annotations"]["pondage.io/version"] = "7.0.0".into();
        (200, item)
    });
    write_kubeconfig(&place, &server);
    apply(&place, &[]).failed(1, &["is of pondage 7.0.0, and this is", "--force"]);
}
