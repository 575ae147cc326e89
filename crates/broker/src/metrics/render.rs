//! One scrape: the broker's own counters, and the figures of its streams as they are now.

use std::collections::HashMap;

use futures_util::future::{join, join_all};
use pondage_model::{
    StreamId,
    entry::{DiscardCause, MoveCause, ReleaseCause},
};
use pondage_node::{
    coordinator::{ResourceSettings, Route},
    disk::Disk,
    shard::{ShardReply, ShardRequest, StreamReport},
};
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Registry, TextEncoder};

use super::{
    Filled, Metrics, catalogue,
    cluster::{self, ClusterFamilies, level},
    counters, gauges, lock, seconds_gauges,
};
use crate::{consensus::ConsensusNode, handle::Handle};

/// Everything in the Prometheus text format.
///
/// # Errors
/// Why it can't be written: a mistake of ours, for whoever scrapes to see.
pub(crate) async fn scrape<D: Disk>(handle: &Handle<D>) -> Result<String, prometheus::Error> {
    let asked = handle.shard_ids().into_iter().map(|shard| handle.ask(shard, ShardRequest::Stats(None)));
    let (answers, replicas) = join(join_all(asked), cluster::replicas(handle)).await;
    let mut reports = Vec::new();
    for answer in answers {
        // A shard that starts or fails reports nothing; the shard's own counters and `ready` tell.
        if let Ok(ShardReply::Stats(found)) = answer {
            reports.extend(found);
        }
    }
    let mut is_queue = HashMap::new();
    for route in handle.routes() {
        note_streams(&route, &mut is_queue);
    }
    let metrics = handle.metrics();
    let now = Families::new();
    now.broker(metrics, *handle.ready().borrow() && handle.failed().borrow().is_none());
    let (seen, voter) = (lock(&metrics.0.seen).clone(), handle.consensus().map(ConsensusNode::status));
    now.cluster.fill(&replicas, seen.as_ref(), voter.as_ref(), &metrics.0.sources);
    for report in &reports {
        match is_queue.get(&report.stream) {
            Some(true) => now.queue(report, metrics.consumers_of(report.stream)),
            Some(false) => now.topic(report),
            // Deleted since.
            None => {}
        }
    }
    let mut families = metrics.0.registry.gather();
    families.extend(now.registry.gather());
    TextEncoder::new().encode_to_string(&families)
}

fn note_streams(route: &Route, is_queue: &mut HashMap<StreamId, bool>) {
    let queue = matches!(route.settings, ResourceSettings::Queue(_));
    is_queue.extend(route.partitions.iter().map(|(stream, _)| (*stream, queue)));
}

/// Families that are filled anew at each scrape: a deleted stream leaves no trace.
struct Families {
    registry: Registry,
    cluster: ClusterFamilies,
    info: IntGaugeVec,
    ready: IntGaugeVec,
    shards: [Filled<IntCounterVec, super::ShardMetrics>; 4],
    queue_levels: [Filled<IntGaugeVec, StreamReport>; 5],
    queue_consumers: IntGaugeVec,
    queue_age: GaugeVec,
    queue_totals: [Filled<IntCounterVec, StreamReport>; 3],
    queue_discarded: IntCounterVec,
    queue_failures: IntCounterVec,
    queue_dead_lettered: IntCounterVec,
    topic_start: IntGaugeVec,
    topic_end: IntGaugeVec,
    topic_published: IntCounterVec,
    topic_age: GaugeVec,
    group_offset: IntGaugeVec,
    group_lag: IntGaugeVec,
    group_delay: GaugeVec,
}

impl Families {
    fn new() -> Self {
        let registry = Registry::new();
        let counter = |metric| counters(&registry, metric);
        let gauge = |metric| gauges(&registry, metric);
        let seconds = |metric| seconds_gauges(&registry, metric);
        use std::sync::atomic::Ordering::Relaxed;
        Self {
            cluster: ClusterFamilies::new(&registry),
            info: gauge(&catalogue::BROKER_INFO),
            ready: gauge(&catalogue::READY),
            shards: [
                (counter(&catalogue::SHARD_FSYNCS), |shard| shard.fsyncs.load(Relaxed)),
                (counter(&catalogue::SHARD_BYTES), |shard| shard.bytes_written.load(Relaxed)),
                (counter(&catalogue::SHARD_ENTRIES), |shard| shard.entries.load(Relaxed)),
                (counter(&catalogue::SHARD_BATCHES), |shard| shard.batches.load(Relaxed)),
            ],
            queue_levels: [
                (gauge(&catalogue::QUEUE_READY), |report| report.stats.ready),
                (gauge(&catalogue::QUEUE_UNACKED), |report| report.stats.unacked),
                (gauge(&catalogue::QUEUE_SCHEDULED), |report| report.stats.scheduled),
                (gauge(&catalogue::QUEUE_MOVING), |report| report.stats.moving),
                (gauge(&catalogue::QUEUE_HELD), |report| report.stats.held),
            ],
            queue_consumers: gauge(&catalogue::QUEUE_CONSUMERS),
            queue_age: seconds(&catalogue::QUEUE_OLDEST_AGE),
            queue_totals: [
                (counter(&catalogue::QUEUE_PUBLISHED), |report| report.counters.published),
                (counter(&catalogue::QUEUE_GRANTED), |report| report.counters.granted),
                (counter(&catalogue::QUEUE_ACCEPTED), |report| report.counters.accepted),
            ],
            queue_discarded: counter(&catalogue::QUEUE_DISCARDED),
            queue_failures: counter(&catalogue::QUEUE_FAILURES),
            queue_dead_lettered: counter(&catalogue::QUEUE_DEAD_LETTERED),
            topic_start: gauge(&catalogue::TOPIC_START),
            topic_end: gauge(&catalogue::TOPIC_END),
            topic_published: counter(&catalogue::TOPIC_PUBLISHED),
            topic_age: seconds(&catalogue::TOPIC_OLDEST_AGE),
            group_offset: gauge(&catalogue::GROUP_OFFSET),
            group_lag: gauge(&catalogue::GROUP_LAG),
            group_delay: seconds(&catalogue::GROUP_DELAY),
            registry,
        }
    }

