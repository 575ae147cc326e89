//! The reader's task: finds who leads its partitions, reads each from there, and goes after those that move.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use pondage_model::{Code, Name, Offset, Refusal};
use pondage_protocol::{
    Failure,
    consume::{Source, StartAt},
    v1,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use v1::{consume_request::Step as Request, consume_response::Step as Response};

use super::{
    COMMANDS, Claim, Command, Progress, Reply,
    leg::{Ear, Leg, LegId, Said},
};
use crate::{
    Client, ClientError, ReaderOptions, TopicEvent,
    brokers::Broker,
    consume_stream::{lost, request},
    inbox::Inbox,
    message::asked_for,
    places::Target,
    retry::Waits,
};

/// Steps of the legs that wait; then they are not read. Their messages are within the credit.
const STEPS: usize = 4;

type Locating = Pin<Box<dyn Future<Output = Result<Arc<Target>, ClientError>> + Send>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// The owner is gone: commits go out, then the closes.
    Leaving,
}

/// After a commit was refused that may be sent again, the pause before that.
const COMMIT_AGAIN: Duration = Duration::from_millis(50);

/// A commit; nobody waits for an automatic one.
struct Commit {
    partition: u32,
    offset: Offset,
    reply: Option<Reply>,
}

pub(super) struct Task {
    client: Client,
    topic: Name,
    claim: Option<Claim>,
    options: ReaderOptions,
    commit_interval: Option<Duration>,
    inbox: Arc<Inbox<TopicEvent, Progress>>,
    ended: Arc<OnceLock<ClientError>>,
    commands: mpsc::Receiver<Command>,
    /// Told once: every partition is read, or why that can't be.
    opened: Option<oneshot::Sender<Result<(), ClientError>>>,
    /// When to give up the opening, and why it has not come to be.
    open_until: Instant,
    last_error: ClientError,
    /// The partitions that are read.
    partitions: BTreeSet<u32>,
    legs: BTreeMap<LegId, Leg>,
    next_leg: u64,
    ear: Ear,
    said: mpsc::Receiver<(LegId, Said)>,
    /// The question who leads the partitions, while it is asked.
    locating: Option<Locating>,
    /// Nothing is opened before.
    place_at: Instant,
    waits: Waits,
    waiting: Vec<Commit>,
    in_flight: BTreeMap<u64, (LegId, Commit)>,
    /// No commit is sent before.
    commit_from: Instant,
    /// A stream was lost with the last commits of one who leaves.
    lost_last: bool,
    next_request: u64,
    /// By partition, the offset behind the last message that arrived.
    next_offsets: BTreeMap<u32, Offset>,
    caught_up: BTreeSet<u32>,
    closing: oneshot::Receiver<()>,
    stage: Stage,
    /// Who leaves does not wait for longer.
    leave_until: Option<Instant>,
}

/// What a reader is made of.
pub(super) struct Parts {
    pub(super) topic: Name,
    pub(super) claim: Option<Claim>,
    pub(super) options: ReaderOptions,
    pub(super) partitions: BTreeSet<u32>,
    pub(super) inbox: Arc<Inbox<TopicEvent, Progress>>,
    pub(super) ended: Arc<OnceLock<ClientError>>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) opened: oneshot::Sender<Result<(), ClientError>>,
    pub(super) closing: oneshot::Receiver<()>,
}

impl Task {
    pub(super) fn new(client: Client, parts: Parts) -> Self {
        let Parts { topic, claim, options, partitions, inbox, ended, commands, opened, closing } = parts;
        let (ear, said) = mpsc::channel(STEPS);
        let waits = Waits::new(client.options());
        let open_until = Instant::now() + client.options().deadline;
        Self {
            client,
            topic,
            commit_interval: options.commit_interval.filter(|_| claim.is_some()),
            claim,
            options,
            inbox,
            ended,
            commands,
            opened: Some(opened),
            open_until,
            last_error: Refusal::Timeout.into(),
            partitions,
            legs: BTreeMap::new(),
            next_leg: 0,
            ear,
            said,
            locating: None,
            place_at: Instant::now(),
            waits,
            waiting: Vec::new(),
            in_flight: BTreeMap::new(),
            commit_from: Instant::now(),
            lost_last: false,
            next_request: 0,
            next_offsets: BTreeMap::new(),
            caught_up: BTreeSet::new(),
            closing,
            stage: Stage::Serving,
            leave_until: None,
        }
    }

