//! Why a request was not done, and what its sender can do about it.

use crate::{Epoch, GroupEpoch, LogTime, Offset, ProducerId, Revision, limits};

/// How a request ended that did not end well (guarantee O1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not take effect and will not.
    Definite,
    /// It may have taken effect, or may yet.
    Unknown,
}

/// The stable word of a refusal, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each word is explained by the refusals that carry it")]
pub enum Code {
    AlreadyExists,
    Busy,
    Conflict,
    CorruptBatch,
    Fenced,
    InvalidArgument,
    InvalidName,
    LeaseLost,
    Malformed,
    NotEmpty,
    NotEnoughReplicas,
    NotFound,
    NotLeader,
    NotServed,
    OutOfOrder,
    OutOfRange,
    ProtocolState,
    ShuttingDown,
    StorageFull,
    Timeout,
    TooLarge,
    UnknownProducer,
    Unsupported,
    VolumeFenced,
}

impl Code {
    /// The word as programs see it, such as `LEASE_LOST`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::Busy => "BUSY",
            Self::Conflict => "CONFLICT",
            Self::CorruptBatch => "CORRUPT_BATCH",
            Self::Fenced => "FENCED",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::InvalidName => "INVALID_NAME",
            Self::LeaseLost => "LEASE_LOST",
            Self::Malformed => "MALFORMED",
            Self::NotEmpty => "NOT_EMPTY",
            Self::NotEnoughReplicas => "NOT_ENOUGH_REPLICAS",
            Self::NotFound => "NOT_FOUND",
            Self::NotLeader => "NOT_LEADER",
            Self::NotServed => "NOT_SERVED",
            Self::OutOfOrder => "OUT_OF_ORDER",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::ProtocolState => "PROTOCOL_STATE",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::StorageFull => "STORAGE_FULL",
            Self::Timeout => "TIMEOUT",
            Self::TooLarge => "TOO_LARGE",
            Self::UnknownProducer => "UNKNOWN_PRODUCER",
            Self::Unsupported => "UNSUPPORTED",
            Self::VolumeFenced => "VOLUME_FENCED",
        }
    }
}

