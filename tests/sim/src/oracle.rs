//! What the clients were told, and the guarantees checked against it. Outcomes have three values: yes, no, unknown.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{Lease, Offset, StreamId};

/// A message's name for life: its value.
pub(crate) type MessageId = u64;

/// What is known of one message.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// Its publisher and its number there, for the order of a session.
    pub(crate) publisher: usize,
    pub(crate) number: u64,
    /// Whether its session is idempotent: stored at most once.
    pub(crate) idempotent: bool,
    /// How often it was sent; more than one send of a plain publisher may store it more than once.
    pub(crate) sends: u32,
    /// Where it was acknowledged to be.
    pub(crate) acknowledged: Option<(StreamId, Offset)>,
    /// Where it was seen.
    pub(crate) places: BTreeSet<(StreamId, Offset)>,
    /// It has a time to live, so it may end without a consumer.
    pub(crate) may_expire: bool,
    /// Not to be granted before, in simulated microseconds.
    pub(crate) not_before_micros: u64,
}

/// What is known of one stored message.
#[derive(Debug, Default)]
struct Place {
    message: MessageId,
    last_lease: Option<Lease>,
    /// A consumer was told that its accept, or its reject, is done.
    settled: bool,
    /// A consumer asked for it and was not told.
    settle_unknown: bool,
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) messages: BTreeMap<MessageId, Message>,
    places: BTreeMap<(StreamId, Offset), Place>,
    /// The dead-letter queue's stream and its source.
    pub(crate) dead: Option<(StreamId, StreamId)>,
    accepted: u64,
    /// The highest number of a session that a reader saw, by stream and publisher.
    orders: BTreeMap<(StreamId, usize), u64>,
    /// Committed offsets that a group member was told, by stream.
    cursors: BTreeMap<StreamId, Offset>,
    pub(crate) violation: Option<String>,
}

