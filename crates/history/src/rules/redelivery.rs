//! **Q3** (delivery contract, "Queues"): what was not settled by its deadline, was released, or whose consumer is gone,
//! is delivered again in time. Judged against consumers that waited with credit and got nothing. Left out is what may
//! have ended in another way: messages with a time to live, on their last attempts, or behind a purge.

use pondage_model::{Offset, StreamId};

use crate::{
    books::{At, Books},
    event::Client,
    report::Rule,
};

impl Books {
    /// From a moment on the message can be given again; `None`: nobody can say when.
    pub(crate) fn expect_again(&mut self, at: At, from_micros: Option<u64>) {
        let (id, offset) = at;
        let Some(place) = self.places.get_mut(&at) else { return };
        let Some(queued) = place.queued.as_deref_mut() else { return };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if let Some(before) = queued.returned_micros.take() {
            stream.returned.remove(&(before, offset));
        }
        let message = self.messages.get(&place.message);
        let is_judged = stream.queue().is_some_and(|queue| {
            let is_last =
                |attempts_max| queued.last.is_none_or(|(last, _)| last.attempt.get() >= attempts_max);
            queue.again_micros.is_some()
                && !queue.expires
                && !queue.dead.is_some_and(|dead| is_last(dead.attempts_max))
        });
        let may_have_ended = queued.ended.is_some() || queued.endings_possible > 0 || queued.moved.is_some();
        let expires =
            message.is_none_or(|message| message.expires || stream.may_have_dropped(message.sent_event));
        if let Some(from_micros) = from_micros
            && is_judged
            && !may_have_ended
            && !expires
        {
            queued.returned_micros = Some(from_micros);
            stream.returned.insert((from_micros, offset));
        }
    }

    /// A consumer waited in vain.
    pub(crate) fn judge_idle(&mut self, client: Client, id: StreamId, since_micros: u64) {
        let now = self.findings.at_micros;
        let stream = self.stream(id);
        let Some(again_micros) = stream.queue().and_then(|queue| queue.again_micros) else { return };
        let mut starved: Vec<(u64, Offset)> = Vec::new();
        while let Some(&(from, offset)) = stream.returned.first()
            && from.max(since_micros).saturating_add(again_micros) < now
        {
            stream.returned.pop_first();
            starved.push((from, offset));
        }
        for (from, offset) in starved {
            self.findings.broken(Rule::Q3, || {
                format!("{client:?} waits since {since_micros} µs, {id:?} {offset:?} can be granted since {from} µs")
            });
        }
    }
}
