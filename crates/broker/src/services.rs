//! The native API: gRPC services on a [`Handle`].
//!
//! A service checks a request once, at the edge, asks the shards or the catalog, and turns what they say into the
//! words of the wire. It keeps no state of its own but what a session needs. Streams run in a task of their own, so
//! that whatever becomes of the connection, the session ends in good order.

mod admin;
mod bodies;
mod browse;
mod cluster;
pub(crate) mod connection;
mod consume;
mod edge;
mod groups;
mod members;
mod messages;
mod observe;
mod outbound;
mod publish;
mod receive;
mod session;
mod settle;
mod status;
mod watch;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use pondage_model::{Name, Refusal, ShardId, StreamId, limits};
use pondage_node::{
    coordinator::{ResourceSettings, Route},
    disk::Disk,
};
use pondage_protocol::{
    to_status,
    v1::{
        self, admin_server::AdminServer, cluster_server::ClusterServer, groups_server::GroupsServer,
        messages_server::MessagesServer,
    },
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::interceptor::InterceptedService, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    handle::Handle,
    metrics::{Method, Metrics},
    peers::Peers,
    tls::{Tls, require_certificate},
};
use connection::{Caps, Greeting};
use edge::Edge;

/// Calls that one connection may have open at once; more wait. A member of a group has one for each of its partitions.
const CALLS_PER_CONNECTION_MAX: u32 = 4_096;
/// What a sender may send of one call before the broker has taken it, in bytes.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same for all calls of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes of a call's headers.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// How often a silent connection is asked whether it is still there, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the calls that are open when the broker stops may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections in total, and of one address.
const CAPS: Caps = Caps { total: 10_240, per_address: 8_192 };

/// What stands in front of the services besides the listener.
#[derive(Debug, Default)]
pub(crate) struct Front {
    /// Without it everything is plain text.
    pub(crate) tls: Option<Tls>,
    /// Of a cluster's member: what other brokers call.
    pub(crate) peers: Option<Peers>,
}

/// Serves the native API until `cancel`, then at most [`DRAIN_TIMEOUT`] longer.
pub(crate) async fn serve<D: Disk>(
    handle: Handle<D>,
    listener: TcpListener,
    front: Front,
    cancel: CancellationToken,
) {
    let services = Services::new(handle.clone(), cancel.clone());
    let (reporter, health) = tonic_health::server::health_reporter();
    let following = tokio::spawn(report_health(handle.clone(), reporter, cancel.clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were generated with the code");

    let metrics = handle.metrics().clone();
    let incoming =
        connection::accept(listener, Greeting::Http2, front.tls, CAPS, metrics.clone(), cancel.clone());
    let bytes_max = limits::RPC_BYTES_MAX;
    let router = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .add_service(health)
        .add_service(reflection)
        .add_optional_service(front.peers.map(|peers| peers.service()))
        .add_service(Edge::new(
            MessagesServer::new(services.clone()).max_decoding_message_size(bytes_max),
            metrics.clone(),
        ))
        .add_service(Edge::new(
            GroupsServer::new(services.clone()).max_decoding_message_size(bytes_max),
            metrics.clone(),
        ))
        .add_service(guarded(
            ClusterServer::new(services.clone()).max_decoding_message_size(bytes_max),
            &metrics,
        ))
        .add_service(guarded(AdminServer::new(services).max_decoding_message_size(bytes_max), &metrics));
    let stopping = cancel.clone();
    let serving =
        router.serve_with_incoming_shutdown(ReceiverStream::new(incoming), stopping.cancelled_owned());
    let too_long = async {
        cancel.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                handle.fail(format!("the native API ended: {error}"));
            }
        }
        () = too_long => tracing::warn!("some connections did not end in time; they are cut"),
    }
    following.abort();
}

/// What only who presents a certificate may call, where there is TLS.
fn guarded<S>(service: S, metrics: &Metrics) -> InterceptedService<Edge<S>, Guard> {
    let guard: Guard = |request| require_certificate(&request).map(|()| request);
    InterceptedService::new(Edge::new(service, metrics.clone()), guard)
}

type Guard = fn(Request<()>) -> Result<Request<()>, Status>;

