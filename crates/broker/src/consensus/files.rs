//! Small files beside shard 0's segments that are written whole: magic, version, checksum, body.
//!
//! ```text
//!   0           8           12          16
//!   +-----------+-----------+-----------+---------
//!   | magic     | version 1 | CRC32C    | body …
//!   +-----------+-----------+-----------+---------
//! ```
//!
//! The CRC is over everything else. A file gets its name only when it is whole and durable, so a damaged one was
//! damaged later.

use std::io::{self, IoSlice};

use bytes::Bytes;
use pondage_model::wire::Malformed;
use pondage_node::disk::{Disk, DiskFile};

const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;

/// How often a file that does not check out is read: a read may fail where the disk did not.
const ATTEMPTS: usize = 4;

/// How much is read at a time: memory grows with what is there, not with a length that a file claims.
const READ_BYTES: usize = 1 << 20;

/// Puts a file with this body in the place of the one of this name, if there is one. It is durable when this returns.
pub(crate) fn replace<D: Disk>(
    disk: &D,
    folder: &str,
    name: &str,
    magic: &[u8; 8],
    body: &[IoSlice<'_>],
) -> io::Result<()> {
    let (path, unfinished) = (format!("{folder}/{name}"), format!("{folder}/{name}.new"));
    if disk.exists(&unfinished)? {
        disk.remove(&unfinished)?;
    }
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(magic);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let mut crc = crc32c::crc32c(&header[..12]);
    for piece in body {
        crc = crc32c::crc32c_append(crc, piece);
    }
    header[12..].copy_from_slice(&crc.to_le_bytes());
    let file = disk.create(&unfinished)?;
    let mut slices = vec![IoSlice::new(&header)];
    slices.extend_from_slice(body);
    file.write_at(0, &slices)?;
    file.sync_data()?;
    disk.rename(&unfinished, &path)?;
    disk.sync_dir(folder)
}

/// The body of such a file as `decode` reads it.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if it is not what [`replace`] wrote, else of the device.
pub(crate) fn read_checked<F: DiskFile, T>(
    file: &F,
    magic: &[u8; 8],
    decode: impl Fn(Bytes) -> Result<T, Malformed>,
) -> io::Result<T> {
    let mut damaged = "not read";
    for _ in 0..ATTEMPTS {
        let bytes = read_all(file)?;
        match body(&bytes, magic) {
            Ok(body) => match decode(body) {
                Ok(value) => return Ok(value),
                Err(Malformed(what)) => damaged = what,
            },
            Err(what) => damaged = what,
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("damaged: {damaged}")))
}

fn body(bytes: &Bytes, magic: &[u8; 8]) -> Result<Bytes, &'static str> {
    if bytes.len() < HEADER_BYTES || &bytes[..8] != magic {
        return Err("it does not begin as such a file does");
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if word(8) > VERSION {
        return Err("a newer program wrote it: start that one again");
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[HEADER_BYTES..]);
    if word(12) != crc {
        return Err("its checksum does not fit");
    }
    if word(8) != VERSION {
        return Err("its version makes no sense");
    }
    Ok(bytes.slice(HEADER_BYTES..))
}

fn read_all<F: DiskFile>(file: &F) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        match file.read_at(bytes.len() as u64, &mut chunk) {
            Ok(0) => return Ok(bytes.into()),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
