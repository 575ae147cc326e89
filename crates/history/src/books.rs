//! What the rules remember of a history, shared between them so that nothing is kept twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::Discriminant,
};

use pondage_model::{GroupEpoch, Lease, LogTime, Offset, ProducerId, StreamId};

use crate::{
    event::{Client, GroupId, KeyId, MessageId, Queue, Stamp, Verdict},
    report::{Broken, Rule, Totals, Violation},
};

/// A stream and an offset in it.
pub(crate) type At = (StreamId, Offset);

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) findings: Findings,
    /// How often log time has leapt.
    pub(crate) leaps: u64,
    pub(crate) messages: BTreeMap<MessageId, Message>,
    pub(crate) places: BTreeMap<At, Place>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    pub(crate) readers: BTreeMap<(Client, StreamId), Reader>,
    /// By session and key, the places of its messages with their numbers in the session.
    pub(crate) orders: BTreeMap<Chain, BTreeMap<Offset, (u64, u64)>>,
    /// The greatest epoch of a session under which a publish was confirmed, and the leaps at that time.
    pub(crate) fences: BTreeMap<(StreamId, ProducerId), (u64, u64)>,
    pub(crate) groups: BTreeMap<(StreamId, GroupId), Group>,
    /// Streams that are dead-letter queues of others.
    pub(crate) dead_streams: BTreeSet<StreamId>,
}

/// A session and a key in one stream.
pub(crate) type Chain = (StreamId, ProducerId, Option<KeyId>);

/// Where the history is, and what is wrong with it so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) event: u64,
    pub(crate) at_micros: u64,
    pub(crate) totals: Totals,
    pub(crate) broken: BTreeMap<Rule, Broken>,
}

impl Findings {
    /// A promise is broken. The words are made for the first time only.
    pub(crate) fn broken(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        let (event, at_micros) = (self.event, self.at_micros);
        self.broken
            .entry(rule)
            .or_insert_with(|| Broken { count: 0, first: Violation { rule, event, at_micros, what: what() } })
            .count += 1;
    }
}

/// What is known of a message, wherever it is.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) sends: Vec<Send>,
    /// Where it is stored, dead letters not counted.
    pub(crate) places: Vec<At>,
    pub(crate) key: Option<KeyId>,
    /// The event that sent it first.
    pub(crate) sent_event: u64,
    /// Not to be granted before, as long as log time has leapt only so often.
    pub(crate) not_before: Option<NotBefore>,
    /// It may end without a consumer.
    pub(crate) expires: bool,
}

/// One way in which a message was sent, once or again.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) stream: StreamId,
    pub(crate) stamp: Option<Stamp>,
    /// Leaps before: a session may be forgotten in one, and what is sent again is then stored again.
    pub(crate) leaps: u64,
    /// Requests of this kind that were not refused for good.
    pub(crate) possible: u32,
    /// It was sent when its session was fenced.
    pub(crate) is_fenced: bool,
}

/// A moment that a grant has to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotBefore {
    pub(crate) micros: u64,
    pub(crate) leaps: u64,
}

/// What is known of one stored message.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) message: MessageId,
    /// The event that acknowledged it; 0: none.
    pub(crate) acked_event: u64,
    /// It has to stay: it was acknowledged, or seen as a dead letter.
    pub(crate) is_kept: bool,
    /// What consumers of a queue did with it.
    pub(crate) queued: Option<Box<Queued>>,
}

/// The leases of one message and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Queued {
    /// The greatest lease that was granted, and when.
    pub(crate) last: Option<(Lease, u64)>,
    /// Those before it, until the message has ended.
    pub(crate) earlier: Vec<Lease>,
    pub(crate) live: Option<Live>,
    /// The settle that was confirmed last.
    pub(crate) winner: Option<Winner>,
    /// The lease and the verdict that ended the message for certain.
    pub(crate) ended: Option<(Lease, Discriminant<Verdict>)>,
    /// Accepts and rejects that are open or ended as unknown.
    pub(crate) endings_possible: u32,
    /// Releases that were confirmed: failed attempts.
    pub(crate) failures: u32,
    pub(crate) not_before: Option<NotBefore>,
    /// The latest moment at which the last lease is over, if that is known.
    pub(crate) lease_over_micros: Option<u64>,
    /// Under which its stream counts it as returned.
    pub(crate) returned_micros: Option<u64>,
    /// Where it is among the dead letters.
    pub(crate) moved: Option<At>,
}

