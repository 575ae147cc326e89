//! What messages say: a number, and bytes that follow from it, so that a message is known wherever it turns up and a
//! wrong byte in it is seen.

use bytes::{BufMut, Bytes, BytesMut};
use pondage_client::Message;
use pondage_history::{KeyId, MessageId};

/// Bytes of a value.
const VALUE_BYTES: usize = 128;
/// Different keys of one publisher.
const KEYS: u64 = 64;

/// The message of a number.
pub(super) fn message(id: MessageId, key: KeyId) -> Message {
    let mut value = BytesMut::with_capacity(VALUE_BYTES);
    value.put_u64(id.0);
    value.put_u64(key.0);
    let mut state = id.0;
    while value.len() < VALUE_BYTES {
        state = scatter(state);
        value.put_u64(state);
    }
    Message::new(value.freeze()).key(key_bytes(key))
}

/// The message's number, if key and value are those of a message that some publisher made.
pub(super) fn identify(key: Option<&Bytes>, value: Option<&Bytes>) -> Option<MessageId> {
    let value = value?;
    let number = |at: usize| Some(u64::from_be_bytes(value.get(at..at + 8)?.try_into().ok()?));
    let (id, of_key) = (MessageId(number(0)?), KeyId(number(8)?));
    let expected = message(id, of_key);
    (expected.value.as_ref() == Some(value) && expected.key.as_ref() == key).then_some(id)
}

/// The key of a publisher's n-th message.
pub(super) const fn key_of(publisher: u64, number: u64) -> KeyId {
    KeyId((publisher << 16) | (scatter(number) % KEYS))
}

fn key_bytes(key: KeyId) -> Bytes {
    Bytes::from(format!("key-{:x}", key.0))
}

const fn scatter(number: u64) -> u64 {
    let mixed =
        (number ^ (number >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_and_a_wrong_byte_seen() {
        let (id, key) = (MessageId(77), key_of(3, 77));
        let Message { key, value, .. } = message(id, key);
        assert_eq!(identify(key.as_ref(), value.as_ref()), Some(id));
        let value = value.expect("a value");
        for at in 0..value.len() {
            let mut wrong = value.to_vec();
            wrong[at] ^= 1;
            assert_eq!(identify(key.as_ref(), Some(&wrong.into())), None, "byte {at}");
        }
        assert_eq!(identify(None, Some(&value)), None);
        assert_eq!(identify(key.as_ref(), Some(&value.slice(..5))), None);
    }
}
