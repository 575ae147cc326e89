//! The fold as bytes: what a log may be cut behind.

use bytes::Bytes;
use pondage_model::{
    LogTime, StreamId,
    entry::{CheckpointPage, Move},
    limits::CHECKPOINT_PAGE_BYTES_MAX,
    planted::{self, Fault},
    wire::{Malformed, Wire},
};

use super::{
    ShardState,
    ages::Ages,
    message::{Message, Place, State},
    queue::Queue,
    stream::{Kind, Stream},
};

/// The version of the encoding. (1 was without what groups count, 2 without shared groups.)
const VERSION: u8 = 3;

impl ShardState {
    /// The state as pages of at most [`CHECKPOINT_PAGE_BYTES_MAX`] bytes, at least one.
    ///
    /// # Panics
    /// If the state fills 2^32 pages, which no memory holds.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<CheckpointPage> {
        let mut out = vec![VERSION];
        (self.streams.len() as u64).put(&mut out);
        for (id, stream) in &self.streams {
            id.put(&mut out);
            stream.put_into(&mut out);
        }
        let bytes = Bytes::from(out);
        let total = bytes.len().div_ceil(CHECKPOINT_PAGE_BYTES_MAX);
        let total = u32::try_from(total).expect("a state in memory has fewer than 2^32 pages");
        (0..total)
            .map(|index| {
                let first = index as usize * CHECKPOINT_PAGE_BYTES_MAX;
                let end = bytes.len().min(first + CHECKPOINT_PAGE_BYTES_MAX);
                CheckpointPage { index, total, bytes: bytes.slice(first..end) }
            })
            .collect()
    }

    /// The state whose checkpoint the pages are, in order.
    ///
    /// # Errors
    /// [`Malformed`] if pages are missing, mixed up, or hold no state.
    pub fn restore(pages: Vec<CheckpointPage>) -> Result<Self, Malformed> {
        let mut joined = Vec::with_capacity(pages.iter().map(|page| page.bytes.len()).sum());
        let count = pages.len();
        for (index, page) in pages.into_iter().enumerate() {
            if page.index as usize != index || page.total as usize != count {
                return Err(Malformed("checkpoint pages missing or out of order"));
            }
            joined.extend_from_slice(&page.bytes);
        }
        let mut input = Bytes::from(joined);
        if u8::take(&mut input)? != VERSION {
            return Err(Malformed("unknown version of a checkpoint"));
        }
        let mut state = Self::default();
        let count = u64::take(&mut input)?;
        for _ in 0..count {
            let id = StreamId::take(&mut input)?;
            let stream = Stream::restore(&mut input)?;
            if state.streams.insert(id, stream).is_some() {
                return Err(Malformed("a stream twice"));
            }
            state.note_moves(id);
        }
        let shares: Vec<StreamId> = state.streams.keys().copied().collect();
        shares.into_iter().for_each(|id| state.note_share(id));
        if input.is_empty() { Ok(state) } else { Err(Malformed("bytes left over")) }
    }
}

impl Stream {
    fn put_into(&self, out: &mut Vec<u8>) {
        self.open.put(out);
        self.opened_at.put(out);
        self.clock.put(out);
        self.end.put(out);
        self.producers.put(out);
        self.moved_in.put(out);
        self.counters.put(out);
        self.ages.samples().put(out);
        match &self.kind {
            Kind::Queue(queue) => queue.put_into(out),
            Kind::Topic(topic) => topic.put(out),
            Kind::Home(home) => home.put(out),
        }
    }

    fn restore(input: &mut Bytes) -> Result<Self, Malformed> {
        let mut stream = Self::new(Wire::take(input)?, Wire::take(input)?);
        stream.clock = Wire::take(input)?;
        stream.end = Wire::take(input)?;
        stream.producers = Wire::take(input)?;
        if planted::is(Fault::ForgetProducers) {
            stream.producers = super::producers::Producers::default();
        }
        stream.moved_in = Wire::take(input)?;
        if planted::is(Fault::ForgetDeadLetterOrigin) {
            stream.moved_in.clear();
        }
        stream.counters = Wire::take(input)?;
        stream.ages = Ages::from_samples(Wire::take(input)?)?;
        stream.kind = match &stream.kind {
            Kind::Queue(_) => Kind::Queue(Box::new(Queue::restore(input, stream.end.0, stream.clock)?)),
            Kind::Topic(_) => Kind::Topic(Wire::take(input)?),
            Kind::Home(_) => Kind::Home(Wire::take(input)?),
        };
        if stream.start() > stream.end {
            return Err(Malformed("a stream that starts behind its end"));
        }
        Ok(stream)
    }
}

impl Queue {
    /// Restores what [`Queue::put_into`] wrote, for a stream that ends at `end` and whose clock is `clock`.
    fn restore(input: &mut Bytes, end: u64, clock: LogTime) -> Result<Self, Malformed> {
        let mut queue = Self {
            fresh: Wire::take(input)?,
            scheduled: Wire::take(input)?,
            expiry: Wire::take(input)?,
            last_move: Wire::take(input)?,
            ended: Wire::take(input)?,
            base: Wire::take(input)?,
            ..Self::default()
        };
        if planted::is(Fault::ForgetDelay) {
            let scheduled = std::mem::take(&mut queue.scheduled);
            scheduled.iter_within(0..u64::MAX).for_each(|run| queue.fresh.insert(run));
        }
        let moves = Vec::<Move>::take(input)?;
        for (offset, message) in Vec::<(u64, Message)>::take(input)? {
            if offset >= end || queue.place(offset) != Place::Settled {
                return Err(Malformed("a message in two places"));
            }
            let failures = if planted::is(Fault::ForgetFailures) { 0 } else { message.failures };
            queue.put(offset, Message { failures, ..message });
        }
        for moved in moves {
            let known = queue.touched.get(&moved.offset.0).map(|message| message.state);
            if known != Some(State::Moving(moved.seq)) || moved.seq > queue.last_move {
                return Err(Malformed("a move without its message"));
            }
            queue.moves.insert(moved.seq, moved);
        }
        let moving = queue.touched.len() as u64 - queue.waiting.len() - queue.leased.len();
        let twice = queue.fresh.iter().any(|run| queue.scheduled.iter_within(run).next().is_some());
        let ends = [queue.fresh.end(), queue.scheduled.end(), queue.expiry.end()];
        if moving != queue.moves.len() as u64 || twice || ends.into_iter().flatten().any(|last| last > end) {
            return Err(Malformed("messages that can not be"));
        }
        queue.advance(clock);
        Ok(queue)
    }

    /// Encodes the queue for a checkpoint; indexes are left out.
    fn put_into(&self, out: &mut Vec<u8>) {
        self.fresh.put(out);
        self.scheduled.put(out);
        self.expiry.put(out);
        self.last_move.put(out);
        self.ended.put(out);
        self.base.put(out);
        (self.moves.len() as u64).put(out);
        for moved in self.moves.values() {
            moved.put(out);
        }
        self.touched.put(out);
    }
}