    /// Reads until the owner leaves or something ends the reader.
    pub(super) async fn run(mut self) {
        let end = self.serve().await;
        if let Some(error) = self.uncommitted() {
            self.ended.get_or_init(|| error);
        }
        if let Err(error) = &end {
            self.ended.get_or_init(|| error.clone());
            if error.is(Code::Fenced) {
                // What is here and was not handed out is for whoever has the cursor now.
                self.inbox.with(|items, _| items.clear());
            }
        }
        // These were never sent.
        let unsent = end.as_ref().err().cloned().unwrap_or_else(lost);
        for reply in std::mem::take(&mut self.waiting).into_iter().filter_map(|commit| commit.reply) {
            let _ = reply.send(Err(unsent.clone()));
        }
        for (_, commit) in std::mem::take(&mut self.in_flight).into_values() {
            drop(commit.reply.map(|reply| reply.send(Err(lost()))));
        }
        if let (Some(opened), Err(error)) = (self.opened.take(), &end) {
            // Whoever opened it may be gone.
            let _ = opened.send(Err(error.clone()));
        }
        self.inbox.finish(end);
    }

    async fn serve(&mut self) -> Result<(), ClientError> {
        let mut commit_at = self.commit_interval.map(|interval| Instant::now() + interval);
        loop {
            self.place(Instant::now());
            self.send();
            let is_left = self.stage == Stage::Leaving && self.legs.is_empty();
            if is_left || self.leave_until.is_some_and(|until| until <= Instant::now()) {
                return Ok(());
            }
            if self.opened.is_some() && self.open_until <= Instant::now() {
                return Err(self.last_error.clone());
            }
            let wakeup = self.wakeup();
            tokio::select! {
                Some((leg, said)) = self.said.recv() => self.hear(leg, said)?,
                Some(command) = self.commands.recv(), if self.waiting.len() < COMMANDS => self.take(command),
                _ = self.inbox.taken() => self.note_taken(),
                located = found(&mut self.locating) => {
                    self.locating = None;
                    self.located(located)?;
                }
                () = at(commit_at) => {
                    self.commit_processed();
                    commit_at = self.commit_interval.map(|interval| Instant::now() + interval);
                }
                _ = &mut self.closing, if self.stage == Stage::Serving => self.leave(),
                () = at(wakeup) => {}
            }
        }
    }

    fn wakeup(&self) -> Option<Instant> {
        let placing = self.stage == Stage::Serving && self.locating.is_none() && !self.unplaced().is_empty();
        let opening = self.opened.is_some().then_some(self.open_until);
        let again = (!self.waiting.is_empty()).then_some(self.commit_from).filter(|at| *at > Instant::now());
        placing.then_some(self.place_at).into_iter().chain(opening).chain(self.leave_until).chain(again).min()
    }

    /// Why an automatic commit of one who has left did not get through, as far as that is known.
    fn uncommitted(&self) -> Option<ClientError> {
        let sent = self.in_flight.values().map(|(_, commit)| commit);
        let is_open = self.stage == Stage::Leaving
            && self.waiting.iter().chain(sent).any(|commit| commit.reply.is_none());
        (is_open || self.lost_last).then(lost)
    }

    fn unplaced(&self) -> Vec<u32> {
        let is_placed = |partition: &u32| self.leg_of(*partition).is_some();
        self.partitions.iter().copied().filter(|partition| !is_placed(partition)).collect()
    }

    fn leg_of(&self, partition: u32) -> Option<LegId> {
        self.legs.iter().find(|(_, leg)| leg.partitions.contains(&partition)).map(|(id, _)| *id)
    }