/// A lease that nobody has ended, as far as anybody knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    pub(crate) client: Client,
    pub(crate) until: LogTime,
    /// How often the stream had lost its leader.
    pub(crate) leaders_lost: u64,
}

/// A settle that was confirmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Winner {
    pub(crate) lease: Lease,
    pub(crate) verdict: Verdict,
    pub(crate) asked_micros: u64,
    /// The event that confirmed it first.
    pub(crate) event: u64,
    pub(crate) leaps: u64,
}

/// What is known of a stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) kind: Option<Kind>,
    /// Retention may have taken what is below.
    pub(crate) start: Offset,
    /// Offsets at which readers found nothing, from the first to behind the last.
    pub(crate) gaps: BTreeMap<Offset, Offset>,
    /// Something is stored in it.
    pub(crate) has_messages: bool,
    /// A reader read it from its start to its end.
    pub(crate) is_read_to_its_end: bool,
    /// Messages that must still be there.
    pub(crate) unsettled: BTreeSet<Offset>,
    /// Messages that must be delivered again, with the moment from which they can be.
    pub(crate) returned: BTreeSet<(u64, Offset)>,
    /// Leases by their holder.
    pub(crate) held: BTreeMap<Client, BTreeSet<Offset>>,
    pub(crate) leaders_lost: u64,
    /// Purges and deletions that are open or ended as unknown.
    pub(crate) removals_possible: u64,
    /// The event of the last purge's request, if it was confirmed.
    pub(crate) purge_event: u64,
    /// What was sent before this event may be gone.
    pub(crate) gone_before_event: u64,
    pub(crate) is_deleted: bool,
    /// Of a dead-letter queue: what was rejected elsewhere and must turn up here, and the event of its confirmation.
    pub(crate) owed: BTreeMap<At, u64>,
}

impl Stream {
    pub(crate) const fn queue(&self) -> Option<&Queue> {
        match &self.kind {
            Some(Kind::Queue(queue)) => Some(queue),
            _ => None,
        }
    }

    /// Whether something that was there before an event may be gone without a trace.
    pub(crate) const fn may_have_dropped(&self, event: u64) -> bool {
        self.removals_possible > 0 || event < self.gone_before_event
    }
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    Queue(Queue),
}

/// A client that reads a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) from: Offset,
    pub(crate) next: Offset,
}

/// A group's cursor in one stream.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// By term of ownership.
    pub(crate) terms: BTreeMap<GroupEpoch, CursorTerm>,
    /// The least and the greatest offset that any seek asked for.
    pub(crate) seeks: Option<(Offset, Offset)>,
}

/// One term of ownership, from a claim or a seek on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CursorTerm {
    /// Where the cursor was then.
    pub(crate) begun: Offset,
    /// Somebody was told that it began, and where.
    pub(crate) is_told: bool,
    pub(crate) is_seek: bool,
    /// The cursor has been there for certain.
    pub(crate) reached: Offset,
    /// The cursor has been nowhere beyond.
    pub(crate) asked: Offset,
}

impl CursorTerm {
    /// A term that was met in another way: its claim or seek has no answer, and where it began nobody knows.
    pub(crate) const UNTOLD: Self = Self {
        begun: Offset::ZERO,
        is_told: false,
        is_seek: false,
        reached: Offset::ZERO,
        asked: Offset(u64::MAX),
    };
}

impl Books {
    /// The books of a stream; one that was not introduced is the recorder's fault.
    pub(crate) fn stream(&mut self, id: StreamId) -> &mut Stream {
        let stream = self.streams.entry(id).or_default();
        if stream.kind.is_none() {
            self.findings.broken(Rule::Recording, || format!("{id:?} was not introduced"));
        }
        stream
    }

    /// The books of one stored message of a queue.
    pub(crate) fn queued(&mut self, at: At) -> Option<&mut Queued> {
        self.places.get_mut(&at).map(|place| &mut **place.queued.get_or_insert_default())
    }
}
