//! A session on a queue, or of a shared group on a partition. Grants come from the shard; a task reads their bodies and sends them, while the session
//! takes verdicts and gives credit back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use pondage_model::{Code, Lease, Name, Refusal, StreamId, entry::LeaseRange};
use pondage_node::{
    delivery::{ConsumerId, Request},
    disk::Disk,
};
use pondage_protocol::{
    consume::Step,
    settle::Verdict,
    v1::{self, consume_response},
};
use tokio::{sync::mpsc, task::JoinHandle, time::MissedTickBehavior};

use super::{
    super::{Place, Services, bodies::Bodies, outbound::Outbound, settle::Outcome},
    End, Inbound, LOOK_INTERVAL, PENDING_MAX, cut_short,
    held::Held,
    response,
};
use crate::handle::Grants;

/// How long after its deadline a lease counts as over: the shard's clock may be behind.
const DEADLINE_SLACK: Duration = Duration::from_secs(1);

/// Who gives leases.
pub(super) struct Lender {
    /// The queue, or the topic.
    pub(super) source: Name,
    /// The shared group that reads the topic.
    pub(super) group: Option<Name>,
    /// The stream that gives leases.
    pub(super) place: Place,
    /// The stream under which the log has the messages.
    pub(super) stored: StreamId,
}

/// What the session and its sender share.
struct Consumer<D: Disk> {
    services: Services<D>,
    out: Outbound<v1::ConsumeResponse>,
    lender: Lender,
    id: ConsumerId,
    /// What the consumer asked for; `None` takes the queue's time.
    lease_millis: Option<u64>,
    held: Mutex<Held>,
}

/// Serves a consumer of a lender until it ends.
pub(super) async fn serve<D: Disk>(
    services: &Services<D>,
    inbound: Inbound,
    out: &Outbound<v1::ConsumeResponse>,
    lender: Lender,
    lease_millis: Option<u64>,
    credit: u32,
) -> End {
    let place = lender.place;
    let attached = services.handle().attach(place.shard, place.stream, credit, lease_millis, false).await;
    let (id, grants) = match attached {
        Ok(attached) => attached,
        Err(refusal) => return End::Failed(refusal),
    };
    let _attached = services.metrics().attached(place.stream);
    let held = Mutex::default();
    let (services, out) = (services.clone(), out.clone());
    let consumer = Arc::new(Consumer { services, out, lender, id, lease_millis, held });
    // Before the first delivery: messages may be waiting already.
    let started = v1::ConsumeStarted {
        partitions: vec![v1::StartedPartition {
            partition: place.partition,
            ..v1::StartedPartition::default()
        }],
        lease_millis: consumer.lease_millis(lease_millis),
    };
    let told = consumer.out.send(response(consume_response::Step::Started(started))).await;
    if told.is_err() {
        if let Err(refusal) = consumer.detach(true).await {
            tracing::debug!(stream = place.stream.get(), %refusal, "detaching a consumer");
        }
        return End::Lost;
    }
    let mut sender = tokio::spawn(Arc::clone(&consumer).send(grants));
    let (end, results) = consumer.attend(inbound, &mut sender).await;
    cut_short(sender).await;
    if let Err(refusal) = consumer.detach(matches!(end, End::Lost | End::Expelled(_))).await {
        tracing::debug!(stream = place.stream.get(), %refusal, "detaching a consumer");
    }
    if end == End::Closed && results {
        let closed = consume_response::Step::Closed(v1::ConsumeClosed {});
        drop(consumer.out.send(response(closed)).await);
    }
    end
}

impl<D: Disk> Consumer<D> {
    /// Takes steps until the session ends. The flag says whether all results were sent.
    async fn attend(self: &Arc<Self>, mut inbound: Inbound, sender: &mut JoinHandle<End>) -> (End, bool) {
        let mut pending = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = self.services.0.stopping.clone();
        let end = loop {
            let step = tokio::select! {
                biased;
                () = stopping.cancelled() => break End::Stopping,
                () = self.out.closed() => break End::Lost,
                Some((request_id, outcomes)) = pending.next(), if !pending.is_empty() => {
                    match self.settled(request_id, outcomes).await {
                        Ok(()) => continue,
                        Err(end) => break end,
                    }
                }
                ended = &mut *sender => break ended.unwrap_or(End::Failed(Refusal::Interrupted)),
                step = inbound.next(), if pending.len() < PENDING_MAX => match step {
                    Ok(step) => step,
                    Err(end) => break end,
                },
                _ = look.tick() => {
                    let overdue = self.held().overdue(Instant::now());
                    self.give_credit(overdue).await;
                    continue;
                }
            };
            match step {
                Step::Credit(add) => self.give_credit(add).await,
                Step::Stop => self.stop().await,
                Step::Settle { request_id, items } => match self.services.begin_settle(items).await {
                    Ok(begun) => pending.push(async move { (request_id, begun.end().await) }),
                    Err(refusal) => break End::Expelled(refusal),
                },
                Step::Close => break End::Closed,
                Step::Start { .. } | Step::Commit { .. } => {
                    break End::Expelled(Refusal::ProtocolState {
                        what: "not a step of a consumer under leases",
                    });
                }
            }
        };
        if matches!(end, End::Lost) {
            return (end, false);
        }
        while let Some((request_id, outcomes)) = pending.next().await {
            if self.settled(request_id, outcomes).await.is_err() {
                return (End::Lost, false);
            }
        }
        (end, true)
    }