    /// Opens legs for partitions that have none, or asks who leads them.
    fn place(&mut self, now: Instant) {
        if self.stage != Stage::Serving || self.place_at > now || self.locating.is_some() {
            return;
        }
        if self.place_known() {
            let (client, topic) = (self.client.clone(), self.topic.clone());
            self.locating = Some(Box::pin(async move { client.locate_now(topic.as_str()).await }));
        }
    }

    /// Opens a leg to each broker that is known to lead partitions that have none. True if some are left.
    fn place_known(&mut self) -> bool {
        let mut by_broker: Vec<(Broker, BTreeSet<u32>)> = Vec::new();
        let mut is_missing = false;
        for partition in self.unplaced() {
            let Some(route) = self.client.known_route(self.topic.as_str(), partition) else {
                is_missing = true;
                continue;
            };
            match by_broker.iter_mut().find(|(broker, _)| *broker == route.broker) {
                Some((_, partitions)) => drop(partitions.insert(partition)),
                None => by_broker.push((route.broker, BTreeSet::from([partition]))),
            }
        }
        for (broker, partitions) in by_broker {
            self.open(broker, partitions);
        }
        is_missing
    }

    /// Opens a leg: the first time as the options say, later where it was.
    fn open(&mut self, broker: Broker, partitions: BTreeSet<u32>) {
        let given = self.options.starts.iter().filter(|(partition, _)| partitions.contains(partition));
        let mut starts: BTreeMap<u32, StartAt> = given.copied().collect();
        if self.claim.is_none() {
            let known = self.next_offsets.iter().filter(|(partition, _)| partitions.contains(partition));
            starts.extend(known.map(|(partition, offset)| (*partition, StartAt::Offset(*offset))));
        }
        let source = Source::Topic {
            name: self.topic.clone(),
            partitions: partitions.iter().copied().collect(),
            group: self.claim.as_ref().map(|claim| claim.group.clone()),
            start: self.options.start,
            starts: starts.into_iter().collect(),
            assignment: self.claim.as_ref().and_then(|claim| claim.assignment),
        };
        let share = u64::from(self.options.credit) * partitions.len() as u64 / self.partitions.len() as u64;
        let credit = u32::try_from(share).unwrap_or(self.options.credit).max(1);
        // What still waits here has its part of the credit, and gives it back to this leg.
        let held = self.inbox.with(|items, progress| {
            progress.taken.retain(|partition, _| !partitions.contains(partition));
            items.iter().filter(|item| partitions.contains(&partition_of(item))).count()
        });
        let at_first = credit.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX)).max(1);
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        let (client, ear) = (self.client.clone(), self.ear.clone());
        let leg = Leg::open(client, id, broker, (source, partitions), (credit, at_first), ear);
        self.legs.insert(id, leg);
    }

    fn located(&mut self, located: Result<Arc<Target>, ClientError>) -> Result<(), ClientError> {
        match located {
            Ok(target) => {
                if self.options.partitions.is_empty() {
                    // It may have grown.
                    self.partitions.extend(0..target.shards.len() as u32);
                }
                if self.place_known() {
                    self.last_error = Refusal::NotLeader { epoch: pondage_model::Epoch::ZERO }.into();
                    self.place_at = Instant::now() + self.waits.next();
                }
            }
            Err(error) if error.retriable() => {
                self.last_error = error;
                self.place_at = Instant::now() + self.waits.next();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn hear(&mut self, id: LegId, said: Said) -> Result<(), ClientError> {
        // A leg that was given up has nothing to say.
        let Some(leg) = self.legs.get_mut(&id) else { return Ok(()) };
        match said {
            Said::Started(partitions, requests) => {
                leg.requests = Some(requests);
                self.waits.reset();
                for started in partitions {
                    // Where to go on is settled now, also where no message comes before the stream is lost.
                    self.next_offsets.entry(started.partition).or_insert(Offset(started.offset));
                }
                let is_whole = self.unplaced().is_empty();
                if is_whole && self.legs.values().all(|leg| leg.requests.is_some()) {
                    drop(self.opened.take().map(|opened| opened.send(Ok(()))));
                }
            }
            Said::Step(Response::Closed(_)) => self.drop_leg(id),
            Said::Step(step) => self.handle(step)?,
            Said::Ended(error) => self.lose(id, error)?,
        }
        Ok(())
    }

    fn handle(&mut self, step: Response) -> Result<(), ClientError> {
        match step {
            Response::Delivery(delivery) => {
                let messages = asked_for(delivery)?;
                if let Some(last) = messages.last() {
                    self.next_offsets.insert(last.partition, last.offset.next());
                }
                self.inbox.push(messages.into_iter().map(TopicEvent::Message));
            }
            Response::CaughtUp(v1::CaughtUp { partition, end_offset })
                if self.caught_up.insert(partition) =>
            {
                self.inbox.push([TopicEvent::CaughtUp { partition, end: Offset(end_offset) }]);
            }
            Response::Committed(committed) => {
                let result = committed.error.map_or(Ok(()), |error| Err(Failure::from(error).into()));
                let commit = self.in_flight.remove(&committed.request_id).map(|(_, commit)| commit);
                let fenced = result.clone().err().filter(|error: &ClientError| error.is(Code::Fenced));
                match commit {
                    Some(Commit { reply: Some(reply), .. }) => drop(reply.send(result)),
                    // Nobody else would say it again.
                    Some(commit) if result.as_ref().is_err_and(ClientError::retriable) => {
                        self.commit_from = Instant::now() + COMMIT_AGAIN;
                        self.wait_again(commit);
                    }
                    _ => {}
                }
                // The partition is another's: this reader must not go on as if it were its own.
                return fenced.map_or(Ok(()), Err);
            }
            _ => {}
        }
        Ok(())
    }

    /// A leg is over: its partitions are read from whoever leads them now.
    fn lose(&mut self, id: LegId, error: ClientError) -> Result<(), ClientError> {
        let Some(leg) = self.legs.get(&id) else { return Ok(()) };
        let (broker, partitions) = (leg.broker.clone(), leg.partitions.clone());
        self.drop_leg(id);
        if self.stage == Stage::Leaving {
            return Ok(());
        }
        if !error.retriable() {
            return Err(error);
        }
        if self.claim.is_some() {
            // The cursor decides, and with it what was read and not committed comes again.
            self.inbox.with(|items, progress| {
                items.retain(|item| !partitions.contains(&partition_of(item)));
                progress.forget(&partitions);
            });
        }
        let mut at_once = false;
        for partition in &partitions {
            let route = self.client.known_route(self.topic.as_str(), *partition);
            if let Some(route) = route.filter(|route| route.broker == broker) {
                // The refusal is about one of the partitions, and its hint is of no use if there are several.
                let error =
                    if partitions.len() == 1 { error.clone() } else { error.clone().without_leader() };
                at_once = self.client.refused(&route, &error) && partitions.len() == 1;
            }
        }
        if !at_once {
            self.place_at = self.place_at.max(Instant::now() + self.waits.next());
        }
        self.last_error = error;
        Ok(())
    }

    /// Commits that were on their way when the stream was lost may have got through.
    fn drop_leg(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(&id) else { return };
        let is_of_leg = |commit: &mut Commit| leg.partitions.contains(&commit.partition);
        let waiting = self.waiting.extract_if(.., is_of_leg);
        let in_flight = self.in_flight.extract_if(.., |_, (sent_on, _)| *sent_on == id);
        for commit in waiting.chain(in_flight.map(|(_, (_, commit))| commit)) {
            match commit.reply {
                Some(reply) => drop(reply.send(Err(lost()))),
                None => self.lost_last |= self.stage == Stage::Leaving,
            }
        }
    }

    /// Sends what can be sent: commits first, then credit, then the closes.
    fn send(&mut self) {
        let mut later = Vec::new();
        let sendable =
            if Instant::now() < self.commit_from { Vec::new() } else { std::mem::take(&mut self.waiting) };
        for Commit { partition, offset, reply } in sendable {
            let leg = self.legs.iter().find(|(_, leg)| leg.partitions.contains(&partition));
            let request_id = self.next_request;
            let commit = v1::ConsumeCommit { request_id, partition, offset: offset.0 };
            match leg.filter(|(_, leg)| leg.send(request(Request::Commit(commit)))) {
                Some((id, _)) => {
                    self.next_request += 1;
                    self.in_flight.insert(request_id, (*id, Commit { partition, offset, reply }));
                }
                None => later.push(Commit { partition, offset, reply }),
            }
        }
        self.waiting.extend(later);
        for (id, leg) in &mut self.legs {
            // Credit goes back in quarters, not message by message.
            if self.stage == Stage::Serving {
                let credit = v1::ConsumeCredit { add: leg.owed };
                if leg.owed >= (leg.credit / 4).max(1) && leg.send(request(Request::Credit(credit))) {
                    leg.owed = 0;
                }
                continue;
            }
            let waits = self.waiting.iter().any(|commit| leg.partitions.contains(&commit.partition))
                || self.in_flight.values().any(|(sent_on, _)| sent_on == id);
            if !waits && !leg.closes {
                leg.closes = leg.send(request(Request::Close(v1::ConsumeClose {})));
            }
        }
    }

    fn take(&mut self, command: Command) {
        let Command { partition, offset, reply } = command;
        if self.partitions.contains(&partition) {
            return self.waiting.push(Commit { partition, offset, reply: Some(reply) });
        }
        let what = format!("partition: {partition} is not read by this reader");
        let _ = reply.send(Err(Refusal::InvalidArgument { what }.into()));
    }

    /// Credit of messages that were taken goes back to the legs that read them.
    fn note_taken(&mut self) {
        for (partition, taken) in self.inbox.with(|_, progress| std::mem::take(&mut progress.taken)) {
            if let Some(leg) = self.leg_of(partition).and_then(|id| self.legs.get_mut(&id)) {
                leg.owed = leg.owed.saturating_add(taken);
            }
        }
    }

    /// An automatic commit is to be sent again, unless a later one waits.
    fn wait_again(&mut self, commit: Commit) {
        let is_later = |other: &Commit| other.partition == commit.partition && other.offset >= commit.offset;
        if !self.waiting.iter().any(is_later) {
            self.waiting.push(commit);
        }
    }

    /// Commits what was processed since the last time.
    fn commit_processed(&mut self) {
        let processed = self.inbox.with(|_, progress| std::mem::take(&mut progress.processed));
        let commit = |(partition, offset)| Commit { partition, offset, reply: None };
        // An automatic commit that could not be sent yet is overtaken by a later one.
        self.waiting.retain(|commit| commit.reply.is_some() || !processed.contains_key(&commit.partition));
        self.waiting.extend(processed.into_iter().map(commit));
    }

    /// The owner is gone.
    fn leave(&mut self) {
        self.stage = Stage::Leaving;
        // A broker that does not answer the commits or the close doesn't hold up who leaves.
        self.leave_until = Some(Instant::now() + self.client.options().request_timeout);
        if self.commit_interval.is_some() {
            self.commit_processed();
        }
        let unopened: Vec<LegId> =
            self.legs.iter().filter(|(_, leg)| leg.requests.is_none()).map(|(id, _)| *id).collect();
        for id in unopened {
            self.drop_leg(id);
        }
    }
}

fn partition_of(event: &TopicEvent) -> u32 {
    match event {
        TopicEvent::Message(message) => message.partition,
        TopicEvent::CaughtUp { partition, .. } => *partition,
    }
}

async fn found(locating: &mut Option<Locating>) -> Result<Arc<Target>, ClientError> {
    match locating {
        Some(locating) => locating.await,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
