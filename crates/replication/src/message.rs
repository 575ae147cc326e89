//! What replicas of a shard say to each other. Every message may be lost, repeated, delayed or overtaken.

use pondage_model::{Epoch, Position, RawEntry, wire_enum, wire_struct};

/// A message between two replicas of one shard. The sender's [`Member`](pondage_model::Member) travels beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Leader: I lead in this epoch; where does your log end? Answered by [`Self::Where`] once the epoch is durable.
    Hello {
        /// The leader's epoch.
        epoch: Epoch,
        /// Grows with every hello to this replica in this epoch, also if it left the shard in between; tells answers
        /// to this one from older ones.
        attempt: u64,
    },
    /// Follower: my log goes up to there. Also said when a push comes to a follower that is not aligned.
    Where {
        /// The epoch it is said in.
        epoch: Epoch,
        /// Of the hello; 0 if nobody asked.
        attempt: u64,
        /// The newest epoch in the follower's log that the leader has not ruled out.
        last: Epoch,
        /// Everything below is on its disk, whoever wrote it.
        durable: Position,
    },
    /// Leader: my newest epoch that is not above your `last` is `of`, and ends there in my log.
    Align {
        /// The leader's epoch.
        epoch: Epoch,
        /// Of the hello.
        attempt: u64,
        /// What the follower asked about. An answer to an older question may come late, even to a later start.
        last: Epoch,
        /// An epoch of the leader's log, zero for none.
        of: Epoch,
        /// The position behind its last entry.
        end: Position,
    },
    /// Leader: the entries of my log in a range of positions.
    Push(Push),
    /// Follower: I have that much, in this epoch.
    Ack {
        /// The epoch it is said in.
        epoch: Epoch,
        /// Of the hello after which the logs were aligned: tells it from what a log said that was removed since.
        attempt: u64,
        /// Everything below is on the follower's disk and equal to the leader's log.
        durable: Position,
        /// Everything below is there, but not all of it synced.
        end: Position,
        /// The newest round that was asked for in this epoch.
        round: u64,
        /// A push began behind `end`: those before it are missing.
        missing: bool,
    },
    /// Receiver: I am in a newer epoch than you, and did nothing.
    Stale {
        /// The receiver's.
        epoch: Epoch,
    },
    /// Follower: I know that more is committed than you hold: you must not lead.
    Behind {
        /// The epoch it is said in.
        epoch: Epoch,
        /// Everything below is committed.
        high_watermark: Position,
    },
    /// Follower: I end soon, in good order; do not wait for me. Said again after every alignment.
    Leaving {
        /// The epoch it is said in.
        epoch: Epoch,
    },
}
wire_enum!(Message {
    1 => Hello { epoch, attempt },
    2 => Where { epoch, attempt, last, durable },
    3 => Align { epoch, attempt, last, of, end },
    4 => Push(push),
    5 => Ack { epoch, attempt, durable, end, round, missing },
    6 => Stale { epoch },
    7 => Behind { epoch, high_watermark },
    8 => Leaving { epoch },
});

impl Message {
    /// The epoch that the sender was in.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        match self {
            Self::Hello { epoch, .. }
            | Self::Where { epoch, .. }
            | Self::Align { epoch, .. }
            | Self::Ack { epoch, .. }
            | Self::Stale { epoch }
            | Self::Behind { epoch, .. }
            | Self::Leaving { epoch } => *epoch,
            Self::Push(push) => push.epoch,
        }
    }

    /// About how many bytes it takes, for bounds on what is held and sent at once.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        const MESSAGE: usize = 64;
        const EPOCH: usize = 16;
        MESSAGE
            + match self {
                Self::Push(push) => {
                    let entries: usize = push.entries.iter().map(RawEntry::weight_bytes).sum();
                    entries + EPOCH * push.epochs.len()
                }
                _ => 0,
            }
    }
}

