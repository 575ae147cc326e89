//! A consumer of a queue: messages under leases, verdicts on the same stream.

use std::{sync::Arc, time::Duration};

use pondage_model::{Name, Outcome, Refusal, Token, limits};
use pondage_protocol::{
    consume::Source,
    settle::{Settled, Verdict},
    v1,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use v1::{consume_request::Step as Request, consume_response::Step as Response};

use crate::{
    Client, ClientError, ConsumerOptions, QueueMessage,
    client::Repeat,
    consume_stream::{ConsumeStream, lost, next, request},
    inbox::Inbox,
    message::granted,
    options::millis,
    patience::Patience,
    places::Route,
    retry::Waits,
    settles::Settles,
};

/// A stream that lived for so long was served: whatever ended it is a new trouble.
const SETTLED_IN: Duration = Duration::from_secs(1);

/// Verdicts on their way to the consumer's task.
const COMMANDS: usize = 1_024;

type Reply = oneshot::Sender<Result<Settled, ClientError>>;

struct Command {
    token: Token,
    verdict: Verdict,
    reply: Reply,
}

/// Gives verdicts for the messages of one consumer.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    commands: mpsc::Sender<Command>,
    limit: Duration,
}

impl Settler {
    /// Gives a verdict and waits until it is durable. A lost stream in between is bridged.
    pub(crate) async fn settle(&self, token: Token, verdict: Verdict) -> Result<Settled, ClientError> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            let closed = |outcome| ClientError::closed("consumer", outcome);
            let command = Command { token, verdict, reply };
            self.commands.send(command).await.map_err(|_| closed(Outcome::Definite))?;
            answer.await.unwrap_or_else(|_| Err(closed(Outcome::Unknown)))
        };
        timeout(self.limit, asking).await.unwrap_or_else(|_| Err(Refusal::Timeout.into()))
    }
}

/// Competes with the other consumers of a queue, or of a partition in a shared group. Dropping it, or closing it, gives back what it has not settled; none
/// of that counts as a failed attempt.
#[derive(Debug)]
pub struct QueueConsumer {
    inbox: Arc<Inbox<Waiting, WasTaken>>,
    /// Whether it is to take no more; without a sender it is to leave.
    stop: Option<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl QueueConsumer {
    /// The next message; `None` once the consumer is closed. When the connection is lost, messages that were not
    /// taken yet are forgotten (the broker delivers them again) and the consumer comes back by itself. One that nobody took
    /// for a quarter of its lease is given back, which is no failed attempt: whoever takes it has most of the lease.
    ///
    /// # Errors
    /// What ended the consumer, once: such as `NOT_FOUND` after the queue was deleted.
    pub async fn next(&self) -> Result<Option<QueueMessage>, ClientError> {
        let note = |was_taken: &mut WasTaken, next: Option<&Waiting>| was_taken.0 |= next.is_some();
        Ok(self.inbox.next(note).await?.map(|waiting| waiting.message))
    }

    /// Takes no more messages: those that nobody took are given back, and [`Self::next`] ends. What was taken can still be
    /// settled.
    pub fn stop(&self) {
        if let Some(stop) = &self.stop {
            stop.send_replace(true);
        }
    }

    /// Leaves in good order: waits for verdicts that are on their way, gives back everything else.
    pub async fn close(mut self) {
        self.stop.take();
        let _ = (&mut self.task).await;
    }
}

impl Client {
    /// Opens a consumer of a queue.
    ///
    /// # Errors
    /// `NOT_FOUND`, and those of the connection.
    pub async fn consumer(
        &self,
        queue: &str,
        options: ConsumerOptions,
    ) -> Result<QueueConsumer, ClientError> {
        let source = Source::Queue { name: Name::new(queue)?, lease_millis: options.lease.map(millis) };
        self.consumer_of(source, options.credit, Patience::default()).await
    }

