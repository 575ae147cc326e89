//! A wrapper that lets a test decide how long a sync takes.

use std::{
    fmt,
    io::{self, IoSlice},
    sync::Arc,
};

use super::{Disk, DiskFile, Space};

/// What is called before each sync of a file, on the thread that syncs.
pub type BeforeSync = Arc<dyn Fn() + Send + Sync>;

/// A disk whose every [`DiskFile::sync_data`] first calls a closure, which may wait. All else passes through.
#[derive(Clone)]
pub struct SlowDisk<D> {
    inner: D,
    before_sync: BeforeSync,
}

impl<D> SlowDisk<D> {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: D, before_sync: BeforeSync) -> Self {
        Self { inner, before_sync }
    }

    /// The wrapped disk.
    #[must_use]
    pub fn inner(&self) -> &D {
        &self.inner
    }
}

impl<D: fmt::Debug> fmt::Debug for SlowDisk<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowDisk").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<D: Disk> Disk for SlowDisk<D> {
    type File = SlowFile<D::File>;
    type Lock = D::Lock;

    fn name(&self) -> String {
        self.inner.name()
    }

    fn create(&self, path: &str) -> io::Result<Self::File> {
        let inner = self.inner.create(path)?;
        Ok(SlowFile { inner, before_sync: self.before_sync.clone() })
    }

    fn open(&self, path: &str) -> io::Result<Self::File> {
        let inner = self.inner.open(path)?;
        Ok(SlowFile { inner, before_sync: self.before_sync.clone() })
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn create_dir_all(&self, folder: &str) -> io::Result<()> {
        self.inner.create_dir_all(folder)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        self.inner.sync_dir(folder)
    }

    fn lock_exclusive(&self, path: &str) -> io::Result<Self::Lock> {
        self.inner.lock_exclusive(path)
    }

    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}

/// A file of a [`SlowDisk`].
pub struct SlowFile<F> {
    inner: F,
    before_sync: BeforeSync,
}

impl<F: fmt::Debug> fmt::Debug for SlowFile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowFile").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<F: DiskFile> DiskFile for SlowFile<F> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        self.inner.write_at(offset, slices)
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.before_sync)();
        self.inner.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
}
