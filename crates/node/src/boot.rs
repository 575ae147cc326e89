//! From a data folder to machines: lock the volume, know it, open the logs.

use std::collections::BTreeSet;

use pondage_catalog::{Catalog, LogEnd, Replay, ReplayError};
use pondage_model::{BrokerId, Epoch, Incarnation, Member, Position, ShardId, Uuid, limits, wire::Malformed};
use pondage_replication::Timing;
use pondage_storage::{
    disk::Disk,
    log::{self, LogOptions, LogReader, LogWriter, OpenError, ReadError},
    promises,
    volume::{self, Volume, VolumeError, shard_folder},
};

use crate::{
    Now,
    coordinator::{Coordinator, Identity, Rack},
    shard::{Shard, ShardLog},
};

/// Random numbers for a volume that is new, and for this start.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// The cluster's, used only if the volume is new.
    pub cluster: Uuid,
    /// The volume's, used only if it is new.
    pub volume: Uuid,
    /// This start's.
    pub nonce: Uuid,
}

/// A data folder that was opened: locked for as long as `volume` lives.
#[derive(Debug)]
pub struct Booted<D: Disk> {
    /// The lock and the identity.
    pub volume: Volume<D>,
    /// The catalog's owner, not started yet.
    pub coordinator: Coordinator,
    /// The writing side of the catalog's log.
    pub catalog_writer: LogWriter<D>,
    /// The reading side.
    pub catalog_reader: LogReader<D>,
    /// Whether the volume was new.
    pub created: bool,
}

/// Why a data folder can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The volume is in use, unreadable, or of a newer version.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A log can't be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// A log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The catalog's log holds what no broker could have written.
    #[error(transparent)]
    Catalog(#[from] ReplayError),
    /// An entry of the catalog's log has no meaning in this version.
    #[error("the catalog's log at position {position}: {error}")]
    Entry {
        /// Where.
        position: Position,
        /// What.
        error: Malformed,
    },
    /// There is a log of a shard that the catalog never made: the catalog's own log is not the one of this volume.
    #[error(
        "{folder} is the log of a shard that the catalog never made: the catalog's log is lost or older than it; \
         restore the whole data folder from one copy", folder = shard_folder(*.shard)
    )]
    CatalogLost {
        /// The shard.
        shard: ShardId,
    },
    /// The promises of what the volume was before it was emptied can't be removed.
    #[error("removing the promises of the emptied volume: {0}")]
    Promises(std::io::Error),
    /// What is left of a deleted shard, or of what the volume was before it was emptied, can't be removed.
    #[error("removing {folder}, which is deleted: {error}", folder = shard_folder(*.shard))]
    Leftover {
        /// The shard.
        shard: ShardId,
        /// Why.
        error: std::io::Error,
    },
}

/// Locks and opens a data folder. The incarnation and nonce of this start are durable before anything else happens.
///
/// # Errors
/// [`BootError`]; nothing was started.
pub fn boot<D: Disk>(
    disk: &D,
    options: &LogOptions,
    fresh: Fresh,
    address: String,
) -> Result<Booted<D>, BootError> {
    let (mut volume, known, created) = open_volume(disk, fresh)?;
    let opened = log::open(
        disk.clone(),
        &shard_folder(ShardId::CATALOG),
        LogOptions { shard: ShardId::CATALOG, ..*options },
    )?;
    let (catalog, end) = replay_catalog(&opened.reader, opened.replay_from, opened.end)?;
    for shard in volume.shards()?.into_iter().filter(|shard| catalog.shard(*shard).is_none()) {
        if shard == ShardId::CATALOG {
            continue;
        }
        if shard >= catalog.next_shard() {
            return Err(BootError::CatalogLost { shard });
        }
        // Its deletion is committed, and the broker died before the folder was gone.
        remove_shard_folder(disk, shard).map_err(|error| BootError::Leftover { shard, error })?;
    }
    let volume::Identity { cluster, volume: volume_id, mut incarnation, mut nonce } = known;
    // A start that died before it was registered is repeated under its own number and nonce: the catalog takes the
    // pair twice. Only a number that is registered is used up.
    if catalog.broker_of(volume_id).is_some_and(|broker| broker.incarnation == incarnation) {
        (incarnation, nonce) = (incarnation.next(), fresh.nonce);
        volume.write_identity(volume::Identity { cluster, volume: volume_id, incarnation, nonce })?;
    }
    let rack = Rack::Unsaid;
    let identity = Identity { cluster, volume: volume_id, incarnation, nonce, address, rack, replaces: None };
    Ok(Booted {
        volume,
        coordinator: Coordinator::new(identity, catalog, &end),
        catalog_writer: opened.writer,
        catalog_reader: opened.reader,
        created,
    })
}

