//! The member's task: keeps the join stream, and one task for each partition that it owns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use pondage_model::{Name, Outcome};
use pondage_protocol::{consume::Assigned, members::OwnedPartition};
use tokio::{
    sync::{oneshot, watch},
    task::{Id, JoinError, JoinSet},
    time::timeout,
};

use super::{
    MemberError,
    effort::Teller,
    finder::{Finder, hear},
    other_kind,
    partition::{Context, Partition},
    stream::{Heard, Identity, JoinStream},
};
use crate::ClientError;

type Key = (Name, u32);

/// A partition that is read.
struct Reading {
    assigned: Assigned,
    stop: watch::Sender<bool>,
}

pub(super) struct Task {
    context: Context,
    identity: Identity,
    owned: watch::Sender<BTreeSet<Key>>,
    /// What the group said last.
    told: BTreeMap<Key, OwnedPartition>,
    /// Messages that it may hold uncommitted.
    in_flight_max: u32,
    readings: BTreeMap<Key, Reading>,
    tasks: JoinSet<Result<(), MemberError>>,
    keys: BTreeMap<Id, Key>,
    finder: Finder,
}

impl Task {
    pub(super) fn new(context: Context, identity: Identity, owned: watch::Sender<BTreeSet<Key>>) -> Self {
        let finder = Finder::new(context.client.clone());
        Self {
            context,
            identity,
            owned,
            told: BTreeMap::new(),
            in_flight_max: 1,
            readings: BTreeMap::new(),
            tasks: JoinSet::new(),
            keys: BTreeMap::new(),
            finder,
        }
    }

    /// Is a member until it leaves or something ends it.
    pub(super) async fn run(mut self, mut leaving: oneshot::Receiver<()>) -> Result<(), MemberError> {
        let mut stream: Option<JoinStream> = None;
        let mut teller = Teller::new(Arc::clone(&self.context.effort));
        let end = loop {
            if let Some(stream) = &stream {
                teller.tell(stream);
            }
            let is_joined = stream.is_some();
            tokio::select! {
                biased;
                _ = &mut leaving => break Ok(()),
                () = teller.due(), if is_joined => {}
                Some(ended) = self.tasks.join_next_with_id() => {
                    if let Err(error) = self.ended(ended) {
                        break Err(error);
                    }
                }
                heard = hear(&mut stream, &mut self.finder, &self.identity) => match heard {
                    Ok((joined, Heard::Owned { partitions, in_flight_max })) => {
                        stream = joined.or(stream);
                        self.in_flight_max = in_flight_max;
                        self.told = partitions.into_iter().map(|owned| (key_of(&owned), owned)).collect();
                    }
                    Ok((joined, Heard::Consumes(_))) => {
                        stream = joined.or(stream);
                        break Err(other_kind(&self.identity.group, "is on a queue, or shared: attend it, or work for it").into());
                    }
                    Ok((_, Heard::Left)) => break Ok(()),
                    Err(error) if error.retriable() => {
                        self.finder.lost(&mut stream, &error);
                        teller.begin_anew();
                    }
                    Err(error) => break Err(error.into()),
                },
            }
            self.reconcile(stream.as_ref());
        };
        let uncommitted = Arc::clone(&self.context.uncommitted);
        let left = self.leave(stream).await;
        let uncommitted = uncommitted.lock().unwrap_or_else(PoisonError::into_inner).take();
        end.and(left).and(uncommitted.map_or(Ok(()), |error| Err(error.into())))
    }

    /// Stops what is not owned any more, begins what is, and lets go of what is to pass on and not read.
    fn reconcile(&mut self, stream: Option<&JoinStream>) {
        for (key, reading) in &self.readings {
            let told = self.told.get(key).filter(|owned| !owned.revoked);
            if told.map(assigned_by) != Some(reading.assigned) {
                reading.stop.send_replace(true);
            }
        }
        let unread = self.told.iter().filter(|(key, _)| !self.readings.contains_key(*key));
        let (released, begun): (Vec<_>, Vec<_>) =
            unread.map(|(_, owned)| owned.clone()).partition(|owned| owned.revoked);
        // What is released once need not be told of again: the group says what remains.
        if let Some(stream) = stream
            && !released.is_empty()
            && stream.release(released)
        {
            self.told.retain(|key, owned| !owned.revoked || self.readings.contains_key(key));
        }
        // Its part of what the member may hold, as long as it reads that many partitions.
        let share = self.in_flight_max / u32::try_from(self.told.len()).unwrap_or(u32::MAX).max(1);
        for owned in begun {
            let (assigned, key) = (assigned_by(&owned), key_of(&owned));
            let (stop, stopping) = watch::channel(false);
            let mut context = self.context.clone();
            context.reading.credit = context.reading.credit.min(share.max(1));
            let reading =
                Partition { context, topic: owned.topic, number: owned.partition, assigned, stop: stopping };
            let task = self.tasks.spawn(reading.read());
            self.keys.insert(task.id(), key.clone());
            self.readings.insert(key, Reading { assigned, stop });
        }
        let hands = self.context.concurrency.min(self.readings.len().max(1));
        self.context.effort.set_hands(hands);
        let reads = || self.readings.keys().cloned().collect();
        self.owned.send_if_modified(|known| {
            let now = reads();
            let is_new = *known != now;
            *known = now;
            is_new
        });
    }

    /// A partition is not read any more.
    fn ended(&mut self, ended: Result<(Id, Result<(), MemberError>), JoinError>) -> Result<(), MemberError> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            // The handler panicked: its message is not committed.
            Err(panicked) => {
                let id = panicked.id();
                (id, Err(ClientError::closed("handler", Outcome::Unknown).into()))
            }
        };
        if let Some(key) = self.keys.remove(&id) {
            self.readings.remove(&key);
        }
        result
    }

    /// Finishes what is being handled, commits, and leaves the group.
    async fn leave(mut self, stream: Option<JoinStream>) -> Result<(), MemberError> {
        for reading in self.readings.values() {
            reading.stop.send_replace(true);
        }
        let mut end = Ok(());
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let ended = self.ended(ended);
            end = end.and(ended);
        }
        self.owned.send_replace(BTreeSet::new());
        if let Some(stream) = stream {
            // A group that does not hear of it notices by the session timeout.
            drop(timeout(self.context.client.options().request_timeout, stream.leave()).await);
        }
        end
    }
}

const fn assigned_by(owned: &OwnedPartition) -> Assigned {
    Assigned { home: owned.home, since: owned.since }
}

fn key_of(owned: &OwnedPartition) -> Key {
    (owned.topic.clone(), owned.partition)
}
