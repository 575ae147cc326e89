//! What state a queue's messages are in, for people who look without taking.

use pondage_model::{Attempt, LogTime, Offset};

use super::{
    message::{HELD, Place, State},
    stream::Stream,
};

/// What a message of a queue is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// A consumer could get it now.
    Ready,
    /// It waits for its time.
    Scheduled {
        /// When it may be granted.
        due: LogTime,
    },
    /// A consumer holds it.
    Leased {
        /// Which attempt this is.
        attempt: Attempt,
        /// When the lease ends.
        deadline: LogTime,
    },
    /// It is on its way to the dead-letter queue.
    Moving,
    /// It must go to a dead-letter queue that is not there.
    Held,
}

/// Neighbouring messages in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyRun {
    /// The first message.
    pub first: Offset,
    /// How many.
    pub count: u64,
    /// Their failed attempts.
    pub failures: u32,
    /// Their state.
    pub state: MessageState,
}

impl Stream {
    /// The messages of a queue that are not settled among the `count` offsets from `from` on, as runs in order.
    /// Nothing for a topic. Takes time and memory in proportion to `count`.
    #[must_use]
    pub fn survey(&self, now: LogTime, from: Offset, count: u32) -> Vec<SurveyRun> {
        let Some(queue) = self.queue() else { return Vec::new() };
        let first = from.max(self.start());
        let end = first.get().saturating_add(count.into()).min(self.end().get());
        let mut runs: Vec<SurveyRun> = Vec::new();
        for offset in first.get()..end {
            let place = queue.place(offset);
            let state = match place {
                Place::Settled => continue,
                Place::Fresh(_) => MessageState::Ready,
                Place::Scheduled(due) => waiting(now, due),
                Place::Touched(message) => match message.state {
                    State::Waiting(HELD) => MessageState::Held,
                    State::Waiting(due) => waiting(now, due),
                    State::Leased(deadline) => {
                        MessageState::Leased { attempt: message.lease.attempt, deadline }
                    }
                    State::Moving(_) => MessageState::Moving,
                },
            };
            let failures = place.failures();
            match runs.last_mut() {
                Some(run)
                    if run.first.get() + run.count == offset
                        && run.state == state
                        && run.failures == failures =>
                {
                    run.count += 1;
                }
                _ => runs.push(SurveyRun { first: Offset(offset), count: 1, failures, state }),
            }
        }
        runs
    }
}

fn waiting(now: LogTime, due: LogTime) -> MessageState {
    if due <= now { MessageState::Ready } else { MessageState::Scheduled { due } }
}
