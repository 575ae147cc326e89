//! Every metric by name. `docs/metrics.md` has a row for each; a test compares them.

/// What a value does over time.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    #[cfg(test)]
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, #[cfg(test)] kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All of them.
        #[cfg(test)]
        pub(super) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BROKER_INFO: Gauge "pondage_broker_info" ["version"] "Always 1; the labels tell the broker's version.";
    READY: Gauge "pondage_ready" [] "1 while the broker serves, else 0.";
    REQUESTS: Counter "pondage_requests_total" ["method"] "Calls of the native API.";
    REFUSALS: Counter "pondage_refusals_total" ["code"] "Requests, and parts of requests, that were refused.";
    PUBLISH_DURATION: Histogram "pondage_publish_duration_seconds" []
        "Time from the arrival of a batch to its acknowledgement, in seconds.";
    CONNECTIONS: Gauge "pondage_connections" [] "Open connections, those of this endpoint included.";
    CONNECTIONS_REFUSED: Counter "pondage_connections_refused_total" ["reason"]
        "Connections that were closed before they were served.";
    SHARD_FSYNCS: Counter "pondage_shard_fsyncs_total" ["shard"] "Syncs of the shard's files and folder.";
    SHARD_BYTES: Counter "pondage_shard_written_bytes_total" ["shard"] "Bytes that the shard gave to the disk.";
    SHARD_ENTRIES: Counter "pondage_shard_entries_total" ["shard"] "Entries that the shard wrote.";
    SHARD_BATCHES: Counter "pondage_shard_batches_total" ["shard"] "Batches of entries that the shard wrote.";
    QUEUE_READY: Gauge "pondage_queue_ready" ["queue"] "Messages that a consumer could get now.";
    QUEUE_UNACKED: Gauge "pondage_queue_unacked" ["queue"] "Messages that consumers hold.";
    QUEUE_SCHEDULED: Gauge "pondage_queue_scheduled" ["queue"]
        "Messages that wait for their time: delayed, or between two attempts.";
    QUEUE_MOVING: Gauge "pondage_queue_moving" ["queue"] "Messages on their way to the dead-letter queue.";
    QUEUE_HELD: Gauge "pondage_queue_held" ["queue"]
        "Messages that must go to a dead-letter queue that is not there.";
    QUEUE_OLDEST_AGE: Gauge "pondage_queue_oldest_age_seconds" ["queue"]
        "How long the oldest message waits that is neither settled nor delayed, in seconds; 0 if there is none.";
    QUEUE_CONSUMERS: Gauge "pondage_queue_consumers" ["queue"] "Consumers that are attached.";
    QUEUE_PUBLISHED: Counter "pondage_queue_published_total" ["queue"] "Messages stored.";
    QUEUE_GRANTED: Counter "pondage_queue_granted_total" ["queue"] "Leases given, as far as they are logged.";
    QUEUE_ACCEPTED: Counter "pondage_queue_accepted_total" ["queue"] "Messages accepted.";
    QUEUE_DISCARDED: Counter "pondage_queue_discarded_total" ["queue", "cause"]
        "Messages that left without being accepted or dead-lettered.";
    QUEUE_FAILURES: Counter "pondage_queue_failures_total" ["queue", "cause"]
        "Failed attempts after which the message went back to the queue.";
    QUEUE_DEAD_LETTERED: Counter "pondage_queue_dead_lettered_total" ["queue", "reason"]
        "Messages that the dead-letter queue took over.";
    TOPIC_START: Gauge "pondage_topic_start_offset" ["topic", "partition"] "The oldest offset that is still there.";
    TOPIC_END: Gauge "pondage_topic_end_offset" ["topic", "partition"] "The next message's offset.";
    TOPIC_PUBLISHED: Counter "pondage_topic_published_total" ["topic", "partition"] "Messages stored.";
    TOPIC_OLDEST_AGE: Gauge "pondage_topic_oldest_age_seconds" ["topic", "partition"]
        "Age of the oldest message that is still there, in seconds; 0 if there is none.";
    GROUP_OFFSET: Gauge "pondage_group_offset" ["group", "topic", "partition"] "The next offset that the group reads.";
    GROUP_LAG: Gauge "pondage_group_lag" ["group", "topic", "partition"] "Messages not yet committed, at most.";
    GROUP_DELAY: Gauge "pondage_group_delay_seconds" ["group", "topic", "partition"]
        "Age of the oldest message not yet committed, in seconds; 0 if there is none.";
}
