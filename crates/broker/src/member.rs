//! A member of a cluster: how it runs, and its start.
//!
//! ```text
//!  open the volume ─► peers ─► consensus ─► coordinator ─► listen
//!                                               │ its rack is known
//!                                               │ registered as start n of broker b
//!                                               ▼
//!                              shards are assigned, others connect, it serves
//! ```
//!
//! It listens before it is registered: others reach it for the consensus, and whoever begins the cluster tells it so.

mod inbound;
mod parts;
mod rack;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use pondage_model::{BrokerId, Uuid};
use pondage_node::{
    boot::{BootedMember, Place, boot_member},
    coordinator::{Coordinator, Rack},
    disk::open_promises,
};
use tokio::sync::mpsc;

use crate::{
    clocks::Clocks,
    consensus::{self, Start},
    coordinator_task::{self, AdminMessage, CoordinatorTask},
    handle::Handle,
    metrics::Metrics,
    peers::{Introduction, PeerOptions, Peers},
    promise_book::PromiseBook,
    run::{Broker, Listeners, Running, StartError, blocking, fresh, log_options, make_folder, threads},
    services::Front,
    surroundings::Surroundings,
    tls::{Notice, Tls, TlsFiles, check_exposure},
};
use inbound::Inbound;
pub(crate) use parts::{BrokersKnown, MemberParts, control_runtime};
use parts::{OverCalls, OverPeers, notices};
pub use rack::RackSource;

/// How one broker of a cluster runs.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The data folder; made if it isn't there. An empty one joins the cluster, it never begins it.
    pub data: PathBuf,
    /// Where clients and other brokers connect. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Host and port that the catalog tells others; without it, what it listens on.
    pub advertise: Option<String>,
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub http: SocketAddr,
    /// The cluster's identity, which was recorded before its first broker started.
    pub cluster: Uuid,
    /// Host and port of other brokers of the cluster, asked for a place in it. Its own address among them is passed
    /// over. Empty for a broker that waits to be told to begin the cluster.
    pub seeds: Vec<String>,
    /// Where its failure domain is said.
    pub rack: RackSource,
    /// The broker whose place a new volume takes, because that one's volume is gone for good.
    pub replaces: Option<BrokerId>,
    /// Without it everything is in plain text, which is refused on any but a loopback address.
    pub tls: Option<TlsFiles>,
    /// For tests and benchmarks: every sync takes this much longer, as on a cloud volume.
    pub sync_delay: Option<Duration>,
}

impl Broker {
    /// Opens the data folder, joins the cluster and serves. Returns when it listens: a broker may have to wait for
    /// others before it leads anything.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start_member(options: MemberOptions) -> Result<Self, StartError> {
        let store = make_folder(&options.data, options.sync_delay)?;
        let MemberOptions { listen, advertise, http, cluster, seeds, rack, replaces, tls, .. } = options;
        let tls = tls.map(Tls::load).transpose()?;
        let notice = check_exposure(listen, tls.is_some())?;
        match notice {
            Notice::Encrypted => tracing::info!("{notice}"),
            Notice::PlaintextLoopback => tracing::warn!("{notice}"),
        }
        let listeners = Listeners::bind(listen, http).await?;
        let address = advertise.unwrap_or_else(|| listeners.address.to_string());
        let seeds: Vec<String> = seeds.into_iter().filter(|seed| *seed != address).collect();

        let (log_options, fresh) = (log_options()?, fresh(cluster)?);
        let (booting, promising) = (store.clone(), store.clone());
        let place = Place { address: address.clone(), rack: Rack::Unsaid, replaces };
        let booted = blocking(move || boot_member(&booting, fresh, place)).await?;
        let BootedMember { volume, identity, next_nonce, held, created } = booted;
        if identity.cluster != cluster {
            return Err(StartError::Failed(format!(
                "the data folder belongs to cluster {}, and this broker was started for {cluster}: use another data \
                 folder, or the right cluster",
                identity.cluster
            )));
        }
        let promises = blocking(move || open_promises(promising)).await?;

        let control = control_runtime()?;
        let disk = threads()?;
        let (admin, requests) = mpsc::channel(coordinator_task::INBOX_REQUESTS_MAX);
        let (events, event_inbox) = mpsc::unbounded_channel();
        let handle = Handle::new(admin, Metrics::new());
        handle.metrics().watch_volume(store.clone());
        let sink = Arc::new(Inbound::new(handle.clone(), events.clone()));
        let introduction = Introduction {
            cluster,
            volume: identity.volume,
            incarnation: identity.incarnation,
            nonce: identity.nonce,
            broker: None,
            address: address.clone(),
        };
        let start =
            Start { volume: identity.volume, incarnation: identity.incarnation, nonce: identity.nonce };
        let peers = Peers::new(introduction.clone(), tls.clone(), sink.clone(), PeerOptions::default());
        let starting = consensus::start(consensus::Setup {
            disk: store.clone(),
            log: log_options,
            start,
            address,
            seeds,
            transport: OverPeers::new(peers.clone()),
            brokers: Arc::new(BrokersKnown(handle.directory().clone())),
            notify: notices(handle.clone(), events.clone()),
            runtime: control.handle().clone(),
        });
        // There, so that all its tasks are.
        let started = control.handle().spawn(starting).await;
        let consensus::Started { voter, node, catalog, damaged } =
            started.map_err(|error| StartError::System(error.to_string()))??;
        for what in damaged {
            tracing::error!(what, "a snapshot of the catalog is damaged; an older one is used");
        }
        handle.metrics().report_of(peers.clone(), tls.clone());
        handle.votes_through(cluster, node.clone());
        handle.set_remote(Arc::new(OverCalls::new(peers.clone(), handle.directory().clone())));
        let parts = Arc::new(MemberParts::new(peers.clone(), node, introduction, control));

        let around = Surroundings {
            runtime: tokio::runtime::Handle::current(),
            promises: PromiseBook::new(promises, disk.clone()),
            disk,
            clocks: Clocks::start(),
            broker: handle.clone(),
            coordinator: events.clone(),
            member: Some(parts.clone()),
        };
        let volume = Arc::new(Mutex::new(volume));
        let coordinator = Coordinator::member(identity, next_nonce, voter, catalog, held);
        let task =
            CoordinatorTask::new(coordinator, None, (store.clone(), log_options), volume.clone(), around);
        parts.spawn(task.run(requests, event_inbox));
        let beginning = handle.clone();
        tokio::spawn(async move {
            match rack.find(created).await {
                // A coordinator that has ended begins no more.
                Ok(rack) => drop(events.send(AdminMessage::Begin(rack))),
                Err(what) => beginning.fail(what),
            }
        });
        let running = Arc::new(Running { handle: handle.clone(), store, volume, member: Some(parts) });
        let front = Front { tls, peers: Some(peers) };
        Ok(Self::serving(running, handle, listeners, front, created))
    }
}