    /// Tells how verdicts ended, and gives the credit of what left the consumer's hands back.
    async fn settled(&self, request_id: u64, outcomes: Vec<Outcome>) -> Result<(), End> {
        let freed = {
            let mut held = self.held();
            outcomes.iter().map(|outcome| self.free(&mut held, outcome)).sum()
        };
        self.give_credit(freed).await;
        let results = outcomes
            .into_iter()
            .map(|outcome| {
                if let Err(refusal) = &outcome.result.result {
                    self.services.metrics().refused(refusal.code());
                }
                outcome.result.into()
            })
            .collect();
        let settled = v1::ConsumeSettled { request_id, results };
        Ok(self.out.send(response(consume_response::Step::Settled(settled))).await?)
    }

    fn free(&self, held: &mut Held, outcome: &Outcome) -> u32 {
        let Some(item) = outcome.item else { return 0 };
        if (item.tokens.shard, item.tokens.stream) != (self.lender.place.shard, self.lender.place.stream) {
            return 0;
        }
        let (first, count, lease) = (outcome.result.first, outcome.result.count, item.tokens.leases.lease);
        match (&outcome.result.result, item.verdict) {
            (Ok(_), Verdict::Renew { lease_millis }) => {
                let until = Instant::now() + self.lease(lease_millis);
                held.renewed(&LeaseRange { first, count, lease }, until);
                0
            }
            (Ok(_), _) => held.ended(first, count, lease),
            (Err(refusal), _) if refusal.code() == Code::LeaseLost => held.ended(first, count, lease),
            // It did not take effect: the message is still the consumer's.
            (Err(_), _) => 0,
        }
    }

    /// How long leases last that are given or renewed now, with slack.
    fn lease(&self, asked_millis: Option<u64>) -> Duration {
        Duration::from_millis(self.lease_millis(asked_millis)) + DEADLINE_SLACK
    }

    fn lease_millis(&self, asked_millis: Option<u64>) -> u64 {
        let own = || self.services.handle().lender(self.lender.place.stream).map_or(0, |(_, millis)| millis);
        asked_millis.unwrap_or_else(own)
    }

    async fn give_credit(&self, add: u32) {
        if add > 0 {
            let request = Request::Credit { stream: self.lender.place.stream, consumer: self.id, add };
            // A refusal means that the queue or the broker ends, of which the session hears otherwise.
            drop(self.services.handle().submit(self.lender.place.shard, request).await);
        }
    }

    async fn stop(&self) {
        let request = Request::Stop { stream: self.lender.place.stream, consumer: self.id };
        // As with credit.
        drop(self.services.handle().submit(self.lender.place.shard, request).await);
    }

    async fn detach(&self, lost: bool) -> Result<(), Refusal> {
        let request = Request::Detach { stream: self.lender.place.stream, consumer: self.id, lost };
        self.services.handle().deliver(self.lender.place.shard, request).await.map(drop)
    }

    /// Sends what is granted, a batch at a time, as fast as the consumer reads.
    async fn send(self: Arc<Self>, mut grants: mpsc::UnboundedReceiver<Grants>) -> End {
        let Lender { source, place, stored, .. } = &self.lender;
        let mut bodies = Bodies::new(self.services.handle().clone(), source.clone(), *place, *stored);
        let mut is_deleted = false;
        while let Some(Grants { epoch, runs, .. }) = grants.recv().await {
            // The last word of a queue that is deleted.
            is_deleted = runs.is_empty();
            let until = Instant::now() + self.lease(self.lease_millis);
            let freed = {
                let mut held = self.held();
                let note = |run: &pondage_model::entry::Granted| {
                    held.granted(run, Lease { epoch, attempt: run.attempt }, until)
                };
                runs.iter().map(note).sum()
            };
            self.give_credit(freed).await;
            let mut left = VecDeque::from(runs);
            loop {
                match bodies.next(epoch, &mut left).await {
                    Ok(Some(delivery)) => {
                        let bytes = delivery.batch.len();
                        let step = consume_response::Step::Delivery(delivery.into());
                        if self.out.send_body(response(step), bytes).await.is_err() {
                            return End::Lost;
                        }
                    }
                    Ok(None) => break,
                    Err(refusal) => {
                        let stream = self.lender.place.stream.get();
                        tracing::error!(stream, %refusal, "granted messages can't be read");
                        return End::Failed(refusal);
                    }
                }
            }
        }
        if self.services.0.stopping.is_cancelled() {
            return End::Stopping;
        }
        End::Failed(if is_deleted {
            match &self.lender.group {
                Some(group) => Refusal::NotFound { kind: "consumer group", name: group.to_string() },
                None => Refusal::NotFound { kind: "queue", name: self.lender.source.to_string() },
            }
        } else {
            self.services.handle().not_leader(self.lender.place.shard)
        })
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
