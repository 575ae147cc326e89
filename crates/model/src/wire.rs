//! The compact encoding of control entries, checkpoints and catalog commands: fields in order, integers as
//! LEB128 (signed ones zigzag), lists and texts with their length before them. `docs/formats/entry.md` draws it.
//!
//! Decoding never trusts a length: a list of `n` items needs `n` bytes at least, and memory grows only with the
//! bytes at hand.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    AssignmentEpoch, Attempt, BrokerId, Epoch, GroupEpoch, Incarnation, Lease, LogTime, Member, MemberId,
    MoveSeq, Name, Offset, Position, ProducerId, Revision, ShardId, StreamId, Uuid,
};

/// The bytes are not what an encoder of this version wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed encoding: {0}")]
pub struct Malformed(pub &'static str);

/// What can be written to and read from the compact encoding.
pub trait Wire: Sized {
    /// Appends the value to `out`.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes a value from the front of `input`.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes end early or hold no such value.
    fn take(input: &mut Bytes) -> Result<Self, Malformed>;

    /// The value alone, as bytes.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.put(&mut out);
        out.into()
    }

    /// Reads a value that must fill all of `input`.
    ///
    /// # Errors
    /// [`Malformed`], also for bytes left over.
    fn from_bytes(mut input: Bytes) -> Result<Self, Malformed> {
        let value = Self::take(&mut input)?;
        if input.is_empty() { Ok(value) } else { Err(Malformed("bytes left over")) }
    }
}

/// Implements [`Wire`] for a struct by its fields, in the order given.
#[macro_export]
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let _ = &out;
                $( $crate::wire::Wire::put(&self.$field, out); )*
            }
            fn take(input: &mut ::bytes::Bytes) -> Result<Self, $crate::wire::Malformed> {
                let _ = &input;
                Ok(Self { $( $field: $crate::wire::Wire::take(input)?, )* })
            }
        }
    };
}

/// Implements [`Wire`] for an enum as a tag byte and the variant's fields. Tags are never reused.
#[macro_export]
macro_rules! wire_enum {
    ($name:ident { $($tag:literal => $variant:ident $(($($item:ident),+))? $({$($field:ident),+ $(,)?})? ),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $( Self::$variant $(($($item),+))? $({$($field),+})? => {
                        out.push($tag);
                        $( $( $crate::wire::Wire::put($item, out); )+ )?
                        $( $( $crate::wire::Wire::put($field, out); )+ )?
                    } )*
                }
            }
            fn take(input: &mut ::bytes::Bytes) -> Result<Self, $crate::wire::Malformed> {
                let tag = <u8 as $crate::wire::Wire>::take(input)?;
                match tag {
                    $( $tag => {
                        $( $( let $item = $crate::wire::Wire::take(input)?; )+ )?
                        $( $( let $field = $crate::wire::Wire::take(input)?; )+ )?
                        Ok(Self::$variant $(($($item),+))? $({$($field),+})?)
                    } )*
                    _ => Err($crate::wire::Malformed(concat!("unknown ", stringify!($name)))),
                }
            }
        }
    };
}

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let byte = *input.first().ok_or(Malformed("ends early"))?;
        let _ = input.split_to(1);
        Ok(byte)
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither true nor false")),
        }
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push((rest as u8) | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let mut value = 0u64;
        for (index, &byte) in input.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return Err(Malformed("integer too large"));
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                let _ = input.split_to(index + 1);
                return Ok(value);
            }
        }
        Err(Malformed(if input.len() < 10 { "ends early" } else { "integer too long" }))
    }
}

impl Wire for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        u64::take(input)?.try_into().map_err(|_| Malformed("integer too large"))
    }
}

impl Wire for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        (((*self << 1) ^ (*self >> 63)) as u64).put(out);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let zigzag = u64::take(input)?;
        Ok(((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64))
    }
}

impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let length = u64::take(input)?;
        if length > input.len() as u64 {
            return Err(Malformed("ends early"));
        }
        Ok(input.split_to(length as usize))
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let bytes = Bytes::take(input)?;
        std::str::from_utf8(&bytes).map(ToOwned::to_owned).map_err(|_| Malformed("not UTF-8"))
    }
}

impl Wire for Name {
    fn put(&self, out: &mut Vec<u8>) {
        (self.as_str().len() as u64).put(out);
        out.extend_from_slice(self.as_str().as_bytes());
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        Self::new(&String::take(input)?).map_err(|_| Malformed("invalid name"))
    }
}

impl Wire for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        if input.len() < 16 {
            return Err(Malformed("ends early"));
        }
        let bytes = input.split_to(16);
        Ok(Self(std::array::from_fn(|index| bytes[index])))
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        T::take(input).map(Self::new)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        bool::take(input)?.then(|| T::take(input)).transpose()
    }
}

/// Items whose reservation we make up front however long a list claims to be.
const RESERVED_ITEMS_MAX: usize = 1_024;

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for item in self {
            item.put(out);
        }
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        let count = u64::take(input)?;
        if count > input.len() as u64 {
            return Err(Malformed("list longer than its bytes"));
        }
        let mut items = Self::with_capacity((count as usize).min(RESERVED_ITEMS_MAX));
        for _ in 0..count {
            items.push(T::take(input)?);
        }
        Ok(items)
    }
}

impl<T: Wire> Wire for VecDeque<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for item in self {
            item.put(out);
        }
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        Vec::take(input).map(Into::into)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        Ok(Vec::<(K, V)>::take(input)?.into_iter().collect())
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

macro_rules! wire_newtypes {
    ($($name:ident),*) => { $(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
            fn take(input: &mut Bytes) -> Result<Self, Malformed> {
                Wire::take(input).map(Self)
            }
        }
    )* };
}
wire_newtypes!(
    ShardId,
    StreamId,
    Position,
    Offset,
    Epoch,
    GroupEpoch,
    AssignmentEpoch,
    MemberId,
    Attempt,
    ProducerId,
    BrokerId,
    Incarnation,
    MoveSeq,
    Revision,
    LogTime
);
wire_struct!(Lease { epoch, attempt });
wire_struct!(Member { broker, incarnation });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_and_overlong_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(u64::from_bytes(value.to_bytes()), Ok(value));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(i64::from_bytes(value.to_bytes()), Ok(value));
        }
        assert!(u64::from_bytes(vec![0x80; 11].into()).is_err());
        assert!(u64::from_bytes(vec![0x80; 3].into()).is_err());
        assert!(u32::from_bytes((u64::from(u32::MAX) + 1).to_bytes()).is_err());
    }

    #[test]
    fn a_list_can_not_claim_more_items_than_bytes() {
        let mut lie = Vec::new();
        u64::MAX.put(&mut lie);
        lie.push(1);
        assert!(Vec::<u64>::from_bytes(lie.clone().into()).is_err());
        assert!(Bytes::from_bytes(lie.into()).is_err());
    }

    #[test]
    fn left_over_bytes_are_refused() {
        assert_eq!(u8::from_bytes(Bytes::from_static(&[1, 2])), Err(Malformed("bytes left over")));
    }
}
