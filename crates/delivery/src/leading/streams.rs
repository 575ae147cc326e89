//! Streams and their consumers coming and going.

use pondage_model::{
    Body, Lease, LogTime, Offset, Refusal, StreamId,
    entry::{DiscardCause, Open, ReleaseCause, Restart},
    limits,
    planted::{self, Fault},
    settings::StreamSettings,
};

use super::{
    ConsumerId, Decision, Draft, Leading, Reply,
    outcomes::{Outcomes, discards},
    work::Work,
};
use crate::fold::{
    Stream,
    message::{Place, State, next_attempt},
};

impl Leading {
    pub(super) fn open(&self, id: StreamId, open: Open) -> Decision {
        if let Some(partition) = open.settings.reads()
            && self.state.stream(partition).and_then(Stream::topic).is_none()
        {
            return Refusal::NotFound { kind: "stream", name: partition.to_string() }.into();
        }
        match self.state.stream(id) {
            None => Decision::append(id, Body::Open(open), Reply::Done),
            Some(known) if (&known.open.name, known.open.partition) == (&open.name, open.partition) => {
                Decision::reply(Reply::Done)
            }
            Some(_) => Refusal::AlreadyExists { kind: "stream", name: id.to_string() }.into(),
        }
    }

    pub(super) fn change_settings(&self, id: StreamId, settings: StreamSettings) -> Decision {
        match self.state.stream(id).map(|stream| &stream.open.settings) {
            Some(current) if *current == settings => Decision::reply(Reply::Done),
            Some(current) if std::mem::discriminant(current) == std::mem::discriminant(&settings) => {
                Decision::append(id, Body::Settings(settings), Reply::Done)
            }
            _ => {
                let what = "what is a queue, a topic or a group never becomes another one of these".into();
                Refusal::InvalidArgument { what }.into()
            }
        }
    }

    pub(super) fn attach(
        &mut self,
        id: StreamId,
        consumer: ConsumerId,
        credit: u32,
        lease_millis: Option<u64>,
        once: bool,
    ) -> Decision {
        let Some(stream) = self.state.stream(id).filter(|stream| stream.queue().is_some()) else {
            let what = "only a queue or a shared group gives leases: a topic is read by offset".into();
            return Refusal::InvalidArgument { what }.into();
        };
        let work = self.work.entry(id).or_insert_with(|| Work::new(stream));
        if work.consumers.contains(consumer) {
            return Refusal::Conflict { what: format!("consumer {} is attached already", consumer.0) }.into();
        }
        if work.consumers.len() >= limits::CONSUMERS_PER_STREAM_MAX {
            return Refusal::Busy { what: "consumers of this queue" }.into();
        }
        work.consumers.attach(consumer, credit, lease_millis, once);
        self.refresh(id);
        Decision::reply(Reply::Done)
    }

    pub(super) fn credit(&mut self, id: StreamId, consumer: ConsumerId, add: u32) -> Decision {
        match self.work.get_mut(&id) {
            Some(work) if work.consumers.contains(consumer) => {
                work.consumers.add_credit(consumer, add);
                self.refresh(id);
                Decision::reply(Reply::Done)
            }
            _ => Refusal::NotFound { kind: "consumer", name: consumer.0.to_string() }.into(),
        }
    }

    pub(super) fn stop(&mut self, id: StreamId, consumer: ConsumerId) -> Decision {
        if let Some(work) = self.work.get_mut(&id) {
            work.consumers.stop(consumer);
            self.refresh(id);
        }
        Decision::reply(Reply::Done)
    }

    pub(super) fn detach(
        &mut self,
        id: StreamId,
        now: LogTime,
        consumer: ConsumerId,
        lost: bool,
    ) -> Decision {
        let held = self.work.get_mut(&id).and_then(|work| work.consumers.detach(consumer));
        let (Some(held), Some((queue, policy))) = (held, self.queue(id)) else {
            return Decision::reply(Reply::Done);
        };
        if lost && planted::is(Fault::ForgetLostConsumer) {
            return Decision::reply(Reply::Done);
        }
        let mut outcomes = Outcomes::new(queue, policy, now);
        for offset in held.iter().flatten() {
            let Place::Touched(message) = queue.place(offset) else { continue };
            if !matches!(message.state, State::Leased(_)) {
                continue;
            }
            if lost {
                outcomes.fail(offset, message.lease, ReleaseCause::ConsumerLost, None);
            } else {
                outcomes.give_back(offset, message.lease);
            }
        }
        let drafts = outcomes.into_drafts(id);
        self.refresh(id);
        Decision { drafts, reply: Reply::Done }
    }

    /// Where a shared group reads on. Its messages get greater attempts than any before, in an epoch that is not
    /// earlier: a token of before names nothing any more.
    pub(super) fn restart(&mut self, id: StreamId, start: Offset) -> Decision {
        let Some(share) = self.state.stream(id).filter(|stream| stream.reads().is_some()) else {
            let what = "only a shared group begins again: move the cursors of other groups".into();
            return Refusal::InvalidArgument { what }.into();
        };
        let partition = share.reads().and_then(|partition| self.state.stream(partition));
        let (Some(queue), Some(partition)) = (share.queue(), partition) else {
            return Refusal::NotFound { kind: "stream", name: id.to_string() }.into();
        };
        let (first, end) = (partition.start(), partition.end());
        if !(first..=end).contains(&start) {
            return Refusal::OutOfRange { offset: start, start: first, end }.into();
        }
        // Leases of earlier terms are smaller by their epochs.
        let given = self.work.get(&id).map(|work| work.highest).unwrap_or_default();
        let attempt =
            if self.epoch > queue.base().epoch { given } else { next_attempt(queue.base()).max(given) };
        let last = Lease { epoch: self.epoch, attempt };
        let mut drafts = self.lazy_of(id);
        drafts.push(Draft { stream: id, body: Body::Restart(Restart { start, last }) });
        Decision { drafts, reply: Reply::Done }
    }

    pub(super) fn purge(&self, id: StreamId) -> Decision {
        let Some((queue, _)) = self.queue(id) else {
            return Refusal::InvalidArgument { what: "a topic is not purged: trim it".into() }.into();
        };
        let runs = queue.unclaimed();
        let messages = runs.iter().map(|run| run.end - run.start).sum();
        let bodies = discards(runs, DiscardCause::Purged);
        let drafts = bodies.into_iter().map(|body| Draft { stream: id, body }).collect();
        Decision { drafts, reply: Reply::Purged { messages } }
    }
}
