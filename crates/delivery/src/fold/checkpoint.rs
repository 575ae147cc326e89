//! The fold as bytes: what a log may be cut behind.

use bytes::Bytes;
use pondage_model::{
    StreamId,
    entry::CheckpointPage,
    limits::CHECKPOINT_PAGE_BYTES_MAX,
    wire::{Malformed, Wire},
};

use super::{ShardState, stream::Stream};

/// The version of the encoding.
const VERSION: u8 = 1;

impl ShardState {
    /// The state as pages of at most [`CHECKPOINT_PAGE_BYTES_MAX`] bytes, at least one.
    ///
    /// # Panics
    /// If the state fills 2^32 pages, which no memory holds.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<CheckpointPage> {
        let mut out = vec![VERSION];
        (self.streams.len() as u64).put(&mut out);
        for (id, stream) in &self.streams {
            id.put(&mut out);
            stream.put_into(&mut out);
        }
        let bytes = Bytes::from(out);
        let total = bytes.len().div_ceil(CHECKPOINT_PAGE_BYTES_MAX);
        let total = u32::try_from(total).expect("a state in memory has fewer than 2^32 pages");
        (0..total)
            .map(|index| {
                let first = index as usize * CHECKPOINT_PAGE_BYTES_MAX;
                let end = bytes.len().min(first + CHECKPOINT_PAGE_BYTES_MAX);
                CheckpointPage { index, total, bytes: bytes.slice(first..end) }
            })
            .collect()
    }

    /// The state whose checkpoint the pages are, in order.
    ///
    /// # Errors
    /// [`Malformed`] if pages are missing, mixed up, or hold no state.
    pub fn restore(pages: Vec<CheckpointPage>) -> Result<Self, Malformed> {
        let mut joined = Vec::with_capacity(pages.iter().map(|page| page.bytes.len()).sum());
        let count = pages.len();
        for (index, page) in pages.into_iter().enumerate() {
            if page.index as usize != index || page.total as usize != count {
                return Err(Malformed("checkpoint pages missing or out of order"));
            }
            joined.extend_from_slice(&page.bytes);
        }
        let mut input = Bytes::from(joined);
        if u8::take(&mut input)? != VERSION {
            return Err(Malformed("unknown version of a checkpoint"));
        }
        let mut state = Self::default();
        let count = u64::take(&mut input)?;
        for _ in 0..count {
            let id = StreamId::take(&mut input)?;
            let stream = Stream::restore(&mut input)?;
            if state.streams.insert(id, stream).is_some() {
                return Err(Malformed("a stream twice"));
            }
            state.note_moves(id);
        }
        if input.is_empty() { Ok(state) } else { Err(Malformed("bytes left over")) }
    }
}
