//! Compressing and inflating the records of a batch. What is read comes from strangers: every reader here
//! takes memory in proportion to the bytes at hand and to what it has really produced, never to a length that
//! the bytes claim, and stops at [`limits::BATCH_INFLATED_BYTES_MAX`].

use std::io::{self, BufRead, BufReader, Read, Write};

use bytes::Bytes;
use flate2::{bufread::MultiGzDecoder, write::GzEncoder};

use super::{Compression, lz4, snappy};
use crate::{Refusal, limits};

/// Bytes that are inflated at a time where the codec's own reader has no blocks.
const CHUNK_BYTES: usize = 32 << 10;

/// The greatest window that a Zstandard frame may ask for, as a power of two: what producers at the highest
/// level use. The window's pages are touched only as output fills them, so asking alone costs no memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The level that Zstandard batches are built with: its own default.
const ZSTD_LEVEL: i32 = 3;

/// Compressed records as a stream of inflated bytes.
pub(super) enum Inflater<'a> {
    Plain(&'a [u8]),
    Gzip(BufReader<MultiGzDecoder<&'a [u8]>>),
    Snappy(Blocks<snappy::BlockReader<'a>>),
    Lz4(Blocks<lz4::BlockReader<'a>>),
    Zstd(BufReader<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

/// Begins to inflate.
pub(super) fn open(codec: Compression, coded: &[u8]) -> Result<Inflater<'_>, Refusal> {
    open_io(codec, coded).map_err(|error| refusal(&error))
}

fn open_io(codec: Compression, coded: &[u8]) -> io::Result<Inflater<'_>> {
    Ok(match codec {
        Compression::None => Inflater::Plain(coded),
        Compression::Gzip => {
            Inflater::Gzip(BufReader::with_capacity(CHUNK_BYTES, MultiGzDecoder::new(coded)))
        }
        Compression::Snappy => Inflater::Snappy(Blocks::new(snappy::BlockReader::new(coded))),
        Compression::Lz4 => Inflater::Lz4(Blocks::new(lz4::BlockReader::new(coded)?)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(coded)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Inflater::Zstd(BufReader::with_capacity(CHUNK_BYTES, decoder))
        }
    })
}

/// Inflates everything into one buffer.
pub(super) fn inflate(codec: Compression, coded: &[u8]) -> Result<Bytes, Refusal> {
    let mut input = open(codec, coded)?;
    let mut out = Vec::new();
    loop {
        let chunk = input.fill_buf().map_err(|error| refusal(&error))?;
        if chunk.is_empty() {
            return Ok(out.into());
        }
        let taken = chunk.len();
        let length = out.len() + taken;
        if length > limits::BATCH_INFLATED_BYTES_MAX {
            return Err(too_large(length as u64));
        }
        if length > out.capacity() {
            // Twice as much each time, but never beyond the cap.
            let capacity = (2 * out.capacity()).clamp(length, limits::BATCH_INFLATED_BYTES_MAX);
            out.reserve_exact(capacity - out.len());
        }
        out.extend_from_slice(chunk);
        input.consume(taken);
    }
}

/// Appends the records in compressed form.
pub(super) fn deflate(codec: Compression, records: &[u8], out: &mut Vec<u8>) {
    let written = match codec {
        Compression::None => out.write_all(records),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(records).and_then(|()| encoder.try_finish())
        }
        Compression::Snappy => snappy::deflate(records, out),
        Compression::Lz4 => lz4::deflate(records, out),
        Compression::Zstd => deflate_zstd(records, out),
    };
    written.expect("memory takes every byte");
}

fn deflate_zstd(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.resize(start + zstd::zstd_safe::compress_bound(records.len()), 0);
    let written = zstd::bulk::compress_to_buffer(records, &mut out[start..], ZSTD_LEVEL)?;
    out.truncate(start + written);
    Ok(())
}

/// The refusal of a batch that inflates to more than is allowed.
pub(super) const fn too_large(bytes: u64) -> Refusal {
    Refusal::TooLarge { what: "the inflated batch", bytes, limit: limits::BATCH_INFLATED_BYTES_MAX as u64 }
}

/// What the failure of one of the readers here means.
pub(super) fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        // A reader saw that its next block alone goes over the cap.
        io::ErrorKind::FileTooLarge => too_large(limits::BATCH_INFLATED_BYTES_MAX as u64 + 1),
        _ => Refusal::CorruptBatch { what: "its records can't be decompressed" },
    }
}

/// The error of a reader here whose input is not what its codec writes.
pub(super) fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Takes `length` bytes from the front of `input`.
pub(super) fn take<'a>(input: &mut &'a [u8], length: usize) -> io::Result<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(length).ok_or(malformed("it ends early"))?;
    *input = rest;
    Ok(taken)
}

/// Takes four bytes from the front of `input`.
pub(super) fn take_word(input: &mut &[u8]) -> io::Result<[u8; 4]> {
    let taken = take(input, 4)?;
    Ok(std::array::from_fn(|index| taken[index]))
}

/// A codec that is read block by block.
pub(super) trait NextBlock {
    /// Inflates the next block behind what it still needs of `out`, and gives the place in `out` where the
    /// block begins; `None` at the end.
    fn next_block(&mut self, out: &mut Vec<u8>) -> io::Result<Option<usize>>;
}

/// The blocks of a codec as one stream.
pub(super) struct Blocks<S> {
    source: S,
    out: Vec<u8>,
    /// What of `out` has been read.
    read: usize,
}

impl<S> Blocks<S> {
    const fn new(source: S) -> Self {
        Self { source, out: Vec::new(), read: 0 }
    }
}

impl<S: NextBlock> Blocks<S> {
    fn fill(&mut self) -> io::Result<&[u8]> {
        while self.read == self.out.len() {
            match self.source.next_block(&mut self.out)? {
                Some(start) => self.read = start,
                None => break,
            }
        }
        Ok(&self.out[self.read..])
    }
}

impl BufRead for Inflater<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(rest) => Ok(rest),
            Self::Gzip(reader) => reader.fill_buf(),
            Self::Snappy(blocks) => blocks.fill(),
            Self::Lz4(blocks) => blocks.fill(),
            Self::Zstd(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Plain(rest) => *rest = &rest[amount..],
            Self::Gzip(reader) => reader.consume(amount),
            Self::Snappy(blocks) => blocks.read += amount,
            Self::Lz4(blocks) => blocks.read += amount,
            Self::Zstd(reader) => reader.consume(amount),
        }
    }
}

impl Read for Inflater<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let taken = chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&chunk[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}
