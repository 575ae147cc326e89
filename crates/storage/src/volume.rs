//! A broker's data folder: whose it is, and that only one process uses it. `docs/formats/volume.md` draws it.

use std::{
    fmt,
    io::{self, IoSlice},
    sync::Arc,
};

use pondage_model::{Incarnation, ShardId, Uuid};

use crate::disk::{Disk, DiskFile, make_folder, read_full};

const IDENTITY: &str = "identity";
const UNFINISHED: &str = "identity.new";
const LOCK: &str = "lock";
const SHARDS: &str = "shards";

const MAGIC: &[u8; 8] = b"PONDVOLM";
const VERSION: u32 = 1;
const BYTES: usize = 72;

/// Who a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: Uuid,
    /// The volume itself.
    pub volume: Uuid,
    /// How often it was started, this time included.
    pub incarnation: Incarnation,
    /// Drawn anew for each incarnation, so that repeating its registration differs from a copied disk's.
    pub nonce: Uuid,
}

/// Why a volume can't be used. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VolumeError {
    /// Another process has it.
    #[error("the data folder {folder} is in use by another process: stop that one, or choose another folder")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// The identity is not what was written.
    #[error(
        "{file} is damaged ({what}): restore it from a copy of this volume, or give the broker an empty volume"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// What does not check out.
        what: &'static str,
    },
    /// There are logs but no identity.
    #[error(
        "{folder} holds logs but no identity: restore its file 'identity', or give the broker an empty volume"
    )]
    IdentityLost {
        /// The folder.
        folder: String,
    },
    /// A newer program wrote it.
    #[error(
        "{file} has format version {version}, this program knows up to {VERSION}: start the newer program again"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The device failed.
    #[error("cannot {operation} {path}: {source}; check the device and its permissions, then start again")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or folder.
        path: String,
        /// The device's answer.
        source: Arc<io::Error>,
    },
}

/// A data folder that this process holds the lock of.
pub struct Volume<D: Disk> {
    disk: D,
    identity: Option<Identity>,
    _lock: D::Lock,
}

impl<D: Disk> Volume<D> {
    /// Takes the folder for this process and reads who it is. Dropping the volume gives the folder back.
    ///
    /// # Errors
    /// [`VolumeError`]. A folder that can't be read is never taken for an empty one.
    pub fn open(disk: D) -> Result<Self, VolumeError> {
        step(&disk, "make", "", make_folder(&disk, ""))?;
        let lock = match disk.lock_exclusive(LOCK) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(VolumeError::InUse { folder: disk.name() });
            }
            result => step(&disk, "lock", LOCK, result)?,
        };
        let identity = read_identity(&disk)?;
        let volume = Self { disk, identity, _lock: lock };
        if identity.is_none() && !volume.shards()?.is_empty() {
            return Err(VolumeError::IdentityLost { folder: volume.disk.name() });
        }
        Ok(volume)
    }

    /// Who it is; `None` of an empty volume, which may only join.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The disk, for opening logs at [`shard_folder`].
    #[must_use]
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// Replaces the identity in one step. It is durable when this returns.
    ///
    /// # Errors
    /// [`VolumeError::Io`]; after a restart the identity is the old or the new one.
    ///
    /// # Panics
    /// If the incarnation of the same volume would go back: a mistake of ours.
    pub fn write_identity(&mut self, identity: Identity) -> Result<(), VolumeError> {
        if let Some(old) = self.identity
            && old.volume == identity.volume
        {
            assert!(identity.incarnation >= old.incarnation, "the incarnation of a volume only grows");
        }
        let disk = &self.disk;
        if step(disk, "look for", UNFINISHED, disk.exists(UNFINISHED))? {
            step(disk, "remove", UNFINISHED, disk.remove(UNFINISHED))?;
        }
        let file = step(disk, "create", UNFINISHED, disk.create(UNFINISHED))?;
        let bytes = encode(&identity);
        step(disk, "write", UNFINISHED, file.write_at(0, &[IoSlice::new(&bytes)]))?;
        step(disk, "sync", UNFINISHED, file.sync_data())?;
        step(disk, "rename", UNFINISHED, disk.rename(UNFINISHED, IDENTITY))?;
        step(disk, "sync", "", disk.sync_dir(""))?;
        self.identity = Some(identity);
        Ok(())
    }

    /// The shards that have a folder here, ascending.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn shards(&self) -> Result<Vec<ShardId>, VolumeError> {
        if !step(&self.disk, "look for", SHARDS, self.disk.exists(SHARDS))? {
            return Ok(Vec::new());
        }
        let names = step(&self.disk, "list", SHARDS, self.disk.list(SHARDS))?;
        let shard = |name: &String| {
            let number = u32::from_str_radix(name, 16).ok()?;
            (shard_folder(ShardId(number)) == format!("{SHARDS}/{name}")).then_some(ShardId(number))
        };
        Ok(names.iter().filter_map(shard).collect())
    }
}

impl<D: Disk> fmt::Debug for Volume<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("folder", &self.disk.name())
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// The folder of a shard's log.
#[must_use]
pub fn shard_folder(shard: ShardId) -> String {
    format!("{SHARDS}/{:08x}", shard.0)
}

/// Reads the identity, anew if it does not check out, since a read may fail where the disk did not.
fn read_identity<D: Disk>(disk: &D) -> Result<Option<Identity>, VolumeError> {
    if !step(disk, "look for", IDENTITY, disk.exists(IDENTITY))? {
        return Ok(None);
    }
    let file = step(disk, "open", IDENTITY, disk.open(IDENTITY))?;
    let mut result = Ok(None);
    for _ in 0..4 {
        // One byte more than there must be, to see a file that is too long.
        let mut bytes = [0; BYTES + 1];
        let filled = step(disk, "read", IDENTITY, read_full(&file, 0, &mut bytes))?;
        result = decode(&bytes[..filled], &path(disk, IDENTITY)).map(Some);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn encode(identity: &Identity) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&identity.cluster.0);
    bytes[32..48].copy_from_slice(&identity.volume.0);
    bytes[48..56].copy_from_slice(&identity.incarnation.0.to_le_bytes());
    bytes[56..72].copy_from_slice(&identity.nonce.0);
    let crc = checksum(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], file: &str) -> Result<Identity, VolumeError> {
    let corrupt = |what| VolumeError::Corrupt { file: file.to_owned(), what };
    if bytes.get(..8) != Some(MAGIC) {
        return Err(corrupt("it does not begin as an identity does"));
    }
    let half = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match half(8) {
        Some(version) if version > VERSION => {
            return Err(VolumeError::Newer { file: file.to_owned(), version });
        }
        Some(VERSION) if bytes.len() == BYTES => {}
        _ => return Err(corrupt("its length or version makes no sense")),
    }
    if half(12) != Some(checksum(bytes)) {
        return Err(corrupt("its checksum does not fit"));
    }
    let uuid = |at: usize| Uuid(std::array::from_fn(|index| bytes[at + index]));
    Ok(Identity {
        cluster: uuid(16),
        volume: uuid(32),
        incarnation: Incarnation(u64::from_le_bytes(std::array::from_fn(|index| bytes[48 + index]))),
        nonce: uuid(56),
    })
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

fn path<D: Disk>(disk: &D, name: &str) -> String {
    if name.is_empty() { disk.name() } else { format!("{}/{name}", disk.name()) }
}

fn step<D: Disk, T>(
    disk: &D,
    operation: &'static str,
    name: &str,
    result: io::Result<T>,
) -> Result<T, VolumeError> {
    result.map_err(|source| VolumeError::Io { operation, path: path(disk, name), source: Arc::new(source) })
}
