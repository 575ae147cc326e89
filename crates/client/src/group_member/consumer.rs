//! A consumer for a group on a queue, or for a shared one: the messages of one queue, or of every partition that the group
//! reads.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use pondage_model::{Name, Outcome};
use pondage_protocol::consume::Source;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::sleep,
};

use super::{
    attend::{Attendance, Background, GroupShare, ShareSource},
    effort::Effort,
    partition::is_passing,
};
use crate::{
    Client, ClientError, ConsumerOptions, QueueConsumer, QueueMessage, options::millis, patience::Patience,
};

/// The pause before something is asked for again that nobody leads, or not every broker knows yet.
const OPEN_AGAIN: Duration = Duration::from_millis(200);

/// How long a message waits at first where more may come than there is room for: others may have a hand free.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Takes messages as a member of a group. Dropping it gives back what is not settled, as if the process ended.
#[derive(Debug)]
pub struct SharedConsumer {
    /// The first to be dropped: what ends without a word does not hear that it may leave.
    task: Background,
    legs: Vec<Leg>,
    /// Which of them is asked first.
    turn: usize,
    opened: mpsc::UnboundedReceiver<Leg>,
    /// What ended and is to be opened again.
    again: mpsc::UnboundedSender<Source>,
    shares: watch::Receiver<Option<GroupShare>>,
    /// Whether nothing is to be opened.
    pause: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
}

/// What is consumed at one leader.
#[derive(Debug)]
struct Leg {
    source: Source,
    consumer: QueueConsumer,
}

impl SharedConsumer {
    /// What the group consumes, once it has said so.
    ///
    /// # Errors
    /// Why the group does not take this member.
    pub async fn share(&mut self) -> Result<GroupShare, ClientError> {
        self.task.share(&mut self.shares).await
    }

    /// The next message, of whichever partition has one; `None` once the membership ended and that was told. Comes back by
    /// itself when a connection is lost or another broker leads. What was taken before the end can still be settled, until
    /// this is closed or dropped. Nothing is lost by not waiting for it.
    ///
    /// # Errors
    /// What ended the membership, once: such as `NOT_FOUND` after the group was deleted.
    pub async fn next(&mut self) -> Result<Option<QueueMessage>, ClientError> {
        loop {
            let Self { legs, turn, opened, .. } = self;
            let (at, next) = tokio::select! {
                biased;
                leg = opened.recv() => match leg {
                    Some(leg) => {
                        legs.push(leg);
                        continue;
                    }
                    None => return self.task.ended().await.map(|()| None),
                },
                found = first(legs, *turn), if !legs.is_empty() => found,
            };
            match next {
                Ok(Some(message)) => {
                    self.turn = at + 1;
                    return Ok(Some(message));
                }
                Err(error) if !is_passing(&error) => {
                    self.legs.swap_remove(at);
                    return Err(error);
                }
                // Whether it is over for good, the membership says.
                Ok(None) | Err(_) => {
                    let Leg { source, .. } = self.legs.swap_remove(at);
                    // Whoever opens may have ended: then the loop ends as well.
                    drop(self.again.send(source));
                }
            }
        }
    }

    /// Takes no more messages: those that nobody took are given back. What was taken can still be settled; until that is
    /// done, [`Self::next`] is not for calling.
    pub(super) fn stop(&mut self) {
        self.pause.send_replace(true);
        self.take_opened();
        self.legs.iter().for_each(|leg| leg.consumer.stop());
    }

    /// Also what was opened and not looked at yet takes messages.
    fn take_opened(&mut self) {
        while let Ok(leg) = self.opened.try_recv() {
            self.legs.push(leg);
        }
    }

    /// Waits until the membership ends, while nothing is taken.
    ///
    /// # Errors
    /// What ended it, once.
    pub(super) async fn discard(&mut self) -> Result<(), ClientError> {
        // What was opened when it was stopped gives back what it has.
        while self.opened.recv().await.is_some() {}
        self.task.ended().await
    }

    /// Ends what it consumes with, while it is stopped. Everything that it took must be settled.
    pub(super) async fn rest(&mut self) {
        self.close_legs().await;
    }

    /// Takes messages again. Everything that it took before must be settled.
    pub(super) async fn resume(&mut self) {
        self.close_legs().await;
        self.pause.send_replace(false);
    }

