//! Reading a topic, as everybody can.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use pondage_client::{Client, ReaderOptions, TopicEvent, TopicMessage, TopicReader};
use pondage_model::Name;

use super::{
    Consume,
    exec::{self, TopicDone},
    options::Tally,
};
use crate::{
    exit::{Exit, Result},
    places::chosen,
    render::message::Shown,
    signals::{Signals, or_at_once},
};

/// Messages that are printed together.
const GATHERED: usize = 1_000;

/// Reads until the limit, the end, or a signal.
pub(super) async fn consume(
    options: &Consume,
    client: &Client,
    topic: &Name,
    partitions: u32,
) -> Result<Exit> {
    let partitions = chosen(&options.partitions, partitions)?;
    let reader_options = ReaderOptions {
        partitions: if options.partitions.is_empty() { Vec::new() } else { partitions.clone() },
        start: options.from,
        ..ReaderOptions::default()
    };
    let topic = topic.as_str();
    let mut session = Session {
        options,
        topic,
        reader: client.reader(topic, reader_options).await?,
        signals: Signals::new()?,
        left: options.limit.unwrap_or(u64::MAX),
        behind: partitions.into_iter().collect(),
        tally: Tally::default(),
    };
    let ended = session.read().await;
    let Session { reader, mut signals, tally, .. } = session;
    or_at_once(&mut signals, reader.close()).await;
    options.summarise(&tally);
    tally.into_result(ended?)
}

struct Session<'a> {
    options: &'a Consume,
    topic: &'a str,
    reader: TopicReader,
    signals: Signals,
    /// Messages that may still be taken.
    left: u64,
    /// Partitions that have not been read to the end.
    behind: BTreeSet<u32>,
    tally: Tally,
}

impl Session<'_> {
    async fn read(&mut self) -> Result<Exit> {
        loop {
            let is_at_end = self.options.until_end && self.behind.is_empty();
            if self.left == 0 || is_at_end {
                return Ok(Exit::Ok);
            }
            let event = tokio::select! {
                biased;
                exit = self.signals.next() => return Ok(exit),
                event = self.reader.next() => event,
            };
            let Some(event) = event? else { return Ok(Exit::Ok) };
            let messages = self.gather(event)?;
            if messages.is_empty() {
                continue;
            }
            let signal = match &self.options.exec {
                None => {
                    let shown = messages.iter().map(|message| Shown::read(self.topic, true, message));
                    self.options.print(shown)?;
                    None
                }
                Some(command) => self.run(command, &messages).await?,
            };
            if let Some(exit) = signal {
                return Ok(exit);
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
            match exec::read(command, self.topic, message, stop).await {
                TopicDone::Accepted => {}
                TopicDone::Stopped => return Ok(signal),
                TopicDone::Failed(failure) => {
                    return Err(failure.help("begin there again with --partition and --from"));
                }
            }
        }
        Ok(None)
    }
}
