//! A shard of one replica without a disk: a log, how much of it is committed, and a leader.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod watcher;

use bytes::Bytes;
use pondage_delivery::{
    ConsumerId, Dispatch, Draft, Leading, Reply, Request, Settled, ShardState, Stream, StreamStats, Verdict,
};
use pondage_model::{
    Attempt, Body, Entry, Epoch, Lease, LogTime, Name, Offset, Position, Refusal, ShardId, StreamId,
    entry::{Move, Open},
    settings::{QueueSettings, StreamSettings, TopicSettings},
};

pub(crate) const SHARD: ShardId = ShardId(4);
pub(crate) const QUEUE: StreamId = StreamId(1);
pub(crate) const DEAD: StreamId = StreamId(2);
pub(crate) const TOPIC: StreamId = StreamId(3);
pub(crate) const START: LogTime = LogTime(1_700_000_000_000);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

pub(crate) fn lease(epoch: u64, attempt: u32) -> Lease {
    Lease { epoch: Epoch(epoch), attempt: Attempt(attempt) }
}

/// A message as a consumer holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) consumer: ConsumerId,
    pub(crate) offset: Offset,
    pub(crate) lease: Lease,
    pub(crate) deadline: LogTime,
}

pub(crate) struct Shard {
    pub(crate) log: Vec<Entry>,
    pub(crate) committed_count: usize,
    pub(crate) committed: ShardState,
    pub(crate) leading: Leading,
    pub(crate) epoch: Epoch,
    pub(crate) now: LogTime,
}

impl Shard {
    pub(crate) fn new() -> Self {
        let committed = ShardState::default();
        let leading = Leading::new(Epoch(1), SHARD, &committed);
        let mut shard =
            Self { log: Vec::new(), committed_count: 0, committed, leading, epoch: Epoch(1), now: START };
        shard.append(Draft { stream: StreamId::ZERO, body: Body::EpochStart });
        shard.commit_all();
        shard
    }

    /// A shard with a queue, a dead-letter queue and a topic, all committed.
    pub(crate) fn with_queue(settings: QueueSettings) -> Self {
        let mut shard = Self::new();
        let dead = StreamSettings::Queue(QueueSettings::default());
        let topic = StreamSettings::Topic(TopicSettings::default());
        for (stream, text, settings) in
            [(QUEUE, "orders", StreamSettings::Queue(settings)), (DEAD, "dead", dead), (TOPIC, "log", topic)]
        {
            let open = Open { name: name(text), partition: 0, settings };
            assert_eq!(shard.request(Request::Open { stream, open }), Reply::Done);
        }
        shard.commit_all();
        shard
    }

    pub(crate) fn append(&mut self, draft: Draft) {
        let position = Position(self.log.len() as u64);
        let entry =
            Entry { position, epoch: self.epoch, stream: draft.stream, log_time: self.now, body: draft.body };
        // What is folded is what comes out of the log.
        let entry = entry.encode().decode().expect("an entry survives its encoding");
        self.leading.appended(&entry);
        self.log.push(entry);
    }

    pub(crate) fn append_all(&mut self, drafts: Vec<Draft>) -> usize {
        let count = drafts.len();
        drafts.into_iter().for_each(|draft| self.append(draft));
        count
    }

    /// Decides and appends; the reply is as it would be sent once all is committed.
    pub(crate) fn request(&mut self, request: Request) -> Reply {
        let decision = self.leading.decide(&self.committed, self.now, request);
        self.append_all(decision.drafts);
        decision.reply
    }

    pub(crate) fn commit_up_to(&mut self, count: usize) {
        while self.committed_count < count.min(self.log.len()) {
            let entry = &self.log[self.committed_count];
            self.committed.apply(entry).expect("a leader's own log is consistent");
            self.committed_count += 1;
        }
    }

    pub(crate) fn commit_all(&mut self) {
        self.commit_up_to(usize::MAX);
    }

