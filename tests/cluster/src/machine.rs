//! What the machine can do, and what is installed for it.

use std::path::Path;

use anyhow::{Result, bail};

use crate::command::call;

/// A tool and the Debian package that brings it.
const TOOLS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("umount", "mount"),
];

/// Installs what is missing, where this is a Debian and the caller is root.
///
/// # Errors
/// With what is missing, if it can't be installed; nothing of a run is possible then.
pub fn prepare() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces, mounts and loop devices are for root only");
    }
    if !Path::new("/dev/net/tun").exists() {
        bail!("there is no /dev/net/tun");
    }
    let missing = || TOOLS.iter().filter(|(tool, _)| !is_installed(tool)).map(|(_, package)| *package);
    let mut packages: Vec<&str> = missing().collect();
    packages.dedup();
    if !packages.is_empty() {
        println!("installing {}", packages.join(", "));
        call("apt-get", &["update", "-qq"])?;
        let arguments = ["install", "--yes", "-qq", "--no-install-recommends"];
        call("apt-get", &[&arguments[..], &packages].concat())?;
    }
    if let Some(package) = missing().next() {
        bail!("{package} is not installed");
    }
    Ok(())
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders.map(Path::new).any(|folder| folder.join(tool).is_file())
}
