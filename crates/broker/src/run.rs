//! A broker's life: open the data folder, serve, stop in good order.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use pondage_model::Uuid;
use pondage_node::{
    boot::{BootError, Booted, Fresh, boot},
    disk::{Disk, FileDisk, LogOptions, SlowDisk},
    shard::ShardRequest,
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    coordinator_task::{self, CoordinatorTask},
    disk_threads::DiskThreads,
    handle::Handle,
    http,
    metrics::Metrics,
    services,
    shard_task::Clocks,
};

/// How long a stopping broker waits for its shards and sessions.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
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
    handle: Arc<dyn Stop>,
    /// Where the native API listens.
    pub address: SocketAddr,
    /// Where metrics and health are.
    pub http_address: SocketAddr,
    /// Whether the data folder was new.
    pub created: bool,
    failed: tokio::sync::watch::Receiver<Option<String>>,
    cancel: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    /// The lock on the data folder, held for as long as anything may write to it.
    volume: Box<dyn std::any::Any + Send + Sync>,
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

/// What the shell's type parameter hides.
trait Stop: std::fmt::Debug + Send + Sync {
    /// How many shards are led.
    fn led(&self) -> tokio::sync::watch::Receiver<usize>;

    /// Logs every lease, then ends every task that writes. When it returns, nothing writes any more.
    fn end_writers(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl<D: Disk + std::fmt::Debug> Stop for Handle<D> {
    fn led(&self) -> tokio::sync::watch::Receiver<usize> {
        Self::led(self)
    }

    fn end_writers(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // First, so that no shard is started, changed or removed any more.
            self.stop_coordinator().await;
            for shard in self.shard_ids() {
                if let Err(refusal) = self.ask(shard, ShardRequest::Flush).await {
                    tracing::warn!(shard = shard.get(), %refusal, "leases were not logged");
                }
                if let Some(handle) = self.remove_shard(shard) {
                    handle.stop().await;
                }
            }
        })
    }
}

impl Broker {
    /// Opens the data folder and serves. Returns when clients may connect.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let path = options.data.clone();
        std::fs::create_dir_all(&path).map_err(|error| StartError::Folder { path: path.clone(), error })?;
        let disk = FileDisk::new(&path);
        match options.sync_delay {
            None => Self::start_on(disk, options).await,
            Some(delay) => {
                let slow = SlowDisk::new(disk, Arc::new(move || std::thread::sleep(delay)));
                Self::start_on(slow, options).await
            }
        }
    }

    async fn start_on<D: Disk + std::fmt::Debug>(store: D, options: Options) -> Result<Self, StartError> {
        let bind = async |address: SocketAddr| {
            TcpListener::bind(address).await.map_err(|error| StartError::Listen { address, error })
        };
        let (grpc, web) = (bind(options.listen).await?, bind(options.http).await?);
        let local = |listener: &TcpListener, asked: SocketAddr| listener.local_addr().unwrap_or(asked);
        let (address, http_address) = (local(&grpc, options.listen), local(&web, options.http));

        let seed = random()?;
        let salt = u64::from_le_bytes(std::array::from_fn(|index| seed.0[index]));
        let log_options = LogOptions { salt, ..LogOptions::default() };
        let fresh = Fresh { cluster: random()?, volume: random()?, nonce: random()? };
        let (booting, boot_options) = (store.clone(), log_options);
        let booted =
            tokio::task::spawn_blocking(move || boot(&booting, &boot_options, fresh, address.to_string()))
                .await
                .map_err(|error| StartError::System(error.to_string()))??;
        let Booted { volume, coordinator, catalog_writer, created, .. } = booted;

        let threads =
            DiskThreads::start(DISK_THREADS).map_err(|error| StartError::System(error.to_string()))?;
        let (admin, requests) = mpsc::channel(coordinator_task::INBOX_REQUESTS_MAX);
        let (events, event_inbox) = mpsc::unbounded_channel();
        let handle = Handle::new(admin, Metrics::new());
        let clocks = Clocks::start();
        let task = CoordinatorTask {
            coordinator,
            writer: Some(Box::new(catalog_writer)),
            store,
            log_options,
            disk: threads,
            clocks,
            broker: handle.clone(),
            events,
            answers: HashMap::new(),
            next_request: 0,
            to_write: None,
            to_drop: None,
            stopping: None,
            led: HashMap::new(),
            opening: HashMap::new(),
            removing: JoinSet::new(),
        };
        tokio::spawn(task.run(requests, event_inbox));

        let mut failed = handle.failed();
        let mut ready = handle.ready();
        tokio::select! {
            _ = ready.wait_for(|ready| *ready) => {}
            reason = failed.wait_for(Option::is_some) => {
                let reason = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
                handle.end_writers().await;
                return Err(StartError::Failed(reason));
            }
        }
        let cancel = CancellationToken::new();
        let servers = vec![
            tokio::spawn(services::serve(handle.clone(), grpc, cancel.clone())),
            tokio::spawn(http::serve(handle.clone(), web, cancel.clone())),
        ];
        let volume = Box::new(volume);
        Ok(Self { failed, handle: Arc::new(handle), address, http_address, created, cancel, servers, volume })
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

    /// Stops in good order: hands over what others can lead, then as [`Broker::close`].
    pub async fn stop(self) -> Stopped {
        self.close().await
    }

    /// Ends the sessions, logs every lease, closes the logs. Hands nothing over: for a broker whose fellows end with
    /// it.
    pub async fn close(self) -> Stopped {
        self.cancel.cancel();
        let (servers, handle) = (self.servers, self.handle);
        let ended = tokio::time::timeout(STOP_TIMEOUT, async {
            for server in servers {
                if let Err(error) = server.await {
                    tracing::warn!(%error, "a server did not end well");
                }
            }
            handle.end_writers().await;
        });
        if ended.await.is_err() {
            tracing::warn!("some sessions or shards did not end in time; they end with the process");
            // Something may still write: nobody else gets the folder before this process has ended.
            std::mem::forget(self.volume);
        }
        match self.failed.borrow().clone() {
            None => Stopped::InOrder,
            Some(reason) => Stopped::Failed(reason),
        }
    }
}

fn random() -> Result<Uuid, StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StartError::System(error.to_string()))?;
    Ok(Uuid(bytes))
}