/// Lets the health service say what the broker's own state is.
async fn report_health<D: Disk>(handle: Handle<D>, reporter: HealthReporter, cancel: CancellationToken) {
    let (mut readiness, mut failed) = (handle.readiness(), handle.failed());
    loop {
        let serving = readiness.borrow_and_update().is_ready()
            && failed.borrow_and_update().is_none()
            && !cancel.is_cancelled();
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in
            ["", "pondage.v1.Messages", "pondage.v1.Groups", "pondage.v1.Admin", "pondage.v1.Cluster"]
        {
            reporter.set_service_status(service, status).await;
        }
        if cancel.is_cancelled() {
            return;
        }
        tokio::select! {
            Ok(()) = readiness.changed() => {}
            Ok(()) = failed.changed() => {}
            () = cancel.cancelled() => {}
            else => return,
        }
    }
}

/// What all services share.
pub(crate) struct Services<D: Disk>(Arc<Shared<D>>);

impl<D: Disk> Clone for Services<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Changes of resources that one broker has under way at a time, at the most: their commits are shared.
const CHANGING: usize = 64;

struct Shared<D: Disk> {
    handle: Handle<D>,
    stopping: CancellationToken,
    /// Whoever changes a resource under a condition holds the one of its name: what it read stays true until it is done.
    changing: [tokio::sync::Mutex<()>; CHANGING],
    /// Whose turn it is among the partitions, for publishes that name none.
    turn: AtomicUsize,
}

/// One stream of a topic or queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: u32,
    shard: ShardId,
    stream: StreamId,
}

impl<D: Disk> Services<D> {
    fn new(handle: Handle<D>, stopping: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            handle,
            stopping,
            changing: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            turn: AtomicUsize::new(0),
        }))
    }

    fn handle(&self) -> &Handle<D> {
        &self.0.handle
    }

    /// Waits until nobody else changes the resource of this name through this broker, and holds off who comes next.
    async fn alone(&self, name: &Name) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        self.0.changing[hasher.finish() as usize % CHANGING].lock().await
    }

    fn metrics(&self) -> &Metrics {
        self.0.handle.metrics()
    }

    /// Does what a call asks, counts it, and gives refusals their status.
    async fn served<T>(
        &self,
        method: Method,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<Response<T>, Status> {
        self.metrics().requested(method);
        match work.await {
            Ok(reply) => Ok(Response::new(reply)),
            Err(refusal) => {
                self.metrics().refused(refusal.code());
                Err(to_status(&refusal))
            }
        }
    }

    /// A refusal inside a stream, counted.
    fn error(&self, refusal: &Refusal) -> v1::Error {
        self.metrics().refused(refusal.code());
        refusal.into()
    }

    /// The queue's route and stream.
    fn queue(&self, name: &Name) -> Result<(Arc<Route>, Place), Refusal> {
        let route = self.handle().route(name)?;
        match (&route.settings, route.partitions.first()) {
            (ResourceSettings::Queue(_), Some(&(stream, shard))) => {
                Ok((Arc::clone(&route), Place { partition: 0, shard, stream }))
            }
            _ => Err(Refusal::NotFound { kind: "queue", name: name.to_string() }),
        }
    }

    /// The topic's route.
    fn topic(&self, name: &Name) -> Result<Arc<Route>, Refusal> {
        let route = self.handle().route(name)?;
        match &route.settings {
            ResourceSettings::Topic(_) => Ok(route),
            _ => Err(Refusal::NotFound { kind: "topic", name: name.to_string() }),
        }
    }
}

/// A partition of a route.
fn partition_of(route: &Route, partition: u32) -> Result<Place, Refusal> {
    let found = usize::try_from(partition).ok().and_then(|index| route.partitions.get(index));
    match found {
        Some(&(stream, shard)) => Ok(Place { partition, shard, stream }),
        None => Err(Refusal::NotFound { kind: "partition", name: format!("{}/{partition}", route.name) }),
    }
}

/// Every partition of a route.
fn places_of(route: &Route) -> impl Iterator<Item = Place> + '_ {
    (0..).zip(&route.partitions).map(|(partition, &(stream, shard))| Place { partition, shard, stream })
}
