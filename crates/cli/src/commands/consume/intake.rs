//! Messages under leases: of a shared group, which come on streams, or of a queue. Of a queue: without a limit they come on a stream, which gives a settled message's credit to the
//! next one. With a limit they are asked for, as many as may still be taken: a stream would be granted more than
//! that, and giving those back would count as a delivery of each.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use pondage_client::{
    Client, ClientError, QueueConsumer, QueueMessage, ReceivedMessage, SettleItem, SharedConsumer, Verdict,
};
use pondage_model::{Refusal, Token};

/// How long one question waits for a message. Ctrl-C waits for its answer, to give back what it brings.
const POLL_WAIT: Duration = Duration::from_millis(500);

/// A message under a lease.
pub(super) struct Leased {
    /// What it says, and its lease.
    pub(super) message: ReceivedMessage,
    settler: Settler,
}

enum Settler {
    Stream(QueueMessage),
    Calls(Client),
}

impl Leased {
    fn of_stream(mut message: QueueMessage) -> Self {
        let received = ReceivedMessage {
            source: message.source.clone(),
            partition: message.partition,
            offset: message.offset,
            timestamp_millis: message.timestamp_millis,
            key: message.key.take(),
            value: message.value.take(),
            headers: std::mem::take(&mut message.headers),
            attempt: message.attempt,
            token: message.token,
            deadline: message.deadline,
        };
        Self { message: received, settler: Settler::Stream(message) }
    }

    /// Its body.
    pub(super) fn body(&self) -> Bytes {
        self.message.value.clone().unwrap_or_default()
    }

    /// Gives a verdict and waits until it is durable.
    pub(super) async fn settle(&self, verdict: Verdict) -> Result<(), ClientError> {
        match &self.settler {
            Settler::Calls(client) => settle(client, self.message.token, verdict).await,
            Settler::Stream(message) => {
                let millis = |millis: Option<u64>| millis.map(Duration::from_millis);
                let settled = match verdict {
                    Verdict::Accept => message.accept().await,
                    Verdict::Release { delay_millis } => message.release(millis(delay_millis)).await,
                    Verdict::Return => message.give_back().await,
                    Verdict::Reject => message.reject().await,
                    Verdict::Renew { lease_millis } => message.renew(millis(lease_millis)).await,
                };
                settled.map(|_| ())
            }
        }
    }
}

/// Gives messages one verdict each and the same, and says how each of them ended.
pub(super) async fn settle_all(messages: Vec<Leased>, verdict: Verdict) -> Vec<Result<(), ClientError>> {
    let client = messages.first().and_then(|first| match &first.settler {
        Settler::Calls(client) => Some(client.clone()),
        Settler::Stream(_) => None,
    });
    let Some(client) = client else {
        // A stream gathers them itself.
        return join_all(messages.iter().map(|leased| leased.settle(verdict))).await;
    };
    let items = messages.iter().map(|leased| SettleItem { tokens: leased.message.token.into(), verdict });
    let results = match client.settle(items.collect()).await {
        Ok(results) => results,
        Err(error) => return vec![Err(error); messages.len()],
    };
    let mut ended = vec![Err(unanswered()); messages.len()];
    for result in results {
        if let Some(one) = ended.get_mut(result.item as usize) {
            *one = result.result.map(|_| ()).map_err(ClientError::from);
        }
    }
    ended
}

/// An answer that leaves a message out says nothing about it: it may have its verdict.
fn unanswered() -> ClientError {
    Refusal::Interrupted.into()
}

async fn settle(client: &Client, token: Token, verdict: Verdict) -> Result<(), ClientError> {
    let results = client.settle(vec![SettleItem { tokens: token.into(), verdict }]).await?;
    let first = results.into_iter().next();
    first.map_or_else(|| Err(unanswered()), |result| result.result.map(|_| ()).map_err(ClientError::from))
}

/// Where messages come from.
pub(super) enum Intake {
    Stream(QueueConsumer),
    /// Of every partition that a shared group reads.
    Group(SharedConsumer),
    Polls(Polls),
}

type Answer = Pin<Box<dyn Future<Output = Result<Vec<ReceivedMessage>, ClientError>>>>;

/// Questions for messages, one at a time.
pub(super) struct Polls {
    client: Client,
    queue: String,
    lease: Option<Duration>,
    waiting: VecDeque<ReceivedMessage>,
    answer: Option<Answer>,
}

impl Polls {
    pub(super) fn new(client: Client, queue: &str, lease: Option<Duration>) -> Self {
        Self { client, queue: queue.to_owned(), lease, waiting: VecDeque::new(), answer: None }
    }

    fn leased(&self, message: ReceivedMessage) -> Leased {
        Leased { message, settler: Settler::Calls(self.client.clone()) }
    }

    async fn next(&mut self, most: u32) -> Result<Leased, ClientError> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(self.leased(message));
            }
            let answer = self.answer.get_or_insert_with(|| {
                let (client, queue, lease) = (self.client.clone(), self.queue.clone(), self.lease);
                Box::pin(async move { client.receive(&queue, most, POLL_WAIT, lease).await })
            });
            // Whoever stops waiting here goes on with the same answer later.
            let received = answer.await;
            self.answer = None;
            self.waiting.extend(received?);
        }
    }
}

impl Intake {
    /// The next message; `None` at the end. At most `most` are asked for. Nothing is lost by not waiting for it.
    pub(super) async fn next(&mut self, most: u32) -> Result<Option<Leased>, ClientError> {
        match self {
            Self::Stream(consumer) => Ok(consumer.next().await?.map(Leased::of_stream)),
            Self::Group(consumer) => Ok(consumer.next().await?.map(Leased::of_stream)),
            Self::Polls(polls) => polls.next(most).await.map(Some),
        }
    }

    /// A message that is here already. An end is left for [`Self::next`].
    pub(super) fn ready(&mut self) -> Result<Option<Leased>, ClientError> {
        match self {
            Self::Stream(consumer) => {
                let next = consumer.next().now_or_never().transpose()?.flatten();
                Ok(next.map(Leased::of_stream))
            }
            Self::Group(consumer) => {
                let next = consumer.next().now_or_never().transpose()?.flatten();
                Ok(next.map(Leased::of_stream))
            }
            Self::Polls(polls) => {
                let message = polls.waiting.pop_front();
                Ok(message.map(|message| polls.leased(message)))
            }
        }
    }

    /// Gives back what was not taken from here, and what a stream has not settled.
    pub(super) async fn close(self) {
        match self {
            Self::Stream(consumer) => consumer.close().await,
            // Whether the group heard of it or not, the messages have their verdicts.
            Self::Group(consumer) => drop(consumer.close().await),
            Self::Polls(Polls { client, mut waiting, answer, .. }) => {
                if let Some(answer) = answer {
                    waiting.extend(answer.await.unwrap_or_default());
                }
                let settler = || Settler::Calls(client.clone());
                let rest = waiting.into_iter().map(|message| Leased { message, settler: settler() });
                // Where it does not hold, the leases run out.
                settle_all(rest.collect(), Verdict::Return).await;
            }
        }
    }
}
