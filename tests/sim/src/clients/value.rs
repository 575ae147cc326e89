//! What a message holds: its id, and bytes that follow from the id.

use crate::oracle::MessageId;

/// Mixes the bits of a number.
const fn mixed(id: MessageId) -> u64 {
    let mixed = (id ^ (id >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// The value of a message.
pub(super) fn of(id: MessageId) -> Vec<u8> {
    let mixed = mixed(id);
    let filling = match mixed % 32 {
        0 => 3_000,
        1..=4 => 300,
        _ => (mixed >> 8) % 24,
    };
    let mut value = id.to_be_bytes().to_vec();
    value.resize(8 + filling as usize, mixed as u8);
    value
}

/// Whose value this is, if it is one to the byte.
pub(super) fn id(value: &[u8]) -> Option<MessageId> {
    let id = MessageId::from_be_bytes(value.first_chunk().copied()?);
    (of(id) == value).then_some(id)
}
