//! A volume of a broker's own: an ext4 in a file, whose power can be cut and that can be full.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::{command::call, kernel};

/// What fills it lies here, beside the data.
const BALLAST: &str = "ballast";
/// What a full volume keeps free, in bytes: less than the smallest segment.
const FREE_BYTES: u64 = 256 << 10;

/// A file system in a file, mounted over a loop device. Dropping it unmounts it.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    mount: PathBuf,
    is_mounted: bool,
}

impl Volume {
    /// Makes an empty one of so many bytes, mounted at `mount`.
    ///
    /// # Errors
    /// If the machine can't.
    pub fn create(image: PathBuf, mount: PathBuf, bytes: u64) -> Result<Self> {
        File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| image.display().to_string())?;
        fs::create_dir_all(&mount)?;
        // The reserve is for the superuser, who runs these tests: a full volume is full for all.
        let options = "lazy_itable_init=1,nodiscard";
        call("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", options, text(&image)?])?;
        let mut volume = Self { image, mount, is_mounted: false };
        volume.mount()?;
        Ok(volume)
    }

    /// Where its files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Cuts its power: what was not synced is gone with the next [`Volume::restore_power`].
    ///
    /// # Errors
    /// If the machine can't.
    pub fn cut_power(&self) -> Result<()> {
        kernel::cut_power(&self.mount)
    }

    /// Mounts it anew, as after a power cut: the journal is replayed. Nobody may hold its files open.
    ///
    /// # Errors
    /// If somebody holds them, or the machine can't.
    pub fn restore_power(&mut self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    /// Takes all space but a little.
    ///
    /// # Errors
    /// If the machine can't.
    pub fn fill(&self) -> Result<()> {
        let ballast = OpenOptions::new().create(true).append(true).open(self.mount.join(BALLAST))?;
        for _ in 0..16 {
            let space = statvfs(&self.mount)?;
            let free = space.f_bavail * space.f_frsize;
            if free <= FREE_BYTES {
                return Ok(());
            }
            let length = ballast.metadata()?.len();
            // A part of it goes to the file system's own books, so take it in shares.
            let share = ((free - FREE_BYTES) * 3 / 4).max(64 << 10);
            if fallocate(&ballast, FallocateFlags::empty(), length, share).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// If it was not filled.
    pub fn relieve(&self) -> Result<()> {
        fs::remove_file(self.mount.join(BALLAST)).context("the ballast")
    }

    fn mount(&mut self) -> Result<()> {
        call("mount", &["-o", "loop,noatime", text(&self.image)?, text(&self.mount)?])?;
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        call("umount", &[text(&self.mount)?])?;
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{} stays mounted: {error:#}", self.mount.display());
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