/// Where a member of a cluster stands.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Where clients and other brokers reach it.
    pub address: String,
    /// Its failure domain.
    pub rack: Rack,
    /// The broker whose place a new volume takes, because that one's volume is gone for good.
    pub replaces: Option<BrokerId>,
}

/// The data folder of a cluster's member that was opened: locked for as long as `volume` lives. The catalog comes
/// from the cluster, to [`Coordinator::member`].
#[derive(Debug)]
pub struct BootedMember<D: Disk> {
    /// The lock and the identity.
    pub volume: Volume<D>,
    /// Who the broker is; whether its number is used up, only the cluster's catalog knows.
    pub identity: Identity,
    /// For the next number, if it is.
    pub next_nonce: Uuid,
    /// The shards that have logs here.
    pub held: BTreeSet<ShardId>,
    /// Whether the volume was new.
    pub created: bool,
}

/// Locks and opens the data folder of a cluster's member. `fresh.cluster` is the cluster's identity, which was
/// recorded before its first broker started: an empty volume joins, it never begins a cluster.
///
/// # Errors
/// [`BootError`]; nothing was started.
pub fn boot_member<D: Disk>(disk: &D, fresh: Fresh, place: Place) -> Result<BootedMember<D>, BootError> {
    let (volume, known, created) = open_volume(disk, fresh)?;
    let mut held = BTreeSet::new();
    for shard in volume.shards()? {
        let folder = shard_folder(shard);
        if !disk.list(&folder).map_err(|error| BootError::Leftover { shard, error })?.is_empty() {
            held.insert(shard);
        }
    }
    let volume::Identity { cluster, volume: volume_id, incarnation, nonce } = known;
    let Place { address, rack, replaces } = place;
    let identity = Identity { cluster, volume: volume_id, incarnation, nonce, address, rack, replaces };
    Ok(BootedMember { volume, identity, next_nonce: fresh.nonce, held, created })
}

/// Empties a volume whose start the catalog refused as a copy's or a backup's, and makes it a new one of the same
/// cluster. Everything of the old one is gone when this returns. A crash on the way is made good by the next start.
///
/// # Errors
/// [`BootError`]; repeat it, or start again.
pub fn reformat<D: Disk>(disk: &D, volume: &mut Volume<D>, fresh: Fresh) -> Result<(), BootError> {
    let cluster = volume.identity().map_or(fresh.cluster, |known| known.cluster);
    // The new identity comes first and says that it is not there yet: whatever is still left of the old volume after
    // a crash can never again be taken for it, nor for the new one's.
    volume.write_identity(volume::Identity {
        cluster,
        volume: fresh.volume,
        incarnation: Incarnation::ZERO,
        nonce: fresh.nonce,
    })?;
    finish_emptying(disk, volume, fresh).map(drop)
}

