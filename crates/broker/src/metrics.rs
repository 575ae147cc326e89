//! What the broker counts, and what it reports when somebody scrapes. `docs/metrics.md` lists every name.
//!
//! Counters of the broker itself live here. Figures of streams are asked of the shards at scrape time, one question
//! per shard, and only those that changed since the last one: a stream costs nothing between scrapes, and little at
//! them unless it moves.

mod catalogue;
mod cluster;
mod figures;
mod gzip;
mod render;
mod streams;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pondage_model::{Code, ShardId, StreamId};
use pondage_node::disk::{Counters, Disk, Space};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector, process_collector::ProcessCollector,
};

use crate::{peers::Peers, tls::Tls};
use catalogue::Metric;
use cluster::Sources;
pub(crate) use cluster::{ReplicaReport, Seen};
pub(crate) use render::{Form, scrape};
use streams::Streams;

/// Upper bounds of the publish histogram, in seconds: from a local disk's sync to a long stall.
const PUBLISH_SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Upper bounds of the histogram of gaps between two leaders, in seconds: from a hand-over to an outage.
const GAP_SECONDS: [f64; 15] =
    [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 10.0, 60.0, 600.0];

/// A call of the native API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Apply,
    Browse,
    ClusterStatus,
    Consume,
    Delete,
    DescribeCluster,
    Drain,
    ElectUnclean,
    Get,
    GetMembers,
    GetOffsets,
    InitProducer,
    Initialise,
    Join,
    List,
    Locate,
    Lose,
    Observe,
    Plan,
    Publish,
    PublishStream,
    Purge,
    Reassign,
    Receive,
    Remove,
    SetFeatureLevel,
    SetOffsets,
    DrainMembers,
    Settle,
    Watch,
}

impl Method {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Browse => "Browse",
            Self::ClusterStatus => "ClusterStatus",
            Self::Consume => "Consume",
            Self::Delete => "Delete",
            Self::DescribeCluster => "DescribeCluster",
            Self::Drain => "Drain",
            Self::ElectUnclean => "ElectUnclean",
            Self::Get => "Get",
            Self::GetMembers => "GetMembers",
            Self::GetOffsets => "GetOffsets",
            Self::InitProducer => "InitProducer",
            Self::Initialise => "Initialise",
            Self::Join => "Join",
            Self::List => "List",
            Self::Locate => "Locate",
            Self::Lose => "Lose",
            Self::Observe => "Observe",
            Self::Plan => "Plan",
            Self::Publish => "Publish",
            Self::PublishStream => "PublishStream",
            Self::Purge => "Purge",
            Self::Reassign => "Reassign",
            Self::Receive => "Receive",
            Self::Remove => "Remove",
            Self::SetFeatureLevel => "SetFeatureLevel",
            Self::SetOffsets => "SetOffsets",
            Self::DrainMembers => "DrainMembers",
            Self::Settle => "Settle",
            Self::Watch => "Watch",
        }
    }
}

/// Why a connection was closed before it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwelcome {
    /// It said nothing, or too little, in time.
    Silent,
    /// It spoke no TLS where only TLS is spoken, or its certificate does not hold.
    Handshake,
    /// It spoke something else.
    NotHttp2,
    /// There are as many as may be.
    TooMany,
}

impl Unwelcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Handshake => "handshake",
            Self::NotHttp2 => "not-http2",
            Self::TooMany => "too-many",
        }
    }
}

/// How the in-sync replicas of a shard change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InSyncChange {
    Shrink,
    Expand,
}

impl InSyncChange {
    const ALL: [Self; 2] = [Self::Shrink, Self::Expand];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Shrink => "shrink",
            Self::Expand => "expand",
        }
    }
}

/// How a hand-over ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOverEnd {
    /// The broker that was to lead leads.
    Finished,
    /// This broker leads on, or another one than was wanted does.
    Failed,
}

