//! Messages, to be sent and received.

use std::time::Duration;

use bytes::Bytes;
use pondage_model::{
    Attempt, LogTime, Name, Offset, Refusal, Token,
    record::{Batch, Record},
};
use pondage_protocol::{
    delivery::{Delivery, Leased},
    settle::{Settled, Verdict},
    v1,
};

use crate::{ClientError, options::millis, queue_consumer::Settler};

/// A message to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What it is about: messages with the same key keep their order.
    pub key: Option<Bytes>,
    /// What it says.
    pub value: Option<Bytes>,
    /// Keys and values, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// The topic's partition; `None`: by key, and without one wherever a batch is being filled.
    pub partition: Option<u32>,
    /// Queues: held back for this long.
    pub delay: Option<Duration>,
    /// Queues: expires after this long.
    pub ttl: Option<Duration>,
    /// Milliseconds since the Unix epoch; `None`: the time of sending.
    pub timestamp_millis: Option<i64>,
}

impl Message {
    /// A message that says `value`.
    #[must_use]
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// With a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.headers.push((key.into(), Some(value.into())));
        self
    }

    /// Bytes of its parts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let part = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(key, value)| key.len() + part(value)).sum();
        part(&self.key) + part(&self.value) + headers
    }
}

/// A message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMessage {
    /// Its partition.
    pub partition: u32,
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, by the producer's clock.
    pub timestamp_millis: i64,
    /// What it is about.
    pub key: Option<Bytes>,
    /// What it says.
    pub value: Option<Bytes>,
    /// Keys and values, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// What a reader of a topic sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicEvent {
    /// A message.
    Message(TopicMessage),
    /// Every message of the partition below `end` has been seen. Once per partition.
    CaughtUp {
        /// The partition.
        partition: u32,
        /// One beyond the last message at that time.
        end: Offset,
    },
}

/// A message of a queue under a lease, received by a single call; settle it with [`crate::Client::settle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The queue, or the topic that a shared group reads.
    pub source: Name,
    /// The topic's partition; 0 of a queue.
    pub partition: u32,
    /// Its place in the queue or partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, by the producer's clock.
    pub timestamp_millis: i64,
    /// What it is about.
    pub key: Option<Bytes>,
    /// What it says.
    pub value: Option<Bytes>,
    /// Keys and values, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// How many times it has been delivered, this time included.
    pub attempt: Attempt,
    /// Names the lease; grows with every delivery of the message.
    pub token: Token,
    /// When the lease ends, by the broker's clock.
    pub deadline: LogTime,
}

/// A message of a queue, or of a topic for a shared group, under a lease. Dropping it without a verdict lets the lease run
/// out.
#[derive(Debug)]
pub struct QueueMessage {
    /// The queue, or the topic.
    pub source: Name,
    /// The topic's partition; 0 of a queue.
    pub partition: u32,
    /// Its place in the queue or partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, by the producer's clock.
    pub timestamp_millis: i64,
    /// What it is about.
    pub key: Option<Bytes>,
    /// What it says.
    pub value: Option<Bytes>,
    /// Keys and values, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// How many times it has been delivered, this time included.
    pub attempt: Attempt,
    /// Names the lease; grows with every delivery of the message.
    pub token: Token,
    /// When the lease ends, by the broker's clock.
    pub deadline: LogTime,
    settler: Settler,
}

impl QueueMessage {
    pub(crate) fn new(message: ReceivedMessage, settler: Settler) -> Self {
        let ReceivedMessage { source, partition, offset, timestamp_millis, key, value, headers, .. } =
            message;
        let ReceivedMessage { attempt, token, deadline, .. } = message;
        Self {
            source,
            partition,
            offset,
            timestamp_millis,
            key,
            value,
            headers,
            attempt,
            token,
            deadline,
            settler,
        }
    }

    /// Done: OK means that the message is gone from the queue, or for the group, durably.
    ///
    /// # Errors
    /// `LEASE_LOST` if the lease is over and the message was granted again or settled otherwise.
    pub async fn accept(&self) -> Result<Settled, ClientError> {
        self.settle(Verdict::Accept).await
    }

    /// The attempt failed: the message comes again, after `delay` or the backoff of the queue or group.
    ///
    /// # Errors
    /// As [`QueueMessage::accept`].
    pub async fn release(&self, delay: Option<Duration>) -> Result<Settled, ClientError> {
        self.settle(Verdict::Release { delay_millis: delay.map(millis) }).await
    }

    /// Not processed: the message comes again at once, and the attempt does not count as failed.
    ///
    /// # Errors
    /// As [`QueueMessage::accept`].
    pub async fn give_back(&self) -> Result<Settled, ClientError> {
        self.settle(Verdict::Return).await
    }

