//! A broker's life: open the data folder, serve, stop in good order.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use pondage_model::Uuid;
use pondage_node::{
    boot::{BootError, Booted, Fresh, boot},
    coordinator::{Rack, Readiness},
    disk::{Disk, FileDisk, LogOptions, OpenError, SlowDisk, Volume, open_promises},
    shard::ShardRequest,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    clocks::Clocks,
    consensus,
    coordinator_task::{self, AdminMessage, CatalogLog, CoordinatorTask},
    disk_threads::DiskThreads,
    handle::Handle,
    http,
    member::MemberParts,
    metrics::Metrics,
    promise_book::PromiseBook,
    services::{self, Front},
    surroundings::Surroundings,
    tls::{Exposed, TlsError},
};

/// Threads that write and sync.
const DISK_THREADS: usize = 8;

/// How a broker runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; made if it isn't there.
    pub data: PathBuf,
    /// Where the native API listens. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub http: SocketAddr,
    /// For tests and benchmarks: every sync takes this much longer, as on a cloud volume.
    pub sync_delay: Option<Duration>,
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    pub(crate) handle: Arc<dyn Stop>,
    /// Where the native API listens.
    pub address: SocketAddr,
    /// Where metrics and health are.
    pub http_address: SocketAddr,
    /// Whether the data folder was new.
    pub created: bool,
    pub(crate) failed: tokio::sync::watch::Receiver<Option<String>>,
    pub(crate) readiness: tokio::sync::watch::Receiver<Readiness>,
    pub(crate) cancel: CancellationToken,
    pub(crate) servers: Vec<JoinHandle<()>>,
}

/// Why a broker can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can't be opened.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The data folder can't be made.
    #[error("the data folder {path}: {error}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// An address is taken or not ours.
    #[error("listening on {address}: {error} (another broker? choose another port with --listen or --http)")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The journal of promises can't be opened.
    #[error(transparent)]
    Promises(#[from] OpenError),
    /// The catalog's log or votes can't be read.
    #[error(transparent)]
    Consensus(consensus::StartError),
    /// The certificates can't be used, or there are none where others can listen.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It would listen in plaintext where others reach it.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The system gives no threads or no random numbers.
    #[error("starting: {0}")]
    System(String),
    /// It started and failed before it served.
    #[error("{0}")]
    Failed(String),
}

/// How a broker ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// In good order: everything acknowledged is durable, leases are logged.
    InOrder,
    /// It could not go on.
    Failed(String),
}

/// What the shell's type parameters hide.
pub(crate) trait Stop: std::fmt::Debug + Send + Sync {
    /// How many shards are led.
    fn led(&self) -> tokio::sync::watch::Receiver<usize>;
    /// Waits until others lead what this broker led.
    fn leave(&self) -> Ending<'_>;
    /// Logs the leases of what a cluster's member still leads, while others may answer and for no longer than that, and
    /// then speaks to them no more, so that no call of theirs stays open.
    fn part(&self, limit: Duration) -> Ending<'_>;
    /// Logs every lease, then ends every task that writes. When it returns, nothing writes any more.
    fn end_writers(&self) -> Ending<'_>;
    /// Gives the volume up; what it holds is emptied first if it is a copy.
    fn close(self: Arc<Self>, writes_on: bool);
}

type Ending<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What runs, and the volume that it runs on.
#[derive(Debug)]
pub(crate) struct Running<D: Disk> {
    pub(crate) handle: Handle<D>,
    pub(crate) store: D,
    /// The lock on the data folder, held for as long as anything may write to it.
    pub(crate) volume: Arc<Mutex<Volume<D>>>,
    /// In a cluster.
    pub(crate) member: Option<Arc<MemberParts>>,
}