    /// Hears whenever the group says what it consumes.
    pub(super) fn shares(&self) -> watch::Receiver<Option<GroupShare>> {
        self.shares.clone()
    }

    /// Leaves in good order: waits for verdicts that are on their way, gives back everything else, and leaves the group.
    ///
    /// # Errors
    /// What had ended the membership before, unless that was told.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.close_legs().await;
        self.stop.take();
        self.task.ended().await
    }

    async fn close_legs(&mut self) {
        self.take_opened();
        let mut closing = JoinSet::new();
        for leg in std::mem::take(&mut self.legs) {
            closing.spawn(leg.consumer.close());
        }
        while closing.join_next().await.is_some() {}
    }
}

/// The first that has something to say, beginning with the one whose turn it is.
async fn first(legs: &[Leg], turn: usize) -> (usize, Result<Option<QueueMessage>, ClientError>) {
    let in_turn = (0..legs.len()).map(|index| (turn + index) % legs.len());
    let mut waiting: Vec<_> = in_turn.map(|at| (at, Box::pin(legs[at].consumer.next()))).collect();
    poll_fn(|context| {
        for (at, next) in &mut waiting {
            if let Poll::Ready(found) = next.as_mut().poll(context) {
                return Poll::Ready((*at, found));
            }
        }
        Poll::Pending
    })
    .await
}

impl Client {
    /// Joins a consumer group on a queue, or a shared one, and takes its messages, each of which wants a verdict. The
    /// credit is for all that it consumes together, at most what the group allows, in equal parts when partitions are opened;
    /// each partition has room for one message at least, however small the credit. What nobody takes in time is given back,
    /// without a failed attempt: within a quarter of its lease, and the sooner the more partitions there are than credit.
    ///
    /// It tells its group nothing of what it gets done, and goes on taking messages while it is drained
    /// ([`GroupShare::is_draining`]): consumers that are to be scaled are [`Client::work`]ers.
    ///
    /// # Errors
    /// `INVALID_NAME`. What the cluster refuses is told by [`SharedConsumer::next`].
    pub fn shared_consumer(
        &self,
        group: &str,
        instance: impl Into<String>,
        options: ConsumerOptions,
    ) -> Result<SharedConsumer, ClientError> {
        self.shared_consumer_with(group, &instance.into(), options, Effort::new())
    }

    /// As [`Self::shared_consumer`], and tells what the member does.
    pub(super) fn shared_consumer_with(
        &self,
        group: &str,
        instance: &str,
        options: ConsumerOptions,
        effort: Arc<Effort>,
    ) -> Result<SharedConsumer, ClientError> {
        let attendance = self.attend_with(group, instance, effort)?;
        let (sender, opened) = mpsc::unbounded_channel();
        let (again, ended) = mpsc::unbounded_channel();
        let (stop, is_stopped) = oneshot::channel();
        let shares = attendance.shares();
        let (pause, paused) = watch::channel(false);
        let opening = Opening { client: self.clone(), group: Name::new(group)?, options, sender, paused };
        let task = Background::begin("consumer", opening.run(attendance, is_stopped, ended));
        Ok(SharedConsumer { task, legs: Vec::new(), turn: 0, opened, again, shares, pause, stop: Some(stop) })
    }
}

/// Opens what a group consumes, as long as the membership lasts.
struct Opening {
    client: Client,
    group: Name,
    options: ConsumerOptions,
    sender: mpsc::UnboundedSender<Leg>,
    /// Whether nothing is to be opened.
    paused: watch::Receiver<bool>,
}

