//! What is shown of queues, of partitions of topics, and of the groups that read them.

use pondage_model::{
    LogTime,
    entry::{DiscardCause, MoveCause, ReleaseCause},
};
use pondage_node::{
    delivery::{Counters, GroupStats, HomeCounters, MembershipStats},
    shard::StreamReport,
};

use super::{
    catalogue::{self, Metric},
    table::{Family, Figures, Samples},
};

/// One sample, with the row's labels alone.
const ONE: &[(&str, &str)] = &[("", "")];

const fn one(metric: Metric) -> Family {
    Family { metric, samples: Samples::Columns(ONE) }
}

const fn several(metric: Metric, labels: &'static [(&'static str, &'static str)]) -> Family {
    Family { metric, samples: Samples::Columns(labels) }
}

const fn age(metric: Metric) -> Family {
    Family { metric, samples: Samples::Age }
}

const FAILURES: &[(&str, &str)] = &[
    ("cause=\"released\",", ""),
    ("cause=\"expired\",", ""),
    ("cause=\"consumer-lost\",", ""),
    ("cause=\"rejected\",", ""),
];

/// Of a queue. Its columns are those of [`queue`].
pub(super) const QUEUE: &[Family] = &[
    one(catalogue::QUEUE_CONSUMERS),
    one(catalogue::QUEUE_READY),
    one(catalogue::QUEUE_UNACKED),
    one(catalogue::QUEUE_SCHEDULED),
    one(catalogue::QUEUE_MOVING),
    one(catalogue::QUEUE_HELD),
    age(catalogue::QUEUE_OLDEST_AGE),
    one(catalogue::QUEUE_PUBLISHED),
    one(catalogue::QUEUE_GRANTED),
    one(catalogue::QUEUE_ACCEPTED),
    several(
        catalogue::QUEUE_DISCARDED,
        &[("cause=\"rejected\",", ""), ("cause=\"expired\",", ""), ("cause=\"purged\",", "")],
    ),
    several(catalogue::QUEUE_FAILURES, FAILURES),
    several(
        catalogue::QUEUE_DEAD_LETTERED,
        &[("", ",reason=\"rejected\""), ("", ",reason=\"max-deliveries\""), ("", ",reason=\"expired\"")],
    ),
];

/// Which column of a queue counts its consumers, whom the shard does not know.
pub(super) const QUEUE_CONSUMERS: usize = 0;

/// Of a topic's partition. Its columns are those of [`partition`].
pub(super) const PARTITION: &[Family] = &[
    one(catalogue::TOPIC_START),
    one(catalogue::TOPIC_END),
    one(catalogue::TOPIC_PUBLISHED),
    age(catalogue::TOPIC_OLDEST_AGE),
];

/// Of a group in a partition. Its columns are those of [`cursor`].
pub(super) const CURSOR: &[Family] = &[
    one(catalogue::GROUP_OFFSET),
    one(catalogue::GROUP_COMMITTED),
    one(catalogue::GROUP_LAG),
    age(catalogue::GROUP_DELAY),
];

/// Of a shared group in a partition, besides what every group has there. Its columns are those of [`share`].
pub(super) const SHARE: &[Family] = &[
    one(catalogue::GROUP_UNACKED),
    one(catalogue::GROUP_SCHEDULED),
    one(catalogue::GROUP_MOVING),
    one(catalogue::GROUP_HELD),
    one(catalogue::GROUP_GRANTED),
    several(catalogue::GROUP_DISCARDED, &[("cause=\"rejected\",", ""), ("cause=\"trimmed\",", "")]),
    several(catalogue::GROUP_FAILURES, FAILURES),
    several(
        catalogue::GROUP_DEAD_LETTERED,
        &[("", ",reason=\"rejected\""), ("", ",reason=\"max-deliveries\"")],
    ),
];

/// Of a group's membership. Its columns are those of [`membership`].
pub(super) const MEMBERSHIP: &[Family] = &[
    one(catalogue::GROUP_MEMBERS),
    one(catalogue::GROUP_OWNED),
    one(catalogue::GROUP_PASSING_ON),
    one(catalogue::GROUP_ASSIGNMENT),
    one(catalogue::GROUP_REBALANCES),
    several(
        catalogue::GROUP_PASSED_ON,
        &[
            ("cause=\"released\",", ""),
            ("cause=\"timed-out\",", ""),
            ("cause=\"left\",", ""),
            ("cause=\"lost\",", ""),
        ],
    ),
    Family { metric: catalogue::GROUP_PAUSED, samples: Samples::Seconds },
];

