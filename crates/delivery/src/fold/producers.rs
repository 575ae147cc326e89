//! Idempotent producer sessions of one stream (guarantee P2).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use pondage_model::{
    LogTime, Offset, ProducerId, Refusal,
    entry::ProducerStamp,
    limits,
    planted::{self, Fault},
    wire::{Malformed, Wire},
    wire_struct,
};

/// Sequences run from 0 to this and start again, as in Kafka.
const SEQUENCE_MAX: u32 = i32::MAX as u32;

/// The sequence `count` after `first`.
const fn advanced(first: u32, count: u32) -> u32 {
    first.wrapping_add(count) & SEQUENCE_MAX
}

/// What to do with a stamped batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It continues its session.
    Append,
    /// It begins a session that the stream does not know.
    Begin,
    /// It is stored already, at this offset.
    Repeat(Offset),
}

/// A batch that a repeat is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    first_sequence: u32,
    count: u32,
    base_offset: Offset,
}
wire_struct!(Batch { first_sequence, count, base_offset });

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    epoch: u32,
    /// The last batches, oldest first; never empty.
    batches: VecDeque<Batch>,
    last_used: LogTime,
}
wire_struct!(Session { epoch, batches, last_used });

impl Session {
    fn next_sequence(&self) -> u32 {
        self.batches.back().map_or(0, |batch| advanced(batch.first_sequence, batch.count))
    }
}

/// The sessions of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    sessions: BTreeMap<ProducerId, Session>,
    by_last_used: BTreeSet<(LogTime, ProducerId)>,
}

impl Producers {
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The session that has been idle for longest, and since when.
    pub(crate) fn idlest(&self) -> Option<(LogTime, ProducerId)> {
        self.by_last_used.first().copied()
    }

    /// Sessions last used at or before `time`, idlest first.
    pub(crate) fn idle_since(&self, time: LogTime) -> impl Iterator<Item = ProducerId> + '_ {
        self.by_last_used.iter().take_while(move |(used, _)| *used <= time).map(|&(_, producer)| producer)
    }

    /// Judges a batch of `count` messages.
    pub(crate) fn judge(&self, stamp: ProducerStamp, count: u32) -> Result<Verdict, Refusal> {
        let ProducerStamp { producer, epoch, first_sequence: got } = stamp;
        if got > SEQUENCE_MAX {
            return Err(Refusal::InvalidArgument {
                what: format!("a sequence is at most {SEQUENCE_MAX}, not {got}"),
            });
        }
        let Some(session) = self.sessions.get(&producer) else {
            return if got == 0 { Ok(Verdict::Begin) } else { Err(Refusal::UnknownProducer { producer }) };
        };
        if epoch < session.epoch && planted::is(Fault::IgnoreProducerEpoch) {
            return Ok(Verdict::Append);
        }
        if epoch < session.epoch {
            return Err(Refusal::ProducerFenced { producer, current: session.epoch });
        }
        let expected = if epoch > session.epoch { 0 } else { session.next_sequence() };
        if epoch == session.epoch
            && let Some(batch) =
                session.batches.iter().find(|batch| batch.first_sequence == got && batch.count == count)
        {
            return Ok(Verdict::Repeat(batch.base_offset));
        }
        let follows = got == expected || planted::is(Fault::IgnoreSequenceGap);
        if follows { Ok(Verdict::Append) } else { Err(Refusal::OutOfOrder { expected, got }) }
    }

    /// Folds a stored batch.
    pub(crate) fn record(&mut self, stamp: ProducerStamp, count: u32, base_offset: Offset, time: LogTime) {
        let fresh = || Session { epoch: stamp.epoch, batches: VecDeque::new(), last_used: time };
        let session = self.sessions.entry(stamp.producer).or_insert_with(fresh);
        self.by_last_used.remove(&(session.last_used, stamp.producer));
        if session.epoch != stamp.epoch {
            *session = fresh();
        }
        session.last_used = time;
        session.batches.push_back(Batch { first_sequence: stamp.first_sequence, count, base_offset });
        if session.batches.len() > limits::PRODUCER_BATCHES_REMEMBERED {
            session.batches.pop_front();
        }
        self.by_last_used.insert((time, stamp.producer));
    }

    /// Folds the end of a session.
    pub(crate) fn forget(&mut self, producer: ProducerId) {
        if let Some(session) = self.sessions.remove(&producer) {
            self.by_last_used.remove(&(session.last_used, producer));
        }
    }
}

impl Wire for Producers {
    fn put(&self, out: &mut Vec<u8>) {
        self.sessions.put(out);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let sessions = BTreeMap::<ProducerId, Session>::take(input)?;
        let by_last_used =
            sessions.iter().map(|(producer, session)| (session.last_used, *producer)).collect();
        Ok(Self { sessions, by_last_used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(epoch: u32, first_sequence: u32) -> ProducerStamp {
        ProducerStamp { producer: ProducerId(7), epoch, first_sequence }
    }

    #[test]
    fn every_stamp_gets_the_answer_of_the_table() {
        let mut producers = Producers::default();
        let producer = ProducerId(7);
        assert_eq!(producers.judge(stamp(1, 0), 3), Ok(Verdict::Begin));
        assert_eq!(producers.judge(stamp(1, 4), 3), Err(Refusal::UnknownProducer { producer }));
        for batch in 0..7 {
            producers.record(stamp(1, batch * 3), 3, Offset(u64::from(batch) * 10), LogTime(1));
        }
        for (stamp, count, expected) in [
            (stamp(1, 21), 2, Ok(Verdict::Append)),
            (stamp(1, 18), 3, Ok(Verdict::Repeat(Offset(60)))),
            (stamp(1, 6), 3, Ok(Verdict::Repeat(Offset(20)))),
            (stamp(1, 3), 3, Err(Refusal::OutOfOrder { expected: 21, got: 3 })),
            (stamp(1, 18), 4, Err(Refusal::OutOfOrder { expected: 21, got: 18 })),
            (stamp(1, 24), 3, Err(Refusal::OutOfOrder { expected: 21, got: 24 })),
            (stamp(0, 21), 3, Err(Refusal::ProducerFenced { producer, current: 1 })),
            (stamp(2, 0), 1, Ok(Verdict::Append)),
            (stamp(2, 21), 3, Err(Refusal::OutOfOrder { expected: 0, got: 21 })),
        ] {
            assert_eq!(producers.judge(stamp, count), expected, "{stamp:?} × {count}");
        }
        assert!(matches!(producers.judge(stamp(1, u32::MAX), 1), Err(Refusal::InvalidArgument { .. })));
        assert_eq!(Producers::from_bytes(producers.to_bytes()), Ok(producers.clone()));
        producers.forget(producer);
        assert_eq!(producers, Producers::default());
    }

    #[test]
    fn sequences_wrap_behind_the_greatest() {
        let mut producers = Producers::default();
        producers.record(stamp(1, SEQUENCE_MAX - 1), 2, Offset(0), LogTime(1));
        assert_eq!(producers.judge(stamp(1, 0), 1), Ok(Verdict::Append));
        producers.record(stamp(1, SEQUENCE_MAX), 3, Offset(2), LogTime(1));
        assert_eq!(producers.judge(stamp(1, 2), 1), Ok(Verdict::Append));
    }
}
