//! The member's task: keeps the join stream, and one task for each partition that it owns.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{Name, Outcome, Uuid};
use pondage_protocol::{consume::Assigned, members::OwnedPartition};
use tokio::{
    sync::{oneshot, watch},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use super::{
    MemberError,
    partition::{Context, Partition},
    stream::{Heard, Identity, JoinStream},
};
use crate::{Client, ClientError, brokers::Broker, retry::Waits};

/// Hints that are followed before a pause: brokers that know different leaders must not be asked in turns without end.
const HINTS_MAX: u32 = 3;

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
    readings: BTreeMap<Key, Reading>,
    tasks: JoinSet<Result<(), MemberError>>,
    keys: BTreeMap<Id, Key>,
    finder: Finder,
}

/// Where the group's home is looked for.
struct Finder {
    client: Client,
    hinted: Option<Broker>,
    hints: u32,
    waits: Waits,
    not_before: Instant,
}

impl Finder {
    fn new(client: Client) -> Self {
        let waits = Waits::new(client.options());
        Self { client, hinted: None, hints: 0, waits, not_before: Instant::now() }
    }

    /// Who is asked next: the one that led when it was heard of last, else any.
    fn next(&self) -> Broker {
        self.hinted.clone().unwrap_or_else(|| self.client.brokers().current())
    }

    async fn join(&mut self, identity: &Identity) -> Result<(JoinStream, Heard), ClientError> {
        sleep_until(self.not_before).await;
        let broker = self.next();
        let joined = JoinStream::open(&self.client, &broker, identity).await;
        match &joined {
            Ok(_) => {
                (self.hints, self.hinted) = (0, Some(broker));
                self.waits.reset();
            }
            Err(error) => self.failed(&broker, error),
        }
        joined
    }

    fn failed(&mut self, broker: &Broker, error: &ClientError) {
        let hint = error.leader().filter(|hint| !hint.address.is_empty());
        self.hinted = hint.and_then(|hint| self.client.brokers().at(&hint.address).ok());
        self.hints += 1;
        if self.hinted.is_some() && self.hints <= HINTS_MAX {
            return;
        }
        self.hints = 0;
        if error.is_of_broker() {
            self.client.brokers().pass_over(broker);
        }
        self.not_before = Instant::now() + self.waits.next();
    }
}

impl Task {
    pub(super) fn new(
        context: Context,
        id: Uuid,
        instance: String,
        owned: watch::Sender<BTreeSet<Key>>,
    ) -> Self {
        let identity = Identity { group: context.group.clone(), id, instance };
        let finder = Finder::new(context.client.clone());
        Self {
            context,
            identity,
            owned,
            told: BTreeMap::new(),
            readings: BTreeMap::new(),
            tasks: JoinSet::new(),
            keys: BTreeMap::new(),
            finder,
        }
    }

    /// Is a member until it leaves or something ends it.
    pub(super) async fn run(mut self, mut leaving: oneshot::Receiver<()>) -> Result<(), MemberError> {
        let mut stream: Option<JoinStream> = None;
        let end = loop {
            tokio::select! {
                biased;
                _ = &mut leaving => break Ok(()),
                Some(ended) = self.tasks.join_next_with_id() => {
                    if let Err(error) = self.ended(ended) {
                        break Err(error);
                    }
                }
                heard = hear(&mut stream, &mut self.finder, &self.identity) => match heard {
                    Ok((joined, Heard::Owned(owned))) => {
                        stream = joined.or(stream);
                        self.told = owned.into_iter().map(|owned| (key_of(&owned), owned)).collect();
                    }
                    Ok((_, Heard::Left)) => break Ok(()),
                    Err(error) if error.retriable() => {
                        if stream.take().is_some() {
                            // Where to go on is known, or not; the member has its session timeout.
                            self.finder.failed(&self.finder.next(), &error);
                        }
                    }
                    Err(error) => break Err(error.into()),
                },
            }
            self.reconcile(stream.as_ref());
        };
        let left = self.leave(stream).await;
        end.and(left)
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
        for owned in begun {
            let (assigned, key) = (assigned_by(&owned), key_of(&owned));
            let (stop, stopping) = watch::channel(false);
            let reading = Partition {
                context: self.context.clone(),
                topic: owned.topic,
                number: owned.partition,
                assigned,
                stop: stopping,
            };
            let task = self.tasks.spawn(reading.read());
            self.keys.insert(task.id(), key.clone());
            self.readings.insert(key, Reading { assigned, stop });
        }
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

/// What the group says next; on a new stream if there is none.
async fn hear(
    stream: &mut Option<JoinStream>,
    finder: &mut Finder,
    identity: &Identity,
) -> Result<(Option<JoinStream>, Heard), ClientError> {
    match stream {
        Some(stream) => stream.next().await.map(|heard| (None, heard)),
        None => finder.join(identity).await.map(|(stream, heard)| (Some(stream), heard)),
    }
}
