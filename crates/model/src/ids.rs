//! Identities and places. Every number that means a place or a term has its own type, so that two of them
//! can't be swapped by accident.

use std::{fmt, str::FromStr};

/// Defines a `u64` (or other integer) newtype with the conversions that every id needs and nothing more.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);

            /// The value as a bare number, for encoding and arithmetic at the borders.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The next value.
            ///
            /// # Panics
            /// On overflow: no run of the system gets there, so it is a mistake of ours.
            #[must_use]
            pub const fn next(self) -> Self {
                match self.0.checked_add(1) {
                    Some(next) => Self(next),
                    None => panic!("number space exhausted"),
                }
            }

            /// The value `count` further on.
            ///
            /// # Panics
            /// On overflow, as [`Self::next`].
            #[must_use]
            pub const fn plus(self, count: $inner) -> Self {
                match self.0.checked_add(count) {
                    Some(sum) => Self(sum),
                    None => panic!("number space exhausted"),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A shard: one replicated log. Shard 0 is the catalog's.
    ShardId(u32), "shard-"
);
number!(
    /// A stream: one partition of a topic, or a queue. Never reused within a cluster.
    StreamId(u64), "stream-"
);
number!(
    /// An entry's place in its shard's log, dense from 0.
    Position(u64), "p"
);
number!(
    /// A message's place in its stream, from 0. Readers tolerate gaps.
    Offset(u64), "o"
);
number!(
    /// A leadership term of a shard, handed out by the catalog and checked by the receiver.
    Epoch(u64), "e"
);
number!(
    /// A term of ownership of a consumer group over a stream; commits of older ones are fenced.
    GroupEpoch(u64), "g"
);
number!(
    /// The version of a consumer group's membership: which member reads which partition.
    AssignmentEpoch(u64), "assignment-"
);
number!(
    /// How many times a message has been granted, from 1.
    Attempt(u32), "a"
);
number!(
    /// An idempotent producer's id, unique in the cluster.
    ProducerId(u64), "producer-"
);
number!(
    /// A broker as the catalog numbers it.
    BrokerId(u32), "broker-"
);
number!(
    /// How often a broker's volume has been started: the catalog registers each number once.
    Incarnation(u64), "i"
);
number!(
    /// The place of one dead-letter move in the sequence of its source stream, from 1.
    MoveSeq(u64), "m"
);
number!(
    /// The catalog's own version: the index of the last applied command.
    Revision(u64), "r"
);

impl GroupEpoch {
    /// The bits that count the claims under one assignment.
    const CLAIM_BITS: u32 = 24;

    /// The first claim under an assignment. It fences every claim under the assignments before. None for a number that
    /// no group ever gets to: 2^40 and above.
    #[must_use]
    pub const fn first_under(assignment: AssignmentEpoch) -> Option<Self> {
        let shifted = assignment.0 << Self::CLAIM_BITS;
        if shifted >> Self::CLAIM_BITS == assignment.0 { Some(Self(shifted)) } else { None }
    }

    /// The assignment under which it was claimed; that of nobody is 0. (After 2^24 claims under one assignment it
    /// names the next one, which is then taken for the same owner's.)
    #[must_use]
    pub const fn assignment(self) -> AssignmentEpoch {
        AssignmentEpoch(self.0 >> Self::CLAIM_BITS)
    }
}

/// A member of a consumer group: one start of one consumer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub Uuid);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member-{}", self.0)
    }
}

impl ShardId {
    /// The shard that holds the catalog.
    pub const CATALOG: Self = Self(0);
}

/// One start of a broker: what holds for a broker before a restart may not hold for it afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The broker.
    pub broker: BrokerId,
    /// Which of its starts.
    pub incarnation: Incarnation,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{:?}", self.broker, self.incarnation)
    }
}

/// Milliseconds since the Unix epoch, by the shard leader's log clock: monotonic within a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogTime(pub i64);

impl LogTime {
    /// The time `millis` later, saturating: a delay of a million years is a time, not an overflow.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add_unsigned(millis))
    }

    /// Milliseconds from `earlier` to this time, 0 if it is not later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        let difference = self.0.saturating_sub(earlier.0);
        if difference > 0 { difference.unsigned_abs() } else { 0 }
    }
}

impl fmt::Debug for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

/// 128 random bits that name a cluster, a volume or a start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The text is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID; expected one such as 01234567-89ab-cdef-0123-456789abcdef")]
pub struct NoUuid;

impl FromStr for Uuid {
    type Err = NoUuid;