/// Of a member of a group: the partitions that it owns.
pub(super) const MEMBER: &[Family] = &[one(catalogue::GROUP_MEMBER_PARTITIONS)];

/// A queue as its shard reported it at `now`, and its consumers.
pub(super) fn queue(report: &StreamReport, consumers: u32, now: LogTime) -> Figures {
    let (stats, counters) = (&report.stats, &report.counters);
    let discarded = [DiscardCause::Rejected, DiscardCause::Expired, DiscardCause::Purged];
    let dead_lettered = [MoveCause::Rejected, MoveCause::MaxDeliveries, MoveCause::Expired];
    let levels = [consumers.into(), stats.ready, stats.unacked, stats.scheduled, stats.moving, stats.held];
    let columns = levels
        .into_iter()
        .chain([counters.published, counters.granted, counters.accepted])
        .chain(discarded.map(|cause| counters.discarded(cause)))
        .chain(failures(counters))
        .chain(dead_lettered.map(|cause| counters.dead_lettered(cause)));
    Figures { columns: columns.collect(), oldest: oldest(stats.oldest_age_millis, now) }
}

/// A topic's partition.
pub(super) fn partition(report: &StreamReport, now: LogTime) -> Figures {
    let stats = &report.stats;
    let columns = [stats.start.0, stats.end.0, report.counters.published];
    Figures { columns: columns.into(), oldest: oldest(stats.oldest_age_millis, now) }
}

/// A group in a partition.
pub(super) fn cursor(group: &GroupStats, now: LogTime) -> Figures {
    let columns = [group.offset.0, group.committed, group.lag];
    Figures { columns: columns.into(), oldest: oldest(group.oldest_age_millis, now) }
}

/// A shared group in a partition, as every group is shown there.
pub(super) fn share_cursor(report: &StreamReport, now: LogTime) -> Figures {
    let stats = &report.stats;
    let columns = [stats.start.0, stats.settled, stats.backlog()];
    Figures { columns: columns.into(), oldest: oldest(stats.oldest_age_millis, now) }
}

/// A shared group in a partition: what else there is to show.
pub(super) fn share(report: &StreamReport) -> Figures {
    let (stats, counters) = (&report.stats, &report.counters);
    let discarded = [DiscardCause::Rejected, DiscardCause::Trimmed];
    let dead_lettered = [MoveCause::Rejected, MoveCause::MaxDeliveries];
    let columns = [stats.unacked, stats.scheduled, stats.moving, stats.held, counters.granted]
        .into_iter()
        .chain(discarded.map(|cause| counters.discarded(cause)))
        .chain(failures(counters))
        .chain(dead_lettered.map(|cause| counters.dead_lettered(cause)));
    Figures { columns: columns.collect(), oldest: None }
}

/// Failed attempts, in the order of [`FAILURES`].
fn failures(counters: &Counters) -> [u64; 4] {
    [ReleaseCause::Released, ReleaseCause::Expired, ReleaseCause::ConsumerLost, ReleaseCause::Rejected]
        .map(|cause| counters.released(cause))
}

/// The members of a group.
pub(super) fn membership(stats: &MembershipStats) -> Figures {
    let MembershipStats { epoch, members, owned, passing_on, counters, .. } = stats;
    let HomeCounters { rebalances, released, timed_out, left, lost, paused_millis } = *counters;
    let columns =
        [*members, *owned, *passing_on, epoch.0, rebalances, released, timed_out, left, lost, paused_millis];
    Figures { columns: columns.into(), oldest: None }
}

/// What a member owns.
pub(super) fn member(partitions: u64) -> Figures {
    Figures { columns: [partitions].into(), oldest: None }
}

/// When the message came that is so old.
fn oldest(age_millis: Option<u64>, now: LogTime) -> Option<LogTime> {
    age_millis.map(|age| LogTime(now.0.saturating_sub_unsigned(age)))
}
