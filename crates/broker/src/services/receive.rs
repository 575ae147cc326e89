//! One poll of a queue: attaches, waits for the first messages, leaves. Nothing is lost on the way: what was granted
//! and can't be answered goes back at once.

use std::{collections::VecDeque, time::Duration};

use pondage_model::{Refusal, limits};
use pondage_node::{
    delivery::{ConsumerId, Request},
    disk::Disk,
    shard::ShardRequest,
};
use pondage_protocol::{messages::Receive, v1};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Place, Services, bodies::Bodies};
use crate::handle::Grants;

/// Bytes of batches in one answer; what does not fit goes back. Less than the limit of one gRPC message by the size of
/// the envelopes.
const ANSWER_BYTES_MAX: usize = limits::BATCH_BYTES_MAX;

/// Why a poll ends without messages.
enum Empty {
    /// There was none in time.
    TimedOut,
    /// The client is gone.
    Left,
    /// The broker stops.
    Stopping,
    /// The queue is gone.
    Deleted,
    /// The queue can't be served here any more.
    Refused(Refusal),
}

impl<D: Disk> Services<D> {
    /// Takes messages under leases, waiting for the first one.
    pub(super) async fn receive_some(
        &self,
        request: v1::ReceiveRequest,
    ) -> Result<v1::ReceiveResponse, Refusal> {
        let receive = Receive::try_from(request)?;
        let (_, place) = self.queue(&receive.queue)?;
        // The poll is a task of its own: if the call is dropped half way, it still leaves in good order.
        let left = CancellationToken::new();
        let _leave_when_dropped = left.clone().drop_guard();
        let (answer, answered) = oneshot::channel();
        tokio::spawn(self.clone().poll(receive, place, left, answer));
        answered.await.unwrap_or(Err(Refusal::Interrupted))
    }

    async fn poll(
        self,
        receive: Receive,
        place: Place,
        left: CancellationToken,
        answer: oneshot::Sender<Result<v1::ReceiveResponse, Refusal>>,
    ) {
        let Place { shard, stream, .. } = place;
        let attached =
            self.handle().attach(shard, stream, receive.messages_max, receive.lease_millis, true).await;
        let (consumer, mut grants) = match attached {
            Ok(attached) => attached,
            Err(refusal) => return drop(answer.send(Err(refusal))),
        };
        let _attached = self.metrics().attached(stream);
        let granted = match self.wait(&receive, place, &mut grants, &left).await {
            Ok(granted) => Ok(granted),
            Err(why) => self.leave(place, consumer, &mut grants).await.ok_or(why),
        };
        let empty = || Ok(v1::ReceiveResponse { deliveries: Vec::new() });
        match granted {
            Ok(granted) => self.answer(receive, place, granted, answer).await,
            Err(Empty::Deleted) => {
                let gone = Refusal::NotFound { kind: "queue", name: receive.queue.to_string() };
                drop(answer.send(Err(gone)));
            }
            Err(Empty::Refused(_)) if self.0.stopping.is_cancelled() => {
                drop(answer.send(Err(Refusal::ShuttingDown)));
            }
            Err(Empty::Refused(refusal)) => drop(answer.send(Err(refusal))),
            Err(Empty::Stopping) => drop(answer.send(Err(Refusal::ShuttingDown))),
            Err(Empty::TimedOut | Empty::Left) => drop(answer.send(empty())),
        }
    }

    async fn wait(
        &self,
        receive: &Receive,
        place: Place,
        grants: &mut mpsc::UnboundedReceiver<Grants>,
        left: &CancellationToken,
    ) -> Result<Grants, Empty> {
        let some = |granted: Option<Grants>| match granted {
            Some(granted) if granted.runs.is_empty() => Err(Empty::Deleted),
            Some(granted) => Ok(granted),
            // Not even told that it is gone: the shard is led elsewhere.
            None => Err(Empty::Refused(self.handle().not_leader(place.shard))),
        };
        if receive.wait_millis == 0 {
            // Answers of a shard keep their order: behind this one there is no grant of the attach any more.
            let nothing = ShardRequest::Stats(Some(Vec::new()));
            if let Err(refusal) = self.handle().ask(place.shard, nothing).await {
                let stopping = self.0.stopping.is_cancelled();
                return Err(if stopping { Empty::Stopping } else { Empty::Refused(refusal) });
            }
            return match grants.try_recv() {
                Ok(granted) => some(Some(granted)),
                Err(_) => Err(Empty::TimedOut),
            };
        }
        tokio::select! {
            biased;
            granted = grants.recv() => some(granted),
            () = left.cancelled() => Err(Empty::Left),
            () = self.0.stopping.cancelled() => Err(Empty::Stopping),
            () = tokio::time::sleep(Duration::from_millis(receive.wait_millis)) => Err(Empty::TimedOut),
        }
    }

    /// Detaches; gives the grants that crossed the leaving. The shard's task gives back what comes later still.
    async fn leave(
        &self,
        place: Place,
        consumer: ConsumerId,
        grants: &mut mpsc::UnboundedReceiver<Grants>,
    ) -> Option<Grants> {
        let request = Request::Detach { stream: place.stream, consumer, lost: false };
        if let Err(refusal) = self.handle().deliver(place.shard, request).await {
            tracing::debug!(stream = place.stream.get(), %refusal, "leaving a queue");
        }
        grants.try_recv().ok().filter(|granted| !granted.runs.is_empty())
    }

    async fn answer(
        &self,
        receive: Receive,
        place: Place,
        granted: Grants,
        answer: oneshot::Sender<Result<v1::ReceiveResponse, Refusal>>,
    ) {
        let Grants { epoch, runs: all, .. } = granted;
        let mut left: VecDeque<_> = all.iter().copied().collect();
        let mut bodies = Bodies::new(self.handle().clone(), receive.queue, place, place.stream);
        let mut deliveries: Vec<v1::Delivery> = Vec::new();
        let mut bytes = 0;
        let result = loop {
            let before = left.clone();
            match bodies.next(epoch, &mut left).await {
                Ok(Some(delivery)) => {
                    bytes += delivery.batch.len();
                    if bytes > ANSWER_BYTES_MAX && !deliveries.is_empty() {
                        left = before;
                        break Ok(());
                    }
                    deliveries.push(delivery.into());
                }
                Ok(None) => break Ok(()),
                Err(refusal) => break Err(refusal),
            }
        };
        let unseen = match result {
            Ok(()) => match answer.send(Ok(v1::ReceiveResponse { deliveries })) {
                Ok(()) => left.into(),
                Err(_) => all,
            },
            Err(refusal) => {
                tracing::error!(stream = place.stream.get(), %refusal, "granted messages can't be read");
                drop(answer.send(Err(refusal)));
                all
            }
        };
        self.give_back(place, epoch, &unseen).await;
    }
}