    /// Logs and commits everything; then leader, followers and checkpoints must agree.
    pub(crate) fn settle_down(&mut self) {
        let drafts = self.leading.lazy();
        self.append_all(drafts);
        self.commit_all();
        assert!(self.leading.lazy().is_empty());
        assert_eq!(*self.leading.state(), self.committed, "leader and follower disagree");
        let restored = ShardState::restore(self.committed.checkpoint()).expect("written here");
        assert_eq!(restored, self.committed, "a checkpoint loses something");
    }

    /// The leader dies with what is not committed; the next one takes over.
    pub(crate) fn crash(&mut self) {
        self.log.truncate(self.committed_count);
        self.epoch = self.epoch.next();
        self.leading = Leading::new(self.epoch, SHARD, &self.committed);
        self.append(Draft { stream: StreamId::ZERO, body: Body::EpochStart });
        self.commit_all();
    }

    pub(crate) fn publish(&mut self, stream: StreamId, count: u32) -> Reply {
        self.publish_with(stream, count, None, None)
    }

    pub(crate) fn publish_with(
        &mut self,
        stream: StreamId,
        count: u32,
        delay_millis: Option<u64>,
        ttl_millis: Option<u64>,
    ) -> Reply {
        let batch = Bytes::from_static(b"batch");
        let (producer, moved) = (None, None);
        self.request(Request::Publish { stream, count, batch, producer, delay_millis, ttl_millis, moved })
    }

    pub(crate) fn attach(&mut self, stream: StreamId, consumer: u64, credit: u32) {
        let attach = Request::Attach {
            stream,
            consumer: ConsumerId(consumer),
            credit,
            lease_millis: None,
            once: false,
        };
        assert_eq!(self.request(attach), Reply::Done);
    }

    /// Lets time pass for the leader: everything that is due happens, then messages are given out.
    pub(crate) fn tick(&mut self) -> Vec<Held> {
        for _ in 0..1_000 {
            let drafts = self.leading.on_time(&self.committed, self.now);
            if self.append_all(drafts) == 0 {
                break;
            }
        }
        self.dispatch().iter().flat_map(|dispatch| self.held(dispatch)).collect()
    }

    pub(crate) fn dispatch(&mut self) -> Vec<Dispatch> {
        self.leading.dispatch(&self.committed, self.now)
    }

    pub(crate) fn held(&self, dispatch: &Dispatch) -> Vec<Held> {
        let epoch = self.epoch;
        let one = |grant: &pondage_model::entry::Granted, offset| Held {
            consumer: dispatch.consumer,
            offset: Offset(offset),
            lease: Lease { epoch, attempt: grant.attempt },
            deadline: grant.deadline,
        };
        dispatch
            .grants
            .iter()
            .flat_map(|grant| {
                let first = grant.first.0;
                (first..first + u64::from(grant.count)).map(move |offset| one(grant, offset))
            })
            .collect()
    }

    pub(crate) fn settle(
        &mut self,
        items: &[(u64, Lease)],
        verdict: Verdict,
    ) -> Vec<Result<Settled, Refusal>> {
        let items = items.iter().map(|&(offset, lease)| (Offset(offset), lease)).collect();
        match self.request(Request::Settle { stream: QUEUE, items, verdict }) {
            Reply::Settled(results) => results,
            other => panic!("a settle was answered with {other:?}"),
        }
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    pub(crate) fn stream(&self) -> &Stream {
        self.leading.state().stream(QUEUE).expect("the queue is open")
    }

    pub(crate) fn stats(&self) -> StreamStats {
        self.stream().stats(self.now)
    }

    pub(crate) fn moves(&self) -> Vec<(StreamId, Move)> {
        self.leading.moves(&self.committed).collect()
    }

    pub(crate) fn set_target(&mut self, known: bool) {
        self.leading.set_dead_letter(QUEUE, known.then_some((SHARD, DEAD)));
    }
}

pub(crate) fn offsets(held: &[Held]) -> Vec<u64> {
    held.iter().map(|held| held.offset.0).collect()
}
