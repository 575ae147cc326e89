//! What a cluster could leave behind, or have changed of the machine.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{cluster::machine_devices, command::call};

/// Settings of the machine that a kubelet would change.
const SETTINGS: [&str; 9] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/netfilter/nf_conntrack_max",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// What is the machine's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Machine {
    mounts: String,
    devices: String,
    rules: String,
    settings: Vec<Option<String>>,
}

impl Machine {
    pub(super) fn look() -> Result<Self> {
        Ok(Self {
            mounts: fs::read_to_string("/proc/self/mounts")?,
            devices: machine_devices()?,
            // Absent where it was not yet installed: then there are none.
            rules: call("nft", &["--stateless", "list", "ruleset"]).unwrap_or_default(),
            settings: SETTINGS
                .iter()
                .map(|setting| fs::read_to_string(format!("/proc/sys/{setting}")).ok())
                .collect(),
        })
    }

    pub(super) fn ensure_same(&self) -> Result<()> {
        let now = Self::look()?;
        ensure!(*self == now, "the machine is another than before: {self:#?}, now {now:#?}");
        Ok(())
    }
}

/// Processes of a cluster, and the groups that they were in.
#[derive(Debug)]
pub(super) struct Processes {
    /// Their folders in `/proc`, and when they began.
    processes: BTreeSet<(PathBuf, String)>,
    groups: Vec<PathBuf>,
}

impl Processes {
    /// Those of namespaces of processes and those in groups.
    pub(super) fn of((namespaces, groups): &(Vec<PathBuf>, Vec<PathBuf>)) -> Result<Self> {
        let mut processes = BTreeSet::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let namespace = fs::read_link(entry.path().join("ns/pid"));
            if namespace.is_ok_and(|namespace| namespaces.contains(&namespace)) {
                processes.extend(known(entry.path()));
            }
        }
        let nodes = processes.len();
        for group in groups {
            collect(group, &mut processes)?;
        }
        ensure!(nodes > 0 && processes.len() > nodes, "nodes have {nodes} processes and pods none");
        Ok(Self { processes, groups: groups.clone() })
    }

    pub(super) fn ensure_gone(&self) -> Result<()> {
        let left: Vec<_> = self
            .processes
            .iter()
            .filter(|(path, begun)| known(path.clone()).is_some_and(|(_, now)| now == *begun))
            .map(|(path, _)| path)
            .collect();
        ensure!(left.is_empty(), "processes are left: {left:?}");
        let left: Vec<_> = self.groups.iter().filter(|group| group.exists()).collect();
        ensure!(left.is_empty(), "groups of processes are left: {left:?}");
        Ok(())
    }
}

fn collect(group: &Path, processes: &mut BTreeSet<(PathBuf, String)>) -> Result<()> {
    let here = fs::read_to_string(group.join("cgroup.procs")).with_context(|| group.display().to_string())?;
    processes.extend(here.lines().filter_map(|process| known(Path::new("/proc").join(process))));
    for entry in fs::read_dir(group)?.flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), processes)?;
        }
    }
    Ok(())
}

/// A process with the time at which it began, which tells it from a later one of the same number.
fn known(path: PathBuf) -> Option<(PathBuf, String)> {
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    let begun = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
    Some((path, begun))
}