impl Opening {
    async fn run(
        mut self,
        mut attendance: Attendance,
        mut stop: oneshot::Receiver<()>,
        mut ended: mpsc::UnboundedReceiver<Source>,
    ) -> Result<(), ClientError> {
        let mut shares = attendance.shares();
        let mut opening = JoinSet::new();
        let mut known = BTreeSet::new();
        let mut all = Vec::new();
        shares.mark_changed();
        let end = loop {
            tokio::select! {
                biased;
                _ = &mut stop => break Ok(()),
                ended = attendance.ended() => break ended,
                Some(opened) = opening.join_next() => match opened {
                    // What was begun before a pause is not wanted behind it: it was asked for anew.
                    Ok(Ok(opened)) if opened.was_paused() => {}
                    // Whoever takes the messages may be gone.
                    Ok(Ok(Opened { leg: Some(leg), .. })) => drop(self.sender.send(leg)),
                    Ok(Ok(Opened { leg: None, .. })) => {}
                    Ok(Err(error)) => break Err(error),
                    Err(_) => break Err(ClientError::closed("consumer", Outcome::Unknown)),
                },
                Some(source) = ended.recv() => {
                    if self.is_paused() {
                        continue;
                    }
                    let part = all.iter().find(|(found, _)| *found == source).map_or(Part::LEAST, |(_, part)| *part);
                    opening.spawn(self.open(source, part, OPEN_AGAIN));
                }
                Ok(()) = self.paused.changed() => {
                    known.clear();
                    shares.mark_changed();
                }
                Ok(()) = shares.changed() => {
                    all = shares.borrow_and_update().iter().flat_map(|share| self.all(share)).collect();
                    if self.is_paused() {
                        continue;
                    }
                    for (source, part) in &all {
                        if known.insert(key(source)) {
                            opening.spawn(self.open(source.clone(), *part, Duration::ZERO));
                        }
                    }
                }
            }
        };
        // Nothing is handed on any more; what was taken may still be settled.
        drop(self);
        let left = attendance.leave().await;
        end.and(left)
    }

    fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Opens a leg, unless there is a pause meanwhile.
    fn open(
        &self,
        source: Source,
        part: Part,
        pause: Duration,
    ) -> impl Future<Output = Result<Opened, ClientError>> + use<> {
        open(self.client.clone(), source, part, pause, self.paused.clone())
    }

    /// What there is to consume, each with its part of the credit.
    fn all(&self, share: &GroupShare) -> Vec<(Source, Part)> {
        let lease_millis = self.options.lease.map(millis);
        let group = &self.group;
        let sources: Vec<Source> = match &share.source {
            ShareSource::Queue(name) => vec![Source::Queue { name: name.clone(), lease_millis }],
            ShareSource::Topics(topics) => topics
                .iter()
                .flat_map(|(topic, partitions)| (0..*partitions).map(move |partition| (topic, partition)))
                .map(|(topic, partition)| {
                    let (group, topic) = (group.clone(), topic.clone());
                    Source::Share { group, topic, partition, lease_millis }
                })
                .collect(),
        };
        let parts = u32::try_from(sources.len()).unwrap_or(u32::MAX).max(1);
        let credit = self.options.credit.min(share.in_flight_max) / parts;
        let part = if credit == 0 { Part::LEAST } else { Part { credit, is_beyond: false } };
        sources.into_iter().map(|source| (source, part)).collect()
    }
}

/// A partition's part of the member's credit.
#[derive(Clone, Copy)]
struct Part {
    credit: u32,
    /// All parts together are more than there is.
    is_beyond: bool,
}

impl Part {
    const LEAST: Self = Self { credit: 1, is_beyond: true };

    fn patience(self) -> Patience {
        if self.is_beyond { Patience::starting(FIRST_WAIT) } else { Patience::default() }
    }
}

/// What tells sources of one group apart.
fn key(source: &Source) -> (Name, u32) {
    match source {
        Source::Share { topic, partition, .. } => (topic.clone(), *partition),
        Source::Queue { name, .. } | Source::Topic { name, .. } => (name.clone(), 0),
    }
}

/// What came of opening something.
struct Opened {
    leg: Option<Leg>,
    paused: watch::Receiver<bool>,
}

impl Opened {
    /// Whether a pause began or ended since it was asked for.
    fn was_paused(&self) -> bool {
        self.paused.has_changed().unwrap_or(true)
    }
}

async fn open(
    client: Client,
    source: Source,
    part: Part,
    pause: Duration,
    mut paused: watch::Receiver<bool>,
) -> Result<Opened, ClientError> {
    sleep(pause).await;
    // What is being opened is opened to the end: who goes in the middle of it looks as if his process had ended.
    loop {
        match client.consumer_of(source.clone(), part.credit, part.patience()).await {
            Ok(consumer) => return Ok(Opened { leg: Some(Leg { source, consumer }), paused }),
            Err(error) if is_passing(&error) => tokio::select! {
                () = sleep(OPEN_AGAIN) => {}
                _ = paused.changed() => return Ok(Opened { leg: None, paused }),
            },
            Err(error) => return Err(error),
        }
    }
}
