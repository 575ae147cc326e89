//! What the clients were told, and the guarantees checked against it. Outcomes have three values: yes, no, unknown.

mod queues;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{Epoch, Lease, LogTime, Offset, ShardId, StreamId};
use pondage_node::delivery::ConsumerId;

pub(crate) use self::queues::Given;
use crate::chance::Chance;

/// A message's name for life: the beginning of its value.
pub(crate) type MessageId = u64;

/// Where a message is stored.
pub(crate) type At = (StreamId, Offset);

/// What is known of one message.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// Its publisher and its number there, for the order of a session.
    pub(crate) publisher: usize,
    pub(crate) number: u64,
    /// The name that it was sent to.
    pub(crate) target: &'static str,
    /// Whether its session is idempotent: stored at most once.
    pub(crate) idempotent: bool,
    /// Its session was fenced before it was sent: never stored.
    pub(crate) fenced: bool,
    /// How often it was sent; more than one send of a plain publisher may store it more than once.
    pub(crate) sends: u32,
    /// Where it was acknowledged to be.
    pub(crate) acknowledged: Option<At>,
    /// Where it was seen.
    pub(crate) places: BTreeSet<At>,
    /// It may end without a consumer: it has a time to live, or its queue was purged or deleted.
    pub(crate) may_end: bool,
    /// Not to be granted before, in simulated microseconds.
    pub(crate) not_before_micros: u64,
}

/// What is known of one stored message.
#[derive(Debug, Default)]
struct Place {
    message: MessageId,
    last_lease: Option<Lease>,
    /// The log time of its decision.
    last_decided: LogTime,
    /// A consumer was told that its accept, or its reject, is done.
    settled: bool,
    /// A consumer asked for it and was not told.
    settle_unknown: bool,
    /// An administrator was told that it is purged, and nobody had been granted it.
    purged: bool,
    /// The lease that holds, as far as anybody knows.
    live: Option<Live>,
}

/// A lease that nobody has ended.
#[derive(Clone, Copy, Debug)]
struct Live {
    consumer: ConsumerId,
    /// It holds at least until this log time.
    until: LogTime,
    shard: ShardId,
    /// Of the leader that gave it.
    epoch: Epoch,
    /// It is in the log: whoever leads next knows it.
    logged: bool,
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) messages: BTreeMap<MessageId, Message>,
    places: BTreeMap<At, Place>,
    /// Places under leases that hold, by consumer.
    held: BTreeMap<ConsumerId, BTreeSet<At>>,
    /// Consumers that left, or whose connection was lost.
    left: BTreeSet<ConsumerId>,
    /// The newest log time that grants of a stream showed, in the newest epoch.
    shown: BTreeMap<StreamId, (Epoch, LogTime)>,
    /// The dead-letter queue's stream and its source.
    pub(crate) dead: Option<(StreamId, StreamId)>,
    /// The shared group's stream beside each partition that has consumers of it.
    pub(crate) shares: BTreeMap<StreamId, StreamId>,
    /// Log time leapt: retention may have taken messages that nobody was done with.
    leapt: bool,
    /// When messages began to move to the dead letters, in the log time of their source.
    moves: BTreeMap<At, LogTime>,
    /// Streams whose deletion was confirmed.
    closed: BTreeSet<StreamId>,
    /// Places whose settle was confirmed.
    settled: u64,
    /// The highest number of a session that a reader saw, by stream and publisher.
    orders: BTreeMap<(StreamId, usize), u64>,
    /// The least and the greatest offset at which a group's cursor can be, by stream.
    cursors: BTreeMap<StreamId, (Offset, Offset)>,
    /// The least and the greatest offset that seeks of unknown outcome may still move a cursor to, by stream.
    late_seeks: BTreeMap<StreamId, (Offset, Offset)>,
    /// A name whose messages may end at any time: a purge or deletion of unknown outcome may yet arrive.
    doomed: Option<&'static str>,
    pub(crate) violation: Option<String>,
}

