//! A member of a group that handles its messages: each gets the verdict that its handler says.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pondage_model::{Name, limits};
use pondage_protocol::settle::Verdict;
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{GroupMember, MemberError, consumer::SharedConsumer};
use crate::{Client, ClientError, ConsumerOptions, QueueMessage};

/// How a member of a group on a queue, or of a shared one, works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// What people know it by, such as its pod's name; cut to 253 bytes.
    pub instance: String,
    /// Messages that are handled at once.
    pub concurrency: usize,
    /// Messages that may be here unsettled, those that are handled among them: as many as are handled at once, unless it
    /// says otherwise, and at most what the group allows; of each partition of a shared group one at least. The leases of
    /// those that wait here run too; what waits for a quarter of its lease is given back, without a failed attempt.
    pub prefetch: Option<u32>,
    /// The time of a lease, in which a message is to be handled; `None` takes that of the queue or group.
    pub lease: Option<Duration>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { instance: String::new(), concurrency: 64, prefetch: None, lease: None }
    }
}

impl Client {
    /// Joins a consumer group on a queue, or a shared one, and handles its messages, each of which gets the verdict that the handler says.
    /// Those whose handler panics failed, and come again after the backoff of the queue or group. Comes back by itself when a
    /// connection is lost or another broker leads.
    ///
    /// # Errors
    /// `INVALID_NAME`. What the cluster refuses is told by [`GroupMember::ended`].
    pub fn work<H, F>(
        &self,
        group: &str,
        options: WorkerOptions,
        handler: H,
    ) -> Result<GroupMember, ClientError>
    where
        H: Fn(Arc<QueueMessage>) -> F + Send + Sync + 'static,
        F: Future<Output = Verdict> + Send + 'static,
    {
        let WorkerOptions { instance, concurrency, prefetch, lease } = options;
        let at_once = u32::try_from(concurrency).unwrap_or(u32::MAX);
        let credit = prefetch.unwrap_or(at_once).clamp(1, limits::CREDIT_MAX);
        let consumer = self.shared_consumer(group, instance, ConsumerOptions { credit, lease })?;
        let (leaving, is_leaving) = oneshot::channel();
        let (owner, owned) = watch::channel(BTreeSet::new());
        let worker = Worker { concurrency: concurrency.max(1), handler: Arc::new(handler), _owner: owner };
        let task = tokio::spawn(worker.run(consumer, is_leaving));
        Ok(GroupMember { owned, leaving: Some(leaving), task: Some(task) })
    }
}

struct Worker<H> {
    /// Messages that are handled at once.
    concurrency: usize,
    handler: Arc<H>,
    /// Partitions are not for workers; that this is there says that the member has not ended.
    _owner: watch::Sender<BTreeSet<(Name, u32)>>,
}

impl<H, F> Worker<H>
where
    H: Fn(Arc<QueueMessage>) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    async fn run(
        self,
        mut consumer: SharedConsumer,
        leaving: oneshot::Receiver<()>,
    ) -> Result<(), MemberError> {
        let mut handled = JoinSet::new();
        let end = self.consume(&mut consumer, &mut handled, leaving).await;
        while handled.join_next().await.is_some() {}
        let closed = consumer.close().await;
        end.and(closed).map_err(MemberError::from)
    }

    /// Handles messages until it is to leave.
    async fn consume(
        &self,
        consumer: &mut SharedConsumer,
        handled: &mut JoinSet<()>,
        mut leaving: oneshot::Receiver<()>,
    ) -> Result<(), ClientError> {
        loop {
            let has_room = handled.len() < self.concurrency;
            tokio::select! {
                biased;
                _ = &mut leaving => return Ok(()),
                Some(_) = handled.join_next() => {}
                message = consumer.next(), if has_room => {
                    let Some(message) = message? else { return Ok(()) };
                    handled.spawn(handle(Arc::clone(&self.handler), Arc::new(message)));
                }
            }
        }
    }
}

/// A task that ends with whoever waits for it.
struct Handling(JoinHandle<Verdict>);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Gives the message the verdict of its handler. One that does not hold needs nothing: the message comes again.
async fn handle<H, F>(handler: Arc<H>, message: Arc<QueueMessage>)
where
    H: Fn(Arc<QueueMessage>) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    let handled = Arc::clone(&message);
    // Of its own, so that a panic is its alone.
    let mut handling = Handling(tokio::spawn(async move { handler(handled).await }));
    let verdict = (&mut handling.0).await.unwrap_or(Verdict::Release { delay_millis: None });
    drop(message.settle(verdict).await);
}
