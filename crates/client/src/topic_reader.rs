//! A reader of a topic, alone or for a consumer group.

mod leg;
mod task;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use pondage_model::{Name, Offset, Outcome, Refusal, limits};
use pondage_protocol::consume::Assigned;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::{Client, ClientError, ReaderOptions, TopicEvent, TopicMessage, inbox::Inbox};
use task::{Parts, Task};

/// Commits on their way to the reader's task.
const COMMANDS: usize = 256;

type Reply = oneshot::Sender<Result<(), ClientError>>;

/// For whom partitions are read.
#[derive(Clone, Debug)]
struct Claim {
    group: Name,
    /// Of a member: the assignment by which it was given them.
    assignment: Option<Assigned>,
}

struct Command {
    partition: u32,
    offset: Offset,
    reply: Reply,
}

/// How far the owner has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The message that was handed out last: processed once the next one is asked for.
    in_hand: Option<(u32, Offset)>,
    /// By partition, the offset below which everything was processed and is not yet committed.
    processed: BTreeMap<u32, Offset>,
    /// By partition, messages that were handed out and whose credit is not given back yet.
    taken: BTreeMap<u32, u32>,
}

impl Progress {
    fn asked(&mut self, next: Option<&TopicEvent>) {
        if let Some((partition, offset)) = self.in_hand.take() {
            self.processed.insert(partition, offset.next());
        }
        if let Some(TopicEvent::Message(message)) = next {
            self.in_hand = Some((message.partition, message.offset));
            *self.taken.entry(message.partition).or_default() += 1;
        }
    }

    /// These partitions are read again from their cursors.
    fn forget(&mut self, partitions: &BTreeSet<u32>) {
        self.in_hand = self.in_hand.filter(|(partition, _)| !partitions.contains(partition));
        self.processed.retain(|partition, _| !partitions.contains(partition));
        self.taken.retain(|partition, _| !partitions.contains(partition));
    }
}

