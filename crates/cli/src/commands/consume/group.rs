//! Reading as a member of a consumer group. Committed is what was printed, or what its command accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pondage_client::{Client, ClientError, GroupMember, GroupMessage, MemberError, MemberOptions};
use pondage_model::{Name, Offset};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};

use super::{
    Consume,
    exec::{self, TopicDone},
    options::Tally,
};
use crate::{
    exit::{Exit, Failure, Result},
    render::message::Shown,
    signals::{Signals, or_at_once},
};

/// Messages that are printed together.
const GATHERED: usize = 1_000;
/// How often to commit what is done. What is not is committed at the end.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How often it is asked whether everything is read that was there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A message that waits to be done; dropped, it is not.
struct Taken {
    message: GroupMessage,
    done: oneshot::Sender<()>,
}

/// Why a message is not committed that was here when the command ended.
const NOT_TAKEN: &str = "the message was not taken";

/// Is a member until the limit, the end, or a signal.
pub(super) async fn consume(
    options: &Consume,
    client: &Client,
    group: &Name,
    topics: &[Name],
) -> Result<Exit> {
    let (sender, taken) = mpsc::channel(GATHERED);
    let handler = move |message| {
        let sender = sender.clone();
        async move {
            let (done, is_done) = oneshot::channel();
            sender.send(Taken { message, done }).await.map_err(|_| NOT_TAKEN)?;
            Ok(is_done.await.map_err(|_| NOT_TAKEN)?)
        }
    };
    let member_options = MemberOptions {
        instance: options.member(),
        // Each partition has one message here, however many there are.
        concurrency: usize::MAX,
        commit_interval: Some(COMMIT_EVERY),
        ..MemberOptions::default()
    };
    let mut session = Session {
        options,
        client,
        group,
        topics,
        member: client.join(group.as_str(), member_options, handler)?,
        taken,
        signals: Signals::new()?,
        left: options.limit.unwrap_or(u64::MAX),
        tally: Tally::default(),
        ends: BTreeMap::new(),
    };
    let ended = session.read().await;
    let Session { member, taken, mut signals, tally, .. } = session;
    drop(taken);
    let mut left = Ok(());
    or_at_once(&mut signals, async { left = member.leave().await }).await;
    options.summarise(&tally);
    let exit = ended?;
    finished(left)?;
    tally.into_result(exit)
}

/// That messages were here that nobody took is how it ends.
fn finished(left: Result<(), MemberError>) -> Result<(), ClientError> {
    match left {
        Ok(()) | Err(MemberError::Handler { .. }) => Ok(()),
        Err(MemberError::Client(error)) => Err(error),
    }
}

struct Session<'a> {
    options: &'a Consume,
    client: &'a Client,
    group: &'a Name,
    /// What the group reads.
    topics: &'a [Name],
    member: GroupMember,
    taken: mpsc::Receiver<Taken>,
    signals: Signals,
    /// Messages that may still be taken.
    left: u64,
    tally: Tally,
    /// By partition, its end when it was first looked at: what comes later is not waited for.
    ends: BTreeMap<(Name, u32), Offset>,
}

impl Session<'_> {
    async fn read(&mut self) -> Result<Exit> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one is at once.
        look.tick().await;
        while self.left > 0 {
            let first = tokio::select! {
                biased;
                exit = self.signals.next() => return Ok(exit),
                _ = look.tick(), if self.options.until_end => {
                    let (owned, ends) = (self.member.owned(), &mut self.ends);
                    let asked = is_at_end(self.client, self.group, self.topics, &owned, ends);
                    let is_at_end = tokio::select! {
                        exit = self.signals.next() => return Ok(exit),
                        is_at_end = asked => is_at_end?,
                    };
                    if is_at_end {
                        return Ok(Exit::Ok);
                    }
                    continue;
                }
                Some(taken) = self.taken.recv() => taken,
                ended = self.member.ended() => {
                    finished(ended)?;
                    return Ok(Exit::Ok);
                }
            };
            self.check(&first)?;
            let signal = match &self.options.exec {
                None => self.print(first)?,
                Some(command) => self.run(command, first).await?,
            };
            if let Some(exit) = signal {
                return Ok(exit);
            }
        }
        Ok(Exit::Ok)
    }

    /// Whether it is of what was asked for: without an administrator's certificate nobody knew what else the group reads.
    fn check(&self, taken: &Taken) -> Result<()> {
        let (group, topic) = (self.group, &taken.message.topic);
        if self.topics.contains(topic) {
            return Ok(());
        }
        Err(Failure::usage(format!("group {group} reads {topic} too; leave TARGET out")))
    }

    /// Prints the message and those that are here already.
    fn print(&mut self, first: Taken) -> Result<Option<Exit>> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(GATHERED);
        let mut gathered = vec![first];
        while gathered.len() < most
            && let Ok(next) = self.taken.try_recv()
        {
            self.check(&next)?;
            gathered.push(next);
        }
        self.options.print(
            gathered
                .iter()
                .map(|taken| Shown::read(taken.message.topic.as_str(), true, &taken.message.message)),
        )?;
        gathered.into_iter().for_each(|taken| self.done(taken));
        Ok(None)
    }

    /// Runs the command for the message. A signal ends it, and the message is not done.
    async fn run(&mut self, command: &str, taken: Taken) -> Result<Option<Exit>> {
        let mut signal = None;
        let signals = &mut self.signals;
        let stop = async { signal = Some(signals.next().await) };
        let GroupMessage { topic, message, .. } = &taken.message;
        match exec::read(command, topic.as_str(), message, stop).await {
            TopicDone::Accepted => self.done(taken),
            TopicDone::Stopped => return Ok(signal),
            TopicDone::Failed(failure) => {
                return Err(failure.help("the message is not committed, and comes again with the next start"));
            }
        }
        Ok(None)
    }

    fn done(&mut self, taken: Taken) {
        let Taken { message, done } = taken;
        // The message keeps its reader; who is told to stop has to have that alone to commit all.
        drop(message);
        // A partition that passed on does not wait for it.
        let _ = done.send(());
        self.left -= 1;
        self.tally.taken += 1;
        self.tally.accepted += 1;
    }
}

/// Whether everything is committed that was there when it was first asked, in the partitions that it reads; while it
/// reads nothing, in all that its group reads.
async fn is_at_end(
    client: &Client,
    group: &Name,
    topics: &[Name],
    owned: &BTreeSet<(Name, u32)>,
    ends: &mut BTreeMap<(Name, u32), Offset>,
) -> Result<bool, ClientError> {
    let mut is_at_end = true;
    for topic in topics {
        for place in client.get_offsets(group.as_str(), topic.as_str()).await? {
            let key = (topic.clone(), place.partition);
            let is_read = owned.is_empty() || owned.contains(&key);
            let end = *ends.entry(key).or_insert(place.end);
            let is_behind = place.lag > 0 && place.committed.is_none_or(|committed| committed < end);
            is_at_end &= !(is_read && is_behind);
        }
    }
    Ok(is_at_end)
}
