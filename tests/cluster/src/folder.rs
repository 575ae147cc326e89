//! The folder of a run: data, logs, certificates. It goes when the run is over, unless it is to be kept.

use std::{
    fs,
    path::{Path, PathBuf},
    process::id,
};

use anyhow::{Context, Result};

/// What the folders of all runs begin with; the process id of the run follows.
pub(crate) const NAME_PREFIX: &str = "pondage-cluster-";

/// A folder in the system's place for temporary files.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes it, empty.
    pub(crate) fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{NAME_PREFIX}{}", id()));
        fs::create_dir(&path).with_context(|| format!("can't create {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it does not go with the next run, and says where.
    pub(crate) fn keep(self) -> PathBuf {
        let seconds =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let kept = std::env::temp_dir().join(format!("pondage-kept-{seconds}-{}", id()));
        let kept = if fs::rename(&self.path, &kept).is_ok() { kept } else { self.path.clone() };
        std::mem::forget(self);
        kept
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} stays: {error}", self.path.display());
        }
    }
}