impl<D: Disk> Running<D> {
    /// Logs every lease of the shards that are led here.
    async fn flush(&self) {
        let led = self.handle.shard_ids().into_iter().filter(|shard| self.handle.leads(*shard));
        let flushing = led.map(|shard| async move {
            if let Err(refusal) = self.handle.ask(shard, ShardRequest::Flush).await {
                tracing::warn!(shard = shard.get(), %refusal, "leases were not logged");
            }
        });
        futures_util::future::join_all(flushing).await;
    }
}

impl<D: Disk + std::fmt::Debug> Stop for Running<D> {
    fn led(&self) -> tokio::sync::watch::Receiver<usize> {
        self.handle.led()
    }

    fn leave(&self) -> Ending<'_> {
        Box::pin(self.handle.leave())
    }

    fn part(&self, limit: Duration) -> Ending<'_> {
        Box::pin(async move {
            let Some(member) = &self.member else { return };
            if tokio::time::timeout(limit, self.flush()).await.is_err() {
                tracing::warn!("some leases were not logged: whoever leads next gives their messages again");
            }
            member.peers.stop();
        })
    }

    fn end_writers(&self) -> Ending<'_> {
        Box::pin(async move {
            // First, so that no shard is started, changed or removed any more.
            self.handle.stop_coordinator().await;
            if self.member.is_none() {
                self.flush().await;
            }
            for shard in self.handle.shard_ids() {
                if let Some(handle) = self.handle.remove_shard(shard) {
                    handle.stop().await;
                }
            }
            if let Some(member) = &self.member {
                member.stop().await;
            }
        })
    }

    fn close(self: Arc<Self>, writes_on: bool) {
        if writes_on {
            // Something may still write: nobody else gets the folder before this process has ended.
            std::mem::forget(self);
        } else if self.handle.is_stale() {
            let mut volume = self.volume.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let emptied = fresh(Uuid::default())
                .and_then(|fresh| Ok(pondage_node::boot::reformat(&self.store, &mut volume, fresh)?));
            match emptied {
                Ok(()) => tracing::warn!("the volume was emptied"),
                Err(error) => tracing::error!(%error, "the volume was not emptied; the next start goes on"),
            }
        }
    }
}

/// Where a broker listens.
pub(crate) struct Listeners {
    pub(crate) grpc: TcpListener,
    pub(crate) web: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) http_address: SocketAddr,
}

impl Listeners {
    pub(crate) async fn bind(listen: SocketAddr, http: SocketAddr) -> Result<Self, StartError> {
        let bind = async |address: SocketAddr| {
            TcpListener::bind(address).await.map_err(|error| StartError::Listen { address, error })
        };
        let (grpc, web) = (bind(listen).await?, bind(http).await?);
        let local = |listener: &TcpListener, asked: SocketAddr| listener.local_addr().unwrap_or(asked);
        let (address, http_address) = (local(&grpc, listen), local(&web, http));
        Ok(Self { grpc, web, address, http_address })
    }
}

/// Makes the data folder. Every sync takes so much longer, for tests; there is one type of disk either way, since a
/// broker is compiled once for each.
pub(crate) fn make_folder(
    path: &Path,
    sync_delay: Option<Duration>,
) -> Result<SlowDisk<FileDisk>, StartError> {
    std::fs::create_dir_all(path).map_err(|error| StartError::Folder { path: path.to_owned(), error })?;
    let pause = move || sync_delay.into_iter().for_each(std::thread::sleep);
    Ok(SlowDisk::new(FileDisk::new(path), Arc::new(pause)))
}

/// Runs what blocks.
pub(crate) async fn blocking<T: Send + 'static, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, StartError>
where
    E: Send + 'static,
    StartError: From<E>,
{
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| StartError::System(error.to_string()))??)
}

pub(crate) fn threads() -> Result<DiskThreads, StartError> {
    DiskThreads::start(DISK_THREADS).map_err(|error| StartError::System(error.to_string()))
}

/// Random numbers for a new volume of this cluster, and for this start.
pub(crate) fn fresh(cluster: Uuid) -> Result<Fresh, StartError> {
    Ok(Fresh { cluster, volume: random()?, nonce: random()? })
}

