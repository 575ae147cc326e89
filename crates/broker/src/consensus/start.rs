//! How a voter starts on its volume.

use std::{io, sync::Arc};

use openraft::{Config, SnapshotPolicy};
use pondage_model::{ShardId, Uuid, limits};
use pondage_node::{
    catalog::Catalog,
    disk::{Disk, LogOptions, OpenError, shard_folder},
};
use tokio::runtime::Handle;

use super::{
    RaftVoter,
    machine::{Machine, Newest},
    network::{Caller, Network},
    node::{ConsensusNode, Inner},
    ports::{Brokers, Notice, Start, Transport},
    shared::Shared,
    snapshots::SnapshotFiles,
    store::{self, OpenedStore},
    types::{Raft, VolumeId},
};

/// Bytes of a snapshot that one request carries.
const CHUNK_BYTES: u64 = 1 << 20;

/// How long a chunk of a snapshot may take, the last one with all that its receiver does, in milliseconds.
const CHUNK_MILLIS: u64 = 5_000;

/// Entries that one request carries; their bytes are bounded besides.
const APPEND_ENTRIES_MAX: u64 = 1_024;

/// What a voter starts with.
pub struct Setup<D: Disk, T: Transport> {
    /// The volume's disk.
    pub disk: D,
    /// How shard 0's log is laid out.
    pub log: LogOptions,
    /// This start of the volume, as its identity has it.
    pub start: Start,
    /// Where other brokers reach this one.
    pub address: String,
    /// Addresses of brokers that may know who leads.
    pub seeds: Vec<String>,
    /// The way to other voters.
    pub transport: T,
    /// What the catalog says about brokers.
    pub brokers: Arc<dyn Brokers>,
    /// Tells the owner; it must not block and not call back.
    pub notify: Arc<dyn Fn(Notice) + Send + Sync>,
    /// Where the voter's tasks run. One of its own keeps a busy broker from missing its leader's word.
    pub runtime: Handle,
}

/// A voter that was started.
#[derive(Debug)]
pub struct Started {
    /// The owner's side: the port of the coordinator.
    pub voter: RaftVoter,
    /// The side of the network and of the broker's life.
    pub node: ConsensusNode,
    /// What the committed commands go on from.
    pub catalog: Catalog,
    /// What is wrong with snapshots that could not be used because of it, for somebody to look at.
    pub damaged: Vec<String>,
}

/// Why a voter can't start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Shard 0's log can't be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The record can't be read or written.
    #[error(
        "the voter's record can't be used: {0}; restore the volume's files or give the broker an empty volume"
    )]
    Record(io::Error),
    /// Snapshots can't be read.
    #[error("the catalog's snapshots can't be read: {0}")]
    Snapshots(io::Error),
    /// The log was given up for a snapshot that is not there or damaged.
    #[error(
        "the catalog's log was given up for a snapshot that is missing or damaged: give the broker an empty volume, \
         or restore the file from a copy of this one"
    )]
    SnapshotLost,
    /// Log, record and snapshots are not of one volume at one time.
    #[error("the catalog's log and the files beside it disagree: {0}; give the broker an empty volume")]
    Disagree(String),
    /// The system gives no more threads, or no randomness.
    #[error("the system failed: {0}")]
    Thread(io::Error),
    /// The library can't go on from what it found.
    #[error("the consensus can't start: {0}")]
    Consensus(String),
}

/// Starts the voter of a volume. It takes part once its cluster is [initialised](ConsensusNode::initialise) or it
/// joined through a seed, which it does by itself.
///
/// # Errors
/// [`StartError`].
pub async fn start<D: Disk, T: Transport>(setup: Setup<D, T>) -> Result<Started, StartError> {
    let runtime = setup.runtime.clone();
    match runtime.spawn(start_here(setup)).await {
        Ok(result) => result,
        Err(error) => Err(StartError::Consensus(error.to_string())),
    }
}

async fn start_here<D: Disk, T: Transport>(setup: Setup<D, T>) -> Result<Started, StartError> {
    let Setup { disk, log, start, address, seeds, transport, brokers, notify, runtime } = setup;
    let mut process = [0; 16];
    getrandom::fill(&mut process).map_err(|error| StartError::Thread(io::Error::other(error.to_string())))?;
    let shared = Arc::new(Shared::new(Uuid(process), notify));
    let files = SnapshotFiles::new(disk.clone(), shard_folder(ShardId::CATALOG));

    let (opening, opening_files) = (Arc::clone(&shared), files.clone());
    let open = move || {
        let (found, damaged) = opening_files.newest().map_err(StartError::Snapshots)?;
        let (snapshot, catalog) = found.map_or_else(|| (None, Catalog::new()), |(s, c)| (Some(s), c));
        let covered = snapshot.as_ref().and_then(|snapshot| snapshot.meta.last_log_id);
        let bytes = snapshot.as_ref().map_or(0, |snapshot| snapshot.state.len() as u64);
        let newest = Arc::new(Newest::new(snapshot));
        let opened = store::open(&disk, &log, &opening, covered, newest.index())?;
        opening.begin_at(covered, bytes);
        Ok::<_, StartError>((opened, newest, catalog, damaged))
    };
    let opened = runtime.spawn_blocking(open).await;
    let (OpenedStore { store, changes, last }, newest, catalog, damaged) =
        opened.map_err(|error| StartError::Consensus(error.to_string()))??;

    let machine = Machine::new(Arc::clone(&shared), files, newest);
    let caller = Caller::new(Arc::new(transport), brokers, Arc::clone(&shared), start);
    let id = VolumeId(start.volume);
    let raft = Raft::new(id, Arc::new(config()?), Network(caller.clone()), store, machine)
        .await
        .map_err(|error| StartError::Consensus(error.to_string()))?;
    let inner = Arc::new(Inner::new(raft, caller, shared, id, address, seeds, runtime, changes, last));
    inner.drive();
    let node = ConsensusNode::new(Arc::clone(&inner));
    Ok(Started { voter: RaftVoter::new(inner), node, catalog, damaged })
}

fn config() -> Result<Config, StartError> {
    let config = Config {
        cluster_name: "catalog".to_owned(),
        heartbeat_interval: limits::CONSENSUS_HEARTBEAT_MILLIS,
        election_timeout_min: limits::CONSENSUS_ELECTION_MILLIS_MIN,
        election_timeout_max: limits::CONSENSUS_ELECTION_MILLIS_MAX,
        install_snapshot_timeout: CHUNK_MILLIS,
        snapshot_max_chunk_size: CHUNK_BYTES,
        max_payload_entries: APPEND_ENTRIES_MAX,
        replication_lag_threshold: limits::CONSENSUS_ENTRIES_KEPT,
        // They are asked for by bytes.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: limits::CONSENSUS_ENTRIES_KEPT,
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Consensus(error.to_string()))
}
