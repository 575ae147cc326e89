//! One partition's batches, in order.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pondage_model::{
    ProducerId, Refusal,
    record::{Batch as RecordBatch, BatchBuilder, RecordDraft, sequence_after},
};

use crate::{ClientError, Message, PublisherOptions, options::millis, unary::push_message};

/// One stream to one broker; never the same number for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link(pub(super) u64);

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be sent, for the first time or again.
    Waiting,
    /// Sent with this request, and not yet answered.
    InFlight(u64),
}

/// Messages that travel together.
pub(super) struct Batch<W> {
    pub(super) stage: Stage,
    /// The batch as it was sent; empty before the first time, when it gets its sequence.
    pub(super) bytes: Bytes,
    /// Who waits for the messages, in order.
    pub(super) waiters: Vec<W>,
    /// A try ended so that it may have been stored.
    pub(super) unknown: bool,
    /// It is not tried beyond.
    pub(super) deadline: Instant,
    pub(super) last_error: Option<ClientError>,
    pub(super) delay_millis: Option<u64>,
    pub(super) ttl_millis: Option<u64>,
    /// Sequence of its first message, once it was sent.
    first_sequence: Option<u32>,
    /// Its place among the batches of the lane that were sent.
    ordinal: Option<u64>,
    /// A batch before it ended without being stored: it needs that one's sequence.
    renumber: bool,
    /// Collects the messages until the first time.
    builder: Option<BatchBuilder>,
    opened: Instant,
    /// Nothing is added any more.
    sealed: bool,
}

/// One partition's batches that are not acknowledged, in order.
pub(super) struct Lane<W> {
    pub(super) batches: VecDeque<Batch<W>>,
    /// A batch failed: nothing is sent until everything in flight has come back.
    pub(super) recovering: bool,
    /// Nothing is sent before.
    pub(super) retry_at: Option<Instant>,
    /// The stream to the partition's leader, as far as it is known. It changes only while nothing is in flight, so
    /// that no batch overtakes another.
    pub(super) link: Option<Link>,
    /// That broker said that it does not serve the partition any more.
    pub(super) misplaced: bool,
    /// The sequence of the next batch that is sent for the first time.
    next_sequence: u32,
    /// How many batches were sent.
    sent: u64,
}

impl<W> Default for Lane<W> {
    fn default() -> Self {
        Self {
            batches: VecDeque::new(),
            recovering: false,
            retry_at: None,
            link: None,
            misplaced: false,
            next_sequence: 0,
            sent: 0,
        }
    }
}

impl<W> Lane<W> {
    /// Adds a message; says whether its batch is full. A message that fits into no batch is handed back.
    pub(super) fn push(
        &mut self,
        now: Instant,
        message: &Message,
        waiter: W,
        options: &PublisherOptions,
    ) -> Result<bool, (W, Refusal)> {
        let delay_millis = message.delay.map(millis);
        let ttl_millis = message.ttl.map(millis);
        if let Some(last) = self.batches.back_mut().filter(|last| !last.sealed) {
            let builder = last.builder.as_mut().filter(|builder| {
                (last.delay_millis, last.ttl_millis) == (delay_millis, ttl_millis)
                    && builder.bytes_estimate().saturating_add(message.bytes()) <= options.batch_bytes
            });
            if let Some(builder) = builder
                && push_message(builder, message).is_ok()
            {
                last.sealed = builder.bytes_estimate() >= options.batch_bytes
                    || builder.len() >= options.batch_messages;
                last.waiters.push(waiter);
                return Ok(last.sealed);
            }
            last.sealed = true;
        }
        let mut builder = BatchBuilder::new(options.compression);
        if let Err(refusal) = push_message(&mut builder, message) {
            return Err((waiter, refusal));
        }
        let sealed = builder.bytes_estimate() >= options.batch_bytes || options.batch_messages <= 1;
        self.batches.push_back(Batch {
            stage: Stage::Waiting,
            bytes: Bytes::new(),
            waiters: vec![waiter],
            unknown: false,
            deadline: now + options.delivery_timeout,
            last_error: None,
            delay_millis,
            ttl_millis,
            first_sequence: None,
            ordinal: None,
            renumber: false,
            builder: Some(builder),
            opened: now,
            sealed,
        });
        Ok(sealed)
    }

