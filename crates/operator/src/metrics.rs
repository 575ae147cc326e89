//! What the operator says of itself.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The operator's metrics. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) reconciles: IntCounterVec,
    pub(crate) reconcile_seconds: HistogramVec,
    pub(crate) corrections: IntCounterVec,
    pub(crate) writes: IntCounter,
    pub(crate) restarts: IntCounter,
    pub(crate) scalings: IntCounter,
    pub(crate) leads: IntGauge,
    pub(crate) resources: IntGaugeVec,
}

impl Metrics {
    /// All of them, at zero.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let reconciles = counters(
            "pondage_operator_reconciles_total",
            "Looks at a resource, by kind and how they ended",
            &["kind", "result"],
        )?;
        let corrections = counters(
            "pondage_operator_drift_corrections_total",
            "Settings in the brokers that somebody else had changed and the operator changed back",
            &["kind"],
        )?;
        let writes = counter(
            "pondage_operator_writes_total",
            "Objects that were written to the API server, events and leases aside",
        )?;
        let restarts = counter(
            "pondage_operator_broker_restarts_total",
            "Brokers' pods that were deleted to restart them",
        )?;
        let scalings =
            counter("pondage_operator_scalings_total", "Changes of the replicas of groups' consumers")?;
        let reconcile_seconds = HistogramVec::new(
            HistogramOpts::new("pondage_operator_reconcile_seconds", "How long a look at a resource took")
                .buckets(vec![0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0]),
            &["kind"],
        )?;
        let leads =
            IntGauge::new("pondage_operator_is_leader", "1 if this operator acts, 0 if another one does")?;
        let resources = IntGaugeVec::new(
            Opts::new("pondage_operator_resources", "Resources by kind and whether they are ready"),
            &["kind", "ready"],
        )?;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        registry.register(Box::new(leads.clone()))?;
        registry.register(Box::new(resources.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            registry,
            reconciles,
            reconcile_seconds,
            corrections,
            writes,
            restarts,
            scalings,
            leads,
            resources,
        })
    }

    /// The page, in the text format of Prometheus.
    pub(crate) fn page(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let metrics = Metrics::new().expect("names that fit");
        metrics.reconciles.with_label_values(&["Queue", "done"]).inc();
        metrics.reconcile_seconds.with_label_values(&["Queue"]).observe(0.1);
        metrics.corrections.with_label_values(&["Queue"]).inc();
        metrics.resources.with_label_values(&["Queue", "True"]).set(1);
        let document = include_str!("../../../docs/metrics.md");
        let page = metrics.page().expect("a page");
        let told = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let own: Vec<&str> = told.filter(|name| name.starts_with("pondage_")).collect();
        assert_eq!(own.len(), 8, "{page}");
        for name in own {
            assert!(document.contains(&format!("| `{name}` |")), "docs/metrics.md lacks {name}");
        }
    }
}
