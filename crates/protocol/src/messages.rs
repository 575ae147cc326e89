//! Requests of the data plane that are answered at once: publish, receive, browse, purge.

use bytes::Bytes;
use pondage_model::{LogTime, Name, Offset, Refusal, limits};

use crate::{
    check::{choose, clamp_duration, number_of, within},
    settle::clamp_lease_millis,
    v1,
};

/// One batch to store. The batch itself is unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The topic or queue.
    pub target: Name,
    /// The topic's partition; `None` lets the broker choose.
    pub partition: Option<u32>,
    /// The batch: 1 to [`limits::BATCH_BYTES_MAX`] bytes.
    pub batch: Bytes,
    /// Delivery delay in milliseconds, at most [`limits::DURATION_MILLIS_MAX`].
    pub delay_millis: Option<u64>,
    /// Time to live in milliseconds, 1 to [`limits::DURATION_MILLIS_MAX`].
    pub ttl_millis: Option<u64>,
}

impl TryFrom<v1::PublishRequest> for Publish {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::TooLarge`], [`Refusal::CorruptBatch`] for an empty batch,
    /// [`Refusal::InvalidArgument`].
    fn try_from(request: v1::PublishRequest) -> Result<Self, Refusal> {
        let target = Name::new(&request.target)?;
        if request.batch.is_empty() {
            return Err(Refusal::CorruptBatch { what: "it is empty" });
        }
        if request.batch.len() > limits::BATCH_BYTES_MAX {
            return Err(Refusal::TooLarge {
                what: "the batch",
                bytes: request.batch.len() as u64,
                limit: limits::BATCH_BYTES_MAX as u64,
            });
        }
        if let Some(partition) = request.partition {
            within("partition", partition, 0..=limits::PARTITIONS_MAX - 1)?;
        }
        if request.ttl_millis == Some(0) {
            return Err(crate::check::invalid("ttl_millis: 0 would expire at once; allowed: 1 and more"));
        }
        Ok(Self {
            target,
            partition: request.partition,
            batch: request.batch,
            delay_millis: request.delay_millis.map(clamp_duration),
            ttl_millis: request.ttl_millis.map(clamp_duration),
        })
    }
}

/// A poll of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// The queue.
    pub queue: Name,
    /// Messages at most, 1 to [`limits::CREDIT_MAX`].
    pub messages_max: u32,
    /// Milliseconds to wait for the first, at most [`limits::POLL_MILLIS_MAX`].
    pub wait_millis: u64,
    /// Milliseconds of the leases.
    pub lease_millis: Option<u64>,
}

impl TryFrom<v1::ReceiveRequest> for Receive {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(request: v1::ReceiveRequest) -> Result<Self, Refusal> {
        Ok(Self {
            queue: Name::new(&request.queue)?,
            messages_max: within("max_messages", request.max_messages, 1..=limits::CREDIT_MAX)?,
            wait_millis: request.wait_millis.min(limits::POLL_MILLIS_MAX),
            lease_millis: request.lease_millis.map(clamp_lease_millis),
        })
    }
}

/// A look at messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browse {
    /// The topic or queue.
    pub target: Name,
    /// The partition.
    pub partition: u32,
    /// Where to begin.
    pub from: Offset,
    /// Messages at most.
    pub messages_max: Option<u64>,
    /// Bytes of batches at most, though at least one batch.
    pub bytes_max: Option<u64>,
}

impl TryFrom<v1::BrowseRequest> for Browse {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::InvalidArgument`].
    fn try_from(request: v1::BrowseRequest) -> Result<Self, Refusal> {
        let limit = |value: u64| (value > 0).then_some(value);
        Ok(Self {
            target: Name::new(&request.target)?,
            partition: within("partition", request.partition, 0..=limits::PARTITIONS_MAX - 1)?,
            from: Offset(request.from_offset),
            messages_max: limit(request.max_messages),
            bytes_max: limit(request.max_bytes),
        })
    }
}

/// What is the matter with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// Can be delivered.
    Ready,
    /// A consumer holds it.
    Leased,
    /// Waits for its due time.
    Scheduled,
    /// On its way to the dead-letter queue.
    Moving,
    /// Its time to live is over.
    Expired,
}

impl MessageState {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Scheduled => "scheduled",
            Self::Moving => "moving",
            Self::Expired => "expired",
        }
    }
}

