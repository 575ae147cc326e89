//! The publisher's task: the one owner of its lanes. It finds who leads their partitions, feeds the streams to those
//! brokers and hears their answers.

use std::{collections::VecDeque, future::pending, pin::Pin, sync::Arc, time::Instant};

use pondage_protocol::{Failure, v1};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use super::{
    Command, Waiter,
    lane::Link,
    lanes::Lanes,
    streams::{Said, Streams},
};
use crate::{Client, ClientError, places::Target, retry::Waits};

/// Commands that are handled before the streams get their turn.
const COMMANDS_AT_ONCE: usize = 1_024;

type Locating = Pin<Box<dyn Future<Output = Result<Arc<Target>, ClientError>> + Send>>;

/// What woke the task.
enum Event {
    Commands(usize),
    Stream(Link, Said),
    Located(Result<Arc<Target>, ClientError>),
    Time,
}

pub(super) struct Task {
    client: Client,
    target: String,
    lanes: Lanes<Waiter>,
    commands: mpsc::Receiver<Command>,
    taken: Vec<Command>,
    flushes: VecDeque<oneshot::Sender<()>>,
    streams: Streams,
    /// The question where the partitions are led, while it is asked.
    locating: Option<Locating>,
    /// Nothing is placed anew before.
    place_at: Instant,
    waits: Waits,
    is_closing: bool,
}

impl Task {
    pub(super) fn new(
        client: Client,
        target: String,
        lanes: Lanes<Waiter>,
        in_flight: usize,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let waits = Waits::new(client.options());
        let streams = Streams::new(in_flight, client.options().request_timeout);
        Self {
            client,
            target,
            lanes,
            commands,
            taken: Vec::new(),
            flushes: VecDeque::new(),
            streams,
            locating: None,
            place_at: Instant::now(),
            waits,
            is_closing: false,
        }
    }

