//! Every limit in one place. Full is an answer: whoever meets a limit gets a refusal that names it.

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 249;

/// Bytes of one record batch as it travels and is stored (compressed).
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Bytes of one record batch after decompression.
pub const BATCH_INFLATED_BYTES_MAX: usize = 64 << 20;

/// Messages in one batch.
pub const BATCH_MESSAGES_MAX: u32 = 65_536;

/// Headers of one message.
pub const HEADERS_MAX: usize = 1_024;

/// Bytes of one header's key.
pub const HEADER_KEY_BYTES_MAX: usize = 4_096;

/// Bytes of one message (key, value and headers) unless its topic or queue sets another limit.
pub const MESSAGE_BYTES_DEFAULT: u32 = 1 << 20;

/// The greatest limit that a topic or queue may set for one message.
pub const MESSAGE_BYTES_MAX: u32 = 7 << 20;

/// Bytes of one entry on disk: its frame's header, attributes and body.
pub const ENTRY_BYTES_MAX: usize = 9 << 20;

/// Bytes of the entries that one write and one sync carry, beyond the first entry.
pub const SYNC_BATCH_BYTES_MAX: usize = 16 << 20;

/// Bytes of the entries that one push to a follower carries, beyond the first entry.
pub const PUSH_BYTES_MAX: usize = 1 << 20;

/// Bytes pushed to one follower of a shard and not answered, beyond the push that passes the limit.
pub const PUSH_WINDOW_BYTES: usize = 8 << 20;

/// Bytes of one checkpoint page's payload.
pub const CHECKPOINT_PAGE_BYTES_MAX: usize = 1 << 20;

/// The size of the first segment of a shard; each next one is twice as large up to [`SEGMENT_BYTES_MAX`].
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// The size of a large segment.
pub const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// Partitions of one topic.
pub const PARTITIONS_MAX: u32 = 1_024;

/// Copies of one stream.
pub const REPLICAS_MAX: u32 = 9;

/// Queues and partitions of one cluster.
pub const STREAMS_MAX: usize = 100_000;

/// Shards with one stream that one broker holds before `placement: Auto` pools.
pub const DEDICATED_SHARDS_PER_BROKER_MAX: usize = 64;

/// Pooled shards per broker, and the least number in a cluster.
pub const POOLED_SHARDS_PER_BROKER: u32 = 4;

/// Idempotent producer sessions that one stream remembers.
pub const PRODUCERS_PER_STREAM_MAX: usize = 10_000;

/// Batches of one producer session that a repeat is recognised among.
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

/// Log time after which an idle producer session is forgotten, in milliseconds.
pub const PRODUCER_IDLE_MILLIS_MAX: u64 = 24 * 3_600_000;

/// Log time in which repeating the winning settle answers OK, in milliseconds.
pub const SETTLE_REPEAT_MILLIS: u64 = 5 * 60_000;

/// The longest lease, delay or time to live, in milliseconds: 10 years. Longer ones are clamped.
pub const DURATION_MILLIS_MAX: u64 = 10 * 366 * 24 * 3_600_000;

/// The shortest lease, in milliseconds. Shorter ones are clamped.
pub const LEASE_MILLIS_MIN: u64 = 100;

/// Messages that one consumer may hold unsettled, whatever its credit says.
pub const CREDIT_MAX: u32 = 65_536;

/// Consumers attached to one stream.
pub const CONSUMERS_PER_STREAM_MAX: usize = 10_000;

/// Groups that one partition of a topic keeps cursors of.
pub const GROUPS_PER_STREAM_MAX: usize = 10_000;

/// Items (tokens or ranges) in one request.
pub const REQUEST_ITEMS_MAX: usize = 65_536;

/// Bytes of one gRPC message: a batch and its envelope.
pub const RPC_BYTES_MAX: usize = BATCH_BYTES_MAX + (1 << 20);

