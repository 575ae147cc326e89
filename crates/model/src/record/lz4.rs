//! The LZ4 frame format. Reading is our own, over the library's block decoder: the library's frame reader sets
//! memory aside for the block size that a frame claims (4 MiB and more for a frame of 20 bytes), and takes a
//! frame without an end for a whole one.

use std::{
    hash::Hasher,
    io::{self, Write},
};

use lz4_flex::{
    block::decompress_into_with_dict,
    frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo},
};
use twox_hash::XxHash32;

use super::inflate::{NextBlock, malformed, take, take_word};

const MAGIC: u32 = 0x184D_2204;

/// Set in a block's length if the block is stored as it is.
const STORED: u32 = 1 << 31;

/// How far back a block may refer.
const WINDOW_BYTES: usize = 64 << 10;

/// No element of the format makes more of a byte: one more byte lengthens a match by 255.
const GROWTH_MAX: usize = 255;

mod flag {
    pub(super) const VERSION_BITS: u8 = 0b1100_0000;
    pub(super) const VERSION: u8 = 0b0100_0000;
    pub(super) const INDEPENDENT: u8 = 1 << 5;
    pub(super) const BLOCK_CHECKSUMS: u8 = 1 << 4;
    pub(super) const CONTENT_BYTES: u8 = 1 << 3;
    pub(super) const CONTENT_CHECKSUM: u8 = 1 << 2;
    pub(super) const RESERVED: u8 = 1 << 1;
    pub(super) const DICTIONARY: u8 = 1;
}

/// Reads one frame, block after block; nothing may follow it.
pub(super) struct BlockReader<'a> {
    rest: &'a [u8],
    flags: u8,
    block_bytes_max: usize,
    /// The content's length as the frame states it.
    content_bytes: Option<u64>,
    produced_bytes: u64,
    content: XxHash32,
    ended: bool,
}

impl<'a> BlockReader<'a> {
    /// Reads the frame's header.
    pub(super) fn new(coded: &'a [u8]) -> io::Result<Self> {
        let mut rest = coded;
        if u32::from_le_bytes(take_word(&mut rest)?) != MAGIC {
            return Err(malformed("no frame"));
        }
        let descriptor = rest;
        let options = take(&mut rest, 2)?;
        let (flags, sizes) = (options[0], options[1]);
        if flags & flag::VERSION_BITS != flag::VERSION || flags & flag::RESERVED != 0 {
            return Err(malformed("the frame's version or flags"));
        }
        if flags & flag::DICTIONARY != 0 {
            return Err(malformed("the frame needs a dictionary"));
        }
        let block_bytes_max = match sizes {
            0x40 | 0x50 | 0x60 | 0x70 => 1 << (8 + 2 * (sizes >> 4)),
            _ => return Err(malformed("the frame's block size")),
        };
        let content_bytes = if flags & flag::CONTENT_BYTES == 0 {
            None
        } else {
            let bytes = take(&mut rest, 8)?;
            Some(u64::from_le_bytes(std::array::from_fn(|index| bytes[index])))
        };
        let described = &descriptor[..descriptor.len() - rest.len()];
        let check = (XxHash32::oneshot(0, described) >> 8) as u8;
        if take(&mut rest, 1)? != [check] {
            return Err(malformed("the header's checksum"));
        }
        let content = XxHash32::with_seed(0);
        Ok(Self { rest, flags, block_bytes_max, content_bytes, produced_bytes: 0, content, ended: false })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        if self.has(flag::CONTENT_CHECKSUM)
            && u32::from_le_bytes(take_word(&mut self.rest)?) != self.content.finish_32()
        {
            return Err(malformed("the content's checksum"));
        }
        if self.content_bytes.is_some_and(|bytes| bytes != self.produced_bytes) {
            return Err(malformed("the content's length"));
        }
        if self.rest.is_empty() { Ok(()) } else { Err(malformed("bytes behind the frame")) }
    }
}

impl NextBlock for BlockReader<'_> {
    fn next_block(&mut self, out: &mut Vec<u8>) -> io::Result<Option<usize>> {
        if self.ended {
            return Ok(None);
        }
        let word = u32::from_le_bytes(take_word(&mut self.rest)?);
        if word == 0 {
            self.end()?;
            return Ok(None);
        }
        let length = (word & !STORED) as usize;
        if length > self.block_bytes_max {
            return Err(malformed("a block larger than the frame allows"));
        }
        let block = take(&mut self.rest, length)?;
        if self.has(flag::BLOCK_CHECKSUMS)
            && u32::from_le_bytes(take_word(&mut self.rest)?) != XxHash32::oneshot(0, block)
        {
            return Err(malformed("a block's checksum"));
        }
        let window = if self.has(flag::INDEPENDENT) { 0 } else { out.len().min(WINDOW_BYTES) };
        out.drain(..out.len() - window);
        if word & STORED != 0 {
            out.extend_from_slice(block);
        } else {
            let room = self.block_bytes_max.min(length.saturating_mul(GROWTH_MAX));
            out.resize(window + room, 0);
            let (dictionary, target) = out.split_at_mut(window);
            let inflated = decompress_into_with_dict(block, target, dictionary)
                .map_err(|_| malformed("a block's content"))?;
            out.truncate(window + inflated);
        }
        let produced = &out[window..];
        self.produced_bytes += produced.len() as u64;
        if self.flags & flag::CONTENT_CHECKSUM != 0 {
            self.content.write(produced);
        }
        Ok(Some(window))
    }
}

/// Appends the records as one frame of independent blocks of 64 KiB: Java's reader takes no dependent ones.
pub(super) fn deflate(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let frame = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(records)?;
    encoder.try_finish().map_err(io::Error::other)
}
