//! A member of a group that handles its messages: each gets the verdict that its handler says.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use pondage_model::{Name, limits};
use pondage_protocol::settle::Verdict;
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    GroupMember, GroupShare, MemberError,
    consumer::SharedConsumer,
    effort::{Effort, Working},
};
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
        let effort = Effort::new();
        effort.set_hands(concurrency.max(1));
        let options = ConsumerOptions { credit, lease };
        let consumer = self.shared_consumer_with(group, &instance, options, Arc::clone(&effort))?;
        let (leaving, is_leaving) = oneshot::channel();
        let (owner, owned) = watch::channel(BTreeSet::new());
        let worker =
            Worker { concurrency: concurrency.max(1), handler: Arc::new(handler), effort, _owner: owner };
        let task = tokio::spawn(worker.run(consumer, is_leaving));
        Ok(GroupMember { owned, leaving: Some(leaving), task: Some(task) })
    }
}

struct Worker<H> {
    /// Messages that are handled at once.
    concurrency: usize,
    handler: Arc<H>,
    effort: Arc<Effort>,
    /// Partitions are not for workers; that this is there says that the member has not ended.
    _owner: watch::Sender<BTreeSet<(Name, u32)>>,
}

/// Why a worker takes no more messages.
enum Rest {
    /// The membership ended.
    Ended(Result<(), ClientError>),
    /// It is to leave.
    Leaving,
    /// It is drained, for now.
    Draining,
}

impl<H, F> Worker<H>
where
    H: Fn(Arc<QueueMessage>) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    async fn run(
        self,
        mut consumer: SharedConsumer,
        mut leaving: oneshot::Receiver<()>,
    ) -> Result<(), MemberError> {
        let mut handled = JoinSet::new();
        let end = loop {
            let rest = self.consume(&mut consumer, &mut handled, &mut leaving).await;
            consumer.stop();
            while handled.join_next().await.is_some() {}
            match rest {
                Rest::Ended(end) => break end,
                Rest::Leaving => break Ok(()),
                Rest::Draining => consumer.rest().await,
            }
            let mut shares = consumer.shares();
            tokio::select! {
                biased;
                _ = &mut leaving => break Ok(()),
                () = is_drained(&mut shares, false) => {}
                end = consumer.discard() => break end,
            }
            consumer.resume().await;
        };
        let closed = consumer.close().await;
        end.and(closed).map_err(MemberError::from)
    }

    /// Handles messages until something keeps it from that.
    async fn consume(
        &self,
        consumer: &mut SharedConsumer,
        handled: &mut JoinSet<()>,
        leaving: &mut oneshot::Receiver<()>,
    ) -> Rest {
        let mut shares = consumer.shares();
        loop {
            let has_room = handled.len() < self.concurrency;
            tokio::select! {
                biased;
                _ = &mut *leaving => return Rest::Leaving,
                () = is_drained(&mut shares, true) => return Rest::Draining,
                Some(_) = handled.join_next() => {}
                message = consumer.next(), if has_room => match message {
                    Ok(Some(message)) => {
                        let working = self.effort.begin();
                        handled.spawn(handle(Arc::clone(&self.handler), Arc::new(message), working));
                    }
                    Ok(None) => return Rest::Ended(Ok(())),
                    Err(error) => return Rest::Ended(Err(error)),
                },
            }
        }
    }
}

/// Waits until the member is drained, or is so no more.
async fn is_drained(shares: &mut watch::Receiver<Option<GroupShare>>, wanted: bool) {
    let is = |share: &Option<GroupShare>| share.as_ref().is_some_and(|share| share.is_draining == wanted);
    if shares.wait_for(is).await.is_err() {
        // Nobody says so any more; the end of the membership is told otherwise.
        pending::<()>().await;
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
async fn handle<H, F>(handler: Arc<H>, message: Arc<QueueMessage>, working: Working)
where
    H: Fn(Arc<QueueMessage>) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    let handled = Arc::clone(&message);
    // Of its own, so that a panic is its alone.
    let mut handling = Handling(tokio::spawn(async move { handler(handled).await }));
    let verdict = (&mut handling.0).await.unwrap_or(Verdict::Release { delay_millis: None });
    let is_done = matches!(verdict, Verdict::Accept | Verdict::Reject);
    if message.settle(verdict).await.is_ok() && is_done {
        working.settled();
    }
}
