//! The first process of a node: it shapes the namespaces that it was born in, and then collects the processes that
//! nobody waits for. When it ends, the kernel ends everything else in the node.
//!
//! It is the test program itself, called again: there is no script to install, and every program that makes clusters
//! begins with [`serve`].

use std::{
    fs,
    io::{Read, stdin},
    path::Path,
    process::exit,
    thread::{sleep, spawn},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount},
    process::{WaitOptions, wait},
    system::sethostname,
};

use super::{cgroups::UNIFIED, place};
use crate::machine::CGROUPS;

/// What the program is called with to become one.
pub(super) const CALL: &str = "first-process-of-a-node";
/// It ends with the one that called it, which holds the other end of its standard input.
pub(super) const OWNED: &str = "owned";
/// It stays until it is killed.
pub(super) const KEPT: &str = "kept";
/// The name of the place that is no node: its namespaces are only a network.
pub(super) const SWITCH: &str = "switch";
/// Appears in the folder when all is done: the process id, as the machine knows it.
pub(super) const READY: &str = "process";

/// The kubelet sets these if they differ, and they are the machine's, not the node's. It finds files with the values that
/// it wants in their place.
const SHADOWED: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
/// These are the network's, and with it the node's own.
const NETWORK: [(&str, &str); 4] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    // Pods of one node that reach each other through a service are led back the same way.
    ("bridge/bridge-nf-call-iptables", "1"),
];

/// Becomes the first process of a node if the program was called as one, and never returns then. Every program that makes
/// clusters calls this before anything else.
pub fn serve() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(CALL) {
        return;
    }
    let arguments: Vec<String> = arguments.collect();
    if let Err(error) = live(&arguments) {
        eprintln!("error: {error:#}");
    }
    exit(1);
}

fn live(arguments: &[String]) -> Result<()> {
    let [lives, name, folder] = arguments else { bail!("called by hand") };
    let folder = Path::new(folder);
    // The machine's view of processes is still mounted.
    let process = fs::read_link("/proc/self").context("/proc/self")?;
    let alive = place::hold(folder)?;
    if lives == OWNED {
        spawn(|| {
            // Nothing ever comes; the end comes with the owner's.
            drop(stdin().read(&mut [0]));
            exit(0);
        });
    }
    if name != SWITCH {
        shape(name, folder)?;
    }
    let unfinished = folder.join("unfinished");
    fs::write(&unfinished, process.display().to_string())?;
    fs::rename(unfinished, folder.join(READY))?;
    loop {
        match wait(WaitOptions::empty()) {
            Err(Errno::CHILD) => sleep(Duration::from_millis(200)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                drop(alive);
                return Err(error.into());
            }
        }
    }
}

fn shape(name: &str, folder: &Path) -> Result<()> {
    sethostname(name.as_bytes())?;
    mount("proc", "/proc", "proc", MountFlags::empty(), None).context("/proc")?;
    for own in place::OWN_FOLDERS {
        if own == "/run" {
            mount("tmpfs", own, "tmpfs", MountFlags::empty(), Some(c"mode=755")).context(own)?;
            continue;
        }
        let source = folder.join(own.trim_start_matches('/'));
        fs::create_dir_all(&source)?;
        mount_bind(&source, own).context(own)?;
    }
    for needed in ["/run/netns", "/run/lock", "/run/containerd", "/var/lib/kubelet", "/var/lib/containerd"] {
        fs::create_dir_all(needed).context(needed)?;
    }
    // Pods may have mounts that others see, but only within the node.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).context("/")?;
    let shadows = folder.join("shadows");
    fs::create_dir_all(&shadows)?;
    for (setting, value) in SHADOWED {
        let file = shadows.join(setting.replace('/', "."));
        fs::write(&file, format!("{value}\n"))?;
        mount_bind(&file, format!("/proc/sys/{setting}")).context(setting)?;
    }
    for (setting, value) in NETWORK {
        let path = format!("/proc/sys/net/{setting}");
        // Without IPv6 there is nothing to switch off.
        if Path::new(&path).exists() {
            fs::write(&path, value).context(path)?;
        }
    }
    // Not there on a machine that is not hybrid.
    let _ = unmount(Path::new(CGROUPS).join(UNIFIED), UnmountFlags::DETACH);
    Ok(())
}
