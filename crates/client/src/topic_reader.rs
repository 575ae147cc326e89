//! A reader of a topic, alone or for a consumer group.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use pondage_model::{Code, Name, Offset, Outcome, Refusal, limits};
use pondage_protocol::{
    Failure,
    consume::{Source, StartAt},
    v1,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use v1::{consume_request::Step as Request, consume_response::Step as Response};

use crate::{
    Client, ClientError, ReaderOptions, TopicEvent, TopicMessage,
    consume_stream::{ConsumeStream, lost, next, request},
    inbox::Inbox,
    message::asked_for,
    retry::Waits,
};

/// Commits on their way to the reader's task.
const COMMANDS: usize = 256;

type Reply = oneshot::Sender<Result<(), ClientError>>;

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
}

impl Progress {
    fn asked(&mut self, next: Option<&TopicEvent>) {
        if let Some((partition, offset)) = self.in_hand.take() {
            self.processed.insert(partition, offset.next());
        }
        if let Some(TopicEvent::Message(message)) = next {
            self.in_hand = Some((message.partition, message.offset));
        }
    }
}

/// Reads partitions of a topic in order. When the connection is lost it comes back by itself: alone where it was, in
/// a group by claiming its partitions again and going on at the last commit.
#[derive(Debug)]
pub struct TopicReader {
    inbox: Arc<Inbox<TopicEvent, Progress>>,
    commands: mpsc::Sender<Command>,
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
        let (reply, answer) = oneshot::channel();
        let asking = async {
            let closed = |outcome| ClientError::closed("reader", outcome);
            let command = Command { partition, offset, reply };
            self.commands.send(command).await.map_err(|_| closed(Outcome::Definite))?;
            answer.await.unwrap_or_else(|_| Err(closed(Outcome::Unknown)))
        };
        timeout(self.limit, asking).await.unwrap_or_else(|_| Err(Refusal::Timeout.into()))
    }

    /// Leaves in good order. With automatic commits, everything that was handed out counts as processed and is
    /// committed first; a reader that is only dropped leaves out the last message.
    pub async fn close(mut self) {
        self.inbox.notes(|progress| progress.asked(None));
        self.closing.take();
        let _ = (&mut self.task).await;
    }
}

impl Client {
    /// Reads a topic without leaving a trace.
    ///
    /// # Errors
    /// `NOT_FOUND`, `OUT_OF_RANGE`, and those of the connection.
    pub async fn reader(&self, topic: &str, options: ReaderOptions) -> Result<TopicReader, ClientError> {
        self.open_reader(topic, None, options).await
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
        self.open_reader(topic, Some(Name::new(group)?), options).await
    }

    async fn open_reader(
        &self,
        topic: &str,
        group: Option<Name>,
        options: ReaderOptions,
    ) -> Result<TopicReader, ClientError> {
        let credit = options.credit.clamp(1, limits::CREDIT_MAX);
        let (closing, is_closing) = oneshot::channel();
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let inbox = Arc::new(Inbox::new());
        let mut task = Task {
            client: self.clone(),
            topic: Name::new(topic)?,
            commit_interval: options.commit_interval.filter(|_| group.is_some()),
            group,
            options,
            credit,
            inbox: inbox.clone(),
            commands: receiver,
            waiting: Vec::new(),
            in_flight: BTreeMap::new(),
            next_request: 0,
            owed: 0,
            next_offsets: BTreeMap::new(),
            caught_up: BTreeSet::new(),
            closing: is_closing,
            stage: Stage::Serving,
        };
        let stream = task.open().await?;
        let limit = self.options().request_timeout;
        let task = tokio::spawn(task.run(stream));
        Ok(TopicReader { inbox, commands, limit, closing: Some(closing), task })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// The owner is gone: commits go out, then the close.
    Leaving,
    /// The close is sent.
    Left,
}

struct Task {
    client: Client,
    topic: Name,
    group: Option<Name>,
    options: ReaderOptions,
    commit_interval: Option<Duration>,
    credit: u32,
    inbox: Arc<Inbox<TopicEvent, Progress>>,
    commands: mpsc::Receiver<Command>,
    /// Commits to be sent: partition, offset, and who waits; nobody waits for an automatic one.
    waiting: Vec<(u32, Offset, Option<Reply>)>,
    in_flight: BTreeMap<u64, Option<Reply>>,
    next_request: u64,
    /// Messages that were taken and whose credit is not given back yet.
    owed: u32,
    /// By partition, the offset behind the last message that arrived.
    next_offsets: BTreeMap<u32, Offset>,
    caught_up: BTreeSet<u32>,
    closing: oneshot::Receiver<()>,
    stage: Stage,
}

impl Task {
    /// Opens a stream: the first time as the options say, later where it was.
    async fn open(&mut self) -> Result<ConsumeStream, ClientError> {
        let mut starts: BTreeMap<u32, StartAt> = self.options.starts.iter().copied().collect();
        if self.group.is_none() {
            starts.extend(
                self.next_offsets.iter().map(|(partition, offset)| (*partition, StartAt::Offset(*offset))),
            );
        }
        let source = Source::Topic {
            name: self.topic.clone(),
            partitions: self.options.partitions.clone(),
            group: self.group.clone(),
            start: self.options.start,
            starts: starts.into_iter().collect(),
        };
        let held = u32::try_from(self.inbox.held()).unwrap_or(u32::MAX);
        let stream =
            ConsumeStream::open(&self.client, source, self.credit.saturating_sub(held).max(1)).await?;
        for started in &stream.partitions {
            // Where to go on is settled now, also where no message comes before the stream is lost.
            self.next_offsets.entry(started.partition).or_insert(Offset(started.offset));
        }
        self.owed = 0;
        Ok(stream)
    }

