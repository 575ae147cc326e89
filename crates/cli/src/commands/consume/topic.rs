//! Reading a topic, alone or for a consumer group. A group commits what was printed, or what its command accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use pondage_client::{Client, ClientError, ReaderOptions, TopicEvent, TopicMessage, TopicReader};
use pondage_model::Offset;
use tokio::time::sleep_until;

use super::{
    Consume,
    exec::{self, TopicDone},
    options::Tally,
};
use crate::{
    commands::offsets::chosen,
    exit::{Exit, Result},
    render::message::Shown,
    signals::{Signals, or_at_once},
};

/// Messages that are printed, and then committed, together.
const GATHERED: usize = 1_000;
/// How long a group that runs commands leaves what they did uncommitted while more messages are at hand.
const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// Reads until the limit, the end, or a signal.
pub(super) async fn consume(options: &Consume, client: &Client, partitions: u32) -> Result<Exit> {
    let partitions = chosen(&options.partitions, partitions)?;
    let reader_options = ReaderOptions {
        partitions: if options.partitions.is_empty() { Vec::new() } else { partitions.clone() },
        start: options.from,
        commit_interval: None,
        ..ReaderOptions::default()
    };
    let topic = options.target.as_str();
    let reader = match &options.group {
        None => client.reader(topic, reader_options).await?,
        Some(group) => client.group_consumer(topic, group.as_str(), reader_options).await?,
    };
    let mut session = Session {
        options,
        reader,
        signals: Signals::new()?,
        left: options.limit.unwrap_or(u64::MAX),
        behind: partitions.into_iter().collect(),
        uncommitted: BTreeMap::new(),
        committed_at: Instant::now(),
        tally: Tally::default(),
    };
    let ended = session.read().await;
    let committed = session.commit().await;
    let Session { reader, mut signals, tally, .. } = session;
    or_at_once(&mut signals, reader.close()).await;
    options.summarise(&tally);
    let exit = ended?;
    committed?;
    tally.into_result(exit)
}

struct Session<'a> {
    options: &'a Consume,
    reader: TopicReader,
    signals: Signals,
    /// Messages that may still be taken.
    left: u64,
    /// Partitions that have not been read to the end.
    behind: BTreeSet<u32>,
    /// Of a group, by partition: the offset behind the last message that is done.
    uncommitted: BTreeMap<u32, Offset>,
    committed_at: Instant,
    tally: Tally,
}

impl Session<'_> {
    async fn read(&mut self) -> Result<Exit> {
        loop {
            let is_at_end = self.options.until_end && self.behind.is_empty();
            if self.left == 0 || is_at_end {
                return Ok(Exit::Ok);
            }
            let commit_at = (self.committed_at + COMMIT_EVERY).into();
            let event = tokio::select! {
                biased;
                exit = self.signals.next() => return Ok(exit),
                event = self.reader.next() => event,
                () = sleep_until(commit_at), if !self.uncommitted.is_empty() => {
                    self.commit().await?;
                    continue;
                }
            };
            let Some(event) = event? else { return Ok(Exit::Ok) };
            let messages = self.gather(event)?;
            if messages.is_empty() {
                continue;
            }
            let signal = match &self.options.exec {
                None => {
                    self.options.print(
                        messages
                            .iter()
                            .map(|message| Shown::read(self.options.target.as_str(), true, message)),
                    )?;
                    self.done(&messages);
                    None
                }
                Some(command) => self.run(command, &messages).await?,
            };
            if let Some(exit) = signal {
                return Ok(exit);
            }
            if self.options.exec.is_none() || self.committed_at.elapsed() >= COMMIT_EVERY {
                self.commit().await?;
            }
        }
    }

    /// The message and those that are here already. With a command one at a time: what follows is not done yet.
    fn gather(&mut self, first: TopicEvent) -> Result<Vec<TopicMessage>> {
        let most = if self.options.exec.is_some() { 1 } else { self.left.min(GATHERED as u64) };
        let mut messages = Vec::new();
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                TopicEvent::Message(message) => messages.push(message),
                TopicEvent::CaughtUp { partition, .. } => {
                    self.behind.remove(&partition);
                }
            }
            if messages.len() as u64 >= most {
                break;
            }
            // An end is told again by the next wait; an error is told once.
            next = self.reader.next().now_or_never().transpose()?.flatten();
        }
        self.left -= messages.len() as u64;
        self.tally.taken += messages.len() as u64;
        Ok(messages)
    }

    /// Runs the command for messages, in order. A signal ends it, and the message it was at is not done.
    async fn run(&mut self, command: &str, messages: &[TopicMessage]) -> Result<Option<Exit>> {
        for message in messages {
            let mut signal = None;
            let signals = &mut self.signals;
            let stop = async { signal = Some(signals.next().await) };
            match exec::read(command, self.options.target.as_str(), message, stop).await {
                TopicDone::Accepted => self.done(std::slice::from_ref(message)),
                TopicDone::Stopped => return Ok(signal),
                TopicDone::Failed(failure) => {
                    let help = match self.options.group {
                        Some(_) => "the message is not committed, and comes again with the next start",
                        None => "begin there again with --partition and --from",
                    };
                    return Err(failure.help(help));
                }
            }
        }
        Ok(None)
    }

    /// Messages are done.
    fn done(&mut self, messages: &[TopicMessage]) {
        if self.options.group.is_none() {
            return;
        }
        for message in messages {
            self.uncommitted.insert(message.partition, message.offset.next());
            self.tally.accepted += 1;
        }
    }

    /// Commits what is done.
    async fn commit(&mut self) -> Result<(), ClientError> {
        self.committed_at = Instant::now();
        for (partition, offset) in std::mem::take(&mut self.uncommitted) {
            self.reader.commit(partition, offset).await?;
        }
        Ok(())
    }
}
