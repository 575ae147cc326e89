//! What the parts of Kubernetes are started with, alone on loopback and in a cluster.

use std::{net::Ipv4Addr, path::Path};

/// Where services get their addresses.
const SERVICES: &str = "10.96.0.0/16";
/// The first of them, which is the API server's own.
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// That of the name server.
pub(crate) const NAME_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Where the API server listens in a cluster.
pub(crate) const API_PORT: u16 = 6443;
/// Where etcd serves clients and peers in a cluster.
const ETCD_PORTS: [u16; 2] = [2379, 2380];

/// A node that has not been heard of for so long is not ready. A usual cluster waits for 40 s, tests are in a hurry.
const SILENCE_SECONDS: u32 = 20;

/// What [`api_server_of_cluster`] and [`controllers`] need to know.
pub(crate) struct Place<'a> {
    /// The certificates.
    pub pki: &'a Path,
    /// The cluster's own folder.
    pub folder: &'a Path,
    /// The address of the node.
    pub address: Ipv4Addr,
    /// Pods leave a lost node after so many seconds; Kubernetes itself gives them 300.
    pub eviction_seconds: Option<u32>,
}

/// etcd with its data in a folder.
pub(crate) fn etcd(data: &Path, [client, peer]: [u16; 2]) -> Vec<String> {
    let [client, peer] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
    vec![
        format!("--data-dir={}", data.display()),
        // What is stored here is gone with the test.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=warn".to_owned(),
    ]
}

/// The etcd of a cluster, in the first node.
pub(crate) fn etcd_of_cluster(data: &Path) -> Vec<String> {
    etcd(data, ETCD_PORTS)
}

/// What every API server is told.
fn api_server(pki: &Path, etcd: u16, port: u16) -> Vec<String> {
    let file = |name: &str| pki.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("authority.crt")),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-cluster-ip-range={SERVICES}"),
    ]
}

/// An API server that has no cluster: nothing but its storage and its rules.
pub(crate) fn api_server_alone(pki: &Path, etcd: u16, port: u16) -> Vec<String> {
    let own = [
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--authorization-mode=RBAC",
        "--endpoint-reconciler-type=none",
        // Without controllers no namespace has one.
        "--disable-admission-plugins=ServiceAccount",
    ];
    let mut arguments = api_server(pki, etcd, port);
    arguments.extend(own.map(str::to_owned));
    arguments
}

/// The API server of a cluster. It notes every call ([`crate::audit`]).
pub(crate) fn api_server_of_cluster(place: &Place<'_>) -> Vec<String> {
    let file = |name: &str| place.pki.join(name).display().to_string();
    let mut arguments = api_server(place.pki, ETCD_PORTS[0], API_PORT);
    arguments.extend([
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={}", place.address),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        // As the kubelet's client: for logs and for commands in containers.
        format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        // As the front of extensions of the API.
        format!("--requestheader-client-ca-file={}", file("aggregation-authority.crt")),
        "--requestheader-allowed-names=aggregation".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--proxy-client-cert-file={}", file("aggregation.crt")),
        format!("--proxy-client-key-file={}", file("aggregation.key")),
        "--enable-aggregator-routing=true".to_owned(),
        format!("--audit-policy-file={}", place.folder.join("audit-policy").display()),
        format!("--audit-log-path={}", place.folder.join("audit.log").display()),
        // Never begun anew, or positions in it would mean nothing.
        "--audit-log-maxsize=100000".to_owned(),
    ]);
    if let Some(seconds) = place.eviction_seconds {
        arguments.push(format!("--default-not-ready-toleration-seconds={seconds}"));
        arguments.push(format!("--default-unreachable-toleration-seconds={seconds}"));
    }
    arguments
}

/// The controller manager.
pub(crate) fn controllers(place: &Place<'_>) -> Vec<String> {
    let file = |name: &str| place.pki.join(name).display().to_string();
    let mut arguments = component(place.pki, "controllers");
    arguments.extend([
        format!("--client-ca-file={}", file("authority.crt")),
        format!("--requestheader-client-ca-file={}", file("aggregation-authority.crt")),
        format!("--root-ca-file={}", file("authority.crt")),
        format!("--cluster-signing-cert-file={}", file("authority.crt")),
        format!("--cluster-signing-key-file={}", file("authority.key")),
        format!("--service-account-private-key-file={}", file("accounts.key")),
        "--use-service-account-credentials=true".to_owned(),
        // It makes this folder, whose usual place is the machine's.
        format!("--flex-volume-plugin-dir={}", place.folder.join("plugins").display()),
        format!("--node-monitor-grace-period={SILENCE_SECONDS}s"),
        "--node-monitor-period=2s".to_owned(),
        // Every zone has one node: each lost one is a zone of its own, and is left at once.
        "--node-eviction-rate=1".to_owned(),
        "--horizontal-pod-autoscaler-sync-period=5s".to_owned(),
    ]);
    arguments
}

/// The scheduler.
pub(crate) fn scheduler(pki: &Path) -> Vec<String> {
    component(pki, "scheduler")
}

fn component(pki: &Path, name: &str) -> Vec<String> {
    let config = pki.join(format!("{name}.kubeconfig"));
    let mut arguments: Vec<String> = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .map(|flag| format!("--{flag}={}", config.display()))
        .into();
    arguments.extend(
        ["--leader-elect=false", "--bind-address=127.0.0.1", "--kube-api-qps=500", "--kube-api-burst=1000"]
            .map(str::to_owned),
    );
    arguments
}

/// The kubelet of a node.
pub(crate) fn kubelet(pki: &Path, folder: &Path, name: &str, address: Ipv4Addr, zone: &str) -> Vec<String> {
    vec![
        format!("--config={}", folder.join("kubelet").display()),
        format!("--kubeconfig={}", pki.join(format!("{name}.kubeconfig")).display()),
        format!("--hostname-override={name}"),
        format!("--node-ip={address}"),
        format!("--node-labels=topology.kubernetes.io/zone={zone},topology.kubernetes.io/region=test"),
    ]
}

/// The proxy of a node, which leads to services.
pub(crate) fn proxy(folder: &Path, name: &str) -> Vec<String> {
    vec![format!("--config={}", folder.join("proxy").display()), format!("--hostname-override={name}")]
}