impl Oracle {
    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.messages.values().filter(|message| message.acknowledged.is_some()).count() as u64
    }

    pub(crate) const fn settled_count(&self) -> u64 {
        self.settled
    }

    /// The publisher was told that its message is at this place.
    pub(crate) fn acknowledge(&mut self, id: MessageId, stream: StreamId, offset: Offset) {
        self.seen(id, stream, offset);
        let Some(message) = self.messages.get_mut(&id) else { return };
        if let Some(before) = message.acknowledged
            && before.0 == stream
            && before.1 != offset
            && message.idempotent
        {
            return self
                .violate(format!("P2: message {id} was acknowledged at {before:?} and at {offset:?}"));
        }
        message.acknowledged = Some((stream, offset));
    }

    /// Log time leapt: what was to wait need not wait any more, and sessions may be forgotten.
    pub(crate) fn forget_times(&mut self) {
        self.leapt = true;
        for message in self.messages.values_mut() {
            message.not_before_micros = 0;
            message.fenced = false;
        }
    }

    /// A purge or deletion has an unknown outcome: whatever is sent to the name from now on may end by it.
    pub(crate) fn doom(&mut self, target: &'static str) {
        self.doomed = Some(target);
        self.may_end(target);
    }

    pub(crate) fn is_doomed(&self, target: &str) -> bool {
        self.doomed == Some(target)
    }

    /// Everything sent to a name so far may be gone.
    pub(crate) fn may_end(&mut self, target: &str) {
        for message in self.messages.values_mut().filter(|message| message.target == target) {
            message.may_end = true;
        }
    }

    /// An administrator was told that the stream is deleted.
    pub(crate) fn closed(&mut self, stream: StreamId) {
        self.closed.insert(stream);
    }

    /// A message was seen at a place, by whatever way (L1, P2).
    pub(crate) fn seen(&mut self, id: MessageId, stream: StreamId, offset: Offset) {
        let Some(message) = self.messages.get_mut(&id) else {
            return self.violate(format!("{stream:?} {offset:?} holds {id}, which nobody published"));
        };
        message.places.insert((stream, offset));
        let copies = message.places.iter().filter(|(at, _)| *at == stream).count() as u32;
        let allowed = if message.idempotent { 1 } else { message.sends.max(1) };
        let (fenced, sends) = (message.fenced, message.sends);
        let place = self.places.entry((stream, offset)).or_insert(Place { message: id, ..Place::default() });
        if place.message != id {
            let before = place.message;
            return self.violate(format!("L1: {stream:?} {offset:?} was {before} and is {id}"));
        }
        if fenced {
            return self.violate(format!("P2: message {id} of a fenced session is at {stream:?} {offset:?}"));
        }
        if copies > allowed {
            self.violate(format!(
                "P2: message {id} is stored {copies} times in {stream:?}, sent {sends} times, allowed {allowed}"
            ));
        }
    }

    /// Any message that was acknowledged in the stream.
    pub(crate) fn any_acknowledged(
        &self,
        stream: StreamId,
        chance: &mut Chance,
    ) -> Option<(MessageId, Offset)> {
        let first = Offset(chance.any() % 1_000);
        let after = self.places.range((stream, first)..=(stream, Offset(u64::MAX)));
        let found = after.chain(self.places.range((stream, Offset::ZERO)..(stream, first)));
        let acknowledged = |(at, place): (&At, &Place)| {
            let message = self.messages.get(&place.message)?;
            (message.acknowledged == Some(*at)).then_some((place.message, at.1))
        };
        found.take(50).find_map(acknowledged)
    }

    /// Whether a shared group is done with a message, or its dead letters are.
    fn is_shared_out(&self, message: &Message, at: At) -> bool {
        let ended = |at: &At| self.places.get(at).is_some_and(|place| place.settled || place.settle_unknown);
        let is_dead = |at: &At| self.dead.is_some_and(|(dead, _)| at.0 == dead);
        ended(&at) || message.places.iter().any(|at| is_dead(at) && ended(at))
    }

    /// Everything came to rest: nothing acknowledged may be missing (D1, Q1, Q5).
    pub(crate) fn close(&mut self, read: &BTreeMap<StreamId, Offset>) {
        let mut lost = None;
        for (id, message) in &self.messages {
            let Some((stream, offset)) = message.acknowledged else { continue };
            if let Some(share) = self.shares.get(&stream)
                && !self.leapt
                && !self.is_shared_out(message, (*share, offset))
            {
                lost = Some(format!(
                    "D1: message {id} at {stream:?} {offset:?} was acknowledged and is gone from {share:?}"
                ));
            }
            if let Some(end) = read.get(&stream) {
                if *end <= offset {
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
            if !ended && !message.may_end {
                lost =
                    Some(format!("D1: message {id} at {stream:?} {offset:?} was acknowledged and is gone"));
            }
        }
        if let Some(lost) = lost {
            self.violate(lost);
        }
    }
}
