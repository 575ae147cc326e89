//! A gzip document of pieces that are compressed each by itself, so that a piece that stays the same is compressed once.

use std::mem;

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};

/// The quickest: what changes is compressed at each scrape, and metrics repeat themselves so much that more effort gains
/// little.
const LEVEL: u32 = 1;
/// What a member begins with: deflate, no name, no time, an unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last block, with nothing in it.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// Compressed text. It ends on a byte and refers to nothing in front of it, so it may stand anywhere between others.
#[derive(Debug)]
pub(super) struct Piece {
    deflated: Box<[u8]>,
    crc: Hasher,
    length: usize,
}

/// What makes pieces.
#[derive(Debug)]
pub(super) struct Deflater {
    compress: Compress,
    out: Vec<u8>,
}

impl Deflater {
    pub(super) fn new() -> Self {
        Self { compress: Compress::new(Compression::new(LEVEL), false), out: Vec::new() }
    }

    pub(super) fn piece(&mut self, text: &[u8]) -> Piece {
        let mut rest = text;
        loop {
            self.out.reserve(rest.len() + 1_024);
            let before = self.compress.total_in();
            let compressed = self.compress.compress_vec(rest, &mut self.out, FlushCompress::Full);
            compressed.expect("compressing fails for wrong parameters only");
            let taken = usize::try_from(self.compress.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            // Where room is left, nothing more waits to come out.
            if rest.is_empty() && self.out.len() < self.out.capacity() {
                break;
            }
        }
        let mut crc = Hasher::new();
        crc.update(text);
        let deflated = self.out.as_slice().into();
        self.out.clear();
        Piece { deflated, crc, length: text.len() }
    }
}

/// A document that is being put together.
#[derive(Debug)]
pub(super) struct Document {
    bytes: Vec<u8>,
    crc: Hasher,
    length: usize,
}

impl Document {
    pub(super) fn new() -> Self {
        Self { bytes: HEAD.to_vec(), crc: Hasher::new(), length: 0 }
    }

    pub(super) fn push(&mut self, piece: &Piece) {
        self.bytes.extend_from_slice(&piece.deflated);
        self.crc.combine(&piece.crc);
        self.length += piece.length;
    }

    #[expect(clippy::cast_possible_truncation, reason = "gzip's length is modulo 2^32")]
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&LAST_BLOCK);
        self.bytes.extend_from_slice(&self.crc.finalize().to_le_bytes());
        self.bytes.extend_from_slice(&(self.length as u32).to_le_bytes());
        mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
pub(super) fn gunzip(bytes: &[u8]) -> String {
    use std::io::Read;
    let (mut text, mut decoder) = (String::new(), flate2::bufread::GzDecoder::new(bytes));
    decoder.read_to_string(&mut text).expect("one whole member with the right checksum");
    assert!(decoder.into_inner().is_empty(), "nothing follows");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_stand_in_any_order_any_number_of_times() {
        let mut deflater = Deflater::new();
        let long: String =
            (0..20_000_u32).map(|number| format!("{} ", number.wrapping_mul(2_654_435_761))).collect();
        // Alike, so that a piece would refer to the one before if it could.
        let texts = ["a_metric{queue=\"orders-1\"} 17\n", "a_metric{queue=\"orders-2\"} 17\n", "", &long];
        let pieces = texts.map(|text| deflater.piece(text.as_bytes()));
        for order in [&[0, 1, 2, 3][..], &[1, 0], &[3, 3, 1, 0, 0], &[2], &[]] {
            let mut document = Document::new();
            order.iter().for_each(|index: &usize| document.push(&pieces[*index]));
            let text: String = order.iter().map(|index| texts[*index]).collect();
            assert_eq!(gunzip(&document.finish()), text, "{order:?}");
        }
    }
}