/// A refusal with its facts. `Display` says what happened; [`Refusal::action`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are the facts of the message above them")]
pub enum Refusal {
    #[error("{kind} {name:?} already exists")]
    AlreadyExists { kind: &'static str, name: String },
    #[error("the broker has {what} as much as it takes at once")]
    Busy { what: &'static str },
    #[error("the changes since revision {since} are no longer known: list again")]
    ChangesForgotten { since: Revision },
    #[error("{what}")]
    Conflict { what: String },
    #[error("the batch is corrupt: {what}")]
    CorruptBatch { what: &'static str },
    #[error("no broker of this cluster issued the settle token")]
    ForeignToken,
    #[error("overtaken by {by} of the same session or group")]
    Fenced { by: GroupEpoch },
    #[error("producer {producer} has a newer session (epoch {current})")]
    ProducerFenced { producer: ProducerId, current: u32 },
    #[error("{what}")]
    InvalidArgument { what: String },
    #[error(
        "a name has 1 to {max} characters of A-Z a-z 0-9 . _ - and is not . or .. (this one has {length} bytes)",
        max = limits::NAME_BYTES_MAX
    )]
    InvalidName { length: usize },
    #[error("the lease of message {offset} is over: it was settled otherwise, expired or granted again")]
    LeaseLost { offset: Offset },
    #[error("another broker leads the shard: {address} (epoch {epoch})")]
    LedElsewhere { epoch: Epoch, address: String },
    #[error("malformed request: {what}")]
    Malformed { what: &'static str },
    #[error("{kind} {name:?} still holds {messages} messages and its deletionPolicy is DeleteIfEmpty")]
    NotEmpty { kind: &'static str, name: String, messages: u64 },
    #[error("{needed} in-sync replicas are needed and {have} are there")]
    NotEnoughReplicas { needed: u32, have: u32 },
    #[error("no {kind} {name:?}")]
    NotFound { kind: &'static str, name: String },
    #[error("this broker does not lead the shard (epoch {epoch})")]
    NotLeader { epoch: Epoch },
    #[error("{what} is not served by this version")]
    NotServed { what: &'static str },
    #[error("the producer's sequence continues at {expected}, the batch starts at {got}")]
    OutOfOrder { expected: u32, got: u32 },
    #[error("offset {offset} is outside {start} to {end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    #[error("{what}")]
    ProtocolState { what: &'static str },
    #[error("the broker is stopping")]
    ShuttingDown,
    #[error("the volume is full")]
    StorageFull,
    #[error("no answer in time")]
    Timeout,
    #[error("{what} has {bytes} bytes; the limit is {limit}")]
    TooLarge { what: &'static str, bytes: u64, limit: u64 },
    #[error("{count} {what}; the limit is {limit}")]
    TooMany { what: &'static str, count: u64, limit: u64 },
    #[error("nothing is known of producer {producer}, or not any more")]
    UnknownProducer { producer: ProducerId },
    #[error("{what}; supported: {supported}")]
    Unsupported { what: String, supported: &'static str },
    #[error("the broker's volume failed and is fenced since {since:?}; nothing is acknowledged from then on")]
    VolumeFenced { since: LogTime },
    #[error("the broker stopped before the outcome was known")]
    Interrupted,
    #[error("the broker lost the shard's leadership (epoch {epoch}) before the outcome was known")]
    LeadershipLost { epoch: Epoch },
}

impl Refusal {
    /// The stable word for programs.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Busy { .. } => Code::Busy,
            Self::Conflict { .. } => Code::Conflict,
            Self::CorruptBatch { .. } => Code::CorruptBatch,
            Self::Fenced { .. } | Self::ProducerFenced { .. } => Code::Fenced,
            Self::InvalidArgument { .. } => Code::InvalidArgument,
            Self::InvalidName { .. } => Code::InvalidName,
            Self::ForeignToken | Self::LeaseLost { .. } => Code::LeaseLost,
            Self::Malformed { .. } => Code::Malformed,
            Self::NotEmpty { .. } => Code::NotEmpty,
            Self::NotEnoughReplicas { .. } => Code::NotEnoughReplicas,
            Self::NotFound { .. } => Code::NotFound,
            Self::NotLeader { .. } | Self::LedElsewhere { .. } | Self::LeadershipLost { .. } => {
                Code::NotLeader
            }
            Self::NotServed { .. } => Code::NotServed,
            Self::OutOfOrder { .. } => Code::OutOfOrder,
            Self::ChangesForgotten { .. } | Self::OutOfRange { .. } => Code::OutOfRange,
            Self::ProtocolState { .. } => Code::ProtocolState,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::StorageFull => Code::StorageFull,
            Self::Timeout | Self::Interrupted => Code::Timeout,
            Self::TooLarge { .. } | Self::TooMany { .. } => Code::TooLarge,
            Self::UnknownProducer { .. } => Code::UnknownProducer,
            Self::Unsupported { .. } => Code::Unsupported,
            Self::VolumeFenced { .. } => Code::VolumeFenced,
        }
    }

    /// Whether the request may still have taken effect.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Timeout | Self::Interrupted | Self::LeadershipLost { .. } | Self::VolumeFenced { .. } => {
                Outcome::Unknown
            }
            _ => Outcome::Definite,
        }
    }

    /// Whether the same request may succeed when it is sent again.
    #[must_use]
    pub const fn retriable(&self) -> bool {
        matches!(
            self.code(),
            Code::Busy
                | Code::NotEnoughReplicas
                | Code::NotLeader
                | Code::ShuttingDown
                | Code::StorageFull
                | Code::Timeout
                | Code::VolumeFenced
        )
    }

    /// What the sender can do, as a sentence.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self.code() {
            Code::AlreadyExists => "choose another name, or apply the existing one's settings",
            Code::Busy | Code::NotEnoughReplicas => "send it again after a short wait",
            Code::Conflict => "read the current state and decide anew",
            Code::CorruptBatch | Code::Malformed => "report a bug of the client that built the request",
            Code::Fenced => "stop: another session took over; open a new one if this one should win",
            Code::InvalidArgument | Code::InvalidName => "correct the request",
            Code::LeaseLost => "drop the result of this attempt; the message goes its way without it",
            Code::NotEmpty => "consume or purge its messages first, or set deletionPolicy: Delete",
            Code::NotFound => "apply the resource first, or correct the name",
            Code::NotLeader => "send it to the shard's leader; an idempotent session stores it once",
            Code::NotServed => "leave the field or request out until a version serves it",
            Code::OutOfOrder => "open a new producer session and decide what to send again",
            Code::OutOfRange => "begin again inside the range",
            Code::ProtocolState => "send the steps of the stream once each and in order",
            Code::ShuttingDown | Code::Timeout | Code::VolumeFenced => {
                "reconnect and send it again; an idempotent session stores it once"
            }
            Code::StorageFull => "settle or delete messages, or grow the volume; then send it again",
            Code::TooLarge => "send less at once, or raise maxMessageSize",
            Code::UnknownProducer => "open a new producer session and decide what to send again",
            Code::Unsupported => "use a supported version or option",
        }
    }
}
