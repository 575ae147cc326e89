//! Where a cluster keeps everything, and how one sees whether it still lives.
//!
//! Every process that a cluster hangs on, the one that made it and the first of each node, holds a lock on a file in its
//! folder. A folder without a lock is of a dead run, and is taken away with its groups of processes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::id,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};

use super::cgroups;
use crate::tools;

/// The file that is locked.
const ALIVE: &str = "alive";
/// Folders of the machine that nodes have of their own: what lies in them is not seen inside.
pub(super) const OWN_FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// The folder of a cluster.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    alive: File,
}

impl Place {
    /// A folder of this name, or of one that nobody else has. Takes away what dead runs left.
    pub(super) fn create(name: Option<&str>) -> Result<Self> {
        static CLUSTERS: AtomicU32 = AtomicU32::new(1);
        let all = clusters()?;
        fs::create_dir_all(&all).with_context(|| all.display().to_string())?;
        // Nobody takes a folder for dead between its creation and its lock.
        let gate = File::create(all.join(".lock"))?;
        flock(&gate, FlockOperation::LockExclusive)?;
        clear_dead(&all)?;
        let name = name.map_or_else(
            || format!("test-{}-{}", id(), CLUSTERS.fetch_add(1, Ordering::Relaxed)),
            str::to_owned,
        );
        let folder = all.join(&name);
        ensure!(
            name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-'),
            "{name:?} is no name for a cluster: letters, digits and dashes are"
        );
        if folder.exists() {
            bail!("the cluster {name} is up already: take it down first, or give another name");
        }
        fs::create_dir(&folder)?;
        let alive = File::create(folder.join(ALIVE))?;
        flock(&alive, FlockOperation::LockShared)?;
        Ok(Self { folder, alive })
    }

    /// The folder of a cluster that somebody else made.
    pub(super) fn find(name: &str) -> Result<Self> {
        let folder = clusters()?.join(name);
        let alive = File::open(folder.join(ALIVE))
            .with_context(|| format!("there is no cluster {name}: begin with `up`"))?;
        flock(&alive, FlockOperation::LockShared)?;
        Ok(Self { folder, alive })
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// What its groups of processes begin with.
    pub(super) fn cgroup_prefix(&self) -> String {
        cgroup_prefix(&self.folder)
    }

    /// Takes it away. Nothing of the cluster may run any more.
    pub(super) fn remove(&self) -> Result<()> {
        cgroups::remove(&self.cgroup_prefix())?;
        fs::remove_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        Ok(flock(&self.alive, FlockOperation::Unlock)?)
    }
}

/// Nodes run what was built, out of the machine's folders.
///
/// # Errors
/// If it lies where nodes have a folder of their own.
pub(super) fn ensure_visible() -> Result<()> {
    let all = clusters()?;
    ensure!(
        OWN_FOLDERS.iter().all(|own| !all.starts_with(own)),
        "{} can't be seen inside of nodes: set HOME to a folder outside of {}",
        all.display(),
        OWN_FOLDERS.join(", ")
    );
    Ok(())
}

/// Locks the cluster of a node's folder as alive, for as long as the file is open.
pub(super) fn hold(node: &Path) -> Result<File> {
    let alive = File::open(node.parent().context("a node lies in a cluster's folder")?.join(ALIVE))?;
    flock(&alive, FlockOperation::LockShared)?;
    Ok(alive)
}

fn clusters() -> Result<PathBuf> {
    Ok(tools::cache()?.join("clusters"))
}

fn cgroup_prefix(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    format!("pondage-kube-{name}-")
}

fn clear_dead(all: &Path) -> Result<()> {
    for entry in fs::read_dir(all)? {
        let folder = entry?.path();
        if !folder.is_dir() {
            continue;
        }
        let is_dead = match File::open(folder.join(ALIVE)) {
            Ok(alive) => flock(&alive, FlockOperation::NonBlockingLockExclusive).is_ok(),
            Err(_) => true,
        };
        if is_dead {
            println!("taking away what is left of the cluster in {}", folder.display());
            cgroups::remove(&cgroup_prefix(&folder))?;
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
    }
    Ok(())
}
