//! Consuming a queue, or as a member of a shared group: messages are printed, or given to a command, and then settled.

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};
use pondage_client::{
    Client, ClientError, ConsumerOptions, GroupPartition, ResourceKind, Settings, ShareSource, Verdict,
};
use pondage_model::{Name, limits};
use tokio::{sync::watch, time::sleep};

use super::{
    Consume, Settle,
    exec::{self, Done, Work},
    intake::{Intake, Leased, Polls, settle_all},
    options::Tally,
};
use crate::{
    exit::{Exit, Result},
    render::message::Shown,
    signals::{Signals, or_at_once},
};

/// Messages that are here unsettled.
const CREDIT: u32 = 256;
/// Messages that are printed, and then settled, together.
const GATHERED: u32 = 1_000;
/// How long nothing comes before the queue is asked whether there is anything.
const QUIET: Duration = Duration::from_millis(200);

/// What gives the messages, under leases.
#[derive(Clone, Copy, Debug)]
pub(super) enum From<'a> {
    /// A queue.
    Queue(&'a Name),
    /// A shared group, from these topics.
    Group(&'a Name, &'a [Name]),
}

/// Consumes until the limit, the end, or a signal, and holds at most so many messages.
pub(super) async fn consume(
    options: &Consume,
    client: &Client,
    from: From<'_>,
    in_flight_max: u32,
) -> Result<Exit> {
    let lease = lease(options, client, from).await?;
    let credit = if options.exec.is_some() { options.concurrency } else { CREDIT }.min(in_flight_max);
    let credit_of = |credit| ConsumerOptions { credit, lease: options.lease };
    let intake = match (from, options.limit) {
        (From::Queue(queue), Some(_)) => {
            Intake::Polls(Polls::new(client.clone(), queue.as_str(), options.lease))
        }
        (From::Queue(queue), None) => {
            Intake::Stream(client.consumer(queue.as_str(), credit_of(credit)).await?)
        }
        (From::Group(group, _), limit) => {
            let limit = limit.map_or(credit, |limit| u32::try_from(limit).unwrap_or(credit));
            let credit = credit_of(credit.min(limit));
            let mut consumer = client.shared_consumer(group.as_str(), options.member(), credit)?;
            if let (Some(_), ShareSource::Topics(reads)) = (&options.target, consumer.share().await?.source) {
                // Whoever may not ask for the group's settings has named what it expects.
                let reads: Vec<Name> = reads.into_iter().map(|(topic, _)| topic).collect();
                options.check_shared(group, &reads)?;
            }
            Intake::Group(consumer)
        }
    };
    let mut session = Session {
        options,
        client,
        from,
        in_flight_max,
        intake,
        signals: Signals::new()?,
        left: options.limit.unwrap_or(u64::MAX),
        was_empty: false,
        tally: Tally::default(),
    };
    let ended = match &options.exec {
        None => session.print().await,
        Some(command) => session.run(command, lease).await,
    };
    let Session { intake, mut signals, tally, .. } = session;
    or_at_once(&mut signals, intake.close()).await;
    options.summarise(&tally);
    tally.into_result(ended?)
}

/// How long leases last: what was asked for, or the time of the queue or group.
async fn lease(options: &Consume, client: &Client, from: From<'_>) -> Result<Duration> {
    let least = Duration::from_millis(limits::LEASE_MILLIS_MIN);
    if let Some(lease) = options.lease {
        return Ok(lease.max(least));
    }
    let (kind, name) = match from {
        From::Queue(queue) => (ResourceKind::Queue, queue),
        From::Group(group, _) => (ResourceKind::Group, group),
    };
    let resource = match client.get(kind, name.as_str()).await {
        Ok(resource) => resource,
        // Settings are for administrators, and a consumer needs no certificate: renewing too often does no harm.
        Err(error) if error.code() == "NOT_AUTHORIZED" => return Ok(least),
        Err(error) => return Err(error.into()),
    };
    let millis = match resource.settings {
        Settings::Queue(queue) => Some(queue.ack_timeout_millis),
        Settings::Group(group) => group.sharing.map(|sharing| sharing.ack_timeout_millis),
        Settings::Topic(_) => None,
    };
    Ok(millis.map_or(least, Duration::from_millis).max(least))
}

/// What one of the waits brought.
#[expect(clippy::large_enum_variant, reason = "most are messages, and each lives for one turn of a loop")]
enum Event<T> {
    Signal(Exit),
    Message(Result<Option<Leased>, ClientError>),
    Ended(T),
    Quiet,
}

struct Session<'a> {
    options: &'a Consume,
    client: &'a Client,
    from: From<'a>,
    /// Messages that may be asked for at once.
    in_flight_max: u32,
    intake: Intake,
    signals: Signals,
    /// Messages that may still be taken.
    left: u64,
    /// Whether the queue had nothing to deliver when it was asked last, and nothing came since.
    was_empty: bool,
    tally: Tally,
}

