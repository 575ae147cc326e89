//! Messages as the bytes of frames, and back.

use bytes::Bytes;
use pondage_model::{
    ShardId,
    wire::{Malformed, Wire},
    wire_enum,
};
use pondage_node::{coordinator::PeerMessage, replication::Message};
use pondage_protocol::peers::MessagesFrame;

/// Bytes of messages that travel in one frame; a greater message travels alone. Enough that the frame's own cost does
/// not show, and little beside what a link holds.
pub(super) const PACK_BYTES: usize = 256 << 10;

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Between the replicas of this shard.
    Replica(ShardId, Message),
    /// Between the coordinators.
    Coordinator(PeerMessage),
}
wire_enum!(Item { 1 => Replica(shard, message), 2 => Coordinator(message) });

/// Which stream an item travels in. The numbers are those of `peers.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Entries for followers.
    Bulk = 1,
    /// Everything small and urgent. It may overtake pushes: messages between replicas may come in any order, and
    /// only a push after a push needs its place.
    Control = 2,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Bulk, Self::Control];
}

impl Item {
    pub(super) const fn lane(&self) -> Lane {
        match self {
            Self::Replica(_, Message::Push(_)) => Lane::Bulk,
            Self::Replica(..) | Self::Coordinator(_) => Lane::Control,
        }
    }

    /// About how many bytes it takes, here and on the wire.
    pub(super) fn weight_bytes(&self) -> usize {
        const ITEM: usize = 64;
        const LISTED: usize = 40;
        ITEM + match self {
            Self::Replica(_, message) => message.weight_bytes(),
            Self::Coordinator(
                PeerMessage::PositionsWanted { shards, .. } | PeerMessage::MadeWanted { shards, .. },
            ) => LISTED * shards.len(),
            Self::Coordinator(PeerMessage::Positions { positions, .. }) => LISTED * positions.len(),
            Self::Coordinator(
                PeerMessage::Heartbeat { .. } | PeerMessage::HandOver { .. } | PeerMessage::Made { .. },
            ) => 0,
        }
    }
}

/// A frame of these items, in their order.
pub(super) fn pack(items: &[Item], weight_bytes: usize) -> Bytes {
    let mut frame = MessagesFrame::with_capacity(weight_bytes);
    for item in items {
        item.put(frame.out());
    }
    frame.finish()
}

/// The items of a frame, with their weights.
///
/// # Errors
/// [`Malformed`] if any of them is none; then none of them counts.
pub(super) fn unpack(mut messages: Bytes) -> Result<Vec<(Item, usize)>, Malformed> {
    let mut items = Vec::new();
    while !messages.is_empty() {
        let item = Item::take(&mut messages)?;
        let weight = item.weight_bytes();
        items.push((item, weight));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use pondage_model::{Epoch, Position};
    use pondage_node::replication::Push;

    use super::*;

    fn push() -> Message {
        Message::Push(Push {
            epoch: Epoch(1),
            from: Position(2),
            to: Position(2),
            before: Epoch(1),
            entries: Vec::new(),
            epochs: Vec::new(),
            high_watermark: Position(1),
            round: 9,
        })
    }

    fn items() -> Vec<Item> {
        vec![
            Item::Replica(ShardId(3), Message::Stale { epoch: Epoch(4) }),
            Item::Coordinator(PeerMessage::Heartbeat { leaving: true }),
            Item::Replica(ShardId(300), push()),
        ]
    }

    #[test]
    fn the_bytes_stay_as_they_are() {
        let mut bytes = Vec::new();
        items().iter().for_each(|item| item.put(&mut bytes));
        assert_eq!(bytes, [1, 3, 6, 4, 2, 1, 1, 1, 0xac, 2, 4, 1, 2, 2, 1, 0, 0, 1, 9]);
        let read: Vec<Item> =
            unpack(bytes.into()).expect("items").into_iter().map(|(item, _)| item).collect();
        assert_eq!(read, items());
    }

    #[test]
    fn only_pushes_are_bulk() {
        let lanes: Vec<Lane> = items().iter().map(Item::lane).collect();
        assert_eq!(lanes, [Lane::Control, Lane::Control, Lane::Bulk]);
    }

    #[test]
    fn one_bad_item_spoils_the_frame() {
        assert!(unpack(Bytes::from_static(&[2, 1, 1, 3])).is_err());
        assert!(unpack(Bytes::from_static(&[1, 3, 6, 4, 9])).is_err());
        assert_eq!(unpack(Bytes::new()), Ok(Vec::new()));
    }
}