/// Locks the folder and knows its volume; a new or emptied one is at its first start.
fn open_volume<D: Disk>(disk: &D, fresh: Fresh) -> Result<(Volume<D>, volume::Identity, bool), BootError> {
    let mut volume = Volume::open(disk.clone())?;
    match volume.identity().copied() {
        Some(known) if known.incarnation > Incarnation::ZERO => Ok((volume, known, false)),
        Some(_) => {
            let known = finish_emptying(disk, &mut volume, fresh)?;
            Ok((volume, known, true))
        }
        None => {
            let known = volume::Identity {
                cluster: fresh.cluster,
                volume: fresh.volume,
                incarnation: Incarnation::ZERO.next(),
                nonce: fresh.nonce,
            };
            volume.write_identity(known)?;
            Ok((volume, known, true))
        }
    }
}

fn finish_emptying<D: Disk>(
    disk: &D,
    volume: &mut Volume<D>,
    fresh: Fresh,
) -> Result<volume::Identity, BootError> {
    for shard in volume.shards()? {
        remove_shard_folder(disk, shard).map_err(|error| BootError::Leftover { shard, error })?;
    }
    promises::remove(disk).map_err(BootError::Promises)?;
    let emptied = volume.identity().copied().unwrap_or(volume::Identity {
        cluster: fresh.cluster,
        volume: fresh.volume,
        incarnation: Incarnation::ZERO,
        nonce: fresh.nonce,
    });
    let known = volume::Identity { incarnation: Incarnation::ZERO.next(), nonce: fresh.nonce, ..emptied };
    volume.write_identity(known)?;
    Ok(known)
}

/// Folds the catalog's log from its newest complete checkpoint on.
fn replay_catalog<D: Disk>(
    reader: &LogReader<D>,
    from: Position,
    end: Position,
) -> Result<(Catalog, LogEnd), BootError> {
    let mut replay = Replay::new();
    let mut next = from;
    while next < end {
        let chunk = reader.read_from(next, limits::SYNC_BATCH_BYTES_MAX)?;
        let Some(last) = chunk.last() else { break };
        next = last.position.next();
        for raw in chunk {
            let position = raw.position;
            let entry = raw.decode().map_err(|error| BootError::Entry { position, error })?;
            replay.entry(&entry)?;
        }
    }
    Ok(replay.finish()?)
}

/// A shard whose log was opened.
#[derive(Debug)]
pub struct OpenedShard<D: Disk> {
    /// The machine, not leading yet.
    pub shard: Shard,
    /// The writing side of its log.
    pub writer: LogWriter<D>,
    /// The reading side.
    pub reader: LogReader<D>,
}

/// Opens a shard's log, making it if it is new, for this start of the broker, whose volume promised to answer in no
/// epoch before `promised`. `timing` is how patient it is as a leader.
///
/// # Errors
/// [`OpenError`], naming file and offset.
pub fn open_shard<D: Disk>(
    disk: &D,
    options: &LogOptions,
    id: ShardId,
    me: Member,
    promised: Epoch,
    timing: Timing,
    now: Now,
) -> Result<OpenedShard<D>, OpenError> {
    let opened = log::open(disk.clone(), &shard_folder(id), LogOptions { shard: id, ..*options })?;
    let log = ShardLog {
        replay_from: opened.replay_from,
        end: opened.end,
        epochs: opened.epochs,
        promised,
        newest_log_time: opened.last_log_time,
    };
    let shard = Shard::recovered(id, me, log, timing, now);
    Ok(OpenedShard { shard, writer: opened.writer, reader: opened.reader })
}

/// Removes the folder of a shard that the catalog no longer knows.
///
/// # Errors
/// The disk's.
pub fn remove_shard_folder<D: Disk>(disk: &D, id: ShardId) -> std::io::Result<()> {
    let folder = shard_folder(id);
    let names = if disk.exists(&folder)? { disk.list(&folder)? } else { Vec::new() };
    for name in &names {
        disk.remove(&format!("{folder}/{name}"))?;
    }
    if names.is_empty() { Ok(()) } else { disk.sync_dir(&folder) }
}
