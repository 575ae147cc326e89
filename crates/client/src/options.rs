//! What a user of the client can choose.

use std::time::Duration;

use pondage_model::limits;
use pondage_protocol::consume::StartAt;

use crate::{Compression, Tls};

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// For making the connection.
    pub connect_timeout: Duration,
    /// For one try of a request. A stream on which nothing moves for as long is given up and opened again.
    pub request_timeout: Duration,
    /// For a request in all: it is tried again for so long, with the broker that leads by then, if it failed in a way
    /// that is worth it. A verdict, a commit and the opening of a consumer have as long. Messages of a publisher have
    /// their own, [`PublisherOptions::delivery_timeout`].
    pub deadline: Duration,
    /// The wait before the second try; grows by a half with every one, with jitter.
    pub retry_wait: Duration,
    /// The longest wait.
    pub retry_wait_max: Duration,
    /// Certificates, if the brokers speak TLS; addresses without a scheme are taken for `https` ones then.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            retry_wait: Duration::from_millis(20),
            retry_wait_max: Duration::from_millis(500),
            tls: None,
        }
    }
}

/// How to publish.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    /// Of the batches.
    pub compression: Compression,
    /// How long a batch that is not full waits for more messages. Zero does not mean batches of one: while as many
    /// batches are in flight as may be, messages gather.
    pub linger: Duration,
    /// Bytes of a batch before compression, after which it is full.
    pub batch_bytes: usize,
    /// Messages of a batch, after which it is full.
    pub batch_messages: u32,
    /// Batches in flight to one broker. In an idempotent session 5 per partition at most.
    pub in_flight: usize,
    /// Bytes of messages that wait or are in flight, beyond which sending waits.
    pub buffer_bytes: usize,
    /// One idempotent session: every message is stored once, in the order of its key, retries included. Otherwise a
    /// retry may store a message twice or behind later ones.
    pub idempotent: bool,
    /// How long a message is tried before it ends in an error. If it may have been stored by then, the publisher
    /// ends with it, since nothing can follow in its session.
    pub delivery_timeout: Duration,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            compression: Compression::Lz4,
            linger: Duration::ZERO,
            batch_bytes: 256 << 10,
            batch_messages: 10_000,
            in_flight: 64,
            buffer_bytes: 64 << 20,
            idempotent: true,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

impl PublisherOptions {
    /// The options, with sizes that a broker takes.
    pub(crate) fn bounded(mut self) -> Self {
        self.batch_bytes = self.batch_bytes.clamp(1, limits::BATCH_BYTES_MAX / 2);
        self.batch_messages = self.batch_messages.clamp(1, limits::BATCH_MESSAGES_MAX);
        self.in_flight = self.in_flight.clamp(1, 4_096);
        self.buffer_bytes = self.buffer_bytes.clamp(limits::MESSAGE_BYTES_MAX as usize, 1 << 31);
        self
    }
}

/// How to consume a queue.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Messages that may be here unsettled, 1 to 65,536.
    pub credit: u32,
    /// The time of a lease; `None` takes the queue's.
    pub lease: Option<Duration>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self { credit: 256, lease: None }
    }
}

/// How to read a topic.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// Which partitions; empty for all.
    pub partitions: Vec<u32>,
    /// Where to begin. In a group only where it has no cursor; `None`: the group's start position, or the earliest.
    pub start: Option<StartAt>,
    /// Where to begin in single partitions, in place of `start`.
    pub starts: Vec<(u32, StartAt)>,
    /// Messages that may be here unread, 1 to 65,536.
    pub credit: u32,
    /// In a group: how often to commit what has been processed. A message counts as processed when the next one is
    /// asked for. `None` leaves it to [`crate::TopicReader::commit`].
    pub commit_interval: Option<Duration>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            partitions: Vec::new(),
            start: None,
            starts: Vec::new(),
            credit: 4_096,
            commit_interval: Some(Duration::from_secs(1)),
        }
    }
}

/// A duration as the wire wants it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
