//! Order and cursors of topics (L2, L3).

use pondage_model::{Offset, StreamId};

use super::{MessageId, Oracle};

impl Oracle {
    /// A reader of a topic read it, in order (L3).
    pub(crate) fn read_in_order(&mut self, id: MessageId, stream: StreamId, offset: Offset) {
        self.seen(id, stream, offset);
        let Some(message) = self.messages.get(&id) else { return };
        if !message.idempotent {
            return;
        }
        let (number, publisher) = (message.number, message.publisher);
        let highest = self.orders.entry((stream, publisher)).or_insert(number);
        if *highest > number {
            let before = *highest;
            return self.violate(format!(
                "L3: {stream:?} {offset:?}: number {number} of publisher {publisher} behind {before}"
            ));
        }
        *highest = number;
    }

    /// A reader begins anew: order is judged from there.
    pub(crate) fn read_anew(&mut self, stream: StreamId) {
        self.orders.retain(|(at, _), _| *at != stream);
    }

    /// A group member asks that its cursor be moved: from now on it may be there.
    pub(crate) fn cursor_asked(&mut self, stream: StreamId, offset: Offset) {
        let (least, most) = self.cursors.entry(stream).or_default();
        (*least, *most) = (offset.min(*least), offset.max(*most));
    }

    /// A seek has an unknown outcome: it may take effect whenever it arrives.
    pub(crate) fn cursor_may_move(&mut self, stream: StreamId, offset: Offset) {
        self.cursor_asked(stream, offset);
        let (least, most) = self.late_seeks.entry(stream).or_insert((offset, offset));
        (*least, *most) = (offset.min(*least), offset.max(*most));
    }

    /// A group member was told where the cursor is.
    pub(crate) fn cursor_is(&mut self, stream: StreamId, offset: Offset) {
        let (least, most) = self.late_seeks.get(&stream).copied().unwrap_or((offset, offset));
        self.cursors.insert(stream, (least.min(offset), most.max(offset)));
    }

    /// A group member that claims a partition was told where to go on; retention may have taken what was before.
    pub(crate) fn claimed(&mut self, stream: StreamId, offset: Offset, start: Offset) {
        let (least, most) = self.cursors.get(&stream).copied().unwrap_or_default();
        if offset < least || offset > most.max(start) {
            self.violate(format!("L2: {stream:?}: the cursor is at {offset:?}, not in {least:?}..={most:?}"));
        }
        self.cursor_is(stream, offset);
    }
}
