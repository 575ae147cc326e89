//! What waits to be sent to one peer in one lane: bounded in bytes, never waited for.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream;

use super::{
    counters::{PeerCounters, add},
    lock,
    packing::{PACK_BYTES, pack},
};

pub(super) use super::packing::Item;

/// One connection's queue of one lane.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    bytes_max: usize,
    counters: Arc<PeerCounters>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<(Item, usize)>,
    bytes: usize,
    waker: Option<Waker>,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize, counters: Arc<PeerCounters>) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), bytes_max, counters })
    }

    /// Queues a message, or drops and counts it. One that is greater than the bound fits if nothing else waits.
    pub(super) fn push(&self, item: Item) {
        let weight = item.weight_bytes();
        let mut queue = self.queue();
        if queue.closed {
            drop(queue);
            return add(&self.counters.dropped_unlinked, 1);
        }
        if !queue.items.is_empty() && queue.bytes + weight > self.bytes_max {
            drop(queue);
            return add(&self.counters.dropped_full, 1);
        }
        queue.bytes += weight;
        queue.items.push_back((item, weight));
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends it: what still waits is dropped and counted.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.bytes = 0;
        let (items, waker) = (std::mem::take(&mut queue.items), queue.waker.take());
        drop(queue);
        add(&self.counters.dropped_unlinked, items.len() as u64);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What waits, up to a frame's fill; none once it is closed.
    fn poll_items(&self, context: &Context<'_>) -> Poll<Option<(Vec<Item>, usize)>> {
        let mut queue = self.queue();
        if queue.closed {
            return Poll::Ready(None);
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some((_, weight)) = queue.items.front()
            && (items.is_empty() || bytes + weight <= PACK_BYTES)
            && let Some((item, weight)) = queue.items.pop_front()
        {
            bytes += weight;
            items.push(item);
        }
        if items.is_empty() {
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        queue.bytes -= bytes;
        Poll::Ready(Some((items, bytes)))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

/// The frames of a stream: the opening, then what waits in an outbox, packed when the connection has room and not
/// before.
#[derive(Debug)]
pub(super) struct Frames {
    opening: Option<Bytes>,
    outbox: Arc<Outbox>,
}

impl Frames {
    pub(super) fn new(opening: Bytes, outbox: Arc<Outbox>) -> Self {
        Self { opening: Some(opening), outbox }
    }
}

impl Stream for Frames {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(Ok(opening)));
        }
        let items = std::task::ready!(self.outbox.poll_items(context));
        Poll::Ready(items.map(|(items, weight)| {
            let frame = pack(&items, weight);
            let counters = &self.outbox.counters;
            add(&counters.sent_messages, items.len() as u64);
            add(&counters.sent_bytes, frame.len() as u64);
            Ok(frame)
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use pondage_model::{Epoch, ShardId};
    use pondage_node::replication::Message;

    use super::*;

    fn item(epoch: u64) -> Item {
        Item::Replica(ShardId(1), Message::Stale { epoch: Epoch(epoch) })
    }

    fn polled(outbox: &Outbox) -> Poll<Option<usize>> {
        let polled = outbox.poll_items(&Context::from_waker(Waker::noop()));
        polled.map(|items| items.map(|(items, _)| items.len()))
    }

    #[test]
    fn full_is_an_answer_and_room_comes_back() {
        let weight = item(0).weight_bytes();
        let outbox = Outbox::new(3 * weight, Arc::default());
        (0..5).for_each(|epoch| outbox.push(item(epoch)));
        assert_eq!(outbox.counters.dropped_full.load(Ordering::Relaxed), 2);
        assert_eq!(polled(&outbox), Poll::Ready(Some(3)));
        assert_eq!(polled(&outbox), Poll::Pending);
        outbox.push(item(9));
        assert_eq!(polled(&outbox), Poll::Ready(Some(1)));
    }

    #[test]
    fn one_message_above_the_bound_passes_alone() {
        let outbox = Outbox::new(1, Arc::default());
        outbox.push(item(1));
        outbox.push(item(2));
        assert_eq!(polled(&outbox), Poll::Ready(Some(1)));
        assert_eq!(outbox.counters.dropped_full.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_frame_takes_no_more_than_its_fill() {
        let outbox = Outbox::new(usize::MAX, Arc::default());
        let (weight, count) = (item(0).weight_bytes(), 3 * PACK_BYTES / item(0).weight_bytes());
        (0..count).for_each(|epoch| outbox.push(item(epoch as u64)));
        assert_eq!(polled(&outbox), Poll::Ready(Some(PACK_BYTES / weight)));
    }

    #[test]
    fn nothing_leaves_a_closed_one() {
        let outbox = Outbox::new(1 << 20, Arc::default());
        outbox.push(item(1));
        outbox.close();
        outbox.push(item(2));
        assert_eq!(polled(&outbox), Poll::Ready(None));
        assert_eq!(outbox.counters.dropped_unlinked.load(Ordering::Relaxed), 2);
    }
}
