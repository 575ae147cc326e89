//! A member of a consumer group: it is told which partitions it owns, and hands their messages to a handler.

mod attend;
mod consumer;
mod effort;
mod finder;
mod partition;
mod stream;
mod task;
mod worker;

use std::{
    collections::BTreeSet,
    error::Error,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use pondage_model::{Name, Offset, Outcome, Refusal, Uuid, limits};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::JoinHandle,
};

use crate::{Client, ClientError, ReaderOptions, TopicMessage, TopicReader};
pub use attend::{Attendance, GroupShare, ShareSource};
pub use consumer::SharedConsumer;

use effort::Effort;
use partition::Context;
use stream::Identity;
use task::Task;
pub use worker::WorkerOptions;

/// How a member reads.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// What people know it by, such as its pod's name; cut to 253 bytes.
    pub instance: String,
    /// Messages that are handled at once, over all partitions; those of one partition are handled one by one.
    pub concurrency: usize,
    /// Messages of one partition that may be here unhandled, 1 to 65,536.
    pub credit: u32,
    /// How often to commit what was handled; a partition that passes on, and a member that leaves, commit at once. `None`
    /// leaves it to [`GroupMessage::commit`].
    pub commit_interval: Option<Duration>,
}

impl Default for MemberOptions {
    fn default() -> Self {
        Self {
            instance: String::new(),
            concurrency: 64,
            credit: 1_024,
            commit_interval: Some(Duration::from_secs(1)),
        }
    }
}

/// Why a handler gives up.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// Why a member ended.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The group is gone, another connection speaks for the member, or the cluster refuses it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The handler gave up at this message, which is not committed: whoever reads the partition next gets it again.
    #[error("{topic}/{partition} at offset {offset}: {error}")]
    Handler {
        /// The topic.
        topic: Name,
        /// The partition.
        partition: u32,
        /// The message.
        offset: Offset,
        /// Why.
        error: HandlerError,
    },
}

/// A message for a group.
#[derive(Debug)]
pub struct GroupMessage {
    /// The topic.
    pub topic: Name,
    /// The message, with its place.
    pub message: TopicMessage,
    reader: Arc<TopicReader>,
}

impl GroupMessage {
    /// Commits for the group that this message and all before it in its partition are done with, durably. Only needed
    /// without automatic commits.
    ///
    /// # Errors
    /// `FENCED` if the partition passed on to another member; UNKNOWN if the connection was lost meanwhile.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.reader.commit(self.message.partition, self.message.offset.next()).await
    }
}

/// A member of a consumer group on topics. Dropping it is as if the process ended: the group gives its partitions to
/// others after the session timeout.
#[derive(Debug)]
pub struct GroupMember {
    owned: watch::Receiver<BTreeSet<(Name, u32)>>,
    leaving: Option<oneshot::Sender<()>>,
    /// None once it was said how it ended.
    task: Option<JoinHandle<Result<(), MemberError>>>,
}

impl GroupMember {
    /// The partitions that it reads now.
    #[must_use]
    pub fn owned(&self) -> BTreeSet<(Name, u32)> {
        self.owned.borrow().clone()
    }

    /// Waits until it reads others than [`Self::owned`] said last; false once it ended.
    pub async fn owned_changed(&mut self) -> bool {
        self.owned.changed().await.is_ok()
    }

    /// Waits until the member ended by itself. It may be asked again until it did; the reason is told once.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> Result<(), MemberError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        ended.unwrap_or_else(|_| Err(ClientError::closed("member", Outcome::Unknown).into()))
    }

    /// Leaves in good order: what is being handled is finished and committed, and others take over at once. (If the way to
    /// the group is lost at that moment, they take over after its session timeout.)
    ///
    /// # Errors
    /// Why it had ended by itself before, unless that was told; what a handler said in the end; that something was handled
    /// which may not be committed, so that it comes again.
    pub async fn leave(mut self) -> Result<(), MemberError> {
        self.leaving.take();
        self.ended().await
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Client {
    /// Joins a consumer group on topics and handles the messages of the partitions that it is given. Comes back by itself
    /// when a connection is lost or another broker leads.
    ///
    /// # Errors
    /// `INVALID_NAME`. What the cluster refuses is told by [`GroupMember::ended`].
    pub fn join<H, F>(
        &self,
        group: &str,
        options: MemberOptions,
        handler: H,
    ) -> Result<GroupMember, ClientError>
    where
        H: Fn(GroupMessage) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let group = Name::new(group)?;
        let identity = identity(group.clone(), options.instance);
        let (leaving, is_leaving) = oneshot::channel();
        let (owned_sender, owned) = watch::channel(BTreeSet::new());
        let concurrency = options.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let context = Context {
            client: self.clone(),
            group,
            reading: ReaderOptions {
                credit: options.credit.clamp(1, limits::CREDIT_MAX),
                commit_interval: options.commit_interval,
                ..ReaderOptions::default()
            },
            permits: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            effort: Effort::new(),
            handler: Arc::new(handler),
            uncommitted: Arc::default(),
        };
        let task = Task::new(context, identity, owned_sender);
        let task = tokio::spawn(task.run(is_leaving));
        Ok(GroupMember { owned, leaving: Some(leaving), task: Some(task) })
    }
}

/// A member that is new to its group.
fn identity(group: Name, mut instance: String) -> Identity {
    instance.truncate(instance.floor_char_boundary(limits::INSTANCE_BYTES_MAX));
    Identity { group, id: random_id(), instance }
}

/// The group reads something that is read in another way.
fn other_kind(group: &Name, what: &str) -> ClientError {
    let what = format!("group {group} {what}");
    Refusal::InvalidArgument { what }.into()
}

/// Never the same twice, as far as anybody lives to see: the keys of the standard library's hash maps are drawn from the
/// system's randomness.
fn random_id() -> Uuid {
    let half = || RandomState::new().build_hasher().finish().to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&half());
    bytes[8..].copy_from_slice(&half());
    Uuid(bytes)
}
