//! The numbers inside records: zigzag, then seven bits a byte, least first, the top bit set on all but the last.
//! The 32-bit and 64-bit kinds of the layout have the same bytes for the same value; they differ in how many
//! bytes a reader takes.

/// Bytes of the longest 32-bit number.
pub(super) const BYTES_MAX_32: usize = 5;

/// Bytes of the longest 64-bit number.
pub(super) const BYTES_MAX_64: usize = 10;

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(coded: u64) -> i64 {
    ((coded >> 1) as i64) ^ -((coded & 1) as i64)
}

/// Bytes of the number's encoding.
pub(super) const fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends the number.
pub(super) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Puts a number together from its bytes as they come.
#[derive(Default)]
pub(super) struct Reader {
    coded: u64,
    taken: usize,
}

/// What a byte did to the number that a [`Reader`] puts together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes follow.
    More,
    /// This was the last one.
    Done(i64),
    /// The number is longer than any of its kind.
    TooLong,
}

impl Reader {
    /// Takes the next byte of a number that has `bytes_max` at most.
    pub(super) fn step(&mut self, byte: u8, bytes_max: usize) -> Step {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if self.taken >= bytes_max || (self.taken == BYTES_MAX_64 - 1 && bits > 1) {
            return Step::TooLong;
        }
        self.coded |= bits << (7 * self.taken);
        self.taken += 1;
        if byte < 0x80 { Step::Done(unzigzag(self.coded)) } else { Step::More }
    }
}

/// Takes a number from the front of `input`; `None` if there is none.
pub(super) fn take(input: &mut &[u8]) -> Option<i64> {
    let mut reader = Reader::default();
    for (index, &byte) in input.iter().enumerate() {
        match reader.step(byte, BYTES_MAX_64) {
            Step::More => {}
            Step::Done(value) => {
                *input = &input[index + 1..];
                return Some(value);
            }
            Step::TooLong => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_public_bytes_and_come_back() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(len(value), bytes.len(), "{value}");
            let mut input = bytes;
            assert_eq!(take(&mut input), Some(value));
            assert!(input.is_empty());
            assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None, "{value} cut");
        }
    }

    #[test]
    fn numbers_longer_than_their_kind_are_refused() {
        assert_eq!(take(&mut &[0x80; 11][..]), None);
        assert_eq!(take(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02][..]), None);
        let mut reader = Reader::default();
        for _ in 0..BYTES_MAX_32 {
            assert_eq!(reader.step(0x80, BYTES_MAX_32), Step::More);
        }
        assert_eq!(reader.step(0x00, BYTES_MAX_32), Step::TooLong);
    }
}