/// The entries of a leader's log in `from..to`, ascending. Positions without an entry were reclaimed: they lie
/// below the high watermark and are never sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Push {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The first position that it speaks of.
    pub from: Position,
    /// The position behind the last one.
    pub to: Position,
    /// The epoch of what lies below `from` in the leader's log.
    pub before: Epoch,
    /// The entries that are left.
    pub entries: Vec<RawEntry>,
    /// The epochs that began in the range, if entries are missing: their start entries may be gone.
    pub epochs: Vec<(Epoch, Position)>,
    /// Everything below is committed.
    pub high_watermark: Position,
    /// The newest round that the leader has begun; to be answered at once if the follower has not answered it.
    pub round: u64,
}
wire_struct!(Push { epoch, from, to, before, entries, epochs, high_watermark, round });

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pondage_model::{EntryKind, LogTime, Offset, StreamId, wire::Wire};

    use super::*;

    fn messages() -> Vec<(Message, &'static [u8])> {
        let (epoch, attempt) = (Epoch(300), 2);
        let entry = RawEntry {
            position: Position(7),
            epoch,
            stream: StreamId(8),
            log_time: LogTime(-9),
            kind: EntryKind::Publish,
            base_offset: Offset(10),
            count: 11,
            attributes: Bytes::from_static(b"at"),
            body: Bytes::from_static(b"body"),
        };
        let push = Push {
            epoch,
            from: Position(6),
            to: Position(8),
            before: Epoch(5),
            entries: vec![entry],
            epochs: vec![(epoch, Position(7))],
            high_watermark: Position(4),
            round: 3,
        };
        vec![
            (Message::Hello { epoch, attempt }, &[1, 0xac, 2, 2]),
            (Message::Where { epoch, attempt, last: Epoch(4), durable: Position(5) }, &[2, 0xac, 2, 2, 4, 5]),
            (
                Message::Align { epoch, attempt, last: Epoch(4), of: Epoch(3), end: Position(5) },
                &[3, 0xac, 2, 2, 4, 3, 5],
            ),
            (
                Message::Push(push),
                &[
                    4, 0xac, 2, 6, 8, 5, // epoch, from, to, before
                    1, 7, 0xac, 2, 8, 17, 5, 10, 11, 2, b'a', b't', 4, b'b', b'o', b'd',
                    b'y', // entries
                    1, 0xac, 2, 7, // epochs
                    4, 3, // high watermark, round
                ],
            ),
            (
                Message::Ack {
                    epoch,
                    attempt,
                    durable: Position(4),
                    end: Position(5),
                    round: 6,
                    missing: true,
                },
                &[5, 0xac, 2, 2, 4, 5, 6, 1],
            ),
            (Message::Stale { epoch }, &[6, 0xac, 2]),
            (Message::Behind { epoch, high_watermark: Position(9) }, &[7, 0xac, 2, 9]),
            (Message::Leaving { epoch }, &[8, 0xac, 2]),
        ]
    }

    #[test]
    fn the_bytes_stay_as_they_are_and_every_cut_of_them_is_refused() {
        for (message, bytes) in messages() {
            assert_eq!(message.to_bytes(), bytes, "{message:?}");
            assert_eq!(Message::from_bytes(Bytes::from_static(bytes)).as_ref(), Ok(&message));
            for cut in 0..bytes.len() {
                assert!(Message::from_bytes(Bytes::from_static(&bytes[..cut])).is_err(), "{message:?} {cut}");
            }
        }
        assert!(Message::from_bytes(Bytes::from_static(&[0, 1])).is_err());
        assert!(Message::from_bytes(Bytes::from_static(&[9, 1])).is_err());
    }

    #[test]
    fn bodies_are_parts_of_what_came_and_a_length_that_lies_takes_no_memory() {
        let (push, _) = messages().swap_remove(3);
        let frame = push.to_bytes();
        let Ok(Message::Push(read)) = Message::from_bytes(frame.clone()) else { panic!("a push") };
        let body = read.entries[0].body.as_ptr_range();
        assert!(frame.as_ptr_range().start < body.start && body.end < frame.as_ptr_range().end);

        let mut lie = vec![4, 1, 1, 1, 1];
        u64::MAX.put(&mut lie);
        assert!(Message::from_bytes(lie.into()).is_err());
    }

    #[test]
    fn the_weight_covers_the_encoding() {
        for (message, bytes) in messages() {
            assert!(message.weight_bytes() >= bytes.len(), "{message:?}");
        }
    }
}
