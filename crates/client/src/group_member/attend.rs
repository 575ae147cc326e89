//! A member of a group whose messages are settled one by one: known to the group, which consumes in its own way.

use std::sync::Arc;

use pondage_model::{Name, Outcome};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    effort::{Effort, Teller},
    finder::{Finder, hear},
    identity, other_kind,
    stream::{Heard, Identity, JoinStream},
};
use crate::{Client, ClientError};

/// What the members of a group consume together, under leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareSource {
    /// A queue.
    Queue(Name),
    /// Every partition of these topics, each with how many it has; the group is a shared one.
    Topics(Vec<(Name, u32)>),
}

/// What a group on a queue, or a shared one, tells its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupShare {
    /// What it consumes.
    pub source: ShareSource,
    /// Messages that one member may hold unsettled.
    pub in_flight_max: u32,
    /// This member is to take nothing more and to finish what it has, until it is told otherwise. [`crate::Client::work`]
    /// sees to that; whoever takes messages in another way sees to it himself.
    pub is_draining: bool,
}

/// That a member of a group on a queue, or of a shared one, is there. Dropping it is as if the process ended.
#[derive(Debug)]
pub struct Attendance {
    /// The first to be dropped: what ends without a word does not hear that it may leave.
    task: Background,
    share: watch::Receiver<Option<GroupShare>>,
    leaving: Option<oneshot::Sender<()>>,
}

/// What a membership does in the background. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Background {
    what: &'static str,
    /// None once it was said how it ended.
    task: Option<JoinHandle<Result<(), ClientError>>>,
}

impl Background {
    pub(super) fn begin(
        what: &'static str,
        work: impl Future<Output = Result<(), ClientError>> + Send + 'static,
    ) -> Self {
        Self { what, task: Some(tokio::spawn(work)) }
    }

    /// Waits for the end; why is told once.
    pub(super) async fn ended(&mut self) -> Result<(), ClientError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        ended.unwrap_or_else(|_| Err(ClientError::closed(self.what, Outcome::Unknown)))
    }

    /// What the group consumes, once it has said so, or why this ended before.
    pub(super) async fn share(
        &mut self,
        shares: &mut watch::Receiver<Option<GroupShare>>,
    ) -> Result<GroupShare, ClientError> {
        loop {
            if let Some(share) = shares.borrow_and_update().clone() {
                return Ok(share);
            }
            if shares.changed().await.is_err() {
                let closed = || ClientError::closed("member", Outcome::Unknown);
                return self.ended().await.and_then(|()| Err(closed()));
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Attendance {
    /// What the group consumes, once it has said so.
    ///
    /// # Errors
    /// Why the group does not take this member.
    pub async fn share(&mut self) -> Result<GroupShare, ClientError> {
        self.task.share(&mut self.share).await
    }

    /// Hears whenever the group says what it consumes.
    pub(super) fn shares(&self) -> watch::Receiver<Option<GroupShare>> {
        self.share.clone()
    }

    /// Waits until the group knows this member no more; the reason is told once.
    ///
    /// # Errors
    /// `NOT_FOUND` after the group was deleted, and others that don't pass.
    pub async fn ended(&mut self) -> Result<(), ClientError> {
        self.task.ended().await
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

impl Client {
    /// Joins a consumer group on a queue, or a shared one, for who consumes in its own way: the group counts and names it.
    ///
    /// # Errors
    /// `INVALID_NAME`. What the cluster refuses is told by [`Attendance::share`] and [`Attendance::ended`].
    pub fn attend(&self, group: &str, instance: &str) -> Result<Attendance, ClientError> {
        self.attend_with(group, instance, Effort::new())
    }

    /// As [`Self::attend`], and tells what the member does.
    pub(super) fn attend_with(
        &self,
        group: &str,
        instance: &str,
        effort: Arc<Effort>,
    ) -> Result<Attendance, ClientError> {
        let identity = identity(Name::new(group)?, instance.to_owned());
        let (leaving, is_leaving) = oneshot::channel();
        let (told, share) = watch::channel(None);
        let attending = attend(self.clone(), identity, told, is_leaving, Teller::new(effort));
        let task = Background::begin("member", attending);
        Ok(Attendance { share, leaving: Some(leaving), task })
    }
}

/// Is known to the group until it leaves or something ends it.
async fn attend(
    client: Client,
    identity: Identity,
    told: watch::Sender<Option<GroupShare>>,
    mut leaving: oneshot::Receiver<()>,
    mut teller: Teller,
) -> Result<(), ClientError> {
    let mut finder = Finder::new(client.clone());
    let mut stream: Option<JoinStream> = None;
    let end = loop {
        if let Some(stream) = &stream {
            teller.tell(stream);
        }
        let is_joined = stream.is_some();
        let heard = tokio::select! {
            biased;
            _ = &mut leaving => break Ok(()),
            () = teller.due(), if is_joined => continue,
            heard = hear(&mut stream, &mut finder, &identity) => heard,
        };
        match heard {
            Ok((joined, Heard::Consumes(share))) => {
                stream = joined.or(stream);
                told.send_replace(Some(share));
            }
            Ok((joined, Heard::Owned { .. })) => {
                stream = joined.or(stream);
                break Err(other_kind(&identity.group, "gives its members partitions to read: join it"));
            }
            Ok((_, Heard::Left)) => break Ok(()),
            Err(error) if error.retriable() => {
                finder.lost(&mut stream, &error);
                teller.begin_anew();
            }
            Err(error) => break Err(error),
        }
    };
    if let Some(stream) = stream {
        // A group that does not hear of it notices by the session timeout.
        drop(timeout(client.options().request_timeout, stream.leave()).await);
    }
    end
}
