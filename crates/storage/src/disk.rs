//! The port to a disk, and its implementations.

use std::io::{self, IoSlice};

pub mod file;
#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
pub mod slow;

/// A folder tree on a disk.
///
/// Paths are relative to the disk's root, with `/` between names; `""` is the root. The rules that every
/// implementation keeps (`tests/contract.rs` checks them):
/// * nothing survives a crash unless it was synced: a file's bytes and length by [`DiskFile::sync_data`], its being
///   there (creation, renaming, removal) by [`Disk::sync_dir`] of its folder;
/// * a rename replaces the target in one step;
/// * an open file stays readable after it was removed.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// A held lock; dropping it frees the lock.
    type Lock: Send + Sync + 'static;

    /// What to call this disk in an error: the root's path.
    fn name(&self) -> String;

    /// Makes a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if it exists, [`io::ErrorKind::NotFound`] if its folder does not.
    fn create(&self, path: &str) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn open(&self, path: &str) -> io::Result<Self::File>;

    /// Whether a file or folder of this name exists.
    ///
    /// # Errors
    /// Of the device.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Renames a file within its folder, replacing what has the new name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such file.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes a folder and those above it; one that exists is fine.
    ///
    /// # Errors
    /// Of the device.
    fn create_dir_all(&self, folder: &str) -> io::Result<()>;

    /// Makes durable which names are in the folder.
    ///
    /// # Errors
    /// Of the device; then nothing is known about the folder.
    fn sync_dir(&self, folder: &str) -> io::Result<()>;

    /// Takes the lock of this name, making its file if there is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if someone holds it.
    fn lock_exclusive(&self, path: &str) -> io::Result<Self::Lock>;

    /// How large the disk is, and what is left.
    ///
    /// # Errors
    /// Of the device.
    fn space(&self) -> io::Result<Space>;
}

/// How large a disk is, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes that there are in all.
    pub size_bytes: u64,
}

/// An open file of a [`Disk`].
#[expect(clippy::len_without_is_empty, reason = "the length of a file is a system call, not a collection's")]
pub trait DiskFile: Send + Sync + 'static {
    /// Reads into `buffer` from `offset`, perhaps fewer bytes than fit; 0 only at the end of the file.
    ///
    /// # Errors
    /// Of the device.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `slices`, one behind the other, from `offset`; a gap behind the old end reads as zeros.
    ///
    /// # Errors
    /// Of the device; then any part may have been written.
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// Of the device; then the file must not be trusted any more, and a second try proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Bytes up to the end of the file.
    ///
    /// # Errors
    /// Of the device.
    fn len(&self) -> io::Result<u64>;

    /// Reserves the space of the first `len` bytes, so that writing them later does not fail for want of it. The
    /// length stays; what was never written reads as zeros once something behind it is.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], or of the device.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts the file to `len` bytes, or lengthens it with zeros; space reserved behind is given back.
    ///
    /// # Errors
    /// Of the device.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Reads from `offset` until `buffer` is full or the file ends, and says how many bytes that were.
pub(crate) fn read_full<F: DiskFile>(file: &F, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Makes a folder and makes durable that it and those above it are there.
pub(crate) fn make_folder<D: Disk>(disk: &D, folder: &str) -> io::Result<()> {
    disk.create_dir_all(folder)?;
    disk.sync_dir("")?;
    for (end, _) in folder.match_indices('/') {
        disk.sync_dir(&folder[..end])?;
    }
    if folder.is_empty() { Ok(()) } else { disk.sync_dir(folder) }
}

/// `name` in `folder`, either of which may be the root.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