impl HandOverEnd {
    const ALL: [Self; 2] = [Self::Finished, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// The broker's metrics. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    registry: Registry,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    publishes: Histogram,
    connections: IntGauge,
    unwelcome: IntCounterVec,
    in_sync_asked: IntCounterVec,
    in_sync_changes: IntCounterVec,
    hand_overs_begun: IntCounter,
    hand_overs_ended: IntCounterVec,
    leader_gaps: Histogram,
    seen: Mutex<Option<Seen>>,
    sources: Sources,
    shards: Mutex<BTreeMap<ShardId, Arc<ShardMetrics>>>,
    consumers: Mutex<HashMap<StreamId, u32>>,
    /// What the last scrape saw. A scrape holds it: they come one after the other.
    streams: Arc<tokio::sync::Mutex<Streams>>,
    volume: OnceLock<Volume>,
}

/// How the volume's disk is asked how full it is, which may block.
#[derive(Clone)]
struct Volume(Arc<dyn Fn() -> io::Result<Space> + Send + Sync>);

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Volume")
    }
}

impl Metrics {
    /// Everything at zero.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counters = |metric| counters(&registry, metric);
        let requests = counters(&catalogue::REQUESTS);
        let refusals = counters(&catalogue::REFUSALS);
        let unwelcome = counters(&catalogue::CONNECTIONS_REFUSED);
        let (in_sync_asked, in_sync_changes) =
            (counters(&catalogue::IN_SYNC_ASKED), counters(&catalogue::IN_SYNC_CHANGES));
        let hand_overs_ended = counters(&catalogue::HAND_OVERS_ENDED);
        // All are there from the start, so that the first one can be seen as a change.
        for change in InSyncChange::ALL {
            for family in [&in_sync_asked, &in_sync_changes] {
                family.with_label_values(&[change.as_str()]);
            }
        }
        for end in HandOverEnd::ALL {
            hand_overs_ended.with_label_values(&[end.as_str()]);
        }
        let hand_overs_begun =
            registered(&registry, IntCounter::with_opts(opts(&catalogue::HAND_OVERS_BEGUN)));
        let histogram = |metric: &Metric, bounds: &[f64]| {
            let histogram = HistogramOpts::new(metric.name, metric.help).buckets(bounds.to_vec());
            registered(&registry, Histogram::with_opts(histogram))
        };
        let publishes = histogram(&catalogue::PUBLISH_DURATION, &PUBLISH_SECONDS);
        let leader_gaps = histogram(&catalogue::SHARD_LEADER_GAP, &GAP_SECONDS);
        let connections = registered(&registry, IntGauge::with_opts(opts(&catalogue::CONNECTIONS)));
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("process metrics have names of their own");
        Self(Arc::new(Kept {
            registry,
            requests,
            refusals,
            publishes,
            connections,
            unwelcome,
            in_sync_asked,
            in_sync_changes,
            hand_overs_begun,
            hand_overs_ended,
            leader_gaps,
            seen: Mutex::default(),
            sources: Sources::default(),
            shards: Mutex::default(),
            consumers: Mutex::default(),
            streams: Arc::default(),
            volume: OnceLock::new(),
        }))
    }

    /// The disk of the data folder. Given once.
    pub(crate) fn watch_volume<D: Disk>(&self, disk: D) {
        // A second one would be the same.
        drop(self.0.volume.set(Volume(Arc::new(move || disk.space()))));
    }

    /// The counters of a shard's log.
    pub(crate) fn shard(&self, shard: ShardId) -> Arc<ShardMetrics> {
        Arc::clone(lock(&self.0.shards).entry(shard).or_default())
    }

    /// A call came.
    pub(crate) fn requested(&self, method: Method) {
        self.0.requests.with_label_values(&[method.as_str()]).inc();
    }

    /// Something was refused.
    pub(crate) fn refused(&self, code: Code) {
        self.0.refusals.with_label_values(&[code.as_str()]).inc();
    }

    /// A publish was acknowledged after so long.
    pub(crate) fn published(&self, took: Duration) {
        self.0.publishes.observe(took.as_secs_f64());
    }

    /// So many connections more are open.
    pub(crate) fn connected(&self, more: i64) {
        self.0.connections.add(more);
    }

    /// A connection was closed before it was served.
    pub(crate) fn unwelcome(&self, why: Unwelcome) {
        self.0.unwelcome.with_label_values(&[why.as_str()]).inc();
    }

    /// A shard that is led here asks for other in-sync replicas.
    pub(crate) fn in_sync_asked(&self, change: InSyncChange) {
        self.0.in_sync_asked.with_label_values(&[change.as_str()]).inc();
    }

    /// A shard that is led here has other in-sync replicas.
    pub(crate) fn in_sync_changed(&self, change: InSyncChange) {
        self.0.in_sync_changes.with_label_values(&[change.as_str()]).inc();
    }

    /// A shard that is led here is to be led elsewhere.
    pub(crate) fn hand_over_begun(&self) {
        self.0.hand_overs_begun.inc();
    }

    /// Of as many hand-overs as begun, one ended.
    pub(crate) fn hand_over_ended(&self, end: HandOverEnd) {
        self.0.hand_overs_ended.with_label_values(&[end.as_str()]).inc();
    }

    /// A shard serves here that had no leader for so long.
    pub(crate) fn leader_gap(&self, gap: Duration) {
        self.0.leader_gaps.observe(gap.as_secs_f64());
    }

    /// What the coordinator sees now.
    pub(crate) fn see(&self, seen: Seen) {
        *lock(&self.0.seen) = Some(seen);
    }

    /// Where the figures of a cluster's member come from. Given once.
    pub(crate) fn report_of(&self, peers: Peers, tls: Option<Tls>) {
        let Sources { peers: to, tls: certificates } = &self.0.sources;
        // Second ones would be the same.
        drop(to.set(peers));
        if let Some(tls) = tls {
            drop(certificates.set(tls));
        }
    }

    /// Counts a consumer of the stream until the guard is dropped.
    pub(crate) fn attached(&self, stream: StreamId) -> Attached {
        *lock(&self.0.consumers).entry(stream).or_default() += 1;
        Attached { stream, metrics: self.clone() }
    }

    /// Consumers of a stream now.
    pub(crate) fn consumers_of(&self, stream: StreamId) -> u32 {
        lock(&self.0.consumers).get(&stream).copied().unwrap_or(0)
    }
}

