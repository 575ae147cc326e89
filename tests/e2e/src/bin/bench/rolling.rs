//! All brokers restart one after the other, under a light load that notices every mistake.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use pondage_client::{
    BrokerStatus, ConsumerOptions, Message, Publisher, PublisherOptions, QueueConsumer,
    rolling::{RollingOptions, RollingProgress, restart_one_by_one},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::members::Members;

/// How long consumers work on a message: some of them longer than a broker is away.
const WORK: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_secs(5)];
/// The load before the first restart.
const LEAD_IN: Duration = Duration::from_secs(2);
/// How long the last messages may take to come, and their verdicts.
const LEAD_OUT: Duration = Duration::from_secs(40);

/// What a rolling restart did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restarted {
    pub(crate) took: Duration,
    /// From sending a message to its acknowledgement.
    pub(crate) longest_wait: Duration,
    /// Messages.
    pub(crate) sent: usize,
    /// Publishes and verdicts that ended in an error.
    pub(crate) failed: usize,
    /// Deliveries that a consumer took.
    pub(crate) handed: usize,
    /// Deliveries of a message that somebody had under a lease that had not ended, or that was accepted.
    pub(crate) early: usize,
    /// Acknowledged messages that no consumer got.
    pub(crate) lost: usize,
}

#[derive(Default)]
struct Seen {
    longest_wait: Duration,
    sent: usize,
    failed: usize,
    handed: usize,
    early: usize,
    /// By queue and number: how often it was acknowledged and delivered.
    messages: BTreeMap<(usize, u64), (u32, u32)>,
}

#[derive(Clone, Default)]
struct Book(Arc<Mutex<Seen>>);

impl Book {
    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Restarts all brokers as `pondage cluster restart` does, while each of the queues gets and gives its share of `rate`
/// messages a second.
pub(crate) async fn restart(members: &mut Members, queues: &[String], rate: u32) -> Result<Restarted> {
    members.whole().await?;
    let book = Book::default();
    let (stop, stopped) = watch::channel(false);
    let (mut publishers, mut consumers) = (JoinSet::new(), JoinSet::new());
    let turn = Duration::from_secs_f64(queues.len() as f64 / f64::from(rate.max(1)));
    for (number, queue) in queues.iter().enumerate() {
        let client = members.client().await?;
        let publisher = client.publisher(queue, PublisherOptions::default()).await?;
        let options = ConsumerOptions::default();
        let consumer = members.client().await?.consumer(queue, options).await?;
        publishers.spawn(publish(publisher, number, turn, book.clone(), stopped.clone()));
        consumers.spawn(consume(consumer, number, book.clone()));
    }
    sleep(LEAD_IN).await;
    let client = members.client().await?;
    let begun = Instant::now();
    let restarting = async |row: &BrokerStatus| {
        let index = members.place_at(&row.address)?;
        members.stop(index).await?;
        members.launch(index).await
    };
    let mut said = None;
    let tell = |progress: &RollingProgress| {
        if said.as_ref() != Some(&progress.action) {
            eprintln!("{:6.2} s: {:?}", begun.elapsed().as_secs_f64(), progress.action);
            said = Some(progress.action.clone());
        }
    };
    restart_one_by_one(&client, &RollingOptions::default(), restarting, tell)
        .await
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let took = begun.elapsed();
    stop.send(true).context("nobody publishes")?;
    while let Some(ended) = publishers.join_next().await {
        ended?;
    }
    let missing = || {
        let seen = book.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.messages.values().filter(|(stored, given)| *stored > 0 && *given == 0).count()
    };
    // What fails to come is counted below.
    drop(
        timeout(LEAD_OUT, async {
            while missing() > 0 {
                sleep(WORK[1]).await
            }
        })
        .await,
    );
    // The last verdicts, and deliveries that nobody should get.
    sleep(2 * WORK[2]).await;
    consumers.shutdown().await;
    let lost = missing();
    let seen = book.0.lock().unwrap_or_else(PoisonError::into_inner);
    let Seen { longest_wait, sent, failed, handed, early, .. } = *seen;
    Ok(Restarted { took, longest_wait, sent, failed, handed, early, lost })
}

/// Sends a message each turn, and waits for none of them, until told to stop.
async fn publish(
    publisher: Publisher,
    queue: usize,
    turn: Duration,
    book: Book,
    mut stopped: watch::Receiver<bool>,
) {
    let mut answers = JoinSet::new();
    let mut ticks = interval(turn);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        while answers.try_join_next().is_some() {}
        let sent = Instant::now();
        book.note(|seen| seen.sent += 1);
        let sending = publisher.send(Message::new(number.to_be_bytes().to_vec())).await;
        let book = book.clone();
        answers.spawn(async move {
            let stored = match sending {
                Ok(sending) => sending.await.map(drop),
                Err(error) => Err(error),
            };
            book.note(|seen| match &stored {
                Ok(()) => {
                    seen.longest_wait = seen.longest_wait.max(sent.elapsed());
                    seen.messages.entry((queue, number)).or_default().0 += 1;
                }
                Err(_) => seen.failed += 1,
            });
            if let Err(error) = stored {
                eprintln!("a publish failed: {error}");
            }
        });
    }
    while answers.join_next().await.is_some() {}
}

/// Takes messages, works on each for a while, and accepts it.
async fn consume(consumer: QueueConsumer, queue: usize, book: Book) {
    let mut working = JoinSet::new();
    loop {
        let message = match consumer.next().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                eprintln!("a consumer ended: {error}");
                return book.note(|seen| seen.failed += 1);
            }
        };
        let number = message.value.as_deref().and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
        // What the probes of the kills sent is no number.
        if let Some(number) = number {
            book.note(|seen| {
                seen.handed += 1;
                let given = &mut seen.messages.entry((queue, number)).or_default().1;
                *given += 1;
                // No lease runs out: none of the work takes so long.
                seen.early += usize::from(*given > 1);
            });
        }
        while working.try_join_next().is_some() {}
        let book = book.clone();
        let work = WORK[number.map_or(0, |number| number as usize % WORK.len())];
        working.spawn(async move {
            sleep(work).await;
            if let Err(error) = message.accept().await {
                eprintln!("a verdict failed: {error}");
                book.note(|seen| seen.failed += 1);
            }
        });
    }
}
