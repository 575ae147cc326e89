//! Publishing many messages: batches, many in flight, retries in order.

mod lane;
mod lanes;
mod streams;
mod task;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pondage_model::{Offset, Outcome, Refusal, record::RESERVED_HEADER_PREFIX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{Client, ClientError, Message, PublisherOptions, retry::Waits};
use lanes::Lanes;
use task::Task;

/// Where a message was stored, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The partition; 0 for queues.
    pub partition: u32,
    /// Its offset.
    pub offset: Offset,
    /// An earlier try had stored it already, and its answer was lost.
    pub already: bool,
}

/// What a message costs besides its bytes while it is here.
const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// Messages on their way from the callers to the publisher's task.
const COMMANDS: usize = 4_096;

/// Who waits for a message, and its share of the buffer.
struct Waiter {
    reply: oneshot::Sender<Result<Ack, ClientError>>,
    _share: OwnedSemaphorePermit,
}

enum Command {
    Send(Message, Waiter),
    Flush(oneshot::Sender<()>),
}

/// Publishes to one topic or queue. Cloning is cheap; clones share the session. When the last one is dropped, what
/// was sent is still delivered in the background.
#[derive(Clone, Debug)]
pub struct Publisher {
    commands: mpsc::Sender<Command>,
    buffer: Arc<Semaphore>,
    buffer_bytes: usize,
    message_bytes_max: usize,
}

/// A message that was taken; resolves to its [`Ack`]. Dropping it lets the message go on.
#[derive(Debug)]
pub struct Sending {
    reply: oneshot::Receiver<Result<Ack, ClientError>>,
}

impl Future for Sending {
    type Output = Result<Ack, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.reply)
            .poll(context)
            .map(|reply| reply.unwrap_or_else(|_| Err(ClientError::closed("publisher", Outcome::Unknown))))
    }
}

impl Client {
    /// Opens a publisher to a topic or queue, in a session of its own if it is idempotent. It keeps the topic's
    /// number of partitions of this moment.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of the connection.
    pub async fn publisher(&self, target: &str, options: PublisherOptions) -> Result<Publisher, ClientError> {
        let options = options.bounded();
        let location = self.locate(target).await?;
        let session = if options.idempotent { Some(self.init_producer().await?) } else { None };
        let buffer_bytes = options.buffer_bytes;
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let in_flight = options.in_flight;
        let waits = Waits::new(self.options());
        let lanes = Lanes::new(target.to_owned(), location.partitions, session, options, waits);
        let task = Task::new(self.clone(), target.to_owned(), lanes, in_flight, receiver);
        tokio::spawn(task.run());
        Ok(Publisher {
            commands,
            buffer: Arc::new(Semaphore::new(buffer_bytes)),
            buffer_bytes,
            message_bytes_max: location.message_bytes_max as usize,
        })
    }
}

impl Publisher {
    /// Takes a message, waiting while the buffer is full, and gives a handle that resolves once it is durable.
    /// Messages of one key and of one caller are stored in the order of these calls.
    ///
    /// The handle's errors: an outcome that is UNKNOWN may have been stored. `UNKNOWN_PRODUCER`, `OUT_OF_ORDER` and
    /// `FENCED` end the session and the publisher with it, and so does a message that may have been stored when its
    /// time is over: open a new publisher, and decide what to send again.
    ///
    /// # Errors
    /// `TOO_LARGE` and `INVALID_ARGUMENT` for a message that can't be stored; `CLOSED`. All definite.
    pub async fn send(&self, message: Message) -> Result<Sending, ClientError> {
        let bytes = message.bytes();
        if bytes > self.message_bytes_max {
            let limit = self.message_bytes_max as u64;
            return Err(Refusal::TooLarge { what: "the message", bytes: bytes as u64, limit }.into());
        }
        if message.headers.iter().any(|(key, _)| key.starts_with(RESERVED_HEADER_PREFIX.as_bytes())) {
            let what = format!("headers: keys with {RESERVED_HEADER_PREFIX} are the broker's");
            return Err(Refusal::InvalidArgument { what }.into());
        }
        let closed = || ClientError::closed("publisher", Outcome::Definite);
        let share = (bytes + MESSAGE_OVERHEAD_BYTES).min(self.buffer_bytes);
        let share = u32::try_from(share).expect("a message has 7 MiB at most");
        let share = self.buffer.clone().acquire_many_owned(share).await.map_err(|_| closed())?;
        let (reply, receiver) = oneshot::channel();
        let command = Command::Send(message, Waiter { reply, _share: share });
        self.commands.send(command).await.map_err(|_| closed())?;
        Ok(Sending { reply: receiver })
    }

    /// Sends what was taken so far without lingering, and waits until nothing is on its way any more, each message
    /// being acknowledged or failed. What others send meanwhile is waited for too.
    ///
    /// # Errors
    /// `CLOSED` if the publisher's task is gone.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let closed = || ClientError::closed("publisher", Outcome::Unknown);
        let (done, waiting) = oneshot::channel();
        self.commands.send(Command::Flush(done)).await.map_err(|_| closed())?;
        waiting.await.map_err(|_| closed())
    }
}

#[cfg(test)]
mod tests;
