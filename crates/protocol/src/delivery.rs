//! A stored batch on its way to a consumer, with the part of it that is delivered.

use bytes::Bytes;
use pondage_model::{
    Attempt, Epoch, Lease, LogTime, Name, Offset, Refusal, ShardId, StreamId, Token, entry::LeaseRange,
    limits,
};

use crate::v1;

/// A batch and what of it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The topic or queue.
    pub source: Name,
    /// The partition; 0 for queues.
    pub partition: u32,
    /// The shard, for tokens.
    pub shard: ShardId,
    /// The stream, for tokens.
    pub stream: StreamId,
    /// The batch as it is stored.
    pub batch: Bytes,
    /// Queues: what is granted, ascending and disjoint. Empty for topics.
    pub leases: Vec<Leased>,
    /// The first message that is delivered.
    pub first: Offset,
    /// Messages that are delivered.
    pub count: u32,
}

/// Messages that were granted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Which, under which lease.
    pub range: LeaseRange,
    /// When the leases end, by log time.
    pub deadline: LogTime,
}

impl Delivery {
    /// The lease of a message of a queue; `None` if it was not granted.
    #[must_use]
    pub fn lease_of(&self, offset: Offset) -> Option<Leased> {
        let index = self.leases.partition_point(|leased| leased.range.first <= offset).checked_sub(1)?;
        let leased = *self.leases.get(index)?;
        (offset.0 - leased.range.first.0 < u64::from(leased.range.count)).then_some(leased)
    }

    /// The token of a message under its lease.
    #[must_use]
    pub const fn token(&self, offset: Offset, lease: Lease) -> Token {
        Token { shard: self.shard, stream: self.stream, offset, lease }
    }
}

impl From<Delivery> for v1::Delivery {
    fn from(delivery: Delivery) -> Self {
        Self {
            source: delivery.source.to_string(),
            partition: delivery.partition,
            shard: delivery.shard.0,
            stream: delivery.stream.0,
            batch: delivery.batch,
            leases: delivery.leases.into_iter().map(v1::LeasedRange::from).collect(),
            first_offset: delivery.first.0,
            count: delivery.count,
        }
    }
}

impl From<Leased> for v1::LeasedRange {
    fn from(leased: Leased) -> Self {
        Self {
            first_offset: leased.range.first.0,
            count: leased.range.count,
            epoch: leased.range.lease.epoch.0,
            attempt: leased.range.lease.attempt.0,
            deadline_unix_millis: leased.deadline.0,
        }
    }
}

impl TryFrom<v1::Delivery> for Delivery {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidName`]; [`Refusal::Malformed`] for ranges out of order or out of bounds.
    fn try_from(delivery: v1::Delivery) -> Result<Self, Refusal> {
        let mut leases = Vec::with_capacity(delivery.leases.len());
        let mut free = 0;
        for range in delivery.leases {
            let end = range.first_offset.checked_add(u64::from(range.count));
            let fits = range.first_offset >= free && (1..=limits::BATCH_MESSAGES_MAX).contains(&range.count);
            free = end.filter(|_| fits).ok_or(Refusal::Malformed { what: "leases out of order" })?;
            leases.push(Leased {
                range: LeaseRange {
                    first: Offset(range.first_offset),
                    count: range.count,
                    lease: Lease { epoch: Epoch(range.epoch), attempt: Attempt(range.attempt) },
                },
                deadline: LogTime(range.deadline_unix_millis),
            });
        }
        if delivery.first_offset.checked_add(u64::from(delivery.count)).is_none() {
            return Err(Refusal::Malformed { what: "a delivery beyond all offsets" });
        }
        Ok(Self {
            source: Name::new(&delivery.source)?,
            partition: delivery.partition,
            shard: ShardId(delivery.shard),
            stream: StreamId(delivery.stream),
            batch: delivery.batch,
            leases,
            first: Offset(delivery.first_offset),
            count: delivery.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leased(first: u64, count: u32) -> Leased {
        let lease = Lease { epoch: Epoch(2), attempt: Attempt(1) };
        Leased { range: LeaseRange { first: Offset(first), count, lease }, deadline: LogTime(99) }
    }

    fn delivery(leases: Vec<Leased>) -> Delivery {
        Delivery {
            source: Name::new("orders").expect("valid"),
            partition: 0,
            shard: ShardId(1),
            stream: StreamId(2),
            batch: Bytes::from_static(b"batch"),
            leases,
            first: Offset(10),
            count: 4,
        }
    }

    #[test]
    fn deliveries_survive_the_wire_and_find_their_leases() {
        let sent = delivery(vec![leased(10, 2), leased(14, 2)]);
        let got = Delivery::try_from(v1::Delivery::from(sent.clone())).expect("valid");
        assert_eq!(got, sent);
        for (offset, granted) in
            [(9, false), (10, true), (11, true), (12, false), (14, true), (15, true), (16, false)]
        {
            assert_eq!(got.lease_of(Offset(offset)).is_some(), granted, "{offset}");
        }
    }

    #[test]
    fn ranges_out_of_order_are_refused() {
        for leases in [
            vec![leased(10, 2), leased(11, 1)],
            vec![leased(14, 1), leased(10, 1)],
            vec![leased(10, 0)],
            vec![leased(u64::MAX, 1)],
            vec![leased(10, u32::MAX)],
        ] {
            assert!(Delivery::try_from(v1::Delivery::from(delivery(leases.clone()))).is_err(), "{leases:?}");
        }
    }
}
