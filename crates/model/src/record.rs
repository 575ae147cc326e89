//! Record batches in the layout of Kafka's RecordBatch v2: what producers send, logs store and consumers get,
//! untouched. `docs/formats/record-batch.md` draws the bytes.
//!
//! * [`Batch::parse`] checks the header and the checksum and decompresses nothing: every hop may call it.
//! * [`Batch::check_records`] walks the records as they inflate, once, where a batch enters the cluster.
//! * [`Batch::records`] hands out the messages as slices of one buffer.
//! * [`BatchBuilder`] encodes.
//! * [`stamp_base_offset`] gives a batch its place in its stream.

mod batch;
mod build;
mod check;
mod inflate;
mod lz4;
mod records;
mod snappy;
mod varint;

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use bytes::{Bytes, BytesMut};

pub use batch::{Batch, RecordsSummary};
pub use build::{BatchBuilder, RecordDraft};
pub use records::{Record, Records};

use crate::{Offset, Refusal};

/// Bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;

/// Header keys that begin so are written by brokers only (dead letters carry their history in them).
pub const RESERVED_HEADER_PREFIX: &str = "pondage-";

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Gzip (RFC 1952).
    Gzip,
    /// Snappy; written in the block framing that Java's library writes, read in that and bare.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Every codec, in the order of its number in a batch's attributes.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    const NAMES: &'static str = "none, gzip, snappy, lz4, zstd";

    /// The word for settings and people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Its number in a batch's attributes.
    const fn id(self) -> u8 {
        self as u8
    }

    fn from_id(id: u8) -> Result<Self, Refusal> {
        Self::ALL.get(usize::from(id)).copied().ok_or_else(|| Refusal::Unsupported {
            what: format!("compression {id} of a record batch"),
            supported: Self::NAMES,
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = Refusal;

    /// Reads the word that [`Compression::as_str`] gives.
    ///
    /// # Errors
    /// [`Refusal::Unsupported`] for any other.
    fn from_str(word: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|codec| codec.as_str() == word).ok_or_else(|| Refusal::Unsupported {
            what: format!("compression {word:?}"),
            supported: Self::NAMES,
        })
    }
}

/// The sequence number of the message `count` after the one with `first`: numbers wrap from `i32::MAX` to 0.
#[must_use]
pub const fn sequence_after(first: u32, count: u32) -> u32 {
    // The sum of two 31-bit rests has 32 bits at most, and 2^31 divides 2^32: the wrapping sum is right.
    first.wrapping_add(count) & i32::MAX as u32
}

/// Gives a batch its place in its stream: writes the base offset, which the checksum leaves free. In place if
/// nobody else holds `bytes`, else into a copy.
///
/// # Panics
/// If `bytes` is shorter than a batch's header, or the offset is beyond `i64::MAX`: a caller's mistake, since
/// only a [`Batch`]'s bytes are stamped.
#[must_use]
pub fn stamp_base_offset(bytes: Bytes, base: Offset) -> Bytes {
    assert!(bytes.len() >= BATCH_HEADER_BYTES, "only a parsed batch is stamped");
    assert!(i64::try_from(base.get()).is_ok(), "offsets end at i64::MAX");
    let mut owned = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    owned[..8].copy_from_slice(&base.get().to_be_bytes());
    owned.freeze()
}
