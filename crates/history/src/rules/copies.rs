//! **P1, P2** (delivery contract, "Producers"): a plain message is stored at most once for each time that it was sent; a
//! message of an idempotent session is stored at most once, across leaders and restarts, and not at all if its session
//! was fenced before it was sent. With them goes **O1**: what was refused for good is nowhere, which is told as D1.

use pondage_model::StreamId;

use crate::{
    books::{Books, Message, Send},
    event::{MessageId, Publish},
    report::Rule,
};

impl Message {
    fn send(&mut self, publish: &Publish, leaps: u64) -> Option<&mut Send> {
        let leaps = if publish.stamp.is_some() { leaps } else { 0 };
        self.sends
            .iter_mut()
            .find(|send| send.stream == publish.stream && send.stamp == publish.stamp && send.leaps == leaps)
    }

    /// How often it may be in a stream.
    fn copies_max(&self, stream: StreamId) -> u32 {
        let sends = self.sends.iter().filter(|send| send.stream == stream);
        sends.map(|send| if send.stamp.is_some() { send.possible.min(1) } else { send.possible }).sum()
    }
}

impl Books {
    /// A message is about to be sent. Gives whether its session is fenced for certain.
    pub(crate) fn publish_asked(&mut self, publish: &Publish) -> bool {
        let leaps = if publish.stamp.is_some() { self.leaps } else { 0 };
        let is_fenced = publish.stamp.is_some_and(|stamp| {
            let fence = self.fences.get(&(publish.stream, stamp.producer));
            fence.is_some_and(|(epoch, at_leaps)| *epoch > stamp.epoch && *at_leaps == leaps)
        });
        let event = self.findings.event;
        let message = self.messages.entry(publish.message).or_insert_with(|| Message {
            sent_event: event,
            key: publish.key,
            ..Message::default()
        });
        message.expires |= publish.expires;
        if message.send(publish, leaps).is_none() {
            let Publish { stream, stamp, .. } = *publish;
            message.sends.push(Send { stream, stamp, leaps, possible: 0, is_fenced });
        }
        if let Some(send) = message.send(publish, leaps) {
            send.possible += u32::from(!is_fenced);
            send.is_fenced |= is_fenced;
        }
        is_fenced
    }

    /// A publish was confirmed.
    pub(crate) fn publish_confirmed(&mut self, publish: &Publish, leaps: u64, was_fenced: bool) {
        let Some(stamp) = publish.stamp else { return };
        if was_fenced && leaps == self.leaps {
            let Publish { message, stream, .. } = publish;
            self.findings.broken(Rule::P2, || {
                format!("{message:?} was confirmed in {stream:?} although its session was fenced: {stamp:?}")
            });
        }
        let fence = self.fences.entry((publish.stream, stamp.producer)).or_insert((stamp.epoch, leaps));
        // A session that was forgotten begins anew, with any epoch.
        *fence = if fence.1 == leaps { (fence.0.max(stamp.epoch), leaps) } else { (stamp.epoch, leaps) };
    }

    /// A publish was refused for good.
    pub(crate) fn publish_refused(&mut self, publish: &Publish, leaps: u64, was_fenced: bool) {
        let message = self.messages.get_mut(&publish.message);
        if let Some(send) = message.and_then(|message| message.send(publish, leaps))
            && !was_fenced
        {
            send.possible = send.possible.saturating_sub(1);
            self.judge_copies(publish.message, publish.stream);
        }
    }

    /// A message was found at another place of a stream, or may not be there any more.
    pub(crate) fn judge_copies(&mut self, id: MessageId, stream: StreamId) {
        let unknown = Message::default();
        let message = self.messages.get(&id).unwrap_or(&unknown);
        let copies = message.places.iter().filter(|at| at.0 == stream).count();
        let copies_max = message.copies_max(stream);
        if copies as u64 <= u64::from(copies_max) {
            return;
        }
        let mut sends = message.sends.iter().filter(|send| send.stream == stream);
        let (rule, why) = if sends.clone().next().is_none() {
            (Rule::L1, "nobody published it there")
        } else if copies_max == 0 && !sends.clone().any(|send| send.is_fenced) {
            (Rule::D1, "it was refused for good")
        } else if sends.any(|send| send.stamp.is_some()) {
            (Rule::P2, "its session was fenced, or allows for less")
        } else {
            (Rule::P1, "it was sent less often")
        };
        let places = &message.places;
        self.findings.broken(rule, || format!("{id:?} is stored {copies} times, {places:?}: {why}"));
    }
}
