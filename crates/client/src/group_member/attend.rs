//! A member of a group on a queue: known to the group, which consumes the queue in its own way or by a handler.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pondage_model::{Name, Outcome};
use pondage_protocol::settle::Verdict;
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{
    GroupMember, MemberError,
    finder::{Finder, hear},
    identity, other_kind,
    stream::{Heard, Identity},
};
use crate::{Client, ClientError, ConsumerOptions, QueueConsumer, QueueMessage};

/// The pause before a queue is asked for again that nobody leads.
const OPEN_AGAIN: Duration = Duration::from_millis(200);

/// What a group on a queue tells its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueShare {
    /// The queue that the group consumes.
    pub queue: Name,
    /// Messages that one member may hold unsettled.
    pub in_flight_max: u32,
}

/// How a member of a group on a queue works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// What people know it by, such as its pod's name; cut to 253 bytes.
    pub instance: String,
    /// Messages that are handled at once.
    pub concurrency: usize,
    /// Messages that may be here unsettled, those that are handled among them: as many as are handled at once, unless it
    /// says otherwise, and never more than the group allows. The leases of those that wait here run too.
    pub prefetch: Option<u32>,
    /// The time of a lease, in which a message is to be handled; `None` takes the queue's.
    pub lease: Option<Duration>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { instance: String::new(), concurrency: 64, prefetch: None, lease: None }
    }
}

/// That a member of a group on a queue is there. Dropping it is as if the process ended.
#[derive(Debug)]
pub struct Attendance {
    share: watch::Receiver<Option<QueueShare>>,
    leaving: Option<oneshot::Sender<()>>,
    /// None once it was said how it ended.
    task: Option<JoinHandle<Result<(), ClientError>>>,
}

impl Attendance {
    /// What the group consumes, once it has said so.
    ///
    /// # Errors
    /// Why the group does not take this member.
    pub async fn share(&mut self) -> Result<QueueShare, ClientError> {
        loop {
            if let Some(share) = self.share.borrow_and_update().clone() {
                return Ok(share);
            }
            if self.share.changed().await.is_err() {
                let closed = || ClientError::closed("member", Outcome::Unknown);
                return self.ended().await.and_then(|()| Err(closed()));
            }
        }
    }

    /// Waits until the group knows this member no more; the reason is told once.
    ///
    /// # Errors
    /// `NOT_FOUND` after the group was deleted, and others that don't pass.
    pub async fn ended(&mut self) -> Result<(), ClientError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        ended.unwrap_or_else(|_| Err(ClientError::closed("member", Outcome::Unknown)))
    }

    /// Leaves the group.
    ///
    /// # Errors
    /// Why it had ended by itself before, unless that was told.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        self.leaving.take();
        self.ended().await
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Client {
    /// Joins a consumer group on a queue, for who consumes the queue in its own way: the group counts and names it.
    ///
    /// # Errors
    /// `INVALID_NAME`. What the cluster refuses is told by [`Attendance::share`] and [`Attendance::ended`].
    pub fn attend(&self, group: &str, instance: &str) -> Result<Attendance, ClientError> {
        let identity = identity(Name::new(group)?, instance.to_owned());
        let (leaving, is_leaving) = oneshot::channel();
        let (told, share) = watch::channel(None);
        let task = tokio::spawn(attend(self.clone(), identity, told, is_leaving));
        Ok(Attendance { share, leaving: Some(leaving), task: Some(task) })
    }

    /// Joins a consumer group on a queue and handles its messages, each of which gets the verdict that the handler says.
    /// Those whose handler panics failed, and come again after the queue's backoff. Comes back by itself when a
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
        let attendance = self.attend(group, &options.instance)?;
        let (leaving, is_leaving) = oneshot::channel();
        let (owner, owned) = watch::channel(BTreeSet::new());
        let worker = Worker { client: self.clone(), options, handler: Arc::new(handler), _owner: owner };
        let task = tokio::spawn(worker.run(attendance, is_leaving));
        Ok(GroupMember { owned, leaving: Some(leaving), task: Some(task) })
    }
}

/// Is known to the group until it leaves or something ends it.
async fn attend(
    client: Client,
    identity: Identity,
    told: watch::Sender<Option<QueueShare>>,
    mut leaving: oneshot::Receiver<()>,
) -> Result<(), ClientError> {
    let mut finder = Finder::new(client.clone());
    let mut stream = None;
    let end = loop {
        let heard = tokio::select! {
            biased;
            _ = &mut leaving => break Ok(()),
            heard = hear(&mut stream, &mut finder, &identity) => heard,
        };
        match heard {
            Ok((joined, Heard::Consumes(share))) => {
                stream = joined.or(stream);
                told.send_replace(Some(share));
            }
            Ok((joined, Heard::Owned { .. })) => {
                stream = joined.or(stream);
                break Err(other_kind(&identity.group, "topics: join it"));
            }
            Ok((_, Heard::Left)) => break Ok(()),
            Err(error) if error.retriable() => finder.lost(&mut stream, &error),
            Err(error) => break Err(error),
        }
    };
    if let Some(stream) = stream {
        // A group that does not hear of it notices by the session timeout.
        drop(timeout(client.options().request_timeout, stream.leave()).await);
    }
    end
}

struct Worker<H> {
    client: Client,
    options: WorkerOptions,
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
        mut attendance: Attendance,
        mut leaving: oneshot::Receiver<()>,
    ) -> Result<(), MemberError> {
        let opened = tokio::select! {
            biased;
            _ = &mut leaving => Ok(None),
            opened = self.open(&mut attendance) => opened.map(Some),
        };
        let end = match opened {
            Ok(Some(consumer)) => {
                let mut handled = JoinSet::new();
                let end = self.consume(&consumer, &mut attendance, &mut handled, leaving).await;
                while handled.join_next().await.is_some() {}
                consumer.close().await;
                end
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let left = attendance.leave().await;
        end.and(left).map_err(MemberError::from)
    }

    async fn open(&self, attendance: &mut Attendance) -> Result<QueueConsumer, ClientError> {
        let share = attendance.share().await?;
        let at_once = u32::try_from(self.options.concurrency).unwrap_or(u32::MAX);
        let credit = self.options.prefetch.unwrap_or(at_once).min(share.in_flight_max);
        let options = ConsumerOptions { credit: credit.max(1), lease: self.options.lease };
        loop {
            match self.client.consumer(share.queue.as_str(), options.clone()).await {
                Err(error) if error.retriable() => sleep(OPEN_AGAIN).await,
                opened => return opened,
            }
        }
    }

    /// Handles messages until it is to leave.
    async fn consume(
        &self,
        consumer: &QueueConsumer,
        attendance: &mut Attendance,
        handled: &mut JoinSet<()>,
        mut leaving: oneshot::Receiver<()>,
    ) -> Result<(), ClientError> {
        loop {
            let has_room = handled.len() < self.options.concurrency.max(1);
            tokio::select! {
                biased;
                _ = &mut leaving => return Ok(()),
                ended = attendance.ended() => return ended,
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