    async fn run(mut self, mut stream: ConsumeStream) {
        let mut waits = Waits::new(self.client.options());
        loop {
            let end = self.serve(&mut stream).await;
            self.lose_commits();
            match end {
                Err(error) if error.retriable() && self.stage == Stage::Serving => {}
                end => return self.inbox.finish(end),
            }
            if self.group.is_some() {
                // The cursor decides, and with it what was read and not committed comes again.
                self.inbox.clear();
            }
            stream = loop {
                tokio::select! {
                    () = sleep(waits.next()) => {}
                    _ = &mut self.closing => return self.inbox.finish(Ok(())),
                }
                match self.open().await {
                    Ok(stream) => break stream,
                    Err(error) if error.retriable() => {}
                    Err(error) => return self.inbox.finish(Err(error)),
                }
            };
            waits.reset();
        }
    }

    /// Serves one stream to its end: OK after a close.
    async fn serve(&mut self, stream: &mut ConsumeStream) -> Result<(), ClientError> {
        let ConsumeStream { requests, responses, .. } = stream;
        let limit = self.client.options().request_timeout;
        let mut commit_at = self.commit_interval.map(|interval| Instant::now() + interval);
        loop {
            let may_close =
                self.stage == Stage::Leaving && self.waiting.is_empty() && self.in_flight.is_empty();
            // Credit goes back in quarters, not message by message.
            let gives_credit = self.owed >= (self.credit / 4).max(1) && self.stage == Stage::Serving;
            let has_request = may_close || gives_credit || !self.waiting.is_empty();
            tokio::select! {
                step = next(responses) => {
                    let step = step?.ok_or_else(lost)?;
                    if matches!(step, Response::Closed(_)) {
                        return Ok(());
                    }
                    self.handle(step)?;
                }
                Some(command) = self.commands.recv() => {
                    self.waiting.push((command.partition, command.offset, Some(command.reply)));
                }
                taken = self.inbox.taken() => self.owed = self.owed.saturating_add(taken),
                permit = requests.reserve(), if has_request && self.stage != Stage::Left => {
                    let permit = permit.map_err(|_| lost())?;
                    permit.send(request(self.next_step(gives_credit)));
                }
                () = at(commit_at) => {
                    self.commit_processed();
                    commit_at = self.commit_interval.map(|interval| Instant::now() + interval);
                }
                _ = &mut self.closing, if self.stage == Stage::Serving => {
                    self.stage = Stage::Leaving;
                    if self.commit_interval.is_some() {
                        self.commit_processed();
                    }
                }
                // A broker that does not answer the commits or the close doesn't hold up who leaves.
                () = sleep(limit), if self.stage != Stage::Serving => return Ok(()),
            }
        }
    }

    /// What to send: commits first, then credit, then the close.
    fn next_step(&mut self, gives_credit: bool) -> Request {
        if !self.waiting.is_empty() {
            let (partition, offset, reply) = self.waiting.remove(0);
            let request_id = self.next_request;
            self.next_request += 1;
            self.in_flight.insert(request_id, reply);
            Request::Commit(v1::ConsumeCommit { request_id, partition, offset: offset.0 })
        } else if gives_credit {
            Request::Credit(v1::ConsumeCredit { add: std::mem::take(&mut self.owed) })
        } else {
            self.stage = Stage::Left;
            Request::Close(v1::ConsumeClose {})
        }
    }

    fn handle(&mut self, step: Response) -> Result<(), ClientError> {
        match step {
            Response::Delivery(delivery) => {
                let messages = asked_for(delivery)?;
                if let Some(last) = messages.last() {
                    self.next_offsets.insert(last.partition, last.offset.next());
                }
                self.inbox.push(messages.into_iter().map(TopicEvent::Message));
            }
            Response::CaughtUp(v1::CaughtUp { partition, end_offset })
                if self.caught_up.insert(partition) =>
            {
                self.inbox.push([TopicEvent::CaughtUp { partition, end: Offset(end_offset) }]);
            }
            Response::Committed(committed) => {
                let result = committed.error.map_or(Ok(()), |error| Err(Failure::from(error).into()));
                let reply = self.in_flight.remove(&committed.request_id).flatten();
                let fenced = result.clone().err().filter(|error: &ClientError| error.is(Code::Fenced));
                if let Some(reply) = reply {
                    let _ = reply.send(result);
                }
                // The partition is another's: this reader must not go on as if it were its own.
                return fenced.map_or(Ok(()), Err);
            }
            _ => {}
        }
        Ok(())
    }

    /// Commits what was processed since the last time.
    fn commit_processed(&mut self) {
        let processed = self.inbox.notes(|progress| std::mem::take(&mut progress.processed));
        self.waiting.extend(processed.into_iter().map(|(partition, offset)| (partition, offset, None)));
    }

    /// Commits that were on their way when the stream was lost may have got through.
    fn lose_commits(&mut self) {
        let waiting = std::mem::take(&mut self.waiting).into_iter().filter_map(|(_, _, reply)| reply);
        for reply in waiting.chain(std::mem::take(&mut self.in_flight).into_values().flatten()) {
            let _ = reply.send(Err(lost()));
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
