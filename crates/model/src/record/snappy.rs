//! Snappy as producers send it: bare, or in the framing of Java's library, which is a header of 16 bytes and
//! then blocks, each with its length before it.

use std::io;

use super::inflate::{NextBlock, malformed, take, take_word};
use crate::limits;

/// What a framed stream begins with.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// Version and least compatible version, as Java's library writes them.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// Inflated bytes of the blocks that we write.
const BLOCK_BYTES: usize = 32 << 10;

/// No element of the format makes more of a byte: three bytes copy 64.
const GROWTH_MAX: usize = 22;

/// Reads block after block; a bare stream is one block.
pub(super) struct BlockReader<'a> {
    rest: &'a [u8],
    framed: bool,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(coded: &'a [u8]) -> Self {
        // Readers of the framing don't look at the versions: clients differ in what they write there.
        match coded.split_at_checked(MAGIC.len() + VERSIONS.len()) {
            Some((header, rest)) if header.starts_with(&MAGIC) => Self { rest, framed: true },
            _ => Self { rest: coded, framed: false },
        }
    }
}

impl NextBlock for BlockReader<'_> {
    fn next_block(&mut self, out: &mut Vec<u8>) -> io::Result<Option<usize>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let block = if self.framed {
            let length = u32::from_be_bytes(take_word(&mut self.rest)?);
            take(&mut self.rest, length as usize)?
        } else {
            std::mem::take(&mut self.rest)
        };
        let length = snap::raw::decompress_len(block).map_err(|_| malformed("a block's length"))?;
        if length > block.len().saturating_mul(GROWTH_MAX) {
            return Err(malformed("a block claims more than it can hold"));
        }
        if length > limits::BATCH_INFLATED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        out.clear();
        out.resize(length, 0);
        let inflated =
            snap::raw::Decoder::new().decompress(block, out).map_err(|_| malformed("a block's content"))?;
        out.truncate(inflated);
        Ok(Some(0))
    }
}

/// Appends the records in framed form.
pub(super) fn deflate(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let written = encoder.compress(block, &mut out[start..]).map_err(io::Error::other)?;
        out.truncate(start + written);
        let length = u32::try_from(written).expect("a block of 32 KiB stays small");
        out[length_at..start].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
