//! Publishers: so many messages a second, each with a number and a key.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use pondage_client::{ClientError, Publisher, PublisherOptions, partition_of_key};
use pondage_history::{Answer, Client as Who, MessageId, Publish, Request, Stamp};
use pondage_model::{Code, Outcome, ProducerId, StreamId};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    DELIVERY_TIMEOUT, PARTITIONS, PUBLISHERS, QUEUES, Shared, TOPIC, content, partition_stream, queue_stream,
};

/// How often messages are sent.
const TICK: Duration = Duration::from_millis(4);
/// What could not be sent while the machine was busy is made up for, up to so much; not what a fault held up.
const CATCH_UP: Duration = Duration::from_millis(100);
/// How long to wait before a new session is tried.
const AGAIN: Duration = Duration::from_millis(100);

/// Publishes to a queue, or, behind the queues, to the topic, until told to stop; then waits for the answers.
pub(super) async fn publish(
    shared: Arc<Shared>,
    target: usize,
    number: usize,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let name = QUEUES.get(target).copied().unwrap_or(TOPIC);
    let publishers = (QUEUES.len() + 1) * PUBLISHERS;
    let mut pace = Pace { per_second: f64::from(shared.plan.rate) / publishers as f64, owed: 0.0 };
    let publisher = (target * PUBLISHERS + number) as u64;
    let mut answers = JoinSet::new();
    let mut sent = 0_u64;
    let mut ticks = interval(TICK);
    let mut last = Instant::now();
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    'sessions: while !*stop.borrow() {
        let Ok(session) = open(&shared, name).await else {
            sleep(AGAIN).await;
            continue;
        };
        let who = shared.recorder.client();
        let producer = ProducerId(u64::from(who.0));
        let mut sequence = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => break 'sessions,
            }
            while answers.try_join_next().transpose()?.is_some() {}
            let passed = last.elapsed().min(CATCH_UP);
            last = Instant::now();
            for _ in 0..pace.due(passed) {
                let id = MessageId(publisher << 40 | sent);
                let key = content::key_of(publisher, sent);
                sent += 1;
                let message = content::message(id, key);
                let stream = stream_of(target, message.key.as_deref().unwrap_or_default());
                let stamp = Some(Stamp { producer, epoch: 0, sequence });
                sequence += 1;
                let publish =
                    Publish { stream, message: id, key: Some(key), stamp, delay_micros: 0, expires: false };
                let op = shared.recorder.asks(who, Request::Publish(publish));
                let sending = match session.send(message).await {
                    Ok(sending) => sending,
                    Err(error) => {
                        shared.recorder.answered(who, op, answer_to(&error));
                        continue 'sessions;
                    }
                };
                let shared = shared.clone();
                answers.spawn(async move {
                    let answer = match sending.await {
                        Ok(ack) => {
                            check_place(&shared, who, target, stream, ack.partition);
                            Answer::Stored { offset: ack.offset }
                        }
                        Err(error) => answer_to(&error),
                    };
                    shared.recorder.answered(who, op, answer);
                });
            }
        }
    }
    while answers.join_next().await.transpose()?.is_some() {}
    Ok(())
}

async fn open(shared: &Shared, name: &str) -> Result<Publisher> {
    let options = PublisherOptions { delivery_timeout: DELIVERY_TIMEOUT, ..PublisherOptions::default() };
    Ok(shared.connect().await?.publisher(name, options).await?)
}

fn stream_of(target: usize, key: &[u8]) -> StreamId {
    if target < QUEUES.len() {
        queue_stream(target)
    } else {
        partition_stream(partition_of_key(key, PARTITIONS))
    }
}

fn check_place(shared: &Shared, who: Who, target: usize, stream: StreamId, partition: u32) {
    if target == QUEUES.len() && partition_stream(partition) != stream {
        shared.recorder.problem(format!("{who:?}: a message for {stream:?} went to partition {partition}"));
    }
}

/// What an error says of the message.
fn answer_to(error: &ClientError) -> Answer {
    match error.outcome() {
        Outcome::Definite => Answer::Refused,
        Outcome::Unknown => Answer::Unknown,
    }
}

/// As [`answer_to`], of a settle.
pub(super) fn answer_to_settle(error: &ClientError) -> Answer {
    if error.is(Code::LeaseLost) { Answer::LeaseLost } else { answer_to(error) }
}

/// How many messages are due.
struct Pace {
    per_second: f64,
    owed: f64,
}

impl Pace {
    fn due(&mut self, passed: Duration) -> u32 {
        self.owed += self.per_second * passed.as_secs_f64();
        let due = self.owed.floor();
        self.owed -= due;
        due as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_in_the_long_run() {
        let mut pace = Pace { per_second: 625.0, owed: 0.0 };
        let sent: u32 = (0..250).map(|_| pace.due(TICK)).sum();
        assert!((624..=625).contains(&sent), "{sent}");
    }
}