    /// Opens a consumer of what gives leases: a queue, or a shared group in a partition.
    pub(crate) async fn consumer_of(
        &self,
        source: Source,
        credit: u32,
        patience: Patience,
    ) -> Result<QueueConsumer, ClientError> {
        let stream = open_within(self, &source, credit).await?;
        let inbox = Arc::new(Inbox::new());
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (stop, stopping) = watch::channel(false);
        let task = Task {
            client: self.clone(),
            source,
            credit,
            patience,
            inbox: inbox.clone(),
            settler: Settler { commands: commands.clone(), limit: self.options().deadline },
            commands: receiver,
            taken: Vec::new(),
            settles: Settles::new(),
            waits: Waits::new(self.options()),
            stopping,
            stage: Stage::Serving,
        };
        Ok(QueueConsumer { inbox, stop: Some(stop), task: tokio::spawn(task.run(stream)) })
    }
}

/// A message that nobody has taken yet.
#[derive(Debug)]
struct Waiting {
    message: QueueMessage,
    since: Instant,
}

/// Whether a message was taken since the last look.
#[derive(Debug, Default)]
struct WasTaken(bool);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Nothing more is taken: verdicts go out.
    Stopping,
    /// The owner is gone: verdicts go out, then the close.
    Leaving,
    /// The close is sent.
    Left,
}

/// The stream at the leader of what gives leases.
struct Led {
    stream: ConsumeStream,
    route: Route,
}

/// Opens a stream at the queue's leader. The flag says that another leader is known by now.
async fn open(client: &Client, source: &Source, credit: u32) -> Result<Led, (ClientError, bool)> {
    let (name, partition) = match source {
        Source::Share { topic, partition, .. } => (topic, *partition),
        Source::Queue { name, .. } | Source::Topic { name, .. } => (name, 0),
    };
    let route = client.route(name.as_str(), partition).await.map_err(|error| (error, false))?;
    match ConsumeStream::open(client, &route.broker, source.clone(), credit).await {
        Ok(stream) => Ok(Led { stream, route }),
        Err(error) => {
            let known = client.refused(&route, &error);
            Err((error, known))
        }
    }
}

/// As [`open`], until the deadline.
async fn open_within(client: &Client, source: &Source, credit: u32) -> Result<Led, ClientError> {
    let mut tries = client.tries(Repeat::Safe, Duration::ZERO);
    loop {
        match open(client, source, credit).await {
            Ok(led) => return Ok(led),
            Err((error, known)) => sleep(tries.failed(error, known)?).await,
        }
    }
}

struct Task {
    client: Client,
    source: Source,
    credit: u32,
    patience: Patience,
    inbox: Arc<Inbox<Waiting, WasTaken>>,
    settler: Settler,
    commands: mpsc::Receiver<Command>,
    taken: Vec<Command>,
    settles: Settles<Reply>,
    waits: Waits,
    stopping: watch::Receiver<bool>,
    stage: Stage,
}

impl Task {
    async fn run(mut self, mut led: Led) {
        loop {
            let opened = Instant::now();
            let end = self.serve(&mut led.stream).await;
            // Leases that were granted to the lost stream are over, or will be; the broker grants again.
            self.inbox.clear();
            self.settles.lost();
            let mut at_once = match end {
                Err(error) if error.retriable() && self.is_attached() => {
                    self.client.refused(&led.route, &error)
                }
                end => return self.inbox.finish(end),
            };
            if opened.elapsed() > SETTLED_IN {
                self.waits.reset();
            }
            led = loop {
                let wait = if at_once { Duration::ZERO } else { self.waits.next() };
                tokio::select! {
                    () = sleep(wait) => {}
                    () = closed(self.stopping.clone()) => return self.inbox.finish(Ok(())),
                }
                let opened = tokio::select! {
                    opened = open(&self.client, &self.source, self.credit) => opened,
                    () = closed(self.stopping.clone()) => return self.inbox.finish(Ok(())),
                };
                match opened {
                    Ok(led) => break led,
                    Err((error, known)) if error.retriable() => at_once = known,
                    Err((error, _)) => return self.inbox.finish(Err(error)),
                }
            };
        }
    }

