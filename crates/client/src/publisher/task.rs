//! The publisher's task: the one owner of its lanes. It keeps a publish stream open, feeds it and hears its answers.

use std::{collections::VecDeque, future::pending, pin::Pin, time::Instant};

use pondage_protocol::{Failure, v1};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Command, Waiter, lanes::Lanes};
use crate::{Client, ClientError, retry::Waits};

/// Commands that are handled before the stream gets its turn.
const COMMANDS_AT_ONCE: usize = 1_024;

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<v1::PublishStreamResponse>, Status>> + Send>>;

/// The stream to the broker.
enum Link {
    /// None; the next try is then.
    Down(Instant),
    /// Waits for the broker to take the stream.
    Opening(mpsc::Sender<v1::PublishStreamRequest>, Opening),
    /// Open.
    Up(mpsc::Sender<v1::PublishStreamRequest>, Box<Streaming<v1::PublishStreamResponse>>),
}

/// What woke the task.
enum Event {
    Commands(usize),
    Opened(Result<Streaming<v1::PublishStreamResponse>, Status>),
    Answer(Result<Option<v1::PublishStreamResponse>, Status>),
    Time,
}

pub(super) struct Task {
    client: Client,
    lanes: Lanes<Waiter>,
    in_flight: usize,
    commands: mpsc::Receiver<Command>,
    taken: Vec<Command>,
    flushes: VecDeque<oneshot::Sender<()>>,
    link: Link,
    waits: Waits,
    is_closing: bool,
}

impl Task {
    pub(super) fn new(
        client: Client,
        lanes: Lanes<Waiter>,
        in_flight: usize,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let waits = Waits::new(client.options());
        Self {
            client,
            lanes,
            in_flight,
            commands,
            taken: Vec::new(),
            flushes: VecDeque::new(),
            link: Link::Down(Instant::now()),
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
                event = link_event(&mut self.link) => event,
                () = wait_until(wakeup) => Event::Time,
            };
            self.handle(Instant::now(), event);
        }
    }

    /// Does what can be done now.
    fn advance(&mut self, now: Instant) {
        self.lanes.expire(now);
        let request_timeout = self.client.options().request_timeout;
        if self.lanes.oldest_sent().is_some_and(|sent| sent + request_timeout <= now) {
            self.lose(now);
        }
        match &self.link {
            Link::Down(retry_at) if *retry_at <= now && !self.lanes.is_idle() => self.link = self.open(),
            Link::Up(requests, _) => {
                let mut is_lost = false;
                while let Some(request) = self.lanes.next_request(now) {
                    // The channel holds as many requests as may be in flight, so it is full only if it is lost.
                    if requests.try_send(request).is_err() {
                        is_lost = true;
                        break;
                    }
                }
                if is_lost {
                    self.lose(now);
                }
            }
            Link::Down(_) | Link::Opening(..) => {}
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
            Event::Opened(Ok(responses)) => {
                let Link::Opening(requests, _) = std::mem::replace(&mut self.link, Link::Down(now)) else {
                    return;
                };
                self.waits.reset();
                self.lanes.connected();
                self.link = Link::Up(requests, Box::new(responses));
            }
            Event::Opened(Err(status)) => {
                let error = ClientError::from(status);
                if error.retriable() {
                    self.lose(now);
                } else {
                    self.lanes.end(&error);
                    self.link = Link::Down(now);
                }
            }
            Event::Answer(Ok(Some(response))) => {
                use v1::publish_stream_response::Result as Answer;
                let answer = match response.result {
                    Some(Answer::Ok(ok)) => Ok(ok),
                    Some(Answer::Error(error)) => Err(Failure::from(error).into()),
                    // Neither: an answer of a later version, of which nothing is known but that there is one.
                    None => Err(pondage_model::Refusal::Interrupted.into()),
                };
                self.lanes.answered(now, response.request_id, answer);
            }
            Event::Answer(Ok(None) | Err(_)) => self.lose(now),
            Event::Time => {}
        }
    }

    fn open(&self) -> Link {
        let (requests, receiver) = mpsc::channel(self.in_flight);
        let mut messages = self.client.messages();
        let limit = self.client.options().request_timeout;
        let opening = async move {
            let opened = timeout(limit, messages.publish_stream(ReceiverStream::new(receiver))).await;
            let responses = opened.map_err(|_| Status::deadline_exceeded("the broker does not answer"))??;
            Ok(responses.into_inner())
        };
        Link::Opening(requests, Box::pin(opening))
    }

    fn lose(&mut self, now: Instant) {
        self.lanes.disconnected();
        self.link = Link::Down(now + self.waits.next());
    }

    fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let link = match &self.link {
            Link::Down(retry_at) => (!self.lanes.is_idle()).then_some(*retry_at),
            Link::Opening(..) => None,
            Link::Up(..) => self.lanes.oldest_sent().map(|sent| sent + self.client.options().request_timeout),
        };
        self.lanes.next_wakeup(now).into_iter().chain(link).min()
    }
}

/// What the stream has to say.
async fn link_event(link: &mut Link) -> Event {
    match link {
        Link::Down(_) => pending().await,
        Link::Opening(_, opening) => Event::Opened(opening.await),
        Link::Up(_, responses) => Event::Answer(responses.message().await),
    }
}

async fn wait_until(wakeup: Option<Instant>) {
    match wakeup {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}
