//! What a cluster shows: shards and their copies, the catalog, other brokers, certificates.

use std::{
    sync::{OnceLock, atomic::Ordering::Relaxed},
    time::Instant,
};

use futures_util::future::join_all;
use pondage_model::{BrokerId, Epoch, ShardId};
use pondage_node::{catalog::Membership, disk::Disk, shard::Shard};
use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Registry};
use tokio::sync::oneshot;

use super::{Filled, catalogue, counters, gauges, opts, registered, seconds_gauges};
use crate::{
    consensus,
    coordinator_task::ShardTotals,
    handle::Handle,
    peers::{PeerCounters, Peers},
    shard_task::Message,
    tls::{Tls, TlsStatus},
};

/// What the coordinator saw last.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When.
    pub(crate) at: Instant,
    pub(crate) shards: ShardTotals,
    pub(crate) membership: Membership,
    /// Whether this broker leads the catalog.
    pub(crate) leads_catalog: bool,
    /// The catalog's revision here.
    pub(crate) revision: u64,
}

impl Seen {
    /// Seconds without leader of all shards together, up to now: nobody looks while nothing happens.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds and shards are far below 2^53")]
    fn offline_seconds(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.shards.offline_millis as f64 / 1_000.0 + self.shards.offline as f64 * since
    }
}

/// Where a member's figures come from; a lone broker has none.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) peers: OnceLock<Peers>,
    pub(super) tls: OnceLock<Tls>,
}

/// One copy of a shard on this broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaReport {
    shard: ShardId,
    /// It leads in this epoch.
    leads_in: Option<Epoch>,
    followers: Vec<FollowerReport>,
}

/// One follower of a shard that is led here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FollowerReport {
    broker: BrokerId,
    /// Entries of the leader that it does not have on its disk; unknown until it answered its leader.
    behind: Option<u64>,
    under_way_bytes: u64,
    in_sync: bool,
}

impl ReplicaReport {
    /// The copy as it is now.
    pub(crate) fn of(shard: &Shard) -> Self {
        let replica = shard.replica();
        let end = replica.end().get();
        let followers = replica.followers().map(|follower| FollowerReport {
            broker: follower.broker,
            behind: follower.durable.map(|durable| end.saturating_sub(durable.get())),
            under_way_bytes: follower.under_way_bytes as u64,
            in_sync: follower.in_sync,
        });
        Self {
            shard: shard.id(),
            leads_in: replica.is_leader().then(|| replica.epoch()),
            followers: followers.collect(),
        }
    }
}

/// Asks every shard that is open here.
pub(super) async fn replicas<D: Disk>(handle: &Handle<D>) -> Vec<ReplicaReport> {
    let asked = handle.shard_ids().into_iter().filter_map(|shard| {
        let (answer, answered) = oneshot::channel();
        let shard = handle.shard(shard).ok()?;
        shard.events.send(Message::Replica(answer)).ok()?;
        Some(answered)
    });
    // One that ends meanwhile reports nothing.
    join_all(asked.collect::<Vec<_>>()).await.into_iter().flatten().collect()
}

/// Families that are filled anew at each scrape: what is gone leaves no trace.
pub(super) struct ClusterFamilies {
    led: IntGaugeVec,
    followed: IntGaugeVec,
    epoch: IntGaugeVec,
    lag: IntGaugeVec,
    under_way: IntGaugeVec,
    out_of_sync: IntGaugeVec,
    totals: [Filled<IntGaugeVec, ShardTotals>; 3],
    offline_seconds: CounterVec,
    catalog: [Filled<IntGaugeVec, Seen>; 5],
    voter: [Filled<IntGaugeVec, consensus::Status>; 3],
    peer_up: IntGaugeVec,
    peer_bytes: IntCounterVec,
    peer_messages: IntCounterVec,
    peer_dropped: IntCounterVec,
    peer_totals: [Filled<IntCounterVec, PeerCounters>; 3],
    certificate_expiry: GaugeVec,
    certificate_reloads: IntCounterVec,
}

