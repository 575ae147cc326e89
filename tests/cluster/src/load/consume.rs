//! Consumers: they take what the queues give, accept most of it and release some.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use pondage_client::{ConsumerOptions, QueueConsumer, QueueMessage};
use pondage_history::{Answer, Client as Who, Grant, Observation, Request, Verdict};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{QUEUES, Shared, content, publish::answer_to_settle, queue_stream};
use crate::chance::Chance;

/// Messages that one consumer may hold.
const CREDIT: u32 = 1_000;
/// Of a hundred deliveries, so many are released.
const RELEASED_PERCENT: u64 = 2;
/// How long to wait before a new consumer is tried.
const AGAIN: Duration = Duration::from_millis(100);

/// Works on one queue until told to stop.
pub(super) async fn work(
    shared: Arc<Shared>,
    queue: usize,
    number: usize,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut chance = Chance::new(shared.plan.seed ^ (queue * 100 + number) as u64);
    let mut settling = JoinSet::new();
    while !*stop.borrow() {
        let Ok(consumer) = open(&shared, QUEUES[queue]).await else {
            sleep(AGAIN).await;
            continue;
        };
        let who = shared.recorder.client();
        loop {
            let next = tokio::select! {
                next = consumer.next() => next,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Ok(Some(message)) = next else { break };
            while settling.try_join_next().transpose()?.is_some() {}
            let is_released = chance.percent(RELEASED_PERCENT);
            settle(&shared, who, queue, message, is_released, &mut settling);
        }
        while settling.join_next().await.transpose()?.is_some() {}
        consumer.close().await;
    }
    Ok(())
}

fn settle(
    shared: &Arc<Shared>,
    who: Who,
    queue: usize,
    message: QueueMessage,
    is_released: bool,
    settling: &mut JoinSet<()>,
) {
    let (stream, offset, lease) = (queue_stream(queue), message.offset, message.token.lease);
    let Some(id) = content::identify(message.key.as_ref(), message.value.as_ref()) else {
        let name = QUEUES[queue];
        return shared
            .recorder
            .problem(format!("{name} gave something at offset {offset} that nobody published"));
    };
    let grant = Grant { stream, offset, message: id, lease, term: None, lasts_micros: None };
    shared.recorder.saw(who, Observation::Grant(grant));
    let verdict = if is_released { Verdict::Release { delay_micros: 0 } } else { Verdict::Accept };
    let op = shared.recorder.asks(who, Request::Settle { stream, offset, lease, verdict });
    let shared = shared.clone();
    settling.spawn(async move {
        let settled = if is_released { message.release(None).await } else { message.accept().await };
        let answer = match settled {
            Ok(settled) => Answer::Settled { already: settled.already, until: None },
            Err(error) => answer_to_settle(&error),
        };
        shared.recorder.answered(who, op, answer);
    });
}

async fn open(shared: &Shared, name: &str) -> Result<QueueConsumer> {
    let options = ConsumerOptions { credit: CREDIT, ..ConsumerOptions::default() };
    Ok(shared.connect().await?.consumer(name, options).await?)
}
