//! Single calls of the data plane: publish, receive, browse, purge.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pondage_model::{
    Name, Offset, ProducerId, Refusal, limits,
    record::{Batch, BatchBuilder, RecordDraft},
};
use pondage_protocol::v1;
use tonic::Streaming;

use crate::{
    Ack, Client, ClientError, Compression, Message, MessageRun, ReceivedMessage, TopicMessage,
    client::{Repeat, messages},
    message::{granted, topic_message},
    options::millis,
    partitioner::partition_of_key,
};

/// What a publisher needs to know of a topic or queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Whether it is a topic.
    pub is_topic: bool,
    /// Partitions, at least 1.
    pub partitions: u32,
    /// Bytes that one message's key, value and headers may have.
    pub message_bytes_max: u32,
}

/// What to show of a queue or partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrowseRange {
    /// The topic's partition; 0 for queues.
    pub partition: u32,
    /// The first offset.
    pub from: Offset,
    /// Messages at most; 0: no limit but what is there now.
    pub messages_max: u64,
    /// Bytes of batches at most, though at least one batch; 0: no limit.
    pub bytes_max: u64,
}

/// A message that was shown, and what is the matter with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browsed {
    /// The message.
    pub message: TopicMessage,
    /// Its state, shared with its neighbours in the run.
    pub run: MessageRun,
}

/// Messages that are being shown.
#[derive(Debug)]
pub struct Browsing {
    partition: u32,
    responses: Streaming<v1::BrowseResponse>,
}

impl Browsing {
    /// The messages of the next stored batch; `None` at the end.
    ///
    /// # Errors
    /// Those of the broker; `CORRUPT_BATCH` for a batch that can't be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Browsed>>, ClientError> {
        let Some(response) = self.responses.message().await? else { return Ok(None) };
        Ok(Some(browsed(self.partition, response)?))
    }
}

fn browsed(partition: u32, response: v1::BrowseResponse) -> Result<Vec<Browsed>, Refusal> {
    let runs = response.runs.into_iter().map(MessageRun::try_from).collect::<Result<Vec<_>, _>>()?;
    let batch = Batch::parse(response.batch)?;
    let mut shown = Vec::new();
    for record in batch.records()? {
        let holds = |run: &&MessageRun| {
            record.offset >= run.first && record.offset.0 - run.first.0 < u64::from(run.count)
        };
        if let Some(run) = runs.iter().find(holds).copied() {
            shown.push(Browsed { message: topic_message(partition, record), run });
        }
    }
    Ok(shown)
}

impl Client {
    /// What a publisher needs to know of a topic or queue.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_NAME`.
    pub async fn locate(&self, target: &str) -> Result<Location, ClientError> {
        let target = self.locate_now(target).await?;
        Ok(Location {
            is_topic: target.is_topic,
            partitions: u32::try_from(target.shards.len()).unwrap_or(limits::PARTITIONS_MAX),
            message_bytes_max: target.message_bytes_max,
        })
    }