    /// Runs until every handle is gone and every message has ended.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.advance(now);
            if self.is_closing && self.lanes.is_idle() {
                return;
            }
            let wakeup = self.next_wakeup(now);
            let event = tokio::select! {
                taken = self.commands.recv_many(&mut self.taken, COMMANDS_AT_ONCE), if !self.is_closing => {
                    Event::Commands(taken)
                }
                (link, said) = self.streams.next() => Event::Stream(link, said),
                located = found(&mut self.locating) => Event::Located(located),
                () = wait_until(wakeup) => Event::Time,
            };
            self.handle(Instant::now(), event);
        }
    }

    /// Does what can be done now.
    fn advance(&mut self, now: Instant) {
        self.lanes.expire(now);
        let request_timeout = self.client.options().request_timeout;
        for link in self.streams.links() {
            if self.lanes.oldest_sent(link).is_some_and(|sent| sent + request_timeout <= now) {
                self.lose(now, link);
            }
        }
        self.place(now);
        for link in self.streams.links() {
            while let Some(request) = self.lanes.next_request(now, link) {
                if !self.streams.send(link, request) {
                    self.lose(now, link);
                    break;
                }
            }
        }
        for (waiter, result) in self.lanes.take_ended() {
            // Whoever dropped the handle doesn't want to know.
            let _ = waiter.reply.send(result);
        }
        if self.lanes.is_idle() {
            for done in self.flushes.drain(..) {
                let _ = done.send(());
            }
        }
    }

    /// Gives partitions that have something to send the stream to their leader, or asks who that is.
    fn place(&mut self, now: Instant) {
        if self.place_at > now || self.locating.is_some() {
            return;
        }
        let mut is_missing = false;
        for partition in self.lanes.unplaced() {
            match self.client.known_route(&self.target, partition) {
                Some(route) => {
                    let link = self.streams.to(&route.broker);
                    self.lanes.place(partition, link);
                }
                None => is_missing = true,
            }
        }
        if is_missing {
            let (client, target) = (self.client.clone(), self.target.clone());
            self.locating = Some(Box::pin(async move { client.locate_now(&target).await }));
        }
    }

    fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Commands(0) => {
                self.is_closing = true;
                self.lanes.flush();
            }
            Event::Commands(_) => {
                for command in self.taken.drain(..) {
                    match command {
                        Command::Send(message, waiter) => self.lanes.push(now, &message, waiter),
                        Command::Flush(done) => {
                            self.lanes.flush();
                            self.flushes.push_back(done);
                        }
                    }
                }
            }
            Event::Stream(link, Said::Opened) => {
                self.waits.reset();
                self.lanes.connected(link);
            }
            Event::Stream(link, Said::Answer(response)) => self.answered(now, link, response),
            Event::Stream(link, Said::Ended(status)) => match status.map(ClientError::from) {
                Some(error) if !error.retriable() => {
                    self.lanes.disconnected(link);
                    self.streams.close(link);
                    self.lanes.end(&error);
                }
                _ => self.lose(now, link),
            },
            Event::Located(located) => {
                self.locating = None;
                match located {
                    Ok(_) => {
                        let unknown =
                            |partition: &u32| self.client.known_route(&self.target, *partition).is_none();
                        // Nobody leads them at this moment.
                        if self.lanes.unplaced().iter().any(unknown) {
                            self.place_known(now);
                        }
                    }
                    Err(error) if error.retriable() => self.place_at = now + self.waits.next(),
                    Err(error) => self.lanes.refuse_unplaced(&error),
                }
            }
            Event::Time => {}
        }
    }

    /// Places what can be placed, and asks for the rest later.
    fn place_known(&mut self, now: Instant) {
        for partition in self.lanes.unplaced() {
            if let Some(route) = self.client.known_route(&self.target, partition) {
                let link = self.streams.to(&route.broker);
                self.lanes.place(partition, link);
            }
        }
        self.place_at = now + self.waits.next();
    }

    fn answered(&mut self, now: Instant, link: Link, response: v1::PublishStreamResponse) {
        use v1::publish_stream_response::Result as Answer;
        let answer: Result<_, ClientError> = match response.result {
            Some(Answer::Ok(ok)) => Ok(ok),
            Some(Answer::Error(error)) => Err(Failure::from(error).into()),
            // Neither: an answer of a later version, of which nothing is known but that there is one.
            None => Err(pondage_model::Refusal::Interrupted.into()),
        };
        if let Err(error) = &answer
            && let Some(partition) = self.lanes.partition_of(link, response.request_id)
            && let Some(route) = self.client.known_route(&self.target, partition)
            && self.streams.broker(link).is_some_and(|broker| broker == route.broker)
        {
            self.client.refused(&route, error);
        }
        let is_refused = answer.is_err();
        if !is_refused {
            self.waits.reset();
        }
        self.lanes.answered(now, link, response.request_id, answer);
        if is_refused && !self.lanes.is_used(link) {
            // Nothing is in flight on it, and nothing will be.
            self.lanes.disconnected(link);
            self.streams.close(link);
        }
    }

    fn lose(&mut self, now: Instant, link: Link) {
        self.lanes.disconnected(link);
        if let Some(broker) = self.streams.broker(link) {
            self.client.lost(&broker);
        }
        self.streams.close(link);
        self.place_at = self.place_at.max(now + self.waits.next());
    }

    fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let limit = self.client.options().request_timeout;
        let sent = |link| self.lanes.oldest_sent(link).map(|sent| sent + limit);
        let streams = self.streams.links().into_iter().filter_map(sent).min();
        let placing = (self.locating.is_none() && !self.lanes.unplaced().is_empty()).then_some(self.place_at);
        self.lanes.next_wakeup(now).into_iter().chain(streams).chain(placing).min()
    }
}

async fn found(locating: &mut Option<Locating>) -> Result<Arc<Target>, ClientError> {
    match locating {
        Some(locating) => locating.await,
        None => pending().await,
    }
}

async fn wait_until(wakeup: Option<Instant>) {
    match wakeup {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}
