//! Gathers messages into batches and keeps their order through retries. It does no I/O and reads no clock: its
//! owner tells it what happened, sends what [`Lanes::next_request`] gives, and delivers what [`Lanes::take_ended`] gives.
//!
//! Each partition is a lane of batches in order, and each lane goes to the stream of its leader. A lane goes forward until one of its batches fails; then nothing
//! of it is sent until everything in flight of it has come back, and what is left begins again in order. So a batch
//! is never overtaken by a later one of its lane, and in an idempotent session the sequences stay gapless.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use pondage_model::{Code, Offset, Outcome, ProducerId, Refusal, limits};
use pondage_protocol::v1;

use super::lane::{Batch, Lane, Link, Stage};
use crate::{Ack, ClientError, Message, PublisherOptions, partitioner::partition_of_key, retry::Waits};

/// The lanes of one publisher. `W` is whatever waits for a message's acknowledgement.
pub(super) struct Lanes<W> {
    target: String,
    options: PublisherOptions,
    waits: Waits,
    session: Option<(ProducerId, u32)>,
    lanes: Vec<Lane<W>>,
    /// The lane that messages without a key go to until its batch is sealed.
    sticky: usize,
    /// Lanes with anything in them.
    busy: BTreeSet<usize>,
    /// The streams that are open, by their requests in flight: request → (lane, when it was sent).
    links: BTreeMap<Link, BTreeMap<u64, (usize, Instant)>>,
    next_request: u64,
    /// Where the search for a lane that may send begins.
    next_lane: usize,
    ended_with: Option<ClientError>,
    ended: VecDeque<(W, Result<Ack, ClientError>)>,
}

impl<W> Lanes<W> {
    /// Lanes for a target with so many partitions, in an idempotent session if one is given.
    pub(super) fn new(
        target: String,
        partitions: u32,
        session: Option<(ProducerId, u32)>,
        options: PublisherOptions,
        waits: Waits,
    ) -> Self {
        let count = partitions.max(1) as usize;
        // Publishers begin with different partitions.
        let sticky = session.map_or(0, |(producer, _)| (producer.get() % count as u64) as usize);
        Self {
            target,
            options,
            waits,
            session,
            lanes: std::iter::repeat_with(Lane::default).take(count).collect(),
            sticky,
            busy: BTreeSet::new(),
            links: BTreeMap::new(),
            next_request: 0,
            next_lane: 0,
            ended_with: None,
            ended: VecDeque::new(),
        }
    }

    /// Takes a message. What is wrong with it ends it at once.
    pub(super) fn push(&mut self, now: Instant, message: &Message, waiter: W) {
        if let Some(error) = &self.ended_with {
            return self.ended.push_back((waiter, Err(error.clone().with_outcome(Outcome::Definite))));
        }
        let lane = match (message.partition, &message.key) {
            (Some(partition), _) => partition as usize,
            (None, Some(key)) => partition_of_key(key, self.lanes.len() as u32) as usize,
            (None, None) => self.sticky,
        };
        let Some(target) = self.lanes.get_mut(lane) else {
            let what = format!("partition: {lane} is outside 0 to {}", self.lanes.len() - 1);
            return self.ended.push_back((waiter, Err(Refusal::InvalidArgument { what }.into())));
        };
        match target.push(now, message, waiter, &self.options) {
            Ok(sealed) => {
                self.busy.insert(lane);
                if sealed {
                    self.rotate_sticky(lane);
                }
            }
            Err((waiter, refusal)) => self.ended.push_back((waiter, Err(refusal.into()))),
        }
    }

    /// Seals what waits for more messages, so that it goes out without lingering.
    pub(super) fn flush(&mut self) {
        for lane in &self.busy {
            self.lanes[*lane].seal();
        }
    }

    /// Partitions with something to send whose stream is not known.
    pub(super) fn unplaced(&self) -> Vec<u32> {
        let unplaced = self.busy.iter().filter(|lane| self.lanes[**lane].link.is_none());
        unplaced.map(|lane| *lane as u32).collect()
    }

    /// The partition's batches go to this stream. Only for one that [`Lanes::unplaced`] named.
    pub(super) fn place(&mut self, partition: u32, link: Link) {
        if let Some(lane) = self.lanes.get_mut(partition as usize) {
            lane.link = Some(link);
        }
    }