    pub(super) fn seal(&mut self) {
        if let Some(last) = self.batches.back_mut() {
            last.sealed = true;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.batches.iter().filter(|batch| batch.stage != Stage::Waiting).count()
    }

    pub(super) fn index_of(&self, request: u64) -> Option<usize> {
        self.batches.iter().position(|batch| batch.stage == Stage::InFlight(request))
    }

    fn first_waiting(&self) -> Option<&Batch<W>> {
        self.batches.iter().find(|batch| batch.stage == Stage::Waiting)
    }

    /// Whether a batch may be sent now, so that no more than `window` batches lie between it and the oldest that is
    /// not acknowledged, itself included.
    pub(super) fn may_send(&self, now: Instant, window: usize, linger: Duration) -> bool {
        // Batches behind the oldest count even if they are acknowledged: the broker remembers only so many, and it
        // has to know the oldest if that is sent again.
        let oldest = self.batches.front().and_then(|batch| batch.ordinal).unwrap_or(self.sent);
        let has_room = |batch: &Batch<W>| batch.ordinal.unwrap_or(self.sent) - oldest < window as u64;
        !self.recovering
            && self.retry_at.is_none_or(|at| at <= now)
            && self.first_waiting().is_some_and(has_room)
            && self.first_waiting().is_some_and(|batch| batch.sealed || batch.opened + linger <= now)
    }

    /// When something is to be done though nothing happens; always behind `now`.
    pub(super) fn next_wakeup(&self, now: Instant, linger: Duration) -> Option<Instant> {
        let waiting = self.first_waiting()?;
        let lingers = (!waiting.sealed).then_some(waiting.opened + linger);
        [Some(waiting.deadline), lingers, self.retry_at].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// The first batch that waits, ready to be sent. The refusal is about that batch.
    pub(super) fn next_to_send(
        &mut self,
        session: Option<(ProducerId, u32)>,
    ) -> Result<&mut Batch<W>, Refusal> {
        let batch = self
            .batches
            .iter_mut()
            .find(|batch| batch.stage == Stage::Waiting)
            .expect("only a lane with a waiting batch is asked");
        batch.sealed = true;
        if batch.ordinal.is_none() {
            batch.ordinal = Some(self.sent);
            self.sent += 1;
        }
        let builder = match batch.builder.take() {
            Some(builder) => Some(builder),
            None if batch.renumber => Some(unpack(&batch.bytes)?),
            None => None,
        };
        if let Some(mut builder) = builder {
            let count = builder.len();
            if let Some((producer, epoch)) = session {
                builder = builder.producer(producer, epoch, self.next_sequence);
                batch.first_sequence = Some(self.next_sequence);
            }
            batch.bytes = builder.build()?;
            batch.renumber = false;
            self.next_sequence = sequence_after(self.next_sequence, count);
        }
        Ok(batch)
    }

    /// What was in flight may have been stored. True if the session can't go on: a batch that may have been stored
    /// would have to change its sequence.
    pub(super) fn lost(&mut self) -> bool {
        self.recovering = false;
        self.misplaced = false;
        self.link = None;
        let mut is_fatal = false;
        for batch in self.batches.iter_mut().filter(|batch| batch.stage != Stage::Waiting) {
            batch.stage = Stage::Waiting;
            batch.unknown = true;
            is_fatal |= batch.renumber;
        }
        is_fatal
    }

    /// Takes out a batch that ended without being stored: those behind it move up in the sequence. False if one of
    /// them may have been stored, so that its sequence can't change.
    pub(super) fn drop_refused(&mut self, index: usize) -> (Option<Batch<W>>, bool) {
        let dropped = self.batches.remove(index);
        let Some(sequence) = dropped.as_ref().and_then(|batch| batch.first_sequence) else {
            return (dropped, true);
        };
        self.next_sequence = sequence;
        let mut is_safe = true;
        for batch in self.batches.range_mut(index..).filter(|batch| batch.first_sequence.is_some()) {
            batch.renumber = true;
            is_safe &= !batch.unknown;
        }
        (dropped, is_safe)
    }
}

impl<W> Batch<W> {
    /// Whether a gap in the sequence before it explains its refusal.
    pub(super) const fn needs_renumbering(&self) -> bool {
        self.renumber
    }
}

/// The messages of a batch, to be numbered anew.
fn unpack(bytes: &Bytes) -> Result<BatchBuilder, Refusal> {
    let batch = RecordBatch::parse(bytes.clone())?;
    let mut builder = BatchBuilder::new(batch.compression());
    for record in batch.records()? {
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(key, value)| (key.as_ref(), value.as_deref())).collect();
        builder.push(&RecordDraft {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            timestamp_millis: record.timestamp_millis,
        })?;
    }
    Ok(builder)
}