impl Oracle {
    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.messages.values().filter(|message| message.acknowledged.is_some()).count() as u64
    }

    pub(crate) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The publisher was told that its message is at this place.
    pub(crate) fn acknowledge(&mut self, id: MessageId, stream: StreamId, offset: Offset) {
        self.seen(id, stream, offset);
        let Some(message) = self.messages.get_mut(&id) else { return };
        message.acknowledged = Some((stream, offset));
    }

    /// Log time leapt: what was to wait need not wait any more, and sessions may be forgotten.
    pub(crate) fn forget_times(&mut self) {
        for message in self.messages.values_mut() {
            message.not_before_micros = 0;
        }
    }

    /// A message was seen at a place, by whatever way (L1, P2).
    pub(crate) fn seen(&mut self, id: MessageId, stream: StreamId, offset: Offset) {
        let Some(message) = self.messages.get_mut(&id) else {
            return self.violate(format!("{stream:?} {offset:?} holds {id}, which nobody published"));
        };
        message.places.insert((stream, offset));
        let copies = message.places.iter().filter(|(at, _)| *at == stream).count() as u32;
        let allowed = if message.idempotent { 1 } else { message.sends.max(1) };
        let place = self.places.entry((stream, offset)).or_insert(Place { message: id, ..Place::default() });
        if place.message != id {
            let before = place.message;
            return self.violate(format!("L1: {stream:?} {offset:?} was {before} and is {id}"));
        }
        if copies > allowed {
            self.violate(format!(
                "P2: message {id} is stored {copies} times in {stream:?}, sent {allowed} times"
            ));
        }
    }

    /// A reader of a topic read it, in order (L3).
    pub(crate) fn read_in_order(&mut self, id: MessageId, stream: StreamId, offset: Offset) {
        self.seen(id, stream, offset);
        let Some(message) = self.messages.get(&id) else { return };
        if !message.idempotent {
            return;
        }
        let (number, publisher) = (message.number, message.publisher);
        let highest = self.orders.entry((stream, publisher)).or_insert(number);
        if *highest > number {
            let before = *highest;
            return self.violate(format!(
                "L3: {stream:?} {offset:?}: number {number} of publisher {publisher} behind {before}"
            ));
        }
        *highest = number;
    }

    /// A reader begins anew: order is judged from there.
    pub(crate) fn read_anew(&mut self, stream: StreamId) {
        self.orders.retain(|(at, _), _| *at != stream);
    }

    /// A consumer was granted it.
    pub(crate) fn granted(
        &mut self,
        id: MessageId,
        stream: StreamId,
        offset: Offset,
        lease: Lease,
        micros: u64,
    ) {
        self.seen(id, stream, offset);
        let place = self.places.entry((stream, offset)).or_default();
        if place.settled {
            return self
                .violate(format!("Q1: {stream:?} {offset:?} was granted after its settle was confirmed"));
        }
        if place.last_lease.is_some_and(|last| last >= lease) {
            let last = place.last_lease;
            return self.violate(format!("Q2: {stream:?} {offset:?}: lease {lease:?} after {last:?}"));
        }
        place.last_lease = Some(lease);
        let Some(message) = self.messages.get(&id) else { return };
        if micros < message.not_before_micros {
            return self.violate(format!("Q7: message {id} was granted before its time"));
        }
        if let Some((dead, source)) = self.dead
            && stream == source
            && message.idempotent
        {
            let moved = message.places.iter().filter(|(at, _)| *at == dead).count() as u32;
            let stored = message.places.iter().filter(|(at, _)| *at == source).count() as u32;
            if moved >= stored {
                self.violate(format!(
                    "Q5: message {id} was granted at its source while it is in the dead letters"
                ));
            }
        }
    }

    /// A consumer asks for a settle that ends the message.
    pub(crate) fn settle_asked(&mut self, stream: StreamId, offset: Offset) {
        self.places.entry((stream, offset)).or_default().settle_unknown = true;
    }

    /// A consumer was told that its settle was done under this lease.
    pub(crate) fn settled(&mut self, stream: StreamId, offset: Offset, lease: Lease) {
        let place = self.places.entry((stream, offset)).or_default();
        if place.last_lease.is_some_and(|last| last > lease) {
            let last = place.last_lease;
            return self.violate(format!(
                "Q2: {stream:?} {offset:?}: a settle under {lease:?} was confirmed after the grant of {last:?}"
            ));
        }
        if !place.settled {
            self.accepted += 1;
        }
        place.settled = true;
    }

    /// A group member was told that its cursor is committed.
    pub(crate) fn committed(&mut self, stream: StreamId, offset: Offset) {
        self.cursors.insert(stream, offset);
    }

    /// A group member that claims a partition was told where to go on.
    pub(crate) fn claimed(&mut self, stream: StreamId, offset: Offset) {
        if self.cursors.get(&stream).is_some_and(|committed| offset < *committed) {
            let committed = self.cursors.get(&stream);
            self.violate(format!("L2: {stream:?}: the cursor went from {committed:?} back to {offset:?}"));
        }
    }

    /// Everything came to rest: nothing acknowledged may be missing (D1, Q1, Q5).
    pub(crate) fn close(&mut self, topics: &BTreeSet<StreamId>, read: &BTreeMap<StreamId, Offset>) {
        let mut lost = None;
        for (id, message) in &self.messages {
            let Some((stream, offset)) = message.acknowledged else { continue };
            if topics.contains(&stream) {
                if read.get(&stream).is_none_or(|end| *end <= offset) {
                    lost = Some(format!(
                        "D1: message {id} at {stream:?} {offset:?} was acknowledged and not read"
                    ));
                }
                continue;
            }
            let ended = message
                .places
                .iter()
                .any(|at| self.places.get(at).is_some_and(|place| place.settled || place.settle_unknown));
            if !ended && !message.may_expire {
                lost =
                    Some(format!("D1: message {id} at {stream:?} {offset:?} was acknowledged and is gone"));
            }
        }
        if let Some(lost) = lost {
            self.violate(lost);
        }
    }
}
