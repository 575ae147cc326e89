//! What people may set, as checked domain types. Defaults are those of a resource that leaves a field out.

use crate::{LogTime, Name, StreamId, limits, membership::StreamRun, wire_enum, wire_struct};

/// How a topic's or queue's streams are put on shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Placement {
    /// Partitions of topics get a shard each while the broker has room for them; queues share.
    #[default]
    Auto,
    /// A shard for each stream.
    Dedicated,
    /// Streams share the cluster's pooled shards.
    Pooled,
}
wire_enum!(Placement { 0 => Auto, 1 => Dedicated, 2 => Pooled });

/// What happens to the messages when the resource is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// They stay: the topic or queue lives on in the cluster.
    #[default]
    Retain,
    /// It is deleted only while it holds no message; else the deletion is refused.
    DeleteIfEmpty,
    /// It is deleted with its messages.
    Delete,
}
wire_enum!(DeletionPolicy { 0 => Retain, 1 => DeleteIfEmpty, 2 => Delete });

/// Settings of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Partitions; only grows.
    pub partitions: u32,
    /// Copies of each partition; `None` takes the cluster's size, at most 3.
    pub replicas: Option<u32>,
    /// Copies that must be durable before an acknowledgement; `None` takes a majority-safe default.
    pub min_in_sync_replicas: Option<u32>,
    /// Age after which whole segments may go, in milliseconds; `None` keeps them.
    pub retention_millis: Option<u64>,
    /// Bytes per partition above which the oldest segments go; `None` is no limit.
    pub retention_bytes: Option<u64>,
    /// Bytes of one message's key, value and headers.
    pub message_bytes_max: u32,
    /// Where its partitions live.
    pub placement: Placement,
    /// What deletion does.
    pub deletion_policy: DeletionPolicy,
}
wire_struct!(TopicSettings {
    partitions,
    replicas,
    min_in_sync_replicas,
    retention_millis,
    retention_bytes,
    message_bytes_max,
    placement,
    deletion_policy,
});

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            partitions: 1,
            replicas: None,
            min_in_sync_replicas: None,
            retention_millis: Some(7 * 24 * 3_600_000),
            retention_bytes: None,
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
            placement: Placement::Auto,
            deletion_policy: DeletionPolicy::Retain,
        }
    }
}

/// Settings of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Copies; as [`TopicSettings::replicas`].
    pub replicas: Option<u32>,
    /// As [`TopicSettings::min_in_sync_replicas`].
    pub min_in_sync_replicas: Option<u32>,
    /// How long a lease lasts unless the consumer asks for another time, in milliseconds.
    pub ack_timeout_millis: u64,
    /// Failed attempts after which a message goes to the dead-letter queue; 0 is no limit. Without a
    /// dead-letter queue it has no effect: a message is never dropped for failing.
    pub max_deliveries: u32,
    /// How long a failed message waits before its next attempt.
    pub backoff: Backoff,
    /// Where messages go that failed too often, were rejected or outlived their time.
    pub dead_letter: Option<Name>,
    /// Time to live of every message, in milliseconds from its publish; `None` is for ever.
    pub message_ttl_millis: Option<u64>,
    /// Delivery delay of messages that name none, in milliseconds.
    pub delivery_delay_millis: u64,
    /// The longest delay that a publish may ask for, in milliseconds.
    pub delivery_delay_millis_max: u64,
    /// Unsettled messages that one consumer may hold.
    pub in_flight_per_consumer_max: u32,
    /// Bytes of one message's key, value and headers.
    pub message_bytes_max: u32,
    /// Where the queue lives.
    pub placement: Placement,
    /// What deletion does.
    pub deletion_policy: DeletionPolicy,
}
wire_struct!(QueueSettings {
    replicas,
    min_in_sync_replicas,
    ack_timeout_millis,
    max_deliveries,
    backoff,
    dead_letter,
    message_ttl_millis,
    delivery_delay_millis,
    delivery_delay_millis_max,
    in_flight_per_consumer_max,
    message_bytes_max,
    placement,
    deletion_policy,
});

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            replicas: None,
            min_in_sync_replicas: None,
            ack_timeout_millis: 30_000,
            max_deliveries: 5,
            backoff: Backoff::default(),
            dead_letter: None,
            message_ttl_millis: None,
            delivery_delay_millis: 0,
            delivery_delay_millis_max: 90 * 24 * 3_600_000,
            in_flight_per_consumer_max: 1_000,
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
            placement: Placement::Auto,
            deletion_policy: DeletionPolicy::Retain,
        }
    }
}

