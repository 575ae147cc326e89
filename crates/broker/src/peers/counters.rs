//! What passed between this broker and one other.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals of one peer since it is in the catalog. All grow.
#[derive(Debug, Default)]
pub struct PeerCounters {
    /// Bytes of packs handed to the connection.
    pub sent_bytes: AtomicU64,
    /// Messages handed to the connection.
    pub sent_messages: AtomicU64,
    /// Bytes of packs that came in.
    pub received_bytes: AtomicU64,
    /// Messages that came in.
    pub received_messages: AtomicU64,
    /// Messages that were dropped because the queue was full.
    pub dropped_full: AtomicU64,
    /// Messages that were dropped because there was no link, or because it was lost before they were handed to it.
    pub dropped_unlinked: AtomicU64,
    /// Links that were established.
    pub links: AtomicU64,
    /// Dials that failed.
    pub failed_dials: AtomicU64,
    /// Streams that ended because of what the peer sent.
    pub malformed: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    // Totals order nothing.
    counter.fetch_add(count, Ordering::Relaxed);
}
