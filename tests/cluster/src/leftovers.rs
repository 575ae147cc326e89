//! What a run left behind that was itself killed: found by the dead run's process id in its name, and taken away.

use std::{fs, path::Path};

use anyhow::Result;

use crate::{command::call, folder, network};

/// Takes away what dead runs left: processes in their namespaces, the namespaces, mounts and folders. Gives how many
/// namespaces and folders there were.
///
/// # Errors
/// If the system does not say what there is.
pub fn clear() -> Result<usize> {
    let mut cleared = 0;
    for name in network::names()? {
        if is_of_dead_run(&name, network::NAME_PREFIX) {
            let processes = call("ip", &["netns", "pids", &name])?;
            for process in processes.split_whitespace() {
                // Nothing else was ever started there.
                let _ = call("kill", &["-KILL", process]);
            }
            call("ip", &["netns", "del", &name])?;
            cleared += 1;
        }
    }
    let temporary = std::env::temp_dir();
    for entry in fs::read_dir(&temporary)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_of_dead_run(&name, folder::NAME_PREFIX) {
            unmount_below(&entry.path())?;
            fs::remove_dir_all(entry.path())?;
            cleared += 1;
        }
    }
    Ok(cleared)
}

fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    for line in mounts.lines() {
        if let Some(mount) = line.split(' ').nth(1)
            && Path::new(mount).starts_with(folder)
        {
            call("umount", &["--lazy", mount])?;
        }
    }
    Ok(())
}

/// Whether a name is the prefix, the id of a process that is no more, and maybe something behind a dash.
fn is_of_dead_run(name: &str, prefix: &str) -> bool {
    let id = name.strip_prefix(prefix).map(|rest| rest.split('-').next().unwrap_or_default());
    let id = id.and_then(|id| id.parse::<u32>().ok());
    id.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_dead_runs_are_taken() {
        let me = std::process::id();
        // Above the largest process id that Linux gives.
        let dead = 4_194_305;
        for (name, expected) in [
            (format!("pondage-{dead}-hub"), true),
            (format!("pondage-{dead}"), true),
            (format!("pondage-{me}-1"), false),
            ("pondage-kept-1-2".to_owned(), false),
            ("pondage-data".to_owned(), false),
            ("other".to_owned(), false),
        ] {
            assert_eq!(is_of_dead_run(&name, "pondage-"), expected, "{name}");
        }
    }
}