    /// Who asks knows no leader for what is unplaced, and no later one will be found: it ends.
    pub(super) fn refuse_unplaced(&mut self, error: &ClientError) {
        for lane in self.unplaced() {
            let lane = lane as usize;
            while let Some(batch) = self.lanes[lane].batches.front() {
                if batch.unknown && self.session.is_some() {
                    return self.end(error);
                }
                let outcome = if batch.unknown { Outcome::Unknown } else { Outcome::Definite };
                self.drop_refused(lane, 0, &error.clone().with_outcome(outcome));
            }
            self.settle_lane(lane);
        }
    }

    /// The stream is open: what goes there and is not acknowledged goes out again, in order.
    pub(super) fn connected(&mut self, link: Link) {
        self.links.entry(link).or_default();
        for lane in &self.busy {
            let lane = &mut self.lanes[*lane];
            if lane.link == Some(link) {
                lane.retry_at = None;
            }
        }
    }

    /// The stream is lost: what was in flight on it may have been stored.
    pub(super) fn disconnected(&mut self, link: Link) {
        self.links.remove(&link);
        let mut is_fatal = false;
        for lane in self.lanes.iter_mut().filter(|lane| lane.link == Some(link)) {
            is_fatal |= lane.lost();
        }
        if is_fatal && self.session.is_some() {
            self.end(&Refusal::Timeout.into());
        }
    }

    /// Whether the stream is still the way to any partition.
    pub(super) fn is_used(&self, link: Link) -> bool {
        self.lanes.iter().any(|lane| lane.link == Some(link))
    }

    /// The next request to send on a stream, if any may be sent now.
    pub(super) fn next_request(&mut self, now: Instant, link: Link) -> Option<v1::PublishStreamRequest> {
        loop {
            let lane = self.next_lane(now, link)?;
            match self.lanes[lane].next_to_send(self.session) {
                Ok(batch) => {
                    let request_id = self.next_request;
                    batch.stage = Stage::InFlight(request_id);
                    let publish = v1::PublishRequest {
                        target: self.target.clone(),
                        partition: Some(lane as u32),
                        batch: batch.bytes.clone(),
                        delay_millis: batch.delay_millis,
                        ttl_millis: batch.ttl_millis,
                    };
                    self.next_request += 1;
                    self.next_lane = lane + 1;
                    self.links.entry(link).or_default().insert(request_id, (lane, now));
                    self.rotate_sticky(lane);
                    return Some(v1::PublishStreamRequest { request_id, publish: Some(publish) });
                }
                Err(refusal) => {
                    let waiting = |batch: &Batch<W>| batch.stage == Stage::Waiting;
                    if let Some(index) = self.lanes[lane].batches.iter().position(waiting) {
                        self.drop_refused(lane, index, &refusal.into());
                    }
                    self.settle_lane(lane);
                }
            }
        }
    }

    /// The lane whose turn it is, if any may send.
    fn next_lane(&self, now: Instant, link: Link) -> Option<usize> {
        let in_flight = self.links.get(&link)?;
        if self.ended_with.is_some() || in_flight.len() >= self.options.in_flight {
            return None;
        }
        let per_lane = match self.session {
            // The broker recognises a repeat among so many batches.
            Some(_) => limits::PRODUCER_BATCHES_REMEMBERED,
            None => self.options.in_flight,
        };
        let in_turn = self.busy.range(self.next_lane..).chain(self.busy.range(..self.next_lane));
        in_turn.copied().find(|lane| {
            let lane = &self.lanes[*lane];
            lane.link == Some(link) && lane.may_send(now, per_lane, self.options.linger)
        })
    }

    /// The partition that a request in flight is for.
    pub(super) fn partition_of(&self, link: Link, request_id: u64) -> Option<u32> {
        let (lane, _) = self.links.get(&link)?.get(&request_id)?;
        Some(*lane as u32)
    }