impl ClusterFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |metric| counters(registry, metric);
        let gauge = |metric| gauges(registry, metric);
        let seconds = &catalogue::SHARDS_OFFLINE_SECONDS;
        Self {
            led: gauge(&catalogue::SHARDS_LED),
            followed: gauge(&catalogue::SHARDS_FOLLOWED),
            epoch: gauge(&catalogue::SHARD_EPOCH),
            lag: gauge(&catalogue::FOLLOWER_LAG),
            under_way: gauge(&catalogue::FOLLOWER_UNDER_WAY),
            out_of_sync: gauge(&catalogue::FOLLOWER_OUT_OF_SYNC),
            totals: [
                (gauge(&catalogue::SHARDS_OFFLINE), |totals| totals.offline),
                (gauge(&catalogue::SHARDS_BELOW_MINIMUM), |totals| totals.below_minimum),
                (gauge(&catalogue::SHARDS_UNDER_REPLICATED), |totals| totals.under_replicated),
            ],
            offline_seconds: registered(registry, CounterVec::new(opts(seconds), seconds.labels)),
            catalog: [
                (gauge(&catalogue::CATALOG_LEADER), |seen| u64::from(seen.leads_catalog)),
                (gauge(&catalogue::CATALOG_LEADER_KNOWN), |seen| u64::from(seen.membership.leader.is_some())),
                (gauge(&catalogue::CATALOG_TERM), |seen| seen.membership.epoch.get()),
                (gauge(&catalogue::CATALOG_VOTERS), |seen| seen.membership.voters.len() as u64),
                (gauge(&catalogue::CATALOG_REVISION), |seen| seen.revision),
            ],
            voter: [
                // Positions count from 0, these from the first entry on.
                (gauge(&catalogue::CATALOG_LOGGED), |status| count_through(status.last)),
                (gauge(&catalogue::CATALOG_APPLIED), |status| count_through(status.applied)),
                (gauge(&catalogue::CATALOG_LOG_ENTRIES), |status| {
                    count_through(status.last).saturating_sub(count_through(status.snapshot))
                }),
            ],
            peer_up: gauge(&catalogue::PEER_UP),
            peer_bytes: counter(&catalogue::PEER_BYTES),
            peer_messages: counter(&catalogue::PEER_MESSAGES),
            peer_dropped: counter(&catalogue::PEER_DROPPED),
            peer_totals: [
                (counter(&catalogue::PEER_LINKS), |peer| peer.links.load(Relaxed)),
                (counter(&catalogue::PEER_FAILED_DIALS), |peer| peer.failed_dials.load(Relaxed)),
                (counter(&catalogue::PEER_MALFORMED), |peer| peer.malformed.load(Relaxed)),
            ],
            certificate_expiry: seconds_gauges(registry, &catalogue::CERTIFICATE_EXPIRY),
            certificate_reloads: counter(&catalogue::CERTIFICATE_RELOADS),
        }
    }

    /// Everything that a broker knows of its cluster.
    pub(super) fn fill(
        &self,
        replicas: &[ReplicaReport],
        seen: Option<&Seen>,
        voter: Option<&consensus::Status>,
        sources: &Sources,
    ) {
        self.replicas(replicas);
        if let Some(seen) = seen {
            self.seen(seen, Instant::now());
        }
        if let Some(status) = voter {
            for (family, value) in &self.voter {
                family.with_label_values::<&str>(&[]).set(level(value(status)));
            }
        }
        if let Some(peers) = sources.peers.get() {
            for (broker, counters) in peers.counters() {
                self.peer(broker, peers.is_linked(broker), &counters);
            }
        }
        if let Some(tls) = sources.tls.get() {
            self.certificate(tls.status());
        }
    }

    fn replicas(&self, replicas: &[ReplicaReport]) {
        let (led, followed) =
            (self.led.with_label_values::<&str>(&[]), self.followed.with_label_values::<&str>(&[]));
        for replica in replicas {
            match replica.leads_in {
                None => followed.inc(),
                Some(epoch) => {
                    led.inc();
                    let shard = replica.shard.to_string();
                    self.epoch.with_label_values(&[&shard]).set(level(epoch.get()));
                }
            }
            for follower in &replica.followers {
                let broker = [follower.broker.to_string()];
                if let Some(behind) = follower.behind {
                    let lag = self.lag.with_label_values(&broker);
                    lag.set(lag.get().max(level(behind)));
                }
                self.under_way.with_label_values(&broker).add(level(follower.under_way_bytes));
                self.out_of_sync.with_label_values(&broker).add(i64::from(!follower.in_sync));
            }
        }
    }

    fn seen(&self, seen: &Seen, now: Instant) {
        for (family, value) in &self.totals {
            family.with_label_values::<&str>(&[]).set(level(value(&seen.shards)));
        }
        for (family, value) in &self.catalog {
            family.with_label_values::<&str>(&[]).set(level(value(seen)));
        }
        self.offline_seconds.with_label_values::<&str>(&[]).inc_by(seen.offline_seconds(now));
    }

    fn peer(&self, broker: BrokerId, is_linked: bool, counters: &PeerCounters) {
        let broker = broker.to_string();
        self.peer_up.with_label_values(&[&broker]).set(i64::from(is_linked));
        for (direction, bytes, messages) in [
            ("sent", &counters.sent_bytes, &counters.sent_messages),
            ("received", &counters.received_bytes, &counters.received_messages),
        ] {
            let labels = [broker.as_str(), direction];
            self.peer_bytes.with_label_values(&labels).inc_by(bytes.load(Relaxed));
            self.peer_messages.with_label_values(&labels).inc_by(messages.load(Relaxed));
        }
        for (reason, dropped) in [("full", &counters.dropped_full), ("unlinked", &counters.dropped_unlinked)]
        {
            let family = self.peer_dropped.with_label_values(&[broker.as_str(), reason]);
            family.inc_by(dropped.load(Relaxed));
        }
        for (family, value) in &self.peer_totals {
            family.with_label_values(&[&broker]).inc_by(value(counters));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^53")]
    fn certificate(&self, status: TlsStatus) {
        let TlsStatus { not_after_seconds, reloads, failures } = status;
        self.certificate_expiry.with_label_values::<&str>(&[]).set(not_after_seconds as f64);
        for (outcome, count) in [("used", reloads), ("failed", failures)] {
            self.certificate_reloads.with_label_values(&[outcome]).inc_by(count);
        }
    }
}

/// How many entries there are up to this position.
fn count_through(position: Option<u64>) -> u64 {
    position.map_or(0, |last| last.saturating_add(1))
}

/// Gauges are signed; nothing here has 2^63 of anything.
pub(super) fn level(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
pub(super) mod tests;