impl Session<'_> {
    /// Prints messages and settles them; verdicts are on their way while the next ones are printed.
    async fn print(&mut self) -> Result<Exit> {
        let settle = self.options.settle.unwrap_or_default();
        let mut settling = FuturesUnordered::new();
        let mut kept = Vec::new();
        let ended = loop {
            if self.left == 0 {
                break Ok(Exit::Ok);
            }
            let most =
                u32::try_from(self.left.min(GATHERED.into())).unwrap_or(GATHERED).min(self.in_flight_max);
            let event = tokio::select! {
                biased;
                exit = self.signals.next() => Event::Signal(exit),
                Some(ended) = settling.next() => Event::Ended(ended),
                message = self.intake.next(most) => Event::Message(message),
                () = sleep(QUIET), if self.options.until_end && settling.is_empty() => Event::Quiet,
            };
            match event {
                Event::Signal(exit) => break Ok(exit),
                Event::Ended(ended) => self.settled(settle, ended),
                Event::Message(Ok(Some(first))) => {
                    let messages = self.gather(first)?;
                    if let Err(error) = self.options.print(messages.iter().map(|leased| self.shown(leased))) {
                        kept.extend(messages);
                        break Err(error.into());
                    }
                    if settle == Settle::None {
                        kept.extend(messages);
                    } else {
                        settling.push(settle_all(messages, verdict(settle)));
                    }
                }
                Event::Message(Ok(None)) => break Ok(Exit::Ok),
                Event::Message(Err(error)) => break Err(error.into()),
                Event::Quiet => match self.is_drained().await {
                    Ok(true) => break Ok(Exit::Ok),
                    Ok(false) => {}
                    Err(failure) => break Err(failure),
                },
            }
        };
        while let Some(ended) = settling.next().await {
            self.settled(settle, ended);
        }
        let given_back = settle_all(kept, verdict(Settle::None)).await;
        self.settled(Settle::None, given_back);
        ended
    }

    fn shown<'a>(&'a self, leased: &'a Leased) -> Shown<'a> {
        Shown::leased(matches!(self.from, From::Group(..)), &leased.message)
    }

    /// The message and those that are here already, as many as may be taken.
    fn gather(&mut self, first: Leased) -> Result<Vec<Leased>> {
        let mut messages = vec![first];
        while (messages.len() as u64) < self.left.min(GATHERED.into()) {
            let Some(message) = self.intake.ready()? else { break };
            messages.push(message);
        }
        self.was_empty = false;
        self.left -= messages.len() as u64;
        self.tally.taken += messages.len() as u64;
        Ok(messages)
    }

    fn settled(&mut self, settle: Settle, ended: Vec<Result<(), ClientError>>) {
        for one in ended {
            match (one, settle) {
                (Err(error), _) => self.tally.lost(error),
                (Ok(()), Settle::Accept) => self.tally.accepted += 1,
                (Ok(()), Settle::Release) => self.tally.released += 1,
                (Ok(()), Settle::Reject) => self.tally.rejected += 1,
                (Ok(()), Settle::None) => self.tally.returned += 1,
            }
        }
    }

    /// Runs a command for each message, several at once.
    async fn run(&mut self, command: &str, lease: Duration) -> Result<Exit> {
        let work = Work { command, lease };
        let (stop, stopped) = watch::channel(false);
        let mut running = FuturesUnordered::new();
        let ended = loop {
            if self.left == 0 && running.is_empty() {
                break Ok(Exit::Ok);
            }
            let busy = u32::try_from(running.len()).unwrap_or(u32::MAX);
            let free = u64::from(self.options.concurrency.saturating_sub(busy)).min(self.left);
            let most = u32::try_from(free).unwrap_or(u32::MAX).min(self.in_flight_max);
            let event = tokio::select! {
                biased;
                exit = self.signals.next() => Event::Signal(exit),
                Some(done) = running.next() => Event::Ended(done),
                message = self.intake.next(most), if most > 0 => Event::Message(message),
                () = sleep(QUIET), if self.options.until_end && running.is_empty() => Event::Quiet,
            };
            match event {
                Event::Signal(exit) => break Ok(exit),
                Event::Ended(Done::Impossible(failure)) => break Err(failure),
                Event::Ended(done) => self.count(done),
                Event::Message(Ok(Some(leased))) => {
                    self.was_empty = false;
                    self.left -= 1;
                    self.tally.taken += 1;
                    running.push(exec::leased(&work, leased, stopped.clone()));
                }
                Event::Message(Ok(None)) => break Ok(Exit::Ok),
                Event::Message(Err(error)) => break Err(error.into()),
                Event::Quiet => match self.is_drained().await {
                    Ok(true) => break Ok(Exit::Ok),
                    Ok(false) => {}
                    Err(failure) => break Err(failure),
                },
            }
        };
        stop.send_replace(true);
        loop {
            let done = or_at_once(&mut self.signals, running.next()).await;
            match done {
                Some(done) => self.count(done),
                None => return ended,
            }
        }
    }

    fn count(&mut self, done: Done) {
        match done {
            Done::Accepted => self.tally.accepted += 1,
            Done::Released => self.tally.released += 1,
            Done::Returned | Done::Impossible(_) => self.tally.returned += 1,
            Done::Lost(error) => self.tally.lost(error),
        }
    }

    /// Whether there was nothing to deliver twice in a row: what was granted just before the first time of asking has
    /// arrived by the second.
    async fn is_drained(&mut self) -> Result<bool> {
        let is_empty = match self.from {
            From::Queue(queue) => {
                let queue = self.client.get(ResourceKind::Queue, queue.as_str()).await?;
                queue.streams.unwrap_or_default().iter().all(|stream| stream.ready == 0)
            }
            From::Group(group, topics) => {
                let mut ready = 0;
                for topic in topics {
                    let places = self.client.get_offsets(group.as_str(), topic.as_str()).await?;
                    let of =
                        |place: &GroupPartition| place.shared.map_or(0, |shared| shared.ready_of(place.lag));
                    ready += places.iter().map(of).sum::<u64>();
                }
                ready == 0
            }
        };
        Ok(std::mem::replace(&mut self.was_empty, is_empty) && is_empty)
    }
}

/// The verdict on a printed message.
const fn verdict(settle: Settle) -> Verdict {
    match settle {
        Settle::Accept => Verdict::Accept,
        Settle::Release => Verdict::Release { delay_millis: None },
        Settle::Reject => Verdict::Reject,
        Settle::None => Verdict::Return,
    }
}
