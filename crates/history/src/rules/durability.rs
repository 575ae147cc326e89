//! **D1** (delivery contract, "Durability"): an acknowledged message is never lost. A log is judged by a reader that
//! reads it to its end, a queue by what was settled until it was drained. What readers saw without an acknowledgement
//! must stay as well, or they saw what was never committed (**L2**).

use pondage_model::{Offset, StreamId};

use crate::{
    books::{At, Books, Kind},
    event::{Client, DeadLetters, Publish},
    report::Rule,
    rules::sameness::Found,
};

impl Books {
    /// A publisher was told where its message is.
    pub(crate) fn acknowledged(&mut self, publish: &Publish, offset: Offset) {
        self.findings.totals.acknowledged += 1;
        let at = (publish.stream, offset);
        match self.seen(publish.message, at) {
            Found::New => self.judge_passed(at, Rule::D1),
            Found::Known => {}
            Found::Other => return,
        }
        let event = self.findings.event;
        if let Some(place) = self.places.get_mut(&at)
            && place.acked_event == 0
        {
            place.acked_event = event;
        }
        self.keep(at);
    }

    /// From now on the message has to be there, until somebody ends it.
    pub(crate) fn keep(&mut self, at: At) {
        if let Some(place) = self.places.get_mut(&at) {
            place.is_kept = true;
        }
        self.miss(at);
    }

    /// What has to be there and may not have ended is missed when its queue is drained.
    pub(crate) fn miss(&mut self, at: At) {
        let Some(place) = self.places.get(&at).filter(|place| place.is_kept) else { return };
        let may_have_ended = place.queued.as_ref().is_some_and(|queued| {
            queued.ended.is_some() || queued.endings_possible > 0 || queued.moved.is_some()
        });
        if !may_have_ended && self.stream(at.0).queue().is_some() {
            self.stream(at.0).unsettled.insert(at.1);
        }
    }

    /// A reader found nothing more.
    pub(crate) fn read_to_end(&mut self, client: Client, stream: StreamId) {
        let start = self.stream(stream).start;
        let Some(reader) = self.readers.get(&(client, stream)).copied() else {
            return self
                .findings
                .broken(Rule::Recording, || format!("{client:?} ends {stream:?}, which it did not begin"));
        };
        for (at, place) in self.places.range((stream, reader.next.max(start))..=(stream, Offset(u64::MAX))) {
            let rule = if place.acked_event > 0 { Rule::D1 } else { Rule::L2 };
            let message = place.message;
            self.findings.broken(rule, || format!("{at:?} held {message:?} and is gone at the end"));
        }
        let first = self.places.range((stream, start)..).next().map(|(at, _)| *at);
        let is_whole = first.is_none_or(|first| first.0 != stream || first.1 >= reader.from);
        self.stream(stream).is_read_to_its_end |= is_whole;
    }

    /// A queue holds nothing any more.
    pub(crate) fn drained(&mut self, id: StreamId) {
        let stream = self.stream(id);
        let (unsettled, owed) = (std::mem::take(&mut stream.unsettled), std::mem::take(&mut stream.owed));
        stream.returned.clear();
        let stream = &self.streams[&id];
        let expires = stream.queue().is_some_and(|queue| queue.expires);
        let dead = stream.queue().and_then(|queue| queue.dead);
        let mut moving = Vec::new();
        for offset in unsettled {
            let Some(place) = self.places.get(&(id, offset)) else { continue };
            let message = self.messages.get(&place.message);
            let may_be_gone = message
                .is_some_and(|message| message.expires || stream.may_have_dropped(message.sent_event))
                || expires;
            // After its last attempt it may have moved: whether it did shows when the dead letters are drained.
            let last = place.queued.as_ref().and_then(|queued| queued.last);
            let may_move =
                |dead: &DeadLetters| last.is_some_and(|(last, _)| last.attempt.get() >= dead.attempts_max);
            if may_be_gone {
                continue;
            }
            if let Some(dead) = dead.filter(may_move) {
                moving.push((dead.stream, (id, offset)));
            } else {
                let (rule, what) = if place.acked_event > 0 {
                    (Rule::D1, "was acknowledged and is gone")
                } else {
                    (Rule::Q5, "was a dead letter and is gone")
                };
                let message = place.message;
                self.findings.broken(rule, || format!("{message:?} at {id:?} {offset:?} {what}"));
            }
        }
        for (source, event) in owed {
            if !expires && !stream.may_have_dropped(event) {
                self.findings.broken(Rule::Q5, || {
                    format!("{source:?} was rejected, or failed too often, and is no dead letter of {id:?}")
                });
            }
        }
        let event = self.findings.event;
        for (to, source) in moving {
            self.streams.entry(to).or_default().owed.insert(source, event);
        }
    }

    /// Streams about whose losses nothing is proved.
    pub(crate) fn unaudited(&self) -> Vec<u64> {
        let unaudited = self.streams.iter().filter(|(_, stream)| match stream.kind {
            Some(Kind::Queue(_)) => !stream.unsettled.is_empty() || !stream.owed.is_empty(),
            Some(Kind::Log) | None => stream.has_messages && !stream.is_read_to_its_end && !stream.is_deleted,
        });
        unaudited.map(|(id, _)| id.get()).collect()
    }
}