    /// A request was answered.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        link: Link,
        request_id: u64,
        answer: Result<v1::PublishResponse, ClientError>,
    ) {
        // An answer of a stream that is lost, or of a batch that ended meanwhile, says nothing any more.
        let in_flight = self.links.get_mut(&link).and_then(|requests| requests.remove(&request_id));
        let Some((lane, _)) = in_flight else { return };
        let Some(index) = self.lanes[lane].index_of(request_id) else { return };
        match answer {
            Ok(response) => {
                self.waits.reset();
                let batch = self.lanes[lane].batches.remove(index).expect("the index was found");
                self.acknowledge(batch, &response);
            }
            Err(error) => self.refused(now, lane, index, error),
        }
        self.settle_lane(lane);
    }

    fn refused(&mut self, now: Instant, lane: usize, index: usize, error: ClientError) {
        let is_ordered = self.session.is_some();
        let state = &mut self.lanes[lane];
        let batch = &mut state.batches[index];
        // Behind a batch that failed or is on its way, a gap in the sequence is no fault of this one.
        let is_behind = index > 0 || batch.needs_renumbering();
        let is_gap = error.is(Code::OutOfOrder) || error.is(Code::UnknownProducer);
        if error.retriable() || (is_ordered && is_gap && is_behind) {
            batch.unknown |= error.outcome() == Outcome::Unknown;
            batch.stage = Stage::Waiting;
            state.misplaced |= error.is_of_broker();
            let is_fatal = batch.unknown && batch.needs_renumbering();
            batch.last_error = Some(error);
            state.recovering = true;
            state.retry_at = Some(now + self.waits.next());
            if is_ordered && is_fatal {
                self.end(&Refusal::Timeout.into());
            }
        } else if is_ordered && (is_gap || error.is(Code::Fenced) || batch.unknown) {
            // Never a silent retry in another session: only the caller knows what to send again.
            self.end(&error);
        } else {
            state.recovering = true;
            self.drop_refused(lane, index, &error);
        }
    }

    /// Ends what has been tried for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let busy: Vec<usize> = self.busy.iter().copied().collect();
        for lane in busy {
            while let Some(batch) = self.lanes[lane].batches.front()
                && batch.deadline <= now
                && batch.stage == Stage::Waiting
            {
                let error = batch.last_error.clone().unwrap_or_else(|| Refusal::Timeout.into());
                if batch.unknown && self.session.is_some() {
                    return self.end(&error);
                }
                let outcome = if batch.unknown { Outcome::Unknown } else { Outcome::Definite };
                self.drop_refused(lane, 0, &error.with_outcome(outcome));
            }
            self.settle_lane(lane);
        }
    }

    /// When the request that has been in flight on a stream for longest was sent.
    pub(super) fn oldest_sent(&self, link: Link) -> Option<Instant> {
        self.links.get(&link)?.first_key_value().map(|(_, (_, sent))| *sent)
    }

    /// When something is to be done though nothing happens; always behind `now`.
    pub(super) fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        self.busy.iter().filter_map(|lane| self.lanes[*lane].next_wakeup(now, self.options.linger)).min()
    }

    /// Messages that ended, with those who wait for them.
    pub(super) fn take_ended(&mut self) -> impl Iterator<Item = (W, Result<Ack, ClientError>)> {
        self.ended.drain(..)
    }

    /// Whether every message has ended.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }

    /// Ends everything: batches that may have been stored as unknown, the rest as definite.
    pub(super) fn end(&mut self, error: &ClientError) {
        self.ended_with = Some(error.clone());
        self.links.values_mut().for_each(BTreeMap::clear);
        for lane in std::mem::take(&mut self.busy) {
            for batch in std::mem::take(&mut self.lanes[lane].batches) {
                let may_be_stored = batch.unknown || batch.stage != Stage::Waiting;
                let outcome = if may_be_stored { Outcome::Unknown } else { Outcome::Definite };
                self.fail(batch, &error.clone().with_outcome(outcome));
            }
        }
    }

    /// Ends a batch that was not stored; those behind it go on, if they can.
    fn drop_refused(&mut self, lane: usize, index: usize, error: &ClientError) {
        let (batch, is_safe) = self.lanes[lane].drop_refused(index);
        if let Some(batch) = batch {
            self.fail(batch, error);
        }
        if !is_safe && self.session.is_some() {
            self.end(error);
        }
    }

    /// The lane goes on, or has nothing left.
    fn settle_lane(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        if state.in_flight() == 0 {
            state.recovering = false;
            if std::mem::take(&mut state.misplaced) {
                state.link = None;
            }
        }
        if state.is_empty() {
            state.retry_at = None;
            self.busy.remove(&lane);
        }
    }

    fn acknowledge(&mut self, batch: Batch<W>, response: &v1::PublishResponse) {
        for (index, waiter) in batch.waiters.into_iter().enumerate() {
            let offset = Offset(response.base_offset.saturating_add(index as u64));
            let ack = Ack { partition: response.partition, offset, already: response.duplicate };
            self.ended.push_back((waiter, Ok(ack)));
        }
    }

    fn fail(&mut self, batch: Batch<W>, error: &ClientError) {
        self.ended.extend(batch.waiters.into_iter().map(|waiter| (waiter, Err(error.clone()))));
    }

    fn rotate_sticky(&mut self, lane: usize) {
        if lane == self.sticky {
            self.sticky = (self.sticky + 1) % self.lanes.len();
        }
    }
}
