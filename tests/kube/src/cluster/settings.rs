//! What the programs of a node read when they start.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::network;
use crate::{
    addons, machine, parts,
    pki::{self, Holder},
};

/// Writes the certificates of everybody in a cluster of so many nodes.
pub(super) fn write_pki(folder: &Path, nodes: u8) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut holders = vec![
        Holder::client("controllers", "system:kube-controller-manager", None),
        Holder::client("scheduler", "system:kube-scheduler", None),
        Holder::client("proxy", "system:kube-proxy", None),
        Holder::client("kubelet-client", "kubelet-client", Some("system:masters")),
    ];
    holders.extend((1..=nodes).map(|number| Holder {
        file: name(number),
        user: format!("system:node:{}", name(number)),
        group: Some("system:nodes"),
        addresses: vec![network::node_address(number)],
    }));
    let first = network::node_address(1);
    pki::write(folder, &[std::net::Ipv4Addr::LOCALHOST, first, parts::API_SERVICE], &holders)?;
    pki::write_aggregation(folder)?;
    let server = format!("https://{first}:{}", parts::API_PORT);
    let nodes: Vec<String> = (1..=nodes).map(name).collect();
    let users = ["administrator", "controllers", "scheduler", "proxy"];
    for user in users.into_iter().chain(nodes.iter().map(String::as_str)) {
        crate::kubeconfig::write(folder, user, &server)?;
    }
    Ok(())
}

/// What a node is called.
pub(super) fn name(number: u8) -> String {
    format!("node{number}")
}

/// Writes the settings of a node.
pub(super) fn write(folder: &Path, pki: &Path, number: u8, cgroup: &str) -> Result<()> {
    fs::create_dir_all(folder.join("network"))?;
    // The name server that pods have which want that of their node: none.
    put(&folder.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
    put(&folder.join("containerd"), &containerd(folder))?;
    // JSON is YAML.
    put(&folder.join("kubelet"), &kubelet(folder, pki, &name(number), cgroup).to_string())?;
    put(&folder.join("proxy"), &proxy(pki).to_string())?;
    put(&folder.join("network/pods.conflist"), &pod_network(number).to_string())
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn containerd(folder: &Path) -> String {
    let pause = addons::PAUSE;
    let (plugins, network) = (machine::PLUGINS, folder.join("network"));
    let network = network.display();
    format!(
        r#"version = 2
# Stores for layers that are not used, and senders of traces.
disabled_plugins = [
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
]

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
disable_apparmor = true
disable_hugetlb_controller = true
# Where root is itself in a container, it may not protect processes from being killed first when memory is short.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{network}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

fn kubelet(folder: &Path, pki: &Path, name: &str, cgroup: &str) -> Value {
    let file = |name: &str| pki.join(name).display().to_string();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": file("authority.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": file(&format!("{name}.crt")),
        "tlsPrivateKeyFile": file(&format!("{name}.key")),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [parts::NAME_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": folder.join("resolv.conf"),
        "volumePluginDir": folder.join("plugins"),
        // Images were put there by hand and can't be fetched again, and the disk is the machine's.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 16,
    })
}

fn proxy(pki: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": network::PODS,
        "clientConnection": { "kubeconfig": pki.join("proxy.kubeconfig") },
        // Sizes of the machine's table, which is not the node's to change.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
    })
}

fn pod_network(number: u8) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods",
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": network::pods_of(number) }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
}
