//! Memory that received messages take until they are handled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one sender may occupy here in one lane.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    bytes_max: u32,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(bytes_max as usize)), bytes_max }
    }

    /// Waits until there is room. What is greater than all of it takes all of it.
    pub(super) async fn take(&self, bytes: usize) -> Credit {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let permit = Arc::clone(&self.free).acquire_many_owned(bytes).await;
        Credit(Some(permit.expect("nobody closes a budget")))
    }
}

/// A message's place in its sender's budget, given back when it is dropped.
#[derive(Debug)]
#[must_use = "the sender gets its room back when this is dropped"]
pub struct Credit(Option<OwnedSemaphorePermit>);

impl Credit {
    /// Takes no room: for what a broker tells itself, and for tests.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Parts with some of it, at most with all that is left.
    pub(super) fn split(&mut self, bytes: usize) -> Self {
        let Some(permit) = &mut self.0 else { return Self(None) };
        let bytes = bytes.min(permit.num_permits());
        Self(permit.split(bytes))
    }
}
