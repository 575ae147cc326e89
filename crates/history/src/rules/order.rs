//! **L3** (delivery contract, "Logs"): messages of one producer session with the same key keep their send order, retries
//! included. Judged on where they are stored, so for every reader at once.

use pondage_model::{Offset, StreamId};

use crate::{books::Books, event::MessageId, report::Rule};

impl Books {
    /// A message was found at a place for the first time.
    pub(crate) fn judge_order(&mut self, id: MessageId, stream: StreamId, offset: Offset) {
        let Some(message) = self.messages.get(&id) else { return };
        // A message that was sent in two sessions may be the one's or the other's.
        let [send] = message.sends.as_slice() else { return };
        let Some(stamp) = send.stamp.filter(|_| send.stream == stream) else { return };
        let number = (stamp.epoch, stamp.sequence);
        let chain = self.orders.entry((stream, stamp.producer, message.key)).or_default();
        let before = chain.range(..offset).next_back().filter(|(_, before)| **before > number);
        let behind = chain.range(offset..).next().filter(|(_, behind)| **behind < number);
        if let Some((other, other_number)) = before.or(behind) {
            self.findings.broken(Rule::L3, || {
                let producer = stamp.producer;
                format!(
                    "{producer:?} in {stream:?}: {number:?} is at {offset:?}, {other_number:?} at {other:?}"
                )
            });
        }
        chain.insert(offset, number);
    }
}