/// How long a long poll may wait, in milliseconds.
pub const POLL_MILLIS_MAX: u64 = 30_000;

/// Producer ids handed to a broker at a time.
pub const PRODUCER_ID_BLOCK: u64 = 1_000;

/// Steps of a backoff schedule.
pub const BACKOFF_STEPS_MAX: usize = 64;

/// Topics that one consumer group reads.
pub const TOPICS_PER_GROUP_MAX: usize = 256;

/// Consumer groups of one cluster.
pub const GROUPS_MAX: usize = 100_000;

/// Shared groups that read one topic: each publish is told to each of them.
pub const SHARED_GROUPS_PER_TOPIC_MAX: usize = 64;

/// Members of one consumer group.
pub const MEMBERS_PER_GROUP_MAX: usize = 2_000;

/// Replicas that autoscaling gives the consumers of one group.
pub const CONSUMER_REPLICAS_MAX: u32 = 1_000;

/// Policies of one direction of autoscaling.
pub const SCALING_POLICIES_MAX: usize = 16;

/// The longest time that autoscaling waits whether a change stays needed, in seconds, as a HorizontalPodAutoscaler has it.
pub const SCALING_WINDOW_SECONDS_MAX: u32 = 3_600;

/// The longest period of such a policy, in seconds, as a HorizontalPodAutoscaler has it.
pub const SCALING_PERIOD_SECONDS_MAX: u32 = 1_800;

/// The shortest time that autoscaling reckons with, in milliseconds: a delay to keep, idleness before the last replica
/// goes, an outage of its figures.
pub const SCALING_MILLIS_MIN: u64 = 1_000;

/// The longest such time, in milliseconds: a week.
pub const SCALING_MILLIS_MAX: u64 = 7 * 24 * 3_600_000;

/// The longest time that a consumer which is to go may take for what it has in its hands, in milliseconds.
pub const SCALING_DRAIN_MILLIS_MAX: u64 = 24 * 3_600_000;

/// Bytes of what people know a member by.
pub const INSTANCE_BYTES_MAX: usize = 253;

/// Changes of a group's membership in one entry; more follow in the next.
pub const MEMBERSHIP_CHANGES_MAX: usize = 10_000;

/// How long a member has to let go of a partition that is to pass on, in milliseconds; then it is fenced.
pub const REBALANCE_MILLIS_MAX: u64 = 60_000;

/// How long members stay drained after they were last told to be, in milliseconds: who asked for it may be gone.
pub const DRAIN_MILLIS: u64 = 60_000;

/// How often who observes a group may be told, in milliseconds.
pub const OBSERVE_MILLIS: std::ops::RangeInclusive<u32> = 500..=60_000;

/// How long a member whose connection was lost keeps what it reads unless its group says, in milliseconds.
pub const SESSION_MILLIS_DEFAULT: u64 = 10_000;

/// The shortest such time, in milliseconds: a member needs some to find another broker.
pub const SESSION_MILLIS_MIN: u64 = 1_000;

/// The longest, in milliseconds.
pub const SESSION_MILLIS_MAX: u64 = 3_600_000;

/// Brokers of one cluster.
pub const BROKERS_MAX: usize = 1_000;

/// Shards, pooled and dedicated, of which one broker holds a copy.
pub const SHARDS_PER_BROKER_MAX: usize = 2_048;

/// Queues, partitions of topics, and cursors of groups, so many of each, whose figures one broker's metrics show.
pub const SCRAPED_ROWS_MAX: usize = 20_000;

/// Bytes of a broker's address or rack.
pub const ADDRESS_BYTES_MAX: usize = 512;

/// Bytes of an administrator's reason for an unclean election.
pub const REASON_BYTES_MAX: usize = 512;

/// How often a broker renews its lease with the catalog's leader, in milliseconds.
pub const BROKER_LEASE_RENEWAL_MILLIS: u64 = 200;

/// How long a broker's lease lasts after a renewal, in milliseconds.
pub const BROKER_LEASE_MILLIS: u64 = 1_000;