pub(crate) fn log_options() -> Result<LogOptions, StartError> {
    let seed = random()?;
    let salt = u64::from_le_bytes(std::array::from_fn(|index| seed.0[index]));
    Ok(LogOptions { salt, ..LogOptions::default() })
}

impl Broker {
    /// Opens the data folder and serves. Returns when clients may connect.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let store = make_folder(&options.data, options.sync_delay)?;
        let listeners = Listeners::bind(options.listen, options.http).await?;
        let (address, log_options, fresh) =
            (listeners.address.to_string(), log_options()?, fresh(random()?)?);
        let (booting, promising) = (store.clone(), store.clone());
        let booted = blocking(move || boot(&booting, &log_options, fresh, address)).await?;
        let Booted { volume, coordinator, catalog_writer, created, .. } = booted;
        let promises = blocking(move || open_promises(promising)).await?;

        let disk = threads()?;
        let (admin, requests) = mpsc::channel(coordinator_task::INBOX_REQUESTS_MAX);
        let (events, event_inbox) = mpsc::unbounded_channel();
        let handle = Handle::new(admin, Metrics::new());
        handle.metrics().watch_volume(store.clone());
        let around = Surroundings {
            runtime: tokio::runtime::Handle::current(),
            promises: PromiseBook::new(promises, disk.clone()),
            disk,
            clocks: Clocks::start(),
            broker: handle.clone(),
            coordinator: events.clone(),
            member: None,
        };
        let volume = Arc::new(Mutex::new(volume));
        let log = CatalogLog::new(catalog_writer);
        let task = CoordinatorTask::new(
            coordinator,
            Some(log),
            (store.clone(), log_options),
            volume.clone(),
            around,
        );
        drop(events.send(AdminMessage::Begin(Rack::Unsaid)));
        tokio::spawn(task.run(requests, event_inbox));
        let running = Arc::new(Running { handle: handle.clone(), store, volume, member: None });

        let mut failed = handle.failed();
        let mut readiness = handle.readiness();
        tokio::select! {
            _ = readiness.wait_for(|readiness| readiness.is_ready()) => {}
            reason = failed.wait_for(Option::is_some) => {
                let reason = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
                running.end_writers().await;
                return Err(StartError::Failed(reason));
            }
        }
        Ok(Self::serving(running, handle, listeners, Front::default(), created))
    }

    /// Lets clients in.
    pub(crate) fn serving<D: Disk + std::fmt::Debug>(
        running: Arc<Running<D>>,
        handle: Handle<D>,
        listeners: Listeners,
        front: Front,
        created: bool,
    ) -> Self {
        let cancel = CancellationToken::new();
        let Listeners { grpc, web, address, http_address } = listeners;
        let (failed, readiness) = (handle.failed(), handle.readiness());
        if let Some(tls) = &front.tls {
            tokio::spawn(tls.clone().watch(cancel.clone()));
        }
        let servers = vec![
            tokio::spawn(services::serve(handle.clone(), grpc, front, cancel.clone())),
            tokio::spawn(http::serve(handle, web, cancel.clone())),
        ];
        Self { failed, readiness, handle: running, address, http_address, created, cancel, servers }
    }

    /// Waits until the broker is ready: it is registered, and every replica here was in sync since this start.
    pub async fn ready(&mut self) {
        // An error means that the broker ended; `failed` says why.
        drop(self.readiness.wait_for(|readiness| readiness.is_ready()).await);
    }

    /// Waits until the broker can't go on. Never returns while it serves.
    pub async fn failed(&mut self) -> String {
        match self.failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the broker ended".to_owned(),
        }
    }

    /// How many shards the broker leads: while it stops, how many it has not handed over yet.
    #[must_use]
    pub fn led(&self) -> tokio::sync::watch::Receiver<usize> {
        self.handle.led()
    }
}

pub(crate) fn random() -> Result<Uuid, StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StartError::System(error.to_string()))?;
    Ok(Uuid(bytes))
}
