//! What a recorder writes down: requests, answers and what clients saw, in the order in which it happened.
//!
//! A recorder is one observer: if it saw one thing before another, the first line stands before the second. A request
//! is written before it is sent and an answer after it came, so that everything took effect between its two lines.

use std::fmt;

use pondage_model::{GroupEpoch, Lease, LogTime, Offset, ProducerId, StreamId};

/// Defines a number that the recorder gives out.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), " {:x}"), self.0)
            }
        }
    };
}

number!(
    /// One life of one client: a process that starts again, or a consumer that attaches again, is another client.
    Client(u32)
);
number!(
    /// One request that was sent, never given out twice. A client that sends again sends another one.
    Op(u64)
);
number!(
    /// What a message says: a digest of its key and value. The recorder makes contents different (a counter in the
    /// value will do), so that this names a message wherever it turns up.
    MessageId(u64)
);
number!(
    /// A digest of a message's key.
    KeyId(u64)
);
number!(
    /// A consumer group, as the recorder numbers it.
    GroupId(u64)
);

/// One line of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Microseconds of the recorder's monotonic clock; never less than in the line before.
    pub at_micros: u64,
    /// Who did or saw it.
    pub client: Client,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The client is about to send a request.
    Invoke {
        /// Its number.
        op: Op,
        /// What it asks for.
        request: Request,
    },
    /// A request ended for the client. One that never returns is as good as one that returned [`Answer::Unknown`].
    Return {
        /// Its number.
        op: Op,
        /// How it ended.
        answer: Answer,
    },
    /// The client saw something that answers no request of this history.
    Observed(Observation),
}

/// What a client asks for. Requests that carry many messages are written as one request for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Store a message.
    Publish(Publish),
    /// End, or extend, the lease of one message.
    Settle {
        /// The queue.
        stream: StreamId,
        /// The message.
        offset: Offset,
        /// The lease that the client believes to hold.
        lease: Lease,
        /// What is to become of the message.
        verdict: Verdict,
    },
    /// Leave a queue: the leases that this client holds are given back.
    Leave {
        /// The queue.
        stream: StreamId,
    },
    /// Drop everything that a queue holds.
    Purge {
        /// The queue.
        stream: StreamId,
    },
    /// Delete a stream with everything in it.
    Delete {
        /// The stream.
        stream: StreamId,
    },
    /// Become the owner of a group over a stream; answered with [`Answer::Cursor`].
    Claim {
        /// The partition.
        stream: StreamId,
        /// The group.
        group: GroupId,
    },
    /// Set a group's cursor by hand, which fences its owner; answered with [`Answer::Cursor`].
    Seek {
        /// The partition.
        stream: StreamId,
        /// The group.
        group: GroupId,
        /// Where to.
        offset: Offset,
    },
    /// Move a group's cursor forward.
    Commit {
        /// The partition.
        stream: StreamId,
        /// The group.
        group: GroupId,
        /// The term of ownership that a claim or a seek gave.
        epoch: GroupEpoch,
        /// Where to: the next message to process.
        offset: Offset,
    },
    /// Ask where a group's cursor is; answered with [`Answer::Cursor`].
    Fetch {
        /// The partition.
        stream: StreamId,
        /// The group.
        group: GroupId,
    },
}

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub stream: StreamId,
    /// The message.
    pub message: MessageId,
    /// Its key, if it has one.
    pub key: Option<KeyId>,
    /// Its place in its producer's session; `None`: sent plainly.
    pub stamp: Option<Stamp>,
    /// How long it is to be held back, in microseconds of log time. 0: not at all.
    pub delay_micros: u64,
    /// It has a time to live: it may end without a consumer.
    pub expires: bool,
}

/// A message's place in an idempotent session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The session's producer.
    pub producer: ProducerId,
    /// The session's epoch.
    pub epoch: u64,
    /// The message's number in it, without wrapping.
    pub sequence: u64,
}

/// What a settle asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done with.
    Accept,
    /// To the dead letters, if there are any.
    Reject,
    /// Given back without having failed.
    Return,
    /// Failed: to be delivered again.
    Release {
        /// Not before so many microseconds of log time have gone. 0 if it is left to the queue's backoff.
        delay_micros: u64,
    },
    /// Hold it longer.
    Renew {
        /// For so many microseconds of log time from now.
        lasts_micros: u64,
    },
}