    /// Opens an idempotent producer session: its id and epoch go into the batches.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn init_producer(&self) -> Result<(ProducerId, u32), ClientError> {
        let response = self
            .call(Repeat::Safe, |channel| async move {
                messages(channel).init_producer(v1::InitProducerRequest {}).await
            })
            .await?;
        Ok((ProducerId(response.producer_id), response.epoch))
    }

    /// Publishes one message and waits until it is durable: the shortest way, for when there is only one. A message
    /// with a key and without a partition asks first for the topic's partitions. Not idempotent: when the outcome
    /// is unknown it is not sent again, and the error says so.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn publish(&self, target: &str, message: &Message) -> Result<Ack, ClientError> {
        let partition = match (message.partition, &message.key) {
            (None, Some(key)) => Some(partition_of_key(key, self.target(target).await?.shards.len() as u32)),
            (partition, _) => partition,
        };
        let mut builder = BatchBuilder::new(Compression::None);
        push_message(&mut builder, message)?;
        let request = v1::PublishRequest {
            target: target.to_owned(),
            partition,
            batch: builder.build()?,
            delay_millis: message.delay.map(millis),
            ttl_millis: message.ttl.map(millis),
        };
        self.publish_request(Repeat::IfDefinite, request).await
    }

    /// Publishes one batch, such as [`BatchBuilder`] builds, and waits until it is durable. A batch of a producer
    /// session is sent again when its outcome is unknown; another one is not.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn publish_batch(
        &self,
        target: &str,
        partition: Option<u32>,
        batch: Bytes,
    ) -> Result<Ack, ClientError> {
        let idempotent = Batch::parse(batch.clone())?.producer().is_some();
        let repeat = if idempotent { Repeat::Safe } else { Repeat::IfDefinite };
        let target = target.to_owned();
        let request = v1::PublishRequest { target, partition, batch, ..Default::default() };
        self.publish_request(repeat, request).await
    }

    async fn publish_request(
        &self,
        repeat: Repeat,
        mut request: v1::PublishRequest,
    ) -> Result<Ack, ClientError> {
        let partition = match (request.partition, repeat) {
            (Some(partition), _) => partition,
            // Its sequence is that of one partition, which only the sender knows: the broker refuses if it matters.
            (None, Repeat::Safe) => 0,
            (None, Repeat::IfDefinite) => {
                let partition = self.next_turn() % self.target(&request.target).await?.shards.len() as u32;
                *request.partition.insert(partition)
            }
        };
        let (target, limit) = (request.target.clone(), self.options().request_timeout);
        let response = self
            .call_leader((&target, partition), (limit, Duration::ZERO), repeat, |channel| {
                let request = request.clone();
                async move { messages(channel).publish(request).await }
            })
            .await?;
        Ok(Ack {
            partition: response.partition,
            offset: Offset(response.base_offset),
            already: response.duplicate,
        })
    }

    /// Takes at most `messages_max` messages from a queue, waiting up to `wait` for the first.
    ///
    /// # Errors
    /// Those of the broker. Messages that were granted to an answer that got lost come again after their lease.
    pub async fn receive(
        &self,
        queue: &str,
        messages_max: u32,
        wait: Duration,
        lease: Option<Duration>,
    ) -> Result<Vec<ReceivedMessage>, ClientError> {
        let wait = wait.min(Duration::from_millis(limits::POLL_MILLIS_MAX));
        let request = v1::ReceiveRequest {
            queue: queue.to_owned(),
            max_messages: messages_max,
            wait_millis: millis(wait),
            lease_millis: lease.map(millis),
        };
        let limit = self.options().request_timeout + wait;
        let response = self
            .call_leader((queue, 0), (limit, wait), Repeat::Safe, |channel| {
                let request = request.clone();
                async move { messages(channel).receive(request).await }
            })
            .await?;
        let mut received = Vec::new();
        for delivery in response.deliveries {
            received.extend(granted(delivery)?);
        }
        Ok(received)
    }

    /// Shows messages without a lease and without changing anything.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn browse(&self, target: &str, range: BrowseRange) -> Result<Browsing, ClientError> {
        let request = v1::BrowseRequest {
            target: Name::new(target)?.to_string(),
            partition: range.partition,
            from_offset: range.from.0,
            max_messages: range.messages_max,
            max_bytes: range.bytes_max,
        };
        let limit = self.options().request_timeout;
        let responses = self
            .call_leader((target, range.partition), (limit, Duration::ZERO), Repeat::Safe, |channel| {
                let request = request.clone();
                async move { messages(channel).browse(request).await }
            })
            .await?;
        Ok(Browsing { partition: range.partition, responses })
    }

    /// Settles everything that a queue holds now, and says how many messages that were.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn purge(&self, queue: &str) -> Result<u64, ClientError> {
        let request = v1::PurgeRequest { queue: queue.to_owned() };
        let limit = self.options().request_timeout;
        let response = self
            .call_leader((queue, 0), (limit, Duration::ZERO), Repeat::IfDefinite, |channel| {
                let request = request.clone();
                async move { messages(channel).purge(request).await }
            })
            .await?;
        Ok(response.messages)
    }
}

/// Appends a message to a batch.
pub(crate) fn push_message(builder: &mut BatchBuilder, message: &Message) -> Result<(), Refusal> {
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        message.headers.iter().map(|(key, value)| (key.as_ref(), value.as_deref())).collect();
    builder.push(&RecordDraft {
        key: message.key.as_deref(),
        value: message.value.as_deref(),
        headers: &headers,
        timestamp_millis: message.timestamp_millis.unwrap_or_else(wall_clock_millis),
    })
}

/// Milliseconds since the Unix epoch by this machine's clock; 0 before it.
fn wall_clock_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