/// How long a message waits after its n-th failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Milliseconds after the first, second, … failure; the last one repeats. Empty: at once.
    Schedule(Vec<u64>),
    /// `initial × multiplier^(failures − 1)`, at most `max`.
    Exponential {
        /// Milliseconds after the first failure.
        initial_millis: u64,
        /// Growth per failure, in percent (200 doubles); at least 100.
        multiplier_percent: u32,
        /// The longest wait in milliseconds.
        max_millis: u64,
    },
}
wire_enum!(Backoff {
    0 => Schedule(steps),
    1 => Exponential { initial_millis, multiplier_percent, max_millis },
});

impl Default for Backoff {
    fn default() -> Self {
        Self::Schedule(Vec::new())
    }
}

impl Backoff {
    /// Milliseconds to wait after the `failures`-th failed attempt (from 1), saturating.
    #[must_use]
    pub fn after_failures(&self, failures: u32) -> u64 {
        match self {
            Self::Schedule(steps) => {
                let index = (failures.max(1) as usize - 1).min(steps.len().saturating_sub(1));
                steps.get(index).copied().unwrap_or(0)
            }
            Self::Exponential { initial_millis, multiplier_percent, max_millis } => {
                let mut wait = *initial_millis;
                for _ in 1..failures {
                    if wait >= *max_millis || *multiplier_percent <= 100 {
                        break;
                    }
                    wait = wait.saturating_mul(u64::from(*multiplier_percent)) / 100;
                }
                wait.min(*max_millis)
            }
        }
    }
}

/// Where a new group's cursor starts; resolved to an offset once, when the group first claims a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StartPosition {
    /// The oldest message that is still there.
    #[default]
    Earliest,
    /// The next message.
    Latest,
    /// The first message whose log time is at or after the given one.
    Time(LogTime),
}
wire_enum!(StartPosition { 0 => Earliest, 1 => Latest, 2 => Time(time) });

/// What a consumer group reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupSource {
    /// Cursors over the partitions of these topics.
    Topics(Vec<Name>),
    /// Competing consumers of this queue.
    Queue(Name),
}
wire_enum!(GroupSource { 0 => Topics(names), 1 => Queue(name) });

/// How a shared group delivers: message by message, under leases, to whichever member has room. Each field is as a
/// queue's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// As [`QueueSettings::ack_timeout_millis`].
    pub ack_timeout_millis: u64,
    /// As [`QueueSettings::max_deliveries`].
    pub max_deliveries: u32,
    /// As [`QueueSettings::backoff`].
    pub backoff: Backoff,
    /// As [`QueueSettings::dead_letter`]. The topic keeps the message.
    pub dead_letter: Option<Name>,
}
wire_struct!(Sharing { ack_timeout_millis, max_deliveries, backoff, dead_letter });

impl Default for Sharing {
    fn default() -> Self {
        let QueueSettings { ack_timeout_millis, max_deliveries, backoff, dead_letter, .. } =
            QueueSettings::default();
        Self { ack_timeout_millis, max_deliveries, backoff, dead_letter }
    }
}

/// Settings of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// What it reads.
    pub source: GroupSource,
    /// Of a shared group on topics, how its messages are delivered; none where each partition has one reader.
    pub sharing: Option<Sharing>,
    /// Where it starts.
    pub start_position: StartPosition,
    /// Unsettled or uncommitted messages that one consumer may hold.
    pub in_flight_per_consumer_max: u32,
    /// How long somebody without a connection stays a member and keeps its partitions, in milliseconds.
    pub session_timeout_millis: u64,
}
wire_struct!(GroupSettings {
    source,
    sharing,
    start_position,
    in_flight_per_consumer_max,
    session_timeout_millis
});