/// Hand-overs of leadership that the catalog's leader plans at a time.
pub const LEADER_MOVES_PER_ROUND_MAX: usize = 64;

/// Shards that copy to new replicas at once, in the whole cluster.
pub const REPLICA_MOVES_MAX: usize = 32;

/// Changes of resources that the catalog remembers for watchers; one that is further behind lists again.
pub const CATALOG_CHANGES_MAX: usize = 1_024;

/// Bytes of one command to the catalog.
pub const CATALOG_COMMAND_BYTES_MAX: usize = 1 << 20;

/// Commands to the catalog, and reads of it, that may wait for an answer at once.
pub const CATALOG_PENDING_MAX: usize = 4_096;

/// Bytes of commands after which the catalog writes a checkpoint at the earliest.
pub const CATALOG_CHECKPOINT_BYTES_MIN: u64 = 1 << 20;

/// How often the catalog's leader lets its voters hear of it, in milliseconds.
pub const CONSENSUS_HEARTBEAT_MILLIS: u64 = 100;

/// How long a voter waits at least for its leader's next word before it stands for election, in milliseconds, once
/// the leader's lease is over.
pub const CONSENSUS_ELECTION_MILLIS_MIN: u64 = 200;

/// How long it waits at most; also the leader's lease: how long after its last word no voter votes for another.
pub const CONSENSUS_ELECTION_MILLIS_MAX: u64 = 400;

/// How long a proposal or a read of the catalog may wait for its outcome, in milliseconds.
pub const CONSENSUS_ANSWER_MILLIS: u64 = 5_000;

/// Entries of the catalog's log that stay behind its newest snapshot, for voters that lag a little.
pub const CONSENSUS_ENTRIES_KEPT: u64 = 256;

/// How long a broker that shall vote may take to catch up with the catalog's log, in milliseconds.
pub const CONSENSUS_CATCH_UP_MILLIS: u64 = 10_000;

const _: () = {
    assert!(MESSAGE_BYTES_DEFAULT <= MESSAGE_BYTES_MAX);
    assert!((MESSAGE_BYTES_MAX as usize) < BATCH_BYTES_MAX);
    assert!(BATCH_BYTES_MAX < ENTRY_BYTES_MAX);
    assert!(CHECKPOINT_PAGE_BYTES_MAX < ENTRY_BYTES_MAX);
    assert!(BATCH_BYTES_MAX < RPC_BYTES_MAX);
    assert!(ENTRY_BYTES_MAX < SYNC_BATCH_BYTES_MAX);
    assert!((SYNC_BATCH_BYTES_MAX as u64) < SEGMENT_BYTES_MAX);
    assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_MAX);
    assert!(CATALOG_COMMAND_BYTES_MAX < ENTRY_BYTES_MAX);
    assert!(DEDICATED_SHARDS_PER_BROKER_MAX <= SHARDS_PER_BROKER_MAX);
    assert!(4 * BROKER_LEASE_RENEWAL_MILLIS < BROKER_LEASE_MILLIS);
    assert!(CONSENSUS_HEARTBEAT_MILLIS < CONSENSUS_ELECTION_MILLIS_MIN);
    assert!(CONSENSUS_ELECTION_MILLIS_MIN < CONSENSUS_ELECTION_MILLIS_MAX);
    assert!(CONSENSUS_ELECTION_MILLIS_MAX < BROKER_LEASE_MILLIS);
    assert!(SCALING_DRAIN_MILLIS_MAX <= SCALING_MILLIS_MAX);
    // A rolling update may start each replica's successor before the replica ends.
    assert!(2 * CONSUMER_REPLICAS_MAX as usize <= MEMBERS_PER_GROUP_MAX);
    assert!(TOPICS_PER_GROUP_MAX * (NAME_BYTES_MAX + 2) < CATALOG_COMMAND_BYTES_MAX);
};
