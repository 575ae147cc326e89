//! Cursors that sessions here rest on, so that whoever is overtaken hears of it at once: by a later claim, or because
//! somebody moved the cursor. It would else find out by its next commit, and one that waits for messages makes none.
//!
//! All claims and moves of a cursor go by the broker that leads the partition, and so do those who read it for a group.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use pondage_model::{GroupEpoch, Name, StreamId};
use tokio::sync::watch;

type Epochs = HashMap<(StreamId, Name), watch::Sender<GroupEpoch>>;

/// The newest epochs of the cursors that somebody here watches.
#[derive(Debug, Default)]
pub(crate) struct Cursors(Mutex<Epochs>);

impl Cursors {
    fn epochs(&self) -> std::sync::MutexGuard<'_, Epochs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every epoch that the cursor gets from now on.
    pub(crate) fn watch(&self, stream: StreamId, group: &Name) -> watch::Receiver<GroupEpoch> {
        let mut epochs = self.epochs();
        let begin = || watch::Sender::new(GroupEpoch::ZERO);
        epochs.entry((stream, group.clone())).or_insert_with(begin).subscribe()
    }

    /// Somebody claimed the cursor, or moved it.
    pub(crate) fn moved(&self, stream: StreamId, group: &Name, epoch: GroupEpoch) {
        if let Some(known) = self.epochs().get(&(stream, group.clone())) {
            known.send_if_modified(|known| {
                let is_newer = epoch > *known;
                *known = epoch.max(*known);
                is_newer
            });
        }
    }

    /// Somebody watches the cursor no more.
    pub(crate) fn unwatch(&self, stream: StreamId, group: &Name) {
        let mut epochs = self.epochs();
        let key = (stream, group.clone());
        if epochs.get(&key).is_some_and(|epoch| epoch.receiver_count() == 0) {
            epochs.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_newer_epochs_are_told_and_nothing_is_kept_for_nobody() {
        let (cursors, stream) = (Cursors::default(), StreamId(3));
        let [group, other] = ["billing", "shipping"].map(|name| Name::new(name).expect("valid"));
        cursors.moved(stream, &group, GroupEpoch(1));
        assert!(cursors.epochs().is_empty(), "nobody asked");
        let (mut first, second) = (cursors.watch(stream, &group), cursors.watch(stream, &group));
        cursors.moved(stream, &other, GroupEpoch(9));
        assert!(!first.has_changed().expect("it is watched"));
        cursors.moved(stream, &group, GroupEpoch(5));
        cursors.moved(stream, &group, GroupEpoch(4));
        assert_eq!((*first.borrow_and_update(), *second.borrow()), (GroupEpoch(5), GroupEpoch(5)));
        cursors.moved(stream, &group, GroupEpoch(5));
        assert!(!first.has_changed().expect("it is watched"));
        drop(first);
        cursors.unwatch(stream, &group);
        assert_eq!(cursors.epochs().len(), 1, "the second one watches");
        drop(second);
        cursors.unwatch(stream, &group);
        assert!(cursors.epochs().is_empty());
    }
}