/// Reads partitions of a topic in order, each from the broker that leads it. A partition that moves or whose connection
/// is lost comes back by itself: alone where it was, in a group by claiming it again and going on at the last commit.
#[derive(Debug)]
pub struct TopicReader {
    inbox: Arc<Inbox<TopicEvent, Progress>>,
    commands: mpsc::Sender<Command>,
    /// Why it ended by itself.
    ended: Arc<OnceLock<ClientError>>,
    is_grouped: bool,
    limit: Duration,
    closing: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TopicReader {
    /// What comes next; `None` once the reader is closed.
    ///
    /// # Errors
    /// What ended the reader, once: `FENCED` when another consumer claimed a partition for the group, `OUT_OF_RANGE`
    /// when retention overtook it.
    pub async fn next(&self) -> Result<Option<TopicEvent>, ClientError> {
        self.inbox.next(Progress::asked).await
    }

    /// The next message, passing over everything else.
    ///
    /// # Errors
    /// As [`TopicReader::next`].
    pub async fn next_message(&self) -> Result<Option<TopicMessage>, ClientError> {
        loop {
            match self.next().await? {
                Some(TopicEvent::Message(message)) => return Ok(Some(message)),
                Some(TopicEvent::CaughtUp { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// Commits for the group that everything of the partition below `offset` is done with, durably.
    ///
    /// # Errors
    /// `FENCED` if another consumer claimed the partition; UNKNOWN if the connection was lost meanwhile;
    /// `INVALID_ARGUMENT` without a group.
    pub async fn commit(&self, partition: u32, offset: Offset) -> Result<(), ClientError> {
        if !self.is_grouped {
            let what = "a reader without a group has no cursor to commit".to_owned();
            return Err(Refusal::InvalidArgument { what }.into());
        }
        let (reply, answer) = oneshot::channel();
        let asking = async {
            let closed = |outcome| ClientError::closed("reader", outcome);
            let ended = |_| self.ended.get().cloned().unwrap_or_else(|| closed(Outcome::Definite));
            let command = Command { partition, offset, reply };
            self.commands.send(command).await.map_err(ended)?;
            answer.await.unwrap_or_else(|_| Err(closed(Outcome::Unknown)))
        };
        timeout(self.limit, asking).await.unwrap_or_else(|_| Err(Refusal::Timeout.into()))
    }

    /// Leaves in good order. With automatic commits, everything that was handed out counts as processed and is
    /// committed first; a reader that is only dropped leaves out the last message.
    pub async fn close(self) {
        drop(self.finish(true).await);
    }

    /// As [`Self::close`]; without `last`, the message that was handed out last does not count as processed.
    ///
    /// # Errors
    /// An automatic commit did not get through, as far as that is known; or why the reader had ended by itself.
    pub(crate) async fn finish(mut self, last: bool) -> Result<(), ClientError> {
        self.inbox.with(|_, progress| if last { progress.asked(None) } else { progress.in_hand = None });
        self.closing.take();
        let _ = (&mut self.task).await;
        self.ended.get().cloned().map_or(Ok(()), Err)
    }
}

impl Client {
    /// Reads a topic without leaving a trace.
    ///
    /// # Errors
    /// `NOT_FOUND`, `OUT_OF_RANGE`, and those of the connection.
    pub async fn reader(&self, topic: &str, options: ReaderOptions) -> Result<TopicReader, ClientError> {
        let name = Name::new(topic)?;
        let partitions = self.partitions_of(&name, &options).await?;
        self.open_reader(name, partitions, None, options).await
    }

    /// Claims partitions of a topic for a consumer group and reads on where it stands. The consumer that owned them
    /// is fenced.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of the connection.
    pub async fn group_consumer(
        &self,
        topic: &str,
        group: &str,
        options: ReaderOptions,
    ) -> Result<TopicReader, ClientError> {
        let claim = Claim { group: Name::new(group)?, assignment: None };
        let name = Name::new(topic)?;
        let partitions = self.partitions_of(&name, &options).await?;
        self.open_reader(name, partitions, Some(claim), options).await
    }

    /// Reads one partition for a member of a group, which was given it by this assignment.
    pub(crate) async fn member_reader(
        &self,
        topic: Name,
        partition: u32,
        (group, assignment): (Name, Assigned),
        mut options: ReaderOptions,
    ) -> Result<TopicReader, ClientError> {
        options.partitions = vec![partition];
        let claim = Claim { group, assignment: Some(assignment) };
        self.open_reader(topic, BTreeSet::from([partition]), Some(claim), options).await
    }

    async fn open_reader(
        &self,
        name: Name,
        partitions: BTreeSet<u32>,
        claim: Option<Claim>,
        mut options: ReaderOptions,
    ) -> Result<TopicReader, ClientError> {
        options.credit = options.credit.clamp(1, limits::CREDIT_MAX);
        let (closing, is_closing) = oneshot::channel();
        let (opened, opening) = oneshot::channel();
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (inbox, is_grouped) = (Arc::new(Inbox::new()), claim.is_some());
        let ended = Arc::default();
        let parts = Parts {
            topic: name,
            claim,
            options,
            partitions,
            inbox: Arc::clone(&inbox),
            ended: Arc::clone(&ended),
            commands: receiver,
            opened,
            closing: is_closing,
        };
        let task = tokio::spawn(Task::new(self.clone(), parts).run());
        let limit = self.options().deadline;
        let reader = TopicReader { inbox, commands, ended, is_grouped, limit, closing: Some(closing), task };
        let closed = |_| Err(ClientError::closed("reader", Outcome::Definite));
        opening.await.unwrap_or_else(closed).map(|()| reader)
    }

    /// The partitions that the options ask for.
    async fn partitions_of(
        &self,
        topic: &Name,
        options: &ReaderOptions,
    ) -> Result<BTreeSet<u32>, ClientError> {
        let target = self.locate_now(topic.as_str()).await?;
        if !target.is_topic {
            return Err(Refusal::NotFound { kind: "topic", name: topic.to_string() }.into());
        }
        let count = target.shards.len() as u32;
        let partitions: BTreeSet<u32> = if options.partitions.is_empty() {
            (0..count).collect()
        } else {
            options.partitions.iter().copied().collect()
        };
        if let Some(beyond) = partitions.iter().find(|partition| **partition >= count) {
            return Err(Refusal::NotFound { kind: "partition", name: format!("{topic}/{beyond}") }.into());
        }
        if let Some((other, _)) = options.starts.iter().find(|(start, _)| !partitions.contains(start)) {
            let what = format!("starts: partition {other} is not read");
            return Err(Refusal::InvalidArgument { what }.into());
        }
        Ok(partitions)
    }
}
