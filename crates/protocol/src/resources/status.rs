//! What the cluster reports of one stream.

use pondage_model::{BrokerId, Offset, ShardId, StreamId};

use crate::v1;

/// What the cluster reports of one stream. Without a leader the counters are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StreamStatus {
    /// The partition; 0 for a queue.
    pub partition: u32,
    /// Where it lives.
    pub shard: ShardId,
    /// Its id.
    pub stream: StreamId,
    /// The broker that leads its shard.
    pub leader: Option<BrokerId>,
    /// The oldest message that is still there.
    pub start: Offset,
    /// One beyond the last message.
    pub end: Offset,
    /// Messages that can be delivered now.
    pub ready: u64,
    /// Messages that consumers hold.
    pub unacked: u64,
    /// Messages that wait for their due time.
    pub scheduled: u64,
    /// Messages on their way to the dead-letter queue.
    pub moving: u64,
    /// Messages that went to the dead-letter queue since the broker leads the stream.
    pub dead_lettered: u64,
    /// Age of the oldest message in milliseconds.
    pub oldest_age_millis: u64,
    /// Consumers attached now.
    pub consumers: u32,
    /// Bytes of the messages as stored.
    pub bytes: u64,
    /// Messages that left a queue, ever.
    pub settled: u64,
}

impl From<StreamStatus> for v1::StreamStatus {
    fn from(status: StreamStatus) -> Self {
        Self {
            partition: status.partition,
            shard: status.shard.0,
            stream: status.stream.0,
            leader: status.leader.map(BrokerId::get),
            start_offset: status.start.0,
            end_offset: status.end.0,
            ready: status.ready,
            unacked: status.unacked,
            scheduled: status.scheduled,
            moving: status.moving,
            dead_lettered: status.dead_lettered,
            oldest_age_millis: status.oldest_age_millis,
            consumers: status.consumers,
            bytes: status.bytes,
            settled: status.settled,
        }
    }
}

impl From<v1::StreamStatus> for StreamStatus {
    fn from(status: v1::StreamStatus) -> Self {
        Self {
            partition: status.partition,
            shard: ShardId(status.shard),
            stream: StreamId(status.stream),
            leader: status.leader.map(BrokerId),
            start: Offset(status.start_offset),
            end: Offset(status.end_offset),
            ready: status.ready,
            unacked: status.unacked,
            scheduled: status.scheduled,
            moving: status.moving,
            dead_lettered: status.dead_lettered,
            oldest_age_millis: status.oldest_age_millis,
            consumers: status.consumers,
            bytes: status.bytes,
            settled: status.settled,
        }
    }
}