    fn broker(&self, metrics: &Metrics, ready: bool) {
        self.info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        self.ready.with_label_values::<&str>(&[]).set(i64::from(ready));
        for (shard, counters) in lock(&metrics.0.shards).iter() {
            let label = shard.to_string();
            for (family, value) in &self.shards {
                family.with_label_values(&[&label]).inc_by(value(counters));
            }
        }
    }

    fn queue(&self, report: &StreamReport, consumers: u32) {
        let queue = report.name.as_str();
        for (family, value) in &self.queue_levels {
            family.with_label_values(&[queue]).set(level(value(report)));
        }
        for (family, value) in &self.queue_totals {
            family.with_label_values(&[queue]).inc_by(value(report));
        }
        self.queue_consumers.with_label_values(&[queue]).set(i64::from(consumers));
        self.queue_age.with_label_values(&[queue]).set(seconds(report.stats.oldest_age_millis));
        let counters = &report.counters;
        for (cause, label) in [
            (DiscardCause::Rejected, "rejected"),
            (DiscardCause::Expired, "expired"),
            (DiscardCause::Purged, "purged"),
        ] {
            self.queue_discarded.with_label_values(&[queue, label]).inc_by(counters.discarded(cause));
        }
        for (cause, label) in [
            (ReleaseCause::Released, "released"),
            (ReleaseCause::Expired, "expired"),
            (ReleaseCause::ConsumerLost, "consumer-lost"),
            (ReleaseCause::Rejected, "rejected"),
        ] {
            self.queue_failures.with_label_values(&[queue, label]).inc_by(counters.released(cause));
        }
        for cause in [MoveCause::Rejected, MoveCause::MaxDeliveries, MoveCause::Expired] {
            let family = self.queue_dead_lettered.with_label_values(&[queue, cause.as_str()]);
            family.inc_by(counters.dead_lettered(cause));
        }
    }

    fn topic(&self, report: &StreamReport) {
        let (topic, partition) = (report.name.as_str(), report.partition.to_string());
        let labels = [topic, &partition];
        let stats = &report.stats;
        self.topic_start.with_label_values(&labels).set(level(stats.start.0));
        self.topic_end.with_label_values(&labels).set(level(stats.end.0));
        self.topic_published.with_label_values(&labels).inc_by(report.counters.published);
        self.topic_age.with_label_values(&labels).set(seconds(stats.oldest_age_millis));
        for group in &stats.groups {
            let labels = [group.group.as_str(), topic, &partition];
            self.group_offset.with_label_values(&labels).set(level(group.offset.0));
            self.group_lag.with_label_values(&labels).set(level(group.lag));
            self.group_delay.with_label_values(&labels).set(seconds(group.oldest_age_millis));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an age in milliseconds is far below 2^53")]
fn seconds(millis: Option<u64>) -> f64 {
    millis.unwrap_or(0) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus::{core::Collector, proto::MetricType};

    use super::{super::catalogue::Kind, *};

    const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");

    /// The rows of the document's tables: name, type, labels.
    fn documented() -> BTreeSet<(String, String, String)> {
        let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `pondage_"));
        rows.map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim()).collect();
            let bare = |cell: &str| cell.replace('`', "");
            (bare(cells[0]), cells[1].to_owned(), bare(cells[2]))
        })
        .collect()
    }

    #[test]
    fn the_document_lists_what_is_registered() {
        let word = |kind| match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let kept: BTreeSet<_> = catalogue::ALL
            .iter()
            .map(|metric| (metric.name.to_owned(), word(metric.kind).to_owned(), metric.labels.join(", ")))
            .collect();
        assert_eq!(kept.len(), catalogue::ALL.len(), "no name twice");
        let documented = documented();
        assert_eq!(kept.difference(&documented).collect::<Vec<_>>(), Vec::<&_>::new(), "not in the document");
        assert_eq!(
            documented.difference(&kept).collect::<Vec<_>>(),
            Vec::<&_>::new(),
            "only in the document"
        );
    }

    #[test]
    fn what_is_registered_is_of_the_kind_that_the_catalogue_says() {
        let (kept, now) = (Metrics::new(), Families::new());
        kept.requested(super::super::Method::Get);
        kept.refused(pondage_model::Code::Busy);
        kept.unwelcome(super::super::Unwelcome::Silent);
        let described: BTreeSet<&str> =
            kept.0.requests.desc().iter().map(|desc| desc.fq_name.as_str()).collect();
        assert!(described.contains(catalogue::REQUESTS.name));
        kept.shard(pondage_model::ShardId(1));
        now.broker(&kept, true);
        cluster::tests::fill(&now.cluster);
        let mut families = kept.0.registry.gather();
        families.extend(now.registry.gather());
        for family in families.iter().filter(|family| family.name().starts_with("pondage_")) {
            let metric = catalogue::ALL.iter().find(|metric| metric.name == family.name());
            let metric = metric.unwrap_or_else(|| panic!("{} is not in the catalogue", family.name()));
            let kind = match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            };
            assert_eq!((family.get_field_type(), family.help()), (kind, metric.help), "{}", metric.name);
        }
    }
}
