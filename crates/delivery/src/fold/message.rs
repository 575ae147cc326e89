//! One message: where it is and what is known of it.

use pondage_model::{
    Attempt, Lease, LogTime, MoveSeq,
    planted::{self, Fault},
    wire_enum, wire_struct,
};

/// The `ready_at` of a message that goes to the dead-letter queue as soon as there is one, and nowhere else.
pub(crate) const HELD: LogTime = LogTime(i64::MAX);

/// Where a message is that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not granted before this time.
    Waiting(LogTime),
    /// Under a lease until this time.
    Leased(LogTime),
    /// On its way to a dead-letter queue.
    Moving(MoveSeq),
}
wire_enum!(State { 0 => Waiting(ready_at), 1 => Leased(deadline), 2 => Moving(seq) });

/// A message that was granted at least once, or is moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The current lease, or the last one that ended; before the first, the queue's base.
    pub(crate) lease: Lease,
    /// Failed attempts.
    pub(crate) failures: u32,
    /// It was rejected and waits for a dead-letter queue.
    pub(crate) rejected: bool,
    /// When it was due, if it was published with a delay.
    pub(crate) due: Option<LogTime>,
    pub(crate) state: State,
}
wire_struct!(Message { lease, failures, rejected, due, state });

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not granted since its queue began or began again, and it may be at once; leases up to this one were given before.
    Fresh(Lease),
    /// Never granted, due at this time.
    Scheduled(LogTime),
    /// It has a record.
    Touched(Message),
    /// Done with, or never there.
    Settled,
}

impl Place {
    /// The greatest lease that is known of the message.
    pub(crate) fn last_lease(&self) -> Lease {
        match self {
            Self::Touched(message) => message.lease,
            Self::Fresh(last) => *last,
            Self::Scheduled(_) | Self::Settled => Lease::default(),
        }
    }

    /// Failed attempts so far.
    pub(crate) fn failures(&self) -> u32 {
        if let Self::Touched(message) = self { message.failures } else { 0 }
    }

    /// When a message that is neither settled, leased nor moving may be granted; untouched ones at any time.
    pub(crate) fn ready_at(&self) -> Option<LogTime> {
        match *self {
            Self::Fresh(_) => Some(LogTime(i64::MIN)),
            Self::Scheduled(due) => Some(due),
            Self::Touched(Message { state: State::Waiting(ready_at), .. }) => Some(ready_at),
            Self::Touched(_) | Self::Settled => None,
        }
    }

    /// Whether `lease` is the very lease under which the message is now.
    pub(crate) fn is_leased_under(&self, lease: Lease) -> bool {
        matches!(self, Self::Touched(message) if message.lease == lease && matches!(message.state, State::Leased(_)))
    }

    /// Whether a grant that this fold has not seen may have been `lease`. A message has at most one such grant,
    /// because what ends a lease is committed before the next one: its attempt is the next.
    pub(crate) fn may_have_been_granted(&self, lease: Lease) -> bool {
        let last = self.last_lease();
        let newer = lease > last || planted::is(Fault::ReuseLeaseToken);
        self.ready_at().is_some() && newer && lease.attempt == next_attempt(last)
    }
}

/// The attempt after the one of `lease`.
pub(crate) fn next_attempt(lease: Lease) -> Attempt {
    if planted::is(Fault::ReuseLeaseToken) {
        return Attempt(1);
    }
    Attempt(lease.attempt.0.saturating_add(1))
}