/// A consumer that is counted.
#[derive(Debug)]
pub(crate) struct Attached {
    stream: StreamId,
    metrics: Metrics,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut consumers = lock(&self.metrics.0.consumers);
        if let Some(count) = consumers.get_mut(&self.stream) {
            *count -= 1;
            if *count == 0 {
                consumers.remove(&self.stream);
            }
        }
    }
}

/// What a shard's log did since it was opened.
#[derive(Debug, Default)]
pub(crate) struct ShardMetrics {
    fsyncs: AtomicU64,
    bytes_written: AtomicU64,
    entries: AtomicU64,
    batches: AtomicU64,
}

impl ShardMetrics {
    /// Takes over the log's own counters.
    pub(crate) fn observe(&self, counters: &Counters) {
        let keep = |kept: &AtomicU64, value| kept.store(value, Ordering::Relaxed);
        keep(&self.fsyncs, counters.fsyncs + counters.folder_syncs);
        keep(&self.bytes_written, counters.bytes_written);
        keep(&self.entries, counters.entries);
        keep(&self.batches, counters.batches);
    }
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let made = made.expect("the catalogue's names and labels are valid");
    registry.register(Box::new(made.clone())).expect("the catalogue's names differ");
    made
}

fn counters(registry: &Registry, metric: &Metric) -> IntCounterVec {
    registered(registry, IntCounterVec::new(opts(metric), metric.labels))
}

fn gauges(registry: &Registry, metric: &Metric) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(opts(metric), metric.labels))
}

fn seconds_gauges(registry: &Registry, metric: &Metric) -> GaugeVec {
    registered(registry, GaugeVec::new(opts(metric), metric.labels))
}

/// A family, and the figure that fills it.
type Filled<F, S> = (F, fn(&S) -> u64);

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder does one operation: a panic can't leave it half done.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_counted_while_they_are_attached() {
        let metrics = Metrics::new();
        let stream = StreamId(4);
        let first = metrics.attached(stream);
        let second = metrics.attached(stream);
        assert_eq!((metrics.consumers_of(stream), metrics.consumers_of(StreamId(5))), (2, 0));
        drop(first);
        drop(second);
        assert_eq!(metrics.consumers_of(stream), 0);
        assert!(lock(&metrics.0.consumers).is_empty(), "an idle queue takes no memory here");
    }
}
