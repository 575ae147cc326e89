//! Every metric by name. `docs/metrics.md` has a row for each; a test compares them.

/// What a value does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All of them.
        #[cfg(test)]
        pub(super) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BROKER_INFO: Gauge "pondage_broker_info" ["version"] "Always 1; the labels tell the broker's version.";
    READY: Gauge "pondage_ready" [] "1 once the broker is registered and every replica on it was in sync since it started, else 0.";
    REQUESTS: Counter "pondage_requests_total" ["method"] "Calls of the native API.";
    REFUSALS: Counter "pondage_refusals_total" ["code"] "Requests, and parts of requests, that were refused.";
    PUBLISH_DURATION: Histogram "pondage_publish_duration_seconds" []
        "Time from the arrival of a batch to its acknowledgement, in seconds.";
    CONNECTIONS: Gauge "pondage_connections" [] "Open connections, those of this endpoint included.";
    CONNECTIONS_REFUSED: Counter "pondage_connections_refused_total" ["reason"]
        "Connections that were closed before they were served.";
    VOLUME_FREE: Gauge "pondage_volume_free_bytes" []
        "Bytes that can still be written to the file system of the data folder.";
    VOLUME_SIZE: Gauge "pondage_volume_size_bytes" [] "Bytes of the file system of the data folder.";
    SHARD_FSYNCS: Counter "pondage_shard_fsyncs_total" ["shard"] "Syncs of the shard's files and folder.";
    SHARD_BYTES: Counter "pondage_shard_written_bytes_total" ["shard"]
        "Bytes that the shard gave to the disk.";
    SHARD_ENTRIES: Counter "pondage_shard_entries_total" ["shard"] "Entries that the shard wrote.";
    SHARD_BATCHES: Counter "pondage_shard_batches_total" ["shard"] "Batches of entries that the shard wrote.";
    SHARDS_LED: Gauge "pondage_shards_led" [] "Shards that this broker leads.";
    SHARDS_FOLLOWED: Gauge "pondage_shards_followed" []
        "Shards of which this broker holds a copy and that it does not lead.";
    SHARD_EPOCH: Gauge "pondage_shard_epoch" ["shard"] "The epoch in which this broker leads the shard.";
    SHARDS_OFFLINE: Gauge "pondage_shards_offline" []
        "Shards of the cluster without a leader that serves, as this broker sees it. Ask the catalog's leader.";
    SHARDS_BELOW_MINIMUM: Gauge "pondage_shards_below_minimum" []
        "Shards of the cluster with fewer in-sync copies than an acknowledgement takes, as this broker sees it. Ask the catalog's leader.";
    SHARDS_UNDER_REPLICATED: Gauge "pondage_shards_under_replicated" []
        "Shards of the cluster with fewer in-sync copies than they should have, as this broker sees it. Ask the catalog's leader.";
    SHARDS_OFFLINE_SECONDS: Counter "pondage_shards_offline_seconds_total" []
        "Time without a leader that serves, of all shards of the cluster together, as far as this broker sees, in seconds.";
    SHARD_LEADER_GAP: Histogram "pondage_shard_leader_gap_seconds" []
        "How long a shard had no leader before this broker served it, as far as this broker saw, in seconds.";
    IN_SYNC_ASKED: Counter "pondage_in_sync_changes_asked_total" ["change"]
        "Changes of in-sync replicas that shards led here asked the catalog for, each time.";
    IN_SYNC_CHANGES: Counter "pondage_in_sync_changes_total" ["change"]
        "Changes of in-sync replicas that the catalog made to shards led here.";
    HAND_OVERS_BEGUN: Counter "pondage_hand_overs_begun_total" [] "Hand-overs of shards led here that began.";
    HAND_OVERS_ENDED: Counter "pondage_hand_overs_ended_total" ["outcome"]
        "Hand-overs of shards led here that ended.";
    FOLLOWER_LAG: Gauge "pondage_follower_lag_entries" ["broker"]
        "Entries that the follower does not have on its disk, of the shard led here in which that is most.";
    FOLLOWER_UNDER_WAY: Gauge "pondage_follower_under_way_bytes" ["broker"]
        "Bytes sent to the follower and not acknowledged, of all shards led here.";
    FOLLOWER_OUT_OF_SYNC: Gauge "pondage_follower_out_of_sync_shards" ["broker"]
        "Shards led here in which the follower is not in sync.";
    CATALOG_LEADER: Gauge "pondage_catalog_leader" [] "1 on the broker that leads the catalog, else 0.";
    CATALOG_LEADER_KNOWN: Gauge "pondage_catalog_leader_known" []
        "1 while this broker hears of a leader of the catalog, else 0.";
    CATALOG_TERM: Gauge "pondage_catalog_term" [] "The latest term of the catalog's leaders.";
    CATALOG_VOTERS: Gauge "pondage_catalog_voters" [] "Brokers that vote on the catalog.";
    CATALOG_REVISION: Gauge "pondage_catalog_revision" [] "The revision of the catalog here.";
    CATALOG_LOGGED: Gauge "pondage_catalog_logged_entries" []
        "Entries of the catalog's log up to its end here, since the cluster began.";
    CATALOG_APPLIED: Gauge "pondage_catalog_applied_entries" []
        "Entries of the catalog's log that are committed and applied here, since the cluster began.";
    CATALOG_LOG_ENTRIES: Gauge "pondage_catalog_log_entries" []
        "Entries of the catalog's log behind the newest snapshot.";
    PEER_UP: Gauge "pondage_peer_up" ["broker"] "1 while this broker can send to the other one, else 0.";
    PEER_BYTES: Counter "pondage_peer_bytes_total" ["broker", "direction"]
        "Bytes of replication and coordination that passed between this broker and the other one.";
    PEER_MESSAGES: Counter "pondage_peer_messages_total" ["broker", "direction"]
        "Messages of replication and coordination that passed between this broker and the other one.";
    PEER_DROPPED: Counter "pondage_peer_dropped_total" ["broker", "reason"]
        "Messages to the other broker that were dropped; they are said again.";
    PEER_LINKS: Counter "pondage_peer_links_total" ["broker"]
        "Links to the other broker that were established.";
    PEER_FAILED_DIALS: Counter "pondage_peer_failed_dials_total" ["broker"]
        "Attempts to reach the other broker that failed.";
    PEER_MALFORMED: Counter "pondage_peer_malformed_total" ["broker"]
        "Streams that ended because of what the other broker sent.";
    CERTIFICATE_EXPIRY: Gauge "pondage_certificate_expiry_timestamp_seconds" []
        "When the certificate in use ends to be valid, in seconds since the Unix epoch.";
    CERTIFICATE_RELOADS: Counter "pondage_certificate_reloads_total" ["outcome"]
        "Changed certificate files that came into use, and looks at files that could not be used.";
    SCRAPE_LEFT_OUT: Gauge "pondage_scrape_left_out" ["kind"]
        "Queues, partitions of topics, groups, their members, cursors and shares of partitions that are led here and whose figures are left out, because there are too many of the kind.";
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
    TOPIC_START: Gauge "pondage_topic_start_offset" ["topic", "partition"]
        "The oldest offset that is still there.";
    TOPIC_END: Gauge "pondage_topic_end_offset" ["topic", "partition"] "The next message's offset.";
    TOPIC_PUBLISHED: Counter "pondage_topic_published_total" ["topic", "partition"] "Messages stored.";
    TOPIC_OLDEST_AGE: Gauge "pondage_topic_oldest_age_seconds" ["topic", "partition"]
        "Age of the oldest message that is still there, in seconds; 0 if there is none.";
    GROUP_OFFSET: Gauge "pondage_group_offset" ["group", "topic", "partition"]
        "The next offset that the group reads.";
    GROUP_COMMITTED: Counter "pondage_group_committed_total" ["group", "topic", "partition"]
        "Messages that the group committed, or settled if it is shared.";
    GROUP_MEMBERS: Gauge "pondage_group_members" ["group"] "Members of the group.";
    GROUP_MEMBER_PARTITIONS: Gauge "pondage_group_member_partitions" ["group", "member"]
        "Partitions that the member owns.";
    GROUP_OWNED: Gauge "pondage_group_owned_partitions" ["group"] "Partitions that a member owns.";
    GROUP_PASSING_ON: Gauge "pondage_group_passing_on_partitions" ["group"]
        "Partitions that wait for their owner to let go of them.";
    GROUP_ASSIGNMENT: Gauge "pondage_group_assignment_epoch" ["group"]
        "The version of the group's assignment.";
    GROUP_REBALANCES: Counter "pondage_group_rebalances_total" ["group"]
        "Changes of which member is to read what.";
    GROUP_PASSED_ON: Counter "pondage_group_passed_on_partitions_total" ["group", "cause"]
        "Partitions that members gave up.";
    GROUP_PAUSED: Counter "pondage_group_paused_seconds_total" ["group"]
        "How long partitions waited for their next owner, all of them together, in seconds.";
    GROUP_LAG: Gauge "pondage_group_lag" ["group", "topic", "partition"]
        "Messages not yet committed, at most, or not settled if the group is shared.";
    GROUP_DELAY: Gauge "pondage_group_delay_seconds" ["group", "topic", "partition"]
        "Age of the oldest message not yet committed or settled, in seconds; 0 if there is none.";
    GROUP_UNACKED: Gauge "pondage_group_unacked" ["group", "topic", "partition"]
        "Messages that members of a shared group hold.";
    GROUP_SCHEDULED: Gauge "pondage_group_scheduled" ["group", "topic", "partition"]
        "Messages that wait for their next attempt in a shared group.";
    GROUP_MOVING: Gauge "pondage_group_moving" ["group", "topic", "partition"]
        "Messages of a shared group on their way to the dead-letter queue.";
    GROUP_HELD: Gauge "pondage_group_held" ["group", "topic", "partition"]
        "Messages of a shared group that must go to a dead-letter queue that is not there.";
    GROUP_GRANTED: Counter "pondage_group_granted_total" ["group", "topic", "partition"]
        "Leases that a shared group gave, as far as they are logged.";
    GROUP_DISCARDED: Counter "pondage_group_discarded_total" ["group", "topic", "partition", "cause"]
        "Messages that a shared group is done with and neither accepted nor dead-lettered.";
    GROUP_FAILURES: Counter "pondage_group_failures_total" ["group", "topic", "partition", "cause"]
        "Failed attempts of a shared group after which the message comes again.";
    GROUP_DEAD_LETTERED: Counter "pondage_group_dead_lettered_total" ["group", "topic", "partition", "reason"]
        "Messages of a shared group that the dead-letter queue took over.";
}
