//! One scrape: the broker's own counters, and the figures of its streams as they are now.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::{join, join_all};
use pondage_node::{
    disk::{Disk, Space},
    shard::{ShardReply, ShardRequest, StatsSince},
};
use prometheus::{IntCounterVec, IntGaugeVec, Registry, TextEncoder};

use super::{
    Filled, Metrics, catalogue,
    cluster::{self, ClusterFamilies, ReplicaReport, level},
    counters, gauges,
    gzip::{Deflater, Document},
    lock,
    streams::Streams,
};
use crate::{consensus::ConsensusNode, handle::Handle};

/// How long a shard may take to answer: one that can't commit says nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How a scrape travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Gzip,
}

/// Everything in the Prometheus text format.
///
/// # Errors
/// Why it can't be written: a mistake of ours, for whoever scrapes to see.
pub(crate) async fn scrape<D: Disk>(handle: &Handle<D>, form: Form) -> Result<Vec<u8>, prometheus::Error> {
    let mut streams = Arc::clone(&handle.metrics().0.streams).lock_owned().await;
    let asked = handle.shard_ids().into_iter().map(|shard| {
        let known = streams.mark(shard);
        let asking = handle.ask(shard, ShardRequest::StatsSince(known));
        async move { (shard, tokio::time::timeout(ANSWER_TIMEOUT, asking).await) }
    });
    let (answers, replicas) = join(join_all(asked.collect::<Vec<_>>()), cluster::replicas(handle)).await;
    // A shard that starts, fails or can't commit reports nothing; the shard's own counters and `ready` tell.
    let mut answers: BTreeMap<_, StatsSince> = answers
        .into_iter()
        .filter_map(|(shard, answer)| match answer {
            Ok(Ok(ShardReply::StatsSince(found))) => Some((shard, found)),
            _ => None,
        })
        .collect();
    let handle = handle.clone();
    // The disk may block, and the first document takes a while.
    let written = tokio::task::spawn_blocking(move || {
        // A queue or partition with a shard of its own is deleted before that shard ends, and is gone at once.
        answers.retain(|shard, answer| {
            let only = streams.only_stream(*shard, answer);
            only.is_none_or(|stream| handle.route_of(stream).is_some())
        });
        let consumers = lock(&handle.metrics().0.consumers).clone();
        streams.learn(answers, &consumers);
        let broker = broker(&handle, &streams, &replicas)?;
        Ok(write(broker, &mut streams, form))
    });
    written.await.unwrap_or_else(|error| Err(prometheus::Error::Msg(error.to_string())))
}

/// What is not of streams.
fn broker<D: Disk>(
    handle: &Handle<D>,
    streams: &Streams,
    replicas: &[ReplicaReport],
) -> Result<String, prometheus::Error> {
    let metrics = handle.metrics();
    let now = Families::new();
    // How full the volume is, if its disk answers.
    if let Some(Ok(space)) = metrics.0.volume.get().map(|volume| (volume.0)()) {
        now.volume(space);
    }
    now.broker(metrics, handle.readiness().borrow().is_ready() && handle.failed().borrow().is_none());
    now.left_out(streams);
    let (seen, voter) = (lock(&metrics.0.seen).clone(), handle.consensus().map(ConsensusNode::status));
    now.cluster.fill(replicas, seen.as_ref(), voter.as_ref(), &metrics.0.sources);
    let mut families = metrics.0.registry.gather();
    families.extend(now.registry.gather());
    TextEncoder::new().encode_to_string(&families)
}

fn write(mut broker: String, streams: &mut Streams, form: Form) -> Vec<u8> {
    match form {
        Form::Plain => {
            streams.write(&mut broker);
            broker.into_bytes()
        }
        Form::Gzip => {
            let (mut deflater, mut document) = (Deflater::new(), Document::new());
            document.push(&deflater.piece(broker.as_bytes()));
            streams.deflate(&mut deflater, &mut document);
            document.finish()
        }
    }
}

/// Families that are filled anew at each scrape: a deleted stream leaves no trace.
struct Families {
    registry: Registry,
    cluster: ClusterFamilies,
    info: IntGaugeVec,
    ready: IntGaugeVec,
    volume: [Filled<IntGaugeVec, Space>; 2],
    shards: [Filled<IntCounterVec, super::ShardMetrics>; 4],
    left_out: IntGaugeVec,
}

impl Families {
    fn new() -> Self {
        let registry = Registry::new();
        let counter = |metric| counters(&registry, metric);
        let gauge = |metric| gauges(&registry, metric);
        use std::sync::atomic::Ordering::Relaxed;
        Self {
            cluster: ClusterFamilies::new(&registry),
            info: gauge(&catalogue::BROKER_INFO),
            ready: gauge(&catalogue::READY),
            volume: [
                (gauge(&catalogue::VOLUME_FREE), |space| space.free_bytes),
                (gauge(&catalogue::VOLUME_SIZE), |space| space.size_bytes),
            ],
            shards: [
                (counter(&catalogue::SHARD_FSYNCS), |shard| shard.fsyncs.load(Relaxed)),
                (counter(&catalogue::SHARD_BYTES), |shard| shard.bytes_written.load(Relaxed)),
                (counter(&catalogue::SHARD_ENTRIES), |shard| shard.entries.load(Relaxed)),
                (counter(&catalogue::SHARD_BATCHES), |shard| shard.batches.load(Relaxed)),
            ],
            left_out: gauge(&catalogue::SCRAPE_LEFT_OUT),
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

    fn volume(&self, space: Space) {
        for (family, value) in &self.volume {
            family.with_label_values::<&str>(&[]).set(level(value(&space)));
        }
    }

    fn left_out(&self, streams: &Streams) {
        for (kind, count) in streams.left_out() {
            self.left_out.with_label_values(&[kind]).set(level(count as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus::{core::Collector, proto::MetricType};

    use super::{super::catalogue::Kind, *};

    const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");

    /// The rows of the document's tables: name, type, labels. The operator's are its own.
    fn documented() -> BTreeSet<(String, String, String)> {
        let rows = DOCUMENT
            .lines()
            .filter(|line| line.starts_with("| `pondage_") && !line.starts_with("| `pondage_operator_"));
        rows.map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim()).collect();
            let bare = |cell: &str| cell.replace('`', "");
            (bare(cells[0]), cells[1].to_owned(), bare(cells[2]))
        })
        .collect()
    }

    #[test]
    fn the_document_lists_what_is_registered() {
        let kept: BTreeSet<_> = catalogue::ALL
            .iter()
            .map(|metric| (metric.name.to_owned(), metric.kind.as_str().to_owned(), metric.labels.join(", ")))
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
        now.volume(Space { free_bytes: 1, size_bytes: 2 });
        now.left_out(&Streams::default());
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