    /// Serves one stream to its end: OK after a close.
    async fn serve(&mut self, stream: &mut ConsumeStream) -> Result<(), ClientError> {
        let ConsumeStream { requests, responses, started } = stream;
        self.patience.of_lease(Duration::from_millis(started.lease_millis));
        let limit = self.client.options().request_timeout;
        let mut is_stopped = false;
        loop {
            let is_to_stop = self.stage == Stage::Stopping && !is_stopped;
            let may_close =
                self.stage == Stage::Leaving && self.settles.is_idle() && self.commands.is_empty();
            let has_request = self.settles.has_waiting() || is_to_stop || may_close;
            let oldest = self.inbox.with(|waiting, _| waiting.front().map(|oldest| oldest.since));
            let impatient = oldest.and_then(|since| self.patience.end(since));
            tokio::select! {
                step = next(responses) => {
                    let step = step?.ok_or_else(lost)?;
                    if matches!(step, Response::Closed(_)) {
                        return Ok(());
                    }
                    self.handle(step)?;
                }
                _ = self.commands.recv_many(&mut self.taken, COMMANDS) => {
                    for Command { token, verdict, reply } in self.taken.drain(..) {
                        self.settles.push(token, verdict, reply);
                    }
                }
                permit = requests.reserve(), if has_request && self.stage != Stage::Left => {
                    let permit = permit.map_err(|_| lost())?;
                    if is_to_stop {
                        permit.send(request(Request::Stop(v1::ConsumeStop {})));
                        is_stopped = true;
                    } else if let Some(settle) = self.settles.next_request() {
                        permit.send(request(Request::Settle(settle)));
                    } else {
                        permit.send(request(Request::Close(v1::ConsumeClose {})));
                        self.stage = Stage::Left;
                    }
                }
                () = sleep_until(impatient.unwrap_or_else(Instant::now)), if impatient.is_some() => self.give_back(),
                changed = self.stopping.changed(), if self.is_attached() => match changed {
                    Ok(()) => self.stop(),
                    Err(_) => {
                        self.stage = Stage::Leaving;
                        self.inbox.clear();
                    }
                },
                // A broker that does not answer the verdicts or the close doesn't hold up who leaves.
                () = sleep(limit), if !self.is_attached() => return Ok(()),
            }
        }
    }

    /// Whether the owner is there.
    fn is_attached(&self) -> bool {
        matches!(self.stage, Stage::Serving | Stage::Stopping)
    }

    /// Takes no more.
    fn stop(&mut self) {
        self.stage = Stage::Stopping;
        let given_back = self.inbox.with(|waiting, _| std::mem::take(waiting));
        self.return_all(given_back.into_iter().map(|waiting| waiting.message.token));
        self.inbox.finish(Ok(()));
    }

    fn return_all(&mut self, tokens: impl IntoIterator<Item = Token>) {
        for token in tokens {
            // Nobody waits for the answer: if it does not hold, the lease runs out.
            self.settles.push(token, Verdict::Return, oneshot::channel().0);
        }
    }

    /// Gives back what has waited for too long.
    fn give_back(&mut self) {
        let now = Instant::now();
        let given_back = self.inbox.with(|waiting, was_taken| {
            if std::mem::take(&mut was_taken.0) {
                self.patience.renew();
            }
            let is_over = |oldest: &Waiting| self.patience.end(oldest.since).is_some_and(|end| end <= now);
            let count = waiting.iter().take_while(|oldest| is_over(oldest)).count();
            waiting.drain(..count).collect::<Vec<_>>()
        });
        if given_back.is_empty() {
            return;
        }
        self.patience.grow();
        self.return_all(given_back.into_iter().map(|waiting| waiting.message.token));
    }

    fn handle(&mut self, step: Response) -> Result<(), ClientError> {
        match step {
            Response::Delivery(delivery) if self.stage == Stage::Serving => {
                let messages = granted(delivery)?;
                // The broker sends beyond the credit only when leases ran out here: those are the oldest.
                let most = self.credit.clamp(1, limits::CREDIT_MAX) as usize;
                let settler = &self.settler;
                let since = Instant::now();
                let messages = messages
                    .into_iter()
                    .map(|message| Waiting { message: QueueMessage::new(message, settler.clone()), since });
                self.inbox.push_newest(messages, most);
            }
            // It was on its way when the broker heard of the stop.
            Response::Delivery(delivery) if self.stage == Stage::Stopping => {
                self.return_all(granted(delivery)?.into_iter().map(|message| message.token));
            }
            Response::Settled(settled) => {
                let (ended, elsewhere) = self.settles.answered(settled);
                for (reply, result) in ended {
                    // Whoever stopped waiting doesn't want to know.
                    let _ = reply.send(result);
                }
                // Verdicts wait for another broker, and so does all the rest.
                return elsewhere.map_or(Ok(()), Err);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Waits until the owner is gone.
async fn closed(mut stopping: watch::Receiver<bool>) {
    while stopping.changed().await.is_ok() {}
}
