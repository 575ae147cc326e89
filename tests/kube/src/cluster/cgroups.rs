//! The groups of processes (cgroup v1) under which a node's pods are.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::machine::CGROUPS;

/// Of the unified hierarchy of a hybrid machine nodes see nothing: runtimes refuse to have both.
pub(super) const UNIFIED: &str = "unified";

/// Makes the group in every hierarchy.
pub(super) fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).with_context(|| group.display().to_string())?;
        // A new group has no processors and no memory, and takes no process until it has.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let path = group.join(file);
            if fs::read_to_string(&path).is_ok_and(|set| set.trim().is_empty()) {
                fs::write(&path, fs::read(hierarchy.join(file))?)
                    .with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(())
}

/// The groups whose names begin so.
pub(super) fn found(prefix: &str) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies()? {
        for entry in fs::read_dir(&hierarchy)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                groups.push(entry.path());
            }
        }
    }
    Ok(groups)
}

/// Takes away the groups whose names begin so. Processes that were killed may need a moment to leave them.
pub(super) fn remove(prefix: &str) -> Result<()> {
    let mut last = None;
    for _ in 0..100 {
        let groups = found(prefix)?;
        if groups.is_empty() {
            return Ok(());
        }
        last = groups.iter().find_map(|group| remove_below(group).err());
        sleep(Duration::from_millis(50));
    }
    bail!("groups of processes stay that begin with {prefix}: {last:?}")
}

fn remove_below(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| group.display().to_string())
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    let mut hierarchies = Vec::new();
    for entry in fs::read_dir(CGROUPS).context(CGROUPS)? {
        let entry = entry?;
        // Some are known by second names.
        if entry.file_type()?.is_dir() && entry.file_name() != UNIFIED {
            hierarchies.push(entry.path());
        }
    }
    Ok(hierarchies)
}