const STATES: [(v1::MessageState, MessageState); 5] = [
    (v1::MessageState::Ready, MessageState::Ready),
    (v1::MessageState::Leased, MessageState::Leased),
    (v1::MessageState::Scheduled, MessageState::Scheduled),
    (v1::MessageState::Moving, MessageState::Moving),
    (v1::MessageState::Expired, MessageState::Expired),
];

/// Consecutive messages in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRun {
    /// The first message.
    pub first: Offset,
    /// Messages.
    pub count: u32,
    /// Their state.
    pub state: MessageState,
    /// Failed attempts so far.
    pub failures: u32,
    /// When the lease ends, or when they are due.
    pub until: Option<LogTime>,
}

impl From<MessageRun> for v1::MessageRun {
    fn from(run: MessageRun) -> Self {
        Self {
            first_offset: run.first.0,
            count: run.count,
            state: number_of(run.state, &STATES),
            failures: run.failures,
            until_unix_millis: run.until.map(|until| until.0),
        }
    }
}

impl TryFrom<v1::MessageRun> for MessageRun {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidArgument`] for a state of a later version, [`Refusal::Malformed`] for a run beyond all
    /// offsets.
    fn try_from(run: v1::MessageRun) -> Result<Self, Refusal> {
        if run.first_offset.checked_add(u64::from(run.count)).is_none() {
            return Err(Refusal::Malformed { what: "a run beyond all offsets" });
        }
        Ok(Self {
            first: Offset(run.first_offset),
            count: run.count,
            state: choose("runs.state", run.state, &STATES, v1::MessageState::as_str_name, None)?,
            failures: run.failures,
            until: run.until_unix_millis.map(LogTime),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::Code;

    fn publish() -> v1::PublishRequest {
        v1::PublishRequest {
            target: "orders".to_owned(),
            batch: Bytes::from_static(b"batch"),
            ..v1::PublishRequest::default()
        }
    }

    #[test]
    fn a_bad_publish_is_refused_before_anything_is_read_of_it() {
        let large = Bytes::from(vec![0; limits::BATCH_BYTES_MAX + 1]);
        for (request, code) in [
            (v1::PublishRequest { target: "../etc".to_owned(), ..publish() }, Code::InvalidName),
            (v1::PublishRequest { batch: Bytes::new(), ..publish() }, Code::CorruptBatch),
            (v1::PublishRequest { batch: large.clone(), ..publish() }, Code::TooLarge),
            (
                v1::PublishRequest { partition: Some(limits::PARTITIONS_MAX), ..publish() },
                Code::InvalidArgument,
            ),
            (v1::PublishRequest { ttl_millis: Some(0), ..publish() }, Code::InvalidArgument),
        ] {
            assert_eq!(Publish::try_from(request).expect_err("refused").code(), code);
        }
        let request =
            v1::PublishRequest { batch: large.slice(1..), delay_millis: Some(u64::MAX), ..publish() };
        let accepted = Publish::try_from(request).expect("valid");
        assert_eq!(accepted.delay_millis, Some(limits::DURATION_MILLIS_MAX));
    }

    #[test]
    fn a_poll_is_bounded() {
        let request = |max_messages, wait_millis, lease_millis| v1::ReceiveRequest {
            queue: "orders".to_owned(),
            max_messages,
            wait_millis,
            lease_millis,
        };
        assert!(Receive::try_from(request(0, 0, None)).is_err());
        assert!(Receive::try_from(request(limits::CREDIT_MAX + 1, 0, None)).is_err());
        let poll = Receive::try_from(request(1, u64::MAX, Some(0))).expect("valid");
        assert_eq!(poll.wait_millis, limits::POLL_MILLIS_MAX);
        assert_eq!(poll.lease_millis, Some(limits::LEASE_MILLIS_MIN));
    }

    #[test]
    fn runs_survive_the_wire() {
        for (_, state) in STATES {
            let run = MessageRun { first: Offset(3), count: 4, state, failures: 2, until: Some(LogTime(9)) };
            assert_eq!(MessageRun::try_from(v1::MessageRun::from(run)), Ok(run));
        }
        let unknown = v1::MessageRun { state: 77, ..v1::MessageRun::default() };
        let refusal = MessageRun::try_from(unknown).expect_err("refused").to_string();
        assert!(refusal.contains("runs.state: 77") && refusal.contains("MESSAGE_STATE_READY"), "{refusal}");
    }
}
