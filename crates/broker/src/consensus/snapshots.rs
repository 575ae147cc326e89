//! Snapshot files: the catalog as it was after one entry, beside shard 0's segments. `docs/formats/consensus.md`
//! draws them.
//!
//! The log goes only as far back as a snapshot that is durable, so snapshots are as much a part of the voter's truth
//! as the log is. The two newest are kept.

use std::io::{self, IoSlice};

use bytes::Bytes;
use pondage_model::wire::{Malformed, Wire};
use pondage_node::{
    catalog::{Catalog, restore},
    disk::Disk,
};

use super::{
    files,
    types::{LogId, SnapshotMeta, put_meta, take_meta},
};

const MAGIC: &[u8; 8] = b"PONDSNAP";
const PREFIX: &str = "snapshot-";
const KEPT: usize = 2;

/// The state after one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) meta: SnapshotMeta,
    /// The encoded pages: a list of bytes.
    pub(crate) state: Bytes,
}

/// The snapshots of a voter's volume.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFiles<D> {
    disk: D,
    folder: String,
}

/// The newest snapshot that checks out, with its catalog, and what is wrong with newer ones.
pub(crate) type Found = (Option<(Snapshot, Catalog)>, Vec<String>);

impl<D: Disk> SnapshotFiles<D> {
    pub(crate) const fn new(disk: D, folder: String) -> Self {
        Self { disk, folder }
    }

    /// Makes the snapshot durable and removes those that are older than the two newest.
    pub(crate) fn write(&self, snapshot: &Snapshot) -> io::Result<()> {
        let mut meta = Vec::new();
        put_meta(&snapshot.meta, &mut meta);
        let pieces = [IoSlice::new(&meta), IoSlice::new(&snapshot.state)];
        files::replace(&self.disk, &self.folder, &name(snapshot.meta.last_log_id.as_ref()), MAGIC, &pieces)?;
        let names = self.names()?;
        for old in names.iter().rev().skip(KEPT) {
            self.disk.remove(&format!("{}/{old}", self.folder))?;
        }
        if names.len() > KEPT { self.disk.sync_dir(&self.folder) } else { Ok(()) }
    }

    /// The newest snapshot that checks out, with its catalog; and what is wrong with newer ones.
    pub(crate) fn newest(&self) -> io::Result<Found> {
        let mut damaged = Vec::new();
        for name in self.names()?.iter().rev() {
            let path = format!("{}/{name}", self.folder);
            let file = self.disk.open(&path)?;
            match files::read_checked(&file, MAGIC, decode) {
                Ok(found) => return Ok((Some(found), damaged)),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    damaged.push(format!("{}/{path}: {error}", self.disk.name()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((None, damaged))
    }

    /// Oldest first.
    fn names(&self) -> io::Result<Vec<String>> {
        if !self.disk.exists(&self.folder)? {
            return Ok(Vec::new());
        }
        let mut names = self.disk.list(&self.folder)?;
        names.retain(|name| name.starts_with(PREFIX) && !name.ends_with(".new"));
        names.sort();
        Ok(names)
    }
}

/// By index and term, so that names ascend as snapshots do.
fn name(last: Option<&LogId>) -> String {
    let (index, term) = last.map_or((0, 0), |id| (id.index, id.leader_id.term));
    format!("{PREFIX}{index:020}-{term:020}")
}

fn decode(mut body: Bytes) -> Result<(Snapshot, Catalog), Malformed> {
    let meta = take_meta(&mut body)?;
    let catalog = restore(&pages(body.clone())?)?;
    Ok((Snapshot { meta, state: body }, catalog))
}

/// The pages of a snapshot's state.
pub(crate) fn pages(state: Bytes) -> Result<Vec<Bytes>, Malformed> {
    Vec::<Bytes>::from_bytes(state)
}