/// How a request ended (guarantee O1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message is stored, now or since an earlier request.
    Stored {
        /// Where.
        offset: Offset,
    },
    /// The settle is done.
    Settled {
        /// An earlier request had done it.
        already: bool,
        /// Of a renewal: the new deadline, if the recorder knows it in log time.
        until: Option<LogTime>,
    },
    /// The group's term of ownership and its cursor.
    Cursor {
        /// The term.
        epoch: GroupEpoch,
        /// The next message to process.
        offset: Offset,
    },
    /// Done, with nothing to tell.
    Done,
    /// A definite error: it did not take effect and will not.
    Refused,
    /// The definite error of a settle whose lease is over.
    LeaseLost,
    /// It may have taken effect, or may yet.
    Unknown,
}

/// What a client, or the recorder itself, saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The stream is a partition of a topic. Stands before everything else about the stream.
    Log {
        /// The stream.
        stream: StreamId,
    },
    /// The stream is a queue. Stands before everything else about the stream.
    Queue(Queue),
    /// A reader begins, or begins anew, at an offset.
    From {
        /// What it reads.
        stream: StreamId,
        /// The next offset that it asks for.
        offset: Offset,
    },
    /// A reader got a message. What it got before was in front of it, and nothing lies between.
    Read {
        /// From where.
        stream: StreamId,
        /// From where.
        offset: Offset,
        /// What it holds.
        message: MessageId,
    },
    /// A reader got everything that there is, and asked when all publishes had been answered: nothing more will be
    /// found. Written at the end of a run.
    End {
        /// What it read.
        stream: StreamId,
    },
    /// Retention may have taken everything below. Stands before the reads that it explains.
    Trimmed {
        /// The stream.
        stream: StreamId,
        /// The first offset that is still to be there.
        offset: Offset,
    },
    /// The client was given a message under a lease.
    Grant(Grant),
    /// A message was found in a dead-letter queue. Stands before the first grant of it there.
    DeadLetter {
        /// The dead-letter queue.
        stream: StreamId,
        /// Its place there.
        offset: Offset,
        /// What it holds.
        message: MessageId,
        /// Where it says that it came from.
        source: (StreamId, Offset),
        /// The failed attempts that it says there were.
        failures: u32,
    },
    /// The client asked for messages with credit to spare, was served by a leader all the time, and got none.
    Idle {
        /// The queue.
        stream: StreamId,
        /// Since then, in microseconds as [`Event::at_micros`].
        since_micros: u64,
    },
    /// Nothing is left in the queue, and nothing is on its way to it. Written at the end of a run, of a queue before
    /// its dead letters.
    Drained {
        /// The queue.
        stream: StreamId,
    },
    /// The stream's leader was lost, not stopped in order: leases that it had not logged may be given again at once.
    LeaderLost {
        /// The stream.
        stream: StreamId,
    },
    /// Log time leapt forward by an unknown time: nothing that waits needs to wait longer, and producers' sessions may
    /// be forgotten.
    Leap,
}

/// What is known of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The stream.
    pub stream: StreamId,
    /// Where its failed messages go.
    pub dead: Option<DeadLetters>,
    /// How long a message that is to be delivered again may take at most until its grant is written down, in
    /// microseconds, the queue's backoff and the way to the consumer included; `None`: not judged.
    pub again_micros: Option<u64>,
    /// Its messages have a time to live by the queue's own settings.
    pub expires: bool,
}

/// Where failed messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// The queue of dead letters.
    pub stream: StreamId,
    /// After so many failed attempts.
    pub attempts_max: u32,
}

/// A message given to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The queue.
    pub stream: StreamId,
    /// The message's place.
    pub offset: Offset,
    /// What it holds.
    pub message: MessageId,
    /// The lease.
    pub lease: Lease,
    /// The lease's time. Only a recorder that sits at the broker knows it: then the line stands where the grant was
    /// decided, and leases are also held against each other. Without it the line stands where the grant arrived.
    pub term: Option<Term>,
    /// The most that the lease lasts from this line on, in microseconds; `None`: redelivery is not judged.
    pub lasts_micros: Option<u64>,
}

/// When a lease was decided and until when it holds, in log time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The decision.
    pub decided: LogTime,
    /// The deadline.
    pub deadline: LogTime,
}