    /// Reads what `Display` prints, in small or large letters.
    fn from_str(text: &str) -> Result<Self, NoUuid> {
        if text.len() != 36 || !text.is_ascii() {
            return Err(NoUuid);
        }
        let mut bytes = [0u8; 16];
        let mut digits = text.bytes().filter(|byte| *byte != b'-').map(|byte| char::from(byte).to_digit(16));
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(NoUuid);
            };
            *byte = (high * 16 + low) as u8;
        }
        let read = Self(bytes);
        // Hyphens elsewhere, and digits left over, are no UUID.
        if read.to_string().eq_ignore_ascii_case(text) { Ok(read) } else { Err(NoUuid) }
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one lease of one message: what a consumer settles with.
///
/// Tokens of one message are ordered by (epoch, attempt) and only grow, so a resource that remembers the
/// greatest one it saw can refuse a consumer that lost its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The shard that granted it.
    pub shard: ShardId,
    /// The queue's or shared partition's stream.
    pub stream: StreamId,
    /// The message.
    pub offset: Offset,
    /// The lease.
    pub lease: Lease,
}

/// The order of leases of one message: by the leader's epoch, then by attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lease {
    /// The epoch of the leader that granted it.
    pub epoch: Epoch,
    /// The attempt.
    pub attempt: Attempt,
}

impl Token {
    /// Bytes of an encoded token.
    pub const ENCODED_BYTES: usize = 33;
    const VERSION: u8 = 1;

    /// The token as opaque bytes: version, then every field big-endian, so that byte order is lease order.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::ENCODED_BYTES] {
        let mut out = [0; Self::ENCODED_BYTES];
        out[0] = Self::VERSION;
        out[1..5].copy_from_slice(&self.shard.0.to_be_bytes());
        out[5..13].copy_from_slice(&self.stream.0.to_be_bytes());
        out[13..21].copy_from_slice(&self.offset.0.to_be_bytes());
        out[21..29].copy_from_slice(&self.lease.epoch.0.to_be_bytes());
        out[29..33].copy_from_slice(&self.lease.attempt.0.to_be_bytes());
        out
    }

    /// Reads a token; `None` for bytes that no broker issued.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::ENCODED_BYTES] = bytes.try_into().ok()?;
        if bytes[0] != Self::VERSION {
            return None;
        }
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|index| bytes[at + index]));
        let half = |at: usize| u32::from_be_bytes(std::array::from_fn(|index| bytes[at + index]));
        Some(Self {
            shard: ShardId(half(1)),
            stream: StreamId(word(5)),
            offset: Offset(word(13)),
            lease: Lease { epoch: Epoch(word(21)), attempt: Attempt(half(29)) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_their_encoding_and_nothing_else_decodes() {
        let token = Token {
            shard: ShardId(3),
            stream: StreamId(9),
            offset: Offset(u64::MAX),
            lease: Lease { epoch: Epoch(7), attempt: Attempt(2) },
        };
        let bytes = token.encode();
        assert_eq!(Token::decode(&bytes), Some(token));
        assert_eq!(Token::decode(&bytes[..32]), None);
        let mut foreign = bytes;
        foreign[0] = 9;
        assert_eq!(Token::decode(&foreign), None);
    }

    #[test]
    fn uuids_are_read_as_they_are_printed_and_nothing_else_is() {
        let printed = "01234567-89ab-cdef-0123-456789abcdef";
        for (text, ok) in [
            (printed, true),
            ("01234567-89AB-CDEF-0123-456789ABCDEF", true),
            ("0123456789abcdef0123456789abcdef----", false),
            ("01234567-89ab-cdef-0123-456789abcde", false),
            ("01234567-89ab-cdef-0123-456789abcdeg", false),
            ("01234567-89ab-cdef-0123-4567-9abcdef", false),
            ("ö1234567-89ab-cdef-0123-456789abcde", false),
            ("", false),
        ] {
            let read = text.parse::<Uuid>();
            assert_eq!(read.is_ok(), ok, "{text}");
            if let Ok(read) = read {
                assert_eq!(read.to_string(), printed);
            }
        }
    }

    #[test]
    fn log_time_saturates() {
        assert_eq!(LogTime(5).plus_millis(u64::MAX), LogTime(i64::MAX));
        assert_eq!(LogTime(5).millis_since(LogTime(9)), 0);
        assert_eq!(LogTime(i64::MAX).millis_since(LogTime(i64::MIN)), i64::MAX as u64);
    }
}
