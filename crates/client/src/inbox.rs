//! What has arrived and was not yet taken. Its size is bounded by the credit that the task gives the broker.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::ClientError;

/// A queue between a task and whoever asks for the next item. `S` is what is noted as items are taken.
#[derive(Debug)]
pub(crate) struct Inbox<T, S> {
    state: Mutex<State<T, S>>,
    arrived: Notify,
    taken: Notify,
}

#[derive(Debug)]
struct State<T, S> {
    items: VecDeque<T>,
    taken: u32,
    notes: S,
    end: Option<Result<(), ClientError>>,
}

impl<T, S: Default> Inbox<T, S> {
    pub(crate) fn new() -> Self {
        let state = State { items: VecDeque::new(), taken: 0, notes: S::default(), end: None };
        Self { state: Mutex::new(state), arrived: Notify::new(), taken: Notify::new() }
    }

    /// No code that holds the lock can panic half way, so a poisoned one is as good.
    fn state(&self) -> MutexGuard<'_, State<T, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends items.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = T>) {
        self.state().items.extend(items);
        self.arrived.notify_one();
    }

    /// Appends items and forgets the oldest beyond `most`.
    pub(crate) fn push_newest(&self, items: impl IntoIterator<Item = T>, most: usize) {
        let mut state = self.state();
        state.items.extend(items);
        let beyond = state.items.len().saturating_sub(most);
        state.items.drain(..beyond);
        drop(state);
        self.arrived.notify_one();
    }

    /// Forgets what has arrived and what was noted.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.items.clear();
        state.taken = 0;
        state.notes = S::default();
    }

    /// Nothing more will arrive.
    pub(crate) fn finish(&self, end: Result<(), ClientError>) {
        self.state().end.get_or_insert(end);
        self.arrived.notify_one();
    }

    /// Takes the next item, with a note of it; `None` at the end. An error is told once, then it is the end.
    pub(crate) async fn next(&self, note: impl Fn(&mut S, Option<&T>)) -> Result<Option<T>, ClientError> {
        let mut is_asked = false;
        loop {
            {
                let mut guard = self.state();
                let state = &mut *guard;
                let item = state.items.pop_front();
                // Asking says something about the item before, even while there is no next one.
                if item.is_some() || !is_asked {
                    note(&mut state.notes, item.as_ref());
                    is_asked = true;
                }
                if item.is_some() {
                    state.taken = state.taken.saturating_add(1);
                    let more = !state.items.is_empty();
                    drop(guard);
                    self.taken.notify_one();
                    if more {
                        self.arrived.notify_one();
                    }
                    return Ok(item);
                }
                if let Some(end) = &mut state.end {
                    let end = std::mem::replace(end, Ok(()));
                    self.arrived.notify_one();
                    return end.map(|()| None);
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Waits until something was taken since the last time, and says how much.
    pub(crate) async fn taken(&self) -> u32 {
        loop {
            let taken = std::mem::take(&mut self.state().taken);
            if taken > 0 {
                return taken;
            }
            self.taken.notified().await;
        }
    }

    /// Looks at the items that wait and at the notes, as they are at one moment.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut VecDeque<T>, &mut S) -> R) -> R {
        let mut guard = self.state();
        let State { items, notes, .. } = &mut *guard;
        look(items, notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::Refusal;

    #[tokio::test]
    async fn items_come_first_then_the_error_then_the_end() {
        let inbox: Inbox<u32, Vec<Option<u32>>> = Inbox::new();
        let next = async || inbox.next(|notes, item| notes.push(item.copied())).await;
        inbox.push([1, 2]);
        inbox.finish(Err(Refusal::ShuttingDown.into()));
        inbox.finish(Ok(()));
        assert_eq!(next().await, Ok(Some(1)));
        assert_eq!(next().await, Ok(Some(2)));
        assert_eq!(inbox.taken().await, 2);
        assert!(next().await.is_err());
        assert_eq!(next().await, Ok(None));
        assert_eq!(inbox.with(|_, notes| std::mem::take(notes)), [Some(1), Some(2), None, None]);
    }

    #[tokio::test]
    async fn what_is_cleared_is_never_taken() {
        let inbox: Inbox<u32, ()> = Inbox::new();
        inbox.push([1, 2]);
        inbox.clear();
        assert_eq!(inbox.with(|items, ()| items.len()), 0);
        inbox.push([3]);
        assert_eq!(inbox.next(|(), _| ()).await, Ok(Some(3)));
    }

    #[tokio::test]
    async fn the_newest_stay() {
        let inbox: Inbox<u32, ()> = Inbox::new();
        inbox.push_newest([1, 2], 3);
        inbox.push_newest([3, 4], 3);
        assert_eq!(inbox.with(|items, ()| items.len()), 3);
        assert_eq!(inbox.next(|(), _| ()).await, Ok(Some(2)));
    }
}
