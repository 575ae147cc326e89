//! What nodes need of the machine: the Debian packages, which are installed, and the rest, which is there or is not.

use std::{fs, path::Path};

use anyhow::{Result, bail, ensure};

use crate::command::call;

/// A file and the Debian package that brings it.
const FILES: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    (BRIDGE, "containernetworking-plugins"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("sha256sum", "coreutils"),
    (BUSYBOX, "busybox-static"),
];

/// Where Debian puts the plugins that give pods their network.
pub(crate) const PLUGINS: &str = "/usr/lib/cni";
const BRIDGE: &str = "/usr/lib/cni/bridge";

/// The shell of the pods that have one. It must need no libraries.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Where the kernel's groups of processes are.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// What to do where no cluster can be made.
const INSTEAD: &str = "point PONDAGE_E2E_KUBECONFIG at any other cluster (tests/kube/README.md)";

/// Installs what is missing, where this is a Debian and the caller is root.
///
/// # Errors
/// With what is missing and can't be had; no cluster is possible then.
pub(crate) fn prepare() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "a cluster's nodes are namespaces, which are for root only: run as root, or {INSTEAD}"
    );
    ensure!(
        Path::new(CGROUPS).join("memory/tasks").exists(),
        "the nodes need cgroup v1 at {CGROUPS}, which is not here: {INSTEAD}"
    );
    for (path, what) in [("/proc/sys/net/bridge", "br_netfilter"), ("/proc/self/ns/pid", "namespaces")] {
        ensure!(Path::new(path).exists(), "the kernel has no {what} ({path}): {INSTEAD}");
    }
    let missing = || FILES.iter().filter(|(file, _)| !is_there(file)).map(|(_, package)| *package);
    let packages: Vec<&str> = missing().collect();
    if !packages.is_empty() {
        ensure!(
            is_there("apt-get"),
            "{} must be installed, and this is no Debian: {INSTEAD}",
            packages.join(", ")
        );
        println!("installing {}", packages.join(", "));
        call("apt-get", &["update", "-qq"])?;
        let arguments = ["install", "--yes", "-qq", "--no-install-recommends"];
        call("apt-get", &[&arguments[..], &packages].concat())?;
    }
    if let Some(package) = missing().next() {
        bail!("{package} was installed and is still not found: {INSTEAD}");
    }
    Ok(())
}

fn is_there(file: &str) -> bool {
    if file == BUSYBOX {
        return is_static(Path::new(file));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders.map(Path::new).any(|folder| folder.join(file).is_file())
}

/// Whether a program names no loader, which it would do near its beginning.
fn is_static(program: &Path) -> bool {
    let Ok(bytes) = fs::read(program) else { return false };
    let head = &bytes[..bytes.len().min(4096)];
    !head.windows(4).any(|part| part == b"/ld-")
}
