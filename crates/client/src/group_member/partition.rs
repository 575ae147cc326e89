//! One partition that a member reads: message by message to the handler, until it is stopped.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pondage_model::{Code, Name};
use pondage_protocol::consume::Assigned;
use tokio::{
    sync::{Semaphore, watch},
    time::sleep,
};

use super::{GroupMessage, HandlerError, MemberError, effort::Effort};
use crate::{Client, ClientError, ReaderOptions, TopicReader};

/// How long to wait before a partition is claimed again that could not be read. Who was fenced is told by its group soon
/// whether the partition is another's; if it is not, an administrator moved the cursor.
const AGAIN: Duration = Duration::from_millis(200);

/// A handler of any kind.
pub(super) trait Handle: Send + Sync + 'static {
    fn handle(
        &self,
        message: GroupMessage,
    ) -> Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + '_>>;
}

impl<H, F> Handle for H
where
    H: Fn(GroupMessage) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    fn handle(
        &self,
        message: GroupMessage,
    ) -> Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + '_>> {
        Box::pin(self(message))
    }
}

/// What all partitions of a member share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) group: Name,
    pub(super) reading: ReaderOptions,
    pub(super) permits: Arc<Semaphore>,
    /// How many there are.
    pub(super) concurrency: usize,
    pub(super) effort: Arc<Effort>,
    pub(super) handler: Arc<dyn Handle>,
    /// Why something was handled that may not be committed; whoever leaves is told.
    pub(super) uncommitted: Arc<Mutex<Option<ClientError>>>,
}

/// One partition of a member.
pub(super) struct Partition {
    pub(super) context: Context,
    pub(super) topic: Name,
    pub(super) number: u32,
    pub(super) assigned: Assigned,
    /// Turns true when the partition is to be let go of.
    pub(super) stop: watch::Receiver<bool>,
}

impl Partition {
    /// Reads until it is stopped; then everything that was handled is committed.
    pub(super) async fn read(mut self) -> Result<(), MemberError> {
        loop {
            let opening = self.open();
            let opened = tokio::select! {
                biased;
                () = stopped(self.stop.clone()) => return Ok(()),
                opened = opening => opened,
            };
            match opened {
                Ok(reader) => {
                    if self.hand_over(Arc::new(reader)).await? {
                        return Ok(());
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = stopped(self.stop.clone()) => return Ok(()),
                () = sleep(AGAIN) => {}
            }
        }
    }

    async fn open(&self) -> Result<TopicReader, ClientError> {
        let Context { client, group, reading, .. } = &self.context;
        client
            .member_reader(self.topic.clone(), self.number, (group.clone(), self.assigned), reading.clone())
            .await
    }

    /// Hands messages to the handler; whether the partition was stopped, else it is to be opened again.
    async fn hand_over(&mut self, reader: Arc<TopicReader>) -> Result<bool, MemberError> {
        loop {
            let next = tokio::select! {
                biased;
                () = stopped(self.stop.clone()) => {
                    close(reader, true, &self.context.uncommitted).await;
                    return Ok(true);
                }
                next = reader.next_message() => next,
            };
            let message = match next {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(true),
                Err(error) if is_passing(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let permit = tokio::select! {
                biased;
                () = stopped(self.stop.clone()) => {
                    close(reader, false, &self.context.uncommitted).await;
                    return Ok(true);
                }
                permit = self.context.permits.acquire() => permit,
            };
            let offset = message.offset;
            let message = GroupMessage { topic: self.topic.clone(), message, reader: Arc::clone(&reader) };
            let working = self.context.effort.begin();
            let handled = self.context.handler.handle(message).await;
            drop(permit);
            if handled.is_ok() {
                working.settled();
            }
            if let Err(error) = handled {
                close(reader, false, &self.context.uncommitted).await;
                let (topic, partition) = (self.topic.clone(), self.number);
                return Err(MemberError::Handler { topic, partition, offset, error });
            }
        }
    }
}

/// Commits what was handled. Whoever keeps a message, and with it the reader, for longer than its handler ran, leaves
/// that to the end of it.
async fn close(reader: Arc<TopicReader>, last_is_handled: bool, uncommitted: &Mutex<Option<ClientError>>) {
    let Some(reader) = Arc::into_inner(reader) else { return };
    match reader.finish(last_is_handled).await {
        // What is another's by now comes again there, whatever this one says of it.
        Err(error) if !error.is(Code::Fenced) => {
            uncommitted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        _ => {}
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Without a sender there is no member any more.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Whether consuming may go on at another try: its claim was fenced, retention overtook it, it took too long, or a broker
/// does not know yet what is new. Of what was deleted the group hears, and stops this.
pub(super) fn is_passing(error: &ClientError) -> bool {
    let codes = [Code::Fenced, Code::OutOfRange, Code::NotFound];
    error.retriable() || codes.into_iter().any(|code| error.is(code))
}