impl GroupSettings {
    /// What a group is that says what it reads and nothing else.
    #[must_use]
    pub fn of(source: GroupSource) -> Self {
        Self {
            source,
            sharing: None,
            start_position: StartPosition::default(),
            in_flight_per_consumer_max: 1_000,
            session_timeout_millis: limits::SESSION_MILLIS_DEFAULT,
        }
    }
}

/// The settings of one stream as its shard's log records them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamSettings {
    /// A partition of a topic.
    Topic(TopicSettings),
    /// A queue.
    Queue(QueueSettings),
    /// The home of a consumer group: its membership.
    Home(HomeSettings),
    /// A shared group in one partition.
    Share(Box<ShareSettings>),
}
wire_enum!(StreamSettings {
    0 => Topic(settings),
    1 => Queue(settings),
    2 => Home(settings),
    3 => Share(settings),
});

impl StreamSettings {
    /// How messages are delivered under leases; none where they are not.
    #[must_use]
    pub const fn queue(&self) -> Option<&QueueSettings> {
        match self {
            Self::Queue(settings) => Some(settings),
            Self::Share(share) => Some(&share.delivery),
            Self::Topic(_) | Self::Home(_) => None,
        }
    }

    /// The partition whose messages a shared group reads; none of any other stream.
    #[must_use]
    pub const fn reads(&self) -> Option<StreamId> {
        if let Self::Share(share) = self { Some(share.partition) } else { None }
    }
}

/// What a partition's shard has to know of a shared group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareSettings {
    /// The group.
    pub group: Name,
    /// The partition; a stream of the same shard.
    pub partition: StreamId,
    /// Where the group starts, once.
    pub start_position: StartPosition,
    /// How it delivers.
    pub delivery: QueueSettings,
}
wire_struct!(ShareSettings { group, partition, start_position, delivery });

impl ShareSettings {
    /// What follows from a group's settings for one partition; none where the group is not shared.
    #[must_use]
    pub fn of(group: &Name, settings: &GroupSettings, partition: StreamId) -> Option<Self> {
        let Sharing { ack_timeout_millis, max_deliveries, backoff, dead_letter } =
            settings.sharing.clone()?;
        let in_flight_per_consumer_max = settings.in_flight_per_consumer_max;
        let delivery = QueueSettings {
            ack_timeout_millis,
            max_deliveries,
            backoff,
            dead_letter,
            in_flight_per_consumer_max,
            ..QueueSettings::default()
        };
        Some(Self { group: group.clone(), partition, start_position: settings.start_position, delivery })
    }
}

/// What a group's home has to know of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeSettings {
    /// The partitions that it reads, topic by topic; none of a group on a queue, whose members share messages.
    pub topics: Vec<Vec<StreamRun>>,
    /// How long a member whose connection was lost keeps what it reads, in milliseconds.
    pub session_timeout_millis: u64,
}
wire_struct!(HomeSettings { topics, session_timeout_millis });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_follows_its_schedule_and_saturates() {
        let schedule = Backoff::Schedule(vec![10, 20]);
        let doubling = Backoff::Exponential { initial_millis: 5, multiplier_percent: 200, max_millis: 60 };
        let wild =
            Backoff::Exponential { initial_millis: 1, multiplier_percent: u32::MAX, max_millis: u64::MAX };
        for (backoff, failures, wait) in [
            (&schedule, 1, 10),
            (&schedule, 2, 20),
            (&schedule, 9, 20),
            (&Backoff::default(), 3, 0),
            (&doubling, 1, 5),
            (&doubling, 3, 20),
            (&doubling, 50, 60),
            (&wild, u32::MAX, u64::MAX / 100),
        ] {
            let got = backoff.after_failures(failures);
            assert!(got == wait || (wait > 1000 && got >= wait), "{backoff:?} {failures} {got}");
        }
    }
}