    /// It can't be processed: to the dead-letter queue.
    ///
    /// # Errors
    /// As [`QueueMessage::accept`].
    pub async fn reject(&self) -> Result<Settled, ClientError> {
        self.settle(Verdict::Reject).await
    }

    /// Still at it: extends the lease to `lease` from now, or to the time of the queue or group. The answer carries the deadline.
    ///
    /// # Errors
    /// As [`QueueMessage::accept`].
    pub async fn renew(&self, lease: Option<Duration>) -> Result<Settled, ClientError> {
        self.settle(Verdict::Renew { lease_millis: lease.map(millis) }).await
    }

    /// Gives a verdict and waits until it is durable.
    ///
    /// # Errors
    /// As [`QueueMessage::accept`].
    pub async fn settle(&self, verdict: Verdict) -> Result<Settled, ClientError> {
        self.settler.settle(self.token, verdict).await
    }
}

/// The granted messages of a delivery.
pub(crate) fn granted(delivery: v1::Delivery) -> Result<Vec<ReceivedMessage>, Refusal> {
    let delivery = Delivery::try_from(delivery)?;
    let batch = Batch::parse(delivery.batch.clone())?;
    let mut messages = Vec::new();
    for record in batch.records()? {
        if let Some(Leased { range, deadline }) = delivery.lease_of(record.offset) {
            let Record { offset, timestamp_millis, key, value, headers } = record;
            messages.push(ReceivedMessage {
                source: delivery.source.clone(),
                partition: delivery.partition,
                offset,
                timestamp_millis,
                key,
                value,
                headers,
                attempt: range.lease.attempt,
                token: delivery.token(offset, range.lease),
                deadline,
            });
        }
    }
    Ok(messages)
}

/// The messages of a topic's delivery that the reader asked for.
pub(crate) fn asked_for(delivery: v1::Delivery) -> Result<Vec<TopicMessage>, Refusal> {
    let delivery = Delivery::try_from(delivery)?;
    let batch = Batch::parse(delivery.batch)?;
    let first = delivery.first;
    let end = Offset(first.0.saturating_add(u64::from(delivery.count)));
    let wanted = batch.records()?.filter(|record| record.offset >= first && record.offset < end);
    Ok(wanted.map(|record| topic_message(delivery.partition, record)).collect())
}

/// A record as a message of a partition.
pub(crate) fn topic_message(partition: u32, record: Record) -> TopicMessage {
    let Record { offset, timestamp_millis, key, value, headers } = record;
    TopicMessage { partition, offset, timestamp_millis, key, value, headers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{
        Epoch, Lease, ShardId, StreamId,
        entry::LeaseRange,
        record::{BatchBuilder, Compression, RecordDraft, stamp_base_offset},
    };

    fn delivery(leases: Vec<Leased>, first: u64, count: u32) -> v1::Delivery {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for value in ["a", "b", "c", "d"] {
            let draft = RecordDraft { value: Some(value.as_bytes()), ..RecordDraft::default() };
            builder.push(&draft).expect("fits");
        }
        let batch = stamp_base_offset(builder.build().expect("four messages"), Offset(10));
        Delivery {
            source: Name::new("orders").expect("valid"),
            partition: 2,
            shard: ShardId(1),
            stream: StreamId(5),
            batch,
            leases,
            first: Offset(first),
            count,
        }
        .into()
    }

    #[test]
    fn only_granted_messages_are_seen() {
        let lease = Lease { epoch: Epoch(3), attempt: Attempt(2) };
        let leased = |first, count| Leased {
            range: LeaseRange { first: Offset(first), count, lease },
            deadline: LogTime(7),
        };
        let messages = granted(delivery(vec![leased(10, 1), leased(12, 2)], 10, 3)).expect("valid");
        let seen: Vec<_> = messages.iter().map(|message| (message.offset.0, message.value.clone())).collect();
        assert_eq!(seen, [(10, Some("a".into())), (12, Some("c".into())), (13, Some("d".into()))]);
        assert_eq!(messages[1].token.lease, lease);
        assert_eq!(messages[1].token.offset, Offset(12));
    }

    #[test]
    fn a_reader_sees_what_it_asked_for() {
        for (first, count, seen) in [(10, 4, 4), (12, 2, 2), (12, 1, 1), (9, 9, 4), (20, 1, 0)] {
            let messages = asked_for(delivery(Vec::new(), first, count)).expect("valid");
            assert_eq!(messages.len(), seen, "{first} {count}");
            assert!(messages.iter().all(|message| message.offset.0 >= first && message.partition == 2));
        }
    }
}
