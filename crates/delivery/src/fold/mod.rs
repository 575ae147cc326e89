//! The fold: what the entries of a shard's log amount to. It reads no settings, no limits and no clock but the
//! entries' own log time, so every replica that folds the same entries has the same value.

mod ages;
mod checkpoint;
mod counters;
mod ended;
mod home;
pub(crate) mod message;
mod producers;
mod queue;
mod stats;
mod stream;
mod survey;
mod topic;

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{Body, Entry, MoveSeq, Position, StreamId, entry::Move};

pub use counters::Counters;
pub(crate) use ended::Ended;
pub use home::{Home, HomeCounters, Owner, Ownership};
pub(crate) use producers::Verdict;
pub use queue::Queue;
pub(crate) use queue::offsets;
pub use stats::{GroupStats, MembershipStats, StreamStats};
pub use stream::{Kind, Stream};
pub use survey::{MessageState, SurveyRun};
pub use topic::{Group, Topic};

/// An entry that no leader could have written behind the ones before it: the log or the fold is broken, and
/// whoever folds must stop rather than guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {position} of stream {stream} contradicts the entries before it: {what}")]
pub struct Inconsistent {
    /// The entry.
    pub position: Position,
    /// Its stream.
    pub stream: StreamId,
    /// What it contradicts.
    pub what: &'static str,
}

/// All streams of one shard as of some entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    streams: BTreeMap<StreamId, Stream>,
    /// Streams with unfinished moves.
    moving: BTreeSet<StreamId>,
    /// The shared groups that read each partition.
    shares: BTreeMap<StreamId, BTreeSet<StreamId>>,
}

impl ShardState {
    /// Folds the next entry.
    ///
    /// Entries that say nothing about streams (a leader's first, catalog commands, checkpoint pages) change
    /// nothing. Folding a grant that was applied before it was logged changes nothing either.
    ///
    /// # Errors
    /// [`Inconsistent`] for a log that no leader could have written; the state is then of no use.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Inconsistent> {
        let id = entry.stream;
        let outcome = match &entry.body {
            Body::EpochStart | Body::CheckpointPage(_) | Body::Command(_) | Body::Voters(_) => Ok(()),
            Body::Open(open) => {
                let stream = Stream::new(open.clone(), entry.log_time);
                self.open(id, stream)
            }
            Body::Close => self.close(id),
            body => match self.streams.get_mut(&id) {
                Some(stream) => {
                    let outcome = stream.apply(entry);
                    if matches!(body, Body::Move(_) | Body::Moved(_)) {
                        self.note_moves(id);
                    }
                    match body {
                        Body::Publish(_) | Body::Trim(_) => self.tell_shares(entry),
                        Body::Restart(_) => self.recall(id),
                        _ => {}
                    }
                    outcome
                }
                None => Err("the stream is not open"),
            },
        };
        outcome.map_err(|what| Inconsistent { position: entry.position, stream: id, what })
    }

    fn open(&mut self, id: StreamId, mut stream: Stream) -> Result<(), &'static str> {
        if self.streams.contains_key(&id) {
            return Err("the stream is open already");
        }
        if let Some(partition) = stream.reads() {
            let partition = self.stream(partition).filter(|found| found.topic().is_some());
            stream.attend(partition.ok_or("a shared group without its partition")?);
        }
        self.streams.insert(id, stream);
        self.note_share(id);
        Ok(())
    }

    fn close(&mut self, id: StreamId) -> Result<(), &'static str> {
        let stream = self.streams.remove(&id).ok_or("the end of a stream that is not open")?;
        self.moving.remove(&id);
        self.shares.remove(&id);
        if let Some(partition) = stream.reads()
            && let Some(shares) = self.shares.get_mut(&partition)
        {
            shares.remove(&id);
            if shares.is_empty() {
                self.shares.remove(&partition);
            }
        }
        Ok(())
    }

    fn note_share(&mut self, id: StreamId) {
        let partition = self.stream(id).and_then(Stream::reads);
        if let Some(partition) = partition.filter(|partition| self.streams.contains_key(partition)) {
            self.shares.entry(partition).or_default().insert(id);
        }
    }

    /// What happens to a partition's messages happens to those of the shared groups that read it.
    fn tell_shares(&mut self, entry: &Entry) {
        let Some(shares) = self.shares.get(&entry.stream) else { return };
        let shares: Vec<StreamId> = shares.iter().copied().collect();
        for id in shares {
            let Some(share) = self.streams.get_mut(&id) else { continue };
            match &entry.body {
                Body::Publish(publish) => share.came(publish.count, entry.log_time),
                Body::Trim(start) => {
                    share.went(*start, entry.log_time);
                    self.note_moves(id);
                }
                _ => {}
            }
        }
    }

    /// A shared group begins to read what came before it was told of anything: it takes over what is known of that.
    fn recall(&mut self, id: StreamId) {
        let Some(mut share) = self.streams.remove(&id) else { return };
        if let Some(partition) = share.reads().and_then(|partition| self.streams.get(&partition)) {
            share.attend(partition);
        }
        self.streams.insert(id, share);
    }

    fn note_moves(&mut self, id: StreamId) {
        if self.stream(id).and_then(Stream::queue).is_some_and(|queue| !queue.moves().is_empty()) {
            self.moving.insert(id);
        } else {
            self.moving.remove(&id);
        }
    }

    /// The stream, if it is open.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// Every open stream by id.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.streams.iter().map(|(id, stream)| (*id, stream))
    }

    /// The shared groups that read a partition, by id.
    pub fn shares(&self, partition: StreamId) -> impl Iterator<Item = StreamId> + '_ {
        self.shares.get(&partition).into_iter().flatten().copied()
    }

    /// The unfinished moves by source, then sequence.
    pub fn moves(&self) -> impl Iterator<Item = (StreamId, Move)> {
        self.moving.iter().flat_map(|id| {
            let queue = self.stream(*id).and_then(Stream::queue);
            queue.into_iter().flat_map(|queue| queue.moves().values()).map(|moved| (*id, *moved))
        })
    }

    /// The streams with unfinished moves.
    pub fn sources(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.moving.iter().copied()
    }

    /// Whether this move has begun and not ended.
    pub(crate) fn is_moving(&self, id: StreamId, seq: MoveSeq) -> bool {
        self.stream(id).and_then(Stream::queue).is_some_and(|queue| queue.moves().contains_key(&seq))
    }

    pub(crate) fn stream_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&id)
    }
}
