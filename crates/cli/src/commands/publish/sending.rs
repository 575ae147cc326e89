//! From the reader to the publisher, and back to the count of what is durable.

use std::time::{Duration, Instant};

use pondage_client::{ClientError, Message, Publisher, Sending};
use pondage_model::Outcome;
use tokio::sync::{mpsc, watch};

use super::progress::Progress;
use crate::{
    exit::{Exit, Result},
    input::{InputError, Item, Reading},
    signals::Signals,
};

/// Messages that wait for their acknowledgement; the publisher's buffer holds fewer.
const WAITING: usize = 65_536;

/// A message that was not acknowledged.
#[derive(Debug)]
pub(super) struct Sent {
    /// The index of its source.
    pub(super) source: usize,
    /// Its line.
    pub(super) line: u64,
    /// Why.
    pub(super) error: ClientError,
}

/// What came of it all.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Messages that are durable.
    pub(super) acknowledged: u64,
    /// Bytes of their keys and values.
    pub(super) bytes: u64,
    /// Messages that are not, or not known to be.
    pub(super) failed: u64,
    /// Whether any of them may be.
    pub(super) is_any_unknown: bool,
    /// The first of them in the order of the input.
    pub(super) first_failure: Option<Sent>,
    /// Why the input ended early.
    pub(super) input_error: Option<(usize, InputError)>,
    /// The signal that ended it.
    pub(super) interrupted: Option<Exit>,
    /// How long it took.
    pub(super) elapsed: Duration,
}

impl Published {
    pub(super) fn bytes_per_second(&self) -> u64 {
        (self.bytes as f64 / self.elapsed.as_secs_f64().max(0.001)) as u64
    }

    fn failed(&mut self, sent: Sent) {
        self.failed += 1;
        self.is_any_unknown |= sent.error.outcome() == Outcome::Unknown;
        self.first_failure.get_or_insert(sent);
    }
}

/// A message on its way; what could not even be sent has ended already.
struct Waiting {
    source: usize,
    line: u64,
    bytes: u64,
    sending: Result<Sending, ClientError>,
}

/// Publishes everything that is read. The first message that fails, or a signal, stops the reading; what is on its
/// way then is waited for.
pub(super) async fn publish(
    publisher: &Publisher,
    reading: Reading,
    message: impl Fn(Item) -> Message,
    progress: &Progress,
) -> Result<Published> {
    let mut signals = Signals::new()?;
    let start = Instant::now();
    let (waiting, inbox) = mpsc::channel(WAITING);
    let (stop, stopped) = watch::channel(false);
    let mut interrupted = None;
    let work = async {
        tokio::join!(
            feed(publisher, reading, message, waiting, stopped, progress),
            reap(inbox, &stop, progress)
        )
    };
    tokio::pin!(work);
    let (input_error, mut published) = loop {
        tokio::select! {
            ended = &mut work => break ended,
            exit = signals.next() => match interrupted {
                None => {
                    interrupted = Some(exit);
                    stop.send_replace(true);
                }
                Some(_) => std::process::exit(exit.code().into()),
            },
        }
    };
    published.input_error = input_error;
    published.interrupted = interrupted;
    published.elapsed = start.elapsed();
    Ok(published)
}

async fn feed(
    publisher: &Publisher,
    mut reading: Reading,
    message: impl Fn(Item) -> Message,
    waiting: mpsc::Sender<Waiting>,
    mut stopped: watch::Receiver<bool>,
    progress: &Progress,
) -> Option<(usize, InputError)> {
    let feeding = async {
        while let Some(items) = reading.next().await {
            let items = match items {
                Ok(items) => items,
                Err(error) => return Some(error),
            };
            for item in items {
                let (source, line, read_bytes) = (item.source, item.line, item.read_bytes);
                let message = message(item);
                let bytes = message.bytes() as u64;
                let sending = publisher.send(message).await;
                progress.read(read_bytes);
                let is_refused = sending.is_err();
                if waiting.send(Waiting { source, line, bytes, sending }).await.is_err() || is_refused {
                    return None;
                }
            }
        }
        None
    };
    tokio::select! {
        ended = feeding => ended,
        // Whoever can stop it lives as long as it does.
        _ = stopped.wait_for(|stop| *stop) => None,
    }
}

async fn reap(
    mut inbox: mpsc::Receiver<Waiting>,
    stop: &watch::Sender<bool>,
    progress: &Progress,
) -> Published {
    let mut published = Published::default();
    while let Some(Waiting { source, line, bytes, sending }) = inbox.recv().await {
        let ended = match sending {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(_) => {
                published.acknowledged += 1;
                published.bytes += bytes;
                progress.acknowledged(published.acknowledged, published.bytes);
            }
            Err(error) => {
                published.failed(Sent { source, line, error });
                stop.send_replace(true);
            }
        }
    }
    published
}
