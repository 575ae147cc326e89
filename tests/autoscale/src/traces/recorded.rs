//! Recorded traces: tables that are made of what a real system wrote. `traces/README.md` says which, and
//! [`pondage_autoscale::trace`] how they look.

use std::path::Path;

use anyhow::{Context, Result};
use pondage_autoscale::trace;

use super::{Load, MEMBER_RATE, PARTITIONS};

/// All recordings of a folder, by name. A folder that isn't there has none.
pub fn recorded_in(folder: &Path) -> Result<Vec<Load>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
    files.sort();
    files.iter().map(|file| read_recorded(file)).collect()
}

/// One recording; its name is the file's.
fn read_recorded(file: &Path) -> Result<Load> {
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let trace = trace::read(&text, PARTITIONS, MEMBER_RATE as f32)
        .with_context(|| format!("{} is no trace", file.display()))?;
    Ok(Load { name, feasible: true, trace })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recordings_of_the_repository_are_read() {
        let loads = recorded_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("traces")).unwrap();
        let names: Vec<&str> = loads.iter().map(|load| load.name.as_str()).collect();
        assert_eq!(names, ["nyc-flights"]);
        assert_eq!(loads[0].seconds(), 4 * 24 * 60);
        assert_eq!(loads[0].trace.arrivals[0].len(), PARTITIONS);
        let most = loads[0].trace.arrivals.iter().flatten().fold(0.0_f32, |most, count| most.max(*count));
        assert!(f64::from(most) < MEMBER_RATE, "{most}");
    }

    #[test]
    fn a_folder_that_is_not_there_has_none() {
        assert!(recorded_in(Path::new("/nowhere")).unwrap().is_empty());
    }
}
